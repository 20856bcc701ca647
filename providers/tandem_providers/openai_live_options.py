"""The options of the OpenAI Live adapter, and the address and headers that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import urlsplit

from tandem_providers.errors import InvalidConfigError
from tandem_providers.options import option
from tandem_providers.provider import Dial

DEFAULT_URL: Final = "wss://api.openai.com/v1/live/sessions"
DEFAULT_MODEL: Final = "gpt-live-1"
DEFAULT_VOICE: Final = "marin"
DEFAULT_DELEGATION_MODEL: Final = "gpt-5.4-mini"
SERVICE_TIERS: Final = ("auto", "default", "flex", "priority", "ultrafast")


@dataclass(frozen=True, slots=True)
class OpenAILiveOptions:
    """Where the session is opened, how it speaks, and who does the work behind it.

    Values may be given as text, as they stand in the environment; empty text means the default. They are checked when
    a session is planned.
    """

    api_key: str = option(
        "OPENAI_API_KEY", default="", secret=True, help="API key; may be empty for a server that asks for none"
    )
    model: str = option("OPENAI_LIVE_MODEL", default=DEFAULT_MODEL, help="model name")
    voice: str = option(
        "OPENAI_LIVE_VOICE", default="", help="voice name or id; wins over VOICE; marin if neither is set"
    )
    url: str = option("OPENAI_LIVE_URL", default=DEFAULT_URL, help="WebSocket URL, without a query")
    delegation_model: str = option(
        "OPENAI_LIVE_DELEGATION_MODEL",
        default=DEFAULT_DELEGATION_MODEL,
        help="the model behind the voice that calls the functions",
    )
    delegation_instructions: str = option(
        "OPENAI_LIVE_DELEGATION_INSTRUCTIONS",
        default="",
        help="what that model is told; by default what the voice is told, and to be brief",
    )
    delegation_effort: str = option(
        "OPENAI_LIVE_DELEGATION_EFFORT",
        default="low",
        help="how hard that model thinks: none, minimal, low, medium, high, xhigh, or auto (as it likes)",
    )
    acknowledgement_delay_ms: int | str = option(
        "OPENAI_LIVE_ACKNOWLEDGEMENT_DELAY_MS",
        default=800,
        help="how long that model may be silent before the voice says that it is looking",
    )
    service_tier: str = option(
        "OPENAI_LIVE_SERVICE_TIER", default="", help="auto, default, flex, priority or ultrafast"
    )
    organization: str = option("OPENAI_ORGANIZATION", "OPENAI_ORG_ID", default="", help="organization to bill")
    project: str = option("OPENAI_PROJECT", "OPENAI_PROJECT_ID", default="", help="project to bill")

    def __post_init__(self) -> None:
        for declared in fields(self):
            value = getattr(self, declared.name)
            if isinstance(value, str):
                object.__setattr__(self, declared.name, value.strip() or declared.default)


def is_openai(options: OpenAILiveOptions) -> bool:
    """Whether the vendor's own servers are meant, rather than compatible ones."""
    return (urlsplit(options.url).hostname or "").endswith("api.openai.com")


def dial(options: OpenAILiveOptions, name: str) -> Dial:
    """Where and with what to open the socket: the URL as it is, for this protocol takes no query.

    Raises:
        InvalidConfigError: an option that cannot be sent, or a missing key.
    """
    label = "url (OPENAI_LIVE_URL)"
    try:
        parts = urlsplit(options.url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidConfigError(f"{label}: {error}", provider=name) from None
    if parts.scheme not in ("ws", "wss") or not host:
        raise InvalidConfigError(f"{label}: must begin with wss:// or ws:// and a host", provider=name)
    if parts.username is not None:
        raise InvalidConfigError(f"{label}: no credentials here, use api_key (OPENAI_API_KEY)", provider=name)
    if parts.query or parts.fragment:
        raise InvalidConfigError(f"{label}: takes no query; the model is option model", provider=name)
    if not options.api_key and is_openai(options):
        raise InvalidConfigError(f"api_key (OPENAI_API_KEY): {host} needs one", provider=name)
    if options.service_tier and options.service_tier not in SERVICE_TIERS:
        raise InvalidConfigError(
            f"service_tier (OPENAI_LIVE_SERVICE_TIER): must be one of {', '.join(SERVICE_TIERS)}", provider=name
        )
    headers = {
        "Authorization": f"Bearer {options.api_key}" if options.api_key else "",
        "OpenAI-Organization": options.organization,
        "OpenAI-Project": options.project,
        "OpenAI-Service-Tier": options.service_tier,
    }
    for header, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            # The value may be the key, so it is not shown.
            raise InvalidConfigError(f"{header}: may only hold printable ASCII characters", provider=name)
    return Dial(options.url, {header: value for header, value in headers.items() if value})
