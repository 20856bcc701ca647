"""What a session is set up with: options and `ProcessConfig`, checked and written as one `session.update`.

Each setting is checked here by its documented range before anything is dialled, so that a mistake is named at start-up
and not by a remote server in the middle of a call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat, Encoding
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.openai_options import DEFAULT_VOICE, OpenAIOptions

_WIRE_FORMATS: Final[dict[AudioFormat, dict[str, Any]]] = {
    MULAW_8K: {"type": "audio/pcmu"},
    ALAW_8K: {"type": "audio/pcma"},
    PCM16_24K: {"type": "audio/pcm", "rate": 24000},
}
_FORMAT_NAMES: Final = {
    "audio/pcmu": MULAW_8K,
    "audio/pcma": ALAW_8K,
    "audio/pcm": PCM16_24K,
    "g711_ulaw": MULAW_8K,
    "g711_alaw": ALAW_8K,
    "pcm16": PCM16_24K,
}
"""Names of both generations of the protocol."""
_LINEAR_RATES: Final = (8000, 16000, 24000)
_FUNCTION_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_REASONING: Final = re.compile(r"gpt-realtime(-mini|-1\.5)?(-20\d\d.*)?$|gpt-4o-|gpt-audio")


class _Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=False):
    """Settings as the vendor documents them; a misspelt field is an error."""


class ServerVad(_Strict, tag_field="type", tag="server_vad"):
    """Turns by loudness. All fields are sent: the vendor's documents disagree about the default of the silence."""

    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Meta(ge=0)] = 300
    silence_duration_ms: Annotated[int, Meta(ge=0)] = 500
    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30000)] | UnsetType | None = UNSET
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(_Strict, tag_field="type", tag="semantic_vad"):
    """Turns by meaning."""

    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class Transcription(_Strict):
    """The separate model that writes down the caller's words."""

    model: str
    language: str | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    keywords: list[str] | UnsetType = UNSET
    languages: list[str] | UnsetType = UNSET
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | UnsetType = UNSET


class NoiseReduction(_Strict):
    type: Literal["near_field", "far_field"]
    strength: Annotated[float, Meta(ge=0)] | UnsetType = UNSET


class Reasoning(_Strict):
    effort: Literal["minimal", "low", "medium", "high", "xhigh"]


class TokenLimits(_Strict):
    post_instructions: Annotated[int, Meta(ge=0)]


class RetentionRatio(_Strict, tag_field="type", tag="retention_ratio"):
    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: TokenLimits | UnsetType = UNSET


class Tracing(_Strict):
    workflow_name: str | UnsetType = UNSET
    group_id: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class Prompt(_Strict):
    id: str
    version: str | UnsetType | None = UNSET
    variables: dict[str, Any] | UnsetType | None = UNSET


class NamedFunction(_Strict, tag_field="type", tag="function"):
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


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One session, ready to be asked for."""

    session: Mapping[str, Any]
    """Body of the `session.update`."""
    input_format: AudioFormat
    output_format: AudioFormat
    instructions: str
    voice: str
    hears_turns: bool
    provider_replies: bool
    """The server starts a response by itself when the caller's turn is over."""
    provider_interrupts: bool
    """The server stops a response by itself when the caller speaks."""
    raw_events: bool
    safety_identifier: str


def formats(options: OpenAIOptions, name: str) -> tuple[AudioFormat, ...]:
    """Formats to offer, in order of preference.

    Raises:
        InvalidConfigError: `audio` is neither of its two words.
    """
    if options.audio == "auto":
        return (MULAW_8K, ALAW_8K, PCM16_24K)
    if options.audio == "pcm16":
        return (PCM16_24K,)
    raise InvalidConfigError(f"audio (OPENAI_AUDIO): must be auto or pcm16, not {options.audio!r}", provider=name)


def plan_session(options: OpenAIOptions, config: ProcessConfig, leg: AudioFormat, name: str) -> SessionPlan:
    """Check everything and write the session down.

    Raises:
        InvalidConfigError: naming the option and what is wrong with it.
    """
    if config.temperature is not None:
        raise InvalidConfigError("temperature: this protocol has none any more; leave TEMPERATURE unset", provider=name)
    settings = _settings(options, config, name)
    audio = leg if leg in formats(options, name) else PCM16_24K
    turns = settings.pop("turn_detection")
    speed = settings.pop("speed", None)
    raw_events = settings.pop("raw_events", False)
    safety_identifier = settings.pop("safety_identifier", "")
    voice = options.voice.strip() or config.voice.strip() or DEFAULT_VOICE
    output: dict[str, Any] = {
        "format": _WIRE_FORMATS[audio],
        "voice": {"id": voice} if voice.startswith("voice_") else voice,
    }
    if speed is not None:
        output["speed"] = speed
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": config.instructions,
        "audio": {
            "input": {
                "format": _WIRE_FORMATS[audio],
                "transcription": settings.pop("transcription"),
                "noise_reduction": settings.pop("noise_reduction"),
                "turn_detection": turns,
            },
            "output": output,
        },
        "tools": _tools(config.functions, settings.get("tool_choice"), name),
        **settings,
    }
    return SessionPlan(
        session=session,
        input_format=audio,
        output_format=audio,
        instructions=config.instructions,
        voice=voice,
        hears_turns=turns is not None,
        provider_replies=turns is not None and turns.create_response,
        provider_interrupts=turns is not None and turns.interrupt_response,
        raw_events=raw_events,
        safety_identifier=safety_identifier,
    )


def confirmed_formats(session: Mapping[str, Any], plan: SessionPlan) -> tuple[AudioFormat, AudioFormat]:
    """Formats that the server's `session.updated` names; what it leaves out is as we asked.

    Raises:
        ValueError: it names a format that we cannot speak. Its text is fit for an error message.
    """
    audio = session.get("audio")
    sides = audio if isinstance(audio, dict) else {}

    def confirmed(side: str, flat: str, asked: AudioFormat) -> AudioFormat:
        inner = sides.get(side)
        named = inner.get("format") if isinstance(inner, dict) else None
        return _read_format(named if named is not None else session.get(flat), asked)

    return (
        confirmed("input", "input_audio_format", plan.input_format),
        confirmed("output", "output_audio_format", plan.output_format),
    )


def _read_format(named: Any, asked: AudioFormat) -> AudioFormat:
    if named is None:
        return asked
    kind, rate = (named.get("type"), named.get("rate")) if isinstance(named, dict) else (named, None)
    known = _FORMAT_NAMES.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise ValueError(f"asked for {asked}, the server answered with audio format {str(kind)[:40]!r}")
    if rate is None or rate == known.rate:
        return known
    if known.encoding is not Encoding.PCM16 or rate not in _LINEAR_RATES:
        raise ValueError(f"asked for {asked}, the server answered with {str(kind)[:40]} at {str(rate)[:40]} Hz")
    return AudioFormat(Encoding.PCM16, int(rate))


def _settings(options: OpenAIOptions, config: ProcessConfig, name: str) -> dict[str, Any]:
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
    if options.speed not in (None, ""):
        given["speed"] = ("speed (OPENAI_SPEED)", options.speed)
    if options.max_output_tokens not in (None, ""):
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
    if options.transcription_model.strip().lower() in ("", "none"):
        return None
    language = options.transcription_language.strip()
    return {"model": options.transcription_model.strip(), **({"language": language} if language else {})}


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


def _tools(functions: Sequence[FunctionDeclaration], tool_choice: Any, name: str) -> list[dict[str, Any]]:
    tools: dict[str, dict[str, Any]] = {}
    for function in functions:
        label = f"functions[{function.name!r}]"
        if not _FUNCTION_NAME.fullmatch(function.name):
            raise InvalidConfigError(f"{label}: a name has 1 to 64 letters, digits, _ and -", provider=name)
        if function.name in tools:
            raise InvalidConfigError(f"{label}: declared twice", provider=name)
        try:
            parameters = msgspec.json.decode(msgspec.json.encode(function.parameters))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidConfigError(f"{label}: parameters are no JSON: {error}", provider=name) from None
        if not isinstance(parameters, dict) or parameters.get("type") != "object":
            raise InvalidConfigError(f"{label}: parameters must be a JSON Schema of type object", provider=name)
        tools[function.name] = {
            "type": "function",
            "name": function.name,
            "description": function.description,
            "parameters": parameters,
        }
    if isinstance(tool_choice, NamedFunction) and tool_choice.name not in tools:
        raise InvalidConfigError(f"tool_choice: there is no function {tool_choice.name!r}", provider=name)
    if tool_choice == "required" and not tools:
        raise InvalidConfigError("tool_choice: required, but there are no functions", provider=name)
    return list(tools.values())
