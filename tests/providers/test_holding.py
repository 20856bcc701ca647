"""A session in the hands of a conversation: let go while it is opened, dismissed when another has followed it."""

from __future__ import annotations

import asyncio
from typing import cast

from tandem_providers.events import AudioChunk, Event
from tandem_providers.fallback import Attempt
from tandem_providers.holding import Holding
from tandem_providers.provider import HasLane, Lane

CHUNK = AudioChunk(b"\x7f", False, "i", "t")


class Laned:
    lane: Lane | None = None


async def forever() -> None:
    await asyncio.Event().wait()


def holding() -> Holding:
    return Holding(cast(Attempt, None), 0)


async def test_who_is_dismissed_is_not_heard_any_more_whichever_way() -> None:
    held, laned, heard = holding(), Laned(), list[Event]()
    held.laned = cast(HasLane, laned)
    held.laned.lane = lambda audio, item_id: True
    held.gate.open(heard.append)
    held.gate(CHUNK)
    held.dismiss()
    held.gate(CHUNK)
    assert heard == [CHUNK]
    assert laned.lane is None
    assert held.release.is_set()


async def test_an_opening_is_cancelled_an_open_session_is_closed_politely() -> None:
    opening, up = holding(), holding()
    tasks = [asyncio.create_task(forever()) for _ in range(2)]
    opening.task, up.task = tasks
    up.offer.set_result(None)
    for held in (opening, up):
        held.let_go()
    assert [task.cancelling() for task in tasks] == [1, 0]
    assert up.release.is_set()
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
