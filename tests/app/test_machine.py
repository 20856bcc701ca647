"""Answering machines: when may a message be left?"""

from __future__ import annotations

import pytest
from sounds import loud_ms, silence, speech

from tandem.call_types import MachinePolicy
from tandem.machine import GREETING_SECONDS, QUIET_SECONDS, MachineWatch
from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_16K, AudioFormat


def watch(policy: MachinePolicy = "leave_message", leg: AudioFormat = MULAW_8K) -> MachineWatch:
    return MachineWatch(policy, "Please call back.", leg)


def play(machine: MachineWatch, audio: bytes, now: float) -> float | None:
    """The line in frames of 20 ms; when, in seconds, the message is due."""
    size = machine.format.frame_bytes
    for place in range(0, len(audio), size):
        now += 0.02
        assert machine.hear(audio[place : place + size], now) == machine.format.silence(20)
        if machine.message_due(now):
            return now
    return None


def test_before_a_machine_is_found_the_line_is_heard_as_it_is() -> None:
    machine = watch()
    assert machine.hear(b"voice", 1.0) == b"voice"
    assert not machine.deaf
    assert not machine.message_due(1.0)


def test_other_policies_never_leave_a_message() -> None:
    for policy in ("hang_up", "continue"):
        machine = watch(policy)
        machine.find(ready=True, now=1.0)
        assert not machine.deaf
        assert not machine.message_due(99.0)


@pytest.mark.parametrize("leg", [MULAW_8K, PCM16_16K])
def test_a_greeting_is_over_when_nobody_has_spoken_for_a_while(leg: AudioFormat) -> None:
    machine = watch(leg=leg)
    words = silence(600) + speech("long")
    machine.find(ready=False, now=0.0)
    # The detector learns the line's noise first; words that follow hold the message back.
    feed = Converter(MULAW_8K, leg).feed
    assert play(machine, feed(words), 0.0) is None
    end = len(words) / MULAW_8K.bytes_per_ms / 1000
    due = play(machine, feed(silence(4000)), end)
    assert due is not None
    assert QUIET_SECONDS - 0.3 < due - loud_ms(words)[1] / 1000 < QUIET_SECONDS + 1.0
    assert not machine.message_due(due + 1), "once"


def test_a_greeting_without_end_is_not_waited_for() -> None:
    machine = watch()
    machine.find(ready=False, now=0.0)
    machine._speaking = True
    now = 0.0
    while not machine.message_due(now):
        now += 1.0
        machine.hear(b"", now)
        assert now < 60
    assert now == GREETING_SECONDS


def test_the_carriers_word_counts_at_once() -> None:
    machine = watch()
    machine.find(ready=False, now=1.0)
    assert not machine.message_due(1.1)
    machine.find(ready=True, now=1.2)
    assert machine.message_due(1.2)
    assert machine.hear(b"\x2a" * 160, 1.3) == MULAW_8K.silence(20), "nor is the rest of the line for the agent"
