"""A real MCP server of a shop, made with the vendor-neutral SDK: run by tests as a command, or on a port of its own.

python mcp_play.py             over standard input and output
python mcp_play.py PORT        over streamable HTTP
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer

SHOP = Path(__file__)


def shop(name: str = "shop") -> MCPServer:
    server = MCPServer(name)

    @server.tool()
    def opening_hours(day: str) -> str:
        """When the shop is open."""
        return f"{name} is open on {day} until {os.environ.get('CLOSES', 'four')}"

    @server.tool()
    async def slow() -> str:
        """Takes its time."""
        await asyncio.sleep(60)
        return "at last"

    @server.tool()
    def fails() -> str:
        """Does not work."""
        raise ValueError("the shelf is empty")

    @server.tool()
    def large() -> str:
        """Says too much."""
        return "x" * 100_000

    @server.tool(name="with.dots and more")
    def odd() -> str:
        """Has a name that no provider takes."""
        return "odd"

    @server.tool()
    async def learns(context: Context) -> str:
        """From now on there is one more."""

        def new_one() -> str:
            """Just learnt."""
            return "new"

        server.add_tool(new_one)
        await context.notify_tools_changed()
        await context.session.send_tool_list_changed()
        return "learnt"

    @server.tool()
    def dies() -> str:
        """Ends the server at once."""
        os._exit(3)

    return server


@asynccontextmanager
async def on_port(port: int = 0, *, name: str = "shop") -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A server in a process of its own; its URL."""
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SHOP), str(port), name, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    if sys.argv[1:]:
        shop(sys.argv[2]).run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        shop().run("stdio")
