"""Calls that change hands at Telnyx: given to somebody else, brought back, and placed by us."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes import PATIENCE
from servers import CALLED, until
from telnyx_play import FORM, OTHER_SEED, STATUS, VOICE, Line, line

from tandem.bridge import Bridge
from tandem.call_state import State
from tandem.call_types import Outbound
from tandem.carriers.telnyx_webhook import placed_state, transfer_state
from tandem.outbound import Order, dial, outcome
from tandem.rest.port import CarrierApiError, OutboundCall
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.phone import At
from tandem.simulators.telnyx import Callee, Exchange
from tandem.simulators.telnyx_leg import Leg

DESK = "+15550009000"


@asynccontextmanager
async def talking(here: Line, **changes: Any) -> AsyncIterator[tuple[Leg, Bridge]]:
    """A call that has a stream and an agent."""
    leg = here.exchange.leg(here.plan(**{"hang_up": None, **changes}))
    here.exchange.begin(leg)
    await until(lambda: leg.lines and leg.lines[0].conversation.agent_began is not None)
    yield leg, here.server.bridge(leg.call.call_control_id)


@asynccontextmanager
async def brief(exchange: Exchange | None = None) -> AsyncIterator[Line]:
    """With an agent whose words are few."""
    async with OpenAISimulator(seconds=0.4) as provider:
        env = {"PROVIDERS": "openai", "OPENAI_API_KEY": "planted-key", "OPENAI_REALTIME_URL": provider.url}
        async with line(exchange, **env) as here:
            yield here


# --- given to somebody else -------------------------------------------------------------------------------------------


async def test_a_caller_is_given_to_somebody_who_answers() -> None:
    async with brief() as here, talking(here) as (leg, bridge):
        here.exchange.transfer_to = Callee(here.plan())
        assert bridge.transfer(DESK, ring_seconds=20)
        await here.server.empty(seconds=15)  # what is being said is said to its end first
        call_id = leg.call.call_control_id
        assert (await here.server.record(call_id))["result"] == "transferred"
        assert here.commands == ["answer", "streaming_start", "transfer", "streaming_stop"]
        (body,) = here.bodies("transfer")
        assert (body["to"], body["from"], body["timeout_secs"]) == (DESK, CALLED, 20)
        assert body["webhook_url"] == f"{here.server.origin}/telnyx/events"
        (other,) = here.exchange.placed
        await until(lambda: leg.over.is_set())
        assert leg.problems == other.problems == []


@pytest.mark.parametrize(
    ("result", "why"), [("busy", "is busy"), ("no-answer", "did not answer")], ids=["busy", "no-answer"]
)
async def test_p24_a_caller_whom_nobody_takes_comes_back_to_the_agent(result: Any, why: str) -> None:
    async with (
        OpenAISimulator(seconds=0.4) as provider,
        line(PROVIDERS="openai", OPENAI_API_KEY="planted-key", OPENAI_REALTIME_URL=provider.url) as here,
        talking(here) as (leg, bridge),
    ):
        here.exchange.transfer_to = Callee(here.plan(), result=result)
        assert bridge.transfer(DESK)
        await until(lambda: len(leg.lines) == 2 and leg.lines[1].frames_sent > 5)
        await until(lambda: bridge.call.state is State.TALKING)
        ids = [start["command_id"] for start in here.bodies("streaming_start")]
        assert len(ids) == len(set(ids)) >= 2, "a further order under an id that was used would be ignored"
        assert "hangup" not in here.commands
        session = await provider.session(1)
        await session.until(lambda s: any(why in str(item) for item in s.record.messages("conversation.item.create")))
        bridge.carrier_ended()
        await here.server.empty()
        assert leg.problems == []


async def test_p24_a_transfer_that_telnyx_refuses_changes_nothing() -> None:
    async with brief(Exchange(faults={"transfer": [400]})) as here, talking(here) as (leg, bridge):
        assert bridge.transfer("nowhere")
        await until(lambda: "transfer" in here.commands)
        await until(lambda: bridge.call.state is State.TALKING)
        assert leg.call.streaming
        assert "streaming_stop" not in here.commands
        assert len(leg.lines) == 1


async def test_a_forged_word_about_a_transfer_moves_nobody() -> None:
    async with brief() as here, talking(here) as (leg, bridge):
        state = transfer_state(leg.call.call_control_id)
        assert await here.event("call.bridged", client_state=state, seed=OTHER_SEED) == 403
        assert await here.event("call.bridged", client_state=state) == 200, "told of a call that is with its agent"
        assert await here.event("call.hangup", client_state=state, hangup_cause="timeout") == 200
        assert bridge.call.state is State.TALKING
        assert bridge.line.is_ours
        assert here.commands == ["answer", "streaming_start"]


async def test_keys_are_played_while_the_stream_goes_on() -> None:
    async with brief() as here, talking(here) as (leg, bridge):
        assert bridge.send_keys("12#")
        await until(lambda: leg.digits == "12#")
        await until(lambda: bridge.call.state is State.TALKING)
        assert len(leg.lines) == 1
        assert leg.call.streaming


# --- the same for a call of a TeXML application: it is given other documents ------------------------------------------


async def test_a_texml_caller_is_given_to_somebody_who_answers() -> None:
    async with brief() as here, talking(here, way=VOICE) as (leg, bridge):
        here.exchange.transfer_to = Callee(here.plan())
        assert bridge.transfer(DESK, ring_seconds=20)
        await here.server.empty(seconds=15)  # what is being said is said to its end first
        assert (await here.server.record(leg.call.call_control_id))["result"] == "transferred"
        (dialled,) = here.exchange.dialled
        assert (dialled.to, dialled.caller_id, dialled.timeout) == (DESK, CALLED, 20.0)
        await until(lambda: leg.over.is_set())
        assert leg.problems == []


async def test_a_texml_caller_whom_nobody_takes_comes_back_to_the_agent() -> None:
    async with brief() as here, talking(here, way=VOICE) as (leg, bridge):
        here.exchange.transfer_to = Callee(here.plan(), result="busy")
        assert bridge.transfer("sip:desk@example.com")
        await until(lambda: len(leg.lines) == 2 and leg.lines[1].frames_sent > 5)
        await until(lambda: bridge.call.state is State.TALKING)
        bridge.carrier_ended()
        await here.server.empty()
        assert leg.problems == []


async def test_a_texml_transfer_that_telnyx_refuses_changes_nothing() -> None:
    async with brief() as here, talking(here, way=VOICE) as (leg, bridge):
        here.exchange.faults[leg.call.call_control_id] = [404]
        assert bridge.transfer(DESK)
        await until(lambda: bridge.call.state is State.PARKED or here.commands)
        await until(lambda: bridge.call.state is State.TALKING)
        assert leg.call.streaming
        assert len(leg.lines) == 1


async def test_keys_take_a_texml_call_out_of_its_stream_and_back() -> None:
    async with brief() as here, talking(here, way=VOICE) as (leg, bridge):
        assert bridge.send_keys("12#")
        await until(lambda: len(leg.lines) == 2 and bridge.call.state is State.TALKING)
        assert leg.digits == "12#"
        bridge.carrier_ended()
        await here.server.empty()


async def test_a_texml_call_that_comes_back_to_nobody_is_told_so() -> None:
    async with line() as here:
        asked = {**FORM, "DialCallStatus": "no-answer"}
        sorry = await here.form(f"{STATUS}?after=transfer", asked)
        assert b"<Say>" in sorry.content
        assert b"<Hangup" in sorry.content
        assert b"<Say>" in (await here.form(f"{VOICE}?after=keys", FORM)).content
        over = await here.form(f"{STATUS}?after=transfer", {**asked, "DialCallStatus": "completed"})
        assert b"<Say>" not in over.content
        assert b"<Hangup" in over.content


async def test_a_texml_call_can_be_ended_over_the_api() -> None:
    async with brief() as here, talking(here, way=VOICE) as (leg, bridge):
        assert bridge.line.api is not None
        await bridge.line.api.hang_up(leg.call.call_control_id)
        await here.server.empty()
        await until(lambda: leg.over.is_set())
        await bridge.line.api.hang_up(leg.call.call_control_id)
        with pytest.raises(CarrierApiError):
            await bridge.line.api.place(OutboundCall("a", "b", "s", "wss://x", "", ""))


# --- placed by us -----------------------------------------------------------------------------------------------------


async def place(here: Line, **options: Any) -> Bridge:
    """Call somebody."""
    order = Order(DESK, CALLED, "telnyx", outbound=Outbound(**options), detect_machine=True)
    bridge = dial(here.server.app, order)
    assert isinstance(bridge, Bridge)
    assert await outcome(bridge) is None
    return bridge


async def test_somebody_whom_we_call_answers_and_is_talked_with() -> None:
    async with line() as here:
        here.exchange.callee = Callee(here.plan(hang_up=At(600)))
        bridge = await place(here)
        await here.server.empty()
        (leg,) = here.exchange.placed
        assert leg.problems == []
        assert leg.lines[0].playout.received_ms > 0
        record = await here.server.record(leg.call.call_control_id)
        assert record["result"] == "caller_hung_up"
        assert bridge.identity.call_id == leg.call.call_control_id
        assert here.commands[0] == "calls"
        assert "answer" not in here.commands
        assert "streaming_start" not in here.commands, "dialling ordered the stream"


@pytest.mark.parametrize(("result", "reason"), [("busy", "busy"), ("no-answer", "no_answer")])
async def test_somebody_whom_we_call_and_who_does_not_answer(result: Any, reason: str) -> None:
    async with line() as here:
        here.exchange.callee = Callee(here.plan(), result=result)
        bridge = await place(here)
        await here.server.empty()
        assert (await here.server.record(bridge.identity.call_id))["result"] == reason


async def test_a_number_that_does_not_exist() -> None:
    async with line() as here:
        here.exchange.callee = Callee(here.plan(), ring_seconds=PATIENCE)
        bridge = await place(here)
        state = placed_state(bridge.identity.session)
        await here.event(
            "call.hangup", call_control_id=bridge.identity.call_id, client_state=state, hangup_cause="not_found"
        )
        await here.server.empty()
        assert (await here.server.record(bridge.identity.call_id))["result"] == "not_placed"


async def test_a_placed_call_learns_its_id_from_the_first_event_when_that_is_faster_than_the_answer() -> None:
    async with line() as here:
        here.exchange.callee = Callee(here.plan(), ring_seconds=PATIENCE)
        bridge = await place(here)
        known, bridge.identity.call_id = bridge.identity.call_id, ""
        state = placed_state(bridge.identity.session)
        await here.event("call.initiated", call_control_id=known, direction="outgoing", client_state=state)
        assert bridge.identity.call_id == known
        bridge.carrier_ended()
        await here.server.empty()


async def test_an_answering_machine_is_hung_up_on() -> None:
    async with line() as here:
        here.exchange.callee = Callee(here.plan(hang_up=None), machine="machine")
        bridge = await place(here, machine="hang_up")
        await here.server.empty()
        assert (await here.server.record(bridge.identity.call_id))["result"] == "machine"
        assert here.commands == ["calls", "hangup"]


async def test_an_answering_machine_is_left_a_message() -> None:
    async with line() as here:
        here.exchange.callee = Callee(here.plan(hang_up=None), machine="machine")
        bridge = await place(here, machine="leave_message", message="Please call us back.")
        await here.server.empty(seconds=15)
        (leg,) = here.exchange.placed
        assert leg.problems == []
        assert leg.lines[0].playout.played_ms > 200
        assert here.commands == ["calls", "hangup"]
        assert bridge.call.stats.machine


async def test_events_of_a_placed_call_that_nobody_has_are_let_be() -> None:
    async with line() as here:
        for kind in ("call.answered", "call.machine.detection.ended", "call.hangup"):
            assert await here.event(kind, client_state=placed_state("f" * 32), result="machine") == 200
        assert not here.server.board.live
        assert here.commands == []
