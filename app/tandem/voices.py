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
from tandem.providers_from_env import Checked, Choice, check, needs_key, wishes
from tandem_codecs.convert import prepare
from tandem_codecs.format import MULAW_8K, PCM16_24K, AudioFormat
from tandem_providers.client import Client
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError, ProviderError
from tandem_providers.events import Event
from tandem_providers.fallback import Breaker
from tandem_providers.provider import FRESH, Capabilities, EventSink, Opening, Provider, Session

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


class Clients:
    """A client for each list of providers that an agent may have. They share the providers, and what is known about a
    failing one. One per process; `close` it."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._usual = tuple(choice.name for choice in settings.choices)
        self._providers = {name: self._built(choice) for name, choice in settings.every_choice.items()}
        self._breakers = {name: Breaker() for name in self._providers}
        self._made: dict[tuple[str, ...], Client] = {}
        for name, breaker in self._breakers.items():
            metrics.circuit_open.labels(name).set_function(partial(_is_open, breaker))

    def of(self, names: tuple[str, ...] | None = None) -> Client:
        """The client of these providers, in order; of the server's own without any.

        Raises:
            KeyError: one of them is not known here.
        """
        names = names or self._usual
        client = self._made.get(names)
        if client is None:
            client = self._made[names] = self._make(names)
        return client

    def refuses(self, names: tuple[str, ...] | None, config: ProcessConfig) -> str:
        """Why these providers could not speak for such an agent; empty when they can."""
        for name in names or self._usual:
            provider = self._providers.get(name)
            if provider is None:
                return f"no provider {name!r} is set up here; there are: {', '.join(self._providers)}"
            try:
                check(provider, config)
            except ProviderError as error:
                return f"provider {name}: {error.message}"
        return ""

    def refuses_function(self, function: FunctionDeclaration) -> str:
        """Why not every provider here could be given that function; empty when each could, or is spared functions."""
        return self.refuses(tuple(self._providers), ProcessConfig(functions=(function,), on_function_call=_no_call))

    async def close(self) -> None:
        """End all sessions that are up, and close the providers."""
        for client in self._made.values():
            await client.close()
        for provider in self._providers.values():
            await provider.close()

    def _built(self, choice: Choice) -> Provider:
        """One that comes with the house is asked for nothing that it can't do, whatever agent it speaks for."""
        provider = choice.kind.build(choice.options, choice.name)
        _prepare(provider.capabilities)
        return provider if needs_key(choice.kind) else Unburdened(provider)

    def _make(self, names: tuple[str, ...]) -> Client:
        settings, metrics = self._settings, self._metrics

        def count(name: str, seconds: float, error: ProviderError | None) -> None:
            metrics.provider_attempts.labels(name, "ready" if error is None else _outcome(error)).inc()

        return Client(
            *(self._providers[name] for name in names),
            attempt_seconds=settings.connect_seconds,
            total_seconds=settings.connect_seconds * TOTAL_SHARE,
            hedge_seconds=settings.hedge_seconds or None,
            on_attempt=count,
            breakers=[self._breakers[name] for name in names],
        )


def _prepare(can: Capabilities) -> None:
    """Where a provider does not speak the telephone's format: no call shall wait for the tables of a conversion."""
    if MULAW_8K not in can.input_formats:
        prepare(MULAW_8K, can.input_formats[0])
    if MULAW_8K not in can.output_formats:
        prepare(can.output_formats[0], MULAW_8K)


def build_client(settings: Settings, metrics: Metrics) -> Client:
    """The providers of the settings, as one. Its attempts are counted in `metrics`."""
    return Clients(settings, metrics).of()


def _is_open(breaker: Breaker) -> float:
    return float(breaker.state(time.monotonic()) == "open")


def build(choice: Choice) -> Provider:
    """The provider itself; one that is not told everything is wrapped."""
    provider = choice.kind.build(choice.options, choice.name)
    return Unburdened(provider, choice.left_out) if choice.left_out else provider


class Unburdened:
    """A provider that is spared wishes which it would have to refuse: these, or (None) whichever. A `Provider`."""

    def __init__(self, provider: Provider, spared: frozenset[str] | None = None) -> None:
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

    def check(self, config: ProcessConfig, *, leg: AudioFormat = PCM16_24K) -> None:
        """See `Checked.check`."""
        if isinstance(self._provider, Checked):
            self._provider.check(self._without(config), leg=leg)

    async def close(self) -> None:
        await self._provider.close()

    def _without(self, config: ProcessConfig) -> ProcessConfig:
        nothing = ProcessConfig()
        spared = self._spared if self._spared is not None else self._refused(config)
        return replace(config, **{wish: getattr(nothing, wish) for wish in spared})

    def _refused(self, config: ProcessConfig) -> frozenset[str]:
        """The wishes that it can not honour, each taken alone."""
        refused = set[str]()
        for wish, value in wishes(config):
            try:
                check(self._provider, replace(ProcessConfig(), **{wish: value}))
            except InvalidConfigError:
                refused.add(wish)
        return frozenset(refused)


def _outcome(error: ProviderError) -> str:
    """`authentication_failed` of `AuthenticationFailedError`: few and fixed, as a label has to be."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
