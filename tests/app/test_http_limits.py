"""Slow and large requests, sent byte by byte to a real uvicorn; the limits are short, so nothing here waits long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI, Form, Request
from serving import raw_client, serving

from tandem.http_limits import WEBHOOK_BYTES, BodyLimit, DeadlineProtocol

LONG = 30.0


def deadlines(header_seconds: float = LONG, body_seconds: float = LONG) -> type[DeadlineProtocol]:
    return type("Deadlines", (DeadlineProtocol,), {"header_seconds": header_seconds, "body_seconds": body_seconds})


def app() -> FastAPI:
    app = FastAPI()
    app.add_middleware(BodyLimit, max_bytes=100)

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.post("/form")
    async def form(field: str = Form()) -> str:
        return field

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
