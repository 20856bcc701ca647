"""What providers do wrong, and what a caller notices of it (R01 to R03, R09, R15, R19). The times are the caller's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from bridging import Line, line
from fakes import black_hole, mute_server
from lateness import lateness
from playbook import FRAME
from servers import Tandem, tandem, until
from sounds import hum, silence

from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_connection import SimulatedSession
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem.simulators.phone import At
from tandem.simulators.plan import CallEvent, CallReport
from tandem.simulators.twilio import place_call
from tandem_providers.client import Client
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.prompts import prompt
from tandem_providers.table import OpenAIRealtime


@asynccontextmanager
async def two(primary: str, **env: str) -> AsyncIterator[tuple[Tandem, OpenAISimulator]]:
    """A server whose primary is at that address, and whose second one is well."""
    async with (
        OpenAISimulator(voice="tone:440", seconds=2.0) as backup,
        tandem(
            env,
            PROVIDERS="openai,openai@backup",
            OPENAI_API_KEY="planted-key",
            OPENAI_REALTIME_URL=primary,
            BACKUP_OPENAI_REALTIME_URL=backup.url,
        ) as server,
    ):
        yield server, backup


async def brief(server: Tandem, milliseconds: float = 300) -> CallReport:
    return await place_call(server.plan(hang_up=At(milliseconds), seconds=10))


# --- R01 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["refuse=401", "refuse=403", "invalid-key-late"])
async def test_r01_a_refused_key_is_not_tried_again_and_the_next_provider_speaks(fault: str) -> None:
    async with OpenAISimulator(faults=[fault]) as primary, two(primary.url) as (server, backup):
        async with server.stream() as stream:
            began = time.monotonic()
            await stream.speaks(100)
            assert time.monotonic() - began < 1.5
            assert (await server.record(stream.call_sid))["provider"] == "openai@backup"
        assert len(primary.sessions) == 1
        successor = await backup.session(1)
        await successor.closed()
        async with server.stream() as stream:
            await stream.speaks(100)
        assert len(primary.sessions) == 1, "nor by the next call"
        assert await server.metric("circuit_open", provider="openai") == 1
        assert await server.metric("circuit_open", provider="openai@backup") == 0
        attempts = "provider_attempts_total"
        assert await server.metric(attempts, provider="openai", outcome="authentication_failed") == 1
        assert await server.metric(attempts, provider="openai@backup", outcome="ready") == 2


async def test_r01_the_next_attempt_begins_within_50_ms_of_the_refusal() -> None:
    """From the refusal to the second provider's door; the best of three, for the machine may be busy."""
    gaps = []
    for _ in range(3):
        async with OpenAISimulator(faults=["refuse=401"]) as primary, two(primary.url) as (server, backup):
            await server.dial()
            await (await primary.session(1)).closed()
            refused = time.monotonic()
            await backup.session(1)
            gaps.append(time.monotonic() - refused)
    assert min(gaps) < 0.05


# --- R02 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["refuse=503", "refuse=429", "close-on-connect"])
async def test_r02_an_outage_is_not_answered_with_more_attempts(fault: str) -> None:
    """Forty calls during an outage: all get a voice, and the breaker spares the primary."""
    calls = 40
    async with (
        OpenAISimulator(faults=[fault, "retry-after=1"]) as primary,
        two(primary.url, MAX_STARTS_PER_SECOND="1000") as (server, backup),
    ):
        for _ in range(calls):
            await server.dial()
        await until(
            lambda: all(b.call.stats.provider == "openai@backup" for b in server.board.live.values()), seconds=8
        )
        assert len(server.board.live) == calls
        assert len(primary.sessions) <= 1.1 * calls
        assert await server.metric("circuit_open", provider="openai") == 1
        before = len(primary.sessions)
        await server.dial()
        await until(lambda: len(backup.sessions) == calls + 1)
        assert len(primary.sessions) == before, "the circuit is open"


async def test_r02_one_retry_is_worth_it_when_it_is_quick() -> None:
    async with OpenAISimulator(faults=["refuse=503*1"]) as primary, two(primary.url) as (server, backup):
        async with server.stream() as stream:
            await stream.speaks(100)
            assert (await server.record(stream.call_sid))["provider"] == "openai"
        assert (len(primary.sessions), len(backup.sessions)) == (2, 0)


# --- R03 --------------------------------------------------------------------------------------------------------------


async def test_r03_a_provider_that_does_not_answer_is_left_and_the_caller_hears_something_meanwhile() -> None:
    """TCP that is never accepted, a handshake that hangs, a session that never gets ready: 2 s, then the next one."""
    prompts_ms = len(prompt("one-moment").audio) / 8
    async with AsyncExitStack() as stack:
        places = [stack.enter_context(black_hole()), await stack.enter_async_context(mute_server())]
        servers = [(await stack.enter_async_context(two(place)))[0] for place in places]
        reports = await asyncio.gather(*(brief(server, 3600) for server in servers))
        for server, report in zip(servers, reports, strict=True):
            record = await server.result(report.call_sid)
            assert record["provider"] == "openai@backup"
            assert report.first_audio_ms is not None
            assert report.first_audio_ms <= 1200, "a word at 1 s: no dead air of more than 1.2 s"
            assert report.heard_ms > prompts_ms + 50, "and by 3.5 s the voice itself"
            assert not report.problems


async def test_r03_a_provider_that_connects_and_never_gets_ready_is_left_in_time() -> None:
    async with (
        OpenAISimulator(faults=["silent"]) as primary,
        two(primary.url, CONNECT_SECONDS="0.4") as (server, _),
        server.stream() as stream,
    ):
        began = time.monotonic()
        await stream.speaks(100)
        assert time.monotonic() - began < 1.0
        session = await primary.session(1)
        await session.closed()


# --- R09 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [("refuse=401", "refuse=503"), ("close-on-connect", "invalid-key-late"), ("refuse=404", "refuse=400")],
)
async def test_r09_no_provider_at_all_is_said_and_then_the_line_is_cut(first: str, second: str) -> None:
    async with (
        OpenAISimulator(faults=[first]) as primary,
        OpenAISimulator(faults=[second]) as backup,
        tandem(
            PROVIDERS="openai,openai@backup",
            OPENAI_API_KEY="planted-key",
            OPENAI_REALTIME_URL=primary.url,
            BACKUP_OPENAI_REALTIME_URL=backup.url,
        ) as server,
        server.stream() as stream,
    ):
        sorry = prompt("sorry").audio
        async with lateness() as late:
            began = time.monotonic()
            await stream.until(lambda: len(stream.audio) >= len(sorry))
            assert time.monotonic() - began < 1.0 + late.lost
        assert stream.audio == sorry
        assert stream.closed is None
        for name in stream.marks:
            await stream.mark(name)
        assert await stream.ends() == (1000, "providers_failed")
        record = await server.result(stream.call_sid)
        assert record["result"] == "providers_failed"
        assert "openai@backup" in record["provider_error"]
        await server.empty(seconds=1)


async def test_r09_a_caller_on_the_phone_hears_the_apology_to_its_end_within_five_seconds() -> None:
    async with (
        OpenAISimulator(faults=["refuse=503"]) as primary,
        tandem(PROVIDERS="openai", OPENAI_API_KEY="planted-key", OPENAI_REALTIME_URL=primary.url) as server,
        lateness() as late,
    ):
        events: list[CallEvent] = []
        report = await place_call(server.plan(hang_up=None, seconds=8), events.append)
        at = {event.kind: event.at_ms for event in events}
        assert report.ended_by == "server"
        assert at["stream-ended"] - at["answered"] <= 5000 + late.lost * 1000
        assert report.unplayed_ms == 0
        assert report.heard_ms == len(prompt("sorry").audio) / 8
        assert report.said == (), "Twilio's own voice has nothing to add"
        assert server.board.live == {}


async def test_r09_a_provider_that_fails_before_the_stream_is_apologised_for_when_there_is_somebody_to_hear() -> None:
    async with (
        OpenAISimulator(faults=["refuse=401"]) as primary,
        tandem(PROVIDERS="openai", OPENAI_API_KEY="planted-key", OPENAI_REALTIME_URL=primary.url) as server,
    ):
        dialled = await server.dial()
        await until(lambda: server.bridge(dialled.call_sid).call.state.value == "ringing-failed")
        async with dialled.stream(plays=True) as stream:
            await stream.start()
            assert await stream.ends() == (1000, "providers_failed")
            assert stream.audio == prompt("sorry").audio


@pytest.mark.parametrize("fault", ["close-mid-response", "cut", "session-expired=0.2"])
async def test_a_provider_that_dies_in_a_call_ends_in_words_and_never_in_silence(fault: str) -> None:
    """A single provider, so nobody takes over: what it said is heard, then the apology, then the line is cut."""
    async with (
        OpenAISimulator(faults=[fault], voice="tone:440", seconds=2.0) as simulator,
        tandem(PROVIDERS="openai", OPENAI_API_KEY="planted-key", OPENAI_REALTIME_URL=simulator.url) as server,
        server.stream(plays=True) as stream,
    ):
        code, reason = await stream.ends()
        assert code == 1000
        assert reason in ("provider_lost", "providers_failed")
        assert stream.audio.endswith(prompt("sorry").audio)
        assert (await server.result(stream.call_sid))["provider_error"]


async def test_replies_that_fail_do_not_end_a_call() -> None:
    async with (
        OpenAISimulator(faults=["rate-limited-response"]) as simulator,
        tandem(PROVIDERS="openai", OPENAI_API_KEY="planted-key", OPENAI_REALTIME_URL=simulator.url) as server,
        server.stream(plays=True) as stream,
    ):
        session = await simulator.session(1)
        await session.until(lambda s: bool(s.record.events("response.done")))
        await stream.media(FRAME * 5)
        await session.until(lambda s: len(s.record.audio) >= 5 * len(FRAME))
        assert stream.closed is None
        assert server.board.by_call(stream.call_sid) is not None


@pytest.mark.parametrize("fault", ["bad-json", "bad-base64", "unknown-events"])
async def test_a_provider_that_talks_nonsense_is_listened_to_all_the_same(fault: str) -> None:
    async with (
        OpenAISimulator(faults=[fault], voice="tone:440", seconds=1.0) as simulator,
        tandem(PROVIDERS="openai", OPENAI_API_KEY="planted-key", OPENAI_REALTIME_URL=simulator.url) as server,
        server.stream(plays=True) as stream,
    ):
        await stream.speaks(700)
        assert (await server.record(stream.call_sid))["provider"] == "openai"


# --- R15 and R19: functions of the user's -----------------------------------------------------------------------------


@asynccontextmanager
async def asked(
    reply: Reply, function: Callable[[str, Mapping[str, Any]], Any]
) -> AsyncIterator[tuple[Line, SimulatedSession]]:
    """A call whose model answers the caller's first question with `reply`, and may call `function`."""
    async with OpenAISimulator(script=["Hello.", reply]) as simulator, asyncio.timeout(10):
        config = ProcessConfig(
            functions=[FunctionDeclaration("look_up", "Looks something up.", {"type": "object", "properties": {}})],
            on_function_call=function,
        )
        client = Client(OpenAIRealtime(url=simulator.url, api_key="planted-key"))
        async with line(client=client, config=config) as one:
            one.start()
            session = await simulator.session(1)
            await one.socket.until(lambda: "mark" in one.socket.events)
            one.return_marks()
            question = hum(1000, 500) + silence(800)
            for place in range(0, len(question), len(FRAME)):
                one.media(question[place : place + len(FRAME)])
            await session.until(lambda s: len(s.record.events("response.done")) == 2)
            yield one, session


async def worst_lag(seconds: float) -> float:
    """How late a beat of 5 ms was at the most, over that time."""
    worst, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        due = time.monotonic() + 0.005
        await asyncio.sleep(0.005)
        worst = max(worst, time.monotonic() - due)
    return worst


async def test_r15_a_function_that_blocks_does_not_stop_the_call() -> None:
    done = threading.Event()

    def blocks(_name: str, _arguments: Mapping[str, Any]) -> str:
        time.sleep(0.4)
        done.set()
        return "found"

    async with asked(Reply("", (FunctionCall("look_up"),)), blocks) as (one, session):
        before = len(session.record.audio)
        lag = await worst_lag(0.15)
        assert not done.is_set(), "it is still blocking"
        assert lag < 0.1, "20 ms on a quiet machine; this one may be busy"
        for _ in range(5):
            one.media(FRAME)
        await session.until(lambda s: len(s.record.audio) >= before + 5 * len(FRAME))
        assert not done.is_set()
        await session.until(lambda s: bool(s.record.messages("conversation.item.create")))
        (result,) = session.record.messages("conversation.item.create")
        assert "found" in result["item"]["output"]
        await session.until(lambda s: len(s.record.events("response.done")) == 3)


async def test_r19_a_caller_who_hangs_up_waits_for_no_function() -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def hangs(_name: str, _arguments: Mapping[str, Any]) -> str:
        running.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()
        return ""

    async with asked(Reply("", (FunctionCall("look_up"),)), hangs) as (one, session):
        await running.wait()
        began = time.monotonic()
        one.stop()
        await cancelled.wait()
        await session.closed()
        assert time.monotonic() - began < 1
    assert one.result == "caller_hung_up"


async def test_r19_a_function_that_fails_has_an_answer_for_the_model_and_none_of_its_text() -> None:
    def fails(_name: str, _arguments: Mapping[str, Any]) -> str:
        raise RuntimeError("password=hunter2")

    async with asked(Reply("", (FunctionCall("look_up"),)), fails) as (one, session):
        await session.until(lambda s: bool(s.record.messages("conversation.item.create")))
        (result,) = session.record.messages("conversation.item.create")
        assert "hunter2" not in str(result)
        assert one.socket.closed is None
