"""How loud a piece of audio is."""

from __future__ import annotations

from typing import Final

from tandem_codecs.format import AudioFormat, Encoding
from tandem_codecs.g711 import alaw_to_pcm16, mulaw_to_pcm16, pcm16_rms

LOUD_DBFS: Final = -50.0
"""Softer than any speech on a telephone, louder than its noise of quantisation."""
_FULL_SCALE: Final = 32768.0
_LOUD: Final = _FULL_SCALE * 10 ** (LOUD_DBFS / 20)


def rms(audio: bytes, audio_format: AudioFormat) -> float:
    """Root mean square of the samples, of 32768 at full scale; 0 of nothing."""
    if audio_format.encoding is Encoding.MULAW:
        audio = mulaw_to_pcm16(audio)
    elif audio_format.encoding is Encoding.ALAW:
        audio = alaw_to_pcm16(audio)
    return pcm16_rms(audio[: len(audio) // 2 * 2])


def is_loud(audio: bytes, audio_format: AudioFormat) -> bool:
    """Whether somebody may be speaking in it."""
    return rms(audio, audio_format) >= _LOUD
