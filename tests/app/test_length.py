"""No call lasts for ever."""

from __future__ import annotations

from tandem.length import LengthWatch


def test_the_agent_is_told_once_before_the_end() -> None:
    watch = LengthWatch(600.0)
    assert not watch.wrap_up_due(100.0, 669.9)
    assert watch.wrap_up_due(100.0, 670.0)
    assert not watch.wrap_up_due(100.0, 671.0)
    assert not watch.over(100.0, 699.9)
    assert watch.over(100.0, 700.0)


def test_a_short_call_is_not_told_at_its_beginning() -> None:
    assert not LengthWatch(45.0).wrap_up_due(100.0, 120.0)
