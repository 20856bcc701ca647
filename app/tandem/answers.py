"""Does the caller get an answer, and does it end? Of turns without a sound, and without an end. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tandem.ledger import ItemAudio
from tandem_providers.events import TurnEnded

ENDLESS_SECONDS: Final = 10.0
"""A turn that nothing is heard of for so long is over, whether the provider has said so or not: longer than a provider
may take to begin one."""
LONGEST_WORK_SECONDS: Final = 120.0
"""Functions have deadlines of their own, and what comes of them is a turn: without one, nothing came of them."""
_MEANT: Final = frozenset({"dropped", "skipped"})
"""Reasons of turns that are silent on purpose, or because the caller goes on."""


@dataclass(slots=True)
class Answers:
    """`seen`: when something of the agent's turn under way came, or was heard, last."""

    seen: float
    _asked_again: bool = False
    _works_since: float | None = None

    def ended(self, turn: TurnEnded, now: float) -> None:
        """A turn is over; one that waits for functions goes on in the next."""
        self._works_since = now if turn.awaiting_tools else None

    def working(self, now: float) -> bool:
        """The agent waits for a function, and the caller for the agent: nobody is to be asked for a word."""
        return self._works_since is not None and now - self._works_since < LONGEST_WORK_SECONDS

    def over(self, turn: str, speaking: bool, now: float) -> bool:
        """Nothing of the agent is to be heard any more. `turn`: the one under way, as far as the provider told."""
        if speaking:
            self.seen = now
        return not speaking and (not turn or now - self.seen >= ENDLESS_SECONDS)

    def blocked(self, turn: TurnEnded, said: Iterable[ItemAudio]) -> bool:
        """The turn was stopped, for its content maybe, before anything of it was `said`. Not every provider tells when
        the caller has finished, but this one was about to answer."""
        return turn.status == "incomplete" and all(item.turn_id != turn.turn_id for item in said)

    def owed(self, turn: TurnEnded, *, unheard: bool) -> bool:
        """Whether the agent is to be asked to go on, as the caller would else hear nothing, or half a sentence.

        `unheard`: the caller has finished, and has heard nothing since. True once; then it is the caller's turn.
        """
        if not unheard and turn.status in ("completed", "interrupted"):
            self._asked_again = False
        if self._asked_again or turn.awaiting_tools or turn.reason in _MEANT:
            return False
        self._asked_again = turn.status == "failed" or (unheard and turn.status in ("completed", "incomplete"))
        return self._asked_again
