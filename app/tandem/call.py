"""One call, without I/O: told what happens and when, it answers what to do. Its states: `call_state`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, assert_never

from tandem.call_state import BEFORE_STREAM, Move, State, moved
from tandem.call_types import (
    Attached,
    CallCommand,
    CallEvent,
    CallOver,
    CallPlan,
    CallStats,
    Depart,
    End,
    EndReason,
    GiveToCarrier,
    HangUp,
    Hear,
    HoldProvider,
    Returned,
    SocketBlocked,
    SocketLost,
    Tell,
    Tick,
    ToProvider,
)
from tandem.caller_audio import CallerAudio
from tandem.carrier_watch import CarrierWatch
from tandem.carriers.events import Dtmf, Malformed, Mark, MarkPlayed, Media, Started, Stopped
from tandem.leaving import WORDS_SECONDS, Leaving
from tandem.ledger import Ledger
from tandem.silence import SilenceWatch
from tandem.transcript import ConversationRecord, Heard, Line, history_of
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


_HEARS_NOTHING = frozenset({State.PARKED, State.ENDED})


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
        self._plain = False
        """Nothing has happened since the last piece of agent audio, and another like it has only to be played."""
        self._attached_at: float | None = None
        self._leaving: Leaving | None = None
        self._departure: Depart | None = None
        """What the call waits to be given to the carrier for."""
        self._away: Depart | None = None
        """What the carrier has the call for."""
        self._away_until = self._words_by = 0.0
        self._news = ""
        self._turn = ""
        self._ears: TurnDetector | None = None
        self._spare_ears: TurnDetector | None = None
        """For while the provider is not read: its word that the caller speaks waits behind its audio."""
        self._provider_gone = False
        self._provider_held = False
        self._text_in = self._duplex = False
        self._lost_at = self._loud_until = now
        self._cut_when_it_speaks = self._owes_words = self._caller_spoke = False
        self._speech_stopped_at: float | None = None
        self._asked_to_wait = self._wrap_up_said = False
        self._watch = CarrierWatch(plan.carrier_gone_seconds, now)
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
            Usage: self._used,
            Dtmf: self._dtmf,
            Attached: self._attached,
            Started: self._started,
            Stopped: self._stopped,
            CallOver: lambda _event, _now: self._end(EndReason.CALLER_HUNG_UP),
            Depart: self._depart,
            Returned: self._returned,
            Tell: self._tell_provider,
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
        self._plain = False
        if self.state is State.ENDED:
            return []
        handler = self._handlers.get(type(event))
        return handler(event, now) if handler is not None else []

    def hear(self, media: Media, now: float) -> bytes | None:
        """The short way of the frame that comes fifty times a second: the audio for the provider, possibly none.

        None: the call is in no state for it, `handle` has to decide.
        """
        audio = self.audio
        if audio is None or self._provider_gone or self.state in _HEARS_NOTHING:
            return None
        if self._ears is not None or self._spare_ears is not None:
            return None
        self._watch.last_word = now
        return audio.accept(media, now)

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
        return history_of(self.lines(now))

    # --- the carrier ------------------------------------------------------------------------------

    def _attached(self, _event: Attached, now: float) -> list[CallCommand]:
        self._attached_at = now
        self._watch.heard(now)
        return []

    def _started(self, event: Started, now: float) -> list[CallCommand]:
        if self.state is not State.PARKED and self.state not in BEFORE_STREAM:
            return self._malformed(Malformed("a second start"), now)
        if event.inbound is None or event.outbound is None:
            return self._end(EndReason.WRONG_FORMAT)
        if self.state is State.PARKED:
            self.audio = CallerAudio(self.plan.format, now)
            return self._back(now)
        failed = self.state is State.RINGING_FAILED
        self._move(Move.START)
        self.started_at = now
        self._watch.heard(now)
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
        self._watch.heard(now)
        return self._hear(self.audio.accept(event, now), now)

    def _hear(self, audio: bytes, now: float) -> list[CallCommand]:
        if not audio or self._provider_gone or self.state is State.PARKED:
            return []
        ears = self._ears or self._spare_ears
        if ears is None:
            return [Hear(audio)]
        commands: list[CallCommand] = [Hear(audio)]
        for heard in ears.feed(audio):
            match heard:
                case SpeechStarted():
                    commands += self._speech_started(UserSpeechStarted(), now)
                case SpeechStopped() if ears is self._spare_ears:
                    pass  # the provider says so itself, only later
                case SpeechStopped():
                    commands += [*self._speech_stopped(UserSpeechStopped(), now), ToProvider(CommitTurn())]
                case _:
                    assert_never(heard)
        return commands

    def _mark_played(self, event: MarkPlayed, now: float) -> list[CallCommand]:
        self._watch.heard(now)
        self.ledger.mark_played(event.name, now)
        return [*self.ledger.tick(now), *self._check_leaving(now)]

    def _dtmf(self, event: Dtmf, now: float) -> list[CallCommand]:
        if self.audio is None:
            return self._malformed(Malformed("dtmf before start"), now)
        self._watch.heard(now)
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

    def _stopped(self, _event: Stopped, _now: float) -> list[CallCommand]:
        if self.state is State.PARKED:
            return []  # the carrier has the call: that is why
        return self._end(EndReason.CALLER_HUNG_UP)

    def _socket_lost(self, event: SocketLost, _now: float) -> list[CallCommand]:
        self.stats.close_code = event.code
        if self.state is State.PARKED:
            return []
        return self._end(EndReason.CARRIER_LOST)

    def _socket_blocked(self, event: SocketBlocked, now: float) -> list[CallCommand]:
        self.ledger.blocked = event.blocked or self.started_at is None
        self._watch.block(event.blocked, now)
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
            self._words_have_begun()  # or never will
            return []
        never_ready = before is State.CONNECTING
        return self._apologise(EndReason.PROVIDERS_FAILED if never_ready else EndReason.PROVIDER_LOST, now)

    def passes(self, event: AudioChunk, now: float) -> bool:
        """The short way of the agent's audio: True when it may be played as it is, and that is all there is to do.

        False: nothing was done, `handle` has to decide.
        """
        return self._plain and not event.is_final and self.ledger.passes(len(event.audio), event.item_id, now)

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
            if self._words_by or self._leaving is not None:
                self._words_have_begun()
        if not self._provider_held and self.ledger.overfull:
            self._provider_held = True
            self._spare_ears = self._spare_ears or TurnDetector()
            commands.append(HoldProvider(True))
        self._plain = not (self._duplex or self._words_by or self._leaving is not None or event.is_final)
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

    def _used(self, event: Usage, _now: float) -> list[CallCommand]:
        self.stats.add_usage(event)
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
            self._spare_ears = None
        if event.status in ("completed", "interrupted") and not event.awaiting_tools:
            self.record.settle()
            self._caller_spoke = event.status == "interrupted"
        if event.status == "failed":
            self.stats.failed_turns += 1
        return self._check_leaving(now)

    def _hangup_requested(self, _event: HangupRequested, now: float) -> list[CallCommand]:
        return self._leave(Leaving(EndReason.AGENT_HUNG_UP, by=now + self.plan.leave_seconds))

    def _interrupted(self, _event: Interrupted, now: float) -> list[CallCommand]:
        """The provider has stopped by itself, so it need not be told to."""
        self._caller_spoke = True
        return [c for c in (*self._stay(), *self._interrupt(now)) if c != ToProvider(CancelResponse())]

    # --- barge-in ---------------------------------------------------------------------------------

    def _interrupt(self, now: float) -> list[CallCommand]:
        """The caller speaks: whatever of the agent has not been heard never will be, here, there and in memory."""
        if self.state is State.LEAVING or self.state is State.PARKED:
            return []  # what cannot be undone by speaking: the caller shall hear it to its end
        clear, cuts = self.ledger.clear(now)
        self._spare_ears = None
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

    def _leave(self, plan: Leaving) -> list[CallCommand]:
        if self.state in BEFORE_STREAM or self.state is State.PARKED:
            return self._end(plan.reason)
        if self._leaving is None or self._leaving.may_stay:
            self._move(Move.LEAVE)
            self._leaving, self._departure = plan, None
        return []

    def _stay(self) -> list[CallCommand]:
        """The caller said something while we were about to hang up politely, or to hand the call over."""
        self._departure = None
        if self._leaving is not None and self._leaving.may_stay and not self._provider_gone:
            self._move(Move.STAY)
            self._leaving = None
        return []

    def _words_have_begun(self) -> None:
        self._words_by = 0.0
        if self._leaving is not None and self._leaving.words_by:
            self._leaving = replace(self._leaving, words_by=0.0)

    def _apologise(self, reason: EndReason, now: float) -> list[CallCommand]:
        """The provider is gone for good: say so, then hang up."""
        waiting = self.ledger.ahead_ms(now) + self.ledger.held_ms
        waiting += self.plan.format.milliseconds(len(self.plan.prompts.sorry))
        self._leaving = Leaving(reason, by=now + waiting / 1000 + 2.0)
        return self._play_prompt("sorry", self.plan.prompts.sorry, now)

    def _hang_up(self, event: HangUp, now: float) -> list[CallCommand]:
        """Somebody else ends the call: an operator, or a server that goes down."""
        commands = self._leave(Leaving(event.reason, by=now + self.plan.leave_seconds))
        if self._leaving is not None and self._leaving.reason is event.reason and self.state is State.LEAVING:
            commands += self._play_prompt("goodbye", self.plan.prompts.goodbye, now)
        return commands

    def _check_leaving(self, now: float) -> list[CallCommand]:
        heard = self._agent_heard(now)
        if self._departure is not None and self.state is State.TALKING and heard and now >= self._words_by:
            return self._go(now)
        if self._leaving is None or self.state is not State.LEAVING or not self._leaving.due(now, heard=heard):
            return []
        return self._end(self._leaving.reason)

    # --- the carrier takes the call for a while -----------------------------------------------------

    def _depart(self, event: Depart, now: float) -> list[CallCommand]:
        """Give the call to the carrier once a word about it, and all before, has been heard."""
        if self.state is not State.TALKING:
            return []
        self._departure = event
        if event.say is None:
            return self._check_leaving(now)
        self._words_by = now + WORDS_SECONDS
        return [ToProvider(Say(Purpose.MESSAGE, event.say))]

    def _go(self, now: float) -> list[CallCommand]:
        departure, self._departure = self._departure, None
        if departure is None:
            return []
        self._move(Move.DEPART)
        self._away, self._away_until = departure, now + departure.seconds
        self.ledger.clear(now)
        self.ledger.blocked = True
        return [GiveToCarrier(departure)]

    def _returned(self, event: Returned, now: float) -> list[CallCommand]:
        """How it went with the call that the carrier had: it is with somebody else, or stays with us."""
        if self.state is not State.PARKED or self._away is None:
            return []
        if event.moved:
            return self._end(EndReason.TRANSFERRED)
        self._news = event.news
        if not event.stream_goes_on:
            return []  # a new stream will start
        return self._back(now)

    def _back(self, now: float) -> list[CallCommand]:
        """The call is ours again; the agent is told what came of it."""
        self._move(Move.START)
        self._away = None
        self.ledger.blocked = False
        self._watch = CarrierWatch(self.plan.carrier_gone_seconds, now)
        self.silence.caller_active(now)
        news, self._news = self._news, ""
        if self._provider_gone:
            return self._apologise(EndReason.PROVIDER_LOST, now)
        return [ToProvider(SendText(news, role="system"))] if news and self._text_in else []

    def _tell_provider(self, event: Tell, _now: float) -> list[CallCommand]:
        """An operator puts words into the agent's mouth, or into its ear."""
        if self._provider_gone or self.state in (State.LEAVING, State.PARKED):
            return []
        if event.aloud:
            return [ToProvider(Say(Purpose.MESSAGE, event.text))]
        return [ToProvider(SendText(event.text, role="system", respond=event.respond))]

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
        if self.state in BEFORE_STREAM:
            return self._wait_for_stream(now)
        if self.state is State.PARKED:
            return self._end(EndReason.CARRIER_LOST) if now >= self._away_until else []
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
        watch = self._watch
        if watch.stalled(now):
            return self._end(EndReason.CARRIER_STALLED)
        if watch.silent(now):
            return self._end(EndReason.CARRIER_SILENT)
        if watch.stalled_for(now) >= _STALE_AFTER_SECONDS:
            self.ledger.drop_oldest(_KEEP_WHEN_BLOCKED_MS)
        probe = watch.probe(now)
        return [Mark(probe)] if probe is not None else []

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
            leaving = Leaving(EndReason.SILENCE, by=end + 0.9, not_before=end, words_by=now + WORDS_SECONDS)
            commands = self._leave(leaving)
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
            commands += self._leave(Leaving(EndReason.MAX_DURATION, by=now + 2.0))
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
        self.state = moved(self.state, move)
