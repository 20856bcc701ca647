"""Who owns the tasks of an async context manager."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol


class StartTask(Protocol):
    """Starts a task that belongs to whoever handed this out."""

    def __call__(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]: ...


@asynccontextmanager
async def owned_tasks() -> AsyncIterator[StartTask]:
    """A TaskGroup fit for the inside of an async context manager, whose body is the caller's code.

    When the body is left, for whatever reason, tasks that still run are cancelled and waited for; an exception of the
    body leaves as itself, not wrapped in a group. A task must deal with its own failures: one that lets an exception
    out is a bug, and ends the body as in any TaskGroup.
    """
    tasks: set[asyncio.Task[None]] = set()
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:

        def start(coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
            task = group.create_task(coroutine, name=name)
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            return task

        try:
            yield start
        except Exception as error:
            failure = error
        finally:
            for task in tasks:
                task.cancel()
    if failure is not None:
        raise failure
