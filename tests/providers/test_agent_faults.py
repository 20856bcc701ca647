"""Everything that can go wrong with a simulated agent, and how each ends for the one who uses the session."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Events, tasks
from sounds import hum, silence

from tandem.simulators.deepgram import DeepgramSimulator
from tandem.simulators.elevenlabs import ElevenLabsSimulator
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem_codecs.format import MULAW_8K, PCM16_24K, AudioFormat
from tandem_providers.client import Client
from tandem_providers.commands import Purpose, Say
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
    ProviderLost,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    ToolCall,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStopped,
)
from tandem_providers.session import WebSocketProvider
from tandem_providers.table import DeepgramAgent, ElevenLabsAgent, OpenAIRealtime

SIMULATORS: dict[str, type[OpenAISimulator]] = {"deepgram": DeepgramSimulator, "elevenlabs": ElevenLabsSimulator}
each = pytest.mark.parametrize("vendor", SIMULATORS)
CONFIG = ProcessConfig()


def simulator(vendor: str, *faults: str, **options: Any) -> OpenAISimulator:
    return SIMULATORS[vendor](faults=faults, **{"seconds": 1.0, **options})


def provider(vendor: str, url: str, **options: Any) -> WebSocketProvider:
    if vendor == "deepgram":
        return DeepgramAgent(api_key="key", url=url, **options)
    return ElevenLabsAgent(agent_id="agent", api_key="key", url=url, first_message="none", **options)


NEVER_READY: list[tuple[str, type[ProviderError]]] = [
    ("refuse=400", InvalidConfigError),
    ("refuse=401", AuthenticationFailedError),
    ("refuse=403", AuthenticationFailedError),
    ("refuse=404", InvalidConfigError),
    ("refuse=429", RateLimitedError),
    ("refuse=500", ProviderUnavailableError),
    ("refuse=503", ProviderUnavailableError),
    ("close-on-connect=1000", ConnectionFailedError),
    ("close-on-connect=1001", ConnectionFailedError),
    ("close-on-connect=1008", InvalidConfigError),
    ("close-on-connect=1011", ProviderUnavailableError),
    ("close-on-connect=1012", ProviderUnavailableError),
    ("close-on-connect=1013", ProviderUnavailableError),
    ("invalid-key-late", AuthenticationFailedError),
    ("quota=connect", RateLimitedError),
    ("refuse-field=agent.first_message", InvalidConfigError),
]


@each
@pytest.mark.parametrize(("fault", "kind"), NEVER_READY, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_keeps_a_session_from_getting_ready(vendor: str, fault: str, kind: type[ProviderError]) -> None:
    events = Events()
    async with simulator(vendor, fault) as simulated:
        with pytest.raises(kind) as caught:
            async with provider(vendor, simulated.url).connect(CONFIG, events, leg=MULAW_8K):
                pytest.fail("it was ready")
    assert type(caught.value) is kind
    assert caught.value.provider == vendor
    assert not events.of(SessionReady)
    assert not events.of(SessionClosed)
    if fault == "quota=connect":
        assert isinstance(caught.value, RateLimitedError)
        assert caught.value.exhausted
    assert not tasks()


@each
@pytest.mark.parametrize("fault", ["silent", "hang-connect", "delay-ready=9"])
async def test_what_takes_too_long(vendor: str, fault: str) -> None:
    async with simulator(vendor, fault) as simulated:
        impatient = provider(vendor, simulated.url)
        impatient._ready_seconds = impatient._connect_seconds = 0.2
        with pytest.raises(ProviderUnavailableError if fault != "hang-connect" else ConnectionFailedError):
            async with impatient.connect(CONFIG, Events()):
                pytest.fail("it was ready")


ENDED: list[tuple[str, type[ProviderError], type[ProviderError]]] = [
    # fault, how it ends with Deepgram, and with ElevenLabs
    ("close-after-ready=1001", ConnectionFailedError, ConnectionFailedError),
    ("close-after-ready=1008", SessionClosedError, SessionClosedError),
    ("close-after-ready=1011", ProviderUnavailableError, ProviderUnavailableError),
    ("close-after-ready=1013", ProviderUnavailableError, ProviderUnavailableError),
    ("close-mid-response=1011", ProviderUnavailableError, ProviderUnavailableError),
    ("cut", ConnectionFailedError, ConnectionFailedError),
    ("session-expired=0.1", SessionClosedError, SessionClosedError),
    ("quota", RateLimitedError, RateLimitedError),
    ("rate-limited-response", RateLimitedError, RateLimitedError),
]


@each
@pytest.mark.parametrize("case", ENDED, ids=lambda case: case[0])
async def test_what_ends_a_session(vendor: str, case: tuple[str, type[ProviderError], type[ProviderError]]) -> None:
    fault, *kinds = case
    events = Events()
    async with simulator(vendor, fault) as simulated:
        async with provider(vendor, simulated.url).connect(CONFIG, events, leg=MULAW_8K) as session:
            session.send(Say(Purpose.GREETING))
            closed = await events.until(SessionClosed)
        assert type(closed.error) is kinds[list(SIMULATORS).index(vendor)]
    assert events.all[-1] is closed
    assert len(events.of(SessionReady)) == len(events.of(SessionClosed)) == 1
    assert not tasks()


@each
@pytest.mark.parametrize("fault", ["burst=10", "slow=5", "odd-deltas", "unknown-events", "bad-json"])
async def test_what_a_session_survives_unharmed(vendor: str, fault: str) -> None:
    events = Events()
    async with (
        simulator(vendor, fault, voice="tone:440") as simulated,
        provider(vendor, simulated.url).connect(CONFIG, events, leg=MULAW_8K) as session,
    ):
        session.send(Say(Purpose.GREETING))
        assert (await events.until(TurnEnded)).status == "completed"
    assert len(events.audio()) == MULAW_8K.size(1000)
    assert [type(event) for event in events.of(ProviderWarning)] == [ProviderWarning] * (fault == "bad-json")


async def test_voice_that_is_no_base64_is_dropped_and_told() -> None:
    events = Events()
    async with (
        simulator("elevenlabs", "bad-base64") as simulated,
        provider("elevenlabs", simulated.url).connect(CONFIG, events, leg=MULAW_8K) as session,
    ):
        session.send(Say(Purpose.GREETING))
        await events.until(TurnEnded)
    assert 0 < len(events.audio()) < MULAW_8K.size(1000)
    assert [warning.code for warning in events.of(ProviderWarning)] == ["bad_audio"]


@pytest.mark.parametrize(
    ("vendor", "leg", "fault", "speaks"),
    [("elevenlabs", MULAW_8K, "wrong-format", PCM16_24K), ("elevenlabs", MULAW_8K, "odd-deltas", MULAW_8K)],
)
async def test_another_format_than_that_of_the_leg_is_converted(
    vendor: str, leg: AudioFormat, fault: str, speaks: AudioFormat
) -> None:
    events = Events()
    async with simulator(vendor, fault, voice="tone:440") as simulated:
        client = Client(provider(vendor, simulated.url))
        async with client.connect(CONFIG, events, leg=leg) as session:
            session.send(Say(Purpose.GREETING))
            await events.until(TurnEnded)
        await client.close()
    assert abs(leg.milliseconds(len(events.audio())) - 1000) < 10
    assert any(warning.code == "transcoding" for warning in events.of(ProviderWarning)) == (speaks != leg)


async def test_a_container_that_was_not_asked_for_is_never_played() -> None:
    events = Events()
    async with (
        simulator("deepgram", "wrong-format") as simulated,
        provider("deepgram", simulated.url).connect(CONFIG, events, leg=MULAW_8K) as session,
    ):
        session.send(Say(Purpose.GREETING))
        closed = await events.until(SessionClosed)
    assert isinstance(closed.error, InvalidConfigError)
    assert not events.audio()


@each
async def test_late_voice_of_a_turn_that_was_cut_is_not_heard(vendor: str) -> None:
    events = Events()
    async with (
        simulator(
            vendor, "late-deltas", voice="tone:440", pace=4.0, script=[Reply("One.", seconds=9), "Two."]
        ) as simulated,
        provider(vendor, simulated.url).connect(CONFIG, events, leg=MULAW_8K) as session,
    ):
        session.send(Say(Purpose.GREETING))
        await events.until(AudioChunk, 3)
        session.send_audio(hum(300, 200))
        cut = await events.until(TurnEnded)
        session.send_audio(silence(1000))
        await events.until(TurnEnded, 2)
    assert cut.status == "interrupted"
    place = events.all.index(cut)
    later = [event for event in events.all[place:] if isinstance(event, AudioChunk)]
    assert {event.turn_id for event in later} == {events.of(TurnStarted)[1].turn_id}


@each
async def test_each_function_call_is_told_once_and_answered(vendor: str) -> None:
    events, called = Events(), []

    def look(name: str, arguments: Any) -> str:
        called.append((name, dict(arguments)))
        return "sunny"

    config = ProcessConfig(functions=[FunctionDeclaration("weather")], on_function_call=look)
    script = [Reply("", (FunctionCall("weather", '{"city":"Rome"}'),)), "It is sunny."]
    options = {"tools": ("weather",)} if vendor == "elevenlabs" else {}
    tools = {"client_tools": "weather"} if vendor == "elevenlabs" else {}
    async with simulator(vendor, "duplicate-tool-calls", script=script, **options) as simulated:
        async with provider(vendor, simulated.url, **tools).connect(config, events, leg=MULAW_8K) as session:
            session.send(Say(Purpose.GREETING))
            ended = await events.until(TurnEnded)
        record = (await simulated.session(1)).record
    kind = {"deepgram": "FunctionCallResponse", "elevenlabs": "client_tool_result"}[vendor]
    assert len(record.messages(kind)) == 1
    assert len(events.of(ToolCall)) == 1
    assert called == [("weather", {"city": "Rome"})]
    assert ended.status == "completed"
    assert events.of(Transcript)[-1].text == "It is sunny."


@each
async def test_silence_after_the_caller_has_finished_gets_another_provider(vendor: str) -> None:
    """R06; the other one hears every word of the caller again."""
    events = Events()
    words = hum(300, 600) + silence(1000)
    async with simulator(vendor, "no-answer") as dead, OpenAISimulator(seconds=0.3) as alive:
        client = Client(provider(vendor, dead.url), OpenAIRealtime(api_key="key", url=alive.url), answer_seconds=0.3)
        async with client.session(CONFIG, events, leg=MULAW_8K) as session:
            await events.until(SessionReady)
            session.send_audio(words)
            await events.until(UserSpeechStopped)
            lost = await events.until(ProviderLost)
            await events.until(TurnEnded)
        assert lost.provider == vendor
        assert lost.error.code == "silent"
        successor = await alive.session(1)
        assert words in bytes(successor.record.audio)
        await client.close()
