"""The HTTP under the simulated REST APIs: what is understood, what is refused, and that nothing stays open."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
import pytest

from tandem.simulators.api_server import CUT, HANG, ApiAnswer, ApiRequest, RestServer


def mirror(request: ApiRequest) -> ApiAnswer | str:
    if request.path in (f"/{HANG}", f"/{CUT}"):
        return request.path[1:]
    told = {"method": request.method, "path": request.path, "query": dict(request.query), "json": request.json}
    return ApiAnswer(int(request.query.get("status", "200")), told, {"X-More": "yes"})


async def raw(server: RestServer, request: bytes) -> bytes:
    """All that comes back for these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_requests_come_as_they_were_sent() -> None:
    async with RestServer(mirror) as server, httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        answer = await http.post("/a%20b/", params={"q": "1&2", "status": "201"}, json={"x": [1]})
        assert answer.status_code == 201
        assert answer.headers["x-more"] == "yes"
        assert answer.json() == {
            "method": "POST",
            "path": "/a b/",
            "query": {"q": "1&2", "status": "201"},
            "json": {"x": [1]},
        }
        assert (await http.get("/")).json()["json"] is None, "no body is no JSON"


async def test_nothing_is_written_for_nothing() -> None:
    async with RestServer(lambda _: ApiAnswer(204)) as server, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.delete(server.url)
        assert (answer.status_code, answer.content) == (204, b"")


async def test_one_connection_carries_many_requests() -> None:
    two = b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"
    async with RestServer(mirror) as server:
        answer = await raw(server, two)
        assert answer.count(b"HTTP/1.1 200") == 2
        assert answer.index(b'"path": "/1"') < answer.index(b'"path": "/2"')


async def test_a_connection_is_cut_instead_of_an_answer() -> None:
    async with RestServer(mirror) as server, httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"{server.url}/{CUT}")


async def test_an_answer_that_never_comes_keeps_nothing_open_in_the_end() -> None:
    async with RestServer(mirror) as server, httpx.AsyncClient(trust_env=False, timeout=0.05) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.get(f"{server.url}/{HANG}")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(f"GET /{HANG} HTTP/1.1\r\n\r\n".encode())
        await writer.drain()
    with suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"hello",
        b"hello\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 9999999\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nab",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000,
    ],
)
async def test_whoever_speaks_no_http_gets_no_answer(request_: bytes) -> None:
    async with RestServer(mirror) as server:
        assert await raw(server, request_) == b""


async def test_what_a_request_carries_does_not_print() -> None:
    request = ApiRequest("GET", "/", {}, {"authorization": "Basic cGxhbnRlZA=="}, b"planted")
    assert "planted" not in repr(request)
    assert "Basic" not in repr(request)


async def test_a_port_of_ones_own() -> None:
    async with RestServer(mirror) as first:
        port = int(first.url.rpartition(":")[2])
    async with RestServer(mirror, port=port) as again:
        assert again.url == f"http://127.0.0.1:{port}"
