"""One session: what it is asked for, as one `setup` message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import ProviderWarning
from tandem_providers.gemini_models import (
    BLOCKING,
    MODELS,
    NON_BLOCKING,
    NOT_CONVERSATIONAL,
    Generation,
    bare,
    generation_of,
    voice_named,
)
from tandem_providers.gemini_options import GeminiOptions, model_path
from tandem_providers.gemini_settings import Compression, Thinking, Transcription, read_settings, wire
from tandem_providers.provider import Opening

ROTATE_SECONDS: Final = 3300.0
"""When to leave a session at the latest: they have been seen to end after 58 minutes without a warning."""
UNCOMPRESSED_SECONDS: Final = 900.0
"""What a session without compression lasts."""
_FUNCTION_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One session, ready to be asked for."""

    setup: Mapping[str, Any]
    """Body of the `setup` message."""
    generation: Generation
    vertex: bool
    instructions: str
    hears_turns: bool
    """The server hears by itself when the caller's turn begins and ends."""
    writes_input: bool
    """The caller's words are written down."""
    blocking: Mapping[str, bool]
    """Functions by name: whether the model waits for the answer."""
    scheduling: Mapping[str, str]
    """Functions by name: when the model speaks about the answer, where that is said."""
    alpha: bool
    """It uses what only the unfinished version of the interface has."""
    raw_events: bool
    max_seconds: float
    warnings: tuple[ProviderWarning, ...]
    """What the operator should know."""


def plan_session(options: GeminiOptions, config: ProcessConfig, opening: Opening, name: str) -> SessionPlan:
    """Check everything and write the session down.

    Raises:
        InvalidConfigError: naming the option and what is wrong with it.
    """
    settings = read_settings(options, config, name)
    generation = generation_of(options.model)
    blocking, scheduling = _functions(config.functions, settings, generation, name)
    voice, warnings = _voice(options, config, name)
    warnings += _model_warnings(options, name)
    compression = settings.get("compression", Compression())
    setup: dict[str, Any] = {
        "model": model_path(options, name),
        "generationConfig": _generation_config(settings, config, generation, voice, name),
        "realtimeInputConfig": _realtime_input(settings),
        "sessionResumption": {"handle": opening.resume} if opening.resume else {},
    }
    if config.instructions:
        setup["systemInstruction"] = {"parts": [{"text": config.instructions}]}
    tools = _tools(config.functions, settings, name)
    if tools:
        setup["tools"] = tools
    for side in ("input", "output"):
        transcription = settings.get(f"{side}_transcription", Transcription())
        if transcription is not None:
            setup[f"{side}AudioTranscription"] = wire(transcription)
    if compression is not None:
        setup["contextWindowCompression"] = _compression(compression)
    if settings.get("proactive_audio") is not None and generation.proactive == "optional":
        setup["proactivity"] = {"proactiveAudio": settings["proactive_audio"]}
    if opening.history and not opening.resume and generation.history_flag and not options.vertex:
        setup["historyConfig"] = {"initialHistoryInClientContent": True}
    for field, key in (
        ("safetySettings", "safety_settings"),
        ("labels", "labels"),
        ("explicitVadSignal", "explicit_vad"),
    ):
        if key in settings:
            setup[field] = settings[key]
    return SessionPlan(
        setup=setup,
        generation=generation,
        vertex=options.vertex,
        instructions=config.instructions,
        hears_turns=settings.get("turn_detection", "AUTO") != "NONE",
        writes_input=settings.get("input_transcription", True) is not None,
        blocking=blocking,
        scheduling=scheduling,
        alpha=generation.affective and bool(settings.get("affective_dialog") or "proactivity" in setup),
        raw_events=settings.get("raw_events", False),
        max_seconds=ROTATE_SECONDS if compression is not None else UNCOMPRESSED_SECONDS,
        warnings=warnings,
    )


def _generation_config(
    settings: Mapping[str, Any], config: ProcessConfig, generation: Generation, voice: str, name: str
) -> dict[str, Any]:
    made: dict[str, Any] = {"responseModalities": ["AUDIO"]}
    if config.temperature is not None:
        if not 0 <= config.temperature <= 2:
            raise InvalidConfigError(f"temperature: must lie in 0 to 2, not {config.temperature:g}", provider=name)
        made["temperature"] = config.temperature
    for field, key in (
        ("topP", "top_p"),
        ("topK", "top_k"),
        ("maxOutputTokens", "max_output_tokens"),
        ("seed", "seed"),
        ("presencePenalty", "presence_penalty"),
        ("frequencyPenalty", "frequency_penalty"),
        ("enableAffectiveDialog", "affective_dialog"),
    ):
        if key in settings:
            made[field] = settings[key]
    if "media_resolution" in settings:
        made["mediaResolution"] = f"MEDIA_RESOLUTION_{settings['media_resolution']}"
    speech: dict[str, Any] = {}
    if voice:
        speech["voiceConfig"] = {"prebuiltVoiceConfig": {"voiceName": voice}}
    if settings.get("language"):
        speech["languageCode"] = settings["language"]
    if speech:
        made["speechConfig"] = speech
    thinking = settings.get("thinking", Thinking())
    fields = {
        {"level": "thinkingLevel", "budget": "thinkingBudget"}.get(key, key): value
        for key, value in wire(thinking).items()
    }
    if generation.thinking == "level-required":
        fields = {"thinkingLevel": "LOW", **fields}
    if fields:
        made["thinkingConfig"] = fields
    return made


def _realtime_input(settings: Mapping[str, Any]) -> dict[str, Any]:
    detection: dict[str, Any] = {}
    if settings.get("turn_detection") == "NONE":
        detection["disabled"] = True
    if "start_sensitivity" in settings:
        detection["startOfSpeechSensitivity"] = f"START_SENSITIVITY_{settings['start_sensitivity']}"
    if "end_sensitivity" in settings:
        detection["endOfSpeechSensitivity"] = f"END_SENSITIVITY_{settings['end_sensitivity']}"
    if "prefix_padding_ms" in settings:
        detection["prefixPaddingMs"] = settings["prefix_padding_ms"]
    if "silence_ms" in settings:
        detection["silenceDurationMs"] = settings["silence_ms"]
    made: dict[str, Any] = {"automaticActivityDetection": detection}
    if "activity_handling" in settings:
        made["activityHandling"] = settings["activity_handling"]
    if "turn_coverage" in settings:
        made["turnCoverage"] = f"TURN_INCLUDES_{settings['turn_coverage']}"
    return made


def _compression(compression: Compression) -> dict[str, Any]:
    """Numbers of 64 bits are text on this wire."""
    fields = {key: str(value) for key, value in wire(compression).items()}
    target = fields.pop("targetTokens", None)
    return {**fields, "slidingWindow": {"targetTokens": target} if target else {}}


def _voice(options: GeminiOptions, config: ProcessConfig, name: str) -> tuple[str, tuple[ProviderWarning, ...]]:
    """The voice to ask for. One meant for this provider is passed on even if unknown; one meant for all must be known,
    because the vendor closes the call's socket over a voice that it does not have."""
    if options.voice:
        known = voice_named(options.voice)
        if known:
            return known, ()
        return options.voice, (ProviderWarning("unknown_voice", f"voice {options.voice} is not known to exist"),)
    wanted = config.voice.strip()
    if not wanted:
        return "", ()
    known = voice_named(wanted)
    if known is None:
        raise InvalidConfigError(
            f"voice: there is no voice {wanted!r} here; name one for this provider in GEMINI_VOICE", provider=name
        )
    return known, ()


def _model_warnings(options: GeminiOptions, name: str) -> tuple[ProviderWarning, ...]:
    model = bare(options.model)
    if model.startswith(NOT_CONVERSATIONAL):
        raise InvalidConfigError(f"model (GEMINI_MODEL): {model} does not hold conversations", provider=name)
    if model in MODELS:
        return ()
    return (ProviderWarning("unknown_model", f"model {model} is not known to speak this protocol"),)


def _functions(
    functions: Sequence[FunctionDeclaration], settings: Mapping[str, Any], generation: Generation, name: str
) -> tuple[dict[str, bool], dict[str, str]]:
    """By name: whether the model waits for its answer, and when it speaks about it."""
    names = [function.name for function in functions]
    default = generation.behaviors[0]
    behaviors = _by_name("function_behavior", settings, names, default, name)
    scheduling = _by_name("function_scheduling", settings, names, "", name)
    for function, when in scheduling.items():
        if when and behaviors[function] != NON_BLOCKING:
            raise InvalidConfigError(
                f"extensions['function_scheduling']: {function} is {BLOCKING}, which leaves no choice", provider=name
            )
    blocking = {function: behavior == BLOCKING for function, behavior in behaviors.items()}
    return blocking, {function: when for function, when in scheduling.items() if when}


def _by_name(
    key: str, settings: Mapping[str, Any], names: Sequence[str], default: str, provider: str
) -> dict[str, str]:
    setting = settings.get(key, default)
    if not isinstance(setting, dict):
        return dict.fromkeys(names, setting)
    strangers = sorted(set(setting) - set(names))
    if strangers:
        raise InvalidConfigError(f"extensions[{key!r}]: there is no function {strangers[0]!r}", provider=provider)
    return {name: setting.get(name, default) for name in names}


def _tools(functions: Sequence[FunctionDeclaration], settings: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    behaviors = settings.get("function_behavior")
    declared: dict[str, dict[str, Any]] = {}
    for function in functions:
        label = f"functions[{function.name!r}]"
        if not _FUNCTION_NAME.fullmatch(function.name):
            raise InvalidConfigError(
                f"{label}: a name has 1 to 64 letters, digits, _ . and -, and begins with a letter or _", provider=name
            )
        if function.name in declared:
            raise InvalidConfigError(f"{label}: declared twice", provider=name)
        declaration: dict[str, Any] = {
            "name": function.name,
            "description": function.description,
            "parametersJsonSchema": _parameters(function, label, name),
        }
        behavior = behaviors.get(function.name) if isinstance(behaviors, dict) else behaviors
        if behavior:
            declaration["behavior"] = behavior
        declared[function.name] = declaration
    tools: list[dict[str, Any]] = []
    if declared:
        tools.append({"functionDeclarations": list(declared.values())})
    if settings.get("google_search"):
        tools.append({"googleSearch": {}})
    return tools


def _parameters(function: FunctionDeclaration, label: str, name: str) -> dict[str, Any]:
    try:
        parameters = msgspec.json.decode(msgspec.json.encode(function.parameters))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidConfigError(f"{label}: parameters are no JSON: {error}", provider=name) from None
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        raise InvalidConfigError(f"{label}: parameters must be a JSON Schema of type object", provider=name)
    return parameters
