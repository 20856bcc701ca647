"""When a caller who waits for a slow function hears a word about it: once, and not while the agent speaks. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Fillers:
    """Functions that take long, and what is said meanwhile."""

    _waits: dict[int, str] = field(default_factory=dict)
    """By the number of the wait. Empty once its words have been said."""

    def wait(self, number: int, words: str) -> None:
        """A function takes long."""
        self._waits[number] = words

    def over(self, number: int) -> None:
        """It has answered, or nobody waits for it any more."""
        self._waits.pop(number, None)

    @property
    def waiting(self) -> bool:
        """There are words that have not been said. Not if some have been, for a wait that still lasts."""
        return bool(self._waits) and all(self._waits.values())

    def due(self, *, heard: bool) -> str:
        """What to say now, if anything; several that are waited for together need one word. `heard`: nothing of the
        agent is playing or being made."""
        if not heard or not self.waiting:
            return ""
        words = next(iter(self._waits.values()))
        self._waits = dict.fromkeys(self._waits, "")
        return words
