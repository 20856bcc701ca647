"""Our Gemini provider and the simulated server, over a socket: conversations, and each way in which they end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from fakes import Events

from tandem.simulators.gemini import GeminiSimulator
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem_codecs.format import MULAW_8K, PCM16_16K, PCM16_24K
from tandem_providers.client import Client
from tandem_providers.commands import CancelResponse, CommitTurn, Purpose, Say, SendDtmf, SendText
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
    Event,
    GoingAway,
    Interrupted,
    ItemAdded,
    ProviderLost,
    ProviderWarning,
    ResumeHandle,
    SessionClosed,
    SessionReady,
    ToolCallCancelled,
    Transcript,
    TurnEnded,
    TurnStarted,
)
from tandem_providers.gemini import GeminiOptions, GeminiProtocol, capabilities
from tandem_providers.gemini_errors import RESUME_REFUSED
from tandem_providers.provider import HistoryTurn, Opening
from tandem_providers.session import WebSocketProvider
from tandem_providers.table import GeminiLive

NATIVE_25 = "gemini-2.5-flash-native-audio-preview-12-2025"
FLASH_31 = "gemini-3.1-flash-live-preview"
LIVE_38 = "gemini-3.8-live"
EXTENDED_38 = "gemini-3.8-live-extended-thinking"
GENERATIONS = (NATIVE_25, FLASH_31, LIVE_38, EXTENDED_38)
VERTEX: dict[str, Any] = {"vertex": True, "project": "p", "access_token": "planted-token"}
WORDS = (8000 * np.sin(2 * np.pi * 300 / 16000 * np.arange(16 * 600))).astype("<i2").tobytes() + bytes(32 * 700)
"""Something said, and the silence after it."""
CALL = Reply("", (FunctionCall("weather", '{"city":"Ulm"}'),))


async def weather(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"sky": f"blue in {arguments['city']}"}


TOOLS = ProcessConfig(functions=[FunctionDeclaration("weather")], on_function_call=weather)


def provider(simulator: GeminiSimulator, name: str = "gemini", **options: Any) -> WebSocketProvider:
    url = simulator.vertex_url if options.get("vertex") else simulator.url
    return GeminiLive(name=name, **{"api_key": "planted-key", "url": url, **options})


def said(events: Events) -> list[tuple[str, str]]:
    """The conversation as final words, in the order in which its items stand."""
    order: list[str] = []
    for item in events.of(ItemAdded):
        if item.item_id in order:
            order.remove(item.item_id)
        order.insert(order.index(item.after) + 1 if item.after in order else len(order), item.item_id)
    final = {words.item_id: words for words in events.of(Transcript) if words.is_final}
    return [(final[item].role, final[item].text) for item in order if item in final]


def well_formed(events: list[Event]) -> None:
    """What every session has to keep to: turns one after the other, voice only inside them, one end at most."""
    turn = ""
    over: set[str] = set()
    for event in events:
        if isinstance(event, TurnStarted):
            assert not turn
            assert event.turn_id not in over
            turn = event.turn_id
        elif isinstance(event, AudioChunk):
            assert event.turn_id == turn
        elif isinstance(event, TurnEnded):
            assert event.turn_id == turn
            over.add(turn)
            turn = ""


@pytest.mark.parametrize(
    "options", [*({"model": model} for model in GENERATIONS), VERTEX, {**VERTEX, "model": NATIVE_25}]
)
async def test_a_conversation(options: dict[str, Any]) -> None:
    script = ["I am fine.", CALL, "The sky is blue."]
    simulation = {"transcripts": ["how are<noise> you", "and the weather"], "seconds": 0.2, "script": script}
    events = Events()
    async with (
        GeminiSimulator(**simulation, words="before" if "vertex" in options else "with") as simulator,  # type: ignore[arg-type]  # fields of several types
        provider(simulator, **options).connect(TOOLS, events, leg=PCM16_16K) as session,
    ):
        assert session.input_format == PCM16_16K
        assert session.output_format == PCM16_24K
        session.send(Say(Purpose.GREETING, "Good morning"))
        await events.until(TurnEnded, 1)
        session.send_audio(WORDS)
        await events.until(TurnEnded, 2)
        session.send_audio(WORDS)
        while ("assistant", "The sky is blue.") not in said(events):
            await events.until(TurnEnded, len(events.of(TurnEnded)) + 1)
        session.send(SendDtmf("5"))
        await events.until(TurnEnded, len(events.of(TurnEnded)) + 1)
    assert said(events)[:5] == [
        ("assistant", "Good morning"),
        ("user", "how are you"),
        ("assistant", "I am fine."),
        ("user", "and the weather"),
        ("assistant", "The sky is blue."),
    ]
    well_formed(events.all)
    record = simulator.sessions[0].record
    assert record.audio == WORDS * 2
    (answer,) = record.commands("toolResponse")[0]["functionResponses"]
    assert answer["response"] == {"output": {"sky": "blue in Ulm"}}
    assert len(events.audio()) == record.said_ms * PCM16_24K.bytes_per_ms
    assert events.all[-1] == SessionClosed()


async def test_barge_in_stops_the_voice_and_what_comes_late_is_not_heard() -> None:
    events = Events()
    async with (
        GeminiSimulator(seconds=30.0, pace=1.0, faults=["late-deltas"]) as simulator,
        provider(simulator).connect(ProcessConfig(), events, leg=PCM16_16K) as session,
    ):
        session.send(Say(Purpose.GREETING))
        await events.until(AudioChunk)
        session.send_audio(WORDS[: 32 * 200])
        await events.until(Interrupted)
        heard = len(events.audio())
        turn = events.of(TurnStarted)[0].turn_id
        session.send(SendText("Never mind."))
        await events.until(TurnStarted, 2)
        assert sum(len(chunk.audio) for chunk in events.of(AudioChunk) if chunk.turn_id == turn) == heard
    assert events.of(TurnEnded)[0].status == "interrupted"
    well_formed(events.all)


async def test_a_key_pressed_into_a_turn_is_answered_and_the_rest_of_the_turn_not_heard() -> None:
    events = Events()
    async with (
        GeminiSimulator(seconds=30.0, pace=1.0) as simulator,
        provider(simulator).connect(ProcessConfig(), events, leg=PCM16_16K) as session,
    ):
        session.send(Say(Purpose.GREETING))
        await events.until(AudioChunk)
        session.send(CancelResponse())
        session.send(SendDtmf("7"))
        await events.until(TurnStarted, 2)
    assert events.of(TurnEnded)[0].status == "cancelled"
    well_formed(events.all)


async def test_while_a_function_is_waited_for_the_caller_is_not_heard_and_then_heard_in_full() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(name: str, arguments: Mapping[str, Any]) -> str:
        asked.set()
        await may_answer.wait()
        return "blue"

    extensions = {"function_behavior": "blocking"}
    config = ProcessConfig(functions=TOOLS.functions, on_function_call=slow, extensions=extensions)
    events = Events()
    async with (
        GeminiSimulator(script=[CALL, "Blue.", "You are welcome."], seconds=0.1) as simulator,
        provider(simulator).connect(config, events, leg=PCM16_16K) as session,
    ):
        session.send(SendText("The weather?"))
        await asked.wait()
        session.send_audio(WORDS)
        may_answer.set()
        await events.until(TurnEnded, 2)
    record = simulator.sessions[0].record
    assert record.audio == WORDS
    order = [kind for message in record.received for kind in message]
    assert order == ["setup", "clientContent", "toolResponse"]
    assert not events.of(ToolCallCancelled)
    well_formed(events.all)


async def test_turns_that_the_application_marks() -> None:
    events = Events()
    async with GeminiSimulator(script=["Yes."], transcripts=["hello"], seconds=0.1) as simulator:
        made = provider(simulator, turn_detection="none")
        assert made.capabilities.hears_turns is False
        async with made.connect(ProcessConfig(), events, leg=PCM16_16K) as session:
            for start in range(0, len(WORDS), PCM16_16K.frame_bytes):
                session.send_audio(WORDS[start : start + PCM16_16K.frame_bytes])
            session.send(CommitTurn())
            await events.until(TurnEnded)
    assert said(events) == [("user", "hello"), ("assistant", "Yes.")]
    assert simulator.sessions[0].record.turns == [WORDS]


# What comes after


async def test_a_session_goes_on_where_another_one_was() -> None:
    events, more = Events(), Events()
    async with GeminiSimulator(script=["One.", "Two."], seconds=0.1) as simulator:
        gemini = provider(simulator)
        async with gemini.connect(ProcessConfig(), events, leg=PCM16_16K) as session:
            session.send(SendText("Count."))
            await events.until(TurnEnded)
            await events.until(ResumeHandle, 2)
        opening = Opening((HistoryTurn("user", "never sent"),), events.of(ResumeHandle)[-1].handle)
        async with gemini.connect(ProcessConfig(), more, leg=PCM16_16K, opening=opening) as session:
            session.send(SendText("More."))
            await more.until(TurnEnded)
        engine = simulator.sessions[1].engine
        assert engine is not None
        assert [entry.text for entry in engine.memory.entries] == ["Count.", "One.", "More.", "Two."]
    assert not {e.item_id for e in events.of(ItemAdded)} & {e.item_id for e in more.of(ItemAdded)}


@pytest.mark.parametrize("options", [*({"model": model} for model in GENERATIONS), VERTEX])
async def test_a_session_begins_with_the_memory_of_another_provider(options: dict[str, Any]) -> None:
    events = Events()
    history = (HistoryTurn("assistant", "Hello."), HistoryTurn("user", "Hi."), HistoryTurn("assistant", "Well?"))
    async with GeminiSimulator(script=["Blue."], transcripts=["the weather"], seconds=0.1) as simulator:
        opening = Opening(history)
        async with provider(simulator, **options).connect(
            ProcessConfig(), events, leg=PCM16_16K, opening=opening
        ) as session:
            session.send_audio(WORDS)
            await events.until(TurnEnded)
        engine = simulator.sessions[0].engine
        assert engine is not None
        entries = [(entry.role, entry.text) for entry in engine.memory.entries if not entry.text.startswith("(")]
        assert entries == [
            ("model", "Hello."),
            ("user", "Hi."),
            ("model", "Well?"),
            ("user", "the weather"),
            ("model", "Blue."),
        ]


async def test_a_handle_that_is_refused_says_so() -> None:
    async with GeminiSimulator() as simulator:
        with pytest.raises(ProviderUnavailableError) as refusal:
            async with provider(simulator).connect(ProcessConfig(), Events(), opening=Opening((), "made up")):
                pass
        assert refusal.value.code == RESUME_REFUSED


async def test_it_is_told_to_go_before_it_ends() -> None:
    events = Events()
    async with (
        GeminiSimulator(faults=["go-away=0.2"]) as simulator,
        provider(simulator).connect(ProcessConfig(), events),
    ):
        assert (await events.until(GoingAway)).seconds == 0.2
        closed = await events.until(SessionClosed)
    assert isinstance(closed.error, ConnectionFailedError)


async def test_a_conversation_outlives_its_session() -> None:
    """The caller speaks on while one session dies and the next takes over, with what was said before."""
    events = Events()
    async with (
        GeminiSimulator(faults=["close-mid-response=1011"], seconds=2.0) as first,
        GeminiSimulator(transcripts=["hello"], script=["Here I am."], seconds=0.2) as second,
    ):
        client = Client(provider(first), provider(second, "gemini@backup"))
        async with client.session(ProcessConfig(), events, leg=MULAW_8K) as session:
            await session.ready()
            session.send(Say(Purpose.GREETING))
            await events.until(ProviderLost)
            await events.until(SessionReady, 2)
            assert session.provider in ("gemini", "gemini@backup")


# What goes wrong


async def end_of(simulator: GeminiSimulator, **options: Any) -> ProviderError:
    """How a session ends: while it is being opened, or in its first turn."""
    events = Events()
    try:
        async with provider(simulator, **options).connect(ProcessConfig(), events) as session:
            session.send(Say(Purpose.GREETING))
            closed = await events.until(SessionClosed)
    except ProviderError as error:
        return error
    assert closed.error is not None
    well_formed(events.all)
    return closed.error


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
        ("close-on-connect=1007", InvalidConfigError),
        ("close-on-connect=1008", ProviderUnavailableError),
        ("close-on-connect=1011", ProviderUnavailableError),
        ("invalid-key-late", AuthenticationFailedError),
        ("model-not-found", InvalidConfigError),
        ("quota=connect", RateLimitedError),
        ("close-after-ready=1000", SessionClosedError),
        ("close-after-ready=1007", InvalidConfigError),
        ("close-after-ready=1008", ProviderUnavailableError),
        ("close-after-ready=1011", ProviderUnavailableError),
        ("close-mid-response=1008", ProviderUnavailableError),
        ("close-mid-response=1011", ProviderUnavailableError),
        ("cut", ConnectionFailedError),
        ("quota=response", RateLimitedError),
        ("rate-limited-response", RateLimitedError),
        ("session-expired=0.1", SessionClosedError),
    ],
)
async def test_each_end_is_sorted(fault: str, kind: type[ProviderError]) -> None:
    async with GeminiSimulator(faults=[fault], seconds=2.0) as simulator:
        error = await end_of(simulator)
    assert type(error) is kind
    assert error.provider == "gemini"
    assert "planted" not in str(error)


@pytest.mark.parametrize("fault", ["silent", "delay-ready=5", "hang-connect"])
async def test_one_that_does_not_get_ready_in_time(fault: str) -> None:
    async with GeminiSimulator(faults=[fault]) as simulator:
        options = GeminiOptions(api_key="k", url=simulator.url)
        slow = WebSocketProvider(
            "gemini",
            capabilities(options),
            lambda config, leg, opening: GeminiProtocol(options, config, leg, "gemini", opening),
            ready_seconds=0.2,
        )
        with pytest.raises((ProviderUnavailableError, ConnectionFailedError)):
            async with slow.connect(ProcessConfig(), Events()):
                pass


@pytest.mark.parametrize(
    ("fault", "warning"),
    [
        ("unknown-events", None),
        ("odd-deltas", None),
        ("burst=10", None),
        ("bad-json", "malformed_message"),
        ("bad-base64", "bad_audio"),
        ("wrong-format", "audio_format"),
        ("transcription-failed", None),
    ],
)
async def test_what_a_session_bears(fault: str, warning: str | None) -> None:
    events = Events()
    async with (
        GeminiSimulator(faults=[fault], script=["Fine."], seconds=1.0) as simulator,
        provider(simulator).connect(ProcessConfig(), events, leg=PCM16_16K) as session,
    ):
        session.send_audio(WORDS)
        await events.until(TurnEnded)
    assert [told.code for told in events.of(ProviderWarning)] == ([warning] if warning else [])
    expected = 1000 * PCM16_24K.bytes_per_ms
    assert abs(len(events.audio()) - expected) <= (expected * 0.2 if warning else 0)
    well_formed(events.all)


async def test_a_call_told_twice_is_made_once() -> None:
    events = Events()
    async with (
        GeminiSimulator(faults=["duplicate-tool-calls"], script=[CALL, "Blue."], seconds=0.1) as simulator,
        provider(simulator).connect(TOOLS, events, leg=PCM16_16K) as session,
    ):
        session.send(SendText("Weather?"))
        await events.until(TurnEnded, 2)
    assert len(simulator.sessions[0].record.commands("toolResponse")) == 1


async def test_calls_without_ids_are_answered_by_name() -> None:
    events = Events()
    async with (
        GeminiSimulator(call_ids=False, script=[CALL, "Blue."], seconds=0.1) as simulator,
        provider(simulator, **VERTEX).connect(TOOLS, events, leg=PCM16_16K) as session,
    ):
        session.send(SendText("Weather?"))
        await events.until(TurnEnded, 2)
    assert said(events) == [("assistant", "Blue.")]


# Vertex AI


async def test_a_token_is_fetched_for_each_connection() -> None:
    tokens = iter(["bad", "good"])

    async def authorise() -> Mapping[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}", "x-goog-user-project": "q"}

    async with GeminiSimulator(key="good") as simulator:
        options = GeminiOptions(vertex=True, project="p", url=simulator.vertex_url)
        vertex = WebSocketProvider(
            "gemini",
            capabilities(options),
            lambda config, leg, opening: GeminiProtocol(options, config, leg, "gemini", opening),
            authorise=authorise,
        )
        with pytest.raises(AuthenticationFailedError):
            async with vertex.connect(ProcessConfig(), Events()):
                pass
        events = Events()
        async with vertex.connect(ProcessConfig(), events):
            assert events.of(SessionReady)[0].session_id
        assert simulator.sessions[1].headers["x-goog-user-project"] == "q"


async def test_a_token_that_can_not_be_had_is_no_failure_of_the_connection() -> None:
    async def authorise() -> Mapping[str, str]:
        raise AuthenticationFailedError("no token")

    async with GeminiSimulator() as simulator:
        options = GeminiOptions(vertex=True, project="p", url=simulator.vertex_url)
        vertex = WebSocketProvider(
            "gemini@eu",
            capabilities(options),
            lambda config, leg, opening: GeminiProtocol(options, config, leg, "gemini@eu", opening),
            authorise=authorise,
        )
        with pytest.raises(AuthenticationFailedError) as error:
            async with vertex.connect(ProcessConfig(), Events()):
                pass
        assert error.value.provider == "gemini@eu"
        assert simulator.sessions == []
