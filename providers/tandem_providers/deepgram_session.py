"""One session, asked for by one `Settings` message: how the agent listens, thinks and speaks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import UNSET

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat, Encoding
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.deepgram_options import (
    DEFAULT_LISTEN_MODEL,
    DEFAULT_THINK_MODEL,
    DEFAULT_THINK_PROVIDER,
    DEFAULT_VOICE,
    MULTILINGUAL_LISTEN_MODEL,
    DeepgramOptions,
    dial,
)
from tandem_providers.deepgram_settings import Part, checked, given_settings
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import ProviderWarning
from tandem_providers.provider import FRESH, Capabilities, Opening

FORMATS: Final = (MULAW_8K, ALAW_8K, PCM16_24K, PCM16_16K, PCM16_8K)
EOT_TIMEOUT_MS: Final = 5000
"""The vendor's default."""
LONGEST_PROMPT: Final = 25_000
"""Characters that models run by the vendor take; more is cut there, with a warning."""
_ENCODINGS: Final = {Encoding.MULAW: "mulaw", Encoding.ALAW: "alaw", Encoding.PCM16: "linear16"}
_FUNCTION_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_THINKERS: Final = {"open_ai": 2.0, "anthropic": 1.0, "google": 2.0, "groq": 2.0, "aws_bedrock": 2.0, "deepgram": 2.0}
"""Whose models can answer, and the highest temperature they take."""
_MODELS: Final = {
    "open_ai": re.compile(r"gpt-|chatgpt-|o\d"),
    "anthropic": re.compile(r"claude-"),
    "google": re.compile(r"gemini-"),
}
"""How the names of their models begin; others are passed on with a warning."""
_VOICE_FIELDS: Final = {"deepgram": "model", "open_ai": "voice", "aws_polly": "voice", "cartesia": "voice"}
"""Where each vendor's `speak` has the voice. ElevenLabs has it in the endpoint's URL."""
_FLUX_ONLY: Final = ("eot_threshold", "eager_eot_threshold", "eot_timeout_ms")


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One session, ready to be asked for."""

    settings: Mapping[str, Any]
    """The `Settings` message."""
    format: AudioFormat
    instructions: str
    model: str
    """What thinks."""
    stored: bool
    """The agent is one that is stored with the vendor."""
    eot_timeout_ms: int
    raw_events: bool
    warnings: tuple[ProviderWarning, ...]
    """What the operator should know."""


def capabilities(options: DeepgramOptions, name: str = "deepgram") -> Capabilities:
    """What a session with these options can do; checks the options, too.

    Raises:
        InvalidConfigError: an option is wrong.
    """
    dial(options, name)
    plan = plan_session(options, ProcessConfig(), PCM16_24K, FRESH, name)
    offered = formats(options, name)
    return Capabilities(
        input_formats=offered,
        output_formats=offered,
        turn_model="agent",
        truncate=False,
        # Nothing stops the agent but the caller's voice; what it goes on saying is not passed on.
        cancel=True,
        text_in=True,
        hears_turns=True,
        seeds=not plan.stored,
        transcribes=True,
        speaks_while_it_waits=False,
    )


def plan_session(
    options: DeepgramOptions, config: ProcessConfig, leg: AudioFormat, opening: Opening, name: str
) -> SessionPlan:
    """Check everything and write the session down.

    Raises:
        InvalidConfigError: naming the option and what is wrong with it.
    """
    given = given_settings(options, config, name)
    settings = {key: checked(key, value, label, name) for key, (label, value) in given.items()}
    audio = leg if leg in formats(options, name) else PCM16_24K
    side = {"encoding": _ENCODINGS[audio.encoding], "sample_rate": audio.rate}
    message: dict[str, Any] = {"type": "Settings"}
    message |= {key: settings[key] for key in ("tags", "experimental", "mip_opt_out") if settings.get(key)}
    # A container would put its header into the ear of the caller.
    message["audio"] = {"input": side, "output": {**side, "container": "none"}}
    warnings: list[ProviderWarning] = []
    model = ""
    if options.agent_id:
        _refuse_for_stored_agent(options, config, given, name)
        message["agent"] = options.agent_id
    else:
        thinking = _think(options, config, settings, name, warnings)
        model = str(thinking[0]["provider"].get("model", ""))
        message["agent"] = {
            "listen": _listen(options, settings, given, name),
            "think": thinking if len(thinking) > 1 else thinking[0],
            "speak": _speak(options, config, settings, name),
        }
        history = [
            {"type": "History", "role": turn.role, "content": turn.text} for turn in opening.history if turn.text
        ]
        if history:
            message["agent"]["context"] = {"messages": history}
    return SessionPlan(
        settings=message,
        format=audio,
        instructions=config.instructions,
        model=model,
        stored=bool(options.agent_id),
        eot_timeout_ms=settings.get("eot_timeout_ms", EOT_TIMEOUT_MS),
        raw_events=settings.get("raw_events", False),
        warnings=tuple(warnings),
    )


def formats(options: DeepgramOptions, name: str) -> tuple[AudioFormat, ...]:
    """Formats to offer, in order of preference.

    Raises:
        InvalidConfigError: `audio` is neither of its two words.
    """
    if options.audio == "auto":
        return FORMATS
    if options.audio == "pcm16":
        return (PCM16_24K,)
    raise InvalidConfigError(f"audio (DEEPGRAM_AUDIO): must be auto or pcm16, not {options.audio!r}", provider=name)


def _refuse_for_stored_agent(
    options: DeepgramOptions, config: ProcessConfig, given: Mapping[str, tuple[str, Any]], name: str
) -> None:
    """A stored agent is taken as it is."""
    wanted = {
        "instructions": bool(config.instructions),
        "voice": bool(options.voice or config.voice.strip()),
        "functions": bool(config.functions),
        "temperature": config.temperature is not None,
        "listen_model (DEEPGRAM_LISTEN_MODEL)": bool(options.listen_model),
        "language (DEEPGRAM_LANGUAGE)": bool(options.language),
        "think_model (DEEPGRAM_THINK_MODEL)": bool(options.think_model),
    }
    free = ("tags", "mip_opt_out", "experimental", "raw_events")
    wanted |= {label: True for key, (label, _) in given.items() if key not in free}
    for label, is_wanted in wanted.items():
        if is_wanted:
            raise InvalidConfigError(
                f"{label}: agent {options.agent_id} is stored with the vendor and has its own; "
                "leave it out, or leave out agent_id (DEEPGRAM_AGENT_ID)",
                provider=name,
            )


# How it listens


def _listen(
    options: DeepgramOptions, settings: Mapping[str, Any], given: Mapping[str, tuple[str, Any]], name: str
) -> dict[str, Any]:
    if "listen" in settings:
        for key in ("keyterms", *_FLUX_ONLY, "smart_format"):
            if key in given:
                raise InvalidConfigError(f"{given[key][0]}: write it into `listen`, which was given", provider=name)
        return _part(settings["listen"])
    language = options.language
    english = not language or language.lower().split("-")[0] == "en"
    model = options.listen_model or (DEFAULT_LISTEN_MODEL if english else MULTILINGUAL_LISTEN_MODEL)
    provider: dict[str, Any] = {"type": "deepgram", "model": model}
    flux = model.startswith("flux")
    provider["version"] = "v2" if flux else "v1"
    if flux and language and model == MULTILINGUAL_LISTEN_MODEL:
        provider["language_hints"] = [language]
    elif flux and not english:
        raise InvalidConfigError(
            f"language (DEEPGRAM_LANGUAGE): {model} does not hear {language}; {MULTILINGUAL_LISTEN_MODEL} may",
            provider=name,
        )
    elif not flux and language:
        provider["language"] = language
    for key in _FLUX_ONLY:
        if key in settings:
            if not flux:
                raise InvalidConfigError(f"{given[key][0]}: {model} has none, flux models have", provider=name)
            provider[key] = settings[key]
    if "smart_format" in settings:
        if flux:
            raise InvalidConfigError(f"{given['smart_format'][0]}: {model} has none, nova models have", provider=name)
        provider["smart_format"] = settings["smart_format"]
    if settings.get("keyterms"):
        provider["keyterms"] = settings["keyterms"]
    return {"provider": provider}


# How it thinks


def _think(
    options: DeepgramOptions,
    config: ProcessConfig,
    settings: Mapping[str, Any],
    name: str,
    warnings: list[ProviderWarning],
) -> list[dict[str, Any]]:
    """One model, or several of which each stands in for the one before."""
    functions = _functions(config.functions, settings, name)
    if "think" in settings:
        parts = settings["think"] if isinstance(settings["think"], list) else [settings["think"]]
        thinking = [_part(part) for part in parts]
    else:
        thinking = [_one_thinker(options, settings, name, warnings)]
    if not thinking:
        raise InvalidConfigError("extensions['think']: must name at least one", provider=name)
    for each in thinking:
        provider = each["provider"]
        if "reasoning_mode" in settings:
            provider["reasoning_mode"] = settings["reasoning_mode"]
        if config.temperature is not None:
            most = _THINKERS.get(str(provider.get("type")), 2.0)
            if not 0 <= config.temperature <= most:
                raise InvalidConfigError(
                    f"temperature: {provider.get('type')} takes 0 to {most:g}, not {config.temperature:g}",
                    provider=name,
                )
            provider["temperature"] = config.temperature
        if "context_length" in settings:
            if "endpoint" not in each:
                raise InvalidConfigError(
                    "extensions['context_length']: only a model of your own (think_endpoint) has one", provider=name
                )
            each["context_length"] = settings["context_length"]
        if config.instructions:
            each["prompt"] = config.instructions
        if functions:
            each["functions"] = functions
    if len(config.instructions) > LONGEST_PROMPT and any("endpoint" not in each for each in thinking):
        message = f"instructions of {len(config.instructions)} characters are cut after {LONGEST_PROMPT}"
        warnings.append(ProviderWarning("prompt_too_long", message))
    return thinking


def _one_thinker(
    options: DeepgramOptions, settings: Mapping[str, Any], name: str, warnings: list[ProviderWarning]
) -> dict[str, Any]:
    kind = options.think_provider
    if kind not in _THINKERS:
        raise InvalidConfigError(
            f"think_provider (DEEPGRAM_THINK_PROVIDER): must be one of {', '.join(_THINKERS)}, not {kind!r}",
            provider=name,
        )
    model = options.think_model or (DEFAULT_THINK_MODEL if kind == DEFAULT_THINK_PROVIDER else "")
    if not model:
        raise InvalidConfigError(f"think_model (DEEPGRAM_THINK_MODEL): {kind} needs one", provider=name)
    thinker: dict[str, Any] = {"provider": {"type": kind, "model": model}}
    endpoint = settings.get("think_endpoint")
    if endpoint is not None:
        thinker["endpoint"] = {"url": endpoint.url, "headers": endpoint.headers}
    elif kind in _MODELS and not _MODELS[kind].match(model):
        warnings.append(ProviderWarning("unknown_model", f"model {model} is not known to be one of {kind}"))
    return thinker


def _functions(
    functions: Sequence[FunctionDeclaration], settings: Mapping[str, Any], name: str
) -> list[dict[str, Any]]:
    """Functions that we are called for: those without an endpoint."""
    deferred = settings.get("defer_until_eot", False)
    declared: dict[str, dict[str, Any]] = {}
    for function in functions:
        label = f"functions[{function.name!r}]"
        if not _FUNCTION_NAME.fullmatch(function.name):
            raise InvalidConfigError(f"{label}: a name has 1 to 64 letters, digits, _ and -", provider=name)
        if function.name in declared:
            raise InvalidConfigError(f"{label}: declared twice", provider=name)
        try:
            parameters = msgspec.json.decode(msgspec.json.encode(function.parameters))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidConfigError(f"{label}: parameters are no JSON: {error}", provider=name) from None
        if not isinstance(parameters, dict) or parameters.get("type") != "object":
            raise InvalidConfigError(f"{label}: parameters must be a JSON Schema of type object", provider=name)
        declared[function.name] = {
            "name": function.name,
            "description": function.description,
            "parameters": parameters,
        }
        if deferred is True or (isinstance(deferred, list) and function.name in deferred):
            declared[function.name]["defer_until_eot"] = True
    strangers = set(deferred) - set(declared) if isinstance(deferred, list) else set()
    if strangers:
        raise InvalidConfigError(
            f"extensions['defer_until_eot']: there is no function {min(strangers)!r}", provider=name
        )
    return list(declared.values())


# How it speaks


def _speak(
    options: DeepgramOptions, config: ProcessConfig, settings: Mapping[str, Any], name: str
) -> dict[str, Any] | list[dict[str, Any]]:
    voice = options.voice or config.voice.strip()
    given = settings.get("speak")
    if given is None:
        provider: dict[str, Any] = {"type": "deepgram", "model": voice or DEFAULT_VOICE}
        if provider["model"].startswith("flux"):
            provider["version"] = "v2"
        if "speed" in settings:
            provider["speed"] = settings["speed"]
        return {"provider": provider}
    if "speed" in settings:
        raise InvalidConfigError("extensions['speed']: write it into `speak`, which was given", provider=name)
    parts = [_part(part) for part in (given if isinstance(given, list) else [given])]
    if not parts:
        raise InvalidConfigError("speak (DEEPGRAM_SPEAK): must name at least one voice", provider=name)
    if voice:
        # It is meant for the first; the others stand in for it with their own.
        _set_voice(parts[0]["provider"], voice, name)
    return parts if isinstance(given, list) else parts[0]


def _set_voice(provider: dict[str, Any], voice: str, name: str) -> None:
    kind = str(provider.get("type"))
    field = _VOICE_FIELDS.get(kind)
    if field is None:
        raise InvalidConfigError(
            f"voice: {kind} takes none here; write it into the endpoint of speak (DEEPGRAM_SPEAK), and unset VOICE",
            provider=name,
        )
    provider[field] = {"mode": "id", "id": voice} if kind == "cartesia" else voice


def _part(part: Part) -> dict[str, Any]:
    made: dict[str, Any] = {"provider": dict(part.provider)}
    if part.endpoint is not UNSET:
        made["endpoint"] = part.endpoint
    if part.context_length is not UNSET:
        made["context_length"] = part.context_length
    return made
