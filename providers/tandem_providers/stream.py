"""The simple way in: audio from an iterable, events from an iterator, for any provider."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tandem_codecs.format import PCM16_24K, AudioFormat
from tandem_providers.commands import Command
from tandem_providers.config import ProcessConfig
from tandem_providers.events import AudioChunk, Event, SessionClosed
from tandem_providers.line import Gate, Line
from tandem_providers.provider import Provider, Session
from tandem_providers.tasks import owned_tasks

AUDIO_SECONDS: Final = 120
"""The agent's speech that may wait for a slow reader."""
MOST_EVENTS: Final = 10_000
FEW_EVENTS: Final = 5_000
"""With the first number waiting, the provider is no longer read; with the second it is again."""
AHEAD_SECONDS: Final = 5.0
"""How far `audio_in` may be ahead of the clock on the wall: a recording is read about as fast as it was spoken."""


class EventStream:
    """The events of one session, in order, for one reader.

    After the last event (`SessionClosed`) the iteration ends: with the error that ended the session if there was one.
    If `audio_in` raises, so does the iteration, once what came before has been read. A reader that falls two minutes
    behind loses the oldest audio (`dropped_audio_ms`), never another event.
    """

    def __init__(self, session: Session, leg: AudioFormat) -> None:
        self.provider = session.provider
        """The name of the provider that took the session."""
        self.dropped_audio_ms = 0.0
        self._session = session
        self._leg = leg
        self._line = Line(session, leg, self._put)
        self._audio_limit = leg.size(AUDIO_SECONDS * 1000)
        self._audio_bytes = 0
        self._events: OrderedDict[int, Event] = OrderedDict()
        """Numbered, so that an old piece of audio can be taken out of the middle."""
        self._audio: deque[int] = deque()
        self._number = 0
        self._paused = False
        self._ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """Events that have not been read yet."""
        return len(self._events)

    def send(self, command: Command) -> None:
        """Tell the provider something. Does nothing after the end."""
        self._line.send(command)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._take()

    def receive(self, event: Event) -> None:
        """An event of the session, in the session's format."""
        self._line.receive(event)

    async def pump(self, audio_in: AsyncIterable[bytes]) -> None:
        """Pass on what the caller says, until there is no more. The session outlives it: the agent may still talk."""
        loop = asyncio.get_running_loop()
        heard_until = loop.time()
        try:
            async for audio in audio_in:
                if self._ended:
                    return
                self._line.send_audio(audio)
                heard_until = max(heard_until, loop.time()) + self._leg.milliseconds(len(audio)) / 1000
                ahead = heard_until - loop.time() - AHEAD_SECONDS
                if ahead > 0:
                    await asyncio.sleep(ahead)
        except Exception as error:
            self._end(error)

    def _put(self, event: Event) -> None:
        if self._ended:
            return
        self._number += 1
        self._events[self._number] = event
        if isinstance(event, AudioChunk):
            self._audio.append(self._number)
            self._audio_bytes += len(event.audio)
            while self._audio_bytes > self._audio_limit:
                self._drop_oldest()
        elif isinstance(event, SessionClosed):
            self._end(event.error)
        if len(self._events) > MOST_EVENTS and not self._paused:
            self._paused = True
            self._session.pause()
        self._wake()

    def _take(self) -> Event:
        number, event = self._events.popitem(last=False)
        if isinstance(event, AudioChunk) and self._audio and self._audio[0] == number:
            self._audio.popleft()
            self._audio_bytes -= len(event.audio)
        if self._paused and len(self._events) <= FEW_EVENTS:
            self._paused = False
            self._session.resume()
        return event

    def _drop_oldest(self) -> None:
        number = self._audio.popleft()
        chunk = self._events[number]
        if isinstance(chunk, AudioChunk):
            self._audio_bytes -= len(chunk.audio)
            self.dropped_audio_ms += self._leg.milliseconds(len(chunk.audio))
            if chunk.is_final:  # the news that an item is complete is not audio
                self._events[number] = AudioChunk(b"", True, chunk.item_id, chunk.turn_id, chunk.content_index)
            else:
                del self._events[number]

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


@asynccontextmanager
async def process_audio_stream(
    provider: Provider, audio_in: AsyncIterable[bytes], config: ProcessConfig, *, leg: AudioFormat = PCM16_24K
) -> AsyncIterator[EventStream]:
    """Open a session, feed it from `audio_in`, and give its events to the body. Leaving the body closes the session.

    Audio is in format `leg` both ways, whatever the provider speaks. `audio_in` may be cut anywhere and may end before
    the session does.

    Raises (on entering): any `ProviderError`.
    """
    events = Gate()
    async with provider.connect(config, events, leg=leg) as session, owned_tasks() as start_task:
        stream = EventStream(session, leg)
        events.open(stream.receive)
        start_task(stream.pump(audio_in), name=f"audio for {session.provider}")
        yield stream
