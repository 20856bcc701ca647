"""A simulated Gemini Live server on a WebSocket, both as the Gemini API and as Vertex AI serve it.

    async with GeminiSimulator(voice="tone:440", faults=["go-away=3*1"]) as simulator:
        ...  # a client connects to simulator.url, or to simulator.vertex_url
        session = await simulator.session(1)
        session.record.commands("toolResponse")

The protocol itself is in `gemini_engine`; here are only the door and the clock.
"""

from __future__ import annotations

import asyncio
import dataclasses
import http
import json
import logging
import random
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tandem.simulators.faults import faults_of_connection, parse_fault
from tandem.simulators.gemini_engine import Engine
from tandem.simulators.gemini_memory import Handles
from tandem.simulators.gemini_outlet import REASONS
from tandem.simulators.gemini_script import GeminiOptions
from tandem.simulators.gemini_session import SimulatedSession
from tandem.simulators.openai_connection import BROKEN, Connection, reset
from tandem.simulators.openai_voice import check_voice

PATH: Final = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
VERTEX_PATH: Final = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"
Report = Callable[[str], None]

_PATHS: Final = re.compile(
    r"/ws/google\.(?:ai\.generativelanguage\.v1(?:alpha|beta)\.GenerativeService\.BidiGenerateContent(?:Constrained)?"
    r"|(?P<vertex>cloud\.aiplatform\.v1(?:beta1)?\.LlmBidiService/BidiGenerateContent))"
)
_MAX_MESSAGE: Final = 16 * 1024 * 1024
_REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "400": ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    "401": ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    "403": ("PERMISSION_DENIED", "Permission denied."),
    "404": ("NOT_FOUND", "Requested entity was not found."),
    "429": ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "500": ("INTERNAL", "Internal error encountered."),
    "503": ("UNAVAILABLE", "The service is currently unavailable."),
}
# The noise of refusals and cut connections is no news to those who asked for them.
_QUIET: Final = logging.getLogger("tandem.simulators.gemini")
_QUIET.setLevel(logging.CRITICAL)


class GeminiSimulator:
    """The server, as an async context manager.

    Keyword options are the fields of `GeminiOptions`. Entering binds the port (0 picks a free one); leaving closes all
    connections with 1001, and raises what went wrong inside the simulator itself, so that no test passes by its bug.
    The vendor's own client only speaks TLS: `tls` makes this server do so.

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
        options: GeminiOptions | None = None,
        tls: ssl.SSLContext | None = None,
        **fields: Any,
    ) -> None:
        self.options = dataclasses.replace(options or GeminiOptions(), **fields)
        check_voice(self.options.voice)
        self.sessions: list[SimulatedSession] = []
        """All connections so far, in order; without `record`, only those that live."""
        self._faults = [parse_fault(text) for text in faults]
        self._host = host
        self._port = port
        self._tls = tls
        self._on_report = on_report
        self._server: Server | None = None
        self._count = 0
        self._handles = Handles(self.options.seed)
        self._accepted: dict[ServerConnection, tuple[SimulatedSession, bool]] = {}
        self._hanging: set[ServerConnection] = set()
        self._arrival = asyncio.Event()
        self._bugs: list[Exception] = []

    @property
    def url(self) -> str:
        """Where clients of the Gemini API connect."""
        return f"{self._origin('ws')}{PATH}"

    @property
    def vertex_url(self) -> str:
        """Where clients of Vertex AI connect."""
        return f"{self._origin('ws')}{VERTEX_PATH}"

    @property
    def base_url(self) -> str:
        """What the vendor's own client takes as `base_url`."""
        return self._origin("http")

    def _origin(self, scheme: str) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}{'s' if self._tls else ''}://{host}:{self._port}"

    async def __aenter__(self) -> GeminiSimulator:
        self._server = await serve_websockets(
            self._handle,
            self._host,
            self._port,
            process_request=self._greet,
            ssl=self._tls,
            compression=None,
            max_size=_MAX_MESSAGE,
            open_timeout=None,  # a handshake that hangs is one of our faults
            close_timeout=2,
            logger=_QUIET,
            server_header=None,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for connection in self._hanging:
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
        path = _PATHS.fullmatch(url.path)
        vertex = path is not None and path["vertex"] is not None
        status = self._refusal(session, path is not None, vertex)
        if status is None:
            self._accepted[connection] = (session, vertex)
            return None
        session.refused = int(status)
        self._over(session)
        return _refuse(status, session.faults.get("retry-after"))

    def _refusal(self, session: SimulatedSession, known: bool, vertex: bool) -> str | None:
        """HTTP status with which the handshake is refused, if it is. The Gemini API looks at keys only later."""
        if "refuse" in session.faults:
            return session.faults["refuse"]
        if not known:
            return "404"
        return "401" if vertex and not self._is_welcome(session) else None

    def _is_welcome(self, session: SimulatedSession) -> bool:
        key = _key(session)
        return bool(key) if self.options.key is None else key == self.options.key

    async def _hang(self, connection: ServerConnection, session: SimulatedSession) -> None:
        self._hanging.add(connection)
        try:
            await connection.wait_closed()
        finally:
            self._hanging.discard(connection)
            session.close_code = BROKEN
            self._over(session)

    # The session.

    async def _handle(self, connection: ServerConnection) -> None:
        session, vertex = self._accepted.pop(connection)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await self._converse(connection, session, vertex)
        except Exception as bug:
            self._bugs.append(bug)
            reset(connection)
        finally:
            session.seconds = loop.time() - begun
            session.close_code = connection.close_code or BROKEN
            session.close_reason = connection.close_reason or ""
            self._over(session)

    async def _converse(self, connection: ServerConnection, session: SimulatedSession, vertex: bool) -> None:
        faults = session.faults
        if "close-on-connect" in faults:
            code = int(faults["close-on-connect"])
            return await connection.close(code, REASONS.get(code, ""))
        if "silent" in faults:
            return await _swallow(connection)
        if "delay-ready" in faults and await _left_within(connection, float(faults["delay-ready"])):
            return None
        now = asyncio.get_running_loop().time()
        engine = Engine(
            self.options,
            vertex=vertex,
            faults=faults,
            rng=random.Random(f"{self.options.seed}/{session.number}"),
            now=now,
            handles=self._handles,
        )
        session.engine = engine
        session.record = engine.record
        welcome = "invalid-key-late" not in faults and self._is_welcome(session)
        await Connection(connection, session, engine).run(engine.open(now) if welcome else engine.refuse())

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


def _key(session: SimulatedSession) -> str:
    """The client's key or token, from one of the places where it may stand."""
    scheme, _, token = session.headers.get("authorization", "").partition(" ")
    if scheme in ("Bearer", "Token"):
        return token.strip()
    return session.headers.get("x-goog-api-key") or session.query.get("key") or session.query.get("access_token") or ""


def _refuse(status: str, retry_after: str | None) -> Response:
    word, message = _REFUSALS[status]
    body = json.dumps({"error": {"code": int(status), "message": message, "status": word}}).encode()
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
    **options: Any,
) -> None:
    """Serve until cancelled. `on_listening` is told the URL, `on_report` one line for each connection that ended.

    `options` are fields of `GeminiOptions`; nothing is kept for inspection unless `record=True` is among them.

    Raises:
        ValueError: a fault or an option that makes no sense.
        OSError: the port can't be had.
    """
    settings = {"record": False, **options}
    async with GeminiSimulator(host=host, port=port, faults=faults, on_report=on_report, **settings) as simulator:
        if on_listening is not None:
            on_listening(simulator.url)
        await asyncio.get_running_loop().create_future()
