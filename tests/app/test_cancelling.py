"""Whoever cancels a request leaves no connection behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fakes import turns
from servers import until

from tandem.cancelling import politely
from tandem_providers.tasks import owned_tasks

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Tired:
    """A server that answers several requests at once, and then has enough: it says no more on these connections."""

    def __init__(self) -> None:
        self.url = ""
        self.open = 0
        """Connections that the client has not closed yet."""
        self._waiting = 0
        self._all_there = asyncio.Event()
        self.tired = asyncio.Event()

    def expect(self, requests: int) -> None:
        self._waiting, self._all_there, self.tired = requests, asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            self._waiting -= 1
            if self._waiting <= 0:
                self._all_there.set()
            await self._all_there.wait()
            writer.write(ANSWER)
            await self.tired.wait()
            writer.write_eof()
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def tired() -> AsyncIterator[Tired]:
    server = Tired()
    async with owned_tasks() as start:
        listening = await asyncio.start_server(
            lambda reader, writer: start(server.serve(reader, writer), name="tired") and None, "127.0.0.1", 0
        )
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        try:
            yield server
        finally:
            listening.close()


async def test_cancelled_at_any_moment_nothing_stays_open() -> None:
    async with tired() as server:
        for count in range(200):
            server.expect(3)
            async with httpx.AsyncClient(trust_env=False) as http:
                await asyncio.gather(*(http.get(server.url) for _ in range(3)))
                server.tired.set()
                await asyncio.sleep(0.01)  # the pool looks at its sockets, which must know that they have ended
                server.expect(1)
                server.tired.set()
                asked = asyncio.ensure_future(politely(http.get, server.url))
                await turns(count)
                cancelled = asked.cancel()
                if cancelled:
                    with pytest.raises(asyncio.CancelledError):
                        await asked
            await until(lambda: not server.open)
            if not cancelled:
                assert asked.result().text == "ok"
                assert count > 5, "it was cancelled on the way, too"
                return
        raise AssertionError("it never came to an end")


async def test_a_deadline_is_kept_and_a_failure_leaves_as_itself() -> None:
    async with tired() as server, httpx.AsyncClient(trust_env=False) as http:
        server.expect(2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await politely(http.get, server.url)
        with pytest.raises(httpx.UnsupportedProtocol):
            await politely(http.get, "nowhere://")
