"""By which names a call is known."""

from __future__ import annotations

from tandem.identity import Identity


def test_any_of_its_names_will_do_and_an_empty_one_is_none() -> None:
    call = Identity("s" * 32, request_id="request", outbound=True)
    assert call.known_as("s" * 32)
    assert call.known_as("request")
    assert not call.known_as("")
    call.call_id = "CA1"
    assert call.known_as("CA1")


def test_our_number_depends_on_who_called() -> None:
    assert Identity("s", caller="theirs", called="ours").ours == "ours"
    assert Identity("s", caller="ours", called="theirs", outbound=True).ours == "ours"


def test_numbers_do_not_print() -> None:
    assert "planted" not in repr(Identity("s", caller="planted", called="planted"))
