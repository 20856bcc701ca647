"""The client's side of a WebSocket, against real servers on loopback: one of another make, and raw ones that lie."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import websockets.asyncio.server as ws_server
from websockets.http11 import Request, Response

from tandem_providers.frame_socket import Limits
from tandem_providers.provider import Dial
from tandem_providers.wire import Addresses, HandshakeBroken, HandshakeRefused, open_socket

CERTIFICATE = Path(__file__).parent / "localhost.pem"  # and its key: made for this test, trusted by nobody


class Recorder:
    """A receiver that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bool]] = []
        self.closed: list[tuple[int, str]] = []
        self._news = asyncio.Event()

    def on_message(self, data: bytes, is_text: bool) -> None:
        self.messages.append((data, is_text))
        self._news.set()

    def on_close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def server(
    handler: Callable[[ws_server.ServerConnection], Awaitable[None]], **options: Any
) -> AsyncIterator[str]:
    async with ws_server.serve(handler, "127.0.0.1", 0, **options) as serving:
        yield f"ws://127.0.0.1:{next(iter(serving.sockets)).getsockname()[1]}/path?model=x"


async def echo(connection: ws_server.ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def test_text_and_binary_come_back() -> None:
    seen = Recorder()
    async with server(echo) as url:
        socket = await open_socket(Dial(url), seen)
        socket.send_text("grüß dich".encode())
        socket.send_binary(b"\x00\xff")
        await seen.until(lambda: len(seen.messages) == 2)
        socket.close(1000, "done")
        await socket.wait_closed()
    assert seen.messages == [("grüß dich".encode(), True), (b"\x00\xff", False)]
    assert seen.closed == [(1000, "done")]


async def test_a_long_message_in_pieces_arrives_whole() -> None:
    async def pieces(connection: ws_server.ServerConnection) -> None:
        await connection.send("x" * 1000 for _ in range(1000))
        await connection.send(b"y" * (4 << 20))
        await connection.wait_closed()

    seen = Recorder()
    async with server(pieces) as url:
        socket = await open_socket(Dial(url), seen)
        await seen.until(lambda: len(seen.messages) == 2)
        socket.close()
        await socket.wait_closed()
    assert seen.messages == [(b"x" * 1_000_000, True), (b"y" * (4 << 20), False)]


async def refused(url: str, **options: Any) -> HandshakeRefused:
    with pytest.raises(HandshakeRefused) as refusal:
        await open_socket(Dial(url), Recorder(), **options)
    return refusal.value


async def test_a_refusal_comes_with_status_headers_and_body() -> None:
    async def refuse(connection: ws_server.ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, '{"error": {"code": "slow_down"}}')
        response.headers["Retry-After"] = "7"
        return response

    async with server(echo, process_request=refuse) as url:
        refusal = await refused(url)
    assert (refusal.status, refusal.headers["retry-after"]) == (429, "7")
    assert refusal.body == b'{"error": {"code": "slow_down"}}'


async def test_the_request_carries_host_path_query_and_our_headers() -> None:
    requests: list[Request] = []

    async def look(connection: ws_server.ServerConnection, request: Request) -> Response:
        requests.append(request)
        return connection.respond(HTTPStatus.UNAUTHORIZED, "")

    async with server(echo, process_request=look) as url:
        with pytest.raises(HandshakeRefused):
            await open_socket(Dial(url, {"Authorization": "Basic x"}), Recorder())
    assert requests[0].path == "/path?model=x"
    assert requests[0].headers["Authorization"] == "Basic x"
    assert requests[0].headers["Host"] == url.split("/")[2]
    assert "Sec-WebSocket-Extensions" not in requests[0].headers


@asynccontextmanager
async def raw_server(answer: bytes, *, hang: bool = False) -> AsyncIterator[str]:
    """Answers each request with these bytes, then hangs or closes. Waits at the end until the client is gone, too."""
    connected, left = 0, asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if hang:
                await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        left.release()

    serving = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with serving, asyncio.timeout(5):
        yield f"ws://127.0.0.1:{serving.sockets[0].getsockname()[1]}"
        for _ in range(connected):
            await left.acquire()


@pytest.mark.parametrize("hang", [False, True])
async def test_an_unfinished_body_is_not_waited_for(hang: bool) -> None:
    async with raw_server(b"HTTP/1.1 529 Overloaded\r\nContent-Length: 99\r\n\r\npart", hang=hang) as url:
        refusal = await refused(url)
    assert (refusal.status, refusal.body) == (529, b"part")


async def test_an_endless_body_is_cut() -> None:
    async with raw_server(b"HTTP/1.1 500 No\r\n\r\n" + b"x" * 1_000_000) as url:
        assert len((await refused(url)).body) == 64 * 1024


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 10",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    ],
)
async def test_an_answer_that_is_no_websocket_breaks_the_handshake(answer: bytes) -> None:
    async with raw_server(answer) as url:
        with pytest.raises(HandshakeBroken):
            await open_socket(Dial(url), Recorder())


async def test_a_server_that_never_answers_costs_only_the_time_to_connect() -> None:
    async with raw_server(b"", hang=True) as url:
        with pytest.raises(TimeoutError):
            await open_socket(Dial(url), Recorder(), connect_seconds=0.05)


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await open_socket(Dial(f"ws://127.0.0.1:{port}"), Recorder())


@pytest.mark.parametrize("url", ["http://x", "ws://", "x", ""])
async def test_only_websocket_urls(url: str) -> None:
    with pytest.raises(ValueError, match="WebSocket"):
        await open_socket(Dial(url), Recorder())


async def test_a_message_right_behind_the_handshake_is_delivered_after_the_caller_has_the_socket() -> None:
    async def greet(connection: ws_server.ServerConnection) -> None:
        await connection.send("first")
        await connection.send("second")
        await connection.wait_closed()

    seen = Recorder()
    async with server(greet) as url:
        socket = await open_socket(Dial(url), seen)
        assert seen.messages == []
        await seen.until(lambda: len(seen.messages) == 2)
        socket.close()
        await socket.wait_closed()
    assert [data for data, _ in seen.messages] == [b"first", b"second"]


async def test_cancelled_while_connecting_leaves_nothing_open() -> None:
    async with raw_server(b"", hang=True) as url:
        for turns in range(20):
            opening = asyncio.ensure_future(open_socket(Dial(url), Recorder()))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        with pytest.raises(TimeoutError):  # and by then the server has met all who came before
            await open_socket(Dial(url), Recorder(), connect_seconds=0.05)


async def test_limits_apply() -> None:
    async def talk(connection: ws_server.ServerConnection) -> None:
        await connection.send("x" * 101)
        await connection.wait_closed()

    seen = Recorder()
    async with server(talk) as url:
        socket = await open_socket(Dial(url), seen, limits=Limits(max_message=100))
        await socket.wait_closed()
    assert [code for code, _ in seen.closed] == [1009]


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def test_tls_verifies_the_server_unless_told_whom_to_trust() -> None:
    certificates = ssl.create_default_context(cafile=str(CERTIFICATE))
    seen = Recorder()
    async with server(echo, ssl=server_tls()) as url:
        url = url.replace("ws://127.0.0.1", "wss://localhost")
        with pytest.raises(ssl.SSLError):
            await open_socket(Dial(url), seen)
        with pytest.raises(ssl.SSLError):
            await open_socket(Dial(url.replace("localhost", "127.0.0.1")), seen, tls=certificates)
        socket = await open_socket(Dial(url), seen, tls=certificates)
        socket.send_text(b"x" * 300_000)
        await seen.until(lambda: bool(seen.messages))
        socket.close()
        await socket.wait_closed()
    assert seen.messages == [(b"x" * 300_000, True)]


async def test_the_next_address_is_tried() -> None:
    """A name with a dead address in front of a good one, as a broken IPv6 has it."""
    with socket.create_server(("127.0.0.1", 0)) as dead:
        nobody = ("127.0.0.1", dead.getsockname()[1])
    async with server(echo) as url:
        good = ("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        addresses = Addresses(lambda host, port: [nobody, good])
        opened = await open_socket(Dial("ws://name.invalid"), Recorder(), addresses=addresses)
        opened.close()
        await opened.wait_closed()


class TestAddresses:
    """Where a name leads, with a lookup of our own making."""

    async def test_numbers_need_no_lookup(self) -> None:
        addresses = Addresses(lambda host, port: [])
        assert await addresses.find("127.0.0.1", 1, 1) == [("127.0.0.1", 1)]
        assert await addresses.find("::1", 1, 1) == [("::1", 1)]

    async def test_the_last_answer_serves_an_hour_when_no_new_one_comes(self) -> None:
        answers: list[list[tuple[str, int]] | OSError] = [[("127.0.0.7", 1)], OSError("no DNS"), OSError("no DNS")]
        now = 0.0

        def lookup(host: str, port: int) -> list[tuple[str, int]]:
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

        addresses = Addresses(lookup, clock=lambda: now)
        assert await addresses.find("name", 1, 1) == [("127.0.0.7", 1)]
        now = 3599.0
        assert await addresses.find("name", 1, 1) == [("127.0.0.7", 1)]
        now = 3601.0
        with pytest.raises(OSError, match="no DNS"):
            await addresses.find("name", 1, 1)
        assert answers == []

    async def test_a_slow_lookup_is_shared_and_waited_for_only_so_long(self) -> None:
        answered = threading.Event()
        lookups: list[str] = []

        def lookup(host: str, port: int) -> list[tuple[str, int]]:
            lookups.append(host)
            if len(lookups) > 1:
                answered.wait()
            return [(f"127.0.0.{len(lookups)}", port)]

        addresses = Addresses(lookup)
        assert await addresses.find("name", 1, 1) == [("127.0.0.1", 1)]
        assert await addresses.find("name", 1, 0.01) == [("127.0.0.1", 1)]
        waiting = asyncio.ensure_future(addresses.find("name", 1, 5))
        await asyncio.sleep(0)
        answered.set()
        assert await waiting == [("127.0.0.2", 1)]
        assert len(lookups) == 2
