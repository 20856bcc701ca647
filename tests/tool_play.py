"""Somebody else's web service on loopback, as a tools file names it: records what it is asked, says what it is told."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes import News

from tandem.signed import signature

SECRET = "planted-tools-secret"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told

    def is_signed(self, secret: str = SECRET) -> bool:
        stamp = self.headers["x-tandem-timestamp"]
        return self.headers["x-tandem-signature"] == signature(secret, stamp, self.body)


@dataclass(slots=True)
class Answer:
    """What it says. `raw` is written as it is."""

    body: bytes = b'{"answer": 42}'
    status: str = "200 OK"
    headers: Mapping[str, str] | None = None
    hangs: asyncio.Event | None = None
    """Waited for before anything is said."""
    raw: bytes | None = None
    closes: bool = False
    """The connection, afterwards."""


class Service:
    """`answer` may be changed at any time."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Answer] = lambda _: Answer()
        self.gone = 0
        """Requests whose sender did not wait for the answer."""
        self.port = 0
        self.scheme = "http"
        self._news = News()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/do"

    async def until(self, condition: Callable[[], object]) -> None:
        await self._news.until(condition)

    async def times(self, count: int) -> Asked:
        """Wait until it was asked so often; the last of these requests."""
        await self.until(lambda: len(self.asked) >= count)
        return self.asked[count - 1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                self._news.tell()
                await self._say(self.answer(asked), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _say(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer.hangs is not None:
            async with asyncio.TaskGroup() as either:
                waits = [either.create_task(answer.hangs.wait()), either.create_task(reader.read(1))]
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
            if waits[0] not in done:
                self.gone += 1
                self._news.tell()
                raise ConnectionResetError
        if answer.raw is not None:
            writer.write(answer.raw)
        else:
            given = {
                "Content-Type": "application/json",
                "Content-Length": str(len(answer.body)),
                **(answer.headers or {}),
            }
            head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
            writer.write(f"HTTP/1.1 {answer.status}\r\n{head}\r\n".encode() + answer.body)
        await writer.drain()
        if answer.closes:
            raise ConnectionResetError


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@asynccontextmanager
async def service(tls: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    """One that listens as long as this is open."""
    made = Service()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    made.scheme = "https" if tls else "http"
    try:
        yield made
    finally:
        server.close()


def tools_file(folder: Path, *tools: Mapping[str, Any], name: str = "tools.json") -> str:
    """A file with these tools; its path."""
    path = folder / name
    path.write_text(json.dumps(list(tools)))
    return str(path)


def tool(url: str, **changes: Any) -> dict[str, Any]:
    """One that finds out when a shop is open."""
    return {
        "name": "opening_hours",
        "description": "When a shop is open.",
        "parameters": {
            "type": "object",
            "properties": {"day": {"type": "string", "enum": ["saturday", "sunday"]}},
            "required": ["day"],
            "additionalProperties": False,
        },
        "url": url,
        **changes,
    }
