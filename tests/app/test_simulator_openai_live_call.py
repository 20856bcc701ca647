"""Calls between a carrier and the OpenAI Live simulator over real sockets: a voice that never pauses, without turns."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from servers import Stream, Tandem, tandem, until
from sounds import hum, level_db, loud_ms, noise, silence, speech

from tandem.call_types import EndReason
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_connection import SimulatedSession
from tandem.simulators.openai_live import OpenAILiveSimulator
from tandem.simulators.openai_script import Reply
from tandem.simulators.phone import At, Turn, WhenQuiet
from tandem.simulators.twilio import place_call
from tandem_codecs.format import MULAW_8K
from tandem_providers.prompts import prompt

COMMENTARY = "session.commentary.append"


class Live:
    """A server whose provider is a simulator."""

    def __init__(self, server: Tandem, simulator: OpenAILiveSimulator) -> None:
        self.server = server
        self.simulator = simulator

    async def session(self, number: int = 1) -> SimulatedSession:
        return await self.simulator.session(number)


@asynccontextmanager
async def live(
    *, faults: tuple[str, ...] = (), env: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[Live]:
    async with (
        OpenAILiveSimulator(faults=faults, **options) as simulator,
        tandem(
            {
                "PROVIDERS": "openai-live",
                "OPENAI_API_KEY": "planted-key",
                "OPENAI_LIVE_URL": simulator.url,
                **(env or {}),
            }
        ) as server,
    ):
        yield Live(server, simulator)


def said(session: SimulatedSession) -> bytes:
    """All audio that the provider sent."""
    events = session.record.events("session.output_audio.delta")
    return b"".join(base64.b64decode(event["delta"]) for event in events)


async def spoken(stream: Stream, milliseconds: float) -> None:
    """So much of the agent's voice, silence left out, has come."""
    await stream.until(lambda: len(stream.audio.replace(b"\xff", b"")) >= MULAW_8K.size(milliseconds) * 0.9)


# --- who is heard -----------------------------------------------------------------------------------------------------


async def test_each_side_hears_the_other_and_not_itself() -> None:
    async with live(voice="tone:440", seconds=1.0) as here, here.server.stream() as stream:
        await spoken(stream, 1000)
        start, end = loud_ms(stream.audio)
        assert end - start == pytest.approx(1000, abs=5)
        heard = stream.audio[MULAW_8K.size(start + 100) : MULAW_8K.size(end - 100)]
        assert abs(level_db(heard, 440)) < 1
        assert level_db(heard, 1000) < -40
        await stream.media(hum(1000, 1000) + silence(1000))
        session = await here.session()
        await session.until(lambda s: bool(s.record.turns))
        turn = session.record.turns[0][MULAW_8K.size(400) : MULAW_8K.size(1200)]
        assert abs(level_db(turn, 1000)) < 1
        assert level_db(turn, 440) < -40


async def test_p7_no_sample_of_the_caller_is_lost_or_added() -> None:
    async with live() as here, here.server.stream() as stream:
        session = await here.session()
        words = noise(3000)
        await stream.media(words)
        await session.until(lambda s: len(s.record.audio) >= len(words))
        heard = bytes(session.record.audio)
        place = heard.find(words)
        assert place >= 0, "each of them, in order, in one piece"
        assert heard[:place].strip(b"\xff") == b"", "before it only the silence of the clock"


async def test_p7_no_sample_of_the_agent_is_lost_or_added() -> None:
    async with live(script=["One two three four."]) as here, here.server.stream() as stream:
        await spoken(stream, 800)
        session = await here.session()
        heard, sent = stream.audio, said(session)
        cushion = len(heard) - len(heard.lstrip(b"\xff")) - (len(sent) - len(sent.lstrip(b"\xff")))
        assert 0 <= cushion <= MULAW_8K.size(150), "a little silence ahead, once"
        assert sent.startswith(heard[cushion:])


async def test_the_agent_speaks_first_and_in_the_words_that_are_configured() -> None:
    env = {"GREETING": "Welcome to the test line.", "INSTRUCTIONS": "Be brief.", "VOICE": "cedar"}
    async with live(env=env) as here, here.server.stream() as stream:
        await spoken(stream, 500)
        session = await here.session()
        (start,) = session.record.messages("session.start")
        assert start["session"]["instructions"].startswith("Be brief.")
        assert start["session"]["audio"] == {
            "format": {"type": "audio/pcmu", "rate": 8000},
            "output": {"voice": "cedar"},
        }

        async def lines() -> list[tuple[str, str]]:
            record = await here.server.record(stream.call_sid)
            return [(line["role"], line["text"]) for line in record["transcript"]]

        for _ in range(100):
            await stream.speaks(len(stream.audio) / 8 + 100)
            if await lines() == [("agent", "Welcome to the test line.")]:
                break
        else:
            raise AssertionError(await lines())
        record = await here.server.record(stream.call_sid)
        assert (record["provider"], record["model"]) == ("openai-live", "gpt-live-1")


# --- a conversation ---------------------------------------------------------------------------------------------------


async def test_a_conversation_at_the_pace_of_speech() -> None:
    """A caller who waits for the greeting, asks, listens, and hangs up; the record is what was heard, in order."""
    script = ["Good day.", "It is noon."]
    async with live(script=script, transcripts=["What time is it?"]) as here:
        report = await place_call(
            here.server.plan(audio=[Turn(speech("hello"), WhenQuiet(500))], hang_up=WhenQuiet(1500), seconds=15)
        )
        assert report.result == "completed"
        assert report.problems == ()
        assert report.underruns == 0
        assert len(report.answers) == 1
        record = await here.server.result(report.call_sid)
        lines = [(line["role"], line["text"]) for line in record["transcript"]]
        assert lines == [("agent", "Good day."), ("caller", "What time is it?"), ("agent", "It is noon.")]
        assert record["usage"]["session.seconds"] >= 4
        session = await here.session()
        await session.closed()
        assert [message["type"] for message in session.record.received][-1] == "session.close"
        assert session.close_code == 1000


async def test_the_agent_stops_by_itself_when_the_caller_talks() -> None:
    story, answer = Reply("A long story.", seconds=8.0), Reply("Yes?", seconds=0.5)
    async with live(voice="tone:440", script=[story, answer]) as here:
        report = await place_call(
            here.server.plan(audio=[Turn(hum(1000, 800), At(2000))], hang_up=WhenQuiet(1500), seconds=15)
        )
        assert report.result == "completed"
        assert report.seconds < 8, "the story was not told to its end"
        assert report.clears == 0, "what waits at the carrier is not worth a word"
        record = await here.server.result(report.call_sid)
        assert [line["role"] for line in record["transcript"]] == ["agent", "caller", "agent"]
        assert "story" not in record["transcript"][0]["text"]
        assert record["transcript"][2]["text"] == "Yes?"


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_a_key_reaches_the_model_and_what_it_says_then_is_heard() -> None:
    script = [Reply("A long menu.", seconds=3.0), Reply("Sales.", seconds=1.0)]
    async with live(voice="tone:440", script=script) as here, here.server.stream() as stream:
        await spoken(stream, 300)
        await stream.dtmf("5")
        session = await here.session()
        await session.until(lambda s: len(s.record.messages(COMMENTARY)) == 2)
        (note,) = session.record.messages("session.instructions.append")
        assert "5" in note["content"]
        await stream.until(lambda: "clear" in stream.events)
        before = len(stream.audio)
        await stream.until(lambda: len(stream.audio) - before > MULAW_8K.size(500))
        assert level_db(stream.audio[-MULAW_8K.size(300) :], 440) > -3, "nothing that comes later is thrown away"


# --- leaving ----------------------------------------------------------------------------------------------------------


async def test_a_silent_caller_is_asked_and_let_go_although_audio_never_stops() -> None:
    script = ["Good day.", "Are you there?", "Bye."]
    async with live(script=script, latency=0.1, env={"SILENCE_SECONDS": "4"}) as here:
        report = await place_call(here.server.plan(hang_up=None, seconds=20))
        assert report.ended_by == "server"
        record = await here.server.result(report.call_sid)
        assert record["result"] == "silence"
        assert [line["text"] for line in record["transcript"]] == script
        assert 4 < report.seconds < 8


async def test_a_caller_who_says_something_is_not_let_go() -> None:
    script = ["Good day.", "Are you there?", "Fine."]
    async with live(script=script, latency=0.1, env={"SILENCE_SECONDS": "4"}) as here:
        report = await place_call(
            here.server.plan(audio=[Turn(speech("hello"), At(2500))], hang_up=At(6500), seconds=20)
        )
        assert report.ended_by == "caller"


async def test_a_goodbye_of_ours_is_heard_to_its_end() -> None:
    async with live(script=["Good day."]) as here, here.server.stream() as stream:
        await spoken(stream, 300)
        bridge = here.server.bridge(stream.call_sid)
        loop = asyncio.get_running_loop()
        began = loop.time()
        bridge.hang_up(EndReason.DRAINED)
        await stream.ends()
        assert prompt("goodbye").audio in stream.audio
        assert loop.time() - began > MULAW_8K.milliseconds(len(prompt("goodbye").audio)) / 1000


# --- when it dies -----------------------------------------------------------------------------------------------------


def murmur(milliseconds: float) -> bytes:
    """Too soft for speech, yet each sample differs from its neighbours."""
    soft = np.array([*range(0x78, 0x80), *range(0xF8, 0x100)], dtype=np.uint8)
    return np.random.default_rng(1).choice(soft, MULAW_8K.size(milliseconds)).tobytes()


async def test_it_is_followed_by_another_session_of_its_own_before_its_time_is_up() -> None:
    """No frame of the caller is lost, nobody is greeted again, and the successor knows what was said."""
    faults, script = ("session-expired=6*1",), ["From the first."]
    async with live(faults=faults, script=script) as here:
        told = murmur(6000)
        report = await place_call(here.server.plan(audio=told, hang_up=At(6500), seconds=15))
        assert (report.result, report.ended_by) == ("completed", "caller")
        first, successor = await here.session(1), await here.session(2)
        assert first.close_code == 1000
        assert [message["type"] for message in successor.record.received] == ["session.start", "session.close"]
        assert successor.record.received[0]["session"]["input"] == [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": script[0]}]}
        ]
        earlier, later = bytes(first.record.audio), bytes(successor.record.audio)
        begins, goes_on = told.find(earlier[-160:]) + 160, told.find(later[:160])
        assert told[:160] in earlier
        assert 0 < goes_on <= begins, "in one piece, from the one to the other"
        assert told[goes_on:] in later
        record = await here.server.result(report.call_sid)
        assert record["provider"] == "openai-live"
        assert [line["text"] for line in record["transcript"]] == script


async def fail(simulator: OpenAISimulator) -> None:
    """The provider's servers are gone."""
    await simulator.__aexit__(None, None, None)


@asynccontextmanager
async def two(order: str) -> AsyncIterator[tuple[Tandem, OpenAILiveSimulator, OpenAISimulator]]:
    async with (
        OpenAILiveSimulator(script=["From live."], transcripts=["What time is it?"]) as duplex,
        OpenAISimulator(script=["From turns."]) as turns,
        tandem(
            {
                "PROVIDERS": order,
                "OPENAI_API_KEY": "planted-key",
                "OPENAI_LIVE_URL": duplex.url,
                "OPENAI_REALTIME_URL": turns.url,
            }
        ) as server,
    ):
        yield server, duplex, turns


async def test_a_provider_with_turns_takes_over_what_was_said() -> None:
    async with two("openai-live,openai") as (server, duplex, turns), server.stream() as stream:
        await spoken(stream, 600)
        await until(lambda: server.bridge(stream.call_sid).call.history(asyncio.get_running_loop().time()))
        await fail(duplex)
        successor = await turns.session(1)
        await successor.until(lambda s: bool(s.record.messages("conversation.item.create")))
        (item,) = [message["item"] for message in successor.record.messages("conversation.item.create")]
        assert item["content"] == [{"type": "output_text", "text": "From live."}]
        words = noise(500)
        await stream.media(words)
        await successor.until(lambda s: words in bytes(s.record.audio))


async def test_it_takes_over_from_a_provider_with_turns() -> None:
    async with two("openai,openai-live") as (server, duplex, turns), server.stream() as stream:
        await until(lambda: server.bridge(stream.call_sid).call.history(asyncio.get_running_loop().time()))
        await fail(turns)
        successor = await duplex.session(1)
        await successor.until(lambda s: bool(s.record.messages("session.start")))
        (start,) = successor.record.messages("session.start")
        assert start["session"]["input"][0]["content"][0]["type"] == "output_text"
        await until(lambda: server.bridge(stream.call_sid).call.stats.provider == "openai-live")
        words = noise(500)
        await stream.media(words)
        await successor.until(lambda s: words in bytes(s.record.audio))


@pytest.mark.parametrize("fault", ["cut", "close-mid-response", "session-expired=1"])
async def test_a_session_that_dies_is_opened_anew(fault: str) -> None:
    async with live(faults=(f"{fault}*1",)) as here, here.server.stream() as stream:
        successor = await here.session(2)
        await successor.until(lambda s: bool(s.record.messages("session.start")))
        words = noise(300)
        await stream.media(words)
        await successor.until(lambda s: words in bytes(s.record.audio))
