"""The shapes that OpenAI Realtime takes from a client over a WebSocket, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tandem.simulators.openai_checks import (
    Check,
    Refused,
    array,
    boolean,
    either,
    integer,
    mapping,
    nullable,
    number,
    one_of,
    record,
    string,
    tagged,
)

MAX_APPEND_CHARS: Final = 15 * 1024 * 1024
"""One append may carry this much base64."""


def _modalities(value: Any, path: str) -> None:
    array(one_of("text", "audio"))(value, path)
    if value not in (["text"], ["audio"]):
        raise Refused(
            f"Invalid modalities: {value}. Supported combinations are: ['text'] and ['audio'].", "invalid_value", path
        )


def _metadata(value: Any, path: str) -> None:
    mapping(value, path)
    if len(value) > 16:
        raise Refused(
            f"Invalid '{path}': too many properties. Expected at most 16.", "object_above_max_properties", path
        )
    for name, entry in value.items():
        string(entry, f"{path}.{name}")


def _item_id(value: Any, path: str) -> None:
    string(value, path)
    if not 1 <= len(value) <= 32:
        raise Refused(
            f"Invalid '{path}': string too long. Expected a string with maximum length 32, but got a string with "
            f"length {len(value)} instead.",
            "string_above_max_length",
            path,
        )


def _append_audio(value: Any, path: str) -> None:
    string(value, path)
    if len(value) > MAX_APPEND_CHARS:
        raise Refused(f"Invalid '{path}': string too long.", "string_above_max_length", path)


FORMAT: Final = tagged(
    "type",
    {
        "audio/pcm": record({"type": string, "rate": one_of(24000)}),
        "audio/pcmu": record({"type": string}),
        "audio/pcma": record({"type": string}),
    },
)
_TURN_DETECTION: Final = tagged(
    "type",
    {
        "server_vad": record(
            {
                "type": string,
                "threshold": number(0, 1),
                "prefix_padding_ms": integer(0),
                "silence_duration_ms": integer(0),
                "idle_timeout_ms": nullable(integer(5000, 30000)),
                "create_response": boolean,
                "interrupt_response": boolean,
            }
        ),
        "semantic_vad": record(
            {
                "type": string,
                "eagerness": one_of("low", "medium", "high", "auto"),
                "create_response": boolean,
                "interrupt_response": boolean,
            }
        ),
    },
)
_TRANSCRIPTION: Final = record(
    {
        "model": string,
        "language": string,
        "prompt": string,
        "keywords": array(string),
        "languages": array(string),
        "delay": one_of("minimal", "low", "medium", "high", "xhigh"),
    }
)
_VOICE: Final = either(
    record({"id": string}, {"id"}),
    one_of("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"),
)
_EFFORT: Final = record({"effort": one_of("minimal", "low", "medium", "high", "xhigh")})
_MAX_TOKENS: Final = either(one_of("inf"), integer(1, 4096))
_TOOL: Final = tagged(
    "type",
    {
        "function": record(
            {"type": string, "name": string, "description": string, "parameters": mapping}, ("type", "name")
        ),
        "mcp": record(
            {
                "type": string,
                "server_label": string,
                "server_url": string,
                "connector_id": string,
                "authorization": string,
                "headers": nullable(mapping),
                "allowed_tools": lambda value, path: None,
                "require_approval": lambda value, path: None,
                "server_description": string,
                "defer_loading": boolean,
            },
            ("type", "server_label"),
        ),
    },
)
_TOOL_CHOICE: Final = either(
    tagged(
        "type",
        {
            "function": record({"type": string, "name": string}, ("name",)),
            "mcp": record({"type": string, "server_label": string, "name": nullable(string)}, ("server_label",)),
        },
    ),
    one_of("auto", "none", "required"),
)
_PROMPT: Final = nullable(record({"id": string, "version": nullable(string), "variables": nullable(mapping)}, ("id",)))
_SHARED: Final[Mapping[str, Check]] = {
    "output_modalities": _modalities,
    "instructions": string,
    "tools": array(_TOOL),
    "tool_choice": _TOOL_CHOICE,
    "parallel_tool_calls": boolean,
    "max_output_tokens": _MAX_TOKENS,
    "reasoning": nullable(_EFFORT),
    "prompt": _PROMPT,
}
SESSION: Final = record(
    {
        "type": one_of("realtime"),
        "model": string,
        "audio": record(
            {
                "input": record(
                    {
                        "format": FORMAT,
                        "transcription": nullable(_TRANSCRIPTION),
                        "noise_reduction": nullable(
                            record({"type": one_of("near_field", "far_field"), "strength": number(0, 1)})
                        ),
                        "turn_detection": nullable(_TURN_DETECTION),
                    }
                ),
                "output": record({"format": FORMAT, "voice": _VOICE, "speed": number(0.25, 1.5)}),
            }
        ),
        "truncation": either(
            one_of("auto", "disabled"),
            record(
                {
                    "type": one_of("retention_ratio"),
                    "retention_ratio": number(0, 1),
                    "token_limits": record({"post_instructions": integer(0)}),
                },
                ("type", "retention_ratio"),
            ),
        ),
        "tracing": nullable(
            either(one_of("auto"), record({"workflow_name": string, "group_id": string, "metadata": mapping}))
        ),
        "include": nullable(array(one_of("item.input_audio_transcription.logprobs"))),
        **_SHARED,
    },
    ("type",),
)

_ITEM_FIELDS: Final[Mapping[str, Check]] = {
    "id": _item_id,
    "type": string,
    "object": one_of("realtime.item"),
    "status": one_of("completed", "incomplete", "in_progress"),
}
_TEXT_PART: Final = record({"type": string, "text": string}, ("text",))
_USER_PART: Final = tagged(
    "type",
    {
        "input_text": _TEXT_PART,
        "input_audio": record({"type": string, "audio": string, "transcript": nullable(string)}, ("audio",)),
        "input_image": record(
            {"type": string, "image_url": string, "detail": one_of("auto", "low", "high")}, ("image_url",)
        ),
    },
)


def _message(part: Check) -> Check:
    return record({**_ITEM_FIELDS, "role": string, "content": array(part)}, ("role", "content"))


ITEM: Final = tagged(
    "type",
    {
        "message": tagged(
            "role",
            {
                "user": _message(_USER_PART),
                "system": _message(tagged("type", {"input_text": _TEXT_PART})),
                "assistant": _message(tagged("type", {"output_text": _TEXT_PART})),
            },
        ),
        "function_call": record(
            {**_ITEM_FIELDS, "call_id": string, "name": string, "arguments": string}, ("name", "arguments")
        ),
        "function_call_output": record({**_ITEM_FIELDS, "call_id": string, "output": string}, ("call_id", "output")),
    },
)
_INPUT_ITEM: Final = either(record({"type": one_of("item_reference"), "id": string}, ("type", "id")), ITEM)
RESPONSE: Final = record(
    {
        "conversation": one_of("auto", "none"),
        "input": array(_INPUT_ITEM),
        "metadata": nullable(_metadata),
        "audio": record({"output": record({"format": FORMAT, "voice": _VOICE})}),
        **_SHARED,
    }
)


def _event(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    fields: dict[str, Check] = {"type": string, "event_id": nullable(string), **required, **(optional or {})}
    return record(fields, tuple(required))


def client_events(session: Check, item: Check, response: Check) -> Check:
    """Messages of a client, of a protocol with these sessions, items and responses."""
    return tagged(
        "type",
        {
            "session.update": _event({"session": session}),
            "input_audio_buffer.append": _event({"audio": _append_audio}),
            "input_audio_buffer.commit": _event({}),
            "input_audio_buffer.clear": _event({}),
            "conversation.item.create": _event({"item": item}, {"previous_item_id": nullable(string)}),
            "conversation.item.retrieve": _event({"item_id": string}),
            "conversation.item.delete": _event({"item_id": string}),
            "conversation.item.truncate": _event(
                {"item_id": string, "content_index": integer(0), "audio_end_ms": integer(0)}
            ),
            "response.create": _event({}, {"response": nullable(response)}),
            "response.cancel": _event({}, {"response_id": nullable(string)}),
        },
    )


EVENT: Final = client_events(SESSION, ITEM, RESPONSE)
"""Every message a client may send over a WebSocket."""

_WITHOUT_REASONING: Final = re.compile(r"gpt-realtime(-mini|-1\.5)?(-\d{4}-\d\d-\d\d)?|gpt-4o.*")


def check_model(fields: Mapping[str, Any], model: str, path: str) -> None:
    """Refuse what only reasoning models take when this is none."""
    for name in ("reasoning", "parallel_tool_calls"):
        if fields.get(name) is not None and _WITHOUT_REASONING.fullmatch(model):
            raise Refused(
                f"Unsupported parameter: '{path}.{name}' is not supported with the '{model}' model.",
                "unsupported_parameter",
                f"{path}.{name}",
            )
