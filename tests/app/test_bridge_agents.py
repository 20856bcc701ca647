"""Calls between a carrier and simulated agents of Deepgram and ElevenLabs, over real sockets: mu-law all the way."""

from __future__ import annotations

import base64
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from servers import Tandem, tandem
from sounds import hum, level_db, noise, silence, speech
from streams import Stream

from tandem.simulators.agent_outlet import AgentRecord
from tandem.simulators.deepgram import DeepgramSimulator
from tandem.simulators.elevenlabs import ElevenLabsSimulator
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem.simulators.phone import BargeIn, Turn, WhenQuiet
from tandem.simulators.twilio import place_call
from tandem_codecs.format import MULAW_8K, PCM16_8K

SIMULATORS: dict[str, type[OpenAISimulator]] = {"deepgram": DeepgramSimulator, "elevenlabs": ElevenLabsSimulator}
each = pytest.mark.parametrize("vendor", SIMULATORS)
WORDS = [f"word{number:02}" for number in range(43)]
"""Twenty seconds of speech at an ordinary pace."""


class Agent:
    """A server whose provider is a simulated agent."""

    def __init__(self, server: Tandem, simulator: OpenAISimulator) -> None:
        self.server = server
        self.simulator = simulator

    async def until(self, condition: str) -> None:
        """Something has been sent to the client, or come from it."""
        session = await self.simulator.session(1)
        await session.until(
            lambda s: bool(s.record.events(condition)) or any(m.get("type") == condition for m in s.record.received)
        )

    async def until_messages(self, kind: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Such a message of that kind has come from the client."""
        session = await self.simulator.session(1)
        await session.until(lambda s: any(map(wanted, s.record.messages(kind))))

    async def record(self) -> AgentRecord:
        session = await self.simulator.session(1)
        assert isinstance(session.record, AgentRecord)
        return session.record

    async def said(self) -> bytes:
        """All of the agent's voice."""
        record = await self.record()
        pieces = [base64.b64decode(event["audio_event"]["audio_base_64"]) for event in record.events("audio")]
        return bytes(record.voice) + b"".join(pieces)


@asynccontextmanager
async def agent(
    vendor: str, *, faults: tuple[str, ...] = (), env: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Agent]:
    """In both vendors' cases the greeting is the first line of the script."""
    if vendor == "elevenlabs":
        first, *rest = options.get("script") or ["Hello."]
        text = first.text if isinstance(first, Reply) else first
        if isinstance(first, Reply) and first.seconds:
            options["seconds"] = first.seconds
        options |= {"first_message": text, "script": rest}
    async with (
        SIMULATORS[vendor](faults=faults, **options) as simulator,
        tandem(
            {
                "PROVIDERS": vendor,
                f"{vendor.upper()}_API_KEY": "planted-key",
                f"{vendor.upper()}_URL": simulator.url,
                **({"ELEVENLABS_AGENT_ID": "agent"} if vendor == "elevenlabs" else {}),
                **(env or {}),
            }
        ) as server,
    ):
        yield Agent(server, simulator)


async def greeted(stream: Stream) -> None:
    """The first words are over, and heard."""
    await stream.until(lambda: stream.got[-1:] and stream.got[-1]["event"] == "mark" and len(stream.audio) > 4000)


@each
async def test_each_side_hears_the_other_and_not_itself(vendor: str) -> None:
    async with agent(vendor, voice="tone:440", seconds=1.0) as here, here.server.stream(plays=True) as stream:
        await greeted(stream)
        await stream.media(hum(1000, 1000) + silence(1000))
        await stream.until(lambda: len(stream.audio) >= MULAW_8K.size(2000))
        heard = stream.audio[MULAW_8K.size(100) : MULAW_8K.size(900)]
        assert abs(level_db(heard, 440)) < 1
        assert level_db(heard, 1000) < -40
        turn = (await here.record()).turns[0][MULAW_8K.size(400) : MULAW_8K.size(1200)]
        assert abs(level_db(turn, 1000)) < 1
        assert level_db(turn, 440) < -40


@each
async def test_no_sample_is_lost_or_added_either_way(vendor: str) -> None:
    async with (
        agent(vendor, script=["One two three.", "Seven."], seconds=0.777, delta_ms=(7, 130)) as here,
        here.server.stream(plays=True) as stream,
    ):
        await greeted(stream)
        words = noise(2000)
        await stream.media(words + silence(1000))
        record = await here.record()
        session = await here.simulator.session(1)
        await session.until(lambda s: s.record.responses == 2)
        await stream.until(lambda: len(stream.audio) >= 2 * MULAW_8K.size(777))
        assert words in bytes(record.audio), "each of them, in order, in one piece"
        assert stream.audio == await here.said()
        assert len(stream.audio) == 2 * MULAW_8K.size(777)


@each
async def test_the_agent_speaks_first_and_in_the_words_that_are_configured(vendor: str) -> None:
    env = {"GREETING": "Welcome to the test line.", "INSTRUCTIONS": "Be brief.", "VOICE": "some-voice"}
    async with agent(vendor, env=env) as here, here.server.stream(plays=True) as stream:
        await greeted(stream)
        record = await here.record()
        asked = record.received[0]
        if vendor == "deepgram":
            assert asked["agent"]["think"]["prompt"] == "Be brief."
            assert asked["agent"]["speak"]["provider"]["model"] == "some-voice"
            assert [each["message"] for each in record.messages("InjectAgentMessage")] == ["Welcome to the test line."]
        else:
            override = asked["conversation_config_override"]
            assert override["agent"]["prompt"] == {"prompt": "Be brief."}
            assert override["agent"]["first_message"] == "Welcome to the test line."
            assert override["tts"] == {"voice_id": "some-voice"}
            assert not record.messages("user_message")
        said = await here.said()
        await stream.until(lambda: len(stream.audio) >= len(said))
        call = await here.server.record(stream.call_sid)
        assert [(line["role"], line["text"]) for line in call["transcript"]] == [("agent", "Welcome to the test line.")]
        assert call["provider"] == vendor


@each
async def test_the_conversation_is_recorded_in_its_order(vendor: str) -> None:
    script = ["Hello.", "It is noon. Anything else?"]
    async with (
        agent(vendor, script=script, transcripts=["What time is it?"], transcription_delay=0.2) as here,
        here.server.stream(plays=True) as stream,
    ):
        await greeted(stream)
        await stream.media(speech("hello"))
        session = await here.simulator.session(1)
        await session.until(lambda s: s.record.responses == 2)
        await stream.until(lambda: stream.got[-1]["event"] == "mark")
        said = await here.said()
        await stream.until(lambda: len(stream.audio) >= len(said))
        call = await here.server.record(stream.call_sid)
        assert [(line["role"], line["text"]) for line in call["transcript"]] == [
            ("agent", "Hello."),
            ("caller", "What time is it?"),
            ("agent", "It is noon. Anything else?"),
        ]


@each
async def test_keys_are_told_to_the_agent(vendor: str) -> None:
    async with agent(vendor) as here, here.server.stream(plays=True) as stream:
        await greeted(stream)
        await stream.dtmf("5")
        kind = {"deepgram": "InjectUserMessage", "elevenlabs": "user_message"}[vendor]
        await here.until_messages(kind, lambda message: "pressed 5" in (message.get("content") or message["text"]))
        call = await here.server.record(stream.call_sid)
        assert "keypad" not in str(call["transcript"]), "the caller has not said that"


@each
@pytest.mark.parametrize("faults", [(), ("late-deltas",), ("burst=10",)], ids=lambda faults: " ".join(faults))
async def test_a_barge_in_is_cut_at_one_place_everywhere(vendor: str, faults: tuple[str, ...], tmp_path: Path) -> None:
    """What the phone played and what the record says; and nothing of what was cut is heard later."""
    script = [
        Reply(" ".join(WORDS), voice="tone:440", seconds=20),
        Reply("I am listening.", voice="tone:700", seconds=0.6),
    ]
    async with agent(vendor, faults=faults, script=script, voice="tone:440", pace=2.0) as here:
        plan = here.server.plan(
            audio=[Turn(speech("wait"), BargeIn(1200.0))],
            hang_up=WhenQuiet(600),
            seconds=9,
            recording=tmp_path / "call.wav",
        )
        report = await place_call(plan)
        record = await here.server.result(report.call_sid)
        assert report.clears == 1
        (cut,) = report.interruptions
        assert cut.latency_ms is not None
        with wave.open(str(tmp_path / "call.wav")) as recorded:
            both = recorded.readframes(recorded.getnframes())
        agent_side = b"".join(both[at + 2 : at + 4] for at in range(0, len(both), 4))
        assert cut.cleared_ms is not None
        after = agent_side[PCM16_8K.size(cut.cleared_ms + 100) :]
        assert level_db(after, 440, PCM16_8K) < -40, "nothing of what was cut"
        assert await here.server.metric("bargein_total") == 1
        first, second = (line for line in record["transcript"] if line["role"] == "agent")
        assert first["interrupted"]
        heard = first["text"].removesuffix("...").split()
        assert heard == WORDS[: len(heard)]
        assert first["heard_ms"] / 1000 * 15 - 15 < len(first["text"]) <= first["heard_ms"] / 1000 * 15 + 10
        assert second["text"] == "I am listening."


async def test_an_agent_that_hangs_up_is_heard_to_its_last_word() -> None:
    """The vendor closes the conversation at once; the call ends when the caller has heard the goodbye."""
    goodbye = Reply("Goodbye, and thank you for calling.", (FunctionCall("end_call"),), seconds=1.5)
    async with agent("elevenlabs", script=["Hello.", goodbye]) as here:
        plan = here.server.plan(audio=[Turn(speech("hello"), WhenQuiet(400))], hang_up=None, seconds=12)
        report = await place_call(plan)
        record = await here.server.result(report.call_sid)
    assert record["result"] == "agent_hung_up"
    assert report.ended_by == "server"
    last = record["transcript"][-1]
    assert (last["text"], last["interrupted"]) == ("Goodbye, and thank you for calling.", False)
    assert last["heard_ms"] >= 1480


@each
async def test_a_conversation_is_taken_over_in_the_middle(vendor: str) -> None:
    """The first provider goes down while it answers; the agent knows what was said, and hears what was not answered."""
    words = speech("opening-hours")
    openai = OpenAISimulator(script=["Hello.", Reply("We are open.", seconds=9)], pace=3.0)
    async with (
        SIMULATORS[vendor](script=["We are open from nine."], seconds=1.0) as second,
        AsyncExitStack() as first,
        tandem(
            {f"{vendor.upper()}_URL": second.url, f"{vendor.upper()}_API_KEY": "planted-key"},
            PROVIDERS=f"openai,{vendor}",
            OPENAI_API_KEY="planted-key",
            OPENAI_REALTIME_URL=(await first.enter_async_context(openai)).url,
            ELEVENLABS_AGENT_ID="agent" if vendor == "elevenlabs" else None,
        ) as server,
        server.stream(plays=True) as stream,
    ):
        dying = await openai.session(1)
        await dying.until(lambda s: bool(s.record.events("response.done")))
        await stream.until(lambda: stream.got[-1:] and stream.got[-1]["event"] == "mark")
        await stream.media(words)
        await dying.until(lambda s: s.record.responses == 2)
        await first.aclose()
        successor = await second.session(1)
        await successor.until(lambda s: words in bytes(s.record.audio))
        if vendor == "deepgram":
            (said, *_) = successor.record.received[0]["agent"]["context"]["messages"]
            assert (said["role"], said["content"]) == ("assistant", "Hello.")
        else:
            (note,) = successor.record.messages("contextual_update")
            assert "You: Hello." in note["text"]
        await successor.until(lambda s: bool(s.record.turns) and s.record.responses >= 1)
        record = await server.record(stream.call_sid)
        assert record["provider"] == vendor
