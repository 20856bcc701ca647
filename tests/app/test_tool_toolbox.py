"""What one call has of the tools: bound to it, bridged with a word while slow, and never a failure that gets out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from servers import log_lines, until

from tandem.bridge import Bridge, Identity
from tandem.call_state import State
from tandem.call_types import CallEvent, Tell
from tandem.metrics import Metrics
from tandem.silence import SilenceWatch
from tandem.tools.tool import Tool, ToolFailed
from tandem.tools.toolbox import Toolbox
from tandem_providers.config import FunctionDeclaration, ProcessConfig


class Ledger:
    def __init__(self) -> None:
        self.audible = False

    def speaking(self, now: float) -> bool:
        return self.audible


class Call:
    def __init__(self) -> None:
        self.state = State.TALKING
        self.ledger = Ledger()
        self.silence = SilenceWatch(60.0, -1e6)


class Here:
    """As much of a call as tools see."""

    def __init__(self) -> None:
        self.identity = Identity("session", "CA1")
        self.line = SimpleNamespace(api=object())
        self.call = Call()
        self.config = ProcessConfig(instructions="Be kind.", functions=[FunctionDeclaration("old")])
        self.told: list[CallEvent] = []

    def tell(self, event: CallEvent) -> None:
        self.told.append(event)

    @property
    def bridge(self) -> Bridge:
        return cast(Bridge, self)

    async def use(self, name: str, **arguments: Any) -> Any:
        function = self.config.on_function_call
        assert function is not None
        return await function(name, arguments)


def tool(name: str, run: Any = None, filler: str = "") -> Tool:
    async def says_its_name(arguments: Mapping[str, Any], call: Bridge) -> object:
        return f"{name} {dict(arguments)} {call.identity.call_id}"

    return Tool(FunctionDeclaration(name), run or says_its_name, filler)


def names(here: Here) -> list[str]:
    return [function.name for function in here.config.functions]


class Changing:
    """Tools that come and go."""

    def __init__(self, *tools: Tool) -> None:
        self.now = tools

    def tools(self) -> tuple[Tool, ...]:
        return self.now


async def test_a_call_has_all_that_there_is_when_it_begins() -> None:
    source = Changing(tool("c"))
    box = Toolbox(
        [tool("a"), tool("b")], source, builtin=["hang_up", "send_dtmf", "transfer_call"], targets={"x": "+1555"}
    )
    first, second, third = Here(), Here(), Here()
    box.equip(first.bridge)
    assert names(first) == ["hang_up", "transfer_call", "send_dtmf", "a", "b", "c"]
    assert first.config.instructions == "Be kind."
    assert await first.use("b", n=1) == "b {'n': 1} CA1"
    source.now = ()
    second.line.api = None
    box.equip(second.bridge)
    assert names(second) == ["hang_up", "a", "b"], "what the carrier can not do is not offered"
    box.equip(third.bridge, only=["b", "hang_up", "unknown"])
    assert names(third) == ["hang_up", "b"]


async def test_without_tools_there_is_no_function() -> None:
    here = Here()
    Toolbox().equip(here.bridge)
    assert names(here) == []
    assert here.config.on_function_call is None


async def test_a_name_belongs_to_the_first() -> None:
    here = Here()
    Toolbox([tool("hang_up"), tool("a")], Changing(tool("a", filler="other")), builtin=["hang_up"]).equip(here.bridge)
    assert names(here) == ["hang_up", "a"]
    assert here.config.functions[0].description.startswith("Ends the telephone call")


async def test_a_tool_from_elsewhere_that_a_provider_would_refuse_is_left_out() -> None:
    """Else it would refuse every call from then on. It is found out once."""
    asked: list[str] = []

    def refuses(function: FunctionDeclaration) -> str:
        asked.append(function.name)
        return "provider xai: the name belongs to a tool of the provider" if function.name == "web_search" else ""

    source = Changing(tool("web_search"), tool("find"))
    box = Toolbox([tool("a")], source, refuses=refuses)
    with log_lines() as lines:
        for _ in range(3):
            here = Here()
            box.equip(here.bridge)
            assert names(here) == ["a", "find"]
    assert asked == ["web_search", "find"]
    assert [line["tool"] for line in lines if line["event"] == "tool left out"] == ["web_search"]
    source.now = (tool("find"),)
    box.equip(Here().bridge)
    assert asked == ["web_search", "find", "find"], "another of that name is another one"


@pytest.mark.parametrize(
    ("failure", "answer", "outcome"),
    [
        (ToolFailed("timeout", "Too slow."), {"error": "timeout", "message": "Too slow."}, "timeout"),
        (ValueError("a detail"), {"error": "failed", "message": "The function failed."}, "failed"),
    ],
)
async def test_what_goes_wrong_is_told_in_words_fit_for_a_model(
    failure: Exception, answer: dict[str, str], outcome: str
) -> None:
    async def fails(arguments: Mapping[str, Any], call: Bridge) -> object:
        raise failure

    here, metrics = Here(), Metrics()
    Toolbox([tool("a", fails)], metrics=metrics).equip(here.bridge)
    assert await here.use("a") == answer
    assert metrics.registry.get_sample_value("tandem_tools_total", {"tool": "a", "outcome": outcome}) == 1


class Slow:
    """A tool that answers when it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, arguments: Mapping[str, Any], call: Bridge) -> object:
        await self.go.wait()
        return "there"


async def test_r19_a_slow_tool_is_bridged_with_its_words_once() -> None:
    here, slow = Here(), Slow()
    box = Toolbox([tool("a", slow, "One moment.")], filler_seconds=0.02)
    box.equip(here.bridge)
    using = asyncio.create_task(here.use("a"))
    await until(lambda: here.told)
    await asyncio.sleep(0.15)
    assert here.told == [Tell("One moment.", aloud=True, waits=True)]
    slow.go.set()
    assert await using == "there"


async def test_who_waits_for_us_is_not_asked_why_he_is_silent() -> None:
    here, slow = Here(), Slow()
    Toolbox([tool("a", slow)]).equip(here.bridge)
    assert here.call.silence.nudge_due(time.monotonic())
    here.call.silence.nudged = False
    using = asyncio.create_task(here.use("a"))
    await asyncio.sleep(0)
    assert not here.call.silence.nudge_due(time.monotonic())
    slow.go.set()
    await using


async def test_words_wait_until_the_agent_is_quiet_and_the_talk_goes_on() -> None:
    here, slow = Here(), Slow()
    here.call.ledger.audible = True
    Toolbox([tool("a", slow, "One moment.")], filler_seconds=0.01).equip(here.bridge)
    using = asyncio.create_task(here.use("a"))
    await asyncio.sleep(0.05)
    assert not here.told
    here.call.ledger.audible = False
    here.call.state = State.RECOVERING
    await asyncio.sleep(0.15)
    assert not here.told
    here.call.state = State.TALKING
    await until(lambda: here.told)
    slow.go.set()
    await using


async def test_a_quick_tool_and_one_that_is_given_up_need_no_words() -> None:
    here, slow = Here(), Slow()
    Toolbox([tool("a", slow, "One moment."), tool("b", None, "Hm.")], filler_seconds=0.03).equip(here.bridge)
    await here.use("b")
    using = asyncio.create_task(here.use("a"))
    await asyncio.sleep(0)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    await asyncio.sleep(0.06)
    assert not here.told
