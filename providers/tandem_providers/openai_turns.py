"""What an OpenAI session has received so far: turns, their items and calls, and words not yet final. All bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeVar

_TURNS: Final = 64
_ITEMS: Final = 512
_CALLS: Final = 1024

_T = TypeVar("_T")


@dataclass(slots=True)
class Turn:
    """One response."""

    id: str
    ended: bool = False
    muted: bool = False
    """It was interrupted: what still arrives of it is late and must not be heard."""
    cancelled: bool = False
    """We have asked the provider to stop it."""
    heard: bool = False
    """Some audio of it came."""
    drafts: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Calls whose arguments are complete, but which the provider has not called completed: name and arguments."""
    open_calls: set[str] = field(default_factory=set)
    """Calls told to the application and not answered yet."""
    called: bool = False
    """It called at least one function."""
    accounted: bool = False
    """Its costs have been told."""
    held_results: list[tuple[str, str]] = field(default_factory=list)
    """Answers that came before the turn was over: call id and output."""
    sent_results: list[str] = field(default_factory=list)
    """Ids of the items in which answers were sent."""


@dataclass(slots=True)
class OutputItem:
    """A stretch of the agent's voice. `size` counts its bytes as they came, whether passed on or not."""

    id: str
    turn: Turn
    size: int = 0
    final: bool = False
    cut: bool = False


NO_ITEM: Final = OutputItem("\0", Turn("\0", ended=True))
"""What is being received when nothing is; no provider has such names."""


def remember(memory: dict[str, _T], key: str, value: _T, limit: int) -> None:
    """Store, forgetting the oldest beyond `limit`."""
    if key not in memory and len(memory) >= limit:
        del memory[next(iter(memory))]
    memory[key] = value


class Turns:
    """Memory of a session's turns."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}
        self.items: dict[str, OutputItem] = {}
        self._calls: dict[str, Turn] = {}

    def find(self, turn_id: str) -> Turn | None:
        return self._turns.get(turn_id)

    def begin(self, turn_id: str) -> Turn:
        turn = Turn(turn_id)
        remember(self._turns, turn_id, turn, _TURNS)
        return turn

    def item(self, item_id: str, turn: Turn) -> OutputItem:
        """The item by that id, new if need be."""
        item = self.items.get(item_id)
        if item is None or item.turn is not turn:
            item = OutputItem(item_id, turn)
            remember(self.items, item_id, item, _ITEMS)
        return item

    def unfinished(self, turn: Turn) -> list[OutputItem]:
        """Items of a turn whose last audio was never announced."""
        return [item for item in self.items.values() if item.turn is turn and not item.final]

    def call(self, turn: Turn, call_id: str) -> bool:
        """Note a function call; False when it is known already."""
        if not call_id or call_id in self._calls:
            return False
        remember(self._calls, call_id, turn, _CALLS)
        turn.open_calls.add(call_id)
        turn.called = True
        return True

    def answered(self, call_id: str) -> Turn | None:
        """Note the answer to a call: the turn that made it, or None when nobody waits for one."""
        turn = self._calls.get(call_id)
        if turn is None or call_id not in turn.open_calls:
            return None
        turn.open_calls.remove(call_id)
        return turn


class Drafts:
    """Words of items that are not final yet, so that every item can be settled whatever happens."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[str, object, list[str]]] = {}
        self._final: dict[str, str] = {}

    def add(self, item_id: str, turn_id: str, text: str, source: object = None) -> bool:
        """More of an item's words. False: they are told by another `source` already, and are not told twice."""
        draft = self._texts.get(item_id)
        if draft is None:
            remember(self._texts, item_id, (turn_id, source, [text]), _ITEMS)
            return True
        if draft[1] is not source:
            return False
        draft[2].append(text)
        return True

    def replace(self, item_id: str, turn_id: str, text: str) -> None:
        """All the words of an item so far."""
        remember(self._texts, item_id, (turn_id, None, [text]), _ITEMS)

    def settle(self, item_id: str, text: str | None = None, *, in_pieces: bool = False) -> str | None:
        """The item's words in the end: `text` if it is known, else what was written so far.

        None when they are final already and this is no news. What comes for a final item replaces it, or, `in_pieces`,
        goes on where it ended, unless it repeats it.
        """
        draft = "".join(self._texts.pop(item_id, ("", None, []))[2])
        text = draft if text is None else text
        final = self._final.get(item_id)
        if final is not None and (text == final or not text):
            return None
        if final and in_pieces and not text.startswith(final):
            text = f"{final.rstrip()} {text.lstrip()}"
        remember(self._final, item_id, text, _ITEMS)
        return text

    def of(self, turn_id: str) -> list[str]:
        """Items of a turn that are not final."""
        return [item_id for item_id, (turn, _, _) in self._texts.items() if turn == turn_id]
