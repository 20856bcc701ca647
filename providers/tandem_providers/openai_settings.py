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
from tandem_providers.openai_profile import Setup

_NO_REASONING: Final = re.compile(r"gpt-realtime(-mini|-1\.5)?(-20\d\d.*)?$|gpt-4o-|gpt-audio")


class Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=False):
    """Settings as the vendor documents them; a misspelt field is an error."""


class ServerVad(Strict, frozen=True, tag_field="type", tag="server_vad"):
    """Turns by loudness. All fields are sent: the vendor's documents disagree about the default of the silence."""

    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Meta(ge=0)] = 300
    silence_duration_ms: Annotated[int, Meta(ge=0)] = 500
    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30000)] | UnsetType | None = UNSET
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(Strict, frozen=True, tag_field="type", tag="semantic_vad"):
    """Turns by meaning."""

    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class Transcription(Strict, frozen=True):
    """The separate model that writes down the caller's words."""

    model: str
    language: str | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    keywords: list[str] | UnsetType = UNSET
    languages: list[str] | UnsetType = UNSET
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | UnsetType = UNSET


class NoiseReduction(Strict, frozen=True):
    type: Literal["near_field", "far_field"]
    strength: Annotated[float, Meta(ge=0)] | UnsetType = UNSET


class Reasoning(Strict, frozen=True):
    effort: Literal["minimal", "low", "medium", "high", "xhigh"]


class TokenLimits(Strict, frozen=True):
    post_instructions: Annotated[int, Meta(ge=0)]


class RetentionRatio(Strict, frozen=True, tag_field="type", tag="retention_ratio"):
    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: TokenLimits | UnsetType = UNSET


class Tracing(Strict, frozen=True):
    workflow_name: str | UnsetType = UNSET
    group_id: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class Prompt(Strict, frozen=True):
    id: str
    version: str | UnsetType | None = UNSET
    variables: dict[str, Any] | UnsetType | None = UNSET


class NamedFunction(Strict, frozen=True, tag_field="type", tag="function"):
    name: str


_SPEED: Final = Annotated[float, Meta(ge=0.25, le=1.5)]
_TOKENS: Final = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]
OPENAI_SETTINGS: Final[Mapping[str, Any]] = {
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
"""Every setting by name, with what it may be. An extension is a setting given for one session."""


def read_settings(setup: Setup, config: ProcessConfig, name: str) -> dict[str, Any]:
    """Options with the extensions laid over them, each checked.

    Raises:
        InvalidConfigError: an unknown extension or a wrong value, named as it was given.
    """
    kinds = setup.profile.settings
    unknown = sorted(set(map(str, config.extensions)) - set(kinds))
    if unknown:
        raise InvalidConfigError(
            f"extensions: unknown {', '.join(unknown)}; known are {', '.join(kinds)}", provider=name
        )
    given = dict(setup.given) | {key: (f"extensions[{key!r}]", value) for key, value in config.extensions.items()}
    settings = {key: _checked(key, value, kinds[key], what, name) for key, (what, value) in given.items()}
    if isinstance(settings.get("transcription"), Transcription):
        _check_transcription(settings["transcription"], given["transcription"][0], name)
    if "reasoning" in settings and _NO_REASONING.match(setup.model):
        raise InvalidConfigError(f"{given['reasoning'][0]}: {setup.model} does not reason", provider=name)
    return settings


def _checked(key: str, value: Any, kind: Any, label: str, name: str) -> Any:
    try:
        return msgspec.convert(_spelt_out(key, value), kind)
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


def _check_transcription(transcription: Transcription, label: str, name: str) -> None:
    """Fields that only some models take; models that we do not know may take all."""
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
