"""Limits of the HTTP side: a deadline for the request to arrive, a size for its body.

uvicorn.Config(app, http=DeadlineProtocol)
app.add_middleware(BodyLimit)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from array import array

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

WEBHOOK_BYTES: Final = 64 * 1024
"""More than ten times what the largest webhook of a carrier takes."""


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that does not wait for ever: whoever is slower is cut off without an answer.

    Also hands on to the WebSocket protocol what came in behind the upgrade request; uvicorn's own drops it.
    """

    header_seconds = 5.0
    """From the connection (or the first byte of a further request) to the end of the headers."""
    body_seconds = 10.0
    """From there to the end of the body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self.parser = _Parser(self)
        # As the parent has it: an answer may still be on its way to a client that has said it will close.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # the parent's signature
        super().connection_made(transport)
        self._wait_for(self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        if self._deadline is None:
            self._wait_for(self.header_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._arrived()
        self._wait_for(self.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._arrived()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        behind = cast(_Parser, self.parser).behind_upgrade
        super().handle_websocket_upgrade()
        if behind:
            cast(asyncio.Protocol, self.transport.get_protocol()).data_received(behind)

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
    """ASGI middleware: a request whose body is over `max_bytes` gets 413, by its announced length or as it comes in."""

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
