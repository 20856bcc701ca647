"""A provider's session seen in the leg's format: every sample arrives, under the right name, and no stale one."""

from __future__ import annotations

import math
from array import array
from typing import Any

import pytest
from fakes import Events, FakeProvider, FakeSession
from hypothesis import given
from hypothesis import strategies as st

from tandem_codecs.convert import Converter
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat, Encoding
from tandem_codecs.g711 import mulaw_to_pcm16
from tandem_providers.commands import CancelResponse, PlaybackReport
from tandem_providers.events import (
    AudioChunk,
    Event,
    Interrupted,
    ItemAdded,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    ToolCall,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.line import ITEMS, WRONG_CODEC, Gate, Line
from tandem_providers.prompts import prompt

LEG = MULAW_8K


def hum(milliseconds: int, hertz: int = 440, rate: int = 24000) -> bytes:
    return array(
        "h", (int(9000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(milliseconds * rate // 1000))
    ).tobytes()


def line_to(speaks: AudioFormat) -> tuple[Line, FakeSession, Events]:
    events = Events()
    session = FakeSession(FakeProvider(speaks=speaks), Events())
    return Line(session, LEG, events), session, events


def test_nothing_is_touched_where_the_provider_speaks_the_legs_format() -> None:
    line, session, events = line_to(LEG)
    audio = b"\x01\x02\x03"
    chunk = AudioChunk(b"\x04", item_id="i")
    line.send_audio(audio)
    line.receive(chunk)
    line.send(report := PlaybackReport("i", "t", 0, 999, 999))
    assert session.told[0] is audio
    assert events.all[0] is chunk
    assert session.told[1] is report


def test_the_caller_is_converted_in_one_stream() -> None:
    line, session, _ = line_to(PCM16_24K)
    words = bytes(range(256)) * 10
    for at in range(0, len(words), 160):
        line.send_audio(words[at : at + 160])
    assert session.heard == Converter(LEG, PCM16_24K).feed(words)
    assert len(session.heard) == len(words) * 6
    line.send_audio(b"")
    assert all(session.told)


@pytest.mark.parametrize("cut", [1, 7, 480, 961, 5000])
def test_the_agent_arrives_whole_with_the_tail_of_each_item(cut: int) -> None:
    line, _, events = line_to(PCM16_24K)
    speech = hum(100)
    for item in ("a", "b"):  # back to back, without a turn between
        for at in range(0, len(speech), cut):
            line.receive(AudioChunk(speech[at : at + cut], item_id=item, turn_id="t", content_index=1))
        line.receive(AudioChunk(b"", is_final=True, item_id=item, turn_id="t", content_index=1))
    converter = Converter(PCM16_24K, LEG)
    expected = converter.feed(speech) + converter.flush()
    for item in ("a", "b"):
        chunks = [chunk for chunk in events.of(AudioChunk) if chunk.item_id == item]
        assert b"".join(chunk.audio for chunk in chunks) == expected
        assert [chunk.is_final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert {(chunk.turn_id, chunk.content_index) for chunk in chunks} == {("t", 1)}
        assert all(chunk.audio or chunk.is_final for chunk in chunks)


def test_speech_that_ends_without_a_word_keeps_its_tail_and_its_name() -> None:
    line, _, events = line_to(PCM16_24K)
    line.receive(AudioChunk(hum(20), item_id="a", turn_id="t"))
    line.receive(AudioChunk(hum(20), item_id="b", turn_id="t"))
    line.receive(TurnEnded("t", "completed"))
    assert [type(event).__name__ for event in events.all] == ["AudioChunk"] * 4 + ["TurnEnded"]
    assert [chunk.item_id for chunk in events.of(AudioChunk)] == ["a", "a", "b", "b"]
    expected = Converter(PCM16_24K, LEG)
    whole = expected.feed(hum(20)) + expected.flush()
    chunks = events.of(AudioChunk)
    assert chunks[0].audio + chunks[1].audio == chunks[2].audio + chunks[3].audio == whole
    line.receive(TurnEnded("t", "completed"))
    assert events.kinds[-2:] == ["TurnEnded", "TurnEnded"], "the tail is sent once"


@pytest.mark.parametrize(
    "cut", [TurnEnded("t", "interrupted"), TurnEnded("t", "cancelled"), TurnEnded("t", "failed"), Interrupted("t")]
)
def test_nothing_of_a_cut_off_turn_sounds_in_the_next(cut: Event) -> None:
    line, _, events = line_to(PCM16_24K)
    line.receive(AudioChunk(hum(20), item_id="a"))
    line.receive(cut)
    before = len(events.of(AudioChunk))
    assert before == 1
    line.receive(AudioChunk(bytes(960), item_id="b"))
    quiet = mulaw_to_pcm16(events.of(AudioChunk)[-1].audio)
    assert max(map(abs, array("h", quiet))) < 10


def test_ready_names_the_legs_format() -> None:
    line, _, events = line_to(PCM16_24K)
    line.receive(SessionReady("fake", PCM16_24K, PCM16_24K, session_id="s", expires_at=3.0))
    line.receive(UserSpeechStarted())
    assert events.all == [SessionReady("fake", LEG, LEG, session_id="s", expires_at=3.0), UserSpeechStarted()]


def test_a_report_never_claims_more_than_was_sent() -> None:
    line, session, _ = line_to(PCM16_24K)
    line.receive(AudioChunk(hum(50), item_id="a"))
    line.receive(AudioChunk(hum(50), is_final=True, item_id="a"))
    line.send(PlaybackReport("a", "t", 0, 106, 106))  # with the filter's tail
    line.send(PlaybackReport("a", "t", 0, 30, 106))
    line.send(PlaybackReport("other", "t", 0, 106, 106))
    line.send(CancelResponse())
    assert session.commands == [
        PlaybackReport("a", "t", 0, 100, 100),
        PlaybackReport("a", "t", 0, 30, 100),
        PlaybackReport("other", "t", 0, 106, 106),
        CancelResponse(),
    ]


def test_old_items_are_forgotten() -> None:
    line, session, _ = line_to(PCM16_24K)
    for number in range(ITEMS + 1):
        line.receive(AudioChunk(hum(20), is_final=True, item_id=str(number)))
    line.send(PlaybackReport("0", "t", 0, 99, 99))
    line.send(PlaybackReport("1", "t", 0, 99, 99))
    assert session.commands == [PlaybackReport("0", "t", 0, 99, 99), PlaybackReport("1", "t", 0, 20, 20)]


@pytest.mark.parametrize("speaks", [LEG, PCM16_24K])
def test_later_sessions_are_told_apart_by_the_names_of_what_they_say(speaks: AudioFormat) -> None:
    line, session, events = line_to(speaks)
    line.tell_apart("2:")
    named: list[Event] = [
        AudioChunk(bytes(960), True, "i", "t", 3),
        Transcript("x", True, False, "i", "t"),
        ItemAdded("i", "h", False),
        ItemAdded("i", None, False),
        UserSpeechStarted("i"),
        UserSpeechStopped("i"),
        TurnStarted("t"),
        TurnEnded("t", "completed"),
        Interrupted("t"),
        Interrupted(),
        ToolCall("c", "f", "{}", "t"),
    ]
    for event in named:
        line.receive(event)
    chunk = events.all.pop(0)
    assert isinstance(chunk, AudioChunk)
    assert (chunk.is_final, chunk.item_id, chunk.turn_id, chunk.content_index) == (True, "2:i", "2:t", 3)
    assert events.all == [
        Transcript("x", True, False, "2:i", "2:t"),
        ItemAdded("2:i", "2:h", False),
        ItemAdded("2:i", None, False),
        UserSpeechStarted("2:i"),
        UserSpeechStopped("2:i"),
        TurnStarted("2:t"),
        TurnEnded("2:t", "completed"),
        Interrupted("2:t"),
        Interrupted(),
        ToolCall("c", "f", "{}", "2:t"),
    ]
    line.send(PlaybackReport("i", "t", 3, 5, 10))
    line.send(PlaybackReport("2:i", "2:t", 3, 5, 10))
    assert session.commands == [PlaybackReport("i", "t", 3, 5, 10)], "the first one is of another session"


def test_a_gate_tells_that_its_session_has_ended_meanwhile() -> None:
    gate = Gate()
    told: list[bool] = []
    gate(UserSpeechStarted())
    ends = [gate.ended]
    gate.on_end = lambda: told.append(True)
    gate(SessionClosed())
    assert [*ends, gate.ended] == [None, SessionClosed()]
    assert told == [True]


def test_a_rate_that_nothing_converts_is_refused() -> None:
    with pytest.raises(ValueError, match="48000"):
        line_to(AudioFormat(Encoding.PCM16, 48000))


def test_a_gate_lets_out_in_order_also_what_comes_meanwhile() -> None:
    gate = Gate()
    seen: list[str] = []

    def sink(event: object) -> None:
        seen.append(type(event).__name__)
        if len(seen) == 1:
            gate(TurnEnded("late", "completed"))

    gate(UserSpeechStarted())
    gate(AudioChunk(b""))
    assert not seen
    gate.open(sink)
    gate(UserSpeechStarted())
    assert seen == ["UserSpeechStarted", "AudioChunk", "TurnEnded", "UserSpeechStarted"]
    assert not gate.held


def test_audio_in_another_encoding_than_was_agreed_is_read_as_what_it_is() -> None:
    """A provider that confirms mu-law and sends A-law: static for a moment, then its words."""
    line, _, events = line_to(MULAW_8K)
    spoken = prompt("greeting").audio
    wrong = Converter(MULAW_8K, ALAW_8K).feed(spoken)
    for at in range(0, len(wrong), 160):
        line.receive(AudioChunk(wrong[at : at + 160], item_id="a"))
    warning = events.of(ProviderWarning)[0]
    assert warning.code == WRONG_CODEC
    assert "alaw/8000" in warning.message
    right = Converter(ALAW_8K, MULAW_8K).feed(wrong)
    assert events.audio()[-8000:] == right[-8000:]


def test_who_is_let_in_while_a_gate_opens_stays() -> None:
    """The session ended among what waited, so nobody listens to it any more: that is not taken back."""
    gate = Gate()
    seen: list[Event] = []

    def sink(event: Event) -> None:
        seen.append(event)
        gate.open(lambda _event: None)

    gate(SessionClosed())
    gate.open(sink)
    gate(AudioChunk(b"late"))
    assert seen == [SessionClosed()]


@pytest.mark.parametrize("speaks", [LEG, PCM16_24K])
@pytest.mark.parametrize("takes", [True, False])
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "a", "a", "b"]), st.sampled_from([0, 1, 6, 960, 4800]), st.booleans())
        | st.sampled_from([TurnEnded("t", "completed"), Interrupted("t"), UserSpeechStarted()]),
        max_size=20,
    )
)
def test_a_piece_by_the_short_way_is_told_in_its_place_and_sounds_the_same(
    speaks: AudioFormat, takes: bool, steps: list[Any]
) -> None:
    short, _, told = line_to(speaks)
    long, _, expected = line_to(speaks)
    for line in (short, long):
        line.receive(AudioChunk(prompt("greeting").audio * 4, item_id="a", turn_id="t"))

    def further(audio: bytes, item_id: str) -> bool:
        if takes:
            told(AudioChunk(audio, False, item_id, "t"))
        return takes

    for step in steps:
        if isinstance(step, tuple):
            item, size, last = step
            piece = hum(200)[:size]
            event: Event = AudioChunk(piece, last, item, "t")
            lane = None if last else short.lane(further)
            resampled_and_silent = short._converts and short._speaking is None
            assert last or (lane is None) is (short._guard is not None or resampled_and_silent)
            if lane is None or not lane(piece, item):
                short.receive(event)
        else:
            event = step
            short.receive(event)
        long.receive(event)
    report = PlaybackReport("a", "t", 0, 99_999, 99_999)
    assert told.all == expected.all
    assert short._in_its_own_time(report) == long._in_its_own_time(report)
