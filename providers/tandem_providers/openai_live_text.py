"""Texts for the OpenAI Live model: how long they may be, and how the agent is asked to speak unprompted.

What is put into a commentary is spoken (in the model's words), what is put into instructions or thinking is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from tandem_providers.asides import direction
from tandem_providers.commands import Say
from tandem_providers.config import FunctionDeclaration
from tandem_providers.provider import HistoryTurn

APPEND_TOKENS: Final = 500
"""The vendor's limit of one append."""
HISTORY_TOKENS: Final = 8192
HISTORY_MESSAGES: Final = 128
_MESSAGE_TOKENS: Final = 8
"""What a message costs besides its text."""
_BYTES_PER_TOKEN: Final = 3
"""Fewer than in any language we know of, so that a text counted so is never longer for the vendor."""

_AT_ONCE: Final = "Speak at once, wait for nobody."
NOBODY_BEHIND: Final = (
    "Nothing can be looked up or done outside this conversation. Answer now with what you know, or say that you cannot."
)
"""For a model that hands work over although nobody is there to do it: it would wait for ever."""
_SPOKEN: Final = "All that you say is heard on a telephone: speak plainly, without markup, lists or formulas."
_BACKEND: Final = (
    "You work behind a voice assistant that is on the telephone with a caller. Use the functions for what is asked of "
    "you, and report in one or two short sentences of plain text, fit to be spoken: no markup, no lists, no links."
)


def tokens(text: str) -> int:
    """How many tokens a text has at the most (the vendor's tokenizer is not here to be asked)."""
    return -(-len(text.encode(errors="replace")) // _BYTES_PER_TOKEN)


def pieces(text: str, limit: int = APPEND_TOKENS) -> list[str]:
    """A text as parts within the limit, cut between words where there are any."""
    parts: list[str] = []
    text = text.strip()
    while tokens(text) > limit:
        head = text.encode()[: limit * _BYTES_PER_TOKEN].decode(errors="ignore")
        space = head.rfind(" ")
        cut = space if space > 0 else len(head)
        parts.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*parts, text] if text else parts


def say_texts(say: Say) -> list[str]:
    """The commentaries of this command; a long text takes several."""
    if say.text is None:
        return [f"{_AT_ONCE} {direction(say)}"]
    room = APPEND_TOKENS - tokens(f"{_AT_ONCE} {direction(replace(say, text=''))}")
    first, *others = pieces(say.text, room) or [""]
    spoken = [f"{_AT_ONCE} {direction(replace(say, text=first))}"]
    return spoken + [f'Then go on, word by word and with nothing else: say exactly "{other}"' for other in others]


def voice_instructions(instructions: str, functions: Sequence[FunctionDeclaration]) -> str:
    """What the voice is told. It does not see the functions itself, so it has to know what it can hand over."""
    parts = [instructions.strip()]
    if functions:
        listed = "\n".join(f"- {f.name}: {f.description}" if f.description else f"- {f.name}" for f in functions)
        parts.append(f"You can have these things done for you; hand them over whenever they are needed:\n{listed}")
    text = "\n\n".join(part for part in parts if part)
    # Without any, the vendor's own apply.
    return f"{text}\n\n{_SPOKEN}" if text else ""


def backend_instructions(given: str, instructions: str) -> str:
    """What the model behind the voice is told."""
    if given:
        return given
    told = instructions.strip()
    return f"{_BACKEND}\n\nThe voice assistant itself was told:\n{told}" if told else _BACKEND


def history_items(history: Sequence[HistoryTurn]) -> list[dict[str, Any]]:
    """As much of the memory as the vendor takes, the newest of it; the oldest message may lose its beginning."""
    items: list[dict[str, Any]] = []
    left = HISTORY_TOKENS
    for turn in reversed(history):
        text = turn.text.strip()
        room = left - _MESSAGE_TOKENS
        if room <= 0 or len(items) == HISTORY_MESSAGES:
            break
        if not text:
            continue
        if tokens(text) > room:
            text = text.encode(errors="replace")[-room * _BYTES_PER_TOKEN :].decode(errors="ignore")
            left = 0
        else:
            left = room - tokens(text)
        kind = "output_text" if turn.role == "assistant" else "input_text"
        items.append({"type": "message", "role": turn.role, "content": [{"type": kind, "text": text}]})
    return items[::-1]
