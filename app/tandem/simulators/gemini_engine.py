"""One session of a simulated Gemini Live server, without I/O.

Told client messages and the time, it answers what to send. Everything it will do later of its own accord lies in one
agenda; `next_wake` says when to call `wake`. Randomness comes from the generator handed in, so a seed repeats a run.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tandem.simulators.gemini_memory import Entry, Handles, Memory, Role
from tandem.simulators.gemini_outlet import Outlet, Record
from tandem.simulators.gemini_schema import MESSAGE, Closing, Model, camel, check_setup, decoded, invalid, model_named
from tandem.simulators.gemini_script import GeminiOptions
from tandem.simulators.gemini_speaker import QUOTA, Speaker
from tandem.simulators.openai_hearing import Hearing, SpeechStarted, SpeechStopped
from tandem.simulators.openai_outlet import Action
from tandem_codecs.format import PCM16_16K, AudioFormat, Encoding

EXPIRED: Final = "Deadline expired before operation could complete."
_BAD_KEY: Final = "API key not valid. Please pass a valid API key."
_NOT_FOUND: Final = "Requested entity was not found."
_DEFAULT_MODEL: Final = "models/gemini-3.8-live"
_RATE: Final = re.compile(r"audio/pcm(?:;\s*rate=(\d{4,6}))?")
_THRESHOLDS: Final = {"START_SENSITIVITY_HIGH": 0.3, "START_SENSITIVITY_LOW": 0.8}
_SILENCES: Final = {"END_SENSITIVITY_HIGH": 300, "END_SENSITIVITY_LOW": 800}
_SILENCE_MS: Final = 500
_PADDING_MS: Final = 300


class Engine:
    """One session. Call `open` (or `refuse`) first; then `receive` and `wake` as things happen."""

    def __init__(
        self,
        options: GeminiOptions,
        *,
        vertex: bool,
        faults: Mapping[str, str],
        rng: random.Random,
        now: float,
        handles: Handles,
    ) -> None:
        self.setup: dict[str, Any] = {}
        """What the client asked for, names in camel case."""
        self.memory = Memory()
        self._options = options
        self._vertex = vertex
        self._faults = faults
        self._rng = rng
        self._handles = handles
        self._outlet = Outlet(options, faults, rng, now)
        self._model = model_named(_DEFAULT_MODEL)
        self._hearing = Hearing(PCM16_16K, None)
        self._activity: bytearray | None = None
        """Audio of the caller's turn, while the client says that there is one."""
        self._seeding = self._realtime = False
        self._reply_due = False
        self._handlers: dict[str, Callable[[Any], None]] = {
            "clientContent": self._client_content,
            "realtimeInput": self._realtime_input,
            "toolResponse": self._tool_response,
            "contextUpdate": self._context_update,
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
        """The connection stands. The server says nothing before it has been asked for a session."""
        self._outlet.now = now
        lifetime = float(self._faults.get("session-expired", self._options.session_seconds))
        if "session-expired" in self._faults:
            self._outlet.at(now + lifetime, lambda: self._outlet.close(1011, EXPIRED))
        else:
            left = min(self._options.warning_seconds, lifetime)
            self._outlet.at(now + lifetime - left, lambda: self._go_away(left))
        return self._outlet.run_due(now)

    def refuse(self) -> list[Action]:
        """Instead of `open`: the key is no good."""
        self._outlet.close(1007, _BAD_KEY)
        return self._outlet.run_due(self._outlet.now)

    def receive(self, message: bytes | str, now: float) -> list[Action]:
        """One message of the client, whatever it holds."""
        self._outlet.now = now
        try:
            self._take(_decode(message))
        except Closing as closing:
            self._outlet.close(closing.code, closing.reason)
        return self._outlet.run_due(now)

    def wake(self, now: float) -> list[Action]:
        """Do what is due."""
        return self._outlet.run_due(now)

    def _take(self, message: dict[str, Any]) -> None:
        heard = message.get("realtimeInput")
        if self._options.record and not (isinstance(heard, dict) and "audio" in heard):
            self.record.received.append(message)
        MESSAGE(message, "")
        if len(message) != 1:
            raise invalid()
        ((kind, body),) = message.items()
        if (kind == "setup") == bool(self.setup):
            raise invalid("setup must be the first message, and only the first.")
        if kind == "setup":
            self._set_up(body)
        else:
            self._handlers[kind](body)

    # The session

    def _set_up(self, setup: dict[str, Any]) -> None:
        model = self._model = model_named(setup.get("model", ""))
        if "model-not-found" in self._faults:
            raise Closing(1008, f"{setup['model']} is not found for API version v1beta."[:120])
        check_setup(setup, model, self._vertex)
        if self._faults.get("quota") == "connect":
            raise Closing(1011, QUOTA)
        self.setup = setup
        handle = setup.get("sessionResumption", {}).get("handle")
        if handle:
            found = self._handles.find(handle)
            if found is None or "resume-refused" in self._faults:
                raise Closing(1008, _NOT_FOUND)
            self.memory = found
        self.memory.instructions = _words(setup.get("systemInstruction", {}))
        self._seeding = setup.get("historyConfig", {}).get("initialHistoryInClientContent", False)
        detection = setup.get("realtimeInputConfig", {}).get("automaticActivityDetection", {})
        self._hearing.configure(PCM16_16K, None if detection.get("disabled") else _heard_by(detection))
        self._speaker = Speaker(
            self._options, self._faults, setup, model, self.memory, self._outlet, self._rng, self._free
        )
        self._outlet.emit(setupComplete={"sessionId": self._outlet.new_id("session")} if self._vertex else {})
        if "go-away" in self._faults:
            self._go_away(float(self._faults["go-away"]))
        self._tell_handle()

    def _go_away(self, left: float) -> None:
        self._outlet.emit(goAway={"timeLeft": f"{left:g}s"})
        self._outlet.at(self._outlet.now + left, lambda: self._outlet.close(1001))

    def _tell_handle(self) -> None:
        """A session that is in the middle of something has none that would be good."""
        if "sessionResumption" not in self.setup:
            return
        if self._speaker.turn is not None or self._speaker.calls:
            self._outlet.emit(sessionResumptionUpdate={})
            return
        update = {"newHandle": self._handles.keep(self.memory), "resumable": True}
        if self.setup["sessionResumption"].get("transparent"):
            update["lastConsumedClientMessageIndex"] = str(self.record.pieces)
        self._outlet.emit(sessionResumptionUpdate=update)

    def _context_update(self, body: dict[str, Any]) -> None:
        if not self._model.newest:
            raise invalid()
        if "systemInstruction" in body:
            self.memory.instructions = _words(body["systemInstruction"])

    # What is written to the model

    def _client_content(self, body: dict[str, Any]) -> None:
        model = self._model
        turns = [(turn.get("role"), _words(turn)) for turn in body.get("turns", ())]
        self._check_roles([role for role, _ in turns], model)
        if model.text_by_realtime_only and (self._realtime or not self._seeding):
            raise invalid()
        if self.setup.get("generationConfig", {}).get("enableAffectiveDialog") and model.newest:
            raise invalid()
        complete = body.get("turnComplete", False)
        if not self._seeding:
            self._reply_due = False
            self._speaker.interrupt()
        for role, text in turns:
            if role == "system":
                self.memory.instructions = text
            else:
                self.memory.add(_role(role), text)
        if self._seeding:
            self._seeding = not complete
        elif complete:
            self._speaker.begin()

    def _check_roles(self, roles: list[str | None], model: Model) -> None:
        for role in roles:
            if role is None and model.newest:
                raise invalid("Please use a valid role: user, model.")
            if role not in (None, "user", "model") and not (role == "system" and self._vertex):
                raise invalid("Please use a valid role: user, model.")
        if model.user_last and roles and roles[-1] == "model":
            raise invalid()

    def _realtime_input(self, body: dict[str, Any]) -> None:
        if self._seeding:
            return  # not read before the history is complete
        self._realtime = True
        if self.setup.get("generationConfig", {}).get("enableAffectiveDialog") and self._model.newest:
            raise invalid()
        if "text" in body:
            self.memory.add("user", body["text"])
            self._reply()
        for blob in (body.get("audio"), *body.get("mediaChunks", ())):
            if blob is not None:
                self._hear(decoded(blob.get("data", "")), blob.get("mimeType", ""))
        if "activityStart" in body:
            self._activity_start()
        if "activityEnd" in body:
            self._activity_end()
        if body.get("audioStreamEnd"):
            self._stream_end()

    # What the caller says

    def _hear(self, audio: bytes, mime_type: str) -> None:
        match = _RATE.fullmatch(mime_type)
        if match is None:
            raise invalid()
        self.record.pieces += 1
        if self._options.record:
            self.record.audio += audio
        audio_format = AudioFormat(Encoding.PCM16, int(match[1] or 16000))
        if audio_format != self._hearing.format:
            detection = self.setup.get("realtimeInputConfig", {}).get("automaticActivityDetection", {})
            self._hearing.configure(audio_format, None if detection.get("disabled") else _heard_by(detection))
        if self._activity is not None:
            self._activity += audio
        for heard in self._hearing.feed(audio):
            match heard:
                case SpeechStarted():
                    self._speech_started(heard.at_ms)
                case SpeechStopped():
                    self._speech_stopped(heard.audio, heard.at_ms)
        if not self._hearing.listening:
            self._hearing.clear()
        self.record.heard_ms = self._hearing.position_ms

    def _activity_start(self) -> None:
        if self._hearing.listening:
            raise invalid("Explicit activity control is not supported when automatic activity detection is enabled.")
        self._activity = bytearray()
        self._speech_started(int(self._hearing.position_ms))

    def _activity_end(self) -> None:
        if self._hearing.listening:
            raise invalid("Explicit activity control is not supported when automatic activity detection is enabled.")
        if self._activity is not None:
            audio, self._activity = bytes(self._activity), None
            self._speech_stopped(audio, int(self._hearing.position_ms))

    def _stream_end(self) -> None:
        if self._vertex:
            raise invalid()
        if self._hearing.speaking:
            audio = self._hearing.commit()
            self._speech_stopped(audio, int(self._hearing.position_ms))

    def _speech_started(self, at_ms: int) -> None:
        self._tell_activity("ACTIVITY_START", at_ms)
        self._speaker.take_back_calls()
        handling = self.setup.get("realtimeInputConfig", {}).get("activityHandling")
        turn = self._speaker.turn
        if handling != "NO_INTERRUPTION" and not (turn is not None and turn.waits_for):
            self._speaker.interrupt()

    def _speech_stopped(self, audio: bytes, at_ms: int) -> None:
        self._tell_activity("ACTIVITY_END", at_ms)
        rate = self._hearing.format.rate
        if self._options.record:
            self.record.turns.append(audio)
        seconds = self._hearing.format.milliseconds(len(audio)) / 1000
        text = self.memory.place.next_transcript(self._options, seconds)
        self.memory.entries.append(Entry("user", text, audio, rate))
        if "inputAudioTranscription" in self.setup and "transcription-failed" not in self._faults:
            self._outlet.at(self._outlet.now + self._options.transcription_delay, lambda: self._transcribed(text))
        self._reply()

    def _transcribed(self, text: str) -> None:
        words = text.split(" ")
        for index, word in enumerate(words):
            last = self._options.finished and index + 1 == len(words)
            said = {"text": f" {word}" if index else word, **({"finished": True} if last else {})}
            self._outlet.content(inputTranscription=said)

    def _tell_activity(self, kind: str, at_ms: int) -> None:
        if self.setup.get("explicitVadSignal"):
            activity = {"voiceActivityType": kind, "audioOffset": f"{at_ms / 1000:g}s"}
            self._outlet.emit(voiceActivity=activity)

    # Answers

    def _reply(self) -> None:
        """Something is to be answered: now, or when what is being said is over."""
        if self._speaker.turn is not None:
            self._reply_due = True
            return
        self._speaker.begin()
        self._tell_handle()

    def _free(self) -> None:
        """A turn is over."""
        self._tell_handle()
        if self._reply_due:
            self._reply_due = False
            # Not at once: whoever interrupted the turn may want to say why.
            self._outlet.at(self._outlet.now, self._reply)

    def _tool_response(self, body: dict[str, Any]) -> None:
        responses = body.get("functionResponses", ())
        if not responses:
            raise invalid()
        for response in responses:
            call_id = response.get("id") if self._options.call_ids else response.get("name")
            if (not self._options.call_ids and "id" in response) or "response" not in response:
                raise invalid()
            if self._vertex and "willContinue" in response:
                raise invalid()
            if call_id in self._speaker.forgotten:
                continue
            call = self._speaker.calls.get(call_id or "")
            if call is None or response.get("name", call.name) != call.name:
                raise invalid()
            output = _output(response["response"])
            if self._speaker.answered(call_id or "", output):
                self._speak_about(response.get("scheduling", "WHEN_IDLE"))

    def _speak_about(self, scheduling: str) -> None:
        """The answer to a call that nobody waited for."""
        if scheduling == "SILENT":
            self._tell_handle()
            return
        if scheduling == "INTERRUPT" and not self._vertex:
            self._speaker.interrupt()
        self._reply()


def _decode(message: bytes | str) -> dict[str, Any]:
    try:
        payload = msgspec.json.decode(message)
    except (ValueError, RecursionError):
        raise invalid("Invalid JSON payload received.") from None
    if not isinstance(payload, dict):
        raise invalid("Invalid JSON payload received.")
    made: dict[str, Any] = camel(payload)
    return made


def _heard_by(detection: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the detector, for these of the session."""
    silence = _SILENCES.get(detection.get("endOfSpeechSensitivity", ""), _SILENCE_MS)
    return {
        "threshold": _THRESHOLDS.get(detection.get("startOfSpeechSensitivity", ""), 0.5),
        "prefix_padding_ms": int(detection.get("prefixPaddingMs", _PADDING_MS)),
        "silence_duration_ms": int(detection.get("silenceDurationMs", silence)),
    }


def _words(content: Mapping[str, Any]) -> str:
    return " ".join(part["text"] for part in content.get("parts", ()) if "text" in part)


def _role(role: str | None) -> Role:
    return "model" if role == "model" else "user"


def _output(response: Mapping[str, Any]) -> str:
    """What a model reads out of an answer: the data, the failure, or else the whole of it."""
    value = next((response[key] for key in ("output", "result", "error") if key in response), response)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
