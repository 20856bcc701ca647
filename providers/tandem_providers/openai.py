"""OpenAI's realtime protocol: one session with any of the servers that speak it, without I/O.

How they differ stands in their `Profile`. Where the dialect is known beforehand, the `session.update` is sent as soon
as the socket is open, as OpenAI's own clients do: a server that never sends `session.created` cannot make us wait, and
a round trip is saved. The session is ready once the server has taken the update in.
"""

from __future__ import annotations

import math
from typing import Final, assert_never

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
from tandem_providers.errors import ProviderError
from tandem_providers.events import (
    AudioChunk,
    Event,
    ProviderWarning,
    RawEvent,
    SessionClosed,
    SessionReady,
)
from tandem_providers.openai_errors import (
    ACTIVE_RESPONSE,
    UNRELATED,
    classify,
    classify_close,
    is_fatal,
    is_nothing_to_cancel,
    presentable,
)
from tandem_providers.openai_events import AudioDelta
from tandem_providers.openai_opening import Negotiation
from tandem_providers.openai_options import OpenAIOptions
from tandem_providers.openai_profile import RealtimeOptions, make_dial
from tandem_providers.openai_reader import Reader
from tandem_providers.openai_say import forced_words, say_body
from tandem_providers.openai_session import capabilities, plan_session, session_capabilities
from tandem_providers.openai_turns import NO_ITEM
from tandem_providers.openai_writer import Writer, encode
from tandem_providers.provider import FRESH, Dial, Opening
from tandem_providers.responses import ResponseArbiter

__all__ = ["OpenAIOptions", "OpenAIProtocol", "capabilities", "classify"]

_APPEND: Final = b'{"type":"input_audio_buffer.append","audio":'
_LARGEST_APPEND: Final = 1 << 20
"""Far below the vendor's 15 MiB a message."""
_LONGEST_FRAME_MS: Final = 200
"""A longer piece of caller audio was kept for a while: it counts as this much time only."""
_SHORTEST_COMMIT_MS: Final = 100
_EARLY_WARNINGS: Final = 16
_SETTLED_MS: Final = 1_000
"""A response whose functions have all been answered, and that nothing else comes of, is over after this."""


class OpenAIProtocol:
    """One session, with any member of the family; see `WireProtocol` for the order of calls.

    Raises:
        InvalidConfigError: (when made) an option or a setting that this provider does not take.
    """

    __slots__ = (
        "_alive",
        "_arbiter",
        "_commits",
        "_committed",
        "_dial",
        "_ended",
        "_heard",
        "_input",
        "_later",
        "_longest_frame",
        "_name",
        "_negotiation",
        "_output",
        "_plan",
        "_profile",
        "_reader",
        "_ready",
        "_setup",
        "_wake",
        "_writer",
        "bad_audio",
        "capabilities",
    )

    def __init__(
        self,
        options: RealtimeOptions,
        config: ProcessConfig,
        leg: AudioFormat,
        name: str,
        opening: Opening = FRESH,
    ) -> None:
        self.bad_audio = 0
        """Audio messages that were no base64 and had to be dropped."""
        self._name = name
        self._setup = options.setup(name)
        self._profile = self._setup.profile
        self._plan = plan_session(self._setup, config, leg, name)
        self.capabilities = session_capabilities(self._setup, self._plan)
        resume = self._profile.resume_query
        self._dial = make_dial(
            self._setup,
            name,
            headers={"OpenAI-Safety-Identifier": self._plan.safety_identifier},
            query={resume: opening.resume} if resume and opening.resume else {},
        )
        self._arbiter = ResponseArbiter(
            hears_turns=self._plan.hears_turns,
            provider_replies=self._plan.provider_replies,
            echoes=self._profile.echoes,
        )
        self._reader = Reader(name, self._profile, self._arbiter)
        self._writer = Writer(self._profile, self._reader.turns, self._arbiter)
        self._negotiation = Negotiation(self._setup, self._plan, opening, name, self._writer)
        self._ready = False
        self._ended: SessionClosed | None = None
        self._later: list[Event] = []
        self._commits = 0
        self._input = self._plan.input_format
        self._output = self._plan.output_format
        # Caller audio sent, in bytes: the clock of this session.
        self._heard = 0
        self._longest_frame = 0
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
        turn = item.turn
        if type(event) is AudioDelta and event.item_id == item.id and event.response_id == turn.id:
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
        return self._writer.take()

    def _finish(self, events: list[Event]) -> list[Event]:
        """After each event: do what has become possible, and keep `SessionReady` first and `SessionClosed` last."""
        if self._ended is not None:
            return []
        if not self._ready and not any(isinstance(event, SessionClosed) for event in events):
            self._later = (self._later + events)[-_EARLY_WARNINGS:]
            return []
        events = _in_order(self._later, events) + self._advance()
        self._later = []
        for index, event in enumerate(events):
            if isinstance(event, SessionClosed):
                self._ended, self._ready = event, False
                self._writer.take()
                self._reader.current = NO_ITEM
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
            if name.startswith("response."):
                self._alive = self._heard
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
        match event:
            case wire.SessionCreated() | wire.SessionUpdated() | wire.ConversationCreated() | wire.InputCleared():
                return self._opened(self._negotiation.hear(event))
            case wire.ErrorEvent():
                return self._error(event.error)
            case _:
                if isinstance(event, wire.OUTPUT):
                    self._alive = self._heard
                return self._read_conversation(event) if self._ready else []

    def _read_conversation(self, event: wire.ConversationEvent) -> list[Event]:
        reader = self._reader
        match event:
            case wire.SpeechStarted():
                return reader.speech_started(event, self._now, interrupts=self._plan.provider_interrupts)
            case wire.SpeechStopped():
                return reader.speech_stopped(event, self._now)
            case wire.InputCommitted():
                if self._plan.hears_turns and not self._plan.provider_replies:
                    self._arbiter.reply(event.item_id)
                return reader.committed(event)
            case wire.ItemAdded():
                return reader.item_added(event)
            case wire.ResponseCreated():
                return reader.response_created(event)
            case wire.ResponseDone():
                return reader.response_done(event, self._now)
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
            case wire.InputTranscriptUpdated():
                return reader.input_updated(event)
            case wire.InputTranscriptFailed():
                return reader.input_failed(event)
            case wire.RateLimitsUpdated():
                return reader.rate_limits(event)
            case _:
                assert_never(event)

    def _opened(self, events: list[Event]) -> list[Event]:
        if events and isinstance(ready := events[0], SessionReady):
            self._ready = True
            self._input, self._output = ready.input_format, ready.output_format
            self._longest_frame = self._input.size(_LONGEST_FRAME_MS)
        return events

    def _error(self, error: wire.ErrorBody) -> list[Event]:
        code, type_, event_id = error.code or "", error.type or "", error.event_id or ""
        message = f"{error.message or ''} ({error.param})" if error.param else error.message or ""
        if not self._ready:
            return self._opened(self._negotiation.refused(error, message))
        if self._negotiation.was_answer(error):
            return []
        if is_fatal(code, type_):
            word = code if is_fatal(code) else type_
            return [SessionClosed(classify(word, type_, message, provider=self._name), reason=word)]
        words = {code, type_}
        if event_id or not words & UNRELATED:
            self._arbiter.refused(event_id, self._now, response_active=ACTIVE_RESPONSE in words)
        cancel_id, turn_id = self._writer.cancelling
        if cancel_id and event_id in ("", cancel_id) and is_nothing_to_cancel(code, type_, message):
            # The response ended while our word was under way, which is no news; unless its end has not come: it would
            # have come before this answer, so it will not.
            self._writer.cancelling = ("", "")
            return self._reader.drop(turn_id, "cancelled")
        return [ProviderWarning(code or type_ or "error", presentable(message))]

    # Out

    def audio(self, audio: bytes) -> list[bytes]:
        """Caller audio; every message takes as much as came."""
        message = self.voice(audio)
        if message is not None:
            return [message]
        if not self._ready or not audio:
            return []
        if len(audio) > self._longest_frame:
            return self._long_audio(audio)
        self._heard += len(audio)
        self._later += self._advance()
        return [_APPEND + encode(audio) + b"}", *self._writer.take()]

    def voice(self, audio: bytes) -> bytes | None:
        """See `SpeaksBriefly`: a frame or a few, and no time comes to an end meanwhile."""
        size = len(audio)
        heard = self._heard + size
        if heard >= self._wake or size > self._longest_frame or not size or not self._ready:
            return None
        self._heard = heard
        return _APPEND + encode(audio) + b"}"

    def _long_audio(self, audio: bytes) -> list[bytes]:
        self._heard += self._longest_frame
        parts = (audio[start : start + _LARGEST_APPEND] for start in range(0, len(audio), _LARGEST_APPEND))
        return [*(_APPEND + encode(part) + b"}" for part in parts)]

    def send(self, command: Command) -> list[bytes]:
        """A command as messages; some make others possible, which follow at once."""
        if not self._ready:
            return []
        writer = self._writer
        match command:
            case Say():
                self._arbiter.say(command.purpose, say_body(command, self._plan), forced_words(command, self._plan))
            case SendText():
                self._text(command.text, command.role, command.respond)
            case SendDtmf():
                self._text(f"The caller pressed {command.digit} on the keypad.", "user", True)
            case CommitTurn():
                self._commit()
            case CancelResponse():
                turn_id = self._arbiter.cancel(self._now)
                if turn_id:
                    writer.cancel(turn_id)
            case PlaybackReport():
                writer.cut(command, self._output)
            case ToolResult():
                writer.result(command)
            case _:
                assert_never(command)
        self._later += self._advance()
        return writer.take()

    def _text(self, text: str, role: str, respond: bool) -> None:
        item_id = self._writer.text(text, role)
        if respond:
            self._arbiter.reply(item_id)
            if not self._plan.hears_turns:
                self._arbiter.release()

    def _commit(self) -> None:
        """Too little audio is no turn: the provider would refuse it, and the model would answer to nothing."""
        if self._plan.hears_turns:
            return
        self._arbiter.release()
        if self._input.milliseconds(self._heard - self._committed) < _SHORTEST_COMMIT_MS:
            return
        self._committed = self._heard
        self._writer.write("input_audio_buffer.commit")
        # The item gets its name from the provider, so the turn goes by one of ours.
        self._commits += 1
        self._arbiter.reply(f"turn {self._commits}")

    def _advance(self) -> list[Event]:
        """Do what has become possible, and note when to look again though nothing happens."""
        events: list[Event] = []
        arbiter, reader = self._arbiter, self._reader
        vanishes = self._vanishes_at()
        if self._heard >= vanishes:
            events += reader.drop(arbiter.active)
        for turn_id in reader.unwanted:
            self._writer.cancel(turn_id)
        reader.unwanted.clear()
        for turn in reader.over:
            self._writer.results(turn)
        reader.over.clear()
        request = arbiter.take(self._now)
        if request is not None:
            self._writer.request(request)
        if arbiter.active:
            self._wake = self._vanishes_at()
        else:
            deadline = arbiter.deadline
            self._wake = math.inf if deadline is None else deadline * self._input.bytes_per_ms
        return events

    def _vanishes_at(self) -> float:
        """When the active response is given up unless something comes of it, in bytes heard."""
        arbiter, profile = self._arbiter, self._profile
        turn = self._reader.turns.find(arbiter.active)
        if turn is None:
            return math.inf
        if profile.calls_by_arguments and turn.called and not turn.open_calls:
            return self._alive + self._input.size(_SETTLED_MS)
        if profile.drops_responses or arbiter.waiting:
            return self._alive + self._input.size(profile.vanish_ms)
        return math.inf

    @property
    def _now(self) -> float:
        """Time as the arbiter counts it: milliseconds of caller audio."""
        return self._input.milliseconds(self._heard)

    # The end

    def closed(self, code: int, reason: str) -> ProviderError | None:
        """What the end of the socket means: what the provider said before it closed, else the close itself."""
        if self._ended is not None:
            return self._ended.error
        return classify_close(code, reason, provider=self._name, ready=self._ready)


def _in_order(earlier: list[Event], events: list[Event]) -> list[Event]:
    """What was held back comes first, but for `SessionReady`."""
    if events and isinstance(events[0], SessionReady):
        return [events[0], *earlier, *events[1:]]
    return earlier + events
