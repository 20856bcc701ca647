"""The calls that are up: who may come in, who is there, and how to go down without cutting anybody off."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from tandem import logs
from tandem.agents import DEFAULT, Agent
from tandem.bridge import TICK_SECONDS, Bridge, Identity
from tandem.call_state import State
from tandem.call_types import CallPlan, CallPrompts, EndReason, Outbound
from tandem.carriers.events import Started
from tandem.carriers.table import CarrierKind
from tandem.metrics import Metrics
from tandem.rest.port import CarrierApi, OutboundCall
from tandem.ticker import Ticker
from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, AudioFormat
from tandem_providers.client import Client
from tandem_providers.config import ProcessConfig
from tandem_providers.prompts import prompt
from tandem_providers.tasks import StartTask

KEPT_RECORDS = 200
"""Ended calls whose record can still be asked for."""
FAREWELL_SECONDS = 12.0
"""How long calls may take to say goodbye when the time to drain is over."""
LAG_LIMIT_SECONDS = 0.25
"""An event loop this late serves those it has badly enough already."""

log = logs.get(__name__)


class Refusal(Enum):
    """Why a new call is not taken."""

    DRAINING = "draining"
    FULL = "full"
    TOO_FAST = "too_fast"
    LAGGING = "lagging"
    UNWANTED = "unwanted"
    """The call's webhook does not want it answered."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Admission, and what each call is set up with."""

    max_calls: int
    max_starts_per_second: float
    max_call_seconds: float
    silence_seconds: float
    greeting: str | None
    failover_number: str = ""


class Switchboard:
    """One per process. Its calls are tasks of the server, started by `start`."""

    def __init__(
        self,
        client: Client,
        config: ProcessConfig,
        limits: Limits,
        metrics: Metrics,
        start: StartTask,
        origin: str = "",
    ) -> None:
        self.origin = origin
        self.live: dict[str, Bridge] = {}
        self.client_of: Callable[[tuple[str, ...]], Client] | None = None
        """The client of an agent that has providers of its own."""
        self.draining = False
        self.plan = CallPlan(
            MULAW_8K,
            0.0,
            greeting=limits.greeting,
            max_seconds=limits.max_call_seconds,
            silence_seconds=limits.silence_seconds,
        )
        """What each new call is set up with, but for what its carrier decides."""
        self.equip: Callable[[Bridge, Collection[str] | None], None] | None = None
        """Gives a new call the functions that its agent may call: those of these names, or all."""
        self._client = client
        self._config = config
        self._limits = limits
        self._metrics = metrics
        self._start = start
        self._ticker = Ticker(TICK_SECONDS)
        self._starts: deque[float] = deque()
        self._expected = 0
        self._ended: OrderedDict[str, tuple[Identity, dict[str, Any]]] = OrderedDict()
        self._empty = asyncio.Event()
        self._empty.set()
        self._prompts: dict[AudioFormat, CallPrompts] = {}

    # --- who may come in --------------------------------------------------------------------------

    def refuse(self) -> Refusal | None:
        """Whether, and why, a call that comes now is turned away. Counts nothing and changes nothing."""
        now = time.monotonic()
        while self._starts and now - self._starts[0] >= 1.0:
            self._starts.popleft()
        if self.draining:
            return Refusal.DRAINING
        if len(self.live) + self._expected >= self._limits.max_calls:
            return Refusal.FULL
        if len(self._starts) >= self._limits.max_starts_per_second:
            return Refusal.TOO_FAST
        if self._metrics.lag > LAG_LIMIT_SECONDS:
            return Refusal.LAGGING
        return None

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """A call is about to come: there must be room for it."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1

    def open(
        self,
        carrier: CarrierKind,
        identity: Identity,
        accepts: Callable[[Started], bool],
        api: CarrierApi | None = None,
        *,
        agent: Agent = DEFAULT,
        order: OutboundCall | None = None,
        outbound: Outbound | None = None,
    ) -> Bridge:
        """Take a call: from now on it is up, has an owner, and its provider is being called.

        With an `order` it is one that we place, set up as `outbound` says: its provider waits until somebody answers.
        """
        self._starts.append(time.monotonic())
        leg = carrier.traits.formats[0]
        lead_ms = carrier.traits.lead_seconds * 1000
        plan = replace(
            self.plan,
            format=leg,
            lead_ms=lead_ms,
            prompts=self._prompts_in(leg),
            outbound=outbound,
            way_out=self._limits.failover_number if api is not None else "",
        )
        bridge = Bridge(
            carrier,
            identity,
            self._client if agent.providers is None or self.client_of is None else self.client_of(agent.providers),
            agent.config(self._config),
            agent.plan(plan),
            accepts,
            self._metrics,
            self._ticker,
            api,
            self.origin,
            order,
        )
        bridge.agent = agent.name
        if self.equip is not None:
            self.equip(bridge, agent.tools)
        self.live[identity.session] = bridge
        self._empty.clear()
        self._metrics.calls_live.set(len(self.live))
        self._start(self._keep(bridge), name=f"call {identity.session}")
        return bridge

    async def _keep(self, bridge: Bridge) -> None:
        try:
            await bridge.run()
        except Exception as error:
            log.error("a call's end failed", error=error)  # a mistake in one call must not reach the others
        finally:
            self.live.pop(bridge.identity.session, None)
            self._metrics.calls_live.set(len(self.live))
            if not self.live:
                self._empty.set()
        record = self.describe(bridge)
        self._ended[record["call_id"]] = (bridge.identity, record)
        while len(self._ended) > KEPT_RECORDS:
            self._ended.popitem(last=False)

    def _prompts_in(self, leg: AudioFormat) -> CallPrompts:
        if leg not in self._prompts:
            words = [Converter(MULAW_8K, leg).feed(prompt(name).audio) for name in ("one-moment", "sorry", "goodbye")]
            self._prompts[leg] = CallPrompts(*words)
        return self._prompts[leg]

    # --- who is there -----------------------------------------------------------------------------

    def by_session(self, session: str) -> Bridge | None:
        return self.live.get(session)

    def by_call(self, call_id: str) -> Bridge | None:
        """The live call of that id, be it the carrier's, that of the request to place it, or our own."""
        if call_id in self.live:
            return self.live[call_id]
        return next((bridge for bridge in self.live.values() if bridge.identity.known_as(call_id)), None)

    def records(self) -> list[dict[str, Any]]:
        """Live calls first, then ended ones, newest first; without their transcripts."""
        ended = [record for _, record in reversed(self._ended.values())]
        return [self._outline(bridge) for bridge in self.live.values()] + [
            {key: value for key, value in record.items() if key != "transcript"} for record in ended
        ]

    def record(self, call_id: str) -> dict[str, Any] | None:
        """Everything known about a call that is up or has ended not long ago."""
        bridge = self.by_call(call_id)
        if bridge is not None:
            return self.describe(bridge)
        ended = (record for identity, record in reversed(self._ended.values()) if identity.known_as(call_id))
        return next(ended, None)

    def age(self, call_id: str) -> float:
        """Seconds since a call was taken in; those of a call that is not known are many."""
        record = self.record(call_id)
        return time.time() - datetime.fromisoformat(record["started"]).timestamp() if record is not None else 1e9

    def describe(self, bridge: Bridge) -> dict[str, Any]:
        """A call with its conversation."""
        call = bridge.call
        at = call.ended_at if call.state is State.ENDED and call.ended_at is not None else time.monotonic()
        return {
            **self._outline(bridge),
            "transcript": [
                {
                    "role": line.role,
                    "text": line.text,
                    "at": line.at,
                    "heard_ms": line.heard_ms,
                    "interrupted": line.interrupted,
                }
                for line in call.lines(at)
            ],
        }

    def _outline(self, bridge: Bridge) -> dict[str, Any]:
        call, stats, now = bridge.call, bridge.call.stats, time.monotonic()
        over = call.state is State.ENDED
        start = call.started_at if call.started_at is not None else call.opened_at
        return {
            "call_id": bridge.identity.call_id or bridge.identity.session,
            "carrier": bridge.carrier.name,
            "direction": "outbound" if bridge.identity.outbound else "inbound",
            "agent": bridge.agent,
            "caller": bridge.identity.caller,
            "called": bridge.identity.called,
            "state": call.state.value,
            "result": call.end_reason.value if call.end_reason else None,
            "stream_started": call.started_at is not None,
            "started": datetime.fromtimestamp(bridge.opened_unix, UTC).isoformat(timespec="milliseconds"),
            "seconds": round((call.ended_at if over and call.ended_at is not None else now) - start, 3),
            "provider": stats.provider,
            "model": stats.model,
            "provider_error": stats.provider_error,
            "first_audio_seconds": stats.first_audio_seconds,
            "turn_latency_seconds": [round(latency, 4) for latency in stats.turn_latencies],
            "caller_turns": stats.caller_turns,
            "barge_ins": stats.barge_ins,
            "failovers": stats.failovers,
            "machine": stats.machine,
            "usage": dict(stats.usage),
        }

    # --- going down -------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """Take no new calls and wait for those that are up; who is still there after `seconds` gets a goodbye."""
        self.draining = True
        log.info("draining", calls=len(self.live), call_ids=self._some_ids(), seconds=seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            log.warning("time to drain is over", calls=len(self.live))
            for bridge in [*self.live.values()]:
                bridge.hang_up(EndReason.DRAINED)
            try:
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._empty.wait()
            except TimeoutError:
                log.error("calls are cut", calls=len(self.live), call_ids=self._some_ids())
        log.info("drained", calls=len(self.live))

    def _some_ids(self) -> list[str]:
        """Of calls that are up: a line of the log is not to be as long as there are calls."""
        return [bridge.identity.call_id for bridge in self.live.values()][:5]
