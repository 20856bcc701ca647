"""A simulated Deepgram Voice Agent on a WebSocket, with each refusal and fault that a client must live with.

    async with DeepgramSimulator(voice="tone:440") as simulator:
        ...  # a client connects to simulator.url
        session = await simulator.session(1)
        session.record.messages("InjectAgentMessage")

The protocol itself is in `deepgram_engine`; the door is that of `openai`.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from functools import partial
from typing import Final, cast

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tandem.simulators.deepgram_engine import DeepgramEngine
from tandem.simulators.deepgram_script import DeepgramOptions
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai import serve as serve_openai
from tandem.simulators.openai_connection import Driven, SimulatedSession
from tandem.simulators.openai_outlet import Action

PATH: Final = "/v1/agent/converse"
_REFUSALS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("Bad Request", "The request is invalid."),
    401: ("INVALID_AUTH", "Invalid credentials."),
    403: ("INSUFFICIENT_PERMISSIONS", "User does not have sufficient permissions."),
    404: ("NOT_FOUND", "Not found."),
    429: ("TOO_MANY_REQUESTS", "Too many requests. Please try again later."),
    500: ("INTERNAL_SERVER_ERROR", "Internal server error."),
    503: ("SERVICE_UNAVAILABLE", "The service is unavailable."),
}


class DeepgramSimulator(OpenAISimulator):
    """The server, as an async context manager. Keyword options are the fields of `DeepgramOptions`.

    Raises:
        ValueError: a fault or an option that makes no sense.
    """

    path = PATH
    options_type = DeepgramOptions

    @property
    def base_url(self) -> str:
        """What the vendor's own client takes as the address of its agents."""
        return self.url.removesuffix(PATH)

    def misdirected(self, path: str, query: Mapping[str, str]) -> str | None:
        """HTTP status with which a request is answered that does not ask for a session of this protocol."""
        return "404" if path != PATH else None

    def is_welcome(self, session: SimulatedSession) -> bool:
        scheme, _, key = session.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in ("token", "bearer") or not key.strip():
            return False
        return self.options.key is None or key.strip() == self.options.key

    async def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        response = await super()._greet(connection, request)
        if response is not None:
            code, message = _REFUSALS[response.status_code]
            response.body = json.dumps({"err_code": code, "err_msg": message, "request_id": "simulated"}).encode()
            del response.headers["Content-Length"]
            response.headers["Content-Length"] = str(len(response.body))
        return response

    def open_session(self, session: SimulatedSession, rng: random.Random) -> tuple[Driven, list[Action]]:
        """An engine for this connection, and its first words."""
        options = cast(DeepgramOptions, self.options)  # made of `options_type`
        now = asyncio.get_running_loop().time()
        engine = DeepgramEngine(options, faults=session.faults, rng=rng, now=now)
        session.record = engine.record
        if "invalid-key-late" in session.faults or not self.is_welcome(session):
            return engine, engine.refuse("INVALID_AUTH", "Invalid credentials.")
        return engine, engine.open(now)


serve = partial(serve_openai, simulator_type=DeepgramSimulator)
"""See `tandem.simulators.openai.serve`."""
