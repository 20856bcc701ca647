"""The server events of the OpenAI Realtime protocol that we act upon, decoded in one typed pass.

Both generations of names are read: compatible servers still send the old (beta) ones. Whatever is not named here is
left out by the decoder without being built. Fields the vendor documents as nullable are so here; other nulls and
numbers in quotes are accepted by a second, lenient pass.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec


class ServerEvent(msgspec.Struct, tag_field="type", gc=False):
    """Base of all; the JSON field `type` says which."""


class SessionCreated(ServerEvent, tag="session.created"):
    session: dict[str, Any] = {}


class SessionUpdated(ServerEvent, tag="session.updated"):
    session: dict[str, Any] = {}


class Conversation(msgspec.Struct, gc=False):
    id: str = ""


class ConversationCreated(ServerEvent, tag="conversation.created"):
    conversation: Conversation = msgspec.field(default_factory=Conversation)


class Item(msgspec.Struct, gc=False):
    id: str = ""
    type: str = ""
    role: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Any = None


class ItemAdded(ServerEvent, tag="conversation.item.added"):
    item: Item
    previous_item_id: str | None = None


class BetaItemCreated(ItemAdded, tag="conversation.item.created"):
    pass


class InputCommitted(ServerEvent, tag="input_audio_buffer.committed"):
    item_id: str = ""
    previous_item_id: str | None = None


class InputCleared(ServerEvent, tag="input_audio_buffer.cleared"):
    pass


class SpeechStarted(ServerEvent, tag="input_audio_buffer.speech_started"):
    item_id: str | None = ""
    audio_start_ms: float | None = None


class SpeechStopped(ServerEvent, tag="input_audio_buffer.speech_stopped"):
    item_id: str | None = ""
    audio_end_ms: float | None = None


class InputTranscriptDelta(ServerEvent, tag="conversation.item.input_audio_transcription.delta"):
    item_id: str = ""
    delta: str | None = ""


class InputTranscriptDone(ServerEvent, tag="conversation.item.input_audio_transcription.completed"):
    item_id: str = ""
    transcript: str | None = ""
    status: str | None = None
    """`in_progress`: more is to come for this item, all the same."""
    usage: Any = None


class InputTranscriptUpdated(ServerEvent, tag="conversation.item.input_audio_transcription.updated"):
    """All that was understood so far, each time."""

    item_id: str = ""
    transcript: str | None = ""


class ErrorBody(msgspec.Struct, gc=False):
    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None


class InputTranscriptFailed(ServerEvent, tag="conversation.item.input_audio_transcription.failed"):
    item_id: str = ""
    error: ErrorBody = msgspec.field(default_factory=ErrorBody)


class StatusDetails(msgspec.Struct, gc=False):
    reason: str | None = None
    error: ErrorBody | None = None


class Response(msgspec.Struct, gc=False):
    id: str | None = ""
    status: str | None = ""
    status_details: StatusDetails | None = None
    output: list[Item] | None = None
    usage: Any = None
    metadata: Any = None


class ResponseCreated(ServerEvent, tag="response.created"):
    response: Response


class ResponseDone(ServerEvent, tag="response.done"):
    response: Response
    usage: Any = None
    """Where some servers put it, instead of into the response."""


class AudioDelta(ServerEvent, tag="response.output_audio.delta"):
    """The one that comes fifty times a second: `delta` is decoded from base64 (strictly) by the parser itself."""

    response_id: str = ""
    item_id: str = ""
    content_index: int = 0
    delta: bytes = b""


class BetaAudioDelta(AudioDelta, tag="response.audio.delta"):
    pass


class AudioDone(ServerEvent, tag="response.output_audio.done"):
    response_id: str = ""
    item_id: str = ""
    content_index: int = 0


class BetaAudioDone(AudioDone, tag="response.audio.done"):
    pass


class OutputTranscriptDelta(ServerEvent, tag="response.output_audio_transcript.delta"):
    response_id: str = ""
    item_id: str = ""
    delta: str | None = ""


class BetaOutputTranscriptDelta(OutputTranscriptDelta, tag="response.audio_transcript.delta"):
    pass


class OutputTextDelta(OutputTranscriptDelta, tag="response.output_text.delta"):
    pass


class BetaTextDelta(OutputTranscriptDelta, tag="response.text.delta"):
    pass


class OutputTranscriptDone(ServerEvent, tag="response.output_audio_transcript.done"):
    response_id: str = ""
    item_id: str = ""
    transcript: str | None = None
    text: str | None = None


class BetaOutputTranscriptDone(OutputTranscriptDone, tag="response.audio_transcript.done"):
    pass


class OutputTextDone(OutputTranscriptDone, tag="response.output_text.done"):
    pass


class BetaTextDone(OutputTranscriptDone, tag="response.text.done"):
    pass


class OutputItemDone(ServerEvent, tag="response.output_item.done"):
    item: Item
    response_id: str = ""


class ArgumentsDone(ServerEvent, tag="response.function_call_arguments.done"):
    response_id: str = ""
    item_id: str = ""
    call_id: str = ""
    name: str | None = None
    arguments: Any = ""


class RateLimit(msgspec.Struct, gc=False):
    name: str = ""
    remaining: float | None = None
    reset_seconds: float | None = None


class RateLimitsUpdated(ServerEvent, tag="rate_limits.updated"):
    rate_limits: list[RateLimit] = []


class ErrorEvent(ServerEvent, tag="error"):
    error: ErrorBody = msgspec.field(default_factory=ErrorBody)


ConversationEvent = (
    ItemAdded
    | BetaItemCreated
    | InputCommitted
    | SpeechStarted
    | SpeechStopped
    | InputTranscriptDelta
    | InputTranscriptDone
    | InputTranscriptUpdated
    | InputTranscriptFailed
    | ResponseCreated
    | ResponseDone
    | AudioDelta
    | BetaAudioDelta
    | AudioDone
    | BetaAudioDone
    | OutputTranscriptDelta
    | BetaOutputTranscriptDelta
    | OutputTextDelta
    | BetaTextDelta
    | OutputTranscriptDone
    | BetaOutputTranscriptDone
    | OutputTextDone
    | BetaTextDone
    | OutputItemDone
    | ArgumentsDone
    | RateLimitsUpdated
)
OUTPUT: Final = (
    ResponseCreated,
    AudioDelta,
    AudioDone,
    OutputTranscriptDelta,
    OutputTranscriptDone,
    OutputItemDone,
    ArgumentsDone,
)
"""Signs that a response is going on."""
OpeningEvent = SessionCreated | SessionUpdated | ConversationCreated | InputCleared
AnyEvent = OpeningEvent | ErrorEvent | ConversationEvent

NAMES: Final = frozenset(str(kind.__struct_config__.tag) for kind in AnyEvent.__args__)
AUDIO_NAMES: Final = frozenset({"response.output_audio.delta", "response.audio.delta"})

decode: Final = msgspec.json.Decoder(AnyEvent).decode
"""One message as its event. Raises ValueError or RecursionError on anything else (`lenient` says what it was)."""


def lenient(payload: dict[str, Any]) -> AnyEvent:
    """An event by a known name whose fields are not quite as documented.

    Raises:
        msgspec.ValidationError: it cannot be made sense of.
    """
    event: AnyEvent = msgspec.convert(_without_nulls(payload), AnyEvent, strict=False)
    return event


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value if inner is not None]
    return value
