"""ElevenLabs Agents as a pure protocol: JSON text frames, voice as base64, an agent that stands with the vendor.

The vendor runs the whole agent: it hears turns, answers and speaks by itself, stops when the caller speaks, and ends
the conversation when it is done. What it has no means for is done as well as can be:

- Only its first words can be given to it word by word. Whatever it is to say later is asked for in writing, and may
  come out in other words: a warning says so, once.
- Nothing cancels a turn, so what a cancelled one goes on saying is not passed on.
- Nothing cuts its memory to what was heard; the vendor does that by itself, and tells.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Final, assert_never

import msgspec

from tandem_codecs.format import MULAW_8K, AudioFormat
from tandem_providers import elevenlabs_events as wire
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
from tandem_providers.elevenlabs_errors import classify, classify_close, is_failure, presentable
from tandem_providers.elevenlabs_options import ElevenLabsOptions, dial
from tandem_providers.elevenlabs_reader import Reader
from tandem_providers.elevenlabs_session import capabilities, plan_session, session_ready
from tandem_providers.errors import ProviderError
from tandem_providers.events import (
    AudioChunk,
    Event,
    HangupRequested,
    ProviderWarning,
    RawEvent,
    SessionClosed,
    SessionReady,
)
from tandem_providers.provider import FRESH, Dial, Opening

__all__ = ["ElevenLabsOptions", "ElevenLabsProtocol", "capabilities"]

_HEAD: Final = b'{"user_audio_chunk":'
_LARGEST_MS: Final = 1_000
"""More caller audio than this at once goes out in several messages."""
_LONGEST_FRAME_MS: Final = 200
"""A longer piece of caller audio was kept for a while: it counts as this much time only."""
_EARLY_EVENTS: Final = 16
_QUIET_MS: Final = 1_000
"""Voice comes faster than it is spoken: when none has come for this long, the turn is over."""
_STOPPED_MS: Final = 2_000
"""How long a turn that the application stopped may hold up what it wants said instead."""
_ANSWER_MS: Final = 10_000
"""A request to speak that nothing came of after this long is forgotten; so is a turn that was never spoken."""
_FIRST_MS: Final = 2_500
"""An agent that has not begun to greet the caller by now has no first words of its own."""
_CORRECTION_MS: Final = 1_500
_END_CALL: Final = "end_call"
_SKIP_TURN: Final = "skip_turn"

_encode: Final = msgspec.json.Encoder().encode
_sessions = itertools.count(1)


class ElevenLabsProtocol:
    """One session; see `WireProtocol` for the order of calls.

    Raises:
        InvalidConfigError: (when made) an option or a setting that this provider does not take.
    """

    def __init__(
        self, options: ElevenLabsOptions, config: ProcessConfig, leg: AudioFormat, name: str, opening: Opening = FRESH
    ) -> None:
        self.bad_audio = 0
        """Pieces of voice that were no base64 and had to be dropped."""
        self.capabilities = capabilities(options, name)
        self._name = name
        self._leg = leg
        self._plan = plan = plan_session(options, config, opening, name)
        self._dial = dial(options, name)
        # The wire gives no names, and those of one call's sessions must not meet.
        self._reader = Reader(f"elevenlabs{next(_sessions)}")
        # The agent does not know that it has greeted the caller before.
        self._reader.mute_next = bool(plan.memory) and plan.first_message is None
        self._asides = Asides()
        self._messages: list[bytes] = [_encode(plan.initiation)]
        self._ready = False
        self._ended: SessionClosed | None = None
        self._early: list[Event] = []
        self._news: list[Event] = []
        self._failure: ProviderError | None = None
        self._leaving = False
        self._paraphrases = False
        self._greeting: Aside | None = None
        """What to ask for if the agent does not greet by itself."""
        self._input = MULAW_8K
        # Caller audio that came, in milliseconds: the clock of this session.
        self._now = 0.0
        self._alive = self._asked_at = self._stopped_at = self._first_by = self._cut_at = 0.0
        self._wake: float = math.inf

    def dial(self) -> Dial:
        """Where to connect."""
        return self._dial

    # In

    def receive(self, message: bytes) -> list[Event]:
        """One message as events. The common one, more voice of the turn under way, takes the short way."""
        try:
            told = wire.decode(message)
        except (ValueError, RecursionError) as error:
            return self._finish(self._untyped(message, error))
        turn = self._reader.turn
        if type(told) is wire.Audio and turn is not None and turn.size and not turn.muted:
            piece = told.audio_event
            if piece.event_id > self._reader.cut_through and piece.audio_base_64:
                turn.size += len(piece.audio_base_64)
                self._touch()
                return [AudioChunk(piece.audio_base_64, False, turn.item_id, turn.id)]
        return self._finish(self._read(told))

    def outgoing(self) -> list[bytes]:
        """What has to be sent now: the beginning at first, later pongs and what had to wait for its moment."""
        messages, self._messages = self._messages, []
        return messages

    def occurred(self) -> list[Event]:
        """What happened without a message; see `KeepsTime`."""
        if not self._news:
            return []
        news, self._news = self._news, []
        return news

    def _touch(self) -> None:
        self._alive = self._now
        self._wake = min(self._wake, self._now + _QUIET_MS)

    def _finish(self, events: list[Event]) -> list[Event]:
        """After each message: do what has become possible, and keep `SessionReady` first and `SessionClosed` last."""
        if self._ended is not None:
            self._messages.clear()
            return []
        if not self._ready and not any(isinstance(event, SessionClosed) for event in events):
            self._early = (self._early + events)[-_EARLY_EVENTS:]
            return []
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
            if kind == "audio":
                self.bad_audio += 1
                return [ProviderWarning("bad_audio", str(reason)[:200])]
            return [ProviderWarning("malformed_message", f"{kind}: {str(reason)[:200]}")]

    def _read(self, told: wire.AnyMessage) -> list[Event]:
        match told:
            case wire.Metadata():
                return self._initiated(told.conversation_initiation_metadata_event)
            case wire.Ping():
                self._messages.append(_encode({"type": "pong", "event_id": told.ping_event.event_id}))
                return []
            case wire.Error():
                return self._error(told)
            case wire.ClientError():
                said = told.client_error or told.client_error_event
                return [ProviderWarning("client_error", presentable(str(said or "")))]
            case wire.Guardrail():
                return [ProviderWarning("guardrail_triggered", "the agent was kept from saying something")]
            case wire.DtmfRequest():
                return [ProviderWarning("dtmf_request", "the agent wants to press keys, which it can't in this call")]
            case _:
                return self._read_conversation(told) if self._ready else []

    def _read_conversation(self, told: Any) -> list[Event]:
        reader = self._reader
        match told:
            case wire.Audio():
                self._touch()
                return reader.voice(told.audio_event.audio_base_64, told.audio_event.event_id)
            case wire.AgentResponse():
                self._touch()
                return reader.said(told.agent_response_event.agent_response)
            case wire.ResponseComplete():
                return reader.complete()
            case wire.Interruption():
                self._cut_at = self._now
                return reader.interrupted(told.interruption_event.event_id)
            case wire.Correction():
                return reader.corrected(told.agent_response_correction_event.corrected_agent_response)
            case wire.UserTranscript():
                return reader.caller_said(told.user_transcription_event.user_transcript)
            case wire.TentativeTranscript():
                spoken = told.tentative_user_transcription_event or told.user_transcription_event
                return reader.caller_seems_to_say(spoken.user_transcript) if spoken is not None else []
            case wire.ClientToolCall():
                self._touch()
                return reader.client_tool(told.client_tool_call)
            case wire.ToolRequest():
                return self._server_tool(told.agent_tool_request, over=False)
            case wire.ToolResponse():
                return self._server_tool(told.agent_tool_response, over=True)
            case wire.McpToolCall():
                return self._server_tool(told.mcp_tool_call, over=False)
            case _:
                return []

    def _initiated(self, initiated: wire.Initiated) -> list[Event]:
        if self._ready:
            return []
        events = session_ready(initiated, self._leg, self._name)
        ready = events[0]
        if not isinstance(ready, SessionReady):
            return events
        self._ready = True
        self._input, self._reader.format = ready.input_format, ready.output_format
        if self._plan.memory:
            self._write({"type": "contextual_update", "text": self._plan.memory})
        early, self._early = self._early, []
        return events + early

    def _server_tool(self, tool: wire.ServerTool, *, over: bool) -> list[Event]:
        """A tool that the vendor runs: ours only to know what it means for the call."""
        self._alive = self._now
        if tool.tool_name == _END_CALL and not tool.is_error:
            return self._hang_up("end_call")
        if tool.tool_name == _SKIP_TURN and over:
            return self._reader.skips()
        return self._reader.works()

    def _hang_up(self, reason: str) -> list[Event]:
        if self._leaving:
            return []
        self._leaving = True
        return [HangupRequested(reason)]

    def _error(self, told: wire.Error) -> list[Event]:
        """What is the matter; the close that follows may not say it."""
        said = told.message or str(told.error_event.get("message") or told.error_event.get("reason") or "")
        failure = classify(said, provider=self._name)
        if failure is not None:
            return [SessionClosed(failure, reason=failure.code)]
        return [ProviderWarning("error", presentable(said))]

    # Out

    def audio(self, audio: bytes) -> list[bytes]:
        """Caller audio, as messages; and whatever is due by the time that it stands for."""
        if not self._ready or not audio:
            return []
        lasts = self._input.milliseconds(len(audio))
        self._now += min(lasts, _LONGEST_FRAME_MS)
        if self._now < self._wake and lasts <= _LARGEST_MS:
            return [_HEAD + _encode(audio) + b"}"]
        size = self._input.size(_LARGEST_MS)
        sent = [_HEAD + _encode(audio[at : at + size]) + b"}" for at in range(0, len(audio), size)]
        if self._now >= self._wake:
            self._news += self._advance()
        return sent + self.outgoing()

    def send(self, command: Command) -> list[bytes]:
        """A command as messages; some make others possible, which follow at once."""
        if not self._ready:
            return []
        match command:
            case Say(purpose=Purpose.GREETING):
                self._greet(command)
            case Say():
                self._ask_to_say(command)
            case SendText() if not command.respond:
                self._write({"type": "contextual_update", "text": noted(command)})
            case SendText():
                self._asides.add(Aside(written(command)))
            case SendDtmf():
                self._asides.add(Aside(pressed(command)))
            case CancelResponse():
                self._asides.cancel()
                self._greeting = None
                self._reader.cancel()
                self._stopped_at = self._now
            case CommitTurn() | PlaybackReport():
                pass  # it hears turns by itself, and cuts its own memory
            case ToolResult():
                self._result(command)
            case _:
                assert_never(command)
        self._news += self._advance()
        return self.outgoing()

    def _greet(self, say: Say) -> None:
        """The first words were given to the agent when the session began, or it has its own: then it says them by
        itself. It is only asked if it does not."""
        if self._plan.first_message == "":
            self._ask_to_say(say)
        elif not self._reader.spoken:
            self._greeting = Aside(direction(say), False, say.purpose)
            self._first_by = self._now + _FIRST_MS
        if self._plan.first_message is None and say.text is not None:
            self._news.append(
                ProviderWarning("greeting_not_said", "the agent greets in its own words: none were given at the start")
            )

    def _ask_to_say(self, say: Say) -> None:
        if say.text is not None and not self._paraphrases:
            self._paraphrases = True
            message = "the agent can be asked to say these words, but not made to say just them"
            self._news.append(ProviderWarning("say_paraphrased", message))
        self._asides.add(Aside(direction(say), False, say.purpose))

    def _result(self, result: ToolResult) -> None:
        if not self._reader.answered(result.call_id):
            return
        self._write(
            {
                "type": "client_tool_result",
                "tool_call_id": result.call_id,
                "result": result.output,
                "is_error": is_failure(result.output),
            }
        )
        self._touch()

    def _write(self, message: dict[str, Any]) -> None:
        self._messages.append(_encode(message))

    def _advance(self) -> list[Event]:
        """Do what has become possible, and note when to look again though nothing happens."""
        reader, now = self._reader, self._now
        events: list[Event] = []
        if reader.turn is not None and now >= self._over_at():
            events += reader.complete() if reader.turn.size else reader.drop()
        if reader.unsettled and now >= self._cut_at + _CORRECTION_MS:
            events += reader.settle_words()
        if reader.requested and now >= self._asked_at + _ANSWER_MS:
            reader.cancel_request()
        if self._greeting is not None and (reader.spoken or now >= self._first_by):
            if not reader.spoken:
                self._asides.add(self._greeting)
            self._greeting = None
        if self._asides and self._may_speak():
            self._ask()
        looks = [
            (reader.turn is not None, self._over_at()),
            (reader.unsettled, self._cut_at + _CORRECTION_MS),
            (reader.requested, self._asked_at + _ANSWER_MS),
            (self._greeting is not None, self._first_by),
            (bool(self._asides), self._stopped_at + _STOPPED_MS),
        ]
        self._wake = min((at for due, at in looks if due and at > now), default=math.inf)
        return events

    def _over_at(self) -> float:
        """When the turn under way is taken to be over, if no more comes of it."""
        turn = self._reader.turn
        if turn is None or (not turn.size and self._reader.waits_for_us):
            return math.inf
        return self._alive + (_QUIET_MS if turn.size else _ANSWER_MS)

    def _may_speak(self) -> bool:
        """Nobody speaks, and nobody is about to."""
        reader = self._reader
        if reader.requested or self._greeting is not None:
            return False
        turn = reader.turn
        return turn is None or (turn.muted and self._now >= self._stopped_at + _STOPPED_MS)

    def _ask(self) -> None:
        aside = self._asides.take()
        if aside is None:
            return
        self._reader.written(aside.text)
        self._reader.requested = True
        self._reader.mute_next = False
        self._asked_at = self._now
        self._write({"type": "user_message", "text": aside.text})

    # The end

    def closed(self, code: int, reason: str) -> ProviderError | None:
        """What the end of the socket means. An ordinary one is the agent's: it wants to hang up."""
        if self._ended is not None:
            return self._ended.error
        failure = classify_close(code, reason, provider=self._name, ready=self._ready)
        if failure is None:
            self._news += [*self._reader.end("completed"), *self._hang_up(reason or "the agent ended the conversation")]
        return failure
