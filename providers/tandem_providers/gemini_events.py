"""The server messages of Gemini Live, decoded in one typed pass.

A message is no event but a bundle: any of its fields may be there, and those of `serverContent` come in any company.
Names are in camel case. A second, lenient pass also reads what else the vendor's JSON allows: names in snake case,
base64 of the kind for URLs, numbers in quotes.
"""

from __future__ import annotations

import binascii
import math
import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta


class _Wire(msgspec.Struct, rename="camel", gc=False):
    """Base of all. What is not named is left out by the decoder without being built."""


class Blob(_Wire):
    """`data` is decoded from base64 by the parser itself."""

    data: bytes = b""
    mime_type: str | None = None


class Part(_Wire):
    inline_data: Blob | None = None


class Content(_Wire):
    parts: list[Part] | None = None


class Words(_Wire):
    text: str | None = None
    finished: bool | None = None


class ServerContent(_Wire):
    model_turn: Content | None = None
    output_transcription: Words | None = None
    input_transcription: Words | None = None
    interim_input_transcription: Words | None = None
    interrupted: bool | None = None
    generation_complete: bool | None = None
    turn_complete: bool | None = None
    turn_complete_reason: str | None = None
    interaction_status: str | None = None
    waiting_for_input: bool | None = None


class SetupComplete(_Wire):
    session_id: str | None = None


class FunctionCall(_Wire):
    id: str | None = None
    name: str | None = None
    args: Any = None


class ToolCalls(_Wire):
    function_calls: list[FunctionCall] | None = None


class Cancellation(_Wire):
    ids: list[str] | None = None


class GoAway(_Wire):
    time_left: str | None = None


class ResumptionUpdate(_Wire):
    new_handle: str | None = None
    resumable: bool | None = None


class VoiceActivity(_Wire):
    voice_activity_type: str | None = None
    audio_offset: str | None = None


class VadSignal(_Wire):
    vad_signal_type: str | None = None


class ServerMessage(_Wire):
    server_content: ServerContent | None = None
    setup_complete: SetupComplete | None = None
    tool_call: ToolCalls | None = None
    tool_call_cancellation: Cancellation | None = None
    usage_metadata: Any = None
    go_away: GoAway | None = None
    session_resumption_update: ResumptionUpdate | None = None
    voice_activity: VoiceActivity | None = None
    voice_activity_detection_signal: VadSignal | None = None


decode: Final = msgspec.json.Decoder(ServerMessage).decode
"""One message. Raises ValueError or RecursionError on anything else (`lenient` says what it was)."""


class _VoiceBlob(_Wire, forbid_unknown_fields=True):
    data: Annotated[bytes, Meta(min_length=1)]
    mime_type: Literal["audio/pcm;rate=24000", "audio/pcm"] = "audio/pcm"


class _VoicePart(_Wire, forbid_unknown_fields=True):
    inline_data: _VoiceBlob


class _VoiceTurn(_Wire, forbid_unknown_fields=True):
    parts: tuple[_VoicePart]
    role: str | None = None


class _VoiceContent(_Wire, forbid_unknown_fields=True):
    model_turn: _VoiceTurn


class _Voice(_Wire, forbid_unknown_fields=True):
    server_content: _VoiceContent


_decode_voice: Final = msgspec.json.Decoder(_Voice).decode


def lone_voice(message: bytes) -> bytes | None:
    """The one piece of voice, as documented and not empty, that is all there is in a message; None for any other."""
    try:
        return _decode_voice(message).server_content.model_turn.parts[0].inline_data.data
    except (ValueError, RecursionError):
        return None


_NOTHING: Final = ServerMessage()
_NO_CONTENT: Final = ServerContent()
_THEIRS: Final = frozenset({"args", "response"})
"""Below these names the words are not the vendor's, and stay as they are."""
_UNDERSCORE: Final = re.compile(r"_([a-z])")
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def is_empty(message: ServerMessage) -> bool:
    """Whether the typed pass found nothing that it knows."""
    content = message.server_content
    if content is not None and content != _NO_CONTENT:
        return False
    if content is None:
        return message == _NOTHING
    message.server_content = None
    empty = message == _NOTHING
    message.server_content = content
    return empty


def lenient(payload: dict[str, Any]) -> ServerMessage:
    """A message whose fields are not quite as documented.

    Raises:
        msgspec.ValidationError: it cannot be made sense of.
    """
    return msgspec.convert(_camel(payload), ServerMessage, strict=False)


def holds_audio(payload: dict[str, Any]) -> bool:
    """Whether there is voice in it, readable or not."""
    content = payload.get("serverContent", payload.get("server_content"))
    return isinstance(content, dict) and bool({"modelTurn", "model_turn"} & set(content))


def _camel(value: Any) -> Any:
    """Names in camel case, nulls left out, base64 of either kind decoded."""
    if isinstance(value, list):
        return [_camel(inner) for inner in value if inner is not None]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for key, inner in value.items():
        name = _UNDERSCORE.sub(lambda found: found[1].upper(), key)
        if inner is None:
            continue
        made[name] = inner if name in _THEIRS else _camel(inner)
    if isinstance(made.get("data"), str) and "mimeType" in made:
        made["data"] = _decoded(made["data"])
    return made


def _decoded(text: str) -> bytes:
    """Raises `msgspec.ValidationError` for what is no base64 of either alphabet."""
    try:
        padded = text.translate({45: 43, 95: 47}) + "=" * (-len(text) % 4)
        return binascii.a2b_base64(padded, strict_mode=True)
    except ValueError as error:
        raise msgspec.ValidationError(f"audio is no base64: {error}") from None


def seconds(duration: str | None) -> float | None:
    """A duration as this wire has it (`9.5s`); None when there is none."""
    match = _DURATION.fullmatch(duration or "")
    return float(match[1]) if match else None


def flattened(usage: Any) -> dict[str, float]:
    """Counts by name; those of a kind of data as `promptTokensDetails.AUDIO`. What is no number is left out."""
    amounts: dict[str, float] = {}
    if not isinstance(usage, dict):
        return amounts
    for key, value in usage.items():
        if isinstance(value, list):
            for entry in value:
                if isinstance(entry, dict):
                    _add(amounts, f"{key}.{entry.get('modality', 'UNSPECIFIED')}", entry.get("tokenCount"))
        else:
            _add(amounts, key, value)
    return amounts


def _add(amounts: dict[str, float], key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return
    if math.isfinite(number):
        amounts[key] = amounts.get(key, 0.0) + number
