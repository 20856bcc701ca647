"""Forms as the carriers post them, pure: every field is kept, because every field is signed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_plus

FORM_TYPE: Final = "application/x-www-form-urlencoded"

_MAX_BODY: Final = 64 * 1024
_MAX_FIELDS: Final = 500


@dataclass(frozen=True, slots=True)
class Form:
    """Form fields in the order they came, blank and repeated ones included: all of them are signed."""

    pairs: tuple[tuple[str, str], ...] = field(repr=False)  # phone numbers and names do not belong in logs

    def get(self, name: str, default: str = "") -> str:
        """The first value of that name."""
        return next((value for key, value in self.pairs if key == name), default)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for key, _ in self.pairs))

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self.pairs)


def parse_form(body: bytes) -> Form:
    """Decode `application/x-www-form-urlencoded`.

    Raises:
        ValueError: too large, too many fields, a broken percent escape, or not UTF-8.
    """
    if len(body) > _MAX_BODY:
        raise ValueError(f"the form is larger than {_MAX_BODY} bytes")
    try:
        fields = [part for part in body.decode("ascii").split("&") if part]
    except UnicodeDecodeError:
        raise ValueError("the form is not percent-encoded ASCII") from None
    if len(fields) > _MAX_FIELDS:
        raise ValueError(f"the form has more than {_MAX_FIELDS} fields")
    return Form(tuple((_unquote(name), _unquote(value)) for name, _, value in (part.partition("=") for part in fields)))


_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _unquote(text: str) -> str:
    if _BROKEN_ESCAPE.search(text):
        raise ValueError("the form has a broken percent escape")
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the form is not UTF-8") from None
