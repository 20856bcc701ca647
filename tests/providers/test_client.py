"""Several providers as one: in order, in time, and with every word that the caller said meanwhile."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from fakes import (
    Events,
    FakeProvider,
    ProviderServer,
    black_hole,
    cancel_everywhere,
    mute_server,
    tasks,
    turns,
    web_socket_provider,
)
from lateness import lateness

from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_16K, PCM16_24K, AudioFormat, Encoding
from tandem_providers.client import Client
from tandem_providers.commands import CancelResponse, CommitTurn, Purpose, Say, SendDtmf
from tandem_providers.config import ProcessConfig
from tandem_providers.conversation import Conversation
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tandem_providers.events import (
    AudioChunk,
    Event,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    TurnEnded,
    UserSpeechStarted,
)
from tandem_providers.fallback import FAILURES
from tandem_providers.kept import COMMANDS

CONFIG = ProcessConfig(instructions="be brief")
DENIED = AuthenticationFailedError("denied", provider="first")
BROKEN = ConnectionFailedError("broken", provider="first")


@asynccontextmanager
async def call(client: Client, leg: AudioFormat = MULAW_8K) -> AsyncIterator[tuple[Conversation, Events]]:
    events = Events()
    async with client.session(CONFIG, events, leg=leg) as session:
        yield session, events


def speech(milliseconds: int) -> bytes:
    return bytes(n * 7 % 251 for n in range(MULAW_8K.size(milliseconds)))


def frames(audio: bytes) -> list[bytes]:
    return [audio[at : at + MULAW_8K.frame_bytes] for at in range(0, len(audio), MULAW_8K.frame_bytes)]


# --- one that works ---------------------------------------------------------------------------------------------------


async def test_the_first_provider_is_taken_and_the_second_left_alone() -> None:
    first, second = FakeProvider("first", MULAW_8K), FakeProvider("second", MULAW_8K)
    async with call(Client(first, second)) as (session, events):
        assert session.provider == ""
        await session.ready()
        assert session.provider == "first"
        assert session.capabilities is first.capabilities
        frame = speech(20)
        session.send_audio(frame)
        assert first.session.told[0] is frame, "nothing is copied where nothing is converted"
        chunk = AudioChunk(b"\x01\x02")
        first.session.tell(chunk)
        assert events.of(AudioChunk)[0] is chunk
        session.send(CancelResponse())
        assert first.session.commands == [CancelResponse()]
    assert events.kinds == ["SessionReady", "AudioChunk", "SessionClosed"]
    assert events.all[0] == SessionReady("first", MULAW_8K, MULAW_8K)
    assert events.all[-1] == SessionClosed()
    assert second.attempts == first.open == 0
    assert first.configs == [CONFIG]


async def test_a_session_is_there_at_once_and_keeps_what_it_is_told() -> None:
    provider = FakeProvider("first", MULAW_8K, steps=50)
    async with call(Client(provider)) as (session, _):
        session.send(Say(Purpose.GREETING))
        for frame in frames(speech(100)):
            session.send_audio(frame)
        session.send(SendDtmf("1"))
        session.send_audio(b"end")
        assert not provider.attempts
        await session.ready()
        assert provider.session.told == [Say(Purpose.GREETING), speech(100), SendDtmf("1"), b"end"]
        session.send_audio(b"live")
        assert provider.session.told[-1] == b"live"


async def test_what_the_user_does_about_readiness_comes_after_what_was_kept() -> None:
    provider = FakeProvider("first", MULAW_8K)
    sessions: list[Conversation] = []

    def sink(event: Event) -> None:
        if isinstance(event, SessionReady):
            sessions[0].send(CommitTurn())

    async with Client(provider).session(CONFIG, sink) as session:
        sessions.append(session)
        session.send_audio(b"kept")
        await session.ready()
        assert provider.session.told == [b"kept", CommitTurn()]


async def test_both_directions_are_converted_for_a_provider_of_another_rate() -> None:
    provider = FakeProvider("first", PCM16_24K)
    async with call(Client(provider)) as (session, events):
        words = speech(200)
        for frame in frames(words[:800]):
            session.send_audio(frame)
        await session.ready()
        for frame in frames(words[800:]):
            session.send_audio(frame)
        assert provider.session.heard == Converter(MULAW_8K, PCM16_24K).feed(words)

        answer = array("h", range(-2400, 2400)).tobytes()
        provider.session.tell(AudioChunk(answer[:4801], item_id="i"))
        provider.session.tell(AudioChunk(answer[4801:], is_final=True, item_id="i"))
        back = Converter(PCM16_24K, MULAW_8K)
        assert events.audio() == back.feed(answer) + back.flush()
        assert events.of(SessionReady) == [SessionReady("first", MULAW_8K, MULAW_8K)]


async def test_nothing_of_an_interrupted_answer_is_left_for_the_next() -> None:
    provider = FakeProvider("first", PCM16_24K)
    async with call(Client(provider)) as (session, events):
        await session.ready()
        loud = array("h", [12000] * 480).tobytes()
        provider.session.tell(AudioChunk(loud, item_id="a"))
        provider.session.tell(UserSpeechStarted())
        provider.session.tell(TurnEnded("t", "cancelled"))
        provider.session.tell(AudioChunk(bytes(960), item_id="b"))
        silence = Converter(PCM16_24K, MULAW_8K).feed(bytes(960))
        assert events.of(AudioChunk)[-1].audio == silence


async def test_pausing_reaches_the_provider_that_comes_later() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with call(Client(provider)) as (session, _):
        session.pause()
        await session.ready()
        session.resume()
        session.pause()
        session.resume()
        assert provider.session.pauses == [True, False, True, False]


# --- fallback ---------------------------------------------------------------------------------------------------------


async def test_the_next_provider_hears_every_word_in_its_own_rate() -> None:
    first = FakeProvider("first", PCM16_24K, results=[DENIED], steps=5)
    second = FakeProvider("second", PCM16_16K, steps=5)
    words = speech(2000)
    async with call(Client(first, second)) as (session, events):
        sent = iter(frames(words))
        while not events.of(SessionReady):  # the caller speaks through all of it
            session.send_audio(next(sent))
            await asyncio.sleep(0)
        for frame in sent:
            session.send_audio(frame)
        assert second.session.heard == Converter(MULAW_8K, PCM16_16K).feed(words)
        assert session.provider == "second"
    assert events.kinds == ["ProviderWarning", "SessionReady", "SessionClosed"]
    assert events.all[0] == ProviderWarning("attempt_failed", "first: denied")


async def test_each_attempt_is_reported() -> None:
    reported: list[tuple[str, float, ProviderError | None]] = []
    client = Client(
        FakeProvider("first", results=[DENIED]),
        FakeProvider("second"),
        on_attempt=lambda *attempt: reported.append(attempt),
    )
    async with call(client) as (session, _):
        await session.ready()
    assert [(name, error) for name, _, error in reported] == [("first", DENIED), ("second", None)]
    assert all(0 <= seconds < 1 for _, seconds, _ in reported)


@pytest.mark.parametrize("error", [DENIED, InvalidConfigError("no such voice"), RateLimitedError("slow down")])
async def test_what_cannot_succeed_is_not_tried_again(error: ProviderError) -> None:
    first, second = FakeProvider("first", results=[error]), FakeProvider("second")
    async with call(Client(first, second)) as (session, _):
        await session.ready()
        assert session.provider == "second"
    assert first.attempts == 1


async def test_what_may_pass_is_tried_once_more() -> None:
    first, second = FakeProvider("first", results=[BROKEN, None]), FakeProvider("second")
    async with call(Client(first, second)) as (session, events):
        await session.ready()
        assert session.provider == "first"
    assert (first.attempts, second.attempts) == (2, 0)
    assert events.kinds == ["ProviderWarning", "SessionReady", "SessionClosed"]


async def test_all_fail_and_each_failure_is_kept() -> None:
    client = Client(
        FakeProvider("first", results=[DENIED]), FakeProvider("second", results=[InvalidConfigError("bad")])
    )
    async with call(client) as (session, events):
        with pytest.raises(ProviderUnavailableError):
            await session.ready()
        session.send_audio(b"x")
        session.send(CommitTurn())
    assert events.kinds == ["ProviderWarning", "ProviderWarning", "SessionClosed"]
    (closed,) = events.of(SessionClosed)
    assert isinstance(closed.error, ProviderUnavailableError)
    assert [type(error) for error in closed.error.attempts] == [AuthenticationFailedError, InvalidConfigError]


async def test_connect_waits_for_a_provider_or_raises_what_went_wrong() -> None:
    events = Events()
    async with Client(FakeProvider("first", results=[DENIED]), FakeProvider("second")).connect(
        CONFIG, events
    ) as session:
        assert session.provider == "second"
        assert session.input_format == PCM16_24K
    assert events.kinds == ["ProviderWarning", "SessionReady", "SessionClosed"]

    events = Events()
    with pytest.raises(AuthenticationFailedError) as caught:
        async with Client(FakeProvider("first", results=[DENIED])).connect(CONFIG, events):
            pytest.fail("nobody took it")
    assert caught.value.attempts == (DENIED,)
    assert events.kinds == ["ProviderWarning"], "as with any provider: no session, no end of one"


async def test_a_client_is_a_provider() -> None:
    inner = Client(FakeProvider("first", results=[DENIED]), FakeProvider("second", results=[DENIED]))
    last = FakeProvider("third", MULAW_8K)
    async with call(Client(inner, last)) as (session, events):
        await session.ready()
        assert session.provider == "third"
    assert events.kinds == ["ProviderWarning"] * 3 + ["SessionReady", "SessionClosed"]


async def test_an_adapter_that_breaks_is_a_failed_attempt(caplog: pytest.LogCaptureFixture) -> None:
    first = FakeProvider("first", results=[ZeroDivisionError("a bug")])
    odd = FakeProvider("odd", AudioFormat(Encoding.PCM16, 48000))
    last = FakeProvider("last")
    async with call(Client(first, odd, last), leg=PCM16_24K) as (session, events):
        await session.ready()
        assert session.provider == "last"
    assert [warning.code for warning in events.of(ProviderWarning)] == ["attempt_failed", "attempt_failed"]
    assert odd.open == 0
    assert "a bug" in caplog.text


async def test_attempts_have_deadlines_one_by_one_and_together() -> None:
    hanging = [FakeProvider(name, hangs=True) for name in ("first", "second", "third")]
    client = Client(*hanging, attempt_seconds=0.4, total_seconds=0.7)
    async with lateness() as late:
        began = time.monotonic()
        async with call(client) as (_, events):
            closed = await events.until(SessionClosed)
        assert 0.65 < time.monotonic() - began < 1.0 + late.lost
    assert closed.error is not None
    assert [error.code for error in closed.error.attempts] == ["attempt_timeout", "attempt_timeout", "no_time"]
    assert [provider.attempts for provider in hanging] == [1, 1, 0]
    assert [warning.code for warning in events.of(ProviderWarning)][-1] == "provider_skipped"


async def test_a_provider_that_keeps_failing_is_left_alone_by_all_calls() -> None:
    first, second = FakeProvider("first", results=[BROKEN]), FakeProvider("second")
    client = Client(first, second)
    for _ in range(20):
        async with call(client) as (session, events):
            await session.ready()
            assert session.provider == "second"
    assert first.attempts == FAILURES
    assert events.all[0] == ProviderWarning(
        "provider_skipped", "first: left alone for a while: it keeps failing [circuit_open]"
    )


async def test_a_bad_key_is_tried_once() -> None:
    first, second = FakeProvider("first", results=[DENIED]), FakeProvider("second")
    client = Client(first, second)
    for _ in range(5):
        async with call(client) as (session, _):
            await session.ready()
    assert first.attempts == 1


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_a_provider_that_dies_ends_the_session() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with call(Client(provider, recovers=False)) as (session, events):
        await session.ready()
        provider.session.end(BROKEN)
        assert events.all[-1] == SessionClosed(BROKEN)
        provider.session.tell(AudioChunk(b"late"))
        session.send_audio(b"x")
        session.send(CommitTurn())
        session.pause()
        session.resume()
        await turns(10)
        assert not provider.open
    assert events.kinds == ["SessionReady", "SessionClosed"]
    assert not provider.session.told


async def test_a_death_that_lasts_counts_for_all() -> None:
    provider = FakeProvider("first")
    client = Client(provider, recovers=False)
    async with call(client) as (session, _):
        await session.ready()
        provider.session.end(DENIED)
    async with call(client) as (session, _):
        with pytest.raises(ProviderUnavailableError, match="left alone"):
            await session.ready()


async def test_r05_a_blip_that_breaks_fifty_connections_ends_no_call() -> None:
    provider = FakeProvider("first", MULAW_8K)
    client = Client(provider)
    async with AsyncExitStack() as stack:
        calls = []
        for _ in range(50):
            session, events = await stack.enter_async_context(call(client))
            await session.ready()
            calls.append(events)
        for fake in list(provider.sessions):
            fake.end(BROKEN)
        for events in calls:
            await events.until(SessionReady, 2)
        assert client.breakers[0].state(asyncio.get_running_loop().time()) == "closed"


async def test_r05_a_call_that_was_up_tries_a_provider_that_new_calls_leave_alone() -> None:
    provider = FakeProvider("first", MULAW_8K)
    client = Client(provider)
    async with call(client) as (session, events):
        await session.ready()
        for _ in range(FAILURES):
            client.breakers[0].failed(None, BROKEN, asyncio.get_running_loop().time(), 0.5)
        async with call(client) as (new, _):
            with pytest.raises(ProviderUnavailableError, match="left alone"):
                await new.ready()
        provider.session.end(BROKEN)
        await events.until(SessionReady, 2)


async def test_a_provider_that_dies_while_it_is_told_what_was_kept() -> None:
    provider = FakeProvider("first", MULAW_8K)

    def sink(event: Event) -> None:
        events(event)
        if isinstance(event, SessionReady):
            provider.session.end(BROKEN)

    events = Events()
    async with Client(provider, recovers=False).session(CONFIG, sink) as session:
        session.send_audio(b"kept")
        await events.until(SessionClosed)
    assert events.kinds == ["SessionReady", "SessionClosed"]
    assert not provider.session.told


async def test_ending_before_anybody_was_ready() -> None:
    provider = FakeProvider("first", hangs=True)
    async with call(Client(provider)) as (session, events):
        session.send_audio(b"x")
        await turns(5)
        assert provider.open == 1
    assert events.all == [SessionClosed()]
    assert provider.open == 0
    with pytest.raises(ProviderError):
        await session.ready()


async def test_closing_the_client_ends_its_sessions() -> None:
    up, coming = FakeProvider("up"), FakeProvider("coming", hangs=True)
    client, other = Client(up), Client(coming)
    async with call(client) as (session, events), call(other) as (_, none):
        await session.ready()
        await client.close()
        await other.close()
        await turns(10)
        assert events.all[-1] == SessionClosed()
        assert none.all == [SessionClosed()]
        assert up.closed
        assert up.open == coming.open == 0


async def test_a_sink_that_raises_ends_the_session_and_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    provider = FakeProvider("first")
    seen = Events()

    def sink(event: Event) -> None:
        seen(event)
        if isinstance(event, SessionReady):
            raise ZeroDivisionError("in the sink")

    async with Client(provider).session(CONFIG, sink):
        closed = await seen.until(SessionClosed)
    assert isinstance(closed.error, ProviderUnavailableError)
    assert provider.open == 0
    assert "in the sink" in caplog.text


async def test_the_bodys_exception_is_its_own() -> None:
    provider = FakeProvider("first")
    with pytest.raises(LookupError):  # noqa: PT012 - the exception comes from within the body
        async with call(Client(provider)) as (session, _):
            await session.ready()
            raise LookupError
    assert provider.open == 0
    assert not tasks()


def test_a_client_of_nobody() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Client()
    assert repr(Client(FakeProvider("a"), FakeProvider("b"))) == "Client(a, b)"


# --- bounds -----------------------------------------------------------------------------------------------------------


async def test_what_is_kept_is_bounded_and_that_is_said() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with call(Client(provider, keep_seconds=0.1)) as (session, events):
        words = speech(300)
        for frame in frames(words):
            session.send_audio(frame)
        for _ in range(COMMANDS + 1):
            session.send(CancelResponse())
        await session.ready()
        assert provider.session.heard == words[-800:]
        assert len(provider.session.commands) == COMMANDS
        assert [warning.code for warning in events.of(ProviderWarning)] == ["command_dropped", "audio_dropped"]


# --- cancellation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["session", "connect"])
@pytest.mark.parametrize(
    "results", [(None,), (DENIED, None), (InvalidConfigError("x"),)], ids=["works", "second", "fails"]
)
async def test_cancelled_anywhere_nothing_leaks(way: str, results: tuple[Exception | None, ...]) -> None:
    providers = [
        FakeProvider(f"p{index}", steps=3, results=[result]) for index, result in enumerate([*results, results[-1]])
    ]
    ends: list[Events] = []

    async def work() -> None:
        client = Client(*providers)
        ends.append(Events())
        connect = client.session if way == "session" else client.connect
        try:
            async with connect(CONFIG, ends[-1]) as session:
                await session.ready()
                session.send_audio(b"abcd")
                await turns(3)
        except ProviderError:
            pass

    async def check() -> None:
        assert [provider.open for provider in providers] == [0] * len(providers)
        kinds = ends[-1].kinds if ends else []
        assert kinds.count("SessionClosed") <= 1
        assert "SessionClosed" not in kinds[:-1]
        if "SessionReady" in kinds:
            assert kinds[-1] == "SessionClosed"

    assert await cancel_everywhere(work, check) > 10


async def test_a_cancelled_probe_lets_the_next_call_probe() -> None:
    first, second = FakeProvider("first", results=[DENIED]), FakeProvider("second")
    client = Client(first, second)
    async with call(client) as (session, _):
        await session.ready()
    breaker = client.breakers[0]
    breaker._open_until = asyncio.get_running_loop().time()  # as if a quarter of an hour had passed
    first.hangs = True
    async with call(client):
        await turns(5)
        assert first.attempts == 2
        assert breaker.admit(asyncio.get_running_loop().time()) is None, "one at a time"
    assert breaker.admits(asyncio.get_running_loop().time())


# --- figures of the reliability goals, over real sockets --------------------------------------------------------------


async def until_ready(*providers: Any, **options: Any) -> tuple[float, Events]:
    events = Events()
    began = time.monotonic()
    async with Client(*providers, **options).session(CONFIG, events) as session:
        await session.ready()
        return time.monotonic() - began, events


async def test_r01_a_refused_key_costs_no_time_and_no_second_try() -> None:
    async with ProviderServer(refuse=401) as refusing, ProviderServer() as working:
        client = Client(refusing.provider("first"), working.provider("second"))
        for number in range(3):
            events = Events()
            async with lateness() as late, client.session(CONFIG, events) as session:
                began = time.monotonic()
                await session.ready()
                assert time.monotonic() - began < 0.5 + late.lost
                assert session.provider == "second"
            warning = events.of(ProviderWarning)[0]
            assert warning.code == ("provider_skipped" if number else "attempt_failed")
        assert len(refusing.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_r02_an_outage_costs_few_attempts(status: int) -> None:
    calls = 300
    async with ProviderServer(refuse=status, headers={"Retry-After": "0.2"}) as down, ProviderServer() as working:
        client = Client(down.provider("first"), working.provider("second"))
        for _ in range(calls // 10):

            async def one() -> None:
                async with client.session(CONFIG, Events()) as session:
                    await session.ready()
                    assert session.provider == "second"

            async with asyncio.TaskGroup() as group:
                for _ in range(10):
                    group.create_task(one(), name="call")
        assert len(down.requests) <= 30, "the circuit opened during the first calls"
        assert len(working.visits) == calls


@pytest.mark.parametrize("hangs", ["tcp", "handshake"])
async def test_r03_a_black_hole_costs_two_seconds(hangs: str) -> None:
    with black_hole() as hole:
        async with mute_server() as mute, ProviderServer() as working:
            first = web_socket_provider(hole if hangs == "tcp" else mute, "first")
            seconds, events = await until_ready(first, working.provider("second"))
    assert seconds < 2.5
    assert events.of(SessionReady)[0].provider == "second"


async def test_r04_a_name_that_is_not_found_goes_to_the_next() -> None:
    async with ProviderServer() as working:
        first = web_socket_provider("ws://nowhere.invalid:9/", "first")
        seconds, events = await until_ready(first, working.provider("second"))
    assert seconds < 2.5
    assert events.of(SessionReady)[0].provider == "second"


async def test_r09_all_down_is_known_in_time() -> None:
    with black_hole() as hole:
        async with ProviderServer(refuse=503) as busy:
            client = Client(web_socket_provider(hole, "first"), busy.provider("second"))
            began = time.monotonic()
            async with call(client) as (_, events):
                closed = await events.until(SessionClosed)
    assert time.monotonic() - began < 5
    assert closed.error is not None
    assert [type(error) for error in closed.error.attempts][:2] == [ConnectionFailedError, ProviderUnavailableError]


async def test_every_word_arrives_over_real_sockets_while_the_first_one_fails() -> None:
    async with ProviderServer(refuse=503) as busy, ProviderServer() as working:
        client = Client(busy.provider("first", PCM16_24K), working.provider("second", PCM16_16K))
        words = speech(3000)
        async with call(client) as (session, _):
            for frame in frames(words):
                session.send_audio(frame)
                await asyncio.sleep(0.0005)
            await session.ready()
            expected = Converter(MULAW_8K, PCM16_16K).feed(words)
            await working.until(lambda: len(working.visit.heard) >= len(expected))
            assert working.visit.heard == expected
