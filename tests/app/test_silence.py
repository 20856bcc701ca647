"""When a caller has been silent for too long."""

from __future__ import annotations

from tandem.silence import SilenceWatch


def watch(limit: float = 60.0, *, trust_speech: bool = False) -> SilenceWatch:
    """Silent since 0."""
    return SilenceWatch(limit, 0.0, trust_speech=trust_speech)


def test_r28_asked_at_a_quarter_of_the_limit_and_once() -> None:
    silence = watch()
    assert not silence.nudge_due(14.9)
    assert silence.nudge_due(15.0)
    assert not silence.nudge_due(15.1)


def test_r28_the_goodbye_begins_four_seconds_before_the_end() -> None:
    silence = watch()
    assert silence.nudge_due(15)
    assert not silence.goodbye_due(55.9)
    assert silence.goodbye_due(56.0)
    assert silence.end_at == 60.0


def test_a_short_limit_keeps_its_shares() -> None:
    silence = watch(10)
    assert silence.nudge_due(2.5)
    assert not silence.goodbye_due(8.9)
    assert silence.goodbye_due(9.0)


def test_no_goodbye_without_having_asked() -> None:
    assert not watch().goodbye_due(59)


def test_zero_turns_it_off() -> None:
    silence = watch(0)
    assert not silence.nudge_due(10_000)
    assert not silence.goodbye_due(10_000)


def test_words_start_the_count_again_and_one_can_be_asked_again() -> None:
    silence = watch()
    assert silence.nudge_due(15)
    silence.caller_active(20)
    assert silence.end_at == 80
    assert not silence.nudge_due(34.9)
    assert silence.nudge_due(35)


def test_an_agent_that_speaks_puts_the_count_off_but_asking_does_not() -> None:
    silence = watch()
    silence.agent_active(10)
    assert not silence.nudge_due(24.9)
    assert silence.nudge_due(25)
    silence.agent_active(27)
    assert silence.end_at == 70, "the question itself is no sign of life"


def test_speech_under_way_is_not_interrupted_by_a_question() -> None:
    silence = watch()
    silence.speech_started(14)
    assert not silence.nudge_due(16)
    silence.speech_stopped(17)
    assert not silence.nudge_due(17), "it may have been words, which are about to be answered"
    assert not silence.nudge_due(19.9)
    assert silence.nudge_due(20), "without words it was a noise, and counts for nothing"


def test_noise_now_and_then_puts_the_question_off_but_not_for_ever() -> None:
    silence = watch()
    for second in range(14, 30):
        silence.speech_started(second)
        silence.speech_stopped(second + 0.5)
        assert not silence.nudge_due(second + 0.9)
    assert silence.nudge_due(30)


def test_where_nobody_transcribes_detected_speech_is_a_sign_of_life() -> None:
    silence = watch(trust_speech=True)
    silence.speech_started(14)
    silence.speech_stopped(17)
    assert not silence.nudge_due(31.9)
    assert silence.nudge_due(32)


def test_noise_that_never_ends_is_believed_for_one_limit_only() -> None:
    """Comfort noise or a television must not keep the line open."""
    silence = watch(10)
    silence.speech_started(1)
    assert not silence.nudge_due(10.9)
    assert silence.nudge_due(11)
    assert silence.end_at == 18.5, "who is asked so late has as much time to answer as anybody"
    assert not silence.goodbye_due(17.4)
    assert silence.goodbye_due(17.5)


def test_the_stream_starts_the_count() -> None:
    silence = watch()
    silence.start(100)
    assert not silence.nudge_due(114)
    assert silence.end_at == 160


def test_words_that_are_being_written_down_put_off_the_question_but_are_no_sign_of_life_yet() -> None:
    """Of a caller whose voice is not told of, they are all that tells that there is one."""
    silence = watch()
    for second in (13, 14, 16, 18):
        assert not silence.said(second, final=False)
        assert not silence.nudge_due(second)
    assert not silence.nudge_due(20.9)
    assert silence.said(20.9, final=True)
    assert not silence.nudge_due(35.8)
    assert silence.nudge_due(35.9)
    silence = watch()
    for second in range(13, 30):
        silence.said(second, final=False)
        assert not silence.nudge_due(second)
    assert silence.nudge_due(30), "a machine that takes noise for words must not keep the line open"
