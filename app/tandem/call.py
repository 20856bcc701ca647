"""One call, without I/O: told what happens and when, it answers what to do.

The theory. A call has two far ends that come up in any order: the carrier's stream and the provider's session. Both
are needed to talk; the provider may be there first (it is opened while the phone still rings) or may never come. To
leave is a state of its own, because the last words must be *heard* before the line is cut.

    RINGING ──start──> CONNECTING ──ready──> TALKING ──leave──> LEAVING ──end──> ENDED
       │ready              │failed              ^ │failed            │
       v                   └────────────────────┼─┴──────> LEAVING   │stay (the caller spoke after all)
    RINGING_READY ──start───────────────────────┴────────────────────┘
    RINGING_FAILED ──start──> LEAVING (apology)

    TALKING ──lost──> RECOVERING ──ready──> TALKING        a provider died, the next one takes the conversation over

Two rules. A move that is not in the table is a mistake of ours and raises; what a far end can do wrong is checked
before it becomes a move. `END` is legal everywhere, once, and the first reason stands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, assert_never

from tandem.call_types import (
    Attached,
    CallCommand,
    CallEvent,
    CallPlan,
    CallStats,
    End,
    EndReason,
    HangUp,
    Hear,
    HoldProvider,
    SocketBlocked,
    SocketLost,
    Tick,
    ToProvider,
)
from tandem.caller_audio import CallerAudio
from tandem.carriers.events import Dtmf, Malformed, Mark, MarkPlayed, Media, Started, Stopped
from tandem.ledger import Ledger
from tandem.silence import SilenceWatch
from tandem.transcript import ConversationRecord, Heard, Line
from tandem_codecs.level import is_loud
from tandem_providers.commands import CancelResponse, CommitTurn, PlaybackReport, Purpose, Say, SendDtmf, SendText
from tandem_providers.detector import SpeechStarted, SpeechStopped, TurnDetector
from tandem_providers.events import (
    AudioChunk,
    HangupRequested,
    Interrupted,
    ItemAdded,
    ProviderLost,
    SessionClosed,
    SessionReady,
    Transcript,
    TurnEnded,
    TurnStarted,
    Usage,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.provider import Capabilities, HistoryTurn


class State(Enum):
    """Where a call is; see the module."""

    RINGING = "ringing"
    RINGING_READY = "ringing-ready"
    RINGING_FAILED = "ringing-failed"
    CONNECTING = "connecting"
    TALKING = "talking"
    RECOVERING = "recovering"
    LEAVING = "leaving"
    ENDED = "ended"


class Move(Enum):
    """What takes a call from one state to another."""

    START = "start"
    READY = "ready"
    FAILED = "failed"
    LOST = "lost"
    LEAVE = "leave"
    STAY = "stay"


_MOVES: dict[tuple[State, Move], State] = {
    (State.RINGING, Move.READY): State.RINGING_READY,
    (State.RINGING, Move.FAILED): State.RINGING_FAILED,
    (State.RINGING, Move.START): State.CONNECTING,
    (State.RINGING_READY, Move.START): State.TALKING,
    (State.RINGING_READY, Move.FAILED): State.RINGING_FAILED,
    (State.RINGING_READY, Move.LOST): State.RINGING,
    (State.RINGING_FAILED, Move.START): State.LEAVING,
    (State.CONNECTING, Move.READY): State.TALKING,
    (State.CONNECTING, Move.FAILED): State.LEAVING,
    (State.CONNECTING, Move.LEAVE): State.LEAVING,
    (State.TALKING, Move.FAILED): State.LEAVING,
    (State.TALKING, Move.LEAVE): State.LEAVING,
    (State.TALKING, Move.LOST): State.RECOVERING,
    (State.RECOVERING, Move.READY): State.TALKING,
    (State.RECOVERING, Move.FAILED): State.LEAVING,
    (State.RECOVERING, Move.LEAVE): State.LEAVING,
    (State.LEAVING, Move.LEAVE): State.LEAVING,
    (State.LEAVING, Move.READY): State.LEAVING,
    (State.LEAVING, Move.FAILED): State.LEAVING,
    (State.LEAVING, Move.LOST): State.LEAVING,
    (State.LEAVING, Move.STAY): State.TALKING,
}
_BEFORE_STREAM = frozenset({State.RINGING, State.RINGING_READY, State.RINGING_FAILED})
_TALK_MAY_GO_ON = frozenset({EndReason.SILENCE, EndReason.AGENT_HUNG_UP})
"""Reasons to leave that the caller can undo by speaking."""

_WORDS_SECONDS = 3.0
"""How long asked-for last words may take to begin."""
_PROBE_AFTER_SECONDS = 5.0
_PROBE_EVERY_SECONDS = 2.0
_BAD_FRAMES = 5
_BAD_FRAME_WINDOW = 10.0
_STALE_AFTER_SECONDS = 2.0
_KEEP_WHEN_BLOCKED_MS = 2000
_CUSHION_MS = 120
"""What is kept ahead of a voice that comes at the pace of speech, against the network's unevenness."""
_DUPLEX_QUIET_SECONDS = 0.6
_WRAP_UP_SECONDS = 30.0
_WRAP_UP = (
    "This call reaches its time limit in 30 seconds and will then be ended. Bring the conversation to a friendly close."
)
_PROMPT = "prompt:"
"""Items of ours, which no provider knows, begin with this."""


class IllegalMove(Exception):
    """The table has no such move: a mistake in this program."""


class Call:
    """One call. `handle` takes any event with the time it happened and answers commands, to be obeyed in order."""

    def __init__(self, plan: CallPlan, now: float) -> None:
        self.plan = plan
        self.state = State.RINGING
        self.opened_at = self._time = now
        self.started_at: float | None = None
        self.stats = CallStats()
        self.ledger = Ledger(plan.format, plan.lead_ms, blocked=True)
        self.record = ConversationRecord()
        self.audio: CallerAudio | None = None
        self.silence = SilenceWatch(plan.silence_seconds, now)
        self.end_reason: EndReason | None = None
        self.ended_at: float | None = None
        self._attached_at: float | None = None
        self._leaving: EndReason = EndReason.AGENT_HUNG_UP
        self._leave_from = self._leave_by = 0.0
        self._words_by: float | None = None
        self._turn = ""
        self._ears: TurnDetector | None = None
        self._provider_gone = False
        self._provider_held = False
        self._text_in = self._duplex = False
        self._lost_at = self._loud_until = now
        self._cut_when_it_speaks = self._owes_words = self._caller_spoke = False
        self._speech_stopped_at: float | None = None
        self._asked_to_wait = self._wrap_up_said = False
        self._last_word = self._probed_at = now
        self._blocked_since: float | None = None
        self._bad_times: deque[float] = deque(maxlen=_BAD_FRAMES)
        self._handlers: dict[type, Callable[[Any, float], list[CallCommand]]] = {
            Media: self._media,
            AudioChunk: self._agent_audio,
            MarkPlayed: self._mark_played,
            Tick: self._tick,
            Transcript: self._words,
            ItemAdded: self._item_added,
            Interrupted: self._interrupted,
            ProviderLost: self._provider_lost,
            UserSpeechStarted: self._speech_started,
            UserSpeechStopped: self._speech_stopped,
            TurnStarted: self._turn_started,
            TurnEnded: self._turn_ended,
            Usage: self._usage,
            Dtmf: self._dtmf,
            Attached: self._attached,
            Started: self._started,
            Stopped: lambda _event, _now: self._end(EndReason.CALLER_HUNG_UP),
            Malformed: self._malformed,
            SessionReady: self._session_ready,
            SessionClosed: self._session_closed,
            HangupRequested: self._hangup_requested,
            SocketBlocked: self._socket_blocked,
            SocketLost: self._socket_lost,
            HangUp: self._hang_up,
        }

    def handle(self, event: CallEvent, now: float) -> list[CallCommand]:
        """Something happened. Events that need no action here (warnings, tool calls) answer nothing."""
        self._time = now
        if self.state is State.ENDED:
            return []
        handler = self._handlers.get(type(event))
        return handler(event, now) if handler is not None else []

    def finish(self, reason: EndReason) -> None:
        """It is over, whoever says so. The first reason stands."""
        if self.end_reason is None:
            self.state = State.ENDED
            self.end_reason = reason
            self.ended_at = self._time

    def lines(self, now: float) -> list[Line]:
        """The conversation as heard so far."""
        return self.record.lines(
            {
                key: Heard(
                    self.ledger.heard_ms(item, now), self.ledger.received_ms(item), item.complete or item.cut, item.cut
                )
                for key, item in self.ledger.items.items()
            }
        )

    def history(self, now: float) -> tuple[HistoryTurn, ...]:
        """What was said in finished turns, as heard: what a successor shall remember. Later words come as audio."""
        return tuple(
            HistoryTurn("user" if line.role == "caller" else "assistant", line.text)
            for line in self.lines(now)
            if line.settled
        )

    # --- the carrier ------------------------------------------------------------------------------

    def _attached(self, _event: Attached, now: float) -> list[CallCommand]:
        self._attached_at = self._last_word = now
        return []

    def _started(self, event: Started, now: float) -> list[CallCommand]:
        if self.state not in _BEFORE_STREAM:
            return self._malformed(Malformed("a second start"), now)
        if event.inbound is None or event.outbound is None:
            return self._end(EndReason.WRONG_FORMAT)
        failed = self.state is State.RINGING_FAILED
        self._move(Move.START)
        self.started_at = self._last_word = now
        self.silence.start(now)
        self.audio = CallerAudio(self.plan.format, now)
        self.ledger.blocked = False
        commands: list[CallCommand] = [*self.ledger.tick(now)]
        if commands:
            self._note_first_audio(now)
        if failed:
            commands += self._apologise(EndReason.PROVIDERS_FAILED, now)
        return commands

    def _media(self, event: Media, now: float) -> list[CallCommand]:
        if self.audio is None:
            return self._malformed(Malformed("media before start"), now)
        self._last_word = now
        return self._hear(self.audio.accept(event, now), now)

    def _hear(self, audio: bytes, now: float) -> list[CallCommand]:
        if not audio or self._provider_gone:
            return []
        if self._ears is None:
            return [Hear(audio)]
        commands: list[CallCommand] = [Hear(audio)]
        for heard in self._ears.feed(audio):
            match heard:
                case SpeechStarted():
                    commands += self._speech_started(UserSpeechStarted(), now)
                case SpeechStopped():
                    commands += [*self._speech_stopped(UserSpeechStopped(), now), ToProvider(CommitTurn())]
                case _:
                    assert_never(heard)
        return commands

    def _mark_played(self, event: MarkPlayed, now: float) -> list[CallCommand]:
        self._last_word = now
        self.ledger.mark_played(event.name, now)
        return [*self.ledger.tick(now), *self._check_leaving(now)]

    def _dtmf(self, event: Dtmf, now: float) -> list[CallCommand]:
        if self.audio is None:
            return self._malformed(Malformed("dtmf before start"), now)
        self._last_word = now
        self.silence.caller_active(now)
        self.stats.dtmf += 1
        if self._provider_gone:
            return []
        return [*self._stay(), *self._interrupt(now), ToProvider(SendDtmf(event.digit))]

    def _malformed(self, event: Malformed, now: float) -> list[CallCommand]:
        self.stats.count_bad(event.reason)
        self._bad_times.append(now)
        if len(self._bad_times) == _BAD_FRAMES and now - self._bad_times[0] <= _BAD_FRAME_WINDOW:
            return self._end(EndReason.BAD_STREAM)
        return []

    def _socket_lost(self, event: SocketLost, _now: float) -> list[CallCommand]:
        self.stats.close_code = event.code
        return self._end(EndReason.CARRIER_LOST)

    def _socket_blocked(self, event: SocketBlocked, now: float) -> list[CallCommand]:
        self.ledger.blocked = event.blocked or self.started_at is None
        self._blocked_since = now if event.blocked else None
        return [] if event.blocked else [*self.ledger.tick(now)]

    # --- the provider -----------------------------------------------------------------------------

    def _session_ready(self, event: SessionReady, now: float) -> list[CallCommand]:
        self.stats.provider = event.provider
        self.stats.model = event.model
        recovering = self.state is State.RECOVERING
        self._move(Move.READY)
        if self.state is State.LEAVING:
            return []
        if recovering:
            self._asked_to_wait = False
            return [ToProvider(Say(Purpose.RESUME))] if self._owes_words else []
        self.stats.ready_seconds = now - self.opened_at
        return [ToProvider(Say(Purpose.GREETING, self.plan.greeting))]

    def set_voice(self, can: Capabilities, ears: TurnDetector | None = None) -> None:
        """Who speaks for the agent now; `ears` when that provider does not hear turns itself."""
        self._ears = ears
        self._text_in = can.text_in
        self._duplex = can.turn_model == "duplex"
        self.silence.trust_speech = not can.transcribes

    def _provider_lost(self, event: ProviderLost, now: float) -> list[CallCommand]:
        """The words under way stop here; what was received goes on playing until the successor speaks."""
        self.stats.failovers += 1
        self.stats.provider_error = str(event.error)
        unfinished, self._turn = bool(self._turn), ""
        self._move(Move.LOST)
        if self.state is State.RINGING:
            self.ledger.clear(now)
            return []
        self._lost_at = now
        self._cut_when_it_speaks = unfinished
        self._owes_words = unfinished and not self._caller_spoke
        return []

    def _session_closed(self, event: SessionClosed, now: float) -> list[CallCommand]:
        self._provider_gone = True
        self._turn = ""
        self.stats.provider_error = str(event.error) if event.error else event.reason
        before = self.state
        self._move(Move.FAILED)
        if self.state is not State.LEAVING or before is State.LEAVING:
            self._words_by = None
            return []
        never_ready = before is State.CONNECTING
        return self._apologise(EndReason.PROVIDERS_FAILED if never_ready else EndReason.PROVIDER_LOST, now)

    def _agent_audio(self, event: AudioChunk, now: float) -> list[CallCommand]:
        commands: list[CallCommand] = []
        if self._cut_when_it_speaks:
            self._cut_when_it_speaks = False
            commands += self.ledger.clear(now)[0]
        audio = event.audio if not self._duplex else self._in_duplex(event.audio, now)
        item = event.item_id or event.turn_id
        commands += self.ledger.append(audio, item, event.turn_id, event.content_index, event.is_final, now)
        if commands:
            if self._speech_stopped_at is not None or self.stats.first_audio_seconds is None:
                self._note_first_audio(now)
            self._words_by = None
        if not self._provider_held and self.ledger.overfull:
            self._provider_held = True
            commands.append(HoldProvider(True))
        return commands

    def _in_duplex(self, audio: bytes, now: float) -> bytes:
        """A voice that never pauses: its loud parts are its words, and a little silence ahead evens out the network."""
        if not self.ledger.speaking(now):
            audio = self.plan.format.silence(_CUSHION_MS) + audio
        if is_loud(audio, self.plan.format):
            self._loud_until = now + (self.ledger.ahead_ms(now) + self.plan.format.milliseconds(len(audio))) / 1000
        return audio

    def _agent_heard(self, now: float) -> bool:
        """Nothing of the agent is playing, waiting or being made."""
        if self._duplex:
            return now >= self._loud_until + _DUPLEX_QUIET_SECONDS
        return not self._turn and not self.ledger.speaking(now)

    def _note_first_audio(self, now: float) -> None:
        if self.stats.first_audio_seconds is None and self.started_at is not None:
            self.stats.first_audio_seconds = now - self.started_at
        if self._speech_stopped_at is not None:
            self.stats.turn_latencies.append(now - self._speech_stopped_at)
            self._speech_stopped_at = None

    def _words(self, event: Transcript, now: float) -> list[CallCommand]:
        self.record.hear(event, self._since_start(now))
        if event.is_input and event.is_final and event.text.strip():
            self.silence.caller_active(now)
            self.stats.caller_turns += 1
        return []

    def _item_added(self, event: ItemAdded, now: float) -> list[CallCommand]:
        self.record.place(event, self._since_start(now))
        return []

    def _usage(self, event: Usage, _now: float) -> list[CallCommand]:
        for kind, amount in event.amounts.items():
            key = f"{event.source}.{kind}"
            self.stats.usage[key] = self.stats.usage.get(key, 0.0) + amount
        return []

    def _speech_started(self, _event: UserSpeechStarted, now: float) -> list[CallCommand]:
        self.silence.speech_started(now)
        self._caller_spoke = True
        self._speech_stopped_at = None
        return [*self._stay(), *self._interrupt(now)]

    def _speech_stopped(self, _event: UserSpeechStopped, now: float) -> list[CallCommand]:
        self.silence.speech_stopped(now)
        self._speech_stopped_at = now
        return []

    def _turn_started(self, event: TurnStarted, _now: float) -> list[CallCommand]:
        self._turn = event.turn_id
        return []

    def _turn_ended(self, event: TurnEnded, now: float) -> list[CallCommand]:
        if event.turn_id == self._turn:
            self._turn = ""
        if event.status in ("completed", "interrupted") and not event.awaiting_tools:
            self.record.settle()
            self._caller_spoke = event.status == "interrupted"
        if event.status == "failed":
            self.stats.failed_turns += 1
        return self._check_leaving(now)

    def _hangup_requested(self, _event: HangupRequested, now: float) -> list[CallCommand]:
        return self._leave(EndReason.AGENT_HUNG_UP, now, by=now + self.plan.leave_seconds)

    def _interrupted(self, _event: Interrupted, now: float) -> list[CallCommand]:
        """The provider has stopped by itself, so it need not be told to."""
        self._caller_spoke = True
        return [c for c in (*self._stay(), *self._interrupt(now)) if c != ToProvider(CancelResponse())]

    # --- barge-in ---------------------------------------------------------------------------------

    def _interrupt(self, now: float) -> list[CallCommand]:
        """The caller speaks: whatever of the agent has not been heard never will be, here, there and in memory."""
        if self._leaving in _TALK_MAY_GO_ON or self.state is not State.LEAVING:
            clear, cuts = self.ledger.clear(now)
        else:
            return []
        if self._turn:
            self.ledger.kill(self._turn)
        if not clear and not cuts:
            return []
        self.stats.barge_ins += 1
        commands: list[CallCommand] = [*clear]
        commands += [
            ToProvider(
                PlaybackReport(
                    cut.item.item_id, cut.item.turn_id, cut.item.content_index, cut.played_ms, cut.received_ms
                )
            )
            for cut in cuts
            if not cut.item.item_id.startswith(_PROMPT)
        ]
        commands.append(ToProvider(CancelResponse()))
        return [*commands, *self._release_provider()]

    # --- leaving ----------------------------------------------------------------------------------

    def _leave(self, reason: EndReason, now: float, *, by: float, not_before: float = 0.0) -> list[CallCommand]:
        if self.state in _BEFORE_STREAM:
            return self._end(reason)
        if self.state is State.LEAVING and self._leaving not in _TALK_MAY_GO_ON:
            return []
        self._move(Move.LEAVE)
        self._leaving, self._leave_from, self._leave_by = reason, not_before, by
        return []

    def _stay(self) -> list[CallCommand]:
        """The caller said something while we were about to hang up politely."""
        if self.state is State.LEAVING and self._leaving in _TALK_MAY_GO_ON and not self._provider_gone:
            self._move(Move.STAY)
            self._words_by = None
        return []

    def _apologise(self, reason: EndReason, now: float) -> list[CallCommand]:
        """The provider is gone for good: say so, then hang up."""
        self._leaving, self._leave_from = reason, 0.0
        self._leave_by = now + self.ledger.ahead_ms(now) / 1000 + self.ledger.held_ms / 1000
        self._leave_by += self.plan.format.milliseconds(len(self.plan.prompts.sorry)) / 1000 + 2.0
        return self._play_prompt("sorry", self.plan.prompts.sorry, now)

    def _hang_up(self, event: HangUp, now: float) -> list[CallCommand]:
        """Somebody else ends the call: an operator, or a server that goes down."""
        commands = self._leave(event.reason, now, by=now + self.plan.leave_seconds)
        if self.state is State.LEAVING and self._leaving is event.reason:
            commands += self._play_prompt("goodbye", self.plan.prompts.goodbye, now)
        return commands

    def _check_leaving(self, now: float) -> list[CallCommand]:
        if self.state is not State.LEAVING:
            return []
        if now >= self._leave_by:
            return self._end(self._leaving)
        if self._words_by is not None and now < self._words_by:
            return []
        if now < self._leave_from or not self._agent_heard(now):
            return []
        return self._end(self._leaving)

    def _play_prompt(self, name: str, audio: bytes, now: float) -> list[CallCommand]:
        item = f"{_PROMPT}{name}"
        self.ledger.items.pop(item, None)
        self._note_first_audio(now)
        return [*self.ledger.append(audio, item, item, 0, True, now)]

    def _end(self, reason: EndReason) -> list[CallCommand]:
        self.finish(reason)
        return [End(reason)]

    # --- time -------------------------------------------------------------------------------------

    def _tick(self, _event: Tick, now: float) -> list[CallCommand]:
        if self.state in _BEFORE_STREAM:
            return self._wait_for_stream(now)
        commands: list[CallCommand] = [*self.ledger.tick(now), *self._release_provider()]
        if self.audio is not None:
            commands += self._hear(self.audio.tick(now), now)
        commands += self._watch_carrier(now)
        if self.state is State.CONNECTING and self.started_at is not None:
            commands += self._ask_to_wait(self.started_at, now)
        elif self.state is State.RECOVERING:
            commands += self._ask_to_wait(self._lost_at, now)
        elif self.state is State.TALKING:
            commands += self._watch_silence(now)
        if self.state in (State.CONNECTING, State.TALKING, State.RECOVERING):
            commands += self._watch_length(now)
        return [*commands, *self._check_leaving(now)]

    def _wait_for_stream(self, now: float) -> list[CallCommand]:
        if self._attached_at is None:
            late = now >= self.opened_at + self.plan.stream_seconds
            return self._end(EndReason.NO_STREAM) if late else []
        late = now >= self._attached_at + self.plan.start_seconds
        return self._end(EndReason.NO_START) if late else []

    def _watch_carrier(self, now: float) -> list[CallCommand]:
        """A carrier that says nothing may have nothing to say: a mark asks it, a dead one never answers."""
        if self._blocked_since is not None:
            if now - self._blocked_since >= self.plan.carrier_gone_seconds:
                return self._end(EndReason.CARRIER_STALLED)
            if now - self._blocked_since >= _STALE_AFTER_SECONDS:
                self.ledger.drop_oldest(_KEEP_WHEN_BLOCKED_MS)
            return []
        quiet = now - self._last_word
        if quiet >= self.plan.carrier_gone_seconds:
            return self._end(EndReason.CARRIER_SILENT)
        after = min(_PROBE_AFTER_SECONDS, self.plan.carrier_gone_seconds / 2)
        if quiet >= after and now - self._probed_at >= min(_PROBE_EVERY_SECONDS, after):
            self._probed_at = now
            self.stats.probes += 1
            return [Mark(f"probe{self.stats.probes}")]
        return []

    def _ask_to_wait(self, since: float, now: float) -> list[CallCommand]:
        """One spoken word for a wait that would else be dead air."""
        if self._asked_to_wait or now - since < self.plan.hold_prompt_seconds or self.ledger.speaking(now):
            return []
        self._asked_to_wait = True
        return self._play_prompt("one-moment", self.plan.prompts.one_moment, now)

    def _watch_silence(self, now: float) -> list[CallCommand]:
        if not self._agent_heard(now):
            self.silence.agent_active(now)
        if self.silence.goodbye_due(now):
            end = self.silence.end_at
            self._words_by = now + _WORDS_SECONDS
            commands = self._leave(EndReason.SILENCE, now, by=end + 0.9, not_before=end)
            return [*commands, ToProvider(Say(Purpose.GOODBYE))]
        if self.silence.nudge_due(now):
            self.stats.nudges += 1
            return [ToProvider(Say(Purpose.STILL_THERE))]
        return []

    def _watch_length(self, now: float) -> list[CallCommand]:
        if self.started_at is None:
            return []
        left = self.started_at + self.plan.max_seconds - now
        if left <= 0:
            commands: list[CallCommand] = [*self.ledger.clear(now)[0]]
            commands += self._leave(EndReason.MAX_DURATION, now, by=now + 2.0)
            return [*commands, *self._play_prompt("goodbye", self.plan.prompts.goodbye, now)]
        if left <= _WRAP_UP_SECONDS < self.plan.max_seconds / 2 and self._text_in and not self._wrap_up_said:
            self._wrap_up_said = True
            return [ToProvider(SendText(_WRAP_UP, role="system", respond=False))]
        return []

    def _release_provider(self) -> list[CallCommand]:
        if self._provider_held and not self.ledger.overfull:
            self._provider_held = False
            return [HoldProvider(False)]
        return []

    def _since_start(self, now: float) -> float:
        return round(now - (self.started_at if self.started_at is not None else self.opened_at), 3)

    def _move(self, move: Move) -> None:
        target = _MOVES.get((self.state, move))
        if target is None:
            raise IllegalMove(f"{move.value!r} in state {self.state.value!r}")
        self.state = target
