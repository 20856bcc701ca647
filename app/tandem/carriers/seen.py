"""What came before, pure: repeats told from news."""

from __future__ import annotations

from collections import OrderedDict


class Seen:
    """What came already, remembered for a time: told once, everything is news; told again, it is not.

    Bounded: the oldest is forgotten when there is too much, never the newest.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._until: OrderedDict[bytes | str, float] = OrderedDict()

    def is_news(self, what: bytes | str, now: float) -> bool:
        """Whether this is the first time; from now on it is not."""
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        if what in self._until:
            return False
        self._until[what] = now + self._seconds
        if len(self._until) > self._most:
            self._until.popitem(last=False)
        return True

    def __contains__(self, what: object) -> bool:
        return what in self._until

    def __len__(self) -> int:
        return len(self._until)
