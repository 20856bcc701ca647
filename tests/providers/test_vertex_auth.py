"""Tokens of the machine's own credentials, from a library that blocks, fails, and may not be there."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import ModuleType
from typing import Any

import pytest

from tandem_providers import vertex_auth
from tandem_providers.errors import AuthenticationFailedError, ConnectionFailedError, InvalidConfigError
from tandem_providers.table import GeminiLive
from tandem_providers.vertex_auth import MachineCredentials


class FakeCredentials:
    """As the library has them; `refresh` takes place in a thread, when the test lets it."""

    def __init__(self, *, quota_project_id: str | None = None, failure: Exception | None = None) -> None:
        self.token: str | None = None
        self.quota_project_id = quota_project_id
        self.valid = False
        self.refreshed = 0
        self.failure = failure
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def refresh(self, request: Any) -> None:
        assert request == "request"
        assert threading.current_thread() is not threading.main_thread()
        assert self.may_go_on.wait(5)
        if self.failure is not None:
            raise self.failure
        self.refreshed += 1
        self.token = f"planted-token-{self.refreshed}"
        self.valid = True


class TransportError(Exception):
    """Goes by the name of the library's own."""


async def test_a_token_is_fetched_once_and_again_when_it_is_due() -> None:
    found = FakeCredentials(quota_project_id="q")
    headers = MachineCredentials("gemini", lambda: (found, "request"))
    first = {"Authorization": "Bearer planted-token-1", "x-goog-user-project": "q"}
    assert await headers() == first
    assert await headers() == first
    found.valid = False
    assert await headers() == {**first, "Authorization": "Bearer planted-token-2"}
    assert found.refreshed == 2


async def test_whoever_comes_while_it_is_being_fetched_gets_the_same_one() -> None:
    found = FakeCredentials()
    found.may_go_on.clear()
    headers = MachineCredentials("gemini", lambda: (found, "request"))
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(headers()) for _ in range(5)]
        gone = tasks.create_task(headers())
        await asyncio.sleep(0)
        gone.cancel()
        found.may_go_on.set()
    assert {task.result()["Authorization"] for task in waiting} == {"Bearer planted-token-1"}
    assert found.refreshed == 1


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ValueError("planted secret"), AuthenticationFailedError),
        (TransportError("planted secret"), ConnectionFailedError),
        (OSError("planted secret"), ConnectionFailedError),
    ],
)
async def test_what_goes_wrong_is_sorted_and_not_repeated(failure: Exception, kind: type[Exception]) -> None:
    found = FakeCredentials(failure=failure)
    with pytest.raises(kind) as error:
        await MachineCredentials("gemini@eu", lambda: (found, "request"))()
    assert "planted" not in str(error.value)
    assert getattr(error.value, "provider", "") == "gemini@eu"
    found.failure = None


async def test_no_credentials_at_all_are_looked_for_again() -> None:
    found: list[FakeCredentials] = []

    def load() -> tuple[FakeCredentials, str]:
        if not found:
            raise ValueError("none")
        return found[0], "request"

    headers = MachineCredentials("gemini", load)
    with pytest.raises(AuthenticationFailedError):
        await headers()
    found.append(FakeCredentials())
    assert (await headers())["Authorization"] == "Bearer planted-token-1"


async def test_the_library_as_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = FakeCredentials()
    asked: list[Any] = []
    auth, transport, requests = (ModuleType(f"google.auth{more}") for more in ("", ".transport", ".transport.requests"))

    def default(scopes: list[str], request: Any) -> tuple[FakeCredentials, str]:
        asked.append((scopes, request.keywords))
        return found, "project"

    auth.default = default  # type: ignore[attr-defined]  # a module made here
    requests.Request = lambda: print  # type: ignore[attr-defined]  # the same
    for module in (auth, transport, requests):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    credentials, request = vertex_auth._load()
    assert credentials is found
    assert asked == [(["https://www.googleapis.com/auth/cloud-platform"], {"timeout": 5.0})]
    assert request.func is print


def test_without_the_library_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google", None)
    monkeypatch.delitem(sys.modules, "google.auth", raising=False)
    with pytest.raises(InvalidConfigError, match=r"tandem\[vertex\]"):
        GeminiLive(vertex=True, project="p")
    GeminiLive(vertex=True, project="p", access_token="t")
    GeminiLive(api_key="k")
