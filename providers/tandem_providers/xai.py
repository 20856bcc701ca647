"""xAI Grok Voice: nearly OpenAI's realtime protocol; the differences are in the profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from msgspec import UNSET, Meta, UnsetType

from tandem_codecs.format import PCM16_8K, PCM16_16K, PCM16_24K
from tandem_providers.errors import InvalidConfigError
from tandem_providers.openai_options import telephone_formats
from tandem_providers.openai_profile import MIXED, Profile, Setup, address, label, labelled, tidy, with_query
from tandem_providers.openai_settings import Strict
from tandem_providers.options import option

DEFAULT_URL: Final = "wss://api.x.ai/v1/realtime"
DEFAULT_MODEL: Final = "grok-voice-latest"
DEFAULT_VOICE: Final = "eve"
KNOWN_MODELS: Final = ("grok-voice-",)


class Vad(Strict, frozen=True, tag_field="type", tag="server_vad"):
    """Turns by loudness."""

    threshold: Annotated[float, Meta(ge=0.1, le=0.9)] = 0.5
    silence_duration_ms: Annotated[int, Meta(ge=0)] = 500
    prefix_padding_ms: Annotated[int, Meta(ge=0)] = 300
    idle_timeout_ms: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET

    @property
    def create_response(self) -> bool:
        """It always answers by itself."""
        return True

    @property
    def interrupt_response(self) -> bool:
        """It always stops by itself."""
        return True


class GrokTranscription(Strict, frozen=True):
    """What writes down the caller's words."""

    model: str
    language_hint: str | UnsetType = UNSET
    keyterms: Annotated[list[Annotated[str, Meta(max_length=50)]], Meta(max_length=100)] | UnsetType = UNSET


class Effort(Strict, frozen=True):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class Resumption(Strict, frozen=True):
    enabled: bool


XAI: Final = Profile(
    {
        "turn_detection": Vad | None,
        "transcription": GrokTranscription | None,
        "speed": Annotated[float, Meta(ge=0.7, le=1.5)],
        "reasoning": Effort,
        "resumption": Resumption,
        "replace": dict[str, str],
        "raw_events": bool,
    },
    dialect=MIXED,
    default_voice=DEFAULT_VOICE,
    max_session_seconds=7200.0,
    chooses_tools=False,
    calls_by_arguments=True,
    forces_words=True,
    drops_responses=True,
    vanish_ms=10_000.0,
    reserved_functions=frozenset({"web_search", "x_search", "file_search", "mcp"}),
    resume_query="conversation_id",
)


@dataclass(frozen=True, slots=True)
class XAIOptions:
    """Where the session is opened, and how it listens and speaks; text as for `OpenAIOptions`."""

    api_key: str = option("XAI_API_KEY", default="", secret=True, help="API key")
    model: str = option("XAI_MODEL", default=DEFAULT_MODEL, help="model name; name a version in production")
    voice: str = option("XAI_VOICE", default="", help="voice name; wins over VOICE; eve if neither is set")
    url: str = option("XAI_REALTIME_URL", default=DEFAULT_URL, help="WebSocket URL")
    audio: str = option(
        "XAI_AUDIO", default="auto", help="auto: G.711 as the telephone speaks it; pcm16: always linear"
    )
    turn_detection: str | Mapping[str, Any] | None = option(
        "XAI_TURN_DETECTION", default="server_vad", help="server_vad, none, or a JSON object with the vendor's fields"
    )
    transcription_model: str = option(
        "XAI_TRANSCRIPTION_MODEL", default="grok-transcribe", help="what writes down the caller's words, or none"
    )
    transcription_language: str = option(
        "XAI_TRANSCRIPTION_LANGUAGE", default="", help="language of the caller (ISO 639-1), if it is known"
    )
    speed: float | str | None = option("XAI_SPEED", default=None, help="speed of speech, 0.7 to 1.5")
    reasoning_effort: str = option(
        "XAI_REASONING_EFFORT",
        default="none",
        help="none, minimal, low, medium, high or xhigh; the vendor's own default is too slow for a call",
    )
    resumption: bool = option(
        "XAI_RESUMPTION", default=True, help="whether the vendor keeps a conversation for a while, to go on with it"
    )

    def __post_init__(self) -> None:
        tidy(self)

    def setup(self, name: str) -> Setup:
        """See `RealtimeOptions`."""
        host = address(self.url, label(self, "url"), name, key_option=label(self, "api_key"))
        is_xai = (urlsplit(self.url).hostname or "").endswith("api.x.ai")
        if not self.api_key and is_xai:
            raise InvalidConfigError(f"{label(self, 'api_key')}: {host} needs one", provider=name)
        formats = telephone_formats(self.audio, label(self, "audio"), name)
        linear = (PCM16_16K, PCM16_8K) if PCM16_24K in formats else ()
        return Setup(
            XAI,
            with_query(self.url, model=self.model),
            self.model,
            (*formats, *linear),
            (*formats, *linear),
            {"Authorization": f"Bearer {self.api_key}" if self.api_key else ""},
            self.voice,
            labelled(
                self,
                turn_detection="none" if self.turn_detection is None else self.turn_detection,
                transcription=("transcription_model", self._transcription()),
                speed=self.speed,
                reasoning=("reasoning_effort", self.reasoning_effort),
                resumption={"enabled": True} if self.resumption else None,
            ),
            KNOWN_MODELS if is_xai else (),
        )

    def _transcription(self) -> str | dict[str, str]:
        if self.transcription_model.lower() == "none":
            return "none"
        hint = {"language_hint": self.transcription_language} if self.transcription_language else {}
        return {"model": self.transcription_model, **hint}
