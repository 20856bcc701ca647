"""What any provider promises, whoever it is: the same tests for each, with the vendor's far end simulated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from fakes import Events, ProviderServer, tasks

from tandem.simulators.azure import AzureSimulator
from tandem.simulators.deepgram import DeepgramSimulator
from tandem.simulators.elevenlabs import ElevenLabsSimulator
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_compatible import OpenAICompatibleSimulator
from tandem.simulators.openai_live import OpenAILiveSimulator
from tandem.simulators.xai import XAISimulator
from tandem_codecs.format import MULAW_8K, PCM16_24K, AudioFormat, Encoding
from tandem_codecs.level import is_loud
from tandem_providers.client import Client
from tandem_providers.commands import (
    CancelResponse,
    Command,
    CommitTurn,
    PlaybackReport,
    Purpose,
    Say,
    SendDtmf,
    SendText,
    ToolResult,
)
from tandem_providers.config import ProcessConfig
from tandem_providers.echo import Echo
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import (
    AudioChunk,
    Event,
    SessionClosed,
    SessionReady,
    Transcript,
    TurnEnded,
    TurnStarted,
)
from tandem_providers.provider import Provider
from tandem_providers.table import (
    AzureRealtime,
    DeepgramAgent,
    ElevenLabsAgent,
    OpenAICompatible,
    OpenAILive,
    OpenAIRealtime,
    XAIRealtime,
)

Given = AbstractAsyncContextManager[Provider]
CONFIG = ProcessConfig()
COMMANDS: list[Command] = [
    *(Say(purpose) for purpose in Purpose if purpose is not Purpose.RESUME),
    Say(Purpose.GREETING, "Good day."),
    SendText("hello"),
    SendText("the caller is in Bonn", role="system", respond=False),
    SendDtmf("#"),
    CommitTurn(),
    CancelResponse(),
    PlaybackReport("nobody", "t", 0, 100, 200),
    ToolResult("nobody", "{}"),
]


@asynccontextmanager
async def openai() -> AsyncIterator[Provider]:
    async with OpenAISimulator() as simulator:
        yield OpenAIRealtime(api_key="key", url=simulator.url)


@asynccontextmanager
async def openai_live() -> AsyncIterator[Provider]:
    async with OpenAILiveSimulator(pace=20.0) as simulator:
        yield OpenAILive(api_key="key", url=simulator.url)


@asynccontextmanager
async def azure() -> AsyncIterator[Provider]:
    async with AzureSimulator(key="key", deployment="phone") as simulator:
        yield AzureRealtime(api_key="key", endpoint=simulator.endpoint, deployment="phone")


@asynccontextmanager
async def xai() -> AsyncIterator[Provider]:
    async with XAISimulator() as simulator:
        yield XAIRealtime(api_key="key", url=simulator.url)


@asynccontextmanager
async def openai_compatible() -> AsyncIterator[Provider]:
    async with OpenAICompatibleSimulator() as simulator:
        yield OpenAICompatible(url=simulator.url, input_rate=16000)


@asynccontextmanager
async def deepgram() -> AsyncIterator[Provider]:
    async with DeepgramSimulator(key="key") as simulator:
        yield DeepgramAgent(api_key="key", url=simulator.url)


@asynccontextmanager
async def elevenlabs() -> AsyncIterator[Provider]:
    async with ElevenLabsSimulator(key="key", agent_id="agent") as simulator:
        # Left alone, an agent of this vendor's greets before it is asked to.
        yield ElevenLabsAgent(agent_id="agent", api_key="key", url=simulator.url, first_message="none")


@asynccontextmanager
async def echo() -> AsyncIterator[Provider]:
    yield Echo()


@asynccontextmanager
async def openai_behind_a_client() -> AsyncIterator[Provider]:
    async with ProviderServer(refuse=401) as refusing, openai() as working:
        yield Client(refusing.provider("first"), working)


@asynccontextmanager
async def echo_in_a_client_in_a_client() -> AsyncIterator[Provider]:
    yield Client(Client(Echo()))


PROVIDERS = [
    openai,
    openai_live,
    azure,
    xai,
    openai_compatible,
    deepgram,
    elevenlabs,
    echo,
    openai_behind_a_client,
    echo_in_a_client_in_a_client,
]


def has_spoken(event: Event, provider: Provider) -> bool:
    """The agent has come to the end of what it was to say; without turns, of its words."""
    if provider.capabilities.turn_model == "duplex":
        return isinstance(event, Transcript) and event.is_final and not event.is_input
    return isinstance(event, TurnEnded)


async def spoken(events: Events, provider: Provider) -> None:
    """Wait for that."""
    if provider.capabilities.turn_model != "duplex":
        await events.until(TurnEnded)
    while not any(has_spoken(event, provider) for event in events.all):
        await events.until(Transcript, len(events.of(Transcript)) + 1)


each_provider = pytest.mark.parametrize("given", PROVIDERS, ids=lambda given: given.__name__)


@each_provider
async def test_a_session_begins_ready_and_ends_closed_and_speaks_its_format(given: Callable[[], Given]) -> None:
    events = Events()
    async with given() as provider:
        async with provider.connect(CONFIG, events, leg=MULAW_8K) as session:
            ready = await events.until(SessionReady)
            assert (ready.input_format, ready.output_format) == (session.input_format, session.output_format)
            assert ready.provider == session.provider
            session.send(Say(Purpose.GREETING))
            await spoken(events, provider)
        count = len(events.all)
        session.send_audio(bytes(160))
        for command in COMMANDS:
            session.send(command)
        session.pause()
        session.resume()
        await asyncio.sleep(0)
        assert len(events.all) == count, "nothing after the end"
        await provider.close()
    assert not [event for event in events.all[: events.all.index(ready)] if isinstance(event, AudioChunk)]
    assert events.kinds.count("SessionReady") == events.kinds.count("SessionClosed") == 1
    assert events.all[-1] == SessionClosed()
    if provider.capabilities.turn_model != "duplex":
        (ended,) = events.of(TurnEnded)
        assert ended.status == "completed"
        assert ended.turn_id == events.of(TurnStarted)[0].turn_id
        assert events.of(AudioChunk)[-1].is_final
    assert session.output_format.milliseconds(len(events.audio())) > 100
    assert not tasks()


@each_provider
async def test_every_command_is_taken_at_any_time(given: Callable[[], Given]) -> None:
    events = Events()
    async with given() as provider, provider.connect(CONFIG, events) as session:
        silence = session.input_format.silence(20)
        for command in [*COMMANDS, *reversed(COMMANDS)]:
            session.send(command)
            session.send_audio(silence)
        session.send_audio(silence[:1])
        session.send_audio(b"")
        session.pause()
        session.resume()
        await spoken(events, provider)
        assert not events.of(SessionClosed)


@pytest.mark.parametrize(
    "given",
    [
        openai,
        openai_live,
        azure,
        xai,
        openai_compatible,
        deepgram,
        elevenlabs,
        echo,
    ],
    ids=lambda given: given.__name__,
)
async def test_going_on_after_a_break_is_understood(given: Callable[[], Given]) -> None:
    events = Events()
    async with given() as provider, provider.connect(CONFIG, events) as session:
        session.send(Say(Purpose.RESUME))
        await spoken(events, provider)


@each_provider
async def test_what_is_not_honoured_is_refused_before_anything_happens(given: Callable[[], Given]) -> None:
    events = Events()
    async with given() as provider:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - what it must be is said below
            async with provider.connect(ProcessConfig(extensions={"no such thing": 1}), events):
                pytest.fail("it was ignored")
    error = caught.value
    reasons = [error, *getattr(error, "attempts", ())]
    assert any(isinstance(reason, InvalidConfigError) and "no such thing" in str(reason) for reason in reasons)
    assert not events.of(SessionReady)
    assert not tasks()


@each_provider
async def test_the_simple_way_in(given: Callable[[], Given]) -> None:
    async def microphone() -> AsyncIterator[bytes]:
        while True:
            yield PCM16_24K.silence(20)
            await asyncio.sleep(0.02)

    heard = 0
    async with given() as provider, provider.process_audio_stream(microphone(), CONFIG) as stream:
        async for event in stream:
            if isinstance(event, SessionReady):
                assert event.output_format == PCM16_24K
                stream_send(stream, Say(Purpose.GREETING))
            elif isinstance(event, AudioChunk):
                heard += len(event.audio)
            elif has_spoken(event, provider):
                break
    assert PCM16_24K.milliseconds(heard) > 100
    assert not tasks()


def stream_send(stream: Any, command: Command) -> None:
    """All streams of ours can be told something, though the protocol does not ask for it."""
    stream.send(command)


@each_provider
async def test_two_sessions_at_once_know_nothing_of_each_other(given: Callable[[], Given]) -> None:
    one, other = Events(), Events()
    async with given() as provider:
        async with provider.connect(CONFIG, one) as session, provider.connect(CONFIG, other) as silent:
            session.send(Say(Purpose.GREETING))
            await spoken(one, provider)
            assert silent is not session
        assert not is_loud(other.audio(), PCM16_24K)


@each_provider
def test_formats_are_ones_that_we_convert(given: Callable[[], Given]) -> None:
    async def look() -> None:
        async with given() as provider:
            can = provider.capabilities
            for spoken in (*can.input_formats, *can.output_formats):
                assert isinstance(spoken, AudioFormat)
                assert spoken.rate in (8000, 16000, 24000)
                assert spoken.encoding in Encoding

    asyncio.run(look())
