"""The server events of the OpenAI Live protocol that we act upon, decoded in one typed pass.

Whatever is not named here is left out by the decoder without being built.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec


class ServerEvent(msgspec.Struct, tag_field="type", gc=False):
    """Base of all; the JSON field `type` says which."""


class AudioDelta(ServerEvent, tag="session.output_audio.delta"):
    """Ten times a second, for ever: `delta` is decoded from base64 (strictly) by the parser itself."""

    delta: bytes = b""
    start_ms: float | None = None


class SessionStarted(ServerEvent, tag="session.started"):
    session: dict[str, Any] = {}


class InputTranscript(ServerEvent, tag="session.input_transcript.delta"):
    """Words of the caller, with their place on the session's timeline."""

    delta: str | None = None
    start_ms: float | None = None
    end_ms: float | None = None


class OutputTranscript(ServerEvent, tag="session.output_transcript.delta"):
    """Words of the agent."""

    delta: str | None = None
    start_ms: float | None = None
    end_ms: float | None = None


class Delegation(msgspec.Struct, gc=False):
    id: str = ""
    target: str | None = None


class DelegationCreated(ServerEvent, tag="session.delegation.created"):
    delegation: Delegation = msgspec.field(default_factory=Delegation)


class ResponseEvent(ServerEvent, tag="response.event"):
    """An event of the model behind the voice, as the Responses API streams it."""

    event: dict[str, Any] = {}
    delegation_id: str | None = None


class UsageUpdated(ServerEvent, tag="session.usage.updated"):
    usage: Any = None


class Info(ServerEvent, tag="info"):
    code: str | None = None
    message: str | None = None


class ErrorBody(msgspec.Struct, gc=False):
    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None


class ErrorEvent(ServerEvent, tag="error"):
    error: ErrorBody = msgspec.field(default_factory=ErrorBody)


class SessionClosedEvent(ServerEvent, tag="session.closed"):
    reason: str | None = None
    usage: Any = None


AnyEvent = (
    AudioDelta
    | SessionStarted
    | InputTranscript
    | OutputTranscript
    | DelegationCreated
    | ResponseEvent
    | UsageUpdated
    | Info
    | ErrorEvent
    | SessionClosedEvent
)

NAMES: Final = frozenset(str(kind.__struct_config__.tag) for kind in AnyEvent.__args__)
AUDIO: Final = "session.output_audio.delta"

decode: Final = msgspec.json.Decoder(AnyEvent).decode
"""One message as its event. Raises ValueError or RecursionError on anything else (`lenient` says what it was)."""


def lenient(payload: dict[str, Any]) -> AnyEvent:
    """An event by a known name whose fields are not quite as documented: nulls, numbers in quotes.

    Raises:
        msgspec.ValidationError: it cannot be made sense of.
    """
    told = {field: value for field, value in payload.items() if value is not None}
    event: AnyEvent = msgspec.convert(told, AnyEvent, strict=False)
    return event
