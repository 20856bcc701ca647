"""Servers of one's own that speak OpenAI's realtime protocol, more or less: as little as possible is taken for granted.

Speaches, LocalAI, vLLM-Omni and Hugging Face's speech-to-speech are such. Each knows a part of the protocol, of this
generation or the one before; a setting that is refused is left out with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tandem_codecs.format import AudioFormat, Encoding
from tandem_providers.errors import InvalidConfigError
from tandem_providers.openai_options import transcription
from tandem_providers.openai_profile import BETA, G711, GA, Profile, Setup, address, label, labelled, tidy, with_query
from tandem_providers.openai_settings import OPENAI_SETTINGS
from tandem_providers.options import option

COMPATIBLE: Final = Profile(
    OPENAI_SETTINGS,
    dialect=None,
    temperature=(0.0, 2.0),
    truncates=False,
    deletes=False,
    cancels=False,
    echoes=False,
    answers_updates=False,
    sheds=True,
    clears=False,
    chooses_tools=False,
    calls_by_arguments=True,
)
_DIALECTS: Final = {"auto": None, "ga": GA, "beta": BETA}
_RATES: Final = (24000, 16000, 8000)


def _headers(style: str, key: str) -> Mapping[str, str]:
    return {
        "bearer": {"Authorization": f"Bearer {key}"},
        "x-api-key": {"X-API-Key": key},
        "api-key": {"api-key": key},
    }.get(style, {})


_STYLES: Final = ("bearer", "x-api-key", "api-key", "query", "none")


@dataclass(frozen=True, slots=True)
class OpenAICompatibleOptions:
    """Where the server is, and which parts of the protocol it knows; text as for `OpenAIOptions`."""

    url: str = option("OPENAI_COMPATIBLE_URL", help="WebSocket URL, such as ws://localhost:8765/v1/realtime")
    api_key: str = option("OPENAI_COMPATIBLE_API_KEY", default="", secret=True, help="key, if the server asks for one")
    auth_header: str = option(
        "OPENAI_COMPATIBLE_AUTH_HEADER",
        default="bearer",
        help="how the key is sent: bearer, x-api-key, api-key, query (api_key=...) or none",
    )
    model: str = option("OPENAI_COMPATIBLE_MODEL", default="", help="model or pipeline name, if the server wants one")
    voice: str = option(
        "OPENAI_COMPATIBLE_VOICE", default="", help="voice name; wins over VOICE; else the server's own"
    )
    input_rate: int | str = option(
        "OPENAI_COMPATIBLE_INPUT_RATE", default=24000, help="what it wants to hear: 24000, 16000 or 8000 Hz linear"
    )
    output_rate: int | str = option(
        "OPENAI_COMPATIBLE_OUTPUT_RATE", default=24000, help="what it speaks: 24000, 16000 or 8000 Hz linear"
    )
    audio: str = option("OPENAI_COMPATIBLE_AUDIO", default="pcm16", help="pcm16, or g711 if the server speaks that")
    dialect: str = option(
        "OPENAI_COMPATIBLE_DIALECT",
        default="auto",
        help="ga, beta (how OpenAI's protocol was until 2025), or auto: as the server's first event shows",
    )
    truncate: bool = option(
        "OPENAI_COMPATIBLE_TRUNCATE", default=False, help="whether it can forget what the caller has not heard"
    )
    cancel: bool = option("OPENAI_COMPATIBLE_CANCEL", default=False, help="whether it can be told to stop speaking")
    turn_detection: str | Mapping[str, Any] | None = option(
        "OPENAI_COMPATIBLE_TURN_DETECTION",
        default="server_vad",
        help="server_vad, semantic_vad, none, or a JSON object with the server's fields",
    )
    transcription_model: str = option(
        "OPENAI_COMPATIBLE_TRANSCRIPTION_MODEL",
        default="",
        help="what writes down the caller's words, or none; else the server's own",
    )
    transcription_language: str = option(
        "OPENAI_COMPATIBLE_TRANSCRIPTION_LANGUAGE",
        default="",
        help="language of the caller (ISO 639-1); only with a transcription model",
    )
    speed: float | str | None = option("OPENAI_COMPATIBLE_SPEED", default=None, help="speed of speech")

    def __post_init__(self) -> None:
        tidy(self)

    def setup(self, name: str) -> Setup:
        """See `RealtimeOptions`."""
        address(self.url, label(self, "url"), name, key_option=label(self, "api_key"))
        style = self._one_of("auth_header", _STYLES, name)
        dialect = self._one_of("dialect", _DIALECTS, name)
        profile = replace(
            COMPATIBLE,
            dialect=_DIALECTS[dialect],
            truncates=self.truncate,
            deletes=self.truncate,
            cancels=self.cancel,
        )
        key = {"api_key": self.api_key} if style == "query" else {}
        said = self.transcription_model or self.transcription_language
        return Setup(
            profile,
            with_query(self.url, model=self.model, **key),
            self.model,
            self._formats("input_rate", name),
            self._formats("output_rate", name),
            _headers(style, self.api_key) if self.api_key else {},
            self.voice,
            labelled(
                self,
                turn_detection="none" if self.turn_detection is None else self.turn_detection,
                transcription=("transcription_model", transcription(self) if said else None),
                speed=self.speed,
            ),
        )

    def _one_of(self, option_name: str, words: Any, name: str) -> str:
        value: str = getattr(self, option_name).lower()
        if value not in words:
            what = label(self, option_name)
            raise InvalidConfigError(f"{what}: must be one of {', '.join(words)}, not {value!r}", provider=name)
        return value

    def _formats(self, rate_option: str, name: str) -> tuple[AudioFormat, ...]:
        """Linear at the rate asked for; G.711 only if the server is said to speak it."""
        audio = self._one_of("audio", ("pcm16", "g711"), name)
        rate = str(getattr(self, rate_option))
        if rate not in map(str, _RATES):
            what = label(self, rate_option)
            raise InvalidConfigError(f"{what}: must be 24000, 16000 or 8000, not {rate!r}", provider=name)
        linear = AudioFormat(Encoding.PCM16, int(rate))
        return (*G711, linear) if audio == "g711" else (linear,)
