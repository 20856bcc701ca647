"""Requests to addresses that others name: deadlines, a limit on the answer, no redirects, and nobody's own network.

Names are resolved here, every address that comes of it is looked at, and the connection is made to just those: a name
that means something else a moment later gains nothing. Certificates are still checked against the name.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Final, Self

import httpx

from tandem import __version__, logs
from tandem.cancelling import politely
from tandem.tools.addresses import is_public
from tandem.tools.tool import ToolFailed
from tandem_providers.tools import DaemonThreads

CONNECT_SECONDS: Final = 3.0
AT_ONCE: Final = 64
"""Requests of this process; more wait, within their deadline."""
ADDRESSES: Final = 3
"""Of one name that are tried."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""All addresses of a name. Raises `OSError`."""

log = logs.get(__name__)
_threads = DaemonThreads(8)


class PrivateAddress(httpx.ConnectError):
    """The name leads into somebody's own network."""


async def reachable(host: str, port: int, resolve: Resolve, *, allow_private: bool) -> list[str]:
    """The addresses of a name that may be connected to. If one of them may not, then none.

    Raises:
        httpx.ConnectError: there are none.
        PrivateAddress: they are not for others to reach.
    """
    try:
        found = await resolve(host, port)
    except OSError as error:
        raise httpx.ConnectError(f"the name can not be resolved: {error.strerror or type(error).__name__}") from None
    except UnicodeError:
        raise httpx.ConnectError("the name can not be resolved: it is none") from None
    if not allow_private and not all(is_public(address) for address in found):
        raise PrivateAddress("leads to a private address")
    return found[:ADDRESSES]


class Guard(httpx.AsyncBaseTransport):
    """A transport that only goes where it may. Each host has connections of its own: one that was opened to a name is
    never used for another that has the same address."""

    def __init__(
        self, *, allow_private: bool, context: ssl.SSLContext | None = None, resolve: Resolve | None = None
    ) -> None:
        self._allow_private = allow_private
        self._context = context if context is not None else httpx.create_ssl_context()
        self._resolve = resolve if resolve is not None else addresses_of
        self._hosts: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises `PrivateAddress`, or what any transport does."""
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        transport = self._transport(host)
        failure: httpx.ConnectError | httpx.ConnectTimeout = httpx.ConnectError("the name has no address")
        for address in await reachable(host, port, self._resolve, allow_private=self._allow_private):
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await transport.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    def _transport(self, host: str) -> httpx.AsyncHTTPTransport:
        if host not in self._hosts:
            self._hosts[host] = httpx.AsyncHTTPTransport(verify=self._context, trust_env=False, retries=0)
        return self._hosts[host]

    async def aclose(self) -> None:
        for transport in self._hosts.values():
            await transport.aclose()


async def addresses_of(host: str, port: int) -> list[str]:
    """As the system resolves it, off the loop; a resolver that hangs holds up no other work."""
    job = _threads.submit(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    try:
        found = await asyncio.wrap_future(job)
    except RuntimeError as error:
        cause = error.__cause__
        raise (cause if isinstance(cause, OSError | UnicodeError) else OSError("not resolved")) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Web:
    """One per process. Make it where a TLS context may be made (that reads files), and `close` it."""

    def __init__(self, guard: Guard) -> None:
        self._http = httpx.AsyncClient(
            transport=guard,
            headers={"User-Agent": f"tandem/{__version__}", "Accept": "application/json, text/*;q=0.9"},
            follow_redirects=False,
            trust_env=False,
        )
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, seconds: float, most: int) -> str:
        """The text of the answer to one POST; it is never repeated.

        Raises:
            ToolFailed: none came in time, or not one that can be used. Its words tell a model nothing of us or of them.
        """
        try:
            async with asyncio.timeout(seconds), self._turns:
                return await politely(self._ask, url, body, headers, min(CONNECT_SECONDS, seconds), most)
        except (TimeoutError, httpx.TimeoutException) as error:
            # A connection that takes too long is in no case an answer.
            log.warning("tool gave no answer in time", host=_host(url), seconds=seconds, error=type(error).__name__)
            raise ToolFailed("timeout", "The service did not answer in time.") from None
        except PrivateAddress:
            log.error("tool refused: it leads to a private address (see TOOLS_ALLOW_PRIVATE)", host=_host(url))
            raise ToolFailed("failed", "The service can not be reached.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("tool can not be reached", host=_host(url), error=type(error).__name__, problem=str(error))
            raise ToolFailed("failed", "The service can not be reached.") from None

    async def _ask(self, url: str, body: bytes, headers: Mapping[str, str], connect_seconds: float, most: int) -> str:
        # Compressed answers could grow without bound while they are unpacked.
        asked = {**headers, "Accept-Encoding": "identity"}
        limits = httpx.Timeout(None, connect=connect_seconds)
        async with self._http.stream("POST", url, content=body, headers=asked, timeout=limits) as response:
            if response.is_redirect or not response.is_success:
                log.warning("tool answered with an error", host=_host(url), status=response.status_code)
                raise ToolFailed("failed", f"The service answered with an error (HTTP {response.status_code}).")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                log.warning("tool answered compressed, which was not asked for", host=_host(url))
                raise ToolFailed("failed", "The service gave an answer that can not be read.")
            answer = bytearray()
            async for piece in response.aiter_raw():
                answer += piece
                if len(answer) > most:
                    log.warning("tool answered too much", host=_host(url), limit=most)
                    raise ToolFailed("too_large", "The result is too large.")
        return answer.decode("utf-8", "replace")

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()


def _host(url: str) -> str:
    """For the log: where, without what it says."""
    try:
        return httpx.URL(url).host
    except httpx.InvalidURL:
        return ""
