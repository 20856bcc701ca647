"""Calls that we place, over the simulated carrier: dialled, answered, not answered, taken by a machine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from carrier_api import THEIRS, Callee, Office, office
from servers import until

from tandem.bridge import Bridge
from tandem.call_state import State
from tandem_providers.events import UserSpeechStarted, UserSpeechStopped
from tandem_providers.wire import FrameSocket


async def talking(here: Office) -> Bridge:
    """The one call that is up, with nobody speaking."""
    await until(lambda: here.server.board.live)
    (bridge,) = here.server.board.live.values()
    await until(lambda: bridge.call.state is State.TALKING)
    await until(lambda: bridge.call.ledger.speaking(time.monotonic()))
    for event in (UserSpeechStarted(), UserSpeechStopped()):  # a word of the caller ends the greeting
        bridge.tell(event)
    return bridge


async def back(bridge: Bridge, first: FrameSocket | None) -> None:
    """The call talks again, on another stream than the first."""
    await until(lambda: bridge.socket is not first and bridge.call.state is State.TALKING)


async def test_a_call_is_placed_answered_and_hung_up() -> None:
    async with office() as here:
        placed = await here.place(greeting="Hello there.")
        assert placed["state"] in ("dialling", "ringing", "connecting", "talking")
        assert placed["direction"] == "outbound"
        talking = await here.state(placed["call_id"], "talking")
        assert talking["called"] == THEIRS
        answer = await here.ask("DELETE", f"/calls/{placed['call_id']}")
        assert answer.status_code == 202
        over = await here.server.result(placed["call_id"])
        assert over["result"] == "operator"
        await until(lambda: here.twilio.reports)
        report = here.twilio.reports[0]
        assert (report.result, report.ended_by) == ("completed", "server")
        assert not report.problems


async def test_nobody_is_at_home() -> None:
    for result, reason in (("busy", "busy"), ("failed", "not_placed")):
        async with office(callee=Callee(result)) as here:  # type: ignore[arg-type]  # two of its results
            placed = await here.place()
            assert (await here.server.result(placed["call_id"]))["result"] == reason


async def test_a_call_that_rings_can_be_taken_back() -> None:
    async with office(callee=Callee("no-answer")) as here:
        placed = await here.place(ring_seconds=60)
        await here.ask("DELETE", f"/calls/{placed['call_id']}")
        assert (await here.server.result(placed["call_id"]))["result"] == "operator"
        await until(lambda: here.twilio.reports)
        assert here.twilio.reports[0].result == "canceled"


# --- giving the caller to somebody else -------------------------------------------------------------------------------


async def test_a_transfer_that_is_answered_ends_our_part_and_not_the_call() -> None:
    async with office(beyond=Callee("answers", ring_seconds=0.2, talk_seconds=0.5)) as here:
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(here.twilio.call(here.plan()))
            bridge = await talking(here)
            call_id = bridge.identity.call_id
            answer = await here.ask("POST", f"/calls/{call_id}/transfer", {"to": THEIRS})
            assert answer.status_code == 202, answer.text
            over = await here.server.result(call_id)
        assert over["result"] == "transferred"
        live = here.twilio.account.calls[call_id]
        assert live.dialled == [THEIRS]
        report = call.result()
        assert (report.result, report.said) == ("completed", ())
        assert not report.problems


@pytest.mark.parametrize("outcome", ["busy", "no-answer", "failed"])
async def test_a_transfer_that_nobody_takes_brings_the_caller_back(outcome: Any) -> None:
    async with office(beyond=Callee(outcome)) as here:
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(here.twilio.call(here.plan(seconds=30)))
            bridge = await talking(here)
            call_id, first = bridge.identity.call_id, bridge.socket
            assert bridge.transfer(THEIRS, ring_seconds=1)
            await back(bridge, first)
            assert here.server.bridge(call_id) is bridge, "the same conversation"
            await here.ask("DELETE", f"/calls/{call_id}")
        assert call.result().result == "completed"
        assert not call.result().problems


async def test_keys_are_played_and_the_call_comes_back() -> None:
    async with office() as here:
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(here.twilio.call(here.plan()))
            bridge = await talking(here)
            call_id, first = bridge.identity.call_id, bridge.socket
            answer = await here.ask("POST", f"/calls/{call_id}/dtmf", {"digits": "12#"})
            assert answer.status_code == 202, answer.text
            await back(bridge, first)
            await here.ask("DELETE", f"/calls/{call_id}")
        assert here.twilio.account.calls[call_id].digits == ["12#"]
        assert not call.result().problems
