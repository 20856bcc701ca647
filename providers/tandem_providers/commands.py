"""What a provider can be told during a session, besides audio.

Every adapter takes every command: it writes what its wire needs, or nothing where the vendor has no such thing and
nothing is lost by that (its `Capabilities` say so).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal


class Purpose(Enum):
    """Why the agent is asked to speak unprompted."""

    GREETING = "greeting"
    """The first words of the call."""
    STILL_THERE = "still-there"
    """The caller has been silent for long."""
    RESUME = "resume"
    """The line to the agent broke in the middle of something: it shall go on."""
    MESSAGE = "message"
    """Somebody wants the caller to be told `text`."""
    GOODBYE = "goodbye"
    """The call is about to be ended by us."""


@dataclass(frozen=True, slots=True)
class Say:
    """Speak now (after a turn under way). `text` is wanted word by word; None leaves the words to the agent."""

    purpose: Purpose
    text: str | None = None


@dataclass(frozen=True, slots=True)
class SendText:
    """Put text into the conversation, and answer it if `respond`."""

    text: str
    role: Literal["user", "system"] = "user"
    respond: bool = True


@dataclass(frozen=True, slots=True)
class SendDtmf:
    """The caller pressed a key: one of 0-9 * # A-D."""

    digit: str


@dataclass(frozen=True, slots=True)
class CommitTurn:
    """The caller's turn is over (only where the provider does not hear turns itself)."""


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Stop generating. Audio already received is not affected."""


@dataclass(frozen=True, slots=True)
class PlaybackReport:
    """Playing of this item was cut: the caller heard `played_ms` of it. The model's memory is cut there, too."""

    item_id: str
    turn_id: str
    content_index: int
    played_ms: int
    received_ms: int


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer to one `ToolCall`. `output` is text, usually JSON."""

    call_id: str
    output: str


Command = Say | SendText | SendDtmf | CommitTurn | CancelResponse | PlaybackReport | ToolResult
