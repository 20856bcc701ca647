"""Several instances behind one name: what belongs to a call comes to the instance that has it, or is refused there."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from carrier_api import Callee
from carrier_api import office as twilio_office
from fakes import PATIENCE
from plivo_play import AUTH_ID, AUTH_TOKEN, elements
from servers import Dialled, Tandem, bearer, eventually, new_sid, tandem, until, verbs
from sounds import speech
from telnyx_play import Line
from telnyx_play import account as telnyx_account
from websockets.exceptions import InvalidStatus

from tandem.bridge import Bridge
from tandem.call_state import State
from tandem.carriers.telnyx_webhook import placed_state
from tandem.carriers.twilio_webhook import signature
from tandem.outbound import Order, dial
from tandem.simulators import carrier_rest, plivo_http, telnyx
from tandem.simulators.carrier_rest import Accounts, CarrierRest
from tandem.simulators.phone import At, Turn
from tandem.simulators.plan import CallPlan
from tandem.simulators.plivo_xml import Stream
from tandem.simulators.telnyx_http import signed as signed_by_telnyx
from tandem.simulators.twilio_twiml import Connect
from tandem_providers.events import UserSpeechStarted, UserSpeechStopped

OURS, THEIRS = "+15550001000", "+15557775555"
RINGS = "+15557770002"
OWN = "http://127.0.0.1:{port}"
PUBLIC = "https://voice.example.com"
every_carrier = pytest.mark.parametrize("carrier", ["twilio", "telnyx", "plivo"])


@asynccontextmanager
async def carriers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[CarrierRest, dict[str, str]]]:
    """All of them, and the variables of a server with an account at each."""
    monkeypatch.setattr(carrier_rest, "RING_SECONDS", 0.1)
    callee = CallPlan("", "", "", audio=[Turn(speech(), At(100))], hang_up=At(600), seconds=20)
    async with CarrierRest(Accounts(), callee) as rest:
        yield rest, {**dict(pair.split("=", 1) for pair in rest.variables.split()), "OUTBOUND_FROM": OURS}


async def open_for_calls(server: Tandem) -> None:
    """A busy machine's loop may be late, and then says so."""
    await until(lambda: server.board.refuse() is None)


async def place(server: Tandem, carrier: str, to: str = THEIRS, **changes: Any) -> str:
    body = {"to": to, "carrier": carrier, **changes}
    await open_for_calls(server)
    answer = await server.http.post("/calls", json=body, headers=bearer())
    assert answer.status_code == 201, answer.text
    return str(answer.json()["call_id"])


async def untouched(server: Tandem) -> bool:
    """It has had no call, and no carrier has asked it anything."""
    counted = ("calls_total", "provider_attempts_total", "webhooks_total", "tokens_refused_total")
    return not server.board.live and not any([await server.metric(name) for name in counted])


@every_carrier
async def test_all_of_a_call_that_we_place_comes_to_the_instance_that_placed_it(
    monkeypatch: pytest.MonkeyPatch, carrier: str
) -> None:
    async with (
        carriers(monkeypatch) as (_, account),
        tandem(account) as other,
        tandem(account, PUBLIC_URL=other.origin, INSTANCE_URL=OWN) as server,
    ):
        call_id = await place(server, carrier)
        over = await server.result(call_id)
        assert (over["result"], over["stream_started"]) == ("caller_hung_up", True)
        assert over["first_audio_seconds"] is not None
        call_id = await place(server, carrier, "+15557770001")
        assert (await server.result(call_id))["result"] == "busy", "and what becomes of one that nobody takes"
        assert await untouched(other), "which has the name that they share"


@pytest.mark.parametrize("carrier", ["twilio", "telnyx"])
async def test_a_stream_of_a_placed_call_is_refused_by_another_instance_such_that_a_proxy_can_ask_the_next(
    monkeypatch: pytest.MonkeyPatch, carrier: str
) -> None:
    async with (
        carriers(monkeypatch) as (_, account),
        tandem(account) as other,
        tandem(account, PUBLIC_URL=other.origin) as server,
    ):
        await open_for_calls(server)
        placed = dial(server.app, Order(THEIRS, OURS, carrier))
        assert isinstance(placed, Bridge)

        async def refused() -> float:
            return await other.metric("tokens_refused_total", reason="not_here")

        assert await eventually(refused) == 1
        assert not other.board.live
        assert not await other.metric("calls_total")
        assert not await other.metric("provider_attempts_total"), "it has cost nothing"
        placed.carrier_ended()
        await server.empty()


async def test_the_status_of_that_refusal_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    async with carriers(monkeypatch) as (_, account), tandem(account) as server, tandem(account) as other:
        bridge = server.bridge(await place(server, "twilio", RINGS, ring_seconds=60))
        assert bridge._order is not None
        there = Dialled(other, new_sid("CA"), bridge._order.stream_url)
        with pytest.raises(InvalidStatus) as refused:
            async with there.stream(door=other):
                pass
        assert refused.value.response.status_code == 503
        bridge.carrier_ended()
        await server.empty()


@every_carrier
async def test_somebody_who_has_answered_is_never_said_not_to_have(
    monkeypatch: pytest.MonkeyPatch, carrier: str
) -> None:
    """The carrier tells this instance that somebody has picked up; the stream goes to another, or nowhere."""
    async with carriers(monkeypatch) as (rest, account), tandem(account) as server:
        server.hurry(stream_seconds=0.2)
        call_id = await place(server, carrier, RINGS, ring_seconds=60)
        bridge = server.bridge(call_id)
        await tell_that_somebody_has_answered(server, rest, bridge)
        assert (await server.result(bridge.identity.session))["result"] == "no_stream"


async def tell_that_somebody_has_answered(server: Tandem, rest: CarrierRest, bridge: Bridge) -> None:
    session, call_id = bridge.identity.session, bridge.identity.call_id
    match bridge.carrier.name:
        case "twilio":
            form = server.form(call_id, CallStatus="in-progress", Direction="outbound-api")
            answer = await server.post(f"/twilio/status?session={session}", form)
        case "telnyx":
            payload = {"call_control_id": call_id, "client_state": placed_state(session), "direction": "outgoing"}
            body = json.dumps({"data": {"event_type": "call.answered", "id": "e", "payload": payload}}).encode()
            headers = signed_by_telnyx(body, rest.telnyx.seed)
            answer = await server.http.post("/telnyx/events", content=body, headers=headers)
        case _:
            account = server.settings.plivo
            assert account is not None
            path, form = f"/plivo/voice?session={session}", {"CallUUID": str(uuid4()), "CallStatus": "in-progress"}
            form |= {"From": OURS, "To": RINGS, "Direction": "outbound", "Event": "StartApp"}
            form |= {"RequestUUID": bridge.identity.request_id}
            headers = plivo_http.signed("POST", f"{server.origin}{path}", form, account.auth_token)
            answer = await server.http.post(path, data=form, headers=headers)
    assert answer.status_code == 200, answer.text


# --- calls that come in -----------------------------------------------------------------------------------------------


async def posted(server: Tandem, path: str, form: Mapping[str, str], headers: Mapping[str, str]) -> httpx.Response:
    content_type = {"Content-Type": "application/x-www-form-urlencoded"}
    return await server.http.post(path, content=urlencode(form), headers={**content_type, **headers})


async def test_a_call_that_comes_in_by_the_common_name_stays_with_the_instance_that_took_it() -> None:
    async with tandem(PUBLIC_URL=PUBLIC, INSTANCE_URL=OWN) as server:
        call_sid = new_sid("CA")
        form = server.form(call_sid)
        for origin, status in (("https://elsewhere.example.com", 403), (PUBLIC, 200), (server.origin, 200)):
            await open_for_calls(server)
            signed = signature(f"{origin}/twilio/voice", list(form.items()), server.auth_token)
            answer = await posted(server, "/twilio/voice", form, {"X-Twilio-Signature": signed})
            assert answer.status_code == status, origin
        (connect, *_) = verbs(answer)
        assert isinstance(connect, Connect)
        assert connect.url.startswith(server.origin.replace("http", "ws", 1))
        assert PUBLIC not in answer.text, "nothing of this call goes anywhere else"
        assert f"{server.origin}/twilio/status" in answer.text
        with pytest.raises(InvalidStatus):
            async with server.upgrade(connect.url, signed_url=connect.url.replace("127.0.0.1", "elsewhere")):
                pass
        async with Dialled(server, call_sid, connect.url).stream() as stream:
            await stream.start()
            await stream.speaks()


async def test_the_same_with_plivo() -> None:
    keys = {"PLIVO_AUTH_ID": AUTH_ID, "PLIVO_AUTH_TOKEN": AUTH_TOKEN}
    async with tandem(keys, PUBLIC_URL=PUBLIC, INSTANCE_URL=OWN) as server:
        form = {"CallUUID": str(uuid4()), "From": "15550002000", "To": "15550001000", "Direction": "inbound"}
        form |= {"CallStatus": "ringing", "Event": "StartApp"}
        for origin, status in (("https://elsewhere.example.com", 403), (server.origin, 200), (PUBLIC, 200)):
            await open_for_calls(server)
            headers = plivo_http.signed("POST", f"{origin}/plivo/voice", form, AUTH_TOKEN)
            answer = await posted(server, "/plivo/voice", form, headers)
            assert answer.status_code == status, origin
        (stream, *_) = elements(answer)
        assert isinstance(stream, Stream)
        assert stream.url.startswith(server.origin.replace("http", "ws", 1))
        assert PUBLIC not in answer.text


async def test_what_telnyx_tells_of_an_answered_call_comes_to_the_instance_that_answered_it() -> None:
    async with (
        telnyx.Exchange() as exchange,
        tandem(telnyx_account(exchange)) as other,
        tandem(telnyx_account(exchange), PUBLIC_URL=other.origin, INSTANCE_URL=OWN) as server,
    ):
        await open_for_calls(server)
        leg = exchange.leg(
            Line(other, exchange).plan(hang_up=At(600))
        )  # whose application has the name that they share
        call_id = leg.call.call_control_id
        await Line(server, exchange).ring(call_control_id=call_id)  # and the first event came here by it
        assert (await server.result(call_id))["result"] == "caller_hung_up"
        await leg.settled()
        assert await untouched(other)


async def test_a_caller_whom_nobody_took_comes_back_to_the_instance_that_has_the_call() -> None:
    async with (
        tandem() as other,
        twilio_office({"PUBLIC_URL": other.origin, "INSTANCE_URL": OWN}, beyond=Callee("busy")) as here,
    ):
        bridge = here.server.bridge((await here.place(greeting="Hi."))["call_id"])
        await until(lambda: bridge.call.state is State.TALKING)
        await until(lambda: bridge.call.ledger.speaking(time.monotonic()))
        for event in (UserSpeechStarted(), UserSpeechStopped()):  # a word of the caller ends the greeting
            bridge.tell(event)
        first = bridge.socket
        assert bridge.transfer(THEIRS, ring_seconds=1)
        await until(lambda: bridge.socket is not first and bridge.call.state is State.TALKING, seconds=PATIENCE)
        await here.ask("DELETE", f"/calls/{bridge.identity.call_id}")
        await here.server.empty()
        assert await untouched(other)
