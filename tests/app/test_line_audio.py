"""The caller's audio as it was announced, or as it is."""

from __future__ import annotations

import pytest

from tandem.carriers.events import Media
from tandem.line_audio import LineAudio
from tandem_codecs.convert import Converter
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_16K, AudioFormat, Encoding
from tandem_codecs.guard import CodecGuard
from tandem_providers.prompts import prompt

SPEECH = prompt("greeting").audio
FRAMES = [SPEECH[at : at + 160] for at in range(0, len(SPEECH) // 160 * 160, 160)]


def heard(announced: AudioFormat, spoken: AudioFormat) -> tuple[bytes, list[CodecGuard], LineAudio]:
    wrong: list[CodecGuard] = []
    line = LineAudio(announced, MULAW_8K, wrong.append)
    say = Converter(MULAW_8K, spoken).feed
    out = [line.hear(Media(say(frame), number, number * 20)) for number, frame in enumerate(FRAMES, 1)]
    assert [media.chunk for media in out] == [*range(1, len(FRAMES) + 1)]
    return b"".join(media.audio for media in out), wrong, line


def test_what_is_as_announced_is_heard_untouched_and_soon_not_looked_at_any_more() -> None:
    audio, wrong, line = heard(MULAW_8K, MULAW_8K)
    assert audio == b"".join(FRAMES)
    assert not wrong
    assert line.needless


def test_another_format_is_converted_for_the_whole_call() -> None:
    audio, wrong, line = heard(ALAW_8K, ALAW_8K)
    assert audio == Converter(ALAW_8K, MULAW_8K).feed(Converter(MULAW_8K, ALAW_8K).feed(b"".join(FRAMES)))
    assert not wrong
    assert not line.needless


def test_what_is_certainly_something_else_is_told_once_and_read_as_what_it_is() -> None:
    audio, wrong, line = heard(ALAW_8K, MULAW_8K)
    assert [(guard.announced, guard.found) for guard in wrong] == [(ALAW_8K, MULAW_8K)]
    assert audio.endswith(b"".join(FRAMES)[-8000:])
    assert line.needless
    audio, wrong, line = heard(MULAW_8K, ALAW_8K)
    assert [guard.found for guard in wrong] == [ALAW_8K]
    assert not line.needless


def test_linear_audio_is_taken_at_its_word() -> None:
    audio, wrong, line = heard(PCM16_16K, PCM16_16K)
    assert not wrong
    assert not line.needless
    assert len(audio) == len(b"".join(FRAMES))


def test_a_format_from_which_there_is_no_way_is_refused() -> None:
    with pytest.raises(ValueError, match="11000"):
        LineAudio(AudioFormat(Encoding.PCM16, 11000), MULAW_8K, lambda guard: None)
