"""Deepgram Voice Agent as a pure protocol: voice in binary frames both ways, all else as JSON in text frames.

The vendor runs the whole agent: it hears turns, answers and speaks by itself, and stops when the caller speaks. What
it has no means for is done as well as can be: nothing cancels a turn, so what a cancelled one goes on saying is not
passed on; nothing cuts the agent's memory to what was heard; text that only informs goes into its prompt.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any, Final, assert_never

import msgspec

from tandem_codecs.format import AudioFormat
from tandem_codecs.level import is_loud
from tandem_providers import deepgram_events as wire
from tandem_providers.asides import Aside, Asides, direction, noted, pressed, written
from tandem_providers.commands import (
    CancelResponse,
    Command,
    CommitTurn,
    PlaybackReport,
    Purpose,
    Say,
    SendDtmf,
    SendText,
    ToolResult,
)
from tandem_providers.config import ProcessConfig
from tandem_providers.deepgram_errors import classify, classify_close, presentable
from tandem_providers.deepgram_options import DeepgramOptions, dial
from tandem_providers.deepgram_reader import Reader
from tandem_providers.deepgram_session import capabilities, plan_session
from tandem_providers.errors import InvalidConfigError, ProviderError
from tandem_providers.events import AudioChunk, Event, ProviderWarning, RawEvent, SessionClosed, SessionReady
from tandem_providers.provider import FRESH, Binary, Dial, Opening

__all__ = ["DeepgramOptions", "DeepgramProtocol", "capabilities"]

IDLE_SECONDS: Final = 8.0
"""The vendor ends sessions in which nothing was sent for some ten seconds."""
_LARGEST: Final = 1 << 16
"""More caller audio than this at once goes out in several messages."""
_LONGEST_FRAME_MS: Final = 200
"""A longer piece of caller audio was kept for a while: it counts as this much time only."""
_EARLY_EVENTS: Final = 16
_LATE_MS: Final = 3_000
"""How long voice of a turn that was cut may still come, if nothing shows that another one has begun."""
_STOPPED_MS: Final = 2_000
"""How long a turn that the application stopped may hold up what it wants said instead."""
_ANSWER_MS: Final = 10_000
"""A request to speak that nothing came of after this long is forgotten; so is a turn of which no more came."""
_DEAF_MS: Final = 1_500
"""The caller is quiet for so much longer than any turn should last: the server has missed the end of one."""
_UNHEARD_MS: Final = 3_000
"""Told of that, the server has said nothing for so long: it has not heard words, only noise, and waits for more."""
_REFUSALS: Final = 3
_REFUSED: Final = ("INJECT_AGENT_MESSAGE_DURING_USER_SPEECH", "INJECT_AGENT_MESSAGE_DURING_AGENT_SPEECH")
_WAV: Final = b"RIFF"
_KEEP_ALIVE: Final = b'{"type":"KeepAlive"}'
_END_TURN: Final = b'{"type":"ForceEndTurn"}'

_encode: Final = msgspec.json.Encoder().encode
_sessions = itertools.count(1)


class DeepgramProtocol:
    """One session; see `WireProtocol` for the order of calls.

    Raises:
        InvalidConfigError: (when made) an option or a setting that this provider does not take.
    """

    idle_seconds = IDLE_SECONDS

    def __init__(
        self, options: DeepgramOptions, config: ProcessConfig, leg: AudioFormat, name: str, opening: Opening = FRESH
    ) -> None:
        self._name = name
        self._plan = plan = plan_session(options, config, leg, opening, name)
        self.capabilities = replace(
            capabilities(options, name), input_formats=(plan.format,), output_formats=(plan.format,)
        )
        self._dial = dial(options, name)
        # The wire gives no names, and those of one call's sessions must not meet.
        self._reader = Reader(f"deepgram{next(_sessions)}", plan.format)
        self._asides = Asides()
        self._asked: Aside | None = None
        """What was asked for last, in case that it is refused."""
        self._refusals = 0
        self._messages: list[bytes] = [_encode(plan.settings)]
        self._prompt = plan.instructions
        self._session_id = ""
        self._ready = False
        self._ended: SessionClosed | None = None
        self._early: list[Event] = []
        self._news: list[Event] = []
        # Caller audio that came, in milliseconds: the clock of this session.
        self._now = 0.0
        self._alive = 0.0
        self._late_since = self._asked_at = self._stopped_at = 0.0
        self._quiet_since = 0.0
        self._nudged = False
        self._unheard_by = math.inf
        self._wake: float = math.inf

    def dial(self) -> Dial:
        """Where to connect."""
        return self._dial

    # In

    def receive_binary(self, message: bytes) -> list[Event]:
        """The agent's voice. More of a turn under way has a short way through."""
        turn = self._reader.turn
        if turn is not None and turn.size and not turn.muted and not message.startswith(b"{"):
            turn.size += len(message)
            self._alive = self._now
            return [AudioChunk(message, False, turn.item_id, turn.id)]
        if wire.is_text(message):
            return self.receive(message)
        if not self._ready:
            return []
        if message.startswith(_WAV) and (turn is None or not turn.size):
            # What follows such a header may be anything: never noise into a caller's ear.
            error = InvalidConfigError(
                "the agent's voice comes in a container, which was not asked for", provider=self._name
            )
            return self._finish([SessionClosed(error, reason="audio format")])
        return self._finish(self._reader.voice(message))

    def receive(self, message: bytes) -> list[Event]:
        """One text message as events."""
        try:
            told: wire.AnyMessage = wire.decode(message)
        except (ValueError, RecursionError) as error:
            return self._finish(self._untyped(message, error))
        return self._finish(self._read(told))

    def outgoing(self) -> list[bytes]:
        """What has to be sent now: the settings at first, later what had to wait for its moment."""
        messages, self._messages = self._messages, []
        return messages

    def occurred(self) -> list[Event]:
        """What happened without a message; see `KeepsTime`."""
        if not self._news:
            return []
        news, self._news = self._news, []
        return news

    def keep_alive(self) -> list[bytes]:
        return [_KEEP_ALIVE]

    def _finish(self, events: list[Event]) -> list[Event]:
        """After each message: do what has become possible, and keep `SessionReady` first and `SessionClosed` last."""
        if self._ended is not None:
            self._messages.clear()
            return []
        if not self._ready and not any(isinstance(event, SessionClosed) for event in events):
            self._early = (self._early + events)[-_EARLY_EVENTS:]
            return []
        self._alive = self._now
        events = events + self._advance()
        for index, event in enumerate(events):
            if isinstance(event, SessionClosed):
                self._ended, self._ready = event, False
                self._messages.clear()
                self._reader.turn = None
                return events[: index + 1]
        return events

    def _untyped(self, message: bytes, error: Exception) -> list[Event]:
        """A message that is not one of those we know as documented: unknown, nearly right, or broken."""
        try:
            payload = msgspec.json.decode(message)
        except (ValueError, RecursionError):
            payload = None
        kind = payload.get("type") if isinstance(payload, dict) else None
        if not isinstance(kind, str):
            return [ProviderWarning("malformed_message", str(error)[:200])]
        if kind not in wire.NAMES:
            return [RawEvent(payload)] if self._plan.raw_events else []
        try:
            return self._read(wire.lenient(payload))
        except (ValueError, RecursionError) as reason:
            if kind == "Error":
                return self._error("", str(payload.get("description") or payload.get("message") or ""))
            return [ProviderWarning("malformed_message", f"{kind}: {str(reason)[:200]}")]

    def _read(self, told: wire.AnyMessage) -> list[Event]:
        match told:
            case wire.Welcome():
                self._session_id = told.request_id
                return []
            case wire.SettingsApplied():
                return self._applied()
            case wire.Error():
                return self._error(told.code, told.description or told.message)
            case wire.Warning_():
                return self._warning(told)
            case _:
                return self._read_conversation(told) if self._ready else []

    def _read_conversation(self, told: Any) -> list[Event]:
        reader = self._reader
        match told:
            case wire.ConversationText(role="user"):
                self._unheard_by = math.inf
                return reader.caller_said(told.content)
            case wire.ConversationText():
                return reader.said(told.content)
            case wire.UserStartedSpeaking():
                return self._caller_started()
            case wire.AgentThinking():
                self._unheard_by = math.inf
                return reader.thinking()
            case wire.AgentStartedSpeaking():
                return reader.started_speaking()
            case wire.AgentAudioDone():
                return reader.audio_done()
            case wire.FunctionCallRequest():
                return reader.function_calls(told.functions)
            case wire.FunctionCallCancelled():
                return reader.calls_cancelled(told.functions)
            case wire.InjectionRefused():
                return self._refused("injection_refused", told.message)
            case _:
                return []

    def _applied(self) -> list[Event]:
        if self._ready:
            return []
        self._ready = True
        early, self._early = self._early, []
        plan = self._plan
        ready = SessionReady(
            provider=self._name,
            input_format=plan.format,
            output_format=plan.format,
            session_id=self._session_id,
            model=plan.model,
        )
        return [ready, *plan.warnings, *early]

    def _caller_started(self) -> list[Event]:
        self._quiet_since = self._late_since = self._now
        self._nudged = False
        self._unheard_by = math.inf
        return self._reader.caller_started()

    def _error(self, code: str, description: str) -> list[Event]:
        """After one of these the session is over, though the socket may still be open."""
        error = classify(code, description, provider=self._name, ready=self._ready)
        return [SessionClosed(error, reason=code)]

    def _warning(self, warning: wire.Warning_) -> list[Event]:
        if warning.code in _REFUSED:
            return self._refused(warning.code.lower(), warning.description)
        return [ProviderWarning(warning.code.lower() or "warning", presentable(warning.description))]

    def _refused(self, code: str, message: str) -> list[Event]:
        """The agent may not speak just now: it is asked again, as soon as nobody speaks."""
        asked, self._asked = self._asked, None
        self._reader.requested = False
        self._reader.saying = ""
        if asked is not None and self._refusals < _REFUSALS:
            self._refusals += 1
            self._asides.put_back(asked)
            # Not at once: whoever speaks shall have a moment to finish.
            self._stopped_at = self._now
        return [ProviderWarning(code, presentable(message) or "the agent may not speak now")]

    # Out

    def audio(self, audio: bytes) -> list[bytes]:
        """Caller audio, as it is; and whatever is due by the time that it stands for."""
        if not self._ready or not audio:
            return []
        self._now += min(self._plan.format.milliseconds(len(audio)), _LONGEST_FRAME_MS)
        if self._reader.caller_speaks:
            self._listen(audio)
        elif self._now < self._wake and len(audio) <= _LARGEST:
            return [Binary(audio)]
        sent: list[bytes] = [Binary(audio[at : at + _LARGEST]) for at in range(0, len(audio), _LARGEST)]
        if self._now >= self._wake:
            self._news += self._advance()
        return sent + self.outgoing()

    def _listen(self, audio: bytes) -> None:
        """The server hears the caller speak. It has been seen to miss the end of it; then it is told, once."""
        if is_loud(audio, self._plan.format):
            self._quiet_since = self._now
        elif not self._nudged and self._now - self._quiet_since >= self._plan.eot_timeout_ms + _DEAF_MS:
            self._nudged = True
            self._unheard_by = self._now + _UNHEARD_MS
            self._messages.append(_END_TURN)
            self._news += self._reader.caller_quiet()
            self._news += self._advance()

    def send(self, command: Command) -> list[bytes]:
        """A command as messages; some make others possible, which follow at once."""
        if not self._ready:
            return []
        match command:
            case Say():
                aside = Aside(direction(command), False, command.purpose)
                if command.text is not None:
                    aside = Aside(command.text, True, command.purpose)
                self._asides.add(aside)
            case SendText() if not command.respond:
                self._note(noted(command))
            case SendText():
                self._asides.add(Aside(written(command)))
            case SendDtmf():
                self._asides.add(Aside(pressed(command)))
            case CancelResponse():
                self._asides.cancel()
                self._reader.cancel()
                self._stopped_at = self._now
            case CommitTurn() | PlaybackReport():
                pass  # it hears turns by itself, and its memory can't be cut
            case ToolResult():
                self._result(command)
            case _:
                assert_never(command)
        self._news += self._advance()
        return self.outgoing()

    def _note(self, text: str) -> None:
        """What the agent shall know goes into its prompt: the conversation has no place for it."""
        self._prompt = f"{self._prompt}\n\n{text}".strip()
        self._write({"type": "UpdatePrompt", "prompt": self._prompt})

    def _result(self, result: ToolResult) -> None:
        call = self._reader.answered(result.call_id)
        if call is None:
            return
        answer = {"type": "FunctionCallResponse", "name": call.name, "content": result.output}
        self._write({**answer, "id": call.id} if call.id else answer)
        self._alive = self._now

    def _write(self, message: dict[str, Any]) -> None:
        self._messages.append(_encode(message))

    def _advance(self) -> list[Event]:
        """Do what has become possible, and note when to look again though nothing happens."""
        events: list[Event] = []
        reader, now = self._reader, self._now
        if reader.late and now >= self._late_since + _LATE_MS:
            reader.late = False
        if reader.requested and now >= self._asked_at + _ANSWER_MS:
            reader.cancel_request()
        if reader.turn is not None and not reader.waits_for_us and now >= self._alive + _ANSWER_MS:
            events += reader.drop()
        if reader.turn is not None:
            self._asked = None  # it came about
            self._unheard_by = math.inf
        if now >= self._unheard_by:
            # A cough has stopped the agent, and nobody is going to say anything: it takes up what it was saying.
            self._unheard_by = math.inf
            self._asides.add(Aside(direction(Say(Purpose.RESUME)), False, Purpose.RESUME))
        if self._asides and self._may_speak():
            self._ask()
        looks = [
            (reader.late, self._late_since + _LATE_MS),
            (reader.requested, self._asked_at + _ANSWER_MS),
            (reader.turn is not None, self._alive + _ANSWER_MS),
            (bool(self._asides), self._stopped_at + _STOPPED_MS),
            (bool(self._asides), self._quiet_since + _ANSWER_MS),
            (True, self._unheard_by),
        ]
        self._wake = min((at for due, at in looks if due and at > now), default=math.inf)
        return events

    def _may_speak(self) -> bool:
        """Nobody speaks, and nobody is about to."""
        reader, now = self._reader, self._now
        if reader.requested or (reader.caller_speaks and now < self._quiet_since + _ANSWER_MS):
            return False
        if self._refusals and now < self._stopped_at + _STOPPED_MS:
            return False
        turn = reader.turn
        return turn is None or (turn.muted and now >= self._stopped_at + _STOPPED_MS)

    def _ask(self) -> None:
        aside = self._asides.take()
        if aside is None:
            return
        self._asked = aside
        self._asked_at = self._now
        self._reader.requested = True
        if aside.verbatim:
            self._reader.saying = aside.text
            self._write({"type": "InjectAgentMessage", "message": aside.text, "behavior": "queue"})
        else:
            self._reader.injected(aside.text)
            self._write({"type": "InjectUserMessage", "content": aside.text})

    # The end

    def closed(self, code: int, reason: str) -> ProviderError | None:
        """What the end of the socket means: what the provider said before it closed, else the close itself."""
        if self._ended is not None:
            return self._ended.error
        return classify_close(code, reason, provider=self._name, ready=self._ready)
