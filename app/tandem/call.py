"""One call, without I/O: told what happens and when, it answers what to do. Its states: `call_state`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tandem.answers import Answers
from tandem.call_state import BEFORE_STREAM, Move, State, moved
from tandem.call_types import (
    Answered,
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
    MachineFound,
    Outbound,
    Returned,
    SocketBlocked,
    SocketLost,
    Tell,
    Tick,
    ToProvider,
)
from tandem.caller_audio import CallerAudio
from tandem.carrier_watch import KEEP_WHEN_BLOCKED_MS, STALE_AFTER_SECONDS, CarrierWatch
from tandem.carriers.events import Dtmf, Malformed, Mark, MarkPlayed, Media, Started, Stopped
from tandem.duplex import DuplexVoice
from tandem.ears import Ears
from tandem.leaving import WORDS_SECONDS, Leaving
from tandem.ledger import Ledger
from tandem.length import WRAP_UP, LengthWatch
from tandem.machine import MESSAGE_SECONDS, MachineWatch
from tandem.outset import Outset
from tandem.parking import PUT_OFF, Parking
from tandem.short_ways import LOOK_SECONDS, ShortWays
from tandem.silence import SilenceWatch
from tandem.stream_watch import StreamWatch
from tandem.transcript import ConversationRecord, Line, history_of
from tandem_providers.commands import CancelResponse, CommitTurn, Purpose, Say, SendDtmf, SendText
from tandem_providers.detector import TurnDetector
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

_PROMPT = "prompt:"
"""Items of ours, which no provider knows, begin with this."""
_HEARS_NOTHING = frozenset({State.PARKED, State.ENDED})


class Call:
    """One call. `handle` takes any event with the time it happened and answers commands, to be obeyed in order."""

    def __init__(self, plan: CallPlan, now: float) -> None:
        self.plan = plan
        self.state = State.RINGING if plan.outbound is None else State.DIALLING
        self.opened_at = self._time = self._lost_at = now
        self.started_at: float | None = None
        self.stats = CallStats()
        self.ledger = Ledger(plan.format, plan.lead_ms, blocked=True)
        self.record = ConversationRecord()
        self.audio: CallerAudio | None = None
        self.silence = SilenceWatch(plan.silence_seconds, now)
        self.end_reason: EndReason | None = None
        self.ended_at: float | None = None
        self.parked_at_end = False
        self.ways = ShortWays()
        self._leaving: Leaving | None = None
        self.parking = Parking()
        placed = plan.outbound or Outbound()
        self._outset = Outset(plan.greeting, placed.listen_first)
        self._machine = MachineWatch(placed.machine, placed.message, plan.format)
        self._stream = StreamWatch(plan, now, dialling=plan.outbound is not None)
        self._length = LengthWatch(plan.max_seconds)
        self._turn = ""
        self._ears = Ears()
        self._provider_gone = self._provider_held = self._text_in = self._asked_to_wait = False
        self._duplex: DuplexVoice | None = None
        self._cut_when_it_speaks = self._owes_words = self._caller_spoke = self._waits_mutely = False
        self._due = Answers(now)
        self._watch = CarrierWatch(plan.carrier_gone_seconds, now)

    def handle(self, event: CallEvent, now: float) -> list[CallCommand]:
        """Something happened. Events that need no action here (warnings, tool calls) answer nothing."""
        self._time = now
        kind = type(event)
        if kind is not Tick and kind is not MarkPlayed:
            self.ways.ledger, self.ways.look_at = None, 0.0
        handler = _HANDLERS.get(kind)
        if handler is None or self.state is State.ENDED:
            return []
        commands = handler(self, event, now)
        self._choose_ways()
        return commands or []

    def _choose_ways(self) -> None:
        """Whether what comes next of either side may take the short way."""
        if self._leaving is not None or self.parking.words_by:
            self.ways.ledger = None
        deaf = self._provider_gone or self.state in _HEARS_NOTHING or self._ears.open or self._machine.deaf
        self.ways.hearing = None if deaf else self.audio

    def finish(self, reason: EndReason) -> None:
        """It is over, whoever says so. The first reason stands."""
        if self.end_reason is None:
            self.parked_at_end, self.state = self.state is State.PARKED, State.ENDED
            self.ways.close()
            self.end_reason = reason
            self.ended_at = self._time

    def lines(self, now: float) -> list[Line]:
        """The conversation as heard so far."""
        return self.record.lines(self.ledger.heard(now))

    def history(self, now: float) -> tuple[HistoryTurn, ...]:
        """What was said in finished turns, as heard: what a successor shall remember. Later words come as audio."""
        return history_of(self.lines(now))

    # --- the carrier ------------------------------------------------------------------------------

    def _attached(self, _event: Attached, now: float) -> None:
        self._stream.attached_at = now
        self._watch.heard(now)

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
        self.ledger.block(False)
        commands: list[CallCommand] = [*self.ledger.tick(now)]
        if commands:
            self.stats.note_audio(now, self.started_at)
        if failed:
            commands += self._apologise(EndReason.PROVIDERS_FAILED, now)
        return commands

    def _media(self, event: Media, now: float) -> list[CallCommand]:
        if self.audio is None:
            self.stats.count_bad("media before start")  # a start that is late is waited for, but not for long
            return []
        self._watch.heard(now)
        return self._hear(self.audio.accept(event, now), now)

    def _hear(self, audio: bytes, now: float) -> list[CallCommand]:
        if not audio or self._provider_gone or self.state is State.PARKED:
            return []
        audio = self._machine.hear(audio, now)
        commands: list[CallCommand] = [Hear(audio)]
        for heard in self._ears.feed(audio):
            if isinstance(heard, UserSpeechStarted):
                commands += self._speech_started(heard, now)
            else:
                self._speech_stopped(heard, now)
                commands.append(ToProvider(CommitTurn()))
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
        return [*self._speaks_up(now), ToProvider(SendDtmf(event.digit))]

    def _malformed(self, event: Malformed, now: float) -> list[CallCommand]:
        self.stats.count_bad(event.reason)
        return self._end(EndReason.BAD_STREAM) if self._watch.bad_frame(now) else []

    def _stopped(self, _event: Stopped, _now: float) -> list[CallCommand]:
        return [] if self.state is State.PARKED else self._end(EndReason.CALLER_HUNG_UP)  # if so, that is why

    def _socket_lost(self, event: SocketLost, _now: float) -> list[CallCommand]:
        self.stats.close_code = event.code
        return [] if self.state is State.PARKED else self._end(EndReason.CARRIER_LOST)

    def _socket_blocked(self, event: SocketBlocked, now: float) -> list[CallCommand]:
        self.ledger.block(event.blocked or self.started_at is None or self.state is State.PARKED)
        self._watch.block(event.blocked, now)
        return [] if event.blocked else [*self.ledger.tick(now)]

    # --- the provider -----------------------------------------------------------------------------

    def _session_ready(self, event: SessionReady, now: float) -> list[CallCommand]:
        self.stats.provider = event.provider
        self.stats.model = event.model
        before = self.state
        self._move(Move.READY)
        if before is self.state:
            return []  # one session follows another, or nothing is to be said any more
        if before is State.RECOVERING:
            self._asked_to_wait = False
            return [ToProvider(Say(Purpose.RESUME))] if self._owes_words else []
        self.stats.ready_seconds = now - self._stream.since
        return [*self._leave_message(now)] if self._machine.found else [*self._outset.ready()]

    def set_voice(self, can: Capabilities, ears: TurnDetector | None = None) -> None:
        """Who speaks for the agent now; `ears` when that provider does not hear turns itself."""
        self._ears.own = ears
        self._text_in = self._outset.text_in = can.text_in
        self._duplex = DuplexVoice(self.plan.format, self._time) if can.turn_model == "duplex" else None
        self._waits_mutely = not can.speaks_while_it_waits
        self.silence.trust_speech = not can.transcribes
        self._choose_ways()

    def _provider_lost(self, event: ProviderLost, now: float) -> list[CallCommand]:
        """The words under way stop here; what was received goes on playing until the successor speaks."""
        self.stats.failovers += 1
        self.record.repeat()
        self.stats.provider_error = str(event.error)
        unfinished, self._turn = bool(self._turn or (self._duplex and not self._duplex.heard(now))), ""
        self._move(Move.LOST)
        if self.state is State.RINGING:
            self.ledger.clear(now)
            return []
        self._cut_when_it_speaks, self._owes_words = unfinished, unfinished and not self._caller_spoke
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
        why = EndReason.PROVIDERS_FAILED if before is State.CONNECTING else EndReason.PROVIDER_LOST
        return self._apologise(why, now)

    def _agent_audio(self, event: AudioChunk, now: float) -> list[CallCommand]:
        if self.state is State.PARKED:
            return []  # nobody hears it, and when somebody does again it is stale
        commands: list[CallCommand] = []
        if self._cut_when_it_speaks:
            self._cut_when_it_speaks = False
            commands += self.ledger.clear(now)[0]
        audio = event.audio if self._duplex is None else self._duplex.pad(event.audio, self.ledger, now)
        item = event.item_id or event.turn_id
        commands += self.ledger.append(audio, item, event.turn_id, event.content_index, event.is_final, now)
        if commands and (self._duplex is None or self._duplex.is_loud):
            if self.stats.answer_due:
                self.stats.note_audio(now, self.started_at)
            self._words_have_begun()
        if not self._provider_held and self.ledger.overfull:
            self._provider_held = True
            self._ears.listen_meanwhile()
            commands.append(HoldProvider(True))
        self.ways.ledger = None if self._duplex or event.is_final or self.stats.answer_due else self.ledger
        return commands

    def _agent_heard(self, now: float) -> bool:
        """Nothing of the agent is playing, waiting or being made."""
        return self._duplex.heard(now) if self._duplex else self._due.over(self._turn, self.ledger.speaking(now), now)

    def _words(self, event: Transcript, now: float) -> list[CallCommand]:
        self.record.hear(event, self._since_start(now), settles=self._duplex is not None)
        final = event.is_final or self._duplex is not None
        if not event.is_input or not event.text.strip() or not self.silence.said(now, final=final):
            return []
        self.stats.caller_turns += event.is_final
        self._stay()
        return self._put_off() if self._duplex else []  # where no turns are heard, words tell that the caller speaks

    def _speech_started(self, _event: UserSpeechStarted, now: float) -> list[CallCommand]:
        self.silence.speech_started(now)
        self._caller_spoke = True
        self.stats.speech_stopped_at = None
        return [*self._speaks_up(now), *self._outset.spoken_to()]

    def _speech_stopped(self, _event: UserSpeechStopped, now: float) -> None:
        self.silence.speech_stopped(now)
        self.stats.speech_stopped_at = now

    def _turn_started(self, event: TurnStarted, now: float) -> None:
        if self._leaving is not None and self._leaving.last_words_said:
            self.ledger.kill(event.turn_id)  # the goodbye was the last word
        else:
            self._turn, self._due.seen = event.turn_id, now

    def _turn_ended(self, event: TurnEnded, now: float) -> list[CallCommand]:
        if event.turn_id == self._turn:
            self._turn = ""
            self._ears.spare = None
        if event.status in ("completed", "interrupted") and not event.awaiting_tools:
            self.record.settle()
            self._caller_spoke = event.status == "interrupted"
        self.stats.failed_turns += event.status == "failed"
        self._due.ended(event, now)
        unheard = self.stats.speech_stopped_at is not None or self._due.blocked(event, self.ledger.items.values())
        if self.state is State.TALKING and not self.silence.talking(now) and self._due.owed(event, unheard=unheard):
            return [ToProvider(Say(Purpose.RESUME))]
        return self._check_leaving(now)

    def _interrupted(self, _event: Interrupted, now: float) -> list[CallCommand]:
        """The provider has stopped by itself, so it need not be told to."""
        self._caller_spoke = True
        return [c for c in self._speaks_up(now) if c != ToProvider(CancelResponse())]

    # --- barge-in ---------------------------------------------------------------------------------

    def _speaks_up(self, now: float) -> list[CallCommand]:
        """The caller speaks or presses a key: we stay, and the agent is silent."""
        self._stay()
        commands = self._hush(now)
        self.stats.barge_ins += len(commands) > 1  # a word to the provider alone cuts off nothing that was audible
        return [*commands, *self._put_off()]

    def _hush(self, now: float) -> list[CallCommand]:
        """Whatever of the agent has not been heard never will be, here, there and in memory."""
        if self.state is State.LEAVING or self.state is State.PARKED:
            return []  # what cannot be undone by speaking: the caller shall hear it to its end
        clear, cuts = self.ledger.clear(now)
        self._ears.spare = None
        if self._turn:
            self.ledger.kill(self._turn)
        if not clear and not cuts and not self._turn:
            return []
        self._turn = ""  # nothing of it will be heard, so nothing waits for its end
        reports = [ToProvider(cut.report) for cut in cuts if not cut.item.item_id.startswith(_PROMPT)]
        return [*clear, *reports, ToProvider(CancelResponse()), *self._release_provider()]

    # --- leaving ----------------------------------------------------------------------------------

    def _leave(self, plan: Leaving) -> list[CallCommand]:
        if self.state in BEFORE_STREAM or self.state is State.PARKED:
            return self._end(plan.reason)
        if self._leaving is None or self._leaving.may_stay:
            self._move(Move.LEAVE)
            self._leaving, self.parking.wanted = plan, None
        return []

    def _stay(self) -> None:
        """The caller said something while we were about to hang up politely."""
        if self._leaving is not None and self._leaving.may_stay and not self._provider_gone:
            self._move(Move.STAY)
            self._leaving = None

    def _put_off(self) -> list[CallCommand]:
        """The caller said something while being told of a transfer: it is off, and the agent knows."""
        off = self.parking.put_off() and self._text_in
        return [ToProvider(SendText(PUT_OFF, role="system", respond=False))] if off else []

    def _words_have_begun(self) -> None:
        self.parking.words_by = 0.0
        if self._leaving is not None:
            self._leaving.words_by = 0.0

    def _apologise(self, reason: EndReason, now: float) -> list[CallCommand]:
        """The provider is gone for good: say so, then hang up."""
        waiting = self.ledger.ahead_ms(now) + self.ledger.held_ms
        waiting += self.plan.format.milliseconds(len(self.plan.prompts.sorry))
        self._leaving = Leaving(reason, by=now + waiting / 1000 + 2.0)
        self.parking.ask_for_way_out(self.plan.way_out)
        return self._play_prompt("sorry", self.plan.prompts.sorry, now)

    def _hang_up(self, event: HangUp, now: float) -> list[CallCommand]:
        """Somebody else ends the call: an operator, or a server that goes down."""
        plan = Leaving(event.reason, by=now + self.plan.leave_seconds)
        commands = [*self._hush(now), *self._leave(plan)]
        if self._leaving is plan and self.state is State.LEAVING:
            commands += self._play_prompt("goodbye", self.plan.prompts.goodbye, now)
        return commands

    def _check_leaving(self, now: float) -> list[CallCommand]:
        if self._leaving is None and self.parking.wanted is None:
            return []
        heard = self._agent_heard(now)
        if self.state in (State.TALKING, State.LEAVING) and self.parking.due(now, heard=heard):
            self._move(Move.DEPART)
            self.ledger.clear(now)
            self.ledger.block(True)
            return [GiveToCarrier(self.parking.go(now))]
        over = self._leaving is not None and self.state is State.LEAVING and self._leaving.due(now, heard=heard)
        return self._end(self._leaving.reason) if over and self._leaving is not None else []

    # --- the carrier takes the call for a while -----------------------------------------------------

    def _depart(self, event: Depart, now: float) -> list[CallCommand]:
        """Give the call to the carrier once a word about it, and all before, has been heard."""
        if self.state is not State.TALKING:
            return []
        self.parking.ask(event, now)
        return self._check_leaving(now) if event.say is None else [ToProvider(Say(Purpose.MESSAGE, event.say))]

    def _returned(self, event: Returned, now: float) -> list[CallCommand]:
        """How it went with the call that the carrier had: it is with somebody else, or stays with us."""
        if self.state is not State.PARKED or self.parking.away is None:
            return []
        if event.moved:
            return self._end(EndReason.TRANSFERRED)
        self.parking.news = event.news
        return self._back(now) if event.stream_goes_on else []  # a new stream will start

    def _back(self, now: float) -> list[CallCommand]:
        """The call is ours again; the agent is told what came of it."""
        self._move(Move.LEAVE if self._provider_gone else Move.START)
        news = self.parking.back()
        self.ledger.block(False)
        self._watch = CarrierWatch(self.plan.carrier_gone_seconds, now)
        self.silence.caller_active(now)
        if self._provider_gone:
            return self._apologise(EndReason.PROVIDER_LOST, now)
        return [ToProvider(SendText(news, role="system"))] if news and self._text_in else []

    def _tell_provider(self, event: Tell, now: float) -> list[CallCommand]:
        """An operator puts words into the agent's mouth, or into its ear."""
        if self._provider_gone or self.state in (State.LEAVING, State.PARKED):
            return []
        if event.waits and self._waits_mutely:
            return self._play_prompt("one-moment", self.plan.prompts.one_moment, now)
        whispered = SendText(event.text, role="system", respond=event.respond)
        return [ToProvider(Say(Purpose.MESSAGE, event.text) if event.aloud else whispered)]

    def _play_prompt(self, name: str, audio: bytes, now: float) -> list[CallCommand]:
        item = f"{_PROMPT}{name}"
        self.ledger.items.pop(item, None)
        self.stats.note_audio(now, self.started_at)
        if self._duplex is not None:
            self._duplex.waits_for(audio, self.ledger, now)
        return [*self.ledger.append(audio, item, "", 0, True, now)]  # of no turn: what cuts a turn does not cut it

    def _end(self, reason: EndReason) -> list[CallCommand]:
        self.finish(reason)
        return [End(reason)]

    # --- a call that we placed ----------------------------------------------------------------------

    def _answered(self, _event: Answered, now: float) -> None:
        if self.state is State.DIALLING:
            self._move(Move.ANSWERED)
            self._stream.answered(now)

    def _call_over(self, event: CallOver, _now: float) -> list[CallCommand]:
        return self._end(event.unanswered if self.state in BEFORE_STREAM else EndReason.CALLER_HUNG_UP)

    def _machine_found(self, event: MachineFound, now: float) -> list[CallCommand]:
        """Nobody to talk to: what was begun to be said is taken back, unless the talk shall go on all the same."""
        self.stats.machine = True
        if self._machine.policy == "continue" or self.state in (State.LEAVING, State.PARKED):
            return []
        if self._machine.policy == "hang_up":
            return self._end(EndReason.MACHINE)
        hush = [] if self._machine.found else self._hush(now) or [ToProvider(CancelResponse())]
        self._machine.find(event.ready, now)
        self._outset.give_up()
        return [*hush, *self._leave_message(now)]

    def _leave_message(self, now: float) -> list[CallCommand]:
        if self.state is not State.TALKING or not self._machine.message_due(now):
            return []
        self._leave(Leaving(EndReason.MACHINE, by=now + MESSAGE_SECONDS, words_by=now + WORDS_SECONDS))
        return [ToProvider(Say(Purpose.MESSAGE, self._machine.message))]

    # --- time -------------------------------------------------------------------------------------

    def _tick(self, _event: Tick, now: float) -> list[CallCommand]:
        if self.state in BEFORE_STREAM:
            late = self._stream.late(now)
            return self._end(late) if late is not None else []
        if self.state is State.PARKED:
            return self._end(EndReason.CARRIER_LOST) if now >= self.parking.back_by else []
        commands: list[CallCommand] = [*self.ledger.tick(now), *self._release_provider()]
        if self.audio is not None:
            self._watch.heard(self.audio.last_media)
            commands += self._hear(self.audio.tick(now), now)
        commands += self._watch_carrier(now)
        if self.state is State.CONNECTING and self.started_at is not None:
            commands += self._ask_to_wait(self.started_at, now)
        elif self.state is State.RECOVERING:
            commands += self._ask_to_wait(self._lost_at, now)
        elif self.state is State.TALKING:
            commands += [*self._outset.tick(now), *self._leave_message(now), *self._watch_silence(now)]
        if self.state in (State.CONNECTING, State.TALKING, State.RECOVERING):
            commands += self._watch_length(now)
        commands += self._check_leaving(now)
        at_rest = not commands and self.state is State.TALKING and self._leaving is None and not self.parking.wanted
        at_rest = at_rest and not self.ledger.waits and not self._machine.found
        self.ways.look_at = now + LOOK_SECONDS if at_rest else 0.0
        return commands

    def _watch_carrier(self, now: float) -> list[CallCommand]:
        if (gone := self._watch.gone(now)) is not None:
            return self._end(gone)
        if self._watch.stalled_for(now) >= STALE_AFTER_SECONDS:
            self.ledger.drop_oldest(KEEP_WHEN_BLOCKED_MS)
        return [] if (probe := self._watch.probe(now)) is None else [Mark(probe)]

    def _ask_to_wait(self, since: float, now: float) -> list[CallCommand]:
        """One spoken word for a wait that would else be dead air."""
        if self._asked_to_wait or now - since < self.plan.hold_prompt_seconds or self.ledger.speaking(now):
            return []
        self._asked_to_wait = True
        return self._play_prompt("one-moment", self.plan.prompts.one_moment, now)

    def _watch_silence(self, now: float) -> list[CallCommand]:
        if self._machine.deaf or self._due.working(now) or not self._agent_heard(now):
            self.silence.agent_active(now)
        if self.silence.goodbye_due(now):
            end, words_by = self.silence.end_at, now + WORDS_SECONDS
            leaving = Leaving(EndReason.SILENCE, by=max(end, words_by) + 0.9, not_before=end, words_by=words_by)
            return [*self._leave(leaving), ToProvider(Say(Purpose.GOODBYE))]
        if self.silence.nudge_due(now):
            self.stats.nudges += 1
            return [ToProvider(Say(Purpose.STILL_THERE))]
        return []

    def _watch_length(self, now: float) -> list[CallCommand]:
        if self.started_at is None:
            return []
        if self._length.over(self.started_at, now):
            clear, ended = self.ledger.clear(now)[0], self._leave(Leaving(EndReason.MAX_DURATION, by=now + 2.0))
            return [*clear, *ended, *self._play_prompt("goodbye", self.plan.prompts.goodbye, now)]
        if self._text_in and self._length.wrap_up_due(self.started_at, now):
            return [ToProvider(SendText(WRAP_UP, role="system", respond=False))]
        return []

    def _release_provider(self) -> list[CallCommand]:
        if not self._provider_held or self.ledger.overfull:
            return []
        self._provider_held = False
        return [HoldProvider(False)]

    def _since_start(self, now: float) -> float:
        return round(now - (self.started_at if self.started_at is not None else self.opened_at), 3)

    def _move(self, move: Move) -> None:
        self.state = moved(self.state, move)


_HANDLERS: dict[type, Callable[[Call, Any, float], list[CallCommand] | None]] = {
    Media: Call._media,
    AudioChunk: Call._agent_audio,
    MarkPlayed: Call._mark_played,
    Tick: Call._tick,
    Transcript: Call._words,
    ItemAdded: lambda call, event, now: call.record.place(event, call._since_start(now)),
    Interrupted: Call._interrupted,
    ProviderLost: Call._provider_lost,
    UserSpeechStarted: Call._speech_started,
    UserSpeechStopped: Call._speech_stopped,
    TurnStarted: Call._turn_started,
    TurnEnded: Call._turn_ended,
    Usage: lambda call, event, _: call.stats.add_usage(event),
    Dtmf: Call._dtmf,
    Attached: Call._attached,
    Started: Call._started,
    Stopped: Call._stopped,
    CallOver: Call._call_over,
    Answered: Call._answered,
    MachineFound: Call._machine_found,
    Depart: Call._depart,
    Returned: Call._returned,
    Tell: Call._tell_provider,
    Malformed: Call._malformed,
    SessionReady: Call._session_ready,
    SessionClosed: Call._session_closed,
    HangupRequested: lambda call, _, now: call._leave(Leaving(EndReason.AGENT_HUNG_UP, now + call.plan.leave_seconds)),
    SocketBlocked: Call._socket_blocked,
    SocketLost: Call._socket_lost,
    HangUp: Call._hang_up,
}
