"""What the check says of tools."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import Any

from mcp_play import SHOP
from tool_play import SECRET, service, tool, tools_file

from tandem.check import run
from tandem.check_tools import tools
from tandem.screen import Screen
from tandem.settings import Settings, load


async def settings(**environ: str) -> Settings:
    return await asyncio.to_thread(load, {"PROVIDERS": "echo", "TOOLS_SECRET": SECRET, **environ}, None)


async def found(made: Settings, **options: Any) -> list[tuple[str, str, str]]:
    return [(each.verdict, each.what, each.found) for each in await tools(made.tools, **options)]


async def test_names_are_looked_at_and_nothing_is_called(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        if host == "gone.example":
            raise OSError(2, "Name or service not known")
        return ["10.0.0.1"] if host == "inside.example" else ["8.8.8.8"]

    entries = [tool(f"https://{name}.example/do", name=name) for name in ("shop", "inside", "gone")]
    made = await settings(TOOLS_FILE=tools_file(tmp_path, *entries), BUILTIN_TOOLS="hang_up")
    assert await found(made, resolve=resolve) == [
        ("ok", "built-in tools", "hang_up"),
        ("ok", "tool shop", "would be asked at shop.example (8.8.8.8)"),
        ("wrong", "tool inside", "inside.example leads to a private address"),
        ("wrong", "tool gone", "gone.example: the name can not be resolved: Name or service not known"),
    ]
    async with service() as there:
        path = tools_file(tmp_path, tool(there.url))
        made = await settings(TOOLS_FILE=path, TOOLS_ALLOW_PRIVATE="true")
        assert await found(made) == [("ok", "tool opening_hours", "would be asked at 127.0.0.1 (127.0.0.1)")]
        assert not there.asked


async def test_servers_are_asked_what_they_offer() -> None:
    made = await settings(MCP_SERVERS=f"shop={sys.executable} {SHOP},gone=no-such-command-here")
    (good, bad) = await found(made)
    assert good[:2] == ("ok", "MCP server shop")
    assert good[2].startswith("offers opening_hours, slow")
    assert bad == ("wrong", "MCP server gone", "there is no command no-such-command-here")


async def test_the_check_shows_them_and_fails_for_them() -> None:
    out = io.StringIO()
    made = await settings(MCP_SERVERS="gone=no-such-command-here", TRANSFER_TARGETS="a=+15550001111")
    assert await run(Screen(out, out), made) == 1
    assert "wrong\tMCP server gone\tthere is no command" in out.getvalue()
    assert "15550001111" not in out.getvalue()
