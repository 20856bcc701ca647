import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.carriers.events import (
    Clear,
    Connected,
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
from tandem.carriers.twilio import TRAITS, TwilioStream
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_16K, PCM16_24K, AudioFormat

STREAM = "MZ00000000000000000000000000000003"
CALL = "CA00000000000000000000000000000002"
ACCOUNT = "AC00000000000000000000000000000001"


def frame(**fields: Any) -> bytes:
    return json.dumps({"streamSid": STREAM, **fields}).encode()


def start(**changes: Any) -> bytes:
    body = {
        "accountSid": ACCOUNT,
        "streamSid": STREAM,
        "callSid": CALL,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"session": "8f14"},
    }
    return frame(event="start", sequenceNumber="1", start={**body, **changes})


def media(payload: str = base64.b64encode(b"\xff" * 160).decode(), **fields: Any) -> bytes:
    body = {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": payload}
    return frame(event="media", sequenceNumber="3", media={**body, **fields})


def started() -> TwilioStream:
    stream = TwilioStream()
    assert isinstance(stream.receive(start())[0], Started)
    return stream


def test_a_stream_from_end_to_end() -> None:
    stream = TwilioStream()
    assert stream.receive(b'{"event":"connected","protocol":"Call","version":"1.0.0"}') == [Connected()]
    assert stream.stream_id == ""
    assert stream.receive(start()) == [
        Started(
            call_id=CALL,
            stream_id=STREAM,
            account_id=ACCOUNT,
            inbound=MULAW_8K,
            outbound=MULAW_8K,
            announced="audio/x-mulaw 8000 Hz, 1 channel(s)",
            parameters={"session": "8f14"},
        )
    ]
    assert stream.stream_id == STREAM
    assert stream.receive(media()) == [Media(b"\xff" * 160, 1, 5)]
    assert stream.receive(frame(event="dtmf", dtmf={"track": "inbound_track", "digit": "#"})) == [Dtmf("#")]
    assert stream.receive(frame(event="mark", sequenceNumber="4", mark={"name": "m1"})) == [MarkPlayed("m1")]
    assert stream.receive(frame(event="stop", stop={"accountSid": ACCOUNT, "callSid": CALL})) == [Stopped()]


def test_commands_on_the_wire() -> None:
    stream = started()
    assert [json.loads(wire) for wire in stream.send(Play(b"\x00\x7f\xff"))] == [
        {"event": "media", "streamSid": STREAM, "media": {"payload": "AH//"}}
    ]
    assert [json.loads(wire) for wire in stream.send(Mark("m1"))] == [
        {"event": "mark", "streamSid": STREAM, "mark": {"name": "m1"}}
    ]
    assert [json.loads(wire) for wire in stream.send(Clear())] == [{"event": "clear", "streamSid": STREAM}]
    assert stream.send(Play(b"")) == []


def test_nothing_can_be_sent_before_the_start() -> None:
    stream = TwilioStream()
    for command in (Play(b"\xff"), Mark("m"), Clear()):
        with pytest.raises(RuntimeError, match="not started"):
            stream.send(command)


@given(st.text())
def test_any_mark_name_makes_valid_json_and_comes_back(name: str) -> None:
    stream = started()
    (wire,) = stream.send(Mark(name))
    assert json.loads(wire)["mark"]["name"] == name
    assert stream.receive(frame(event="mark", mark={"name": name})) == [MarkPlayed(name)]


def test_a_mark_name_that_unicode_forbids_is_still_valid_json() -> None:
    (wire,) = started().send(Mark("a\ud800b"))
    assert json.loads(wire)["mark"]["name"] == "a?b"


@given(st.binary(min_size=1, max_size=2000))
def test_audio_survives_both_ways(audio: bytes) -> None:
    stream = started()
    payload = json.loads(stream.play(audio))["media"]["payload"]
    assert stream.receive(media(payload)) == [Media(audio, 1, 5)]


@pytest.mark.parametrize("spelling", ["7", 7, 7.0, " "])
def test_numbers_may_be_strings_or_numbers(spelling: object) -> None:
    events = started().receive(media("/w==", chunk=spelling, timestamp=spelling))
    assert events == ([Media(b"\xff", 7, 7)] if spelling != " " else events)
    assert isinstance(events[0], Malformed if spelling == " " else Media)


def test_numbers_may_be_missing() -> None:
    assert started().receive(frame(event="media", media={"payload": "/w=="})) == [Media(b"\xff", None, None)]


def test_only_the_inbound_track_is_the_caller() -> None:
    assert started().receive(media(track="outbound")) == [Unknown("media of track outbound")]


@pytest.mark.parametrize(
    ("announced", "expected"),
    [
        (("audio/x-mulaw", 8000, 1), MULAW_8K),
        (("AUDIO/X-MULAW", "8000", "1"), MULAW_8K),
        (("audio/x-alaw", 8000, 1), ALAW_8K),
        (("audio/x-l16", 16000, 1), PCM16_16K),
        (("audio/x-L16", 24000, 1), PCM16_24K),
        (("audio/x-l16", 44100, 1), None),
        (("audio/x-mulaw", 16000, 1), None),
        (("audio/x-mulaw", 8000, 2), None),
        (("audio/opus", 48000, 1), None),
    ],
)
def test_the_announced_format(announced: tuple[str, Any, Any], expected: AudioFormat | None) -> None:
    encoding, rate, channels = announced
    stream = TwilioStream()
    (event,) = stream.receive(start(mediaFormat={"encoding": encoding, "sampleRate": rate, "channels": channels}))
    assert isinstance(event, Started)
    assert event.inbound == event.outbound == expected
    assert event.announced == f"{encoding} {rate} Hz, {channels} channel(s)"


def test_a_start_with_little_in_it() -> None:
    (event,) = TwilioStream().receive(frame(event="start", start={"callSid": CALL, "accountSid": ACCOUNT}))
    assert event == Started(CALL, STREAM, ACCOUNT, MULAW_8K, MULAW_8K)


def test_a_second_start_is_told_but_does_not_move_the_stream() -> None:
    stream = started()
    other = json.loads(start())
    other["streamSid"] = other["start"]["streamSid"] = "MZother"
    (event,) = stream.receive(json.dumps(other).encode())
    assert isinstance(event, Started)
    assert event.stream_id == "MZother"
    assert stream.stream_id == STREAM
    assert json.loads(stream.send(Clear())[0])["streamSid"] == STREAM


@pytest.mark.parametrize("digit", list("0123456789*#ABCD"))
def test_every_key(digit: str) -> None:
    assert started().receive(frame(event="dtmf", dtmf={"digit": digit})) == [Dtmf(digit)]


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
    "deep in an unknown event": b'{"event":"news","x":' + b'{"a":' * 100_000,
    "deep and closed": b'{"event":"news","x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "huge integer": b'{"event":"media","media":{"payload":"/w==","chunk":' + b"9" * 50_000 + b"}}",
    "huge integer as string": b'{"event":"media","media":{"payload":"/w==","chunk":"' + b"9" * 50_000 + b'"}}',
    "huge exponent": b'{"event":"media","media":{"payload":"/w==","chunk":1e999}}',
    "negative chunk": media("/w==", chunk="-1"),
    "boolean chunk": media("/w==", chunk=True),
    "not UTF-8": b'{"event":"mark","mark":{"name":"\xff\xfe"}}',
    "lone surrogate": b'{"event":"mark","mark":{"name":"\\ud800"}}',
    "no event": b'{"media":{"payload":"/w=="}}',
    "event is a number": b'{"event":1}',
    "media is missing": frame(event="media"),
    "media is a list": frame(event="media", media=[]),
    "payload is missing": frame(event="media", media={"track": "inbound"}),
    "payload is null": media(payload=None),  # type: ignore[arg-type]  # the wrong type is what is tested
    "payload is empty": media(""),
    "payload is garbage": media("@@@"),
    "payload with blanks": media("AA AA"),
    "payload with a newline": media("AAAA\n"),
    "payload of odd length": media("AAA"),
    "payload without padding": media("/w"),
    "payload padded inside": media("AA==AAAA"),
    "payload of URL alphabet": media("-_-_"),
    "mark without a name": frame(event="mark", mark={}),
    "mark of a number": frame(event="mark", mark={"name": 1}),
    "dtmf of two digits": frame(event="dtmf", dtmf={"digit": "12"}),
    "dtmf of none": frame(event="dtmf", dtmf={"digit": ""}),
    "dtmf of a letter": frame(event="dtmf", dtmf={"digit": "x"}),
    "dtmf of a foreign digit": frame(event="dtmf", dtmf={"digit": "\u0663"}),
    "start without a call": start(callSid=""),
    "start with a number for a call": start(callSid=5),
    "start with a long id": start(callSid="C" * 300),
    "start with list parameters": start(customParameters=[]),
    "start with number parameters": start(customParameters={"a": 1}),
    "start with a word for a rate": start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": "fast"}),
    "start without a stream": b'{"event":"start","start":{"callSid":"CA1","accountSid":"AC1"}}',
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_malformed_quickly_and_changes_nothing(name: str) -> None:
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
    assert stream.receive(media()) == [Media(b"\xff" * 160, 1, 5)]


def test_new_kinds_are_unknown_even_with_familiar_fields() -> None:
    stream = started()
    assert stream.receive(frame(event="weather", media=5, start=[])) == [Unknown("weather")]
    (event,) = stream.receive(frame(event="k" * 5000))
    assert isinstance(event, Unknown)
    assert len(event.kind) <= 120


def test_unknown_fields_are_let_be() -> None:
    assert started().receive(frame(event="stop", news={"a": [1, None]}, stop="whatever")) == [Stopped()]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["event", "media", "mark", "dtmf", "start", "stop", "streamSid", "payload", "chunk"])
kinds = st.sampled_from(["media", "mark", "dtmf", "start", "stop", "connected", "news"])


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    (event,) = TwilioStream().receive(data)
    assert isinstance(event, Malformed | Unknown)


@given(kinds, st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=4), max_size=5))
def test_any_object(kind: str, fields: dict[str, Any]) -> None:
    fields["event"] = kind
    assert len(TwilioStream().receive(json.dumps(fields).encode())) == 1


def test_the_row_of_the_table() -> None:
    assert TRAITS.name == "twilio"
    assert TRAITS.formats == (MULAW_8K,)
    assert TRAITS.marks_returned_on_clear
    assert TRAITS.lead_seconds >= 10
