"""Every kind of provider there is, one row each; the order is the order of preference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tandem_providers.azure import AzureOptions
from tandem_providers.deepgram_options import DeepgramOptions
from tandem_providers.echo import Echo, EchoOptions
from tandem_providers.elevenlabs_auth import SignedUrls
from tandem_providers.elevenlabs_options import SIGNED_URL, ElevenLabsOptions
from tandem_providers.gemini_options import GeminiOptions, needs_credentials
from tandem_providers.openai import OpenAIOptions, OpenAIProtocol
from tandem_providers.openai import capabilities as openai_capabilities
from tandem_providers.openai_compatible import OpenAICompatibleOptions
from tandem_providers.openai_live_options import OpenAILiveOptions
from tandem_providers.openai_profile import RealtimeOptions
from tandem_providers.provider import Provider
from tandem_providers.session import READY_SECONDS, WebSocketProvider
from tandem_providers.vertex_auth import MachineCredentials
from tandem_providers.xai import XAIOptions

# What speaks a vendor's protocol is imported when one is built: a server need not carry those that it does not use.

PATIENCE_SECONDS: Final = 60.0
"""For providers made from a row: whoever tries them (`Client`) sets the deadline."""


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """What the configuration needs to know of one kind.

    `options` is a dataclass made of `option` fields: environment names, help, and which one is the key. A kind without
    a secret option needs no account. `build` makes an instance from them and its configured name (`openai@backup`).
    """

    name: str
    options: type[Any]
    build: Callable[[Any, str], Provider]
    """Raises `InvalidConfigError` for options that contradict each other or cannot be used."""
    own_prefix: str = ""
    """What the environment names of its options begin with, if that is not its own name."""

    @property
    def prefix(self) -> str:
        """Environment names that begin so are Tandem's: one that is no option of any kind is a mistake."""
        return self.own_prefix or f"{self.name.upper().replace('-', '_')}_"


def OpenAIRealtime(*, name: str = "openai", **options: Any) -> WebSocketProvider:
    """OpenAI Realtime, or a server compatible with it; takes the fields of `OpenAIOptions`.

    Raises:
        InvalidConfigError: an option is wrong.
        TypeError: there is no such option.
    """
    return _openai(OpenAIOptions(**options), name, READY_SECONDS)


def AzureRealtime(*, name: str = "azure", **options: Any) -> WebSocketProvider:
    """OpenAI's realtime models on Azure; takes the fields of `AzureOptions`. Raises like `OpenAIRealtime`."""
    return _openai(AzureOptions(**options), name, READY_SECONDS)


def XAIRealtime(*, name: str = "xai", **options: Any) -> WebSocketProvider:
    """xAI Grok Voice; takes the fields of `XAIOptions`. Raises like `OpenAIRealtime`."""
    return _openai(XAIOptions(**options), name, READY_SECONDS)


def OpenAICompatible(*, name: str = "openai-compatible", **options: Any) -> WebSocketProvider:
    """A server of one's own; takes the fields of `OpenAICompatibleOptions`. Raises like `OpenAIRealtime`.

    It may take its time until it is ready: a model may have to be loaded first.
    """
    return _openai(OpenAICompatibleOptions(**options), name)


def _openai(options: RealtimeOptions, name: str, ready_seconds: float = PATIENCE_SECONDS) -> WebSocketProvider:
    return WebSocketProvider(
        name,
        openai_capabilities(options, name),
        lambda config, leg, opening: OpenAIProtocol(options, config, leg, name, opening),
        ready_seconds=ready_seconds,
    )


def OpenAILive(*, name: str = "openai-live", **options: Any) -> WebSocketProvider:
    """OpenAI Live, full duplex; takes the fields of `OpenAILiveOptions`.

    Raises:
        InvalidConfigError: an option is wrong.
        TypeError: there is no such option.
    """
    return _openai_live(OpenAILiveOptions(**options), name, READY_SECONDS)


def _openai_live(options: OpenAILiveOptions, name: str, ready_seconds: float = PATIENCE_SECONDS) -> WebSocketProvider:
    from tandem_providers.openai_live import OpenAILiveProtocol, capabilities

    return WebSocketProvider(
        name,
        capabilities(options, name),
        lambda config, leg, opening: OpenAILiveProtocol(options, config, leg, name, opening),
        ready_seconds=ready_seconds,
    )


def GeminiLive(*, name: str = "gemini", **options: Any) -> WebSocketProvider:
    """Gemini Live, on the Gemini API or on Vertex AI; takes the fields of `GeminiOptions`.

    Raises:
        InvalidConfigError: an option is wrong.
        TypeError: there is no such option.
    """
    return _gemini(GeminiOptions(**options), name, READY_SECONDS)


def _gemini(options: GeminiOptions, name: str, ready_seconds: float = PATIENCE_SECONDS) -> WebSocketProvider:
    from tandem_providers.gemini import GeminiProtocol, capabilities

    return WebSocketProvider(
        name,
        capabilities(options, name),
        lambda config, leg, opening: GeminiProtocol(options, config, leg, name, opening),
        ready_seconds=ready_seconds,
        authorise=MachineCredentials(name) if needs_credentials(options) else None,
    )


def DeepgramAgent(*, name: str = "deepgram", **options: Any) -> WebSocketProvider:
    """Deepgram Voice Agent; takes the fields of `DeepgramOptions`.

    Raises:
        InvalidConfigError: an option is wrong.
        TypeError: there is no such option.
    """
    return _deepgram(DeepgramOptions(**options), name, READY_SECONDS)


def _deepgram(options: DeepgramOptions, name: str, ready_seconds: float = PATIENCE_SECONDS) -> WebSocketProvider:
    from tandem_providers.deepgram import DeepgramProtocol, capabilities

    return WebSocketProvider(
        name,
        capabilities(options, name),
        lambda config, leg, opening: DeepgramProtocol(options, config, leg, name, opening),
        ready_seconds=ready_seconds,
    )


def ElevenLabsAgent(*, name: str = "elevenlabs", **options: Any) -> WebSocketProvider:
    """An agent of ElevenLabs Agents; takes the fields of `ElevenLabsOptions`.

    Raises:
        InvalidConfigError: an option is wrong.
        TypeError: there is no such option.
    """
    return _elevenlabs(ElevenLabsOptions(**options), name, READY_SECONDS)


def _elevenlabs(options: ElevenLabsOptions, name: str, ready_seconds: float = PATIENCE_SECONDS) -> WebSocketProvider:
    from tandem_providers.elevenlabs import ElevenLabsProtocol, capabilities

    return WebSocketProvider(
        name,
        capabilities(options, name),
        lambda config, leg, opening: ElevenLabsProtocol(options, config, leg, name, opening),
        ready_seconds=ready_seconds,
        locate=SignedUrls(options, name) if options.auth == SIGNED_URL else None,
    )


def _echo(options: EchoOptions, name: str) -> Echo:
    return Echo(prompts=options.prompts, name=name)


_ROWS: Final = (
    ProviderKind("openai", OpenAIOptions, _openai),
    ProviderKind("openai-live", OpenAILiveOptions, _openai_live),
    ProviderKind("azure", AzureOptions, _openai, "AZURE_OPENAI_"),
    ProviderKind("xai", XAIOptions, _openai),
    ProviderKind("openai-compatible", OpenAICompatibleOptions, _openai),
    ProviderKind("gemini", GeminiOptions, _gemini),
    ProviderKind("deepgram", DeepgramOptions, _deepgram),
    ProviderKind("elevenlabs", ElevenLabsOptions, _elevenlabs),
    ProviderKind("echo", EchoOptions, _echo),
)

KINDS: Final[Mapping[str, ProviderKind]] = {kind.name: kind for kind in _ROWS}
