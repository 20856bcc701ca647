"""How many unknown connections there may be, whose are counted together, and that none is counted for ever."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import log_lines
from starlette.requests import HTTPConnection

from tandem.guests import KEPT, MOST, MOST_OF_ONE, SAY_SECONDS, SECONDS, Guest, Guests, networks, welcome

STRANGER = "8.8.8.8"
LOOPBACK = "127.0.0.1"


def all_of(guests: Guests, address: str) -> list[Guest]:
    """As many as are let in from there."""
    there: list[Guest] = []
    while (guest := guests.admit(address, 0.0)) is not None:
        there.append(guest)
    return there


def test_one_address_has_few_and_another_has_its_own() -> None:
    guests = Guests()
    assert len(all_of(guests, STRANGER)) == MOST_OF_ONE
    assert len(all_of(guests, "8.8.4.4")) == MOST_OF_ONE
    assert len(guests) == 2 * MOST_OF_ONE


@pytest.mark.parametrize(
    "address", [LOOPBACK, "::1", "10.1.2.3", "172.17.0.1", "192.168.7.7", "100.64.0.1", "fd00::1", ""]
)
def test_behind_a_proxy_there_is_everybody(address: str) -> None:
    assert len(all_of(Guests(), address)) == MOST


def test_a_proxy_with_a_public_address_can_be_named() -> None:
    guests = Guests(networks("8.8.8.0/24, 2600:1:2::/48"))
    there = all_of(guests, STRANGER)
    assert len(there) == MOST
    for guest in there:
        guest.leave()
    assert len(all_of(guests, "2600:1:2:3::4")) == MOST


def test_strangers_leave_places_for_the_proxies() -> None:
    guests = Guests()
    strangers = [guest for number in range(1, 100) for guest in all_of(guests, f"8.8.8.{number}")]
    assert len(strangers) == MOST - KEPT
    assert len(all_of(guests, LOOPBACK)) == KEPT
    assert len(guests) == MOST


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2600::1", "2600::ffff:1:2:3", True),
        ("2600::1", "2600:0:0:1::1", False),
        ("::ffff:8.8.8.8", STRANGER, True),
        ("8.8.8.8", "8.8.8.9", False),
    ],
)
def test_whose_are_counted_together(one: str, other: str, same: bool) -> None:
    guests = Guests()
    assert len(all_of(guests, one)) == MOST_OF_ONE
    assert (guests.admit(other, 0.0) is None) == same


def test_who_leaves_makes_room_once() -> None:
    guests = Guests()
    first, *_ = all_of(guests, STRANGER)
    assert (first.there, first.deadline) == (True, SECONDS)
    first.leave()
    first.leave()
    first.late(9.0)
    assert not first.there
    assert len(guests) == MOST_OF_ONE - 1
    assert len(all_of(guests, STRANGER)) == 1


def test_all_who_are_turned_away_are_counted_and_few_are_logged() -> None:
    refused: Counter[str] = Counter()

    def count(why: str) -> None:
        refused[why] += 1

    guests = Guests(refused=count)
    with log_lines() as lines:
        there = all_of(guests, STRANGER)
        all_of(guests, STRANGER)
        all_of(guests, LOOPBACK)
        there[0].late(1.0)
        guests.admit(LOOPBACK, 1.0)
        guests.admit(LOOPBACK, SAY_SECONDS)
    assert refused == {"address": 2, "full": 2, "late": 1}
    assert [line["reason"] for line in lines] == ["address", "full"]
    assert STRANGER not in str(lines)


def test_who_has_shown_who_he_is_is_no_guest() -> None:
    guests = Guests()
    guest = guests.admit(STRANGER, 0.0)
    welcome(cast(HTTPConnection, SimpleNamespace(state=SimpleNamespace(guest=guest))))
    assert len(guests) == 0
    welcome(cast(HTTPConnection, SimpleNamespace(state=SimpleNamespace())))


@given(st.lists(st.tuples(st.sampled_from([STRANGER, "8.8.4.4", LOOPBACK, "2600::1", "no address"]), st.booleans())))
def test_nothing_is_left_when_all_are_gone(steps: list[tuple[str, bool]]) -> None:
    guests, there = Guests(), list[Guest]()
    for address, comes in steps:
        if comes and (guest := guests.admit(address, 0.0)) is not None:
            there.append(guest)
        elif there:
            there.pop(0).leave()
        assert len(guests) == len(there)
    for guest in there:
        guest.late(0.0)
    assert len(guests) == 0
    assert not guests._by_place


@pytest.mark.parametrize("text", ["proxy.example.com", "10.0.0.1/8", "10.0.0.0/33", "1.2.3"])
def test_what_is_no_network_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        networks(f"192.0.2.7,{text}")
    assert len(networks(" 192.0.2.7, 2001:db8::/32 ,")) == 2
