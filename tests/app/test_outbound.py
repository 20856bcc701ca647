"""Calls that we place, over the simulated carrier: dialled, answered, not answered, taken by a machine."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from carrier_api import THEIRS, Callee, Office, office
from servers import Dialled, log_lines, new_sid, until
from websockets.exceptions import InvalidStatus

from tandem import carrier_line
from tandem.bridge import Bridge
from tandem.call_state import State
from tandem.carriers.table import TWILIO
from tandem.doors import new_session, stream_url_of
from tandem.rest.port import CarrierApi, OutboundCall, Transfer
from tandem.simulators.openai import OpenAISimulator
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


async def test_the_log_ties_an_order_to_its_call_and_says_who_was_called() -> None:
    with log_lines() as lines:
        async with office(callee=Callee("busy")) as here:
            call_id = (await here.place())["call_id"]
            await here.server.result(call_id)
    named = {line["event"]: line for line in lines}
    assert named["call placed"]["call_id"] == named["call ended"]["call_id"] == call_id
    assert named["call placed"]["session"] == named["placing a call"]["session"]
    assert named["call ended"]["called"] == named["placing a call"]["called"] != ""
    assert THEIRS not in str(lines)


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


# --- the carrier's answer and its stream come in any order -----------------------------------------------------------


class Slow:
    """The carrier's API, whose answer to placing a call waits for `gate`, and may name another call than it placed."""

    def __init__(self, api: CarrierApi, gate: asyncio.Event, *, lies: bool = False) -> None:
        self.api = api
        self.gate = gate
        self.lies = lies
        self.ended: list[str] = []

    async def place(self, call: OutboundCall) -> str:
        placed = await self.api.place(call)
        await self.gate.wait()
        return "CA" + "f" * 32 if self.lies else placed

    async def hang_up(self, call_id: str) -> None:
        self.ended.append(call_id)
        await self.api.hang_up(call_id)

    async def transfer(self, call_id: str, transfer: Transfer) -> None:
        await self.api.transfer(call_id, transfer)

    async def send_dtmf(self, call_id: str, digits: str, return_url: str) -> None:
        await self.api.send_dtmf(call_id, digits, return_url)

    async def close(self) -> None:
        await self.api.close()


def slow(here: Office, **options: Any) -> tuple[Slow, asyncio.Event]:
    apis, gate = here.server.app.state.apis, asyncio.Event()
    apis["twilio"] = api = Slow(apis["twilio"], gate, **options)
    return api, gate


async def test_the_stream_may_be_here_before_the_carrier_has_answered() -> None:
    async with office() as here:
        _, gate = slow(here)
        async with asyncio.TaskGroup() as tasks:
            order = tasks.create_task(here.place())
            await until(lambda: here.server.board.live)
            (bridge,) = here.server.board.live.values()
            await until(lambda: bridge.call.state is State.TALKING)
            assert not order.done()
            gate.set()
        record = order.result()
        assert record["call_id"] == bridge.identity.call_id == here.twilio.account.placed[0].call.sid


async def test_a_stream_of_another_call_than_the_one_that_was_placed_ends_both() -> None:
    async with office() as here:
        _, gate = slow(here, lies=True)
        async with asyncio.TaskGroup() as tasks:
            order = tasks.create_task(here.ask("POST", "/calls", {"to": THEIRS}))
            await until(lambda: here.server.board.live)
            (bridge,) = here.server.board.live.values()
            await until(lambda: bridge.call.state is State.TALKING)
            gate.set()
            await order
        await here.server.empty()
        assert bridge.call.end_reason is not None
        assert bridge.call.end_reason.value == "wrong_call"
        await until(lambda: here.twilio.reports)


async def test_a_call_that_is_taken_back_before_the_carrier_has_answered_is_ended_when_it_has() -> None:
    async with office(callee=Callee("no-answer")) as here:
        api, gate = slow(here)
        async with asyncio.TaskGroup() as tasks:
            order = tasks.create_task(here.ask("POST", "/calls", {"to": THEIRS, "ring_seconds": 60}))
            await until(lambda: here.twilio.account.placed)
            (session,) = here.server.board.live
            assert (await here.ask("DELETE", f"/calls/{session}")).status_code == 202
            assert not api.ended
            gate.set()
            assert (await order).status_code == 201
        await here.server.empty()
        assert api.ended == [here.twilio.account.placed[0].call.sid]
        await until(lambda: here.twilio.reports)
        assert here.twilio.reports[0].result == "canceled"


async def test_a_carrier_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier_line, "PLACE_SECONDS", 0.1)
    async with office(callee=Callee("no-answer")) as here:
        slow(here)
        answer = await here.ask("POST", "/calls", {"to": THEIRS, "ring_seconds": 5})
        assert answer.status_code == 502
        assert "did not answer" in answer.json()["detail"]
        await here.server.empty()
        (record,) = here.server.board.records()
        assert record["result"] == "not_placed"


async def test_a_stream_with_a_token_of_nobodys_order_is_not_taken() -> None:
    """A token without a call id is good for the call that was placed with it, and for no other instance."""
    async with office() as here:
        settings = here.server.settings
        url = stream_url_of(settings, TWILIO, new_session(settings, TWILIO), "")
        with pytest.raises(InvalidStatus) as refused:
            async with Dialled(here.server, new_sid("CA"), url).stream():
                pass
        assert refused.value.response.status_code == 503
        assert await here.server.metric("tokens_refused_total", reason="not_here") == 1


async def test_a_call_over_its_api_knows_an_answering_machine() -> None:
    async with office(callee=Callee(answered_by="human")) as here:
        placed = await here.place(machine="hang_up")
        bridge = here.server.bridge(placed["call_id"])
        await until(lambda: bridge.call.stats.machine is False)
        assert here.twilio.account.placed[0].fields["MachineDetection"] == "DetectMessageEnd"
        assert bridge.call.end_reason is None


# --- operators' words -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def with_model(**options: Any) -> AsyncIterator[tuple[Office, OpenAISimulator]]:
    """The agent is a model that takes text."""
    async with OpenAISimulator(seconds=0.4, **options) as simulator:
        given = {"PROVIDERS": "openai", "OPENAI_API_KEY": "any", "OPENAI_REALTIME_URL": simulator.url}
        async with office(given, beyond=Callee("busy")) as here:
            yield here, simulator


async def test_an_operator_speaks_through_the_agent_and_into_its_ear() -> None:
    async with with_model() as (here, simulator):
        placed = await here.place(greeting="Hello there.", instructions="Be kind.")
        call_id = placed["call_id"]
        await here.state(call_id, "talking")
        for verb, words in (("say", "We close at six."), ("inject", "The caller is a regular.")):
            answer = await here.ask("POST", f"/calls/{call_id}/{verb}", {"text": words})
            assert answer.status_code == 202, answer.text
        session = simulator.sessions[0]
        await until(lambda: "We close at six." in json.dumps(session.record.received, default=str))
        await until(lambda: "The caller is a regular." in json.dumps(session.record.received, default=str))
        sent = json.dumps(session.record.received, default=str)
        assert "Be kind." in sent
        assert "Hello there." in sent


async def test_the_provider_is_kept_until_the_carrier_has_the_caller_and_told_when_it_has_not() -> None:
    async with with_model() as (here, simulator):
        placed = await here.place()
        call_id = placed["call_id"]
        await here.state(call_id, "talking")
        bridge = here.server.bridge(call_id)
        first = bridge.socket
        assert bridge.transfer(THEIRS, ring_seconds=1)
        await back(bridge, first)
        (session,) = simulator.sessions
        assert not session.is_over, "one session for the whole conversation"
        await until(lambda: "is busy" in json.dumps(session.record.received, default=str))


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


async def test_an_operator_who_ends_a_call_that_is_being_put_through_ends_it_at_the_carrier() -> None:
    """Anybody else lets it go on: maybe somebody has taken it and the word of that got lost."""
    async with office(beyond=Callee("no-answer")) as here:
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(here.twilio.call(here.plan()))
            bridge = await talking(here)
            call_id = bridge.identity.call_id
            assert bridge.transfer(THEIRS, ring_seconds=30)
            await here.state(call_id, "parked")
            await until(lambda: here.twilio.account.calls[call_id].dialled)
            assert (await here.ask("DELETE", f"/calls/{call_id}")).status_code == 202
        assert here.twilio.account.calls[call_id].hung_up
        assert call.result().seconds < 10
        assert (await here.server.result(call_id))["result"] == "operator"


async def test_a_server_that_goes_down_cancels_calls_that_still_ring() -> None:
    async with office(callee=Callee("no-answer")) as here:
        placed = await here.place(ring_seconds=60)
        await here.server.board.drain(0.05)
        assert (await here.server.result(placed["call_id"]))["result"] == "drained"
        await until(lambda: here.twilio.reports)
        assert here.twilio.reports[0].result == "canceled"
