"""The shapes that OpenAI Live takes from a client over its primary WebSocket, as data. Null is not absent."""

from __future__ import annotations

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
    one_of,
    record,
    string,
    tagged,
)
from tandem.simulators.openai_conversation import text_tokens
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_16K, PCM16_24K, AudioFormat

APPEND_TOKENS: Final = 500
INSTRUCTION_TOKENS: Final = 16_384
HISTORY_TOKENS: Final = 8_192
HISTORY_MESSAGES: Final = 128
VOICES: Final = (
    "alloy", "ash", "ballad", "beacon", "bossa", "cedar", "cinder", "coral", "delta", "echo", "gleam", "marin",
    "meridian", "quartz", "ripple", "sage", "shida", "shimmer", "stone", "tempo", "verse", "vesper", "willow",
)  # fmt: skip
FORMATS: Final[Mapping[tuple[str, int], AudioFormat]] = {
    ("audio/pcm", 24000): PCM16_24K,
    ("audio/pcm", 16000): PCM16_16K,
    ("audio/pcmu", 8000): MULAW_8K,
    ("audio/pcma", 8000): ALAW_8K,
}


def limited(tokens: int) -> Check:
    """Text that is not longer than so many tokens."""

    def check(value: Any, path: str) -> None:
        string(value, path)
        counted = text_tokens(value)
        if counted > tokens:
            raise Refused(
                f"Invalid '{path}': too long. Expected at most {tokens} tokens, but got about {counted} instead.",
                "max_tokens_exceeded",
                path,
            )

    return check


def _history(value: Any, path: str) -> None:
    array(_MESSAGE)(value, path)
    if len(value) > HISTORY_MESSAGES:
        raise Refused(f"Invalid '{path}': expected at most 128 messages.", "array_above_max_length", path)
    if sum(text_tokens(message["content"][0]["text"]) for message in value) > HISTORY_TOKENS:
        raise Refused(f"Invalid '{path}': expected at most 8192 tokens.", "max_tokens_exceeded", path)


def _one_part(part: Check) -> Check:
    def check(value: Any, path: str) -> None:
        array(part)(value, path)
        if len(value) != 1:
            raise Refused(f"Invalid '{path}': expected exactly one text part.", "invalid_value", path)

    return check


def _message(kind: str) -> Check:
    part = record({"type": one_of(kind), "text": string}, ("type", "text"))
    fields: dict[str, Check] = {
        "type": one_of("message"),
        "role": string,
        "content": _one_part(part),
        "id": string,
        "status": one_of("incomplete", "completed"),
    }
    return record(fields, ("role", "content"))


_MESSAGE: Final = tagged(
    "role",
    {"developer": _message("input_text"), "user": _message("input_text"), "assistant": _message("output_text")},
)
_FORMAT: Final = tagged(
    "type",
    {
        "audio/pcm": record({"type": string, "rate": one_of(16000, 24000)}, ("rate",)),
        "audio/pcmu": record({"type": string, "rate": one_of(8000)}, ("rate",)),
        "audio/pcma": record({"type": string, "rate": one_of(8000)}, ("rate",)),
    },
)
_AUDIO: Final = record(
    {"format": _FORMAT, "output": record({"voice": either(record({"id": string}, {"id"}), one_of(*VOICES))})}
)
_FUNCTION: Final = record(
    {
        "type": one_of("function"),
        "name": string,
        "description": string,
        "parameters": mapping,
        "strict": boolean,
    },
    ("type", "name"),
)
_RESPONSES: Final[Mapping[str, Check]] = {
    "model": string,
    "instructions": string,
    "tools": array(_FUNCTION),
    "tool_choice": either(
        record({"type": one_of("function"), "name": string}, ("type", "name")), one_of("auto", "none", "required")
    ),
    "parallel_tool_calls": boolean,
    "reasoning": record(
        {
            "effort": one_of("none", "minimal", "low", "medium", "high", "xhigh"),
            "summary": one_of("concise", "detailed", "auto"),
        }
    ),
    "text": record({"verbosity": one_of("low", "medium", "high")}),
    "max_output_tokens": integer(16),
    "service_tier": one_of("auto", "default", "flex", "priority", "ultrafast"),
}


def _delegation(required: tuple[str, ...]) -> Check:
    delay: Mapping[str, Check] = {"type": string, "acknowledgement_delay_ms": integer(0)}
    return nullable(
        tagged(
            "type",
            {
                "client": record(delay),
                "responses": record({**delay, "responses": record(_RESPONSES, required)}, required and ("responses",)),
            },
        )
    )


SESSION: Final = record(
    {
        "model": string,
        "instructions": limited(INSTRUCTION_TOKENS),
        "audio": _AUDIO,
        "input": _history,
        "delegation": _delegation(("model",)),
        "safety_identifier": string,
        "store": boolean,
    },
    ("model",),
)


def _event(required: Mapping[str, Check]) -> Check:
    return record({"type": string, "event_id": string, **required}, tuple(required))


_APPEND: Final = _event({"content": limited(APPEND_TOKENS), "delegation_id": nullable(string)})
_OUTPUT_ITEM: Final = record(
    {"type": one_of("function_call_output"), "call_id": string, "output": string, "id": string},
    ("type", "call_id", "output"),
)
EVENT: Final = tagged(
    "type",
    {
        "session.start": _event({"session": SESSION}),
        "session.update": _event({"session": record({"delegation": _delegation(())})}),
        "session.input_audio.append": _event({"audio": string}),
        "session.input_audio.mute": _event({}),
        "session.input_audio.unmute": _event({}),
        "session.instructions.append": _APPEND,
        "session.thinking.append": _APPEND,
        "session.commentary.append": _APPEND,
        "response.item.create": _event({"item": _OUTPUT_ITEM}),
        "response.create": _event({}),
        "session.close": _event({}),
    },
)
"""Every message that this server takes."""
