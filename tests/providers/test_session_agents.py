"""What the driver of a session does for vendors with voice in binary frames, with a clock, and with short patience."""

from __future__ import annotations

import asyncio

import pytest
from fakes import Events
from servers import until
from sounds import hum

from tandem.simulators.deepgram import DeepgramSimulator
from tandem.simulators.elevenlabs import ElevenLabsSimulator
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import Purpose, Say
from tandem_providers.config import ProcessConfig
from tandem_providers.deepgram import DeepgramProtocol
from tandem_providers.errors import SessionClosedError
from tandem_providers.events import (
    HangupRequested,
    ProviderWarning,
    SessionClosed,
    TurnEnded,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.table import DeepgramAgent, ElevenLabsAgent


async def test_voice_goes_in_binary_frames_and_words_in_text_frames() -> None:
    events = Events()
    async with DeepgramSimulator(voice="tone:440", seconds=0.5) as simulator:
        provider = DeepgramAgent(api_key="key", url=simulator.url)
        async with provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
            session.send_audio(hum(300, 60))
            session.send(Say(Purpose.GREETING, "Good day."))
            await events.until(TurnEnded)
            record = (await simulator.session(1)).record
    assert bytes(record.audio) == hum(300, 60)
    assert [message["type"] for message in record.received] == ["Settings", "InjectAgentMessage"]
    assert len(events.audio()) == MULAW_8K.size(500)


async def test_a_session_in_which_nothing_is_sent_is_kept_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DeepgramSimulator(idle_seconds=0.3) as simulator:
        provider = DeepgramAgent(api_key="key", url=simulator.url)
        monkeypatch.setattr(DeepgramProtocol, "idle_seconds", 0.2)
        events = Events()
        async with provider.connect(ProcessConfig(), events):
            record = (await simulator.session(1)).record
            await until(lambda: len(record.messages("KeepAlive")) >= 3)
        assert events.all[-1] == SessionClosed()


async def test_left_alone_it_would_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DeepgramSimulator(idle_seconds=0.2) as simulator:
        monkeypatch.setattr(DeepgramProtocol, "idle_seconds", 60.0)
        events = Events()
        async with DeepgramAgent(api_key="key", url=simulator.url).connect(ProcessConfig(), events):
            closed = await events.until(SessionClosed)
        assert isinstance(closed.error, SessionClosedError)
        assert closed.error.code == "CLIENT_MESSAGE_TIMEOUT"


async def test_what_the_audio_shows_is_told_though_no_message_comes() -> None:
    """The stall that users have reported: the caller is heard to begin, and then nothing more is ever said."""
    events = Events()
    async with DeepgramSimulator(faults=["transcription-failed"]) as simulator:
        provider = DeepgramAgent(api_key="key", url=simulator.url)
        async with provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
            session.send_audio(hum(300, 100))
            await events.until(UserSpeechStarted)
            for _ in range(400):
                session.send_audio(MULAW_8K.silence(20))
            assert events.of(UserSpeechStopped)
            await (await simulator.session(1)).until(lambda s: bool(s.record.messages("ForceEndTurn")))


async def test_a_warning_about_a_command_is_told_at_once() -> None:
    events = Events()
    async with ElevenLabsSimulator() as simulator:
        provider = ElevenLabsAgent(agent_id="agent", url=simulator.url)
        async with provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
            session.send(Say(Purpose.MESSAGE, "Good day."))
            assert [warning.code for warning in events.of(ProviderWarning)] == ["say_paraphrased"]


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
async def test_a_close_can_mean_that_the_agent_hangs_up(told: bool) -> None:
    goodbye = Reply("Goodbye.", (FunctionCall("end_call"),))
    client_events = ("audio", "agent_response", *(("agent_tool_response",) if told else ()))
    events = Events()
    async with ElevenLabsSimulator(first_message="", script=[goodbye], client_events=client_events) as simulator:
        provider = ElevenLabsAgent(agent_id="agent", url=simulator.url, first_message="none")
        async with provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
            session.send(Say(Purpose.GREETING))
            assert await events.until(SessionClosed) == SessionClosed(None, 1000, "")
    kinds = [kind for kind in events.kinds if kind not in ("AudioChunk", "Transcript", "ItemAdded")]
    assert sorted(kinds[-3:-1]) == ["HangupRequested", "TurnEnded"]
    assert len(events.of(HangupRequested)) == 1
    assert kinds[-1] == "SessionClosed"
    await asyncio.sleep(0)
