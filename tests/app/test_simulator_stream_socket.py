"""The socket of a simulated carrier, against servers that talk, leave, complain and never read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidHandshake

from tandem.simulators import stream_socket
from tandem.simulators.line import Faults, Recording
from tandem.simulators.phone import At, Caller, Note, When
from tandem.simulators.stream_socket import StreamCall, Stuck, open_stream, upgrade_problem
from tandem.simulators.telnyx_line import Identity, Order, telnyx_line

Handler = Callable[[ServerConnection], Awaitable[None]]


async def listens(socket: ServerConnection) -> None:
    async for _ in socket:
        pass


async def leaves(socket: ServerConnection) -> None:
    await socket.recv()
    await socket.close(1008, "not you")


async def sleeps(socket: ServerConnection) -> None:
    socket.transport.pause_reading()
    await asyncio.sleep(0.5)


@asynccontextmanager
async def stream(
    handler: Handler, *, hang_up: When | None = None, seconds: float = 5.0, faults: Faults | None = None
) -> AsyncIterator[tuple[StreamCall, list[Note]]]:
    notes: list[Note] = []
    faults = faults or Faults()
    async with serve(handler, "127.0.0.1", 0, close_timeout=0.2) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        socket = await open_stream(f"ws://127.0.0.1:{port}/x", {"x-key": "1"}, "tests")
        identity = Identity("u", "c", "s", "t", "a", "b")
        line = telnyx_line(identity, Order("", mode="rtp"), Caller([], hang_up), Recording(), faults=faults)
        yield StreamCall(socket, line, seconds, faults, notes.append), notes


async def test_the_caller_hangs_up() -> None:
    got: list[str | bytes] = []

    async def keeps(socket: ServerConnection) -> None:
        assert socket.request is not None
        assert socket.request.headers["x-key"] == "1"
        async for message in socket:
            got.append(message)

    async with stream(keeps, hang_up=At(100)) as (call, _):
        assert await call.run() == "caller"
        assert call.socket.close_code == 1000
    kinds = [json.loads(message)["event"] for message in got]
    assert (kinds[0], kinds[1], kinds[-1]) == ("connected", "start", "stop")


async def test_the_time_is_over() -> None:
    async with stream(listens, seconds=0.1) as (call, _):
        assert await call.run() == "limit"


async def test_the_server_leaves() -> None:
    async with stream(leaves) as (call, _):
        assert await call.run() == "server"
        assert (call.socket.close_code, call.socket.close_reason) == (1008, "not you")


async def test_the_server_ends_the_call_by_another_way() -> None:
    got: list[str | bytes] = []

    async def keeps(socket: ServerConnection) -> None:
        async for message in socket:
            got.append(message)
            if len(got) == 5:
                call.hung_up.set()  # type: ignore[union-attr]  # it is made below

    async with stream(keeps) as (call, _):
        call.hung_up = asyncio.Event()
        assert await call.run() == "server"
    assert '"stop"' in str(got[-1])


async def test_nonsense_of_the_server_is_noted() -> None:
    async def babbles(socket: ServerConnection) -> None:
        await socket.send("{")
        await listens(socket)

    async with stream(babbles, hang_up=At(200)) as (call, notes):
        assert await call.run() == "caller"
        assert [note.kind for note in notes] == ["problem"]


@pytest.mark.parametrize("faults", [Faults(breaks_at_ms=60), Faults(vanishes_at_ms=60)])
async def test_lines_that_break(faults: Faults) -> None:
    async with stream(listens, seconds=0.4, faults=faults) as (call, _):
        assert await call.run() == "fault"


async def test_a_server_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_socket, "STUCK_SECONDS", 0.1)  # its patience, not what it does
    async with stream(sleeps, seconds=0.1) as (call, _):
        call.line.opening = lambda: ["x" * 1_000_000] * 50  # type: ignore[method-assign]  # more than any buffer holds
        with pytest.raises(Stuck):
            await call.run()


async def test_why_there_is_no_socket() -> None:
    assert "timed out" in upgrade_problem(TimeoutError())
    assert "OSError" in upgrade_problem(OSError())

    async def refuses(connection: ServerConnection, request: Any) -> Any:
        return connection.respond(403, "no")

    async with serve(listens, "127.0.0.1", 0, process_request=refuses) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(InvalidHandshake) as refusal:
            await open_stream(f"ws://127.0.0.1:{port}", {}, "tests")
        assert upgrade_problem(refusal.value) == "the upgrade was answered with HTTP 403"
