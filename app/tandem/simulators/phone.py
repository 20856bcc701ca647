"""A telephone and the person holding it, pure: what is heard and when, what is said and when.

Times are milliseconds of the call's media clock. Audio is mu-law, 8 kHz. One `tick` is one 20 ms frame: whoever drives
this calls it on an absolute clock and never re-bases it, so a late tick is followed by early ones, not by drift.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from tandem_codecs.format import FRAME_MS, MULAW_8K
from tandem_codecs.g711 import mulaw_to_pcm16

FRAME_BYTES: Final = MULAW_8K.frame_bytes
BYTES_PER_MS: Final = MULAW_8K.bytes_per_ms
SILENCE: Final = MULAW_8K.silence(FRAME_MS)

UNDERRUN_MS: Final = 500.0
"""Audio that comes back this soon after running dry was late; after a longer silence it is something new."""

PAUSE_MS: Final = 300.0
"""Silence up to this long is a pause within speech."""

_LOUD_FROM: Final = 400  # of 32768, -38 dBFS: above line noise, below speech


def _quiet_codes() -> bytes:
    codes = bytes(range(256))
    samples = memoryview(mulaw_to_pcm16(codes)).cast("h")
    return bytes(code for code in codes if abs(samples[code]) < _LOUD_FROM)


_QUIET: Final = _quiet_codes()


def loud_span(frame: bytes) -> tuple[float, float] | None:
    """From where to where a frame is loud, in milliseconds of the frame; None when it is not."""
    heard = frame.lstrip(_QUIET)
    if not heard:
        return None
    return (len(frame) - len(heard)) / BYTES_PER_MS, len(frame.rstrip(_QUIET)) / BYTES_PER_MS


# What is heard


@dataclass(frozen=True, slots=True)
class Heard:
    """One frame of playout, and the marks whose audio has been played to the end by its beginning."""

    audio: bytes
    marks: list[str]


class Playout:
    """The carrier's buffer of agent audio, and the phone that plays it without jitter."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._marks: deque[tuple[int, str]] = deque()
        self._accepted = 0
        self._taken = 0
        self._played_out = 0
        self._dry_since: float | None = None
        self._cleared = 0
        self.underruns = 0
        self.gap_ms = 0.0

    @property
    def waiting_ms(self) -> float:
        """How much has been received and not been played."""
        return len(self._waiting) / BYTES_PER_MS

    @property
    def received_ms(self) -> float:
        return self._accepted / BYTES_PER_MS

    @property
    def played_ms(self) -> float:
        return (self._taken - self._cleared) / BYTES_PER_MS

    @property
    def cleared_ms(self) -> float:
        return self._cleared / BYTES_PER_MS

    def add(self, audio: bytes) -> None:
        self._waiting += audio
        self._accepted += len(audio)

    def mark(self, name: str) -> list[str]:
        """The marks to return now: this one, when all audio before it has been played already."""
        if self._played_out == self._accepted:
            return [name]
        self._marks.append((self._accepted, name))
        return []

    def clear(self) -> list[str]:
        """Throw away what waits; every pending mark is returned."""
        self._cleared += len(self._waiting)
        self._taken += len(self._waiting)
        self._waiting.clear()
        self._played_out = self._taken
        self._dry_since = None
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def tick(self, now: float) -> Heard:
        """The frame that is heard from `now` on."""
        self._played_out = self._taken
        done: list[str] = []
        while self._marks and self._marks[0][0] <= self._played_out:
            done.append(self._marks.popleft()[1])
        audio = bytes(self._waiting[:FRAME_BYTES])
        del self._waiting[: len(audio)]
        self._taken += len(audio)
        self._count_gap(now, len(audio))
        return Heard(audio + SILENCE[len(audio) :], done)

    def _count_gap(self, now: float, size: int) -> None:
        if size and self._dry_since is not None:
            if 0 < now - self._dry_since <= UNDERRUN_MS:
                self.underruns += 1
                self.gap_ms += now - self._dry_since
            self._dry_since = None
        if 0 < size < FRAME_BYTES or (size and not self._waiting):
            self._dry_since = now + size / BYTES_PER_MS


# What is said


@dataclass(frozen=True, slots=True)
class At:
    """When the stream is so old."""

    ms: float


@dataclass(frozen=True, slots=True)
class WhenQuiet:
    """When the agent has spoken (since this person last did) and then been quiet for `ms`; at the latest after
    `limit_ms` of waiting, for an agent that says nothing.

    Raises:
        ValueError: so short a silence is a pause within the agent's words, not their end.
    """

    ms: float = 700.0
    limit_ms: float = 15_000.0

    def __post_init__(self) -> None:
        if self.ms <= PAUSE_MS:
            raise ValueError(f"silence means the end after more than {PAUSE_MS:.0f} ms")


@dataclass(frozen=True, slots=True)
class BargeIn:
    """`ms` after the agent began to speak (since this person last did): into its words. `limit_ms` as above."""

    ms: float = 1_000.0
    limit_ms: float = 15_000.0


When = At | WhenQuiet | BargeIn


@dataclass(frozen=True, slots=True)
class Turn:
    """Something to say, and keys to press while it begins."""

    audio: bytes = b""
    when: When = WhenQuiet()
    digits: str = ""


KEY_MS: Final = 200.0
"""From one key to the next."""


@dataclass(frozen=True, slots=True)
class Said:
    """One frame of the caller, and the keys pressed in it."""

    audio: bytes
    digits: str = ""


class Caller:
    """The person: says the turns in order, each when its time has come, and then hangs up if so told."""

    def __init__(self, turns: Sequence[Turn], hang_up: When | None) -> None:
        self._turns = deque(turns)
        self._hang_up = hang_up
        self._speech = memoryview(b"")
        self._digits: deque[tuple[float, str]] = deque()
        self._waiting_since = 0.0
        self.hung_up = False

    def tick(self, now: float, conversation: Conversation) -> Said:
        """The frame that is spoken in the 20 ms before `now`."""
        if not self._speech and not self._digits:
            self._decide(now, conversation)
        pressed = ""
        while self._digits and self._digits[0][0] <= now:
            pressed += self._digits.popleft()[1]
        frame = bytes(self._speech[:FRAME_BYTES])
        self._speech = self._speech[FRAME_BYTES:]
        if self._speech or self._digits:
            self._waiting_since = now
        return Said(frame + SILENCE[len(frame) :], pressed)

    def _decide(self, now: float, conversation: Conversation) -> None:
        when = self._turns[0].when if self._turns else self._hang_up
        if when is None or not self._is_time(when, now, conversation):
            return
        self._waiting_since = now
        if not self._turns:
            self.hung_up = True
            return
        turn = self._turns.popleft()
        self._speech = memoryview(turn.audio)
        self._digits.extend((now + number * KEY_MS, digit) for number, digit in enumerate(turn.digits))

    def _is_time(self, when: When, now: float, conversation: Conversation) -> bool:
        match when:
            case At():
                return now >= when.ms
            case WhenQuiet():
                spoken = conversation.agent_spoke_since_caller and conversation.agent_quiet_ms(now) >= when.ms
                return spoken or now - self._waiting_since >= when.limit_ms
            case BargeIn():
                began = conversation.agent_began
                into = conversation.agent_spoke_since_caller and began is not None and now - began >= when.ms
                return into or now - self._waiting_since >= when.limit_ms
            case _:
                assert_never(when)


# What is measured


@dataclass(frozen=True, slots=True)
class Answer:
    """The agent's first audible sample after the caller's last one."""

    caller_ended_ms: float
    agent_began_ms: float

    @property
    def latency_ms(self) -> float:
        return self.agent_began_ms - self.caller_ended_ms


@dataclass(frozen=True, slots=True)
class Interruption:
    """The caller began to speak while the agent was audible."""

    began_ms: float
    cleared_ms: float | None
    """When the carrier was told to stop; None when it was not, and the agent talked on."""

    @property
    def latency_ms(self) -> float | None:
        return None if self.cleared_ms is None else self.cleared_ms - self.began_ms


NoteKind = Literal["agent-speaks", "agent-quiet", "caller-speaks", "caller-quiet", "clear", "dtmf", "problem"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth showing, at a time of the media clock."""

    at_ms: float
    kind: NoteKind
    detail: str = ""
    latency_ms: float | None = None


class Conversation:
    """Listens to both sides: who speaks, how long answers take, how soon an interruption is obeyed."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.interruptions: list[Interruption] = []
        self.first_audio_ms: float | None = None
        self.agent_began: float | None = None
        """When the agent last began to speak."""
        self.agent_spoke_since_caller = False
        self._agent_loud: float | None = None
        self._agent_speaking = False
        self._caller_loud: float | None = None
        self._caller_speaking = False
        self._interrupting: float | None = None
        self._notes: list[Note] = []

    def notes(self) -> list[Note]:
        """What happened since last asked."""
        notes, self._notes = self._notes, []
        return notes

    def note(self, note: Note) -> None:
        self._notes.append(note)

    def agent_quiet_ms(self, now: float) -> float:
        """How long the agent has not been audible; from the beginning when it never was."""
        return now - (self._agent_loud or 0.0)

    def caller(self, start: float, frame: bytes) -> None:
        """A frame spoken from `start` on."""
        span = loud_span(frame)
        if span is None:
            if self._caller_speaking and self._caller_loud is not None and start - self._caller_loud > PAUSE_MS:
                self._caller_speaking = False
                self._notes.append(Note(self._caller_loud, "caller-quiet"))
            return
        if not self._caller_speaking:
            self._caller_speaking = True
            began = start + span[0]
            self._notes.append(Note(began, "caller-speaks"))
            if self._agent_speaking:
                self._interrupting = began
        self._caller_loud = start + span[1]
        if not self._agent_speaking:
            self.agent_spoke_since_caller = False

    def agent(self, start: float, frame: bytes) -> None:
        """A frame heard from `start` on."""
        span = loud_span(frame)
        if span is not None:
            if not self._agent_speaking:
                self._agent_begins(start + span[0])
            self._agent_loud = start + span[1]
        elif self._agent_speaking and self._agent_loud is not None and start - self._agent_loud > PAUSE_MS:
            self._agent_falls_silent(self._agent_loud)

    def cleared(self, now: float, dropped_ms: float) -> None:
        """The carrier was told to throw away what has not been played."""
        latency = None
        if self._interrupting is not None:
            interruption = Interruption(self._interrupting, now)
            latency = interruption.latency_ms
            self.interruptions.append(interruption)
        self._notes.append(Note(now, "clear", f"{dropped_ms:.0f} ms thrown away", latency))
        if self._agent_speaking:
            self._agent_falls_silent(min(now, self._agent_loud or now), stopped=True)

    def _agent_begins(self, at: float) -> None:
        self._agent_speaking = True
        self.agent_began = at
        latency = None
        if self.first_audio_ms is None:
            self.first_audio_ms = at
        if self._caller_loud is not None and not self.agent_spoke_since_caller and at >= self._caller_loud:
            self.answers.append(Answer(self._caller_loud, at))
            latency = at - self._caller_loud
        self.agent_spoke_since_caller = True
        self._notes.append(Note(at, "agent-speaks", latency_ms=latency))

    def _agent_falls_silent(self, at: float, *, stopped: bool = False) -> None:
        self._agent_speaking = False
        self._notes.append(Note(at, "agent-quiet"))
        if self._interrupting is not None:
            # It may just have been finishing; talking on for a second means that nobody stopped it.
            if not stopped and at - self._interrupting > 1_000:
                self.interruptions.append(Interruption(self._interrupting, None))
            self._interrupting = None
            self.agent_spoke_since_caller = False  # what the caller said into it still wants an answer
