"""The vendor's settings of a session, each with its range, and how options and extensions become them.

They are checked here before anything is dialled: the vendor answers a wrong one by closing the socket, and some of them
only at the first word of the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tandem_providers.config import ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.gemini_models import Generation, generation_of
from tandem_providers.gemini_options import GeminiOptions


class _Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Settings as the vendor documents them; a misspelt field is an error."""


class Thinking(_Strict, frozen=True):
    """How much the model thinks before it speaks: a level or a budget, as its generation has it."""

    level: Literal["MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"] | UnsetType = UNSET
    budget: Annotated[int, Meta(ge=-1)] | UnsetType = UNSET
    include_thoughts: bool | UnsetType = UNSET


class Compression(_Strict, frozen=True):
    """When the conversation has grown too long for the model, and what of it then remains."""

    trigger_tokens: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    target_tokens: Annotated[int, Meta(ge=1)] | UnsetType = UNSET


class Transcription(_Strict, frozen=True):
    """What writes the words down."""

    language_codes: list[str] | UnsetType = UNSET
    custom_vocabulary: list[str] | UnsetType = UNSET
    mode: Literal["VERBATIM", "SMART"] | UnsetType = UNSET
    word_timestamp: bool | UnsetType = UNSET
    diarization: bool | UnsetType = UNSET


_Behavior = Literal["BLOCKING", "NON_BLOCKING"]
_Scheduling = Literal["SILENT", "WHEN_IDLE", "INTERRUPT"]
_PENALTY: Final = Annotated[float, Meta(ge=-2, le=2)]
_MILLISECONDS: Final = Annotated[int, Meta(ge=0, le=60_000)]
_KINDS: Final[dict[str, Any]] = {
    "language": str,
    "top_p": Annotated[float, Meta(ge=0, le=1)],
    "top_k": Annotated[int, Meta(ge=1)],
    "max_output_tokens": Annotated[int, Meta(ge=1)],
    "seed": int,
    "presence_penalty": _PENALTY,
    "frequency_penalty": _PENALTY,
    "media_resolution": Literal["LOW", "MEDIUM", "HIGH"],
    "thinking": Thinking,
    "affective_dialog": bool,
    "proactive_audio": bool,
    "turn_detection": Literal["AUTO", "NONE"],
    "start_sensitivity": Literal["HIGH", "LOW"],
    "end_sensitivity": Literal["HIGH", "LOW"],
    "prefix_padding_ms": _MILLISECONDS,
    "silence_ms": _MILLISECONDS,
    "activity_handling": Literal["START_OF_ACTIVITY_INTERRUPTS", "NO_INTERRUPTION"],
    "turn_coverage": Literal["ONLY_ACTIVITY", "ALL_INPUT", "AUDIO_ACTIVITY_AND_ALL_VIDEO"],
    "explicit_vad": bool,
    "compression": Compression | None,
    "input_transcription": Transcription | None,
    "output_transcription": Transcription | None,
    "function_behavior": _Behavior | dict[str, _Behavior],
    "function_scheduling": _Scheduling | dict[str, _Scheduling],
    "google_search": bool,
    "safety_settings": list[dict[str, str]],
    "labels": dict[str, str],
    "raw_events": bool,
}
"""Every extension by name, with what it may be."""

_PREFIXES: Final = {
    "media_resolution": "MEDIA_RESOLUTION_",
    "start_sensitivity": "START_SENSITIVITY_",
    "end_sensitivity": "END_SENSITIVITY_",
    "turn_coverage": "TURN_INCLUDES_",
}
_WORDS: Final = frozenset(
    {*_PREFIXES, "turn_detection", "activity_handling", "function_behavior", "function_scheduling"}
)
"""Settings whose values are words: written small or large, with the vendor's prefix or without."""
_SWITCHES: Final = frozenset({"compression", "input_transcription", "output_transcription"})
"""Settings with fields of their own that can also just be on or off."""
_FROM_OPTIONS: Final = {
    "language": "GEMINI_LANGUAGE",
    "turn_detection": "GEMINI_TURN_DETECTION",
    "start_sensitivity": "GEMINI_START_SENSITIVITY",
    "end_sensitivity": "GEMINI_END_SENSITIVITY",
    "silence_ms": "GEMINI_SILENCE_MS",
    "thinking": "GEMINI_THINKING",
}


def read_settings(options: GeminiOptions, config: ProcessConfig, name: str) -> dict[str, Any]:
    """Options with the extensions laid over them, each checked, and held against what the model takes."""
    unknown = sorted(set(map(str, config.extensions)) - set(_KINDS))
    if unknown:
        raise InvalidConfigError(
            f"extensions: unknown {', '.join(unknown)}; known are {', '.join(_KINDS)}", provider=name
        )
    given: dict[str, tuple[str, Any]] = {}
    for field, variable in _FROM_OPTIONS.items():
        value = getattr(options, field)
        if value not in ("", None):
            given[field] = (f"{field} ({variable})", value)
    given |= {key: (f"extensions[{key!r}]", value) for key, value in config.extensions.items()}
    settings = {key: _checked(key, value, label, name) for key, (label, value) in given.items()}
    wrong = _refused(settings, generation_of(options.model), options)
    for key, why in wrong.items():
        if key in settings:
            raise InvalidConfigError(f"{given[key][0]}: {why}", provider=name)
    return settings


def _checked(key: str, value: Any, label: str, name: str) -> Any:
    try:
        return msgspec.convert(_spelt_out(key, value), _KINDS[key])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidConfigError(f"{label}: {error}", provider=name) from None


def _spelt_out(key: str, value: Any) -> Any:
    """Short forms written out: words in any case, a switch as on or off, a bare level or budget, JSON as text."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith(("{", "[")) or (key == "silence_ms" and text.isdecimal()):
            value = msgspec.json.decode(text)
        elif key == "thinking":
            value = int(text) if text.lstrip("-").isdecimal() else {"level": text}
    if key == "thinking" and isinstance(value, int) and not isinstance(value, bool):
        value = {"budget": value}
    if key in _SWITCHES and isinstance(value, bool):
        return {} if value else None
    if key in _WORDS:
        return _words(value, _PREFIXES.get(key, ""))
    if isinstance(value, Mapping):
        return {
            field: inner.upper() if field in ("level", "mode") and isinstance(inner, str) else inner
            for field, inner in value.items()
        }
    return value


def _words(value: Any, prefix: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _words(inner, prefix) for key, inner in value.items()}
    return value.strip().upper().replace("-", "_").removeprefix(prefix) if isinstance(value, str) else value


def _refused(settings: Mapping[str, Any], generation: Generation, options: GeminiOptions) -> dict[str, str]:
    """Settings that this model or service does not take, and why."""
    wrong: dict[str, str] = {}
    model = options.model
    thinking = settings.get("thinking")
    if thinking is not None:
        wrong |= _wrong_thinking(thinking, generation, options)
    if generation.proactive == "never":
        wrong["proactive_audio"] = f"{model} has none"
    elif generation.proactive == "always" and settings.get("proactive_audio") is False:
        wrong["proactive_audio"] = f"{model} is always so"
    if not generation.affective:
        wrong["affective_dialog"] = f"{model} has none"
    for behavior in _values(settings.get("function_behavior")):
        if behavior not in generation.behaviors:
            wrong["function_behavior"] = f"{model} only knows {' and '.join(generation.behaviors)}"
    if options.vertex:
        wrong["function_scheduling"] = "Vertex AI does not heed it"
        wrong["labels"] = "only the Gemini API takes them"
    else:
        wrong["explicit_vad"] = "only Vertex AI has it"
    if settings.get("turn_detection") == "NONE":
        tuning = ("start_sensitivity", "end_sensitivity", "prefix_padding_ms", "silence_ms")
        wrong |= dict.fromkeys(tuning, "means nothing without turn detection")
    return wrong


def _wrong_thinking(thinking: Thinking, generation: Generation, options: GeminiOptions) -> dict[str, str]:
    by_level, by_budget = thinking.level is not UNSET, thinking.budget is not UNSET
    if generation.thinking == "none" and not options.vertex:
        return {"thinking": f"{options.model} takes no such setting"}
    if generation.thinking == "budget" and by_level:
        return {"thinking": f"{options.model} takes a budget in tokens, not a level"}
    if generation.thinking != "budget" and by_budget:
        return {"thinking": f"{options.model} takes a level (low, medium, high), not a budget"}
    if generation.thinking == "level-required" and thinking.level not in ("LOW", "MEDIUM", "HIGH", UNSET):
        return {"thinking": f"{options.model} takes low, medium or high"}
    return {}


def _values(setting: Any) -> list[Any]:
    if setting is None:
        return []
    return list(setting.values()) if isinstance(setting, dict) else [setting]


def wire(settings: msgspec.Struct) -> dict[str, Any]:
    """The fields that are set, named as on the wire."""
    fields = ((field, getattr(settings, field)) for field in settings.__struct_fields__)
    return {_camel(field): value for field, value in fields if value is not UNSET}


def _camel(field: str) -> str:
    first, *rest = field.split("_")
    return first + "".join(word.capitalize() for word in rest)
