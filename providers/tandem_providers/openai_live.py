"""OpenAI Live (`gpt-live-1`), full duplex: the wire protocol of one session, without I/O.

Both sides may speak at any time, and the provider alone decides who yields: there are no turns, nothing to cancel and
nothing to cut. `session.start` is sent as soon as the socket is open; `session.started` makes the session ready. From
then on audio comes for ever, at the pace of speech, with silence in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

import msgspec

from tandem_codecs.format import AudioFormat
from tandem_providers import openai_live_events as wire
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
from tandem_providers.errors import ProviderError
from tandem_providers.events import Event, ProviderWarning, RawEvent, SessionClosed, SessionReady, Usage
from tandem_providers.openai_errors import classify_close, presentable
from tandem_providers.openai_live_delegation import Delegations
from tandem_providers.openai_live_errors import classify, classify_end, is_fatal
from tandem_providers.openai_live_options import OpenAILiveOptions, dial
from tandem_providers.openai_live_session import CAPABILITIES, capabilities, is_linear, plan_session, session_ready
from tandem_providers.openai_live_text import APPEND_TOKENS, NOBODY_BEHIND, pieces, say_texts
from tandem_providers.openai_live_utterances import Utterances
from tandem_providers.openai_reader import flattened
from tandem_providers.provider import FRESH, Dial, Opening

__all__ = ["OpenAILiveOptions", "OpenAILiveProtocol", "capabilities"]

_APPEND: Final = b'{"type":"session.input_audio.append","audio":'
_LARGEST_APPEND: Final = 1 << 18
"""Far below what the vendor's own client holds back at the most (2 MiB)."""
_TEXT_TOKENS: Final = APPEND_TOKENS - 40
"""Leaves room for what is written around a piece of text."""
_EARLY_WARNINGS: Final = 16
_encode: Final = msgspec.json.Encoder().encode


class OpenAILiveProtocol:
    """One session; see `WireProtocol` for the order of calls.

    Raises:
        InvalidConfigError: (when made) an option or a setting that this provider does not take.
    """

    def __init__(
        self,
        options: OpenAILiveOptions,
        config: ProcessConfig,
        leg: AudioFormat,
        name: str,
        opening: Opening = FRESH,
    ) -> None:
        self.bad_audio = 0
        """Audio messages that were no base64 and had to be dropped."""
        self.capabilities = CAPABILITIES
        self._name = name
        self._options = options
        self._plan = plan_session(options, config, leg, opening, name)
        self._dial = dial(options, name)
        self._format = self._plan.format
        self._out: list[bytes] = []
        self._ids = 0
        self._delegations = Delegations(self._write)
        self._utterances = Utterances("live", self._format)
        self._ready = False
        self._leaving = False
        self._ended: SessionClosed | None = None
        self._later: list[Event] = []
        self._odd = b""
        self._billed: dict[str, float] = {}
        self._write("session.start", session=self._plan.session)

    def dial(self) -> Dial:
        """Where to connect."""
        return self._dial

    # In

    def receive(self, message: bytes) -> list[Event]:
        """One message as events. The common one, more audio, takes the short way."""
        try:
            event = wire.decode(message)
        except (ValueError, RecursionError) as error:
            return self._finish(self._untyped(message, error))
        if type(event) is wire.AudioDelta and self._ready and event.delta and not self._later:
            return self._utterances.audio(event.delta, event.start_ms)
        return self._finish(self._read(event))

    def outgoing(self) -> list[bytes]:
        """What has to be sent now: the set-up at first, later the answers that became due."""
        if not self._out:
            return []
        messages, self._out = self._out, []
        return messages

    def _finish(self, events: list[Event]) -> list[Event]:
        """Keep `SessionReady` first and `SessionClosed` last."""
        if self._ended is not None:
            return []
        if not self._ready and not any(isinstance(event, SessionClosed) for event in events):
            self._later = (self._later + events)[-_EARLY_WARNINGS:]
            return []
        if events and isinstance(events[0], SessionReady):
            events = [events[0], *self._later, *events[1:]]
        else:
            events = self._later + events
        self._later = []
        for index, event in enumerate(events):
            if isinstance(event, SessionClosed):
                self._ended = event
                told = self._utterances.settle() if self._ready else []
                self._ready = False
                self._out.clear()
                return [*events[:index], *told, event]
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
            if name == wire.AUDIO:
                self.bad_audio += 1
                return [ProviderWarning("bad_audio", str(reason)[:200])]
            if name == "error":
                return self._error(wire.ErrorBody(message=str(payload.get("error") or payload.get("message"))))
            return [ProviderWarning("malformed_event", f"{name}: {str(reason)[:200]}")]

    def _read(self, event: wire.AnyEvent) -> list[Event]:
        match event:
            case wire.SessionStarted():
                return self._started(event.session)
            case wire.ErrorEvent():
                return self._error(event.error)
            case wire.SessionClosedEvent():
                return self._closed(event)
            case wire.Info():
                return [ProviderWarning(event.code or "info", presentable(event.message or ""))]
            case _ if not self._ready:
                return []
            case wire.AudioDelta():
                return self._utterances.audio(event.delta, event.start_ms) if event.delta else []
            case wire.InputTranscript():
                return self._utterances.words(True, event.delta or "", event.start_ms, event.end_ms)
            case wire.OutputTranscript():
                return self._utterances.words(False, event.delta or "", event.start_ms, event.end_ms)
            case wire.ResponseEvent():
                return self._delegations.nested(event.delegation_id or "", event.event)
            case wire.DelegationCreated():
                return self._delegated(event.delegation)
            case wire.UsageUpdated():
                return self._usage(event.usage)
            case _:
                assert_never(event)

    def _started(self, session: Mapping[str, Any]) -> list[Event]:
        if self._ready:
            return []
        events = session_ready(session, self._plan, self._options, self._name)
        ready = events[0]
        if isinstance(ready, SessionReady):
            self._ready = True
            self._format = ready.output_format
            # A conversation may have several sessions, and no two of their items may have the same name.
            self._utterances = Utterances(ready.session_id or "live", self._format)
        return events

    def _delegated(self, delegation: wire.Delegation) -> list[Event]:
        if delegation.target == "client" and delegation.id:
            self._append("commentary", NOBODY_BEHIND, delegation.id)
        return []

    def _usage(self, usage: Any) -> list[Event]:
        """The provider tells what it cost so far; we tell what has been added."""
        grown: dict[str, float] = {}
        for kind, amount in flattened(usage).items():
            more = amount - self._billed.get(kind, 0.0)
            if more > 0:
                grown[kind] = more
                self._billed[kind] = amount
        return [Usage("session", grown)] if grown else []

    def _error(self, error: wire.ErrorBody) -> list[Event]:
        code, type_ = error.code or "", error.type or ""
        message = f"{error.message or ''} ({error.param})" if error.param else error.message or ""
        if not self._ready or is_fatal(code, type_):
            failure = classify(code, type_, message, provider=self._name, ready=self._ready)
            return [SessionClosed(failure, reason=failure.code)]
        return [ProviderWarning(code or type_ or "error", presentable(message))]

    def _closed(self, event: wire.SessionClosedEvent) -> list[Event]:
        reason = event.reason or ""
        usage = self._usage(event.usage) if self._ready else []
        error = classify_end(reason, provider=self._name, asked=self._leaving)
        return [*usage, SessionClosed(error, reason=reason)]

    # Out

    def audio(self, audio: bytes) -> list[bytes]:
        """Caller audio. The wire takes whole samples only: half of one waits for its other half."""
        if not self._ready:
            return []
        if is_linear(self._format):
            audio = self._odd + audio
            whole = len(audio) & ~1
            audio, self._odd = audio[:whole], audio[whole:]
        if len(audio) <= _LARGEST_APPEND:
            return [_APPEND + _encode(audio) + b"}"] if audio else []
        parts = (audio[start : start + _LARGEST_APPEND] for start in range(0, len(audio), _LARGEST_APPEND))
        return [_APPEND + _encode(part) + b"}" for part in parts]

    def send(self, command: Command) -> list[bytes]:
        """A command as messages. What has no meaning in a conversation without turns is none."""
        if not self._ready:
            return []
        match command:
            case Say():
                for text in say_texts(command):
                    self._append("commentary", text)
            case SendText():
                self._text(command)
            case SendDtmf():
                # The first is remembered and reaches the model behind the voice, the second is answered.
                self._append("instructions", f"The caller pressed {command.digit} on the telephone's keypad.")
                self._append("commentary", f"The caller has just pressed {command.digit}: respond to that now.")
            case ToolResult():
                self._later += self._delegations.result(command)
            case PlaybackReport():
                self._utterances.cut(command.item_id)
            case CommitTurn() | CancelResponse():
                pass
            case _:
                assert_never(command)
        return self.outgoing()

    def _text(self, command: SendText) -> None:
        """Only a commentary is answered; instructions come from the application, thinking is what one knows."""
        by_caller = command.role == "user"
        kind = "commentary" if command.respond else "thinking" if by_caller else "instructions"
        lead = "The caller wrote: " if by_caller else ""
        parts = pieces(command.text, _TEXT_TOKENS)
        for index, part in enumerate(parts):
            text = f"{lead}{part}" if index == 0 else part
            last = index == len(parts) - 1
            self._append(kind, f"{text}\nRespond to this now." if command.respond and last else text)

    def _append(self, kind: str, content: str, delegation_id: str | None = None) -> None:
        self._write(f"session.{kind}.append", content=content, delegation_id=delegation_id)

    def _write(self, kind: str, **fields: Any) -> str:
        """One message; gives the id by which an error refers to it."""
        self._ids += 1
        event_id = f"tandem_{self._ids}"
        self._out.append(_encode({"type": kind, "event_id": event_id, **fields}))
        return event_id

    # The end

    def farewell(self) -> list[bytes]:
        """What to send before the socket is closed; the provider answers with `session.closed`."""
        if not self._ready:
            return []
        self._leaving = True
        self._write("session.close")
        return self.outgoing()

    def closed(self, code: int, reason: str) -> ProviderError | None:
        """What the end of the socket means: what the provider said before it closed, else the close itself."""
        if self._ended is not None:
            return self._ended.error
        ready, self._ready = self._ready, False
        if ready:
            self._later += self._utterances.settle()
        return classify_close(code, reason, provider=self._name, ready=ready)

    def occurred(self) -> list[Event]:
        """What a command brought about at once, and what a broken connection left unsaid."""
        events, self._later = self._later, []
        return events
