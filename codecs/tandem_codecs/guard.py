"""Is the audio what it was announced to be? A-law read as mu-law is static, linear samples read as either are a roar.

Speech (and silence, and the noise of a line) changes little from one sample to the next. Read in the wrong encoding it
jumps: the mean step is several times as large. Loud tones near the upper end of the band are the one ordinary sound of
which that is not true, so a verdict needs the other reading to be quiet in its steps, too.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tandem_codecs.format import AudioFormat, Encoding
from tandem_codecs.g711 import alaw_to_pcm16, mulaw_to_pcm16

WINDOW_MS: Final = 300
WINDOWS: Final = 10
"""So many are looked at before the announcement is taken for granted."""
CERTAIN: Final = 4.0
"""How many times smoother another reading has to be."""
SMOOTH: Final = 3000.0
"""Mean step that a right reading of speech stays below."""
_QUIET: Final = 4.0
"""Added to each mean step, so that silence proves nothing."""


def _linear(audio: bytes) -> bytes:
    return audio[: len(audio) // 2 * 2]


_READINGS: Final = {Encoding.MULAW: mulaw_to_pcm16, Encoding.ALAW: alaw_to_pcm16, Encoding.PCM16: _linear}


class CodecGuard:
    """Looks at the beginning of one direction of one call. Only G.711 can be mistaken: others are `done` at once.

    `feed` the audio as it comes until `done`; then `found` says what it really is, None when it is what was announced
    (or when nothing spoke against that).
    """

    def __init__(self, announced: AudioFormat) -> None:
        self.announced = announced
        self.found: AudioFormat | None = None
        self.done = announced.encoding is Encoding.PCM16
        self._window = bytearray()
        self._size = announced.size(WINDOW_MS)
        self._left = WINDOWS

    def feed(self, audio: bytes) -> None:
        """The next piece; any length."""
        if self.done:
            return
        self._window += audio
        if len(self._window) < self._size:
            return
        steps = {encoding: _mean_step(read(bytes(self._window))) for encoding, read in _READINGS.items()}
        self._window.clear()
        self._left -= 1
        best = min(steps, key=lambda encoding: steps[encoding])
        announced = steps[self.announced.encoding]
        if best is self.announced.encoding:
            others = [step for encoding, step in steps.items() if encoding is not best]
            self.done = min(others) >= CERTAIN / 2 * announced
        elif announced >= CERTAIN * steps[best] and steps[best] < SMOOTH:
            self.found = AudioFormat(best, self.announced.rate)
            self.done = True
        self.done = self.done or not self._left


def _mean_step(pcm16: bytes) -> float:
    samples = np.frombuffer(pcm16, "<i2").astype(np.int32)
    return float(np.abs(np.diff(samples)).mean()) + _QUIET if len(samples) > 1 else _QUIET
