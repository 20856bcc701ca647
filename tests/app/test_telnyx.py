"""Telnyx's dialect of the media stream."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.carriers.events import (
    CarrierCommand,
    CarrierError,
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
from tandem.carriers.telnyx import CODECS, TRAITS, ByteOrder, TelnyxStream, swapped, traits
from tandem.carriers.twilio import TwilioStream
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat

STREAM = "32de0dea-53cb-4b21-89a4-9e1819c043bc"
CALL = "v3:example"
USER = "user"


def frame(**fields: Any) -> bytes:
    return json.dumps({"stream_id": STREAM, **fields}).encode()


def start(**changes: Any) -> bytes:
    body = {
        "user_id": USER,
        "call_control_id": CALL,
        "call_session_id": "session",
        "from": "+15550002000",
        "to": "+15550001000",
        "tags": [],
        "client_state": "OGYxNGU0NWY=",
        "custom_parameters": {"session": "8f14e45f"},
        "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
    }
    return frame(event="start", sequence_number="1", start={**body, **changes})


def media(payload: str | None = base64.b64encode(b"\xff" * 160).decode(), **fields: Any) -> bytes:
    body = {"track": "inbound", "chunk": "2", "timestamp": "5", "payload": payload}
    return frame(event="media", sequence_number="4", media={**body, **fields})


def started(outbound: AudioFormat = MULAW_8K, order: ByteOrder = "little", **changes: Any) -> TelnyxStream:
    stream = TelnyxStream(outbound, order)
    assert isinstance(stream.receive(start(**changes))[0], Started)
    return stream


def l16(rate: int = 16_000) -> dict[str, Any]:
    return {"media_format": {"encoding": "L16", "sample_rate": rate, "channels": 1}}


def sent(stream: TelnyxStream, *commands: CarrierCommand) -> list[dict[str, Any]]:
    return [json.loads(wire) for command in commands for wire in stream.send(command)]


def payload(message: dict[str, Any]) -> bytes:
    assert message["event"] == "media"
    return base64.b64decode(message["media"]["payload"], validate=True)


# --- the documented examples ------------------------------------------------------------------------------------------


def test_every_message_of_the_documentation() -> None:
    stream = TelnyxStream()
    assert stream.receive(b'{"event":"connected","version":"1.0.0"}') == [Connected()]
    assert stream.stream_id == ""
    assert stream.receive(start()) == [
        Started(
            call_id=CALL,
            stream_id=STREAM,
            account_id=USER,
            inbound=MULAW_8K,
            outbound=MULAW_8K,
            announced="PCMU 8000 Hz, 1 channel(s)",
            parameters={"session": "8f14e45f"},
        )
    ]
    assert stream.stream_id == STREAM
    assert stream.receive(media()) == [Media(b"\xff" * 160, 2, 5)]
    at = "2026-01-02T03:04:06Z"
    assert stream.receive(frame(event="dtmf", sequence_number="5", occurred_at=at, dtmf={"digit": "1"})) == [Dtmf("1")]
    assert stream.receive(frame(event="mark", sequence_number="6", mark={"name": "m1"})) == [MarkPlayed("m1")]
    stop = {"user_id": USER, "call_control_id": CALL}
    assert stream.receive(frame(event="stop", sequence_number="7", stop=stop)) == [Stopped()]
    complaint = {"code": 100003, "title": "malformed_frame", "detail": "no media"}
    assert stream.receive(frame(event="error", payload=complaint)) == [
        CarrierError("100003", "malformed_frame no media")
    ]


def test_commands_on_the_wire() -> None:
    stream = started()
    assert [json.loads(stream.play(b"\x7f" * 160)), *sent(stream, Mark("m1"), Clear())] == [
        {"event": "media", "media": {"payload": base64.b64encode(b"\x7f" * 160).decode()}},
        {"event": "mark", "mark": {"name": "m1"}},
        {"event": "clear"},
    ]
    assert stream.send(Play(b"")) == []


def test_nothing_can_be_sent_before_the_start() -> None:
    stream = TelnyxStream()
    for command in (Play(b"\xff" * 160), Mark("m"), Clear()):
        with pytest.raises(RuntimeError, match="not started"):
            stream.send(command)
    with pytest.raises(RuntimeError, match="not started"):
        stream.play(b"\xff" * 160)


# --- pieces too short to be sent --------------------------------------------------------------------------------------


def test_less_than_twenty_milliseconds_go_with_what_comes_next() -> None:
    stream = started()
    assert stream.play(b"\x01" * 100) == b""
    assert stream.play(b"\x02" * 59) == b""
    assert payload(json.loads(stream.play(b"\x03"))) == b"\x01" * 100 + b"\x02" * 59 + b"\x03"
    assert payload(json.loads(stream.play(b"\x04" * 200))) == b"\x04" * 200


def test_a_mark_sends_what_waits_filled_up_with_silence() -> None:
    stream = started()
    assert stream.play(b"\x01" * 10) == b""
    tail, mark, again = sent(stream, Mark("end"), Mark("again"))
    assert payload(tail) == b"\x01" * 10 + b"\xff" * 150
    assert (mark["mark"]["name"], again["mark"]["name"]) == ("end", "again")


def test_a_clear_forgets_what_waits() -> None:
    stream = started()
    stream.play(b"\x01" * 10)
    assert sent(stream, Clear(), Mark("m")) == [{"event": "clear"}, {"event": "mark", "mark": {"name": "m"}}]
    assert payload(json.loads(stream.play(b"\x02" * 160))) == b"\x02" * 160


@given(st.lists(st.integers(1, 700) | st.just(None), max_size=30), st.sampled_from(list(CODECS.values())))
def test_however_it_is_cut_all_audio_comes_in_order_and_no_piece_is_too_short(
    sizes: list[int | None], codec: Any
) -> None:
    """None is a mark: then everything must have gone, with less than a frame of silence added."""
    stream = started(codec.format)
    given_audio, got, counter, least = b"", b"", 0, codec.format.frame_bytes
    for size in [*sizes, None]:
        if size is None:
            *pieces, mark = stream.send(Mark("m"))
            assert b"mark" in mark
        else:
            size *= codec.format.sample_bytes
            audio = bytes((counter + i) % 251 for i in range(size))
            counter += size
            given_audio += audio
            pieces = [piece] if (piece := stream.play(audio)) else []
        for piece in pieces:
            audio = payload(json.loads(piece))
            assert len(audio) >= least
            got += audio
        if size is None:
            assert got[: len(given_audio)] == given_audio
            assert 0 <= len(got) - len(given_audio) < least
            given_audio = got  # the silence counts from now on


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("announced", "expected"),
    [
        (("PCMU", 8000, 1), MULAW_8K),
        (("pcmu", "8000", "1"), MULAW_8K),
        (("PCMA", 8000, 1), ALAW_8K),
        (("L16", 8000, 1), PCM16_8K),
        (("L16", 16000, 1), PCM16_16K),
        (("L16", 24000, 1), PCM16_24K),
        (("L16", 44100, 1), None),
        (("PCMU", 16000, 1), None),
        (("PCMU", 8000, 2), None),
        (("G722", 8000, 1), None),
        (("OPUS", 16000, 1), None),
        (("AMR-WB", 16000, 1), None),
    ],
)
@pytest.mark.parametrize("asked", list(CODECS.values()), ids=lambda codec: f"{codec.name}-{codec.rate}")
def test_each_direction_has_its_own_format(announced: tuple[str, Any, Any], expected: Any, asked: Any) -> None:
    encoding, rate, channels = announced
    stream = TelnyxStream(asked.format)
    form = {"encoding": encoding, "sample_rate": rate, "channels": channels}
    (event,) = stream.receive(start(media_format=form))
    assert isinstance(event, Started)
    assert event.inbound == expected
    assert event.outbound == asked.format
    assert event.announced == f"{encoding} {rate} Hz, {channels} channel(s)"


def test_a_start_that_announces_nothing_has_what_was_asked_for() -> None:
    stream = TelnyxStream(ALAW_8K)
    (event,) = stream.receive(frame(event="start", start={"call_control_id": CALL}))
    assert event == Started(CALL, STREAM, "", ALAW_8K, ALAW_8K)


GOLDEN = {"little": "AADoAxj8/38AgA==", "big": "AAAD6PwYf/+AAA=="}
"""Samples 0, 1000, -1000, 32767, -32768."""


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_byte_order_of_l16_both_ways(order: ByteOrder) -> None:
    stream = started(PCM16_16K, order, **l16())
    ours = base64.b64decode(GOLDEN["little"])
    assert stream.receive(media(GOLDEN[order])) == [Media(ours, 2, 5)]
    frame_of_it = ours * 64  # 20 ms
    assert payload(json.loads(stream.play(frame_of_it))) == base64.b64decode(GOLDEN[order]) * 64


def test_the_byte_order_is_of_l16_only() -> None:
    stream = started(MULAW_8K, "big")
    assert stream.receive(media("AAEC")) == [Media(b"\x00\x01\x02", 2, 5)]
    assert payload(json.loads(stream.play(bytes(range(160))))) == bytes(range(160))


def test_l16_in_and_mu_law_out() -> None:
    stream = started(MULAW_8K, "big", **l16())
    assert stream.receive(media("AAEC/w==")) == [Media(b"\x01\x00\xff\x02", 2, 5)]
    assert payload(json.loads(stream.play(bytes(range(160))))) == bytes(range(160))


def test_half_a_sample_is_malformed() -> None:
    assert started(PCM16_16K, **l16()).receive(media("AAEC")) == [Malformed("media with half a sample")]


@given(st.binary(max_size=200).map(lambda data: data[: len(data) // 2 * 2]))
def test_swapping_twice_changes_nothing(samples: bytes) -> None:
    assert swapped(swapped(samples)) == samples
    assert swapped(samples)[:2] == samples[:2][::-1]


# --- tolerance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_parameters", "expected"),
    [
        ({"session": "8f"}, {"session": "8f"}),
        ([{"name": "session", "value": "8f"}], {"session": "8f"}),
        ([["session", "8f"]], {"session": "8f"}),
        ({"n": 5, "x": None, "y": ["z"]}, {"n": "5"}),
        ([{"name": "n"}, {"value": "v"}, {"name": 1, "value": "v"}, "text", ["one"], None], {}),
        (None, {}),
        ("text", {}),
        (7, {}),
    ],
)
def test_custom_parameters_of_any_shape(given_parameters: Any, expected: dict[str, str]) -> None:
    (event,) = TelnyxStream().receive(start(custom_parameters=given_parameters))
    assert isinstance(event, Started)
    assert event.parameters == expected


@pytest.mark.parametrize("spelling", ["7", 7, 7.0])
def test_numbers_may_be_strings_or_numbers(spelling: object) -> None:
    assert started().receive(media("/w==", chunk=spelling, timestamp=spelling)) == [Media(b"\xff", 7, 7)]


def test_numbers_may_be_missing() -> None:
    assert started().receive(frame(event="media", media={"payload": "/w=="})) == [Media(b"\xff", None, None)]


def test_only_the_inbound_track_is_the_caller() -> None:
    """With both tracks the model would hear itself."""
    assert started().receive(media(track="outbound")) == [Unknown("media of track outbound")]


def test_a_second_start_is_told_but_does_not_move_the_stream() -> None:
    stream = started(PCM16_16K, "big", **l16())
    other = json.loads(start())
    other["stream_id"] = "other"
    (event,) = stream.receive(json.dumps(other).encode())
    assert isinstance(event, Started)
    assert event.stream_id == "other"
    assert stream.stream_id == STREAM
    assert stream.receive(media(GOLDEN["big"])) == [Media(base64.b64decode(GOLDEN["little"]), 2, 5)]


@pytest.mark.parametrize("digit", list("0123456789*#ABCD"))
def test_every_key(digit: str) -> None:
    assert started().receive(frame(event="dtmf", dtmf={"digit": digit})) == [Dtmf(digit)]


@pytest.mark.parametrize(
    ("complaint", "expected"),
    [
        ({"code": "100005", "title": "rate_limit_reached"}, CarrierError("100005", "rate_limit_reached")),
        ({}, CarrierError("", "")),
        ({"code": 1, "title": "x" * 500, "detail": "y"}, CarrierError("1", "x" * 117 + "...")),
    ],
)
def test_complaints(complaint: dict[str, Any], expected: CarrierError) -> None:
    assert started().receive(frame(event="error", payload=complaint)) == [expected]


@given(st.text())
def test_any_mark_name_makes_valid_json_and_comes_back(name: str) -> None:
    stream = started()
    (wire,) = stream.send(Mark(name))
    assert json.loads(wire)["mark"]["name"] == name
    assert stream.receive(frame(event="mark", mark={"name": name})) == [MarkPlayed(name)]


@given(st.binary(min_size=160, max_size=2000))
def test_audio_survives_both_ways(audio: bytes) -> None:
    stream = started()
    assert stream.receive(media(json.loads(stream.play(audio))["media"]["payload"])) == [Media(audio, 2, 5)]


BAD = {
    "empty": b"",
    "not JSON": b"hello",
    "array": b"[1,2]",
    "null": b"null",
    "cut off": b'{"event":"media","media":{"payl',
    "two values": b'{"event":"stop"}{"event":"stop"}',
    "NaN": b'{"event":"media","media":{"payload":NaN}}',
    "deep array": b"[" * 100_000,
    "deep in a known event": b'{"event":"media","x":' + b"[" * 100_000,
    "deep in an unknown event": b'{"event":"news","x":' + b'{"a":' * 100_000,
    "deep parameters": b'{"event":"start","stream_id":"s","start":{"call_control_id":"c","custom_parameters":'
    + b"[" * 20_000
    + b"]" * 20_000
    + b"}}",
    "huge integer": b'{"event":"media","media":{"payload":"/w==","chunk":' + b"9" * 50_000 + b"}}",
    "negative chunk": media("/w==", chunk="-1"),
    "boolean chunk": media("/w==", chunk=True),
    "not UTF-8": b'{"event":"mark","mark":{"name":"\xff\xfe"}}',
    "no event": b'{"media":{"payload":"/w=="}}',
    "media is missing": frame(event="media"),
    "media is a list": frame(event="media", media=[]),
    "payload is null": media(None),
    "payload is empty": media(""),
    "payload is garbage": media("@@@"),
    "payload with blanks": media("AA AA"),
    "payload of odd length": media("AAA"),
    "payload of URL alphabet": media("-_-_"),
    "mark without a name": frame(event="mark", mark={}),
    "dtmf of two digits": frame(event="dtmf", dtmf={"digit": "12"}),
    "dtmf of a letter": frame(event="dtmf", dtmf={"digit": "x"}),
    "start without a call": start(call_control_id=""),
    "start with a number for a call": start(call_control_id=5),
    "start with a long id": start(call_control_id="C" * 600),
    "start with a word for a rate": start(media_format={"encoding": "PCMU", "sample_rate": "fast"}),
    "start without a stream": b'{"event":"start","start":{"call_control_id":"c"}}',
    "error without a body": frame(event="error"),
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
    assert stream.receive(media()) == [Media(b"\xff" * 160, 2, 5)]


def test_new_kinds_are_unknown_even_with_familiar_fields() -> None:
    stream = started()
    assert stream.receive(frame(event="weather", media=5, start=[])) == [Unknown("weather")]


def test_unknown_fields_are_let_be() -> None:
    assert started().receive(frame(event="stop", news={"a": [1, None]}, stop="whatever")) == [Stopped()]
    token = b'{"event":"connected","version":"1.0.0","x-telnyx-streaming-auth-token":"t"}'
    assert TelnyxStream().receive(token) == [Connected()]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["event", "media", "mark", "dtmf", "start", "stop", "stream_id", "payload", "call_control_id", "custom_parameters"]
)
kinds = st.sampled_from(["media", "mark", "dtmf", "start", "stop", "connected", "error", "news"])


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    (event,) = TelnyxStream().receive(data)
    assert isinstance(event, Malformed | Unknown)


@given(kinds, st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=4), max_size=5))
def test_any_object(kind: str, fields: dict[str, Any]) -> None:
    fields["event"] = kind
    assert len(TelnyxStream().receive(json.dumps(fields).encode())) == 1


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_row_of_the_table() -> None:
    assert TRAITS.name == "telnyx"
    assert TRAITS.formats[0] == MULAW_8K
    assert TRAITS.marks_returned_on_clear
    assert not TRAITS.socket_ends_call
    assert 1.5 <= TRAITS.lead_seconds <= 2.0
    assert TRAITS.longest_play_ms + 20 < 30_000


def test_a_call_has_the_traits_of_its_codec_and_of_its_way_in() -> None:
    texml = traits(CODECS["PCMA"], texml=True)
    assert texml.formats[0] == ALAW_8K
    assert set(texml.formats) == set(TRAITS.formats)
    assert texml.socket_ends_call
    assert texml.keys_end_stream
    assert traits(CODECS["L16"]).formats[0] == PCM16_16K


def test_the_hot_path_costs_what_twilios_does() -> None:
    """Within a tenth, each of the two in the same moment; the best of several pairs, for the machine has others to
    serve."""
    twilio, telnyx = TwilioStream(), started()
    twilio.receive(b'{"event":"start","streamSid":"MZ1","start":{"callSid":"CA1","accountSid":"AC1"}}')
    text = base64.b64encode(bytes(range(160))).decode()
    theirs = json.dumps(
        {
            "event": "media",
            "sequenceNumber": "4",
            "streamSid": "MZ" + "3" * 34,
            "media": {"track": "inbound", "chunk": "2", "timestamp": "5", "payload": text},
        }
    ).encode()
    audio = bytes(range(160))
    pairs = [(twilio.receive, theirs, telnyx.receive, media(text)), (twilio.play, audio, telnyx.play, audio)]
    for former, what, latter, same in pairs:
        ratios = [_seconds(latter, same) / _seconds(former, what) for _ in range(9)]
        assert min(ratios) <= 1.1


def _seconds(function: Callable[[bytes], object], data: bytes) -> float:
    began = time.perf_counter()
    for _ in range(2000):
        function(data)
    return time.perf_counter() - began
