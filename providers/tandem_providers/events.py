"""What a provider tells: one ordered stream of these per session.

Times named `..._ms` are positions in the session's audio as the provider counts them. Text of an event is what the
provider said, unedited. A new kind of event is added here only together with something that emits it.
The kind that comes with every piece of audio is a `Struct`, which is made several times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct

from tandem_codecs.format import AudioFormat
from tandem_providers.errors import ProviderError


@dataclass(frozen=True, slots=True)
class SessionReady:
    """The session is set up: caller audio may flow. Always the first event."""

    provider: str
    """Configured name of the instance, e.g. `openai` or `openai@backup`."""
    input_format: AudioFormat
    output_format: AudioFormat
    session_id: str = ""
    model: str = ""
    expires_at: float | None = None
    """Unix time at which the provider will end the session, if it said so."""


class AudioChunk(Struct, frozen=True, gc=False):
    """A piece of the agent's voice, in the session's output format."""

    audio: bytes
    is_final: bool = False
    """All audio of `item_id` has now been *received* (not played). Such a chunk may be empty."""
    item_id: str = ""
    turn_id: str = ""
    content_index: int = 0


@dataclass(frozen=True, slots=True)
class Transcript:
    """Words. A final one carries the whole text of its item and replaces all earlier ones of that item."""

    text: str
    is_final: bool
    is_input: bool
    """True: the caller said it. False: the agent did (as generated; the caller may have heard less)."""
    item_id: str = ""
    turn_id: str = ""
    replaces: bool = False
    """A partial that carries the whole text so far, rather than what to append."""
    as_heard: bool = False
    """A final one of the agent's that was interrupted: these are the words that the caller heard, as the provider
    knows."""

    @property
    def role(self) -> Literal["user", "assistant"]:
        return "user" if self.is_input else "assistant"


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item took its place in the conversation. Transcripts are ordered by this, never by arrival."""

    item_id: str
    after: str | None
    """Item before it; None when the provider did not say (then: the end)."""
    is_input: bool


@dataclass(frozen=True, slots=True)
class UserSpeechStarted:
    """The provider hears the caller speak. While the agent is audible this is a barge-in."""

    item_id: str = ""
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class UserSpeechStopped:
    """The provider thinks that the caller's turn is over."""

    item_id: str = ""
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The provider itself stopped the agent because the caller spoke: what has not been heard must not be."""

    turn_id: str = ""
    """Empty: everything that waits."""


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The agent begins a turn; audio may follow."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """Nothing more will be generated for this turn. Its audio may still be playing."""

    turn_id: str
    status: Literal["completed", "interrupted", "cancelled", "incomplete", "failed"]
    reason: str = ""
    awaiting_tools: bool = False
    """The turn ended in function calls; another turn follows when they are answered."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a function called. Emitted once per `call_id`."""

    call_id: str
    name: str
    arguments: str
    """JSON text as the model wrote it."""
    turn_id: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallCancelled:
    """The model no longer wants this call's result."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a piece of work cost, to be summed. Keys are the provider's own, flattened with dots."""

    source: Literal["response", "transcription", "session"]
    amounts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What is left of the account's allowance, as the provider reported it: name to (remaining, seconds to reset)."""

    remaining: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class ResumeHandle:
    """With this in its `Opening`, a later session of the same provider goes on where this one is now."""

    handle: str


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The provider will end this session soon; another should be opened before."""

    seconds: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProviderLost:
    """The provider that had the session is gone, and another is being tried: the conversation is not over.

    Emitted by `Client` only. Ends in a further `SessionReady`, or in `SessionClosed` when nobody takes it over.
    """

    provider: str
    error: ProviderError


@dataclass(frozen=True, slots=True)
class HangupRequested:
    """The agent wants to end the call once what it said has been heard."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProviderWarning:
    """Something to log; the session goes on."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The end of the session: exactly once, and last. `error` is None when it ended because we asked."""

    error: ProviderError | None = None
    code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event this library has no name for, so that nothing is lost. Only emitted when asked for."""

    payload: dict[str, Any]


Event = (
    SessionReady
    | AudioChunk
    | Transcript
    | ItemAdded
    | UserSpeechStarted
    | UserSpeechStopped
    | Interrupted
    | TurnStarted
    | TurnEnded
    | ToolCall
    | ToolCallCancelled
    | Usage
    | RateLimits
    | ResumeHandle
    | GoingAway
    | ProviderLost
    | HangupRequested
    | ProviderWarning
    | SessionClosed
    | RawEvent
)
