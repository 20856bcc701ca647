"""Tools of MCP servers, as a call can use them. The vendor-neutral SDK does its work on a loop of its own, in a thread
of its own: whatever a server sends, and however large it is, no call's audio waits for it.

A server that is down keeps the tools it had; they answer that they can not be reached, and it is tried again with
growing patience.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from tandem import logs
from tandem.tools.file import GRACE_SECONDS
from tandem.tools.mcp_config import McpServer
from tandem.tools.mcp_link import Found, Link
from tandem.tools.schema import Arguments
from tandem.tools.tool import Tool, ToolFailed
from tandem_providers.config import FunctionDeclaration
from tandem_providers.tools import RESULT_BYTES

if TYPE_CHECKING:
    from tandem.bridge import Bridge

START_SECONDS: Final = 5.0
"""How long the start of the server waits for lists of tools; what comes later is there for later calls."""
STOP_SECONDS: Final = 10.0
LONGEST_ERROR: Final = 500
"""Characters of a tool's own words about what went wrong."""

log = logs.get(__name__)


class McpServers:
    """All of them: a `Source` of tools. Enter it to connect, leave it to let go."""

    def __init__(
        self, servers: Sequence[McpServer], *, allow_private: bool, start_seconds: float = START_SECONDS
    ) -> None:
        self._links = [Link(server, allow_private=allow_private, on_tools=self._listed) for server in servers]
        self._start_seconds = start_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._work, name="tandem-mcp", daemon=True)
        self._waited_for: Future[None] = Future()
        self._lock = threading.Lock()
        self._tools: dict[str, list[Tool]] = {}
        self._offered: tuple[Tool, ...] = ()

    async def __aenter__(self) -> Self:
        """Connect. Returns when every server has told its tools, or when that takes too long."""
        self._thread.start()
        if not self._start_seconds:
            return self
        try:
            async with asyncio.timeout(self._start_seconds):
                await asyncio.shield(asyncio.wrap_future(self._waited_for))
        except TimeoutError:
            with self._lock:
                late = [link.server.name for link in self._links if link.server.name not in self._tools]
            log.warning("MCP servers are late: their tools are missing until they answer", servers=late)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def tools(self) -> Sequence[Tool]:
        """Those that are known now."""
        return self._offered

    def problem(self, name: str) -> str | None:
        """Why that server is not connected; empty while that is not known yet, None when it is."""
        return next((link.problem for link in self._links if link.server.name == name), None)

    # The other thread

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            links = [group.create_task(link.run(), name=f"MCP {link.server.name}") for link in self._links]
            await self._stop.wait()
            for link in links:
                link.cancel()

    def _listed(self, server: McpServer, found: Sequence[Found]) -> None:
        """A server has told what it offers."""
        with self._lock:
            self._tools[server.name] = [tool for each in found if (tool := self._tool(server, each)) is not None]
            self._offered = tuple(_distinct(self._tools))
            complete = len(self._tools) == len(self._links)
        if complete and not self._waited_for.done():
            self._waited_for.set_result(None)

    def _tool(self, server: McpServer, found: Found) -> Tool | None:
        try:
            arguments = Arguments(found.schema)
        except ValueError as error:
            log.warning("MCP tool left out: its schema can not be used", server=server.name, problem=str(error))
            return None
        link = next(link for link in self._links if link.server is server)

        async def run(given: Mapping[str, Any], call: Bridge) -> object:
            if problem := arguments.problem(given):
                raise ToolFailed("invalid_arguments", f"The arguments do not fit. {problem}")
            return await self._ask(link, found.name, given)

        seconds = server.timeout_seconds + GRACE_SECONDS
        declaration = FunctionDeclaration(usable_name(found.name), found.description, found.schema, seconds=seconds)
        return Tool(declaration, run, server.filler)

    # Calls, on the server's own loop

    async def _ask(self, link: Link, name: str, arguments: Mapping[str, Any]) -> object:
        if self._loop is None or self._loop.is_closed():
            raise ToolFailed("failed", "The service can not be reached.")
        asking = asyncio.run_coroutine_threadsafe(link.call(name, dict(arguments)), self._loop)
        try:
            async with asyncio.timeout(link.server.timeout_seconds):
                text, failed = await asyncio.wrap_future(asking)  # cancelling it cancels what runs over there
        except TimeoutError:
            log.warning("MCP server gave no answer in time", server=link.server.name)
            raise ToolFailed("timeout", "The service did not answer in time.") from None
        if failed:
            raise ToolFailed("failed", text[:LONGEST_ERROR] or "The function failed.")
        if len(text.encode(errors="replace")) > RESULT_BYTES:
            raise ToolFailed("too_large", "The result is too large.")
        return text or msgspec.json.encode({"status": "done"}).decode()


def usable_name(name: str) -> str:
    """A name that every provider takes."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"[:64]


def _distinct(tools: Mapping[str, Sequence[Tool]]) -> list[Tool]:
    """All of them; those that share a name have their server's before it."""
    often = Counter(tool.name for each in tools.values() for tool in each)
    distinct: dict[str, Tool] = {}
    for server in sorted(tools):
        for tool in tools[server]:
            if often[tool.name] > 1:
                named = usable_name(f"{server}_{tool.name}")
                tool = replace(tool, declaration=replace(tool.declaration, name=named))
            distinct.setdefault(tool.name, tool)
    return list(distinct.values())
