"""Texts for the OpenAI Live model: none too long, none lost."""

from __future__ import annotations

import pytest

from tandem_providers.commands import Purpose, Say
from tandem_providers.config import FunctionDeclaration
from tandem_providers.openai_live_text import (
    APPEND_TOKENS,
    HISTORY_TOKENS,
    backend_instructions,
    history_items,
    pieces,
    say_texts,
    tokens,
    voice_instructions,
)
from tandem_providers.provider import HistoryTurn


@pytest.mark.parametrize("text", ["", "a", "Hello there.", "Äöü" * 50, "日本語" * 300, "x" * 5000, "a b " * 2000])
def test_pieces_are_short_enough_and_together_the_text(text: str) -> None:
    parts = pieces(text)
    assert all(tokens(part) <= APPEND_TOKENS for part in parts)
    assert all(parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_words_are_not_cut_where_there_are_any() -> None:
    text = " ".join(f"word{number}" for number in range(1000))
    assert " ".join(pieces(text)) == text


def test_even_half_a_character_hurts_nobody() -> None:
    assert tokens("\ud800" * 30) > 0
    assert history_items([HistoryTurn("user", "\ud800x" * 30_000)])


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("text", [None, "", "Hello.", "word " * 3000])
def test_every_commentary_is_short_enough(purpose: Purpose, text: str | None) -> None:
    texts = say_texts(Say(purpose, text))
    assert texts
    assert all(tokens(each) <= APPEND_TOKENS for each in texts)
    if text:
        assert sum(each.count(text.split()[0]) for each in texts) >= text.count(text.split()[0])


def test_the_newest_of_a_long_memory_is_kept_whole() -> None:
    turns = [HistoryTurn("user", f"{number} " + "x" * 1000) for number in range(60)]
    items = history_items(turns)
    texts = [item["content"][0]["text"] for item in items]
    assert texts[-1] == turns[-1].text
    assert 20 < len(texts) < 60
    assert sum(tokens(text) for text in texts) <= HISTORY_TOKENS
    assert all(text == turn.text for text, turn in zip(texts[1:], turns[-len(texts) + 1 :], strict=True))
    assert turns[-len(texts)].text.endswith(texts[0])


def test_one_endless_turn_keeps_its_end() -> None:
    (item,) = history_items([HistoryTurn("assistant", "begin " + "é" * 50_000 + " end")])
    text = item["content"][0]["text"]
    assert text.endswith(" end")
    assert tokens(text) <= HISTORY_TOKENS


def test_without_a_word_the_vendors_own_instructions_apply() -> None:
    assert voice_instructions("  ", []) == ""
    assert "- f\n" in voice_instructions("", [FunctionDeclaration("f")])
    assert backend_instructions("mine", "theirs") == "mine"
    assert backend_instructions("", " ") == backend_instructions("", "")
