"""The vocabulary of a carrier's media stream: what it tells, and what it can be told.

The kinds that come with every piece of audio are `Struct`s, which are made several times as fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from tandem_codecs.format import AudioFormat


@dataclass(frozen=True, slots=True)
class Connected:
    """The socket speaks the carrier's protocol. Carries nothing."""


@dataclass(frozen=True, slots=True)
class Started:
    """The media stream begins."""

    call_id: str
    stream_id: str
    account_id: str
    inbound: AudioFormat | None
    """What the caller's audio is; None when the carrier announced something we do not know (see `announced`)."""
    outbound: AudioFormat | None
    announced: str = ""
    """The carrier's own words for the format."""
    parameters: Mapping[str, str] = field(default_factory=dict)


class Media(Struct, frozen=True, gc=False):
    """A piece of the caller's voice."""

    audio: bytes
    chunk: int | None
    """Position in the stream, counting from 1; None when the carrier did not say."""
    timestamp_ms: int | None


@dataclass(frozen=True, slots=True)
class Dtmf:
    """The caller pressed a key: one of 0-9 * # A-D."""

    digit: str


@dataclass(frozen=True, slots=True)
class MarkPlayed:
    """All audio sent before the mark of this name has been played, or was thrown away by a clear."""

    name: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """A clear was obeyed, says a carrier that returns no marks for it. Carries nothing."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The carrier ends the stream: the caller hung up, or the call moved on."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A frame that can't be read. Counted; too many end the stream."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A well-formed event of a kind we do not know; carriers add them without notice."""

    kind: str


@dataclass(frozen=True, slots=True)
class CarrierError:
    """The carrier complains over the stream about something that we sent, or about itself. Logged and counted."""

    code: str
    text: str


CarrierEvent = Connected | Started | Media | Dtmf | MarkPlayed | Cleared | Stopped | Malformed | Unknown | CarrierError


class Play(Struct, frozen=True, gc=False):
    """Play this audio (in the outbound format) after all that was sent before."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """Tell us when all audio sent so far has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Throw away all audio that has not been played."""


CarrierCommand = Play | Mark | Clear


@dataclass(frozen=True, slots=True)
class CarrierTraits:
    """What differs between carriers and is not the wire's grammar: one row each, so that no code asks for a name."""

    name: str
    """As in routes, logs, metrics and stream tokens."""
    formats: tuple[AudioFormat, ...]
    """What its media stream can carry, in order of preference."""
    lead_seconds: float
    """How far ahead of playout audio may be sent; what exceeds it waits on our side, where a barge-in drops it."""
    marks_returned_on_clear: bool
    """A clear returns the marks that were still waiting, so a returned mark alone does not prove that it was heard."""
    socket_ends_call: bool
    """The call is over when we close the media socket. Where it is not, it must be ended over the carrier's API."""
    longest_play_ms: float = 30_000.0
    """The longest piece of audio that one message may play."""
    keys_end_stream: bool = False
    """Playing keys to the far end takes the call out of its media stream; a new one follows."""
    moves_when_socket_closes: bool = False
    """A transfer that was ordered begins only when we close the media socket."""
    says_stop: bool = True
    """A `stop` ends the stream. Where there is none, the socket's clean close says that the caller has hung up."""
    placed_by_request: bool = False
    """Placing a call is answered with the id of the request; the call's own comes with its webhooks."""
