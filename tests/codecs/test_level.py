from __future__ import annotations

import math
import struct

import pytest

from tandem_codecs.convert import Converter
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, AudioFormat
from tandem_codecs.level import is_loud, rms


def sine(amplitude: float) -> bytes:
    return struct.pack("<800h", *(int(amplitude * math.sin(i * math.tau / 20)) for i in range(800)))


@pytest.mark.parametrize("audio_format", [PCM16_8K, MULAW_8K, ALAW_8K])
def test_a_sine_has_its_amplitude_over_the_root_of_two(audio_format: AudioFormat) -> None:
    audio = Converter(PCM16_8K, audio_format).feed(sine(10_000))
    assert rms(audio, audio_format) == pytest.approx(10_000 / math.sqrt(2), rel=0.02)


@pytest.mark.parametrize("audio_format", [PCM16_8K, MULAW_8K, ALAW_8K])
def test_silence_is_not_loud_and_soft_speech_is(audio_format: AudioFormat) -> None:
    assert not is_loud(audio_format.silence(100), audio_format)
    assert not is_loud(b"", audio_format)
    assert is_loud(Converter(PCM16_8K, audio_format).feed(sine(400)), audio_format)
