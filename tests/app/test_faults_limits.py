"""Calls without an end, callers without a word, and all of them at once (R27, R28, R32 to R34)."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from lateness import lateness
from servers import Stream, Tandem, new_sid, tandem, until
from sounds import hum, silence

from tandem.http_limits import DeadlineProtocol
from tandem.media_socket import MediaSocketProtocol
from tandem.serve import config_of
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.phone import At, Turn
from tandem.simulators.twilio import place_call
from tandem.simulators.twilio_twiml import Connect, Reject
from tandem_codecs.format import MULAW_8K
from tandem_providers.prompts import prompt


def openai_at(simulator: OpenAISimulator) -> dict[str, str]:
    return {"PROVIDERS": "openai", "OPENAI_API_KEY": "planted-key", "OPENAI_REALTIME_URL": simulator.url}


# --- R27 and R28 ------------------------------------------------------------------------------------------------------


async def test_r27_a_call_that_never_ends_is_ended_with_a_goodbye() -> None:
    async with OpenAISimulator(voice="tone:440", seconds=30.0) as simulator:
        async with tandem(openai_at(simulator), MAX_CALL_SECONDS="0.5") as server:
            report = await place_call(server.plan(hang_up=None, seconds=6))
            assert report.ended_by == "server"
            record = await server.result(report.call_sid)
            assert record["result"] == "max_duration"
            goodbye = len(prompt("goodbye").audio) / MULAW_8K.rate
            assert 0.5 + min(goodbye, 2.0) - 0.2 <= record["seconds"] <= 0.5 + 2.3
            assert report.clears == 1, "what the agent was saying stops for the goodbye"
        session = await simulator.session(1)
        await session.closed()


async def test_r28_a_silent_caller_is_asked_and_then_let_go() -> None:
    """Two seconds instead of sixty: asked at a quarter of it, ended within a tenth of a second of its end."""
    async with tandem(SILENCE_SECONDS="2") as server, server.stream(plays=True) as stream, lateness() as late:
        await stream.speaks(4500)
        await stream.until(lambda: stream.got[-1]["event"] == "mark")
        quiet = time.monotonic()
        greeting = len(stream.audio)
        talker = asyncio.ensure_future(line_noise(stream))
        await stream.until(lambda: len(stream.audio) > greeting)
        assert 0.3 <= time.monotonic() - quiet <= 0.8 + late.lost, "asked whether anybody is there"
        assert await stream.ends() == (1000, "silence")
        assert 1.7 <= time.monotonic() - quiet <= 3.0 + late.lost
        talker.cancel()
        record = await server.result(stream.call_sid)
        assert record["result"] == "silence"
        assert [line["role"] for line in record["transcript"]] == ["agent"] * len(record["transcript"])


async def line_noise(stream: Stream) -> None:
    """An open line on which nobody speaks."""
    while True:
        await stream.media(silence(20))
        await asyncio.sleep(0.02)


async def test_r28_a_caller_who_speaks_is_not_silent() -> None:
    async with (
        OpenAISimulator(seconds=0.1, voice="silence") as simulator,
        tandem(openai_at(simulator), SILENCE_SECONDS="1") as server,
    ):
        words = hum(1000, 200)
        turns = [Turn(words, At(ms)) for ms in (100, 800, 1500)]
        report = await place_call(server.plan(audio=turns, hang_up=At(1900), seconds=5))
        assert report.ended_by == "caller"


# --- R34 --------------------------------------------------------------------------------------------------------------


async def test_r34_ten_times_too_many_calls_are_refused_fast_and_the_admitted_ones_talk() -> None:
    async with tandem(MAX_STARTS_PER_SECOND="10", MAX_CALLS="100") as server:
        await until(lambda: server.board.refuse() is None)
        took: list[float] = []

        async def call() -> str:
            began = time.perf_counter()
            (first, *_) = await server.voice(new_sid("CA"))
            took.append(time.perf_counter() - began)
            assert isinstance(first, Connect | Reject)
            return first.url if isinstance(first, Connect) else ""

        began = time.monotonic()
        urls: list[str] = []
        for _ in range(10):
            urls += [url for url in await asyncio.gather(*(call() for _ in range(10))) if url]
        seconds = time.monotonic() - began
        assert 1 <= len(urls) <= 10 * (int(seconds) + 2), "as many as each second allows"
        assert len(server.board.live) == len(urls)
        refused = await server.metric("calls_refused_total", reason="too_fast")
        assert refused + await server.metric("calls_refused_total", reason="lagging") == 100 - len(urls)
        assert await one_refusal(server) < 0.1
        assert median(took) < 0.5, "ten at once, on one loop that also makes the requests"


async def one_refusal(server: Tandem) -> float:
    """How long a single refusal takes, at its fastest of a few."""
    times = []
    server.board.draining = True
    for _ in range(3):
        began = time.perf_counter()
        assert await server.voice(new_sid("CA")) == [Reject("busy")]
        times.append(time.perf_counter() - began)
    return min(times)


# --- R33 --------------------------------------------------------------------------------------------------------------


async def test_r33_the_server_runs_on_the_protocols_that_have_deadlines() -> None:
    """What they do is tested with them; here, that nothing else is served."""
    async with tandem() as server:
        config = config_of(server.settings)
        assert (config.http, config.ws) == (DeadlineProtocol, MediaSocketProtocol)
        assert DeadlineProtocol.header_seconds <= 5
        assert server.server.config.http_protocol_class is DeadlineProtocol
        assert server.server.config.ws_protocol_class is MediaSocketProtocol


async def test_r22_a_webhook_with_a_huge_body_is_refused() -> None:
    async with tandem() as server:
        answer = await server.post("/twilio/voice", server.form(new_sid("CA"), Extra="x" * 70_000))
        assert answer.status_code == 413
        assert server.board.live == {}
