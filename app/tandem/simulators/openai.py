"""A simulated OpenAI Realtime server (GA) on a WebSocket: each event, refusal and fault that a client has to live with.

    async with OpenAISimulator(voice="tone:440", faults=["refuse=503*2"]) as simulator:
        ...  # a client connects to simulator.url
        session = await simulator.session(1)
        session.record.truncations

The protocol itself is in `openai_engine`; here are only sockets, the clock and the handshake.
"""

from __future__ import annotations

import asyncio
import dataclasses
import http
import json
import logging
import random
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tandem.simulators.faults import faults_of_connection, parse_fault
from tandem.simulators.openai_engine import Action, Close, Cut, Engine, Record, Send
from tandem.simulators.openai_script import OpenAIOptions
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
# Protocol noise of faults that we cause ourselves (refusals, cut connections) is no news to anybody.
_QUIET: Final = logging.getLogger("tandem.simulators.openai.websockets")
_QUIET.setLevel(logging.CRITICAL)


@dataclasses.dataclass(slots=True, eq=False)
class SimulatedSession:
    """One connection of a client, for inspection while it lives and afterwards."""

    number: int
    """Counted from 1 over all connections, refused ones included."""
    headers: dict[str, str]
    """Of the handshake; names in lower case."""
    query: dict[str, str]
    faults: dict[str, str]
    record: Record
    refused: int | None = None
    """HTTP status of a refused handshake."""
    close_code: int | None = None
    close_reason: str = ""
    seconds: float = 0.0
    engine: Engine | None = None
    _changed: list[asyncio.Future[None]] = dataclasses.field(default_factory=list)

    async def until(self, condition: Callable[[SimulatedSession], bool]) -> None:
        """Wait until the condition holds; looked at again after each thing that happens here."""
        while not condition(self):
            change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._changed.append(change)
            await change

    async def closed(self) -> None:
        """Wait for the end of the connection."""
        await self.until(lambda session: session.close_code is not None or session.refused is not None)

    def touch(self) -> None:
        """Something happened."""
        waiting, self._changed = self._changed, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

    def report(self) -> str:
        """One line about it."""
        if self.refused is not None:
            return f"session {self.number}: refused with HTTP {self.refused}"
        record = self.record
        return (
            f"session {self.number}: {self.seconds:.1f} s, heard {record.heard_ms / 1000:.1f} s, "
            f"said {record.said_ms / 1000:.1f} s in {record.response_count} responses, closed {self.close_code}"
            + (f" ({self.close_reason})" if self.close_reason else "")
            + (f", faults: {', '.join(self.faults)}" if self.faults else "")
        )


class _Connection:
    """Drives one engine: a reader, a writer, and one timer for all that the engine plans."""

    def __init__(self, socket_: ServerConnection, session: SimulatedSession, engine: Engine) -> None:
        self._socket = socket_
        self._session = session
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._outbox: deque[Action] = deque()
        self._news = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, opening: list[Action] | None) -> None:
        """Until the connection ends. `opening` replaces the engine's own (None: the usual one)."""
        writer = asyncio.create_task(self._write())
        try:
            self._obey(self._engine.open(self._loop.time()) if opening is None else opening)
            async for message in self._socket:
                self._obey(self._engine.receive(message, self._loop.time()))
        except ConnectionClosed:
            pass
        finally:
            if self._timer is not None:
                self._timer.cancel()
            writer.cancel()
            await asyncio.wait([writer])

    def _obey(self, actions: list[Action]) -> None:
        self._outbox.extend(actions)
        if actions:
            self._news.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._engine.next_wake
        if due is not None:
            self._timer = self._loop.call_at(due, self._wake)
        self._session.touch()

    def _wake(self) -> None:
        self._timer = None
        self._obey(self._engine.wake(self._loop.time()))

    async def _write(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._outbox:
                    await self._act(self._outbox.popleft())
        except ConnectionClosed:
            return

    async def _act(self, action: Action) -> None:
        match action:
            case Send():
                await self._socket.send(action.text, text=True)
            case Close():
                await self._socket.close(action.code, action.reason)
            case Cut():
                _reset(self._socket)


def _reset(connection: ServerConnection) -> None:
    """Cut the connection such that the far end sees a reset, not an end of file."""
    raw = connection.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


class OpenAISimulator:
    """The server, as an async context manager.

    Keyword options are the fields of `OpenAIOptions`. Entering binds the port (0 picks a free one); leaving closes all
    connections with 1001.

    Raises:
        ValueError: a fault or an option that makes no sense.
    """

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
        self.options = dataclasses.replace(options or OpenAIOptions(), **fields)
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
        self._arrival = asyncio.Event()
        self._leaving = asyncio.Event()

    @property
    def url(self) -> str:
        """Where clients connect, e.g. `ws://127.0.0.1:41234/v1/realtime`."""
        return f"ws://{self._host}:{self._port}{PATH}"

    @property
    def base_url(self) -> str:
        """What the vendor's SDK takes as `websocket_base_url`."""
        return self.url.removesuffix("/realtime")

    async def __aenter__(self) -> OpenAISimulator:
        self._server = await serve_websocket(
            self._handle,
            self._host,
            self._port,
            process_request=self._greet,
            select_subprotocol=_choose_subprotocol,
            compression=None,
            max_size=_MAX_MESSAGE,
            ping_interval=None,
            close_timeout=2,
            logger=_QUIET,
            server_header=None,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leaving.set()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def session(self, number: int) -> SimulatedSession:
        """Connection number so-and-so (counted from 1), as soon as it is there."""
        while len(self.sessions) < number:
            self._arrival.clear()
            await self._arrival.wait()
        return self.sessions[number - 1]

    # The handshake.

    async def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        self._count += 1
        url = urlsplit(request.path)
        session = SimulatedSession(
            self._count,
            {name.lower(): value for name, value in request.headers.raw_items()},
            {name: values[0] for name, values in parse_qs(url.query).items()},
            faults_of_connection(self._faults, self._count),
            Record(),
        )
        self.sessions.append(session)
        self._arrival.set()
        if "hang-connect" in session.faults:
            await self._hang(connection)
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
        if path != PATH or "call_id" in session.query:
            return "404"
        if self.options.key_refusal == "http" and not self._is_welcome(_key(session.headers)):
            return "401"
        return None

    def _is_welcome(self, key: str) -> bool:
        return bool(key) if self.options.key is None else key == self.options.key

    async def _hang(self, connection: ServerConnection) -> None:
        gone = asyncio.ensure_future(connection.wait_closed())
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait([gone, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            leaving.cancel()

    # The session.

    async def _handle(self, connection: ServerConnection) -> None:
        session = self._accepted.pop(connection)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await self._converse(connection, session)
        finally:
            session.seconds = loop.time() - begun
            session.close_code = connection.close_code or 1006
            session.close_reason = connection.close_reason or ""
            self._over(session)

    async def _converse(self, connection: ServerConnection, session: SimulatedSession) -> None:
        if "close-on-connect" in session.faults:
            await connection.close(int(session.faults["close-on-connect"]))
            return
        if "silent" in session.faults:
            await connection.wait_closed()
            return
        if "delay-ready" in session.faults:
            await asyncio.sleep(float(session.faults["delay-ready"]))
        engine = Engine(
            self.options,
            model=session.query.get("model", ""),
            faults=session.faults,
            rng=random.Random(f"{self.options.seed}/{session.number}"),
            now=asyncio.get_running_loop().time(),
            unix_now=time.time(),
        )
        session.engine = engine
        session.record = engine.record
        await _Connection(connection, session, engine).run(self._objection(session, engine))

    def _objection(self, session: SimulatedSession, engine: Engine) -> list[Action] | None:
        """What the server says instead of `session.created` when it finds something wrong after the handshake."""
        if "invalid-key-late" in session.faults or not self._is_welcome(_key(session.headers)):
            return engine.refuse("invalid_api_key", "Incorrect API key provided.", 3000)
        if "openai-beta" in session.headers:
            return engine.refuse(
                "beta_api_shape_disabled", "The Realtime Beta API is no longer available: use the GA API.", 4000
            )
        intent = session.query.get("intent", "realtime")
        if intent != "realtime":
            return engine.refuse("invalid_intent", f"Invalid intent: '{intent}'.", 4000, "intent")
        model = session.query.get("model", "")
        if not model:
            return engine.refuse("missing_model", "You must provide a model parameter.", 4000, "model")
        if model.startswith("gpt-live"):
            return engine.refuse("invalid_model", f"Model '{model}' is not supported in realtime mode.", 4000, "model")
        return None

    def _over(self, session: SimulatedSession) -> None:
        session.touch()
        if self._on_report is not None:
            self._on_report(session.report())
        if not self.options.record:
            self.sessions.remove(session)


def _key(headers: Mapping[str, str]) -> str:
    """The client's key: the bearer token, or the subprotocol that browsers use instead."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    offered = [entry.strip() for entry in headers.get("sec-websocket-protocol", "").split(",")]
    keys = [entry.removeprefix(_KEY_PROTOCOL) for entry in offered if entry.startswith(_KEY_PROTOCOL)]
    return keys[0] if keys else ""


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
    faults: list[str],
    on_report: Report | None = None,
    on_listening: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Serve until cancelled. `on_listening` is told the URL, `on_report` one line for each connection that ended.

    `options` are fields of `OpenAIOptions`; nothing is kept for inspection unless `record=True` is among them.

    Raises:
        ValueError: a fault or an option that makes no sense.
        OSError: the port can't be had.
    """
    settings = {"record": False, **options}
    async with OpenAISimulator(host=host, port=port, faults=faults, on_report=on_report, **settings) as simulator:
        if on_listening is not None:
            on_listening(simulator.url)
        await asyncio.get_running_loop().create_future()
