"""From settings to the voices of the calls: the client with its providers, and what each session is asked for."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tandem.metrics import Metrics
from tandem.providers_from_env import Choice
from tandem_codecs.format import PCM16_24K, AudioFormat
from tandem_providers.client import Client
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import ProviderError
from tandem_providers.events import Event
from tandem_providers.fallback import Breaker
from tandem_providers.provider import FRESH, EventSink, Opening, Provider, Session

if TYPE_CHECKING:
    from tandem.settings import Settings

TOTAL_SHARE: Final = 1.6
"""All providers together may take this much longer than one (8 s of 5 s): who calls waits no longer than that."""


def process_config(settings: Settings) -> ProcessConfig:
    """What each call asks of its provider."""
    functions = settings.tools.declarations
    return ProcessConfig(
        settings.instructions,
        settings.voice,
        functions=functions,
        on_function_call=_no_call if functions else None,
        temperature=settings.temperature,
    )


async def _no_call(_name: str, _arguments: Mapping[str, Any]) -> object:
    """In the place of the functions that each call brings: a session that is only tried has nobody to serve."""
    return {"error": "failed", "message": "There is no call."}


def build_client(settings: Settings, metrics: Metrics) -> Client:
    """The providers of the settings, as one. Its attempts are counted in `metrics`."""

    def count(name: str, seconds: float, error: ProviderError | None) -> None:
        metrics.provider_attempts.labels(name, "ready" if error is None else _outcome(error)).inc()

    client = Client(
        *(build(choice) for choice in settings.choices),
        attempt_seconds=settings.connect_seconds,
        total_seconds=settings.connect_seconds * TOTAL_SHARE,
        hedge_seconds=settings.hedge_seconds or None,
        on_attempt=count,
    )
    for provider, breaker in zip(client.providers, client.breakers, strict=True):
        metrics.circuit_open.labels(provider.name).set_function(partial(_is_open, breaker))
    return client


def _is_open(breaker: Breaker) -> float:
    return float(breaker.state(time.monotonic()) == "open")


def build(choice: Choice) -> Provider:
    """The provider itself; one that is not told everything is wrapped."""
    provider = choice.kind.build(choice.options, choice.name)
    return Unburdened(provider, choice.left_out) if choice.left_out else provider


class Unburdened:
    """A provider that is spared wishes which it would have to refuse. A `Provider`."""

    def __init__(self, provider: Provider, spared: frozenset[str]) -> None:
        self.name = provider.name
        self.capabilities = provider.capabilities
        self._provider = provider
        self._spared = spared

    def connect(
        self, config: ProcessConfig, on_event: EventSink, *, leg: AudioFormat = PCM16_24K, opening: Opening = FRESH
    ) -> AbstractAsyncContextManager[Session]:
        """See `Provider.connect`."""
        return self._provider.connect(self._without(config), on_event, leg=leg, opening=opening)

    def process_audio_stream(
        self, audio_in: AsyncIterable[bytes], config: ProcessConfig
    ) -> AbstractAsyncContextManager[AsyncIterable[Event]]:
        """See `Provider.process_audio_stream`."""
        return self._provider.process_audio_stream(audio_in, self._without(config))

    async def close(self) -> None:
        await self._provider.close()

    def _without(self, config: ProcessConfig) -> ProcessConfig:
        nothing = ProcessConfig()
        return replace(config, **{wish: getattr(nothing, wish) for wish in self._spared})


def _outcome(error: ProviderError) -> str:
    """`authentication_failed` of `AuthenticationFailedError`: few and fixed, as a label has to be."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
