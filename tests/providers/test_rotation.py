"""When a successor is opened, and what it is told that it does not remember."""

from __future__ import annotations

import pytest

from tandem_providers.commands import SendText
from tandem_providers.provider import HistoryTurn
from tandem_providers.rotation import complete, meanwhile, news, times

A, B, C, D = (HistoryTurn("user" if text in "ac" else "assistant", text) for text in "abcd")
LONGER = HistoryTurn("assistant", "b and more")


def test_early_but_not_absurdly() -> None:
    assert times(100.0, 3700.0) == (3640.0, 3695.0)
    assert times(100.0, 110.0) == (106.0, 109.0)
    assert times(100.0, 100.0) == (100.0, 100.0)


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ((), (A, B), (A, B)),
        ((A, B), (A, B), ()),
        ((A, B), (A, B, C, D), (C, D)),
        ((A, B, C), (B, C, D), (D,)),
        ((A, B), (A, LONGER, C), (LONGER, C)),
        ((A, B), (C, D), (C, D)),
        ((A,), (), ()),
    ],
)
def test_only_what_is_new_is_told(
    before: tuple[HistoryTurn, ...], now: tuple[HistoryTurn, ...], new: tuple[HistoryTurn, ...]
) -> None:
    assert news(before, now) == new


def test_the_last_words_are_told_whole_though_they_are_still_being_played() -> None:
    assert complete((A, B), [A, LONGER]) == (A, LONGER)
    assert complete((A, D), [A, LONGER]) == (A, D)
    assert complete((A,), [LONGER]) == (A,)
    assert complete((), [LONGER]) == ()


def test_it_is_told_as_something_that_is_not_to_be_answered() -> None:
    told = meanwhile((A, B))
    assert told == SendText(told.text, role="system", respond=False)
    assert told.text.endswith("Caller: a\nYou: b")
