"""`tandem serve`: the server under uvicorn, with our WebSocket and HTTP protocols and our way of ending."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from tandem import logs
from tandem.http_limits import DeadlineProtocol
from tandem.main import create_app
from tandem.media_socket import MediaSocketProtocol
from tandem.settings import Settings, SettingsError, current

BACKLOG = 2048

log = logs.get(__name__)


def main() -> int:
    """`tandem serve`: what `serve` answers, or 2 when the configuration is wrong, and why was said."""
    try:
        settings = current()
    except SettingsError as error:
        from tandem.screen import Screen  # a server carries no terminal library

        Screen().misconfigured(error.problems)
        return 2
    return serve(settings)


def serve(settings: Settings) -> int:
    """Run until a signal ends it. Returns the exit status: 0 after a proper end, 1 when it could not start."""
    logs.setup(settings)
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        log.error("can not listen", host=settings.host, port=settings.port, problem=error.strerror or str(error))
        return 1
    server = Server(config_of(settings))
    # uvicorn raises the signal that ended it once more when all is done. By then it means: exit, and with status 0.
    _on_signals(_leave)
    try:
        server.run(sockets=[listener])
        status = 0 if server.started else 1
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 0
    finally:
        listener.close()
        logs.close()
    # What is left is the interpreter's own end, and no signal makes a failure of that: while threads are waited for
    # another one ends it at once; after that it is not heard any more.
    _on_signals(lambda number, frame: os._exit(status))
    atexit.register(_on_signals, signal.SIG_IGN)
    return status


def config_of(settings: Settings) -> uvicorn.Config:
    """How uvicorn runs. Nothing is trusted of proxies: addresses and signatures come from `PUBLIC_URL` alone."""
    return uvicorn.Config(
        create_app(settings),
        http=DeadlineProtocol,
        ws=MediaSocketProtocol,
        lifespan="on",
        log_config=None,
        access_log=False,  # a path of ours may be a token, and each call has its own line
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=None,  # our drain has its own deadline, and ran before
    )


def listen(host: str, port: int) -> socket.socket:
    """The listening socket, bound before anything else starts.

    Raises:
        OSError: the address is taken, or not ours.
    """
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    # With the protocol named, asyncio turns Nagle's algorithm off for what is accepted: small frames must not wait.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class Server(uvicorn.Server):
    """Says where it listens, in a line of ours."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            log.info("listening", host=host, port=port)


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
