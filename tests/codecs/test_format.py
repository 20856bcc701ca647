"""Every size in Tandem follows from these few numbers."""

from __future__ import annotations

import base64
from dataclasses import FrozenInstanceError

import pytest

from tandem_codecs.format import (
    ALAW_8K,
    FRAME_MS,
    MULAW_8K,
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    AudioFormat,
    Encoding,
)


@pytest.mark.parametrize(
    ("audio", "frame", "silence", "base64_length"),
    [
        (MULAW_8K, 160, b"\xff", 216),
        (ALAW_8K, 160, b"\xd5", 216),
        (PCM16_8K, 320, b"\0\0", 428),
        (PCM16_16K, 640, b"\0\0", 856),
        (PCM16_24K, 960, b"\0\0", 1280),
    ],
    ids=str,
)
def test_the_carriers_frames(audio: AudioFormat, frame: int, silence: bytes, base64_length: int) -> None:
    assert audio.frame_bytes == frame
    assert audio.bytes_per_ms * FRAME_MS == frame
    assert audio.silence(FRAME_MS) == silence * (frame // audio.sample_bytes)
    assert len(base64.b64encode(audio.silence(FRAME_MS))) == base64_length
    assert audio.milliseconds(frame) == FRAME_MS
    assert audio.size(FRAME_MS) == frame


def test_a_part_of_a_millisecond_rounds_down_to_whole_samples() -> None:
    assert PCM16_24K.size(0.99) == 23 * 2
    assert PCM16_8K.size(0.1) == 0
    assert PCM16_8K.silence(0.99) == bytes(7 * 2)
    assert MULAW_8K.milliseconds(4) == 0.5


@pytest.mark.parametrize("rate", [0, -8000, 11025, 44100])
def test_a_rate_without_whole_milliseconds_is_refused(rate: int) -> None:
    with pytest.raises(ValueError, match=str(rate)):
        AudioFormat(Encoding.PCM16, rate)


def test_a_format_is_a_value_and_prints_itself() -> None:
    assert AudioFormat(Encoding.MULAW, 8000) == MULAW_8K
    assert len({MULAW_8K, AudioFormat(Encoding.MULAW, 8000), ALAW_8K}) == 2
    assert f"{MULAW_8K} {ALAW_8K} {PCM16_24K}" == "mulaw/8000 alaw/8000 pcm16/24000"
    with pytest.raises(FrozenInstanceError):
        MULAW_8K.rate = 16000  # type: ignore[misc]  # the very thing that must fail
