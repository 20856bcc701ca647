"""What tests let the two sides hum and say, and an ear for who is heard, how loud, and for how long."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import numpy.typing as npt

from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_8K, AudioFormat

LEVEL = 8000
"""Peak of a hum, of 32768."""


def silence(milliseconds: float) -> bytes:
    return MULAW_8K.silence(milliseconds)


def speech(name: str = "hello") -> bytes:
    """A recorded sentence of the simulated caller, and the second of silence that ends a turn."""
    return (files("tandem") / "simulators" / "speech" / f"{name}.ulaw").read_bytes() + silence(1000)


def hum(hertz: float, milliseconds: float, level: float = LEVEL) -> bytes:
    """A steady tone in mu-law."""
    count = int(milliseconds * PCM16_8K.rate / 1000)
    wave = level * np.sin(2 * np.pi * hertz * np.arange(count) / PCM16_8K.rate)
    return Converter(PCM16_8K, MULAW_8K).feed(np.rint(wave).astype("<i2").tobytes())


def noise(milliseconds: float, seed: int = 1) -> bytes:
    """Any mu-law bytes: each sample differs from its neighbours, so that nothing can be lost unseen."""
    return np.random.default_rng(seed).integers(0, 256, MULAW_8K.size(milliseconds), dtype=np.uint8).tobytes()


def samples(audio: bytes, source: AudioFormat = MULAW_8K) -> npt.NDArray[np.float64]:
    linear = AudioFormat(PCM16_8K.encoding, source.rate)
    return np.frombuffer(Converter(source, linear).feed(audio), "<i2").astype(np.float64)


def level_db(audio: bytes, hertz: float, source: AudioFormat = MULAW_8K) -> float:
    """How loud that one frequency is, in dB of a hum at `LEVEL`: 0 is just as loud."""
    wave = samples(audio, source)
    window = np.hanning(len(wave))
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(wave)) / source.rate)
    amplitude = 2 * abs(np.sum(wave * window * turns)) / np.sum(window)
    return float(20 * np.log10(max(amplitude, 1e-6) / LEVEL))


def loud_ms(audio: bytes, source: AudioFormat = MULAW_8K, threshold: float = 200.0) -> tuple[float, float]:
    """From where to where it is not silent, in milliseconds."""
    loud = np.flatnonzero(np.abs(samples(audio, source)) > threshold)
    if not len(loud):
        return 0.0, 0.0
    return float(loud[0]) * 1000 / source.rate, float(loud[-1] + 1) * 1000 / source.rate
