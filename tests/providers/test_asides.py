"""What an agent is told that is not the caller's, and the line in which it waits."""

from __future__ import annotations

import pytest

from tandem_providers.asides import NOT_THE_CALLER, Aside, Asides, direction, noted, pressed, written
from tandem_providers.commands import Purpose, Say, SendDtmf, SendText


@pytest.mark.parametrize("purpose", Purpose)
def test_every_purpose_has_a_direction_and_words_come_last(purpose: Purpose) -> None:
    free = direction(Say(purpose))
    assert free.startswith(NOT_THE_CALLER)
    assert direction(Say(purpose, 'Say "yes"\nor no.')).endswith('"Say "yes"\nor no."')
    assert len({direction(Say(each)) for each in Purpose}) == len(Purpose)


def test_text_says_whose_it_is() -> None:
    assert written(SendText("hello")) == "hello"
    assert written(SendText("be brief", role="system")) == f"{NOT_THE_CALLER} be brief"
    assert noted(SendText("be brief", role="system", respond=False)) == "be brief"
    assert noted(SendText("hello", respond=False)) == "The caller has written: hello"
    assert pressed(SendDtmf("#")) == "The caller pressed # on the keypad."


def test_what_is_to_be_said_goes_before_what_is_to_be_answered() -> None:
    line = Asides()
    assert not line
    assert line.take() is None
    line.add(Aside("one"))
    line.add(Aside("two"))
    line.add(Aside("there?", purpose=Purpose.STILL_THERE))
    assert line
    assert line.take() == Aside("there?", purpose=Purpose.STILL_THERE)
    assert line.take() == Aside("one\ntwo"), "texts that stand together need one answer"
    assert not line


def test_a_wish_replaces_an_older_one_but_each_message_is_wanted() -> None:
    line = Asides()
    for text in ("old", "new"):
        line.add(Aside(text, purpose=Purpose.STILL_THERE))
        line.add(Aside(text, True, Purpose.MESSAGE))
    taken = [line.take(), line.take(), line.take(), line.take()]
    assert taken == [
        Aside("old", True, Purpose.MESSAGE),
        Aside("new", purpose=Purpose.STILL_THERE),
        Aside("new", True, Purpose.MESSAGE),
        None,
    ]


def test_a_farewell_replaces_everything_and_survives_a_word_of_the_caller() -> None:
    line = Asides()
    line.add(Aside("text"))
    line.add(Aside("there?", purpose=Purpose.STILL_THERE))
    line.add(Aside("bye", purpose=Purpose.GOODBYE))
    line.put_back(Aside("there?", purpose=Purpose.STILL_THERE))
    line.cancel()
    assert line.take() == Aside("bye", purpose=Purpose.GOODBYE)
    assert not line


def test_the_callers_voice_cancels_what_the_agent_was_to_say_of_its_own_accord() -> None:
    line = Asides()
    for purpose in (Purpose.GREETING, Purpose.STILL_THERE, Purpose.RESUME, Purpose.MESSAGE, None):
        line.add(Aside(str(purpose), purpose=purpose))
    line.cancel()
    assert [line.take(), line.take(), line.take()] == [
        Aside(str(Purpose.MESSAGE), purpose=Purpose.MESSAGE),
        Aside("None"),
        None,
    ]


def test_what_was_refused_is_first_in_line_again_unless_it_was_replaced() -> None:
    line = Asides()
    line.add(Aside("text"))
    line.put_back(Aside("there?", purpose=Purpose.STILL_THERE))
    assert line.take() == Aside("there?", purpose=Purpose.STILL_THERE)
    line.add(Aside("new", purpose=Purpose.STILL_THERE))
    line.put_back(Aside("there?", purpose=Purpose.STILL_THERE))
    assert line.take() == Aside("new", purpose=Purpose.STILL_THERE)
    assert line.take() == Aside("text")
