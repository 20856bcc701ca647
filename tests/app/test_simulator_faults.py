"""The table of faults, and how they are written."""

from __future__ import annotations

import pytest

from tandem.simulators.faults import FAULTS, Fault, faults_of_connection, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("silent", Fault("silent")),
        ("refuse", Fault("refuse", "503")),
        ("refuse=429", Fault("refuse", "429")),
        ("refuse=503*2", Fault("refuse", "503", 2)),
        ("hang-connect*1", Fault("hang-connect", "", 1)),
        ("close-mid-response=1012", Fault("close-mid-response", "1012")),
        ("slow=0.25", Fault("slow", "0.25")),
    ],
)
def test_a_fault_is_written_in_one_word(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slient", "did you mean silent"),
        ("zzz", "there are refuse"),
        ("silent=1", "takes no value"),
        ("refuse=418", "HTTP status"),
        ("refuse=503*0", "number of connections"),
        ("refuse=503*x", "number of connections"),
        ("close-on-connect=77", "close code"),
        ("delay-ready=soon", "seconds"),
        ("delay-ready=-1", "seconds"),
        ("delay-ready=nan", "seconds"),
        ("quota=later", "connect"),
    ],
)
def test_a_wrong_fault_says_what_would_do(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_fault(text)


def test_faults_hold_for_the_first_connections_or_for_all() -> None:
    faults = [parse_fault(text) for text in ("refuse=503*2", "slow")]
    assert faults_of_connection(faults, 2) == {"refuse": "503", "slow": "0.5"}
    assert faults_of_connection(faults, 3) == {"slow": "0.5"}


def test_each_fault_can_do_without_a_value() -> None:
    for name, kind in FAULTS.items():
        assert parse_fault(name) == Fault(name, kind.default)
