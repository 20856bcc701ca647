"""The options of the ElevenLabs Agents adapter, and the address and headers that follow from them."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tandem_providers.errors import InvalidConfigError
from tandem_providers.options import option
from tandem_providers.provider import Dial

DEFAULT_URL: Final = "wss://api.elevenlabs.io/v1/convai/conversation"
SIGNED_URL_PATH: Final = "/v1/convai/conversation/get-signed-url"
NO_FIRST_MESSAGE: Final = "none"
HEADER: Final = "header"
SIGNED_URL: Final = "signed-url"
_SCHEMES: Final = {"wss": "https", "ws": "http"}


@dataclass(frozen=True, slots=True)
class ElevenLabsOptions:
    """Which agent takes the call, where it is reached, and what of it is replaced.

    Instructions, voice, language and first words replace the agent's own only where its security settings allow it;
    the vendor closes the session otherwise. Values may be given as text, as they stand in the environment; empty text
    means the default.
    """

    agent_id: str = option("ELEVENLABS_AGENT_ID", help="the agent, as its address shows it")
    api_key: str = option("ELEVENLABS_API_KEY", default="", secret=True, help="API key; a public agent needs none")
    auth: str = option(
        "ELEVENLABS_AUTH",
        default=HEADER,
        help="how the key is used: header, or signed-url (fetched with it before each call)",
    )
    voice: str = option("ELEVENLABS_VOICE", default="", help="id of a voice; wins over VOICE; the agent's own if unset")
    url: str = option("ELEVENLABS_URL", default=DEFAULT_URL, help="WebSocket URL, such as that of another region")
    first_message: str = option(
        "ELEVENLABS_FIRST_MESSAGE",
        default="",
        help="what the agent says first; none: it waits to be spoken to; GREETING or the agent's own if unset",
    )
    language: str = option("ELEVENLABS_LANGUAGE", default="", help="language of the conversation (ISO 639-1)")
    client_tools: str | tuple[str, ...] = option(
        "ELEVENLABS_CLIENT_TOOLS",
        default="",
        help="client tools that the agent has, separated by commas, or *: only these functions can be offered",
    )
    custom_llm: bool = option(
        "ELEVENLABS_CUSTOM_LLM",
        default=False,
        help="the agent thinks with a model of your own, which takes a temperature",
    )

    def __post_init__(self) -> None:
        for declared in fields(self):
            value = getattr(self, declared.name)
            if isinstance(value, str):
                default = "" if declared.default is MISSING else declared.default
                object.__setattr__(self, declared.name, value.strip() or default)


def dial(options: ElevenLabsOptions, name: str) -> Dial:
    """Where and with what to open the socket. With signed URLs the key stays out of it.

    Raises:
        InvalidConfigError: an option that cannot be sent.
    """
    try:
        parts = urlsplit(options.url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidConfigError(f"url (ELEVENLABS_URL): {error}", provider=name) from None
    if parts.scheme not in _SCHEMES or not host:
        raise InvalidConfigError("url (ELEVENLABS_URL): must begin with wss:// or ws:// and a host", provider=name)
    if parts.username is not None:
        raise InvalidConfigError(
            "url (ELEVENLABS_URL): no credentials here, use api_key (ELEVENLABS_API_KEY)", provider=name
        )
    if options.auth not in (HEADER, SIGNED_URL):
        raise InvalidConfigError(
            f"auth (ELEVENLABS_AUTH): must be {HEADER} or {SIGNED_URL}, not {options.auth!r}", provider=name
        )
    if not options.agent_id:
        raise InvalidConfigError("agent_id (ELEVENLABS_AGENT_ID): there has to be one", provider=name)
    key = options.api_key
    if not (key.isascii() and key.isprintable()):
        # The value is the key, so it is not shown.
        raise InvalidConfigError("api_key (ELEVENLABS_API_KEY): may only hold printable ASCII", provider=name)
    if options.auth == SIGNED_URL and not key:
        raise InvalidConfigError("api_key (ELEVENLABS_API_KEY): signed URLs are given out for one", provider=name)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if "agent_id" not in dict(query):
        query.append(("agent_id", options.agent_id))
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))
    return Dial(url, {"xi-api-key": key} if key and options.auth == HEADER else {})


def signing_address(options: ElevenLabsOptions) -> str:
    """Where a signed URL is asked for: at the host of the socket."""
    parts = urlsplit(options.url)
    query = urlencode({"agent_id": options.agent_id})
    return urlunsplit((_SCHEMES.get(parts.scheme, "https"), parts.netloc, SIGNED_URL_PATH, query, ""))
