"""The simple way in: the snippet of the README, slow readers, endless recordings, and every end."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes import Events, FakeProvider, FakeSession, ProviderServer, Visit, cancel_everywhere, tasks, turns

from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_24K
from tandem_providers import (
    AudioChunk,
    Client,
    ConnectionFailedError,
    Event,
    FunctionDeclaration,
    InvalidConfigError,
    ProcessConfig,
    SendText,
    SessionClosed,
    SessionReady,
    ToolCall,
    Transcript,
    TurnEnded,
    UserSpeechStarted,
)
from tandem_providers.stream import AHEAD_SECONDS, AUDIO_SECONDS, FEW_EVENTS, MOST_EVENTS, EventStream

CONFIG = ProcessConfig()
FRAME = bytes(PCM16_24K.frame_bytes)
BROKEN = ConnectionFailedError("broken")


async def silence() -> AsyncIterator[bytes]:
    """A microphone in a quiet room, for as long as anybody listens."""
    while True:
        yield FRAME
        await asyncio.sleep(0.001)


async def words(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_the_snippet() -> None:
    """As in the README, but for where the sound goes; the second provider takes over from the first."""

    async def answer(visit: Visit) -> None:
        await visit.hear()
        await visit.send("ready")
        await visit.send("tool", id="c1", name="time", arguments="{}")
        while not visit.of("result"):
            await visit.hear()
        await visit.say(b"\x01\x02" * 240)
        await visit.connection.close()

    def handle(name: str, arguments: Any) -> str:
        return f"{name}: noon"

    played: list[bytes] = []
    async with ProviderServer(refuse=401) as refusing, ProviderServer(answer) as answering:
        client = Client(refusing.provider("first"), answering.provider("second"))
        config = ProcessConfig(
            instructions="You are a helpful assistant.",
            functions=[FunctionDeclaration("time")],
            on_function_call=handle,
        )
        async with client.process_audio_stream(silence(), config) as stream:
            async for event in stream:
                match event:
                    case AudioChunk():
                        played.append(event.audio)
                    case Transcript():
                        pytest.fail("nobody said a word")
        await client.close()
        assert answering.visit.of("result")[0]["output"] == "time: noon"
    assert b"".join(played) == b"\x01\x02" * 240
    assert not tasks()


async def test_events_come_in_order_and_the_session_outlives_the_audio() -> None:
    provider = FakeProvider("fake")
    async with provider.process_audio_stream(words(b"ab", b"cd"), CONFIG) as stream:
        assert stream.provider == "fake"
        told: list[Event] = [UserSpeechStarted(), AudioChunk(b"xy"), TurnEnded("t", "completed")]
        assert isinstance(await anext(stream), SessionReady)
        await turns(5)
        assert provider.session.heard == b"abcd"
        for event in told:
            provider.session.tell(event)
        assert [await anext(stream) for _ in told] == told
        stream.send(SendText("hello"))
        assert provider.session.commands == [SendText("hello")]
        provider.session.end()
        assert await anext(stream) == SessionClosed()
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        provider.session.tell(UserSpeechStarted())
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert provider.open == 0


async def test_audio_is_linear_24_khz_whatever_the_provider_speaks() -> None:
    provider = FakeProvider("fake", MULAW_8K)
    speech = array("h", range(-4800, 4800)).tobytes()
    async with provider.process_audio_stream(words(speech[:1001], speech[1001:]), CONFIG) as stream:
        ready = await anext(stream)
        assert isinstance(ready, SessionReady)
        assert (ready.input_format, ready.output_format) == (PCM16_24K, PCM16_24K)
        await turns(5)
        assert provider.session.heard == Converter(PCM16_24K, MULAW_8K).feed(speech)
        provider.session.tell(AudioChunk(b"\x10" * 80, is_final=True))
        chunk = await anext(stream)
        assert isinstance(chunk, AudioChunk)
        back = Converter(MULAW_8K, PCM16_24K)
        assert chunk.audio == back.feed(b"\x10" * 80) + back.flush()


async def test_the_error_that_ended_the_session_is_raised_after_its_events() -> None:
    provider = FakeProvider("fake")
    seen = Events()
    with pytest.raises(ConnectionFailedError):  # noqa: PT012 - the iteration raises, with a body around it
        async with provider.process_audio_stream(silence(), CONFIG) as stream:
            provider.session.tell(UserSpeechStarted())
            provider.session.end(BROKEN)
            async for event in stream:
                seen(event)
    assert seen.kinds == ["SessionReady", "UserSpeechStarted", "SessionClosed"]
    assert provider.open == 0


async def test_audio_that_raises_ends_the_iteration_with_its_error() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield FRAME
        raise LookupError("no microphone")

    provider = FakeProvider("fake")
    seen = Events()
    async with provider.process_audio_stream(broken(), CONFIG) as stream:
        with pytest.raises(LookupError, match="no microphone"):  # noqa: PT012 - the iteration raises
            async for event in stream:
                seen(event)
    assert seen.kinds == ["SessionReady"]
    assert provider.session.heard == FRAME
    assert provider.open == 0


async def test_leaving_the_body_stops_the_microphone() -> None:
    stopped: list[bool] = []

    async def microphone() -> AsyncIterator[bytes]:
        try:
            async for frame in silence():
                yield frame
        finally:
            stopped.append(True)

    provider = FakeProvider("fake")
    async with provider.process_audio_stream(microphone(), CONFIG) as stream:
        await anext(stream)
        await turns(3)
    assert stopped
    assert provider.open == 0
    assert not tasks()


async def test_when_the_session_is_over_no_more_audio_is_asked_for() -> None:
    asked: list[int] = []

    async def microphone() -> AsyncIterator[bytes]:
        for number in range(1000):
            asked.append(number)
            yield FRAME
            await asyncio.sleep(0)

    provider = FakeProvider("fake")
    async with provider.process_audio_stream(microphone(), CONFIG):
        await turns(5)
        provider.session.end()
        so_far = len(asked)
        await turns(20)
        assert len(asked) <= so_far + 1


async def test_a_session_that_cannot_be_had_raises_on_entering() -> None:
    provider = FakeProvider("fake", results=[InvalidConfigError("no such voice")])
    with pytest.raises(InvalidConfigError):
        async with provider.process_audio_stream(silence(), CONFIG):
            pytest.fail("there is no session")


async def test_a_recording_is_read_about_as_fast_as_it_was_spoken() -> None:
    second = bytes(PCM16_24K.size(1000))
    provider = FakeProvider("fake")
    async with provider.process_audio_stream(words(*[second] * 60), CONFIG):
        await turns(200)
        assert AHEAD_SECONDS <= len(provider.session.told) <= AHEAD_SECONDS + 2


# --- slow readers -----------------------------------------------------------------------------------------------------


def stream_of() -> tuple[EventStream, FakeProvider]:
    provider = FakeProvider("fake")
    session = FakeSession(provider, Events())
    provider.sessions.append(session)
    return EventStream(session, PCM16_24K), provider


async def drained(stream: EventStream) -> list[Event]:
    events = []
    while stream.waiting:
        events.append(await anext(stream))
    return events


async def test_a_slow_reader_loses_the_oldest_audio_and_nothing_else() -> None:
    stream, _ = stream_of()
    second = bytes(PCM16_24K.size(1000))
    stream.receive(UserSpeechStarted("0"))
    for number in range(AUDIO_SECONDS + 3):
        stream.receive(AudioChunk(second, item_id=str(number), is_final=number == 1))
        stream.receive(ToolCall(str(number), "f", "{}"))
    events = await drained(stream)
    audio = [event for event in events if isinstance(event, AudioChunk)]
    assert [chunk.item_id for chunk in audio if chunk.audio] == [str(n) for n in range(3, AUDIO_SECONDS + 3)]
    assert [chunk for chunk in audio if not chunk.audio] == [AudioChunk(b"", is_final=True, item_id="1")]
    assert [event.call_id for event in events if isinstance(event, ToolCall)] == [
        str(n) for n in range(AUDIO_SECONDS + 3)
    ]
    assert events[0] == UserSpeechStarted("0")
    assert stream.dropped_audio_ms == 3000
    assert events.index(AudioChunk(second, item_id="3")) == events.index(ToolCall("3", "f", "{}")) - 1
    stream.receive(AudioChunk(second, item_id="new"))
    assert await drained(stream) == [AudioChunk(second, item_id="new")]
    assert stream.dropped_audio_ms == 3000


async def test_with_too_many_events_the_provider_is_not_read_for_a_while() -> None:
    stream, provider = stream_of()
    for _ in range(MOST_EVENTS):
        stream.receive(UserSpeechStarted())
    assert provider.session.pauses == []
    for _ in range(2):
        stream.receive(UserSpeechStarted())
    assert provider.session.pauses == [True]
    while stream.waiting > FEW_EVENTS:
        assert provider.session.pauses == [True]
        await anext(stream)
    assert provider.session.pauses == [True, False]


# --- cancellation -----------------------------------------------------------------------------------------------------


async def test_cancelled_anywhere_nothing_leaks() -> None:
    providers = [FakeProvider("first", steps=2, results=[InvalidConfigError("x")]), FakeProvider("second", steps=2)]

    async def work() -> None:
        count = 0
        async with Client(*providers).process_audio_stream(silence(), CONFIG) as stream:
            async for _ in stream:
                count += 1
                providers[1].session.tell(UserSpeechStarted())
                if count == 4:
                    break

    async def check() -> None:
        assert [provider.open for provider in providers] == [0, 0]

    assert await cancel_everywhere(work, check) > 5
