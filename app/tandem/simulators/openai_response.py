"""One response of the model: a script of events that can be cut short at any place.

`steps()` is a generator: it emits events and yields how many seconds to wait before going on. Whoever drives it may
stop driving and call `cancel` instead; the events that close what was open then follow at once.
"""

from __future__ import annotations

import base64
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tandem.simulators.openai_conversation import Conversation, Item, text_tokens
from tandem_codecs.format import AudioFormat

Emit = Callable[[dict[str, Any]], None]

_FAILURES: Final = {
    "insufficient_quota": (
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "rate_limit_exceeded": ("rate_limit_error", "Rate limit reached on tokens per min. Please try again in 1.2s."),
    "model_not_found": ("invalid_request_error", "The model does not exist or you do not have access to it."),
}
_OUTAGE: Final = ("server_error", "The server had an error while processing your request.")


@dataclass(frozen=True, slots=True)
class Speech:
    """One message to be said (or, without audio, written)."""

    text: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One function to be called."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the pieces are cut and paced."""

    audio_format: AudioFormat
    pace: float
    delta_ms: tuple[int, int]
    odd: bool = False
    repeat_calls: bool = False


@dataclass(slots=True)
class Response:
    """One response. `wire` is the object that `response.created` and `response.done` carry."""

    wire: dict[str, Any]
    plan: tuple[Speech | Call, ...]
    delivery: Delivery
    conversation: Conversation | None
    """Where its items go; None: out of band."""
    context: tuple[int, int]
    """Text and audio tokens that the model read."""
    emit: Emit
    new_id: Callable[[str], str]
    rng: random.Random
    ends: str = "completed"
    items: list[Item] = field(default_factory=list)
    is_over: bool = False
    _said_ms: float = 0.0

    @property
    def id(self) -> str:
        response_id: str = self.wire["id"]
        return response_id

    @property
    def is_spoken(self) -> bool:
        spoken: bool = self.wire["output_modalities"] == ["audio"]
        return spoken

    def steps(self) -> Iterator[float]:
        """Emit everything up to `response.done`, yielding pauses in seconds."""
        if self.ends not in ("completed", "max_output_tokens", "content_filter"):
            kind, message = _FAILURES.get(self.ends, _OUTAGE)
            self._finish("failed", {"error": {"type": kind, "code": self.ends, "message": message}})
            return
        for index, entry in enumerate(self.plan):
            match entry:
                case Speech():
                    yield from self._message(index, entry)
                case Call():
                    self._call(index, entry)
        if self.ends == "completed":
            self._finish("completed", {})
        else:
            self._finish("incomplete", {"reason": self.ends})

    def cancel(self, reason: str) -> None:
        """Close what is open and end with status `cancelled`."""
        if self.items and self.items[-1].wire["status"] == "in_progress":
            self._end_message(len(self.items) - 1, self.items[-1], "incomplete")
        self._finish("cancelled", {"reason": reason})

    def take_said_ms(self) -> float:
        """Milliseconds of audio produced since this was last asked."""
        said, self._said_ms = self._said_ms, 0.0
        return said

    def late_delta(self) -> None:
        """One more piece of audio after the end, as a slow server sends it."""
        if self.items and self.items[-1].has_output_audio():
            item = self.items[-1]
            piece = item.audio[item.produced : item.produced + self.delivery.audio_format.size(100)]
            self._audio_delta(len(self.items) - 1, item, piece or self.delivery.audio_format.silence(100))

    def _ids(self, index: int, item: Item) -> dict[str, Any]:
        return {"response_id": self.id, "item_id": item.id, "output_index": index, "content_index": 0}

    def _open_item(self, index: int, item: Item) -> None:
        self.items.append(item)
        previous = self.conversation.add(item) if self.conversation is not None else None
        self.emit(
            {
                "type": "response.output_item.added",
                "response_id": self.id,
                "output_index": index,
                "item": item.wire,
            }
        )
        if self.conversation is not None:
            self.emit({"type": "conversation.item.added", "previous_item_id": previous, "item": item.wire})

    def _close_item(self, index: int, item: Item) -> None:
        if self.conversation is not None:
            before = [each.id for each in self.conversation.items]
            place = before.index(item.id) if item.id in before else 0
            previous = before[place - 1] if place else None
            self.emit({"type": "conversation.item.done", "previous_item_id": previous, "item": item.wire})
        self.emit(
            {"type": "response.output_item.done", "response_id": self.id, "output_index": index, "item": item.wire}
        )

    def _message(self, index: int, speech: Speech) -> Iterator[float]:
        wire = {
            "id": self.new_id("item"),
            "object": "realtime.item",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        item = Item(wire, speech.audio, 0, self.delivery.audio_format)
        self._open_item(index, item)
        part = {"type": "audio", "transcript": ""} if self.is_spoken else {"type": "text", "text": ""}
        self.emit({"type": "response.content_part.added", **self._ids(index, item), "part": part})
        kept = {"type": "output_audio", "transcript": ""} if self.is_spoken else {"type": "output_text", "text": ""}
        item.parts().append(kept)
        yield from self._speak(index, item, speech) if self.is_spoken else self._write(index, item, speech)
        self._end_message(index, item, "completed" if self.ends == "completed" else "incomplete")

    def _speak(self, index: int, item: Item, speech: Speech) -> Iterator[float]:
        pieces = words(speech.text)
        said = 0
        size = len(speech.audio)
        for piece in self._pieces(speech.audio):
            # Words run ahead of their sound, as they do on the real wire.
            due = math.ceil(len(pieces) * min(1.0, (item.produced + len(piece)) / size))
            for word in pieces[said:due]:
                self._words_delta(index, item, "response.output_audio_transcript.delta", "transcript", word)
            said = max(said, due)
            item.produced += len(piece)
            lasting = len(piece) / self.delivery.audio_format.bytes_per_ms
            self._said_ms += lasting
            self._audio_delta(index, item, piece)
            yield lasting / 1000 / self.delivery.pace
        for word in pieces[said:]:
            self._words_delta(index, item, "response.output_audio_transcript.delta", "transcript", word)

    def _write(self, index: int, item: Item, speech: Speech) -> Iterator[float]:
        for word in words(speech.text):
            self._words_delta(index, item, "response.output_text.delta", "text", word)
            yield 0.0

    def _words_delta(self, index: int, item: Item, kind: str, field_name: str, word: str) -> None:
        item.parts()[0][field_name] += word
        self.emit({"type": kind, **self._ids(index, item), "delta": word})

    def _audio_delta(self, index: int, item: Item, piece: bytes) -> None:
        encoded = base64.b64encode(piece).decode("ascii")
        self.emit({"type": "response.output_audio.delta", **self._ids(index, item), "delta": encoded})

    def _pieces(self, audio: bytes) -> Iterator[bytes]:
        position = 0
        while position < len(audio):
            size = self.delivery.audio_format.size(self.rng.randint(*self.delivery.delta_ms))
            if self.delivery.odd:
                size |= 1
            yield audio[position : position + size]
            position += size

    def _end_message(self, index: int, item: Item, status: str) -> None:
        ids = self._ids(index, item)
        said = item.parts()[0] if item.parts() else {}
        if self.is_spoken:
            transcript = said.get("transcript", "")
            self.emit({"type": "response.output_audio.done", **ids})
            self.emit({"type": "response.output_audio_transcript.done", **ids, "transcript": transcript})
            part = {"type": "audio", "transcript": transcript}
        else:
            self.emit({"type": "response.output_text.done", **ids, "text": said.get("text", "")})
            part = {"type": "text", "text": said.get("text", "")}
        self.emit({"type": "response.content_part.done", **ids, "part": part})
        item.wire["status"] = status
        self._close_item(index, item)

    def _call(self, index: int, call: Call) -> None:
        call_id = self.new_id("call")
        wire = {
            "id": self.new_id("item"),
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "name": call.name,
            "call_id": call_id,
            "arguments": "",
        }
        item = Item(wire)
        self._open_item(index, item)
        ids = {"response_id": self.id, "item_id": item.id, "output_index": index, "call_id": call_id}
        for piece in _quarters(call.arguments):
            self.emit({"type": "response.function_call_arguments.delta", **ids, "delta": piece})
        item.wire["arguments"] = call.arguments
        item.wire["status"] = "completed"
        for _ in range(2 if self.delivery.repeat_calls else 1):
            self.emit(
                {
                    "type": "response.function_call_arguments.done",
                    **ids,
                    "name": call.name,
                    "arguments": call.arguments,
                }
            )
            self._close_item(index, item)

    def _finish(self, status: str, details: Mapping[str, Any]) -> None:
        self.is_over = True
        self.wire["status"] = status
        self.wire["status_details"] = None if status == "completed" else {"type": status, **details}
        self.wire["output"] = [item.wire for item in self.items]
        self.wire["usage"] = None if status == "failed" else self._usage()
        self.emit({"type": "response.done", "response": self.wire})

    def _usage(self) -> dict[str, Any]:
        text_in, audio_in = self.context
        counts = [item.tokens() for item in self.items]
        text_out, audio_out = sum(text for text, _ in counts), sum(audio for _, audio in counts)
        cached = text_in // 2 // 64 * 64
        return {
            "total_tokens": text_in + audio_in + text_out + audio_out,
            "input_tokens": text_in + audio_in,
            "output_tokens": text_out + audio_out,
            "input_token_details": {
                "text_tokens": text_in,
                "audio_tokens": audio_in,
                "image_tokens": 0,
                "cached_tokens": cached,
                "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
        }


def limited(plan: tuple[Speech | Call, ...], tokens: int, audio_format: AudioFormat) -> tuple[Speech | Call, ...]:
    """As much of the plan as that many tokens allow; the plan itself when they suffice."""
    left = tokens
    kept: list[Speech | Call] = []
    for entry in plan:
        if isinstance(entry, Call):
            cost = text_tokens(entry.arguments)
            if cost > left:
                break
            kept.append(entry)
        else:
            cost = text_tokens(entry.text) + int(audio_format.milliseconds(len(entry.audio))) // 50
            share = min(1.0, left / cost) if cost else 1.0
            cut = audio_format.size(audio_format.milliseconds(len(entry.audio)) * share)
            kept.append(
                entry if share == 1.0 else Speech(entry.text[: int(len(entry.text) * share)], entry.audio[:cut])
            )
        left -= cost
        if left <= 0:
            break
    return plan if len(kept) == len(plan) and left >= 0 else tuple(kept)


def words(text: str) -> list[str]:
    """The text in pieces that together are the text again."""
    first, *others = text.split(" ")
    return [piece for piece in (first, *(f" {word}" for word in others)) if piece]


def _quarters(text: str) -> list[str]:
    """The pieces in which a model writes its arguments; together they are the text."""
    step = max(1, -(-len(text) // 4))
    return [text[start : start + step] for start in range(0, len(text), step)]
