"""Calls that we place, as dialogues: nobody is there, somebody is, or a machine."""

from __future__ import annotations

from typing import Any

import pytest
from playbook import FRAME, PROMPTS, START, Playbook

from tandem.call_state import State
from tandem.call_types import (
    Answered,
    Attached,
    CallCommand,
    CallOver,
    End,
    EndReason,
    HangUp,
    Hear,
    MachineFound,
    Outbound,
    ToProvider,
)
from tandem.carriers.events import Clear, Mark, Media, Play
from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import CancelResponse, PlaybackReport, Purpose, Say, SendText
from tandem_providers.events import (
    AudioChunk,
    Interrupted,
    SessionReady,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.provider import Capabilities

READY = SessionReady("openai", MULAW_8K, MULAW_8K, "gpt")
CAN = Capabilities((MULAW_8K,), (MULAW_8K,), text_in=True, transcribes=True)
HELLO = ToProvider(Say(Purpose.GREETING, "Hello."))
MESSAGE = ToProvider(Say(Purpose.MESSAGE, "Please call back."))
LEAVES = Outbound(machine="leave_message", message="Please call back.")
SILENCE = MULAW_8K.silence(20)


def dialling(outbound: Outbound | None = None, **changes: Any) -> Playbook:
    play = Playbook(outbound=outbound or Outbound(), greeting="Hello.", **changes)
    assert play.call.state is State.DIALLING
    return play


def answered(outbound: Outbound | None = None, **changes: Any) -> Playbook:
    """Somebody has picked up, and the agent is there."""
    play = dialling(outbound, **changes)
    play >> Answered() >> Attached() >> START
    play.silent()
    play.call.set_voice(CAN)
    return play >> READY


def greeted(outbound: Outbound | None = None, **changes: Any) -> Playbook:
    """And has said so."""
    play = answered(outbound, returns_marks=True, **changes)
    play << HELLO
    play >> TurnStarted("t") >> AudioChunk(b"\x33" * 4000, True, "a", "t") >> TurnEnded("t", "completed")
    play << [Play(b"\x33" * 4000), Mark("m1")]
    return play


# --- nobody is there --------------------------------------------------------------------------------------------------


def test_ringing_is_waited_for_as_long_as_was_asked_and_a_little_longer() -> None:
    play = dialling(Outbound(ring_seconds=40))
    play.wait(54, talking=False).silent()
    play.wait(1.5, talking=False) << End(EndReason.NO_ANSWER)


@pytest.mark.parametrize("reason", [EndReason.BUSY, EndReason.NO_ANSWER, EndReason.NOT_PLACED])
def test_the_carrier_says_why_nobody_answers(reason: EndReason) -> None:
    dialling() >> CallOver(reason) << End(reason)


def test_an_end_after_the_answer_is_a_hangup_whatever_the_carrier_calls_it() -> None:
    greeted() >> CallOver(EndReason.BUSY) << End(EndReason.CALLER_HUNG_UP)


def test_an_operator_takes_it_back() -> None:
    dialling() >> HangUp(EndReason.OPERATOR) << End(EndReason.OPERATOR)


def test_a_stream_that_does_not_come_after_the_answer_is_not_waited_for_long() -> None:
    play = dialling() >> Answered()
    assert play.call.state is State.RINGING
    play.wait(9, talking=False).silent()
    play.wait(1.5, talking=False) << End(EndReason.NO_STREAM)


def test_a_second_word_of_the_answer_changes_nothing() -> None:
    play = greeted()
    play >> Answered()
    play.silent()
    assert play.call.state is State.TALKING


def test_the_stream_may_come_before_the_word_of_the_answer() -> None:
    play = dialling()
    play >> Attached() >> START >> Answered() >> READY << HELLO
    assert play.call.stats.ready_seconds == 0


def test_ready_is_counted_from_the_answer_not_from_the_first_ring() -> None:
    play = dialling()
    play.wait(20, talking=False) >> Answered()
    play.wait(1, talking=False) >> Attached() >> START
    play.wait(0.5) >> READY << HELLO
    assert play.call.stats.ready_seconds == pytest.approx(1.5)


def test_an_operator_does_not_wait_for_the_agent_to_finish() -> None:
    play = greeted()
    play.wait(0.1) >> HangUp(EndReason.OPERATOR)
    clear, report, cancel, goodbye, mark = play.take()
    assert (clear, cancel) == (Clear(), ToProvider(CancelResponse()))
    assert isinstance(report, ToProvider)
    assert (goodbye, type(mark)) == (Play(PROMPTS.goodbye), Mark)
    assert play.call.stats.barge_ins == 0
    play.wait(1.2) << End(EndReason.OPERATOR)


# --- who speaks first -------------------------------------------------------------------------------------------------


def test_we_greet_at_once_unless_told_to_listen() -> None:
    answered() << HELLO


def test_who_picks_up_and_says_nothing_is_greeted_after_two_seconds() -> None:
    play = answered(Outbound(listen_first=True))
    play.silent()
    play.wait(1.9).silent()
    play.wait(0.2) << HELLO
    play.wait(10).silent()


def test_who_speaks_first_is_answered_with_the_greeting() -> None:
    play = answered(Outbound(listen_first=True))
    play.wait(0.5) >> UserSpeechStarted()
    (told,) = play.take()
    assert isinstance(told, ToProvider)
    assert isinstance(told.command, SendText)
    assert "Hello." in told.command.text
    assert (told.command.role, told.command.respond) == ("system", False), "the answer to the speech has it"
    play.wait(1) >> UserSpeechStopped()
    play.wait(5).silent()


def test_listening_without_a_greeting_leaves_the_words_to_the_agent() -> None:
    play = Playbook(outbound=Outbound(listen_first=True))
    play >> Attached() >> START
    play.call.set_voice(CAN)
    play >> READY >> UserSpeechStarted()
    play.silent()


def test_listening_begins_when_both_ends_are_there() -> None:
    play = dialling(Outbound(listen_first=True))
    play >> Answered() >> READY
    play.wait(4, talking=False).silent()
    play >> Attached() >> START
    play.wait(1.9).silent()
    play.wait(0.2) << HELLO


# --- a machine --------------------------------------------------------------------------------------------------------


def test_a_machine_is_hung_up_on() -> None:
    play = greeted(Outbound(machine="hang_up"))
    play >> MachineFound(ready=False) << End(EndReason.MACHINE)
    assert play.call.stats.machine is True


def test_the_talk_goes_on_when_that_is_wanted() -> None:
    play = greeted()
    play >> MachineFound(ready=True)
    play.silent()
    assert play.call.stats.machine is True


def test_a_message_is_left_when_the_greeting_is_over_and_heard_before_the_end() -> None:
    play = greeted(LEAVES)
    play.wait(0.1)
    play >> MachineFound(ready=False)
    cut, report, cancel = play.take()[-3:]
    assert (cut, cancel) == (Clear(), ToProvider(CancelResponse())), "what the agent was saying is for nobody"
    assert isinstance(report, ToProvider)
    assert isinstance(report.command, PlaybackReport)
    assert play.call.stats.barge_ins == 0
    play >> MachineFound(ready=True) << MESSAGE
    play >> TurnStarted("m") >> AudioChunk(b"\x33" * 8000, True, "b", "m") >> TurnEnded("m", "completed")
    play << [Play(b"\x33" * 8000), Mark]
    play.wait(0.9).silent()
    play.wait(0.3) << End(EndReason.MACHINE)


def test_a_machine_whose_greeting_is_over_at_once_gets_the_message_at_once() -> None:
    play = greeted(LEAVES)
    play.wait(1) >> MachineFound(ready=True)
    assert play.take()[-1] == MESSAGE
    play >> MachineFound(ready=True)
    play.silent()


def test_a_carrier_that_does_not_tell_the_greetings_end_is_not_needed_for_it() -> None:
    """Nobody speaks for a while: then it is over."""
    play = greeted(LEAVES)
    play.wait(1) >> MachineFound(ready=False)
    play.take()
    play.wait(1.0).silent()
    play.wait(0.4) << MESSAGE


def test_the_agent_hears_silence_while_a_machine_speaks() -> None:
    play = greeted(LEAVES)
    play.wait(1) >> MachineFound(ready=False)
    play.take()
    play >> Media(FRAME, 51, 1020) << Hear(SILENCE)
    assert play.call.ways.hearing is None, "the short way is closed"
    play >> MachineFound(ready=True) << MESSAGE
    play >> Media(FRAME, 52, 1040) << Hear(SILENCE)


@pytest.mark.parametrize("noise", [UserSpeechStarted(), Interrupted("m"), MachineFound(ready=True)])
def test_nothing_stops_the_message(noise: Any) -> None:
    play = greeted(LEAVES)
    play.wait(1) >> MachineFound(ready=True)
    play.take()
    play >> TurnStarted("m") >> AudioChunk(b"\x33" * 8000, True, "b", "m") << [Play, Mark]
    play.wait(0.3) >> noise
    play.silent()
    play >> TurnEnded("m", "completed")
    play.wait(1) << End(EndReason.MACHINE)


def test_a_message_that_never_comes_does_not_keep_the_line() -> None:
    play = greeted(LEAVES)
    play.wait(1) >> MachineFound(ready=True)
    play.take()
    play.wait(2.9).silent()
    play.wait(0.3) << End(EndReason.MACHINE)


def test_a_machine_that_is_found_before_the_agent_is_there_gets_its_message_from_it() -> None:
    play = dialling(LEAVES)
    play >> Attached() >> START >> MachineFound(ready=True)
    play.take()
    play.call.set_voice(CAN)
    play >> READY << MESSAGE


def test_a_machine_is_not_asked_whether_it_is_still_there() -> None:
    play = greeted(LEAVES, silence_seconds=4)
    play.wait(0.6) >> MachineFound(ready=False)
    commands: list[CallCommand] = play.take()
    play.wait(1.4)
    commands += play.take()
    assert [c for c in commands if isinstance(c, ToProvider) and isinstance(c.command, Say)] == [MESSAGE]
