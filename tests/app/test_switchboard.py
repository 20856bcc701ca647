"""Who may come in, who is there, and how to go down without cutting anybody off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from bridging import ACCOUNT, Socket
from fakes import FakeProvider, turns
from playbook import FRAME
from servers import log_lines, until

from tandem import switchboard
from tandem.bridge import Bridge, Identity
from tandem.carriers.table import TWILIO
from tandem.metrics import Metrics
from tandem.switchboard import Limits, Refusal, Switchboard
from tandem_codecs.format import MULAW_8K
from tandem_providers.client import Client
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import ConnectionFailedError
from tandem_providers.events import ProviderLost
from tandem_providers.tasks import owned_tasks

LIMITS = Limits(max_calls=3, max_starts_per_second=100, max_call_seconds=3600, silence_seconds=60, greeting=None)


class Calls:
    """A switchboard, and callers for it."""

    def __init__(self, board: Switchboard, metrics: Metrics, provider: FakeProvider) -> None:
        self.board = board
        self.metrics = metrics
        self.provider = provider
        self._count = 0

    def open(self) -> Bridge:
        self._count += 1
        identity = Identity(f"{self._count:032x}", f"CA{self._count}", ACCOUNT, "+15550002000", "+15550001000")
        return self.board.open(TWILIO, identity, lambda start: True)

    async def connected(self) -> tuple[Bridge, Socket]:
        """A call with its media socket, talking."""
        bridge, socket = self.open(), Socket()
        bridge.socket = socket
        await until(lambda: bridge.call.stats.provider)
        start = {"callSid": bridge.identity.call_id, "accountSid": ACCOUNT}
        bridge.on_message(json.dumps({"event": "start", "streamSid": "MZ1", "start": start}).encode(), True)
        return bridge, socket

    async def end(self, bridge: Bridge) -> None:
        bridge.carrier_ended()
        await until(lambda: bridge.identity.session not in self.board.live)


@asynccontextmanager
async def calls(limits: Limits = LIMITS) -> AsyncIterator[Calls]:
    provider, metrics = FakeProvider(speaks=MULAW_8K), Metrics()
    async with owned_tasks() as start:
        yield Calls(Switchboard(Client(provider), ProcessConfig(), limits, metrics, start), metrics, provider)
    assert provider.open == 0


# --- who may come in --------------------------------------------------------------------------------------------------


async def test_r34_calls_are_counted() -> None:
    async with calls() as here:
        first, _, _ = here.open(), here.open(), here.open()
        assert here.board.refuse() is Refusal.FULL
        await here.end(first)
        assert here.board.refuse() is None


async def test_r34_starts_are_counted_by_the_second() -> None:
    async with calls(replace(LIMITS, max_calls=100, max_starts_per_second=5)) as here:
        for _ in range(5):
            assert here.board.refuse() is None
            here.open()
        assert here.board.refuse() is Refusal.TOO_FAST
        await until(lambda: here.board.refuse() is None, seconds=1.5)


async def test_r34_a_late_loop_takes_nobody() -> None:
    async with calls() as here:
        here.metrics.lag = 0.3
        assert here.board.refuse() is Refusal.LAGGING
        here.metrics.lag = 0.2
        assert here.board.refuse() is None


async def test_asking_changes_nothing() -> None:
    async with calls(replace(LIMITS, max_starts_per_second=1)) as here:
        assert [here.board.refuse() for _ in range(10)] == [None] * 10


async def test_each_call_is_set_up_with_the_limits() -> None:
    async with calls(replace(LIMITS, max_call_seconds=77, silence_seconds=7, greeting="Hello.")) as here:
        plan = here.open().call.plan
        assert (plan.max_seconds, plan.silence_seconds, plan.greeting) == (77, 7, "Hello.")
        assert plan.format == MULAW_8K
        assert plan.lead_ms == TWILIO.traits.lead_seconds * 1000
        assert all(len(words) > 4000 for words in (plan.prompts.one_moment, plan.prompts.sorry, plan.prompts.goodbye))


# --- who is there -----------------------------------------------------------------------------------------------------


async def test_calls_are_found_by_session_and_by_id_as_long_as_they_are_up() -> None:
    async with calls() as here:
        bridge = here.open()
        assert here.board.by_session(bridge.identity.session) is bridge
        assert here.board.by_call("CA1") is bridge
        assert here.board.by_call("CA9") is None
        await here.end(bridge)
        assert here.board.by_session(bridge.identity.session) is None
        assert here.board.by_call("CA1") is None
        record = here.board.record("CA1")
        assert record is not None
        assert (record["state"], record["result"]) == ("ended", "caller_hung_up")


async def test_the_count_of_live_calls_is_a_metric() -> None:
    async with calls() as here:
        bridge = here.open()
        assert b"tandem_calls_live 1.0" in here.metrics.render()
        await here.end(bridge)
        assert b"tandem_calls_live 0.0" in here.metrics.render()


async def test_r36_records_of_ended_calls_are_bounded() -> None:
    async with calls(replace(LIMITS, max_calls=10_000, max_starts_per_second=10_000)) as here:
        for _ in range(switchboard.KEPT_RECORDS + 20):
            here.open().carrier_ended()
        await until(lambda: not here.board.live)
        assert len(here.board.records()) == switchboard.KEPT_RECORDS
        assert here.board.record("CA1") is None
        assert here.board.record(f"CA{switchboard.KEPT_RECORDS + 20}") is not None


async def test_r31_a_record_s_duration_is_of_the_stream_and_stops_at_its_end() -> None:
    async with calls() as here:
        bridge, _ = await here.connected()
        await turns(3)
        await here.end(bridge)
        record = here.board.record("CA1")
        assert record is not None
        assert record["seconds"] < 0.5
        await asyncio.sleep(0.05)
        assert here.board.record("CA1") == record


# --- going down -------------------------------------------------------------------------------------------------------


async def test_r13_draining_waits_for_the_calls_that_are_up() -> None:
    async with calls() as here:
        bridge, socket = await here.connected()
        async with asyncio.TaskGroup() as tasks:
            drain = tasks.create_task(here.board.drain(60))
            await turns(3)
            assert here.board.refuse() is Refusal.DRAINING
            bridge.on_message(
                b'{"event":"media","streamSid":"MZ1","media":{"payload":"%s","chunk":"1"}}' % (b"Kioq" * 40), True
            )
            assert here.provider.session.heard, "they go on"
            assert not drain.done()
            bridge.carrier_ended()
        assert socket.closed == (1000, "caller_hung_up")


async def test_r13_nobody_is_there_and_draining_is_done_at_once() -> None:
    async with calls() as here, asyncio.timeout(0.5):
        await here.board.drain(60)


async def test_r13_who_is_still_there_at_the_deadline_hears_a_goodbye() -> None:
    async with calls() as here:
        bridge, socket = await here.connected()
        ringing = here.open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(here.board.drain(0.05))
            await socket.until(lambda: socket.audio)
            assert socket.audio == bridge.call.plan.prompts.goodbye
            assert socket.closed is None, "it is heard before the line is cut"
            (mark,) = [got["mark"]["name"] for got in socket.sent if got["event"] == "mark"][-1:]
            bridge.on_message(f'{{"event":"mark","streamSid":"MZ1","mark":{{"name":"{mark}"}}}}'.encode(), True)
            assert await socket.ends() == (1000, "drained")
        assert ringing.call.end_reason is not None
        assert ringing.call.end_reason.value == "drained"


async def test_r13_draining_tells_how_many_and_whom() -> None:
    with log_lines() as lines:
        async with calls() as here:
            bridge, _ = await here.connected()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(here.board.drain(60))
                await turns(2)
                bridge.carrier_ended()
    draining, drained = [line for line in lines if line["event"] in ("draining", "drained")]
    assert (draining["calls"], draining["call_ids"]) == (1, ["CA1"])
    assert drained["calls"] == 0


async def test_a_call_that_fails_inside_leaves_the_others_alone() -> None:
    async with calls() as here:
        await here.connected()
        good, _ = await here.connected()
        bad = here.board.by_call("CA1")
        assert bad is not None
        for _ in range(2):  # who has lost one provider cannot lose another: there is no such move
            bad.tell(ProviderLost("fake", ConnectionFailedError("gone")))
        await until(lambda: len(here.board.live) == 1)
        good.on_message(b'{"event":"media","streamSid":"MZ1","media":{"payload":"KioqKg==","chunk":"1"}}', True)
        assert here.provider.session.heard == FRAME[:4]
        record = here.board.record("CA1")
        assert record is not None
        assert record["result"] == "internal_error"
        await here.end(good)
