"""When does the caller speak? Telephone audio in, starts and ends of speech out. Pure; time is the audio's own.

Two questions, kept apart: does this frame sound like a voice (`Voice`, two ways to answer), and is that a turn
(`TurnDetector`: enough of it to be no click, then enough silence).

How to listen was chosen by measurement (tests/providers/test_detector.py prints it). webrtcvad knows a voice from other
sounds but takes steady noise that is there from the first moment for one; a level far enough above the quietest of the
last seconds tells exactly these apart; so both must agree. Without webrtcvad the level alone decides.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from tandem_codecs.format import FRAME_MS, MULAW_8K, PCM16_8K
from tandem_codecs.g711 import mulaw_to_pcm16

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # as in tandem_codecs.g711: from 3.13 audioop-lts has it
    import audioop

try:
    import webrtcvad
except ImportError:  # no wheel for this machine: our own ear will do
    webrtcvad = None


_APART: Final = 5 * PCM16_8K.sample_bytes


def _ratio(db: float) -> float:
    return float(10 ** (db / 20))


class Voice(Protocol):
    """Tells for one frame after another whether it sounds like a voice. Remembers what came before."""

    def voiced(self, pcm: bytes) -> bool:
        """One 20 ms frame, PCM16 at 8 kHz."""
        ...


class NoiseFloor:
    """The level of what is there when nobody speaks: the quietest of the last two seconds.

    Even fluent speech has gaps in that time; so nobody has to say when to learn, and nothing wrong is learnt for long.
    """

    LOWEST: Final = 40
    """About -58 dBFS: comfort noise is no louder, and nobody speaks this softly on a telephone."""
    _PART_FRAMES: Final = 25
    _PARTS: Final = 4
    _PURE_SILENCE_FRAMES: Final = 25

    def __init__(self) -> None:
        self.level: float = float("inf")
        """RMS. Infinite as long as nothing has been heard, so that nothing stands out from it."""
        self._parts: deque[float] = deque(maxlen=self._PARTS)
        self._lowest = float("inf")
        self._frames = 0
        self._before = self._earlier = 0
        self._zeros = 0

    def feed(self, level: int) -> None:
        """The next frame's RMS."""
        if level:
            self._zeros = 0
        else:
            # A network fills a loss with digital silence, and many calls begin with some. That says nothing about the
            # line's noise, unless it lasts.
            self._zeros += 1
            if self._zeros < self._PURE_SILENCE_FRAMES:
                return
        # The loudest of three frames: one quiet frame is chance.
        steady = max(level, self._before, self._earlier, self.LOWEST)
        self._earlier, self._before = self._before, level
        if steady < self._lowest:
            self._lowest = steady
            if steady < self.level:
                self.level = steady
        self._frames += 1
        if self._frames == self._PART_FRAMES:
            self._frames = 0
            self._parts.append(self._lowest)
            self._lowest = float("inf")
            self.level = min(self._parts)


def _level(pcm: bytes) -> int:
    """RMS of the frame, rumble left out: of the difference to what was five samples before.

    A plain level wavers with wind and traffic, the first difference hears hiss louder than speech. At this distance
    (0.6 ms) a rumble at 100 Hz loses 11 dB to hiss, and speech loses none.
    """
    return audioop.rms(audioop.add(pcm[_APART:], audioop.mul(pcm[:-_APART], 2, -1), 2), 2)


class WebRtcVoice:
    """webrtcvad, believed only where the sound stands out from the noise."""

    _MODE: Final = 2  # of 0-3, 3 takes the least for speech; 2 loses no word at 10 dB of noise
    _ABOVE: Final = _ratio(4)

    def __init__(self) -> None:
        self._is_speech: Callable[[bytes, int], bool] = webrtcvad.Vad(self._MODE).is_speech
        self._floor = NoiseFloor()

    def voiced(self, pcm: bytes) -> bool:
        level = _level(pcm)
        self._floor.feed(level)
        # Asked each time, even when the level has decided: it learns from what it is shown.
        return self._is_speech(pcm, MULAW_8K.rate) and level > self._floor.level * self._ABOVE


class EnergyVoice:
    """The level alone, with hysteresis: well above the noise to begin, a little above it to go on."""

    _BEGIN: Final = _ratio(6)
    _GO_ON: Final = _ratio(4)

    def __init__(self) -> None:
        self._floor = NoiseFloor()
        self._on = False

    def voiced(self, pcm: bytes) -> bool:
        level = _level(pcm)
        self._floor.feed(level)
        self._on = level > self._floor.level * (self._GO_ON if self._on else self._BEGIN)
        return self._on


def best_voice() -> Voice:
    """webrtcvad where it is installed."""
    return EnergyVoice() if webrtcvad is None else WebRtcVoice()


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller speaks. `at_ms`: where the speech begins in the audio, a little before we were sure."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The caller has finished. `at_ms`: where the speech ended in the audio, not where the wait for more was over."""

    at_ms: int


Speech = SpeechStarted | SpeechStopped


class _State(Enum):
    LISTENING = "listening"
    SPEAKING = "speaking"
    DEAF = "deaf"
    """A cut was made: what goes on now belongs to what was cut, until a pause."""


class TurnDetector:
    """Finds the caller's turns in mu-law audio at 8 kHz, fed in pieces of any size.

    `start_ms` of voice make a start: a click does not. `silence_ms` without make an end. A start is given within
    `start_ms` + 20 ms of a loud onset.

    Raises:
        ValueError: a time is shorter than a frame.
    """

    def __init__(self, *, start_ms: int = 80, silence_ms: int = 500, voice: Voice | None = None) -> None:
        if min(start_ms, silence_ms) < FRAME_MS:
            raise ValueError(f"times below a frame of {FRAME_MS} ms can not be told")
        self._voice = voice if voice is not None else best_voice()
        self._start_frames = -(-start_ms // FRAME_MS)
        self._silence_frames = -(-silence_ms // FRAME_MS)
        self._state = _State.LISTENING
        self._rest = b""
        self._frame = 0
        self._evidence = 0
        self._onset = 0
        self._last_voiced = 0
        self._run = 0
        self._quiet = 0
        self._quiet_wanted = 0

    @property
    def speaking(self) -> bool:
        """Between a start and its end."""
        return self._state is _State.SPEAKING

    @property
    def heard_ms(self) -> int:
        """How much audio has been listened to: whole frames only."""
        return self._frame * FRAME_MS

    def feed(self, audio: bytes) -> list[Speech]:
        """The next piece of audio. However it is cut, the same events come out."""
        size = MULAW_8K.frame_bytes
        if self._rest:
            audio = self._rest + audio
        found: list[Speech] = []
        end = len(audio) - size
        at = 0
        while at <= end:
            event = self.frame(audio[at : at + size])
            if event is not None:
                found.append(event)
            at += size
        self._rest = audio[at:]
        return found

    def frame(self, frame: bytes) -> Speech | None:
        """One whole 20 ms frame, for those who cut frames themselves."""
        voiced = self._voice.voiced(mulaw_to_pcm16(frame))
        self._frame += 1
        if self._state is _State.SPEAKING:
            return self._while_speaking(voiced)
        if self._state is _State.LISTENING:
            return self._while_listening(voiced)
        self._quiet = 0 if voiced else self._quiet + 1
        if self._quiet >= self._quiet_wanted:
            self._state = _State.LISTENING
        return None

    def cut(self, quiet_ms: int | None = None) -> SpeechStopped | None:
        """End the turn now, if there is one, and hear nothing until `quiet_ms` (default: `silence_ms`) of quiet."""
        was_speaking = self._state is _State.SPEAKING
        self._state = _State.DEAF
        self._evidence = self._run = self._quiet = 0
        self._quiet_wanted = self._silence_frames if quiet_ms is None else -(-quiet_ms // FRAME_MS)
        return SpeechStopped(self.heard_ms) if was_speaking else None

    def _while_listening(self, voiced: bool) -> SpeechStarted | None:
        if not voiced:
            # Leaking, not reset: the gap of a plosive must not delay the start of a word.
            self._evidence = max(0, self._evidence - 1)
            return None
        if not self._evidence:
            self._onset = self._frame - 1
        self._evidence += 1
        if self._evidence < self._start_frames:
            return None
        self._state = _State.SPEAKING
        self._evidence = self._run = 0
        self._last_voiced = self._frame
        return SpeechStarted(self._onset * FRAME_MS)

    def _while_speaking(self, voiced: bool) -> SpeechStopped | None:
        self._run = self._run + 1 if voiced else 0
        # Two frames in a row, so that a click or a chance peak of the noise does not hold up the end.
        if self._run >= 2:
            self._last_voiced = self._frame
        if self._frame - self._last_voiced < self._silence_frames:
            return None
        self._state = _State.LISTENING
        return SpeechStopped(self._last_voiced * FRAME_MS)
