"""Far ends for tests: a provider on loopback and one in process. They record what they are told, stall, lie, hang up.

The provider on loopback speaks a small language of its own (`FakeProtocol`), one JSON object a message, so that tests
of the engine do not depend on any vendor's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import websockets.asyncio.server as ws_server
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tandem_codecs.format import PCM16_24K, AudioFormat
from tandem_providers.commands import Command, ToolResult
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import AuthenticationFailedError, ConnectionFailedError, ProviderError, SessionClosedError
from tandem_providers.events import (
    AudioChunk,
    Event,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    ToolCall,
    ToolCallCancelled,
    TurnEnded,
)
from tandem_providers.provider import FRESH, Capabilities, Dial, EventSink, Opening
from tandem_providers.session import WebSocketProvider
from tandem_providers.stream import EventStream, process_audio_stream

E = TypeVar("E", bound=Event)

PATIENCE = 5.0
"""Seconds until a test that waits for something gives up. Never waited for when all is well."""


class News:
    """Wakes whoever waits for a condition, each time that something happened."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        self._event.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._event.clear()
                await self._event.wait()


class Events:
    """An event sink that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self._news = News()

    def __call__(self, event: Event) -> None:
        self.all.append(event)
        self._news.tell()

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.all]

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.all if isinstance(event, kind)]

    def audio(self) -> bytes:
        return b"".join(chunk.audio for chunk in self.of(AudioChunk))

    async def until(self, kind: type[E], count: int = 1) -> E:
        """Wait for that many of this kind; answers the last of them."""
        await self._news.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]


def capabilities(input_format: AudioFormat, output_format: AudioFormat | None = None) -> Capabilities:
    return Capabilities(input_formats=(input_format,), output_formats=(output_format or input_format,), text_in=True)


# --- on loopback ------------------------------------------------------------------------------------------------------


class FakeProtocol:
    """The client's side of the fake's language: a `WireProtocol`."""

    def __init__(self, url: str, config: ProcessConfig, speaks: AudioFormat, name: str) -> None:
        self.capabilities = capabilities(speaks)
        self._url = url
        self._speaks = speaks
        self._name = name
        self._outgoing = [self._message("setup", instructions=config.instructions)]

    def dial(self) -> Dial:
        return Dial(self._url, {"Authorization": "Bearer planted"})

    def receive(self, message: bytes) -> list[Event]:
        try:
            told = json.loads(message)
            return list(self._events(told["type"], told))
        except (ValueError, KeyError, TypeError) as error:
            return [ProviderWarning("malformed", type(error).__name__)]

    def outgoing(self) -> list[bytes]:
        messages, self._outgoing = self._outgoing, []
        return messages

    def audio(self, audio: bytes) -> list[bytes]:
        return [self._message("audio", audio=base64.b64encode(audio).decode())]

    def send(self, command: Command) -> list[bytes]:
        if isinstance(command, ToolResult):
            return [self._message("result", id=command.call_id, output=command.output)]
        return [self._message("command", name=type(command).__name__)]

    def closed(self, code: int, reason: str) -> ProviderError | None:
        if code == 1000:
            return None
        kind = AuthenticationFailedError if code == 3000 else ConnectionFailedError
        return kind(f"closed: {reason}", status=code)

    def _events(self, kind: str, told: Mapping[str, Any]) -> Iterator[Event]:
        match kind:
            case "ready":
                yield SessionReady(self._name, self._speaks, self._speaks, session_id="s1")
            case "audio":
                yield AudioChunk(base64.b64decode(told["audio"]), told.get("final", False), told.get("item", "i1"))
            case "turn_ended":
                yield TurnEnded("t1", told["status"])
            case "tool":
                yield ToolCall(told["id"], told["name"], told["arguments"])
            case "tool_cancelled":
                yield ToolCallCancelled(told["id"])
            case "expired":
                yield SessionClosed(SessionClosedError("time is up", code="expired"))
            case "answer_me":
                self._outgoing.append(self._message("answer"))

    @staticmethod
    def _message(kind: str, **fields: Any) -> bytes:
        return json.dumps({"type": kind, **fields}).encode()


class Visit:
    """One connection, as the fake provider sees it."""

    def __init__(self, connection: ws_server.ServerConnection, news: News) -> None:
        self.connection = connection
        self.messages: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self._news = news

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    @property
    def heard(self) -> bytes:
        return b"".join(base64.b64decode(message["audio"]) for message in self.of("audio"))

    async def send(self, kind: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def say(self, audio: bytes, *, final: bool = False, item: str = "i1") -> None:
        await self.send("audio", audio=base64.b64encode(audio).decode(), final=final, item=item)

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(await self.connection.recv())
        self.messages.append(message)
        self._news.tell()
        return message

    async def listen(self) -> None:
        """Hear everything until the other side closes."""
        while True:
            await self.hear()

    def cut(self) -> None:
        self.connection.transport.abort()


Script = Callable[[Visit], Awaitable[None]]


async def polite(visit: Visit) -> None:
    """Set up, then listen."""
    await visit.hear()
    await visit.send("ready")
    await visit.listen()


class ProviderServer:
    """A provider on loopback that does with each visitor what `script` says.

    `refuse` is an HTTP status to answer instead of a WebSocket.
    """

    def __init__(
        self,
        script: Script = polite,
        *,
        refuse: int = 0,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        self.script = script
        self.refuse = refuse
        self.visits: list[Visit] = []
        self.requests: list[Request] = []
        self.news = News()
        self.url = ""
        self._headers = headers or {}
        self._body = body

    async def __aenter__(self) -> ProviderServer:
        self._server = await ws_server.serve(self._serve, "127.0.0.1", 0, process_request=self._answer)
        self.url = f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def visit(self) -> Visit:
        """The last one."""
        return self.visits[-1]

    @property
    def open(self) -> int:
        """Connections that are up."""
        return sum(visit.closed is None for visit in self.visits)

    def provider(self, name: str = "fake", speaks: AudioFormat = PCM16_24K, **options: Any) -> WebSocketProvider:
        return web_socket_provider(self.url, name, speaks, **options)

    async def until(self, condition: Callable[[], object]) -> None:
        await self.news.until(condition)

    async def _answer(self, connection: ws_server.ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if not self.refuse:
            return None
        headers = Headers(self._headers)
        headers["Content-Length"] = str(len(self._body))
        return Response(self.refuse, "Refused", headers, self._body)

    async def _serve(self, connection: ws_server.ServerConnection) -> None:
        visit = Visit(connection, self.news)
        self.visits.append(visit)
        self.news.tell()
        try:
            await self.script(visit)
        except ConnectionClosed:
            pass
        finally:
            await connection.close()
            visit.closed = (connection.close_code or 1006, connection.close_reason or "")
            self.news.tell()


def web_socket_provider(
    url: str, name: str = "fake", speaks: AudioFormat = PCM16_24K, **options: Any
) -> WebSocketProvider:
    """The engine around the fake's language."""
    return WebSocketProvider(
        name, capabilities(speaks), lambda config, leg, opening: FakeProtocol(url, config, speaks, name), **options
    )


@asynccontextmanager
async def mute_server() -> AsyncIterator[str]:
    """Takes connections and never says a word: the WebSocket handshake hangs."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


@contextmanager
def black_hole() -> Iterator[str]:
    """An address where connecting hangs: the queue of a listener that accepts nobody is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"


# --- in process -------------------------------------------------------------------------------------------------------


class FakeSession:
    """A session that remembers what it was told, and says what the test says."""

    def __init__(self, provider: FakeProvider, on_event: EventSink) -> None:
        self.provider = provider.name
        self.capabilities = provider.capabilities
        self.input_format = provider.capabilities.input_formats[0]
        self.output_format = provider.capabilities.output_formats[0]
        self.told: list[bytes | Command] = []
        self.pauses: list[bool] = []
        self.tell = on_event
        self.ended = False

    @property
    def heard(self) -> bytes:
        return b"".join(piece for piece in self.told if isinstance(piece, bytes))

    @property
    def commands(self) -> list[Command]:
        return [piece for piece in self.told if not isinstance(piece, bytes)]

    def send_audio(self, audio: bytes) -> None:
        self.told.append(audio)

    def send(self, command: Command) -> None:
        self.told.append(command)

    def pause(self) -> None:
        self.pauses.append(True)

    def resume(self) -> None:
        self.pauses.append(False)

    def end(self, error: ProviderError | None = None) -> None:
        if not self.ended:
            self.ended = True
            self.tell(SessionClosed(error))


class FakeProvider:
    """A provider in process. `results` are what its attempts come to, in order: an error, or None for a session; the
    last one goes for all that follow. It takes `steps` turns of the loop to open and to close; `hangs` never opens."""

    def __init__(
        self,
        name: str = "fake",
        speaks: AudioFormat = PCM16_24K,
        *,
        results: Iterable[Exception | None] = (None,),
        steps: int = 0,
        hangs: bool = False,
    ) -> None:
        self.name = name
        self.capabilities = capabilities(speaks)
        self.results = list(results)
        self.steps = steps
        self.hangs = hangs
        self.attempts = 0
        self.open = 0
        """Sessions and attempts under way."""
        self.sessions: list[FakeSession] = []
        self.configs: list[ProcessConfig] = []
        self.openings: list[Opening] = []
        self.closed = False

    @property
    def session(self) -> FakeSession:
        """The last one."""
        return self.sessions[-1]

    @asynccontextmanager
    async def connect(
        self, config: ProcessConfig, on_event: EventSink, *, leg: AudioFormat = PCM16_24K, opening: Opening = FRESH
    ) -> AsyncIterator[FakeSession]:
        self.attempts += 1
        self.open += 1
        self.configs.append(config)
        self.openings.append(opening)
        session: FakeSession | None = None
        try:
            await self._steps()
            if self.hangs:
                await asyncio.get_running_loop().create_future()
            result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
            if result is not None:
                raise result
            session = FakeSession(self, on_event)
            self.sessions.append(session)
            on_event(SessionReady(self.name, session.input_format, session.output_format))
            await self._steps()
            yield session
        finally:
            if session is not None:
                session.end()
            try:
                await self._steps()
            finally:  # a second cancellation does not wait for politeness
                self.open -= 1

    def process_audio_stream(
        self, audio_in: AsyncIterable[bytes], config: ProcessConfig
    ) -> AbstractAsyncContextManager[EventStream]:
        return process_audio_stream(self, audio_in, config)

    async def close(self) -> None:
        self.closed = True

    async def _steps(self) -> None:
        for _ in range(self.steps):
            await asyncio.sleep(0)


# --- cancelling everywhere --------------------------------------------------------------------------------------------


async def turns(count: int) -> None:
    """Let the loop go round that often."""
    for _ in range(count):
        await asyncio.sleep(0)


def tasks() -> set[asyncio.Task[Any]]:
    """All tasks but the one that asks, and those that the other side's library has for its connections."""

    def theirs(task: asyncio.Task[Any]) -> bool:
        where = getattr(getattr(task.get_coro(), "cr_code", None), "co_filename", "")
        return "/websockets/" in where or "/asyncio/" in where

    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not theirs(task)}


async def cancel_everywhere(
    work: Callable[[], Awaitable[None]], check: Callable[[], Awaitable[None]], *, most: int = 500
) -> int:
    """Run `work` again and again, each time cancelled one turn of the loop later, until it ends by itself.

    `check` says after each run that nothing is left over. Answers how many runs were cancelled.
    """
    for count in range(most):
        before = tasks()
        task = asyncio.ensure_future(work())
        await turns(count)
        cancelled = task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            assert cancelled
        await check()
        left = tasks() - before
        assert not left, f"left over after a cancellation at turn {count}: {left}"
        if not cancelled:
            return count
    raise AssertionError(f"not finished after {most} turns of the loop")
