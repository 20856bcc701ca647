"""OpenAI Realtime (GA), and servers compatible with it: the wire protocol of one session, without I/O.

The `session.update` is sent as soon as the socket is open, as the vendor's own clients do: a server that never sends
`session.created` cannot make us wait, and a round trip is saved. The session is ready once `session.updated` confirms
it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, assert_never

import msgspec

from tandem_codecs.format import AudioFormat
from tandem_providers import openai_events as wire
from tandem_providers.commands import (
    CancelResponse,
    Command,
    CommitTurn,
    PlaybackReport,
    Say,
    SendDtmf,
    SendText,
    ToolResult,
)
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import InvalidConfigError, ProviderError
from tandem_providers.events import (
    AudioChunk,
    Event,
    ProviderWarning,
    RawEvent,
    SessionClosed,
    SessionReady,
    TurnEnded,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.openai_errors import (
    ACTIVE_RESPONSE,
    NOTHING_TO_CANCEL,
    classify,
    classify_close,
    is_fatal,
    presentable,
)
from tandem_providers.openai_options import KNOWN_MODELS, OpenAIOptions, dial, is_openai
from tandem_providers.openai_reader import Reader
from tandem_providers.openai_say import say_body
from tandem_providers.openai_session import confirmed_formats, formats, plan_session
from tandem_providers.openai_turns import Turn
from tandem_providers.provider import Capabilities, Dial
from tandem_providers.responses import ResponseArbiter

__all__ = ["OpenAIOptions", "OpenAIProtocol", "capabilities", "classify"]

MAX_SESSION_SECONDS: Final = 3600.0
_APPEND: Final = b'{"type":"input_audio_buffer.append","audio":'
_LARGEST_APPEND: Final = 1 << 20
"""Far below the vendor's 15 MiB a message."""
_SHORTEST_COMMIT_MS: Final = 100
_VANISHED_MS: Final = 20_000
"""An active response that nothing came of for so long counts as dropped once something else wants to be said."""
_UNRELATED: Final = frozenset(
    {
        NOTHING_TO_CANCEL,
        "input_audio_buffer_commit_empty",
        "unsupported_content_type",
        "item_create_duplicate_item_id",
        "item_retrieve_invalid_item_id",
        "item_delete_invalid_item_id",
        "item_truncate_invalid_item_id",
    }
)
"""Errors that never concern a request for a response, even when they do not say what they are about."""
_encode: Final = msgspec.json.Encoder().encode


def capabilities(options: OpenAIOptions, name: str = "openai") -> Capabilities:
    """What a session with these options can do; checks the options, too.

    Raises:
        InvalidConfigError: an option is wrong.
    """
    offered = formats(options, name)
    dial(options, name)
    plan = plan_session(options, ProcessConfig(), offered[0], name)
    return Capabilities(
        input_formats=offered,
        output_formats=offered,
        turn_model="turns",
        truncate=True,
        cancel=True,
        text_in=True,
        hears_turns=plan.hears_turns,
        max_session_seconds=MAX_SESSION_SECONDS,
    )


class OpenAIProtocol:
    """One session; see `WireProtocol` for the order of calls.

    Raises:
        InvalidConfigError: (when made) an option or a setting that this provider does not take.
    """

    def __init__(self, options: OpenAIOptions, config: ProcessConfig, leg: AudioFormat, name: str) -> None:
        self.capabilities = capabilities(options, name)
        self.bad_audio = 0
        """Audio messages that were no base64 and had to be dropped."""
        self._name = name
        self._options = options
        self._plan = plan_session(options, config, leg, name)
        self._dial = dial(options, name, self._plan.safety_identifier)
        self._arbiter = ResponseArbiter(provider_replies=self._plan.provider_replies)
        self._reader = Reader(name, self._arbiter)
        self._ready = False
        self._ended: SessionClosed | None = None
        self._outbox: list[bytes] = []
        self._events: list[Event] = []
        self._asked = False
        self._created: Mapping[str, Any] = {}
        self._ids = 0
        self._cancel: tuple[str, str] = ("", "")
        self._input = self._plan.input_format
        self._output = self._plan.output_format
        # Caller audio sent, in bytes: the clock of this session.
        self._heard = 0
        self._committed = 0
        self._alive = 0
        self._wake: float = math.inf

    def dial(self) -> Dial:
        """Where to connect."""
        return self._dial

    # In

    def receive(self, message: bytes) -> list[Event]:
        """One message as events. The common one, more audio of the item that is being received, takes the short way."""
        try:
            event = wire.decode(message)
        except (ValueError, RecursionError) as error:
            return self._finish(self._untyped(message, error))
        item = self._reader.current
        if type(event) is wire.AudioDelta and event.item_id == item.id and event.response_id == item.turn.id:
            turn = item.turn
            if turn.ended:
                return []
            audio = event.delta
            item.size += len(audio)
            self._alive = self._heard
            if turn.muted or not audio:
                return []
            return [AudioChunk(audio, False, item.id, turn.id, event.content_index)]
        return self._finish(self._read(event))

    def outgoing(self) -> list[bytes]:
        """What has to be sent now: the set-up at first, later what had to wait for its moment."""
        if not self._asked:
            self._asked = True
            return [self._message("session.update", session=self._plan.session)]
        if not self._outbox:
            return []
        messages, self._outbox = self._outbox, []
        return messages

    def _finish(self, events: list[Event]) -> list[Event]:
        """After each event: cancel what is unwanted, send what may go now, and stop at the end of the session."""
        if self._ended is not None:
            return []
        for turn_id in self._reader.unwanted:
            self._stop(turn_id)
        self._reader.unwanted.clear()
        self._alive = self._heard
        self._advance()
        if self._events:
            events = self._events + events
            self._events = []
        for index, event in enumerate(events):
            if isinstance(event, SessionClosed):
                self._ended, self._ready = event, False
                self._outbox.clear()
                return events[: index + 1]
        return events

    def _untyped(self, message: bytes, error: Exception) -> list[Event]:
        """A message that is not one of ours as documented: unknown, nearly right, or broken."""
        try:
            payload = msgspec.json.decode(message)
        except (ValueError, RecursionError):
            payload = None
        name = payload.get("type") if isinstance(payload, dict) else None
        if not isinstance(name, str):
            return [ProviderWarning("malformed_message", str(error)[:200])]
        if name not in wire.NAMES:
            return [RawEvent(payload)] if self._plan.raw_events else []
        try:
            return self._read(wire.lenient(payload))
        except (ValueError, RecursionError) as reason:
            if name in wire.AUDIO_NAMES:
                self.bad_audio += 1
                return [ProviderWarning("bad_audio", str(reason)[:200])]
            if name == "error":
                return self._error(wire.ErrorBody(message=str(payload.get("error") or payload.get("message"))))
            return [ProviderWarning("malformed_event", f"{name}: {str(reason)[:200]}")]

    def _read(self, event: wire.AnyEvent) -> list[Event]:
        reader = self._reader
        match event:
            case wire.SessionCreated():
                self._created = event.session
                return []
            case wire.SessionUpdated():
                return self._session_updated(event.session)
            case wire.ErrorEvent():
                return self._error(event.error)
            case wire.SpeechStarted():
                return self._speech_started(event)
            case wire.SpeechStopped():
                self._arbiter.speech_stopped(self._now)
                return [UserSpeechStopped(event.item_id or "", _milliseconds(event.audio_end_ms))]
            case wire.InputCommitted():
                self._committed = self._heard
                if self._plan.hears_turns and not self._plan.provider_replies:
                    self._arbiter.reply(event.item_id)
                return reader.committed(event)
            case wire.ItemAdded():
                return reader.item_added(event)
            case wire.ResponseCreated():
                return reader.response_created(event)
            case wire.ResponseDone():
                events = reader.response_done(event)
                self._release(event.response.id or "")
                return events
            case wire.AudioDelta():
                return reader.audio_delta(event)
            case wire.AudioDone():
                return reader.audio_done(event)
            case wire.OutputTranscriptDelta():
                return reader.output_delta(event)
            case wire.OutputTranscriptDone():
                return reader.output_done(event)
            case wire.OutputItemDone():
                return reader.item_done(event)
            case wire.ArgumentsDone():
                return reader.arguments_done(event)
            case wire.InputTranscriptDelta():
                return reader.input_delta(event)
            case wire.InputTranscriptDone():
                return reader.input_done(event)
            case wire.InputTranscriptFailed():
                return reader.input_failed(event)
            case wire.RateLimitsUpdated():
                return reader.rate_limits(event)
            case _:
                assert_never(event)

    def _session_updated(self, session: Mapping[str, Any]) -> list[Event]:
        if self._ready:
            return []
        try:
            self._input, self._output = confirmed_formats(session, self._plan)
        except ValueError as error:
            return [SessionClosed(InvalidConfigError(str(error), provider=self._name), reason="audio format")]
        self._ready = True
        known = {**self._created, **{key: value for key, value in session.items() if value is not None}}
        expires_at = known.get("expires_at")
        ready = SessionReady(
            provider=self._name,
            input_format=self._input,
            output_format=self._output,
            session_id=str(known.get("id") or ""),
            model=str(known.get("model") or self._options.model),
            expires_at=float(expires_at) if isinstance(expires_at, (int, float)) and 0 < expires_at < 1e12 else None,
        )
        return [ready, *self._differences(session)]

    def _differences(self, session: Mapping[str, Any]) -> list[Event]:
        """What the operator should know about the session that we got."""
        warnings: list[Event] = []
        model = self._options.model
        if is_openai(self._options) and not model.startswith(KNOWN_MODELS):
            warnings.append(ProviderWarning("unknown_model", f"model {model} is not known to speak this protocol"))
        audio = session.get("audio")
        output = audio.get("output") if isinstance(audio, dict) else None
        voice = output.get("voice") if isinstance(output, dict) else session.get("voice")
        if isinstance(voice, dict):
            voice = voice.get("id")
        if isinstance(voice, str) and voice != self._plan.voice:
            warnings.append(ProviderWarning("voice_changed", f"asked for voice {self._plan.voice}, got {voice[:64]}"))
        return warnings

    def _speech_started(self, event: wire.SpeechStarted) -> list[Event]:
        self._arbiter.speech_started(self._now)
        turn = self._reader.turns.find(self._arbiter.active)
        if turn is not None and self._plan.provider_interrupts:
            # The server stops this response by itself; what is under way of it is late.
            turn.muted = True
        return [UserSpeechStarted(event.item_id or "", _milliseconds(event.audio_start_ms))]

    def _error(self, error: wire.ErrorBody) -> list[Event]:
        code, type_, event_id = error.code or "", error.type or "", error.event_id or ""
        message = f"{error.message or ''} ({error.param})" if error.param else error.message or ""
        if not self._ready:
            failure = classify(code, type_, message, provider=self._name, otherwise=InvalidConfigError)
            return [SessionClosed(failure, reason=failure.code)]
        if is_fatal(code, type_):
            word = code if is_fatal(code) else type_
            return [SessionClosed(classify(word, type_, message, provider=self._name), reason=word)]
        if event_id or code not in _UNRELATED:
            self._arbiter.refused(event_id, self._now, response_active=code == ACTIVE_RESPONSE)
        events: list[Event] = [ProviderWarning(code or type_ or "error", presentable(message))]
        if code == NOTHING_TO_CANCEL and event_id == self._cancel[0]:
            # Its `response.done` would have come before this answer: it is not coming any more.
            turn = self._reader.turns.find(self._cancel[1])
            if turn is not None and not turn.ended:
                events += self._reader.drop(turn.id, TurnEnded(turn.id, "cancelled", "dropped", turn.called))
                self._release(turn.id)
        return events

    # Out

    def audio(self, audio: bytes) -> list[bytes]:
        """Caller audio; every message takes as much as came."""
        if not self._ready or not audio:
            return []
        self._heard += len(audio)
        if self._heard >= self._wake or len(audio) > _LARGEST_APPEND:
            return self._audio_and_more(audio)
        return [_APPEND + _encode(audio) + b"}"]

    def _audio_and_more(self, audio: bytes) -> list[bytes]:
        self._advance()
        parts = (audio[start : start + _LARGEST_APPEND] for start in range(0, len(audio), _LARGEST_APPEND))
        return [*(_APPEND + _encode(part) + b"}" for part in parts), *self.outgoing()]

    def send(self, command: Command) -> list[bytes]:
        """A command as messages; some make others possible, which follow at once."""
        if not self._ready:
            return []
        match command:
            case Say():
                self._arbiter.say(command.purpose, say_body(command, self._plan))
            case SendText():
                self._text(command.text, command.role, command.respond)
            case SendDtmf():
                self._text(f"The caller pressed {command.digit} on the keypad.", "user", True)
            case CommitTurn():
                self._commit()
            case CancelResponse():
                turn_id = self._arbiter.cancel()
                if turn_id:
                    self._stop(turn_id)
            case PlaybackReport():
                self._cut(command)
            case ToolResult():
                self._answer(command)
            case _:
                assert_never(command)
        self._advance()
        return self.outgoing()

    def _text(self, text: str, role: str, respond: bool) -> None:
        content = [{"type": "input_text", "text": text}]
        item_id = self._create({"type": "message", "role": role, "content": content})
        if respond:
            self._arbiter.reply(item_id)

    def _commit(self) -> None:
        if self._plan.hears_turns:
            return
        if self._input.milliseconds(self._heard - self._committed) < _SHORTEST_COMMIT_MS:
            return
        self._committed = self._heard
        self._outbox.append(self._message("input_audio_buffer.commit"))
        # No item of that name exists: only a response that we ask for answers this turn.
        self._arbiter.reply(f"turn {self._ids}")

    def _stop(self, turn_id: str) -> None:
        """Cancel a response, once; what still arrives of it is late."""
        turn = self._reader.turns.find(turn_id)
        if turn is None or turn.ended or turn.cancelled:
            return
        turn.cancelled = turn.muted = True
        self._outbox.append(self._message("response.cancel", response_id=turn_id))
        self._cancel = (f"tandem_{self._ids}", turn_id)

    def _cut(self, report: PlaybackReport) -> None:
        """Cut the model's memory of an item to what was heard of it, and stop its response if it is still going on."""
        item = self._reader.turns.items.get(report.item_id)
        if item is None or not item.size or item.cut:
            return
        received_ms = int(self._output.milliseconds(item.size))
        if item.final and report.played_ms >= received_ms:
            return
        item.cut = True
        if not item.turn.ended:
            self._stop(item.turn.id)
        if report.played_ms <= 0:
            self._outbox.append(self._message("conversation.item.delete", item_id=item.id))
        else:
            self._outbox.append(
                self._message(
                    "conversation.item.truncate",
                    item_id=item.id,
                    content_index=report.content_index,
                    audio_end_ms=min(report.played_ms, received_ms),
                )
            )

    def _answer(self, result: ToolResult) -> None:
        turn = self._reader.turns.answered(result.call_id)
        if turn is None:
            return
        turn.held_results.append((result.call_id, result.output))
        if turn.ended:
            self._send_results(turn)

    def _release(self, turn_id: str) -> None:
        """A turn is over: answers to its calls that came early may go now."""
        turn = self._reader.turns.find(turn_id)
        if turn is not None and turn.ended and turn.held_results:
            self._send_results(turn)

    def _send_results(self, turn: Turn) -> None:
        for call_id, output in turn.held_results:
            item = {"type": "function_call_output", "call_id": call_id, "output": output}
            turn.sent_results.append(self._create(item))
        turn.held_results.clear()
        if not turn.open_calls:
            for item_id in turn.sent_results:
                self._arbiter.reply(item_id)
            turn.sent_results.clear()

    def _create(self, item: dict[str, Any]) -> str:
        item_id = f"tandem_item_{self._ids + 1}"
        self._outbox.append(self._message("conversation.item.create", item={"id": item_id, **item}))
        return item_id

    def _advance(self) -> None:
        """Send the response that may be asked for now, and note when to look again."""
        if not self._ready:
            return
        arbiter = self._arbiter
        vanishes = self._alive + self._input.size(_VANISHED_MS)
        if arbiter.active and arbiter.waiting and self._heard >= vanishes:
            lost = arbiter.active
            self._events += self._reader.drop(lost)
            self._release(lost)
        request = arbiter.take(self._now)
        if request is not None:
            response = {**request.body, "metadata": {"client_event_id": request.id}}
            message = {"type": "response.create", "event_id": request.id, "response": response}
            self._outbox.append(_encode(message))
        if arbiter.active:
            self._wake = vanishes if arbiter.waiting else math.inf
        else:
            deadline = arbiter.deadline
            self._wake = math.inf if deadline is None else deadline * self._input.bytes_per_ms

    @property
    def _now(self) -> float:
        return self._input.milliseconds(self._heard)

    def _message(self, kind: str, **fields: Any) -> bytes:
        self._ids += 1
        return _encode({"type": kind, "event_id": f"tandem_{self._ids}", **fields})

    # The end

    def closed(self, code: int, reason: str) -> ProviderError | None:
        """What the end of the socket means: what the provider said before it closed, else the close itself."""
        if self._ended is not None:
            return self._ended.error
        return classify_close(code, reason, provider=self._name, ready=self._ready)


def _milliseconds(value: float | None) -> int | None:
    return None if value is None else int(value)
