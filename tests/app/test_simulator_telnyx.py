"""The simulated Telnyx: its words on the socket, its API, its documents, and its webhooks as the vendor's library reads
them."""

from __future__ import annotations

import base64
import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import CALLED, CALLER, Tandem, tandem, until
from sounds import hum, silence
from telnyx import Telnyx

from tandem.carriers.events import Clear, Mark, MarkPlayed, Media, Play, Started, Stopped
from tandem.carriers.telnyx import TelnyxStream
from tandem.carriers.telnyx_webhook import client_state
from tandem.rest.port import CarrierApiError, OutboundCall
from tandem.rest.telnyx import TelnyxApi
from tandem.simulators.api_server import ApiRequest
from tandem.simulators.line import Faults, MediaLine, Recording, Shuffle
from tandem.simulators.phone import At, Caller, Turn, WhenQuiet
from tandem.simulators.plan import CallPlan
from tandem.simulators.telnyx import CONNECTION_ID, Callee, Exchange, place_call
from tandem.simulators.telnyx_api import CallState, SimulatedCall, TelnyxApiEngine
from tandem.simulators.telnyx_http import DEMO_SEED, public_key, reach, signed
from tandem.simulators.telnyx_line import Identity, Order, Quirks, format_of, telnyx_line
from tandem.simulators.telnyx_texml import Connect, Hangup, Pause, Redirect, Reject, Say, TexmlError, parse_texml
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_16K

IDENTITY = Identity("user", "v3:call", "session", "stream", CALLER, CALLED)
RTP = Order("wss://x/t", codec="PCMU", mode="rtp", client_state="OGYxNGU0NWY=", parameters={"session": "8f"})


def line(order: Order = RTP, *turns: Turn, quirks: Quirks | None = None, faults: Faults | None = None) -> MediaLine:
    return telnyx_line(IDENTITY, order, Caller(turns, None), Recording(), quirks=quirks, faults=faults)


def loaded(frames: Any) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames]


# --- the socket -------------------------------------------------------------------------------------------------------


def test_the_opening_has_every_documented_field_and_type() -> None:
    connected, start = loaded(line().opening())
    assert connected == {"event": "connected", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequence_number": "1",
        "stream_id": "stream",
        "start": {
            "user_id": "user",
            "call_control_id": "v3:call",
            "call_session_id": "session",
            "from": CALLER,
            "to": CALLED,
            "tags": [],
            "client_state": "OGYxNGU0NWY=",
            "custom_parameters": {"session": "8f"},
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
        },
    }


def test_media_keys_and_the_end() -> None:
    sim = line(RTP, Turn(hum(440, 20), At(0), digits="5"))
    sim.opening()
    dtmf, media = loaded(sim.tick())
    assert dtmf["dtmf"] == {"digit": "5"}
    assert dtmf["occurred_at"].endswith("Z")
    payload = media["media"].pop("payload")
    assert media == {
        "event": "media",
        "sequence_number": "3",
        "stream_id": "stream",
        "media": {"track": "inbound", "chunk": "1", "timestamp": "0"},
    }
    assert base64.b64decode(payload) == hum(440, 20)
    (stop,) = loaded(sim.closing())
    assert stop["stop"] == {"user_id": "user", "call_control_id": "v3:call"}


@pytest.mark.parametrize(
    ("order", "quirks", "announced"),
    [
        (replace(RTP, codec="default"), Quirks(leg_codec="PCMA"), ("PCMA", 8000)),
        (replace(RTP, codec="L16"), Quirks(), ("L16", 16000)),
        (replace(RTP, codec="PCMA"), Quirks(), ("PCMA", 8000)),
    ],
)
def test_the_start_announces_what_was_ordered_or_what_the_leg_has(
    order: Order, quirks: Quirks, announced: tuple[str, int]
) -> None:
    form = loaded(line(order, quirks=quirks).opening())[1]["start"]["media_format"]
    assert (form["encoding"], form["sample_rate"]) == announced


@pytest.mark.parametrize("quirks", [Quirks(), Quirks(l16_order="big", parameters_as="pairs")])
@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "L16"])
def test_the_servers_dialect_and_this_one_understand_each_other(codec: str, quirks: Quirks) -> None:
    """Written apart, so that a mistake in one shows in the other."""
    order = replace(RTP, codec=codec, agent_codec=codec, agent_rate=16000)
    sim = line(order, Turn(hum(440, 200), At(0)), quirks=quirks)
    theirs = format_of(codec, 16000)
    ours = TelnyxStream(theirs, quirks.l16_order)
    events = [event for frame in sim.opening() for event in ours.receive(str(frame).encode())]
    started = events[-1]
    assert isinstance(started, Started)
    assert (started.inbound, started.outbound) == (theirs, theirs)
    assert started.parameters == {"session": "8f"}
    heard = b""
    for _ in range(10):
        for frame in sim.tick():
            (event,) = ours.receive(str(frame).encode())
            assert isinstance(event, Media)
            heard += event.audio
    assert len(heard) == pytest.approx(theirs.size(200), abs=theirs.size(10))
    for command in (Play(theirs.silence(100)), Mark("m"), Play(theirs.silence(7)), Mark("n"), Clear()):
        for wire in ours.send(command):
            for frame in sim.receive(wire.decode(), 0):
                assert isinstance(ours.receive(str(frame).encode())[0], MarkPlayed)
    assert sim.errors == []
    assert (sim.clears, sim.marks_returned) == (1, 2)
    assert ours.receive(str(sim.closing()[0]).encode()) == [Stopped()]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x00", 100003),
        ("{", 100003),
        ('{"event":"play"}', 100003),
        ('{"event":"media","media":{"payload":"@@@"}}', 100003),
        ('{"event":"mark","mark":{"name":""}}', 100003),
        ('{"event":"media","media":{"payload":""}}', 100004),
        (json.dumps({"event": "media", "media": {"payload": base64.b64encode(bytes(159)).decode()}}), 100004),
        (json.dumps({"event": "media", "media": {"payload": base64.b64encode(bytes(8000 * 31)).decode()}}), 100004),
    ],
)
def test_what_telnyx_does_not_take_it_complains_of(frame: str | bytes, code: int) -> None:
    sim = line()
    (complaint,) = loaded(sim.receive(frame, 0))
    assert (complaint["event"], complaint["payload"]["code"]) == ("error", code)
    assert len(sim.errors) == 1


def test_a_stream_that_was_ordered_without_its_mode_plays_nothing() -> None:
    """The default is mp3: the pitfall of one-way audio."""
    sim = line(replace(RTP, mode="mp3"))
    sim.receive(json.dumps({"event": "media", "media": {"payload": base64.b64encode(bytes(160)).decode()}}), 0)
    assert "mp3" in sim.errors[0]
    assert sim.playout.received_ms == 0


def test_media_out_of_order_and_a_codec_that_is_none() -> None:
    sim = line(faults=Faults(media_order=Shuffle(2, (1, 0))))
    chunks = [message["media"]["chunk"] for _ in range(4) for message in loaded(sim.tick())]
    assert chunks == ["2", "1", "4", "3"]
    with pytest.raises(ValueError, match="OPUS"):
        line(replace(RTP, codec="OPUS"))
    assert (format_of("PCMA", 0), format_of("L16", 16000)) == (ALAW_8K, PCM16_16K)


# --- the API ----------------------------------------------------------------------------------------------------------

KEY = "KEY1"


def engine(state: CallState = CallState.ANSWERED, *, incoming: bool = True, streaming: bool = False) -> TelnyxApiEngine:
    call = SimulatedCall("v3:c", "leg", "session", "149", incoming, CALLER, CALLED, state, streaming=streaming)
    return TelnyxApiEngine(KEY, calls={"v3:c": call})


def ask(
    api: TelnyxApiEngine, path: str, body: Any = None, *, method: str = "POST", key: str = KEY, now: float = 0.0
) -> tuple[int, str, str]:
    """Status, error code, and what is to be done."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    answer, command = api.request(ApiRequest(method, path, {}, {"authorization": f"Bearer {key}"}, data), now)
    errors = answer.body.get("errors", [{}])
    return answer.status, errors[0].get("code", ""), command.action if command else ""


def test_a_command_that_is_taken() -> None:
    api = engine(CallState.PARKED)
    assert ask(api, "/v2/calls/v3:c/actions/answer", {"client_state": "eA==", "command_id": "1"}) == (200, "", "answer")
    assert api.calls["v3:c"].client_state == "eA=="


def test_the_same_command_id_is_obeyed_once_within_a_minute() -> None:
    api = engine()
    hangup = ("/v2/calls/v3:c/actions/hangup", {"command_id": "1"})
    assert [ask(api, *hangup, now=now)[2] for now in (0.0, 1.0, 59.9, 60.1)] == ["hangup", "", "", "hangup"]


@pytest.mark.parametrize(
    ("state", "action", "body", "expected"),
    [
        (CallState.ENDED, "hangup", {}, (422, "90018", "")),
        (CallState.PARKED, "streaming_start", {"stream_url": "wss://x"}, (422, "90034", "")),
        (CallState.ANSWERED, "answer", {}, (422, "90034", "")),
        (CallState.ANSWERED, "streaming_stop", {}, (422, "90048", "")),
        (CallState.ANSWERED, "streaming_start", {}, (422, "10004", "")),
        (CallState.ANSWERED, "streaming_start", {"stream_url": "wss://x", "nonsense": 1}, (422, "10015", "")),
        (CallState.ANSWERED, "streaming_start", {"stream_url": "wss://x", "stream_codec": "pcmu"}, (422, "10015", "")),
        (CallState.PARKED, "reject", {"cause": "BUSY"}, (422, "10015", "")),
        (CallState.PARKED, "sing", {}, (404, "10005", "")),
    ],
)
def test_commands_at_the_wrong_time_or_with_wrong_words(
    state: CallState, action: str, body: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    assert ask(engine(state), f"/v2/calls/v3:c/actions/{action}", body) == expected


def test_other_refusals() -> None:
    assert ask(engine(), "/v2/calls/v3:c/actions/hangup", {}, key="wrong") == (401, "10009", "")
    assert ask(engine(), "/v2/calls/v3:other/actions/hangup", {}) == (422, "90015", "")
    assert ask(engine(), "/v2/calls/v3:c/actions/hangup", b"[") == (400, "10015", "")
    assert ask(engine(), "/v1/calls", {}) == (404, "10005", "")
    assert ask(engine(CallState.PARKED, incoming=False), "/v2/calls/v3:c/actions/answer", {}) == (422, "90102", "")
    start = {"stream_url": "wss://x"}
    assert ask(engine(streaming=True), "/v2/calls/v3:c/actions/streaming_start", start) == (422, "90045", "")
    assert ask(engine(), "/v2/calls", {"to": "a"}) == (422, "10004", "")
    strict = TelnyxApiEngine(KEY, frozenset({"149"}))
    assert ask(strict, "/v2/calls", {"to": "a", "from": "b", "connection_id": "150"})[0] == 422
    assert ask(strict, "/v2/calls", {"to": "a", "from": "b", "connection_id": "149"}) == (200, "", "dial")
    assert ask(engine(), "/v2/calls/v3:other", method="GET") == (404, "10005", "")


async def test_the_accounts_configuration_is_read_and_set_over_the_real_client() -> None:
    async with exchange_with_client() as (exchange, client):
        exchange.engine.numbers = [
            {"phone_number": f"+1555{n:07}", "connection_id": "149", "connection_name": "T"} for n in range(300)
        ]
        exchange.engine.applications["149"] = {
            "id": "149", "record_type": "call_control_application", "application_name": "T", "webhook_event_url": "old",
        }  # fmt: skip
        assert len(await client.numbers()) == 300
        application = await client.application("149")
        assert application is not None
        assert (application.kind, application.url) == ("call-control", "old")
        await client.set_urls(application, "https://x/telnyx/events")
        changed = await client.application("149")
        assert changed is not None
        assert changed.url == "https://x/telnyx/events"
        assert await client.application("7") is None


@asynccontextmanager
async def exchange_with_client() -> AsyncIterator[tuple[Exchange, TelnyxApi]]:
    from tandem.carriers.telnyx import CODECS

    async with Exchange() as exchange:
        client = TelnyxApi(
            exchange.api_url, exchange.api_key, codec=CODECS["PCMU"], events_url="", connection_id=CONNECTION_ID
        )
        try:
            yield exchange, client
        finally:
            await client.close()


# --- documents --------------------------------------------------------------------------------------------------------

XML = "text/xml; charset=utf-8"


def document(inner: str) -> bytes:
    return f"<Response>{inner}</Response>".encode()


def test_the_verbs() -> None:
    stream = '<Stream url="wss://x/t" bidirectionalMode="rtp"><Parameter name="a" value="b"/></Stream>'
    verbs = parse_texml(
        200,
        XML,
        document(
            f"<Connect>{stream}</Connect><Say>Hi</Say><Pause length='2'/><Redirect>https://y</Redirect>"
            "<Reject/><Hangup/>"
        ),
    )
    assert verbs[0] == Connect(Order("wss://x/t", "default", "rtp", parameters={"a": "b"}))
    assert verbs[1:] == [Say("Hi"), Pause(2.0), Redirect("https://y"), Reject("rejected"), Hangup()]


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (500, XML, document("")),
        (200, "application/json", document("")),
        (200, XML, b"<Response>"),
        (200, XML, b"<Other/>"),
        (200, XML, document("<Dance/>")),
        (200, XML, document("<Connect/>")),
        (200, XML, document('<Connect><Stream url="https://x"/></Connect>')),
        (200, XML, document('<Connect><Stream url="wss://x" Mode="rtp"/></Connect>')),
        (200, XML, document('<Connect><Stream url="wss://x" bidirectionalCodec="L16"/></Connect>')),
        (200, XML, document('<Connect><Stream url="wss://x"><Param/></Stream></Connect>')),
        (200, XML, document('<Reject reason="tired"/>')),
    ],
)
def test_documents_that_telnyx_would_not_take(status: int, content_type: str, body: bytes) -> None:
    with pytest.raises(TexmlError, match=r"\S"):
        parse_texml(status, content_type, body)


# --- webhooks ---------------------------------------------------------------------------------------------------------


def test_the_vendors_library_reads_our_webhooks() -> None:
    body = json.dumps(
        {
            "data": {
                "record_type": "event",
                "event_type": "call.hangup",
                "id": "e1",
                "occurred_at": "2026-01-02T03:04:05.000000Z",
                "payload": {"call_control_id": "v3:c", "hangup_cause": "normal_clearing", "hangup_source": "caller"},
            }
        }
    )
    client = Telnyx(api_key="KEY", public_key=public_key(DEMO_SEED))
    event: Any = client.webhooks.unwrap(body, headers=signed(body.encode(), DEMO_SEED))
    assert event.data.payload.hangup_cause == "normal_clearing"


async def test_every_webhook_of_a_call_is_one_that_the_vendors_library_knows() -> None:
    """Of its models, each field that we send is one that it names."""
    from pydantic import TypeAdapter
    from telnyx.types import UnwrapWebhookEvent

    known = TypeAdapter(UnwrapWebhookEvent)
    told: list[dict[str, Any]] = []
    async with Exchange() as exchange, tandem(account(exchange), MAX_CALL_SECONDS="1") as server:
        legs = [exchange.leg(plan(server, hang_up=None, faults=Faults(unreachable=broken))) for broken in (False, True)]

        async def listen(request: httpx.Request) -> None:
            told.append(json.loads(request.content))

        legs[0].webhooks.http.event_hooks["request"].append(listen)
        for leg in legs:
            await leg.ring()
    assert {each["data"]["event_type"] for each in told} == {
        "call.initiated", "call.answered", "call.hangup", "streaming.started", "streaming.stopped", "streaming.failed",
        "call.speak.started", "call.speak.ended",
    }  # fmt: skip
    for each in told:
        event: Any = known.validate_python(each)
        payload = each["data"]["payload"]
        unknown = payload.keys() - {
            (field.alias or name) for name, field in type(event.data.payload).model_fields.items()
        }
        assert not unknown, each["data"]["event_type"]


def test_where_a_url_is_reached() -> None:
    assert reach("https://x.example/a?b=c", "") == "https://x.example/a?b=c"
    assert reach("https://x.example/a?b=c", "http://127.0.0.1:8000") == "http://127.0.0.1:8000/a?b=c"
    assert reach("wss://x.example/a", "http://127.0.0.1:8000") == "ws://127.0.0.1:8000/a"


# --- whole calls ------------------------------------------------------------------------------------------------------


def account(exchange: Exchange) -> dict[str, str | None]:
    return {
        "TELNYX_API_KEY": exchange.api_key,
        "TELNYX_PUBLIC_KEY": exchange.public_key,
        "TELNYX_API_URL": exchange.api_url,
        "TELNYX_CONNECTION_ID": CONNECTION_ID,
    }


def plan(server: Tandem, **changes: Any) -> CallPlan:
    return CallPlan(f"{server.origin}/telnyx/events", "", "", from_=CALLER, to=CALLED, **changes)


async def test_a_server_that_is_not_there_is_a_failed_call() -> None:
    async with Exchange() as exchange:
        for path in ("/telnyx/events", "/telnyx/voice"):
            report = await exchange.call(CallPlan(f"http://127.0.0.1:1{path}", "", ""))
            assert report.result == "failed"
            assert report.problems
            assert not report.went_well


async def test_one_call_by_one_function_with_a_recording(tmp_path: Path) -> None:
    from tandem.serve import listen

    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    env = {
        "TELNYX_API_KEY": "KEY9",
        "TELNYX_PUBLIC_KEY": public_key(DEMO_SEED),
        "TELNYX_API_URL": f"http://127.0.0.1:{port}",
    }
    async with tandem(env) as server:
        out = tmp_path / "call.wav"
        call = replace(
            plan(server, audio=hum(500, 300) + silence(100), hang_up=At(700)), account_sid="KEY9", recording=out
        )
        seen: list[str] = []
        report = await place_call(call, lambda event: seen.append(event.kind), host="127.0.0.1", port=port)
        assert report.went_well, report.problems
        assert report.recording == out
        assert {"dialling", "answered", "stream", "caller-speaks", "ended"} <= set(seen)
        with wave.open(str(out)) as recorded:
            assert recorded.getnchannels() == 2
            assert recorded.getnframes() >= MULAW_8K.size(700)


# --- calls that the server places, and moves --------------------------------------------------------------------------


def outbound(server: Tandem, **changes: Any) -> OutboundCall:
    url = f"{server.origin.replace('http', 'ws', 1)}/telnyx/media/none"
    events = f"{server.origin}/telnyx/events"
    call = OutboundCall("+15550003000", CALLED, "8f14", url, "", events)
    return replace(call, **changes)


@pytest.mark.parametrize(("result", "cause"), [("busy", "user_busy"), ("no-answer", "timeout")])
async def test_a_placed_call_that_nobody_takes(result: Any, cause: str) -> None:
    async with Exchange() as exchange, tandem(account(exchange)) as server:
        exchange.callee = Callee(plan(server), result=result)
        api = server.app.state.apis["telnyx"]
        call_id = await api.place(outbound(server))
        (leg,) = exchange.placed
        assert leg.call.call_control_id == call_id
        await until(lambda: leg.over.is_set())
        assert [kind for kind, _ in leg.events] == ["call.initiated", "call.hangup"]
        assert not leg.call.incoming
        assert leg.call.client_state == client_state("out:8f14")


async def test_a_placed_call_is_answered_streamed_and_listened_to_for_machines() -> None:
    async with Exchange() as exchange, tandem(account(exchange)) as server:
        exchange.callee = Callee(plan(server, hang_up=At(100)), machine="machine")
        api = server.app.state.apis["telnyx"]
        await api.place(outbound(server, detect_machine=True))
        (leg,) = exchange.placed
        await until(lambda: any(kind == "call.machine.greeting.ended" for kind, _ in leg.events))
        await until(lambda: any(kind == "streaming.failed" for kind, _ in leg.events))  # no token of ours


async def test_nobody_to_call() -> None:
    async with exchange_with_client() as (_, client):
        with pytest.raises(CarrierApiError) as refusal:
            await client.place(OutboundCall("a", "b", "s", "wss://x", "", ""))
        assert refusal.value.status == 403


async def test_keys_are_played() -> None:
    async with Exchange() as exchange, tandem(account(exchange)) as server:
        leg = exchange.leg(plan(server, audio=[], hang_up=WhenQuiet(800)))
        exchange.begin(leg)
        await until(lambda: leg.lines and leg.lines[0].now > 100)
        await server.app.state.apis["telnyx"].send_dtmf(leg.call.call_control_id, "12#", "")
        assert leg.digits == "12#"
        assert leg.call.streaming, "native: the stream goes on"
