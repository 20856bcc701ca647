"""The server's messages that we act upon, decoded in one typed pass. Each has its payload under a key of its own.

Whatever is not named here is left out by the decoder without being built. Nulls and numbers in quotes are accepted by
a second, lenient pass.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec


class ServerMessage(msgspec.Struct, tag_field="type", gc=False):
    """Base of all; the JSON field `type` says which."""


class Initiated(msgspec.Struct, gc=False):
    conversation_id: str = ""
    agent_output_audio_format: str = ""
    user_input_audio_format: str = ""


class Metadata(ServerMessage, tag="conversation_initiation_metadata"):
    conversation_initiation_metadata_event: Initiated = msgspec.field(default_factory=Initiated)


class AudioPiece(msgspec.Struct, gc=False):
    audio_base_64: bytes = b""
    event_id: int = 0


class Audio(ServerMessage, tag="audio"):
    """The one that comes all the time: its base64 is decoded (strictly) by the parser itself."""

    audio_event: AudioPiece


class EventId(msgspec.Struct, gc=False):
    event_id: int = 0


class Interruption(ServerMessage, tag="interruption"):
    """Everything up to this event id is not to be heard any more, whenever it comes."""

    interruption_event: EventId


class Ping(ServerMessage, tag="ping"):
    ping_event: EventId


class Spoken(msgspec.Struct, gc=False):
    user_transcript: str = ""


class UserTranscript(ServerMessage, tag="user_transcript"):
    user_transcription_event: Spoken


class TentativeTranscript(ServerMessage, tag="tentative_user_transcript"):
    """What the caller seems to be saying; the next one replaces it."""

    tentative_user_transcription_event: Spoken | None = None
    user_transcription_event: Spoken | None = None


class Answer(msgspec.Struct, gc=False):
    agent_response: str = ""


class AgentResponse(ServerMessage, tag="agent_response"):
    """All that the agent is about to say; comes with the first sound of it."""

    agent_response_event: Answer


class Corrected(msgspec.Struct, gc=False):
    original_agent_response: str = ""
    corrected_agent_response: str = ""


class Correction(ServerMessage, tag="agent_response_correction"):
    """After an interruption: what the caller has heard of it."""

    agent_response_correction_event: Corrected


class ResponseComplete(ServerMessage, tag="agent_response_complete"):
    pass


class Called(msgspec.Struct, gc=False):
    tool_name: str = ""
    tool_call_id: str = ""
    parameters: Any = None


class ClientToolCall(ServerMessage, tag="client_tool_call"):
    client_tool_call: Called


class ServerTool(msgspec.Struct, gc=False):
    tool_name: str = ""
    is_error: bool = False


class ToolRequest(ServerMessage, tag="agent_tool_request"):
    """The agent uses a tool that is none of ours."""

    agent_tool_request: ServerTool = msgspec.field(default_factory=ServerTool)


class ToolResponse(ServerMessage, tag="agent_tool_response"):
    agent_tool_response: ServerTool = msgspec.field(default_factory=ServerTool)


class McpToolCall(ServerMessage, tag="mcp_tool_call"):
    mcp_tool_call: ServerTool = msgspec.field(default_factory=ServerTool)


class ClientError(ServerMessage, tag="client_error"):
    client_error: Any = None
    client_error_event: Any = None


class Guardrail(ServerMessage, tag="guardrail_triggered"):
    pass


class DtmfRequest(ServerMessage, tag="dtmf_request"):
    pass


class Error(ServerMessage, tag="error"):
    """What is the matter shortly before the socket is closed; in either of two shapes."""

    message: str = ""
    error_event: dict[str, Any] = {}


AnyMessage = (
    Metadata
    | Audio
    | Interruption
    | Ping
    | UserTranscript
    | TentativeTranscript
    | AgentResponse
    | Correction
    | ResponseComplete
    | ClientToolCall
    | ToolRequest
    | ToolResponse
    | McpToolCall
    | ClientError
    | Guardrail
    | DtmfRequest
    | Error
)

NAMES: Final = frozenset(str(kind.__struct_config__.tag) for kind in AnyMessage.__args__)

decode: Final = msgspec.json.Decoder(AnyMessage).decode
"""One message. Raises ValueError or RecursionError on anything else (`lenient` says what it was)."""


def lenient(payload: dict[str, Any]) -> AnyMessage:
    """A message by a known name whose fields are not quite as documented.

    Raises:
        msgspec.ValidationError: it cannot be made sense of.
    """
    message: AnyMessage = msgspec.convert(_without_nulls(payload), AnyMessage, strict=False)
    return message


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value if inner is not None]
    return value
