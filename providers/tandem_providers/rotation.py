"""One session follows another before its time is up: when, and what the successor has to be told. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tandem_providers.commands import SendText
from tandem_providers.provider import HistoryTurn

EARLY_SECONDS: Final = 60.0
"""How long before a session's known end its successor is opened; two fifths of what is left at most."""
BY_SECONDS: Final = 5.0
"""So long before the end the successor takes over, turn or no turn; a tenth of what is left at most."""

_WHO: Final = {"user": "Caller", "assistant": "You"}
_MEANWHILE: Final = "This was said last in this conversation, and is settled:"


def times(now: float, end: float) -> tuple[float, float]:
    """When to open the successor of a session that ends at `end`, and when it must have taken over."""
    left = end - now
    return max(now, end - min(EARLY_SECONDS, left * 0.4)), end - min(BY_SECONDS, left * 0.1)


def news(before: tuple[HistoryTurn, ...], now: tuple[HistoryTurn, ...]) -> tuple[HistoryTurn, ...]:
    """What `now` has beyond `before`, of which the oldest may have been dropped and the last one amended meanwhile."""
    for dropped in range(len(before)):
        known = before[dropped:]
        if now[: len(known)] == known:
            return now[len(known) :]
        if len(known) > 1 and now[: len(known) - 1] == known[:-1]:
            return now[len(known) - 1 :]
    return now


def complete(turns: tuple[HistoryTurn, ...], said: Iterable[HistoryTurn]) -> tuple[HistoryTurn, ...]:
    """With all of the last words, if they are the agent's: the rest of them is still being played."""
    if not turns or turns[-1].role != "assistant":
        return turns
    whole = [turn for turn in said if turn.role == "assistant" and turn.text.startswith(turns[-1].text)]
    return (*turns[:-1], whole[-1]) if whole else turns


def meanwhile(turns: tuple[HistoryTurn, ...]) -> SendText:
    """Words for a successor about what was said after it had been given its memory."""
    lines = (f"{_WHO[turn.role]}: {turn.text}" for turn in turns)
    return SendText("\n".join((_MEANWHILE, *lines)), role="system", respond=False)
