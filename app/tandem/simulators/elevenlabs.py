"""A simulated ElevenLabs agent on a WebSocket, with each refusal and fault that a client must live with.

    async with ElevenLabsSimulator(voice="tone:440", key="sk_test") as simulator:
        ...  # a client connects to simulator.url, or asks for a signed address first
        session = await simulator.session(1)
        session.record.messages("user_message")

The protocol itself is in `elevenlabs_engine`; the door is that of `openai`.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlencode, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tandem.simulators.elevenlabs_engine import ElevenLabsEngine
from tandem.simulators.elevenlabs_script import ElevenLabsOptions
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai import serve as serve_openai
from tandem.simulators.openai_connection import Driven, SimulatedSession
from tandem.simulators.openai_outlet import Action

PATH: Final = "/v1/convai/conversation"
SIGNING_PATHS: Final = (f"{PATH}/get-signed-url", f"{PATH}/get_signed_url")


class ElevenLabsSimulator(OpenAISimulator):
    """The server, as an async context manager. Keyword options are the fields of `ElevenLabsOptions`.

    With a `key` the agent is not public: a client needs it, or an address that was signed for it.

    Raises:
        ValueError: a fault or an option that makes no sense.
    """

    path = PATH
    options_type = ElevenLabsOptions

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.signatures: set[str] = set()
        """Of the signed addresses that were given out."""

    @property
    def base_url(self) -> str:
        """What the vendor's own client takes as its `base_url`."""
        return self.url.removesuffix(PATH).replace("ws", "http", 1)

    def misdirected(self, path: str, query: Mapping[str, str]) -> str | None:
        """HTTP status with which a request is answered that does not ask for a conversation."""
        return "404" if path != PATH else "400" if not query.get("agent_id") else None

    def is_welcome(self, session: SimulatedSession) -> bool:
        if self.options.key is None or session.query.get("conversation_signature") in self.signatures:
            return True
        return session.headers.get("xi-api-key") == self.options.key

    async def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        if url.path in SIGNING_PATHS:
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            return self._sign(request.headers.get("xi-api-key", ""), query.get("agent_id", ""))
        return await super()._greet(connection, request)

    def _sign(self, key: str, agent_id: str) -> Response:
        """An address for one conversation."""
        if not key or (self.options.key is not None and key != self.options.key):
            return _answer(401, {"detail": {"status": "invalid_api_key", "message": "Invalid API key"}})
        signature = secrets.token_hex(16)
        self.signatures.add(signature)
        query = urlencode({"agent_id": agent_id, "conversation_signature": signature})
        return _answer(200, {"signed_url": f"{self.url}?{query}"})

    def open_session(self, session: SimulatedSession, rng: random.Random) -> tuple[Driven, list[Action]]:
        """An engine for this connection, and its first words."""
        options = cast(ElevenLabsOptions, self.options)  # made of `options_type`
        now = asyncio.get_running_loop().time()
        engine = ElevenLabsEngine(options, faults=session.faults, rng=rng, now=now)
        session.record = engine.record
        if "invalid-key-late" in session.faults or not self.is_welcome(session):
            return engine, engine.refuse("Could not authorize the conversation: invalid API key.")
        if options.agent_id and session.query["agent_id"] != options.agent_id:
            return engine, engine.refuse("The AI agent you are trying to reach does not exist.")
        return engine, engine.open(now)


def _answer(status: int, content: dict[str, Any]) -> Response:
    body = json.dumps(content).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status, "OK" if status == 200 else "Unauthorized", headers, body)


serve = partial(serve_openai, simulator_type=ElevenLabsSimulator)
"""See `tandem.simulators.openai.serve`."""
