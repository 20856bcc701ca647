"""The HTTP that every REST client shares, against a far end on loopback that refuses, stalls, lies and hangs up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tandem.rest.http import LONGEST_ANSWER, CarrierHttp, Patience
from tandem.rest.port import CarrierApiError

OK = b'{"data":{"result":"ok"}}'
KEY = "planted-key"
BRISK = Patience(seconds=2.0, attempt_seconds=0.2, connect_seconds=0.2, pause_seconds=0.01)


def answer(status: int, body: bytes = OK, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Some", f"content-length: {len(body)}", "content-type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


HANG = b"hang"
CUT = b""


class FarEnd:
    """Answers the requests in turn, from a list; what it was asked is kept."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.was_asked = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
                )
                self.asked.append(head + await reader.readexactly(length))
                self.was_asked.set()
                given = self.answers.pop(0)
                if given == HANG:
                    await reader.read()
                    return
                if given == CUT:
                    return
                writer.write(given)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def explain(body: Any) -> tuple[str, str]:
    return str(body["errors"][0]["code"]), str(body["errors"][0]["title"])


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
) -> AsyncIterator[str]:
    """The URL of a server on loopback; whoever it still serves at the end is let go."""
    serving: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as tasks:
        server = await asyncio.start_server(lambda r, w: serving.add(tasks.create_task(serve(r, w))), "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"
            for task in serving:
                task.cancel()


@asynccontextmanager
async def api(*answers: bytes, patience: Patience = BRISK) -> AsyncIterator[tuple[CarrierHttp, FarEnd]]:
    far = FarEnd(answers)
    async with listening(far.serve) as far.url:
        authorization = {"Authorization": f"Bearer {KEY}"}
        http = CarrierHttp("acme", far.url, explain=explain, headers=authorization, patience=patience)
        try:
            yield http, far
        finally:
            await http.close()


async def refusal(http: CarrierHttp, *, again: bool = False) -> CarrierApiError:
    with pytest.raises(CarrierApiError) as failure:
        await http.call("POST", "/calls", json={"a": 1}, again=again)
    assert KEY not in str(failure.value)
    return failure.value


async def test_an_operation_and_its_answer() -> None:
    async with api(answer(200), answer(204, b"")) as (http, far):
        assert await http.call("POST", "/calls/v3%3Aexample/actions/answer", json={"command_id": "c1"}) == {
            "data": {"result": "ok"}
        }
        head, _, body = far.asked[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v2/calls/v3%3Aexample/actions/answer HTTP/1.1")
        assert f"authorization: bearer {KEY}".encode() in head.lower()
        assert b"user-agent: tandem/" in head.lower()
        assert body == b'{"command_id":"c1"}'
        assert await http.call("DELETE", "/calls/1") is None


async def test_forms_and_queries() -> None:
    async with api(answer(200), answer(200)) as (http, far):
        await http.call("POST", "/Calls.json", form={"To": "+1555", "Status": "completed"})
        await http.call("GET", "/numbers", query={"filter[x]": "a b"})
        assert far.asked[0].endswith(b"\r\n\r\nTo=%2B1555&Status=completed")
        assert b"application/x-www-form-urlencoded" in far.asked[0]
        assert far.asked[1].startswith(b"GET /v2/numbers?filter%5Bx%5D=a+b HTTP/1.1")


async def test_a_refusal_names_status_code_and_words_and_is_not_repeated() -> None:
    async with api(answer(422, b'{"errors":[{"code":"90018","title":"Call has already ended"}]}')) as (http, far):
        error = await refusal(http, again=True)
        assert (error.status, error.code, error.retryable) == (422, "90018", False)
        assert str(error) == "acme answered 422 90018 Call has already ended"
        assert len(far.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", b'{"errors":[]}', b"[" * 100_000, b"\xff"])
async def test_an_error_page_of_any_kind_is_still_a_refusal(body: bytes) -> None:
    async with api(answer(400, body)) as (http, _):
        error = await refusal(http)
        assert (error.status, error.code) == (400, "")


async def test_an_explanation_is_kept_short() -> None:
    async with api(answer(400, b'{"errors":[{"code":"1","title":"%s"}]}' % (b"x" * 10_000))) as (http, _):
        assert len(str(await refusal(http))) == 200


@pytest.mark.parametrize("status", [429, 503])
async def test_what_was_certainly_not_done_is_tried_once_more(status: int) -> None:
    async with api(answer(status), answer(200)) as (http, far):
        assert await http.call("POST", "/calls", json={}) is not None
        assert len(far.asked) == 2
        assert far.asked[0] == far.asked[1]
    async with api(answer(status), answer(status)) as (http, far):
        error = await refusal(http)
        assert (error.status, error.retryable, len(far.asked)) == (status, True, 2)


@pytest.mark.parametrize("header", ["retry-after: 1", "x-ratelimit-reset: 1"])
async def test_the_carrier_names_the_pause(header: str) -> None:
    async with api(answer(429, OK, header), answer(200)) as (http, _):
        began = time.monotonic()
        await http.call("POST", "/calls", json={})
        assert 0.9 <= time.monotonic() - began < 1.9


@pytest.mark.parametrize("header", ["retry-after: 2", "retry-after: 3600"])
async def test_a_pause_longer_than_our_patience_is_not_waited_for(header: str) -> None:
    async with api(answer(429, OK, header)) as (http, far):
        began = time.monotonic()
        assert (await refusal(http)).retryable
        assert time.monotonic() - began < 1
        assert len(far.asked) == 1


@pytest.mark.parametrize("first", [answer(500), answer(502, b"<html>"), HANG, CUT], ids=["500", "502", "hang", "cut"])
async def test_what_may_have_been_done_is_repeated_only_where_twice_is_once(first: bytes) -> None:
    async with api(first, answer(200)) as (http, far):
        assert await http.call("POST", "/calls", json={"command_id": "same"}, again=True) is not None
        assert len(far.asked) == 2
        assert far.asked[0] == far.asked[1]
    async with api(first, answer(200)) as (http, far):
        assert not (await refusal(http)).retryable
        assert len(far.asked) == 1


async def test_an_answer_that_never_comes_ends_at_the_deadline() -> None:
    async with api(HANG, HANG, patience=Patience(0.5, 0.2, 0.2, 0.01)) as (http, far):
        began = time.monotonic()
        error = await refusal(http, again=True)
        assert "no answer within" in str(error)
        assert error.status is None
        assert 0.4 <= time.monotonic() - began < 1.4
        assert len(far.asked) == 2


async def test_an_answer_that_comes_in_drops_ends_at_the_deadline() -> None:
    """Each read is in time, the whole is not."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            for _ in range(100):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with listening(drip) as url:
        http = CarrierHttp("acme", url, explain=explain, patience=BRISK)
        with pytest.raises(CarrierApiError, match="no answer within"):
            await http.call("GET", "/")
        await http.close()


async def test_nobody_there_is_retryable_and_quick() -> None:
    async with api() as (http, far):
        pass
    http = CarrierHttp("acme", far.url, explain=explain, patience=BRISK)
    error = await refusal(http)
    assert error.retryable
    assert "can not be reached" in str(error)
    await http.close()


async def test_an_answer_without_end_or_sense_is_a_failure() -> None:
    huge = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (LONGEST_ANSWER + 1) + b" " * (LONGEST_ANSWER + 1)
    async with api(huge, answer(200, b"<html>")) as (http, _):
        assert "without end" in str(await refusal(http))
        assert "no JSON" in str(await refusal(http, again=True))


async def test_a_redirect_is_not_followed_with_our_credentials() -> None:
    async with api(answer(302, b"", "location: http://127.0.0.1:1/")) as (http, far):
        assert (await refusal(http)).status == 302
        assert len(far.asked) == 1


async def test_cancelled_while_waiting_it_lets_go() -> None:
    async with api(HANG, answer(200), patience=Patience(5, 5, 1)) as (http, far):
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(http.call("GET", "/"))
            await far.was_asked.wait()
            waiting.cancel()
        assert waiting.cancelled()
        assert await http.call("GET", "/") is not None
