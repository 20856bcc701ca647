"""When a caller hears that something takes long."""

from __future__ import annotations

from tandem.tools.fillers import Fillers


def test_once_and_only_in_silence() -> None:
    fillers = Fillers()
    assert fillers.due(heard=True) == ""
    fillers.wait(1, "One moment.")
    assert fillers.waiting
    assert fillers.due(heard=False) == "", "the agent speaks"
    assert fillers.due(heard=True) == "One moment."
    assert fillers.due(heard=True) == ""
    assert not fillers.waiting


def test_an_answer_in_time_spares_the_words() -> None:
    fillers = Fillers()
    fillers.wait(1, "One moment.")
    fillers.over(1)
    fillers.over(1)
    assert fillers.due(heard=True) == ""


def test_several_at_once_need_one_word_and_the_next_wait_has_its_own() -> None:
    fillers = Fillers()
    fillers.wait(1, "One moment.")
    fillers.wait(2, "Let me see.")
    assert fillers.due(heard=True) == "One moment."
    fillers.wait(3, "Still looking.")
    assert fillers.due(heard=True) == ""
    for number in (1, 2, 3):
        fillers.over(number)
    fillers.wait(4, "Let me see.")
    assert fillers.due(heard=True) == "Let me see."
