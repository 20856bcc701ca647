"""The server's text messages that we act upon, decoded in one typed pass. The agent's voice comes in binary frames.

Whatever is not named here is left out by the decoder without being built. Nulls and numbers in quotes, which the
vendor does not document, are accepted by a second, lenient pass.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec


class ServerMessage(msgspec.Struct, tag_field="type", gc=False):
    """Base of all; the JSON field `type` says which."""


class Welcome(ServerMessage, tag="Welcome"):
    request_id: str = ""


class SettingsApplied(ServerMessage, tag="SettingsApplied"):
    pass


class ConversationText(ServerMessage, tag="ConversationText"):
    """What one side said. Of the agent there may be several in one turn."""

    role: str = ""
    content: str = ""


class UserStartedSpeaking(ServerMessage, tag="UserStartedSpeaking"):
    pass


class AgentThinking(ServerMessage, tag="AgentThinking"):
    pass


class AgentStartedSpeaking(ServerMessage, tag="AgentStartedSpeaking"):
    """Not sent by every server, and not always before the first sound."""


class AgentAudioDone(ServerMessage, tag="AgentAudioDone"):
    """All voice of a turn has been sent; it may not be played yet."""


class Function(msgspec.Struct, gc=False):
    id: str = ""
    name: str = ""
    arguments: Any = None
    client_side: bool = True


class FunctionCallRequest(ServerMessage, tag="FunctionCallRequest"):
    functions: list[Function] = []


class FunctionCallCancelled(ServerMessage, tag="FunctionCallCancelled"):
    functions: list[Function] = []


class InjectionRefused(ServerMessage, tag="InjectionRefused"):
    message: str = ""


class Warning_(ServerMessage, tag="Warning"):
    code: str = ""
    description: str = ""


class Error(ServerMessage, tag="Error"):
    code: str = ""
    description: str = ""
    message: str = ""
    """Where older servers put what went wrong."""


AnyMessage = (
    Welcome
    | SettingsApplied
    | ConversationText
    | UserStartedSpeaking
    | AgentThinking
    | AgentStartedSpeaking
    | AgentAudioDone
    | FunctionCallRequest
    | FunctionCallCancelled
    | InjectionRefused
    | Warning_
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


def is_text(message: bytes) -> bool:
    """Whether a binary frame holds what belongs into a text frame, as some proxies make it. No voice reads as JSON."""
    if not message.startswith(b'{"'):
        return False
    try:
        payload = msgspec.json.decode(message)
    except (ValueError, RecursionError):
        return False
    return isinstance(payload, dict) and isinstance(payload.get("type"), str)
