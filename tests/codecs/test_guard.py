"""What is announced wrongly is found out from the sound, and what is announced rightly is never doubted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tandem_providers
from tandem_codecs.convert import Converter
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_24K, AudioFormat
from tandem_codecs.guard import WINDOW_MS, WINDOWS, CodecGuard

PROMPTS = sorted((Path(tandem_providers.__file__).parent / "prompts").glob("*.ulaw"))
FORMATS = (MULAW_8K, ALAW_8K, PCM16_8K)


def speech(path: Path, gain: float) -> bytes:
    """Recorded words as PCM16 at 8 kHz, on a line with some noise."""
    pcm = np.frombuffer(Converter(MULAW_8K, PCM16_8K).feed(path.read_bytes()), "<i2") * gain
    return (pcm + np.random.default_rng(1).normal(0, 20, len(pcm))).astype("<i2").tobytes()


def verdict(audio: bytes, announced: AudioFormat) -> CodecGuard:
    guard = CodecGuard(announced)
    for at in range(0, len(audio), announced.frame_bytes):
        guard.feed(audio[at : at + announced.frame_bytes])
    return guard


@pytest.mark.parametrize("gain", [1.0, 0.2, 0.05])
@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("announced", [MULAW_8K, ALAW_8K], ids=str)
@pytest.mark.parametrize("truth", FORMATS, ids=str)
def test_speech_tells_its_encoding(truth: AudioFormat, announced: AudioFormat, path: Path, gain: float) -> None:
    audio = Converter(PCM16_8K, truth).feed(speech(path, gain))
    found = verdict(audio, announced).found
    assert found == (None if truth == announced else truth)


@pytest.mark.parametrize("announced", [MULAW_8K, ALAW_8K], ids=str)
@pytest.mark.parametrize("hertz", [100, 350, 440, 697, 1000, 1477, 2100, 2600, 3000, 3400])
@pytest.mark.parametrize("amplitude", [50, 500, 5000, 15000, 31000])
def test_no_tone_is_taken_for_something_else(announced: AudioFormat, hertz: int, amplitude: int) -> None:
    wave = amplitude * np.sin(np.arange(24_000) * 2 * np.pi * hertz / 8000)
    assert verdict(Converter(PCM16_8K, announced).feed(wave.astype("<i2").tobytes()), announced).found is None


@pytest.mark.parametrize("announced", [MULAW_8K, ALAW_8K], ids=str)
@pytest.mark.parametrize("level", [0, 5, 50, 500, 5000])
def test_neither_is_silence_or_noise(announced: AudioFormat, level: int) -> None:
    noise = np.random.default_rng(2).normal(0, level, 24_000).astype("<i2").tobytes()
    assert verdict(Converter(PCM16_8K, announced).feed(noise), announced).found is None


def test_a_mistake_is_seen_within_the_first_windows() -> None:
    audio = Converter(PCM16_8K, ALAW_8K).feed(speech(PROMPTS[0], 1.0))
    guard = CodecGuard(MULAW_8K)
    fed = 0
    while not guard.done:
        guard.feed(audio[fed : fed + 160])
        fed += 160
    assert MULAW_8K.milliseconds(fed) <= 2 * WINDOW_MS


def test_it_looks_for_a_while_and_then_leaves_the_call_alone() -> None:
    guard = CodecGuard(MULAW_8K)
    for _ in range(WINDOWS):
        assert not guard.done
        guard.feed(MULAW_8K.silence(WINDOW_MS))
    assert guard.done
    guard.feed(Converter(PCM16_8K, ALAW_8K).feed(speech(PROMPTS[0], 1.0)))
    assert guard.found is None
    assert CodecGuard(PCM16_24K).done
