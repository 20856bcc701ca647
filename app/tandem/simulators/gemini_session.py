"""One client's connection to the simulated Gemini server: what a test may look at, and wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from tandem.simulators.gemini_engine import Engine
from tandem.simulators.gemini_outlet import Record


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
            f"in {self.record.responses} turns; closed with {self.close_code}{reason}{faults}"
        )
