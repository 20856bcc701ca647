"""Sounds to test a line with: pitch, level and place."""

from __future__ import annotations

import numpy as np
import pytest

from tandem_codecs.format import MULAW_8K
from tandem_codecs.g711 import mulaw_to_pcm16
from tandem_providers.tones import clicks, tone

RATE = MULAW_8K.rate


def samples(audio: bytes) -> np.ndarray:
    return np.frombuffer(mulaw_to_pcm16(audio), "<i2").astype(float)


@pytest.mark.parametrize("hertz", [300, 1000, 3000])
def test_a_tone_has_its_pitch_its_length_and_its_level(hertz: int) -> None:
    audio = tone(hertz, 1000, -12)
    assert len(audio) == MULAW_8K.size(1000)
    heard = samples(audio)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert abs(int(spectrum.argmax()) * RATE / len(heard) - hertz) <= 1
    assert 20 * np.log10(np.abs(heard).max() / 32767) == pytest.approx(-12, abs=0.5)


def test_a_tone_does_not_click() -> None:
    heard = samples(tone(1000, 1000, -3))
    quiet = MULAW_8K.size(1)
    assert np.abs(heard[:quiet]).max() < 0.2 * np.abs(heard).max()
    assert np.abs(heard[-quiet:]).max() < 0.2 * np.abs(heard).max()


def test_clicks_are_short_and_stand_at_exact_distances() -> None:
    audio = clicks(3, 250)
    assert len(audio) == 3 * MULAW_8K.size(250)
    loud = np.flatnonzero(np.abs(samples(audio)) > 3000)
    starts = loud[np.flatnonzero(np.diff(loud, prepend=-RATE) > RATE // 100)]
    assert np.diff(starts).tolist() == [MULAW_8K.size(250)] * 2
    assert len(loud) <= 3 * MULAW_8K.size(4)


def test_they_are_made_once() -> None:
    assert tone(440, 20) is tone(440, 20)
