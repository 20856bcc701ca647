"""Whole servers for tests: one of ours in this process, on loopback, as seen from outside and from inside."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import uvicorn
from fakes import PATIENCE
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from serving import RawClient, raw_client, upgrade
from streams import Dialled as Dialled
from streams import Stream as Stream
from streams import new_sid as new_sid
from websockets.asyncio.client import connect

from tandem import logs, tokens
from tandem.bridge import Bridge
from tandem.carriers.twilio_webhook import signature
from tandem.main import create_app
from tandem.serve import config_of, listen
from tandem.settings import Settings, load
from tandem.simulators.plan import CallPlan
from tandem.simulators.twilio_twiml import Connect, Verb, parse_twiml
from tandem.switchboard import Switchboard

ACCOUNT: Final = "AC" + "1" * 32
AUTH_TOKEN: Final = "planted-auth-token"
API_TOKEN: Final = "planted-api-token"
SECRET_KEY: Final = "planted-secret-key-of-the-tests"
CALLER, CALLED = "+15550002000", "+15550001000"

Environment = Mapping[str, str | None]


def environment(port: int, changes: Environment) -> dict[str, str]:
    """Of a server with an account that answers with the echo. None in `changes` takes a variable out; `{port}` in one
    is the server's own."""
    base = {
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "SECRET_KEY": SECRET_KEY,
        "API_TOKEN": API_TOKEN,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        "PROVIDERS": "echo",
        "LOG_FORMAT": "json",
    }
    given = {name: value for name, value in {**base, **changes}.items() if value is not None}
    return {name: value.replace("{port}", str(port)) for name, value in given.items()}


class Door:
    """A server as seen from outside."""

    def __init__(self, origin: str, account: str = ACCOUNT, auth_token: str = AUTH_TOKEN) -> None:
        self.origin = origin
        self.account = account
        self.auth_token = auth_token
        rested = httpx.Limits(keepalive_expiry=2.0)  # the server closes a connection that rests for five seconds
        self.http = httpx.AsyncClient(
            base_url=origin,
            trust_env=False,
            verify=False,  # noqa: S501  # loopback
            timeout=PATIENCE,
            limits=rested,
        )

    def plan(self, **changes: Any) -> CallPlan:
        """A call of the carrier's simulator to this server."""
        return CallPlan(f"{self.origin}/twilio/voice", self.account, self.auth_token, **changes)

    async def post(self, path: str, fields: Mapping[str, str], *, key: str | None = None) -> httpx.Response:
        """A form as Twilio signs it (with `key` in place of the right one)."""
        signed = signature(f"{self.origin}{path}", list(fields.items()), self.auth_token if key is None else key)
        return await self.http.post(
            path,
            content=urlencode(fields),
            headers={"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signed},
        )

    async def get(self, path: str, fields: Mapping[str, str]) -> httpx.Response:
        """The same with the parameters in the URL."""
        path = f"{path}?{urlencode(fields)}"
        return await self.http.get(
            path, headers={"X-Twilio-Signature": signature(self.origin + path, (), self.auth_token)}
        )

    def form(self, call_sid: str, **changes: str) -> dict[str, str]:
        """What Twilio says of a call."""
        return {
            "AccountSid": self.account,
            "CallSid": call_sid,
            "CallStatus": "ringing",
            "Direction": "inbound",
            "From": CALLER,
            "To": CALLED,
            "StirVerstat": "",
            **changes,
        }

    async def voice(self, call_sid: str, **changes: str) -> list[Verb]:
        """Ask the voice webhook as Twilio does; what it answers."""
        return verbs(await self.post("/twilio/voice", self.form(call_sid, **changes)))

    async def dial(self, call_sid: str | None = None) -> Dialled:
        """Call; answers where to stream. A server that is too late on a busy machine is asked again."""
        sid = call_sid or new_sid("CA")

        async def admitted() -> str:
            first, *_ = await self.voice(sid)
            return first.url if isinstance(first, Connect) else ""

        return Dialled(self, sid, await eventually(admitted, seconds=30))

    def foreign(self, call_sid: str, token: str = "") -> Dialled:
        """A call that another instance with the same key has admitted, on its way to this one."""
        token = token or issued(call_sid)
        return Dialled(self, call_sid, f"{self.origin.replace('http', 'ws', 1)}/twilio/media/{token}")

    def upgrade(self, url: str, *, key: str | None = None, signed_url: str = "", **options: Any) -> connect:
        """Open a media socket, signed as Twilio does."""
        signed = signature(signed_url or url, (), self.auth_token if key is None else key)
        return connect(
            url,
            additional_headers={"X-Twilio-Signature": signed},
            compression=None,
            ping_interval=None,
            max_size=None,
            max_queue=None,
            close_timeout=1,
            proxy=None,
            **options,
        )

    @asynccontextmanager
    async def stream(
        self, changes: Mapping[str, Any] | None = None, *, start: bool = True, plays: bool = False
    ) -> AsyncIterator[Stream]:
        """A whole call up to (with `start`) its start message, with `changes` in it. Cut at the end if still open."""
        dialled = await self.dial()
        async with dialled.stream(plays=plays) as stream:
            if start:
                await stream.start(**(changes or {}))
            yield stream

    async def calls(self) -> list[dict[str, Any]]:
        answer = await self.http.get("/calls", headers=bearer())
        assert answer.status_code == 200, answer.text
        records: list[dict[str, Any]] = answer.json()
        return records

    async def record(self, call_id: str) -> dict[str, Any]:
        """What `/calls/{id}` knows."""
        answer = await self.http.get(f"/calls/{call_id}", headers=bearer())
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    async def result(self, call_id: str, *, seconds: float = PATIENCE) -> dict[str, Any]:
        """Its record once it has ended."""

        async def ended() -> dict[str, Any] | None:
            record = await self.record(call_id)
            return record if record["result"] else None

        over: dict[str, Any] = await eventually(ended, seconds=seconds)
        return over

    async def metric(self, name: str, **labels: str) -> float:
        """A sample of `/metrics`; 0 when there is none (yet)."""
        text = (await self.http.get("/metrics")).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"tandem_{name}" and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0


class Tandem(Door):
    """A server in this process, as seen from inside, too."""

    def __init__(self, settings: Settings, app: FastAPI, server: uvicorn.Server) -> None:
        account = settings.twilio
        super().__init__(settings.own_origin, *((account.account_sid, account.auth_token) if account else ()))
        self.settings = settings
        self.app = app
        self.server = server

    @property
    def board(self) -> Switchboard:
        board: Switchboard = self.app.state.switchboard
        return board

    @property
    def unknown(self) -> int:
        """Connections that have not shown yet whose they are."""
        return len(self.server.lifespan.state["guests"])

    def hurry(self, **seconds: float) -> None:
        """Shorten what each new call waits for: fields of its `CallPlan`."""
        self.board.plan = replace(self.board.plan, **seconds)  # type: ignore[arg-type]  # all of them are numbers

    def bridge(self, call_id: str) -> Bridge:
        bridge = self.board.by_call(call_id)
        assert bridge is not None, "no such call is up"
        return bridge

    async def empty(self, *, seconds: float = PATIENCE) -> None:
        """Every call is over."""
        await until(lambda: not self.board.live, seconds=seconds)


@asynccontextmanager
async def tandem(
    environ: Environment | None = None, /, *, plain: bool = False, **changes: str | None
) -> AsyncIterator[Tandem]:
    """A server of ours in this loop, started and stopped as in production; `plain` runs it on uvicorn's own protocols.

    `environ` and keywords are environment variables.
    """
    listener = listen("127.0.0.1", 0)
    given = environment(listener.getsockname()[1], {**(environ or {}), **changes})
    settings = await asyncio.to_thread(load, given, None)  # it may name files
    config = config_of(settings)
    if plain:
        config = uvicorn.Config(create_app(settings), log_config=None, lifespan="on")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await asyncio.to_thread(logs.close)  # of another server in this process: waiting for its writer would block
    async with asyncio.timeout(55):
        # What `Server.serve` does, without its signal handlers and its pauses.
        await server.startup(sockets=[listener])
        running = Tandem(settings, config.app, server)  # type: ignore[arg-type]  # an application, no import string
        try:
            yield running
        finally:
            await running.http.aclose()
            for each in server.servers:
                each.close()
            listener.close()
            state = server.server_state
            told: set[object] = set()

            def gone() -> bool:
                for connection in state.connections - told:  # one that was just accepted comes later than the others
                    told.add(connection)
                    connection.shutdown()
                return not state.connections and not state.tasks

            await until(gone)
            await server.lifespan.shutdown()
            await asyncio.to_thread(logs.close)


@asynccontextmanager
async def raw_stream(server: Tandem, sid: str) -> AsyncIterator[RawClient]:
    """A media socket of a call that another instance admitted, without the comforts of a library."""
    dialled = server.foreign(sid)
    signed = signature(dialled.url, (), server.auth_token)
    request = upgrade(f"/twilio/media/{dialled.token}", extra=f"X-Twilio-Signature: {signed}\r\n")
    while True:
        await until(lambda: server.board.refuse() is None)  # a busy machine's loop may be late, and say so
        async with raw_client(server.settings.port) as client:
            client.write(request)
            status, _ = await client.head()
            if status == 101:
                yield client
                return
            assert status == 403


class _Lines(logging.Handler):
    def __init__(self, lines: list[dict[str, Any]]) -> None:
        super().__init__()
        self.setFormatter(logs.JsonFormatter(logs.Redactor()))
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("tandem"):
            self._lines.append(json.loads(self.format(record)))


@contextmanager
def log_lines() -> Iterator[list[dict[str, Any]]]:
    """What our packages log in this process meanwhile, as it would be written."""
    lines: list[dict[str, Any]] = []
    handler = _Lines(lines)
    logging.getLogger().addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)


# --- small things -----------------------------------------------------------------------------------------------------


def verbs(answer: httpx.Response) -> list[Verb]:
    """TwiML, read as strictly as Twilio does."""
    return parse_twiml(answer.status_code, answer.headers.get("content-type", ""), answer.content, plain=True)


def issued(call_id: str, *, key: str = SECRET_KEY, carrier: str = "twilio", seconds: float = 60.0) -> str:
    """A token as any instance issues it."""
    session = tokens.new_session(key.encode(), carrier, secrets.token_hex(8))
    return tokens.issue(key.encode(), carrier, session, call_id, time.time() + seconds)


def bearer(token: str = API_TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def until(condition: Callable[[], object], *, seconds: float = PATIENCE) -> None:
    """Look again and again, until it holds or the time is up."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is looked at does not tell when it changes
            await asyncio.sleep(0.005)


async def eventually(ask: Callable[[], Any], *, seconds: float = PATIENCE) -> Any:
    """Ask again and again until the answer is something; that is the result."""
    async with asyncio.timeout(seconds):
        while not (answer := await ask()):  # noqa: ASYNC110  # a server is asked, which tells nothing by itself
            await asyncio.sleep(0.01)
        return answer
