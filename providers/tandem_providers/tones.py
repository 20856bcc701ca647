"""Sounds to test a line with, in G.711 mu-law at 8 kHz. Pure; made once and kept."""

from __future__ import annotations

import math
from array import array
from functools import cache
from sys import byteorder
from typing import Final

from tandem_codecs.format import MULAW_8K
from tandem_codecs.g711 import pcm16_to_mulaw

_FULL_SCALE: Final = 32767
_FADE_MS: Final = 10


def _sine(hertz: float, milliseconds: float, dbfs: float, fade_ms: float) -> bytes:
    """A sine whose peak is `dbfs` below full scale, faded in and out so that it does not click."""
    count = MULAW_8K.size(milliseconds)
    fade = max(1, MULAW_8K.size(fade_ms))
    step = 2 * math.pi * hertz / MULAW_8K.rate
    peak = _FULL_SCALE * 10 ** (dbfs / 20)
    samples = array(
        "h", (round(peak * min(1.0, i / fade, (count - i) / fade) * math.sin(i * step)) for i in range(count))
    )
    if byteorder == "big":
        samples.byteswap()
    return pcm16_to_mulaw(samples.tobytes())


@cache
def tone(hertz: float = 1000, milliseconds: float = 3000, dbfs: float = -12) -> bytes:
    """A clean sine."""
    return _sine(hertz, milliseconds, dbfs, _FADE_MS)


@cache
def clicks(count: int = 5, apart_ms: float = 1000) -> bytes:
    """Clicks at exact distances, each 4 ms of 2 kHz: sharp enough to find by eye in a recording of both ends."""
    click = _sine(2000, 4, -3, 0)
    return (click + MULAW_8K.silence(apart_ms)[len(click) :]) * count
