"""The only file that opens a provider's socket: drives a pure `WireProtocol` over it.

Frames take one synchronous path each way: socket -> `protocol.receive` -> the event sink, and `send_audio` ->
`protocol.audio` -> socket. Tasks exist for function calls only, and belong to the session.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import re
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Final

import msgspec

from tandem_codecs.format import PCM16_24K, AudioFormat
from tandem_providers.commands import Command
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tandem_providers.events import (
    AudioChunk,
    Event,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    ToolCall,
    ToolCallCancelled,
)
from tandem_providers.provider import (
    FRESH,
    Binary,
    Capabilities,
    Dial,
    EventSink,
    KeepsTime,
    Lane,
    Opening,
    SpeaksBinary,
    SpeaksBriefly,
    StaysAwake,
    TakesLeave,
    WireProtocol,
)
from tandem_providers.stream import EventStream, process_audio_stream
from tandem_providers.tasks import owned_tasks
from tandem_providers.tools import TOOL_SECONDS, ToolRunner
from tandem_providers.wire import FrameSocket, HandshakeRefused, open_socket

MakeProtocol = Callable[[ProcessConfig, AudioFormat, Opening], WireProtocol]
"""Makes the protocol of one session for a leg of that format. Raises `InvalidConfigError`."""
Locate = Callable[[Dial], Awaitable[Dial]]
"""The address of one connection where it has to be fetched first. Raises any `ProviderError`."""
Authorise = Callable[[], Awaitable[Mapping[str, str]]]
"""Headers for one connection where they have to be fetched first, such as a token. Raises any `ProviderError`."""

CONNECT_SECONDS: Final = 2.0
READY_SECONDS: Final = 5.0
SEND_BUFFER: Final = 1_000_000
"""Bytes that may wait for a provider that does not read: some 15 s of speech. Then new speech is dropped."""
CLOSE_SECONDS: Final = 1.0
"""How long leaving a session waits for the provider's half of the closing handshake."""

_WATCHED: Final = frozenset({SessionReady, ToolCall, ToolCallCancelled, SessionClosed})
"""Events that a session acts upon itself; all others just pass through."""


class WebSocketProvider:
    """A provider that is reached over a WebSocket.

    `connect_seconds` is for DNS, TCP, TLS and handshake; `ready_seconds` for all until the session is ready.
    `authorise` is asked before each connection for headers that the protocol can't know, `locate` for its address.
    """

    def __init__(
        self,
        name: str,
        capabilities: Capabilities,
        make_protocol: MakeProtocol,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        ready_seconds: float = READY_SECONDS,
        tool_seconds: float = TOOL_SECONDS,
        authorise: Authorise | None = None,
        locate: Locate | None = None,
    ) -> None:
        self.name = name
        self.capabilities = capabilities
        self._make_protocol = make_protocol
        self._connect_seconds = connect_seconds
        self._ready_seconds = ready_seconds
        self._tool_seconds = tool_seconds
        self._authorise = authorise
        self._locate = locate
        self._sessions: set[SocketSession] = set()

    def check(self, config: ProcessConfig, *, leg: AudioFormat = PCM16_24K) -> None:
        """Find out without any I/O whether a session of this kind could be asked for at all.

        Raises:
            InvalidConfigError: it could not, whatever the provider says.
        """
        self._make_protocol(config, leg, FRESH).dial()

    @asynccontextmanager
    async def connect(
        self, config: ProcessConfig, on_event: EventSink, *, leg: AudioFormat = PCM16_24K, opening: Opening = FRESH
    ) -> AsyncIterator[SocketSession]:
        """See `Provider.connect`. Events begin with `SessionReady` and end with `SessionClosed`.

        When entering raises there was no session, and neither of the two is told (a `ProviderWarning` may be).
        """
        protocol = self._make_protocol(config, leg, opening)
        async with owned_tasks() as start_task:
            session = SocketSession(self.name, protocol, on_event)
            session.tools = ToolRunner(config, start_task, session.send, session.warn, seconds=self._tool_seconds)
            self._sessions.add(session)
            try:
                await session.open(self._connect_seconds, self._ready_seconds, self._authorise, self._locate)
                yield session
            finally:
                self._sessions.discard(session)
                await session.close()

    def process_audio_stream(
        self, audio_in: AsyncIterable[bytes], config: ProcessConfig
    ) -> AbstractAsyncContextManager[EventStream]:
        """See `Provider.process_audio_stream`: PCM16 24 kHz in and out."""
        return process_audio_stream(self, audio_in, config)

    async def close(self) -> None:
        """End all sessions that are up."""
        for session in list(self._sessions):
            await session.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class SocketSession:
    """One live session: a `Session` to its user, a `FrameReceiver` to its socket."""

    __slots__ = (
        "_awake",
        "_ended",
        "_leaving",
        "_left",
        "_live",
        "_occurred",
        "_on_event",
        "_protocol",
        "_ready",
        "_receive",
        "_receive_binary",
        "_silent",
        "_socket",
        "_stalled",
        "_voice",
        "capabilities",
        "dropped_bytes",
        "input_format",
        "lane",
        "output_format",
        "provider",
        "tools",
    )

    def __init__(self, provider: str, protocol: WireProtocol, on_event: EventSink) -> None:
        self.provider = provider
        self.capabilities: Capabilities = protocol.capabilities
        self.input_format: AudioFormat = protocol.capabilities.input_formats[0]
        self.output_format: AudioFormat = protocol.capabilities.output_formats[0]
        self.tools: ToolRunner | None = None
        self.dropped_bytes = 0
        """Caller audio thrown away because the provider did not read."""
        self._protocol = protocol
        self._on_event = on_event
        self._socket: FrameSocket | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._live = False
        """Ready and not over: may be spoken to."""
        self._ended = False
        self._left = False
        """The provider has answered our farewell, or is gone."""
        self._leaving: asyncio.Future[None] | None = None
        """Waits for that."""
        self._stalled = False
        self._receive = protocol.receive
        self._voice = protocol.voice if isinstance(protocol, SpeaksBriefly) else _long_way
        self._receive_binary = protocol.receive_binary if isinstance(protocol, SpeaksBinary) else protocol.receive
        self._occurred = protocol.occurred if isinstance(protocol, KeepsTime) else None
        self.lane: Lane | None = None
        self._silent = True
        """Nothing has been sent since this was last looked at."""
        self._awake: asyncio.TimerHandle | None = None

    # Session

    def send_audio(self, audio: bytes) -> None:
        """Caller audio in `input_format`, any length. Dropped while the provider is far behind in reading."""
        socket = self._socket
        if socket is None or not self._live:
            return
        if socket.congested and socket.buffered > SEND_BUFFER:
            self._drop(audio)
            return
        self._silent = False
        whole = self._voice(audio)
        if whole is not None:
            socket.send_text(whole)
            return
        for message in self._protocol.audio(audio):
            if type(message) is Binary:
                socket.send_binary(message)
            else:
                socket.send_text(message)
        if self._occurred is not None:
            self._tell(self._occurred())

    def send(self, command: Command) -> None:
        socket = self._socket
        if socket is not None and self._live:
            self._transmit(socket, self._protocol.send(command))
            if self._occurred is not None:
                self._tell(self._occurred())

    def pause(self) -> None:
        if self._socket is not None:
            self._socket.pause_reading()

    def resume(self) -> None:
        if self._socket is not None:
            self._socket.resume_reading()

    # FrameReceiver

    def on_message(self, data: bytes, is_text: bool) -> None:
        events = self._receive(data) if is_text else self._receive_binary(data)
        lane = self.lane
        if lane is not None and len(events) == 1:
            piece = events[0]
            if (
                type(piece) is AudioChunk
                and not piece.is_final
                and not piece.content_index
                and lane(piece.audio, piece.item_id)
            ):
                return
        self._tell(events)
        if not self._ended:
            self._send_outgoing()

    def on_close(self, code: int, reason: str) -> None:
        self._has_left()
        if not self._ended:
            error = self._protocol.closed(code, reason)
            if self._live and self._occurred is not None:
                self._tell(self._occurred())
            self._end(error, code, reason)

    # Lifetime

    async def open(
        self,
        connect_seconds: float,
        ready_seconds: float,
        authorise: Authorise | None = None,
        locate: Locate | None = None,
    ) -> None:
        """Connect and wait until the session is ready.

        Raises:
            ProviderError: it did not get ready, in time or at all.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ready_seconds
        try:
            dial = self._protocol.dial()
            if authorise is not None:
                async with asyncio.timeout_at(deadline):
                    dial = replace(dial, headers={**dial.headers, **await authorise()})
            if locate is not None:
                async with asyncio.timeout_at(deadline):
                    dial = await locate(dial)
            connect_seconds = min(connect_seconds, deadline - loop.time())
            self._socket = await open_socket(dial, self, connect_seconds=connect_seconds)
        except Exception as error:
            raise sort_failure(error, self.provider) from error
        self._send_outgoing()
        # `wait` and not `wait_for`: when readiness and deadline meet, the session counts as ready.
        await asyncio.wait([self._ready], timeout=deadline - loop.time())
        if not self._ready.done():
            message = f"not ready within {ready_seconds:g} s"
            raise ProviderUnavailableError(message, provider=self.provider, code="ready_timeout")
        self._ready.result()

    async def close(self) -> None:
        """End the session, and close the socket with a short wait for the provider's part in it. Idempotent.

        One that never got ready is not waited for: the caller needs the next provider now.
        """
        was_live = self._live
        self._end(None, None, "")
        socket = self._socket
        if socket is None:
            return
        try:
            if was_live and isinstance(self._protocol, TakesLeave):
                await self._take_leave(socket, self._protocol.farewell())
            socket.close()
            if self._ready.exception() is None:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await socket.wait_closed()
        except TimeoutError:
            pass
        finally:
            socket.abort()

    async def _take_leave(self, socket: FrameSocket, messages: list[bytes]) -> None:
        """Say goodbye, and wait a little for the answer: only then the provider has settled its accounts."""
        socket.resume_reading()
        self._transmit(socket, messages)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if not self._left:
                    self._leaving = asyncio.get_running_loop().create_future()
                    await self._leaving
        except TimeoutError:
            pass

    def _has_left(self) -> None:
        self._left = True
        if self._leaving is not None and not self._leaving.done():
            self._leaving.set_result(None)

    def warn(self, warning: ProviderWarning) -> None:
        """Tell the user of something that the protocol does not know of."""
        if not self._ended:
            self._on_event(warning)

    def _tell(self, events: Iterable[Event]) -> None:
        """Events for the user, in order; after the end there is only one that still matters."""
        for event in events:
            if self._ended:
                if isinstance(event, SessionClosed):
                    self._has_left()
            elif type(event) in _WATCHED:
                self._heed(event)
            else:
                self._on_event(event)

    def _heed(self, event: Event) -> None:
        if isinstance(event, SessionReady):
            self.input_format, self.output_format = event.input_format, event.output_format
            self._live = True
            if self._awake is None and isinstance(self._protocol, StaysAwake):
                self._stay_awake(self._protocol)
            self._on_event(event)
            if not self._ready.done():
                self._ready.set_result(None)
        elif isinstance(event, ToolCall):
            self._on_event(event)
            if self.tools is not None:
                self.tools.start(event)
        elif isinstance(event, ToolCallCancelled):
            self._on_event(event)
            if self.tools is not None:
                self.tools.cancel(event.call_id)
        elif isinstance(event, SessionClosed):
            self._end(event.error, event.code, event.reason)
            if self._socket is not None:
                self._socket.close()

    def _end(self, error: ProviderError | None, code: int | None, reason: str) -> None:
        """Whatever ends the session comes through here; only the first time counts."""
        if self._ended:
            return
        self._ended = True
        was_live, self._live = self._live, False
        self.lane = None
        if self._awake is not None:
            self._awake.cancel()
        if error is not None and not error.provider:
            error.provider = self.provider
        if self.tools is not None:
            self.tools.close()
        if was_live:
            self._on_event(SessionClosed(error, code, reason))
        if not self._ready.done():
            self._ready.set_exception(error or self._never_ready(code))
            self._ready.exception()  # marks it as seen: whoever waited may be gone

    def _never_ready(self, code: int | None) -> ProviderError:
        return ProviderUnavailableError("closed before it was ready", provider=self.provider, status=code)

    def _send_outgoing(self) -> None:
        socket = self._socket
        if socket is not None:
            self._transmit(socket, self._protocol.outgoing())

    def _transmit(self, socket: FrameSocket, messages: Iterable[bytes]) -> None:
        for message in messages:
            self._silent = False
            if type(message) is Binary:
                socket.send_binary(message)
            else:
                socket.send_text(message)

    def _stay_awake(self, protocol: StaysAwake) -> None:
        """Looks twice in the time that may pass, so that the longest silence is no longer than that."""
        if self._silent and self._socket is not None:
            self._transmit(self._socket, protocol.keep_alive())
        self._silent = True
        loop = asyncio.get_running_loop()
        self._awake = loop.call_later(protocol.idle_seconds / 2, self._stay_awake, protocol)

    def _drop(self, audio: bytes) -> None:
        self.dropped_bytes += len(audio)
        if not self._stalled:
            self._stalled = True
            self.warn(ProviderWarning("audio_dropped", "the provider does not read; the caller's words are dropped"))


def _long_way(audio: bytes) -> None:
    """The short way of protocols that have none."""


def sort_failure(error: Exception, provider: str) -> ProviderError:
    """What went wrong while connecting, as one of ours. Never carries a header or a body: they may hold secrets."""
    match error:
        case ProviderError():
            error.provider = error.provider or provider
            return error
        case HandshakeRefused():
            return _refused(error, provider)
        case TimeoutError():
            return ConnectionFailedError("no connection in time", provider=provider, code="connect_timeout")
        case OSError():
            return ConnectionFailedError(f"no connection: {type(error).__name__}: {error}", provider=provider)
        case _:
            return InvalidConfigError(f"cannot connect with these settings ({type(error).__name__})", provider=provider)


_EXHAUSTED: Final = re.compile(rb"insufficient_quota|credit_balance_exhausted|billing_hard_limit_reached")
"""What vendors write into a refusal when the money is gone, whatever its status."""


def _refused(refusal: HandshakeRefused, provider: str) -> ProviderError:
    status = refusal.status
    exhausted = status == 402 or _EXHAUSTED.search(refusal.body) is not None
    kind: type[ProviderError]
    if exhausted or status == 429:
        kind = RateLimitedError
    elif status in (401, 403):
        kind = AuthenticationFailedError
    elif status >= 500 or status in (408, 425):
        kind = ProviderUnavailableError
    else:
        kind = InvalidConfigError
    sorted_error = kind(
        f"refused the connection with HTTP {status}",
        provider=provider,
        code=_code(refusal.body),
        status=status,
        retry_after=_retry_after(refusal.headers.get("retry-after", "")),
    )
    if isinstance(sorted_error, RateLimitedError):
        sorted_error.exhausted = exhausted
    return sorted_error


def _code(body: bytes) -> str:
    """The vendor's word for the failure: `{"error": {"code": ...}}` is what most write. Nothing that isn't a word."""
    try:
        error = msgspec.json.decode(body)["error"]
        code = error.get("code") or error.get("type") or ""
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return code if isinstance(code, str) and re.fullmatch(r"[\w.-]{1,64}", code, re.ASCII) else ""


def _retry_after(value: str) -> float | None:
    """Seconds, given as a number or as a date."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
