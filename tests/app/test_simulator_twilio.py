import asyncio
import json
import math
import socket
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect

from tandem.carriers.events import Clear, Dtmf, Malformed, Mark, MarkPlayed, Media, Play, Started, Stopped
from tandem.carriers.forms import Form
from tandem.carriers.twilio import TwilioStream
from tandem.carriers.twilio_webhook import (
    Keys,
    Webhook,
    connect_stream,
    hangup,
    reject_busy,
    say_and_hangup,
    verify,
    verify_upgrade,
    voice_request,
)
from tandem.carriers.urls import websocket_url
from tandem.carriers.xml_answer import XmlAnswer
from tandem.simulators.line import Faults, Frame, Inject, MediaLine, Recording, Shuffle
from tandem.simulators.phone import At, BargeIn, Caller, Turn, When, WhenQuiet, loud_span
from tandem.simulators.plan import CallEvent, CallPlan, CallReport
from tandem.simulators.twilio import place_call
from tandem.simulators.twilio_line import Identity, twilio_line
from tandem.simulators.twilio_twiml import Connect, Hangup, Pause, Redirect, Reject, Say, TwimlError, parse_twiml
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K
from tandem_codecs.g711 import alaw_to_mulaw, mulaw_to_pcm16, pcm16_to_mulaw

ACCOUNT = "AC00000000000000000000000000000001"
TOKEN = "0123456789abcdef0123456789abcdef"
IDENTITY = Identity(ACCOUNT, "CA" + "2" * 32, "MZ" + "3" * 32)


def tone(ms: int, hertz: float = 440) -> bytes:
    samples = (int(8000 * math.sin(2 * math.pi * hertz * i / 8000 + 0.5)) for i in range(ms * 8))
    return pcm16_to_mulaw(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))


def line(faults: Faults | None = None, *turns: Turn, hang_up: When | None = None) -> MediaLine:
    return twilio_line(IDENTITY, Caller(turns, hang_up), Recording(), parameters={"a": "b"}, faults=faults)


def loaded(frames: list[Frame]) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames]


# The line


def test_the_opening_has_every_documented_field_and_type() -> None:
    assert loaded(line().opening()) == [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": IDENTITY.stream_sid,
            "start": {
                "accountSid": ACCOUNT,
                "streamSid": IDENTITY.stream_sid,
                "callSid": IDENTITY.call_sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {"a": "b"},
            },
        },
    ]


def test_media_is_numbered_in_strings_and_one_counter_runs_over_all() -> None:
    sim = line(None, Turn(tone(20), At(0), digits="5"))
    sim.opening()
    dtmf, media, again = loaded(sim.tick() + sim.tick())
    assert dtmf == {
        "event": "dtmf",
        "sequenceNumber": "2",
        "streamSid": IDENTITY.stream_sid,
        "dtmf": {"track": "inbound_track", "digit": "5"},
    }
    assert media["sequenceNumber"] == "3"
    assert {key: media["media"][key] for key in ("track", "chunk", "timestamp")} == {
        "track": "inbound",
        "chunk": "1",
        "timestamp": "0",
    }
    assert (again["media"]["chunk"], again["media"]["timestamp"]) == ("2", "20")


def test_our_dialect_and_the_simulated_carrier_understand_each_other() -> None:
    sim, stream = line(None, Turn(tone(30), At(0), digits="#")), TwilioStream()
    events = [event for frame in sim.opening() for event in stream.receive(str(frame).encode())]
    assert isinstance(events[1], Started)
    heard = b""
    for _ in range(3):
        for frame in sim.tick():
            (event,) = stream.receive(str(frame).encode())
            assert not isinstance(event, Malformed)
            heard += event.audio if isinstance(event, Media) else b""
    assert heard == tone(30) + b"\xff" * 240
    for wire in stream.send(Play(tone(50))) + stream.send(Mark("end")):
        assert sim.receive(wire.decode(), 60) == []
    assert sim.playout.waiting_ms == 50
    returned = [event for wire in stream.send(Clear()) for frame in sim.receive(wire.decode(), 60)
                for event in stream.receive(str(frame).encode())]  # fmt: skip
    assert returned == [MarkPlayed("end")]
    assert [stream.receive(str(frame).encode()) for frame in sim.closing()] == [[Stopped()]]
    assert sim.errors == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x00", "31950"),
        ("hello", "31924"),
        ("[]", "31924"),
        ('{"event":"hangup","streamSid":"MZ"}', "31924"),
        ('{"event":"media","streamSid":"%s","media":{"payload":"@"}}', "31924"),
        ('{"event":"media","streamSid":"%s","media":{"payload":""}}', "31924"),
        ('{"event":"media","media":{"payload":"/w=="}}', "31924"),
        ('{"event":"clear","streamSid":"MZother"}', "31924"),
        ('{"event":"mark","streamSid":"%s"}', "31924"),
        ('{"event":"mark","streamSid":"%s","mark":{"name":""}}', "31924"),
    ],
)
def test_what_twilio_would_not_take_is_a_problem(frame: Frame, code: str) -> None:
    sim = line()
    assert sim.receive(frame % IDENTITY.stream_sid if isinstance(frame, str) and "%s" in frame else frame, 5) == []
    assert [error[:5] for error in sim.errors] == [code]


def test_what_was_cleared_is_not_in_the_recording() -> None:
    sound = Recording()
    sim = twilio_line(IDENTITY, Caller([Turn(tone(40), At(0))], None), sound)
    stream = TwilioStream()
    for frame in sim.opening():
        stream.receive(str(frame).encode())
    sim.receive(stream.play(tone(1000, 300)).decode(), 0)
    for _ in range(5):
        sim.tick()
    sim.receive(stream.send(Clear())[0].decode(), 100)
    for _ in range(5):
        sim.tick()
    assert bytes(sound.agent[160:960]) == tone(100, 300), "heard from 20 ms on, for five frames"
    assert set(sound.agent[960:]) == {0xFF}
    assert bytes(sound.caller[:160]) == b"\xff" * 160 or bytes(sound.caller[:320]) == tone(40)
    assert len(sound.caller) == 10 * 160


def chunks(faults: Faults, ticks: int) -> list[int]:
    sim = line(faults)
    sim.opening()
    frames = [frame for _ in range(ticks) for frame in sim.tick()]
    return [int(message["media"]["chunk"]) for message in loaded(frames)]


def test_media_out_of_order_doubled_and_missing() -> None:
    assert chunks(Faults(media_order=Shuffle(2, (1, 0))), 6) == [2, 1, 4, 3, 6, 5]
    assert chunks(Faults(media_order=Shuffle(2, (0, 0, 1))), 4) == [1, 1, 2, 3, 3, 4]
    assert chunks(Faults(media_order=Shuffle(3, (0, 2))), 6) == [1, 3, 4, 6]
    with pytest.raises(ValueError, match="positions"):
        Shuffle(2, (2,))


def test_other_misbehaviour() -> None:
    kinds = [message["event"] for message in loaded(line(Faults(media_before_start=2, starts=2)).opening())]
    assert kinds == ["connected", "media", "media", "start", "start"]
    assert [message["event"] for message in loaded(line(Faults(starts=0)).opening())] == ["connected"]
    assert len(line(Faults(stops=2)).closing()) == 2
    wrong = line(Faults(announce=("audio/x-l16", 16000, 1), wrong_call="CAx")).opening()
    body = loaded(wrong)[1]["start"]
    assert (body["mediaFormat"]["encoding"], body["callSid"]) == ("audio/x-l16", "CAx")
    sim = line(Faults(inject=[Inject(20, b"\x00"), Inject(40, "late")]))
    assert b"\x00" in sim.tick()
    assert "late" in sim.tick()


@pytest.mark.parametrize("flowing", [ALAW_8K, PCM16_8K])
def test_another_codec_flows_both_ways(flowing: Any) -> None:
    announce = ("audio/x-alaw" if flowing == ALAW_8K else "audio/x-l16", 8000, 1)
    sim, stream = line(Faults(audio=flowing, announce=announce), Turn(tone(20), At(0))), TwilioStream()
    for frame in sim.opening():
        (event,) = stream.receive(str(frame).encode())
    assert isinstance(event, Started)
    assert event.inbound == flowing
    (event,) = stream.receive(str(sim.tick()[0]).encode())
    assert isinstance(event, Media)
    as_mulaw = alaw_to_mulaw(event.audio) if flowing == ALAW_8K else pcm16_to_mulaw(event.audio)
    assert len(as_mulaw) == 160
    assert loud_span(as_mulaw) is not None
    sim.receive(stream.play(event.audio).decode(), 20)
    assert sim.playout.waiting_ms == 20


# TwiML


def read(twiml: XmlAnswer, *, plain: bool = False) -> list[Any]:
    return list(parse_twiml(200, twiml.content_type, twiml.body, plain=plain))


def test_it_reads_what_we_write() -> None:
    document = connect_stream(
        "wss://b.example/m", action_url="https://b.example/a", status_callback_url="https://b.example/s",
        parameters={"session": "8f"},
    )  # fmt: skip
    assert read(document) == [
        Connect(
            "wss://b.example/m",
            "https://b.example/a",
            status_callback="https://b.example/s",
            parameters={"session": "8f"},
        ),
        Hangup(),
    ]
    assert read(reject_busy()) == [Reject("busy")]
    assert read(say_and_hangup("Ä & b", language="de-DE")) == [Say("Ä & b", "de-DE"), Hangup()]
    assert read(connect_stream("ws://localhost/m"), plain=True)[0].url == "ws://localhost/m"
    more = b'<Response><Pause length="2"/><Redirect method="GET">/x</Redirect></Response>'
    assert parse_twiml(200, "application/xml", more) == [Pause(2.0), Redirect("/x", "GET")]


def within(inside: str) -> bytes:
    return f"<Response>{inside}</Response>".encode()


def streaming(inside: str) -> bytes:
    return within(f"<Connect>{inside}</Connect>")


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (12100, b"<Response>"),
        (12100, b""),
        (12200, b"<response/>"),
        (12200, within("<Dance/>")),
        (12200, within("<Say/>")),
        (12200, within("<Pause length='x'/>")),
        (12200, within("<Hangup now='1'/>")),
        (12200, within("<Hangup><Say>x</Say></Hangup>")),
        (12200, within("<Hangup/><Reject/>")),
        (12200, within("<Reject reason='tired'/>")),
        (12200, within("<Connect method='PUT'><Stream url='wss://a/b'/></Connect>")),
        (12200, streaming("")),
        (12200, streaming("<Stream url='wss://a/b' track='both_tracks'/>")),
        (12200, streaming("<Stream url='wss://a/b' statusCallback='/s'/>")),
        (12200, streaming("<Stream url='wss://a/b'><Parameter name='a'/></Stream>")),
        (12200, streaming(f"<Stream url='wss://a/b'><Parameter name='a' value='{'v' * 499}'/></Stream>")),
        (31922, streaming("<Stream url='ws://a/b'/>")),
        (31922, streaming("<Stream/>")),
        (31920, streaming("<Stream url='wss://a/b?c=d'/>")),
    ],
)
def test_documents_that_twilio_would_not_take(code: int, body: bytes) -> None:
    with pytest.raises(TwimlError) as caught:
        parse_twiml(200, "text/xml", body)
    assert caught.value.code == code
    assert str(code) in str(caught.value)


@pytest.mark.parametrize(
    ("code", "status", "content_type"),
    [(11200, 500, "text/xml"), (11200, 302, "text/xml"), (12300, 200, "application/json"), (12300, 200, "")],
)
def test_responses_that_twilio_would_not_take(code: int, status: int, content_type: str) -> None:
    with pytest.raises(TwimlError) as caught:
        parse_twiml(status, content_type, b"<Response/>")
    assert caught.value.code == code


# A whole call over loopback

Stream = Callable[["FakeBridge", WebSocket, TwilioStream], Awaitable[None]]


class FakeBridge:
    """A server that checks every signature and then does as the test says."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.url = ""
        self.keys = Keys((TOKEN,))
        self.answer: Callable[[], Response | XmlAnswer] = self.connect
        self.after: Callable[[], XmlAnswer] = hangup
        self.stream: Stream = echo_until_stopped
        self.accepts = True
        self.posts: list[tuple[str, Form]] = []
        self.upgrades: list[bool] = []
        self.app.add_api_route("/twilio/{rest:path}", self._http, methods=["GET", "POST"])
        self.app.add_api_websocket_route("/twilio/media/token", self._media)

    def connect(self) -> XmlAnswer:
        return connect_stream(
            websocket_url(self.url) + "/twilio/media/token",
            action_url=self.url + "/twilio/after",
            status_callback_url=self.url + "/twilio/stream-status",
            parameters={"session": "8f"},
        )

    async def _http(self, request: Request) -> Response:
        webhook = Webhook(
            request.method, request.url.path, request.url.query, request.headers.get("content-type", ""),
            await request.body(), request.headers.get("x-twilio-signature", ""),
        )  # fmt: skip
        verdict = verify(webhook, self.url, self.keys)
        if verdict.form is None:
            return Response(status_code=403)
        self.posts.append((request.url.path, verdict.form))
        answers: dict[str, Callable[[], Response | XmlAnswer]] = {
            "/twilio/voice": self.answer,
            "/twilio/after": self.after,
        }
        answer = answers.get(request.url.path, lambda: Response(status_code=204))()
        return answer if isinstance(answer, Response) else Response(answer.body, media_type=answer.content_type)

    async def _media(self, websocket: WebSocket) -> None:
        given = websocket.headers.get("x-twilio-signature", "")
        verdict = verify_upgrade(websocket.url.path, self.url, self.keys, given=given)
        self.upgrades.append(verdict.genuine)
        if not verdict.genuine or not self.accepts:
            await websocket.close()
            return
        await websocket.accept()
        await self.stream(self, websocket, TwilioStream())


async def events(websocket: WebSocket, stream: TwilioStream) -> AsyncIterator[Any]:
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            for event in stream.receive((message.get("text") or "").encode()):
                yield event
    except WebSocketDisconnect:
        return


async def send(websocket: WebSocket, frames: list[bytes]) -> None:
    for frame in frames:
        await websocket.send_text(frame.decode())


async def echo_until_stopped(bridge: FakeBridge, websocket: WebSocket, stream: TwilioStream) -> None:
    async for event in events(websocket, stream):
        if isinstance(event, Media):
            await websocket.send_text(stream.play(event.audio).decode())


@asynccontextmanager
async def running(bridge: FakeBridge) -> AsyncIterator[FakeBridge]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(bridge.app, log_config=None, lifespan="off", ws="websockets-sansio")
    server = uvicorn.Server(config)
    bridge.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[listener]))
        try:
            yield bridge
        finally:
            server.should_exit = True
            await serving
            listener.close()


def plan(bridge: FakeBridge, **changes: Any) -> CallPlan:
    wanted: dict[str, Any] = {"seconds": 5.0, "status_url": bridge.url + "/twilio/status", **changes}
    return CallPlan(bridge.url + "/twilio/voice", ACCOUNT, TOKEN, **wanted)


async def test_a_call_that_the_caller_ends(tmp_path: Path) -> None:
    seen: list[CallEvent] = []
    async with running(FakeBridge()) as bridge:
        report = await place_call(
            plan(bridge, audio=tone(200), hang_up=WhenQuiet(400), recording=tmp_path / "call.wav"), seen.append
        )
    assert report.went_well, report
    assert (report.result, report.ended_by, report.close_code) == ("completed", "caller", 1000)
    assert bridge.upgrades == [True]
    paths = [path for path, _ in bridge.posts]
    assert sorted(paths[1:3]) == ["/twilio/stream-status"] * 2
    assert [paths[0], paths[-1]] == ["/twilio/voice", "/twilio/status"]
    request = voice_request(bridge.posts[0][1])
    assert (request.call_id, request.account_id, request.status) == (report.call_sid, ACCOUNT, "ringing")
    assert "StirVerstat" in bridge.posts[0][1]
    final = bridge.posts[-1][1]
    assert (final.get("CallStatus"), int(final.get("CallDuration"))) == ("completed", math.ceil(report.seconds))
    assert [form.get("StreamEvent") for path, form in bridge.posts if path.endswith("stream-status")] == [
        "stream-started",
        "stream-stopped",
    ]
    # An echo: it answers while the caller still speaks, and the caller hears all of it.
    assert report.heard_ms >= 600
    assert report.first_audio_ms is not None
    assert 0 < report.first_audio_ms < 1000
    assert report.webhook_ms is not None
    assert report.upgrade_ms is not None
    kinds = [event.kind for event in seen]
    assert kinds[:3] == ["dialling", "answered", "stream"]
    assert kinds[-1] == "ended"
    assert {"caller-speaks", "agent-speaks", "agent-quiet"} <= set(kinds)
    with wave.open(str(tmp_path / "call.wav")) as recording:
        assert (recording.getnchannels(), recording.getframerate()) == (2, 8000)
        samples = memoryview(recording.readframes(recording.getnframes())).cast("h")
    left = bytes(memoryview(samples)[0::2].tobytes())
    assert left[:3200] == mulaw_to_pcm16(tone(200))


async def speak_at_once(bridge: FakeBridge, websocket: WebSocket, stream: TwilioStream) -> None:
    """Two seconds of audio at once; stops when the caller is heard, answers each turn, ends on the key `9`."""
    answering = False
    silent = 0
    async for event in events(websocket, stream):
        match event:
            case Started():
                await send(websocket, stream.send(Play(tone(2000, 300))) + stream.send(Mark("greeting")))
            case Media() if loud_span(event.audio) is not None:
                if not answering:
                    await send(websocket, stream.send(Clear()))
                answering, silent = True, 0
            case Media() if answering:
                silent += 1
                if silent == 10:
                    answering = False
                    await send(websocket, stream.send(Play(tone(300, 300))) + stream.send(Mark("answer")))
            case Dtmf("9"):
                await websocket.close()
                return


async def test_barge_in_answer_keys_and_a_server_that_hangs_up() -> None:
    bridge = FakeBridge()
    bridge.stream = speak_at_once
    bridge.after = lambda: say_and_hangup("Goodbye")
    turns = [Turn(tone(100), BargeIn(300)), Turn(digits="9", when=WhenQuiet(400))]
    async with running(bridge):
        report = await place_call(plan(bridge, audio=turns, hang_up=None))
    assert report.went_well, report
    assert report.ended_by == "server"
    assert report.said == ("Goodbye",)
    (interruption,) = report.interruptions
    assert interruption.latency_ms is not None
    assert interruption.latency_ms < 1000
    (answer,) = report.answers
    assert 200 <= answer.latency_ms < 1200
    assert (report.clears, report.marks) == (1, 2)
    assert report.cleared_ms > 1000
    assert report.heard_ms + report.cleared_ms == 2300
    assert (report.underruns, report.unplayed_ms) == (0, 0)
    after = [form for path, form in bridge.posts if path == "/twilio/after"]
    assert [form.get("CallStatus") for form in after] == ["in-progress"]


async def test_the_media_clock_is_absolute() -> None:
    arrived: list[float] = []

    async def listen(bridge: FakeBridge, websocket: WebSocket, stream: TwilioStream) -> None:
        async for event in events(websocket, stream):
            if isinstance(event, Media):
                arrived.append(asyncio.get_running_loop().time())

    bridge = FakeBridge()
    bridge.stream = listen
    async with running(bridge):
        report = await place_call(plan(bridge, audio=b"", hang_up=At(1000)))
    assert report.frames_sent == len(arrived) == 50
    assert arrived[-1] - arrived[0] == pytest.approx(
        0.98, abs=0.3
    )  # wide for a busy machine; drift would show in the count


async def test_busy() -> None:
    bridge = FakeBridge()
    bridge.answer = reject_busy
    async with running(bridge):
        report = await place_call(plan(bridge))
    assert (report.result, report.ended_by, report.went_well) == ("busy", None, False)
    assert bridge.posts[-1][1].get("CallStatus") == "busy"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda: Response("no", status_code=500), "11200"),
        (lambda: Response("<Response/>", media_type="application/json"), "12300"),
        (lambda: Response("<Response>", media_type="text/xml"), "12100"),
    ],
)
async def test_an_answer_that_makes_no_sense_fails_the_call(answer: Callable[[], Response], problem: str) -> None:
    bridge = FakeBridge()
    bridge.answer = answer
    async with running(bridge):
        report = await place_call(plan(bridge))
    assert report.result == "failed"
    assert [words[:5] for words in report.problems] == [problem]


async def test_a_wrong_token_is_refused() -> None:
    bridge = FakeBridge()
    bridge.keys = Keys(("another",))
    async with running(bridge):
        report = await place_call(plan(bridge, status_url=""))
    assert report.problems == ("11200 HTTP status 403",)
    assert bridge.posts == []


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/twilio/voice"
    report = await place_call(CallPlan(url, ACCOUNT, TOKEN))
    assert report.result == "failed"
    assert report.problems[0].startswith("11205")


async def test_a_stream_that_is_refused_goes_on_to_the_action() -> None:
    bridge = FakeBridge()
    bridge.accepts = False
    async with running(bridge):
        report = await place_call(plan(bridge))
    assert report.problems == ("31920 the upgrade was answered with HTTP 403",)
    assert (report.result, report.ended_by) == ("completed", None)
    assert not report.went_well
    assert "/twilio/after" in [path for path, _ in bridge.posts]
    errors = [form for path, form in bridge.posts if path.endswith("stream-status")]
    assert [form.get("StreamEvent") for form in errors] == ["stream-error"]


async def test_a_server_that_closes_in_anger() -> None:
    async def refuse(bridge: FakeBridge, websocket: WebSocket, stream: TwilioStream) -> None:
        await websocket.close(1008, "who are you")

    bridge = FakeBridge()
    bridge.stream = refuse
    async with running(bridge):
        report = await place_call(plan(bridge))
    assert (report.ended_by, report.close_code) == ("server", 1008)
    assert report.problems == ("31921 the server closed the stream: 1008 who are you",)
    assert not report.went_well


async def test_documents_that_lead_in_a_circle_end() -> None:
    bridge = FakeBridge()
    bridge.answer = lambda: Response("<Response><Redirect>/twilio/voice</Redirect></Response>", media_type="text/xml")
    async with running(bridge):
        report = await place_call(plan(bridge))
    assert report.result == "failed"
    assert len(bridge.posts) == 11, "ten documents and the status"


async def test_get_and_another_way_in() -> None:
    bridge = FakeBridge()
    async with running(bridge):
        via, bridge.url = bridge.url, "http://bridge.example.com"
        report = await place_call(plan(bridge, method="GET", via=via, audio=b"", hang_up=At(100)))
    assert report.problems == ()
    assert report.result == "completed"
    assert bridge.upgrades == [True]
    assert voice_request(bridge.posts[0][1]).call_id == report.call_sid


async def test_the_time_limit() -> None:
    async with running(FakeBridge()) as bridge:
        report = await place_call(plan(bridge, audio=b"", hang_up=None, seconds=0.3))
    assert (report.ended_by, report.frames_sent) == ("limit", 15)


NO_GOODBYE = [1005]  # how uvicorn reports a connection that ended without a close frame


async def faulty(faults: Faults, **changes: Any) -> tuple[CallReport, list[Any], list[int]]:
    """The report, what the server's dialect made of the frames, and how the socket closed on its side."""
    seen: list[Any] = []
    closed: list[int] = []

    async def listen(bridge: FakeBridge, websocket: WebSocket, stream: TwilioStream) -> None:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                closed.append(message["code"])
                return
            seen.extend(stream.receive((message.get("text") or "").encode() or message.get("bytes") or b""))

    bridge = FakeBridge()
    bridge.stream = listen
    async with running(bridge):
        report = await place_call(plan(bridge, **{"audio": b"", "hang_up": At(200), "faults": faults, **changes}))
    return report, seen, closed


async def test_bad_frames_and_two_ends_arrive_as_they_are() -> None:
    report, seen, closed = await faulty(Faults(inject=[Inject(40, "{"), Inject(60, b"\x00")], starts=2, stops=2))
    kinds = [type(event).__name__ for event in seen if not isinstance(event, Media)]
    assert kinds == ["Connected", "Started", "Started", "Malformed", "Malformed", "Stopped", "Stopped"]
    assert closed == [1000]
    assert report.ended_by == "caller"


async def test_a_broken_connection_is_no_goodbye() -> None:
    report, seen, closed = await faulty(Faults(breaks_at_ms=100))
    assert report.ended_by == "fault"
    assert closed == NO_GOODBYE
    assert not any(isinstance(event, Stopped) for event in seen)


async def test_vanishing_leaves_the_connection_open_and_silent() -> None:
    report, seen, closed = await faulty(Faults(vanishes_at_ms=100), seconds=0.4)
    assert report.ended_by == "fault"
    assert sum(isinstance(event, Media) for event in seen) == 5
    assert closed == NO_GOODBYE, "only when the time was over"


async def test_a_carrier_that_never_reads() -> None:
    bridge = FakeBridge()
    stuck = asyncio.Event()

    async def flood(bridge: FakeBridge, websocket: WebSocket, stream: TwilioStream) -> None:
        async for event in events(websocket, stream):
            if isinstance(event, Started):
                break
        try:
            async with asyncio.timeout(0.3):
                while True:
                    await websocket.send_text(stream.play(tone(20) * 100).decode())
        except TimeoutError:
            stuck.set()
        except WebSocketDisconnect:
            pass

    bridge.stream = flood
    async with running(bridge):
        report = await place_call(plan(bridge, hang_up=None, seconds=1.0, faults=Faults(never_reads=True)))
    assert report.received_ms == 0
    assert stuck.is_set()


async def test_cancelled_it_lets_go_and_keeps_the_recording(tmp_path: Path) -> None:
    talking = asyncio.Event()

    def watch(event: CallEvent) -> None:
        if event.kind == "agent-speaks":
            talking.set()

    async with running(FakeBridge()) as bridge:
        call = asyncio.create_task(
            place_call(plan(bridge, audio=tone(5000), seconds=20, recording=tmp_path / "cut.wav"), watch)
        )
        await talking.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert (tmp_path / "cut.wav").stat().st_size > 1000


def test_secrets_do_not_print() -> None:
    shown = repr(CallPlan("http://x/", ACCOUNT, TOKEN))
    assert TOKEN not in shown
    assert "15550002000" not in shown
    assert MULAW_8K.frame_bytes == 160
