"""What is asked of a simulated call, what it tells as it goes, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tandem.simulators.line import Faults, MediaLine
from tandem.simulators.phone import Answer, Interruption, Turn, When, WhenQuiet


@dataclass(frozen=True, slots=True)
class CallPlan:
    """A call to place, and how the caller behaves."""

    url: str
    """The number's voice URL as Twilio knows it: this is what gets signed."""
    account_sid: str
    auth_token: str = field(repr=False)
    from_: str = field(default="+15550002000", repr=False)
    to: str = field(default="+15550001000", repr=False)
    audio: bytes | Sequence[Turn] = ()
    """Mu-law at 8 kHz played straight from the start, or turns, each with its own moment."""
    hang_up: When | None = field(default_factory=lambda: WhenQuiet(2_000))
    """When the caller hangs up, once everything is said; None: the server has to."""
    seconds: float = 60.0
    """The caller hangs up at the latest when the stream is so old."""
    method: Literal["POST", "GET"] = "POST"
    status_url: str = ""
    """Where the call's own status callback goes."""
    via: str = ""
    """Origin to connect to in place of the one in URLs, e.g. `http://127.0.0.1:8000`; signatures keep the real one."""
    recording: Path | None = None
    """WAV file to write: caller left, agent right as heard."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Webhook parameters to add or to replace."""
    faults: Faults = field(default_factory=Faults)


EventKind = Literal[
    "dialling",
    "answered",
    "rejected",
    "stream",
    "stream-ended",
    "said",
    "keys",
    "dialled",
    "put-through",
    "callback",
    "ended",
    "agent-speaks",
    "agent-quiet",
    "caller-speaks",
    "caller-quiet",
    "clear",
    "dtmf",
    "problem",
]


@dataclass(frozen=True, slots=True)
class CallEvent:
    """Progress, for whoever watches. `at_ms` counts from dialling."""

    at_ms: float
    kind: EventKind
    detail: str = ""
    latency_ms: float | None = None


OnEvent = Callable[[CallEvent], None]


@dataclass(frozen=True, slots=True)
class CallReport:
    """What came of a call. Times ending in `_ms` are durations; inside `answers` and `interruptions` they are
    positions in the stream."""

    call_sid: str
    result: Literal["completed", "busy", "failed", "no-answer", "canceled"]
    ended_by: Literal["caller", "server", "limit", "fault"] | None
    """Who ended the (last) stream; None when there was none."""
    seconds: float
    webhook_ms: float | None = None
    """From the webhook's request to its whole answer."""
    upgrade_ms: float | None = None
    """From the answer to an open stream."""
    first_audio_ms: float | None = None
    """From `start` to the first audible sample of the agent."""
    answers: tuple[Answer, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    underruns: int = 0
    gap_ms: float = 0.0
    """Silence heard because audio came too late."""
    received_ms: float = 0.0
    """Agent audio received, heard, thrown away by `clear`, and lost when the stream ended."""
    heard_ms: float = 0.0
    cleared_ms: float = 0.0
    unplayed_ms: float = 0.0
    frames_sent: int = 0
    marks: int = 0
    clears: int = 0
    close_code: int | None = None
    said: tuple[str, ...] = ()
    """Texts of `<Say>`."""
    callbacks: tuple[tuple[str, int], ...] = ()
    """Callbacks and what they were answered; 0 for no answer."""
    problems: tuple[str, ...] = ()
    """What the carrier's debugger would show."""
    recording: Path | None = None

    @classmethod
    def measured(cls, lines: Sequence[MediaLine], **rest: Any) -> CallReport:
        """What the call's streams add up to, and the rest."""
        playouts = [line.playout for line in lines]
        return cls(
            first_audio_ms=lines[0].conversation.first_audio_ms if lines else None,
            answers=tuple(answer for line in lines for answer in line.conversation.answers),
            interruptions=tuple(each for line in lines for each in line.conversation.interruptions),
            underruns=sum(playout.underruns for playout in playouts),
            gap_ms=sum(playout.gap_ms for playout in playouts),
            received_ms=sum(playout.received_ms for playout in playouts),
            heard_ms=sum(playout.played_ms for playout in playouts),
            cleared_ms=sum(playout.cleared_ms for playout in playouts),
            unplayed_ms=sum(playout.waiting_ms for playout in playouts),
            frames_sent=sum(line.frames_sent for line in lines),
            marks=sum(line.marks_returned for line in lines),
            clears=sum(line.clears for line in lines),
            **rest,
        )

    @property
    def went_well(self) -> bool:
        """The call was connected, the agent was heard, and the carrier found nothing to complain about."""
        return self.result == "completed" and self.heard_ms > 0 and not self.problems
