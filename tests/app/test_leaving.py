"""When is the line cut?"""

from __future__ import annotations

import pytest

from tandem.call_types import EndReason
from tandem.leaving import Leaving


def test_a_call_is_left_when_everything_has_been_heard() -> None:
    plan = Leaving(EndReason.AGENT_HUNG_UP, by=30.0)
    assert not plan.due(10.0, heard=False)
    assert plan.due(10.0, heard=True)


def test_not_before_its_time_and_not_before_last_words_had_their_chance() -> None:
    plan = Leaving(EndReason.AGENT_HUNG_UP, by=30.0, not_before=12.0, words_by=13.0)
    assert not plan.due(11.9, heard=True)
    assert not plan.due(12.5, heard=True)
    assert plan.due(13.0, heard=True)


def test_at_the_latest_it_is_left_in_the_middle_of_a_word() -> None:
    plan = Leaving(EndReason.AGENT_HUNG_UP, by=30.0, not_before=40.0, words_by=40.0)
    assert not plan.due(29.9, heard=True)
    assert plan.due(30.0, heard=False)


@pytest.mark.parametrize(
    ("reason", "may"),
    [(EndReason.SILENCE, True), (EndReason.AGENT_HUNG_UP, True), (EndReason.MAX_DURATION, False)],
)
def test_a_caller_who_speaks_undoes_some_farewells(reason: EndReason, may: bool) -> None:
    assert Leaving(reason, by=1.0).may_stay is may
