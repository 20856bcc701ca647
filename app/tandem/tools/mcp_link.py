"""One MCP server and our connection to it: opened, listened to, opened again. Runs on the loop of `mcp_servers`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TextIO

import httpx2
import msgspec
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.types import Implementation

from tandem import __version__, logs
from tandem.tools.mcp_config import McpServer
from tandem.tools.tool import ToolFailed
from tandem.tools.web import PrivateAddress, addresses_of, reachable

CONNECT_SECONDS: Final = 10.0
LIST_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 20.0
"""How often a server is asked for its list though it has not said that it changed: so it is seen to be gone, too."""
PATIENCE: Final = (0.5, 60.0)
"""Seconds until the first and before each later attempt to reach a server that is gone, at least and at most."""
MOST_TOOLS: Final = 128
"""Of one server; providers take no more."""
_PAGES: Final = 20
_US: Final = Implementation(name="tandem", version=__version__)

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A tool as a server tells of it."""

    name: str
    description: str
    schema: Mapping[str, Any]


class Link:
    """`on_tools` is called with what the server offers, each time that it is learnt."""

    def __init__(
        self,
        server: McpServer,
        *,
        allow_private: bool,
        on_tools: Callable[[McpServer, Sequence[Found]], None],
        patience: tuple[float, float] = PATIENCE,
    ) -> None:
        self.server = server
        self._allow_private = allow_private
        self._on_tools = on_tools
        self._patience = patience
        self._client: Client | None = None
        self._look = asyncio.Event()
        """Its tools may have changed, or it may be gone."""
        self._known: Sequence[Found] | None = None
        self.problem: str | None = ""
        """Why there is no connection; empty while the first is being made, None when there is one."""

    async def run(self) -> None:
        """Keep the connection. Runs until cancelled."""
        waits = _backoff(*self._patience)
        while True:
            try:
                async with self._connected() as client:
                    waits = _backoff(*self._patience)
                    await self._stay(client)
            except Exception as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    # We were told to end, and the connection's own end has covered that up.
                    raise asyncio.CancelledError from None
                self.problem = _reason(error)
                log.warning("MCP server is not reachable", server=self.server.name, problem=self.problem)
            await asyncio.sleep(next(waits))

    async def call(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """The text of a tool's answer, and whether it is one of failure. Its caller has the deadline.

        Raises:
            ToolFailed: there is none.
        """
        client = self._client
        if client is None:
            raise ToolFailed("failed", "The service can not be reached.")
        try:
            result = await client.call_tool(name, arguments)
        except Exception as error:
            self._look.set()
            log.warning("MCP tool failed", server=self.server.name, tool=name, error=_reason(error))
            raise ToolFailed("failed", "The service could not do it.") from None
        parts = [getattr(part, "text", None) or f"({part.type} left out)" for part in result.content]
        if not parts and result.structured_content is not None:
            parts = [msgspec.json.encode(result.structured_content).decode()]
        return "\n".join(parts), result.is_error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(CONNECT_SECONDS):
                transport = await self._transport(stack)
                made = Client(transport, message_handler=self._heard, client_info=_US, cache=None)
                client = await stack.enter_async_context(made)
                await self._list(client)
            self._client, self.problem = client, None
            log.info("MCP server connected", server=self.server.name, tools=len(self._known or ()))
            try:
                yield client
            finally:
                self._client = None

    async def _transport(self, stack: AsyncExitStack) -> Transport:
        server = self.server
        if server.url:
            http = await stack.enter_async_context(_http(server, self._allow_private))
            return streamable_http_client(server.url, http_client=http)
        if await asyncio.to_thread(shutil.which, server.command) is None:
            raise FileNotFoundError(f"there is no command {server.command}")
        parameters = StdioServerParameters(command=server.command, args=[*server.args], env=dict(server.env))
        return stdio_client(parameters, errlog=stack.enter_context(_errors_of(server.name)))

    async def _stay(self, client: Client) -> None:
        """Until the server is gone."""
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look_again(client), name="MCP list")
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    self._look.set()  # for what changed before it was listened to
                    async for _ in changes:
                        self._look.set()
            except ListenNotSupportedError:
                pass  # of an older make: it tells without being asked to
            except SubscriptionLost:
                self._look.set()
            except Exception as error:
                log.debug("MCP server tells no changes", server=self.server.name, problem=_reason(error))
            await looking

    async def _look_again(self, client: Client) -> None:
        """Raises what the server's absence looks like."""
        while True:
            self._look.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look.wait()
            async with asyncio.timeout(LIST_SECONDS):
                await self._list(client)

    async def _list(self, client: Client) -> None:
        found: list[Found] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            page = await client.list_tools(cursor=cursor)
            found += [Found(tool.name, tool.description or "", tool.input_schema) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor or len(found) > MOST_TOOLS:
                break
        if len(found) > MOST_TOOLS:
            log.warning(
                "MCP server has too many tools; the last are left out", server=self.server.name, most=MOST_TOOLS
            )
        if found[:MOST_TOOLS] != self._known:
            self._known = found[:MOST_TOOLS]
            self._on_tools(self.server, self._known)

    async def _heard(self, message: object) -> None:
        """Something that was not asked for. Only one kind of it matters here."""
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            self._look.set()


class _Guard(httpx2.AsyncBaseTransport):
    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpx2.AsyncHTTPTransport(verify=httpx2.create_ssl_context(), trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host, url = request.url.host, request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        (address, *_) = await reachable(host, port, addresses_of, allow_private=self._allow_private)
        pinned = httpx2.Request(
            request.method,
            url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )
        return await self._inner.handle_async_request(pinned)

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def _http(server: McpServer, allow_private: bool) -> AsyncIterator[Any]:
    """A client that only goes where it may, as `web.Guard` does."""
    guard = await asyncio.to_thread(_Guard, allow_private=allow_private)  # a TLS context is read from files
    timeout = httpx2.Timeout(CONNECT_SECONDS, read=None)  # each call has its own deadline; streams stay open
    async with httpx2.AsyncClient(transport=guard, headers=dict(server.headers), timeout=timeout) as client:
        yield client


@contextlib.contextmanager
def _errors_of(name: str) -> Iterator[TextIO]:
    """What a command writes to its standard error, for our log, as far as that shows such detail."""
    read, write = os.pipe()

    def copy() -> None:
        with os.fdopen(read, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                log.debug("MCP server says", server=name, line=line.rstrip()[:300])

    threading.Thread(target=copy, name=f"tandem-mcp-{name}", daemon=True).start()
    with os.fdopen(write, "w") as file:
        yield file


def _backoff(least: float, most: float) -> Iterator[float]:
    """Seconds to wait, each time more, with some chance so that many do not come at once."""
    wait = least
    while True:
        yield min(wait, most) * random.uniform(0.7, 1.3)
        wait = min(wait * 2, most)


def _reason(error: BaseException) -> str:
    """The first cause, without what a server may have written into it."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, PrivateAddress):
        return "leads to a private address; allow that with TOOLS_ALLOW_PRIVATE=true"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return type(error).__name__
