"""Every fault of the simulated servers, met by every member of OpenAI's family over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from fakes import Events, tasks

from tandem.simulators.azure import AzureSimulator
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_compatible import OpenAICompatibleSimulator
from tandem.simulators.xai import XAISimulator
from tandem_codecs.format import MULAW_8K, PCM16_24K
from tandem_providers.azure import AzureOptions
from tandem_providers.commands import Purpose, Say
from tandem_providers.config import ProcessConfig
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
    ResumeHandle,
    SessionClosed,
    SessionReady,
    TurnEnded,
    TurnStarted,
)
from tandem_providers.openai import OpenAIOptions, OpenAIProtocol, capabilities
from tandem_providers.openai_compatible import OpenAICompatibleOptions
from tandem_providers.openai_profile import RealtimeOptions
from tandem_providers.provider import HistoryTurn, Opening
from tandem_providers.session import WebSocketProvider
from tandem_providers.xai import XAIOptions

Made = AbstractAsyncContextManager[WebSocketProvider]
WORDS = Say(Purpose.GREETING, "Good day to you.")


def _provider(options: RealtimeOptions) -> WebSocketProvider:
    return WebSocketProvider(
        "it",
        capabilities(options, "it"),
        lambda config, leg, opening: OpenAIProtocol(options, config, leg, "it", opening),
        ready_seconds=1.0,
    )


@asynccontextmanager
async def openai(*faults: str) -> AsyncIterator[WebSocketProvider]:
    async with OpenAISimulator(faults=faults) as simulator:
        yield _provider(OpenAIOptions(api_key="k", url=simulator.url))


@asynccontextmanager
async def azure(*faults: str) -> AsyncIterator[WebSocketProvider]:
    async with AzureSimulator(faults=faults) as simulator:
        yield _provider(AzureOptions(simulator.endpoint, "phone", api_key="k"))


@asynccontextmanager
async def xai(*faults: str) -> AsyncIterator[WebSocketProvider]:
    async with XAISimulator(faults=faults) as simulator:
        yield _provider(XAIOptions(api_key="k", url=simulator.url))


@asynccontextmanager
async def compatible(*faults: str) -> AsyncIterator[WebSocketProvider]:
    async with OpenAICompatibleSimulator(faults=faults) as simulator:
        yield _provider(OpenAICompatibleOptions(simulator.url, input_rate=16000))


each_member = pytest.mark.parametrize("made", [openai, azure, xai, compatible], ids=lambda made: made.__name__)


@each_member
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("refuse=400", InvalidConfigError),
        ("refuse=401", AuthenticationFailedError),
        ("refuse=403", AuthenticationFailedError),
        ("refuse=404", InvalidConfigError),
        ("refuse=429", RateLimitedError),
        ("refuse=500", ProviderUnavailableError),
        ("refuse=503", ProviderUnavailableError),
        ("close-on-connect=1000", ConnectionFailedError),
        ("close-on-connect=1001", ConnectionFailedError),
        ("close-on-connect=1008", ProviderUnavailableError),
        ("close-on-connect=1011", ProviderUnavailableError),
        ("close-on-connect=1013", ProviderUnavailableError),
        ("close-on-connect=3000", AuthenticationFailedError),
        ("close-on-connect=4000", InvalidConfigError),
        ("invalid-key-late", AuthenticationFailedError),
        ("quota=connect", RateLimitedError),
    ],
)
async def test_a_session_that_never_begins(made: Callable[..., Made], fault: str, kind: type[ProviderError]) -> None:
    events = Events()
    async with made(fault) as provider:
        with pytest.raises(ProviderError) as failed:
            async with provider.connect(ProcessConfig(), events, leg=MULAW_8K):
                pytest.fail("it was let in")
    assert type(failed.value) is kind
    assert failed.value.provider == "it"
    assert getattr(failed.value, "exhausted", False) is (fault == "quota=connect")
    assert not events.of(SessionReady)
    assert not tasks()


@each_member
async def test_silence_is_no_session(made: Callable[..., Made]) -> None:
    async with made("silent") as provider:
        with pytest.raises(ProviderUnavailableError) as failed:
            async with provider.connect(ProcessConfig(), Events(), leg=MULAW_8K):
                pytest.fail("it was let in")
    assert failed.value.code == "ready_timeout"


@each_member
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("close-after-ready=1000", SessionClosedError),
        ("close-after-ready=1001", ConnectionFailedError),
        ("close-after-ready=1011", ProviderUnavailableError),
        ("close-after-ready=3000", AuthenticationFailedError),
        ("close-mid-response=1012", ProviderUnavailableError),
        ("cut", ConnectionFailedError),
        ("session-expired=0.1", SessionClosedError),
        ("quota=response", RateLimitedError),
        ("model-not-found", InvalidConfigError),
    ],
)
async def test_a_session_that_ends(made: Callable[..., Made], fault: str, kind: type[ProviderError]) -> None:
    events = Events()
    async with made(fault) as provider, provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
        session.send(WORDS)
        closed = await events.until(SessionClosed)
    assert type(closed.error) is kind
    assert events.all[-1] is closed
    assert events.kinds.count("SessionClosed") == 1
    if fault.startswith(("close-mid", "cut")):
        assert events.of(AudioChunk)


@each_member
@pytest.mark.parametrize(
    "fault",
    [
        "delay-ready=0.1",
        "burst",
        "odd-deltas",
        "unknown-events",
        "late-deltas",
        "duplicate-tool-calls",
        "bad-json",
        "transcription-failed",
    ],
)
async def test_faults_that_nobody_hears(made: Callable[..., Made], fault: str) -> None:
    events = Events()
    async with made(fault) as provider, provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
        session.send(WORDS)
        ended = await events.until(TurnEnded)
        spoken = session.output_format.milliseconds(len(events.audio()))
    assert ended.status == "completed"
    assert 900 < spoken < 1000
    assert len(events.of(ProviderWarning)) == (fault == "bad-json")


@each_member
async def test_one_bad_piece_of_audio_is_a_gap_and_no_more(made: Callable[..., Made]) -> None:
    events = Events()
    async with made("bad-base64") as provider, provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
        session.send(WORDS)
        ended = await events.until(TurnEnded)
    assert ended.status == "completed"
    assert [warning.code for warning in events.of(ProviderWarning)] == ["bad_audio"]


@each_member
async def test_a_response_that_fails_for_now_is_asked_for_once_more(made: Callable[..., Made]) -> None:
    events = Events()
    async with made("rate-limited-response") as provider:
        async with provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
            session.send(WORDS)
            ended = await events.until(TurnEnded)
            for _ in range(110):
                session.send_audio(session.input_format.silence(20))
            await events.until(TurnEnded, 2)
        assert not any(closed.error for closed in events.of(SessionClosed))
    assert (ended.status, ended.reason) == ("failed", "rate_limit_exceeded")


@each_member
async def test_a_response_that_vanished_does_not_keep_the_agent_silent(made: Callable[..., Made]) -> None:
    events = Events()
    async with made("vanish") as provider, provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
        session.send(WORDS)
        await events.until(TurnStarted)
        session.send(Say(Purpose.STILL_THERE, "Still there?"))
        for _ in range(1010):
            session.send_audio(session.input_format.silence(20))
        ended = await events.until(TurnEnded)
        again = await events.until(TurnEnded, 2)
    assert (ended.status, ended.reason) == ("incomplete", "dropped")
    assert again.status == "completed"
    assert events.audio()


@pytest.mark.parametrize("made", [openai, azure, xai], ids=lambda made: made.__name__)
async def test_another_format_than_asked_for_is_what_counts(made: Callable[..., Made]) -> None:
    events = Events()
    async with made("wrong-format") as provider, provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
        assert (session.input_format, session.output_format) == (MULAW_8K, PCM16_24K)
        session.send(WORDS)
        await events.until(TurnEnded)
        assert 900 < PCM16_24K.milliseconds(len(events.audio())) < 1000


@pytest.mark.parametrize("made", [azure, xai], ids=lambda made: made.__name__)
async def test_a_server_that_has_to_confirm_and_does_not_is_not_ready(made: Callable[..., Made]) -> None:
    async with made("unconfirmed") as provider:
        with pytest.raises(ProviderUnavailableError):
            async with provider.connect(ProcessConfig(), Events(), leg=MULAW_8K):
                pytest.fail("it was let in")


MEMBERS: list[tuple[type[OpenAISimulator], Callable[[Any], RealtimeOptions]]] = [
    (OpenAISimulator, lambda far: OpenAIOptions(api_key="k", url=far.url)),
    (AzureSimulator, lambda far: AzureOptions(far.endpoint, "phone", api_key="k")),
    (XAISimulator, lambda far: XAIOptions(api_key="k", url=far.url)),
    (OpenAICompatibleSimulator, lambda far: OpenAICompatibleOptions(far.url, input_rate=16000)),
]


@pytest.mark.parametrize(("far_end", "options"), MEMBERS, ids=["openai", "azure", "xai", "compatible"])
async def test_a_conversation_that_goes_on_is_remembered(
    far_end: type[OpenAISimulator], options: Callable[[Any], RealtimeOptions]
) -> None:
    opening = Opening((HistoryTurn("user", "I am Ada."), HistoryTurn("assistant", "Hello Ada.")))
    events = Events()
    async with far_end() as simulator:
        provider = _provider(options(simulator))
        async with provider.connect(ProcessConfig(), events, leg=MULAW_8K, opening=opening) as session:
            session.send(Say(Purpose.RESUME))
            await events.until(TurnEnded)
        engine = (await simulator.session(1)).engine
    assert engine is not None
    said = [(item.wire["role"], item.parts()[0].get("text")) for item in engine.conversation.items[:2]]
    assert said == [("user", "I am Ada."), ("assistant", "Hello Ada.")]


async def test_xai_goes_on_with_the_conversation_itself_and_without_it_by_its_memory() -> None:
    async def talk(opening: Opening) -> tuple[str, int]:
        events = Events()
        async with provider.connect(ProcessConfig(), events, leg=MULAW_8K, opening=opening) as session:
            session.send(WORDS)
            await events.until(TurnEnded)
            (handle,) = events.of(ResumeHandle)
        engine = (await simulator.session(len(simulator.sessions))).engine
        assert engine is not None
        return handle.handle, len(engine.conversation.items)

    history = (HistoryTurn("user", "I am Ada."), HistoryTurn("assistant", "Hello Ada."))
    async with XAISimulator(faults=["resume-refused*1"]) as simulator:
        provider = _provider(XAIOptions(api_key="k", url=simulator.url))
        refused, items = await talk(Opening(history, resume="conv_of_another_day"))
        assert items == 3
        resumed, items = await talk(Opening(history, resume=refused))
        assert (resumed, items) == (refused, 4)


def test_all_of_them_take_the_same_options_where_they_have_them() -> None:
    shared: dict[str, Any] = {"voice": "x", "turn_detection": "none", "speed": 1}
    for options in (
        OpenAIOptions(api_key="k", **shared),
        AzureOptions("https://h", "d", api_key="k", **shared),
        XAIOptions(api_key="k", **shared),
        OpenAICompatibleOptions("ws://h", **shared),
    ):
        made = OpenAIProtocol(options, ProcessConfig(), MULAW_8K, "it")
        assert made.capabilities.hears_turns is False
