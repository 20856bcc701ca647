"""The client's side of a WebSocket, against real servers on loopback: one of another make, and raw sockets that lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import websockets.asyncio.server as ws_server

from tandem_providers.provider import Dial
from tandem_providers.wire import open_socket


class Recorder:
    """A receiver that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bool]] = []
        self.closed: list[tuple[int, str]] = []
        self._news = asyncio.Event()

    def on_message(self, data: bytes, is_text: bool) -> None:
        self.messages.append((data, is_text))
        self._news.set()

    def on_close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def server(
    handler: Callable[[ws_server.ServerConnection], Awaitable[None]], **options: Any
) -> AsyncIterator[str]:
    async with ws_server.serve(handler, "127.0.0.1", 0, **options) as serving:
        yield f"ws://127.0.0.1:{next(iter(serving.sockets)).getsockname()[1]}/path?model=x"


async def echo(connection: ws_server.ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def test_text_and_binary_come_back() -> None:
    seen = Recorder()
    async with server(echo) as url:
        socket = await open_socket(Dial(url), seen)
        socket.send_text("grüß dich".encode())
        socket.send_binary(b"\x00\xff")
        await seen.until(lambda: len(seen.messages) == 2)
        socket.close(1000, "done")
        await socket.wait_closed()
    assert seen.messages == [("grüß dich".encode(), True), (b"\x00\xff", False)]
    assert seen.closed == [(1000, "done")]


async def test_a_long_message_in_pieces_arrives_whole() -> None:
    async def pieces(connection: ws_server.ServerConnection) -> None:
        await connection.send("x" * 1000 for _ in range(1000))
        await connection.send(b"y" * (4 << 20))
        await connection.wait_closed()

    seen = Recorder()
    async with server(pieces) as url:
        socket = await open_socket(Dial(url), seen)
        await seen.until(lambda: len(seen.messages) == 2)
        socket.close()
        await socket.wait_closed()
    assert seen.messages == [(b"x" * 1_000_000, True), (b"y" * (4 << 20), False)]
