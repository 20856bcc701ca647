"""An open WebSocket over an asyncio transport: `wire.FrameSocket` for either end, after the handshake.

One synchronous path from "bytes arrived" to the receiver's callback and from `send_text` to the transport; the only
timers are keep-alive and the deadline of the closing handshake.

Why frames of our own: on a bare pass-through bridge with a hundred calls, ordinary ASGI on the carrier's side alone
costs 1.8 times the CPU of this, and picows (C, on both sides) 0.85 to 0.95 of it. That last tenth would be bought with
a second handshake replayed into a private class, no say over what is kept of an oversized message, and a buffer for
each socket. Autobahn's groups 1 to 7 and 10 find nothing wrong at either end, on either event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tandem_providers import frames
from tandem_providers.frames import TEXT, WHOLE_TEXT, client_frame, server_frame

if TYPE_CHECKING:
    from tandem_providers.wire import FrameReceiver

logger = logging.getLogger(__name__)

BROKEN: Final = 1006
TOO_MANY: Final = "too many messages a second"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a socket puts up with."""

    max_message: int = 16 * 1024 * 1024
    """Bytes of one message, pieces together; more closes 1009."""
    messages_per_second: int | None = None
    """Sustained; two seconds' worth may come at once. More closes 1008. Control frames count."""
    ping_seconds: float = 20.0
    """A ping this often."""
    pong_seconds: float = 10.0
    """Not one byte for so long after a ping = the connection is dead. Any traffic proves it alive, not just a pong:
    some far ends never answer pings."""
    close_seconds: float = 3.0
    """How long the far end may take to answer our close frame."""
    linger_seconds: float = 1.0
    """How long what a far end still sends is read and thrown away after it broke the protocol: cutting at once would
    make the kernel throw away the close frame that says why."""
    send_buffer: int | None = None
    """Bytes the kernel may hold for a far end that does not read (SO_SNDBUF); the rest shows in `buffered`."""


class Allowance:
    """How many messages may still come: `rate` a second, two seconds' worth at once. Costs a subtraction a message."""

    __slots__ = ("_clock", "_credit", "_earning_since", "_rate")

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._credit = 2 * rate
        self._earning_since = clock()

    def spend(self) -> bool:
        """Count one message; whether it was within the allowance."""
        self._credit -= 1
        if self._credit < 0:
            now = self._clock()
            earned = int((now - self._earning_since) * self._rate)
            self._earning_since = now
            self._credit = min(earned, 2 * self._rate) - 1
        return self._credit >= 0


def _masks() -> Iterator[bytes]:
    """What a client hides each frame behind: four bytes that nobody can foresee, without a system call for each."""
    while True:
        block = os.urandom(256)
        for at in range(0, len(block), 4):
            yield block[at : at + 4]


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()


class Connection(asyncio.Protocol):
    """One open WebSocket, born when the handshake is over. It takes over `transport` and delivers from the loop on.

    `early` is what came in behind the handshake. `on_lost` is told, after `on_close`, when the transport is gone.
    """

    __slots__ = (
        "_alive",
        "_allowance",
        "_closing",
        "_deadline",
        "_end",
        "_finished",
        "_keepalive",
        "_limits",
        "_loop",
        "_lost",
        "_masks",
        "_on_lost",
        "_reader",
        "_reading",
        "_receiver",
        "_senders",
        "_transport",
        "_waiters",
        "_write",
        "congested",
    )

    def __init__(
        self,
        receiver: FrameReceiver,
        transport: asyncio.Transport,
        limits: Limits,
        *,
        client: bool,
        early: bytes = b"",
        on_lost: Callable[[Exception | None], None] | None = None,
    ) -> None:
        self._receiver = receiver
        self._transport = transport
        self._limits = limits
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = frames.FrameReader(masked=not client, max_message=limits.max_message, early=early)
        self._closing = False
        """No message is sent or delivered any more."""
        self._end = (BROKEN, "")
        """What `on_close` will say."""
        self._finished = False
        """It has said it."""
        self._lost = False
        """The transport is gone."""
        self._reading = True
        self._alive = True
        self._deadline: asyncio.TimerHandle | None = None
        self.congested = False
        self._senders: list[asyncio.Future[None]] = []
        self._waiters: list[asyncio.Future[None]] = []
        rate = limits.messages_per_second
        self._allowance = Allowance(rate, self._loop.time) if rate else None
        self._write = transport.write
        self._masks = _masks() if client else None
        transport.set_protocol(self)
        self._keepalive = self._loop.call_later(limits.ping_seconds, self._ping)
        if transport.is_closing():
            self._loop.call_soon(self.connection_lost, None)
            return
        if limits.send_buffer is not None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer)
        self._loop.call_soon(self.data_received, b"")

    # FrameSocket

    @property
    def closing(self) -> bool:
        """Nothing is sent any more."""
        return self._closing

    @property
    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def send_text(self, data: bytes) -> None:
        if not self._closing:
            write, masks = self._write, self._masks
            write(server_frame(TEXT, data) if masks is None else client_frame(TEXT, data, next(masks)))

    def send_binary(self, data: bytes) -> None:
        if not self._closing:
            self._send(frames.BINARY, data)

    def pause_reading(self) -> None:
        """What has been read already, one chunk of the kernel's at most, is still delivered."""
        if self._reading and not self._closing:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def close(self, code: int = 1000, reason: str = "") -> None:
        if not self._closing:
            self._begin_close(code, reason)
            self.resume_reading()
            self._cut_in(self._limits.close_seconds)

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    async def wait_closed(self) -> None:
        if not self._finished:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    async def drain(self) -> None:
        """Wait until the far end has taken enough of what was sent (for senders that can wait)."""
        while self.congested and not self._lost:
            waiter = self._loop.create_future()
            self._senders.append(waiter)
            await waiter

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._alive = True
        if self._finished:
            return
        whole = self._reader.single(data)
        if whole is not None:
            if self._allowance is not None and not self._allowance.spend():
                self._fail(1008, TOO_MANY)
            elif not self._closing:
                try:
                    self._receiver.on_message(whole, data[0] == WHOLE_TEXT)
                except Exception:
                    self._receiver_failed()
            return
        for opcode, payload in self._reader.feed(data):
            self._message(opcode, payload)
        violation = self._reader.violation
        if violation is not None:
            self._fail(violation.code, violation.reason)

    def _message(self, opcode: int, payload: bytes) -> None:
        if self._allowance is not None and not self._allowance.spend():
            self._fail(1008, TOO_MANY)
        if opcode > frames.BINARY:
            self._control(opcode, payload)
        elif not self._closing:
            try:
                self._receiver.on_message(payload, opcode == TEXT)
            except Exception:
                self._receiver_failed()

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        _wake(self._senders)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        _wake(self._senders)
        self._keepalive.cancel()
        if self._deadline is not None:
            self._deadline.cancel()
        self._finish()
        if self._on_lost is not None:
            self._on_lost(exc)

    # Inside

    def _send(self, opcode: int, payload: bytes) -> None:
        masks = self._masks
        self._write(server_frame(opcode, payload) if masks is None else client_frame(opcode, payload, next(masks)))

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == frames.PING:
            if not self._closing:
                self._send(frames.PONG, payload)
        elif opcode == frames.CLOSE and not self._finished:
            if not self._closing:
                code, reason = frames.read_close(payload)
                self._begin_close(code, reason)
            self._finish()
            self._transport.close()
            self._cut_in(self._limits.close_seconds)

    def _begin_close(self, code: int, reason: str) -> None:
        self._closing = True
        self._end = (code, reason)
        self._send(frames.CLOSE, frames.close_payload(code, reason))

    def _receiver_failed(self) -> None:
        logger.exception("socket closed: its receiver failed")
        self._fail(1011, "internal error")

    def _fail(self, code: int, reason: str) -> None:
        """Say why, hang up, and let the far end hear it."""
        if self._finished:
            return
        if not self._closing:
            self._begin_close(code, reason)
        self._end = (code, reason)
        self._finish()
        self.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._cut_in(self._limits.linger_seconds)

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        try:
            self._receiver.on_close(*self._end)
        except Exception:
            logger.exception("on_close failed")
        _wake(self._waiters)

    def _cut_in(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(seconds, self._transport.abort)

    def _ping(self) -> None:
        if not self._closing:
            self._alive = False
            self._send(frames.PING, b"")
            self._keepalive = self._loop.call_later(self._limits.pong_seconds, self._pong_due)

    def _pong_due(self) -> None:
        if self._closing:
            return
        if not self._alive and self._reading:
            self._end = (BROKEN, "ping timeout")
            self._finish()
            self.abort()
            return
        wait = max(self._limits.ping_seconds - self._limits.pong_seconds, 0)
        self._keepalive = self._loop.call_later(wait, self._ping)
