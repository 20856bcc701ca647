"""The voice of a simulated OpenAI Live: audio for ever, a tenth of a second at a time, and words as they are said."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tandem.simulators.openai_live_outlet import LiveOutlet
from tandem.simulators.openai_live_script import OpenAILiveOptions
from tandem.simulators.openai_response import words
from tandem_codecs.format import AudioFormat

BEAT_MS: Final = 100
_LATE_BEATS: Final = 3


@dataclass(slots=True)
class Speech:
    """Something to say, from a position on. `then` is called when it has been said."""

    audio: bytes
    text: str
    begins_ms: float
    then: Callable[[], None] | None = None
    said: int = 0
    """Bytes of the audio that went out."""
    pieces: deque[tuple[str, float, float]] = field(default_factory=deque)
    """Words that have not gone out: text, and from when to when it is said, relative to the beginning."""

    def time_words(self, length_ms: float) -> None:
        """Spread the words over the audio as their letters are."""
        place = 0
        for word in words(self.text) if self.text else []:
            end = place + len(word)
            self.pieces.append((word, length_ms * place / len(self.text), length_ms * end / len(self.text)))
            place = end


class Voice:
    """Sends a delta each beat once started. Positions are milliseconds of the audio sent so far."""

    def __init__(
        self, options: OpenAILiveOptions, faults: Mapping[str, str], outlet: LiveOutlet, audio_format: AudioFormat
    ) -> None:
        self.position_ms = 0
        self._outlet = outlet
        self._faults = faults
        self._format = audio_format
        paces = [float(faults[name]) for name in ("burst", "slow") if name in faults]
        self._beat_seconds = BEAT_MS / 1000 / (paces[0] if paces else options.pace)
        self._odd = options.odd_deltas or "odd-deltas" in faults
        self._rest = b""
        self._queue: deque[Speech] = deque()

    def start(self) -> None:
        """The session has begun."""
        self._outlet.at(self._outlet.now + self._beat_seconds, self._beat)

    def say(self, speech: Speech) -> None:
        """After everything that waits already."""
        speech.time_words(self._format.milliseconds(len(speech.audio)))
        self._queue.append(speech)

    def stop(self) -> None:
        """The caller speaks: what was not said never will be."""
        current = self._queue[0] if self._queue and self._queue[0].said else None
        self._queue.clear()
        if current is not None and "late-deltas" in self._faults:
            late = current.said + self._format.size(BEAT_MS * _LATE_BEATS)
            current.audio, current.then = current.audio[:late], None
            current.pieces.clear()
            self._queue.append(current)

    def _beat(self) -> None:
        self._outlet.at(self._outlet.now + self._beat_seconds, self._beat)
        speech = self._queue[0] if self._queue else None
        if speech is not None and speech.begins_ms <= self.position_ms:
            self._speak(speech)
        else:
            self._outlet.speaking = False
            self._send(self._format.silence(BEAT_MS))

    def _speak(self, speech: Speech) -> None:
        if not speech.said:
            self._outlet.new_response()
            self._outlet.record.responses += 1
            self._outlet.speaking = True
            speech.begins_ms = self.position_ms
        size = self._format.size(BEAT_MS)
        audio = speech.audio[speech.said : speech.said + size]
        speech.said += len(audio)
        self._outlet.record.said_ms += self._format.milliseconds(len(audio))
        said_ms = self._format.milliseconds(speech.said)
        is_over = speech.said >= len(speech.audio)
        while speech.pieces and (speech.pieces[0][1] < said_ms or is_over):
            self._tell(speech, *speech.pieces.popleft())
        self._send(audio + self._format.silence(BEAT_MS)[len(audio) :])
        if is_over:
            self._queue.popleft()
            if speech.then is not None:
                speech.then()

    def _tell(self, speech: Speech, text: str, start: float, end: float) -> None:
        times = {"start_ms": int(speech.begins_ms + start), "end_ms": int(speech.begins_ms + end)}
        self._outlet.emit({"type": "session.output_transcript.delta", "delta": text, **times})

    def _send(self, audio: bytes) -> None:
        self.position_ms += BEAT_MS
        if self._odd:
            # Half a sample now, its other half with the next one.
            audio = self._rest + audio
            self._rest = b"" if self._rest else audio[-1:]
            audio = audio[:-1] if self._rest else audio
        self._outlet.emit({"type": "session.output_audio.delta", "delta": base64.b64encode(audio).decode()})
