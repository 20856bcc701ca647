"""The messages that ElevenLabs Agents takes from a client, as data. Audio is the one without a `type`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tandem.simulators.openai_checks import (
    Check,
    array,
    boolean,
    integer,
    mapping,
    nullable,
    number,
    one_of,
    record,
    string,
    tagged,
)

_OVERRIDE: Final = record(
    {
        "agent": record(
            {
                "prompt": record(
                    {
                        "prompt": string,
                        "llm": string,
                        "reasoning_effort": nullable(string),
                        "tool_ids": array(string),
                        "native_mcp_server_ids": array(string),
                    }
                ),
                "first_message": string,
                "language": string,
            }
        ),
        "tts": record(
            {
                "voice_id": string,
                "model_id": string,
                "stability": number(0, 1),
                "similarity_boost": number(0, 1),
                "speed": number(0.7, 1.2),
            }
        ),
        "conversation": record({"text_only": boolean, "max_duration_seconds": integer(1)}),
        "text_only": boolean,  # where the vendor's own client has it
    }
)
_TYPE: Final[dict[str, Check]] = {"type": string}
MESSAGE: Final = tagged(
    "type",
    {
        "conversation_initiation_client_data": record(
            {
                **_TYPE,
                "conversation_config_override": _OVERRIDE,
                "custom_llm_extra_body": mapping,
                "dynamic_variables": mapping,
                "user_id": nullable(string),
                "source_info": record({"source": string, "version": string}),
                "environment": string,
                "branch_id": string,
            }
        ),
        "pong": record({**_TYPE, "event_id": integer(0)}, ["event_id"]),
        "client_tool_result": record(
            {**_TYPE, "tool_call_id": string, "result": string, "is_error": boolean}, ["tool_call_id", "result"]
        ),
        "contextual_update": record({**_TYPE, "text": string}, ["text"]),
        "user_message": record({**_TYPE, "text": string}, ["text"]),
        "user_activity": record(_TYPE),
        "feedback": record({**_TYPE, "score": one_of("like", "dislike"), "event_id": integer(0)}),
    },
)
"""Any message of a client but audio."""
AUDIO: Final = record({"user_audio_chunk": string}, ["user_audio_chunk"])


def replaced(override: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """What of the agent is replaced, by dotted names."""
    for name, value in override.items():
        if isinstance(value, dict):
            yield from replaced(value, f"{path}{name}.")
        elif f"{path}{name}" != "text_only":
            yield f"{path}{name}"
