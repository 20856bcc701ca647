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
_MEANT: Final = frozenset({"dropped", "skipped"})
"""Reasons of turns that are silent on purpose, or because the caller goes on."""


@dataclass(slots=True)
class Answers:
    """`seen`: when something of the agent's turn under way came, or was heard, last."""

    seen: float
    _asked_again: bool = False

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
