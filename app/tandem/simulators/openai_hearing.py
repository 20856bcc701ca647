"""The server's ear: the input audio buffer, and a voice activity detector that goes by loudness.

Time is counted in audio, never by a clock: a stretch fed at once is heard like one fed in real time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tandem.simulators.openai_checks import Refused
from tandem_codecs.format import FRAME_MS, AudioFormat, Encoding
from tandem_codecs.g711 import alaw_to_pcm16, mulaw_to_pcm16

_ONSET_MS: Final = 2 * FRAME_MS
"""Loud audio of this length is speech; anything shorter is a click."""
_KEPT_MS: Final = 1000
"""How much quiet audio stays in the buffer while a detector listens."""
_LONGEST_TURN_MS: Final = 60_000
"""A turn that goes on longer loses its beginning, so that a caller who never pauses fills no memory."""
_SHORTEST_COMMIT_MS: Final = 100
_LOUDEST_THRESHOLD: Final = 1000.0
"""Root mean square that a threshold of 1.0 asks for; speech on a telephone has some thousands."""
_SEMANTIC_SILENCE_MS: Final = {"low": 1200, "medium": 700, "auto": 700, "high": 400}


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller speaks since `at_ms`, the padding before the first sound included."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The caller was silent for long enough; `audio` is the whole turn. It has left the buffer."""

    at_ms: int
    audio: bytes


@cache
def _squares(encoding: Encoding) -> npt.NDArray[np.float64]:
    decode = mulaw_to_pcm16 if encoding is Encoding.MULAW else alaw_to_pcm16
    samples = np.frombuffer(decode(bytes(range(256))), dtype="<i2").astype(np.float64)
    return samples * samples


def loudness(audio: bytes, audio_format: AudioFormat) -> float:
    """Root mean square of the samples; 0 for no audio."""
    if len(audio) < audio_format.sample_bytes:
        return 0.0
    if audio_format.encoding is Encoding.PCM16:
        samples = np.frombuffer(audio, dtype="<i2").astype(np.float64)
        return math.sqrt(float(samples @ samples) / len(samples))
    return math.sqrt(float(_squares(audio_format.encoding)[np.frombuffer(audio, dtype=np.uint8)].mean()))


class Hearing:
    """One session's input buffer and turn detection."""

    def __init__(self, audio_format: AudioFormat, detection: Mapping[str, Any] | None) -> None:
        self.position_ms = 0.0
        """Milliseconds of audio heard in this session."""
        self.speaking = False
        self._buffer = bytearray()
        self._judged = 0  # bytes of the buffer that the detector has judged
        self._loud_ms = 0
        self._quiet_ms = 0
        self.format = audio_format
        self.configure(audio_format, detection)

    def configure(self, audio_format: AudioFormat, detection: Mapping[str, Any] | None) -> None:
        """Take new settings. Another format empties the buffer: what is in it can't be read any more."""
        if self.format != audio_format:
            self.clear()
        self.format = audio_format
        self.listening = detection is not None
        if detection is None:
            self.speaking = False
            return
        self._threshold = max(1.0, detection.get("threshold", 0.5) * _LOUDEST_THRESHOLD)
        self._padding_ms = int(detection.get("prefix_padding_ms", 300))
        eagerness = detection.get("eagerness")
        self._silence_ms = (
            _SEMANTIC_SILENCE_MS[eagerness] if eagerness is not None else int(detection["silence_duration_ms"])
        )

    def feed(self, audio: bytes) -> Iterator[SpeechStarted | SpeechStopped]:
        """Caller audio of any length. To be iterated to the end: later parts are heard only then."""
        self._buffer += audio
        self.position_ms += len(audio) / self.format.bytes_per_ms
        if not self.listening:
            self._judged = len(self._buffer)
            self._forget(_LONGEST_TURN_MS)
            return
        frame = self.format.frame_bytes
        while len(self._buffer) - self._judged >= frame:
            window = bytes(self._buffer[self._judged : self._judged + frame])
            self._judged += frame
            heard = self._judge(loudness(window, self.format) >= self._threshold)
            if heard is not None:
                yield heard
        self._forget(_LONGEST_TURN_MS if self.speaking else max(_KEPT_MS, self._padding_ms))

    def commit(self) -> bytes:
        """Take the buffer's audio out.

        Raises:
            Refused: there is less than 100 ms.
        """
        held = self.format.milliseconds(len(self._buffer))
        if held < _SHORTEST_COMMIT_MS:
            raise Refused(
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_SHORTEST_COMMIT_MS}ms of audio, but buffer only has {held:.2f}ms of audio.",
                "input_audio_buffer_commit_empty",
            )
        audio = bytes(self._buffer)
        self.clear()
        return audio

    def clear(self) -> None:
        """Empty the buffer; a turn under way is forgotten."""
        self._buffer.clear()
        self._judged = 0
        self._loud_ms = self._quiet_ms = 0
        self.speaking = False

    def _judge(self, loud: bool) -> SpeechStarted | SpeechStopped | None:
        if loud:
            self._loud_ms += FRAME_MS
            self._quiet_ms = 0
        else:
            self._loud_ms = 0
            self._quiet_ms += FRAME_MS
        if not self.speaking:
            return self._begin() if self._loud_ms >= _ONSET_MS else None
        return self._end() if self._quiet_ms >= self._silence_ms else None

    def _judged_ms(self) -> float:
        return self.position_ms - self.format.milliseconds(len(self._buffer) - self._judged)

    def _begin(self) -> SpeechStarted:
        self.speaking = True
        padded = self.format.size(self._loud_ms + self._padding_ms)
        self._drop(max(0, self._judged - padded))
        return SpeechStarted(int(self._judged_ms() - self.format.milliseconds(self._judged)))

    def _end(self) -> SpeechStopped:
        self.speaking = False
        self._quiet_ms = 0
        audio = bytes(self._buffer[: self._judged])
        del self._buffer[: self._judged]
        self._judged = 0
        return SpeechStopped(int(self._judged_ms()), audio)

    def _forget(self, kept_ms: int) -> None:
        kept = self.format.size(kept_ms)
        # Cutting a second at a time keeps this off the path of most frames.
        if self._judged > kept + self.format.size(_KEPT_MS):
            self._drop(self._judged - kept)

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._judged -= size
