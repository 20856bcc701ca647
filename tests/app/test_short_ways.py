"""What passes without the call being asked, and when it is asked for its slow clocks."""

from __future__ import annotations

from tandem.caller_audio import IDLE_SECONDS, CallerAudio
from tandem.carriers.events import Media
from tandem.ledger import Ledger
from tandem.short_ways import LOOK_SECONDS, ShortWays
from tandem_codecs.format import MULAW_8K

FRAME = bytes(MULAW_8K.frame_bytes)


def flowing(now: float) -> ShortWays:
    ways = ShortWays()
    ways.hearing = CallerAudio(MULAW_8K, now)
    ways.hearing.accept(Media(FRAME, 1, 0), now)
    ways.look_at = now + LOOK_SECONDS
    return ways


def test_a_call_in_which_all_is_well_rests_for_a_while() -> None:
    ways = flowing(10.0)
    assert ways.rests(10.1)
    assert not ways.rests(10.0 + LOOK_SECONDS)


def test_it_is_asked_at_once_when_the_callers_audio_stops_or_comes_out_of_order() -> None:
    ways = flowing(10.0)
    assert not ways.rests(10.0 + IDLE_SECONDS / 2 + 0.01), "long before silence has to be put in"
    ways = flowing(10.0)
    assert ways.hearing is not None
    ways.hearing.accept(Media(FRAME, 3, 40), 10.02)
    assert not ways.rests(10.03)


def test_nothing_rests_or_passes_once_they_are_closed() -> None:
    ways = flowing(10.0)
    ways.ledger = Ledger(MULAW_8K, 1000.0)
    ways.close()
    assert not ways.rests(10.0)
    assert [ways.hearing, ways.ledger] == [None] * 2
