"""What a simulated OpenAI says and how: settings that a test, a drill or the command line may choose."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The model calls a function of the session. `name` "" means the session's first one."""

    name: str = ""
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One response. Fields left alone follow the simulator's settings."""

    text: str | None = None
    """What the agent says; None leaves it to the simulator, "" says nothing (only calls)."""
    calls: tuple[FunctionCall, ...] = ()
    """Functions called after speaking, if the session has them; else they are left out."""
    voice: str | None = None
    seconds: float | None = None
    items: int | None = None
    """Over how many output items the speech is spread."""
    ends: str = "completed"
    """`completed`, `max_output_tokens`, `content_filter`, or the error code of a failed response."""


def reply(text: str) -> Reply:
    """A reply written as a line: what to say, or `call NAME {JSON}` for a function call."""
    call = re.fullmatch(r"call\s+(\S+)\s*(.*)", text, re.DOTALL)
    if call is None:
        return Reply(text)
    return Reply("", (FunctionCall(call[1], call[2].strip() or "{}"),))


def pace(text: str) -> float:
    """How much faster than real time speech comes: `burst` (at once), `realtime`, or a factor such as `10x`.

    Raises:
        ValueError: none of these.
    """
    named = {"burst": math.inf, "realtime": 1.0}
    try:
        factor = named.get(text) or float(text.removesuffix("x"))
    except ValueError:
        factor = math.nan
    if not factor > 0:
        raise ValueError(f"there is no pace {text!r}; there are burst, realtime, and factors above zero such as 10x")
    return factor


@dataclass(frozen=True, slots=True)
class OpenAIOptions:
    """How the simulated server behaves, when nothing is wrong with it."""

    script: Sequence[Reply | str] = ()
    """One entry a response; when they are used up, the simulator finds its own words."""
    voice: str = "speech"
    """`speech` (recorded), `tone:HZ`, `echo` (what the caller said last), or `silence`."""
    seconds: float | None = None
    """How long every response lasts; None: as long as its words need."""
    pace: float = math.inf
    """Audio seconds per second."""
    latency: float = 0.0
    """Seconds from `response.created` to the first delta."""
    delta_ms: tuple[int, int] = (100, 200)
    """Deltas last at least and at most this long."""
    odd_deltas: bool = False
    """Cut deltas of 16-bit audio in the middle of samples, as the wire allows."""
    items: int = 1
    transcripts: Sequence[str] = ()
    """What the caller is understood to say, turn by turn; afterwards a description, such as `caller spoke 1.2 s`."""
    transcription_delay: float = 0.0
    """Seconds from the end of the caller's turn to its transcript."""
    key: str | None = None
    """The only key that is good; None takes any."""
    key_refusal: Literal["http", "late"] = "http"
    """A bad key is refused with HTTP 401, or after the handshake with an error and close 3000."""
    session_seconds: float = 3600.0
    extras: bool = True
    """Fields and one event that no client knows, as the vendor adds them without notice."""
    seed: int = 0
    record: bool = True
    """Keep what was sent and received for inspection. Off for long runs: then only the last turn's audio is kept."""

    def __post_init__(self) -> None:
        if not self.pace > 0:
            raise ValueError(f"a pace must be above zero, not {self.pace}")
        if not 0 < self.delta_ms[0] <= self.delta_ms[1]:
            raise ValueError(f"deltas of {self.delta_ms} milliseconds make no sense: shortest first, both above zero")
        if self.items < 1 or self.latency < 0 or self.transcription_delay < 0 or self.session_seconds <= 0:
            raise ValueError("counts start at one, times at zero")
        if self.key_refusal not in ("http", "late"):
            raise ValueError(f"a bad key is refused by 'http' or 'late', not {self.key_refusal!r}")


_EXACTLY: Final = re.compile(r'.*\bsay exactly\b[^"\u201c]*["\u201c](.*)["\u201d]', re.IGNORECASE | re.DOTALL)


def asked_words(instructions: str) -> str | None:
    """The words of an instruction to say something exactly, if it is one; those of a JSON string are decoded."""
    found = _EXACTLY.match(instructions)
    if found is None:
        return None
    try:
        words: str = msgspec.json.decode(f'"{found[1]}"', type=str)
    except msgspec.DecodeError:
        words = found[1]
    return words


@dataclass(slots=True)
class Script:
    """Hands out replies and transcripts in order, for one session."""

    options: OpenAIOptions
    _replies: int = field(default=0, init=False)
    _turns: int = field(default=0, init=False)

    def next_reply(self) -> Reply:
        """The next reply; a blank one when the script is used up."""
        scripted = self.options.script
        self._replies += 1
        if self._replies > len(scripted):
            return Reply()
        entry = scripted[self._replies - 1]
        return reply(entry) if isinstance(entry, str) else entry

    def next_transcript(self, seconds: float) -> str:
        """What the caller said in a turn of that length."""
        self._turns += 1
        if self._turns <= len(self.options.transcripts):
            return self.options.transcripts[self._turns - 1]
        return f"caller spoke {seconds:.1f} s"
