"""When is a carrier gone?"""

from __future__ import annotations

import pytest

from tandem.call_types import EndReason
from tandem.carrier_watch import BAD_FRAME_WINDOW, BAD_FRAMES, PROBE_AFTER_SECONDS, PROBE_EVERY_SECONDS, CarrierWatch


@pytest.fixture
def watch() -> CarrierWatch:
    return CarrierWatch(gone_seconds=20.0, last_word=100.0)


def test_a_carrier_that_says_nothing_for_long_enough_is_gone(watch: CarrierWatch) -> None:
    assert watch.gone(119.9) is None
    assert watch.gone(120.0) is EndReason.CARRIER_SILENT
    watch.heard(120.0)
    assert watch.gone(139.9) is None


def test_one_that_takes_nothing_is_stalled_whatever_it_says(watch: CarrierWatch) -> None:
    watch.block(True, 101.0)
    watch.heard(120.0)
    assert watch.stalled_for(103.5) == 2.5
    assert watch.gone(120.9) is None
    assert watch.gone(121.0) is EndReason.CARRIER_STALLED
    watch.block(False, 121.0)
    assert watch.gone(121.0) is None
    assert watch.stalled_for(121.0) == 0.0


def test_a_silent_carrier_is_asked_now_and_then(watch: CarrierWatch) -> None:
    assert watch.probe(100.0 + PROBE_AFTER_SECONDS - 0.1) is None
    assert watch.probe(100.0 + PROBE_AFTER_SECONDS) == "probe1"
    assert watch.probe(100.0 + PROBE_AFTER_SECONDS + PROBE_EVERY_SECONDS - 0.1) is None
    assert watch.probe(100.0 + PROBE_AFTER_SECONDS + PROBE_EVERY_SECONDS) == "probe2"
    watch.heard(110.0)
    assert watch.probe(110.0 + PROBE_AFTER_SECONDS - 0.1) is None


def test_one_that_takes_nothing_is_not_asked(watch: CarrierWatch) -> None:
    watch.block(True, 101.0)
    assert watch.probe(115.0) is None


def test_less_patience_asks_sooner() -> None:
    watch = CarrierWatch(gone_seconds=2.0, last_word=100.0)
    assert watch.probe(100.9) is None
    assert watch.probe(101.0) == "probe1"
    assert watch.probe(102.0) == "probe2"


def test_unreadable_frames_are_too_many_only_when_they_come_together(watch: CarrierWatch) -> None:
    apart = BAD_FRAME_WINDOW / (BAD_FRAMES - 2)
    assert not any(watch.bad_frame(100.0 + count * apart) for count in range(20))
    assert not any(watch.bad_frame(1000.0) for _ in range(BAD_FRAMES - 1))
    assert watch.bad_frame(1000.0 + BAD_FRAME_WINDOW)
