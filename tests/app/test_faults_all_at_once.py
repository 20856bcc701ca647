"""A hundred callers who do what callers, carriers and providers do wrong, all at the same time: nobody hurts another,
every call has an end with a name, and nothing is left over (R10, R36)."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable

from fakes import tasks
from servers import Stream, Tandem, log_lines, tandem, until
from sounds import noise, silence, speech

from tandem.bridge import Bridge
from tandem.call_types import EndReason
from tandem.simulators.openai import OpenAISimulator

CALLERS = 100
JUNK = ["{", "[]", "\x00", '{"event":"media","media":{}}', '{"event":"mark","mark":{"name":"x"}}']


async def hangs_up(stream: Stream, chance: random.Random) -> None:
    await asyncio.sleep(chance.random() * 0.3)
    await stream.stop()
    await stream.ends()


async def drops(stream: Stream, chance: random.Random) -> None:
    await asyncio.sleep(chance.random() * 0.2)


async def talks(stream: Stream, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        await stream.media(speech("wait") if chance.random() < 0.5 else noise(600) + silence(600))
        await asyncio.sleep(chance.random() * 0.4)
    await stream.stop()


async def presses_keys(stream: Stream, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 5)):
        await stream.dtmf(chance.choice("0123456789*#"))
        await asyncio.sleep(chance.random() * 0.1)


async def talks_nonsense(stream: Stream, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 8)):
        await stream.raw(chance.choice(JUNK))
        await stream.media(noise(100))


async def floods(stream: Stream, chance: random.Random) -> None:
    await stream.media(noise(400) * 20)


async def is_ended_by_the_carrier(stream: Stream, chance: random.Random) -> None:
    await stream.door.post("/twilio/status", stream.door.form(stream.call_sid, CallStatus="completed"))
    await stream.ends()


KINDS: list[Callable[[Stream, random.Random], Awaitable[None]]] = [
    hangs_up, drops, talks, presses_keys, talks_nonsense, floods, is_ended_by_the_carrier,
]  # fmt: skip


async def caller(server: Tandem, number: int) -> None:
    chance = random.Random(number)
    dialled = await server.dial()
    if number % 10 == 0:
        return  # no stream follows
    async with dialled.stream(plays=chance.random() < 0.7) as stream:
        if number % 10 == 1:
            return  # no start
        await stream.start()
        await KINDS[number % len(KINDS)](stream, chance)


def bridges() -> list[Bridge]:
    """Those that somebody still knows; a test that failed before this one may have left its own."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Bridge)]


async def test_everything_at_once() -> None:
    primary_faults = [
        "refuse=503*2", "close-on-connect*4", "close-mid-response*20", "cut*30", "bad-base64*45",
        "late-deltas", "odd-deltas", "unknown-events",
    ]  # fmt: skip
    async with (
        OpenAISimulator(faults=primary_faults) as primary,
        OpenAISimulator(faults=["late-deltas", "cut*12"], pace=4.0) as backup,
        tandem(
            PROVIDERS="openai,openai@backup",
            OPENAI_API_KEY="planted-key",
            OPENAI_REALTIME_URL=primary.url,
            BACKUP_OPENAI_REALTIME_URL=backup.url,
            BACKUP_OPENAI_AUDIO="pcm16",
            MAX_CALLS="500",
            MAX_STARTS_PER_SECOND="1000",
        ) as server,
    ):
        server.hurry(start_seconds=0.3, stream_seconds=1.5, carrier_gone_seconds=2.0)
        earlier, before = bridges(), tasks()
        with log_lines() as lines:
            at_once = asyncio.Semaphore(25)

            async def one(number: int) -> None:
                async with at_once:
                    await caller(server, number)

            async with asyncio.TaskGroup() as callers:
                for number in range(CALLERS):
                    callers.create_task(one(number))
            await server.empty(seconds=10)
        assert [line for line in lines if line["level"] == "error"] == []
        ended = [line for line in lines if line["event"] == "call ended"]
        assert len(ended) == len({line["call_id"] for line in ended}) == CALLERS
        assert {line["result"] for line in ended} <= {reason.value for reason in EndReason}
        assert "internal_error" not in {line["result"] for line in ended}
        await until(lambda: tasks() <= before)  # those of the simulators hear of the end a moment later
        # A timer of a socket's closing handshake may know its call for some seconds more; then nobody does.
        await until(lambda: not [bridge for bridge in bridges() if bridge not in earlier], seconds=10)
