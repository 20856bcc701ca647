"""One provider's session in the hands of a conversation: being opened, listened to, or let go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tandem_providers.errors import ProviderError
from tandem_providers.events import Event
from tandem_providers.fallback import Attempt
from tandem_providers.line import Gate, Line
from tandem_providers.provider import HasLane, HistoryTurn, Session


@dataclass(eq=False, slots=True)
class Holding:
    """One provider's session, held open by a task of its own."""

    attempt: Attempt
    index: int
    """Of its provider in the client."""
    gate: Gate = field(default_factory=Gate)
    offer: asyncio.Future[ProviderError | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    release: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    began: float = 0.0
    line: Line | None = None
    session: Session | None = None
    laned: HasLane | None = None
    """The same, if it can offer audio by a short way."""
    remembers: tuple[HistoryTurn, ...] = ()
    """The memory that it was given."""

    def dismiss(self) -> None:
        """Nobody listens to it any more; it is closed."""
        if self.laned is not None:
            self.laned.lane = None
        self.gate.open(unheard)
        self.release.set()

    def let_go(self) -> None:
        """Close it politely when it is up, at once when it is still being opened."""
        self.release.set()
        if not self.offer.done() and self.task is not None:
            self.task.cancel()


def unheard(_event: Event) -> None:
    """The sink of a session that has been followed by another."""
