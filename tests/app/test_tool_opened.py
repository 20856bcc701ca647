"""From what is wanted to tools that work."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mcp_play import SHOP
from tool_play import SECRET, service, tool, tools_file

from tandem.bridge import Bridge
from tandem.identity import Identity
from tandem.metrics import Metrics
from tandem.settings import load
from tandem.silence import SilenceWatch
from tandem.tools.opened import opened_tools
from tandem.tools.toolbox import Toolbox
from tandem.tools.wanted import WantedTools
from tandem_providers.config import ProcessConfig


def call(box: Toolbox) -> Any:
    quiet = SimpleNamespace(silence=SilenceWatch(0.0, 0.0))
    line = SimpleNamespace(api=None)
    made = SimpleNamespace(identity=Identity("s", "CA1"), line=line, config=ProcessConfig(), call=quiet)
    box.equip(cast(Bridge, made))
    return made


async def test_nothing_wanted_opens_nothing() -> None:
    async with opened_tools(WantedTools()) as box:
        assert not call(box).config.functions


async def test_all_of_it_together(tmp_path: Path) -> None:
    metrics = Metrics()
    async with service() as there:
        environ = {
            "TOOLS_FILE": tools_file(tmp_path, tool(there.url)),
            "TOOLS_SECRET": SECRET,
            "TOOLS_ALLOW_PRIVATE": "true",
            "MCP_SERVERS": f"shop={sys.executable} {SHOP}",
            "BUILTIN_TOOLS": "hang_up,send_dtmf",
            "PROVIDERS": "echo",
        }
        settings = await asyncio.to_thread(load, environ, None)
        async with opened_tools(settings.tools, metrics) as box:
            config = call(box).config
            names = [function.name for function in config.functions]
            # What a file declares goes before what a server offers under the same name.
            assert names[:2] == ["hang_up", "opening_hours"]
            assert names.count("opening_hours") == 1
            assert {"slow", "fails"} <= set(names)
            assert await config.on_function_call("opening_hours", {"day": "sunday"}) == '{"answer": 42}'
            assert there.asked[0].is_signed()
            told = await config.on_function_call("with_dots_and_more", {})
            assert told == "odd"
    value = metrics.registry.get_sample_value("tandem_tools_total", {"tool": "opening_hours", "outcome": "done"})
    assert value == 1
