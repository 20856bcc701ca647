"""The conversation: items in their order, and what may be done to them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tandem.simulators.openai_checks import Refused
from tandem_codecs.format import MULAW_8K, AudioFormat

_AUDIO_PARTS: Final = ("input_audio", "output_audio")
_INPUT_AUDIO_MS_PER_TOKEN: Final = 100
_OUTPUT_AUDIO_MS_PER_TOKEN: Final = 50


def text_tokens(text: str) -> int:
    """About how many tokens that is."""
    return (len(text) + 3) // 4


@dataclass(slots=True)
class Item:
    """One item: the object on the wire (audio left out), and the audio behind it."""

    wire: dict[str, Any]
    audio: bytes = b""
    produced: int = 0
    """How much of `audio` exists so far, in bytes: a response under way has not produced all of it."""
    audio_format: AudioFormat = MULAW_8K

    @property
    def id(self) -> str:
        item_id: str = self.wire["id"]
        return item_id

    @property
    def audio_ms(self) -> int:
        """Milliseconds of audio in it so far."""
        return int(self.audio_format.milliseconds(self.produced))

    @property
    def is_agent(self) -> bool:
        return self.wire.get("role") == "assistant" or self.wire["type"] == "function_call"

    def parts(self) -> list[dict[str, Any]]:
        """Its content; empty for an item that has none."""
        content: list[dict[str, Any]] = self.wire.get("content", [])
        return content

    def has_output_audio(self) -> bool:
        return any(part["type"] == "output_audio" for part in self.parts())

    def with_audio(self) -> dict[str, Any]:
        """The object on the wire, audio included."""
        encoded = base64.b64encode(self.audio[: self.produced]).decode("ascii")
        content = [{**part, "audio": encoded} if part["type"] in _AUDIO_PARTS else part for part in self.parts()]
        return {**self.wire, "content": content} if content else self.wire

    def tokens(self) -> tuple[int, int]:
        """Text and audio tokens."""
        words = [part.get("text") or "" for part in self.parts()]
        words += [self.wire.get(name, "") for name in ("arguments", "output")]
        if self.is_agent:
            words += [part.get("transcript") or "" for part in self.parts()]
        per_token = _OUTPUT_AUDIO_MS_PER_TOKEN if self.is_agent else _INPUT_AUDIO_MS_PER_TOKEN
        return sum(text_tokens(text) for text in words), -(-self.audio_ms // per_token)


class Conversation:
    """Items in order. Raises `Refused` with the vendor's words when something can't be done."""

    def __init__(self, conversation_id: str) -> None:
        self.id = conversation_id
        self.items: list[Item] = []

    @property
    def last_id(self) -> str | None:
        return self.items[-1].id if self.items else None

    def find(self, item_id: str) -> Item | None:
        return next((item for item in self.items if item.id == item_id), None)

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put it at the end, or behind the item `after` (`root`: at the start); answers the id of the one before."""
        self._check_new(item)
        place = len(self.items)
        if after == "root":
            place = 0
        elif after is not None:
            ids = [each.id for each in self.items]
            if after not in ids:
                raise Refused(
                    f"Error adding item: the previous item with id '{after}' does not exist.",
                    "item_create_invalid_previous_item_id",
                    "previous_item_id",
                )
            place = ids.index(after) + 1
        self.items.insert(place, item)
        return self.items[place - 1].id if place else None

    def get(self, item_id: str, doing: str, code: str) -> Item:
        """The item of that id; `doing` and `code` word the refusal when there is none."""
        item = self.find(item_id)
        if item is None:
            raise Refused(f"Error {doing} item: the item with id '{item_id}' does not exist.", code, "item_id")
        return item

    def forget_audio(self) -> None:
        """Let go of the sound of all items; their lengths stay known."""
        for item in self.items:
            item.audio = b""

    def delete(self, item_id: str) -> None:
        self.items.remove(self.get(item_id, "deleting", "item_delete_invalid_item_id"))

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut the agent's audio there; its words are forgotten, as they can't be cut to match."""
        item = self.get(item_id, "truncating", "item_truncate_invalid_item_id")
        if not item.has_output_audio():
            raise Refused("Only model output audio messages can be truncated.", "unsupported_content_type")
        if content_index >= len(item.parts()):
            raise Refused(
                f"Error truncating item: there is no content at index {content_index}.",
                "invalid_value",
                "content_index",
            )
        if audio_end_ms > item.audio_ms:
            # This one carries no code on the real wire: clients have to go by the words.
            raise Refused(f"Audio content of {item.audio_ms}ms is already shorter than {audio_end_ms}ms")
        item.produced = item.audio_format.size(audio_end_ms)
        item.parts()[content_index]["transcript"] = ""

    def tokens(self) -> tuple[int, int]:
        """Text and audio tokens of everything in it."""
        counts = [item.tokens() for item in self.items]
        return sum(text for text, _ in counts), sum(audio for _, audio in counts)

    def last_output(self) -> str | None:
        """The result of the last function call, when nothing was said since."""
        last = self.items[-1].wire if self.items else {}
        return str(last["output"]) if last.get("type") == "function_call_output" else None

    def last_user_text(self) -> str:
        """What the user typed last, when nothing was said since."""
        last: Mapping[str, Any] = self.items[-1].wire if self.items else {}
        if last.get("role") not in ("user", "system"):
            return ""
        return " ".join(part["text"] for part in last["content"] if part.get("text"))

    def _check_new(self, item: Item) -> None:
        if self.find(item.id) is not None:
            raise Refused(
                f"Error adding item: the item with id '{item.id}' already exists.",
                "item_create_duplicate_item_id",
                "item.id",
            )
        if item.wire["type"] == "function_call_output":
            calls = {each.wire.get("call_id") for each in self.items if each.wire["type"] == "function_call"}
            if item.wire["call_id"] not in calls:
                raise Refused(
                    f"Tool call ID '{item.wire['call_id']}' not found in conversation.",
                    "invalid_tool_call_id",
                    "item.call_id",
                )
