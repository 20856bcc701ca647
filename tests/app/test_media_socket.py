"""The media socket behind a real uvicorn and FastAPI, told bytes by raw clients: the short way, and plain ASGI."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse
from serving import RawClient, raw_client, serving, upgrade
from starlette.websockets import WebSocketState
from uvicorn.protocols.utils import ClientDisconnected

from tandem.http_limits import DeadlineProtocol
from tandem.media_socket import EXTENSION, MEDIA_LIMITS, MediaSocketProtocol, take_over
from tandem_providers import frames
from tandem_providers.wire import FrameSocket

LIMITS = replace(MEDIA_LIMITS, close_seconds=0.05, linger_seconds=0.05)
SOCKETS = ["frames", "asgi"]


@dataclass
class Echo:
    """A receiver that says back what it is told, and remembers how it ended."""

    socket: FrameSocket | None = None
    closed: list[tuple[int, str]] = field(default_factory=list)

    def on_message(self, data: bytes, is_text: bool) -> None:
        assert self.socket is not None
        if data == b"fail":
            raise ValueError("told to")
        if data == b"bye":
            self.socket.close(4000, "bye")
        elif data == b"abort":
            self.socket.abort()
        elif is_text:
            self.socket.send_text(data)
        else:
            self.socket.send_binary(data)

    def on_close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


def echo_app(echo: Echo, **limits: Any) -> FastAPI:
    app = FastAPI()

    @app.websocket("/echo/{token}")
    async def media(websocket: WebSocket, token: str) -> None:
        if token == "forged":
            await websocket.close(1008)
            return
        if token == "explained":
            await websocket.send_denial_response(PlainTextResponse("busy", 503, {"Retry-After": "3"}))
            return
        await websocket.accept(subprotocol="audio.drachtio.org" if websocket.scope["subprotocols"] else None)
        if token == "late":
            await asyncio.sleep(0.05)
        echo.socket = take_over(websocket, echo, replace(LIMITS, **limits))
        await echo.socket.wait_closed()

    return app


def protocols(kind: str) -> dict[str, Any]:
    """What uvicorn is started with: our protocols, or its own."""
    return {"ws": MediaSocketProtocol, "http": DeadlineProtocol} if kind == "frames" else {"ws": "websockets-sansio"}


@asynccontextmanager
async def connected(kind: str, echo: Echo, path: str = "/echo/token", **limits: Any) -> AsyncIterator[RawClient]:
    """A client whose handshake is done. At the end, the server has told the receiver so exactly once."""
    async with serving(echo_app(echo, **limits), **protocols(kind)) as port, raw_client(port) as client:
        client.write(upgrade(path))
        assert (await client.head())[0] == 101
        yield client
    assert len(echo.closed) == 1


@pytest.mark.parametrize("kind", SOCKETS)
async def test_messages_go_both_ways_and_the_client_closes(kind: str) -> None:
    echo = Echo()
    async with connected(kind, echo) as client:
        client.send(frames.TEXT, "grüß dich".encode())
        assert await client.message() == (frames.TEXT, "grüß dich".encode())
        client.send(frames.BINARY, b"\x00\xff")
        assert await client.message() == (frames.BINARY, b"\x00\xff")
        client.send(frames.PING, b"?")
        assert await client.message() == (frames.PONG, b"?")
        client.send(frames.CLOSE, frames.close_payload(1001, "away"))
        assert await client.close_code() == 1001
        await client.ended()
    assert echo.closed == [(1001, "away")]


@pytest.mark.parametrize("kind", SOCKETS)
async def test_the_server_closes(kind: str) -> None:
    echo = Echo()
    async with connected(kind, echo) as client:
        client.send(frames.TEXT, b"bye")
        assert await client.message() == (frames.CLOSE, frames.close_payload(4000, "bye"))
        client.send(frames.CLOSE, frames.close_payload(4000, "bye"))
        await client.ended()
    assert echo.closed == [(4000, "bye")]


@pytest.mark.parametrize("kind", SOCKETS)
async def test_the_server_aborts(kind: str) -> None:
    echo = Echo()
    async with connected(kind, echo) as client:
        client.send(frames.TEXT, b"abort")
        await client.ended()
    assert echo.closed == [(1006, "")]


@pytest.mark.parametrize("kind", SOCKETS)
async def test_a_client_that_drops_the_connection(kind: str) -> None:
    echo = Echo()
    async with connected(kind, echo) as client:
        client.writer.close()
        assert echo.socket is not None
        await echo.socket.wait_closed()
    assert [code for code, _ in echo.closed] in ([1006], [1005])


@pytest.mark.parametrize("kind", SOCKETS)
async def test_a_failing_receiver_closes_1011_and_is_logged(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    echo = Echo()
    async with connected(kind, echo) as client:
        client.send(frames.TEXT, b"fail")
        client.send(frames.TEXT, b"fail")
        assert await client.close_code() == 1011
        client.send(frames.CLOSE, frames.close_payload(1011, ""))
    assert [code for code, _ in echo.closed] == [1011]
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


@pytest.mark.parametrize("kind", SOCKETS)
async def test_oversized_messages_close_1009(kind: str) -> None:
    echo = Echo()
    async with connected(kind, echo) as client:
        client.send(frames.TEXT, b"x" * 65536)
        assert await client.message() == (frames.TEXT, b"x" * 65536)
        client.send(frames.TEXT, b"x" * 65537)
        assert await client.close_code() == 1009
        client.send(frames.CLOSE, frames.close_payload(1009, ""))
    assert [code for code, _ in echo.closed] == [1009]


@pytest.mark.parametrize("kind", SOCKETS)
async def test_a_flood_closes_1008(kind: str) -> None:
    echo = Echo()
    async with connected(kind, echo, messages_per_second=10) as client:
        for _ in range(100):
            client.send(frames.TEXT, b"m")
        assert await client.close_code() == 1008
        client.send(frames.CLOSE, frames.close_payload(1008, ""))
    assert [code for code, _ in echo.closed] == [1008]


async def test_frames_in_the_segment_of_the_handshake_and_before_the_takeover_are_kept() -> None:
    echo = Echo()
    async with (
        serving(echo_app(echo), **protocols("frames")) as port,
        raw_client(port) as client,
    ):
        client.write(upgrade("/echo/late") + frames.client_frame(frames.TEXT, b"early", b"mask"))
        assert (await client.head())[0] == 101
        client.send(frames.TEXT, b"before")
        assert await client.message() == (frames.TEXT, b"early")
        assert await client.message() == (frames.TEXT, b"before")


async def test_reading_stops_while_nobody_takes_the_socket_over() -> None:
    echo = Echo()
    async with connected("frames", echo, "/echo/late", messages_per_second=None) as client:
        messages = [str(number).encode() * 200 for number in range(1000)]
        for message in messages:
            client.send(frames.TEXT, message)
        assert [(await client.message())[1] for _ in messages] == messages


@pytest.mark.parametrize("kind", SOCKETS)
async def test_refused_before_accept_is_an_http_answer(kind: str) -> None:
    echo = Echo()
    async with serving(echo_app(echo), **protocols(kind)) as port:
        for path, status in (("/echo/forged", 403), ("/nowhere", 403), ("/echo/explained", 503)):
            async with raw_client(port) as client:
                client.write(upgrade(path))
                answer, headers = await client.head()
                assert answer == status
                rest = await client.ended()
        assert headers["retry-after"] == "3"
        assert rest == b"busy"
    assert echo.socket is None


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (upgrade(version="8"), 426),
        (upgrade(key="short"), 400),
        (upgrade(key="!" * 24), 400),
        (upgrade().replace(b"GET", b"POST"), 400),
        (upgrade(extra="Host: twice\r\n"), 400),
    ],
)
async def test_a_bad_request_for_a_websocket_is_refused(request_: bytes, status: int) -> None:
    async with serving(echo_app(Echo()), **protocols("frames")) as port, raw_client(port) as client:
        client.write(request_)
        assert (await client.head())[0] == status
        await client.ended()


async def test_compression_is_not_agreed_to_and_a_subprotocol_is() -> None:
    async with serving(echo_app(Echo()), **protocols("frames")) as port, raw_client(port) as client:
        extra = "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a, audio.drachtio.org\r\n"
        client.write(upgrade("/echo/token", extra=extra))
        status, headers = await client.head()
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert headers["sec-websocket-protocol"] == "audio.drachtio.org"
    assert "sec-websocket-extensions" not in headers


async def test_the_scope_is_what_asgi_says() -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.close"})

    async with serving(app, ws=MediaSocketProtocol, root_path="/api") as port, raw_client(port) as client:
        client.write(upgrade("/a%20b?c=d", extra="X-Name: value\r\n"))
        assert (await client.head())[0] == 403
    scope = scopes[0]
    assert scope["type"] == "websocket"
    assert scope["scheme"] == "ws"
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/api/a b", b"/api/a%20b", b"c=d")
    assert (b"x-name", b"value") in scope["headers"]
    assert scope["server"] == ("127.0.0.1", port)
    assert scope["client"][0] == "127.0.0.1"
    assert set(scope["extensions"]) == {"websocket.http.response", EXTENSION}


async def test_an_application_that_does_not_make_up_its_mind_is_answered_for() -> None:
    told: list[str] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        told.append((await receive())["type"])
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.accept"})

    class Impatient(MediaSocketProtocol):
        accept_seconds = 0.02

    async with serving(app, ws=Impatient) as port, raw_client(port) as client:
        client.write(upgrade())
        assert (await client.head())[0] == 503
        await client.ended()
    assert told == ["websocket.disconnect"]


@pytest.mark.parametrize(("accept", "status"), [(False, 500), (True, 101)])
async def test_an_application_that_fails(accept: bool, status: int, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if accept:
            await send({"type": "websocket.accept"})
        raise ValueError("told to")

    async with serving(app, ws=MediaSocketProtocol) as port, raw_client(port) as client:
        client.write(upgrade())
        assert (await client.head())[0] == status
        if accept:
            assert await client.close_code() == 1011
            client.send(frames.CLOSE)
        await client.ended()
    assert "exception in a WebSocket endpoint" in caplog.text


async def test_plain_asgi_endpoints_work_over_our_protocol() -> None:
    app = FastAPI()
    seen: list[int] = []

    @app.websocket("/")
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(await websocket.receive_text())
                await websocket.send_bytes(await websocket.receive_bytes())
        except WebSocketDisconnect as gone:
            seen.append(gone.code)
            assert websocket.client_state is WebSocketState.DISCONNECTED

    async with serving(app, ws=MediaSocketProtocol) as port, raw_client(port) as client:
        client.write(upgrade())
        assert (await client.head())[0] == 101
        for number in range(50):
            client.send(frames.TEXT, str(number).encode())
            client.send(frames.BINARY, bytes([number]))
        for number in range(50):
            assert await client.message() == (frames.TEXT, str(number).encode())
            assert await client.message() == (frames.BINARY, bytes([number]))
        client.send(frames.CLOSE, frames.close_payload(4321, ""))
        assert await client.close_code() == 4321
        await client.ended()
    assert seen == [4321]


async def test_only_an_accepted_socket_is_taken_over_and_only_once() -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        take = scope["extensions"][EXTENSION]["take_over"]
        with pytest.raises(RuntimeError):
            take(Echo(), LIMITS)
        await send({"type": "websocket.accept"})
        take(Echo(), LIMITS)
        with pytest.raises(RuntimeError):
            take(Echo(), LIMITS)

    async with serving(app, ws=MediaSocketProtocol) as port, raw_client(port) as client:
        client.write(upgrade())
        assert (await client.head())[0] == 101
        assert await client.close_code() == 1000


async def test_a_client_gone_before_the_takeover_is_reported_all_the_same() -> None:
    echo = Echo()
    gone, closed = asyncio.Event(), asyncio.Event()
    app = FastAPI()

    @app.websocket("/")
    async def media(websocket: WebSocket) -> None:
        await websocket.accept()
        await gone.wait()
        await take_over(websocket, echo, LIMITS).wait_closed()
        closed.set()

    class Telling(MediaSocketProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            gone.set()

    async with serving(app, ws=Telling) as port:
        async with raw_client(port) as client:
            client.write(upgrade())
            assert (await client.head())[0] == 101
        await closed.wait()
    assert echo.closed == [(1006, "")]


async def test_stopping_the_server_closes_1012() -> None:
    echo = Echo()
    async with asyncio.TaskGroup() as tasks:
        port_known: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()

        async def serve() -> None:
            async with serving(echo_app(echo), **protocols("frames")) as port:
                port_known.set_result(port)
                await stop.wait()

        tasks.create_task(serve())
        async with raw_client(await port_known) as client:
            client.write(upgrade("/echo/token"))
            assert (await client.head())[0] == 101
            stop.set()
            assert await client.close_code() == 1012
            client.send(frames.CLOSE, frames.close_payload(1012, ""))
    assert echo.closed == [(1012, "")]


async def test_no_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "tandem")
    async with connected("frames", Echo(), "/echo/secret-token") as client:
        client.send(frames.TEXT, b"bye")
        assert await client.close_code() == 4000
    assert "secret-token" not in caplog.text


async def test_a_carrier_that_does_not_read_shows_in_buffered() -> None:
    echo = Echo()
    async with connected("frames", echo) as client:
        client.send(frames.TEXT, b"hello")
        await client.message()
        assert echo.socket is not None
        for _ in range(1500):  # a minute of speech: far more than the kernel is let hold
            echo.socket.send_text(b"x" * 300)
            await asyncio.sleep(0)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # the base class of transports lacks it
        for _ in range(60 * 50):
            echo.socket.send_text(b"x" * 300)
        await asyncio.sleep(0.01)
        assert echo.socket.buffered > 200_000
        echo.socket.abort()


@pytest.mark.parametrize(
    "scenario",
    [
        lambda: test_messages_go_both_ways_and_the_client_closes("frames"),
        lambda: test_the_server_aborts("frames"),
        lambda: test_a_client_that_drops_the_connection("frames"),
        lambda: test_oversized_messages_close_1009("frames"),
        lambda: test_messages_go_both_ways_and_the_client_closes("asgi"),
        test_frames_in_the_segment_of_the_handshake_and_before_the_takeover_are_kept,
        test_reading_stops_while_nobody_takes_the_socket_over,
        test_plain_asgi_endpoints_work_over_our_protocol,
        test_a_client_gone_before_the_takeover_is_reported_all_the_same,
        test_stopping_the_server_closes_1012,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
