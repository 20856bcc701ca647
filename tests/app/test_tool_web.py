"""Requests to addresses that others name, over real sockets: who is asked, and what is taken for an answer.

R38: whatever is written into a URL or a DNS record, nobody's own network is reached.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from servers import log_lines
from tool_play import Answer, service

from tandem.tools.addresses import is_public
from tandem.tools.file import url_problem
from tandem.tools.tool import ToolFailed
from tandem.tools.web import Guard, Resolve, Web, addresses_of

CERTIFICATE = Path(__file__).parent.parent / "providers" / "localhost.pem"  # and its key; it is for localhost


@asynccontextmanager
async def web(
    *, allow_private: bool = True, context: ssl.SSLContext | None = None, resolve: Resolve | None = None
) -> AsyncIterator[Web]:
    guard = await asyncio.to_thread(Guard, allow_private=allow_private, context=context, resolve=resolve)
    async with Web(guard) as made:
        yield made


async def post(made: Web, url: str, *, seconds: float = 5.0, most: int = 1000) -> str:
    return await made.post(url, b"{}", {"X-Given": "yes"}, seconds=seconds, most=most)


async def failure(made: Web, url: str, **limits: Any) -> tuple[str, str]:
    with pytest.raises(ToolFailed) as caught:
        await post(made, url, **limits)
    return caught.value.error, caught.value.message


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_one_post_and_its_answer() -> None:
    async with service() as there, web() as made:
        assert await post(made, there.url) == '{"answer": 42}'
        (asked,) = there.asked
        assert (asked.method, asked.path, asked.body) == ("POST", "/do", b"{}")
        assert asked.headers["x-given"] == "yes"
        assert asked.headers["host"] == f"127.0.0.1:{there.port}"
        assert asked.headers["accept-encoding"] == "identity"
        assert asked.headers["user-agent"].startswith("tandem/")


UNUSABLE = {
    "400": (Answer(status="400 Bad Request", body=b"the planted detail"), "answered with an error (HTTP 400)."),
    "500": (Answer(status="500 Oh"), "answered with an error (HTTP 500)."),
    "302": (Answer(status="302 Found", headers={"Location": "/other"}), "answered with an error (HTTP 302)."),
    "307": (Answer(status="307 No", headers={"Location": "http://127.0.0.1:1/"}), "answered with an error (HTTP 307)."),
    "no HTTP": (Answer(raw=b"SSH-2.0-OpenSSH\r\n", closes=True), "can not be reached."),
    "half an answer": (
        Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", closes=True),
        "can not be reached.",
    ),
    "compressed": (
        Answer(gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}),
        "gave an answer that can not be read.",
    ),
}


@pytest.mark.parametrize("kind", UNUSABLE)
async def test_what_is_no_answer_and_that_it_is_asked_for_once(kind: str) -> None:
    answer, message = UNUSABLE[kind]
    async with service() as there, web() as made:
        there.answer = lambda _: answer
        assert await failure(made, there.url) == ("failed", f"The service {message}")
        assert len(there.asked) == 1
        there.answer = lambda _: Answer()
        assert await post(made, there.url), "the next one is not hurt by it"


async def test_a_redirect_is_never_followed() -> None:
    async with service() as there, service() as other, web() as made:
        there.answer = lambda _: Answer(status="308 Permanent Redirect", headers={"Location": other.url})
        await failure(made, there.url)
        assert not other.asked


async def test_an_answer_has_a_limit_also_one_without_an_end() -> None:
    async with service() as there, web() as made:
        there.answer = lambda _: Answer(b"x" * 1000)
        assert len(await post(made, there.url, most=1000)) == 1000
        there.answer = lambda _: Answer(b"x" * 1001)
        assert (await failure(made, there.url, most=1000))[0] == "too_large"
        endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n"
        there.answer = lambda _: Answer(raw=endless + b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        assert (await failure(made, there.url, most=1000))[0] == "too_large"


@pytest.mark.parametrize("body", [b"\xff\xfe", "ü".encode("latin-1"), b""])
async def test_any_bytes_are_text_in_the_end(body: bytes) -> None:
    async with service() as there, web() as made:
        there.answer = lambda _: Answer(body)
        assert (await post(made, there.url)).isprintable()


# --- time -------------------------------------------------------------------------------------------------------------


async def test_r19_a_service_that_hangs_is_left_at_the_deadline() -> None:
    never = asyncio.Event()
    async with service() as there, web() as made:
        there.answer = lambda _: Answer(hangs=never)
        began = time.monotonic()
        assert await failure(made, there.url, seconds=0.2) == ("timeout", "The service did not answer in time.")
        assert 0.15 < time.monotonic() - began < 2
        await there.until(lambda: there.gone == 1)


async def test_who_is_cancelled_lets_go_of_the_connection() -> None:
    async with service() as there, web() as made:
        there.answer = lambda _: Answer(hangs=asyncio.Event())
        asking = asyncio.create_task(post(made, there.url))
        await there.times(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await there.until(lambda: there.gone == 1)


async def test_a_name_server_that_hangs_costs_its_deadline_and_no_more() -> None:
    async def hangs(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with web(resolve=hangs) as made:
        assert (await failure(made, "https://slow.test/", seconds=0.05))[0] == "timeout"


async def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with web() as made:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
            assert await failure(made, url) == ("failed", "The service can not be reached.")


# --- names and addresses ----------------------------------------------------------------------------------------------


async def test_the_checked_address_is_the_one_that_is_connected_to() -> None:
    """A name that means something else a moment later gains nothing: it is asked about once."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with service() as there, web(resolve=resolve) as made:
        await post(made, f"http://shop.test:{there.port}/do")
        assert asked == ["shop.test"]
        assert there.asked[0].headers["host"] == f"shop.test:{there.port}"


async def test_a_second_address_is_tried_when_nobody_answers_at_the_first() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.9", "127.0.0.1"]

    async with service() as there, web(resolve=resolve) as made:
        assert await post(made, f"http://shop.test:{there.port}/do")
        assert len(there.asked) == 1


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["169.254.169.254"], ["::ffff:10.0.0.1"], ["x"]]
)
async def test_a_name_that_leads_inside_is_refused_before_any_connection(addresses: list[str]) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return addresses

    with log_lines() as lines:
        async with service() as there, web(allow_private=False, resolve=resolve) as made:
            told = await failure(made, f"http://shop.test:{there.port}/do")
            assert told == ("failed", "The service can not be reached."), "the model does not learn why"
            assert not there.asked
    assert [line["host"] for line in lines if line["level"] == "error"] == ["shop.test"]


async def test_a_certificate_is_checked_against_the_name() -> None:
    def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
        server.load_cert_chain(CERTIFICATE)
        client.load_verify_locations(CERTIFICATE)
        return server, client

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    server, client = await asyncio.to_thread(contexts)
    async with service(server) as there, web(context=client, resolve=resolve) as made:
        assert await post(made, f"https://localhost:{there.port}/do")
        assert (await failure(made, f"https://other.test:{there.port}/do"))[0] == "failed"
        assert len(there.asked) == 1


async def test_names_are_resolved_off_the_loop() -> None:
    assert "127.0.0.1" in await addresses_of("localhost", 80) or "::1" in await addresses_of("localhost", 80)
    for name in ("no-such-name.invalid", "x" * 300 + ".test"):
        with pytest.raises((OSError, UnicodeError)):
            await addresses_of(name, 80)


# --- R38 --------------------------------------------------------------------------------------------------------------

INSIDE = st.sampled_from(
    [
        *["127.0.0.1"] * 6,
        "127.8.9.10",
        "10.1.2.3",
        "172.16.5.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",  # noqa: S104  # nothing is bound to it
    ]
)


def _spellings(address: str) -> list[str]:
    """How the same address can be written, each of which some resolver or library takes."""
    number = int(ip_address(address))
    parts = [int(part) for part in address.split(".")]
    a, b, c, d = parts
    return [
        address,
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(hex(part) for part in parts),
        ".".join(f"0{part:o}" for part in parts),
        ".".join(f"{part:03}" for part in parts),
        f"{a}.{b}.{c * 256 + d}",
        f"{a}.{b * 65536 + c * 256 + d}",
        f"{a}.{b}.0x{c:02x}.0{d:o}",
        f"[::ffff:{address}]",
        f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]",
        f"[0:0:0:0:0:ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"{address}.",
        f"{a}。{b}。{c}。{d}",
        "".join(chr(0xFF10 + int(each)) if each.isdigit() else each for each in address),
        "".join(f"%{ord(each):02x}" for each in address),
        f"{address}.nip.test",
        f"user:planted@{address}",
        f"example.test@{address}",
        f"{address}\\@example.test",
        f"example.test#@{address}",
        f"{address}%00.example.test",
        f"{address}\t",
        f"[{address}]",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[fe80::1%25lo]",
        "[fd00:ec2::254]",
        "ip6-localhost",
        "metadata.test",
    ]


async def _as_the_system_does(host: str, port: int) -> list[str]:
    """With a DNS that answers to names under test with what stands in them, as public ones do."""
    if host.endswith(".nip.test"):
        return [host.removesuffix(".nip.test")]
    if host == "metadata.test":
        return ["169.254.169.254"]
    if host.rstrip(".").endswith("test"):
        return ["127.0.0.1"]
    found = await asyncio.to_thread(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    return [str(entry[4][0]) for entry in found]


@st.composite
def hostile(draw: st.DrawFn) -> str:
    host = draw(st.sampled_from(_spellings(draw(INSIDE))))
    scheme = draw(st.sampled_from([*["http"] * 9, "https", "HTTP", "ftp", "file", "gopher", "http:http"]))
    odd = ["", "/?a=b", "/%2e%2e/", "/\r\nHost: x", "/#f", "\\x", "//x"]
    path = draw(st.sampled_from(["/latest/meta-data/"] * 9 + odd))
    return f"{scheme}://{host}:{{port}}{path}"


def test_r38_no_hostile_url_reaches_ones_own_network() -> None:
    """A listener on loopback, at every address of it, hears of none of 500."""

    async def run() -> int:
        reached: list[bytes] = []
        tried: list[str] = []

        async def heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reached.append(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(heard, ["127.0.0.1", "127.8.9.10"], 0)
        ports = [each.getsockname()[1] for each in server.sockets]
        async with web(allow_private=False, resolve=_as_the_system_does) as made:
            loop = asyncio.get_running_loop()

            @settings(
                max_examples=500,
                deadline=None,
                phases=[Phase.generate],
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(hostile(), st.sampled_from(ports))
            def attack(url: str, port: int) -> None:
                target = url.replace("{port}", str(port))
                tried.append(target)
                asyncio.run_coroutine_threadsafe(failure(made, target, seconds=3.0), loop).result(10)

            logging.disable(logging.CRITICAL)  # what these hosts look like in a log is not the question
            try:
                await asyncio.to_thread(attack)
            finally:
                logging.disable(logging.NOTSET)
        server.close()
        assert reached == []
        return len(tried)

    assert asyncio.run(run()) >= 500


@given(hostile())
def test_r38_what_a_file_may_name_does_not_lead_inside_by_itself(url: str) -> None:
    """What can be told from the text is told at start; names are looked at when they are resolved."""
    target = url.replace("{port}", "443")
    if url_problem(target, allow_private=False) is None:
        host = target.split("//")[1].split("/")[0].rpartition(":")[0]
        assert not is_public(host)
        assert not host.startswith("[")
