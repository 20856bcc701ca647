"""Plivo as a simulated carrier: its words on the wire, how strictly it reads, and calls to servers of every kind."""

from __future__ import annotations

import json
import time
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from serving import serving
from sounds import hum

from tandem.carriers.events import Clear, Cleared, Dtmf, Mark, MarkPlayed, Media, Play, Started
from tandem.carriers.plivo import CODECS, PlivoStream, content_type
from tandem.carriers.plivo_webhook import (
    Keys,
    Webhook,
    busy,
    dial,
    hangup,
    speak_and_hangup,
    stream_answer,
    upgrade_signed_as,
    verify,
)
from tandem.carriers.xml_answer import XmlAnswer
from tandem.simulators.line import Faults, Frame, MediaLine, Recording
from tandem.simulators.phone import At, Caller, Turn, When
from tandem.simulators.plan import CallEvent, CallPlan, CallReport
from tandem.simulators.plivo import place_call, place_call_with_api
from tandem.simulators.plivo_line import BUFFER_MS, FORMATS, Identity, PlivoWire, plivo_line
from tandem.simulators.plivo_rest import Calls, serve
from tandem.simulators.plivo_xml import (
    AnswerError,
    Dial,
    Hangup,
    Redirect,
    Speak,
    Stream,
    Wait,
    parse_answer,
)
from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K

ACCOUNT, TOKEN = "MA" + "X" * 18, "planted-token"
IDENTITY = Identity(ACCOUNT, "97ceeb52-58b6-11e1-86da-77300b68f8bb", "20170ada-f610-433b-8758-c02a2aab3662")
MULAW = "audio/x-mulaw;rate=8000"


def line(*turns: Turn, faults: Faults | None = None, asked: str = MULAW, hang_up: When | None = None) -> MediaLine:
    wire = PlivoWire(IDENTITY, asked, "session=8f14", faults)
    return plivo_line(wire, Caller(turns, hang_up), Recording(), faults)


def loaded(frames: list[Frame]) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames]


# Its words


def test_start_comes_first_and_has_every_documented_field_and_type() -> None:
    assert loaded(line().opening()) == [
        {
            "event": "start",
            "sequenceNumber": 1,
            "start": {
                "callId": IDENTITY.call_id,
                "streamId": IDENTITY.stream_id,
                "accountId": ACCOUNT,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
            },
            "extra_headers": "{X-PH-session: 8f14}",
        }
    ]


def test_media_and_keys_are_as_documented() -> None:
    sim = line(Turn(hum(440, 40), At(0), digits="5"))
    sim.opening()
    dtmf, media, again = loaded(sim.tick() + sim.tick())
    assert dtmf == {
        "event": "dtmf",
        "sequenceNumber": 2,
        "streamId": IDENTITY.stream_id,
        "dtmf": {"track": "inbound", "digit": "5", "timestamp": dtmf["dtmf"]["timestamp"]},
        "extra_headers": "{X-PH-session: 8f14}",
    }
    body = media.pop("media")
    assert media == {
        "event": "media",
        "sequenceNumber": 3,
        "streamId": IDENTITY.stream_id,
        "extra_headers": "{X-PH-session: 8f14}",
    }
    assert (body["track"], body["chunk"]) == ("inbound", 1)
    assert isinstance(body["timestamp"], str)
    assert (again["media"]["chunk"], int(again["media"]["timestamp"]) - int(body["timestamp"])) == (2, 20)


@pytest.mark.parametrize("name", CODECS)
def test_our_dialect_and_the_simulated_carrier_understand_each_other(name: str) -> None:
    leg = CODECS[name]
    sim, stream = line(Turn(hum(440, 60), At(0), digits="#"), asked=content_type(leg)), PlivoStream()
    (started,) = [event for frame in sim.opening() for event in stream.receive(str(frame).encode())]
    assert isinstance(started, Started)
    assert (started.inbound, started.parameters) == (leg, {"session": "8f14"})
    events = [event for _ in range(3) for frame in sim.tick() for event in stream.receive(str(frame).encode())]
    assert events[0] == Dtmf("#")
    heard = b"".join(event.audio for event in events if isinstance(event, Media))
    assert len(heard) == leg.size(60)
    agent = Converter(MULAW_8K, leg).feed(hum(300, 100))
    for wire in stream.send(Play(agent)) + stream.send(Mark("end")):
        assert sim.receive(wire.decode(), 60) == []
    assert sim.playout.waiting_ms == 100
    frames = [frame for _ in range(6) for frame in sim.tick()]
    said = [event for frame in frames for event in stream.receive(str(frame).encode())]
    assert MarkPlayed("end") in said, "when it has really been played"
    assert sim.errors == []


def test_checkpoints_that_were_cleared_never_come_back() -> None:
    sim, stream = line(), PlivoStream()
    for frame in sim.opening():
        stream.receive(str(frame).encode())
    for command in (Play(hum(300, 1000)), Mark("m1"), Play(hum(300, 1000)), Mark("m2")):
        for wire in stream.send(command):
            assert sim.receive(wire.decode(), 0) == []
    cleared = sim.receive(stream.send(Clear())[0].decode(), 0)
    assert [event for frame in cleared for event in stream.receive(str(frame).encode())] == [Cleared()]
    later = [json.loads(frame)["event"] for _ in range(200) for frame in sim.tick()]
    assert set(later) == {"media"}
    assert (sim.marks_returned, sim.clears) == (0, 1)
    assert sim.receive(stream.send(Mark("m3"))[0].decode(), 0) != [], "with nothing before it, it is played at once"


def test_the_end_is_only_the_sockets() -> None:
    assert line().closing() == []


def test_the_buffer_has_an_end() -> None:
    sim, stream = line(), PlivoStream()
    for frame in sim.opening():
        stream.receive(str(frame).encode())
    piece = stream.play(b"\xff" * MULAW_8K.size(2000)).decode()
    told = [frame for _ in range(int(BUFFER_MS / 2000) + 1) for frame in sim.receive(piece, 0)]
    assert [json.loads(frame)["reason"] for frame in told] == ["buffer_overflow"]
    assert sim.playout.waiting_ms == BUFFER_MS
    assert sim.errors[0].startswith("buffer_overflow")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x00", "connection_failed"),
        ("hello", "connection_failed"),
        ("[]", "connection_failed"),
        ("x" * 70_000, "connection_failed"),
        ('{"event":"hangup"}', "connection_failed"),
        ('{"event":"clearAudio"}', "connection_failed"),
        ('{"event":"clearAudio","streamId":"other"}', "connection_failed"),
        ('{"event":"checkpoint","streamId":"%s"}', "connection_failed"),
        ('{"event":"checkpoint","streamId":"%s","name":""}', "connection_failed"),
        ('{"event":"playAudio","media":{"payload":"/w=="}}', "connection_failed"),
        ('{"event":"playAudio","media":{"contentType":"audio/x-mulaw","sampleRate":8000,"payload":"@"}}',
         "connection_failed"),
        ('{"event":"playAudio","media":{"contentType":"audio/x-mulaw","sampleRate":"8000","payload":"/w=="}}',
         "connection_failed"),
        ('{"event":"playAudio","media":{"contentType":"audio/x-mulaw;rate=8000","sampleRate":8000,"payload":"/w=="}}',
         "invalid_content_type"),
        ('{"event":"playAudio","media":{"contentType":"audio/x-l16","sampleRate":8000,"payload":"/w=="}}',
         "invalid_content_type"),
        ('{"event":"playAudio","media":{"contentType":"audio/x-mulaw","sampleRate":16000,"payload":"/w=="}}',
         "invalid_content_type"),
        ('{"event":"playAudio","media":{"contentType":"audio/x-mulaw","sampleRate":8000,"payload":""}}',
         "invalid_content_type"),
    ],
)  # fmt: skip
def test_what_plivo_would_not_take_is_told_and_a_problem(frame: Frame, code: str) -> None:
    sim = line()
    given = frame % IDENTITY.stream_id if isinstance(frame, str) and "%s" in frame else frame
    (told,) = loaded(sim.receive(given, 5))
    assert (told["event"], told["reason"]) == ("error", code)
    assert sim.errors[0].startswith(code)


def test_half_a_sample_is_no_audio() -> None:
    sim = line(asked="audio/x-l16;rate=8000")
    odd = '{"event":"playAudio","media":{"contentType":"audio/x-l16","sampleRate":8000,"payload":"AAAA"}}'
    assert loaded(sim.receive(odd, 5))[0]["reason"] == "invalid_content_type"


def test_other_misbehaviour() -> None:
    kinds = [message["event"] for message in loaded(line(faults=Faults(media_before_start=2, starts=2)).opening())]
    assert kinds == ["media", "media", "start", "start"]
    wrong = line(faults=Faults(announce=("audio/x-l16", 16000, 1), wrong_call="another")).opening()
    body = loaded(wrong)[0]["start"]
    assert (body["mediaFormat"]["encoding"], body["callId"]) == ("audio/x-l16", "another")


# Its reading


def read(answer: XmlAnswer, *, plain: bool = False) -> list[Any]:
    return list(parse_answer(200, answer.content_type, answer.body, plain=plain))


def test_it_reads_what_we_write() -> None:
    document = stream_answer("wss://b.example/m?a=1&b=2", content_type=MULAW, status_url="https://b/s", session="8f")
    assert read(document) == [
        Stream("wss://b.example/m?a=1&b=2", MULAW, "https://b/s", "POST", "session=8f"),
        Hangup(),
    ]
    assert read(busy()) == [Hangup("busy")]
    assert read(hangup()) == [Hangup()]
    assert read(speak_and_hangup("Ä & b")) == [Speak("Ä & b"), Hangup()]
    assert read(stream_answer("ws://localhost/m", content_type=MULAW), plain=True)[0].url == "ws://localhost/m"
    through = dial("+15550003000", caller_id="+15550001000", ring_seconds=9, after_url="https://b/a")
    assert read(through) == [Dial("15550003000", "15550001000", 9.0, "https://b/a", True, "https://b/a"), Hangup()]
    more = b'<Response><Wait length="2"/><Redirect method="GET">https://b/x</Redirect></Response>'
    assert parse_answer(200, "application/xml", more) == [Wait(2.0), Redirect("https://b/x", "GET")]


def within(inside: str) -> bytes:
    return f"<Response>{inside}</Response>".encode()


def streaming(text: str = "wss://a/b", **changes: str | None) -> bytes:
    given: dict[str, str | None] = {"bidirectional": "true", "keepCallAlive": "true", "contentType": MULAW, **changes}
    attributes = " ".join(f'{name}="{value}"' for name, value in given.items() if value is not None)
    return within(f"<Stream {attributes}>{text}</Stream>")


@pytest.mark.parametrize(
    "body",
    [
        b"<Response>",
        b"",
        b"<response/>",
        b"<Response version='1'/>",
        b"<Response>" + b" " * 102_400 + b"</Response>",
        within("<Reject reason='busy'/>"),
        within("<Connect><Stream url='wss://a/b'/></Connect>"),
        within("<Speak/>"),
        within("<Wait length='x'/>"),
        within("<Hangup now='1'/>"),
        within("<Hangup reason='tired'/>"),
        within("<Hangup><Speak>x</Speak></Hangup>"),
        within("<Redirect>/x</Redirect>"),
        within("<Redirect method='PUT'>https://a/x</Redirect>"),
        within("<Dial/>"),
        within("<Dial><Number/></Dial>"),
        within("<Dial><Sip>sip:a@b</Sip></Dial>"),
        within("<Dial action='/x'><Number>1</Number></Dial>"),
        streaming("https://a/b"),
        streaming("ws://a/b"),
        streaming(""),
        streaming("wss://a/" + "b" * 2048),
        streaming("wss://a/b?c=1&d=2"),  # not escaped: no XML
        streaming(bidirectional=None),
        streaming(bidirectional="yes"),
        streaming(keepCallAlive="false"),
        streaming(audioTrack="both"),
        streaming(contentType=None),
        streaming(contentType="audio/x-mulaw"),
        streaming(statusCallbackUrl="/s"),
        streaming(extraHeaders="a=" + "b" * 512),
        streaming(url="wss://a/b"),
    ],
)
def test_documents_that_plivo_would_not_take(body: bytes) -> None:
    with pytest.raises(AnswerError) as caught:
        parse_answer(200, "text/xml", body)
    assert caught.value.code == 8011


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [(7011, 500, "text/xml"), (7011, 302, "text/xml"), (8011, 200, "application/json"), (8011, 200, "")],
)
def test_responses_that_plivo_would_not_take(code: int, status: int, kind: str) -> None:
    with pytest.raises(AnswerError) as caught:
        parse_answer(status, kind, b"<Response/>")
    assert caught.value.code == code


# Calls to a server of the tests' own


class Bridge:
    """A server that checks every signature, answers documents in turn, and does with a stream what the test says."""

    def __init__(self, *documents: Callable[[Bridge], Response | XmlAnswer]) -> None:
        self.documents = list(documents)
        self.app = FastAPI()
        self.app.add_api_route("/{rest:path}", self.http, methods=["GET", "POST"])
        self.app.add_api_websocket_route("/media/{token}", self.media)
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.upgrades: list[str] = []
        self.refuse = 0
        """So many media sockets are turned away."""
        self.closes_at: int | None = None
        """After so many messages of the carrier."""
        self.says: list[bytes] = []
        self.url = ""

    async def http(self, request: Request) -> Response:
        verdict = verify(
            Webhook(
                request.method,
                request.url.path,
                request.url.query,
                request.headers.get("content-type", ""),
                await request.body(),
                dict(request.headers),
            ),
            self.url,
            Keys(TOKEN),
        )
        assert verdict.genuine, verdict.reason
        assert verdict.form is not None
        self.forms.append((request.url.path, dict(verdict.form.pairs)))
        if not self.documents or request.url.path == "/status":
            return Response("<Response/>", media_type="text/xml")
        answer = self.documents.pop(0)(self)
        return answer if isinstance(answer, Response) else Response(answer.body, media_type=answer.content_type)

    async def media(self, socket: WebSocket, token: str) -> None:
        self.upgrades.append(upgrade_signed_as(socket.url.path, self.url, TOKEN, dict(socket.headers)))
        if self.refuse:
            self.refuse -= 1
            await socket.close(1008)
            return
        await socket.accept()
        dialect, count = PlivoStream(), 0
        try:
            while True:
                dialect.receive((await socket.receive_text()).encode())
                count += 1
                if count == 1:
                    for audio in self.says:
                        await socket.send_text(dialect.play(audio).decode())
                if count == self.closes_at:
                    await socket.close()
                    return
        except WebSocketDisconnect:
            pass

    def stream(self) -> XmlAnswer:
        origin = self.url.replace("http", "ws", 1)
        return stream_answer(f"{origin}/media/t", content_type=MULAW, status_url=f"{self.url}/status", session="8f")

    @property
    def told(self) -> list[str]:
        """What its callbacks were of."""
        return [form["Event"] for path, form in self.forms if path == "/status"]


@asynccontextmanager
async def answering(*documents: Callable[[Bridge], Response | XmlAnswer]) -> AsyncIterator[Bridge]:
    bridge = Bridge(*documents)
    async with serving(bridge.app) as port:
        bridge.url = f"http://127.0.0.1:{port}"
        yield bridge


async def call(bridge: Bridge, on_event: Callable[[CallEvent], None] | None = None, **changes: Any) -> CallReport:
    given = {"status_url": f"{bridge.url}/status", "seconds": 5, **changes}
    return await place_call(CallPlan(f"{bridge.url}/voice", ACCOUNT, TOKEN, **given), on_event)


def document(inside: str) -> Callable[[Bridge], Response]:
    """With `{url}` for the server's own."""
    return lambda bridge: Response(within(inside.replace("{url}", bridge.url)), media_type="text/xml")


async def test_a_call_as_plivo_places_it() -> None:
    seen: list[str] = []
    async with answering(Bridge.stream) as bridge:
        bridge.says = [hum(440, 300)]
        report = await call(bridge, lambda event: seen.append(event.kind), hang_up=At(600))
        assert report.went_well, report.problems
        assert (report.ended_by, report.result, report.heard_ms) == ("caller", "completed", 300)
        path, form = bridge.forms[0]
        assert path == "/voice"
        assert (form["CallUUID"], form["From"], form["To"]) == (report.call_sid, "15550002000", "15550001000")
        assert (form["Event"], form["CallStatus"], form["Direction"]) == ("StartApp", "ringing", "inbound")
        assert bridge.upgrades == [f"{bridge.url.replace('http', 'ws', 1)}/media/t"]
        assert bridge.told == ["StartStream", "StopStream", "Hangup"]
        final = bridge.forms[-1][1]
        assert (final["CallStatus"], final["HangupCauseCode"], final["HangupSource"]) == ("completed", "4000", "Caller")
        assert seen[:3] == ["dialling", "answered", "stream"]
        assert seen[-1] == "ended"


async def test_by_get_the_parameters_are_in_the_url() -> None:
    async with answering(Bridge.stream) as bridge:
        report = await call(bridge, method="GET", hang_up=At(100))
        assert report.result == "completed"
        assert bridge.forms[0][1]["CallUUID"] == report.call_sid


async def test_a_server_that_closes_goes_on_in_the_document() -> None:
    async with answering(Bridge.stream) as bridge:
        bridge.closes_at = 3
        report = await call(bridge, hang_up=None)
        assert (report.ended_by, report.result, report.problems) == ("server", "completed", ())
        assert bridge.forms[-1][1]["HangupCauseCode"] == "4010"


async def test_a_busy_answer_costs_nothing() -> None:
    async with answering(lambda _: busy()) as bridge:
        report = await call(bridge)
        assert (report.result, report.ended_by) == ("busy", None)
        final = bridge.forms[-1][1]
        assert (final["CallStatus"], final["HangupCauseCode"], final["Duration"]) == ("busy", "3010", "0")


async def test_every_element_is_obeyed_in_turn() -> None:
    async with answering(
        document("<Wait length='0'/><Speak>One</Speak><Redirect method='GET'>{url}/next</Redirect>"),
        document("<Dial action='{url}/status' redirect='false'><User>sip:a@b</User></Dial><Speak>Two</Speak><Hangup/>"),
    ) as bridge:
        report = await call(bridge)
        assert report.said == ("One", "Two")
        assert report.problems == ()
        assert [path for path, _ in bridge.forms] == ["/voice", "/next", "/status", "/status"]
        dialled = bridge.forms[2][1]
        assert (dialled["DialStatus"], dialled["DialALegUUID"]) == ("no-answer", report.call_sid)


@pytest.mark.parametrize(
    ("answer", "problem", "code"),
    [
        (lambda _: Response(status_code=500), "7011 HTTP status 500", "7011"),
        (document("<Reject/>"), "8011 <Reject>", "8011"),
        (lambda _: Response("{}", media_type="application/json"), "8011 content type", "8011"),
    ],
)
async def test_an_answer_that_can_not_be_obeyed_ends_the_call(answer: Any, problem: str, code: str) -> None:
    async with answering(answer) as bridge:
        report = await call(bridge)
        assert report.result == "failed"
        assert report.problems[0].startswith(problem)
        assert bridge.forms[-1][1]["HangupCauseCode"] == code


async def test_documents_that_point_at_each_other_come_to_an_end() -> None:
    again = document("<Redirect>{url}/again</Redirect>")
    async with answering(*[again] * 20) as bridge:
        report = await call(bridge)
        assert "more than 10 documents" in report.problems[0]


async def test_nobody_answers() -> None:
    report = await place_call(CallPlan("http://127.0.0.1:9/voice", ACCOUNT, TOKEN, seconds=1))
    assert report.result == "failed"
    assert report.problems[0].startswith("7011 no answer")


@pytest.mark.parametrize(("refused", "opened"), [(2, True), (3, False)])
async def test_a_media_socket_is_tried_three_times(refused: int, opened: bool) -> None:
    async with answering(Bridge.stream) as bridge:
        bridge.refuse = refused
        report = await call(bridge, hang_up=At(100))
        assert len(bridge.upgrades) == 3
        if opened:
            assert report.problems == ()
        else:
            assert report.problems == ("the upgrade was answered with HTTP 403",)
            assert bridge.told == ["failed", "Hangup"]


async def test_a_media_socket_that_can_not_be_reached() -> None:
    async with answering(Bridge.stream) as bridge:
        report = await call(bridge, faults=Faults(unreachable=True))
        assert report.problems == ("no stream could be opened: ConnectionRefusedError",)
        assert bridge.told == ["failed", "Hangup"]


async def test_a_recording_has_the_caller_left_and_the_agent_right(tmp_path: Path) -> None:
    async with answering(Bridge.stream) as bridge:
        bridge.says = [hum(440, 200)]
        report = await call(bridge, hang_up=At(400), recording=tmp_path / "call.wav")
        assert report.recording is not None
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        assert file.getnframes() >= 3200


async def test_frames_come_at_the_pace_of_speech() -> None:
    async with answering(Bridge.stream) as bridge:
        began = time.monotonic()
        report = await call(bridge, hang_up=At(500))
        assert 0.45 <= time.monotonic() - began < 2
        assert report.frames_sent == pytest.approx(25, abs=2)


# With its API


async def test_a_call_can_be_ended_over_the_api() -> None:
    calls = Calls(ACCOUNT, TOKEN)
    async with answering(Bridge.stream) as bridge, serve(calls):

        def on_event(event: CallEvent) -> None:
            if event.kind == "stream":
                (live,) = calls.live.values()
                live.hung_up.set()

        plan = CallPlan(f"{bridge.url}/voice", ACCOUNT, TOKEN, status_url=f"{bridge.url}/status", hang_up=None)
        report = await place_call(plan, on_event, calls)
        assert (report.ended_by, report.problems) == ("server", ())
        assert bridge.forms[-1][1]["HangupCauseCode"] == "1000"
        assert calls.live == {}


async def test_the_api_is_there_as_long_as_the_call() -> None:
    async with answering(Bridge.stream) as bridge, serve(Calls(ACCOUNT, TOKEN)) as other:
        port = int(other.url.rpartition(":")[2])
        plan = CallPlan(f"{bridge.url}/voice", ACCOUNT, TOKEN, hang_up=At(100))
        with pytest.raises(OSError, match="address already in use"):
            await place_call_with_api(plan, host="127.0.0.1", port=port)
        report = await place_call_with_api(plan, host="127.0.0.1", port=0)
        assert report.result == "completed"


def test_every_codec_that_can_be_asked_for_is_known_to_plivo() -> None:
    assert {content_type(each) for each in CODECS.values()} == set(FORMATS)
