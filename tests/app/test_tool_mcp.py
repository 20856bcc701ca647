"""Tools of real MCP servers, over standard input and output and over streamable HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import psutil
import pytest
from mcp_play import SHOP, on_port
from servers import eventually, log_lines, until

from tandem.bridge import Bridge
from tandem.tools.mcp_config import McpServer
from tandem.tools.mcp_servers import McpServers, usable_name
from tandem.tools.tool import ToolFailed

COMMAND = McpServer("shop", command=sys.executable, args=(str(SHOP),), timeout_seconds=5.0)
OFFERED = {"opening_hours", "slow", "fails", "large", "with_dots_and_more", "learns", "dies"}


@asynccontextmanager
async def servers(*each: McpServer, start_seconds: float = 20.0, **options: Any) -> AsyncIterator[McpServers]:
    async with McpServers(each, allow_private=True, start_seconds=start_seconds, **options) as made:
        yield made


@asynccontextmanager
async def shop(how: str, **changes: Any) -> AsyncIterator[McpServers]:
    if how == "stdio":
        async with servers(_with(COMMAND, **changes)) as made:
            yield made
    else:
        async with on_port() as (url, _), servers(McpServer("shop", url, **changes)) as made:
            yield made


def _with(server: McpServer, **changes: Any) -> McpServer:
    return replace(server, **changes)


def names(made: McpServers) -> set[str]:
    return {tool.name for tool in made.tools()}


async def use(made: McpServers, name: str, **arguments: Any) -> object:
    tool = next(tool for tool in made.tools() if tool.name == name)
    return await tool.run(arguments, cast(Bridge, None))


async def failure(made: McpServers, name: str, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ToolFailed) as caught:
        await use(made, name, **arguments)
    return caught.value.error, caught.value.message


async def answers(made: McpServers) -> bool:
    """Whether it works (again)."""
    try:
        return bool(await use(made, "opening_hours", day="sunday"))
    except ToolFailed:
        return False


both = pytest.mark.parametrize("how", ["stdio", "http"])


@both
async def test_tools_are_listed_called_and_their_failures_told(how: str) -> None:
    async with shop(how, timeout_seconds=2.0, filler="Let me see.") as made:
        assert names(made) == OFFERED
        hours = next(tool for tool in made.tools() if tool.name == "opening_hours")
        assert hours.declaration.description == "When the shop is open."
        assert hours.declaration.parameters["required"] == ["day"]
        assert (hours.declaration.seconds, hours.filler) == (3.0, "Let me see.")
        assert await use(made, "opening_hours", day="sunday") == "shop is open on sunday until four"
        assert await use(made, "with_dots_and_more") == "odd"
        error, message = await failure(made, "fails")
        assert error == "failed"
        assert len(message) <= 500
        assert await failure(made, "large") == ("too_large", "The result is too large.")
        error, message = await failure(made, "opening_hours", day=7)
        assert (error, message) == ("invalid_arguments", "The arguments do not fit. At day: 7 is not of type 'string'")


@both
async def test_a_deadline_is_kept_and_the_loop_never_waits(how: str) -> None:
    async with shop(how, timeout_seconds=0.3) as made:
        began, loop = time.monotonic(), asyncio.get_running_loop()
        asking = asyncio.create_task(failure(made, "slow"))
        lags = []
        while not asking.done():
            before = loop.time()
            await asyncio.sleep(0.005)
            lags.append(loop.time() - before - 0.005)
        assert (await asking)[0] == "timeout"
        assert time.monotonic() - began < 3
        lags.sort()
        assert lags[len(lags) * 9 // 10] < 0.02
        assert await use(made, "opening_hours", day="sunday"), "the connection is as good as before"


@both
async def test_a_list_that_changes_is_read_again(how: str) -> None:
    async with shop(how) as made:
        assert await use(made, "learns") == "learnt"
        await until(lambda: "new_one" in names(made), seconds=10)
        assert await use(made, "new_one") == "new"


async def test_a_command_has_only_the_environment_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOSES", "planted")
    async with servers(COMMAND) as made:
        assert "four" in str(await use(made, "opening_hours", day="sunday"))
    async with servers(_with(COMMAND, env={"CLOSES": "ten"})) as made:
        assert "ten" in str(await use(made, "opening_hours", day="sunday"))


async def test_a_server_that_dies_is_started_again_and_meanwhile_its_tools_say_so() -> None:
    with log_lines() as lines:
        async with servers(COMMAND) as made:
            assert (await failure(made, "dies")) == ("failed", "The service could not do it.")
            assert names(made) == OFFERED, "a call that begins now is offered them all the same"

            await eventually(lambda: answers(made), seconds=20)
    assert sum(line["event"] == "MCP server connected" for line in lines) == 2


async def test_a_server_that_comes_back_on_its_port_is_found_again() -> None:
    async with on_port() as (url, process):
        port = int(url.split(":")[2].split("/")[0])
        async with servers(McpServer("shop", url, timeout_seconds=2.0)) as made:
            process.kill()
            await process.wait()
            assert (await failure(made, "opening_hours", day="sunday"))[0] in ("failed", "timeout")
            async with on_port(port):
                await eventually(lambda: answers(made), seconds=30)


async def test_a_server_that_is_not_there_holds_up_nobody() -> None:
    with log_lines() as lines:
        began = time.monotonic()
        gone = McpServer("gone", "http://127.0.0.1:9/mcp")
        missing = McpServer("missing", command="no-such-command-here")
        async with servers(COMMAND, gone, missing, start_seconds=3.0) as made:
            assert time.monotonic() - began < 6
            assert names(made) == OFFERED
    late = next(line for line in lines if line["event"].startswith("MCP servers are late"))
    assert late["servers"] == ["gone", "missing"]
    told = {line["server"]: line["problem"] for line in lines if line["event"] == "MCP server is not reachable"}
    assert told["missing"] == "there is no command no-such-command-here"
    assert "gone" in told


async def test_ones_own_network_is_for_those_who_allow_it() -> None:
    with log_lines() as lines:
        async with (
            on_port() as (url, _),
            McpServers([McpServer("shop", url)], allow_private=False, start_seconds=0.5) as made,
        ):
            await until(lambda: [line for line in lines if line["event"] == "MCP server is not reachable"])
            assert not made.tools()


async def test_those_that_share_a_name_have_their_servers_before_it() -> None:
    async with on_port(name="market") as (url, _), servers(COMMAND, McpServer("market", url)) as made:
        assert {"shop_opening_hours", "market_opening_hours"} <= names(made)
        assert "opening_hours" not in names(made)
        assert "shop is open" in str(await use(made, "shop_opening_hours", day="monday"))
        assert "market is open" in str(await use(made, "market_opening_hours", day="monday"))


async def test_nothing_is_left_behind() -> None:
    async with servers(COMMAND) as made:
        tools = made.tools()
        assert len(psutil.Process().children()) == 1
    assert not psutil.Process().children()
    with pytest.raises(ToolFailed):
        await tools[0].run({"day": "sunday"}, cast(Bridge, None))


@pytest.mark.parametrize(
    ("name", "usable"),
    [("a", "a"), ("a.b/c d", "a_b_c_d"), ("1st", "_1st"), ("", "_"), ("x" * 99, "x" * 64), ("é", "_")],
)
def test_names_that_every_provider_takes(name: str, usable: str) -> None:
    assert usable_name(name) == usable
    assert json.dumps(usable)
