"""Many calls, one clock: everybody is called at the pace, and nobody who has left."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

from tandem.ticker import PHASES, Ticker


async def test_everybody_is_called_at_the_same_pace() -> None:
    ticker, counts, done = Ticker(0.02), Counter[int](), asyncio.Event()

    def tick(who: int) -> None:
        counts[who] += 1
        if who == 0 and counts[0] == 10:
            done.set()

    ticks = [partial(tick, who) for who in range(3 * PHASES)]
    for each in ticks:
        ticker.join(each)
    async with asyncio.timeout(5):
        await done.wait()
    assert set(counts) == set(range(3 * PHASES))
    assert max(counts.values()) - min(counts.values()) <= 1
    for each in ticks:
        ticker.leave(each)


async def test_who_has_left_is_not_called_and_the_clock_stops_with_the_last() -> None:
    ticker, called, twice = Ticker(0.01), Counter[str](), asyncio.Event()

    def stays() -> None:
        called["stays"] += 1
        if called["stays"] == 2:
            twice.set()

    def leaves() -> None:
        called["leaves"] += 1
        ticker.leave(leaves)

    ticker.join(stays)
    ticker.join(leaves)
    async with asyncio.timeout(5):
        await twice.wait()
    assert called["leaves"] == 1
    ticker.leave(stays)
    ticker.leave(stays)
    timers = [ticker._timer]
    ticker.join(leaves)
    timers.append(ticker._timer)
    ticker.leave(leaves)
    assert [timer is not None for timer in timers] == [False, True]


async def test_they_are_spread_over_the_interval() -> None:
    ticker, called = Ticker(1.0), list[int]()
    ticks = [partial(called.append, n) for n in range(2 * PHASES)]
    for tick in ticks:
        ticker.join(tick)
    assert [len(phase) for phase in ticker._phases] == [2] * PHASES
    for tick in ticks:
        ticker.leave(tick)


async def test_after_a_standstill_one_beat_is_left_out_so_that_sockets_are_read_first() -> None:
    ticker, called = Ticker(60.0), list[int]()  # its own timer does not come into this
    ticks = [partial(called.append, n) for n in range(PHASES)]
    for each in ticks:
        ticker.join(each)

    def beat(late: float) -> list[int]:
        assert ticker._timer is not None
        ticker._timer.cancel()
        ticker._due = asyncio.get_running_loop().time() - late
        called.clear()
        ticker._beat()
        return list(called)

    assert [len(beat(late)) for late in (0.0, 30.0, 90.0, 0.0)] == [1, 1, 0, 1]
    assert [len(beat(90.0)) for _ in range(4)] == [0, 1, 0, 1], "always late, and called all the same"
    for each in ticks:
        ticker.leave(each)
