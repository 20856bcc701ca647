"""One session of a simulated Deepgram Voice Agent, without I/O.

Told client messages and the time, it answers what to send. Everything it will do later of its own accord lies in one
agenda; `next_wake` says when to call `wake`. Randomness comes from the generator handed in, so a seed repeats a run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from tandem.simulators.agent_outlet import AgentOutlet, AgentRecord
from tandem.simulators.agent_speaker import OpenCall, Speaker, Turn
from tandem.simulators.deepgram_schema import MESSAGE, PROMPT_LIMIT, audio_format
from tandem.simulators.deepgram_script import DeepgramOptions
from tandem.simulators.openai_checks import Refused
from tandem.simulators.openai_hearing import Hearing, SpeechStarted, SpeechStopped
from tandem.simulators.openai_outlet import Action, Send
from tandem.simulators.openai_script import Script
from tandem_codecs.format import PCM16_24K

_EARS: Final = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
_ORDER: Final = "NON_SETTINGS_MESSAGE_BEFORE_SETTINGS"
_WAV_HEADER: Final = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00"
_CLOSE: Final = 1011


class DeepgramOutlet(AgentOutlet):
    """Where messages and voice go out."""

    READY = "SettingsApplied"
    UNKNOWN = ("AgentMood", "SessionDiagnostics", "EagerReply")


class DeepgramSpeaker(Speaker):
    """An agent as Deepgram tells of it."""

    client_side: Callable[[str], bool]

    def tell_words(self, turn: Turn) -> None:
        for sentence in _sentences(turn.text):
            self.outlet.emit({"type": "ConversationText", "role": "assistant", "content": sentence})
        if _options(self).started:
            latencies = {"total_latency": 0.4, "tts_latency": 0.1, "ttt_latency": 0.3}
            self.outlet.emit({"type": "AgentStartedSpeaking", **latencies})
        if "wrong-format" in self.faults:
            self.outlet.voice(_WAV_HEADER)

    def tell_voice(self, audio: bytes) -> None:
        self.outlet.voice(audio)

    def tell_done(self, turn: Turn) -> None:
        self.outlet.emit({"type": "AgentAudioDone"})

    def tell_cut(self, turn: Turn, played: float) -> None:
        if _options(self).done_after_cut:
            self.outlet.emit({"type": "AgentAudioDone"})

    def tell_calls(self, calls: Sequence[OpenCall]) -> None:
        functions = [
            {
                "id": call.id,
                "name": call.name,
                "arguments": call.arguments,
                "client_side": self.client_side(call.name),
            }
            for call in calls
        ]
        self.outlet.emit({"type": "FunctionCallRequest", "functions": functions})
        for call in calls:
            if not self.client_side(call.name):
                self._call_myself(call)

    def _call_myself(self, call: OpenCall) -> None:
        answer = {"type": "FunctionCallResponse", "id": call.id, "name": call.name, "content": "done"}
        self.outlet.emit(answer)
        self.answered(call.id, "done")

    def take_back(self) -> None:
        """The caller speaks: the answers to open calls are not wanted any more."""
        calls = [{"id": call.id, "name": call.name} for call in self.calls.values()]
        self.calls.clear()
        if calls:
            self.outlet.emit({"type": "FunctionCallCancelled", "functions": calls})

    def fails(self) -> bool:
        """Whether a fault keeps it from speaking: the session ends of it."""
        failures = {"quota": "You exceeded your current quota.", "rate-limited-response": "Too many requests."}
        for fault, description in failures.items():
            if self.faults.get(fault) in ("response", ""):
                code = "FAILED_TO_THINK" if fault == "quota" else "TOO_MANY_REQUESTS"
                self.outlet.emit({"type": "Warning", "code": "THINK_REQUEST_FAILED", "description": description})
                self.outlet.fail(_error(code, description), _CLOSE)
        return self.outlet.is_closed


class DeepgramEngine:
    """One session. Call `open` (or `refuse`) first; then `receive` and `wake` as things happen."""

    def __init__(self, options: DeepgramOptions, *, faults: Mapping[str, str], rng: random.Random, now: float) -> None:
        self.settings: dict[str, Any] = {}
        """What the client asked for; empty before that."""
        self.prompt = ""
        self._options = options
        self._faults = faults
        self._rng = rng
        self._outlet = DeepgramOutlet(options, faults, rng, now)
        self._script = Script(options)
        self._hearing = Hearing(PCM16_24K, None)
        self._heard = b""
        self._last_message = now
        self._handlers: dict[str, Callable[[dict[str, Any]], None]] = {
            "Settings": self._apply,
            "FunctionCallResponse": self._function_response,
            "InjectAgentMessage": self._inject_agent,
            "InjectUserMessage": self._inject_user,
            "UpdatePrompt": self._update_prompt,
            "UpdateSpeak": lambda _message: self._outlet.emit({"type": "SpeakUpdated"}),
            "UpdateThink": lambda _message: self._outlet.emit({"type": "ThinkUpdated"}),
            "UpdateListen": lambda _message: self._outlet.emit({"type": "ListenUpdated"}),
            "KeepAlive": lambda _message: None,
            "ForceEndTurn": self._force_end,
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
        """The connection stands."""
        self._outlet.now = self._last_message = now
        self._outlet.emit({"type": "Welcome", "request_id": self._outlet.new_id("req")})
        self._outlet.at(now + self._options.idle_seconds, self._look_for_life)
        lifetime = float(self._faults.get("session-expired", self._options.session_seconds))
        self._outlet.at(now + lifetime, lambda: self._outlet.close(1000, "session expired"))
        return self._done(now)

    def refuse(self, code: str, description: str) -> list[Action]:
        """Instead of `open`: say why this connection is not wanted, and end it."""
        self._outlet.fail(_error(code, description), 1008)
        return self._done(self._outlet.now)

    def receive(self, message: bytes | str, now: float) -> list[Action]:
        """One message of the client, whatever it holds."""
        self._outlet.now = self._last_message = now
        try:
            if isinstance(message, bytes):
                self._hear(message)
            else:
                self._take(message)
        except Refused as refusal:
            self._outlet.fail(_error(refusal.code or "UNPARSABLE_CLIENT_MESSAGE", refusal.message), 1008)
        return self._done(now)

    def wake(self, now: float) -> list[Action]:
        """Do what is due."""
        return self._done(now)

    def _done(self, now: float) -> list[Action]:
        actions = self._outlet.run_due(now)
        if not self._options.json_in_binary:
            return actions
        return [Send(action.text, binary=True) if isinstance(action, Send) else action for action in actions]

    def _take(self, message: str) -> None:
        try:
            payload = msgspec.json.decode(message)
        except (ValueError, RecursionError):
            raise Refused("The message could not be parsed.", "UNPARSABLE_CLIENT_MESSAGE") from None
        if self._options.record and isinstance(payload, dict):
            self.record.received.append(payload)
        kind = payload.get("type") if isinstance(payload, dict) else None
        if not self.settings and kind != "Settings":
            raise Refused("The first message must be Settings.", _ORDER)
        try:
            MESSAGE(payload, "")
        except Refused as refusal:
            code = "INVALID_SETTINGS" if kind == "Settings" else "UNPARSABLE_CLIENT_MESSAGE"
            raise Refused(refusal.message, code, refusal.param) from None
        self._handlers[payload["type"]](payload)

    # The session

    def _look_for_life(self) -> None:
        due = self._last_message + self._options.idle_seconds
        if self._outlet.now < due:
            self._outlet.at(due, self._look_for_life)
            return
        description = "We waited too long for a websocket message. Please ensure that you're sending binary messages."
        self._outlet.fail(_error("CLIENT_MESSAGE_TIMEOUT", description), _CLOSE)

    def _apply(self, settings: dict[str, Any]) -> None:
        if self.settings:
            raise Refused("Settings have already been applied.", "SETTINGS_ALREADY_APPLIED")
        if self._faults.get("quota") == "connect":
            raise Refused("Your project has no credits left.", "INSUFFICIENT_CREDITS")
        if "model-not-found" in self._faults or "refuse-field" in self._faults:
            raise Refused("Invalid settings: agent.think.provider.model", "INVALID_SETTINGS")
        self.settings = settings
        agent = settings["agent"] if isinstance(settings["agent"], dict) else {}
        thinking = agent.get("think", {})
        think = thinking[0] if isinstance(thinking, list) else thinking
        self.prompt = think.get("prompt", "")
        functions = {function["name"]: "endpoint" not in function for function in think.get("functions", ())}
        self._hearing = Hearing(audio_format(settings["audio"].get("input", {})), _EARS)
        self.speaker = DeepgramSpeaker(
            self._options,
            self._faults,
            self._outlet,
            self._rng,
            audio_format(settings["audio"].get("output", {})),
            list(functions),
            lambda: self._heard,
        )
        ours = self._options.server_functions
        self.speaker.client_side = lambda name: functions[name] and name not in ours
        self._outlet.emit({"type": "SettingsApplied"})
        if len(self.prompt) > PROMPT_LIMIT:
            self._outlet.emit(
                {"type": "Warning", "code": "PROMPT_TOO_LONG", "description": "The prompt was truncated."}
            )
        if agent.get("greeting"):
            self.speaker.say(agent["greeting"])

    def _update_prompt(self, message: dict[str, Any]) -> None:
        self.prompt = message["prompt"]
        self._outlet.emit({"type": "PromptUpdated"})

    # What the caller says

    def _hear(self, audio: bytes) -> None:
        if not self.settings:
            raise Refused("Audio was sent before Settings.", _ORDER)
        self.record.appends += 1
        if self._options.record:
            self.record.audio += audio
        for heard in self._hearing.feed(audio):
            match heard:
                case SpeechStarted():
                    self._speech_started()
                case SpeechStopped():
                    self._speech_stopped(heard.audio)
        self.record.heard_ms = self._hearing.position_ms

    def _speech_started(self) -> None:
        self._outlet.emit({"type": "UserStartedSpeaking"})
        self.speaker.take_back()
        self.speaker.interrupt()

    def _speech_stopped(self, audio: bytes) -> None:
        self._heard = audio
        if self._options.record:
            self.record.turns.append(audio)
        text = self._script.next_transcript(self._hearing.format.milliseconds(len(audio)) / 1000)
        if "transcription-failed" in self._faults:
            return  # the stall that users have reported: nothing more is ever said about it
        self._outlet.at(self._outlet.now + self._options.transcription_delay, lambda: self._understood(text))

    def _understood(self, text: str) -> None:
        self._outlet.emit({"type": "ConversationText", "role": "user", "content": text})
        if self._options.thinking and "no-answer" not in self._faults:
            self._outlet.emit({"type": "AgentThinking", "content": f"They said: {text}"})
        self.speaker.answer()

    def _force_end(self, message: dict[str, Any]) -> None:
        if self._hearing.speaking:
            self._speech_stopped(self._hearing.commit())

    # What it is told

    def _inject_agent(self, message: dict[str, Any]) -> None:
        behavior = message.get("behavior", "default")
        if behavior == "default" and (self._hearing.speaking or self.speaker.speaks):
            who = "user" if self._hearing.speaking else "agent"
            self._outlet.emit(
                {"type": "InjectionRefused", "message": f"Cannot inject message while {who} is currently speaking"}
            )
            return
        if behavior == "interrupt":
            self.speaker.interrupt()
        self.speaker.say(message["message"])

    def _inject_user(self, message: dict[str, Any]) -> None:
        self.speaker.interrupt()
        self._outlet.emit({"type": "ConversationText", "role": "user", "content": message["content"]})
        self.speaker.answer(message["content"])

    def _function_response(self, message: dict[str, Any]) -> None:
        call_id = message.get("id") or next(
            (call.id for call in self.speaker.calls.values() if call.name == message["name"]), ""
        )
        self.speaker.answered(call_id, message["content"])


def _options(speaker: Speaker) -> DeepgramOptions:
    options = speaker.options
    assert isinstance(options, DeepgramOptions)  # noqa: S101  # made with them
    return options


def _sentences(text: str) -> list[str]:
    """As the vendor tells an answer: a sentence at a time."""
    sentences, rest = [], text
    while (end := next((at for at, sign in enumerate(rest[:-1]) if sign in ".?!" and rest[at + 1] == " "), -1)) >= 0:
        sentences.append(rest[: end + 1])
        rest = rest[end + 2 :]
    return [*sentences, rest]


def _error(code: str, description: str) -> dict[str, Any]:
    return {"type": "Error", "code": code, "description": description}
