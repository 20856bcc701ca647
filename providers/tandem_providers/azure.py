"""Azure OpenAI: OpenAI's realtime protocol at an address of one's own, with a deployment in place of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

from tandem_providers.errors import InvalidConfigError
from tandem_providers.openai_options import DEFAULT_VOICE, telephone_formats, transcription
from tandem_providers.openai_profile import Profile, Setup, address, label, labelled, tidy, with_query
from tandem_providers.openai_settings import OPENAI_SETTINGS
from tandem_providers.options import option

AZURE: Final = Profile(OPENAI_SETTINGS, default_voice=DEFAULT_VOICE, max_session_seconds=3600.0)
_PATH: Final = "/openai/v1/realtime"
_SCHEMES: Final = {"https": "wss", "http": "ws"}


@dataclass(frozen=True, slots=True)
class AzureOptions:
    """Where the session is opened, and how it listens and speaks; text as for `OpenAIOptions`."""

    endpoint: str = option("AZURE_OPENAI_ENDPOINT", help="address of the resource: https://NAME.openai.azure.com")
    deployment: str = option("AZURE_OPENAI_DEPLOYMENT", help="name of the deployment of a realtime model")
    api_key: str = option("AZURE_OPENAI_API_KEY", default="", secret=True, help="API key of the resource")
    ad_token: str = option(
        "AZURE_OPENAI_AD_TOKEN", default="", secret=True, help="Entra token, in place of an API key; it is not renewed"
    )
    voice: str = option(
        "AZURE_OPENAI_VOICE", default="", help="voice name or id; wins over VOICE; marin if neither is set"
    )
    audio: str = option(
        "AZURE_OPENAI_AUDIO", default="auto", help="auto: G.711 as the telephone speaks it; pcm16: always 24 kHz linear"
    )
    turn_detection: str | Mapping[str, Any] | None = option(
        "AZURE_OPENAI_TURN_DETECTION",
        default="server_vad",
        help="server_vad, semantic_vad, none, or a JSON object with the vendor's fields",
    )
    transcription_model: str = option(
        "AZURE_OPENAI_TRANSCRIPTION_MODEL",
        default="gpt-transcribe",
        help="what writes down the caller's words, or none",
    )
    transcription_language: str = option(
        "AZURE_OPENAI_TRANSCRIPTION_LANGUAGE", default="", help="language of the caller (ISO 639-1), if it is known"
    )
    noise_reduction: str = option(
        "AZURE_OPENAI_NOISE_REDUCTION",
        default="near_field",
        help="near_field (a handset), far_field (hands-free) or none",
    )
    speed: float | str | None = option("AZURE_OPENAI_SPEED", default=None, help="speed of speech, 0.25 to 1.5")
    reasoning_effort: str = option(
        "AZURE_OPENAI_REASONING_EFFORT", default="", help="minimal, low, medium, high or xhigh, if the model reasons"
    )
    max_output_tokens: int | str | None = option(
        "AZURE_OPENAI_MAX_OUTPUT_TOKENS", default=None, help="limit of one response: 1 to 4096, or inf"
    )

    def __post_init__(self) -> None:
        tidy(self)

    def setup(self, name: str) -> Setup:
        """See `RealtimeOptions`."""
        if not self.deployment:
            raise InvalidConfigError(f"{label(self, 'deployment')}: is missing", provider=name)
        if not (self.api_key or self.ad_token):
            either = f"{label(self, 'api_key')} or {label(self, 'ad_token')}"
            raise InvalidConfigError(f"{either}: one of the two is needed", provider=name)
        formats = telephone_formats(self.audio, label(self, "audio"), name)
        return Setup(
            AZURE,
            with_query(self._url(name), model=self.deployment),
            self.deployment,
            formats,
            formats,
            {"api-key": self.api_key} if self.api_key else {"Authorization": f"Bearer {self.ad_token}"},
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
        )

    def _url(self, name: str) -> str:
        """The address of the protocol at this resource, however much of it was given."""
        what = label(self, "endpoint")
        address(self.endpoint, what, name, key_option=label(self, "api_key"), schemes=("ws", "wss", "http", "https"))
        parts = urlsplit(self.endpoint)
        if "api-version" in parse_qs(parts.query, keep_blank_values=True):
            raise InvalidConfigError(
                f"{what}: an api-version belongs to the interface before this one; give the resource only",
                provider=name,
            )
        given = parts.path.rstrip("/")
        if not _PATH.startswith(given):
            given_hint = f"{parts.scheme}://{parts.netloc}"
            raise InvalidConfigError(f"{what}: the path {given} is none of ours; give {given_hint}", provider=name)
        return urlunsplit((_SCHEMES.get(parts.scheme, parts.scheme), parts.netloc, _PATH, parts.query, ""))
