"""The options of the Deepgram Voice Agent adapter, and the address and headers that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final
from urllib.parse import urlsplit

from tandem_providers.errors import InvalidConfigError
from tandem_providers.options import option
from tandem_providers.provider import Dial

DEFAULT_URL: Final = "wss://agent.deepgram.com/v1/agent/converse"
DEFAULT_VOICE: Final = "aura-2-thalia-en"
DEFAULT_LISTEN_MODEL: Final = "flux-general-en"
MULTILINGUAL_LISTEN_MODEL: Final = "flux-general-multi"
DEFAULT_THINK_PROVIDER: Final = "open_ai"
DEFAULT_THINK_MODEL: Final = "gpt-4o-mini"
_SHORT_LIVED: Final = "eyJ"
"""How a short-lived token (JWT) begins; it goes by another scheme than a key."""


@dataclass(frozen=True, slots=True)
class DeepgramOptions:
    """Where the session is opened, and how the agent listens, thinks and speaks.

    Values may be given as text, as they stand in the environment; empty text means the default. They are checked when
    a session is planned.
    """

    api_key: str = option("DEEPGRAM_API_KEY", default="", secret=True, help="API key, or a short-lived token")
    voice: str = option("DEEPGRAM_VOICE", default="", help="voice, such as aura-2-thalia-en; wins over VOICE")
    url: str = option("DEEPGRAM_URL", default=DEFAULT_URL, help="WebSocket URL, if it is not the vendor's own")
    agent_id: str = option(
        "DEEPGRAM_AGENT_ID", default="", help="an agent stored with the vendor, instead of all that follows"
    )
    audio: str = option(
        "DEEPGRAM_AUDIO", default="auto", help="auto: G.711 as the telephone speaks it; pcm16: always 24 kHz linear"
    )
    listen_model: str = option(
        "DEEPGRAM_LISTEN_MODEL", default="", help="what hears the caller: flux-general-en, flux-general-multi, nova-3"
    )
    language: str = option("DEEPGRAM_LANGUAGE", default="", help="language of the caller (BCP-47); English if unset")
    keyterms: str | tuple[str, ...] = option(
        "DEEPGRAM_KEYTERMS", default="", help="words that are said often and heard badly, separated by commas"
    )
    eot_threshold: float | str | None = option(
        "DEEPGRAM_EOT_THRESHOLD", default=None, help="how sure it must be that the caller is done: 0.5 to 1 (flux)"
    )
    eot_timeout_ms: int | str | None = option(
        "DEEPGRAM_EOT_TIMEOUT_MS", default=None, help="silence after which the caller is done in any case (flux)"
    )
    think_provider: str = option(
        "DEEPGRAM_THINK_PROVIDER",
        default=DEFAULT_THINK_PROVIDER,
        help="whose model answers: open_ai, anthropic, google, groq, aws_bedrock or deepgram",
    )
    think_model: str = option("DEEPGRAM_THINK_MODEL", default="", help="which model; gpt-4o-mini if it is OpenAI's")
    think_endpoint: str | Mapping[str, Any] | None = option(
        "DEEPGRAM_THINK_ENDPOINT", default=None, secret=True, help="JSON with url and headers of a model of your own"
    )
    speak: str | Mapping[str, Any] | Sequence[Any] | None = option(
        "DEEPGRAM_SPEAK", default=None, secret=True, help="JSON with the vendor's `speak`, for voices of other vendors"
    )
    mip_opt_out: bool = option(
        "DEEPGRAM_MIP_OPT_OUT", default=False, help="keep calls out of the vendor's model improvement program"
    )

    def __post_init__(self) -> None:
        for declared in fields(self):
            value = getattr(self, declared.name)
            if isinstance(value, str):
                object.__setattr__(self, declared.name, value.strip() or declared.default)


def is_deepgram(options: DeepgramOptions) -> bool:
    """Whether the vendor's own servers are meant."""
    return (urlsplit(options.url).hostname or "").endswith(".deepgram.com")


def dial(options: DeepgramOptions, name: str) -> Dial:
    """Where and with what to open the socket.

    Raises:
        InvalidConfigError: an option that cannot be sent, or a missing key.
    """
    try:
        parts = urlsplit(options.url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidConfigError(f"url (DEEPGRAM_URL): {error}", provider=name) from None
    if parts.scheme not in ("ws", "wss") or not host:
        raise InvalidConfigError("url (DEEPGRAM_URL): must begin with wss:// or ws:// and a host", provider=name)
    if parts.username is not None:
        raise InvalidConfigError(
            "url (DEEPGRAM_URL): no credentials here, use api_key (DEEPGRAM_API_KEY)", provider=name
        )
    key = options.api_key
    if not key:
        if is_deepgram(options):
            raise InvalidConfigError(f"api_key (DEEPGRAM_API_KEY): {host} needs one", provider=name)
        return Dial(options.url)
    if not (key.isascii() and key.isprintable()):
        # The value is the key, so it is not shown.
        raise InvalidConfigError("api_key (DEEPGRAM_API_KEY): may only hold printable ASCII characters", provider=name)
    scheme = "Bearer" if key.startswith(_SHORT_LIVED) else "Token"
    return Dial(options.url, {"Authorization": f"{scheme} {key}"})
