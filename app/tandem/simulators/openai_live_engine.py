"""One session of a simulated OpenAI Live server, without I/O.

Told client messages and the time, it answers what to send. There are no turns: the voice sends audio for ever, falls
silent when it hears the caller speak, and speaks when a commentary or something that the caller said asks for it.
"""

from __future__ import annotations

import binascii
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tandem.simulators.openai_checks import Refused
from tandem.simulators.openai_hearing import Hearing, SpeechStarted, SpeechStopped
from tandem.simulators.openai_live_backend import Backend
from tandem.simulators.openai_live_outlet import LiveOutlet
from tandem.simulators.openai_live_schema import EVENT, FORMATS
from tandem.simulators.openai_live_script import OpenAILiveOptions
from tandem.simulators.openai_live_voice import Speech, Voice
from tandem.simulators.openai_outlet import Action, Record
from tandem.simulators.openai_response import words
from tandem.simulators.openai_script import Reply, Script, asked_words
from tandem.simulators.openai_voice import speak, stock_text
from tandem_codecs.format import PCM16_24K, AudioFormat, Encoding

_EARS: Final = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
_OTHER_FORMATS: Final = {
    "audio/pcmu": {"type": "audio/pcma", "rate": 8000},
    "audio/pcma": {"type": "audio/pcmu", "rate": 8000},
    "audio/pcm": {"type": "audio/pcm", "rate": 16000},
}
_DEFAULT_AUDIO: Final = {"format": {"type": "audio/pcm", "rate": 24000}, "output": {"voice": "marin"}}


class LiveEngine:
    """One session. Call `open` (or `refuse`) first; then `receive` and `wake` as things happen."""

    def __init__(
        self,
        options: OpenAILiveOptions,
        *,
        faults: Mapping[str, str],
        rng: random.Random,
        now: float,
        unix_now: float,
    ) -> None:
        self.wire: dict[str, Any] = {}
        """The session as it is told; empty before it has started."""
        self._options = options
        self._faults = faults
        self._unix = unix_now - now
        self._outlet = LiveOutlet(options, faults, rng, now)
        self._script = Script(options)
        self._backend = Backend(faults, self._outlet)
        self._lifetime = float(faults.get("session-expired", options.session_seconds))
        self._format: AudioFormat = PCM16_24K
        self._hearing = Hearing(self._format, None)
        self._voice = Voice(options, faults, self._outlet, self._format)
        self._muted = False
        self._speech_at = 0
        self._heard_last = b""
        self._replies = self._owed = 0
        self._client_work = ""
        """A delegation that waits for the client's own commentary."""
        self._handlers: dict[str, Callable[[dict[str, Any]], None]] = {
            "session.start": self._start,
            "session.update": self._update,
            "session.input_audio.append": self._append,
            "session.input_audio.mute": lambda _event: self._mute(True),
            "session.input_audio.unmute": lambda _event: self._mute(False),
            "session.instructions.append": lambda event: self._note("instructions", event),
            "session.thinking.append": lambda event: self._note("thinking", event),
            "session.commentary.append": self._commentary,
            "response.item.create": lambda event: self._backend.item(event["item"]),
            "response.create": lambda _event: self._backend.create(),
            "session.close": lambda _event: self._close("close_requested"),
        }

    @property
    def record(self) -> Record:
        """What passed so far."""
        return self._outlet.record

    @property
    def next_wake(self) -> float | None:
        """When `wake` has something to do."""
        return self._outlet.next_due

    def open(self, now: float) -> list[Action]:
        """The connection stands: the client has the first word."""
        return self._outlet.run_due(now)

    def refuse(self, code: str, message: str, close: int) -> list[Action]:
        """Instead of `open`: say why this connection is not wanted, and end it."""
        self._outlet.error(Refused(message, code))
        self._outlet.close(close, f"invalid_request_error.{code}")
        return self._outlet.run_due(self._outlet.now)

    def receive(self, message: bytes | str, now: float) -> list[Action]:
        """One message of the client, whatever it holds."""
        self._outlet.now = now
        event: Any = None
        try:
            event = _decode(message)
            if self._options.record and event.get("type") != "session.input_audio.append":
                self.record.received.append(event)
            EVENT(event, "")
            if not self.wire and event["type"] != "session.start":
                raise Refused("The first event must be session.start.", "session_not_started")
            self._handlers[event["type"]](event)
        except Refused as refusal:
            client_id = event.get("event_id") if event is not None else None
            self._outlet.error(refusal, client_id if isinstance(client_id, str) else None)
            if not self.wire:
                self._outlet.at(now + self._options.abort_seconds, self._outlet.abort)
        return self._outlet.run_due(now)

    def wake(self, now: float) -> list[Action]:
        """Do what is due."""
        return self._outlet.run_due(now)

    # The session.

    def _start(self, event: dict[str, Any]) -> None:
        if self.wire:
            raise Refused("The session has already started.", "session_already_started")
        asked = event["session"]
        if not asked["model"].startswith("gpt-live"):
            raise Refused(f"The model '{asked['model']}' does not exist.", "model_not_found", "session.model")
        if self._faults.get("quota") == "connect":
            raise Refused("Your credit balance is exhausted.", "credit_balance_exhausted", kind="insufficient_quota")
        audio = {**_DEFAULT_AUDIO, **asked.get("audio", {})}
        if "wrong-format" in self._faults:
            audio["format"] = _OTHER_FORMATS[audio["format"]["type"]]
        now = self._outlet.now
        self.wire = {
            **asked,
            "id": self._outlet.new_id("live"),
            "status": "active",
            "expires_at": int(self._unix + now + self._lifetime),
            "audio": audio,
        }
        delegation = asked.get("delegation") or {}
        self._backend.settings = delegation.get("responses")
        self._format = FORMATS[audio["format"]["type"], audio["format"]["rate"]]
        self._hearing = Hearing(self._format, _EARS)
        self._voice = Voice(self._options, self._faults, self._outlet, self._format)
        self._outlet.emit({"type": "session.started", "session": self.wire, **_answering(event)})
        self._outlet.at(now + self._lifetime, lambda: self._close("expired"))
        self._outlet.at(now + self._options.usage_seconds, self._tell_usage)
        self._voice.start()

    def _update(self, event: dict[str, Any]) -> None:
        asked = event["session"].get("delegation")
        if asked is not None:
            settled = self.wire.get("delegation") or {"type": "client"}
            if asked["type"] != settled["type"]:
                raise Refused("The delegation type can't be changed.", "immutable_field", "session.delegation.type")
            if self._backend.settings is not None:
                self._backend.settings.update(asked.get("responses", {}))
        self._outlet.emit({"type": "session.updated", "session": self.wire, **_answering(event)})

    def _close(self, reason: str) -> None:
        usage = {"seconds": float(self._voice.position_ms // 1000)}
        self._outlet.emit({"type": "session.closed", "reason": reason, "usage": usage, "session": self.wire})
        self._outlet.close(1000, reason)

    def _tell_usage(self) -> None:
        self._outlet.at(self._outlet.now + self._options.usage_seconds, self._tell_usage)
        seconds = float(self._voice.position_ms // 1000)
        window = {"usage_ratio": min(1.0, seconds / 7200)}
        self._outlet.emit({"type": "session.usage.updated", "usage": {"seconds": seconds}, "context_window": window})

    # What the caller says.

    def _mute(self, muted: bool) -> None:
        self._muted = muted
        self._outlet.emit({"type": f"session.input_audio.{'muted' if muted else 'unmuted'}"})

    def _append(self, event: dict[str, Any]) -> None:
        try:
            audio = binascii.a2b_base64(event["audio"], strict_mode=True)
        except ValueError:
            raise Refused("Invalid 'audio': it is no base64.", "invalid_value", "audio") from None
        if self._format.encoding is Encoding.PCM16 and len(audio) % 2:
            raise Refused("Invalid 'audio': PCM needs an even number of bytes.", "invalid_value", "audio")
        self.record.appends += 1
        if self._options.record:
            self.record.audio += audio
        if self._muted:
            audio = self._format.silence(self._format.milliseconds(len(audio)))
        for heard in self._hearing.feed(audio):
            match heard:
                case SpeechStarted():
                    self._speech_at = heard.at_ms
                    self._voice.stop()
                case SpeechStopped():
                    self._caller_said(heard)
        self.record.heard_ms = self._hearing.position_ms

    def _caller_said(self, heard: SpeechStopped) -> None:
        if self._options.record:
            self.record.turns.append(heard.audio)
        self._heard_last = heard.audio
        start, end = self._speech_at, max(self._speech_at + 1, heard.at_ms - int(_EARS["silence_duration_ms"]))
        text = self._script.next_transcript((end - start) / 1000)
        if "transcription-failed" not in self._faults:
            due = self._outlet.now + self._options.transcription_delay
            self._outlet.at(due, lambda: self._transcribe(text, start, end))
        self._owed += 1
        self._reply_if_free()

    def _transcribe(self, text: str, start: int, end: int) -> None:
        pieces = words(text) if text else []
        for number, piece in enumerate(pieces):
            times = {
                "start_ms": start + (end - start) * number // len(pieces),
                "end_ms": start + (end - start) * (number + 1) // len(pieces),
            }
            self._outlet.emit({"type": "session.input_transcript.delta", "delta": piece, **times})

    def _reply_if_free(self) -> None:
        """While work is handed over, what the caller says is held back."""
        if self._owed and not self._backend.is_busy and not self._client_work:
            self._owed = 0
            self._say(self._script.next_reply())

    # What it is told.

    def _note(self, kind: str, event: Mapping[str, Any]) -> None:
        delegation = event["delegation_id"]
        if delegation is not None and delegation != self._client_work:
            raise Refused(f"There is no client delegation '{delegation}'.", "invalid_value", "delegation_id")
        here = {"start_ms": self._voice.position_ms, "end_ms": self._voice.position_ms}
        self._outlet.emit({"type": f"session.{kind}.appended", **here, **_answering(event)})

    def _commentary(self, event: dict[str, Any]) -> None:
        self._note("commentary", event)
        if event["delegation_id"] is not None:
            self._client_work = ""
        asked = asked_words(event["content"])
        self._say(self._script.next_reply() if asked is None else Reply(asked))

    # What it says.

    def _say(self, reply: Reply) -> None:
        if "no-answer" in self._faults:
            return
        if self._faults.get("quota") == "response":
            quota = "insufficient_quota"
            self._outlet.error(Refused("You exceeded your current quota.", quota, kind=quota))
            return
        text = reply.text
        if text is None:
            text = "" if reply.calls else stock_text(self._replies)
        self._replies += 1
        voice = reply.voice or self._options.voice
        seconds = reply.seconds if reply.seconds is not None else self._options.seconds
        audio = self._heard_last if voice == "echo" else speak(voice, text, seconds, self._format)
        then = (lambda: self._delegate(reply)) if reply.calls else None
        latency_ms = self._options.latency * 1000
        if audio:
            self._voice.say(Speech(audio, text, self._voice.position_ms + latency_ms, then))
        elif then is not None:
            self._outlet.at(self._outlet.now + self._options.latency, then)

    def _delegate(self, reply: Reply) -> None:
        """The voice hands work over: to the model behind it, or, without one, to the client."""
        if self._backend.settings is not None:
            known = tuple(call for call in reply.calls if not call.name or call.name in self._backend.functions)
            self._backend.delegate(known, self._voice.position_ms, self._work_done)
            return
        self._client_work = self._outlet.new_id("deleg")
        delegation = {"id": self._client_work, "type": "delegation", "target": "client"}
        place = {"offset_ms": self._voice.position_ms}
        self._outlet.emit({"type": "session.delegation.created", **place, "delegation": delegation})

    def _work_done(self) -> None:
        """The voice reports; what the caller said meanwhile is answered with that."""
        self._owed = 0
        self._say(self._script.next_reply())


def _answering(event: Mapping[str, Any]) -> dict[str, str]:
    return {"client_event_id": event["event_id"]} if "event_id" in event else {}


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
