"""One session: what it is asked for, as one `session.update`, and what the server made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat, Encoding
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import Event, ProviderWarning, SessionClosed, SessionReady
from tandem_providers.openai_options import DEFAULT_VOICE, KNOWN_MODELS, OpenAIOptions, dial, is_openai
from tandem_providers.openai_settings import NamedFunction, read_settings
from tandem_providers.provider import Capabilities

MAX_SESSION_SECONDS: Final = 3600.0

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
    transcribes: bool
    provider_replies: bool
    """The server starts a response by itself when the caller's turn is over."""
    provider_interrupts: bool
    """The server stops a response by itself when the caller speaks."""
    raw_events: bool
    safety_identifier: str


def capabilities(options: OpenAIOptions, name: str = "openai") -> Capabilities:
    """What a session with these options can do; checks the options, too.

    Raises:
        InvalidConfigError: an option is wrong.
    """
    dial(options, name)
    return session_capabilities(options, plan_session(options, ProcessConfig(), PCM16_24K, name))


def session_capabilities(options: OpenAIOptions, plan: SessionPlan) -> Capabilities:
    """What one session can do; extensions may have changed what its options say."""
    offered = formats(options, "")
    return Capabilities(
        input_formats=offered,
        output_formats=offered,
        turn_model="turns",
        truncate=True,
        cancel=True,
        text_in=True,
        hears_turns=plan.hears_turns,
        seeds=True,
        transcribes=plan.transcribes,
        max_session_seconds=MAX_SESSION_SECONDS,
    )


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
    settings = read_settings(options, config, name)
    audio = leg if leg in formats(options, name) else PCM16_24K
    turns = settings.pop("turn_detection")
    speed = settings.pop("speed", None)
    raw_events = settings.pop("raw_events", False)
    safety_identifier = settings.pop("safety_identifier", "")
    voice = options.voice or config.voice.strip() or DEFAULT_VOICE
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
        "tools": function_tools(config.functions, settings.get("tool_choice"), name),
        **settings,
    }
    return SessionPlan(
        session=session,
        input_format=audio,
        output_format=audio,
        instructions=config.instructions,
        voice=voice,
        hears_turns=turns is not None,
        transcribes=session["audio"]["input"]["transcription"] is not None,
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


def session_ready(
    session: Mapping[str, Any], created: Mapping[str, Any], plan: SessionPlan, options: OpenAIOptions, name: str
) -> list[Event]:
    """What a `session.updated` means: the session as the server has confirmed it, and what is not as we asked.

    `created` is the session as `session.created` showed it, if it did.
    """
    try:
        input_format, output_format = confirmed_formats(session, plan)
    except ValueError as error:
        return [SessionClosed(InvalidConfigError(str(error), provider=name), reason="audio format")]
    known = {**created, **{key: value for key, value in session.items() if value is not None}}
    expires_at = known.get("expires_at")
    ready = SessionReady(
        provider=name,
        input_format=input_format,
        output_format=output_format,
        session_id=str(known.get("id") or ""),
        model=str(known.get("model") or options.model),
        expires_at=float(expires_at) if isinstance(expires_at, (int, float)) and 0 < expires_at < 1e12 else None,
    )
    return [ready, *_differences(session, plan, options)]


def _differences(session: Mapping[str, Any], plan: SessionPlan, options: OpenAIOptions) -> list[Event]:
    """What the operator should know about the session that we got."""
    warnings: list[Event] = []
    if is_openai(options) and not options.model.startswith(KNOWN_MODELS):
        message = f"model {options.model} is not known to speak this protocol"
        warnings.append(ProviderWarning("unknown_model", message))
    audio = session.get("audio")
    output = audio.get("output") if isinstance(audio, dict) else None
    voice = output.get("voice") if isinstance(output, dict) else session.get("voice")
    if isinstance(voice, dict):
        voice = voice.get("id")
    if isinstance(voice, str) and voice != plan.voice:
        warnings.append(ProviderWarning("voice_changed", f"asked for voice {plan.voice}, got {voice[:64]}"))
    return warnings


def function_tools(functions: Sequence[FunctionDeclaration], tool_choice: Any, name: str) -> list[dict[str, Any]]:
    """Functions as tools of a session, checked.

    Raises:
        InvalidConfigError: a name or a schema is wrong, or `tool_choice` names no function.
    """
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
