"""From settings to the voices of the calls: the client with its providers, and what each session is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager

from tandem.metrics import Metrics
from tandem.providers_from_env import needs_key
from tandem.settings import Settings
from tandem_codecs.format import PCM16_24K, AudioFormat
from tandem_providers.client import Client
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import ProviderError
from tandem_providers.events import Event
from tandem_providers.provider import EventSink, Provider, Session

TOTAL_SHARE = 1.6
"""All providers together may take this much longer than one (8 s of 5 s)."""


class Embedded:
    """A provider that comes with the house and can follow no instructions: it is not asked to.

    The start-up warning names the settings that are left out (see `providers_from_env`).
    """

    def __init__(self, inner: Provider) -> None:
        self._inner = inner
        self.name = inner.name
        self.capabilities = inner.capabilities

    def connect(
        self, config: ProcessConfig, on_event: EventSink, *, leg: AudioFormat = PCM16_24K
    ) -> AbstractAsyncContextManager[Session]:
        return self._inner.connect(ProcessConfig(), on_event, leg=leg)

    def process_audio_stream(
        self, audio_in: AsyncIterable[bytes], config: ProcessConfig
    ) -> AbstractAsyncContextManager[AsyncIterable[Event]]:
        return self._inner.process_audio_stream(audio_in, ProcessConfig())

    async def close(self) -> None:
        await self._inner.close()


def process_config(settings: Settings) -> ProcessConfig:
    """What every call asks of its provider."""
    return ProcessConfig(instructions=settings.instructions, voice=settings.voice, temperature=settings.temperature)


def build_client(settings: Settings, metrics: Metrics) -> Client:
    """The configured providers, in order."""

    def count(provider: str, _seconds: float, error: ProviderError | None) -> None:
        outcome = "ready" if error is None else type(error).__name__
        metrics.provider_attempts.labels(provider, outcome).inc()

    providers: list[Provider] = []
    for choice in settings.choices:
        made = choice.kind.build(choice.options, choice.name)
        providers.append(made if needs_key(choice.kind) else Embedded(made))
    return Client(
        *providers,
        attempt_seconds=settings.connect_seconds,
        total_seconds=settings.connect_seconds * TOTAL_SHARE,
        on_attempt=count,
    )
