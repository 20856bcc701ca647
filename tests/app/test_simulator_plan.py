"""What a simulated call's report adds up, and when the call went well."""

from __future__ import annotations

from typing import Any

import pytest
from sounds import hum, silence

from tandem.simulators.line import Faults, Recording
from tandem.simulators.phone import At, Caller, Turn
from tandem.simulators.plan import CallReport
from tandem.simulators.telnyx_line import Identity, Order, telnyx_line


def line(*turns: Turn) -> Any:
    order = Order("wss://x", mode="rtp")
    return telnyx_line(Identity("u", "c", "s", "t", "a", "b"), order, Caller(turns, None), Recording(), faults=Faults())


def test_a_report_adds_up_all_streams_of_its_call() -> None:
    first, second = line(Turn(hum(440, 100), At(0))), line()
    for each in (first, second):
        each.playout.add(hum(500, 60) + silence(20))
        for _ in range(8):
            each.tick()
    report = CallReport.measured([first, second], call_sid="c", result="completed", ended_by="caller", seconds=1.0)
    assert (report.heard_ms, report.received_ms, report.unplayed_ms) == (160.0, 160.0, 0.0)
    assert report.frames_sent == 16
    assert report.first_audio_ms == first.conversation.first_audio_ms
    assert report.went_well


def test_a_call_without_a_stream() -> None:
    report = CallReport.measured([], call_sid="c", result="busy", ended_by=None, seconds=0.1)
    assert report.first_audio_ms is None
    assert not report.went_well


@pytest.mark.parametrize("changes", [{"result": "busy"}, {"problems": ("x",)}, {"heard_ms": 0.0}])
def test_what_makes_a_call_go_badly(changes: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "call_sid": "c", "result": "completed", "ended_by": "caller", "seconds": 1.0, "heard_ms": 1.0,
    }  # fmt: skip
    assert CallReport(**good).went_well
    assert not CallReport(**{**good, **changes}).went_well
