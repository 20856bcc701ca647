"""What the JSON dialects share."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.carriers.events import Malformed, Unknown
from tandem.carriers.frames import LONGEST_WORDS, quote, short, unreadable

KINDS = frozenset({"media", "start"})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"event":"media","media":7}', Malformed("media: why")),
        (b'{"event":"sneeze","media":7}', Unknown("sneeze")),
        (b'{"event":7}', Malformed("why")),
        (b'{"vent":"media"}', Malformed("why")),
        (b"[" * 100_000, Malformed("why")),
        (b"\xff", Malformed("why")),
        (b"", Malformed("why")),
    ],
)
def test_what_can_not_be_read_is_told_from_what_is_not_known(data: bytes, expected: object) -> None:
    assert unreadable(data, "why", KINDS) == expected


@given(st.text())
def test_any_text_becomes_json(text: str) -> None:
    assert json.loads(quote(text)) == text


def test_what_unicode_forbids_becomes_a_question_mark() -> None:
    assert json.loads(quote("a\ud800b")) == "a?b"


@given(st.text())
def test_words_for_the_log_are_few(words: str) -> None:
    kept = short(words * 3)
    assert len(kept) <= LONGEST_WORDS
    assert kept == words * 3 or kept.endswith("...")
