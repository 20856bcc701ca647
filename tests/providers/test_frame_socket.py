"""An open socket, told bytes by a raw peer: who is told what, once, and how each end comes about."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from tandem_providers import frames
from tandem_providers.frame_socket import Allowance, Connection, Limits

MASK = b"mask"
QUICK = Limits(max_message=1000, close_seconds=0.05, linger_seconds=0.05, send_buffer=8192)


@dataclass
class Receiver:
    """Remembers what it is told; does `then` with each message."""

    then: Callable[[bytes], None] = lambda _: None
    messages: list[bytes] = field(default_factory=list)
    closed: list[tuple[int, str]] = field(default_factory=list)

    def on_message(self, data: bytes, is_text: bool) -> None:
        self.messages.append(data)
        self.then(data)

    def on_close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


class Peer:
    """The far end: a client that writes what it likes and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._frames = frames.FrameReader(masked=False, max_message=1 << 24)
        self._got: list[frames.Message] = []

    def send(self, opcode: int, payload: bytes = b"") -> None:
        self.writer.write(frames.client_frame(opcode, payload, MASK))

    async def read(self) -> frames.Message:
        """The next message of ours."""
        while not self._got:
            data = await self._reader.read(65536)
            assert data, "the connection ended"
            self._got = self._frames.feed(data)
        return self._got.pop(0)

    async def ended(self) -> None:
        """Wait for the end of the connection, whatever comes before."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionResetError:
            pass


@asynccontextmanager
async def connected(
    receiver: Receiver, limits: Limits = QUICK, early: bytes = b""
) -> AsyncIterator[tuple[Connection, Peer]]:
    """Our end as a server, and its peer."""
    ours: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            ours.set_result(cast(asyncio.Transport, transport))

    server = await asyncio.get_running_loop().create_server(Accepting, "127.0.0.1", 0)
    async with server, asyncio.timeout(10):
        peer = Peer(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        lost = asyncio.Event()
        transport = await ours
        connection = Connection(receiver, transport, limits, client=False, early=early, on_lost=lambda _: lost.set())
        yield connection, peer
        connection.abort()
        peer.writer.close()
        await lost.wait()
    assert len(receiver.closed) == 1, "on_close is called exactly once"


async def test_the_far_end_closes() -> None:
    receiver = Receiver()
    async with connected(receiver) as (connection, peer):
        peer.send(frames.TEXT, b"hello")
        peer.send(frames.CLOSE, frames.close_payload(4001, "bye"))
        assert await peer.read() == (frames.CLOSE, frames.close_payload(4001, "bye"))
        await connection.wait_closed()
        await peer.ended()
    assert receiver.messages == [b"hello"]
    assert receiver.closed == [(4001, "bye")]


async def test_we_close_and_deliver_nothing_more() -> None:
    receiver = Receiver()
    async with connected(receiver) as (connection, peer):
        connection.close(1000, "done")
        connection.close(1011, "too late")
        connection.send_text(b"too late")
        assert await peer.read() == (frames.CLOSE, frames.close_payload(1000, "done"))
        peer.send(frames.TEXT, b"in flight")
        assert receiver.closed == []
        peer.send(frames.CLOSE, frames.close_payload(1000, ""))
        await connection.wait_closed()
    assert receiver.messages == []
    assert receiver.closed == [(1000, "done")]


async def test_a_far_end_that_does_not_answer_our_close_is_cut() -> None:
    receiver = Receiver()
    async with connected(receiver) as (connection, peer):
        connection.close(1000, "done")
        await peer.ended()
        await connection.wait_closed()
    assert receiver.closed == [(1000, "done")]


async def test_a_connection_that_breaks_closes_1006() -> None:
    receiver = Receiver()
    async with connected(receiver) as (connection, peer):
        peer.writer.close()
        await connection.wait_closed()
        connection.send_text(b"nobody there")
        connection.pause_reading()
        connection.resume_reading()
        connection.close()
        assert connection.buffered == 0
    assert receiver.closed == [(1006, "")]


async def test_abort_cuts_without_a_word() -> None:
    receiver = Receiver()
    async with connected(receiver) as (connection, peer):
        connection.abort()
        await connection.wait_closed()
        await peer.ended()
    assert receiver.closed == [(1006, "")]


async def test_a_receiver_that_fails_closes_1011_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: bytes) -> None:
        raise ValueError("broken receiver")

    receiver = Receiver(then=fail)
    async with connected(receiver) as (connection, peer):
        peer.writer.write(frames.client_frame(frames.TEXT, b"one", MASK) * 3)
        assert await peer.read() == (frames.CLOSE, frames.close_payload(1011, "internal error"))
        await connection.wait_closed()
    assert receiver.messages == [b"one"]
    assert receiver.closed == [(1011, "internal error")]
    assert [record.levelno for record in caplog.records if "receiver failed" in record.message] == [logging.ERROR]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frames.client_frame(frames.TEXT, b"x" * 1001, MASK), 1009),
        (frames.client_frame(frames.TEXT, b"\xff", MASK), 1007),
        (frames.server_frame(frames.TEXT, b"unmasked"), 1002),
    ],
)
async def test_an_offence_is_answered_with_its_code_and_the_rest_is_thrown_away(data: bytes, code: int) -> None:
    receiver = Receiver()
    async with connected(receiver) as (connection, peer):
        peer.writer.write(data + frames.client_frame(frames.TEXT, b"after", MASK) * 1000)
        opcode, payload = await peer.read()
        assert (opcode, frames.read_close(payload)[0]) == (frames.CLOSE, code)
        await connection.wait_closed()
        await peer.ended()
    assert receiver.messages == []
    assert [code for code, _ in receiver.closed] == [code]


async def test_a_close_frame_is_heard_by_a_far_end_that_keeps_sending() -> None:
    receiver = Receiver()
    async with connected(receiver, replace(QUICK, linger_seconds=5)) as (_, peer):
        peer.writer.write(frames.client_frame(frames.TEXT, b"x" * (16 << 20), MASK))
        opcode, payload = await peer.read()
        assert (opcode, frames.read_close(payload)[0]) == (frames.CLOSE, 1009)


async def test_pings_are_answered_and_pongs_ignored() -> None:
    receiver = Receiver()
    async with connected(receiver) as (connection, peer):
        peer.send(frames.PONG, b"unasked")
        peer.send(frames.PING, b"payload")
        assert await peer.read() == (frames.PONG, b"payload")
        connection.close()
    assert receiver.messages == []


async def test_a_dead_connection_is_noticed_by_its_missing_pong() -> None:
    receiver = Receiver()
    limits = replace(QUICK, ping_seconds=0.02, pong_seconds=0.02)
    async with connected(receiver, limits) as (connection, peer):
        assert await peer.read() == (frames.PING, b"")
        await connection.wait_closed()
    assert receiver.closed == [(1006, "ping timeout")]


async def test_traffic_counts_as_a_pong_and_nobody_dies_while_we_do_not_read() -> None:
    receiver = Receiver()
    limits = replace(QUICK, ping_seconds=0.02, pong_seconds=0.02)
    async with connected(receiver, limits) as (connection, peer):
        for _ in range(3):
            assert await peer.read() == (frames.PING, b"")
            peer.send(frames.TEXT, b"alive, but no pong")
        connection.pause_reading()
        for _ in range(3):
            assert await peer.read() == (frames.PING, b"")
        assert receiver.closed == []
        connection.resume_reading()
        await connection.wait_closed()
    assert receiver.closed == [(1006, "ping timeout")]


async def test_reading_pauses_and_goes_on() -> None:
    receiver = Receiver()
    async with connected(receiver) as (connection, peer):
        connection.pause_reading()
        peer.send(frames.TEXT, b"later")
        connection.send_text(b"over to you")
        assert await peer.read() == (frames.TEXT, b"over to you")
        assert receiver.messages == []
        arrived = asyncio.Event()
        receiver.then = lambda _: arrived.set()
        connection.resume_reading()
        await arrived.wait()
    assert receiver.messages == [b"later"]


async def test_what_a_far_end_does_not_read_shows_in_buffered() -> None:
    receiver = Receiver()
    async with connected(receiver) as (connection, peer):
        sent = 0
        while not connection.buffered and sent < 64 << 20:
            connection.send_binary(b"x" * 10_000)
            sent += 10_000
            await asyncio.sleep(0)
        connection.send_binary(b"x" * 200_000)
        assert connection.buffered > 100_000
        waiting = asyncio.ensure_future(connection.drain())
        await asyncio.sleep(0)
        assert not waiting.done()
        while not waiting.done():
            await peer.read()
    assert connection.buffered == 0


async def test_early_bytes_are_delivered_before_later_ones_and_not_at_once() -> None:
    receiver = Receiver()
    early = frames.client_frame(frames.TEXT, b"first", MASK) + frames.client_frame(frames.TEXT, b"second", MASK)
    async with connected(receiver, early=early[:20]) as (connection, peer):
        assert receiver.messages == []
        peer.writer.write(early[20:] + frames.client_frame(frames.CLOSE, b"", MASK))
        await connection.wait_closed()
    assert receiver.messages == [b"first", b"second"]
    assert receiver.closed == [(1005, "")]


async def test_too_many_messages_close_1008() -> None:
    receiver = Receiver()
    async with connected(receiver, replace(QUICK, messages_per_second=10)) as (_, peer):
        peer.writer.write(frames.client_frame(frames.PING, b"", MASK) * 5)
        peer.writer.write(frames.client_frame(frames.TEXT, b"m", MASK) * 1000)
        while (message := await peer.read())[0] == frames.PONG:
            pass
        assert frames.read_close(message[1])[0] == 1008
    assert len(receiver.messages) == 15


def test_an_allowance_is_a_rate_with_two_seconds_in_hand() -> None:
    now = 0.0
    allowance = Allowance(10, lambda: now)
    assert [allowance.spend() for _ in range(21)] == [True] * 20 + [False]
    now = 1.0
    assert [allowance.spend() for _ in range(11)] == [True] * 10 + [False]
    now = 100.0
    assert [allowance.spend() for _ in range(21)] == [True] * 20 + [False]
    for tick in range(200):
        now = 200.0 + tick / 10
        assert allowance.spend()


async def test_waiting_for_the_end_can_be_cancelled() -> None:
    receiver = Receiver()
    async with connected(receiver) as (connection, peer):
        waiting = asyncio.ensure_future(connection.wait_closed())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        peer.send(frames.TEXT, b"still here")
        peer.send(frames.CLOSE)
        await connection.wait_closed()
        await connection.wait_closed()
    assert receiver.messages == [b"still here"]


@pytest.mark.parametrize(
    "scenario",
    [
        test_the_far_end_closes,
        test_we_close_and_deliver_nothing_more,
        test_a_far_end_that_does_not_answer_our_close_is_cut,
        test_a_connection_that_breaks_closes_1006,
        test_abort_cuts_without_a_word,
        test_a_close_frame_is_heard_by_a_far_end_that_keeps_sending,
        test_a_dead_connection_is_noticed_by_its_missing_pong,
        test_reading_pauses_and_goes_on,
        test_what_a_far_end_does_not_read_shows_in_buffered,
        test_early_bytes_are_delivered_before_later_ones_and_not_at_once,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    """The loop that production runs on has transports of its own make."""
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
