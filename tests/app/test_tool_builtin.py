"""What an agent may do with its call, against a call that is only as much of one as they see."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest
from servers import until

from tandem.bridge import Bridge
from tandem.call_state import State
from tandem.call_types import CallEvent, CallStats, Depart, Keys, Transfer
from tandem.carrier_line import CarrierLine
from tandem.carriers.table import TWILIO
from tandem.identity import Identity
from tandem.parking import Parking
from tandem.tools.builtin import TOO_EARLY_SECONDS, builtin_tools, has_spoken
from tandem.tools.tool import Tool, ToolFailed
from tandem_codecs.format import MULAW_8K
from tandem_providers.events import HangupRequested
from tandem_providers.provider import Capabilities

TARGETS = {"sales": "+15550001111", "desk": "sip:desk@example.com"}


class Call:
    def __init__(self) -> None:
        self.state = State.TALKING
        self.stats = CallStats()
        self.started_at: float | None = time.monotonic()
        self.parking = Parking()


class Here:
    def __init__(self) -> None:
        self.call = Call()
        self.told: list[CallEvent] = []
        self.line = CarrierLine(TWILIO.traits, Identity("s", "CA1"), None, "")
        self.takes_orders = True
        self.capabilities: Capabilities | None = Capabilities((MULAW_8K,), (MULAW_8K,))

    def tell(self, event: CallEvent) -> None:
        self.told.append(event)
        if isinstance(event, HangupRequested):
            self.call.state = State.LEAVING

    def transfer(self, to: str, say: str | None = None) -> bool:
        return self._depart(Depart(Transfer(to), say))

    def send_keys(self, digits: str) -> bool:
        return self._depart(Depart(Keys(digits)))

    def _depart(self, departure: Depart) -> bool:
        if self.takes_orders:
            self.told.append(departure)
            self.call.parking.ask(departure, 0.0)
        return self.takes_orders

    def given(self, news: str = "") -> None:
        """The carrier had it, and the call is back."""
        self.line.orders, self.line.news = self.line.orders + 1, news
        self.call.parking.wanted = None

    def start(self, tool: Tool, **arguments: Any) -> asyncio.Task[object]:
        async def run() -> object:
            return await tool.run(arguments, cast(Bridge, self))

        return asyncio.create_task(run())


def a_tool(name: str) -> Tool:
    (found,) = builtin_tools([name], TARGETS, controlled=True)
    return found


async def lasts(task: asyncio.Task[object]) -> bool:
    """It gives no answer for now."""
    await asyncio.wait([task], timeout=0.25)
    return not task.done()


def test_what_is_offered() -> None:
    every = ["hang_up", "transfer_call", "send_dtmf"]
    assert [tool.name for tool in builtin_tools(every, TARGETS, controlled=True)] == every
    assert [tool.name for tool in builtin_tools(every, TARGETS, controlled=False)] == ["hang_up"]
    assert [tool.name for tool in builtin_tools(every, {}, controlled=True)] == ["hang_up", "send_dtmf"]
    assert not builtin_tools([], TARGETS, controlled=True)
    shown = str(a_tool("transfer_call").declaration)
    assert "sales" in shown
    assert "+1555" not in shown, "numbers are none of the model's business"


# Hanging up


async def test_a_call_that_has_only_begun_is_not_hung_up_on() -> None:
    here = Here()
    with pytest.raises(ToolFailed, match="has not spoken"):
        await here.start(a_tool("hang_up"))
    here.call.started_at = None
    with pytest.raises(ToolFailed):
        await here.start(a_tool("hang_up"))
    assert not here.told


@pytest.mark.parametrize("sign", ["caller_turns", "dtmf", "barge_ins", "turn_latencies", "time"])
async def test_unless_the_caller_has_spoken_or_time_has_passed(sign: str) -> None:
    here = Here()
    assert not has_spoken(here.call.stats)
    if sign == "time":
        here.call.started_at = time.monotonic() - TOO_EARLY_SECONDS
    else:
        setattr(here.call.stats, sign, [0.5] if sign == "turn_latencies" else 1)
    leaving = here.start(a_tool("hang_up"), reason="done")
    await until(lambda: here.told)
    assert here.told == [HangupRequested("done")]
    leaving.cancel()


async def test_the_model_is_given_nothing_to_talk_on_about() -> None:
    here = Here()
    here.call.stats.caller_turns = 1
    first, second = (here.start(a_tool("hang_up")) for _ in range(2))
    assert await lasts(first)
    assert len(here.told) == 1, "twice is once"
    here.call.state = State.ENDED
    assert await lasts(first)
    assert not second.done()
    first.cancel()
    second.cancel()


async def test_a_caller_who_speaks_keeps_the_line_and_the_model_hears_of_it() -> None:
    here = Here()
    here.call.stats.caller_turns = 1
    leaving = here.start(a_tool("hang_up"))
    await until(lambda: here.told)
    here.call.state = State.TALKING
    answer = await leaving
    assert isinstance(answer, dict)
    assert answer["status"] == "not_done"


# Transfer


async def test_a_transfer_names_its_destination_and_says_a_word_first() -> None:
    here = Here()
    moving = here.start(a_tool("transfer_call"), destination="sales", message=" I am putting you through. ")
    await until(lambda: here.told)
    assert here.told == [Depart(Transfer("+15550001111"), "I am putting you through.")]
    assert await lasts(moving), "the caller is somebody else's soon"
    again = here.start(a_tool("transfer_call"), destination="desk", message="")
    with pytest.raises(ToolFailed, match="not be handed over at the moment"):
        await again
    moving.cancel()


async def test_a_voice_that_can_not_speak_while_it_waits_is_not_asked_to() -> None:
    here = Here()
    here.capabilities = Capabilities((MULAW_8K,), (MULAW_8K,), speaks_while_it_waits=False)
    moving = here.start(a_tool("transfer_call"), destination="sales", message="I am putting you through.")
    await until(lambda: here.told)
    assert here.told == [Depart(Transfer("+15550001111"))]
    moving.cancel()


async def test_nobody_else_is_called() -> None:
    here = Here()
    with pytest.raises(ToolFailed, match="there are sales, desk"):
        await here.start(a_tool("transfer_call"), destination="+15559999999", message="")
    assert not here.told


@pytest.mark.parametrize(
    ("news", "answer"),
    [("Nobody answered.", {"error": "failed", "message": "Nobody answered."}), ("", {"status": "done"})],
)
async def test_what_came_of_it(news: str, answer: dict[str, str]) -> None:
    here = Here()
    moving = here.start(a_tool("transfer_call"), destination="desk", message="")
    await until(lambda: here.told)
    here.given(news)
    assert await moving == answer


async def test_a_caller_who_speaks_before_it_stays() -> None:
    here = Here()
    moving = here.start(a_tool("transfer_call"), destination="desk", message="")
    await until(lambda: here.told)
    here.call.parking.wanted = None
    answer = await moving
    assert isinstance(answer, dict)
    assert answer["status"] == "not_done"


# Keys


async def test_keys_are_pressed() -> None:
    here = Here()
    pressing = here.start(a_tool("send_dtmf"), digits="1 2#")
    await until(lambda: here.told)
    assert here.told == [Depart(Keys("12#"))]
    here.given()
    assert await pressing == {"status": "done"}


@pytest.mark.parametrize("digits", ["", "x", "1,2", "1" * 33, 5])
async def test_what_are_no_keys(digits: object) -> None:
    here = Here()
    if digits == 5:
        here.takes_orders = False
    with pytest.raises(ToolFailed):
        await here.start(a_tool("send_dtmf"), digits=digits)
    assert not here.told
