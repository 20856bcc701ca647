"""Whole calls by Telnyx: who hears whom in every codec and with every kind of voice, what the network does to them, and
how they end."""

from __future__ import annotations

import asyncio

import pytest
from servers import CALLED, CALLER, until
from sounds import hum, level_db, noise, silence
from telnyx_play import EVENTS, VOICE, line

from tandem.simulators.api_server import CUT
from tandem.simulators.gemini import GeminiSimulator
from tandem.simulators.line import Faults, Inject, Shuffle
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.phone import At, BargeIn, Turn, WhenQuiet
from tandem.simulators.plan import CallEvent
from tandem.simulators.telnyx import Exchange
from tandem.simulators.telnyx_documents import obey_documents
from tandem.simulators.telnyx_line import Quirks
from tandem_codecs.convert import Converter
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K

# --- whole calls ------------------------------------------------------------------------------------------------------

both_ways = pytest.mark.parametrize("way", [EVENTS, VOICE])


async def test_a_call_on_the_echo_with_tones_both_ways() -> None:
    """The caller hums after the greeting and hears the hum again: as loud as it was, and nothing else."""
    turns = [Turn(hum(1000, 1500) + silence(200), WhenQuiet())]
    async with line() as here:
        leg_events: list[CallEvent] = []
        report = await here.exchange.call(here.plan(audio=turns, hang_up=WhenQuiet(900)), leg_events.append)
        assert report.went_well, report.problems
        assert (report.result, report.ended_by, report.underruns, report.gap_ms) == ("completed", "caller", 0, 0.0)
        assert len(report.answers) == 1
        await here.server.empty()
        record = await here.server.record(report.call_sid)
        assert (record["carrier"], record["result"], record["caller_turns"]) == ("telnyx", "caller_hung_up", 1)
        assert (record["caller"], record["called"]) == (CALLER, CALLED)
        assert here.commands == ["answer", "streaming_start", "hangup"]


CODEC_CALLS = {
    "PCMU": ("PCMU", EVENTS, Quirks()),
    "PCMU-texml": ("PCMU", VOICE, Quirks(parameters_as="pairs")),
    "PCMA": ("PCMA", EVENTS, Quirks(leg_codec="PCMA", parameters_as="pairs")),
    "L16": ("L16", EVENTS, Quirks()),
    "L16-big": ("L16", EVENTS, Quirks(l16_order="big")),
    "L16-8k": ("L16/8000", EVENTS, Quirks(l16_rate=8000)),
}


@pytest.mark.parametrize("name", CODEC_CALLS)
async def test_each_side_hears_the_other_and_not_itself(name: str) -> None:
    """A provider that hums at 440 Hz and a caller at 1000 Hz."""
    codec, way, quirks = CODEC_CALLS[name]
    async with (
        OpenAISimulator(voice="tone:440", seconds=1.0) as provider,
        line(
            Exchange(quirks=quirks),
            PROVIDERS="openai",
            OPENAI_API_KEY="planted-key",
            OPENAI_REALTIME_URL=provider.url,
            TELNYX_CODEC=codec,
            TELNYX_L16_ORDER=quirks.l16_order,
        ) as here,
    ):
        leg = here.exchange.leg(here.plan(way, audio=[Turn(hum(1000, 1000), At(1_300))], hang_up=At(3_300)))
        await (leg.ring() if way == EVENTS else obey_documents(leg))
        assert leg.problems == []
        session = await provider.session(1)
        began = MULAW_8K.size(leg.lines[0].conversation.first_audio_ms or 0)
        heard = bytes(leg.sound.agent)[began + MULAW_8K.size(120) : began + MULAW_8K.size(920)]
        assert abs(level_db(heard, 440)) < 1
        assert level_db(heard, 1000) < -40
        provider_hears = {"PCMU": MULAW_8K, "PCMA": ALAW_8K}.get(codec, PCM16_24K)  # G.711 is passed on as it is
        turn = session.record.turns[0]
        turn = turn[provider_hears.size(400) : provider_hears.size(1200)]  # 300 ms of padding before the hum
        assert abs(level_db(turn, 1000, provider_hears)) < 1
        assert level_db(turn, 440, provider_hears) < -40


async def test_a_call_with_gemini() -> None:
    """A provider that speaks PCM at its own rates."""
    async with (
        GeminiSimulator(voice="tone:440", seconds=0.6) as provider,
        line(PROVIDERS="gemini", GEMINI_API_KEY="planted-key", GEMINI_LIVE_URL=provider.url) as here,
    ):
        leg = here.exchange.leg(here.plan(audio=[Turn(hum(1000, 1000))], hang_up=WhenQuiet(1000), seconds=12))
        await leg.ring()
        assert leg.problems == []
        assert leg.report().heard_ms >= 600
        began = MULAW_8K.size(leg.lines[0].conversation.first_audio_ms or 0)
        heard = bytes(leg.sound.agent)[began + 800 : began + 4000]
        assert abs(level_db(heard, 440)) < 1
        assert level_db(heard, 1000) < -40
        session = await provider.session(1)
        await session.closed()
        assert session.record.heard_ms > 1000


# --- what the network does (R20, R21, R25, R26) -----------------------------------------------------------------------


def with_openai(provider: OpenAISimulator) -> dict[str, str | None]:
    return {"PROVIDERS": "openai", "OPENAI_API_KEY": "planted-key", "OPENAI_REALTIME_URL": provider.url}


@pytest.mark.parametrize("order", [(1, 0), (2, 1, 0), (3, 0, 1, 2), (1, 0, 3, 3, 2)], ids=str)
async def test_r26_media_out_of_order_is_put_right(order: tuple[int, ...]) -> None:
    """Telnyx promises no order, so this is not even a fault."""
    words = noise(600)
    faults = Faults(media_order=Shuffle(max(order) + 1, order))
    async with OpenAISimulator() as provider, line(None, **with_openai(provider)) as here:
        report = await here.call(audio=words, hang_up=At(900), faults=faults)
        assert report.problems == ()
        session = await provider.session(1)
        assert words in bytes(session.record.audio)


async def test_r20_r21_nonsense_in_between_is_dropped_and_counted() -> None:
    words = noise(400)
    nonsense = ["{", "[]", '{"event":"media","media":{"payload":"@@@@"}}', '{"event":"snow"}']
    faults = Faults(inject=[Inject(100 + 40 * number, frame) for number, frame in enumerate(nonsense)])
    async with OpenAISimulator() as provider, line(None, **with_openai(provider)) as here:
        report = await here.call(audio=words, hang_up=At(700), faults=faults)
        assert (report.problems, report.ended_by) == ((), "caller")
        session = await provider.session(1)
        assert words in bytes(session.record.audio)
        await here.server.empty()
        assert await here.server.metric("bad_frames_total", reason="unreadable") == 3


async def test_r24_media_before_the_start_two_starts_and_two_stops_are_survived() -> None:
    async with line() as here:
        report = await here.call(hang_up=At(500), faults=Faults(media_before_start=2, starts=2, stops=2))
        assert report.problems == ()
        await here.server.empty()
        assert (await here.server.record(report.call_sid))["result"] == "caller_hung_up"


async def test_r25_a_leg_in_a_law_is_heard_and_answered_though_mu_law_was_asked_for() -> None:
    """Where Telnyx can not transcode, the stream has the codec of the call, and says so."""
    words = noise(400)
    faults = Faults(audio=ALAW_8K, announce=("PCMA", 8000, 1))
    async with OpenAISimulator() as provider, line(None, **with_openai(provider)) as here:
        await here.call(audio=words, hang_up=At(700), faults=faults)
        session = await provider.session(1)
        there = Converter(MULAW_8K, ALAW_8K).feed(words)
        assert Converter(ALAW_8K, MULAW_8K).feed(there) in bytes(session.record.audio)


async def test_r25_a_codec_that_nobody_asked_for_is_refused_and_the_call_ended() -> None:
    async with line() as here:
        report = await here.call(hang_up=None, seconds=8, faults=Faults(announce=("OPUS", 16000, 1)))
        assert report.close_code == 1003
        assert here.commands == ["answer", "streaming_start", "hangup"]
        await here.server.empty()
        assert (await here.server.record(report.call_sid))["result"] == "wrong_format"


@pytest.mark.parametrize("faults", [Faults(breaks_at_ms=200), Faults(vanishes_at_ms=200)], ids=["reset", "silence"])
async def test_r10_r11_a_stream_that_is_lost_ends_the_call(faults: Faults) -> None:
    async with line() as here:
        here.server.hurry(carrier_gone_seconds=0.5)
        report = await here.call(hang_up=None, seconds=3, faults=faults)
        await here.server.empty()
        result = (await here.server.record(report.call_sid))["result"]
        assert result in ("carrier_lost", "carrier_silent", "caller_hung_up")
        assert here.commands[-1] in ("hangup", "streaming_start")


# --- how it sounds when somebody interrupts ---------------------------------------------------------------------------


async def test_a_barge_in_is_obeyed_and_the_marks_come_back() -> None:
    turns = [Turn(hum(700, 900), BargeIn(500))]
    async with line() as here:
        report = await here.call(audio=turns, hang_up=WhenQuiet(1500), seconds=12)
        assert report.clears == 1
        assert report.cleared_ms > 100
        assert report.interruptions[0].latency_ms is not None
        assert report.interruptions[0].latency_ms < 500
        assert report.problems == ()


# --- when our side ends the call --------------------------------------------------------------------------------------


async def test_a_call_that_we_end_is_hung_up_over_the_api() -> None:
    """Closing the socket does not end it: the caller would sit on a silent line."""
    async with line(MAX_CALL_SECONDS="1.5") as here:
        report = await here.call(hang_up=None, seconds=20)
        assert report.problems == ()
        assert (report.ended_by, report.result) == ("server", "completed")
        assert here.commands == ["answer", "streaming_start", "hangup"]
        assert ("call.hangup", 200) in report.callbacks
        await here.server.empty()
        assert (await here.server.record(report.call_sid))["result"] == "max_duration"


async def test_a_texml_call_that_we_end_is_ended_by_its_document() -> None:
    async with line(MAX_CALL_SECONDS="1.5") as here:
        report = await here.call(VOICE, hang_up=None, seconds=20)
        assert report.problems == ()
        assert (report.ended_by, report.result) == ("server", "completed")
        assert here.commands == []


async def test_a_stream_that_stops_while_the_call_is_up_ends_the_call_too() -> None:
    """Whatever stopped it, nobody is talking to the caller any more."""
    async with line() as here:
        leg = here.exchange.leg(here.plan(hang_up=None))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(leg.ring())
            await until(lambda: leg.lines and leg.lines[0].now > 100)
            leg._stream_stopped.set()
            await until(lambda: leg.over.is_set())
        assert here.commands == ["answer", "streaming_start", "hangup"]
        assert leg.problems == []


async def test_a_hangup_that_fails_is_tried_again_and_then_told() -> None:
    exchange = Exchange(faults={"hangup": [500, CUT]}, patience=1.0)
    async with line(exchange, MAX_CALL_SECONDS="1") as here:
        report = await here.call(hang_up=None, seconds=20)
        assert here.commands == ["answer", "streaming_start", "hangup", "hangup"]
        first, second = here.bodies("hangup")
        assert first == second, "the same command id"
        assert any("left up" in problem for problem in report.problems)
        await here.server.empty()
