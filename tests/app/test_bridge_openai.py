"""Calls between a carrier and the OpenAI simulator over real sockets, in G.711 pass-through and in 24 kHz PCM16."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from servers import Stream, Tandem, tandem, until
from sounds import hum, level_db, noise, silence, speech

from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_connection import SimulatedSession
from tandem.simulators.openai_script import Reply
from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_24K, AudioFormat

FORMATS = {"auto": MULAW_8K, "pcm16": PCM16_24K}
both = pytest.mark.parametrize("mode", FORMATS)


class Openai:
    """A server whose provider is a simulator."""

    def __init__(self, server: Tandem, simulator: OpenAISimulator, audio_format: AudioFormat) -> None:
        self.server = server
        self.simulator = simulator
        self.format = audio_format

    async def session(self) -> SimulatedSession:
        return await self.simulator.session(1)


@asynccontextmanager
async def openai(
    mode: str, *, faults: tuple[str, ...] = (), env: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Openai]:
    async with (
        OpenAISimulator(faults=faults, **options) as simulator,
        tandem(
            env,
            PROVIDERS="openai",
            OPENAI_API_KEY="planted-key",
            OPENAI_REALTIME_URL=simulator.url,
            OPENAI_AUDIO=mode,
        ) as server,
    ):
        yield Openai(server, simulator, FORMATS[mode])


async def greeted(stream: Stream) -> None:
    """The first response is over, and heard."""
    await stream.until(lambda: stream.got[-1:] and stream.got[-1]["event"] == "mark" and len(stream.audio) > 4000)


def said(session: SimulatedSession, audio_format: AudioFormat) -> bytes:
    """All that the provider said, as the caller must hear it: each item whole, tails included."""
    items: dict[str, bytes] = {}
    for event in session.record.events("response.output_audio.delta"):
        items[event["item_id"]] = items.get(event["item_id"], b"") + base64.b64decode(event["delta"])
    heard = b""
    for audio in items.values():
        converter = Converter(audio_format, MULAW_8K)
        heard += converter.feed(audio) + converter.flush()
    return heard


# --- who is heard -----------------------------------------------------------------------------------------------------


@both
async def test_each_side_hears_the_other_and_not_itself(mode: str) -> None:
    async with openai(mode, voice="tone:440", seconds=1.0) as here, here.server.stream(plays=True) as stream:
        await greeted(stream)
        session = await here.session()
        await stream.media(hum(1000, 1000) + silence(1000))
        await stream.until(lambda: len(stream.audio) >= MULAW_8K.size(2000))
        heard = stream.audio[MULAW_8K.size(100) : MULAW_8K.size(900)]
        assert abs(level_db(heard, 440)) < 1
        assert level_db(heard, 1000) < -40
        turn = session.record.turns[0]
        turn = turn[here.format.size(400) : here.format.size(1200)]  # 300 ms of padding before the hum
        assert abs(level_db(turn, 1000, here.format)) < 1
        assert level_db(turn, 440, here.format) < -40


@both
async def test_p7_no_sample_of_the_caller_is_lost_or_added(mode: str) -> None:
    async with openai(mode) as here, here.server.stream(plays=True) as stream:
        session = await here.session()
        words = noise(3000)
        await stream.media(words)
        wanted = Converter(MULAW_8K, here.format).feed(words)
        await session.until(lambda s: len(s.record.audio) >= len(wanted))
        heard = bytes(session.record.audio)
        place = heard.find(wanted)
        assert place >= 0, "each of them, in order, in one piece"
        quiet = here.format.silence(20)[: here.format.sample_bytes]
        assert heard[:place].strip(quiet) == b"", "before it only the silence of the clock"


@both
async def test_p7_no_sample_of_the_agent_is_lost_or_added_tails_and_back_to_back_responses_included(mode: str) -> None:
    replies = [Reply("One two three four five six.", seconds=0.777, items=3), Reply("Seven eight.", seconds=0.601)]
    async with (
        openai(mode, script=replies, odd_deltas=mode == "pcm16", delta_ms=(7, 130)) as here,
        here.server.stream(plays=True) as stream,
    ):
        session = await here.session()
        await session.until(lambda s: bool(s.record.events("response.done")))
        await greeted(stream)
        await stream.media(speech("wait"))
        await session.until(lambda s: len(s.record.events("response.done")) == 2)
        wanted = said(session, here.format)
        await stream.until(lambda: len(stream.audio) >= len(wanted))
        assert stream.audio == wanted
        lasts = sum(
            len(base64.b64decode(each["delta"])) for each in session.record.events("response.output_audio.delta")
        )
        assert lasts / here.format.bytes_per_ms == pytest.approx(777 + 601, abs=1)


@both
async def test_the_agent_speaks_first_and_in_the_words_that_are_configured(mode: str) -> None:
    env = {"GREETING": "Welcome to the test line.", "INSTRUCTIONS": "Be brief.", "VOICE": "cedar"}
    async with openai(mode, env=env) as here, here.server.stream(plays=True) as stream:
        await greeted(stream)
        session = await here.session()
        (update,) = session.record.messages("session.update")
        assert update["session"]["instructions"].startswith("Be brief.")
        assert update["session"]["audio"]["output"]["voice"] == "cedar"
        kind = {"auto": "audio/pcmu", "pcm16": "audio/pcm"}[mode]
        assert update["session"]["audio"]["input"]["format"]["type"] == kind
        assert update["session"]["audio"]["output"]["format"]["type"] == kind
        await stream.until(lambda: len(stream.audio) >= len(said(session, here.format)))
        record = await here.server.record(stream.call_sid)
        assert [(line["role"], line["text"]) for line in record["transcript"]] == [
            ("agent", "Welcome to the test line.")
        ]
        assert record["provider"] == "openai"
        assert record["model"]


async def test_p8_the_first_words_wait_for_no_handshake() -> None:
    """The provider is opened while the carrier sets up its stream: its greeting is there before the start."""
    async with openai("auto", voice="tone:300") as here:
        dialled = await here.server.dial()
        session = await here.session()
        await session.until(lambda s: bool(s.record.events("response.done")))
        await until(lambda: here.server.bridge(dialled.call_sid).call.ledger.held_ms > 500)
        async with dialled.stream() as stream:
            await stream.start()
            await stream.speaks(500)
        assert (await here.server.result(dialled.call_sid))["first_audio_seconds"] < 0.015


async def test_keys_reach_the_provider() -> None:
    async with openai("auto") as here, here.server.stream(plays=True) as stream:
        await greeted(stream)
        session = await here.session()
        await stream.dtmf("5")
        await session.until(lambda s: bool(s.record.messages("conversation.item.create")))
        (item,) = session.record.messages("conversation.item.create")
        assert "5" in str(item["item"]["content"])


async def test_the_conversation_is_recorded_in_its_order_however_late_the_words_come() -> None:
    async with (
        openai(
            "auto", transcripts=["What time is it?"], transcription_delay=0.3, script=["Hello.", "It is noon."]
        ) as here,
        here.server.stream(plays=True) as stream,
    ):
        await greeted(stream)
        await stream.media(speech("hello"))
        session = await here.session()
        done = "conversation.item.input_audio_transcription.completed"
        await session.until(lambda s: bool(s.record.events(done)))
        await stream.until(lambda: len(stream.audio) >= len(said(session, MULAW_8K)))
        record = await here.server.record(stream.call_sid)
        assert [(line["role"], line["text"]) for line in record["transcript"]] == [
            ("agent", "Hello."),
            ("caller", "What time is it?"),
            ("agent", "It is noon."),
        ]
        assert record["usage"]["response.output_tokens"] > 0


async def test_when_the_carrier_hangs_up_the_providers_session_is_closed() -> None:
    """R10: at once, and politely."""
    async with openai("auto") as here:
        async with here.server.stream() as stream:
            await stream.speaks()
            await stream.stop()
            await stream.ends()
        session = await here.session()
        await session.closed()
        assert session.close_code == 1000


# --- who takes the call -----------------------------------------------------------------------------------------------


async def test_a_successor_at_another_rate_hears_every_early_word_in_order() -> None:
    async with (
        OpenAISimulator(faults=["silent"]) as primary,
        OpenAISimulator() as backup,
        tandem(
            PROVIDERS="openai,openai@backup",
            OPENAI_API_KEY="planted-key",
            OPENAI_REALTIME_URL=primary.url,
            BACKUP_OPENAI_REALTIME_URL=backup.url,
            BACKUP_OPENAI_AUDIO="pcm16",
            CONNECT_SECONDS="2",  # for both; what the first one leaves must do on a busy machine, too
        ) as server,
        server.stream(plays=True) as stream,
    ):
        early = noise(2000, seed=2)
        await stream.media(early)
        successor = await backup.session(1)
        await successor.until(lambda s: len(s.record.audio) >= PCM16_24K.size(2000))
        assert Converter(MULAW_8K, PCM16_24K).feed(early) in bytes(successor.record.audio)
        await stream.speaks(500)
        record = await server.record(stream.call_sid)
        assert record["provider"] == "openai@backup"
        assert await server.metric("provider_attempts_total", provider="openai@backup", outcome="ready") == 1
        assert [session.record.audio for session in primary.sessions] == [b""]


async def test_echo_stands_in_only_where_it_is_named() -> None:
    async with OpenAISimulator(faults=["refuse=401"]) as simulator:
        env = {"OPENAI_API_KEY": "planted-key", "OPENAI_REALTIME_URL": simulator.url}
        async with tandem(env, PROVIDERS=None) as server, server.stream(plays=True) as stream:
            assert (await stream.ends()) == (1000, "providers_failed")
            record = await server.result(stream.call_sid)
            assert (record["result"], record["provider"]) == ("providers_failed", "")
        async with tandem(env, PROVIDERS="openai,echo") as server, server.stream(plays=True) as stream:
            await stream.speaks(1000)
            assert (await server.record(stream.call_sid))["provider"] == "echo"
