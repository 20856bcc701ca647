"""How late this machine is: what the clock may show beyond what a test promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tandem_providers.tasks import owned_tasks

BEAT_SECONDS = 0.005
WORTH_COUNTING = 0.02


@dataclass
class Lateness:
    """Of the event loop, while it was watched."""

    seconds: float = 0.0
    """The worst of it; several tests run at once, and everything in this one shares its loop."""

    lost: float = 0.0
    """All that was noticeably late together: what one thing after the other may have cost."""

    @property
    def milliseconds(self) -> float:
        return self.seconds * 1000


@asynccontextmanager
async def lateness() -> AsyncIterator[Lateness]:
    """Watch it for as long as this is open."""
    late = Lateness()

    async def watch() -> None:
        while True:
            due = time.monotonic() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            by = time.monotonic() - due
            late.seconds = max(late.seconds, by)
            late.lost += by if by > WORTH_COUNTING else 0.0

    async with owned_tasks() as start:
        start(watch(), name="lateness")
        yield late
