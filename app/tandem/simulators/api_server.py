"""HTTP on loopback for the simulated REST APIs of carriers: what it takes to answer a REST client, and no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tandem_providers.tasks import StartTask, owned_tasks

LONGEST_BODY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request, as it came. Names of headers are in lower case; the path is decoded."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body; None when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What is answered: `body` is written as JSON, None as nothing."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


HANG: Final = "hang"
"""The request is taken and never answered."""
CUT: Final = "cut"
"""The connection ends instead of an answer."""

Handler = Callable[[ApiRequest], ApiAnswer | str]
"""Answers at once; or `HANG` or `CUT`."""


class RestServer:
    """An async context manager; serves on `url` meanwhile."""

    def __init__(self, handler: Handler, host: str = "127.0.0.1", port: int = 0) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._owner = owned_tasks()
        self._start: StartTask
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""

    async def __aenter__(self) -> RestServer:
        self._start = await self._owner.__aenter__()
        self._server = await asyncio.start_server(self._accept, self._host, self._port)
        self.url = f"http://{self._host}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for writer in [*self._writers]:
            writer.transport.abort()
        await self._owner.__aexit__(None, None, None)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._start(self._serve(reader, writer), name="rest connection")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                answer = self._handler(request)
                if answer == HANG:
                    await reader.read()
                if isinstance(answer, str):
                    return
                writer.write(_written(answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            pass  # whoever speaks no HTTP gets no answer
        finally:
            self._writers.discard(writer)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> ApiRequest | None:
    """The next request; None at the end of the connection.

    Raises:
        IncompleteReadError, LimitOverrunError, ValueError: it is none.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= LONGEST_BODY:
        raise ValueError("a body of no length that is taken")
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return ApiRequest(method, unquote(parts.path), query, headers, await reader.readexactly(length))


def _written(answer: ApiAnswer) -> bytes:
    body = b"" if answer.body is None else json.dumps(answer.body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **answer.headers}
    lines = [f"HTTP/1.1 {answer.status} -", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body
