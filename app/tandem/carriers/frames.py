"""What the carriers' JSON dialects have in common, pure."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from tandem.carriers.events import CarrierEvent, Malformed, Unknown

DTMF_DIGITS: Final = frozenset("0123456789*#ABCD")

LONGEST_WORDS: Final = 120
"""Characters of a far end's words that may reach a log."""


class _Kind(Struct):
    event: str


_decode_kind: Final = msgspec.json.Decoder(_Kind).decode
_encode: Final = msgspec.json.encode


def unreadable(data: bytes, reason: str, kinds: frozenset[str]) -> CarrierEvent:
    """Well-formed JSON that is none of our messages: a kind we don't know, or one of `kinds` with wrong contents."""
    try:
        kind = _decode_kind(data).event
    except (ValueError, RecursionError):
        return Malformed(short(reason))
    return Malformed(short(f"{kind}: {reason}")) if kind in kinds else Unknown(short(kind))


def quote(text: str) -> bytes:
    """Any string as JSON, lone surrogates included (they come back as question marks)."""
    try:
        return _encode(text)
    except UnicodeEncodeError:
        return _encode(text.encode("utf-8", "replace").decode("utf-8"))


def short(words: str) -> str:
    """Words of the far end, no longer than a log wants them."""
    return words if len(words) <= LONGEST_WORDS else words[: LONGEST_WORDS - 3] + "..."
