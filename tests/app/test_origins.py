"""The one form of an origin, and which of them only this machine can reach."""

from __future__ import annotations

import pytest

from tandem.origins import is_local, origin_of


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://voice.example.com", "https://voice.example.com"),
        ("https://Voice.Example.com/", "https://voice.example.com"),
        ("http://localhost:9000", "http://localhost:9000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
    ],
)
def test_an_origin_has_one_form(given: str, origin: str) -> None:
    assert origin_of(given) == origin
    assert origin_of(origin) == origin


@pytest.mark.parametrize(
    "given", ["voice.example.com", "wss://a.example", "https://a.example/b", "https://u@a.example"]
)
def test_anything_else_is_none(given: str) -> None:
    with pytest.raises(ValueError, match=r"https://|scheme and host"):
        origin_of(given)


def test_what_only_this_machine_can_reach() -> None:
    assert all(map(is_local, ["http://localhost:8000", "http://a.localhost", "http://127.1.2.3", "http://[::1]:80"]))
    assert not any(map(is_local, ["https://voice.example.com", "http://10.0.0.1", "https://localhost.example.com"]))
