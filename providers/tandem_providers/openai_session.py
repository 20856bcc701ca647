"""One session: what it is asked for, how that is written down, and what the server made of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat, Encoding
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import Event, ProviderWarning, SessionClosed, SessionReady
from tandem_providers.openai_profile import Dialect, Profile, RealtimeOptions, Setup, make_dial
from tandem_providers.openai_settings import NamedFunction, read_settings
from tandem_providers.provider import Capabilities

_TYPED: Final = {Encoding.MULAW: "audio/pcmu", Encoding.ALAW: "audio/pcma", Encoding.PCM16: "audio/pcm"}
_NAMED: Final = {Encoding.MULAW: "g711_ulaw", Encoding.ALAW: "g711_alaw", Encoding.PCM16: "pcm16"}
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

    profile: Profile
    settings: Mapping[str, Any]
    """Everything to ask for, by name; `encode_session` writes it down."""
    input_format: AudioFormat
    output_format: AudioFormat
    instructions: str
    voice: str
    """Empty: whichever the server has."""
    has_tools: bool
    hears_turns: bool
    transcribes: bool
    provider_replies: bool
    """The server starts a response by itself when the caller's turn is over."""
    provider_interrupts: bool
    """The server stops a response by itself when the caller speaks."""
    resumes: bool
    """A later session may go on with this conversation."""
    raw_events: bool
    safety_identifier: str


def capabilities(options: RealtimeOptions, name: str = "openai") -> Capabilities:
    """What a session with these options can do; checks the options, too.

    Raises:
        InvalidConfigError: an option is wrong.
    """
    setup = options.setup(name)
    make_dial(setup, name, headers={}, query={})
    return session_capabilities(setup, plan_session(setup, ProcessConfig(), PCM16_24K, name))


def session_capabilities(setup: Setup, plan: SessionPlan) -> Capabilities:
    """What one session can do; extensions may have changed what its options say."""
    profile = setup.profile
    return Capabilities(
        input_formats=setup.input_formats,
        output_formats=setup.output_formats,
        turn_model="turns",
        truncate=profile.truncates,
        cancel=profile.cancels,
        text_in=True,
        hears_turns=plan.hears_turns,
        seeds=True,
        transcribes=plan.transcribes,
        max_session_seconds=profile.max_session_seconds,
    )


def plan_session(setup: Setup, config: ProcessConfig, leg: AudioFormat, name: str) -> SessionPlan:
    """Check everything and decide what to ask for.

    Raises:
        InvalidConfigError: naming the option and what is wrong with it.
    """
    profile = setup.profile
    given = read_settings(setup, config, name)
    raw_events = given.pop("raw_events", False)
    safety_identifier = given.pop("safety_identifier", "")
    tools = function_tools(config.functions, given.get("tool_choice"), name, profile.reserved_functions)
    voice = setup.voice or config.voice.strip() or profile.default_voice
    settings: dict[str, Any] = {
        "instructions": config.instructions,
        "input_format": _for_leg(setup.input_formats, leg),
        "output_format": _for_leg(setup.output_formats, leg),
        "voice": {"id": voice} if voice.startswith("voice_") else voice,
        "tools": _nested(tools) if profile.nested_tools else tools,
        "temperature": _temperature(config.temperature, profile, name),
        **given,
    }
    empty = {key for key in ("voice", "temperature") if settings[key] in ("", None)}
    if not profile.clears:
        empty |= {key for key in ("instructions", "tools") if not settings[key]}
    turns = given.get("turn_detection")
    return SessionPlan(
        profile=profile,
        settings={key: value for key, value in settings.items() if key not in empty},
        input_format=settings["input_format"],
        output_format=settings["output_format"],
        instructions=config.instructions,
        voice=voice,
        has_tools=bool(tools),
        hears_turns=turns is not None,
        transcribes=given.get("transcription", "unsaid") is not None,
        provider_replies=turns is not None and turns.create_response,
        provider_interrupts=turns is not None and turns.interrupt_response,
        resumes=bool(profile.resume_query) and getattr(given.get("resumption"), "enabled", False),
        raw_events=raw_events,
        safety_identifier=safety_identifier,
    )


def encode_session(plan: SessionPlan, dialect: Dialect, without: Collection[str] = ()) -> dict[str, Any]:
    """The `session` of a `session.update`. `without`: paths (`audio.input.format`) that the server did not take."""
    session: dict[str, Any] = msgspec.to_builtins(dict(dialect.constants))
    for name, value in plan.settings.items():
        *path, leaf = dialect.places.get(name, (name,))
        inner = session
        for step in path:
            inner = inner.setdefault(step, {})
        inner[leaf] = _written(value, named=dialect.named_formats)
    for dotted in without:
        _drop(session, dotted.split("."))
    return session


def _written(value: Any, *, named: bool) -> Any:
    if not isinstance(value, AudioFormat):
        return msgspec.to_builtins(value)
    if named:
        return _NAMED[value.encoding]
    kind = {"type": _TYPED[value.encoding]}
    return {**kind, "rate": value.rate} if value.encoding is Encoding.PCM16 else kind


def _drop(session: dict[str, Any], path: Sequence[str]) -> None:
    *steps, leaf = path
    for step in steps:
        inner = session.get(step)
        if not isinstance(inner, dict):
            return
        session = inner
    session.pop(leaf, None)


def _for_leg(formats: tuple[AudioFormat, ...], leg: AudioFormat) -> AudioFormat:
    if leg in formats:
        return leg
    return next((each for each in formats if each.encoding is Encoding.PCM16), formats[0])


def _temperature(value: float | None, profile: Profile, name: str) -> float | None:
    if value is None:
        return None
    if profile.temperature is None:
        raise InvalidConfigError("temperature: this provider takes none; leave TEMPERATURE unset", provider=name)
    low, high = profile.temperature
    if not low <= value <= high:
        raise InvalidConfigError(f"temperature: must be from {low:g} to {high:g}, not {value:g}", provider=name)
    return value


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
    if rate is None and known.encoding is asked.encoding:
        return asked
    if rate is None or rate == known.rate:
        return known
    if known.encoding is not Encoding.PCM16 or rate not in _LINEAR_RATES:
        raise ValueError(f"asked for {asked}, the server answered with {str(kind)[:40]} at {str(rate)[:40]} Hz")
    return AudioFormat(Encoding.PCM16, int(rate))


def session_ready(
    session: Mapping[str, Any], created: Mapping[str, Any], plan: SessionPlan, setup: Setup, name: str
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
        model=str(known.get("model") or setup.model),
        expires_at=float(expires_at) if isinstance(expires_at, (int, float)) and 0 < expires_at < 1e12 else None,
    )
    return [ready, *_differences(session, plan, setup)]


def _differences(session: Mapping[str, Any], plan: SessionPlan, setup: Setup) -> list[Event]:
    """What the operator should know about the session that we got."""
    warnings: list[Event] = []
    if setup.known_models and not setup.model.startswith(setup.known_models):
        message = f"model {setup.model} is not known to speak this protocol"
        warnings.append(ProviderWarning("unknown_model", message))
    audio = session.get("audio")
    output = audio.get("output") if isinstance(audio, dict) else None
    inner = output.get("voice") if isinstance(output, dict) else None
    voice = session.get("voice") if inner is None else inner
    if isinstance(voice, dict):
        voice = voice.get("id")
    if plan.voice and isinstance(voice, str) and voice.lower() != plan.voice.lower():
        warnings.append(ProviderWarning("voice_changed", f"asked for voice {plan.voice}, got {voice[:64]}"))
    return warnings


def function_tools(
    functions: Sequence[FunctionDeclaration], tool_choice: Any, name: str, reserved: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Functions as the vendor declares them.

    Raises:
        InvalidConfigError: a name or a schema that cannot be, or a choice of tools that does not fit them.
    """
    tools: dict[str, dict[str, Any]] = {}
    for function in functions:
        label = f"functions[{function.name!r}]"
        if not _FUNCTION_NAME.fullmatch(function.name):
            raise InvalidConfigError(f"{label}: a name has 1 to 64 letters, digits, _ and -", provider=name)
        if function.name in reserved:
            raise InvalidConfigError(f"{label}: the name belongs to a tool of the provider", provider=name)
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


def _nested(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The older form of a declaration."""
    return [{"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}} for tool in tools]
