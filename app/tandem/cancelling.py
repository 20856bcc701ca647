"""HTTP requests that may be cancelled at any moment.

The connection pool under httpx closes what has gone stale before it opens anything new. It shields that from anyio's
cancellations, the only ones it knows; one of asyncio's ends it after the first connection, and the others, which the
pool has forgotten by then, stay open for nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import anyio

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


async def politely(
    request: Callable[Parameters, Awaitable[Result]], *args: Parameters.args, **options: Parameters.kwargs
) -> Result:
    """What `request(...)` gives or raises. A cancellation from outside reaches it as one of anyio's."""
    results: list[Result] = []
    failures: list[Exception] = []

    async def run() -> None:
        try:
            results.append(await request(*args, **options))
        except Exception as failure:  # it shall leave as itself, not in a group
            failures.append(failure)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
    for failure in failures:
        raise failure
    return results[0]
