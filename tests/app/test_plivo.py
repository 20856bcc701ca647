import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playbook import plan

from tandem.call import Call
from tandem.call_types import End, Tick
from tandem.carriers.events import (
    CarrierError,
    Clear,
    Cleared,
    Dtmf,
    Malformed,
    Mark,
    MarkPlayed,
    Media,
    Play,
    Started,
    Stopped,
    Unknown,
)
from tandem.carriers.plivo import CODECS, TRAITS, PlivoStream, content_type, parse_extra_headers, traits
from tandem_codecs.format import MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from tandem_providers.events import AudioChunk, SessionReady, UserSpeechStarted

STREAM = "20170ada-f610-433b-8758-c02a2aab3662"
CALL = "97ceeb52-58b6-11e1-86da-77300b68f8bb"
ACCOUNT = "MAXXXXXXXXXXXXXXXXXX"


def frame(**fields: Any) -> bytes:
    return json.dumps({"streamId": STREAM, **fields}).encode()


def start(extra_headers: object = "{X-PH-session: 8f14e45f}", **changes: Any) -> bytes:
    body = {
        "callId": CALL,
        "streamId": STREAM,
        "accountId": ACCOUNT,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
    }
    whole = {"event": "start", "sequenceNumber": 1, "start": {**body, **changes}, "extra_headers": extra_headers}
    return json.dumps(whole).encode()


def media(payload: str = base64.b64encode(b"\xff" * 160).decode(), **fields: Any) -> bytes:
    body = {"track": "inbound", "timestamp": "1767323045123", "chunk": 1, "payload": payload}
    return frame(event="media", sequenceNumber=2, media={**body, **fields}, extra_headers="{X-PH-session: 8f14e45f}")


def started(encoding: str = "audio/x-mulaw", rate: int = 8000) -> PlivoStream:
    stream = PlivoStream()
    (event,) = stream.receive(start(mediaFormat={"encoding": encoding, "sampleRate": rate}))
    assert isinstance(event, Started)
    return stream


# The examples of the specification, as they stand there


def test_every_message_of_the_specification() -> None:
    stream = PlivoStream()
    assert stream.receive(
        b"""{"event":"start","sequenceNumber":1,
 "start":{"callId":"97ceeb52-58b6-11e1-86da-77300b68f8bb","streamId":"20170ada-f610-433b-8758-c02a2aab3662",
  "accountId":"MAXXXXXXXXXXXXXXXXXX","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000}},
 "extra_headers":"{X-PH-session: 8f14e45f}"}"""
    ) == [
        Started(
            call_id=CALL,
            stream_id=STREAM,
            account_id=ACCOUNT,
            inbound=MULAW_8K,
            outbound=MULAW_8K,
            announced="audio/x-mulaw 8000 Hz, 1 channel(s)",
            parameters={"session": "8f14e45f"},
        )
    ]
    assert stream.stream_id == STREAM
    assert stream.receive(
        b'{"event":"media","sequenceNumber":2,"streamId":"20170ada-f610","media":{"track":"inbound",'
        b'"timestamp":"1767323045123","chunk":1,"payload":"/38="},"extra_headers":"{X-PH-session: 8f14e45f}"}'
    ) == [Media(b"\xff\x7f", 1, 1767323045123)]
    assert stream.receive(
        b'{"event":"dtmf","sequenceNumber":3,"streamId":"20170ada-f610","dtmf":{"track":"inbound","digit":"1",'
        b'"timestamp":"1767323046000"},"extra_headers":"{}"}'
    ) == [Dtmf("1")]
    assert stream.receive(b'{"event":"playedStream","sequenceNumber":4,"streamId":"20170ada-f610","name":"m1"}') == [
        MarkPlayed("m1")
    ]
    assert stream.receive(b'{"event":"clearedAudio","sequenceNumber":5,"streamId":"20170ada-f610"}') == [Cleared()]
    sent = [
        json.loads(wire) for command in (Play(b"\x00\x7f\xff"), Mark("m1"), Clear()) for wire in stream.send(command)
    ]
    assert sent == [
        {"event": "playAudio", "media": {"contentType": "audio/x-mulaw", "sampleRate": 8000, "payload": "AH//"}},
        {"event": "checkpoint", "streamId": STREAM, "name": "m1"},
        {"event": "clearAudio", "streamId": STREAM},
    ]
    assert stream.send(Play(b"")) == []


# Formats


@pytest.mark.parametrize(
    ("encoding", "rate", "expected"),
    [
        ("audio/x-mulaw", 8000, MULAW_8K),
        ("AUDIO/X-MULAW", "8000", MULAW_8K),
        ("audio/x-mulaw;rate=8000", 8000, MULAW_8K),
        ("audio/x-l16", 8000, PCM16_8K),
        ("audio/x-l16", 16000, PCM16_16K),
        ("audio/x-l16", 24000, PCM16_24K),
        ("audio/x-l16", 44100, None),
        ("audio/x-mulaw", 16000, None),
        ("audio/x-alaw", 8000, None),
    ],
)
def test_r25_the_announced_format(encoding: str, rate: Any, expected: AudioFormat | None) -> None:
    (event,) = PlivoStream().receive(start(mediaFormat={"encoding": encoding, "sampleRate": rate}))
    assert isinstance(event, Started)
    assert event.inbound == event.outbound == expected
    assert event.announced == f"{encoding} {rate} Hz, 1 channel(s)"


@pytest.mark.parametrize(
    "announced", [None, {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2}], ids=["nothing", "stereo"]
)
def test_r25_what_is_not_understood_is_no_format_rather_than_noise(announced: object) -> None:
    stream = PlivoStream()
    (event,) = stream.receive(start(mediaFormat=announced))
    assert isinstance(event, Started)
    assert event.inbound is event.outbound is None
    with pytest.raises(RuntimeError, match="not started"):
        stream.play(b"\xff")


@pytest.mark.parametrize("name", CODECS)
def test_audio_goes_out_as_the_stream_was_announced(name: str) -> None:
    """The kind has no rate in it here, unlike in the document; little-endian, as it is everywhere in this program."""
    asked = content_type(CODECS[name])
    kind, _, rate = asked.partition(";rate=")
    stream = started(kind, int(rate))
    played = json.loads(stream.play(b"\x01\x02\x03\x04"))
    assert played["media"] == {"contentType": kind, "sampleRate": int(rate), "payload": "AQIDBA=="}
    assert stream.receive(media("AQIDBA==")) == [Media(b"\x01\x02\x03\x04", 1, 1767323045123)]


def test_golden_values_of_linear_audio() -> None:
    samples = b"".join(value.to_bytes(2, "little", signed=True) for value in (0, 1000, -1000, 32767, -32768))
    assert json.loads(started("audio/x-l16", 16000).play(samples))["media"]["payload"] == "AADoAxj8/38AgA=="


@given(st.binary(min_size=1, max_size=2000))
def test_audio_survives_both_ways(audio: bytes) -> None:
    stream = started()
    payload = json.loads(stream.play(audio))["media"]["payload"]
    assert stream.receive(media(payload)) == [Media(audio, 1, 1767323045123)]


def test_the_row_of_the_table() -> None:
    assert TRAITS.name == "plivo"
    assert TRAITS.formats[0] == MULAW_8K
    assert not TRAITS.marks_returned_on_clear
    assert not TRAITS.socket_ends_call
    assert not TRAITS.says_stop
    assert 1 <= TRAITS.lead_seconds <= 5, "near real time"
    assert traits("l16").formats[0] == PCM16_16K
    assert set(traits("l16").formats) == set(TRAITS.formats)


@pytest.mark.parametrize("name", CODECS)
def test_no_message_is_longer_than_the_guide_allows(name: str) -> None:
    asked = CODECS[name]
    kind, _, rate = content_type(asked).partition(";rate=")
    longest = started(kind, int(rate)).play(bytes(asked.size(TRAITS.longest_play_ms)))
    assert len(json.loads(longest)["media"]["payload"]) <= 16 * 1024


# Types


@pytest.mark.parametrize("spelling", ["7", 7, 7.0])
def test_numbers_may_be_strings_or_numbers(spelling: object) -> None:
    assert started().receive(media("/w==", chunk=spelling, timestamp=spelling)) == [Media(b"\xff", 7, 7)]
    assert started().receive(frame(event="playedStream", sequenceNumber=spelling, name="m")) == [MarkPlayed("m")]


def test_numbers_may_be_missing() -> None:
    assert started().receive(frame(event="media", media={"payload": "/w=="})) == [Media(b"\xff", None, None)]


@pytest.mark.parametrize("digit", list("0123456789*#ABCD"))
def test_every_key(digit: str) -> None:
    assert started().receive(frame(event="dtmf", dtmf={"digit": digit})) == [Dtmf(digit)]


def test_a_key_may_be_a_number_or_a_small_letter() -> None:
    assert started().receive(frame(event="dtmf", dtmf={"digit": 5})) == [Dtmf("5")]
    assert started().receive(frame(event="dtmf", dtmf={"digit": "a"})) == [Dtmf("A")]


def test_only_the_inbound_track_is_the_caller() -> None:
    assert started().receive(media(track="outbound")) == [Unknown("media of track outbound")]


def test_the_stream_id_may_stand_outside_of_start() -> None:
    whole = json.loads(start())
    del whole["start"]["streamId"]
    whole["streamId"] = STREAM
    stream = PlivoStream()
    assert isinstance(stream.receive(json.dumps(whole).encode())[0], Started)
    assert stream.stream_id == STREAM


def test_nothing_can_be_sent_before_the_start() -> None:
    stream = PlivoStream()
    for command in (Play(b"\xff"), Mark("m"), Clear()):
        with pytest.raises(RuntimeError, match="not started"):
            stream.send(command)


@given(st.text())
def test_any_mark_name_makes_valid_json_and_comes_back(name: str) -> None:
    stream = started()
    (wire,) = stream.send(Mark(name))
    assert json.loads(wire)["name"] == name
    assert stream.receive(frame(event="playedStream", name=name)) == [MarkPlayed(name)]


def test_a_mark_name_that_unicode_forbids_is_still_valid_json() -> None:
    (wire,) = started().send(Mark("a\ud800b"))
    assert json.loads(wire)["name"] == "a?b"


def test_a_second_start_is_told_but_does_not_move_the_stream() -> None:
    stream = started()
    (event,) = stream.receive(start(streamId="other", mediaFormat={"encoding": "audio/x-l16", "sampleRate": 8000}))
    assert isinstance(event, Started)
    assert event.stream_id == "other"
    assert stream.stream_id == STREAM
    assert json.loads(stream.send(Clear())[0])["streamId"] == STREAM
    assert json.loads(stream.play(b"\xff"))["media"]["contentType"] == "audio/x-mulaw"


# What is nowhere documented


def test_a_stop_may_come() -> None:
    assert started().receive(frame(event="stop", stop={"reason": "hangup"})) == [Stopped()]
    assert started().receive(frame(event="stop")) == [Stopped()]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"event": "error", "reason": "buffer_overflow"}, CarrierError("buffer_overflow", "buffer_overflow")),
        ({"event": "error", "error": {"reason": "invalid_content_type: audio/x-foo"}},
         CarrierError("invalid_content_type", "invalid_content_type: audio/x-foo")),
        ({"event": "error", "error": "authentication_failed"},
         CarrierError("authentication_failed", "authentication_failed")),
        ({"event": "playFailed", "reason": "Bad audio"}, CarrierError("playFailed", "Bad audio")),
        ({"event": "playFailed", "playFailed": {"message": "nope"}}, CarrierError("playFailed", "nope")),
        ({"event": "error"}, CarrierError("error", "no reason given")),
        ({"event": "error", "reason": 5, "error": [], "code": {}}, CarrierError("error", "no reason given")),
    ],
)  # fmt: skip
def test_complaints_in_any_shape(message: dict[str, Any], expected: CarrierError) -> None:
    assert started().receive(json.dumps(message).encode()) == [expected]


def test_a_long_complaint_is_cut_short() -> None:
    (event,) = started().receive(frame(event="error", reason="x" * 5000))
    assert isinstance(event, CarrierError)
    assert len(event.text) == 120


@pytest.mark.parametrize("kind", ["muteStream", "unmuteStream", "connected", "weather"])
def test_new_kinds_are_unknown_even_with_familiar_fields(kind: str) -> None:
    assert started().receive(frame(event=kind, media=5, start=[])) == [Unknown(kind)]


def test_unknown_fields_are_let_be() -> None:
    assert started().receive(frame(event="clearedAudio", news={"a": [1, None]})) == [Cleared()]


# Extra headers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{X-PH-session: 8f14e45f}", {"session": "8f14e45f"}),
        ("{x-ph-session: 8f14, X-Ph-lang: en}", {"session": "8f14", "lang": "en"}),
        ('{"X-PH-session":"8f14","n":5}', {"session": "8f14", "n": "5"}),
        ("session=8f14;lang=en", {"session": "8f14", "lang": "en"}),
        ("session=8f14,lang=en", {"session": "8f14", "lang": "en"}),
        ("session=a:b", {"session": "a:b"}),
        ("at: a=b", {"at": "a=b"}),
        ("{session:'8f14'}", {"session": "8f14"}),
        ("session=1,session=2", {"session": "1"}),
        ({"X-PH-session": "8f14", "deep": {"a": 1}}, {"session": "8f14"}),
        ("", {}),
        ("{}", {}),
        ("null", {}),
        ("[1,2]", {}),
        ("session", {}),
        (None, {}),
        (5, {}),
        (["a"], {}),
        ("a=" + "b" * 5000, {}),
        ("=b", {}),
    ],
)  # fmt: skip
def test_extra_headers_in_every_spelling(text: object, expected: dict[str, str]) -> None:
    assert parse_extra_headers(text) == expected


@given(st.text() | st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_extra_headers_of_any_kind(text: object) -> None:
    assert all(name for name in parse_extra_headers(text))


@given(
    st.dictionaries(st.from_regex(r"[A-Za-z0-9]{1,8}", fullmatch=True), st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True))
)
def test_one_or_more_alphanumeric_pairs_come_through_however_they_are_written(pairs: dict[str, str]) -> None:
    pairs = {name: value for name, value in pairs.items() if not name.lower().startswith("x-ph-")}
    braces = "{" + ", ".join(f"X-PH-{name}: {value}" for name, value in pairs.items()) + "}"
    for text in (braces, json.dumps(pairs), ";".join(f"{n}={v}" for n, v in pairs.items()), pairs):
        assert parse_extra_headers(text) == pairs


# What can't be read

BAD = {
    "empty": b"",
    "not JSON": b"hello",
    "array": b"[1,2]",
    "null": b"null",
    "string": b'"media"',
    "number": b"1",
    "cut off": b'{"event":"media","media":{"payl',
    "two values": b'{"event":"stop"}{"event":"stop"}',
    "NaN": b'{"event":"media","media":{"payload":NaN}}',
    "infinity": b'{"event":"stop","x":Infinity}',
    "deep array": b"[" * 100_000,
    "deep in a known event": b'{"event":"media","x":' + b"[" * 100_000,
    "deep in a complaint": b'{"event":"error","error":' + b"[" * 100_000,
    "deep and closed": b'{"event":"start","extra_headers":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "huge integer": b'{"event":"media","media":{"payload":"/w==","chunk":' + b"9" * 50_000 + b"}}",
    "huge integer as string": b'{"event":"media","media":{"payload":"/w==","chunk":"' + b"9" * 50_000 + b'"}}',
    "huge exponent": b'{"event":"media","media":{"payload":"/w==","chunk":1e999}}',
    "negative chunk": media("/w==", chunk=-1),
    "boolean chunk": media("/w==", chunk=True),
    "not UTF-8": b'{"event":"playedStream","name":"\xff\xfe"}',
    "lone surrogate": b'{"event":"playedStream","name":"\\ud800"}',
    "no event": b'{"media":{"payload":"/w=="}}',
    "event is a number": b'{"event":1}',
    "media is missing": frame(event="media"),
    "media is a list": frame(event="media", media=[]),
    "payload is missing": frame(event="media", media={"track": "inbound"}),
    "payload is empty": media(""),
    "payload is garbage": media("@@@"),
    "payload with blanks": media("AA AA"),
    "payload with a newline": media("AAAA\n"),
    "payload of odd length": media("AAA"),
    "payload padded inside": media("AA==AAAA"),
    "payload of URL alphabet": media("-_-_"),
    "played without a name": frame(event="playedStream"),
    "played of a number": frame(event="playedStream", name=1),
    "dtmf of two digits": frame(event="dtmf", dtmf={"digit": "12"}),
    "dtmf of a large number": frame(event="dtmf", dtmf={"digit": 12}),
    "dtmf of none": frame(event="dtmf", dtmf={"digit": ""}),
    "dtmf of a letter": frame(event="dtmf", dtmf={"digit": "x"}),
    "dtmf of a foreign digit": frame(event="dtmf", dtmf={"digit": "\u0663"}),
    "start without a call": start(callId=""),
    "start with a number for a call": start(callId=5),
    "start with a long id": start(callId="C" * 300),
    "start with a word for a rate": start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": "fast"}),
    "start without a stream": b'{"event":"start","start":{"callId":"C1","accountId":"A1"}}',
}


@pytest.mark.parametrize("name", BAD)
def test_r20_r21_what_cannot_be_read_is_malformed_quickly_and_changes_nothing(name: str) -> None:
    stream = started()
    took = []
    for _ in range(3):
        began = time.perf_counter()
        events = stream.receive(BAD[name])
        took.append(time.perf_counter() - began)
        assert len(events) == 1
        assert isinstance(events[0], Malformed)
        assert 0 < len(events[0].reason) <= 120
    assert min(took) <= 0.002
    assert stream.receive(media()) == [Media(b"\xff" * 160, 1, 1767323045123)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "event",
        "media",
        "dtmf",
        "start",
        "stop",
        "streamId",
        "payload",
        "chunk",
        "name",
        "reason",
        "error",
        "extra_headers",
    ]
)
kinds = st.sampled_from(
    ["media", "playedStream", "clearedAudio", "dtmf", "start", "stop", "error", "playFailed", "connected", "news"]
)


@given(st.binary())
def test_r20_any_bytes(data: bytes) -> None:
    (event,) = PlivoStream().receive(data)
    assert isinstance(event, Malformed | Unknown)


@given(kinds, st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=4), max_size=5))
def test_r20_any_object(kind: str, fields: dict[str, Any]) -> None:
    fields["event"] = kind
    assert len(PlivoStream().receive(json.dumps(fields).encode())) == 1


# In any order

ORDERS = {
    "start": start(),
    "another format": start(mediaFormat={"encoding": "audio/x-l16", "sampleRate": 16000}),
    "no format": start(mediaFormat=None),
    "media": media(),
    "late media": media(chunk=400, timestamp="1767323053123"),
    "early media": media(chunk=0),
    "dtmf": frame(event="dtmf", dtmf={"track": "inbound", "digit": "5"}),
    "played": frame(event="playedStream", name="m1"),
    "played twice": frame(event="playedStream", sequenceNumber="9", name="m2"),
    "cleared": frame(event="clearedAudio"),
    "stop": frame(event="stop"),
    "error": frame(event="error", reason="buffer_overflow"),
    "news": frame(event="news"),
    "junk": b"{",
}


@given(st.lists(st.sampled_from(sorted(ORDERS)), max_size=40), st.sets(st.integers(0, 40), max_size=6))
def test_r24_any_order_of_messages_is_a_call_that_ends_at_most_once(names: list[str], speaks: set[int]) -> None:
    """Media first, two starts, marks of nothing: whatever comes, the call answers commands and never raises."""
    stream, call, now = PlivoStream(), Call(plan(lead_ms=2000), 100.0), 100.0
    commands: list[Any] = list(call.handle(SessionReady("fake", MULAW_8K, MULAW_8K), now))
    for number, name in enumerate(names):
        now += 0.02
        for event in stream.receive(ORDERS[name]):
            commands += call.handle(event, now)
        if number in speaks:
            commands += call.handle(AudioChunk(b"\x2a" * 4000, item_id="i1", turn_id="t1"), now)
            commands += call.handle(UserSpeechStarted(), now)
        commands += call.handle(Tick(), now)
    assert sum(isinstance(command, End) for command in commands) <= 1
    ended = any(isinstance(command, End) for command in commands)
    assert ended == (call.end_reason is not None)
    if "start" not in names and "another format" not in names:
        assert not any(isinstance(command, Play | Mark | Clear) for command in commands), "there is nobody to hear it"
