"""What the carrier has the call for."""

from __future__ import annotations

from tandem.call_types import Depart, Keys
from tandem.leaving import WORDS_SECONDS
from tandem.parking import Parking


def test_a_departure_waits_for_quiet() -> None:
    parking = Parking()
    assert not parking.due(1.0, heard=True), "nobody wants any"
    parking.ask(Depart(Keys("1"), seconds=30), 1.0)
    assert not parking.due(1.0, heard=False)
    assert parking.due(1.0, heard=True)
    gone = parking.go(2.0)
    assert (gone.order, parking.away, parking.wanted, parking.back_by) == (Keys("1"), gone, None, 32.0)


def test_words_about_it_may_take_a_moment_to_begin() -> None:
    parking = Parking()
    parking.ask(Depart(Keys("1"), "One moment."), 1.0)
    assert not parking.due(1.0 + WORDS_SECONDS - 0.1, heard=True)
    assert parking.due(1.0 + WORDS_SECONDS, heard=True)


def test_news_are_told_once() -> None:
    parking = Parking(news="Nobody answered.")
    assert (parking.back(), parking.back(), parking.away) == ("Nobody answered.", "", None)
