"""The options of the OpenAI Realtime adapter, and the address and headers that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tandem_providers.errors import InvalidConfigError
from tandem_providers.options import option
from tandem_providers.provider import Dial

DEFAULT_URL: Final = "wss://api.openai.com/v1/realtime"
DEFAULT_MODEL: Final = "gpt-realtime-2.1"
DEFAULT_VOICE: Final = "marin"
KNOWN_MODELS: Final = ("gpt-realtime", "gpt-audio", "gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview")
"""How the names of models begin that speak this protocol; others are passed on with a warning."""


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
        for declared in fields(self):
            value = getattr(self, declared.name)
            if isinstance(value, str):
                object.__setattr__(self, declared.name, value.strip() or declared.default)


def is_openai(options: OpenAIOptions) -> bool:
    """Whether the vendor's own servers are meant, rather than compatible ones."""
    return (urlsplit(options.url).hostname or "").endswith("api.openai.com")


def dial(options: OpenAIOptions, name: str, safety_identifier: str = "") -> Dial:
    """Where and with what to open the socket.

    A query that the URL has already is kept, and its `model` or `deployment` wins over the option. The header of the
    beta interface is never sent: the vendor closes such connections.

    Raises:
        InvalidConfigError: an option that cannot be sent, or a missing key.
    """
    try:
        parts = urlsplit(options.url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidConfigError(f"url (OPENAI_REALTIME_URL): {error}", provider=name) from None
    if parts.scheme not in ("ws", "wss") or not host:
        raise InvalidConfigError("url (OPENAI_REALTIME_URL): must begin with wss:// or ws:// and a host", provider=name)
    if parts.username is not None:
        raise InvalidConfigError(
            "url (OPENAI_REALTIME_URL): no credentials here, use api_key (OPENAI_API_KEY)", provider=name
        )
    key = options.api_key
    if not key and is_openai(options):
        raise InvalidConfigError(f"api_key (OPENAI_API_KEY): {host} needs one", provider=name)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if not {"model", "deployment"} & {field for field, _ in query}:
        query.append(("model", options.model))
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))
    headers = {
        "Authorization": f"Bearer {key}" if key else "",
        "OpenAI-Organization": options.organization,
        "OpenAI-Project": options.project,
        "OpenAI-Safety-Identifier": safety_identifier,
    }
    for header, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            # The value may be the key, so it is not shown.
            raise InvalidConfigError(f"{header}: may only hold printable ASCII characters", provider=name)
    return Dial(url, {header: value for header, value in headers.items() if value})
