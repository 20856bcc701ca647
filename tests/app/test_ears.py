"""Ears of the bridge's own."""

from __future__ import annotations

from sounds import silence, speech

from tandem.ears import Ears
from tandem_providers.detector import TurnDetector
from tandem_providers.events import UserSpeechStarted, UserSpeechStopped

WORDS = silence(600) + speech("hello") + silence(1500)


def test_nobody_listens_unless_asked_to() -> None:
    ears = Ears()
    assert not ears.open
    assert ears.feed(WORDS) == []


def test_own_ears_hear_starts_and_ends() -> None:
    ears = Ears(own=TurnDetector())
    assert ears.open
    assert {type(event) for event in ears.feed(WORDS)} == {UserSpeechStarted, UserSpeechStopped}


def test_spare_ears_hear_starts_only_and_are_opened_once() -> None:
    ears = Ears()
    ears.listen_meanwhile()
    spare = ears.spare
    ears.listen_meanwhile()
    assert ears.spare is spare
    assert {type(event) for event in ears.feed(WORDS)} == {UserSpeechStarted}
