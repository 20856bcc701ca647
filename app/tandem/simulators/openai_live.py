"""A simulated OpenAI Live server on a WebSocket: full duplex, and each refusal and fault that a client must live with.

    async with OpenAILiveSimulator(voice="tone:440") as simulator:
        ...  # a client connects to simulator.url
        session = await simulator.session(1)
        session.record.messages("session.commentary.append")

The protocol itself is in `openai_live_engine`; the door is that of `openai`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from tandem.simulators.openai import OpenAISimulator, Report
from tandem.simulators.openai_connection import Driven, SimulatedSession
from tandem.simulators.openai_live_engine import LiveEngine
from tandem.simulators.openai_live_script import OpenAILiveOptions
from tandem.simulators.openai_outlet import Action

PATH: Final = "/v1/live/sessions"


class OpenAILiveSimulator(OpenAISimulator):
    """The server, as an async context manager. Keyword options are the fields of `OpenAILiveOptions`.

    Raises:
        ValueError: a fault or an option that makes no sense.
    """

    path = PATH
    options_type = OpenAILiveOptions

    def misdirected(self, path: str, query: Mapping[str, str]) -> str | None:
        """HTTP status with which a request is answered that does not ask for a session of this protocol."""
        return "404" if path != self.path else "400" if query else None

    def open_session(self, session: SimulatedSession, rng: random.Random) -> tuple[Driven, list[Action]]:
        """An engine for this connection, and its first words."""
        options = cast(OpenAILiveOptions, self.options)  # made of `options_type`
        now = asyncio.get_running_loop().time()
        engine = LiveEngine(options, faults=session.faults, rng=rng, now=now, unix_now=time.time())
        session.record = engine.record
        if "invalid-key-late" in session.faults or not self.is_welcome(session):
            return engine, engine.refuse("invalid_api_key", "Incorrect API key provided.", 3000)
        return engine, engine.open(now)


async def serve(
    host: str,
    port: int,
    faults: Sequence[str] = (),
    *,
    on_listening: Callable[[str], None] | None = None,
    on_report: Report | None = None,
    **options: Any,
) -> None:
    """Serve until cancelled. `on_listening` is told the URL, `on_report` one line for each connection that ended.

    `options` are fields of `OpenAILiveOptions`; nothing is kept for inspection unless `record=True` is among them.

    Raises:
        ValueError: a fault or an option that makes no sense.
        OSError: the port can't be had.
    """
    settings = {"record": False, **options}
    async with OpenAILiveSimulator(host=host, port=port, faults=faults, on_report=on_report, **settings) as simulator:
        if on_listening is not None:
            on_listening(simulator.url)
        await asyncio.get_running_loop().create_future()
