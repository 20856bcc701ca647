"""Tasks that belong to an async context manager end with it, and stay out of its body's way."""

from __future__ import annotations

import asyncio

import pytest
from fakes import tasks

from tandem_providers.tasks import owned_tasks


async def forever(ended: list[str]) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        ended.append("ended")


async def test_what_still_runs_ends_with_the_body() -> None:
    ended: list[str] = []
    async with owned_tasks() as start:
        start(forever(ended), name="one")
        start(forever(ended), name="two")
        await asyncio.sleep(0)
    assert ended == ["ended", "ended"]
    assert not tasks()


async def test_the_bodys_exception_leaves_as_itself() -> None:
    ended: list[str] = []
    with pytest.raises(LookupError):  # noqa: PT012 - the exception comes from within the body
        async with owned_tasks() as start:
            start(forever(ended), name="one")
            await asyncio.sleep(0)
            raise LookupError
    assert ended == ["ended"]


async def test_cancellation_travels_on() -> None:
    ended: list[str] = []

    async def body() -> None:
        async with owned_tasks() as start:
            start(forever(ended), name="one")
            await asyncio.get_running_loop().create_future()

    task = asyncio.ensure_future(body())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["ended"]


async def test_a_task_that_lets_an_exception_out_is_a_bug_and_is_shown() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the body has to wait for what its task does
        async with owned_tasks() as start:
            start(broken(), name="broken")
            await asyncio.get_running_loop().create_future()
    assert caught.group_contains(ZeroDivisionError)
