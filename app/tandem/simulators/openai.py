"""A simulated OpenAI Realtime server (GA) on a WebSocket: each event, refusal and fault that a client has to live with.

    async with OpenAISimulator(voice="tone:440", faults=["refuse=503*2"]) as simulator:
        ...  # a client connects to simulator.url
        session = await simulator.session(3)
        session.record.truncations

The protocol itself is in `openai_engine`; here are only the door and the clock.
"""

from __future__ import annotations

import asyncio
import dataclasses
import http
import json
import logging
import random
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from tandem.simulators.faults import faults_of_connection, parse_fault
from tandem.simulators.openai_connection import BROKEN, Connection, Driven, SimulatedSession, reset
from tandem.simulators.openai_conversation import Conversation
from tandem.simulators.openai_engine import Engine
from tandem.simulators.openai_outlet import Action
from tandem.simulators.openai_script import OpenAIOptions
from tandem.simulators.openai_tongue import MakeTongue, OpenAITongue
from tandem.simulators.openai_voice import check_voice

PATH: Final = "/v1/realtime"
Report = Callable[[str], None]

_MAX_MESSAGE: Final = 16 * 1024 * 1024
_KEY_PROTOCOL: Final = "openai-insecure-api-key."
_REFUSALS: Final[Mapping[str, tuple[str, str, str]]] = {
    "400": ("invalid_request_error", "invalid_request", "The request is invalid."),
    "401": ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "403": ("invalid_request_error", "forbidden", "This project does not have access to the model."),
    "404": ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    "429": ("requests", "rate_limit_exceeded", "Rate limit reached: please try again later."),
    "500": ("server_error", "server_error", "The server had an error while processing your request."),
    "503": ("server_error", "service_unavailable", "The server is overloaded: please try again later."),
}
# The noise of refusals and cut connections is no news to those who asked for them.
_QUIET: Final = logging.getLogger("tandem.simulators.openai")
_QUIET.setLevel(logging.CRITICAL)


class OpenAISimulator:
    """The server, as an async context manager.

    Keyword options are the fields of `OpenAIOptions`. Entering binds the port (0 picks a free one); leaving closes all
    connections with 1001, and raises what went wrong inside the simulator itself, so that no test passes by its bug.

    A sibling protocol of the same vendor has its own path, options and sessions (see `open_session`).

    Raises:
        ValueError: a fault or an option that makes no sense.
    """

    path: ClassVar[str] = PATH
    make_tongue: ClassVar[MakeTongue] = OpenAITongue
    options_type: ClassVar[type[OpenAIOptions]] = OpenAIOptions

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Sequence[str] = (),
        on_report: Report | None = None,
        options: OpenAIOptions | None = None,
        **fields: Any,
    ) -> None:
        self.options = dataclasses.replace(options or self.options_type(), **fields)
        check_voice(self.options.voice)
        self.sessions: list[SimulatedSession] = []
        """All connections so far, in order; without `record`, only those that live."""
        self._faults = [parse_fault(text) for text in faults]
        self._host = host
        self._port = port
        self._on_report = on_report
        self._server: Server | None = None
        self._count = 0
        self._accepted: dict[ServerConnection, SimulatedSession] = {}
        self._connections: weakref.WeakSet[ServerConnection] = weakref.WeakSet()
        self._arrival = asyncio.Event()
        self._bugs: list[Exception] = []

    @property
    def url(self) -> str:
        """Where clients connect, e.g. `ws://127.0.0.1:41234/v1/realtime`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"ws://{host}:{self._port}{self.path}"

    @property
    def base_url(self) -> str:
        """What the vendor's own client takes as `websocket_base_url`."""
        return self.url.rpartition("/v1/")[0] + "/v1"

    async def __aenter__(self) -> Self:
        self._server = await serve_websockets(
            self._handle,
            self._host,
            self._port,
            process_request=self._greet,
            select_subprotocol=_choose_subprotocol,
            compression=None,
            max_size=_MAX_MESSAGE,
            open_timeout=None,  # a handshake that hangs is one of our faults
            close_timeout=2,
            create_connection=self._connect,  # type: ignore[arg-type]  # called like the class that it stands for
            logger=_QUIET,
            server_header=None,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The library waits for handshakes; those that hang never end.
        for connection in list(self._connections):
            if connection.state is State.CONNECTING:
                connection.transport.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        if self._bugs and error is None:
            raise self._bugs[0]

    async def session(self, number: int) -> SimulatedSession:
        """Connection number so-and-so (counted from 1), as soon as it is there; it must be kept (see `sessions`)."""
        while True:
            for session in self.sessions:
                if session.number == number:
                    return session
            self._arrival.clear()
            await self._arrival.wait()

    # The handshake.

    def _connect(self, *arguments: Any, **fields: Any) -> ServerConnection:
        connection = ServerConnection(*arguments, **fields)
        self._connections.add(connection)
        return connection

    async def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        self._count += 1
        url = urlsplit(request.path)
        session = SimulatedSession(
            self._count,
            {name.lower(): value for name, value in request.headers.raw_items()},
            {name: values[0] for name, values in parse_qs(url.query).items()},
            faults_of_connection(self._faults, self._count),
        )
        self.sessions.append(session)
        self._arrival.set()
        if "hang-connect" in session.faults:
            await self._hang(connection, session)
            return None
        status = self._refusal(session, url.path)
        if status is None:
            self._accepted[connection] = session
            return None
        session.refused = int(status)
        self._over(session)
        return _refuse(status, session.faults.get("retry-after"))

    def _refusal(self, session: SimulatedSession, path: str) -> str | None:
        """HTTP status with which the handshake is refused, if it is."""
        if "refuse" in session.faults:
            return session.faults["refuse"]
        status = self.misdirected(path, session.query)
        if status is not None:
            return status
        late = self.options.key_refusal == "late" or "invalid-key-late" in session.faults
        return None if late or self.is_welcome(session) else "401"

    def misdirected(self, path: str, query: Mapping[str, str]) -> str | None:
        """HTTP status with which a request is answered that does not ask for a session of this protocol."""
        return "404" if path != self.path or "call_id" in query else None

    def is_welcome(self, session: SimulatedSession) -> bool:
        key = _key(session.headers)
        return bool(key) if self.options.key is None else key == self.options.key

    def conversation_of(self, session: SimulatedSession) -> Conversation | None:
        """The conversation that is to go on, where there is such a thing."""
        return None

    async def _hang(self, connection: ServerConnection, session: SimulatedSession) -> None:
        try:
            await connection.wait_closed()
        finally:
            session.close_code = BROKEN
            self._over(session)

    # The session.

    async def _handle(self, connection: ServerConnection) -> None:
        session = self._accepted.pop(connection)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await self._converse(connection, session)
        except Exception as bug:
            self._bugs.append(bug)
            reset(connection)
        finally:
            session.seconds = loop.time() - begun
            session.close_code = connection.close_code or BROKEN
            session.close_reason = connection.close_reason or ""
            self._over(session)

    async def _converse(self, connection: ServerConnection, session: SimulatedSession) -> None:
        faults = session.faults
        if "close-on-connect" in faults:
            return await connection.close(int(faults["close-on-connect"]))
        if "silent" in faults:
            return await _swallow(connection)
        if "delay-ready" in faults and await _left_within(connection, float(faults["delay-ready"])):
            return None
        engine, opening = self.open_session(session, random.Random(f"{self.options.seed}/{session.number}"))
        await Connection(connection, session, engine).run(opening)

    def open_session(self, session: SimulatedSession, rng: random.Random) -> tuple[Driven, list[Action]]:
        """An engine for this connection, and its first words."""
        engine = Engine(
            self.options,
            model=session.query.get("model", ""),
            faults=session.faults,
            rng=rng,
            now=asyncio.get_running_loop().time(),
            unix_now=time.time(),
            tongue=type(self).make_tongue(),
            conversation=self.conversation_of(session),
        )
        session.engine = engine
        session.record = engine.record
        return engine, self._objection(session, engine)

    def _objection(self, session: SimulatedSession, engine: Engine) -> list[Action]:
        """The first words: a refusal when something is found wrong after the handshake, else `session.created`."""
        if "invalid-key-late" in session.faults or not self.is_welcome(session):
            return engine.refuse("invalid_api_key", "Incorrect API key provided.", 3000)
        complaint = self.complaint(session)
        if complaint is not None:
            code, message, param = complaint
            return engine.refuse(code, message, 4000, param)
        return engine.open(asyncio.get_running_loop().time())

    def complaint(self, session: SimulatedSession) -> tuple[str, str, str | None] | None:
        """What is wrong with a request whose key is good: code, message, and the parameter that it is about."""
        if "openai-beta" in session.headers:
            return "beta_api_shape_disabled", "The Realtime Beta API is no longer available: use the GA API.", None
        intent = session.query.get("intent", "realtime")
        if intent != "realtime":
            return "invalid_intent", f"Invalid intent: '{intent}'.", "intent"
        model = session.query.get("model", "")
        if not model:
            return "missing_model", "You must provide a model parameter.", "model"
        if model.startswith("gpt-live"):
            return "invalid_model", f"Model '{model}' is not supported in realtime mode.", "model"
        return None

    def _over(self, session: SimulatedSession) -> None:
        session.touch()
        if not self.options.record:
            self.sessions.remove(session)
        if self._on_report is not None:
            self._on_report(session.report())


async def _swallow(connection: ServerConnection) -> None:
    """Read until the far end leaves; say nothing."""
    async for _ in connection:
        pass


async def _left_within(connection: ServerConnection, seconds: float) -> bool:
    """Wait that long; whether the far end left meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            await connection.wait_closed()
    except TimeoutError:
        return False
    return True


def _key(headers: Mapping[str, str]) -> str:
    """The client's key: the bearer token, or the subprotocol that browsers use instead."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    offered = (entry.strip() for entry in headers.get("sec-websocket-protocol", "").split(","))
    return next((entry.removeprefix(_KEY_PROTOCOL) for entry in offered if entry.startswith(_KEY_PROTOCOL)), "")


def _choose_subprotocol(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol("realtime") if "realtime" in offered else None


def _refuse(status: str, retry_after: str | None) -> Response:
    kind, code, message = _REFUSALS[status]
    body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"})
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return Response(int(status), http.HTTPStatus(int(status)).phrase, headers, body)


async def serve(
    host: str,
    port: int,
    faults: Sequence[str] = (),
    *,
    on_listening: Callable[[str], None] | None = None,
    on_report: Report | None = None,
    simulator_type: type[OpenAISimulator] = OpenAISimulator,
    **options: Any,
) -> None:
    """Serve until cancelled. `on_listening` is told the URL, `on_report` one line for each connection that ended.

    `options` are those of the simulator; nothing is kept for inspection unless `record=True` is among them.

    Raises:
        ValueError: a fault or an option that makes no sense.
        OSError: the port can't be had.
    """
    settings = {"record": False, **options}
    async with simulator_type(host=host, port=port, faults=faults, on_report=on_report, **settings) as simulator:
        if on_listening is not None:
            on_listening(simulator.url)
        await asyncio.get_running_loop().create_future()
