"""One clock for many calls: a timer for each of them would wake the process up a thousand times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

PHASES: Final = 5
"""Those who join are spread over so many points of the interval, so that not all are called at once."""


class Ticker:
    """Calls everybody who has joined once every `seconds`, on the event loop, until they leave.

    What is called must not raise. While nobody has joined there is no timer. A loop that was late is not made up for:
    who would have been called twice is called once. After one that stood still, the sockets are read first: what waits
    in them must not be taken for silence.
    """

    def __init__(self, seconds: float) -> None:
        self._step = seconds / PHASES
        self._phases: list[dict[Callable[[], None], None]] = [{} for _ in range(PHASES)]
        self._at = 0
        self._due = 0.0
        self._held_back = False
        self._timer: asyncio.TimerHandle | None = None

    def join(self, tick: Callable[[], None]) -> None:
        """From now on, for the first time within `seconds`."""
        min(self._phases, key=len)[tick] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._due = loop.time() + self._step
            self._timer = loop.call_at(self._due, self._beat)

    def leave(self, tick: Callable[[], None]) -> None:
        """No more. Idempotent."""
        for phase in self._phases:
            phase.pop(tick, None)
        if self._timer is not None and not any(self._phases):
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        # Never twice in a row: a loop that is always so late has its beats all the same.
        self._held_back = not self._held_back and now - self._due >= PHASES * self._step
        if self._held_back:
            self._due = now + self._step
            self._timer = loop.call_at(self._due, self._beat)
            return
        self._at = (self._at + 1) % PHASES
        self._due = max(self._due + self._step, now)
        self._timer = loop.call_at(self._due, self._beat)
        for tick in list(self._phases[self._at]):
            tick()
