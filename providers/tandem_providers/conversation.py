"""One conversation and the providers that have it, one after the other: its words outlive each of them.

While nobody has the conversation, what the caller says is kept; when somebody takes it, that is told first. It is kept
on until the turn that answers it is finished, so that a successor of a provider that died hears it again, in order and
each frame once. A provider whose time runs out is followed before it ends: the next session is opened early and takes
over between two turns.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from tandem_codecs.format import AudioFormat
from tandem_providers.commands import Command, CommitTurn
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import InvalidConfigError, ProviderError, ProviderUnavailableError, SessionClosedError
from tandem_providers.events import (
    AudioChunk,
    Event,
    GoingAway,
    ProviderLost,
    ProviderWarning,
    ResumeHandle,
    SessionClosed,
    SessionReady,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.fallback import Plan
from tandem_providers.holding import Holding
from tandem_providers.kept import WORDS, Kept
from tandem_providers.line import Line
from tandem_providers.provider import FRESH, Capabilities, EventSink, HasLane, HistoryTurn, Lane, Opening
from tandem_providers.rotation import BY_SECONDS, EARLY_SECONDS, complete, meanwhile, news, times
from tandem_providers.tasks import StartTask
from tandem_providers.vigil import HEEDED, Vigil

if TYPE_CHECKING:
    from tandem_providers.client import Client

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 8.0
"""A provider that says nothing at all for so long after the caller has finished is dead, whatever its socket says."""
SILENT: Final = "silent"
"""Code of the error of a provider that did not answer."""
FAILING: Final = "failing"
"""And of one whose answers fail, one after the other."""
FAILED_TURNS: Final = 2
"""So many: a failure that may pass is tried again once, and the caller hears nothing meanwhile."""
RECOVERIES: Final = 5
RECOVERY_WINDOW: Final = 60.0
"""A conversation that lost so many providers in a minute is given up: it must not loop."""
STANDBY_SECONDS: Final = 1.0
"""So long after a successor died before it had taken over, another one is opened."""
DUPLEX_KEEP_MS: Final = 1000
"""Where there are no turns: what the caller said before the agent's words is taken as heard, but for this much."""
_WATCHED: Final = frozenset(
    {
        SessionReady,
        SessionClosed,
        TurnStarted,
        TurnEnded,
        UserSpeechStarted,
        UserSpeechStopped,
        GoingAway,
        ResumeHandle,
        Transcript,
    }
)

History = Callable[[], tuple[HistoryTurn, ...]]


class Conversation:
    """One conversation, from before any provider has it until after the last one; always in the leg's format.

    A `Session` to its user. Events end with one `SessionClosed`, in every case.
    """

    __slots__ = (
        "_began", "_caller_speaks", "_changed", "_client", "_config", "_ended", "_failed_turns", "_gone", "_handles",
        "_history", "_holding", "_kept", "_lane", "_line", "_lives", "_lost_at", "_lost_by", "_on_event", "_opening",
        "_order", "_paused", "_ready", "_rotate_at", "_rotate_by", "_said", "_settled", "_stands_by", "_start", "_turn",
        "_turn_from", "_vigil", "capabilities", "input_format", "output_format", "provider", "task",
    )  # fmt: skip

    def __init__(
        self,
        client: Client,
        config: ProcessConfig,
        on_event: EventSink,
        leg: AudioFormat,
        start: StartTask,
        history: History | None,
        opening: Opening = FRESH,
        lane: Lane | None = None,
    ) -> None:
        self.provider = ""
        """Who has the conversation; empty while nobody has."""
        self.capabilities: Capabilities = client.capabilities
        """Of the provider that has it; before that, of the first one."""
        self.input_format = self.output_format = leg
        self.task: asyncio.Task[None] | None = None
        self._client = client
        self._config = config
        self._on_event = on_event
        self._lane = lane
        self._start = start
        self._opening = opening
        self._said = {f"earlier {n}": turn for n, turn in enumerate(opening.history)}
        self._history = history if history is not None else lambda: tuple(self._said.values())
        self._kept = Kept(leg, client.keep_seconds)
        self._order = list(range(len(client.providers)))
        """In which order providers are tried, by their place in the client."""
        self._holding: Holding | None = None
        self._line: Line | None = None
        self._handles: dict[str, str] = {}
        self._lost_at: list[float] = []
        self._lost_by: dict[int, float] = {}
        """When each provider, by its place in the client, lost it last."""
        self._paused = self._ended = False
        self._began = False
        """A provider has had it: the next one continues."""
        self._turn_from = 0
        """Where in the caller's audio the turn under way began to be answered."""
        self._turn = False
        self._failed_turns = 0
        """In a row, of the provider that has it."""
        self._caller_speaks = False
        self._vigil = Vigil(client.answer_seconds, config, self._give_up_silent)
        self._lives = 0
        """How many sessions have had it."""
        self._stands_by = False
        """A successor is being opened, or waits for its turn; it was told nothing since."""
        self._settled = 0
        """Meanwhile: where in the caller's audio begins what the successor need not be told."""
        self._rotate_at: float | None = None
        self._rotate_by: float | None = None
        self._changed = asyncio.Event()
        """Something happened that the owner waits for."""
        self._gone: ProviderError | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # Session

    def send_audio(self, audio: bytes) -> None:
        """The caller's voice in the leg's format: to the provider, and kept for one that may follow."""
        line = self._line
        if line is not None:
            line.send_audio(audio)
        elif self._ended:
            return
        self._kept.add_audio(audio)

    def send(self, command: Command) -> None:
        """To the provider, or kept for the one that will come, in order with the audio."""
        if self._line is not None:
            if self.capabilities.turn_model != "duplex":
                self._kept.add_told(command)
            elif isinstance(command, WORDS):
                self._kept.add_command(command)
            self._vigil.told(command, self.capabilities)
            self._line.send(command)
            self._set_lane()
        elif not self._ended and not self._kept.add_command(command):
            self._warn("command_dropped", f"too many commands before a provider was ready: {type(command).__name__}")

    def pause(self) -> None:
        self._paused = self._vigil.paused = True
        if self._holding is not None and self._holding.session is not None:
            self._holding.session.pause()

    def resume(self) -> None:
        self._paused = self._vigil.paused = False
        if self._holding is not None and self._holding.session is not None:
            self._holding.session.resume()

    async def ready(self) -> None:
        """Return once a provider has taken the conversation. Cancel-safe.

        Raises:
            ProviderError: none did.
        """
        await asyncio.wait([self._ready])
        self._ready.result()

    # Lifetime

    def end(self) -> None:
        """End the conversation; nothing is told after this. Its owner waits for the rest. Idempotent."""
        self._end(SessionClosed())
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        """Find a provider, and another one whenever the one that had the conversation is gone."""
        try:
            while not self._ended:
                plan = self._plan(self._client.total_seconds)
                holding = await self._open(plan)
                if holding is None:
                    self._end(SessionClosed(plan.error()))
                    return
                self._adopt(holding)
                await self._stay()
        except Exception:
            logger.exception("a provider session failed in a way that it must not")
            self._end(SessionClosed(ProviderUnavailableError("internal error", provider=self.provider)))

    async def _stay(self) -> None:
        """Until the provider that has the conversation is gone; when its time runs out, have another follow it."""
        loop = asyncio.get_running_loop()
        while not self._ended and self._gone is None:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(self._rotate_at):
                    await self._changed.wait()
            except TimeoutError:
                await self._rotate(loop)

    async def _rotate(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the successor while the old session still talks, and let it take over between two turns."""
        self._rotate_at = None
        self._stands_by, self._settled = True, self._kept.start
        successor: Holding | None = None
        try:
            plan = self._plan(self._client.total_seconds)
            successor = await self._open(plan)
            if successor is not None:
                await self._stand_by(successor, loop)
        finally:
            self._stands_by = False
            if self._ended and successor is not None:
                successor.let_go()
        if successor is None:
            self._kept.forget(self._settled)
            self._warn("rotation_failed", str(plan.error()))
            self._rotate_at = loop.time() + 5.0
        elif successor.gate.ended is not None:
            self._kept.forget(self._settled)
            successor.let_go()
            self._warn("rotation_failed", f"the successor was gone: {successor.gate.ended.error}")
            self._rotate_at = loop.time() + STANDBY_SECONDS
        elif not self._ended:
            self._hand_over(successor)

    async def _stand_by(self, successor: Holding, loop: asyncio.AbstractEventLoop) -> None:
        """Until nobody speaks or is about to; or there is no more time, or one of the two is gone."""
        successor.gate.on_end = self._changed.set
        by = loop.time() + EARLY_SECONDS
        try:
            while (
                self._gone is None
                and not self._ended
                and successor.gate.ended is None
                and (self._turn or self._caller_speaks or self._vigil.due)
            ):
                self._changed.clear()
                async with asyncio.timeout_at(by if self._rotate_by is None else self._rotate_by):
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _hand_over(self, successor: Holding) -> None:
        """The successor has it from here: it is told what was settled since it was given its memory."""
        told: tuple[HistoryTurn, ...] = ()
        if successor.session is not None and successor.session.capabilities.text_in:
            told = complete(news(successor.remembers, self._history()), self._said.values())
            self._kept.forget(self._settled)
        old = self._holding
        if self._gone is None and old is not None:
            old.dismiss()
            if self._turn:
                self._line = None
                lost, self.provider = self.provider, ""
                self._on_event(ProviderLost(lost, SessionClosedError("its time was up", provider=lost, code="expired")))
        self._adopt(successor, told)

    # Opening

    def _plan(self, seconds: float) -> Plan:
        return Plan(
            [self._client.providers[index].name for index in self._order],
            [self._client.breakers[index] for index in self._order],
            asyncio.get_running_loop().time(),
            attempt_seconds=self._client.attempt_seconds,
            total_seconds=seconds,
            insists=self._gone is not None,
        )

    async def _open(self, plan: Plan) -> Holding | None:
        """The first session that becomes ready; None when none does. With a hedge, a slow one gets company."""
        loop = asyncio.get_running_loop()
        order, hedge = self._order, self._client.hedge_seconds
        racing: list[Holding] = []
        try:
            while not self._ended:
                skipped = len(plan.errors)
                attempt = plan.next(loop.time()) if not racing or plan.goes_on else None
                for error in plan.errors[skipped:]:
                    self._warn("provider_skipped", str(error))
                if attempt is not None:
                    holding = Holding(attempt, order[attempt.index])
                    racing.append(holding)
                    holding.task = self._start(
                        self._hold(holding), name=f"session with {self._client.providers[holding.index].name}"
                    )
                if not racing:
                    return None
                patience = hedge if plan.may_go_on(racing[-1].attempt) else None
                await asyncio.wait([h.offer for h in racing], timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                winner = self._judge(plan, racing)
                if winner is not None:
                    racing.remove(winner)
                    return winner
                if racing and patience is not None:
                    plan.go_on(racing[-1].attempt)
            return None
        finally:
            for loser in racing:
                loser.let_go()
                plan.abandoned(loser.attempt)

    def _judge(self, plan: Plan, racing: list[Holding]) -> Holding | None:
        """Take note of the attempts that are decided; answers one that succeeded."""
        for holding in [h for h in racing if h.offer.done()]:
            error = holding.offer.result()
            now = asyncio.get_running_loop().time()
            if self._client.on_attempt is not None:
                self._client.on_attempt(self._client.providers[holding.index].name, now - holding.began, error)
            if error is None:
                plan.succeeded(holding.attempt, now)
                return holding
            racing.remove(holding)
            plan.failed(holding.attempt, error, began=holding.began, now=now, jitter=random.random())
            for event in holding.gate.held:  # it has no ready session and no end of one: only what is worth knowing
                if isinstance(event, ProviderWarning):
                    self._emit(event)
            self._warn("attempt_failed", str(error))
        return None

    async def _hold(self, holding: Holding) -> None:
        """One session's whole life, in a task of its own: opened, offered, and closed when it is let go."""
        attempt, offer = holding.attempt, holding.offer
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(attempt.wait):
                await holding.release.wait()
            return
        except TimeoutError:
            holding.began = loop.time()
        async with AsyncExitStack() as stack:
            error = await self._connect(stack, holding)
            if not offer.done():
                offer.set_result(error)
            if error is None:
                await holding.release.wait()

    async def _connect(self, stack: AsyncExitStack, holding: Holding) -> ProviderError | None:
        """Enter the session, which `stack` then closes; answers why there is none."""
        seconds, provider = holding.attempt.seconds, self._client.providers[holding.index]
        # A handle is good for one try: one that is refused would be so again.
        handle = self._handles.pop(provider.name, "")
        opening = self._opening
        if self._began:
            holding.remembers = self._history()
            opening = Opening(holding.remembers, handle)
        try:
            connecting = provider.connect(self._config, holding.gate, leg=self.input_format, opening=opening)
            async with asyncio.timeout(seconds):
                session = await stack.enter_async_context(connecting)
            holding.session = session
            holding.laned = session if isinstance(session, HasLane) else None
            holding.line = Line(session, self.input_format, self._emit)
        except ProviderError as error:
            return error
        except TimeoutError:
            message = f"not ready within {seconds:.1f} s"
            return ProviderUnavailableError(message, provider=provider.name, code="attempt_timeout")
        except ValueError as error:
            return InvalidConfigError(str(error), provider=provider.name)
        except Exception as error:
            logger.exception("provider %s failed in a way that it must not", provider.name)
            return ProviderError(f"failed with {type(error).__name__}", provider=provider.name, code="internal")
        return None

    # Changing hands

    def _adopt(self, holding: Holding, told_first: tuple[HistoryTurn, ...] = ()) -> None:
        """The one place where a provider takes its place. What was kept goes first, in order; then live audio."""
        session, line = holding.session, holding.line
        if session is None or line is None or self._ended:
            holding.let_go()
            return
        self._holding, self._gone, self._line = holding, None, None
        self._turn = self._caller_speaks = False
        self._failed_turns = 0
        self._lives += 1
        if self._lives > 1:
            line.tell_apart(f"{self._lives}:")
        self.provider = session.provider
        self.capabilities = session.capabilities
        self._schedule_rotation(None, session.capabilities.max_session_seconds)
        self._vigil.begin(session.capabilities)
        if self._paused:
            session.pause()
        holding.gate.open(line.receive)
        if told_first and self._holding is holding and self._gone is None:
            line.send(meanwhile(told_first))
        if not self._began and self._kept.dropped_bytes:
            self._warn("audio_dropped", f"{self._kept.dropped_ms:.0f} ms of the caller came too long before a provider")
        told, commands = self._kept.start, 0
        # Taking in what was kept may make the provider, and so the user, speak; or end it all.
        while (
            self._holding is holding
            and self._gone is None
            and (told, commands)
            != (
                self._kept.end,
                self._kept.commands,
            )
        ):
            pieces = list(self._kept.since(told, commands))
            told, commands = self._kept.end, self._kept.commands
            for piece in pieces:
                if isinstance(piece, bytes):
                    line.send_audio(piece)
                elif not (self._began and isinstance(piece, CommitTurn) and session.capabilities.hears_turns):
                    self._vigil.told(piece, session.capabilities)
                    line.send(piece)
        self._kept.keep_only_words()
        if self._holding is holding and self._gone is None and not self._ended:
            self._line = line
            self._began = True

    def _lose(self, closed: SessionClosed) -> None:
        """The provider is gone. By agreement: so is the conversation. Else somebody else has to take it over."""
        error, now = closed.error, asyncio.get_running_loop().time()
        if self._holding is not None:
            self._holding.dismiss()
        self._vigil.stop()
        looping = len(self._lost_at) == RECOVERIES and now - self._lost_at[0] < RECOVERY_WINDOW
        if error is None or looping or not self._client.recovers:
            if error is not None:
                self._mourn(error, now)
            self._end(closed)
            return
        self._lost_at = [*self._lost_at[1 - RECOVERIES :], now]
        self._mourn(error, now)
        self._line = None
        self._gone = error
        lost, self.provider = self.provider, ""
        self._on_event(ProviderLost(lost, error))
        self._changed.set()

    def _mourn(self, error: ProviderError, now: float) -> None:
        """A session that died of what lasts tells the others something about its provider.

        A connection that broke does not: many break at once when a proxy restarts, and all may be back the next moment.
        Whether that is so the next attempt will tell.
        """
        if self._holding is not None:
            index = self._holding.index
            if not error.retryable:
                self._client.breakers[index].failed(None, error, now, random.random())
            again = now - self._lost_by.get(index, -RECOVERY_WINDOW) < RECOVERY_WINDOW
            self._lost_by[index] = now
            if not error.retryable or error.code in (SILENT, FAILING) or again:
                # What it refused, was mute to, or broke at twice in this conversation may be so again: now the others
                # come first.
                self._order = [*(other for other in self._order if other != index), index]

    def _schedule_rotation(self, at: float | None, length: float | None) -> None:
        """When the next session is to be opened: `at` is a known end by the loop's clock, `length` a vendor's rule."""
        now = asyncio.get_running_loop().time()
        if at is None and length is not None:
            at = now + length
        if at is None:
            self._rotate_at = self._rotate_by = None
            return
        self._rotate_at, self._rotate_by = times(now, at)
        self._changed.set()

    # Events

    def _emit(self, event: Event) -> None:
        if self._ended:
            return
        kind, vigil = type(event), self._vigil
        vigil.flows = True
        if kind in HEEDED and (vigil.waits or kind is not AudioChunk):
            vigil.heed(event)
            self._changed.set()
        if kind in _WATCHED:
            self._watch(event)
        else:
            self._on_event(event)
        self._set_lane()

    def _set_lane(self) -> None:
        """Whether a piece of the agent's audio means anything else now than to be played."""
        line, further = self._line, self._lane
        laned = None if self._holding is None else self._holding.laned
        if laned is None or further is None:
            return
        plain = not self._vigil.waits and self.capabilities.turn_model != "duplex"
        laned.lane = line.lane(further) if plain and line is not None else None

    def _watch(self, event: Event) -> None:
        """Events that tell where the conversation stands."""
        loop = asyncio.get_running_loop()
        match event:
            case SessionClosed():
                self._lose(event)
                return
            case TurnStarted():
                self._turn, self._turn_from = True, self._kept.end
                self._kept.begun()
            case TurnEnded():
                self._turn = event.awaiting_tools
                self._failed_turns = self._failed_turns + 1 if event.status == "failed" else 0
                if event.status in ("completed", "interrupted") and not event.awaiting_tools:
                    self._settle(self._turn_from)
            case UserSpeechStarted():
                self._caller_speaks = True
            case UserSpeechStopped():
                self._caller_speaks = False
            case Transcript():
                self._remember(event)
            case ResumeHandle():
                self._handles[self.provider] = event.handle
            case GoingAway():
                seconds = 2 * BY_SECONDS if event.seconds is None else max(1.0, event.seconds)
                self._schedule_rotation(loop.time() + seconds, None)
            case SessionReady() if event.expires_at is not None:
                self._schedule_rotation(loop.time() + max(1.0, event.expires_at - time.time()), None)
            case _:
                pass
        if self._failed_turns >= FAILED_TURNS and self._client.recovers and len(self._order) > 1:
            # As if it had died in this turn, of which its user is not told the end: the next one is to go on with it.
            error = ProviderUnavailableError("its answers fail", provider=self.provider, code=FAILING)
            self._lose(SessionClosed(error))
            return
        self._changed.set()
        self._on_event(event)
        if isinstance(event, SessionReady) and not self._ready.done():
            self._ready.set_result(None)

    def _remember(self, words: Transcript) -> None:
        """For users that keep no record of what was heard: what was said. A voice without turns settles as it goes."""
        if words.is_final and words.text.strip():
            # by item: some vendors say the final words of one item again, and longer
            self._said[words.item_id or str(len(self._said))] = HistoryTurn(words.role, words.text.strip())
        if self.capabilities.turn_model != "duplex":
            return
        if words.is_input:
            self._caller_speaks = not words.is_final
        else:
            self._turn = not words.is_final
            self._settle(self._kept.end - self.input_format.size(DUPLEX_KEEP_MS))

    def _settle(self, position: int) -> None:
        """Whoever has the conversation knows what came before `position`; a successor that stands by does not."""
        if self._stands_by:
            self._settled = max(self._settled, position)
        else:
            self._kept.forget(position)

    def _give_up_silent(self, why: str) -> None:
        self._lose(SessionClosed(ProviderUnavailableError(why, provider=self.provider, code=SILENT)))

    def _warn(self, code: str, message: str) -> None:
        if not self._ended:
            self._on_event(ProviderWarning(code, message))

    def _end(self, closed: SessionClosed) -> None:
        """Whatever ends the conversation comes through here; only the first time counts."""
        if self._ended:
            return
        self._ended = True
        self._vigil.stop()
        if self._holding is not None:
            self._holding.dismiss()
        self._line = self._holding = None
        self._kept.clear()
        self._on_event(closed)
        self._changed.set()
        if not self._ready.done():
            self._ready.set_exception(closed.error or SessionClosedError("the session was ended"))
            self._ready.exception()  # marks it as seen: whoever waited may be gone
