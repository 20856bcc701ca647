"""The call as dialogues: what happens on the left of time, what is done about it on the right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from playbook import FRAME, PROMPTS, START, Playbook, plan

from tandem.answers import LONGEST_WORK_SECONDS
from tandem.call import Call
from tandem.call_state import IllegalMove, Move, State
from tandem.call_types import (
    Attached,
    CallCommand,
    CallOver,
    Depart,
    End,
    EndReason,
    GiveToCarrier,
    HangUp,
    Hear,
    HoldProvider,
    Keys,
    Returned,
    SocketBlocked,
    SocketLost,
    Tell,
    Tick,
    ToProvider,
    Transfer,
)
from tandem.carriers.events import Clear, Dtmf, Malformed, Mark, MarkPlayed, Media, Play, Started, Stopped
from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import (
    CancelResponse,
    CommitTurn,
    PlaybackReport,
    Purpose,
    Say,
    SendDtmf,
    SendText,
)
from tandem_providers.detector import TurnDetector
from tandem_providers.errors import ConnectionFailedError
from tandem_providers.events import (
    AudioChunk,
    HangupRequested,
    Interrupted,
    ItemAdded,
    ProviderLost,
    SessionClosed,
    SessionReady,
    Transcript,
    TurnEnded,
    TurnStarted,
    Usage,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.prompts import prompt
from tandem_providers.provider import Capabilities

READY = SessionReady("openai", MULAW_8K, MULAW_8K, model="m")
CAN = Capabilities((MULAW_8K,), (MULAW_8K,), text_in=True)
GREET = ToProvider(Say(Purpose.GREETING))
DEAD = SessionClosed(ConnectionFailedError("gone"))


def voice(milliseconds: int) -> bytes:
    return b"\x33" * (milliseconds * MULAW_8K.bytes_per_ms)


def chunk(milliseconds: int, item: str = "item", turn: str = "turn", *, final: bool = False) -> AudioChunk:
    return AudioChunk(voice(milliseconds), final, item, turn)


def talking(**changes: Any) -> Playbook:
    """A call in which both ends are there and the greeting has been asked for."""
    play = Playbook(**changes)
    play >> Attached() >> READY << GREET
    play >> START
    return play.silent()


def end(reason: EndReason) -> list[CallCommand | type]:
    return [End(reason)]


# --- coming up -------------------------------------------------------------------------------------------------------


def test_a_provider_that_is_early_greets_before_the_stream_is_there_and_is_heard_at_its_start() -> None:
    play = Playbook()
    play >> READY << GREET
    play >> TurnStarted("turn") >> chunk(200) >> chunk(100, final=True)
    play.silent()
    play.wait(0.4) >> Attached() >> START << [Play(voice(200)), Play(voice(100)), Mark("m1")]
    assert play.call.stats.first_audio_seconds == 0


def test_a_provider_that_is_late_is_waited_for_with_a_word() -> None:
    play = Playbook()
    play >> Attached() >> START
    play.wait(0.9).silent()
    play.wait(0.2) << [Play(PROMPTS.one_moment), Mark("m1")]
    play >> READY << GREET
    assert play.call.state is State.TALKING


def test_caller_audio_flows_while_the_provider_is_still_being_opened() -> None:
    play = Playbook()
    play >> Attached() >> START >> Media(FRAME, 1, 0) << Hear(FRAME)


def test_no_provider_at_all_is_an_apology_then_the_end() -> None:
    play = Playbook()
    play >> Attached() >> START >> DEAD << [Play(PROMPTS.sorry), Mark("m1")]
    play.wait(2.0) >> MarkPlayed("m1") << end(EndReason.PROVIDERS_FAILED)


def test_no_provider_before_the_stream_is_an_apology_when_it_starts() -> None:
    play = Playbook()
    play >> DEAD
    play.silent()
    play >> Attached() >> START << [Play(PROMPTS.sorry), Mark("m1")]
    play.wait(2.1) << end(EndReason.PROVIDERS_FAILED)


def test_a_carrier_that_returns_no_mark_does_not_keep_the_apology_going() -> None:
    play = Playbook()
    play >> Attached() >> START >> DEAD << [Play(PROMPTS.sorry), Mark("m1")]
    play.wait(4.2) << end(EndReason.PROVIDERS_FAILED)


def test_a_webhook_without_a_stream_ends_after_ten_seconds() -> None:
    play = Playbook()
    play >> READY << GREET
    play.wait(9.9).silent()
    play.wait(0.2) << end(EndReason.NO_STREAM)


def test_a_socket_that_does_not_start_ends_after_five_seconds() -> None:
    play = Playbook()
    play.wait(2.0) >> Attached()
    play.wait(4.9).silent()
    play.wait(0.2) << end(EndReason.NO_START)


def test_an_unknown_format_is_refused_not_played_as_noise() -> None:
    play = Playbook()
    play >> Attached() >> Started("CA1", "MZ1", "AC1", None, None, "audio/opus 48000 Hz")
    play << end(EndReason.WRONG_FORMAT)


def test_a_second_start_and_media_before_the_first_are_counted_and_change_nothing() -> None:
    play = Playbook()
    play >> Attached() >> Media(FRAME, 1, 0) >> Dtmf("1") >> START >> START
    play.silent()
    assert play.call.state is State.CONNECTING
    assert play.call.stats.bad_frames == {"media before start": 1, "dtmf before start": 1, "a second start": 1}


def test_five_bad_frames_in_ten_seconds_end_the_stream_five_in_a_minute_do_not() -> None:
    play = talking(silence_seconds=0)
    for _ in range(6):
        play.wait(11) >> Malformed("no JSON")
    play.silent()
    for _ in range(3):
        play >> Malformed("no JSON")
    play.silent()
    play >> Malformed("no JSON") << end(EndReason.BAD_STREAM)


# --- barge-in --------------------------------------------------------------------------------------------------------


def test_barge_in_clears_the_carrier_and_tells_the_model_what_was_heard_once() -> None:
    play = talking()
    play >> TurnStarted("turn") >> chunk(1500) >> chunk(500, final=True)
    play << [Play(voice(1500)), Mark("m1"), Play(voice(500)), Mark("m2")]
    play >> TurnEnded("turn", "completed")
    play.wait(0.7) >> UserSpeechStarted()
    play << [Clear(), ToProvider(PlaybackReport("item", "turn", 0, 700, 2000)), ToProvider(CancelResponse())]
    play >> MarkPlayed("m1") >> MarkPlayed("m2") >> UserSpeechStarted()
    play.silent()
    assert play.call.stats.barge_ins == 1
    assert play.call.ledger.heard_ms(play.call.ledger.items["item"], play.now + 60) == 700


def test_late_audio_of_the_interrupted_turn_never_plays_the_answer_does() -> None:
    play = talking()
    play >> TurnStarted("turn") >> chunk(1000)
    play.take()
    play.wait(0.5) >> UserSpeechStarted()
    play << [Clear(), ToProvider, ToProvider]
    play >> chunk(200) >> chunk(200, "item2") >> TurnEnded("turn", "interrupted")
    play.silent()
    play >> UserSpeechStopped() >> TurnStarted("next") >> chunk(200, "item3", "next")
    play << Play(voice(200))


def test_a_caller_who_speaks_while_the_agent_is_silent_interrupts_nothing() -> None:
    play = talking()
    play >> UserSpeechStarted() >> UserSpeechStopped()
    play.silent()
    assert play.call.stats.barge_ins == 0


def test_the_bridges_own_words_are_cut_too_but_no_model_is_told_about_them() -> None:
    play = Playbook()
    play >> Attached() >> START
    play.wait(1.1) << [Play(PROMPTS.one_moment), Mark]
    play >> READY << GREET
    play >> UserSpeechStarted() << [Clear(), ToProvider(CancelResponse())]


def test_a_key_interrupts_and_reaches_the_model() -> None:
    play = talking()
    play >> TurnStarted("turn") >> chunk(400)
    play.take()
    play.wait(0.2) >> Dtmf("5") << [Clear(), ToProvider, ToProvider(CancelResponse()), ToProvider(SendDtmf("5"))]


def test_a_provider_that_hears_no_turns_gets_ears() -> None:
    play = talking()
    play.call.set_voice(CAN, TurnDetector())
    spoken = prompt("greeting").audio[:8000]
    speech = [spoken[i : i + len(FRAME)] for i in range(0, len(spoken), len(FRAME))]
    commands: list[CallCommand] = []
    for number, frame in enumerate([*speech, *[MULAW_8K.silence(20)] * 60], 1):
        commands += play.call.handle(Media(frame, number, number * 20), play.now + number * 0.02)
    assert sum(isinstance(c, Hear) for c in commands) == len(speech) + 60
    assert commands.count(ToProvider(CommitTurn())) == 1


# --- a burst, a slow carrier -----------------------------------------------------------------------------------------


def test_a_burst_is_sent_up_to_the_lead_the_rest_waits_and_the_provider_is_held() -> None:
    play = talking(lead_ms=2000, returns_marks=True)
    play >> chunk(130_000)
    sent = [c for c in play.take() if not isinstance(c, Mark)]
    assert sent == [Play(voice(2000)), HoldProvider(True)]
    play.wait(20)
    assert HoldProvider(False) in play.take()
    play >> UserSpeechStarted()
    clear, report, _ = play.take()
    assert clear == Clear()
    assert isinstance(report, ToProvider)
    assert isinstance(report.command, PlaybackReport)
    assert report.command.played_ms == pytest.approx(20_000, abs=40)


def test_a_carrier_that_takes_nothing_gets_nothing_and_is_given_up_after_ten_seconds() -> None:
    play = talking(silence_seconds=0)
    play >> SocketBlocked(True) >> chunk(5000)
    play.silent()
    play.wait(3.0)
    assert play.call.ledger.held_ms == 2000
    play >> SocketBlocked(False)
    assert [type(c) for c in play.take()] == [Play, Mark]
    play >> SocketBlocked(True)
    play.wait(10.1) << end(EndReason.CARRIER_STALLED)


def test_a_silent_carrier_is_asked_by_a_mark_and_given_up_when_it_does_not_answer() -> None:
    play = talking()
    play.wait(5.1, talking=False) << Mark("probe1")
    play >> MarkPlayed("probe1")
    play.wait(4.9, talking=False).silent()
    play.wait(0.2, talking=False) << Mark("probe2")
    play.wait(5.0, talking=False)
    assert play.take()[-1] == End(EndReason.CARRIER_SILENT)


# --- ending ----------------------------------------------------------------------------------------------------------


def test_the_caller_hangs_up() -> None:
    play = talking()
    play >> Stopped() << end(EndReason.CALLER_HUNG_UP)
    play >> Stopped() >> SocketLost(1000) >> chunk(20)
    play.silent()


def test_a_lost_socket_is_another_reason_than_a_hang_up() -> None:
    play = talking()
    play >> SocketLost(1006) << end(EndReason.CARRIER_LOST)


def test_a_goodbye_is_heard_to_its_end_before_the_line_is_cut() -> None:
    play = talking()
    play >> TurnStarted("turn") >> chunk(900, final=True) >> HangupRequested() >> TurnEnded("turn", "completed")
    play << [Play(voice(900)), Mark("m1")]
    play.wait(0.85).silent()
    play >> MarkPlayed("m1") << end(EndReason.AGENT_HUNG_UP)


def test_a_caller_who_speaks_during_the_goodbye_keeps_the_call() -> None:
    play = talking()
    play >> TurnStarted("turn") >> chunk(900, final=True) >> TurnEnded("turn", "completed") >> HangupRequested()
    play.take()
    play.wait(0.4) >> UserSpeechStarted() << [Clear(), ToProvider, ToProvider]
    assert play.call.state is State.TALKING


def test_a_provider_that_dies_is_apologised_for() -> None:
    play = talking()
    play >> DEAD << [Play(PROMPTS.sorry), Mark("m1")]
    play >> UserSpeechStarted()
    play.silent()
    play.wait(2.0) >> MarkPlayed("m1") << end(EndReason.PROVIDER_LOST)
    assert "gone" in play.call.stats.provider_error


def test_an_operator_or_a_drain_says_goodbye_first() -> None:
    play = talking()
    play >> HangUp(EndReason.DRAINED) << [Play(PROMPTS.goodbye), Mark("m1")]
    play.wait(0.9).silent()
    play.wait(0.2) >> MarkPlayed("m1") << end(EndReason.DRAINED)


def test_hanging_up_before_the_stream_needs_no_goodbye() -> None:
    Playbook() >> HangUp(EndReason.DRAINED) << end(EndReason.DRAINED)


def test_a_silent_caller_is_asked_at_15_seconds_and_let_go_at_60() -> None:
    play = talking()
    play.wait(14.9).silent()
    play.wait(0.2) << ToProvider(Say(Purpose.STILL_THERE))
    play >> TurnStarted("t") >> chunk(1200, "nudge", "t", final=True) >> TurnEnded("t", "completed")
    play.take()
    play.wait(1.3) >> MarkPlayed("m1")
    play.wait(39.4).silent()
    play.wait(0.5) << ToProvider(Say(Purpose.GOODBYE))
    play >> TurnStarted("t2") >> chunk(1500, "bye", "t2", final=True) >> TurnEnded("t2", "completed")
    play.take()
    play.wait(1.6) >> MarkPlayed("m3")
    play.wait(2.0).silent()
    play.wait(0.2) << end(EndReason.SILENCE)
    assert play.now - 100 == pytest.approx(60, abs=1)


def test_words_and_keys_are_signs_of_life_mere_noise_is_none() -> None:
    play = talking()
    play.wait(10) >> Transcript("hello", True, True, "u1")
    play.wait(10) >> Dtmf("1") << ToProvider
    play.wait(14.9).silent()
    play >> UserSpeechStarted() >> UserSpeechStopped() >> Transcript("  ", True, True, "u2")
    play.wait(2.9).silent()
    play.wait(0.3) << ToProvider(Say(Purpose.STILL_THERE))


def test_without_transcripts_detected_speech_is_a_sign_of_life() -> None:
    play = talking()
    play.call.set_voice(replace(CAN, transcribes=False))
    play.wait(14) >> UserSpeechStarted() >> UserSpeechStopped()
    play.wait(14).silent()


def test_who_has_just_answered_is_not_asked_whether_he_is_there() -> None:
    """The words are on their way to be written down, and the agent's answer to be spoken."""
    play = talking()
    play.wait(14) >> UserSpeechStarted()
    play.wait(3) >> UserSpeechStopped()
    play.wait(1).silent()
    play >> TurnStarted("t") >> Transcript("yes, please", True, True, "u1")
    play.wait(8).silent()


def test_who_is_being_written_down_is_not_asked_either() -> None:
    play = talking()
    play.wait(14) >> Transcript("yes,", False, True, "u1")
    play.wait(2) >> Transcript(" please", False, True, "u1")
    play.wait(2.5).silent()
    play >> Transcript("yes, please", True, True, "u1")
    play.wait(14).silent()


def test_long_speech_under_way_is_not_silence() -> None:
    play = talking()
    play >> UserSpeechStarted()
    play.wait(50).silent()


def test_the_clock_of_silence_starts_when_the_agent_has_been_heard() -> None:
    play = talking()
    play >> TurnStarted("t") >> chunk(18_000, final=True) >> TurnEnded("t", "completed")
    play.take()
    play.wait(18) >> MarkPlayed("m1")
    play.wait(14.5).silent()


def test_the_longest_call_is_warned_of_then_ended_with_a_goodbye() -> None:
    play = talking(max_seconds=100, silence_seconds=0)
    play.call.set_voice(CAN)
    play.wait(69.9).silent()
    play.wait(0.2)
    (warning,) = play.take()
    assert isinstance(warning, ToProvider)
    assert isinstance(warning.command, SendText)
    assert not warning.command.respond
    play.wait(29.95) << [Play(PROMPTS.goodbye), Mark("m1")]
    play.wait(1.1) >> MarkPlayed("m1") << end(EndReason.MAX_DURATION)


def test_a_move_that_the_table_does_not_have_names_both() -> None:
    call = Call(plan(), 0.0)
    with pytest.raises(IllegalMove, match=r"'stay' in state 'ringing'"):
        call._move(Move.STAY)


def test_an_answer_that_is_being_made_and_not_yet_audible_is_cut_at_the_provider_too() -> None:
    play = talking()
    play >> UserSpeechStarted() >> UserSpeechStopped() >> TurnStarted("t")
    play >> Dtmf("5") << [ToProvider(CancelResponse()), ToProvider(SendDtmf("5"))]
    assert play.call.stats.barge_ins == 0


def test_an_answer_that_failed_is_asked_for_once_more() -> None:
    play = talking()
    play >> UserSpeechStarted() >> UserSpeechStopped() >> TurnStarted("t") >> TurnEnded("t", "failed")
    play << ToProvider(Say(Purpose.RESUME))
    play >> TurnStarted("t2") >> TurnEnded("t2", "failed")
    play.silent()


def test_an_answer_that_broke_off_is_gone_on_with_unless_the_caller_speaks() -> None:
    play = talking()
    play >> TurnStarted("t") >> chunk(800, "a", "t") << Play
    play >> TurnEnded("t", "failed") << ToProvider(Say(Purpose.RESUME))
    play = talking()
    play >> TurnStarted("t") >> UserSpeechStarted() << ToProvider(CancelResponse())
    play >> TurnEnded("t", "failed")
    play.silent()


def test_an_answer_that_is_refused_for_its_content_is_no_silence() -> None:
    """Also where the provider does not tell when the caller has finished."""
    play = talking()
    play >> TurnStarted("t") >> TurnEnded("t", "incomplete", "prohibited") << ToProvider(Say(Purpose.RESUME))
    play >> TurnStarted("t2") >> TurnEnded("t2", "incomplete", "prohibited")
    play.silent()


def test_who_waits_for_a_function_is_not_asked_whether_anybody_is_there() -> None:
    play = talking()
    play >> TurnStarted("t") >> TurnEnded("t", "completed", "", True)
    play.wait(50).silent()
    play >> TurnStarted("t2") >> TurnEnded("t2", "completed")
    play.wait(14.9).silent()
    play.wait(0.2) << ToProvider(Say(Purpose.STILL_THERE))


def test_a_function_of_which_nothing_ever_comes_keeps_no_call_up() -> None:
    play = talking()
    play >> TurnStarted("t") >> TurnEnded("t", "completed", "", True)
    play.wait(LONGEST_WORK_SECONDS + 14.9).silent()
    play.wait(0.2) << ToProvider(Say(Purpose.STILL_THERE))


def test_a_turn_whose_end_never_comes_does_not_keep_the_call_up() -> None:
    play = talking(returns_marks=True, silence_seconds=20.0)
    play >> TurnStarted("t") >> chunk(800, "a", "t", final=True) << [Play, Mark]
    play.wait(10.0).silent()
    play.wait(6.5) << ToProvider(Say(Purpose.STILL_THERE))
    play.wait(12.5) << ToProvider(Say(Purpose.GOODBYE))
    play.wait(5)
    assert play.take() == end(EndReason.SILENCE)


def test_media_before_the_start_is_counted_and_no_reason_to_hang_up() -> None:
    play = Playbook()
    for _ in range(50):
        play >> Media(FRAME, None, None)
    play >> Attached() >> READY << GREET
    play >> START
    assert play.call.stats.bad_frames == {"media before start": 50}


def test_after_our_goodbye_the_agent_does_not_begin_again_and_a_second_order_changes_nothing() -> None:
    play = talking(returns_marks=True)
    play >> HangUp(EndReason.OPERATOR) << [Play(PROMPTS.goodbye), Mark]
    play >> HangUp(EndReason.OPERATOR) >> TurnStarted("t") >> chunk(9000, "a", "t")
    play.silent()
    play.wait(1.2)
    assert play.take() == end(EndReason.OPERATOR)


def test_a_provider_that_does_not_end_what_was_cut_off_does_not_keep_the_line() -> None:
    play = talking(returns_marks=True)
    play >> TurnStarted("t") >> chunk(3000, "a", "t") << [Play, Mark]
    play >> HangUp(EndReason.DRAINED)
    assert Play(PROMPTS.goodbye) in play.take()
    play.wait(1.2)
    assert play.take() == end(EndReason.DRAINED)


def test_a_word_of_ours_is_heard_each_time_it_is_needed() -> None:
    play = talking(returns_marks=True)
    play >> LOST
    play.wait(1.1) << [Play(PROMPTS.one_moment), Mark]
    play >> UserSpeechStarted()
    play.take()
    play >> NEXT >> LOST
    play.wait(1.1) << [Play(PROMPTS.one_moment), Mark]


def test_a_caller_who_answers_the_question_late_is_not_hung_up_on() -> None:
    play = talking(returns_marks=True)
    play.wait(15.1) << ToProvider(Say(Purpose.STILL_THERE))
    play.wait(34) >> UserSpeechStarted()
    play.wait(8) >> UserSpeechStopped()
    play.wait(1).silent()
    play >> Transcript("I was looking for it.", True, True, "u")
    play.wait(10).silent()
    assert play.call.state is State.TALKING


# --- a provider that dies, and its successor -------------------------------------------------------------------------

LOST = ProviderLost("openai", ConnectionFailedError("gone"))
NEXT = SessionReady("openai@backup", MULAW_8K, MULAW_8K, model="m")


def test_a_successor_takes_over_without_a_greeting_and_answers_what_it_is_given_again() -> None:
    play = talking(returns_marks=True)
    play >> UserSpeechStarted() >> UserSpeechStopped() >> TurnStarted("t1") >> chunk(600, "a", "t1")
    play << Play(voice(600))
    play >> LOST
    play.silent()
    assert play.call.state is State.RECOVERING
    play.wait(0.5).silent()
    play >> NEXT
    play.silent()
    play >> TurnStarted("t2") >> chunk(200, "b", "t2") << [Clear(), Play(voice(200))]
    assert play.call.stats.failovers == 1
    assert play.call.stats.provider == "openai@backup"


def test_a_wait_for_the_successor_gets_a_word_after_a_second_and_speech_meanwhile_still_flows() -> None:
    play = talking()
    play >> LOST
    play.wait(0.95).silent()
    play.wait(0.1) << [Play(PROMPTS.one_moment), Mark]
    play.wait(3).silent()
    play >> Media(FRAME, 500, 9_980)
    assert any(isinstance(command, Hear) for command in play.take())


def test_words_of_the_agents_own_accord_are_taken_up_again() -> None:
    play = talking()
    play >> TurnStarted("greeting") >> chunk(300, "a", "greeting") << Play(voice(300))
    play >> LOST >> NEXT << ToProvider(Say(Purpose.RESUME))


def test_a_session_that_follows_another_in_time_does_not_greet_again() -> None:
    play = talking()
    (play >> READY).silent()
    assert play.call.state is State.TALKING
    early = Playbook()
    early >> READY << GREET
    early >> READY
    early.silent()
    early >> Attached() >> START
    early.silent()
    assert early.call.state is State.TALKING


def test_nobody_takes_over() -> None:
    play = talking()
    play >> LOST >> DEAD << [Play(PROMPTS.sorry), Mark("m1")]
    play.wait(2.0) >> MarkPlayed("m1") << end(EndReason.PROVIDER_LOST)


def test_a_provider_that_dies_before_the_stream_leaves_nothing_behind() -> None:
    play = Playbook()
    play >> READY << GREET
    play >> TurnStarted("t") >> chunk(500, "a", "t") >> LOST
    play.silent()
    play >> NEXT << GREET
    play >> TurnStarted("t2") >> chunk(200, "b", "t2", final=True) >> Attached() >> START
    play << [Play(voice(200)), Mark("m1")]


def test_a_successor_remembers_finished_turns_as_heard_and_nothing_of_the_open_one() -> None:
    play = talking(returns_marks=True)
    play >> TurnStarted("t1") >> ItemAdded("a1", None, False) >> chunk(1000, "a1", "t1", final=True)
    play >> Transcript("Hello, who is there?", True, False, "a1", "t1") >> TurnEnded("t1", "completed")
    play.wait(1.1)
    play >> UserSpeechStarted("u1") >> UserSpeechStopped() >> ItemAdded("u1", "a1", True)
    play >> TurnStarted("t2") >> ItemAdded("a2", "u1", False) >> chunk(4000, "a2", "t2", final=True)
    play >> Transcript("one two three four five six seven eight", True, False, "a2", "t2")
    play.wait(2.0) >> UserSpeechStarted("u2") >> TurnEnded("t2", "interrupted") >> Transcript("Ann.", True, True, "u1")
    play >> UserSpeechStopped() >> ItemAdded("u2", "a2", True) >> Transcript("Wait!", True, True, "u2")
    play.take()
    assert [(turn.role, turn.text) for turn in play.call.history(play.now)] == [
        ("assistant", "Hello, who is there?"),
        ("user", "Ann."),
        ("assistant", "one two three four"),
    ]


def test_a_provider_that_stopped_the_agent_by_itself_is_not_told_to() -> None:
    play = talking()
    play >> TurnStarted("t") >> chunk(1000, "a", "t")
    play.take()
    play.wait(0.3) >> Interrupted("t") << [Clear(), ToProvider(PlaybackReport("a", "t", 0, 300, 1000))]


# --- the carrier has the call for a while ----------------------------------------------------------------------------

TRANSFER = Depart(Transfer("+15550003000"), "I will put you through.", seconds=45)


def parked() -> Playbook:
    """A call that has been given to the carrier for a transfer."""
    play = talking(returns_marks=True)
    play.call.set_voice(CAN)
    play >> TRANSFER << ToProvider(Say(Purpose.MESSAGE, "I will put you through."))
    play >> TurnStarted("t") >> chunk(500, "a", "t", final=True) >> TurnEnded("t", "completed")
    play << [Play(voice(500)), Mark("m1")]
    play.wait(0.4).silent()
    play.wait(0.2) << GiveToCarrier(TRANSFER)
    return play


def test_a_transfer_waits_for_its_announcement_to_be_heard_and_survives_the_streams_stop() -> None:
    play = parked()
    play >> Stopped() >> SocketLost(1000)
    play.wait(20, talking=False).silent()
    play >> Returned(moved=True) << end(EndReason.TRANSFERRED)


def test_nobody_answers_and_the_call_comes_back_to_the_agent_with_its_context() -> None:
    play = parked()
    play >> Stopped() >> SocketLost(1000)
    play.wait(25, talking=False) >> Returned(moved=False, news="Nobody answered.")
    play.silent()
    play >> Attached() >> START << ToProvider(SendText("Nobody answered.", role="system"))
    assert play.call.state is State.TALKING
    play.wait(0.1)
    play >> TurnStarted("t2") >> chunk(200, "b", "t2") << Play(voice(200))


def test_a_transfer_that_the_carrier_refuses_leaves_the_stream_and_is_told() -> None:
    play = parked()
    play >> Returned(moved=False, news="It was refused.", stream_goes_on=True)
    play << ToProvider(SendText("It was refused.", role="system"))


def test_a_caller_who_speaks_during_the_announcement_stays() -> None:
    play = talking()
    play >> TRANSFER
    play.take()
    play >> TurnStarted("t") >> chunk(500, "a", "t", final=True)
    play.take()
    play.wait(0.2) >> UserSpeechStarted() << [Clear(), ToProvider, ToProvider]
    play >> TurnEnded("t", "interrupted")
    play.wait(5).silent()
    assert play.call.state is State.TALKING


def test_a_call_that_never_comes_back_is_not_kept_for_ever() -> None:
    play = parked()
    play >> Stopped()
    play.wait(44, talking=False).silent()
    play.wait(1.5, talking=False) << end(EndReason.CARRIER_LOST)


def test_the_caller_hangs_up_while_the_carrier_has_the_call() -> None:
    parked() >> CallOver() << end(EndReason.CALLER_HUNG_UP)


def test_a_provider_that_dies_meanwhile_is_apologised_for_when_the_call_is_back() -> None:
    play = parked()
    play >> Stopped() >> DEAD
    play.silent()
    play >> Returned(moved=False, news="Nobody answered.") >> Attached() >> START
    play << [Play(PROMPTS.sorry), Mark]


def test_an_operator_speaks_through_the_agent_or_into_its_ear() -> None:
    play = talking()
    play >> Tell("Close at six.", aloud=True) << ToProvider(Say(Purpose.MESSAGE, "Close at six."))
    play >> Tell("Be brief.", aloud=False, respond=False) << ToProvider(SendText("Be brief.", "system", respond=False))


def test_a_provider_that_died_while_the_call_was_away_does_not_leave_a_call_without_end() -> None:
    play = parked()
    play >> Stopped() >> DEAD >> Returned(moved=False, news="Nobody answered.") >> Attached() >> START
    play << [Play(PROMPTS.sorry), Mark]
    play.wait(5)
    assert play.take() == end(EndReason.PROVIDER_LOST)


def test_keys_that_were_ordered_are_sent_though_the_far_end_speaks() -> None:
    play = talking(returns_marks=True)
    play >> TurnStarted("t") >> chunk(500, "a", "t")
    play >> Depart(Keys("1234")) >> UserSpeechStarted() >> TurnEnded("t", "interrupted")
    play.wait(1)
    assert GiveToCarrier(Depart(Keys("1234"))) in play.take()


def test_what_the_agent_says_while_nobody_hears_it_is_not_played_later() -> None:
    play = parked()
    play >> TurnStarted("t9") >> chunk(3000, "z", "t9", final=True) >> SocketBlocked(False)
    play.silent()
    play >> Stopped() >> Returned(moved=False) >> Attached() >> START
    play.silent()


def test_when_there_is_no_agent_any_more_the_caller_is_put_through_after_the_apology() -> None:
    play = talking(returns_marks=True, way_out="+15550009999")
    play >> DEAD << [Play(PROMPTS.sorry), Mark]
    play.wait(1.9).silent()
    play.wait(0.2) << GiveToCarrier(Depart(Transfer("+15550009999"), seconds=60.0))
    play >> Stopped() >> Returned(moved=True) << end(EndReason.TRANSFERRED)


def test_when_nobody_answers_there_either_the_caller_hears_so_and_the_call_ends() -> None:
    play = talking(returns_marks=True, way_out="+15550009999")
    play >> DEAD
    play.wait(2.1)
    play.take()
    play >> Returned(moved=False, stream_goes_on=True) << [Play(PROMPTS.sorry), Mark]
    play.wait(2.1) << end(EndReason.PROVIDER_LOST)


# --- full duplex -----------------------------------------------------------------------------------------------------

DUPLEX = Capabilities((MULAW_8K,), (MULAW_8K,), turn_model="duplex", transcribes=True)


def test_a_voice_that_never_pauses_gets_a_cushion_and_only_its_words_count_as_speech() -> None:
    play = talking(returns_marks=True)
    play.call.set_voice(DUPLEX)
    play >> chunk(100, "live") << Play(MULAW_8K.silence(120) + voice(100))
    for _ in range(200):
        play.wait(0.1) >> AudioChunk(MULAW_8K.silence(100), item_id="live")
    asked = [c for c in play.take() if isinstance(c, ToProvider)]
    assert asked == [ToProvider(Say(Purpose.STILL_THERE))]
    assert play.call.ledger.counters.underruns == 0


def test_a_goodbye_in_duplex_ends_when_its_words_have_been_heard() -> None:
    play = talking(returns_marks=True)
    play.call.set_voice(DUPLEX)
    play >> chunk(100, "live") >> HangupRequested()
    for _ in range(5):
        play.wait(0.1) >> chunk(100, "live")
    assert play.call.state is State.LEAVING
    for _ in range(9):
        play.wait(0.1) >> AudioChunk(MULAW_8K.silence(100), item_id="live")
    assert play.take()[-1] == End(EndReason.AGENT_HUNG_UP)


# --- what stays ------------------------------------------------------------------------------------------------------


def test_the_record_is_what_was_heard_in_the_order_of_the_conversation() -> None:
    play = talking()
    play >> TurnStarted("t1") >> ItemAdded("a1", None, False) >> chunk(2000, "a1", "t1", final=True)
    play >> Transcript("one two three four five six seven eight", True, False, "a1", "t1")
    play.take()
    play.wait(1.0) >> UserSpeechStarted("u1") >> ItemAdded("u1", "a1", True)
    play >> TurnStarted("t2") >> ItemAdded("a2", "u1", False)
    play >> chunk(100, "a2", "t2", final=True) >> Transcript("Yes.", True, False, "a2", "t2")
    play >> Transcript("Wait, please.", True, True, "u1")
    play.take()
    play.wait(0.2)
    assert [(line.role, line.text, line.interrupted) for line in play.call.lines(play.now)] == [
        ("agent", "one two three four", True),
        ("caller", "Wait, please.", False),
        ("agent", "Yes.", False),
    ]


def test_latency_and_usage_are_kept() -> None:
    play = talking()
    play >> UserSpeechStarted() >> UserSpeechStopped()
    play.wait(0.4) >> TurnStarted("t") >> chunk(20, "a", "t")
    play >> Usage("response", {"total": 3}) >> Usage("response", {"total": 4})
    assert play.call.stats.turn_latencies == [pytest.approx(0.4)]
    assert play.call.stats.usage == {"response.total": 7}


# --- any order -------------------------------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Whatever the two far ends do, in whatever order, the call's promises hold."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.call = Call(plan(lead_ms=3000), 0.0)
        self.ends = 0
        self.marks: list[str] = []
        self.ready = self.closed = False
        self.turns = 0

    def tell(self, event: object) -> None:
        for command in self.call.handle(event, self.now):  # type: ignore[arg-type]  # any event, that is the point
            assert not self.ends, "a command after the end"
            self.ends += isinstance(command, End)
            if isinstance(command, Mark):
                self.marks.append(command.name)

    @rule(seconds=st.floats(0.01, 6))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Tick())

    @rule(event=st.sampled_from([Attached(), START, Stopped(), SocketLost(1006), Malformed("bad"), Dtmf("1")]))
    def carrier(self, event: object) -> None:
        self.tell(event)

    @rule(number=st.integers(1, 30), size=st.integers(1, 400))
    def media(self, number: int, size: int) -> None:
        self.tell(Media(b"\x10" * size, number, number * 20))

    @rule()
    def mark(self) -> None:
        if self.marks:
            self.tell(MarkPlayed(self.marks.pop(0)))

    @rule()
    def provider_ready(self) -> None:
        if not self.ready and not self.closed:
            self.ready = True
            self.tell(READY)

    @rule()
    def provider_closed(self) -> None:
        if not self.closed:
            self.closed = True
            self.tell(DEAD)

    @rule(milliseconds=st.integers(0, 5000), final=st.booleans())
    def speaks(self, milliseconds: int, final: bool) -> None:
        if self.ready and not self.closed:
            self.tell(TurnStarted(f"t{self.turns}"))
            self.tell(chunk(milliseconds, f"i{self.turns}", f"t{self.turns}", final=final))
            if final:
                self.tell(TurnEnded(f"t{self.turns}", "completed"))
                self.turns += 1

    @rule(
        event=st.sampled_from(
            [UserSpeechStarted(), UserSpeechStopped(), HangupRequested(), Transcript("hi", True, True, "u")]
        )
    )
    def hears(self, event: object) -> None:
        if self.ready and not self.closed:
            self.tell(event)

    @rule(blocked=st.booleans())
    def socket(self, blocked: bool) -> None:
        self.tell(SocketBlocked(blocked))

    @rule()
    def operator(self) -> None:
        self.tell(HangUp(EndReason.OPERATOR))

    @invariant()
    def ended_once_and_for_a_reason(self) -> None:
        assert self.ends <= 1
        assert (self.call.state is State.ENDED) == (self.ends == 1)
        assert (self.call.end_reason is not None) == (self.ends == 1)

    @invariant()
    def the_carriers_buffer_is_bounded(self) -> None:
        assert self.call.ledger.ahead_ms(self.now) <= 3000 + 1


AnyOrder.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrder = AnyOrder.TestCase
