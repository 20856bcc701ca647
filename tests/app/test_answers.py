"""Turns without a sound, without an end, and with half a sentence."""

from __future__ import annotations

import pytest

from tandem.answers import ENDLESS_SECONDS, Answers
from tandem.ledger import ItemAudio
from tandem_providers.events import TurnEnded

FAILED, EMPTY = TurnEnded("t", "failed"), TurnEnded("t", "completed")


def test_a_turn_counts_as_long_as_something_of_it_was_heard_not_long_ago() -> None:
    answers = Answers(0.0)
    assert answers.over("", False, 1.0)
    assert not answers.over("t", False, ENDLESS_SECONDS - 1)
    assert not answers.over("t", True, 100.0)
    assert not answers.over("t", False, 100.0 + ENDLESS_SECONDS - 1)
    assert answers.over("t", False, 100.0 + ENDLESS_SECONDS)


@pytest.mark.parametrize("turn", [FAILED, EMPTY, TurnEnded("t", "incomplete", "content_filter")])
def test_a_caller_who_hears_nothing_is_owed_a_word_once(turn: TurnEnded) -> None:
    answers = Answers(0.0)
    assert answers.owed(turn, unheard=True)
    assert not answers.owed(turn, unheard=True)
    assert not answers.owed(EMPTY, unheard=False), "an answer: and from here on it may be once again"
    assert answers.owed(turn, unheard=True)


def test_half_a_sentence_is_no_answer() -> None:
    assert Answers(0.0).owed(FAILED, unheard=False)


@pytest.mark.parametrize(
    "turn",
    [
        TurnEnded("t", "completed", "skipped"),
        TurnEnded("t", "incomplete", "dropped"),
        TurnEnded("t", "completed", "", True),
        TurnEnded("t", "failed", "", True),
        TurnEnded("t", "cancelled"),
        TurnEnded("t", "interrupted"),
    ],
)
def test_silence_that_is_meant_is_left_alone(turn: TurnEnded) -> None:
    assert not Answers(0.0).owed(turn, unheard=True)


def test_an_answer_that_was_heard_is_one_however_it_ended() -> None:
    for turn in (EMPTY, TurnEnded("t", "incomplete", "max_output_tokens")):
        assert not Answers(0.0).owed(turn, unheard=False)


def test_a_turn_that_was_stopped_before_its_first_sound() -> None:
    stopped, before, its = TurnEnded("t", "incomplete", "blocklist"), ItemAudio("a", "s", 0), ItemAudio("b", "t", 0)
    answers = Answers(0.0)
    assert answers.blocked(stopped, [])
    assert answers.blocked(stopped, [before])
    assert not answers.blocked(stopped, [before, its])
    assert not answers.blocked(EMPTY, [])
