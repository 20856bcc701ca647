"""One OpenAI Live session: what it is asked for, as one `session.start`, and what the server made of it.

The server's schema is strict: a field it does not know is refused, and null is not the same as absent. So nothing is
written that was not asked for, and everything is checked here before anything is dialled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_16K, PCM16_24K, AudioFormat, Encoding
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import Event, ProviderWarning, SessionClosed, SessionReady
from tandem_providers.openai_live_options import DEFAULT_VOICE, OpenAILiveOptions, dial, is_openai
from tandem_providers.openai_live_text import backend_instructions, history_items, voice_instructions
from tandem_providers.openai_session import function_tools
from tandem_providers.openai_settings import NamedFunction
from tandem_providers.provider import FRESH, Capabilities, Opening

FORMATS: Final = (MULAW_8K, ALAW_8K, PCM16_24K, PCM16_16K)
_NAMES: Final = {MULAW_8K: "audio/pcmu", ALAW_8K: "audio/pcma", PCM16_24K: "audio/pcm", PCM16_16K: "audio/pcm"}
_KNOWN_MODELS: Final = "gpt-live"
_EFFORTS: Final = Literal["none", "minimal", "low", "medium", "high", "xhigh", "auto"]
_MILLISECONDS: Final = Annotated[int, Meta(ge=0, le=60_000)]
_EXTENSIONS: Final[dict[str, Any]] = {
    "tool_choice": Literal["auto", "none", "required"] | NamedFunction,
    "parallel_tool_calls": bool,
    "verbosity": Literal["low", "medium", "high"],
    "max_output_tokens": Annotated[int, Meta(ge=16)],
    "reasoning_effort": _EFFORTS,
    "acknowledgement_delay_ms": _MILLISECONDS,
    "safety_identifier": Annotated[str, Meta(min_length=1, max_length=64)],
    "store": bool,
    "raw_events": bool,
}
"""Every extension by name, with what it may be."""
_OF_DELEGATION: Final = (
    "tool_choice",
    "parallel_tool_calls",
    "verbosity",
    "max_output_tokens",
    "reasoning_effort",
    "acknowledgement_delay_ms",
)


@dataclass(frozen=True, slots=True)
class LivePlan:
    """One session, ready to be asked for."""

    session: Mapping[str, Any]
    """The `session` of the `session.start`."""
    format: AudioFormat
    """Of both directions: the protocol has only one."""
    voice: str
    raw_events: bool


def capabilities(options: OpenAILiveOptions, name: str = "openai-live") -> Capabilities:
    """What a session with these options can do; checks the options, too.

    Raises:
        InvalidConfigError: an option is wrong.
    """
    dial(options, name)
    plan_session(options, ProcessConfig(), PCM16_24K, FRESH, name)
    return CAPABILITIES


CAPABILITIES: Final = Capabilities(
    input_formats=FORMATS,
    output_formats=FORMATS,
    turn_model="duplex",
    truncate=False,
    cancel=False,
    text_in=True,
    hears_turns=True,
    seeds=True,
    transcribes=True,
)


def plan_session(
    options: OpenAILiveOptions, config: ProcessConfig, leg: AudioFormat, opening: Opening, name: str
) -> LivePlan:
    """Check everything and write the session down.

    Raises:
        InvalidConfigError: naming the option and what is wrong with it.
    """
    if config.temperature is not None:
        raise InvalidConfigError("temperature: this protocol has none; leave TEMPERATURE unset", provider=name)
    if options.model.startswith("gpt-realtime"):
        raise InvalidConfigError(
            f"model (OPENAI_LIVE_MODEL): {options.model} speaks another protocol, use provider openai", provider=name
        )
    settings = _extensions(config, name)
    audio = leg if leg in FORMATS else PCM16_24K
    voice = options.voice or config.voice.strip() or DEFAULT_VOICE
    session: dict[str, Any] = {
        "model": options.model,
        "audio": {
            "format": {"type": _NAMES[audio], "rate": audio.rate},
            "output": {"voice": {"id": voice} if voice.startswith("voice_") else voice},
        },
    }
    told = {
        "instructions": voice_instructions(config.instructions, config.functions),
        "input": history_items(opening.history),
        "delegation": _delegation(options, config, settings, name),
        "safety_identifier": settings.get("safety_identifier"),
        "store": settings.get("store"),
    }
    session |= {field: value for field, value in told.items() if value not in (None, "", [])}
    return LivePlan(session, audio, voice, settings.get("raw_events", False))


def _extensions(config: ProcessConfig, name: str) -> dict[str, Any]:
    unknown = sorted(set(map(str, config.extensions)) - set(_EXTENSIONS))
    if unknown:
        known = ", ".join(_EXTENSIONS)
        raise InvalidConfigError(f"extensions: unknown {', '.join(unknown)}; known are {known}", provider=name)
    settings = {key: _checked(key, value, f"extensions[{key!r}]", name) for key, value in config.extensions.items()}
    idle = [key for key in _OF_DELEGATION if key in settings]
    if idle and not config.functions:
        raise InvalidConfigError(f"extensions: {', '.join(idle)} mean nothing without functions", provider=name)
    return settings


def _checked(key: str, value: Any, label: str, name: str) -> Any:
    try:
        given = dict(value) if isinstance(value, Mapping) else value
        return msgspec.convert(given, _EXTENSIONS[key], strict=not (isinstance(value, str) and key.endswith("_ms")))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidConfigError(f"{label}: {error}", provider=name) from None


def _delegation(
    options: OpenAILiveOptions, config: ProcessConfig, settings: Mapping[str, Any], name: str
) -> dict[str, Any] | None:
    """The model behind the voice that calls the functions; without functions there is none."""
    effort = _checked(
        "reasoning_effort", options.delegation_effort, "delegation_effort (OPENAI_LIVE_DELEGATION_EFFORT)", name
    )
    label = "acknowledgement_delay_ms (OPENAI_LIVE_ACKNOWLEDGEMENT_DELAY_MS)"
    delay = _checked("acknowledgement_delay_ms", options.acknowledgement_delay_ms, label, name)
    tools = function_tools(config.functions, settings.get("tool_choice"), name)
    if not tools:
        return None
    effort = settings.get("reasoning_effort", effort)
    responses: dict[str, Any] = {
        "model": options.delegation_model,
        "instructions": backend_instructions(options.delegation_instructions, config.instructions),
        # The vendor's default would change what schemas may say.
        "tools": [{**tool, "strict": False} for tool in tools],
    }
    if effort != "auto":
        responses["reasoning"] = {"effort": effort}
    if "verbosity" in settings:
        responses["text"] = {"verbosity": settings["verbosity"]}
    responses |= {
        key: settings[key] for key in ("tool_choice", "parallel_tool_calls", "max_output_tokens") if key in settings
    }
    return {
        "type": "responses",
        "acknowledgement_delay_ms": settings.get("acknowledgement_delay_ms", delay),
        "responses": responses,
    }


def session_ready(session: Mapping[str, Any], plan: LivePlan, options: OpenAILiveOptions, name: str) -> list[Event]:
    """What a `session.started` means: the session as the server has confirmed it, and what is not as we asked."""
    audio = session.get("audio")
    sides = audio if isinstance(audio, dict) else {}
    try:
        confirmed = _read_format(sides.get("format"), plan.format)
    except ValueError as error:
        return [SessionClosed(InvalidConfigError(str(error), provider=name), reason="audio format")]
    expires_at = session.get("expires_at")
    known = isinstance(expires_at, (int, float)) and 0 < expires_at < 1e12
    ready = SessionReady(
        provider=name,
        input_format=confirmed,
        output_format=confirmed,
        session_id=str(session.get("id") or ""),
        model=str(session.get("model") or options.model),
        expires_at=float(expires_at) if known else None,  # type: ignore[arg-type]  # `known` says that it is a number
    )
    return [ready, *_differences(sides.get("output"), plan, options)]


def _read_format(named: Any, asked: AudioFormat) -> AudioFormat:
    """The format that the server names; what it leaves out is as we asked.

    Raises:
        ValueError: we cannot speak it. The text is fit for an error message.
    """
    if named is None:
        return asked
    kind, rate = (named.get("type"), named.get("rate")) if isinstance(named, dict) else (named, None)
    for candidate in (asked, *FORMATS):
        if kind == _NAMES[candidate] and rate in (candidate.rate, None):
            return candidate
    raise ValueError(f"asked for {asked}, the server answered with {str(kind)[:40]!r} at {str(rate)[:40]} Hz")


def _differences(output: Any, plan: LivePlan, options: OpenAILiveOptions) -> list[Event]:
    """What the operator should know about the session that we got."""
    warnings: list[Event] = []
    if is_openai(options) and not options.model.startswith(_KNOWN_MODELS):
        message = f"model {options.model} is not known to speak this protocol"
        warnings.append(ProviderWarning("unknown_model", message))
    voice = output.get("voice") if isinstance(output, dict) else None
    if isinstance(voice, dict):
        voice = voice.get("id")
    if isinstance(voice, str) and voice != plan.voice:
        warnings.append(ProviderWarning("voice_changed", f"asked for voice {plan.voice}, got {voice[:64]}"))
    return warnings


def is_linear(audio: AudioFormat) -> bool:
    """Whether a sample takes two bytes, which must not be torn apart on this wire."""
    return audio.encoding is Encoding.PCM16
