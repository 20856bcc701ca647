"""One session of a simulated ElevenLabs agent, without I/O.

Told client messages and the time, it answers what to send. Everything it will do later of its own accord lies in one
agenda; `next_wake` says when to call `wake`. Randomness comes from the generator handed in, so a seed repeats a run.
"""

from __future__ import annotations

import base64
import binascii
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from tandem.simulators.agent_outlet import AgentOutlet, AgentRecord
from tandem.simulators.agent_speaker import LATE_PIECES, OpenCall, Speaker, Turn
from tandem.simulators.elevenlabs_schema import AUDIO, MESSAGE, replaced
from tandem.simulators.elevenlabs_script import FORMATS, ElevenLabsOptions
from tandem.simulators.openai_checks import Refused
from tandem.simulators.openai_hearing import Hearing, SpeechStarted, SpeechStopped
from tandem.simulators.openai_outlet import Action
from tandem.simulators.openai_script import Script
from tandem.simulators.openai_voice import convert

END_CALL: Final = "end_call"
SKIP_TURN: Final = "skip_turn"
_EARS: Final = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
_QUOTA: Final = "This request exceeds your quota limit."
_POLICY: Final = 1008


class ElevenLabsOutlet(AgentOutlet):
    """Where messages go out; events that the agent is not set up to tell are left out."""

    READY = "conversation_initiation_metadata"
    AUDIO = "audio"
    UNKNOWN = ("internal_turn_probability", "asr_initiation_metadata", "context_usage")

    def _strike(self, event: dict[str, Any]) -> dict[str, Any]:
        struck = super()._strike({"delta": ""}).get("delta", "")
        if not struck:
            return event
        return {**event, "audio_event": {**event["audio_event"], "audio_base_64": struck}}


class ElevenLabsSpeaker(Speaker):
    """An agent as ElevenLabs tells of it."""

    hang_up: Callable[[], None]
    event_id = 0

    def tell(self, kind: str, **payload: Any) -> None:
        """An event, if the agent is set up to tell it."""
        if kind in _options(self).client_events:
            self.outlet.emit({"type": kind, **payload})

    def tell_words(self, turn: Turn) -> None:
        self.tell("agent_response", agent_response_event={"agent_response": turn.text})

    def tell_voice(self, audio: bytes) -> None:
        self.event_id += 1
        encoded = base64.b64encode(audio).decode()
        event = {"audio_base_64": encoded, "event_id": self.event_id}
        if self.options.extras:
            event["alignment"] = {"chars": [], "char_start_times_ms": [], "char_durations_ms": []}
        self.tell("audio", audio_event=event)

    def tell_done(self, turn: Turn) -> None:
        self.tell("agent_response_complete", agent_response_complete_event={"event_id": self.event_id})

    def tell_cut(self, turn: Turn, played: float) -> None:
        """Voice that was made already, but not sent, has ids that are told to be dropped."""
        late = LATE_PIECES if "late-deltas" in self.faults else 0
        self.tell("interruption", interruption_event={"event_id": self.event_id + late})
        words = turn.text.split(" ")
        heard = " ".join(words[: int(len(words) * played)])
        correction = {"original_agent_response": turn.text, "corrected_agent_response": f"{heard}..."}
        self.tell("agent_response_correction", agent_response_correction_event=correction)

    def tell_calls(self, calls: Sequence[OpenCall]) -> None:
        for call in calls:
            if call.name in (END_CALL, SKIP_TURN):
                self._use_system_tool(call)
                continue
            parameters = msgspec.json.decode(call.arguments)
            told = {"tool_name": call.name, "tool_call_id": call.id, "parameters": parameters}
            self.tell("client_tool_call", client_tool_call=told)

    def knows(self, name: str) -> bool:
        return name in (END_CALL, SKIP_TURN) or Speaker.knows(self, name)

    def _use_system_tool(self, call: OpenCall) -> None:
        if self.calls.pop(call.id, None) is None:
            return
        told = {"tool_name": call.name, "tool_call_id": call.id, "tool_type": "system"}
        self.tell("agent_tool_request", agent_tool_request=told)
        self.tell("agent_tool_response", agent_tool_response={**told, "is_error": False})
        if call.name == END_CALL:
            self.hang_up()

    def fails(self) -> bool:
        """Whether a fault keeps it from speaking: the session ends of it."""
        if self.faults.get("quota") == "response":
            self.outlet.emit({"type": "error", "message": f"received 1002 (protocol error) {_QUOTA}"})
            self.outlet.close(1002, _QUOTA)
        elif "rate-limited-response" in self.faults:
            self.outlet.close(_POLICY, "Too many requests, please try again later.")
        elif "model-not-found" in self.faults:
            self.outlet.close(1011, "Internal error: the LLM failed.")
        return self.outlet.is_closed


class ElevenLabsEngine:
    """One session. Call `open` (or `refuse`) first; then `receive` and `wake` as things happen."""

    def __init__(
        self, options: ElevenLabsOptions, *, faults: Mapping[str, str], rng: random.Random, now: float
    ) -> None:
        self.initiation: dict[str, Any] | None = None
        """What the client began with."""
        self.notes: list[str] = []
        """What the agent was told without being asked anything."""
        self._options = options
        self._faults = faults
        self._rng = rng
        self._outlet = ElevenLabsOutlet(options, faults, rng, now)
        self._script = Script(options)
        self._hearing = Hearing(FORMATS[options.hears], _EARS)
        self._heard = b""
        self._pings = self._pongs = 0
        speaks = "pcm_24000" if "wrong-format" in faults else options.speaks
        self._formats = (options.hears, speaks)
        self.speaker = ElevenLabsSpeaker(
            options, faults, self._outlet, rng, FORMATS[speaks], list(options.tools), self._echo
        )
        self.speaker.hang_up = lambda: self._outlet.close(1000, "")
        self._handlers: dict[str, Callable[[dict[str, Any]], None]] = {
            "conversation_initiation_client_data": self._initiate,
            "pong": self._pong,
            "client_tool_result": self._tool_result,
            "contextual_update": lambda message: self.notes.append(message["text"]),
            "user_message": self._user_message,
            "user_activity": lambda _message: None,
            "feedback": lambda _message: None,
        }

    @property
    def record(self) -> AgentRecord:
        """What passed so far."""
        return self._outlet.record

    @property
    def next_wake(self) -> float | None:
        """When `wake` has something to do."""
        return self._outlet.next_due

    def open(self, now: float) -> list[Action]:
        """The connection stands: the client has the first word."""
        self._outlet.now = now
        lifetime = float(self._faults.get("session-expired", self._options.session_seconds))
        ended = "Conversation exceeded its maximum duration."
        self._outlet.at(now + lifetime, lambda: self._outlet.close(_POLICY, ended))
        return self._outlet.run_due(now)

    def refuse(self, reason: str, code: int = 3000) -> list[Action]:
        """Instead of `open`: say why this connection is not wanted, and end it."""
        self._outlet.close(code, reason)
        return self._outlet.run_due(self._outlet.now)

    def receive(self, message: bytes | str, now: float) -> list[Action]:
        """One message of the client, whatever it holds."""
        self._outlet.now = now
        try:
            self._take(message)
        except Refused as refusal:
            self._outlet.close(_POLICY, refusal.message[:120])
        return self._outlet.run_due(now)

    def wake(self, now: float) -> list[Action]:
        """Do what is due."""
        return self._outlet.run_due(now)

    def _take(self, message: bytes | str) -> None:
        try:
            payload = msgspec.json.decode(message)
        except (ValueError, RecursionError):
            raise Refused("Invalid message received.") from None
        if isinstance(payload, dict) and "user_audio_chunk" in payload:
            AUDIO(payload, "")
            self._hear(payload["user_audio_chunk"])
            return
        if self._options.record and isinstance(payload, dict):
            self.record.received.append(payload)
        MESSAGE(payload, "")
        if (payload["type"] == "conversation_initiation_client_data") == (self.initiation is not None):
            raise Refused("Invalid message: the conversation has to be initiated first, and once.")
        self._handlers[payload["type"]](payload)

    # The session

    def _initiate(self, message: dict[str, Any]) -> None:
        if self._faults.get("quota") == "connect":
            self._outlet.close(1002, _QUOTA)
            return
        override = message.get("conversation_config_override", {})
        forbidden = {self._faults["refuse-field"]} if "refuse-field" in self._faults else set[str]()
        for name in replaced(override):
            if name not in self._options.overrides or name in forbidden:
                field = name.rpartition(".")[2]
                raise Refused(f"Override for field '{field}' is not allowed by config.")
        self.initiation = message
        hears, speaks = self._formats
        metadata = {
            "conversation_id": self._outlet.new_id("conv"),
            "agent_output_audio_format": speaks,
            "user_input_audio_format": hears,
        }
        self._outlet.emit(
            {"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event": metadata}
        )
        self._ping()
        first = override.get("agent", {}).get("first_message", self._options.first_message)
        if first:
            self.speaker.say(first)

    def _ping(self) -> None:
        if self._pings - self._pongs >= self._options.pongs_missed:
            self._outlet.close(_POLICY, "Ping timed out.")
            return
        self._pings += 1
        self._outlet.emit({"type": "ping", "ping_event": {"event_id": self._pings, "ping_ms": None}})
        self._outlet.at(self._outlet.now + self._options.ping_seconds, self._ping)

    def _pong(self, message: dict[str, Any]) -> None:
        self._pongs = max(self._pongs, message["event_id"])

    # What the caller says

    def _echo(self) -> bytes:
        return convert(self._heard, self._hearing.format, self.speaker.format)

    def _hear(self, encoded: str) -> None:
        if self.initiation is None:
            raise Refused("Invalid message: the conversation has to be initiated first.")
        try:
            audio = binascii.a2b_base64(encoded, strict_mode=True)
        except ValueError:
            raise Refused("Invalid audio: it is no base64.") from None
        self.record.appends += 1
        if self._options.record:
            self.record.audio += audio
        for heard in self._hearing.feed(audio):
            match heard:
                case SpeechStarted():
                    if self._options.tentative:
                        self._outlet.emit(_tentative("well"))
                    self.speaker.interrupt()
                case SpeechStopped():
                    self._speech_stopped(heard.audio)
        self.record.heard_ms = self._hearing.position_ms

    def _speech_stopped(self, audio: bytes) -> None:
        self._heard = audio
        if self._options.record:
            self.record.turns.append(audio)
        text = self._script.next_transcript(self._hearing.format.milliseconds(len(audio)) / 1000)
        self._outlet.at(self._outlet.now + self._options.transcription_delay, lambda: self._understood(text))

    def _understood(self, text: str) -> None:
        if "transcription-failed" not in self._faults:
            if self._options.tentative:
                self._outlet.emit(_tentative(text))
            self.speaker.tell("user_transcript", user_transcription_event={"user_transcript": text})
        self.speaker.answer()

    # What it is told

    def _user_message(self, message: dict[str, Any]) -> None:
        self.speaker.interrupt()
        self.speaker.answer(message["text"])

    def _tool_result(self, message: dict[str, Any]) -> None:
        self.speaker.answered(message["tool_call_id"], message["result"])


def _tentative(text: str) -> dict[str, Any]:
    return {"type": "tentative_user_transcript", "tentative_user_transcription_event": {"user_transcript": text}}


def _options(speaker: Speaker) -> ElevenLabsOptions:
    options = speaker.options
    assert isinstance(options, ElevenLabsOptions)  # noqa: S101  # made with them
    return options
