"""The options of the OpenAI Realtime adapter, and the address and headers that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, urlsplit

from tandem_codecs.format import PCM16_24K, AudioFormat
from tandem_providers.errors import InvalidConfigError
from tandem_providers.openai_profile import (
    G711,
    Profile,
    Setup,
    address,
    label,
    labelled,
    tidy,
    with_query,
)
from tandem_providers.openai_settings import OPENAI_SETTINGS
from tandem_providers.options import option

DEFAULT_URL: Final = "wss://api.openai.com/v1/realtime"
DEFAULT_MODEL: Final = "gpt-realtime-2.1"
DEFAULT_VOICE: Final = "marin"
KNOWN_MODELS: Final = ("gpt-realtime", "gpt-audio", "gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview")
"""How the names of models begin that speak this protocol; others are passed on with a warning."""
MAX_SESSION_SECONDS: Final = 3600.0

OPENAI: Final = Profile(OPENAI_SETTINGS, default_voice=DEFAULT_VOICE, max_session_seconds=MAX_SESSION_SECONDS)
ELSEWHERE: Final = replace(OPENAI, answers_updates=False)
"""Servers that are said to be just like OpenAI's: one thing that some of them leave out is not waited for."""


@dataclass(frozen=True, slots=True)
class OpenAIOptions:
    """Where the session is opened, and how it listens and speaks.

    Values may be given as text, as they stand in the environment; empty text means the default. They are checked when
    a session is planned.
    """

    api_key: str = option(
        "OPENAI_API_KEY", default="", secret=True, help="API key; may be empty for a self-hosted server"
    )
    model: str = option("OPENAI_MODEL", default=DEFAULT_MODEL, help="model name")
    voice: str = option("OPENAI_VOICE", default="", help="voice name or id; wins over VOICE; marin if neither is set")
    url: str = option("OPENAI_REALTIME_URL", default=DEFAULT_URL, help="WebSocket URL of this or a compatible server")
    audio: str = option(
        "OPENAI_AUDIO", default="auto", help="auto: G.711 as the telephone speaks it; pcm16: always 24 kHz linear"
    )
    turn_detection: str | Mapping[str, Any] | None = option(
        "OPENAI_TURN_DETECTION",
        default="server_vad",
        help="server_vad, semantic_vad, none, or a JSON object with the vendor's fields",
    )
    transcription_model: str = option(
        "OPENAI_TRANSCRIPTION_MODEL", default="gpt-transcribe", help="what writes down the caller's words, or none"
    )
    transcription_language: str = option(
        "OPENAI_TRANSCRIPTION_LANGUAGE", default="", help="language of the caller (ISO 639-1), if it is known"
    )
    noise_reduction: str = option(
        "OPENAI_NOISE_REDUCTION", default="near_field", help="near_field (a handset), far_field (hands-free) or none"
    )
    speed: float | str | None = option("OPENAI_SPEED", default=None, help="speed of speech, 0.25 to 1.5")
    reasoning_effort: str = option(
        "OPENAI_REASONING_EFFORT", default="", help="minimal, low, medium, high or xhigh (gpt-realtime-2 and later)"
    )
    max_output_tokens: int | str | None = option(
        "OPENAI_MAX_OUTPUT_TOKENS", default=None, help="limit of one response: 1 to 4096, or inf"
    )
    organization: str = option("OPENAI_ORGANIZATION", "OPENAI_ORG_ID", default="", help="organization to bill")
    project: str = option("OPENAI_PROJECT", "OPENAI_PROJECT_ID", default="", help="project to bill")

    def __post_init__(self) -> None:
        tidy(self)

    def setup(self, name: str) -> Setup:
        """See `RealtimeOptions`. A query that the URL has already is kept, and its model wins over the option."""
        host = address(self.url, label(self, "url"), name, key_option=label(self, "api_key"))
        if not self.api_key and is_openai(self.url):
            raise InvalidConfigError(f"{label(self, 'api_key')}: {host} needs one", provider=name)
        if self.model.startswith("gpt-live"):
            raise InvalidConfigError(
                f"{label(self, 'model')}: {self.model} speaks another protocol, use provider openai-live", provider=name
            )
        formats = telephone_formats(self.audio, label(self, "audio"), name)
        named = "deployment" in parse_qs(urlsplit(self.url).query, keep_blank_values=True)
        return Setup(
            OPENAI if is_openai(self.url) else ELSEWHERE,
            self.url if named else with_query(self.url, model=self.model),
            self.model,
            formats,
            formats,
            {
                "Authorization": f"Bearer {self.api_key}" if self.api_key else "",
                "OpenAI-Organization": self.organization,
                "OpenAI-Project": self.project,
            },
            self.voice,
            labelled(
                self,
                turn_detection="none" if self.turn_detection is None else self.turn_detection,
                transcription=("transcription_model", transcription(self)),
                noise_reduction=self.noise_reduction,
                speed=self.speed,
                max_output_tokens=self.max_output_tokens,
                reasoning=("reasoning_effort", self.reasoning_effort or None),
            ),
            KNOWN_MODELS if is_openai(self.url) else (),
        )


def is_openai(url: str) -> bool:
    """Whether the vendor's own servers are meant, rather than compatible ones."""
    return (urlsplit(url).hostname or "").endswith("api.openai.com")


def telephone_formats(audio: str, what: str, name: str) -> tuple[AudioFormat, ...]:
    """Formats to offer, in order of preference, by the option that says whether G.711 is among them.

    Raises:
        InvalidConfigError: `audio` is neither of its two words.
    """
    if audio == "auto":
        return (*G711, PCM16_24K)
    if audio == "pcm16":
        return (PCM16_24K,)
    raise InvalidConfigError(f"{what}: must be auto or pcm16, not {audio!r}", provider=name)


class Transcribes(Protocol):
    """Options about the model that writes down the caller's words."""

    @property
    def transcription_model(self) -> str: ...

    @property
    def transcription_language(self) -> str: ...


def transcription(options: Transcribes) -> str | dict[str, str]:
    """The setting that two options make up."""
    if options.transcription_model.lower() == "none":
        return "none"
    language = options.transcription_language
    return {"model": options.transcription_model, **({"language": language} if language else {})}
