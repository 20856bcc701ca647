"""The narrow port to a WebSocket: whole messages by callback, sending without waiting.

A telephone call moves a hundred messages a second, so nothing here costs a task, a queue or an event object for each.
The server's side of a media stream offers the same port (`tandem.media_socket`). `open_socket` is the client's side.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol, cast
from urllib.parse import urlsplit

import h11

from tandem_providers.frame_socket import Connection, Limits

if TYPE_CHECKING:
    from tandem_providers.provider import Dial

_BODY_MAX: Final = 64 * 1024
_BODY_SECONDS: Final = 0.5
_ACCEPT_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REMEMBER_SECONDS: Final = 3600.0
_DNS_SHARE: Final = 0.25
"""How much of the time to connect a lookup may take when an older answer is at hand."""

Address = tuple[str, int]


class FrameReceiver(Protocol):
    """The owner of a socket. Called on the event loop, in order; whatever it raises closes the socket with 1011."""

    def on_message(self, data: bytes, is_text: bool) -> None:
        """One whole message, text as UTF-8 (validated)."""
        ...

    def on_close(self, code: int, reason: str) -> None:
        """The socket is gone; called exactly once, whoever closed it. 1006 when the connection just broke."""
        ...


class FrameSocket(Protocol):
    """An open WebSocket. All methods do nothing once it is closed."""

    @property
    def buffered(self) -> int:
        """Bytes handed over that the kernel has not taken yet."""
        ...

    @property
    def congested(self) -> bool:
        """So much is buffered that it is worth asking how much. Costs nothing to ask, unlike `buffered`."""
        ...

    def send_text(self, data: bytes) -> None:
        """One text message (UTF-8), written at once or buffered."""
        ...

    def send_binary(self, data: bytes) -> None: ...

    def pause_reading(self) -> None:
        """Let the far end's messages wait in the kernel."""
        ...

    def resume_reading(self) -> None: ...

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake; the socket is cut when the far end does not answer within a few seconds."""
        ...

    def abort(self) -> None:
        """Cut the connection."""
        ...

    async def wait_closed(self) -> None:
        """Return once `on_close` has been called. Cancel-safe."""
        ...


class HandshakeRefused(Exception):
    """The server answered the request for a WebSocket with something else. Header names are in lower case."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status} instead of a WebSocket")
        self.status = status
        self.headers = headers
        self.body = body
        """As much of it as came at once, 64 KiB at most."""


class HandshakeBroken(ConnectionError):
    """What answered does not speak WebSocket (or the connection ended before it could)."""


async def open_socket(
    dial: Dial,
    receiver: FrameReceiver,
    *,
    connect_seconds: float = 2.0,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    addresses: Addresses | None = None,
) -> Connection:
    """Open a WebSocket as a client: DNS, TCP, TLS and handshake, all within `connect_seconds`.

    The first message may reach `receiver` as soon as the caller gives the loop a turn. `tls` replaces the default
    context, which verifies the server against the system's certificates; `addresses` replaces the lookups that all
    sockets share. Cancel-safe: nothing is left open.

    Raises:
        HandshakeRefused: the server answered with an HTTP status other than 101.
        OSError: DNS, TCP or TLS failed (`socket.gaierror`, `ConnectionError`, `ssl.SSLError`, ...); also
            `HandshakeBroken`, and `TimeoutError` when the time was up.
        ValueError: the URL is not a ws:// or wss:// URL.
    """
    parts = urlsplit(dial.url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError("not a WebSocket URL")
    secure = parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + connect_seconds
    async with asyncio.timeout_at(deadline):
        context = (tls or await loop.run_in_executor(None, _tls_context)) if secure else None
        found = await (addresses or _addresses).find(parts.hostname, port, connect_seconds * _DNS_SHARE)
        handshake = await _connect(found, deadline, _request(dial, secure), context, parts.hostname)
        try:
            early = await handshake.done
            return Connection(receiver, handshake.transport, limits or Limits(), client=True, early=early)
        except BaseException:
            handshake.transport.abort()
            raise


def _request(dial: Dial, secure: bool) -> tuple[h11.Request, bytes]:
    """The upgrade request, and what the server has to answer to its key."""
    parts = urlsplit(dial.url)
    key = base64.b64encode(os.urandom(16))
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    if parts.port and parts.port != (443 if secure else 80):
        host += f":{parts.port}"
    headers = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key.decode(),
        **dial.headers,
    }
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    accept = base64.b64encode(hashlib.sha1(key + _ACCEPT_SUFFIX, usedforsecurity=False).digest())
    return h11.Request(method="GET", target=target, headers=list(headers.items())), accept


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """Reading the system's certificates takes tens of milliseconds: once, and in a thread."""
    return ssl.create_default_context()


class Addresses:
    """Lookups off the loop, one at a time for a name; the last good answer serves for an hour when no new one comes."""

    def __init__(
        self,
        lookup: Callable[[str, int], list[Address]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup = lookup
        self._clock = clock
        self._known: dict[Address, tuple[float, list[Address]]] = {}
        self._pending: dict[Address, asyncio.Future[list[Address]]] = {}
        # Threads of its own: a resolver that hangs must not hold up other work that runs off the loop.
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="dns")

    async def find(self, host: str, port: int, patience: float) -> list[Address]:
        """Where `host` is. Waits no longer than `patience` seconds if it has been found within the last hour.

        Raises:
            OSError: it can't be found, and has not been lately.
        """
        try:
            return [(ipaddress.ip_address(host).compressed, port)]
        except ValueError:
            name = (host, port)
        learnt_at, known = self._known.get(name, (0.0, []))
        if not known or self._clock() - learnt_at > _REMEMBER_SECONDS:
            return await asyncio.shield(self._ask(name))
        try:
            async with asyncio.timeout(patience):
                return await asyncio.shield(self._ask(name))
        except OSError:
            return known

    def _ask(self, name: Address) -> asyncio.Future[list[Address]]:
        loop = asyncio.get_running_loop()
        pending = self._pending.get(name)
        if pending is None or pending.get_loop() is not loop:
            pending = loop.run_in_executor(self._threads, self._lookup, *name)
            self._pending[name] = pending
            pending.add_done_callback(functools.partial(self._learn, name))
        return pending

    def _learn(self, name: Address, answer: asyncio.Future[list[Address]]) -> None:
        if self._pending.get(name) is answer:
            del self._pending[name]
        if not answer.cancelled() and answer.exception() is None:
            self._known[name] = (self._clock(), answer.result())


def _look_up(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((str(entry[4][0]), port) for entry in found))


_addresses = Addresses(_look_up)


async def _connect(
    addresses: list[Address],
    deadline: float,
    request: tuple[h11.Request, bytes],
    context: ssl.SSLContext | None,
    hostname: str,
) -> _Handshake:
    """The first address that lets us in; each one may use an equal share of what time is left."""
    loop = asyncio.get_running_loop()
    for position, (address, port) in enumerate(addresses, start=1):
        share = (deadline - loop.time()) / (len(addresses) - position + 1)
        try:
            async with asyncio.timeout(share):
                _, handshake = await loop.create_connection(
                    lambda: _Handshake(*request),
                    address,
                    port,
                    ssl=context,
                    server_hostname=hostname if context else None,
                )
            return handshake
        except OSError:
            if position == len(addresses):
                raise
    raise HandshakeBroken("no address")


class _Handshake(asyncio.Protocol):
    """Sends the request and reads the answer; `done` gives what came in behind it."""

    transport: asyncio.Transport

    def __init__(self, request: h11.Request, accept: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._request = request
        self._accept = accept
        self._http = h11.Connection(h11.CLIENT)
        self._response: h11.Response | None = None
        self._body = b""
        self.done: asyncio.Future[bytes] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write((self._http.send(self._request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))

    def data_received(self, data: bytes) -> None:
        if self.done.done():
            return
        try:
            self._http.receive_data(data)
            self._read()
        except h11.RemoteProtocolError:
            self._refuse()

    def eof_received(self) -> None:
        self.data_received(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self._refuse()

    def _read(self) -> None:
        while not self.done.done():
            match self._http.next_event():
                case h11.InformationalResponse(status_code=101, headers=headers):
                    self._upgraded(dict(headers))
                case h11.Response() as response:
                    self._response = response
                    self._loop.call_later(_BODY_SECONDS, self._refuse)
                case h11.Data(data=data):
                    self._body += data
                    if len(self._body) >= _BODY_MAX:
                        self._refuse()
                case h11.EndOfMessage() | h11.ConnectionClosed():
                    self._refuse()
                case h11.NEED_DATA | h11.PAUSED:
                    return

    def _upgraded(self, headers: dict[bytes, bytes]) -> None:
        if headers.get(b"upgrade", b"").lower() != b"websocket" or headers.get(b"sec-websocket-accept") != self._accept:
            self._fail(HandshakeBroken("the answer does not belong to our request"))
        elif headers.get(b"sec-websocket-extensions"):
            self._fail(HandshakeBroken("the server chose an extension that was not offered"))
        else:
            self.done.set_result(self._http.trailing_data[0])

    def _refuse(self) -> None:
        """There will be no WebSocket; with as much of an answer as there is."""
        if self._response is None:
            self._fail(HandshakeBroken("what answered does not speak HTTP, or hung up"))
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._response.headers}
        self._fail(HandshakeRefused(self._response.status_code, headers, self._body[:_BODY_MAX]))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
