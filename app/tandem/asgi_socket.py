"""A media stream over nothing but ASGI: `wire.FrameSocket` for servers that do not offer the frame path.

Costs several times what `media_socket` does; a call sounds the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from starlette.websockets import WebSocketDisconnect

from tandem_providers.frame_socket import BROKEN, Allowance, Limits

if TYPE_CHECKING:
    from fastapi import WebSocket

    from tandem_providers.wire import FrameReceiver

logger = logging.getLogger(__name__)


class AsgiSocket:
    """The same socket where the server offers nothing but ASGI. The owner awaits `wait_closed`: it moves the frames."""

    def __init__(self, websocket: WebSocket, receiver: FrameReceiver, limits: Limits) -> None:
        self._websocket = websocket
        self._receiver = receiver
        self._limits = limits
        rate = limits.messages_per_second
        self._allowance = Allowance(rate, asyncio.get_running_loop().time) if rate else None
        self._outbox: deque[tuple[bool, bytes]] = deque()
        self._buffered = 0
        self._to_send = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._ending = asyncio.Event()
        self._end = (BROKEN, "")
        """How, once it is to end."""
        self._say_why = False
        """The far end is to hear what was said before, and a close frame."""
        self._pumping = False
        self._closed = asyncio.Event()

    @property
    def buffered(self) -> int:
        """Bytes that the ASGI server has not taken yet; what it holds itself can't be seen from here."""
        return self._buffered

    @property
    def congested(self) -> bool:
        return self._buffered > 0

    def send_text(self, data: bytes) -> None:
        self._put(True, data)

    def send_binary(self, data: bytes) -> None:
        self._put(False, data)

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._stop(code, reason, say_why=True)

    def abort(self) -> None:
        """ASGI has no such thing: the server cuts the connection when the endpoint returns."""
        self._stop(BROKEN, "")

    async def wait_closed(self) -> None:
        """Move frames until the socket is closed (the first who awaits does), and return after `on_close`."""
        if self._pumping:
            await self._closed.wait()
            return
        self._pumping = True
        try:
            async with asyncio.TaskGroup() as pumps:
                receiving = pumps.create_task(self._receive())
                sending = pumps.create_task(self._send())
                await self._ending.wait()
                if self._say_why:
                    await asyncio.wait([sending], timeout=self._limits.close_seconds)
                sending.cancel()
                receiving.cancel()
        finally:
            self._stop(BROKEN, "")
            try:
                self._receiver.on_close(*self._end)
            except Exception:
                logger.exception("on_close failed")
            self._closed.set()

    def _put(self, is_text: bool, data: bytes) -> None:
        if not self._ending.is_set():
            self._outbox.append((is_text, data))
            self._buffered += len(data)
            self._to_send.set()

    def _stop(self, code: int, reason: str, *, say_why: bool = False) -> None:
        """It is to end like this, unless it is ending already."""
        if not self._ending.is_set():
            self._end = (code, reason)
            self._say_why = say_why
            self._ending.set()
            self._to_send.set()

    async def _send(self) -> None:
        try:
            while self._outbox or not self._ending.is_set():
                self._to_send.clear()
                while self._outbox:
                    is_text, data = self._outbox.popleft()
                    await (self._websocket.send_text(data.decode()) if is_text else self._websocket.send_bytes(data))
                    self._buffered -= len(data)
                if not self._ending.is_set():
                    await self._to_send.wait()
            await self._websocket.close(*self._end)
        except (WebSocketDisconnect, RuntimeError):  # the latter when we have just been told that it is gone
            self._stop(BROKEN, "")

    async def _receive(self) -> None:
        while not self._ending.is_set():
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._stop(message.get("code", BROKEN), message.get("reason") or "")
                return
            await self._may_read.wait()
            text = message.get("text")
            self._deliver(message["bytes"] if text is None else text.encode(), text is not None)

    def _deliver(self, data: bytes, is_text: bool) -> None:
        if len(data) > self._limits.max_message:
            self.close(1009, "message too big")
        elif self._allowance is not None and not self._allowance.spend():
            self.close(1008, "too many messages a second")
        elif not self._ending.is_set():
            try:
                self._receiver.on_message(data, is_text)
            except Exception:
                logger.exception("socket closed: its receiver failed")
                self.close(1011, "internal error")
