"""One client's connection to the simulated server: the driver of its engine, and what a test may look at."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tandem.simulators.openai_engine import Engine
from tandem.simulators.openai_outlet import Action, Close, Cut, Record, Send

BROKEN = 1006
"""Close code of a connection that just broke, or never stood."""


@dataclass(slots=True, eq=False)
class SimulatedSession:
    """One connection of a client, for inspection while it lives and afterwards."""

    number: int
    """Counted from 1 over all connections, refused ones included."""
    headers: dict[str, str]
    """Of the handshake; names in lower case."""
    query: dict[str, str]
    faults: dict[str, str]
    """Those that hold for this connection, with their values."""
    engine: Engine | None = None
    """None as long as no session was opened."""
    record: Record = field(default_factory=Record)
    refused: int | None = None
    """HTTP status of a refused handshake."""
    close_code: int | None = None
    close_reason: str = ""
    seconds: float = 0.0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    async def until(self, condition: Callable[[SimulatedSession], bool]) -> None:
        """Wait until the condition holds; it is looked at after each thing that happens here. Cancel-safe."""
        while not condition(self):
            change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(change)
            await change

    async def closed(self) -> None:
        """Wait for the end of the connection. Cancel-safe."""
        await self.until(lambda session: session.is_over)

    @property
    def is_over(self) -> bool:
        return self.close_code is not None or self.refused is not None

    def touch(self) -> None:
        """Something happened: whoever waits looks again."""
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

    def report(self) -> str:
        """One line about it, for people."""
        faults = f"; faults: {', '.join(self.faults)}" if self.faults else ""
        if self.refused is not None:
            return f"session {self.number}: refused with HTTP {self.refused}{faults}"
        heard, said = self.record.heard_ms / 1000, self.record.said_ms / 1000
        reason = f" {self.close_reason}" if self.close_reason else ""
        return (
            f"session {self.number}: {self.seconds:.1f} s, heard {heard:.1f} s, said {said:.1f} s "
            f"in {self.record.responses} responses; closed with {self.close_code}{reason}{faults}"
        )


class Watched(Protocol):
    """A session that somebody may be waiting for."""

    def touch(self) -> None:
        """Something happened in it."""
        ...


class Driven(Protocol):
    """A session's protocol without I/O, of whatever vendor."""

    @property
    def next_wake(self) -> float | None:
        """When `wake` has something to do."""
        ...

    def receive(self, message: bytes | str, now: float) -> list[Action]: ...

    def wake(self, now: float) -> list[Action]: ...


class Connection:
    """Drives one engine: a reader, a writer, and one timer for all that the engine plans."""

    def __init__(self, far_end: ServerConnection, session: Watched, engine: Driven) -> None:
        self._far_end = far_end
        self._session = session
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._outbox: deque[Action] = deque()
        self._news = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, opening: list[Action]) -> None:
        """Send the opening, then talk until the connection ends."""
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write())
            try:
                self._obey(opening)
                async for message in self._far_end:
                    self._obey(self._engine.receive(message, self._loop.time()))
            except ConnectionClosed:
                pass
            finally:
                if self._timer is not None:
                    self._timer.cancel()
                writer.cancel()

    def _obey(self, actions: list[Action]) -> None:
        if actions:
            self._outbox.extend(actions)
            self._news.set()
        due = self._engine.next_wake
        if self._timer is not None and (due is None or self._timer.when() != due):
            self._timer.cancel()
            self._timer = None
        if due is not None and self._timer is None:
            self._timer = self._loop.call_at(due, self._wake)
        self._session.touch()

    def _wake(self) -> None:
        self._timer = None
        # The loop's clock is read in steps: what it calls due may be a hair ahead of its own time.
        now = max(self._loop.time(), self._engine.next_wake or 0.0)
        self._obey(self._engine.wake(now))

    async def _write(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._outbox:
                    await self._act(self._outbox.popleft())
        except ConnectionClosed:
            return

    async def _act(self, action: Action) -> None:
        match action:
            case Send():
                await self._far_end.send(action.text, text=not action.binary)
            case Close():
                await self._far_end.close(action.code, action.reason)
            case Cut():
                reset(self._far_end)


def reset(connection: ServerConnection) -> None:
    """Cut the connection such that the far end sees a reset, not an end."""
    raw = connection.transport.get_extra_info("socket")
    if raw is not None and not connection.transport.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()
