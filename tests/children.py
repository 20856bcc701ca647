"""Servers in processes of their own, for tests where signals, the environment or the output matter."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import httpx
from servers import Door, Environment, environment, eventually

from tandem.demo import reserved_port
from tandem_providers.tasks import owned_tasks

SERVE: Final = (
    "from tandem.settings import load; from tandem.serve import serve; raise SystemExit(serve(load(dotenv=None)))"
)
PLAIN: Final = ("-m", "uvicorn", "tandem.main:app", "--host", "127.0.0.1", "--port")


class Child(Door):
    """A server in a process of its own. `output` is what it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process, origin: str) -> None:
        super().__init__(origin)
        self.process = process
        self.output = ""

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.output += line.decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log so far."""
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]


@asynccontextmanager
async def child(
    how: Literal["serve", "uvicorn"] = "serve", *, ready: bool = True, first: str = "", **changes: str | None
) -> AsyncIterator[Child]:
    """A server in a process of its own; killed at the end if it still runs. Keywords are environment variables, `first`
    is what a process that serves does before that.
    """
    with reserved_port() as port:
        arguments = ("-c", f"{first}\n{SERVE}") if how == "serve" else (*PLAIN, str(port))
        async with _started(arguments, port, changes, ready=ready) as running:
            yield running


@asynccontextmanager
async def _started(arguments: tuple[str, ...], port: int, changes: Environment, *, ready: bool) -> AsyncIterator[Child]:
    environ = {**clean(), **environment(port, changes)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "faulthandler", *arguments, env=environ, cwd=Path(__file__).parent,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Child(process, f"http://127.0.0.1:{port}")
    async with asyncio.timeout(55), owned_tasks() as start:
        reader = start(running.read(), name="output")
        try:
            if ready:
                await eventually(lambda: _answers(running), seconds=20)
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reader
            await running.http.aclose()


async def _answers(running: Child) -> bool:
    assert running.process.returncode is None, running.output
    try:
        return (await running.http.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


def clean() -> dict[str, str]:
    """This process's environment without anything that a server would read."""
    kept = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "TMPDIR", "PYTHONPATH")
    return {name: os.environ[name] for name in kept if name in os.environ}
