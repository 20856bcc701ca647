"""Signed URLs: addresses of one conversation with an agent that is not public, given out for the API key.

Asked for over HTTPS in a thread of their own, before each connection: one is good for a start within 15 minutes.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

import msgspec

from tandem_providers.elevenlabs_options import ElevenLabsOptions, signing_address
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tandem_providers.provider import Dial

REQUEST_SECONDS: Final = 4.0
_LARGEST_ANSWER: Final = 64 * 1024
_THREADS: Final = 4

Fetch = Callable[[str, str], tuple[int, bytes]]
"""GET of an address with an API key: status and body. Raises OSError or `http.client.HTTPException`."""


class SignedUrls:
    """Gives the address of the next connection when called."""

    def __init__(self, options: ElevenLabsOptions, name: str, fetch: Fetch | None = None) -> None:
        self._address = signing_address(options)
        self._key = options.api_key
        self._name = name
        self._fetch = fetch or _fetch
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="signed-url")

    async def __call__(self, dial: Dial) -> Dial:
        """The same with a signed address. Cancel-safe.

        Raises:
            ProviderError: there is none to be had.
        """
        loop = asyncio.get_running_loop()
        try:
            status, body = await loop.run_in_executor(self._threads, self._fetch, self._address, self._key)
        except (OSError, http.client.HTTPException) as error:
            message = f"no signed URL: {type(error).__name__}"
            raise ConnectionFailedError(message, provider=self._name, code="signed_url") from error
        if status != 200:
            raise _refused(status, self._name)
        url = _signed_url(body)
        if not url:
            message = "no signed URL in the answer"
            raise ProviderUnavailableError(message, provider=self._name, code="signed_url")
        return Dial(url, dial.headers)


def _signed_url(body: bytes) -> str:
    try:
        url = msgspec.json.decode(body)["signed_url"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return url if isinstance(url, str) and url.startswith(("wss://", "ws://")) else ""


def _refused(status: int, name: str) -> ProviderError:
    """What is said beside the status may hold secrets, so it is not repeated."""
    kinds: dict[int, type[ProviderError]] = {
        401: AuthenticationFailedError,
        402: RateLimitedError,
        403: AuthenticationFailedError,
        429: RateLimitedError,
    }
    kind = kinds.get(status, ProviderUnavailableError if status >= 500 else InvalidConfigError)
    error = kind(f"no signed URL: HTTP {status}", provider=name, code="signed_url", status=status)
    if isinstance(error, RateLimitedError):
        error.exhausted = status == 402
    return error


def _fetch(address: str, key: str) -> tuple[int, bytes]:
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, port, timeout=REQUEST_SECONDS, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=REQUEST_SECONDS)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"xi-api-key": key})
        response = connection.getresponse()
        return response.status, response.read(_LARGEST_ANSWER)
    finally:
        connection.close()
