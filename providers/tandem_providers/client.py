"""Several providers as one: the first that takes a session has it, and nothing the caller said meanwhile is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from tandem_providers.commands import Command
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import InvalidConfigError, ProviderError, ProviderUnavailableError, SessionClosedError
from tandem_providers.events import Event, ProviderWarning, SessionClosed, SessionReady
from tandem_providers.fallback import Attempt, Breaker, Plan
from tandem_providers.kept import Kept
from tandem_providers.line import Gate, Line
from tandem_providers.provider import Capabilities, EventSink, Provider, Session
from tandem_providers.stream import EventStream, process_audio_stream
from tandem_providers.tasks import owned_tasks

logger = logging.getLogger(__name__)

OnAttempt = Callable[[str, float, ProviderError | None], None]
"""Called for each attempt, with the provider's name, the seconds it took and why it failed."""

SPEAKS: Final = (PCM16_24K, PCM16_16K, PCM16_8K, MULAW_8K, ALAW_8K)
"""Every leg's format is converted to whatever a provider speaks."""


class Client:
    """Tries its providers in order; itself a `Provider`.

    One client serves all calls of a process: what it learns about a failing provider in one call (see
    `fallback.Breaker`) spares the next one the wait. `attempt_seconds` is for one provider to become ready,
    `total_seconds` for all of them; `keep_seconds` of the caller's voice are kept meanwhile.
    """

    name = "client"

    def __init__(
        self,
        *providers: Provider,
        attempt_seconds: float = 5.0,
        total_seconds: float = 8.0,
        keep_seconds: float = 30.0,
        on_attempt: OnAttempt | None = None,
    ) -> None:
        if not providers:
            raise ValueError("a client needs at least one provider")
        self.providers = providers
        self.breakers = tuple(Breaker() for _ in providers)
        self.capabilities = replace(providers[0].capabilities, input_formats=SPEAKS, output_formats=SPEAKS)
        self.attempt_seconds = attempt_seconds
        self.total_seconds = total_seconds
        self.keep_seconds = keep_seconds
        self.on_attempt = on_attempt
        self._sessions: set[ClientSession] = set()

    @asynccontextmanager
    async def session(
        self, config: ProcessConfig, on_event: EventSink, *, leg: AudioFormat = MULAW_8K
    ) -> AsyncIterator[ClientSession]:
        """A session at once, to be spoken to while providers are still being tried.

        Events: warnings of failed attempts, `SessionReady` when one has taken it, and in every case one
        `SessionClosed` as the last; its error has all `attempts` when none took it. Leaving the body ends the session.
        """
        async with self._offer(config, on_event, leg) as session:
            yield session

    @asynccontextmanager
    async def connect(
        self, config: ProcessConfig, on_event: EventSink, *, leg: AudioFormat = PCM16_24K
    ) -> AsyncIterator[ClientSession]:
        """See `Provider.connect`: the same as `session`, entered once a provider has taken it."""
        events = Gate()
        async with self._offer(config, events, leg) as session:
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
        self, config: ProcessConfig, on_event: EventSink, leg: AudioFormat
    ) -> AsyncIterator[ClientSession]:
        session = ClientSession(self, config, on_event, leg)
        self._sessions.add(session)
        try:
            async with owned_tasks() as start_task:
                session.task = start_task(session.run(), name="provider session")
                try:
                    yield session
                finally:
                    session.end()
        finally:
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


class ClientSession:
    """One session, from before any provider has it until after the last one is gone; always in the leg's format."""

    def __init__(self, client: Client, config: ProcessConfig, on_event: EventSink, leg: AudioFormat) -> None:
        self.provider = ""
        """Who has the session; empty while nobody has."""
        self.capabilities: Capabilities = client.capabilities
        """Of the provider that has the session; before that, of the first one."""
        self.input_format = self.output_format = leg
        self.task: asyncio.Task[None] | None = None
        self._client = client
        self._config = config
        self._on_event = on_event
        self._kept = Kept(leg, client.keep_seconds)
        self._line: Line | None = None
        self._session: Session | None = None
        self._paused = False
        self._ended = False
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[ProviderError | None] = loop.create_future()

    # Session

    def send_audio(self, audio: bytes) -> None:
        """The caller's voice in the leg's format: to the provider, or kept for the one that will come."""
        line = self._line
        if line is not None:
            line.send_audio(audio)
        elif not self._ended:
            self._kept.add_audio(audio)

    def send(self, command: Command) -> None:
        """To the provider, or kept for the one that will come, in order with the audio."""
        if self._line is not None:
            self._line.send(command)
        elif not self._ended and not self._kept.add_command(command):
            self._warn("command_dropped", f"too many commands before a provider was ready: {type(command).__name__}")

    def pause(self) -> None:
        self._paused = True
        if self._session is not None:
            self._session.pause()

    def resume(self) -> None:
        self._paused = False
        if self._session is not None:
            self._session.resume()

    async def ready(self) -> None:
        """Return once a provider has taken the session. Cancel-safe.

        Raises:
            ProviderError: none did.
        """
        await asyncio.wait([self._ready])
        self._ready.result()

    # Lifetime

    def end(self) -> None:
        """End the session; nothing is told after this. Its owner waits for the rest. Idempotent."""
        self._end(SessionClosed())
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        """Try the providers, then stay with the one that took the session until that is over."""
        client = self._client
        loop = asyncio.get_running_loop()
        plan = Plan(
            [provider.name for provider in client.providers],
            client.breakers,
            loop.time(),
            attempt_seconds=client.attempt_seconds,
            total_seconds=client.total_seconds,
        )
        try:
            while not self._ended:
                passed_over = len(plan.errors)
                attempt = plan.next(loop.time())
                for error in plan.errors[passed_over:]:
                    self._warn("provider_skipped", str(error))
                if attempt is None:
                    self._end(SessionClosed(plan.error()))
                else:
                    await self._try(plan, attempt)
        except Exception:
            logger.exception("a provider session failed in a way that it must not")
            self._end(SessionClosed(ProviderUnavailableError("internal error", provider=self.provider)))

    async def _try(self, plan: Plan, attempt: Attempt) -> None:
        """One attempt; when it succeeds, the whole rest of the session."""
        provider = self._client.providers[attempt.index]
        events = Gate()
        try:
            await asyncio.sleep(attempt.wait)
            began = asyncio.get_running_loop().time()
            async with AsyncExitStack() as stack:
                result = await self._connect(stack, provider, events, attempt.seconds)
                self._record(plan, attempt, began, result if isinstance(result, ProviderError) else None)
                if isinstance(result, ProviderError):
                    self._report(result, events)
                else:
                    self._adopt(*result, events)
                    self._mourn(self._client.breakers[attempt.index], await self._over)
        except asyncio.CancelledError:
            plan.abandoned(attempt)
            raise

    async def _connect(
        self, stack: AsyncExitStack, provider: Provider, events: Gate, seconds: float
    ) -> tuple[Session, Line] | ProviderError:
        """A ready session, which `stack` then closes, or why there is none."""
        try:
            connecting = provider.connect(self._config, events, leg=self.input_format)
            async with asyncio.timeout(seconds):
                session = await stack.enter_async_context(connecting)
            return session, self._line_to(session)
        except ProviderError as error:
            return error
        except TimeoutError:
            message = f"not ready within {seconds:.1f} s"
            return ProviderUnavailableError(message, provider=provider.name, code="attempt_timeout")
        except Exception as error:
            logger.exception("provider %s failed in a way that it must not", provider.name)
            return ProviderError(f"failed with {type(error).__name__}", provider=provider.name, code="internal")

    def _line_to(self, session: Session) -> Line:
        try:
            return Line(session, self.input_format, self._emit)
        except ValueError as error:
            raise InvalidConfigError(str(error), provider=session.provider) from error

    def _record(self, plan: Plan, attempt: Attempt, began: float, error: ProviderError | None) -> None:
        now = asyncio.get_running_loop().time()
        if error is None:
            plan.succeeded(attempt, now)
        else:
            plan.failed(attempt, error, began=began, now=now, jitter=random.random())
        if self._client.on_attempt is not None:
            self._client.on_attempt(self._client.providers[attempt.index].name, now - began, error)

    def _report(self, error: ProviderError, events: Gate) -> None:
        """What the operator should know of a failed attempt. It has no ready session and no end of one."""
        for event in events.held:
            if isinstance(event, ProviderWarning):
                self._emit(event)
        self._warn("attempt_failed", str(error))

    def _adopt(self, session: Session, line: Line, events: Gate) -> None:
        """The one place where a provider takes its place. What was kept goes first, in order; then live audio."""
        self._session = session
        self.provider = session.provider
        self.capabilities = session.capabilities
        if self._paused:
            session.pause()
        events.open(line.receive)
        if self._kept.dropped_bytes:
            self._warn("audio_dropped", f"{self._kept.dropped_ms:.0f} ms of the caller came too long before a provider")
        while self._kept and not self._ended:  # taking in what was kept may make the provider, and so the user, speak
            for piece in self._kept.take():
                if isinstance(piece, bytes):
                    line.send_audio(piece)
                else:
                    line.send(piece)
        if not self._ended:
            self._line = line

    def _mourn(self, breaker: Breaker, error: ProviderError | None) -> None:
        """A session that died tells the others something about its provider."""
        if error is not None:
            breaker.failed(None, error, asyncio.get_running_loop().time(), random.random())

    def _emit(self, event: Event) -> None:
        if self._ended:
            return
        kind = type(event)
        if kind is SessionClosed:
            self._end(event)  # type: ignore[arg-type]  # `kind` says it: isinstance would be slower, for each frame
            return
        self._on_event(event)
        if kind is SessionReady and not self._ready.done():
            self._ready.set_result(None)

    def _warn(self, code: str, message: str) -> None:
        self._emit(ProviderWarning(code, message))

    def _end(self, closed: SessionClosed) -> None:
        """Whatever ends the session comes through here; only the first time counts."""
        if self._ended:
            return
        self._ended = True
        self._line = self._session = None
        self._kept.clear()
        self._on_event(closed)
        self._over.set_result(closed.error)
        if not self._ready.done():
            self._ready.set_exception(closed.error or SessionClosedError("the session was ended"))
            self._ready.exception()  # marks it as seen: whoever waited may be gone
