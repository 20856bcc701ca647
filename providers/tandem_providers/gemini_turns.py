"""What a Gemini session has received so far: the agent's turn, the words on their way, the calls not yet answered.

The wire names neither turns nor items, so they get names here. Those are unlike the ones of every other session,
because a call may have several sessions one after the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_CALLS: Final = 1024
_MARKER: Final = re.compile(r"<[^<>]*>")
"""What transcriptions contain besides words, such as `<noise>`."""


@dataclass(slots=True)
class Item:
    """A stretch of speech, of either side."""

    id: str
    text: list[str] = field(default_factory=list)
    interim: str = ""
    """Words that the next ones will replace."""
    settled: bool = False
    """Its words have been told as final."""

    def add(self, text: str) -> None:
        self.text.append(text)

    @property
    def words(self) -> str:
        return _MARKER.sub("", "".join(self.text) + self.interim).strip()


@dataclass(slots=True)
class Turn:
    """One turn of the agent."""

    id: str
    items: list[Item] = field(default_factory=list)
    """What it says; the last one is the one that is being received."""
    generated: bool = False
    """All of the last item has been received: further voice is another one's."""
    muted: bool = False
    """The application has stopped it: what still comes must not be heard."""
    prompted: bool = False
    """It answers to us, not to words of the caller."""
    asked: Item | None = None
    """The caller's words that it answers to."""
    calls: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Call:
    """A function call that was told to the application."""

    id: str
    name: str
    named: bool
    """The id is the provider's own; else the answer must not carry one."""
    blocking: bool
    group: int
    """Calls that came in one message."""
    output: str | None = None
    """The answer, while it waits for those of its group."""


class Calls:
    """Calls that the model waits for."""

    def __init__(self) -> None:
        self._open: dict[str, Call] = {}
        self._known: dict[str, None] = {}

    def add(self, call: Call) -> bool:
        """Note a call; False when it is known already."""
        if call.id in self._known:
            return False
        if len(self._known) >= _CALLS:
            forgotten = next(iter(self._known))
            del self._known[forgotten]
            self._open.pop(forgotten, None)
        self._known[call.id] = None
        self._open[call.id] = call
        return True

    def get(self, call_id: str) -> Call | None:
        return self._open.get(call_id)

    def drop(self, call_id: str) -> Call | None:
        """The call is not wanted any more."""
        return self._open.pop(call_id, None)

    def take_answered(self) -> list[Call]:
        """Calls whose answers can be sent now; they are not open any more. A model that waits is answered all at once:
        for the calls of one message together."""
        waiting = {call.group for call in self._open.values() if call.blocking and call.output is None}
        answered = [
            call
            for call in self._open.values()
            if call.output is not None and not (call.blocking and call.group in waiting)
        ]
        for call in answered:
            del self._open[call.id]
        return answered

    def still_open(self, call_ids: set[str]) -> bool:
        return any(call_id in self._open for call_id in call_ids)

    @property
    def blocking(self) -> bool:
        """Whether the model does nothing until it is answered."""
        return any(call.blocking for call in self._open.values())


def spoken(text: str | None) -> str:
    """A piece of a transcription without the marks in it."""
    return _MARKER.sub("", text) if text and "<" in text else text or ""
