"""The conversation as it was *heard*: the caller's words, and of the agent's only what reached the caller's ear.

Lines stand in the order in which the provider placed the items in the conversation, not in the order in which words
about them arrived: the text of what the caller said may come seconds after the answer to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal

from tandem_providers.events import ItemAdded, Transcript
from tandem_providers.provider import HistoryTurn

_NO_WORD = "…"
"""Something was heard, but no whole word of it."""
CHARACTERS_PER_SECOND = 15.0
"""Ordinary speech; used only while an item's whole length is not known yet."""


@dataclass(slots=True)
class Entry:
    """One item of the conversation."""

    item_id: str
    is_input: bool
    text: str = ""
    final: bool = False
    as_heard: str | None = None
    """What the provider says was heard of an interrupted item; it counts if the caller did miss the rest."""
    at: float = 0.0
    """Seconds since the call began."""
    settled: bool = False
    """Part of a turn that is over."""
    repeated: bool = False
    """A provider that is gone wrote it; its successor hears the same audio, and may write it, too."""


@dataclass(frozen=True, slots=True)
class Line:
    """What the record shows of one item."""

    role: Literal["caller", "agent"]
    text: str
    at: float
    heard_ms: int | None = None
    """Agent only: milliseconds of its audio that the caller heard."""
    interrupted: bool = False
    settled: bool = False
    """Part of a turn that is over."""


@dataclass(frozen=True, slots=True)
class Heard:
    """How much of an agent's item was heard, as the ledger knows it."""

    heard_ms: int
    received_ms: int
    complete: bool
    cut: bool


@dataclass(slots=True)
class ConversationRecord:
    """See the module."""

    entries: dict[str, Entry] = field(default_factory=dict)
    _order: list[str] = field(default_factory=list)

    def place(self, item: ItemAdded, at: float) -> None:
        """An item took its place; a later word about its place moves it."""
        known = self.entries.get(item.item_id)
        if known is None:
            self.entries[item.item_id] = Entry(item.item_id, item.is_input, at=at)
        elif item.after is None:
            return
        else:
            self._order.remove(item.item_id)
        if item.after is not None and item.after in self._order:  # not behind itself
            self._order.insert(self._order.index(item.after) + 1, item.item_id)
        else:
            self._order.append(item.item_id)

    def hear(self, words: Transcript, at: float, *, settles: bool = False) -> None:
        """Words of an item: partial ones add up (or replace), final ones stand.

        Where there are no turns the agent's words settle what is final: what the caller said has then been answered.
        """
        key = words.item_id or words.turn_id
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = Entry(key, words.is_input, at=at)
            self._order.append(key)
        if entry.final and not words.is_final:
            return
        if words.as_heard:
            entry.as_heard = words.text
            entry.text = entry.text or words.text
        else:
            entry.text = words.text if words.is_final or words.replaces else entry.text + words.text
        entry.final = entry.final or words.is_final
        if words.is_input and words.is_final:
            self._take_the_place(entry)
        if settles and not words.is_input:
            for each in self.entries.values():
                each.settled = each.settled or each.final

    def settle(self) -> None:
        """A turn is over: all items there are belong to the past."""
        for entry in self.entries.values():
            entry.settled = True
            entry.repeated = False

    def repeat(self) -> None:
        """What the caller said since the last turn that is over is said again, to another provider."""
        for entry in self.entries.values():
            entry.repeated = entry.is_input and not entry.settled

    def _take_the_place(self, entry: Entry) -> None:
        """What stands there already, of before it was repeated, is the same again if the words are alike."""
        for earlier in [each for each in self.entries.values() if each.repeated and each is not entry]:
            if _alike(earlier.text, entry.text):
                entry.at = min(entry.at, earlier.at)
                self._order.remove(entry.item_id)
                self._order[self._order.index(earlier.item_id)] = entry.item_id
                del self.entries[earlier.item_id]

    def lines(self, heard: dict[str, Heard]) -> list[Line]:
        """The record so far. `heard` tells about items that have audio; an agent's item without is left out."""
        lines = []
        for key in self._order:
            entry = self.entries[key]
            if entry.is_input:
                if text := entry.text.strip():
                    lines.append(Line("caller", text, entry.at, settled=entry.settled))
            elif (audio := heard.get(key)) is not None and audio.heard_ms > 0 and entry.text:
                text = heard_text(entry.text, audio)
                if entry.as_heard is not None and audio.cut:
                    text = min(text, entry.as_heard, key=len)  # neither of the two knows of more than was heard
                text = text or _NO_WORD
                lines.append(Line("agent", text, entry.at, audio.heard_ms, audio.cut, entry.settled))
        return lines


def _alike(earlier: str, later: str) -> bool:
    """Most of the words are there again, in order: two providers do not hear quite the same, nor cut at one place."""
    words, again = (re.findall(r"\w+", text.casefold()) for text in (earlier, later))
    matcher = SequenceMatcher(None, words, again, autojunk=False)
    found = sum(block.size for block in matcher.get_matching_blocks())
    return found * 2 >= min(len(words), len(again)) and found > 0


def history_of(lines: list[Line]) -> tuple[HistoryTurn, ...]:
    """The turns that are over, for the memory of a provider that takes the conversation over."""
    return tuple(
        HistoryTurn("user" if line.role == "caller" else "assistant", line.text) for line in lines if line.settled
    )


def heard_text(text: str, audio: Heard) -> str:
    """The part of an item's text that goes with the audio heard, cut between words.

    While the item is still being generated its text may run ahead of its audio, so the share is bounded by how much
    can be said in that time.
    """
    text = text.strip()
    if audio.received_ms <= 0 or audio.heard_ms <= 0:
        return ""
    if audio.heard_ms >= audio.received_ms and audio.complete:
        return text
    length = len(text) * min(1.0, audio.heard_ms / audio.received_ms)
    if not audio.complete:
        length = min(length, audio.heard_ms / 1000 * CHARACTERS_PER_SECOND)
    end = round(length)
    if end >= len(text):
        return text
    space = text.rfind(" ", 0, end + 1)
    return text[:space].rstrip() if space > 0 else ""
