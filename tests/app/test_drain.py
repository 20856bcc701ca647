"""SIGTERM, in a process of its own: no call is cut, nobody new comes in, and the end is a proper one."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack

import pytest
from children import Child, child
from lateness import lateness
from servers import Stream, eventually, new_sid
from sounds import speech

from tandem.simulators.twilio_twiml import Reject
from tandem_codecs.format import MULAW_8K

CALLS = 20


async def left(running: Child, *, seconds: float) -> int:
    """Its exit status, within that time."""
    async with asyncio.timeout(seconds):
        return await running.process.wait()


async def talks(stream: Stream) -> None:
    """Half a second in real time, then the rest of the sentence; the echo answers."""
    before, said = len(stream.audio), speech("hello")
    for place in range(0, MULAW_8K.size(500), MULAW_8K.frame_bytes):
        await stream.media(said[place : place + MULAW_8K.frame_bytes])
        await asyncio.sleep(0.02)
    await stream.media(said[MULAW_8K.size(500) :])
    await stream.until(lambda: len(stream.audio) > before + MULAW_8K.size(1000))


async def test_r13_sigterm_cuts_no_call() -> None:
    async with child(MAX_CALLS="50") as running, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(running.stream(plays=True)) for _ in range(CALLS)]
        for stream in streams:
            await stream.speaks(4000)
        assert (await running.http.get("/readyz")).status_code == 200
        async with lateness() as late:
            running.signal(signal.SIGTERM)
            signalled = time.monotonic()
            await eventually(lambda: _draining(running), seconds=5)
            assert time.monotonic() - signalled < 0.15 + late.lost, "not ready as soon as the signal is there"
        assert (await running.http.get("/readyz")).json()["reasons"] == ["draining"]
        assert (await running.http.get("/healthz")).status_code == 200
        assert await running.voice(new_sid("CA")) == [Reject("busy")]

        await asyncio.gather(*map(talks, streams))
        assert [stream.closed for stream in streams] == [None] * CALLS, "0 cut, and all of them still talk"
        assert running.process.returncode is None

        await asyncio.gather(*(stream.stop() for stream in streams))
        last = time.monotonic()
        assert {await stream.ends() for stream in streams} == {(1000, "caller_hung_up")}
        assert await left(running, seconds=3) == 0
        assert time.monotonic() - last < 1.0, "gone within a second of the last call"
    results = [line["result"] for line in running.lines if line["event"] == "call ended"]
    assert results == ["caller_hung_up"] * CALLS
    assert "Traceback" not in running.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_r13_without_calls_it_is_gone_at_once(number: signal.Signals) -> None:
    async with child() as running:
        running.signal(number)
        assert await left(running, seconds=2) == 0
    assert "Traceback" not in running.output


FINALIZED = """
import os, sys
class Last:
    def __del__(self, kill=os.kill, me=os.getpid()):
        kill(me, {number})
sys.last_of_all = Last()
"""
WAITED_FOR = """
import os, threading
def insist():
    threading.main_thread().join()
    while True:  # one that comes just before the wait begins is seen after it
        os.kill(os.getpid(), {number})
        threading.Event().wait(0.1)
threading.Thread(target=insist).start()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("when", [WAITED_FOR, FINALIZED], ids=["threads are waited for", "the interpreter ends"])
async def test_r13_a_signal_that_comes_after_the_last_word_makes_no_failure_of_it(
    number: signal.Signals, when: str
) -> None:
    async with child(first=when.format(number=int(number))) as running:
        running.signal(signal.SIGTERM)
        assert await left(running, seconds=10) == 0
    assert "Traceback" not in running.output


async def test_r13_a_second_signal_does_not_wait() -> None:
    async with child() as running, running.stream() as stream:
        await stream.speaks()
        running.signal(signal.SIGTERM)
        await eventually(lambda: _draining(running))
        assert stream.closed is None
        running.signal(signal.SIGTERM)
        assert (await stream.ends())[0] in (1001, 1012)
        assert await left(running, seconds=2) == 0
    (ended,) = [line for line in running.lines if line["event"] == "call ended"]
    assert ended["result"] in ("carrier_lost", "drained")
    assert "Traceback" not in running.output


async def _draining(running: Child) -> bool:
    return (await running.http.get("/readyz")).status_code == 503


async def test_r13_when_the_time_is_over_callers_hear_a_goodbye() -> None:
    async with child(DRAIN_SECONDS="0.2") as running, running.stream() as stream:
        await stream.until(lambda: stream.got[-1:] and stream.got[-1]["event"] == "mark")
        for name in stream.marks:
            await stream.mark(name)
        greeting = len(stream.audio)
        running.signal(signal.SIGTERM)
        await stream.until(lambda: len(stream.audio) > greeting + MULAW_8K.size(500))
        await stream.until(lambda: stream.got[-1]["event"] == "mark")
        assert stream.closed is None
        for name in stream.marks:
            await stream.mark(name)
        assert await stream.ends() == (1000, "drained")
        assert await left(running, seconds=2) == 0
    assert "Traceback" not in running.output
