"""Limits of the HTTP side: how many may wait to be known, a deadline for the request to arrive, sizes for all of it.

uvicorn.Config(app, http=DeadlineProtocol)
app.add_middleware(BodyLimit)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

import httptools
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_remote_addr

from tandem.guests import SECONDS, Guest, Guests
from tandem.media_socket import MediaSocketProtocol

if TYPE_CHECKING:
    from array import array

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

WEBHOOK_BYTES: Final = 64 * 1024
"""More than ten times what the largest webhook of a carrier takes."""
HEAD_BYTES: Final = 64 * 1024
"""Of the first line and the headers."""
AHEAD: Final = 16
"""Requests of one connection that may wait for the answer to the one before."""

_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that does not wait for ever: whoever is slower is cut off without an answer.

    Connections that have not shown who they are are counted, and one too many is answered 503 at once. Who is still
    unknown when his time is over gets the answer that we owe him, and no further one (`tandem.guests`).

    Also hands on to the WebSocket protocol what came in behind the upgrade request; uvicorn's own drops it.
    """

    guest_seconds = SECONDS
    """From the connection until it is known; as long again for an answer that we owe by then."""
    header_seconds = 5.0
    """From the connection (or the first byte of a further request) to the end of the headers."""
    body_seconds = 10.0
    """From there to the end of the body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None
        self._guest: Guest | None = None
        """None: turned away."""
        self._owed = False
        """Its time is over, and what it has asked for is being answered."""
        self._in_head = True
        self._head_bytes = 0
        self.parser = _Parser(self)
        # As the parent has it: an answer may still be on its way to a client that has said it will close.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # the parent's signature
        guests: Guests = self.app_state.setdefault("guests", Guests())
        remote = get_remote_addr(transport)
        self._guest = guests.admit(remote[0] if remote is not None else "", self.loop.time(), self.guest_seconds)
        if self._guest is None:
            self.transport = transport
            transport.write(_FULL)
            transport.close()
            return
        super().connection_made(transport)
        self._late = self.loop.call_later(self.guest_seconds, self._is_late)
        self._wait_for(self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._guest is None:
            return
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= AHEAD:
            raise httptools.HttpParserError("too many requests at once")
        if self._deadline is None:
            self._wait_for(self.header_seconds)
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()
        self.scope["state"]["guest"] = self._guest

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes behind a body is of no use to anybody
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._arrived()
        self._wait_for(self.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._arrived()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        behind = cast(_Parser, self.parser).behind_upgrade
        super().handle_websocket_upgrade()
        successor = cast(asyncio.Protocol, self.transport.get_protocol())
        if self._guest is not None and isinstance(successor, MediaSocketProtocol):
            successor.adopt(self._guest)
            self._guest = None
        self._gone()
        if behind:
            successor.data_received(behind)

    def _is_late(self) -> None:
        if self._guest is None or not self._guest.there:
            return
        if self._owed or self.cycle is None or self._deadline is not None:
            self._guest.late(self.loop.time())
            self.transport.abort()
            return
        self._owed = True
        self._late = self.loop.call_later(self.guest_seconds, self._is_late)
        if self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _gone(self) -> None:
        """Nothing here is waited for any more."""
        self._arrived()
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._guest is not None:
            self._guest.leave()

    def _wait_for(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Parser(httptools.HttpRequestParser):
    """Remembers what follows the head of an upgrade request."""

    behind_upgrade = b""

    def feed_data(self, data: bytes | bytearray | memoryview[int] | array[int]) -> None:
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.behind_upgrade = bytes(data[upgrade.args[0] :])
            raise


class _TooLarge(Exception):
    """The body went over the limit while the application was reading it."""


class BodyLimit:
    """ASGI middleware: a request whose body is over `max_bytes` gets 413, by its announced length or as it comes in.

    One whose body does not come to its end gets nothing, and leaves no trace in the log.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = WEBHOOK_BYTES) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > self._max_bytes:
            await _refuse(send)
            return
        taken = 0
        answering = False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_bytes:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal answering
            if answering or taken <= self._max_bytes:  # else it is the application's word for `_TooLarge`
                answering = True
                await send(message)

        try:
            await self._app(scope, counted, watched)
        except ClientDisconnect:
            return  # whoever is gone before his body has come is no failure of ours
        except _TooLarge:
            if answering:
                raise
        if not answering:
            await _refuse(send)


async def _refuse(send: Send) -> None:
    body = b"request body too large"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    # The rest of the body is not waited for, so the connection can't be used again.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
