"""The words of a call: named ends, legal close codes, counting."""

from __future__ import annotations

from tandem.call_types import CLOSE_CODES, CallPlan, CallStats, EndReason
from tandem_codecs.format import MULAW_8K


def test_close_codes_may_be_sent_and_their_reasons_fit() -> None:
    """RFC 6455, 7.4: 1005, 1006 and 1015 never travel; a reason has at most 123 bytes."""
    assert all(1000 < code < 1015 and code not in (1004, 1005, 1006) for code in CLOSE_CODES.values())
    assert all(len(reason.value.encode()) <= 123 for reason in EndReason)


def test_results_are_words_for_a_log_and_a_metric() -> None:
    values = [reason.value for reason in EndReason]
    assert len(set(values)) == len(values)
    assert all(value.replace("_", "").isalpha() and value == value.lower() for value in values)


def test_bad_frames_are_counted_by_reason() -> None:
    stats = CallStats()
    for reason in ("binary frame", "x", "x"):
        stats.count_bad(reason)
    assert stats.bad_frames == {"binary frame": 1, "x": 2}


def test_the_defaults_of_a_plan_are_those_that_are_promised() -> None:
    plan = CallPlan(MULAW_8K, 20_000)
    assert (plan.max_seconds, plan.silence_seconds) == (3600, 60)
    assert (plan.stream_seconds, plan.start_seconds) == (10, 5), "a socket without a start is closed after 5 s (R24)"
    assert plan.hold_prompt_seconds == 1, "R03: the caller hears something at 1 s"
    assert plan.carrier_gone_seconds == 10, "R11 and R12"
