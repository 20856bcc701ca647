"""Gemini Live, on the Gemini API and on Vertex AI, as a pure protocol.

The wire knows no turn ids, no items and no error messages: `gemini_reader` names the first two, `gemini_errors` reads
closes. What the caller says goes out as it comes, but for the time in which the model waits for a function.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Final, assert_never

import msgspec

from tandem_codecs.format import PCM16_16K, PCM16_24K, AudioFormat
from tandem_providers import gemini_events as wire
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
from tandem_providers.events import Event, GoingAway, ProviderWarning, RawEvent, ResumeHandle, SessionReady, Usage
from tandem_providers.gemini_errors import classify_close, presentable
from tandem_providers.gemini_events import lone_voice
from tandem_providers.gemini_microphone import HEAD, TAIL, Microphone, encode
from tandem_providers.gemini_options import GeminiOptions, dial
from tandem_providers.gemini_reader import Reader
from tandem_providers.gemini_say import NOT_THE_CALLER, say_text
from tandem_providers.gemini_session import plan_session
from tandem_providers.gemini_writer import Wish, Wishes, Writer
from tandem_providers.provider import FRESH, Capabilities, Dial, Opening

__all__ = ["GeminiOptions", "GeminiProtocol", "capabilities"]

_LARGEST: Final = PCM16_16K.size(200)
"""More caller audio than this at once goes out in several messages."""
_EARLY_WARNINGS: Final = 16
_LATE: Final = PCM16_16K.size(700)
"""How long voice of a turn that was interrupted may still come, if the server does not tell its end. It would come at
once, on a socket that keeps the order; what comes a second later is an answer to what the caller has said."""
_ANSWER: Final = PCM16_16K.size(10_000)
"""A wish to speak that nothing came of after this long is forgotten."""
_PROVEN: Final = PCM16_16K.size(10_000)
"""A session that was good for as long is a good one, whatever ends it."""
_VANISHED: Final = PCM16_16K.size(20_000)
"""A turn that nothing came of for so long counts as dropped once something else wants to be said."""

_sessions = itertools.count(1)


def capabilities(options: GeminiOptions, name: str = "gemini") -> Capabilities:
    """What a session with these options can do; checks the options, too.

    Raises:
        InvalidConfigError: an option is wrong.
    """
    dial(options, name)
    plan = plan_session(options, ProcessConfig(), FRESH, name)
    return Capabilities(
        input_formats=(PCM16_16K,),
        output_formats=(PCM16_24K,),
        turn_model="turns",
        truncate=False,
        # Nothing stops the model but the caller's voice; what it goes on saying is not passed on.
        cancel=True,
        text_in=True,
        hears_turns=plan.hears_turns,
        seeds=True,
        transcribes=plan.writes_input,
        max_session_seconds=plan.max_seconds,
    )


_TRIES: Final = 100
"""So many messages in a row that are more than a piece of voice, and none is hoped for any more in this turn."""


class GeminiProtocol:
    """One session; see `WireProtocol` for the order of calls.

    Raises:
        InvalidConfigError: (when made) an option or a setting that this provider does not take.
    """

    __slots__ = (
        "_alive", "_asked_at", "_dial", "_heard", "_hope", "_late_until", "_later", "_microphone", "_name",
        "_opening", "_options", "_plan", "_reader", "_ready", "_tries", "_wake", "_wishes", "_writer", "bad_audio",
        "capabilities",
    )  # fmt: skip

    def __init__(
        self, options: GeminiOptions, config: ProcessConfig, leg: AudioFormat, name: str, opening: Opening = FRESH
    ) -> None:
        self.bad_audio = 0
        """Pieces of voice that were no base64 and had to be dropped."""
        self._name = name
        self._options = options
        self._opening = opening
        self._plan = plan = plan_session(options, config, opening, name)
        self.capabilities = replace(
            capabilities(options, name),
            hears_turns=plan.hears_turns,
            transcribes=plan.writes_input,
            speaks_while_it_waits=not any(plan.blocking.values()),
            max_session_seconds=plan.max_seconds,
        )
        self._dial = dial(options, name, alpha=plan.alpha)
        # The wire gives no names, and those of one call's sessions must not meet.
        self._reader = Reader(plan, f"gemini{next(_sessions)}")
        self._writer = Writer(plan)
        self._writer.set_up()
        self._wishes = Wishes()
        self._microphone = Microphone(plan.hears_turns)
        self._ready = False
        self._later: list[Event] = []
        self._tries = self._hope = _TRIES
        # Caller audio that came, in bytes: the clock of this session.
        self._heard = 0
        self._alive = 0
        self._late_until = 0
        self._asked_at = 0
        self._wake: float = math.inf

    def dial(self) -> Dial:
        """Where to connect."""
        return self._dial

    # In

    def receive(self, message: bytes) -> list[Event]:
        """One message as events. The common one, nothing but more of the voice, takes the short way."""
        if self._ready and self._tries and not self._wishes.waiting and not self._later:
            audio = lone_voice(message)
            if audio is None:
                self._tries -= 1
            else:
                self._tries = self._hope
                events = self._reader.more_voice(audio)
                if events is not None:
                    self._alive = self._heard
                    return events
        try:
            bundle = wire.decode(message)
        except (ValueError, RecursionError) as error:
            return self._finish(self._untyped(message, str(error)))
        self._alive = self._heard
        if wire.is_empty(bundle):
            return self._finish(self._untyped(message, ""))
        return self._finish(self._read(bundle))

    def outgoing(self) -> list[bytes]:
        """What has to be sent now: the set-up at first, later what had to wait for its moment."""
        return self._writer.take()

    def _finish(self, events: list[Event]) -> list[Event]:
        """After each message: do what has become possible, and keep `SessionReady` first."""
        if not self._ready:
            self._later = (self._later + events)[-_EARLY_WARNINGS:]
            return []
        if self._wishes.waiting or self._later:
            events = self._later + events
            self._later = []
            events += self._advance()
        return events

    def _untyped(self, message: bytes, error: str) -> list[Event]:
        """A message in which nothing was found as documented: empty, unknown, nearly right, or broken."""
        try:
            payload = msgspec.json.decode(message)
        except (ValueError, RecursionError) as reason:
            return [ProviderWarning("malformed_message", str(reason)[:200])]
        if not isinstance(payload, dict):
            return [ProviderWarning("malformed_message", error[:200] or "no object")]
        try:
            bundle = wire.lenient(payload)
        except (ValueError, RecursionError) as reason:
            if wire.holds_audio(payload):
                self.bad_audio += 1
                return [ProviderWarning("bad_audio", str(reason)[:200])]
            return [ProviderWarning("malformed_message", str(reason)[:200])]
        if not wire.is_empty(bundle):
            return self._read(bundle)
        if "error" in payload or "code" in payload:
            # Not of this protocol, but what stands before a server may speak like that.
            return [ProviderWarning("error", presentable(str(payload.get("error") or payload.get("message"))))]
        return [RawEvent(payload)] if payload and self._plan.raw_events else []

    def _read(self, bundle: wire.ServerMessage) -> list[Event]:
        """Everything in a message, in the order in which it happened."""
        if not self._ready:
            return self._set_up(bundle.setup_complete) if bundle.setup_complete is not None else []
        content = bundle.server_content
        events = self._content(content) if content is not None else []
        if bundle.tool_call is not None:
            events += self._reader.tool_call(bundle.tool_call)
            self._listen_or_wait()
        if bundle.tool_call_cancellation is not None:
            events += self._reader.cancelled(bundle.tool_call_cancellation.ids or [])
            self._listen_or_wait()
        if content is not None and content.turn_complete:
            events += self._reader.turn_complete(content.turn_complete_reason or "", content.interaction_status or "")
        events += self._asides(bundle)
        return events

    def _set_up(self, done: wire.SetupComplete) -> list[Event]:
        self._ready = True
        if not self._opening.resume:
            self._writer.seed(self._opening.history)
        early, self._later = self._later, []
        ready = SessionReady(
            provider=self._name,
            input_format=PCM16_16K,
            output_format=PCM16_24K,
            session_id=done.session_id or "",
            model=self._options.model,
        )
        return [ready, *self._plan.warnings, *early]

    def _content(self, content: wire.ServerContent) -> list[Event]:
        reader = self._reader
        events: list[Event] = []
        if content.interrupted:
            events += reader.interrupted()
            self._late_until = self._heard + _LATE
            self._wake = min(self._wake, self._late_until)
        if content.interim_input_transcription is not None:
            events += reader.heard_in_the_meantime(content.interim_input_transcription)
        if content.input_transcription is not None:
            events += reader.heard(content.input_transcription)
        if content.model_turn is not None:
            for part in content.model_turn.parts or ():
                if part.inline_data is not None:
                    events += reader.voice(part.inline_data)
        if content.output_transcription is not None:
            events += reader.said(content.output_transcription)
        if content.generation_complete:
            events += reader.generation_complete()
            self._tries = self._hope
        return events

    def _asides(self, bundle: wire.ServerMessage) -> list[Event]:
        """What is not part of the conversation."""
        events: list[Event] = []
        if bundle.usage_metadata is not None and (amounts := wire.flattened(bundle.usage_metadata)):
            events.append(Usage("response", amounts))
        if bundle.go_away is not None:
            events.append(GoingAway(wire.seconds(bundle.go_away.time_left), "goAway"))
        update = bundle.session_resumption_update
        if update is not None and update.resumable and update.new_handle:
            # While the model speaks or waits there is none: the one before remains good.
            events.append(ResumeHandle(update.new_handle))
        if bundle.voice_activity is not None:
            activity = bundle.voice_activity
            events += self._reader.activity(activity.voice_activity_type or "", activity.audio_offset)
        if bundle.voice_activity_detection_signal is not None:
            events += self._reader.activity(bundle.voice_activity_detection_signal.vad_signal_type or "", None)
        return events

    # Out

    def audio(self, audio: bytes) -> list[bytes]:
        """Caller audio; every message takes as much as came."""
        message = self.voice(audio)
        if message is not None:
            return [message]
        if not self._ready or not audio:
            return []
        self._heard += len(audio)
        sent = self._microphone.feed(audio, agent_speaks=self._reader.turn is not None)
        if self._heard >= self._wake:
            self._later += self._advance()
        return [*sent, *self._writer.take()]

    def voice(self, audio: bytes) -> bytes | None:
        """See `SpeaksBriefly`: the microphone is open, and no time comes to an end meanwhile."""
        size = len(audio)
        heard = self._heard + size
        if heard >= self._wake or not 0 < size <= _LARGEST or not self._microphone.passes or not self._ready:
            return None
        self._heard = heard
        return HEAD + encode(audio) + TAIL

    def send(self, command: Command) -> list[bytes]:
        """A command as messages; some make others possible, which follow at once."""
        if not self._ready:
            return []
        match command:
            case Say():
                self._wishes.add(Wish(say_text(command), True, command.purpose))
            case SendText():
                self._wishes.add(Wish(_written(command), command.respond))
            case SendDtmf():
                self._wishes.add(Wish(f"The caller pressed {command.digit} on the keypad.", True))
            case CommitTurn():
                self._reader.stir()
                self._writer.add(self._microphone.commit())
            case CancelResponse():
                self._cancel()
            case PlaybackReport():
                pass  # the server cuts its memory by itself, to what it believes has been heard
            case ToolResult():
                self._result(command)
            case _:
                assert_never(command)
        self._later += self._advance()
        return self._writer.take()

    def _cancel(self) -> None:
        """The agent falls silent: here at once, at the server as soon as it is told something or hears the caller."""
        self._wishes.cancel()
        if self._reader.turn is not None:
            self._reader.turn.muted = True
        elif self._reader.requested:
            self._reader.mute_next = True
        self._writer.add(self._microphone.begin())

    def _result(self, result: ToolResult) -> None:
        call = self._reader.calls.get(result.call_id)
        if call is None:
            return
        call.output = result.output
        self._listen_or_wait()

    def _listen_or_wait(self) -> None:
        """Answer what can be answered. While the model waits for an answer, it is told nothing else."""
        calls = self._reader.calls
        answered = calls.take_answered()
        if answered:
            self._reader.stir()
            self._writer.answer(answered)
        if calls.blocking:
            self._microphone.hold()
        else:
            self._writer.add(self._microphone.release())

    def _advance(self) -> list[Event]:
        """Do what has become possible, and note when to look again though nothing happens."""
        events: list[Event] = []
        reader, heard = self._reader, self._heard
        if reader.late and heard >= self._late_until:
            reader.late = False
        if reader.requested and heard >= self._asked_at + _ANSWER:
            reader.requested = reader.mute_next = False
        if self._wishes.waiting and heard >= self._alive + _VANISHED:
            events += reader.drop()
        turn = reader.turn
        # What the caller wants answered may end a turn that nobody hears any more.
        free = turn is None or (turn.muted and self._wishes.reply_is_next)
        if self._wishes.waiting and free and not reader.requested and not reader.calls.blocking:
            self._tell()
        looks = [
            (bool(self._wishes.waiting), self._alive + _VANISHED),
            (reader.requested, self._asked_at + _ANSWER),
            (reader.late, self._late_until),
        ]
        self._wake = min((at for due, at in looks if due), default=math.inf)
        return events

    def _tell(self) -> None:
        notes, texts = self._wishes.take()
        for text in notes:
            self._writer.note(text)
        if texts:
            self._writer.ask(texts)
            self._reader.stir()
            self._reader.requested = True
            self._asked_at = self._heard

    # The end

    def closed(self, code: int, reason: str) -> ProviderError | None:
        """What the end of the socket means."""
        return classify_close(
            code,
            reason,
            provider=self._name,
            ready=self._ready,
            proven=self._ready and self._heard >= _PROVEN,
            resuming=bool(self._opening.resume) and not self._ready,
        )


def _written(command: SendText) -> str:
    """There is no other role than the caller's and the agent's in a conversation, so a word says whose it is."""
    return command.text if command.role == "user" or not command.respond else f"{NOT_THE_CALLER} {command.text}"
