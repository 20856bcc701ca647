"""Slow and large requests, sent byte by byte to a real uvicorn; the limits are short, so nothing here waits long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from fastapi import FastAPI, Form, Request
from serving import RawClient, raw_client, serving, upgrade

from tandem.guests import MOST, welcome
from tandem.http_limits import AHEAD, WEBHOOK_BYTES, BodyLimit, DeadlineProtocol
from tandem.media_socket import MediaSocketProtocol
from tandem_providers import frames

LONG = 30.0


def deadlines(
    header_seconds: float = LONG, body_seconds: float = LONG, guest_seconds: float = LONG
) -> type[DeadlineProtocol]:
    seconds = {"header_seconds": header_seconds, "body_seconds": body_seconds, "guest_seconds": guest_seconds}
    return type("Deadlines", (DeadlineProtocol,), seconds)


def app() -> FastAPI:
    app = FastAPI()
    app.add_middleware(BodyLimit, max_bytes=100)

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.post("/form")
    async def form(field: str = Form()) -> str:
        return field

    @app.get("/known")
    async def known(request: Request) -> int:
        welcome(request)
        return len(request.state.guests)

    @app.get("/guests")
    async def guests(request: Request) -> int:
        return len(request.state.guests)

    @app.get("/never")
    async def never(request: Request) -> None:
        while not await request.is_disconnected():
            await request.receive()

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(0.1)
        return "done"

    return app


def post(path: str, body: bytes, announced: int | str | None = None) -> bytes:
    length = len(body) if announced is None else announced
    kind = "application/x-www-form-urlencoded"
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode() + body
    )


def chunked(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    return head.encode() + b"".join(b"1\r\n" + body[at : at + 1] + b"\r\n" for at in range(len(body))) + b"0\r\n\r\n"


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: 1"])
async def test_headers_that_do_not_come_end_the_connection(begun: bytes) -> None:
    async with serving(app(), http=deadlines(header_seconds=0.05)) as port, raw_client(port) as client:
        client.write(begun)
        assert await client.ended() == b""


async def test_dripping_headers_do_not_buy_time() -> None:
    async with serving(app(), http=deadlines(header_seconds=0.1)) as port, raw_client(port) as client:
        client.write(b"GET / HTTP/1.1\r\n")
        dripping = asyncio.ensure_future(client.ended())
        began = asyncio.get_running_loop().time()
        while not dripping.done():
            client.write(b"X: y\r\n")
            await asyncio.wait([dripping], timeout=0.01)
        assert asyncio.get_running_loop().time() - began < 1


async def test_a_body_that_does_not_come_ends_the_connection() -> None:
    async with serving(app(), http=deadlines(body_seconds=0.05)) as port, raw_client(port) as client:
        client.write(post("/raw", b"part", announced=50))
        assert await client.ended() == b""


async def test_a_further_request_on_the_connection_has_its_deadline_too() -> None:
    async with serving(app(), http=deadlines(header_seconds=0.1)) as port, raw_client(port) as client:
        client.write(post("/raw", b"four"))
        assert (await client.head())[0] == 200
        assert await client.reader.readexactly(1) == b"4"
        client.write(b"POST /raw")
        assert await client.ended() == b""


async def test_a_slow_answer_is_waited_for() -> None:
    async with serving(app(), http=deadlines(0.02, 0.02)) as port, raw_client(port) as client:
        client.write(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await client.head())[0] == 200
        assert await client.ended() == b'"done"'


async def test_who_hangs_up_before_the_end_is_no_failure_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(app(), http=deadlines()) as port:
        async with raw_client(port) as client:
            client.write(get("/guests") + post("/raw", b"part", announced=50))
            assert await answer(client) == b"1"
        async with raw_client(port) as client:
            client.write(get("/guests"))
            await answer(client)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("path", ["/raw", "/form"])
@pytest.mark.parametrize("write", [post, chunked])
async def test_a_body_over_the_limit_gets_413(path: str, write: Any) -> None:
    async with serving(app(), http=deadlines()) as port:
        async with raw_client(port) as client:
            client.write(write(path, b"field=" + b"x" * 94))
            assert (await client.head())[0] == 200
        async with raw_client(port) as client:
            client.write(write(path, b"field=" + b"x" * 95))
            status, headers = await client.head()
            assert (status, headers["connection"]) == (413, "close")
            assert await client.ended() == b"request body too large"


async def test_an_announced_length_is_believed_before_the_body_comes() -> None:
    async with serving(app(), http=deadlines()) as port, raw_client(port) as client:
        client.write(post("/raw", b"", announced=10**12))
        assert (await client.head())[0] == 413


async def test_the_default_is_64_kib_and_other_scopes_pass() -> None:
    seen: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    limit = BodyLimit(inner)
    await limit({"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # it only passes these on
    assert seen == ["lifespan"]
    assert WEBHOOK_BYTES == 65536


# --- connections that have not shown who they are ---------------------------------------------------------------------


def get(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


async def answer(client: RawClient) -> bytes:
    """The body of the next one."""
    status, headers = await client.head()
    assert status == 200
    return await client.reader.readexactly(int(headers["content-length"]))


@asynccontextmanager
async def crowd(port: int, count: int) -> AsyncIterator[list[RawClient]]:
    """So many connections that say nothing."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(raw_client(port)) for _ in range(count)]


async def test_one_too_many_is_told_so_at_once_and_the_known_go_on() -> None:
    async with serving(app(), http=deadlines()) as port, raw_client(port) as known:
        known.write(get("/known"))
        assert await answer(known) == b"0"
        async with crowd(port, MOST) as guests:
            async with raw_client(port) as late:
                status, headers = await late.head()
                assert (status, headers["connection"]) == (503, "close")
                await late.ended()
            known.write(get("/guests"))
            assert await answer(known) == str(MOST).encode()
            guests[0].writer.close()
            while True:
                known.write(get("/guests"))
                if await answer(known) != str(MOST).encode():
                    break
            async with raw_client(port) as another:
                another.write(get("/guests"))
                assert await answer(another) == str(MOST).encode(), "there is room for one again"


@pytest.mark.parametrize("sent", [b"", b"GET /", post("/raw", b"part", announced=50), get("/never")])
async def test_who_does_not_become_known_is_cut_off(sent: bytes) -> None:
    async with serving(app(), http=deadlines(guest_seconds=0.05)) as port:
        async with raw_client(port) as client:
            client.write(sent)
            assert await client.ended() == b""
        async with raw_client(port) as client:
            client.write(get("/guests"))
            assert await answer(client) == b"1", "the other one does not count any more"


async def test_who_is_unknown_gets_what_is_owed_and_nothing_more() -> None:
    async with serving(app(), http=deadlines(guest_seconds=0.08)) as port:
        async with raw_client(port) as client:
            client.write(get("/slow"))
            status, headers = await client.head()
            assert (status, headers["connection"]) == (200, "close")
            assert await client.ended() == b'"done"'
        async with raw_client(port) as client:
            client.write(get("/guests"))
            assert await answer(client) == b"1"
            assert await client.ended() == b""


async def test_asking_again_and_again_does_not_make_known() -> None:
    async with serving(app(), http=deadlines(guest_seconds=0.1)) as port, raw_client(port) as client:
        asked = 0
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                client.write(get("/guests"))
                await answer(client)
                asked += 1
        assert asked, "the connection ended, but not at once"


async def test_who_is_known_has_time() -> None:
    async with serving(app(), http=deadlines(guest_seconds=0.05)) as port, raw_client(port) as client:
        client.write(get("/known"))
        await answer(client)
        async with raw_client(port) as guest:
            assert await guest.ended() == b""
        client.write(get("/slow"))
        assert await answer(client) == b'"done"'


@pytest.mark.parametrize("accepts", [False, True])
async def test_a_media_socket_is_a_guest_until_it_is_accepted(accepts: bool) -> None:
    counts: list[int] = []

    async def media(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        counts.append(len(scope["state"]["guests"]))
        if accepts:
            await send({"type": "websocket.accept"})
            counts.append(len(scope["state"]["guests"]))
        await receive()

    http = deadlines(guest_seconds=0.1)
    async with serving(media, http=http, ws=MediaSocketProtocol) as port, raw_client(port) as client:
        client.write(upgrade())
        assert (await client.head())[0] == (101 if accepts else 503), "no later than any other guest"
        async with raw_client(port) as guest:
            assert await guest.ended() == b""
        if accepts:
            client.send(frames.TEXT, b"still there")
            assert await client.close_code() == 1000
            client.send(frames.CLOSE)
        await client.ended()
    assert counts == ([1, 0] if accepts else [1])


async def test_a_head_without_an_end_is_not_kept() -> None:
    async with serving(app(), http=deadlines()) as port, raw_client(port) as client:
        client.write(b"GET / HTTP/1.1\r\n")
        filler = b"X: " + b"y" * 8000 + b"\r\n"
        ended = asyncio.ensure_future(client.ended())
        for _ in range(100):
            client.write(filler)
            if (await asyncio.wait([ended], timeout=0.01))[0]:
                break
        assert await ended == b""


async def test_what_comes_behind_a_body_is_not_kept() -> None:
    async with serving(app(), http=deadlines()) as port, raw_client(port) as client:
        client.write(chunked("/raw", b"four").removesuffix(b"\r\n") + b"X-Trailer: y\r\n\r\n")
        assert await answer(client) == b"4"
        client.write(get("/guests"))
        assert await answer(client) == b"1"


async def test_a_heap_of_requests_is_not_kept() -> None:
    async with serving(app(), http=deadlines()) as port, raw_client(port) as client:
        client.write(get("/slow") * (AHEAD + 5))
        assert (await client.head())[0] == 400
        await client.ended()
