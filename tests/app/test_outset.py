"""Who speaks first."""

from __future__ import annotations

from tandem.call_types import ToProvider
from tandem.outset import LISTEN_SECONDS, Outset
from tandem_providers.commands import Purpose, Say

GREET = [ToProvider(Say(Purpose.GREETING, "Hello."))]


def test_an_agent_in_the_place_of_one_that_died_greets_again() -> None:
    outset = Outset("Hello.", listen_first=False)
    assert outset.ready() == outset.ready() == GREET
    assert outset.tick(9.0) == outset.spoken_to() == []


def test_listening_waits_from_the_first_moment_that_both_are_there() -> None:
    outset = Outset("Hello.", listen_first=True)
    assert outset.ready() == []
    assert outset.tick(10.0) == outset.tick(10.0 + LISTEN_SECONDS - 0.1) == []
    assert outset.tick(10.0 + LISTEN_SECONDS) == GREET
    assert outset.tick(20.0) == outset.spoken_to() == []


def test_an_agent_that_takes_no_text_answers_in_its_own_words() -> None:
    outset = Outset("Hello.", listen_first=True)
    assert outset.spoken_to() == []
    assert outset.tick(99.0) == [], "and is not made to greet afterwards"


def test_nobody_is_there_to_be_greeted() -> None:
    outset = Outset("Hello.", listen_first=True, text_in=True)
    outset.tick(1.0)
    outset.give_up()
    assert outset.tick(99.0) == outset.spoken_to() == []
