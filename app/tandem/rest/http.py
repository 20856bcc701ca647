"""HTTP to a carrier's API: what every REST client of ours shares. Deadlines, one retry where it is harmless, errors
sorted once.

A request is repeated, once, when nothing can have been done by the first one (no connection, 429, usually 503), or when
the carrier promises that doing it twice is doing it once (`again=True`: it carries an idempotency key, or only reads).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec

from tandem import __version__
from tandem.cancelling import politely
from tandem.rest.port import CarrierApiError

USER_AGENT: Final = f"tandem/{__version__}"
LONGEST_ANSWER: Final = 1 << 20
"""Bytes. A page of an account's numbers is far below that."""
LONGEST_WORDS: Final = 200
"""Characters of a carrier's explanation that are kept."""

NOTHING_DONE: Final = frozenset({429, 503})
"""Statuses of a carrier that has not begun with what it was asked."""

Form = Mapping[str, str | list[str]]
"""The fields of a form; a list is a name that comes several times."""
Explain = Callable[[Any], tuple[str, str]]
"""A carrier's error body (parsed JSON, None if it is none) to its own code and words, either possibly empty."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take, in seconds."""

    seconds: float = 8.0
    """The whole of it, the retry included."""
    attempt_seconds: float = 3.0
    """The first attempt, when there may be a second; the last one has what is left."""
    connect_seconds: float = 2.0
    pause_seconds: float = 0.2
    """Between the two, unless the carrier names a time."""


class CarrierHttp:
    """One account's connection to one carrier's API. `close` it; any number of requests may run at once.

    `headers` and `auth` carry the credentials; neither they nor the URL are part of any error. Make it where a TLS
    context may be made: that reads files.
    """

    def __init__(
        self,
        carrier: str,
        base_url: str,
        *,
        explain: Explain,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        patience: Patience | None = None,
        not_done: frozenset[int] = NOTHING_DONE,
    ) -> None:
        secure = base_url.startswith("https")
        self._carrier = carrier
        self._explain = explain
        self._patience = patience or Patience()
        self._not_done = not_done
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"User-Agent": USER_AGENT, "Accept": "application/json", **(headers or {})},
            auth=auth,
            verify=secure,
            trust_env=secure,  # a proxy on the way to the world, none to one's own machine
            follow_redirects=False,  # credentials go to the host they were given for
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        form: Form | None = None,
        query: Mapping[str, str] | None = None,
        again: bool = False,
        patience: Patience | None = None,
    ) -> Any:
        """One operation: the parsed JSON of its answer, None when the answer has no body. `path` is already escaped.

        Raises:
            CarrierApiError: refused, failed, or no answer in time.
        """
        waits = patience or self._patience
        request = _Request(method, path, json, form, query)
        clock = asyncio.get_running_loop().time
        deadline = clock() + waits.seconds
        try:
            return await self._attempt(request, waits, min(waits.attempt_seconds, waits.seconds))
        except _Failed as failure:
            pause = waits.pause_seconds if failure.retry_after is None else failure.retry_after
            may_again = failure.error.retryable or (again and failure.passing)
            if not may_again or clock() + pause >= deadline:
                raise failure.error from None
        await asyncio.sleep(pause)
        try:
            return await self._attempt(request, waits, deadline - clock())
        except _Failed as failure:
            raise failure.error from None

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()

    async def _attempt(self, request: _Request, waits: Patience, seconds: float) -> Any:
        built = self._http.build_request(
            request.method,
            request.path,
            json=request.json,
            data=request.form,
            params=request.query,
            timeout=httpx.Timeout(seconds, connect=min(waits.connect_seconds, seconds)),
        )
        try:
            async with asyncio.timeout(seconds):
                response, body = await politely(self._send, built)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._failure(f"can not be reached: {_words_of(error)}", retryable=True) from None
        except (httpx.TimeoutException, TimeoutError):
            raise self._failure(f"no answer within {seconds:.1f} s") from None
        except httpx.HTTPError as error:
            raise self._failure(f"no answer: {_words_of(error)}") from None
        if response.is_success:
            return self._parsed(body)
        raise self._refusal(response, body)

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        response = await self._http.send(request, stream=True)
        try:
            return response, await _read(response)
        finally:
            await response.aclose()

    def _parsed(self, body: bytes) -> Any:
        if not body.strip():
            return None
        try:
            return msgspec.json.decode(body)
        except (ValueError, RecursionError):
            raise self._failure("answered something that is no JSON", passing=False) from None

    def _refusal(self, response: httpx.Response, body: bytes) -> _Failed:
        try:
            parsed = msgspec.json.decode(body)
        except (ValueError, RecursionError):
            parsed = None
        try:
            code, words = self._explain(parsed)
        except (AttributeError, IndexError, KeyError, TypeError):
            code, words = "", ""
        status = response.status_code
        message = " ".join(part for part in (f"answered {status}", code, words) if part)
        return self._failure(
            message,
            status=status,
            code=code,
            retryable=status in self._not_done,
            passing=status >= 500,
            retry_after=_retry_after(response.headers) if status in NOTHING_DONE else None,
        )

    def _failure(
        self,
        words: str,
        *,
        status: int | None = None,
        code: str = "",
        retryable: bool = False,
        passing: bool = True,
        retry_after: float | None = None,
    ) -> _Failed:
        text = f"{self._carrier} {words}"
        text = text if len(text) <= LONGEST_WORDS else f"{text[: LONGEST_WORDS - 3]}..."
        error = CarrierApiError(text, status=status, code=code, retryable=retryable)
        return _Failed(error, passing=passing, retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    json: Mapping[str, Any] | None
    form: Form | None
    query: Mapping[str, str] | None


class _Failed(Exception):
    """One attempt came to nothing."""

    def __init__(self, error: CarrierApiError, *, passing: bool, retry_after: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.passing = passing
        """It may be over soon; whether something was done is not known."""
        self.retry_after = retry_after
        """Seconds, where the carrier named them."""


async def _read(response: httpx.Response) -> bytes:
    """The body, as far as it may be long."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > LONGEST_ANSWER:
            raise httpx.ReadError("an answer without end")
    return bytes(body)


def _retry_after(headers: httpx.Headers) -> float | None:
    """The seconds that the carrier asks for, in any of the headers that say so."""
    for name in ("retry-after", "x-ratelimit-reset"):
        text = headers.get(name, "")
        if text.isascii() and text.isdigit():
            return float(text)
    return None


def _words_of(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
