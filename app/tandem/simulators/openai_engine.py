"""One session of a simulated OpenAI Realtime server (GA), without I/O.

Told client messages and the time, it answers what to send. Everything it will do later of its own accord lies in one
agenda; `next_wake` says when to call `wake`. Randomness comes from the generator handed in, so a seed repeats a run.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tandem.simulators.openai_conversation import Conversation, Item, text_tokens
from tandem.simulators.openai_hearing import Hearing, SpeechStarted, SpeechStopped
from tandem.simulators.openai_planning import plan_response
from tandem.simulators.openai_response import Response
from tandem.simulators.openai_schema import EVENT, Refused, check_model
from tandem.simulators.openai_script import OpenAIOptions, Script
from tandem.simulators.openai_session import SessionSettings
from tandem_codecs.format import AudioFormat

UNKNOWN_EVENTS: Final = ("session.diagnostics.updated", "conversation.summary.updated", "response.reasoning.delta")
"""Kinds that no client knows; a good client passes over them."""
_MISCHIEF_AT_DELTA: Final = 2
"""Faults in the middle of a response strike at this piece of its audio."""
_LATE_DELTAS: Final = 3
_ID_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_FAILURES: Final = {"rate-limited-response": "rate_limit_exceeded", "model-not-found": "model_not_found"}


@dataclass(frozen=True, slots=True)
class Send:
    """A text message to the client."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket; nothing more is sent."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """Reset the connection, without a farewell."""


Action = Send | Close | Cut


@dataclass(slots=True)
class Record:
    """What passed, for inspection."""

    received: list[dict[str, Any]] = field(default_factory=list)
    """Client messages in order; audio appends are left out (see `audio`)."""
    appends: int = 0
    audio: bytearray = field(default_factory=bytearray)
    """All caller audio, decoded, in the input format of its time."""
    turns: list[bytes] = field(default_factory=list)
    """The audio of each committed user turn."""
    truncations: list[dict[str, Any]] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    response_count: int = 0
    sent: list[bytes] = field(default_factory=list)
    heard_ms: float = 0.0
    said_ms: float = 0.0

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What was sent, decoded; only events of that type when one is named."""
        decoded: list[dict[str, Any]] = [msgspec.json.decode(message) for message in self.sent]
        return decoded if kind is None else [event for event in decoded if event["type"] == kind]

    def messages(self, kind: str) -> list[dict[str, Any]]:
        """Client messages of that type."""
        return [message for message in self.received if message["type"] == kind]


class Engine:
    """One session. Call `open` first; then `receive` and `wake` as things happen."""

    def __init__(
        self,
        options: OpenAIOptions,
        *,
        model: str,
        faults: Mapping[str, str],
        rng: random.Random,
        now: float,
        unix_now: float,
    ) -> None:
        self.options = options
        self.record = Record()
        self._faults = faults
        self._rng = rng
        self._now = now
        self._serial = itertools.count(1)
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._out: list[Action] = []
        self._is_mute = False
        self._is_closed = False
        self._script = Script(options)
        self._conversation = Conversation(self._new_id("conv"))
        lifetime = float(faults["session-expired"]) if "session-expired" in faults else options.session_seconds
        self._expires = now + lifetime
        self.settings = SessionSettings(self._new_id("sess"), model, int(unix_now + lifetime))
        self._hearing = Hearing(self.settings.input_format, self.settings.detection)
        self._wire_format: AudioFormat | None = None
        self._future_item = ""
        self._speaking: Response | None = None
        self._responses = 0
        self._deltas = 0
        self._plays_until = now
        self._idle_round = 0
        self._unknown_at = rng.randint(2, 8) if options.extras else 0
        self._handlers: dict[str, Callable[[dict[str, Any]], None]] = {
            "session.update": self._session_update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.delete": self._delete,
            "conversation.item.truncate": self._truncate,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
        }

    # What the outside calls.

    @property
    def next_wake(self) -> float | None:
        """When `wake` has something to do."""
        return self._agenda[0][0] if self._agenda else None

    def open(self, now: float) -> list[Action]:
        """The connection stands."""
        self._now = now
        self._at(self._expires, self._expire)
        self._emit({"type": "session.created", "session": self.settings.wire})
        self._emit(
            {
                "type": "conversation.created",
                "conversation": {"id": self._conversation.id, "object": "realtime.conversation"},
            }
        )
        if self._faults.get("quota") == "connect":
            self._error(
                Refused(
                    "You exceeded your current quota, please check your plan and billing details.",
                    "insufficient_quota",
                    kind="insufficient_quota",
                )
            )
            self._is_mute = True
        return self._drain()

    def refuse(self, code: str, message: str, close: int, param: str | None = None) -> list[Action]:
        """Instead of `open`: say why this connection is not wanted, and end it."""
        self._error(Refused(message, code, param))
        self._close(close, f"invalid_request_error.{code}")
        return self._drain()

    def receive(self, message: bytes | str, now: float) -> list[Action]:
        """One message of the client, whatever it holds."""
        self._now = now
        event: Any = None
        try:
            if isinstance(message, bytes):
                raise Refused("Binary frames are not supported: send JSON text.", "invalid_event")
            event = self._decode(message)
            self._note(event)
            EVENT(event, "")
            self._handlers[event["type"]](event)
        except Refused as refusal:
            client_id = event.get("event_id") if isinstance(event, dict) else None
            self._error(refusal, client_id if isinstance(client_id, str) else None)
        return self.wake(now)

    def wake(self, now: float) -> list[Action]:
        """Do what is due."""
        while self._agenda and self._agenda[0][0] <= now and not self._is_closed:
            due, _, action = heapq.heappop(self._agenda)
            # Each thing happens at its own time, however late we were called: paced audio does not drift.
            self._now = due
            action()
        self._now = now
        return self._drain()

    # Sending.

    def _drain(self) -> list[Action]:
        out, self._out = self._out, []
        return out

    def _at(self, due: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (due, next(self._order), action))

    def _new_id(self, prefix: str) -> str:
        token = "".join(self._rng.choices(_ID_ALPHABET, k=15))
        return f"{prefix}_{token}"

    def _emit(self, event: dict[str, Any]) -> None:
        if self._is_mute or self._is_closed:
            return
        kind = event["type"]
        serial = next(self._serial)
        event = {"type": kind, "event_id": f"event_{serial:06d}", **event}
        if self.options.extras:
            self._decorate(event)
        if kind == "response.output_audio.delta":
            event = self._struck(event)
        self._send(msgspec.json.encode(event))
        if kind == "session.updated":
            self._mischief_when_ready()
        if "unknown-events" in self._faults or serial == self._unknown_at:
            self._send(msgspec.json.encode({"type": self._rng.choice(UNKNOWN_EVENTS), "event_id": f"event_u{serial}"}))

    def _send(self, text: bytes) -> None:
        if self._is_closed or self._is_mute:
            return
        self._out.append(Send(text))
        if self.options.record:
            self.record.sent.append(text)

    def _decorate(self, event: dict[str, Any]) -> None:
        """Now and then a field that nobody documented."""
        chance = self._rng.random()
        if chance < 0.2:
            event["obfuscation"] = f"{self._rng.getrandbits(40):x}"
        elif chance < 0.4:
            for name in ("session", "response", "item", "part"):
                if name in event:
                    event[name] = {**event[name], "x_trace": {"shard": self._rng.randint(0, 9)}}

    def _error(self, refusal: Refused, event_id: str | None = None) -> None:
        self._emit(
            {
                "type": "error",
                "error": {
                    "type": refusal.kind,
                    "code": refusal.code,
                    "message": refusal.message,
                    "param": refusal.param,
                    "event_id": event_id,
                },
            }
        )

    def _close(self, code: int, reason: str = "") -> None:
        if not self._is_closed:
            self._out.append(Close(code, reason))
            self._is_closed = True

    def _expire(self) -> None:
        self._error(Refused("Your session hit the maximum duration of 60 minutes.", "session_expired"))
        self._close(1000, "session_expired")

    def _mischief_when_ready(self) -> None:
        if "bad-json" in self._faults:
            self._out.append(Send(b'{"type":"response.created","response":{"id":'))
        if "close-after-ready" in self._faults:
            self._close(int(self._faults["close-after-ready"]))
        if "silent-after-ready" in self._faults:
            self._is_mute = True

    def _struck(self, event: dict[str, Any]) -> dict[str, Any]:
        """Apply the faults of the middle of a response."""
        self._deltas += 1
        if self._deltas != _MISCHIEF_AT_DELTA:
            return event
        if "close-mid-response" in self._faults:
            self._close(int(self._faults["close-mid-response"]))
        if "cut" in self._faults:
            self._out.append(Cut())
            self._is_closed = True
        return {**event, "delta": "@@not base64@@"} if "bad-base64" in self._faults else event

    # Receiving.

    def _decode(self, message: str) -> Any:
        try:
            return msgspec.json.decode(message)
        except msgspec.DecodeError:
            raise Refused("The message could not be parsed as JSON.", "invalid_event") from None

    def _note(self, event: Any) -> None:
        if self.options.record and isinstance(event, dict) and event.get("type") != "input_audio_buffer.append":
            self.record.received.append(event)

    def _session_update(self, event: dict[str, Any]) -> None:
        self.settings.update(event["session"])
        self._hearing.configure(self.settings.input_format, self.settings.detection)
        session = self.settings.wire
        if "wrong-format" in self._faults:
            asked = self.settings.output["format"]["type"]
            other = {"type": "audio/pcmu"} if asked == "audio/pcm" else {"type": "audio/pcm", "rate": 24000}
            self.settings.output["format"] = other
        self._emit({"type": "session.updated", "session": session})

    def _append(self, event: dict[str, Any]) -> None:
        try:
            audio = binascii.a2b_base64(event["audio"], strict_mode=True)
        except ValueError:
            raise Refused(
                "Invalid 'audio'. Expected base64-encoded audio bytes, but got an invalid value.",
                "invalid_value",
                "audio",
            ) from None
        self.record.appends += 1
        if self.options.record:
            self.record.audio += audio
        for heard in self._hearing.feed(audio):
            match heard:
                case SpeechStarted():
                    self._speech_started(heard)
                case SpeechStopped():
                    self._speech_stopped(heard)
        self.record.heard_ms = self._hearing.position_ms

    def _speech_started(self, heard: SpeechStarted) -> None:
        self._idle_round += 1
        self._future_item = self._new_id("item")
        self._emit(
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": heard.at_ms,
                "item_id": self._future_item,
            }
        )
        detection = self.settings.detection or {}
        if self._speaking is not None and detection.get("interrupt_response"):
            self._cancel(self._speaking, "turn_detected")

    def _speech_stopped(self, heard: SpeechStopped) -> None:
        self._emit(
            {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": heard.at_ms,
                "item_id": self._future_item,
            }
        )
        self._user_turn(heard.audio, self._future_item)
        detection = self.settings.detection or {}
        # A turn that ends while a response goes on is not answered: only one may be active.
        if detection.get("create_response") and self._speaking is None:
            self._begin_response({})
        self._transcribe(self._future_item, heard.audio)

    def _user_turn(self, audio: bytes, item_id: str) -> None:
        if self.options.record:
            self.record.turns.append(audio)
        wire = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        item = Item(wire, audio, len(audio), self.settings.input_format)
        previous = self._conversation.add(item)
        self._emit({"type": "input_audio_buffer.committed", "previous_item_id": previous, "item_id": item_id})
        self._emit_item(item, previous)

    def _emit_item(self, item: Item, previous: str | None) -> None:
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._emit({"type": kind, "previous_item_id": previous, "item": item.wire})

    def _transcribe(self, item_id: str, audio: bytes) -> None:
        if self.settings.input["transcription"] is None:
            return
        seconds = self.settings.input_format.milliseconds(len(audio)) / 1000
        text = self._script.next_transcript(seconds)
        self._at(self._now + self.options.transcription_delay, lambda: self._transcribed(item_id, text, seconds))

    def _transcribed(self, item_id: str, text: str, seconds: float) -> None:
        ids = {"item_id": item_id, "content_index": 0}
        prefix = "conversation.item.input_audio_transcription"
        whole = self.settings.input["transcription"] or {}
        pieces = [text] if whole.get("model") == "whisper-1" else text.partition(" ")
        for piece in pieces:
            if piece:
                self._emit({"type": f"{prefix}.delta", **ids, "delta": piece})
        item = self._conversation.find(item_id)
        if item is not None:
            item.parts()[0]["transcript"] = text
        self._emit(
            {
                "type": f"{prefix}.completed",
                **ids,
                "transcript": text,
                "usage": {"type": "duration", "seconds": round(seconds, 3)},
            }
        )

    def _commit(self, event: dict[str, Any]) -> None:
        was_speaking = self._hearing.speaking
        audio = self._hearing.commit()
        item_id = self._future_item if was_speaking else self._new_id("item")
        self._user_turn(audio, item_id)
        self._transcribe(item_id, audio)

    def _clear(self, event: dict[str, Any]) -> None:
        self._hearing.clear()
        self._emit({"type": "input_audio_buffer.cleared"})

    def _create_item(self, event: dict[str, Any]) -> None:
        asked = event["item"]
        wire = {"id": self._new_id("item"), "object": "realtime.item", "status": "completed", **asked}
        item = Item(wire, audio_format=self.settings.input_format)
        if asked["type"] == "function_call":
            wire.setdefault("call_id", self._new_id("call"))
        if asked["type"] == "message":
            item.audio = b"".join(_given_audio(asked["content"]))
            item.produced = len(item.audio)
            wire["content"] = [
                {"transcript": None, **{name: entry for name, entry in part.items() if name != "audio"}}
                if part["type"] == "input_audio"
                else part
                for part in asked["content"]
            ]
        previous = self._conversation.add(item, event.get("previous_item_id"))
        self._emit_item(item, previous)

    def _retrieve(self, event: dict[str, Any]) -> None:
        item = self._conversation.get(event["item_id"], "retrieving", "item_retrieve_invalid_item_id")
        self._emit({"type": "conversation.item.retrieved", "item": item.with_audio()})

    def _delete(self, event: dict[str, Any]) -> None:
        self._conversation.delete(event["item_id"])
        self._emit({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    def _truncate(self, event: dict[str, Any]) -> None:
        place = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        self._conversation.truncate(**place)
        self.record.truncations.append(place)
        self._emit({"type": "conversation.item.truncated", **place})

    # Responses.

    def _create_response(self, event: dict[str, Any]) -> None:
        asked = event.get("response") or {}
        check_model(asked, self.settings.wire["model"], "response")
        if asked.get("conversation") != "none" and self._speaking is not None:
            raise Refused(
                f"Conversation already has an active response in progress: {self._speaking.id}. "
                "Wait until the response is finished before creating a new one.",
                "conversation_already_has_active_response",
            )
        self._begin_response(asked)

    def _begin_response(self, asked: Mapping[str, Any]) -> None:
        if "no-answer" in self._faults:
            return
        self._idle_round += 1
        self._deltas = 0
        reply = self._script.next_reply()
        planned = plan_response(
            self.settings, self._conversation, reply, asked, self.options, self._faults, self._responses
        )
        self._responses += 1
        in_conversation = asked.get("conversation") != "none"
        planned.wire["id"] = self._new_id("resp")
        planned.wire["conversation_id"] = self._conversation.id if in_conversation else None
        text, audio = self._conversation.tokens()
        response = Response(
            planned.wire,
            planned.plan,
            planned.delivery,
            self._conversation if in_conversation else None,
            (text + text_tokens(self.settings.wire["instructions"]), audio),
            self._emit,
            self._new_id,
            self._rng,
            next((code for fault, code in _FAILURES.items() if fault in self._faults), planned.ends),
        )
        if self._faults.get("quota") == "response":
            response.ends = "insufficient_quota"
        self.record.response_count += 1
        if self.options.record:
            self.record.responses.append(response)
        if in_conversation:
            self._speaking = response
        self._emit({"type": "response.created", "response": response.wire})
        self._emit_rate_limits()
        steps = response.steps()
        self._at(self._now + response.delivery.latency, lambda: self._proceed(response, steps))

    def _emit_rate_limits(self) -> None:
        left = max(0, 40_000 - 250 * self._responses)
        self._emit(
            {
                "type": "rate_limits.updated",
                "rate_limits": [
                    {"name": "requests", "limit": 5000, "remaining": 5000 - self._responses, "reset_seconds": 0.012},
                    {"name": "tokens", "limit": 40_000, "remaining": left, "reset_seconds": 0.375},
                ],
            }
        )

    def _proceed(self, response: Response, steps: Iterator[float]) -> None:
        """Run the response until it pauses, ends, or was cancelled meanwhile."""
        while not (response.is_over or self._is_closed):
            before = response.audio_ms
            pause = next(steps, None)
            self._said(response.audio_ms - before)
            if pause:
                self._at(self._now + pause, lambda: self._proceed(response, steps))
                return
        if response.is_over:
            self._response_over(response)

    def _said(self, milliseconds: float) -> None:
        if milliseconds:
            self.settings.spoken = True
            self.record.said_ms += milliseconds
            self._plays_until = max(self._plays_until, self._now) + milliseconds / 1000

    def _response_over(self, response: Response) -> None:
        if self._speaking is response:
            self._speaking = None
            self._await_caller()

    def _cancel_response(self, event: dict[str, Any]) -> None:
        asked = event.get("response_id")
        active = self._speaking
        if active is None or asked not in (None, active.id):
            raise Refused("Cancellation failed: no active response found", "response_cancel_not_active")
        self._cancel(active, "client_cancelled")

    def _cancel(self, response: Response, reason: str) -> None:
        response.cancel(reason)
        self._plays_until = self._now
        self._response_over(response)
        if "late-deltas" in self._faults:
            for _ in range(_LATE_DELTAS):
                response.late_delta()

    # A caller who says nothing.

    def _await_caller(self) -> None:
        self._idle_round += 1
        detection = self.settings.detection or {}
        timeout = detection.get("idle_timeout_ms")
        if timeout is not None:
            this_round = self._idle_round
            start = max(self._plays_until, self._now)
            self._at(start + timeout / 1000, lambda: self._idle(this_round, timeout))

    def _idle(self, idle_round: int, timeout_ms: int) -> None:
        if idle_round != self._idle_round or self._hearing.speaking:
            return
        end = int(self._hearing.position_ms)
        item_id = self._new_id("item")
        self._user_turn(b"", item_id)
        self._emit(
            {
                "type": "input_audio_buffer.timeout_triggered",
                "audio_start_ms": max(0, end - timeout_ms),
                "audio_end_ms": end,
                "item_id": item_id,
            }
        )
        self._begin_response({})


def _given_audio(content: list[dict[str, Any]]) -> Iterator[bytes]:
    for part in content:
        if part["type"] == "input_audio":
            try:
                yield base64.b64decode(part["audio"], validate=True)
            except ValueError:
                raise Refused("Invalid 'item.content': audio is no base64.", "invalid_value", "item.content") from None
