"""How long a call waits for its stream."""

from __future__ import annotations

from playbook import plan

from tandem.call_types import EndReason, Outbound
from tandem.stream_watch import DIAL_SECONDS, StreamWatch


def test_an_incoming_call_waits_for_the_socket_and_then_for_its_start() -> None:
    watch = StreamWatch(plan(stream_seconds=10, start_seconds=5), 100.0, dialling=False)
    assert watch.late(109.9) is None
    assert watch.late(110.0) is EndReason.NO_STREAM
    watch.attached_at = 109.0
    assert watch.late(113.9) is None
    assert watch.late(114.0) is EndReason.NO_START


def test_a_call_that_we_place_rings_first() -> None:
    watch = StreamWatch(plan(outbound=Outbound(ring_seconds=30), stream_seconds=10), 100.0, dialling=True)
    assert watch.late(130 + DIAL_SECONDS - 0.1) is None
    assert watch.late(130 + DIAL_SECONDS) is EndReason.NO_ANSWER
    watch.answered(120.0)
    assert watch.late(129.9) is None
    assert watch.late(130.0) is EndReason.NO_STREAM
