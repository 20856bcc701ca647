"""How a simulated agent sounds: recorded speech, a tone, silence, or the caller's own words."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, AudioFormat, Encoding
from tandem_codecs.g711 import pcm16_to_alaw, pcm16_to_mulaw
from tandem_providers.prompts import NAMES, Prompt, prompt

_SECONDS_PER_CHARACTER: Final = 0.06
_TONE_LEVEL: Final = 8000  # about -12 dB of full scale: loud, far from clipping
_WORDS: Final = ("greeting", "menu", "one-moment", "not-heard", "still-there", "sorry", "goodbye")


def stock_text(turn: int) -> str:
    """What the agent says in its response number `turn` when nobody wrote it a script; the first one greets."""
    return _spoken()[turn % len(_spoken())].text


@lru_cache(maxsize=1)
def _spoken() -> tuple[Prompt, ...]:
    return tuple(prompt(name) for name in NAMES if name in _WORDS)


def check_voice(voice: str) -> None:
    """Raises ValueError for a voice that does not exist."""
    if voice in ("speech", "echo", "silence"):
        return
    kind, _, hertz = voice.partition(":")
    if kind != "tone" or not hertz.isdecimal() or not 0 < int(hertz) < 4000:
        raise ValueError(f"there is no voice {voice!r}; there are speech, tone:HZ (below 4000), echo and silence")


def convert(audio: bytes, source: AudioFormat, target: AudioFormat) -> bytes:
    """A whole stretch of audio in another format, exactly as long."""
    if source == target:
        return audio
    converter = Converter(source, target)
    # A resampler's flush brings the tail of its filter: a few milliseconds more than went in.
    return (converter.feed(audio) + converter.flush())[: target.size(source.milliseconds(len(audio)))]


@lru_cache(maxsize=64)
def speak(voice: str, text: str, seconds: float | None, audio_format: AudioFormat) -> bytes:
    """The text in that voice; equal requests share one piece of memory.

    Raises:
        ValueError: no such voice (an echo is made with `convert`).
    """
    check_voice(voice)
    if not text and seconds is None:
        return b""
    if voice == "speech":
        return _recorded(text, seconds, audio_format)
    lasting = seconds if seconds is not None else _lasting(text)
    if voice == "silence":
        return audio_format.silence(lasting * 1000)
    return _tone(int(voice.partition(":")[2]), lasting, audio_format)


def _lasting(text: str) -> float:
    return min(20.0, max(0.6, len(text) * _SECONDS_PER_CHARACTER))


def _recorded(text: str, seconds: float | None, audio_format: AudioFormat) -> bytes:
    """The recording of this very text, or as much of the greeting, over and over, as the text would last."""
    known = {each.text: each.audio for each in _spoken()}
    audio = known.get(text)
    if audio is None or seconds is not None:
        source = audio or _spoken()[0].audio
        size = MULAW_8K.size((seconds if seconds is not None else _lasting(text)) * 1000)
        audio = (source * (size // len(source) + 1))[:size]
    return convert(audio, MULAW_8K, audio_format)


def _tone(hertz: int, seconds: float, audio_format: AudioFormat) -> bytes:
    count = audio_format.size(seconds * 1000) // audio_format.sample_bytes
    wave = _TONE_LEVEL * np.sin(2 * np.pi * hertz / audio_format.rate * np.arange(count))
    pcm: bytes = wave.astype("<i2").tobytes()
    if audio_format.encoding is Encoding.PCM16:
        return pcm
    return pcm16_to_mulaw(pcm) if audio_format.encoding is Encoding.MULAW else pcm16_to_alaw(pcm)
