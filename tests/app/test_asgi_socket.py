"""The frame port over bare ASGI, whose far end is two queues here. `test_media_socket.py` has it behind a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.websockets import WebSocket

from tandem.asgi_socket import AsgiSocket
from tandem.media_socket import MEDIA_LIMITS


@dataclass
class Receiver:
    messages: list[tuple[bytes, bool]] = field(default_factory=list)
    closed: list[tuple[int, str]] = field(default_factory=list)

    def on_message(self, data: bytes, is_text: bool) -> None:
        self.messages.append((data, is_text))

    def on_close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


class Server:
    """An ASGI server whose client is this object."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.writable = asyncio.Event()
        self.writable.set()
        self.gone = False

    async def send(self, event: Any) -> None:
        await self.writable.wait()
        if self.gone:
            raise OSError("client disconnected")
        self.outgoing.put_nowait(event)

    async def receive(self) -> Any:
        return await self.incoming.get()


@asynccontextmanager
async def accepted(receiver: Receiver, **limits: Any) -> AsyncIterator[tuple[AsgiSocket, Server, asyncio.Task[None]]]:
    """An accepted socket whose pump runs; it has ended by the end, and `on_close` was called once."""
    server = Server()
    websocket = WebSocket({"type": "websocket"}, server.receive, server.send)
    server.incoming.put_nowait({"type": "websocket.connect"})
    await websocket.accept()
    assert (await server.outgoing.get())["type"] == "websocket.accept"
    socket = AsgiSocket(websocket, receiver, replace(MEDIA_LIMITS, **limits))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        yield socket, server, tasks.create_task(socket.wait_closed())
    assert len(receiver.closed) == 1


async def test_messages_both_ways_then_the_client_leaves() -> None:
    receiver = Receiver()
    async with accepted(receiver) as (socket, server, _):
        socket.send_text("grüß dich".encode())
        socket.send_binary(b"\x00")
        assert (await server.outgoing.get())["text"] == "grüß dich"
        assert (await server.outgoing.get())["bytes"] == b"\x00"
        server.incoming.put_nowait({"type": "websocket.receive", "text": "ü"})
        server.incoming.put_nowait({"type": "websocket.receive", "bytes": b"\xff"})
        server.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001, "reason": "away"})
    assert receiver.messages == [("ü".encode(), True), (b"\xff", False)]
    assert receiver.closed == [(1001, "away")]


async def test_closing_sends_what_was_said_before() -> None:
    receiver = Receiver()
    async with accepted(receiver) as (socket, server, _):
        socket.send_text(b"last words")
        socket.close(4000, "bye")
        socket.send_text(b"too late")
        socket.close(4001)
    assert receiver.closed == [(4000, "bye")]
    sent = [server.outgoing.get_nowait() for _ in range(server.outgoing.qsize())]
    assert [event.get("text") or event["code"] for event in sent] == ["last words", 4000]


async def test_buffered_counts_what_the_server_has_not_taken() -> None:
    receiver = Receiver()
    async with accepted(receiver) as (socket, server, _):
        server.writable.clear()
        for _ in range(100):
            socket.send_text(b"x" * 100)
        await asyncio.sleep(0)
        assert socket.buffered == 10_000
        server.writable.set()
        for _ in range(100):
            await server.outgoing.get()
        assert socket.buffered == 0
        socket.abort()
    assert receiver.closed == [(1006, "")]


async def test_a_stuck_client_does_not_keep_the_socket_from_ending() -> None:
    receiver = Receiver()
    async with accepted(receiver, close_seconds=0.02) as (socket, server, _):
        server.writable.clear()
        socket.send_text(b"never taken")
        socket.close(1000)
    assert receiver.closed == [(1000, "")]


async def test_sending_to_a_client_that_is_gone() -> None:
    receiver = Receiver()
    async with accepted(receiver) as (socket, server, _):
        server.gone = True
        socket.send_text(b"hello?")
    assert receiver.closed == [(1006, "")]


async def test_reading_pauses_and_goes_on() -> None:
    receiver = Receiver()
    async with accepted(receiver) as (socket, server, _):
        socket.pause_reading()
        for number in range(3):
            server.incoming.put_nowait({"type": "websocket.receive", "text": str(number)})
        for _ in range(10):
            await asyncio.sleep(0)
        assert receiver.messages == []
        socket.resume_reading()
        server.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
    assert [data for data, _ in receiver.messages] == [b"0", b"1", b"2"]


async def test_a_cancelled_endpoint_ends_the_socket() -> None:
    receiver = Receiver()
    async with accepted(receiver) as (socket, _, pump):
        other = asyncio.ensure_future(socket.wait_closed())
        await asyncio.sleep(0)
        pump.cancel()
        await other
    assert receiver.closed == [(1006, "")]


@pytest.mark.parametrize(("size", "code"), [(100, 1000), (101, 1009)])
async def test_size_counts_in_bytes(size: int, code: int) -> None:
    receiver = Receiver()
    async with accepted(receiver, max_message=100) as (_, server, _):
        server.incoming.put_nowait({"type": "websocket.receive", "text": "é" * 50 + "x" * (size - 100)})
        server.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
    assert receiver.closed[0][0] == code
