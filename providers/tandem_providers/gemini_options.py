"""The options of the Gemini Live adapter, and the address and headers that follow from them."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import urlsplit

from tandem_providers.errors import InvalidConfigError
from tandem_providers.gemini_models import DEFAULT_MODEL
from tandem_providers.options import option
from tandem_providers.provider import Dial

_HOST: Final = "generativelanguage.googleapis.com"
_SERVICE: Final = "/ws/google.ai.generativelanguage.{version}.GenerativeService.{method}"
_VERTEX_SERVICE: Final = "/ws/google.cloud.aiplatform.{version}.LlmBidiService/BidiGenerateContent"
_EPHEMERAL: Final = "auth_tokens/"
_LOCATION: Final = re.compile(r"[a-z]+(-[a-z]+\d+)?")


@dataclass(frozen=True, slots=True)
class GeminiOptions:
    """Where the session is opened, and how it listens and speaks.

    Values may be given as text, as they stand in the environment; empty text means the default. They are checked when
    a session is planned.
    """

    api_key: str = option(
        "GEMINI_API_KEY", "GOOGLE_API_KEY", default="", secret=True, help="API key or ephemeral token (auth_tokens/...)"
    )
    model: str = option("GEMINI_MODEL", default=DEFAULT_MODEL, help="model name")
    voice: str = option("GEMINI_VOICE", default="", help="voice name, such as Kore; wins over VOICE")
    url: str = option("GEMINI_LIVE_URL", default="", help="WebSocket URL, if it is not the vendor's own")
    vertex: bool = option(
        "GEMINI_VERTEX", "GOOGLE_GENAI_USE_VERTEXAI", default=False, help="use Vertex AI instead of the Gemini API"
    )
    project: str = option("GOOGLE_CLOUD_PROJECT", default="", help="Vertex AI: the project")
    location: str = option("GOOGLE_CLOUD_LOCATION", default="global", help="Vertex AI: a region, us, eu or global")
    access_token: str = option(
        "GEMINI_ACCESS_TOKEN",
        default="",
        secret=True,
        help="Vertex AI: OAuth token; without one, the credentials of the machine are used (extra `vertex`)",
    )
    quota_project: str = option("GOOGLE_CLOUD_QUOTA_PROJECT", default="", help="Vertex AI: project to charge")
    api_version: str = option("GEMINI_API_VERSION", default="", help="version of the interface, such as v1beta")
    language: str = option(
        "GEMINI_LANGUAGE", default="", help="language the agent speaks (BCP-47), if not the caller's"
    )
    turn_detection: str = option("GEMINI_TURN_DETECTION", default="auto", help="auto, or none")
    start_sensitivity: str = option(
        "GEMINI_START_SENSITIVITY", default="", help="how soon speech is heard: high or low"
    )
    end_sensitivity: str = option("GEMINI_END_SENSITIVITY", default="", help="how soon a turn is over: high or low")
    silence_ms: int | str | None = option(
        "GEMINI_SILENCE_MS", default=None, help="silence that ends the caller's turn, in milliseconds"
    )
    thinking: int | str | None = option(
        "GEMINI_THINKING", default=None, help="level (low, medium, high) or budget in tokens, as the model takes it"
    )

    def __post_init__(self) -> None:
        for declared in fields(self):
            value = getattr(self, declared.name)
            if isinstance(value, str):
                object.__setattr__(self, declared.name, value.strip() or declared.default)


def is_express(options: GeminiOptions) -> bool:
    """Vertex AI by an API key: without a project of one's own."""
    return options.vertex and bool(options.api_key) and not options.project


def needs_credentials(options: GeminiOptions) -> bool:
    """Whether a token has to be fetched before each connection."""
    return options.vertex and not options.access_token and not is_express(options)


def model_path(options: GeminiOptions, name: str) -> str:
    """The model as the set-up names it.

    Raises:
        InvalidConfigError: Vertex AI without a project.
    """
    model = options.model
    if not options.vertex:
        return model if "/" in model else f"models/{model}"
    if model.startswith("projects/"):
        return model
    path = model if model.startswith("publishers/") else f"publishers/google/models/{model}"
    if is_express(options):
        return path
    if not options.project:
        raise InvalidConfigError("project (GOOGLE_CLOUD_PROJECT): Vertex AI needs one", provider=name)
    return f"projects/{options.project}/locations/{options.location}/{path}"


def dial(options: GeminiOptions, name: str, *, alpha: bool = False) -> Dial:
    """Where and with what to open the socket. Keys go into headers, never into the URL, which is logged.

    `alpha`: a setting is used that only the unfinished version of the interface has.

    Raises:
        InvalidConfigError: an option that cannot be sent, or a missing key.
    """
    ephemeral = options.api_key.startswith(_EPHEMERAL) and not options.vertex
    url = options.url or _vendor_url(options, name, "v1alpha" if alpha or ephemeral else "v1beta", ephemeral)
    _check_url(url, name)
    key_header = "Authorization" if ephemeral else "x-goog-api-key"
    headers: dict[str, str] = {}
    if options.vertex and not is_express(options):
        headers["Authorization"] = f"Bearer {options.access_token}" if options.access_token else ""
        headers["x-goog-user-project"] = options.quota_project
    elif options.api_key:
        headers[key_header] = f"Token {options.api_key}" if ephemeral else options.api_key
    elif not options.url or (urlsplit(url).hostname or "").endswith(".googleapis.com"):
        raise InvalidConfigError("api_key (GEMINI_API_KEY): the Gemini API needs one", provider=name)
    for header, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            # The value may be the key, so it is not shown.
            raise InvalidConfigError(f"{header}: may only hold printable ASCII characters", provider=name)
    return Dial(url, {header: value for header, value in headers.items() if value})


def _vendor_url(options: GeminiOptions, name: str, version: str, ephemeral: bool) -> str:
    if options.api_version:
        version = options.api_version
        if not re.fullmatch(r"v\d\w*", version):
            raise InvalidConfigError(f"api_version (GEMINI_API_VERSION): no version: {version!r}", provider=name)
    if options.vertex:
        path = _VERTEX_SERVICE.format(version=options.api_version or "v1beta1")
        return f"wss://{_vertex_host(options, name)}{path}"
    method = "BidiGenerateContentConstrained" if ephemeral else "BidiGenerateContent"
    return f"wss://{_HOST}{_SERVICE.format(version=version, method=method)}"


def _vertex_host(options: GeminiOptions, name: str) -> str:
    location = options.location
    if not _LOCATION.fullmatch(location):
        raise InvalidConfigError(f"location (GOOGLE_CLOUD_LOCATION): no location: {location!r}", provider=name)
    if location == "global" or is_express(options):
        return "aiplatform.googleapis.com"
    if location in ("us", "eu"):
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"


def _check_url(url: str, name: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidConfigError(f"url (GEMINI_LIVE_URL): {error}", provider=name) from None
    if parts.scheme not in ("ws", "wss") or not host:
        raise InvalidConfigError("url (GEMINI_LIVE_URL): must begin with wss:// or ws:// and a host", provider=name)
    if parts.username is not None or "key=" in parts.query or "access_token=" in parts.query:
        raise InvalidConfigError(
            "url (GEMINI_LIVE_URL): no credentials here, use api_key (GEMINI_API_KEY)", provider=name
        )
