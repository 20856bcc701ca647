"""Strangers who take up connections and say nothing that matters: those who talk lose nothing (R32)."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
from children import Child, child, clean
from plivo_play import plivo
from servers import new_sid, tandem
from sounds import hum
from streams import FRAME, Stream
from telnyx_play import OTHER_SEED, line

from tandem.guests import MOST, SECONDS

STRANGERS = 3000
CALLS = 8
MEGABYTE = 1 << 20


async def flood(server: Child) -> dict[str, Any]:
    """What became of the strangers, once all are gone."""
    program, port = Path(__file__).parents[1] / "flood.py", server.origin.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), port, str(STRANGERS), env=clean(), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    outcomes: dict[str, Any] = json.loads(told)
    return outcomes


async def talks(stream: Stream, over: asyncio.Event) -> int:
    """Speak in time until it is over; how many frames that took."""
    voice, began, sent = hum(440, 1000), time.monotonic(), 0
    while not over.is_set():
        place = sent * FRAME % len(voice)
        await stream.frame(voice[place : place + FRAME])
        sent += 1
        await asyncio.sleep(began + sent * 0.02 - time.monotonic())
    await stream.stop()
    await stream.ends()
    return sent


async def memory(server: Child, over: asyncio.Event) -> int:
    """The most that it takes meanwhile."""
    process, most = psutil.Process(server.process.pid), 0
    while not over.is_set():
        most = max(most, process.memory_info().rss)
        await asyncio.sleep(0.05)
    return most


async def test_r32_a_flood_takes_nothing_from_those_who_talk_and_is_gone_in_time() -> None:
    async with child() as server, AsyncExitStack() as stack:
        over = asyncio.Event()
        streams = [await stack.enter_async_context((await server.dial()).stream(plays=True)) for _ in range(CALLS)]
        for stream in streams:
            await stream.start()
        before = psutil.Process(server.process.pid).memory_info().rss
        async with asyncio.TaskGroup() as tasks:
            callers = [tasks.create_task(talks(stream, over)) for stream in streams]
            most = tasks.create_task(memory(server, over))
            outcomes = await flood(server)
            over.set()
        assert outcomes["refused"] + outcomes["answered"] + outcomes["no word"] == STRANGERS
        assert outcomes["refused"] >= STRANGERS / 2, "most were too many"
        assert outcomes["no word"] <= MOST
        assert outcomes["seconds"] <= SECONDS + 3, "on a busy machine"
        assert most.result() - before < 60 * MEGABYTE

        assert await server.metric("connections_refused_total", reason="full") == outcomes["refused"]
        assert await server.metric("connections_unknown") <= 1, "whoever asks for this"
        ended = [await server.result(stream.call_sid) for stream in streams]
        assert {record["result"] for record in ended} == {"caller_hung_up"}
        heard = await server.metric("media_frames_total", direction="in")
        assert heard == sum(caller.result() for caller in callers), "not a frame was lost"
        assert [line["bad_frames"] for line in server.lines if line["event"] == "call ended"] == [0] * CALLS
        assert not [line for line in server.lines if line["level"] == "error"]


async def test_whoever_shows_who_he_is_is_no_stranger_on_that_connection() -> None:
    async with tandem() as server:
        for path in ("/healthz", "/metrics", "/calls"):
            await server.http.get(path)
            assert server.unknown == 1
        await server.post("/twilio/voice", server.form(new_sid("CA")), key="forged")
        assert server.unknown == 1
        await server.post("/twilio/status", server.form(new_sid("CA")))
        assert server.unknown == 0
    async with tandem() as server:
        await server.calls()
        assert server.unknown == 0
    async with tandem() as server, server.stream():
        assert server.unknown == 0, "neither the webhook's connection nor the media socket"
    async with plivo() as carrier:
        await carrier.voice("97ceeb52-58b6-11e1-86da-77300b68f8bb")
        assert carrier.server.unknown == 0
    async with line() as here:
        assert await here.event("call.hangup", seed=OTHER_SEED) == 403
        assert here.server.unknown == 1
        assert await here.event("call.hangup") == 200
        assert here.server.unknown == 0
