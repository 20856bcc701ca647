"""From what is wanted to tools that work: connections are made here, and let go of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from tandem.metrics import Metrics
from tandem.tools.toolbox import Refuses, Toolbox
from tandem.tools.wanted import WantedTools
from tandem.tools.web import Guard, Web

if TYPE_CHECKING:
    from tandem.tools.mcp_servers import McpServers


def _mcp_servers(wanted: WantedTools) -> McpServers:
    """Imported where it may take its time, and only for those who have such servers."""
    from tandem.tools.mcp_servers import McpServers

    return McpServers(wanted.mcp, allow_private=wanted.allow_private)


@asynccontextmanager
async def opened_tools(
    wanted: WantedTools, metrics: Metrics | None = None, refuses: Refuses | None = None
) -> AsyncIterator[Toolbox]:
    """The toolbox of a server, for as long as it runs. Tools that `refuses` has a word about are left out."""
    async with AsyncExitStack() as stack:
        fixed = []
        if wanted.http:
            # TLS contexts are read from files.
            guard = await asyncio.to_thread(Guard, allow_private=wanted.allow_private)
            web = await stack.enter_async_context(Web(guard))
            fixed = [tool.through(web) for tool in wanted.http]
        source = None
        if wanted.mcp:
            servers = await asyncio.to_thread(_mcp_servers, wanted)
            source = await stack.enter_async_context(servers)
        yield Toolbox(fixed, source, builtin=wanted.builtin, targets=wanted.targets, metrics=metrics, refuses=refuses)
