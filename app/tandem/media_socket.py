"""The server's side of a media stream: uvicorn's WebSocket protocol, with a short way for frames after `accept`.

    uvicorn.Config(app, ws=MediaSocketProtocol)

FastAPI keeps routing, authentication and accept. Then the endpoint takes the socket over:

    await websocket.accept()
    socket = take_over(websocket, receiver)     # a tandem_providers.wire.FrameSocket
    await socket.wait_closed()

Frames now reach `receiver` by callback and leave by a synchronous send: no task, queue or ASGI message for each. Under
any other ASGI server (plain `uvicorn tandem.main:app`) `take_over` does the same over ordinary receive and send; that
needs a pump, which runs inside `wait_closed`, so the endpoint always awaits it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

import h11
from uvicorn.protocols.utils import ClientDisconnected, get_local_addr, get_remote_addr, is_ssl

from tandem.asgi_socket import AsgiSocket
from tandem_providers.frame_socket import BROKEN, Connection, Limits

if TYPE_CHECKING:
    from fastapi import WebSocket
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from tandem.guests import Guest
    from tandem_providers.wire import FrameReceiver, FrameSocket

logger = logging.getLogger(__name__)

EXTENSION: Final = "tandem.frames"
"""In the scope's `extensions` where the frame path is to be had."""

MEDIA_LIMITS: Final = Limits(
    max_message=64 * 1024,
    messages_per_second=200,
    pong_seconds=20.0,
    send_buffer=64 * 1024,
)
"""A carrier sends fifty messages a second of some 300 bytes. The kernel is to hold a few seconds of speech at most, or
we would not notice a carrier that has stopped reading."""

_ACCEPT_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_STATUSES: Final = frozenset(HTTPStatus)

Headers = list[tuple[bytes, bytes]]
Event = dict[str, Any]


def take_over(websocket: WebSocket, receiver: FrameReceiver, limits: Limits = MEDIA_LIMITS) -> FrameSocket:
    """Hand an accepted WebSocket to `receiver`; `websocket` is not to be used again. Nothing sent before is lost."""
    extension = websocket.scope.get("extensions", {}).get(EXTENSION)
    if extension is None:
        return AsgiSocket(websocket, receiver, limits)
    return cast("FrameSocket", extension["take_over"](receiver, limits))


class MediaSocketProtocol(asyncio.Protocol):
    """One WebSocket, from the request to its end. Compression is not offered; nothing of the URL is logged (tokens)."""

    __slots__ = (
        "_accepted", "_app_state", "_body", "_config", "_connection", "_deadline", "_early", "_full", "_guest",
        "_http", "_inbox", "_key", "_loop", "_mail", "_refused", "_response", "_server", "_transport",
    )  # fmt: skip

    accept_seconds = 5.0
    """The application accepts or refuses within this time, or the client gets 503."""
    limits = Limits(max_message=64 * 1024, messages_per_second=200, pong_seconds=20.0)
    """For endpoints that do not take the socket over."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._http: h11.Connection | None = h11.Connection(h11.SERVER)
        self._key = b""
        """What the client's key is answered with, once there is a request."""
        self._accepted = False
        self._refused = False
        """With an HTTP response, or the client is gone."""
        self._response: tuple[int, Headers] | None = None
        self._body = b""
        self._early = bytearray()
        """What has come in behind the request."""
        self._full = False
        """Enough of it: reading is paused."""
        self._connection: Connection | None = None
        self._guest: Guest | None = None
        self._inbox: list[Event] = []
        """For the ASGI application; a socket that is taken over needs hardly any of it."""
        self._mail: asyncio.Future[None] | None = None
        """The application waits for the next."""

    # asyncio.Protocol, until somebody takes the frames

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)  # type: ignore[arg-type]  # uvicorn's set is typed for its own classes
        self._deadline = self._loop.call_later(self.accept_seconds, self._refuse, HTTPStatus.SERVICE_UNAVAILABLE)

    def adopt(self, guest: Guest) -> None:
        """The connection was somebody's before: its place among the unknown, and the time it has left, go with it."""
        self._guest = guest
        if self._refused:
            return
        self._deadline.cancel()
        until = min(self._loop.time() + self.accept_seconds, guest.deadline)
        self._deadline = self._loop.call_at(until, self._refuse, HTTPStatus.SERVICE_UNAVAILABLE)

    def data_received(self, data: bytes) -> None:
        if self._http is None or self._refused:
            self._early += data
            if not self._full and len(self._early) > self.limits.max_message:
                self._full = True
                self._transport.pause_reading()
            return
        try:
            self._http.receive_data(data)
            request = self._http.next_event()
        except h11.RemoteProtocolError:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        if isinstance(request, h11.Request):
            self._early += self._http.trailing_data[0]
            self._http = None  # a request is all that it was for
            self._requested(request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._refused = True
        self._deadline.cancel()
        self._known()
        self._server.connections.discard(self)
        if self._connection is None:
            self.on_close(BROKEN, "")

    def shutdown(self) -> None:
        """The server stops now: whoever has calls to finish has let them finish before."""
        if self._accepted:
            self._frames().close(1012)
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    # The handshake

    def _requested(self, request: h11.Request) -> None:
        headers = cast(Headers, list(request.headers))
        fields = dict(headers)
        key = fields.get(b"sec-websocket-key", b"")
        if fields.get(b"sec-websocket-version") != b"13":
            self._refuse(HTTPStatus.UPGRADE_REQUIRED, [(b"sec-websocket-version", b"13")])
        elif request.method != b"GET" or not _is_key(key):
            self._refuse(HTTPStatus.BAD_REQUEST)
        else:
            self._key = base64.b64encode(hashlib.sha1(key + _ACCEPT_SUFFIX, usedforsecurity=False).digest())
            self._post({"type": "websocket.connect"})
            task = self._loop.create_task(self._run(self._scope(request, headers)))
            self._server.tasks.add(task)
            task.add_done_callback(self._server.tasks.discard)

    def _scope(self, request: h11.Request, headers: Headers) -> dict[str, Any]:
        raw_path, _, query = request.target.partition(b"?")
        offered = b",".join(value for name, value in headers if name == b"sec-websocket-protocol").decode("latin-1")
        root_path = self._config.root_path
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": root_path,
            "path": root_path + unquote(raw_path.decode("ascii")),
            "raw_path": root_path.encode("ascii") + raw_path,
            "query_string": query,
            "headers": headers,
            "subprotocols": [name for item in offered.split(",") if (name := item.strip())],
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}, EXTENSION: {"take_over": self._take_over}},
        }

    async def _run(self, scope: dict[str, Any]) -> None:
        code = 1000
        try:
            await self._config.loaded_app(scope, self._receive, self._send)
        except ClientDisconnected:
            pass
        except Exception:
            logger.exception("exception in a WebSocket endpoint")
            code = 1011
        finally:
            if self._accepted:
                self._frames().close(code)
            else:
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _accept(self, headers: Headers, subprotocol: str | None) -> None:
        self._accepted = True
        self._deadline.cancel()
        self._known()
        fields = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-accept", self._key)]
        if subprotocol:
            fields.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        self._transport.write(_head(101, [*fields, *self._server.default_headers, *headers]))

    def _known(self) -> None:
        if self._guest is not None:
            self._guest.leave()

    def _refuse(self, status: int, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
        """Answer with an HTTP response, and hang up."""
        if self._refused:
            return
        self._refused = True
        self._deadline.cancel()
        fields = [(name, value) for name, value in headers if name.lower() not in (b"content-length", b"connection")]
        fields += [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        self._transport.write(_head(status, [*self._server.default_headers, *fields]) + body)
        self._transport.close()

    # ASGI, and the way around it

    def _take_over(self, receiver: FrameReceiver, limits: Limits) -> Connection:
        if not self._accepted or self._connection is not None:
            raise RuntimeError("only an accepted WebSocket can be taken over, and only once")
        self._connection = Connection(
            receiver, self._transport, limits, client=False, early=bytes(self._early), on_lost=self.connection_lost
        )
        self._early.clear()
        if self._full:
            self._transport.resume_reading()
        return self._connection

    def _frames(self) -> Connection:
        """The open socket; unless somebody has taken it over, its messages go to the ASGI application."""
        return self._connection or self._take_over(self, self.limits)

    def on_message(self, data: bytes, is_text: bool) -> None:
        self._post({"type": "websocket.receive", **({"text": data.decode()} if is_text else {"bytes": data})})
        self._frames().pause_reading()

    def on_close(self, code: int, reason: str) -> None:
        self._post({"type": "websocket.disconnect", "code": code, "reason": reason})

    def _post(self, event: Event) -> None:
        self._inbox.append(event)
        if self._mail is not None and not self._mail.done():
            self._mail.set_result(None)

    async def _receive(self) -> Event:
        if not self._inbox and self._accepted:
            self._frames().resume_reading()
        while not self._inbox:
            self._mail = self._loop.create_future()
            await self._mail
        return self._inbox.pop(0)

    async def _send(self, event: Event) -> None:
        kind = event["type"]
        if self._accepted:
            await self._send_message(kind, event)
        elif self._refused:
            raise ClientDisconnected
        elif kind == "websocket.accept":
            self._accept(list(event.get("headers", ())), event.get("subprotocol"))
        elif kind == "websocket.close":
            self._refuse(HTTPStatus.FORBIDDEN)
        elif kind == "websocket.http.response.start":
            self._response = event["status"], list(event.get("headers", ()))
        elif kind == "websocket.http.response.body" and self._response is not None:
            self._body += event.get("body", b"")
            if not event.get("more_body", False):
                self._refuse(*self._response, self._body)
        else:
            raise RuntimeError(f"{kind} before the handshake is over")

    async def _send_message(self, kind: str, event: Event) -> None:
        frames = self._frames()
        if frames.closing:
            raise ClientDisconnected
        if kind == "websocket.close":
            frames.close(event.get("code", 1000), event.get("reason") or "")
        elif kind != "websocket.send":
            raise RuntimeError(f"{kind} after the handshake")
        elif event.get("text") is not None:
            frames.send_text(event["text"].encode())
        else:
            frames.send_binary(event["bytes"])
        await frames.drain()


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A response's first line and headers."""
    phrase = HTTPStatus(status).phrase if status in _STATUSES else ""
    lines = [f"HTTP/1.1 {status} {phrase}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""])
