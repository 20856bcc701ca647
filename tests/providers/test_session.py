"""The driver of a provider's socket, against a provider on loopback that refuses, hangs, stalls and hangs up."""

from __future__ import annotations

import asyncio
import email.utils
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes import (
    Events,
    ProviderServer,
    Visit,
    black_hole,
    cancel_everywhere,
    mute_server,
    polite,
    tasks,
    web_socket_provider,
)

from tandem_codecs.format import MULAW_8K, PCM16_24K
from tandem_providers.commands import CommitTurn, SendText, ToolResult
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)
from tandem_providers.events import (
    AudioChunk,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    ToolCall,
    ToolCallCancelled,
)
from tandem_providers.session import CLOSE_SECONDS, SEND_BUFFER, SocketSession, WebSocketProvider, sort_failure
from tandem_providers.wire import HandshakeBroken, HandshakeRefused

CONFIG = ProcessConfig(instructions="be brief")


async def fails(provider: WebSocketProvider, events: Events | None = None) -> ProviderError:
    """Connecting must fail, and leave nothing behind."""
    with pytest.raises(ProviderError) as caught:
        async with provider.connect(CONFIG, events or Events()):
            pytest.fail("there is no session to be had")
    assert caught.value.provider == "fake"
    return caught.value


@asynccontextmanager
async def connected(
    server: ProviderServer, config: ProcessConfig = CONFIG, **options: Any
) -> AsyncIterator[tuple[SocketSession, Events]]:
    events = Events()
    async with server.provider(**options).connect(config, events) as session:
        yield session, events


# --- a session that goes well -----------------------------------------------------------------------------------------


async def test_set_up_is_sent_first_and_events_come_in_order() -> None:
    async def script(visit: Visit) -> None:
        await visit.hear()
        await visit.send("ready")
        await visit.say(b"\x01\x00" * 10)
        await visit.connection.send("no JSON")
        await visit.send("something new")
        await visit.say(b"", final=True)
        await visit.listen()

    async with ProviderServer(script) as server:
        async with connected(server) as (session, events):
            assert session.provider == "fake"
            assert (session.input_format, session.output_format) == (PCM16_24K, PCM16_24K)
            session.send_audio(b"\x07\x00" * 480)
            session.send(SendText("hello"))
            await events.until(AudioChunk, 2)
            await server.until(lambda: len(server.visit.messages) == 3)
        assert events.kinds == ["SessionReady", "AudioChunk", "ProviderWarning", "AudioChunk", "SessionClosed"]
        assert events.all[-1] == SessionClosed(None)
        assert [message["type"] for message in server.visit.messages] == ["setup", "audio", "command"]
        assert server.visit.messages[0]["instructions"] == "be brief"
        assert server.visit.heard == b"\x07\x00" * 480
        await server.until(lambda: server.visit.closed == (1000, ""))
        assert server.requests[0].headers["Authorization"] == "Bearer planted"


async def test_what_a_message_makes_necessary_is_sent_at_once() -> None:
    async def script(visit: Visit) -> None:
        await polite_setup(visit)
        await visit.send("answer_me")
        await visit.listen()

    async with ProviderServer(script) as server, connected(server):
        await server.until(lambda: server.visit.of("answer"))


async def polite_setup(visit: Visit) -> None:
    await visit.hear()
    await visit.send("ready")


async def test_the_sink_may_answer_from_within() -> None:
    async with ProviderServer() as server:
        sessions: list[SocketSession] = []
        events = Events()

        def sink(event: Any) -> None:
            events(event)
            if isinstance(event, AudioChunk):
                sessions[0].send(CommitTurn())

        async def script(visit: Visit) -> None:
            await polite_setup(visit)
            await visit.hear()
            await visit.say(b"ab")
            await visit.listen()

        server.script = script
        async with server.provider().connect(CONFIG, sink) as session:
            sessions.append(session)
            session.send_audio(b"ab")
            await server.until(lambda: server.visit.of("command"))


async def test_after_the_end_nothing_is_told_and_nothing_sent() -> None:
    async with ProviderServer() as server:
        async with connected(server) as (session, events):
            pass
        count = len(events.all)
        for _ in range(2):
            await session.close()
        session.send_audio(b"ab")
        session.send(CommitTurn())
        session.pause()
        session.resume()
        session.on_message(b'{"type":"audio","audio":""}', True)
        session.on_close(1011, "late")
        session.warn(ProviderWarning("late", ""))
        assert len(events.all) == count
        assert [message["type"] for message in server.visit.messages] == ["setup"]


async def test_pause_lets_messages_wait_at_the_provider() -> None:
    go = asyncio.Event()

    async def script(visit: Visit) -> None:
        await polite_setup(visit)
        await visit.hear()
        await visit.say(b"ab")
        go.set()
        await visit.listen()

    async with ProviderServer(script) as server, connected(server) as (session, events):
        session.pause()
        session.send(CommitTurn())
        await go.wait()
        async with server.provider("other").connect(CONFIG, Events()):  # a whole round trip later
            assert not events.of(AudioChunk)
        session.resume()
        await events.until(AudioChunk)


async def test_the_body_may_fail_and_its_exception_is_its_own() -> None:
    async with ProviderServer() as server:
        events = Events()
        with pytest.raises(LookupError):
            async with server.provider().connect(CONFIG, events):
                raise LookupError
        assert events.kinds == ["SessionReady", "SessionClosed"]
        await server.until(lambda: server.visit.closed == (1000, ""))


async def test_closing_the_provider_ends_its_sessions() -> None:
    async with ProviderServer() as server:
        provider = server.provider()
        events = Events()
        async with provider.connect(CONFIG, events):
            await provider.close()
            assert events.all[-1] == SessionClosed(None)
        assert events.kinds.count("SessionClosed") == 1


# --- ends that others make --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [(1000, None), (3000, AuthenticationFailedError), (1011, ConnectionFailedError), (1012, ConnectionFailedError)],
)
async def test_the_provider_closes(code: int, error: type[ProviderError] | None) -> None:
    async def script(visit: Visit) -> None:
        await polite_setup(visit)
        await visit.connection.close(code, "why")

    async with ProviderServer(script) as server, connected(server) as (_, events):
        closed = await events.until(SessionClosed)
        assert (closed.code, closed.reason) == (code, "why")
        assert type(closed.error) is (error or type(None))
        assert closed.error is None or closed.error.provider == "fake"
    assert events.kinds == ["SessionReady", "SessionClosed"]


async def test_the_connection_breaks() -> None:
    async def script(visit: Visit) -> None:
        await polite_setup(visit)
        visit.cut()

    async with ProviderServer(script) as server, connected(server) as (_, events):
        closed = await events.until(SessionClosed)
    assert closed.code == 1006
    assert isinstance(closed.error, ConnectionFailedError)
    assert events.kinds.count("SessionClosed") == 1


async def test_the_protocol_says_that_it_is_over() -> None:
    async def script(visit: Visit) -> None:
        await polite_setup(visit)
        await visit.send("expired")
        await visit.say(b"late")
        await visit.listen()

    async with ProviderServer(script) as server, connected(server) as (_, events):
        closed = await events.until(SessionClosed)
        assert isinstance(closed.error, SessionClosedError)
        assert closed.error.provider == "fake"
        await server.until(lambda: server.visit.closed == (1000, ""))
    assert events.kinds == ["SessionReady", "SessionClosed"]


async def test_a_far_end_that_does_not_close_is_not_waited_for_long() -> None:
    async def script(visit: Visit) -> None:
        await polite_setup(visit)
        visit.connection.transport.pause_reading()
        await visit.connection.wait_closed()

    async with ProviderServer(script) as server:
        async with connected(server):
            began = time.monotonic()
        assert 0.9 < time.monotonic() - began < 2
        server.visit.cut()


async def test_words_are_dropped_not_piled_up_when_the_provider_does_not_read() -> None:
    async def script(visit: Visit) -> None:
        await polite_setup(visit)
        visit.connection.transport.pause_reading()
        await visit.connection.wait_closed()

    async with ProviderServer(script) as server, connected(server) as (session, events):
        second = bytes(PCM16_24K.size(1000))
        for _ in range(300):
            session.send_audio(second)
        assert session.dropped_bytes > 0
        assert session.dropped_bytes % len(second) == 0
        assert [warning.code for warning in events.of(ProviderWarning)] == ["audio_dropped"]
        socket = session._socket
        assert socket is not None
        before = socket.buffered
        assert SEND_BUFFER < before < SEND_BUFFER + 2 * len(second)
        session.send(CommitTurn())
        assert socket.buffered > before, "commands are never dropped"
        server.visit.cut()
        await events.until(SessionClosed)


# --- sessions that never come about -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", AuthenticationFailedError),
        (403, b'{"error":{"code":"project_restricted"}}', AuthenticationFailedError),
        (403, b'{"error":{"code":"insufficient_quota"}}', RateLimitedError),
        (400, b'{"error":{"type":"invalid_request_error","code":null}}', InvalidConfigError),
        (404, b"not here", InvalidConfigError),
        (302, b"", InvalidConfigError),
        (402, b"", RateLimitedError),
        (429, b'{"error":{"code":"rate_limit_exceeded"}}', RateLimitedError),
        (429, b'{"error":{"code":"insufficient_quota"}}', RateLimitedError),
        (408, b"", ProviderUnavailableError),
        (500, b'{"error":"x"}', ProviderUnavailableError),
        (503, b"[]", ProviderUnavailableError),
    ],
)
async def test_each_refusal_has_its_class(status: int, body: bytes, kind: type[ProviderError]) -> None:
    async with ProviderServer(refuse=status, body=body, headers={"Retry-After": "7"}) as server:
        events = Events()
        error = await fails(server.provider(), events)
    assert type(error) is kind
    assert (error.status, error.retry_after) == (status, 7.0)
    assert not events.all
    if isinstance(error, RateLimitedError):
        assert error.exhausted == (status == 402 or b"quota" in body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":{"code":"model_not_found","message":"sk-plantedKey"}}', "model_not_found"),
        (b'{"error":{"type":"server_error","code":null}}', "server_error"),
        (b'{"error":{"code":"two words: sk-plantedKey"}}', ""),
        (b'{"error":{"code":17}}', ""),
        (b'{"error":"planted"}', ""),
        (b"<html>planted</html>", ""),
        (b"", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_of_a_refusals_body_only_a_code_is_kept(body: bytes, code: str) -> None:
    error = sort_failure(HandshakeRefused(500, {}, body), "fake")
    assert error.code == code
    assert "planted" not in str(error)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("1.5", 1.5), ("-3", 0.0), ("nan", None), ("inf", None), ("", None), ("soon", None)],
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert sort_failure(HandshakeRefused(503, {"retry-after": text}, b""), "fake").retry_after == seconds


def test_retry_after_as_a_date() -> None:
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    wait = sort_failure(HandshakeRefused(503, {"retry-after": date}, b""), "fake").retry_after
    assert wait is not None
    assert 28 < wait <= 30


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (TimeoutError(), ConnectionFailedError, "connect_timeout"),
        (ConnectionRefusedError(111, "refused"), ConnectionFailedError, ""),
        (OSError("name or service not known"), ConnectionFailedError, ""),
        (ssl.SSLCertVerificationError("self-signed"), ConnectionFailedError, ""),
        (HandshakeBroken("not HTTP"), ConnectionFailedError, ""),
        (ValueError("header planted"), InvalidConfigError, ""),
        (InvalidConfigError("no model"), InvalidConfigError, ""),
    ],
)
def test_each_failure_has_its_class(error: Exception, kind: type[ProviderError], code: str) -> None:
    found = sort_failure(error, "fake")
    assert type(found) is kind
    assert (found.provider, found.code) == ("fake", code)
    assert "planted" not in str(found)


async def test_nobody_listens() -> None:
    async with ProviderServer() as server:
        url = server.url
    assert isinstance(await fails(web_socket_provider(url)), ConnectionFailedError)


async def test_an_address_that_is_none() -> None:
    assert isinstance(await fails(web_socket_provider("http://127.0.0.1/")), InvalidConfigError)


@pytest.mark.parametrize("hangs", ["tcp", "handshake"])
async def test_connecting_has_its_own_deadline(hangs: str) -> None:
    with black_hole() as hole:
        async with mute_server() as mute:
            provider = web_socket_provider(hole if hangs == "tcp" else mute, connect_seconds=0.2)
            began = time.monotonic()
            error = await fails(provider)
    assert isinstance(error, ConnectionFailedError)
    assert error.code == "connect_timeout"
    assert 0.15 < time.monotonic() - began < 1


async def test_not_ready_in_time() -> None:
    async def script(visit: Visit) -> None:
        await visit.listen()

    async with ProviderServer(script) as server:
        events = Events()
        error = await fails(server.provider(ready_seconds=0.2), events)
        assert isinstance(error, ProviderUnavailableError)
        assert error.code == "ready_timeout"
        assert not events.all
        await server.until(lambda: server.visit.closed == (1000, ""))


async def test_one_that_is_neither_ready_nor_reading_is_not_waited_for() -> None:
    async def script(visit: Visit) -> None:
        visit.connection.transport.pause_reading()
        await visit.connection.wait_closed()

    async with ProviderServer(script) as server:
        began = time.monotonic()
        await fails(server.provider(ready_seconds=0.1))
        assert time.monotonic() - began < CLOSE_SECONDS
        server.visit.cut()


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1000, ProviderUnavailableError), (3000, AuthenticationFailedError), (1011, ConnectionFailedError)],
)
async def test_closed_before_it_was_ready(code: int, kind: type[ProviderError]) -> None:
    async def script(visit: Visit) -> None:
        await visit.connection.close(code, "no")

    async with ProviderServer(script) as server:
        events = Events()
        error = await fails(server.provider(), events)
    assert type(error) is kind
    assert not events.all


async def test_a_protocol_that_refuses_the_configuration_opens_no_socket() -> None:
    def refuse(*_: Any) -> Any:
        raise InvalidConfigError("no such voice", provider="fake")

    async with ProviderServer() as server:
        provider = WebSocketProvider("fake", server.provider().capabilities, refuse)
        assert isinstance(await fails(provider), InvalidConfigError)
        assert not server.requests


# --- functions --------------------------------------------------------------------------------------------------------


WEATHER = FunctionDeclaration("weather")


async def call_weather(visit: Visit) -> None:
    await polite_setup(visit)
    await visit.send("tool", id="c1", name="weather", arguments='{"city":"Bonn"}')
    await visit.listen()


async def test_a_function_is_called_and_its_result_sent() -> None:
    def weather(name: str, arguments: Any) -> Any:
        return {"asked": name, **arguments}

    config = ProcessConfig(functions=[WEATHER], on_function_call=weather)
    async with ProviderServer(call_weather) as server, connected(server, config) as (_, events):
        await server.until(lambda: server.visit.of("result"))
        (result,) = server.visit.of("result")
        assert result["id"] == "c1"
        assert json.loads(result["output"]) == {"asked": "weather", "city": "Bonn"}
        assert events.of(ToolCall) == [ToolCall("c1", "weather", '{"city":"Bonn"}')]


async def test_without_a_handler_the_user_answers_the_event() -> None:
    config = ProcessConfig(functions=[WEATHER])
    async with ProviderServer(call_weather) as server, connected(server, config) as (session, events):
        call = await events.until(ToolCall)
        session.send(ToolResult(call.call_id, "sunny"))
        await server.until(lambda: server.visit.of("result"))
        assert server.visit.of("result")[0]["output"] == "sunny"


async def test_hanging_up_cancels_a_function() -> None:
    cancelled = asyncio.Event()

    async def weather(name: str, arguments: Any) -> Any:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    config = ProcessConfig(functions=[WEATHER], on_function_call=weather)
    async with ProviderServer(call_weather) as server:
        async with connected(server, config) as (_, events):
            await events.until(ToolCall)
            await asyncio.sleep(0)
        assert cancelled.is_set()
        assert not server.visit.of("result")


async def test_a_call_that_is_taken_back_is_cancelled() -> None:
    async def script(visit: Visit) -> None:
        await polite_setup(visit)
        await visit.send("tool", id="c1", name="weather", arguments="{}")
        await visit.send("tool_cancelled", id="c1")
        await visit.listen()

    async def weather(name: str, arguments: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    config = ProcessConfig(functions=[WEATHER], on_function_call=weather)
    async with ProviderServer(script) as server, connected(server, config) as (session, events):
        await events.until(ToolCallCancelled)
        assert session.tools is not None
        assert not session.tools.running


async def test_the_deadline_of_a_function_comes_from_the_provider() -> None:
    async def weather(name: str, arguments: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    config = ProcessConfig(functions=[WEATHER], on_function_call=weather)
    async with ProviderServer(call_weather) as server, connected(server, config, tool_seconds=0.05) as (_, events):
        await server.until(lambda: server.visit.of("result"))
        assert json.loads(server.visit.of("result")[0]["output"])["error"] == "timeout"
        assert [warning.code for warning in events.of(ProviderWarning)] == ["tool_timeout"]


# --- cancellation -----------------------------------------------------------------------------------------------------


async def test_cancelled_anywhere_nothing_is_left_and_the_next_one_works() -> None:
    async with ProviderServer() as server:
        provider = server.provider(speaks=MULAW_8K)
        runs: list[Events] = []

        async def work() -> None:
            runs.append(Events())
            async with provider.connect(CONFIG, runs[-1], leg=MULAW_8K) as session:
                session.send_audio(b"\xff" * 160)
                await asyncio.sleep(0)

        async def check() -> None:
            kinds = runs[-1].kinds if runs else []
            assert kinds in ([], ["SessionReady", "SessionClosed"])
            await server.until(lambda: server.open == 0)

        outside = len(tasks())
        cancelled = await cancel_everywhere(work, check)
        assert cancelled > 5
        assert len(tasks()) <= outside
        assert sum(bool(events.of(SessionReady)) for events in runs) >= 2


async def test_the_default_script_is_the_polite_one() -> None:
    async with ProviderServer(polite) as server, connected(server) as (_, events):
        assert events.kinds == ["SessionReady"]
