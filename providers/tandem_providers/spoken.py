"""How far words have been spoken, for vendors who tell all words of an answer before its voice."""

from __future__ import annotations

from typing import Final

CHARACTERS_PER_SECOND: Final = 15.0
"""Ordinary speech."""


def spoken_part(text: str, milliseconds: float) -> str:
    """As much of the text as can have been said in that time, cut between words."""
    end = int(milliseconds / 1000 * CHARACTERS_PER_SECOND)
    if end >= len(text):
        return text
    space = text.rfind(" ", 0, end + 1)
    return text[:space].rstrip() if space > 0 else ""
