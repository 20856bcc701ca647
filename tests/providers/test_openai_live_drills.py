"""Every fault of the simulated OpenAI Live, met by its provider over a real socket; and what goes well, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes import PATIENCE, Events, tasks
from sounds import hum, silence

from tandem.simulators.openai_live import OpenAILiveSimulator
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat
from tandem_codecs.level import is_loud
from tandem_providers.client import Client
from tandem_providers.commands import Purpose, Say
from tandem_providers.config import FunctionDeclaration, OnFunctionCall, ProcessConfig
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
    GoingAway,
    ProviderLost,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    ToolCall,
    ToolCallCancelled,
    Transcript,
    Usage,
)
from tandem_providers.provider import HistoryTurn, Opening
from tandem_providers.session import SocketSession, WebSocketProvider
from tandem_providers.table import OpenAILive

WORDS = Say(Purpose.GREETING, "Good day to you.")
WEATHER = FunctionDeclaration("weather", "Tells the weather.")


class Live:
    """A session with a simulator that is in a hurry."""

    def __init__(self, simulator: OpenAILiveSimulator, session: SocketSession, events: Events) -> None:
        self.simulator = simulator
        self.session = session
        self.events = events

    async def until(self, condition: Callable[[], object]) -> None:
        """As long as audio comes: for ever."""
        async with asyncio.timeout(2 * PATIENCE):
            while not condition():
                await self.events.until(AudioChunk, len(self.events.of(AudioChunk)) + 1)

    def words(self, *, final: bool = True) -> list[str]:
        """What the agent said."""
        told = self.events.of(Transcript)
        return [event.text for event in told if not event.is_input and event.is_final is final]

    def loud(self) -> bytes:
        """Its voice, without the silence."""
        spoken = self.session.output_format
        return b"".join(chunk.audio for chunk in self.events.of(AudioChunk) if is_loud(chunk.audio, spoken))


def provider(simulator: OpenAILiveSimulator) -> WebSocketProvider:
    return OpenAILive(api_key="k", url=simulator.url)


@asynccontextmanager
async def live(
    *faults: str,
    functions: Mapping[str, OnFunctionCall] | None = None,
    leg: AudioFormat = MULAW_8K,
    **options: Any,
) -> AsyncIterator[Live]:
    async def call(name: str, arguments: Mapping[str, Any]) -> Any:
        result = (functions or {})[name](name, arguments)
        return await result if hasattr(result, "__await__") else result

    config = ProcessConfig(
        functions=[FunctionDeclaration(name) for name in functions or ()], on_function_call=call if functions else None
    )
    events = Events()
    async with (
        OpenAILiveSimulator(faults=faults, **{"pace": 20.0, "voice": "tone:440", **options}) as simulator,
        provider(simulator).connect(config, events, leg=leg) as session,
    ):
        yield Live(simulator, session, events)
    assert not tasks()


# --- when all is well -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leg", [MULAW_8K, ALAW_8K, PCM16_24K], ids=str)
async def test_a_greeting_word_by_word(leg: AudioFormat) -> None:
    async with live(leg=leg) as here:
        assert (here.session.input_format, here.session.output_format) == (leg, leg)
        here.session.send(WORDS)
        await here.until(here.words)
        assert here.words() == ["Good day to you."]
        assert leg.milliseconds(len(here.loud())) == pytest.approx(960, abs=100)
    closed = here.events.all[-1]
    assert closed == SessionClosed()
    (session,) = here.simulator.sessions
    assert session.record.received[-1]["type"] == "session.close"
    assert session.close_code == 1000


async def test_a_function_between_two_answers() -> None:
    script = ["call weather {}", "It is sunny."]
    async with live(functions={"weather": lambda name, arguments: {"sky": "blue"}}, script=script) as here:
        here.session.send(Say(Purpose.GREETING))
        await here.until(here.words)
        assert here.words() == ["It is sunny."]
        session = await here.simulator.session(1)
        (item,) = session.record.messages("response.item.create")
        assert item["item"]["output"] == '{"sky":"blue"}'
        assert len(here.events.of(ToolCall)) == 1
        assert {usage.source for usage in here.events.of(Usage)} >= {"response"}


async def test_two_functions_are_answered_together() -> None:
    calls = (FunctionCall("one"), FunctionCall("two"))
    functions: Mapping[str, OnFunctionCall] = {"one": lambda name, arguments: 1, "two": lambda name, arguments: 2}
    async with live(functions=functions, script=[Reply("", calls), "Three."]) as here:
        here.session.send(Say(Purpose.GREETING))
        await here.until(here.words)
        session = await here.simulator.session(1)
        kinds = [message["type"] for message in session.record.received[2:]]
        assert kinds == ["response.item.create", "response.item.create", "response.create"]


async def test_a_session_full_of_results_asks_for_a_successor_and_answers_still() -> None:
    script = ["call big {}"] * 20
    async with live(functions={"big": lambda name, arguments: "x" * 5000}, script=script, latency=0.0) as here:
        here.session.send(Say(Purpose.GREETING))
        await here.until(lambda: len(here.events.of(ToolCall)) >= 12)
        assert len(here.events.of(GoingAway)) == 1
        assert not [event for event in here.events.of(SessionClosed) if event.error]
        assert {warning.code for warning in here.events.of(ProviderWarning)} == {"tool_result_left_out"}


async def test_work_for_nobody_does_not_leave_the_caller_waiting() -> None:
    async with live(script=["call weather {}", "I can't look that up."]) as here:
        here.session.send(Say(Purpose.GREETING))
        await here.until(here.words)
        assert here.words() == ["I can't look that up."]


async def test_a_caller_is_heard_and_answered() -> None:
    async with live(script=["Noon."], transcripts=["What time is it?"]) as here:
        here.session.send_audio(hum(300, 800) + silence(800))
        await here.until(here.words)
        heard = [event.text for event in here.events.of(Transcript) if event.is_input and event.is_final]
        assert heard == ["What time is it?"]
        assert here.words() == ["Noon."]


async def test_what_was_said_before_is_known() -> None:
    opening = Opening((HistoryTurn("user", "I am Ada."), HistoryTurn("assistant", "Hello Ada.")))
    async with OpenAILiveSimulator(pace=20.0) as simulator:
        async with provider(simulator).connect(ProcessConfig(), Events(), leg=MULAW_8K, opening=opening):
            pass
        (session,) = simulator.sessions
    asked = session.record.received[0]["session"]["input"]
    assert [(item["role"], item["content"][0]["text"]) for item in asked] == [
        ("user", "I am Ada."),
        ("assistant", "Hello Ada."),
    ]


async def test_reading_that_was_paused_does_not_hold_up_the_farewell() -> None:
    async with live() as here:
        here.session.pause()
    assert here.simulator.sessions[0].record.received[-1]["type"] == "session.close"
    assert here.events.all[-1] == SessionClosed()


# --- when it is not ---------------------------------------------------------------------------------------------------


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
async def test_a_session_that_never_begins(fault: str, kind: type[ProviderError]) -> None:
    events = Events()
    async with OpenAILiveSimulator(faults=[fault]) as simulator:
        with pytest.raises(ProviderError) as failed:
            async with provider(simulator).connect(ProcessConfig(), events, leg=MULAW_8K):
                pytest.fail("it was let in")
    assert type(failed.value) is kind
    assert failed.value.provider == "openai-live"
    assert getattr(failed.value, "exhausted", False) is (fault == "quota=connect")
    assert not events.of(SessionReady)
    assert not tasks()


async def test_silence_is_no_session() -> None:
    async with OpenAILiveSimulator(faults=["silent"]) as simulator:
        made = provider(simulator)
        made._ready_seconds = 0.3  # five seconds are too long for a test
        with pytest.raises(ProviderUnavailableError) as failed:
            async with made.connect(ProcessConfig(), Events(), leg=MULAW_8K):
                pytest.fail("it was let in")
    assert failed.value.code == "ready_timeout"


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
    ],
)
async def test_a_session_that_ends(fault: str, kind: type[ProviderError]) -> None:
    async with live(fault) as here:
        here.session.send(WORDS)
        closed = await here.events.until(SessionClosed)
    assert type(closed.error) is kind
    assert here.events.all[-1] is closed
    assert here.events.kinds.count("SessionClosed") == 1
    if fault.startswith(("close-mid", "cut")):
        assert here.loud()
    if fault.startswith("session-expired"):
        assert closed.error.code == "expired"


@pytest.mark.parametrize(
    "fault",
    ["delay-ready=0.1", "odd-deltas", "unknown-events", "late-deltas", "bad-json", "transcription-failed", "burst=50"],
)
@pytest.mark.parametrize("leg", [MULAW_8K, PCM16_24K], ids=str)
async def test_faults_that_nobody_hears(fault: str, leg: AudioFormat) -> None:
    async with live(fault, leg=leg) as here:
        here.session.send(WORDS)
        await here.until(here.words)
        assert here.words() == ["Good day to you."]
        whole = b"".join(chunk.audio for chunk in here.events.of(AudioChunk))
        spoken = len(whole) - whole.count(leg.silence(1)[:1])
        assert leg.milliseconds(spoken) == pytest.approx(960, abs=60)
    assert len(here.events.of(ProviderWarning)) == (fault == "bad-json")


async def test_one_bad_piece_of_audio_is_a_gap_and_no_more() -> None:
    async with live("bad-base64") as here:
        here.session.send(WORDS)
        await here.until(here.words)
        assert here.words() == ["Good day to you."]
        assert [warning.code for warning in here.events.of(ProviderWarning)] == ["bad_audio"]


async def test_another_format_than_asked_for_is_what_counts() -> None:
    async with live("wrong-format") as here:
        assert (here.session.input_format, here.session.output_format) == (ALAW_8K, ALAW_8K)
        here.session.send(WORDS)
        await here.until(here.words)
        assert ALAW_8K.milliseconds(len(here.loud())) == pytest.approx(960, abs=100)


async def test_a_call_that_is_told_twice_is_answered_once() -> None:
    asked = []
    script = ["call weather {}", "It is sunny."]
    functions: Mapping[str, OnFunctionCall] = {"weather": lambda name, arguments: asked.append(name)}
    async with live("duplicate-tool-calls", functions=functions, script=script) as here:
        here.session.send(Say(Purpose.GREETING))
        await here.until(here.words)
        assert asked == ["weather"]
        assert here.words() == ["It is sunny."]


@pytest.mark.parametrize(
    ("fault", "code"), [("rate-limited-response", "rate_limit_exceeded"), ("model-not-found", "model_not_found")]
)
async def test_work_that_fails_is_taken_back_and_the_voice_goes_on(fault: str, code: str) -> None:
    script = ["call weather {}", "I am sorry."]
    functions: Mapping[str, OnFunctionCall] = {"weather": lambda name, arguments: "sunny"}
    async with live(fault, functions=functions, script=script) as here:
        here.session.send(Say(Purpose.GREETING))
        await here.until(here.words)
        assert here.words() == ["I am sorry."]
        (call,) = here.events.of(ToolCall)
        assert here.events.of(ToolCallCancelled) == [ToolCallCancelled(call.call_id)]
        assert code in [warning.code for warning in here.events.of(ProviderWarning)]
        session = await here.simulator.session(1)
        assert not session.record.messages("response.create")


async def test_a_voice_from_which_not_even_silence_comes_is_dead() -> None:
    events = Events()
    async with OpenAILiveSimulator(faults=["silent-after-ready*1"], pace=20.0) as simulator:
        client = Client(provider(simulator), answer_seconds=0.5)
        async with client.connect(ProcessConfig(), events, leg=MULAW_8K):
            lost = await events.until(ProviderLost)
            assert lost.error.code == "silent"
            await events.until(SessionReady, 2)
            await events.until(AudioChunk, 30)
        assert len(simulator.sessions) == 2
    assert events.of(ProviderLost) == [lost]
    assert events.all[-1] == SessionClosed()
    assert not tasks()


async def test_one_that_nobody_reads_is_not() -> None:
    events = Events()
    async with OpenAILiveSimulator(pace=20.0) as simulator:
        client = Client(provider(simulator), answer_seconds=0.1)
        async with client.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
            await events.until(AudioChunk)
            session.pause()
            far_end = await simulator.session(1)
            await far_end.until(lambda s: len(s.record.events("session.output_audio.delta")) > 60)
            session.resume()
            await events.until(AudioChunk, len(events.of(AudioChunk)) + 10)
    assert not events.of(ProviderLost)


async def test_an_agent_that_does_not_answer_sends_silence_for_ever() -> None:
    async with live("no-answer") as here:
        here.session.send(WORDS)
        await here.until(lambda: len(here.events.of(AudioChunk)) > 50)
        assert not here.loud()
        assert not here.events.of(Transcript)
