"""One session of a simulated OpenAI Realtime server (GA), without I/O.

Told client messages and the time, it answers what to send. Everything it will do later of its own accord lies in one
agenda; `next_wake` says when to call `wake`. Randomness comes from the generator handed in, so a seed repeats a run.
"""

from __future__ import annotations

import base64
import binascii
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from tandem.simulators.openai_checks import Refused
from tandem.simulators.openai_conversation import Conversation, Item
from tandem.simulators.openai_hearing import Hearing, SpeechStarted, SpeechStopped
from tandem.simulators.openai_outlet import Action, Outlet, Record
from tandem.simulators.openai_responder import Responder
from tandem.simulators.openai_response import words
from tandem.simulators.openai_script import OpenAIOptions, Script
from tandem.simulators.openai_session import SessionSettings
from tandem.simulators.openai_tongue import OpenAITongue, Tongue


class Engine:
    """One session. Call `open` (or `refuse`) first; then `receive` and `wake` as things happen."""

    def __init__(
        self,
        options: OpenAIOptions,
        *,
        model: str,
        faults: Mapping[str, str],
        rng: random.Random,
        now: float,
        unix_now: float,
        tongue: Tongue | None = None,
        conversation: Conversation | None = None,
    ) -> None:
        """`conversation` is one that goes on; else there is a new one."""
        self._options = options
        self._faults = faults
        self._tongue = tongue or OpenAITongue()
        self._outlet = Outlet(options, faults, rng, now, self._tongue.tell)
        self._script = Script(options)
        self.conversation = conversation or Conversation(self._outlet.new_id("conv"))
        self._lifetime = float(faults.get("session-expired", options.session_seconds))
        self.settings = SessionSettings(self._outlet.new_id("sess"), model, int(unix_now + self._lifetime))
        self._hearing = Hearing(self.settings.input_format, self.settings.detection)
        self._responder = Responder(
            options, faults, self.settings, self.conversation, self._script, self._outlet, rng, self._await_caller
        )
        self._future_item = ""
        self._quiet_spell = 0
        self._handlers: dict[str, Callable[[dict[str, Any]], None]] = {
            "session.update": self._update_session,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.delete": self._delete_item,
            "conversation.item.truncate": self._truncate_item,
            "response.create": lambda event: self._create_response(event.get("response") or {}),
            "response.cancel": lambda event: self._responder.cancel(event.get("response_id")),
        }

    @property
    def record(self) -> Record:
        """What passed so far."""
        return self._outlet.record

    @property
    def resumable(self) -> bool:
        """Whether a later session may go on with this one's conversation."""
        return self._tongue.may_resume

    @property
    def next_wake(self) -> float | None:
        """When `wake` has something to do."""
        return self._outlet.next_due

    def open(self, now: float) -> list[Action]:
        """The connection stands."""
        self._outlet.now = now
        self._outlet.at(now + self._lifetime, self._expire)
        self._outlet.emit({"type": "session.created", "session": self.settings.wire})
        if self._options.extras or self._tongue.always_named:
            # Documented, but not seen in every trace: a client must not wait for it, nor stumble over it.
            conversation = {"id": self.conversation.id, "object": "realtime.conversation"}
            self._outlet.emit({"type": "conversation.created", "conversation": conversation})
        if self._faults.get("quota") == "connect":
            message = "You exceeded your current quota, please check your plan and billing details."
            self._outlet.error(Refused(message, "insufficient_quota", kind="insufficient_quota"))
            self._outlet.is_mute = True
        if self._tongue.ping_seconds:
            self._ping()
        return self._outlet.run_due(now)

    def refuse(self, code: str, message: str, close: int, param: str | None = None) -> list[Action]:
        """Instead of `open`: say why this connection is not wanted, and end it."""
        self._outlet.error(Refused(message, code, param))
        self._outlet.close(close, f"invalid_request_error.{code}")
        return self._outlet.run_due(self._outlet.now)

    def receive(self, message: bytes | str, now: float) -> list[Action]:
        """One message of the client, whatever it holds."""
        self._outlet.now = now
        event: Any = None
        try:
            event = _decode(message)
            if self._options.record and event.get("type") != "input_audio_buffer.append":
                self.record.received.append(event)
            self._tongue.check(event)
            self._refuse_field(event)
            event = self._tongue.read(event)
            self._handlers[event["type"]](event)
        except Refused as refusal:
            client_id = event.get("event_id") if event is not None else None
            self._outlet.error(refusal, client_id if isinstance(client_id, str) else None)
        return self._outlet.run_due(now)

    def wake(self, now: float) -> list[Action]:
        """Do what is due."""
        return self._outlet.run_due(now)

    # The session.

    def _expire(self) -> None:
        self._outlet.error(Refused("Your session hit the maximum duration of 60 minutes.", "session_expired"))
        self._outlet.close(1000, "session_expired")

    def _update_session(self, event: dict[str, Any]) -> None:
        self.settings.update(event["session"])
        if "wrong-format" in self._faults:
            self.settings.confirm_another_format()
        self._hearing.configure(self.settings.input_format, self.settings.detection)
        if "unconfirmed" not in self._faults:
            self._outlet.emit({"type": "session.updated", "session": self.settings.wire})

    def _refuse_field(self, event: Mapping[str, Any]) -> None:
        """A fault: a setting that other servers know is unknown to this one."""
        field = self._faults.get("refuse-field")
        inner: Any = event.get("session")
        if field is None or inner is None:
            return
        for step in field.split("."):
            if not isinstance(inner, dict) or step not in inner:
                return
            inner = inner[step]
        raise Refused(f"Unknown parameter: 'session.{field}'.", "unknown_parameter", f"session.{field}")

    def _ping(self) -> None:
        self._outlet.emit({"type": "ping", "timestamp": int(self._outlet.now * 1000)})
        self._outlet.at(self._outlet.now + self._tongue.ping_seconds, self._ping)

    # What the caller says.

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
        if self._options.record:
            self.record.audio += audio
        for heard in self._hearing.feed(audio):
            match heard:
                case SpeechStarted():
                    self._speech_started(heard.at_ms)
                case SpeechStopped():
                    self._speech_stopped(heard.at_ms, heard.audio)
        self.record.heard_ms = self._hearing.position_ms

    def _speech_started(self, at_ms: int) -> None:
        self._quiet_spell += 1
        self._future_item = self._outlet.new_id("item")
        place = {"audio_start_ms": at_ms, "item_id": self._future_item}
        self._outlet.emit({"type": "input_audio_buffer.speech_started", **place})
        detection = self.settings.detection or {}
        if detection.get("interrupt_response"):
            self._responder.interrupt(drops_unheard=self._tongue.drops_unheard)

    def _speech_stopped(self, at_ms: int, audio: bytes) -> None:
        item_id = self._future_item
        self._outlet.emit({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at_ms, "item_id": item_id})
        self._user_turn(audio, item_id)
        detection = self.settings.detection or {}
        # A turn that ends while a response goes on is not answered: only one may be active.
        if detection.get("create_response") and self._responder.active is None:
            self._create_response({})
        self._transcribe(item_id, audio)

    def _user_turn(self, audio: bytes, item_id: str) -> None:
        if self._options.record:
            self.record.turns.append(audio)
        else:
            self.conversation.forget_audio()
        content = [{"type": "input_audio", "transcript": None}]
        wire = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": content,
        }
        item = Item(wire, audio, len(audio), self.settings.input_format)
        previous = self.conversation.add(item)
        place = {"previous_item_id": previous, "item_id": item_id}
        self._outlet.emit({"type": "input_audio_buffer.committed", **place})
        self._emit_item(item, previous)

    def _transcribe(self, item_id: str, audio: bytes) -> None:
        asked = self.settings.input["transcription"]
        if asked is None:
            return
        seconds = self.settings.input_format.milliseconds(len(audio)) / 1000
        text = self._script.next_transcript(seconds)
        pieces = [text] if asked.get("model") == "whisper-1" else words(text)
        due = self._outlet.now + self._options.transcription_delay
        self._outlet.at(due, lambda: self._transcribed(item_id, pieces, seconds))

    def _transcribed(self, item_id: str, pieces: list[str], seconds: float) -> None:
        kind = "conversation.item.input_audio_transcription"
        ids = {"item_id": item_id, "content_index": 0}
        if "transcription-failed" in self._faults:
            error = {"type": "server_error", "code": "transcription_failed", "message": "It failed.", "param": None}
            self._outlet.emit({"type": f"{kind}.failed", **ids, "error": error})
            return
        for piece in pieces:
            self._outlet.emit({"type": f"{kind}.delta", **ids, "delta": piece})
        text = "".join(pieces)
        item = self.conversation.find(item_id)
        if item is not None:
            item.parts()[0]["transcript"] = text
        usage = {"type": "duration", "seconds": round(seconds, 3)}
        self._outlet.emit({"type": f"{kind}.completed", **ids, "transcript": text, "usage": usage})

    def _commit(self, event: dict[str, Any]) -> None:
        was_speaking = self._hearing.speaking
        audio = self._hearing.commit()
        item_id = self._future_item if was_speaking else self._outlet.new_id("item")
        self._user_turn(audio, item_id)
        self._transcribe(item_id, audio)

    def _clear(self, event: dict[str, Any]) -> None:
        self._hearing.clear()
        self._outlet.emit({"type": "input_audio_buffer.cleared"})

    # A caller who says nothing.

    def _await_caller(self) -> None:
        """The agent has finished: from the end of its audio on, the caller may be silent for a while only."""
        self._quiet_spell += 1
        timeout = (self.settings.detection or {}).get("idle_timeout_ms")
        if timeout is not None:
            spell = self._quiet_spell
            start = max(self._responder.plays_until, self._outlet.now)
            self._outlet.at(start + timeout / 1000, lambda: self._idle(spell, timeout))

    def _idle(self, spell: int, timeout_ms: int) -> None:
        detection = self.settings.detection or {}
        if spell != self._quiet_spell or detection.get("idle_timeout_ms") is None:
            return
        end = int(self._hearing.position_ms)
        item_id = self._outlet.new_id("item")
        self._user_turn(b"", item_id)
        place = {"audio_start_ms": max(0, end - timeout_ms), "audio_end_ms": end, "item_id": item_id}
        self._outlet.emit({"type": "input_audio_buffer.timeout_triggered", **place})
        self._create_response({})

    # Items and responses.

    def _create_response(self, asked: Mapping[str, Any]) -> None:
        self._responder.create(asked)
        self._quiet_spell += 1

    def _create_item(self, event: dict[str, Any]) -> None:
        asked = event["item"]
        if asked["type"] == "force_message":
            # The model is not asked: these are the words.
            words = "".join(part["text"] for part in asked["content"])
            self._create_response({"instructions": f"Say exactly: {msgspec.json.encode(words).decode()}"})
            return
        wire = {"id": self._outlet.new_id("item"), "object": "realtime.item", "status": "completed", **asked}
        item = Item(wire, audio_format=self.settings.input_format)
        if asked["type"] == "function_call":
            wire.setdefault("call_id", self._outlet.new_id("call"))
        if asked["type"] == "message":
            item.audio = b"".join(_given_audio(asked["content"]))
            item.produced = len(item.audio)
            wire["content"] = [_without_audio(part) for part in asked["content"]]
        previous = self.conversation.add(item, event.get("previous_item_id"))
        self._emit_item(item, previous)

    def _emit_item(self, item: Item, previous: str | None) -> None:
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._outlet.emit({"type": kind, "previous_item_id": previous, "item": item.wire})

    def _retrieve_item(self, event: dict[str, Any]) -> None:
        item = self.conversation.get(event["item_id"], "retrieving", "item_retrieve_invalid_item_id")
        self._outlet.emit({"type": "conversation.item.retrieved", "item": item.with_audio()})

    def _delete_item(self, event: dict[str, Any]) -> None:
        self.conversation.delete(event["item_id"])
        self._outlet.emit({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    def _truncate_item(self, event: dict[str, Any]) -> None:
        place = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        self.conversation.truncate(**place)
        self.record.truncations.append(place)
        self._outlet.emit({"type": "conversation.item.truncated", **place})


def _decode(message: bytes | str) -> dict[str, Any]:
    if isinstance(message, bytes):
        raise Refused("Binary messages are not supported: send JSON as text.", "invalid_event")
    try:
        event = msgspec.json.decode(message)
    except msgspec.DecodeError:
        raise Refused("The message could not be parsed as JSON.", "invalid_event") from None
    if not isinstance(event, dict):
        raise Refused("The message must be a JSON object.", "invalid_event")
    return event


def _without_audio(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "input_audio":
        return part
    return {"transcript": None, **{name: value for name, value in part.items() if name != "audio"}}


def _given_audio(content: list[dict[str, Any]]) -> Iterator[bytes]:
    for part in content:
        if part["type"] == "input_audio":
            try:
                yield base64.b64decode(part["audio"], validate=True)
            except ValueError:
                raise Refused("Invalid 'item.content': audio is no base64.", "invalid_value", "item.content") from None
