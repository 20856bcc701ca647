"""No call lasts for ever: when its agent is told that it must come to a close, and when it is cut. Pure."""

from __future__ import annotations

from dataclasses import dataclass

WRAP_UP_SECONDS = 30.0
WRAP_UP = (
    "This call reaches its time limit in 30 seconds and will then be ended. Bring the conversation to a friendly close."
)


@dataclass(slots=True)
class LengthWatch:
    """Counts from the stream's start."""

    max_seconds: float
    _said: bool = False

    def over(self, started: float, now: float) -> bool:
        return now - started >= self.max_seconds

    def wrap_up_due(self, started: float, now: float) -> bool:
        """The agent is to be told now. True once; never in a call that was short anyway."""
        left = started + self.max_seconds - now
        if self._said or left > WRAP_UP_SECONDS or self.max_seconds <= WRAP_UP_SECONDS * 2:
            return False
        self._said = True
        return True
