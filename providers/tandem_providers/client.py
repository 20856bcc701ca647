"""Several providers as one: the first that takes a session has it, and nothing the caller said meanwhile is lost."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Final

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from tandem_providers.config import ProcessConfig
from tandem_providers.conversation import ANSWER_SECONDS, Conversation, History
from tandem_providers.errors import ProviderError
from tandem_providers.events import ProviderWarning
from tandem_providers.fallback import Breaker
from tandem_providers.line import Gate
from tandem_providers.provider import FRESH, EventSink, Lane, Opening, Provider
from tandem_providers.stream import EventStream, process_audio_stream
from tandem_providers.tasks import owned_tasks

OnAttempt = Callable[[str, float, ProviderError | None], None]
"""Called for each attempt, with the provider's name, the seconds it took and why it failed."""

SPEAKS: Final = (PCM16_24K, PCM16_16K, PCM16_8K, MULAW_8K, ALAW_8K)
"""Every leg's format is converted to whatever a provider speaks."""


class Client:
    """Tries its providers in order; itself a `Provider`.

    One client serves all calls of a process: what it learns about a failing provider in one call (see
    `fallback.Breaker`) spares the next one the wait. `attempt_seconds` is for one provider to become ready,
    `total_seconds` for all of them; `keep_seconds` of the caller's voice are kept meanwhile. A provider that is not
    ready after `hedge_seconds` gets company: the next one is opened beside it, and the first that is ready wins. One
    that says nothing for `answer_seconds` after the caller has finished counts as dead. With `recovers`, a
    conversation whose provider died is taken over by the next one (see `conversation`).
    """

    name = "client"

    def __init__(
        self,
        *providers: Provider,
        attempt_seconds: float = 5.0,
        total_seconds: float = 8.0,
        keep_seconds: float = 30.0,
        hedge_seconds: float | None = None,
        answer_seconds: float = ANSWER_SECONDS,
        recovers: bool = True,
        on_attempt: OnAttempt | None = None,
        breakers: Sequence[Breaker] = (),
    ) -> None:
        if not providers:
            raise ValueError("a client needs at least one provider")
        self.providers = providers
        self.breakers = tuple(breakers) or tuple(Breaker() for _ in providers)
        self.capabilities = replace(providers[0].capabilities, input_formats=SPEAKS, output_formats=SPEAKS)
        self.attempt_seconds = attempt_seconds
        self.total_seconds = total_seconds
        self.keep_seconds = keep_seconds
        self.hedge_seconds = hedge_seconds
        self.answer_seconds = answer_seconds
        self.recovers = recovers
        self.on_attempt = on_attempt
        self._sessions: set[Conversation] = set()

    @asynccontextmanager
    async def session(
        self,
        config: ProcessConfig,
        on_event: EventSink,
        *,
        leg: AudioFormat = MULAW_8K,
        history: History | None = None,
        opening: Opening = FRESH,
        lane: Lane | None = None,
    ) -> AsyncIterator[Conversation]:
        """A session at once, to be spoken to while providers are still being tried.

        Events: warnings of failed attempts, `SessionReady` when one has taken it, and in every case one
        `SessionClosed` as the last; its error has all `attempts` when none took it. Between, `ProviderLost` and a
        further `SessionReady` tell that it changed hands. `history` is asked what a successor shall remember; without
        it, that is what was transcribed. `opening` is what the first one begins with. `lane` is offered pieces of
        the agent's audio before `on_event` is told of them. Leaving the body ends it all.
        """
        async with self._offer(config, on_event, leg, history, opening, lane) as session:
            yield session

    @asynccontextmanager
    async def connect(
        self,
        config: ProcessConfig,
        on_event: EventSink,
        *,
        leg: AudioFormat = PCM16_24K,
        opening: Opening = FRESH,
    ) -> AsyncIterator[Conversation]:
        """See `Provider.connect`: the same as `session`, entered once a provider has taken it."""
        events = Gate()
        async with self._offer(config, events, leg, None, opening) as session:
            try:
                await session.ready()
            except ProviderError:
                events.held[:] = [event for event in events.held if isinstance(event, ProviderWarning)]
                events.open(on_event)
                raise
            events.open(on_event)
            yield session

    @asynccontextmanager
    async def _offer(
        self,
        config: ProcessConfig,
        on_event: EventSink,
        leg: AudioFormat,
        history: History | None,
        opening: Opening = FRESH,
        lane: Lane | None = None,
    ) -> AsyncIterator[Conversation]:
        async with owned_tasks() as start_task:
            session = Conversation(self, config, on_event, leg, start_task, history, opening, lane)
            self._sessions.add(session)
            try:
                session.task = start_task(session.run(), name="provider session")
                yield session
            finally:
                session.end()
                self._sessions.discard(session)

    def process_audio_stream(
        self, audio_in: AsyncIterable[bytes], config: ProcessConfig
    ) -> AbstractAsyncContextManager[EventStream]:
        """See `Provider.process_audio_stream`: PCM16 24 kHz in and out."""
        return process_audio_stream(self, audio_in, config)

    async def close(self) -> None:
        """End all sessions that are up, and close the providers."""
        for session in list(self._sessions):
            session.end()
        for provider in self.providers:
            await provider.close()

    def __repr__(self) -> str:
        return f"Client({', '.join(provider.name for provider in self.providers)})"
