"""uvicorn in the test's own loop, and raw connections to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tandem_providers import frames

MASK = b"mask"


@asynccontextmanager
async def serving(app: Any, **config: Any) -> AsyncIterator[int]:
    """Serve `app` on loopback; gives the port. Stops as in production, within ten seconds."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off", **config))
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.001)
        try:
            yield server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.should_exit = True


class RawClient:
    """A connection that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._frames = frames.FrameReader(masked=False, max_message=1 << 24)
        self._got: list[frames.Message] = []

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, opcode: int, payload: bytes = b"") -> None:
        self.writer.write(frames.client_frame(opcode, payload, MASK))

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the response."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        return int(first.split()[1]), {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}

    async def message(self) -> frames.Message:
        """The next message of the server, pings left out."""
        while True:
            while self._got:
                opcode, payload = self._got.pop(0)
                if opcode != frames.PING:
                    return opcode, payload
            data = await self.reader.read(65536)
            assert data, "the connection ended"
            self._got = self._frames.feed(data)

    async def close_code(self) -> int:
        """The code of the close frame that comes after whatever else comes."""
        while True:
            opcode, payload = await self.message()
            if opcode == frames.CLOSE:
                return frames.read_close(payload)[0]

    async def ended(self) -> bytes:
        """All that comes until the connection ends."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def raw_client(port: int) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


def upgrade(path: str = "/", *, key: str = "", version: str = "13", extra: str = "") -> bytes:
    """A client's request for a WebSocket; the key is that of RFC 6455, section 1.3."""
    key = key or "dGhlIHNhbXBsZSBub25jZQ=="
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n{extra}\r\n"
    ).encode()
