"""The pump: one call, two sockets, one owner. It holds every `await` of a call and decides nothing.

A frame takes one synchronous path: the carrier's socket -> its dialect -> `Call.handle` -> the provider's session, and
back the same way. Nothing is queued and no task is made for it. What happens while commands are being obeyed (an
embedded provider answers at once) waits until they are done, so that each event meets a settled call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tandem import call_report, logs
from tandem.call import Call
from tandem.call_report import COMPLAINT
from tandem.call_state import State
from tandem.call_types import (
    CLOSE_CODES,
    Answered,
    Attached,
    CallCommand,
    CallEvent,
    CallOver,
    CallPlan,
    Depart,
    End,
    EndReason,
    GiveToCarrier,
    HangUp,
    Hear,
    HoldProvider,
    Keys,
    MachineFound,
    Returned,
    SocketBlocked,
    SocketLost,
    Tell,
    Tick,
    ToProvider,
    Transfer,
)
from tandem.carrier_line import CarrierLine
from tandem.carriers.events import CarrierError, Clear, Malformed, Mark, Media, Play, Started, Stopped
from tandem.carriers.table import CarrierKind
from tandem.identity import Identity as Identity
from tandem.line_audio import LineAudio
from tandem.metrics import Metrics
from tandem.rest.port import CarrierApi, CarrierApiError, OutboundCall
from tandem.ticker import Ticker
from tandem_codecs.convert import Converter
from tandem_codecs.guard import CodecGuard
from tandem_providers.client import Client
from tandem_providers.commands import ToolResult
from tandem_providers.config import ProcessConfig
from tandem_providers.detector import TurnDetector
from tandem_providers.events import AudioChunk, Event, ProviderLost, ProviderWarning, SessionReady, ToolCall
from tandem_providers.line import WRONG_CODEC
from tandem_providers.provider import Capabilities, Opening, Session
from tandem_providers.tasks import StartTask, owned_tasks
from tandem_providers.wire import FrameSocket

TICK_SECONDS = 0.1
"""How finely a call sees time pass while nothing else happens."""
BLOCKED_BYTES = 65_536
"""More than this in the socket's buffer: the carrier is not reading fast enough."""
FREE_BYTES = 16_384
AWAY_SECONDS = 30.0
"""How long the carrier may have the call beyond ringing, before it is given up."""
_CLEAN_CLOSES = frozenset({1000, 1001, 1005})
"""Close codes of a far end that is done (RFC 6455, 7.4.1)."""
_WAITING = 256
"""Commands kept for a session object that does not exist yet (a few loop turns)."""

NO_FUNCTION = '{"error": "unknown_function", "message": "There is no such function."}'

log = logs.get(__name__)


class MediaReceiver:
    """What one media socket delivers to. One that has been followed by another is not listened to any more."""

    __slots__ = (
        "on_close",
        "on_message",
    )

    def __init__(self, bridge: Bridge) -> None:
        self.on_message: Callable[[bytes, bool], None] = bridge.on_message
        self.on_close: Callable[[int, str], None] = bridge.on_close

    def retire(self) -> None:
        """Whatever this socket still says, or that it closes, concerns nobody."""
        self.on_message = self.on_close = _nobody


def _nobody(*_said: object) -> None:
    """Hears it."""


class Bridge:
    """One call from the webhook (or the media socket) to the end.

    `run` owns it; `attach` gives it the carrier's socket. `accepts` decides, when the stream starts, whether it is the
    stream of this call: it is told what the carrier said and answers False for a stranger. `api` controls the call
    beside its media; a carrier for which a closed socket does not end the call needs it. With an `order` the call is
    one that we place: `run` has the carrier dial, and `placed` tells what it said to that.
    """

    __slots__ = (
        "_accepts",
        "_blocked",
        "_busy",
        "_client",
        "_close_code",
        "_dialect",
        "_inbox",
        "_incoming",
        "_longest_play",
        "_may_spend",
        "_metrics",
        "_order",
        "_outbound",
        "_over",
        "_receiver",
        "_session",
        "_skips",
        "_spawn",
        "_ticker",
        "_told_at",
        "_waiting",
        "_ways",
        "agent",
        "call",
        "carrier",
        "config",
        "frames_out",
        "identity",
        "line",
        "opened_unix",
        "placed",
        "socket",
        "streams",
    )

    def __init__(
        self,
        carrier: CarrierKind,
        identity: Identity,
        client: Client,
        config: ProcessConfig,
        plan: CallPlan,
        accepts: Callable[[Started], bool],
        metrics: Metrics,
        ticker: Ticker,
        api: CarrierApi | None = None,
        origin: str = "",
        order: OutboundCall | None = None,
    ) -> None:
        self.carrier = carrier
        self.identity = identity
        self.line = CarrierLine(carrier.traits, identity, api, origin)
        self.agent = ""
        """Its name, for the record."""
        self.opened_unix = time.time()
        self.call = Call(plan, time.monotonic())
        self._ways = self.call.ways
        self.socket: FrameSocket | None = None
        self._client = client
        self.config = config
        """What its provider is asked for; may be added to before `run`."""
        self._accepts = accepts
        self._metrics = metrics
        self._dialect = carrier.dialect()
        self._session: Session | None = None
        self._may_spend = asyncio.Event()
        if identity.call_id:
            self._may_spend.set()
        self._over = asyncio.Event()
        self._spawn: StartTask | None = None
        self._waiting: list[CallCommand] = []
        self._inbox: list[CallEvent] = []
        self._busy = False
        self._blocked = False
        self._ticker = ticker
        self._incoming: LineAudio | None = None
        self._outbound: Converter | None = None
        self._receiver: MediaReceiver | None = None
        self._longest_play = plan.format.size(carrier.traits.longest_play_ms)
        self.placed: asyncio.Future[CarrierApiError | None] | None = None
        """Done once the carrier has taken the order (None) or not."""
        self._order = order
        if order is not None:
            self.placed = asyncio.get_running_loop().create_future()
        self._close_code = 1000
        self._told_at = 0.0
        self._skips = 0
        """So many beats of the clock need not be looked at, unless something happens before."""
        self.frames_out = 0
        self.streams = 0
        """Media sockets so far."""

    @property
    def _log(self) -> logs.Log:
        """Names the call: the sockets' callbacks do not run in the context of the call's owner."""
        return log.bind(call_id=self.identity.call_id or self.identity.session)

    # --- the owner --------------------------------------------------------------------------------

    async def run(self) -> None:
        """The whole life of the call. Returns when both ends are closed; raises only `CancelledError`."""
        logs.call_id.set(self.identity.call_id or self.identity.session)
        self._ticker.join(self._tick)
        try:
            async with owned_tasks() as start:
                placing = None if self._order is None else start(self._place(self._order), name="placing")
                await self._wait_until_worth_it()
                logs.call_id.set(self.identity.call_id or self.identity.session)  # learnt meanwhile, in another task
                if not self._over.is_set():
                    await self._talk()
                if placing is not None:
                    await placing  # else a call might begin to ring that nobody ends
        except Exception as error:
            self._log.error("the call's owner failed", error=error)
            self._end(EndReason.INTERNAL_ERROR)
        finally:
            self._end(EndReason.DRAINED)  # only when cancelled: else a reason stands already
            self._ticker.leave(self._tick)
            await self._end_line()
            call_report.tell(
                self.call, self.identity, self.carrier.name, self.agent, self.frames_out, self._metrics, self._log
            )

    async def _wait_until_worth_it(self) -> None:
        """A call that another instance admitted costs nothing until its stream has proved whose it is."""
        if self._may_spend.is_set():
            return
        async with asyncio.TaskGroup() as either:
            waits = [either.create_task(event.wait()) for event in (self._may_spend, self._over)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    async def _place(self, order: OutboundCall) -> None:
        """Have the carrier dial. Its stream may be here before this is done."""
        failure: CarrierApiError | None = CarrierApiError("the call was ended")
        try:
            failure = await self.line.dial(order, self._log)
            if failure is not None:
                self._end(EndReason.NOT_PLACED)
            elif self.line.mistaken:
                self._end(EndReason.WRONG_CALL)
        finally:
            if self.placed is not None and not self.placed.done():
                self.placed.set_result(failure)

    async def _talk(self) -> None:
        async with owned_tasks() as start:
            self._spawn = start
            async with self._client.session(
                self.config,
                self._on_provider,
                leg=self.call.plan.format,
                history=lambda: self.call.history(time.monotonic()),
                opening=Opening(greeting=self._first_words),
                lane=self._plays,
            ) as session:
                self._session = session
                waiting, self._waiting = self._waiting, []
                self._obey(waiting)
                await self._over.wait()
                self._session = None
                line_ended = start(self._end_line(), name="end of line")  # while the provider is let go
            await line_ended

    @property
    def _first_words(self) -> str:
        """What a provider that greets of itself shall say: nothing to somebody who speaks first."""
        plan = self.call.plan
        waits = plan.outbound is not None and plan.outbound.listen_first
        return "" if waits or plan.greeting is None else plan.greeting

    async def _end_line(self) -> None:
        """End the call at the carrier where a closed socket does not do it."""
        if self._needs_ending:
            await self.line.end(self._log)

    @property
    def _needs_ending(self) -> bool:
        """A closed socket is not enough, or there is none: whoever we called may still be being rung."""
        if not self.carrier.traits.socket_ends_call:
            return True
        if self.call.parked_at_end:  # with somebody else, maybe; who asks for the end by name means it
            return self.call.end_reason is EndReason.OPERATOR
        return self._order is not None and self.call.started_at is None

    @property
    def wants_stream(self) -> bool:
        """A media socket may come now: the first, or the next after the carrier had the call for a while."""
        return self.socket is None or self.call.state is State.PARKED

    def receiver(self) -> MediaReceiver:
        """Who the next media socket delivers to."""
        return MediaReceiver(self)

    async def attach(self, socket: FrameSocket, receiver: MediaReceiver | None = None) -> None:
        """The carrier's media socket is open and delivers to `receiver`. Returns when it has closed."""
        before, self.socket = self.socket, socket
        if self._receiver is not None:
            self._receiver.retire()
        self._receiver = receiver
        self.streams += 1
        if before is not None:
            before.close()
            self._dialect = self.carrier.dialect()
            self._incoming = self._outbound = None
            if self._blocked:
                self._blocked = False
                self.tell(SocketBlocked(False))
        self.tell(Attached())
        if self._over.is_set():  # it ended while the carrier was connecting
            self._close_socket()
        await socket.wait_closed()

    @property
    def capabilities(self) -> Capabilities | None:
        """What the provider that has the call now can do."""
        return None if self._session is None else self._session.capabilities

    def hang_up(self, reason: EndReason) -> None:
        """End the call politely: a goodbye, then the line."""
        self.tell(HangUp(reason))

    def transfer(self, to: str, say: str | None = None, *, ring_seconds: int = 30) -> bool:
        """Give the caller to somebody else, after a word about it. False when the call is in no state for it."""
        order = Transfer(to, self.identity.ours, ring_seconds)
        return self._depart(Depart(order, say, ring_seconds + AWAY_SECONDS))

    def send_keys(self, digits: str) -> bool:
        """Play keys to the far end. False when the call is in no state for it."""
        return self._depart(Depart(Keys(digits), seconds=AWAY_SECONDS))

    @property
    def takes_text(self) -> bool:
        """Words can be given to the agent."""
        return self._session is not None and self._session.capabilities.text_in

    def tell_agent(self, text: str, *, aloud: bool, respond: bool = True) -> None:
        """An operator's words, to be said aloud or for the agent's ear; they come to nothing when nobody talks."""
        self.tell(Tell(text, aloud, respond))

    def returned(self, *, moved: bool, news: str = "", stream_goes_on: bool = False) -> None:
        """What came of a transfer, as the carrier tells it."""
        self.line.news = news
        if moved:
            self.line.is_ours = False
        self.tell(Returned(moved, news, stream_goes_on))

    def carrier_ended(self, unanswered: EndReason = EndReason.CALLER_HUNG_UP) -> None:
        """The carrier says by webhook that the call is over; `unanswered`: why, if its stream never began."""
        self.line.is_ours = False
        self.tell(CallOver(unanswered))

    def answered(self) -> None:
        """The carrier says that whoever we called has picked up: now a provider is worth its money."""
        self.tell(Answered())
        self._may_spend.set()

    def machine_found(self, *, ready: bool) -> None:
        """The carrier says that an answering machine has the call; `ready`: its greeting is over."""
        self._log.info("an answering machine", greeting_over=ready)
        self.tell(MachineFound(ready))

    def human_found(self) -> None:
        """The carrier says that it is none."""
        if self.call.stats.machine is None:
            self.call.stats.machine = False

    def stream_failed(self) -> None:
        """The carrier can not stream (any longer) and the line is somebody else's care: there is no one to talk to."""
        self.line.is_ours = False
        self._end(EndReason.NO_STREAM if self.call.started_at is None else EndReason.CARRIER_LOST)

    def _depart(self, departure: Depart) -> bool:
        if self.line.api is None or self.call.state is not State.TALKING or self.call.parking.busy:
            return False
        self.tell(departure)
        return True

    async def _give(self, departure: Depart) -> None:
        """Have the carrier do it; one that refuses leaves everything as it was."""
        refused = await self.line.give(departure.order, self._log)
        traits = self.carrier.traits
        if refused:
            self.returned(moved=False, news=refused, stream_goes_on=True)
        elif isinstance(departure.order, Keys):
            if not traits.keys_end_stream:
                self.returned(moved=False, stream_goes_on=True)
        elif traits.moves_when_socket_closes and self.socket is not None:
            self.socket.close(1000, "transfer")

    # --- the carrier's socket (FrameReceiver) -----------------------------------------------------

    def on_message(self, data: bytes, is_text: bool) -> None:
        """One message of the carrier."""
        if not is_text:
            self.call.stats.count_bad("binary frame")
            self._close_code = 1003
            self._end(EndReason.BAD_STREAM)
            return
        for event in self._dialect.receive(data):
            if type(event) is Media:
                if self._incoming is not None:
                    event = self._incoming.hear(event)
                    if self._incoming.needless:
                        self._incoming = None
                session, hearing = self._session, self._ways.hearing
                if hearing is not None and session is not None and not self._busy:  # the short way
                    audio = hearing.accept(event, time.monotonic())
                    if audio:
                        session.send_audio(audio)
                    else:
                        self._skips = 0  # it waits for one before it, but not for long
                    continue
            elif type(event) is Started and not self._recognise(event):
                return
            elif type(event) is Malformed:
                self._log.warning("unreadable frame from the carrier", reason=event.reason)
            elif type(event) is CarrierError:
                self.call.stats.count_bad(COMPLAINT)
                self._log.warning("the carrier complains", code=event.code, problem=event.text)
            self.tell(event)

    def on_close(self, code: int, reason: str) -> None:
        """The socket is gone."""
        stopped = code in _CLEAN_CLOSES and not self.carrier.traits.says_stop
        self.tell(Stopped() if stopped else SocketLost(code))

    def _recognise(self, event: Started) -> bool:
        """Whether this is the stream of this call; sets up what its audio needs."""
        if self.call.started_at is not None and self.call.state is not State.PARKED:
            return True  # a second start: the call counts it
        if not self._accepts(event):
            self._end(EndReason.WRONG_CALL)
            return False
        self.line.is_ours = True
        if not self.identity.call_id:
            self.identity.call_id = event.call_id
        leg = self.call.plan.format
        try:
            if event.inbound is not None:
                self._incoming = LineAudio(event.inbound, leg, self._misheard)
            if event.outbound is not None and event.outbound != leg:
                self._outbound = Converter(leg, event.outbound)
                self._longest_play = event.outbound.size(self.carrier.traits.longest_play_ms)
        except ValueError:
            event = Started(event.call_id, event.stream_id, event.account_id, None, None, event.announced)
        self._log.info("stream started", stream=event.stream_id, format=event.announced)
        self._may_spend.set()
        return True

    def _misheard(self, guard: CodecGuard) -> None:
        self._metrics.wrong_codec.labels("in").inc()
        self._log.warning(
            "the caller's audio is not what was announced", announced=str(guard.announced), found=str(guard.found)
        )

    # --- the provider's events (EventSink) --------------------------------------------------------

    def _plays(self, audio: bytes, item_id: str) -> bool:
        """The short way of the agent's audio: True when it has gone to the carrier as it is."""
        ledger = self._ways.ledger
        if ledger is None or self._busy or self._outbound is not None:
            return False
        socket, size = self.socket, len(audio)
        if socket is None or not 0 < size <= self._longest_play or not ledger.passes(size, item_id, time.monotonic()):
            return False
        message = self._dialect.play(audio)
        if message:
            socket.send_text(message)
            self.frames_out += 1
        return True

    def _on_provider(self, event: Event) -> None:
        if type(event) is AudioChunk:
            if not event.is_final and self._plays(event.audio, event.item_id):
                return
        elif type(event) is SessionReady and self._session is not None:
            can = self._session.capabilities
            self.call.set_voice(can, None if can.hears_turns else TurnDetector())
            self._log.info("provider ready", provider=event.provider, model=event.model)
        elif type(event) is ToolCall and self.config.on_function_call is None:
            # It has functions of its own making, or of its vendor's console: without an answer it would wait for ever.
            self._to_provider(ToProvider(ToolResult(event.call_id, NO_FUNCTION)))
        elif type(event) is ProviderLost:
            self._log.warning("provider lost", provider=event.provider, error=str(event.error))
        elif type(event) is ProviderWarning:
            if event.code == WRONG_CODEC:
                self._metrics.wrong_codec.labels("out").inc()
            self._log.warning("provider warning", code=event.code, message=event.message)
        self.tell(event)

    # --- events in, commands out ------------------------------------------------------------------

    def tell(self, event: CallEvent) -> None:
        """Something happened: the call decides, its commands are obeyed, then what came meanwhile is told."""
        if self._busy:
            self._inbox.append(event)
            return
        self._busy = True
        self._skips = 0
        try:
            now = self._told_at = time.monotonic()
            self._obey(self.call.handle(event, now))
            while self._inbox:
                now = self._told_at = time.monotonic()
                self._obey(self.call.handle(self._inbox.pop(0), now))
        except Exception as error:
            self._log.error("the call failed", error=error, event_kind=type(event).__name__)
            self._end(EndReason.INTERNAL_ERROR)
        finally:
            self._busy = False

    def _obey(self, commands: list[CallCommand]) -> None:
        for command in commands:
            kind = type(command)
            if kind is Play or kind is Mark or kind is Clear:
                if self.socket is not None:
                    self._to_carrier(self.socket, command)
            elif kind is Hear or kind is ToProvider or kind is HoldProvider:
                self._to_provider(command)
            elif kind is GiveToCarrier:
                if self._spawn is not None:
                    self._spawn(self._give(command.departure), name="order to the carrier")  # type: ignore[union-attr]  # `kind` says so
            elif kind is End:
                self._end(command.reason)  # type: ignore[union-attr]  # `kind` says so, at half the cost of a match

    def _to_provider(self, command: CallCommand) -> None:
        session = self._session
        if session is None:
            if not self._over.is_set():
                self._waiting = [*self._waiting[1 - _WAITING :], command]
        elif type(command) is Hear:
            session.send_audio(command.audio)
        elif type(command) is ToProvider:
            session.send(command.command)
        elif type(command) is HoldProvider:
            (session.pause if command.hold else session.resume)()

    def _to_carrier(self, socket: FrameSocket, command: CallCommand) -> None:
        if type(command) is Play:
            audio = command.audio
            if self._outbound is not None:
                audio = self._outbound.feed(audio)
            while len(audio) > self._longest_play:
                self._play(socket, audio[: self._longest_play])
                audio = audio[self._longest_play :]
            self._play(socket, audio)
        elif type(command) is Mark or type(command) is Clear:
            for message in self._dialect.send(command):
                socket.send_text(message)
            if type(command) is Clear:
                self._metrics.clear_seconds.observe(time.monotonic() - self._told_at)

    def _play(self, socket: FrameSocket, audio: bytes) -> None:
        message = self._dialect.play(audio)
        if message:
            socket.send_text(message)
            self.frames_out += 1

    def _tick(self) -> None:
        if self._skips:
            self._skips -= 1
            return
        socket = self.socket
        if socket is not None and (socket.congested or self._blocked):
            blocked = socket.buffered > (FREE_BYTES if self._blocked else BLOCKED_BYTES)
            if blocked is not self._blocked:
                self._blocked = blocked
                self.tell(SocketBlocked(blocked))
        if not (rests := self._ways.rests(time.monotonic())):
            self.tell(Tick())
        self._skips = max(0, int(rests / TICK_SECONDS) - 1)

    # --- the one close path -----------------------------------------------------------------------

    def _end(self, reason: EndReason) -> None:
        """Close both ends, once; the first reason stands."""
        if self._over.is_set():
            return
        self.call.finish(reason)
        self._over.set()
        self._close_socket()

    def _close_socket(self) -> None:
        reason = self.call.end_reason
        if self.socket is not None and reason is not None:
            code = CLOSE_CODES.get(reason, self._close_code)
            self.socket.close(1003 if self._close_code == 1003 else code, reason.value)
