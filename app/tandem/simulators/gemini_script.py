"""What a simulated Gemini says and how: settings that a test, a drill or the command line may choose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tandem.simulators.openai_script import Reply, reply


@dataclass(frozen=True, slots=True)
class GeminiOptions:
    """How the simulated server behaves, when nothing is wrong with it."""

    script: Sequence[Reply | str] = ()
    """One entry a turn; when they are used up, the simulator finds its own words. `items` of a reply are utterances,
    and `ends` is a reason for which a turn ends, such as `MALFORMED_FUNCTION_CALL`."""
    voice: str = "speech"
    """`speech` (recorded), `tone:HZ`, `echo` (what the caller said last), or `silence`."""
    seconds: float | None = None
    """How long every turn lasts; None: as long as its words need."""
    pace: float = math.inf
    """Audio seconds per second."""
    latency: float = 0.0
    """Seconds from the end of the caller's turn to the first sound."""
    delta_ms: tuple[int, int] = (40, 160)
    """Pieces of audio last at least and at most this long."""
    odd_deltas: bool = False
    """Cut audio in the middle of samples."""
    turn_complete: Literal["played", "generated"] = "played"
    """When a turn is told to be over: once a client that plays in real time has played it, or at once."""
    words: Literal["with", "before"] = "with"
    """The agent's words come along with its voice, or all before it, as on Vertex AI."""
    transcripts: Sequence[str] = ()
    """What the caller is understood to say, turn by turn; afterwards a description, such as `caller spoke 1.2 s`."""
    transcription_delay: float = 0.0
    """Seconds from the end of the caller's turn to its words."""
    finished: bool = False
    """Transcriptions tell when they are complete. The vendor's rarely do."""
    call_ids: bool = True
    """Function calls have an id."""
    key: str | None = None
    """The only key or token that is good; None takes any."""
    session_seconds: float = 600.0
    warning_seconds: float = 60.0
    """So long before its end a connection is told to go away."""
    extras: bool = True
    """Empty messages, fields and messages that no client knows, as the vendor sends them without notice."""
    seed: int = 0
    record: bool = True
    """Keep what was sent and received for inspection. Off for long runs."""

    def __post_init__(self) -> None:
        if not self.pace > 0:
            raise ValueError(f"a pace must be above zero, not {self.pace}")
        if not 0 < self.delta_ms[0] <= self.delta_ms[1]:
            raise ValueError(f"deltas of {self.delta_ms} milliseconds make no sense: shortest first, both above zero")
        if self.latency < 0 or self.transcription_delay < 0 or self.session_seconds <= 0 or self.warning_seconds < 0:
            raise ValueError("times start at zero")


@dataclass(slots=True)
class Place:
    """How far a conversation has come in the script. It goes with the conversation to the session that resumes it."""

    replies: int = 0
    turns: int = 0

    def next_reply(self, options: GeminiOptions) -> Reply:
        """The next reply; a blank one when the script is used up."""
        self.replies += 1
        if self.replies > len(options.script):
            return Reply()
        entry = options.script[self.replies - 1]
        return reply(entry) if isinstance(entry, str) else entry

    def next_transcript(self, options: GeminiOptions, seconds: float) -> str:
        """What the caller said in a turn of that length."""
        self.turns += 1
        if self.turns <= len(options.transcripts):
            return options.transcripts[self.turns - 1]
        return f"caller spoke {seconds:.1f} s"
