"""What `tandem check` finds out about tools: whether their hosts may be reached, and what MCP servers offer. No tool is
called."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import httpx

from tandem.finding import Finding
from tandem.tools.http_tool import HttpTool
from tandem.tools.wanted import WantedTools
from tandem.tools.web import PrivateAddress, Resolve, addresses_of, reachable

if TYPE_CHECKING:
    from tandem.tools.mcp_config import McpServer

SECONDS: Final = 10.0


async def tools(wanted: WantedTools, resolve: Resolve = addresses_of) -> list[Finding]:
    """One line for what is built in, one for each tool of the file, one for each server."""
    findings = []
    if wanted.builtin:
        names = f" to {', '.join(wanted.targets)}" if wanted.targets else ""
        findings.append(Finding("ok", "built-in tools", f"{', '.join(wanted.builtin)}{names}"))
    findings += await asyncio.gather(*(_url(tool, wanted.allow_private, resolve) for tool in wanted.http))
    findings += await asyncio.gather(*(_server(server, wanted.allow_private) for server in wanted.mcp))
    return findings


async def _url(tool: HttpTool, allow_private: bool, resolve: Resolve) -> Finding:
    what, url = f"tool {tool.declaration.name}", httpx.URL(tool.url)
    try:
        async with asyncio.timeout(SECONDS):
            found = await reachable(url.host, url.port or 443, resolve, allow_private=allow_private)
    except PrivateAddress:
        fix = "if that is meant, set TOOLS_ALLOW_PRIVATE=true"
        return Finding("wrong", what, f"{url.host} leads to a private address", fix)
    except (httpx.ConnectError, TimeoutError) as error:
        return Finding("wrong", what, f"{url.host}: {error or 'the name is not resolved in time'}", "fix its url")
    return Finding("ok", what, f"would be asked at {url.host} ({found[0]})")


async def _server(server: McpServer, allow_private: bool) -> Finding:
    from tandem.tools.mcp_servers import McpServers

    what = f"MCP server {server.name}"
    async with McpServers([server], allow_private=allow_private, start_seconds=0) as made:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                while made.problem(server.name) == "":  # noqa: ASYNC110  # it works in another thread
                    await asyncio.sleep(0.05)
        names, problem = [tool.name for tool in made.tools()], made.problem(server.name)
    if problem is not None:
        fix = "check its URL or command, and its credentials"
        return Finding("wrong", what, problem or f"no answer within {SECONDS:.0f} s", fix)
    return Finding("ok", what, f"offers {', '.join(names)}") if names else Finding("warning", what, "offers no tools")
