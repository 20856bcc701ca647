"""How far words have been spoken."""

from __future__ import annotations

from tandem_providers.spoken import spoken_part


def test_words_go_with_their_time() -> None:
    text = "one two three four five six seven"
    assert spoken_part(text, 0) == ""
    assert spoken_part(text, 100) == "", "not a whole word"
    assert spoken_part(text, 1000) == "one two three"
    assert spoken_part(text, 10_000) == text
    assert spoken_part("", 1000) == ""
