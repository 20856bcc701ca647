"""The same request twice is done once: who repeats one, because its answer was lost, gets that answer. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

REMEMBERED_SECONDS: Final = 24 * 3600.0
CAPACITY: Final = 10_000

T = TypeVar("T")


class Mismatch(Exception):
    """The key came with another request before."""


@dataclass(slots=True)
class Idempotency(Generic[T]):
    """Answers (or what they will come from) by key. Full, the oldest goes: after so many calls it is long over."""

    capacity: int = CAPACITY
    seconds: float = REMEMBERED_SECONDS
    _known: OrderedDict[str, tuple[float, bytes, T]] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: str, request: bytes, now: float) -> T | None:
        """What this request was answered before; None: it is new.

        Raises:
            Mismatch: the key is known, with another request.
        """
        while self._known and now - next(iter(self._known.values()))[0] >= self.seconds:
            self._known.popitem(last=False)
        known = self._known.get(key)
        if known is None:
            return None
        if known[1] != request:
            raise Mismatch
        return known[2]

    def keep(self, key: str, request: bytes, answer: T, now: float) -> None:
        self._known[key] = (now, request, answer)
        while len(self._known) > self.capacity:
            self._known.popitem(last=False)

    def forget(self, key: str) -> None:
        """Nothing was done: the same request may try again."""
        self._known.pop(key, None)
