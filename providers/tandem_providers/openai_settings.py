"""The vendor's settings of a session, each with its documented range, and how options and extensions become them.

They are checked here before anything is dialled, so that a mistake is named at start-up and not by a remote server in
the middle of a call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tandem_providers.config import ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.openai_options import OpenAIOptions

_NO_REASONING: Final = re.compile(r"gpt-realtime(-mini|-1\.5)?(-20\d\d.*)?$|gpt-4o-|gpt-audio")


class _Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=False):
    """Settings as the vendor documents them; a misspelt field is an error."""


class ServerVad(_Strict, frozen=True, tag_field="type", tag="server_vad"):
    """Turns by loudness. All fields are sent: the vendor's documents disagree about the default of the silence."""

    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Meta(ge=0)] = 300
    silence_duration_ms: Annotated[int, Meta(ge=0)] = 500
    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30000)] | UnsetType | None = UNSET
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(_Strict, frozen=True, tag_field="type", tag="semantic_vad"):
    """Turns by meaning."""

    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class Transcription(_Strict, frozen=True):
    """The separate model that writes down the caller's words."""

    model: str
    language: str | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    keywords: list[str] | UnsetType = UNSET
    languages: list[str] | UnsetType = UNSET
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | UnsetType = UNSET


class NoiseReduction(_Strict, frozen=True):
    type: Literal["near_field", "far_field"]
    strength: Annotated[float, Meta(ge=0)] | UnsetType = UNSET


class Reasoning(_Strict, frozen=True):
    effort: Literal["minimal", "low", "medium", "high", "xhigh"]


class TokenLimits(_Strict, frozen=True):
    post_instructions: Annotated[int, Meta(ge=0)]


class RetentionRatio(_Strict, frozen=True, tag_field="type", tag="retention_ratio"):
    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: TokenLimits | UnsetType = UNSET


class Tracing(_Strict, frozen=True):
    workflow_name: str | UnsetType = UNSET
    group_id: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class Prompt(_Strict, frozen=True):
    id: str
    version: str | UnsetType | None = UNSET
    variables: dict[str, Any] | UnsetType | None = UNSET


class NamedFunction(_Strict, frozen=True, tag_field="type", tag="function"):
    name: str


_SPEED: Final = Annotated[float, Meta(ge=0.25, le=1.5)]
_TOKENS: Final = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]
_KINDS: Final[dict[str, Any]] = {
    "turn_detection": ServerVad | SemanticVad | None,
    "transcription": Transcription | None,
    "noise_reduction": NoiseReduction | None,
    "speed": _SPEED,
    "max_output_tokens": _TOKENS,
    "reasoning": Reasoning,
    "tool_choice": Literal["auto", "none", "required"] | NamedFunction,
    "parallel_tool_calls": bool,
    "truncation": Literal["auto", "disabled"] | RetentionRatio,
    "tracing": Literal["auto"] | Tracing | None,
    "prompt": Prompt | None,
    "include": list[Literal["item.input_audio_transcription.logprobs"]],
    "safety_identifier": Annotated[str, Meta(max_length=64)],
    "raw_events": bool,
}
"""Every extension by name, with what it may be."""


def read_settings(options: OpenAIOptions, config: ProcessConfig, name: str) -> dict[str, Any]:
    """Options with the extensions laid over them, each checked."""
    unknown = sorted(set(map(str, config.extensions)) - set(_KINDS))
    if unknown:
        raise InvalidConfigError(
            f"extensions: unknown {', '.join(unknown)}; known are {', '.join(_KINDS)}", provider=name
        )
    given: dict[str, tuple[str, Any]] = {
        "turn_detection": ("turn_detection (OPENAI_TURN_DETECTION)", options.turn_detection),
        "transcription": ("transcription_model (OPENAI_TRANSCRIPTION_MODEL)", _transcription(options)),
        "noise_reduction": ("noise_reduction (OPENAI_NOISE_REDUCTION)", options.noise_reduction),
    }
    if options.speed is not None:
        given["speed"] = ("speed (OPENAI_SPEED)", options.speed)
    if options.max_output_tokens is not None:
        given["max_output_tokens"] = ("max_output_tokens (OPENAI_MAX_OUTPUT_TOKENS)", options.max_output_tokens)
    if options.reasoning_effort:
        given["reasoning"] = ("reasoning_effort (OPENAI_REASONING_EFFORT)", options.reasoning_effort)
    given |= {key: (f"extensions[{key!r}]", value) for key, value in config.extensions.items()}
    settings = {key: _checked(key, value, label, name) for key, (label, value) in given.items()}
    _check_transcription(settings["transcription"], given["transcription"][0], name)
    if "reasoning" in settings and _NO_REASONING.match(options.model):
        raise InvalidConfigError(f"{given['reasoning'][0]}: {options.model} does not reason", provider=name)
    if options.model.startswith("gpt-live"):
        raise InvalidConfigError(
            f"model (OPENAI_MODEL): {options.model} speaks another protocol, use provider openai-live", provider=name
        )
    return settings


def _transcription(options: OpenAIOptions) -> Any:
    if options.transcription_model.lower() == "none":
        return None
    language = options.transcription_language
    return {"model": options.transcription_model, **({"language": language} if language else {})}


def _checked(key: str, value: Any, label: str, name: str) -> Any:
    try:
        return msgspec.convert(_spelt_out(key, value), _KINDS[key])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidConfigError(f"{label}: {error}", provider=name) from None


def _spelt_out(key: str, value: Any) -> Any:
    """Short forms written out: `none`, the bare name of a kind, JSON as text."""
    if not isinstance(value, str):
        return dict(value) if isinstance(value, Mapping) else value
    text = value.strip()
    if text.startswith("{") or (key in ("speed", "max_output_tokens") and text[:1].isdigit()):
        return msgspec.json.decode(text)
    match key:
        case "turn_detection" | "noise_reduction" | "transcription" if text.lower() in ("", "none"):
            return None
        case "turn_detection" | "noise_reduction":
            return {"type": text}
        case "transcription":
            return {"model": text}
        case "reasoning":
            return {"effort": text}
        case _:
            return text


def _check_transcription(transcription: Transcription | None, label: str, name: str) -> None:
    """Fields that only some models take; models that we do not know may take all."""
    if transcription is None:
        return
    model = transcription.model
    hints = model in ("gpt-transcribe", "gpt-live-transcribe")
    older = model == "whisper-1" or model.startswith("gpt-4o")
    wrong = {
        "keywords": transcription.keywords is not UNSET and (older or model == "gpt-realtime-whisper"),
        "languages": transcription.languages is not UNSET and (older or model == "gpt-realtime-whisper"),
        "delay": transcription.delay is not UNSET and (older or hints),
        "prompt": transcription.prompt is not UNSET and model == "gpt-realtime-whisper",
    }
    for setting, is_wrong in wrong.items():
        if is_wrong:
            raise InvalidConfigError(f"{label}: {model} takes no {setting}", provider=name)
