"""One session, asked for by one `conversation_initiation_client_data`: what replaces the agent's own, what is added.

The agent itself stands with the vendor: its tools, its audio formats, its limits. What can't be said here is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from tandem_codecs.format import MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from tandem_providers.config import ProcessConfig
from tandem_providers.elevenlabs_errors import presentable
from tandem_providers.elevenlabs_events import Initiated
from tandem_providers.elevenlabs_options import NO_FIRST_MESSAGE, ElevenLabsOptions, dial
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import Event, ProviderWarning, SessionClosed, SessionReady
from tandem_providers.provider import FRESH, Capabilities, HistoryTurn, Opening

FORMATS: Final = {"ulaw_8000": MULAW_8K, "pcm_16000": PCM16_16K, "pcm_24000": PCM16_24K, "pcm_8000": PCM16_8K}
"""What an agent may speak and we convert. There are also pcm_22050, pcm_44100 and pcm_48000."""
_ALL: Final = "*"
_PROMPT: Final = ("llm", "reasoning_effort", "tool_ids")
"""Settings that stand beside the instructions."""


class Tts(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """How the voice speaks."""

    model_id: str = ""
    stability: Annotated[float, Meta(ge=0, le=1)] | None = None
    similarity_boost: Annotated[float, Meta(ge=0, le=1)] | None = None
    speed: Annotated[float, Meta(ge=0.7, le=1.2)] | None = None


_KINDS: Final[dict[str, Any]] = {
    "dynamic_variables": dict[str, str | int | float | bool],
    "user_id": str,
    "custom_llm_extra_body": dict[str, Any],
    "llm": str,
    "reasoning_effort": Literal["none", "minimal", "low", "medium", "high", "xhigh"],
    "tool_ids": list[str],
    "tts": Tts,
    "max_duration_seconds": Annotated[int, Meta(ge=1)],
    "environment": str,
    "branch_id": str,
    "raw_events": bool,
}
"""Every extension by name, with what it may be."""


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One session, ready to be asked for."""

    initiation: Mapping[str, Any]
    """The first message."""
    first_message: str | None
    """What the agent says first; None: its own, which nobody here knows; empty: nothing."""
    memory: str
    """What was said before, for the agent to know; empty at the beginning of a conversation."""
    raw_events: bool


def capabilities(options: ElevenLabsOptions, name: str = "elevenlabs") -> Capabilities:
    """What a session with these options can do; checks the options, too. Which of the formats it will be is set up in
    the agent and told when the session begins.

    Raises:
        InvalidConfigError: an option is wrong.
    """
    dial(options, name)
    plan_session(options, ProcessConfig(), FRESH, name)
    offered = tuple(FORMATS.values())
    return Capabilities(
        input_formats=offered,
        output_formats=offered,
        turn_model="agent",
        truncate=False,
        # Nothing stops the agent but the caller's voice; what it goes on saying is not passed on.
        cancel=True,
        text_in=True,
        hears_turns=True,
        seeds=True,
        transcribes=True,
        speaks_while_it_waits=False,
    )


def plan_session(options: ElevenLabsOptions, config: ProcessConfig, opening: Opening, name: str) -> SessionPlan:
    """Check everything and write the session down.

    Raises:
        InvalidConfigError: naming the option and what is wrong with it.
    """
    settings = _settings(config, name)
    _check_functions(options, config, name)
    first_message = _first_message(options, opening)
    prompt = {"prompt": config.instructions, **{key: settings.get(key) for key in _PROMPT}}
    agent = {
        "prompt": {key: value for key, value in prompt.items() if value},
        "language": options.language,
    }
    tts: dict[str, Any] = {}
    if "tts" in settings:
        tts = {key: value for key, value in msgspec.to_builtins(settings["tts"]).items() if value is not None}
    voice = options.voice or config.voice.strip()
    if voice:
        tts["voice_id"] = voice
    override: dict[str, Any] = {
        "agent": {key: value for key, value in agent.items() if value},
        "tts": tts,
        "conversation": {key: settings[key] for key in ("max_duration_seconds",) if key in settings},
    }
    if first_message is not None:
        override["agent"]["first_message"] = first_message
    extra_body = dict(settings.get("custom_llm_extra_body", {}))
    if config.temperature is not None:
        extra_body["temperature"] = _temperature(options, config.temperature, name)
    initiation: dict[str, Any] = {
        "type": "conversation_initiation_client_data",
        "conversation_config_override": {key: value for key, value in override.items() if value},
        "custom_llm_extra_body": extra_body,
        "dynamic_variables": settings.get("dynamic_variables", {}),
    }
    initiation |= {key: settings[key] for key in ("user_id", "environment", "branch_id") if settings.get(key)}
    return SessionPlan(
        initiation=initiation,
        first_message=first_message,
        memory=_memory(opening.history),
        raw_events=settings.get("raw_events", False),
    )


def session_ready(initiated: Initiated, leg: AudioFormat, name: str) -> list[Event]:
    """What the server's first message means: the session in the formats that the agent has, or its end."""
    named = (initiated.user_input_audio_format, initiated.agent_output_audio_format)
    hears, speaks = (FORMATS.get(each or "ulaw_8000") for each in named)
    if hears is None or speaks is None:
        message = f"the agent hears {named[0]} and speaks {named[1]}, which can't be converted: set it to ulaw_8000"
        error = InvalidConfigError(presentable(message), provider=name, code="audio_format")
        return [SessionClosed(error, reason="audio format")]
    events: list[Event] = [SessionReady(name, hears, speaks, initiated.conversation_id)]
    if leg == MULAW_8K and not hears == speaks == MULAW_8K:
        message = f"the agent hears {hears} and speaks {speaks}; set to ulaw_8000 it would need no conversion"
        events.append(ProviderWarning("transcoding", message))
    return events


def _settings(config: ProcessConfig, name: str) -> dict[str, Any]:
    unknown = sorted(set(map(str, config.extensions)) - set(_KINDS))
    if unknown:
        raise InvalidConfigError(
            f"extensions: unknown {', '.join(unknown)}; known are {', '.join(_KINDS)}", provider=name
        )
    settings: dict[str, Any] = {}
    for key, value in config.extensions.items():
        try:
            settings[key] = msgspec.convert(dict(value) if isinstance(value, Mapping) else value, _KINDS[key])
        except (msgspec.ValidationError, RecursionError) as error:
            raise InvalidConfigError(f"extensions[{key!r}]: {error}", provider=name) from None
    return settings


def _check_functions(options: ElevenLabsOptions, config: ProcessConfig, name: str) -> None:
    """Functions can't be declared here, only answered: the agent must have each of them as a client tool."""
    tools = options.client_tools.split(",") if isinstance(options.client_tools, str) else options.client_tools
    known = {tool.strip() for tool in tools if tool.strip()}
    if _ALL in known:
        return
    for function in config.functions:
        if function.name not in known:
            raise InvalidConfigError(
                f"functions[{function.name!r}]: functions can't be declared in a session; give the agent a client tool "
                "of that name, and list it in client_tools (ELEVENLABS_CLIENT_TOOLS)",
                provider=name,
            )


def _temperature(options: ElevenLabsOptions, temperature: float, name: str) -> float:
    if not options.custom_llm:
        raise InvalidConfigError(
            "temperature: the agent has its own, which can't be replaced in a session; unset TEMPERATURE, or set "
            "custom_llm (ELEVENLABS_CUSTOM_LLM) if the agent thinks with a model of your own",
            provider=name,
        )
    if not 0 <= temperature <= 2:
        raise InvalidConfigError(f"temperature: must lie in 0 to 2, not {temperature:g}", provider=name)
    return temperature


def _first_message(options: ElevenLabsOptions, opening: Opening) -> str | None:
    """None leaves the agent its own: to replace it may not be allowed, so it is not done without need."""
    told = options.first_message or opening.greeting or None
    if told is None:
        return None
    if opening.history or told.lower() == NO_FIRST_MESSAGE:
        return ""  # nobody is greeted in the middle of a conversation
    return told


def _memory(history: Sequence[HistoryTurn]) -> str:
    """A conversation that goes on, as a note to the agent."""
    if not history:
        return ""
    who = {"user": "Caller", "assistant": "You"}
    lines = "\n".join(f"{who[turn.role]}: {turn.text}" for turn in history if turn.text)
    return f"This call is under way already. So far this was said:\n{lines}\nGo on from there; do not greet again."
