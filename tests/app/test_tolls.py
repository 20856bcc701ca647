"""Whom this server may call, and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.tolls import DENIED, NotAllowed, Tolls, described, doubts, is_number, is_sip, parse_allow

GOOD = ["+15551234567", "+441632960961", "+4930123456", "+33142685300", "+12125550100", "+290123456"[:9]]
SIP = ["sip:agent@pbx.example.com", "sips:1001@10.0.0.1:5061;transport=tls", "sip:%2b49301@example.com"]


def why(tolls: Tolls, to: str) -> str:
    """Why it is refused; empty when it is not."""
    try:
        tolls.may_reach(to)
    except NotAllowed as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize("to", [*GOOD, *SIP])
def test_ordinary_destinations_are_allowed(to: str) -> None:
    assert why(Tolls(), to) == ""


@pytest.mark.parametrize(
    "to",
    [
        "", "911", "112", "15551234567", "+1", "+123456", "+0123456789", "+1234567890123456", "+1 555 123 4567",
        "+1555123456x", "tel:+15551234567", "sip:", "sip:@host", "sip:user@", "sip:user@host?X-Header=1",
        "sip:us er@host", "sip:user@ho st", "http://example.com", "+15551234567\n", "+١٥٥٥١٢٣٤٥٦٧",
        "sip:user@host<Number>+1900</Number>", "sip:a@b;c=d;" + "e" * 40,
    ],
)  # fmt: skip
def test_what_is_no_destination_is_refused(to: str) -> None:
    assert "no E.164 number" in why(Tolls(), to)
    assert not is_number(to)
    assert not is_sip(to)


@pytest.mark.parametrize(
    "to",
    ["+19005551234", "+881612345678", "+870776123456", "+882161234567", "+979123456789", "+449061234567",
     "+447012345678", "+491371234567", "+33899123456", "+12129765555", "+15005550006", "+41900123456"],
)  # fmt: skip
def test_premium_satellite_and_special_numbers_are_refused_by_default_and_said_by_kind(to: str) -> None:
    problem = why(Tolls(), to)
    assert "is not allowed" in problem
    assert "OUTBOUND_ALLOW" in problem
    assert why(Tolls(), f"sip:{to}@gateway.example.com"), "nor is a gateway a way round it"


@pytest.mark.parametrize("prefix", [prefix for prefixes in DENIED.values() for prefix in prefixes])
def test_each_denied_beginning_is_refused_and_can_be_allowed_by_name(prefix: str) -> None:
    to = (prefix + "123456789012")[:13]
    assert why(Tolls(), to)
    assert why(Tolls(allow=(prefix,)), to) == ""
    assert why(Tolls(allow=(prefix[:2],)), to), "a wider permission does not include it"


def test_with_a_list_only_what_it_names_is_called() -> None:
    tolls = Tolls(allow=parse_allow("+49, +1212,sip:pbx.example.com,sip:*.branch.example.com"))
    for to in ("+4930123456", "+12125550100", "sip:7@pbx.example.com", "sip:7@berlin.branch.example.com",
               "sip:+33142685300@PBX.example.com"):  # fmt: skip
        assert why(tolls, to) == "", to
    for to in ("+13105550100", "+33142685300", "sip:7@example.com", "sip:7@branch.example.com.evil.test",
               "sip:7@xbranch.example.com", "sip:+33142685300@example.com", "+499001234567"):  # fmt: skip
        assert why(tolls, to), to


@pytest.mark.parametrize(
    "user", ["+19005550100", "19005550100", "0019005550100", "01119005550100", "%2B19005550100", "1-900-555.0100"]
)
def test_no_dress_of_a_number_gets_past_a_gateway(user: str) -> None:
    assert "+1900" in why(Tolls(), f"sip:{user}@gateway.example.com")
    assert not why(Tolls(allow=parse_allow("+1900")), f"sip:{user}@gateway.example.com")


@pytest.mark.parametrize("user", ["agent", "1001", "1900555", "2125550100", "12125550100", "0012125550100"])
def test_extensions_and_ordinary_numbers_pass_a_gateway(user: str) -> None:
    assert not why(Tolls(), f"sip:{user}@gateway.example.com")


@pytest.mark.parametrize("text", ["49", "+", "+49x", "example.com", "sip:", "+49;+1", "sip:a b"])
def test_a_wrong_entry_of_the_list_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        parse_allow(f"+1,{text}")


def test_one_number_is_called_twice_in_ten_minutes() -> None:
    tolls = Tolls(per_minute=100)
    tolls.take(GOOD[0], 0.0)
    tolls.take(GOOD[0], 100.0)
    with pytest.raises(NotAllowed) as refusal:
        tolls.take(GOOD[0], 200.0)
    assert refusal.value.slow
    assert refusal.value.retry_after == 400.0
    tolls.take(GOOD[1], 200.0)
    tolls.take(GOOD[0], 600.0)
    with pytest.raises(NotAllowed):
        tolls.take(GOOD[0], 650.0)


def test_so_many_calls_are_placed_in_a_minute() -> None:
    tolls = Tolls(per_minute=3)
    for number in range(3):
        tolls.take(f"+1555123456{number}", float(number))
    with pytest.raises(NotAllowed) as refusal:
        tolls.take("+15551234569", 10.0)
    assert refusal.value.retry_after == 50.0
    with pytest.raises(NotAllowed):
        tolls.take_transfer("+15551234569", 59.0)
    tolls.take("+15551234569", 60.0)


def test_many_callers_may_be_given_to_the_same_number() -> None:
    tolls = Tolls(per_minute=10)
    for second in range(10):
        tolls.take_transfer(GOOD[0], float(second))


def test_what_is_refused_does_not_count() -> None:
    tolls = Tolls(per_minute=1)
    for _ in range(5):
        with pytest.raises(NotAllowed):
            tolls.take("+19005551234", 0.0)
    tolls.take(GOOD[0], 0.0)


def test_the_memory_of_numbers_is_bounded() -> None:
    tolls = Tolls(per_minute=1e9)
    for number in range(10_050):
        tolls.take(f"+1555{number:07}", 0.0)
    assert len(tolls._by_number) == 10_000


@given(st.text(max_size=60))
def test_no_text_does_anything_but_pass_or_be_refused(text: str) -> None:
    assert (why(Tolls(), text) == "") == ((is_number(text) or is_sip(text)) and why(Tolls(), text) == "")


def test_what_is_set_beforehand_is_doubted_by_the_same_rules() -> None:
    set_to = {"good": GOOD[0], "premium": "+19005551234", "gateway": "sip:0049900123456@pbx.example.com"}
    premium, gateway = doubts((), set_to)
    assert premium.startswith("premium is used as it is set, but POST /calls would refuse it: it is not allowed (North")
    assert gateway.startswith("gateway is used")
    assert "555" not in premium, "the beginning of a number says enough"
    assert not doubts(("+1900", "+49900", "+1"), set_to)
    assert [line.split()[0] for line in doubts(("+1555",), set_to)] == ["premium", "gateway"]


def test_the_list_can_be_shown() -> None:
    assert "+1900" in described()
