"""The credentials of the machine, for Vertex AI: what `google-auth` finds, be it a file, a login or a metadata server.

That library (extra `vertex`) is imported when the first token is needed, and asked in a thread of its own: it blocks.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
)

_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_REQUEST_SECONDS: Final = 5.0


class Credentials(Protocol):
    """What is needed of the library's credentials. `valid` turns false some minutes before a token expires."""

    token: str | None
    quota_project_id: str | None

    @property
    def valid(self) -> bool: ...

    def refresh(self, request: Any) -> None: ...


Load = Callable[[], tuple[Credentials, Any]]
"""Finds credentials, and what they send their requests with."""


class MachineCredentials:
    """Gives the headers of one connection when called. Tokens live about an hour and are fetched when one is due.

    Raises:
        InvalidConfigError: (when made) the library is not there.
    """

    def __init__(self, name: str, load: Load | None = None) -> None:
        if load is None and not _installed():
            raise InvalidConfigError(
                "vertex (GEMINI_VERTEX): the credentials of this machine need the package google-auth; "
                "install tandem[vertex], or set GEMINI_ACCESS_TOKEN",
                provider=name,
            )
        self._name = name
        self._load = load or _load
        self._found: tuple[Credentials, Any] | None = None
        # One thread: whoever comes while a token is being fetched gets the same one.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vertex-token")

    async def __call__(self) -> Mapping[str, str]:
        """Headers with a token that is good. Cancel-safe.

        Raises:
            AuthenticationFailedError: there are no credentials, or they are not accepted.
            ConnectionFailedError: whoever gives out the tokens can't be reached.
        """
        if self._found is not None and self._found[0].valid:
            return self._headers(self._found[0])
        loop = asyncio.get_running_loop()
        return self._headers(await loop.run_in_executor(self._thread, self._fresh))

    def _fresh(self) -> Credentials:
        try:
            if self._found is None:
                self._found = self._load()
            credentials, request = self._found
            if not credentials.valid:
                credentials.refresh(request)
            return credentials
        except Exception as error:
            raise self._sorted(error) from error

    def _sorted(self, error: Exception) -> ProviderError:
        """By the library's own names, for it may not be there. What it says may hold secrets, so it is not repeated."""
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if kinds & {"TransportError", "OSError"}:
            return ConnectionFailedError("no token: its source can't be reached", provider=self._name, code="token")
        message = f"no token: the credentials of this machine do not do ({type(error).__name__})"
        return AuthenticationFailedError(message, provider=self._name, code="token")

    def _headers(self, credentials: Credentials) -> Mapping[str, str]:
        headers = {"Authorization": f"Bearer {credentials.token}"}
        if credentials.quota_project_id:
            headers["x-goog-user-project"] = credentials.quota_project_id
        return headers


def _installed() -> bool:
    try:
        return importlib.util.find_spec("google.auth") is not None
    except ModuleNotFoundError:
        return False


def _load() -> tuple[Credentials, Any]:
    auth = importlib.import_module("google.auth")
    transport = importlib.import_module("google.auth.transport.requests")
    request = functools.partial(transport.Request(), timeout=_REQUEST_SECONDS)
    credentials, _ = auth.default(scopes=[_SCOPE], request=request)
    return credentials, request
