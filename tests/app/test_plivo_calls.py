"""Whole calls by Plivo: who hears whom in every codec and with every kind of voice, barge-ins, keys, and transfers."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from plivo_play import Plivo, plivo
from servers import until
from sounds import hum, level_db, silence, speech

from tandem.carriers.plivo import CODECS, content_type
from tandem.simulators.gemini import GeminiSimulator
from tandem.simulators.line import Faults, Inject, Shuffle
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.phone import At, BargeIn, Turn, WhenQuiet
from tandem.simulators.plan import CallReport
from tandem.simulators.plivo import place_call
from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_8K, PCM16_24K

every_codec = pytest.mark.parametrize("codec", CODECS)


async def call(carrier: Plivo, **changes: object) -> CallReport:
    return await place_call(carrier.plan(**changes), api=carrier.api)


@asynccontextmanager
async def openai(codec: str, mode: str = "auto", **options: object) -> AsyncIterator[tuple[Plivo, OpenAISimulator]]:
    async with (
        OpenAISimulator(**options) as simulator,  # type: ignore[arg-type]  # the test knows them
        plivo(
            PLIVO_CODEC=codec,
            PROVIDERS="openai",
            OPENAI_API_KEY="planted-key",
            OPENAI_REALTIME_URL=simulator.url,
            OPENAI_AUDIO=mode,
        ) as carrier,
    ):
        yield carrier, simulator


# --- who hears whom ---------------------------------------------------------------------------------------------------


@every_codec
@pytest.mark.parametrize("mode", ["auto", "pcm16"])
async def test_each_side_hears_the_other_and_not_itself_with_openai(codec: str, mode: str) -> None:
    leg = CODECS[codec]
    kind, _, rate = content_type(leg).partition(";rate=")
    start = {"mediaFormat": {"encoding": kind, "sampleRate": int(rate)}}
    provider = MULAW_8K if mode == "auto" and codec == "mulaw" else PCM16_24K
    async with (
        openai(codec, mode, voice="tone:440", seconds=1.0) as (carrier, simulator),
        carrier.stream(start, plays=True) as stream,
    ):
        stream.format = leg
        session = await simulator.session(1)
        await stream.speaks(900)
        await stream.media(Converter(MULAW_8K, leg).feed(hum(1000, 1000) + silence(1000)))
        await stream.speaks(1900)
        heard = stream.audio[leg.size(100) : leg.size(900)]
        assert abs(level_db(heard, 440, leg)) < 1
        assert level_db(heard, 1000, leg) < -40
        turn = session.record.turns[0]
        turn = turn[provider.size(400) : provider.size(1200)]  # 300 ms of padding before the hum
        assert abs(level_db(turn, 1000, provider)) < 1
        assert level_db(turn, 440, provider) < -40


def channels(path: Path) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Left and right of a recording."""
    with wave.open(str(path)) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return both[:, 0], both[:, 1]


@every_codec
async def test_a_call_with_gemini(codec: str, tmp_path: Path) -> None:
    recording = tmp_path / "call.wav"
    async with (
        GeminiSimulator(voice="tone:440", seconds=0.6) as simulator,
        plivo(
            PLIVO_CODEC=codec, PROVIDERS="gemini", GEMINI_API_KEY="planted-key", GEMINI_LIVE_URL=simulator.url
        ) as carrier,
    ):
        turns = [Turn(hum(1000, 1000))]
        report = await call(carrier, audio=turns, hang_up=WhenQuiet(1000), seconds=12, recording=recording)
        assert report.went_well, report.problems
        assert report.heard_ms >= 600
        session = await simulator.session(1)
        await session.closed()
        assert session.record.heard_ms > 1000
    left, right = channels(recording)
    loud = np.flatnonzero(np.abs(right) > 1000)
    agent = right[loud[0] + 800 : loud[0] + 800 + 3200].tobytes()
    caller_at = np.flatnonzero(np.abs(left) > 1000)[0]
    caller = left[caller_at + 800 : caller_at + 800 + 3200].tobytes()
    assert abs(level_db(agent, 440, PCM16_8K)) < 1
    assert level_db(agent, 1000, PCM16_8K) < -40
    assert abs(level_db(caller, 1000, PCM16_8K)) < 1


async def test_a_conversation_with_the_echo_and_a_barge_in() -> None:
    """A word into the greeting that clears it, its echo, a goodbye: nothing gets lost or stuck."""
    turns = [Turn(speech("wait"), BargeIn(600)), Turn(speech("goodbye"))]
    async with plivo() as carrier:
        report = await call(carrier, audio=turns, hang_up=WhenQuiet(1000), seconds=30)
        assert report.went_well, report.problems
        assert (report.result, report.ended_by, report.clears) == ("completed", "caller", 1)
        (interruption,) = report.interruptions
        assert interruption.latency_ms is not None
        assert interruption.latency_ms < 400
        assert 0 < report.cleared_ms <= 2000, "no more was there than the carrier wants ahead"
        assert report.underruns == 0
        assert report.received_ms == pytest.approx(report.heard_ms + report.cleared_ms + report.unplayed_ms)
        assert len(report.answers) == 2
        assert report.callbacks == (("StartStream", 200), ("StopStream", 200), ("Hangup", 200))
        await carrier.server.empty()
        record = await carrier.server.record(report.call_sid)
        assert (record["result"], record["barge_ins"], record["caller_turns"]) == ("caller_hung_up", 1, 2)


async def test_keys_reach_the_agent() -> None:
    async with plivo() as carrier:
        report = await call(carrier, audio=[Turn(digits="12#", when=At(500))], hang_up=At(2000), seconds=5)
        assert report.went_well, report.problems
        assert report.clears >= 1, "a key is an interruption"


async def test_a_busy_server() -> None:
    async with plivo(MAX_CALLS="1") as carrier:
        await carrier.dial()
        report = await call(carrier)
        assert (report.result, report.seconds < 1) == ("busy", True)


# --- who ends it ------------------------------------------------------------------------------------------------------


async def test_the_agents_goodbye_ends_the_call_at_the_carrier() -> None:
    """Not only our socket: the carrier is told, and its call is over."""
    async with plivo(SILENCE_SECONDS="0.5") as carrier:
        carrier.server.hurry(silence_seconds=1.0)
        report = await call(carrier, hang_up=None, seconds=30)
        assert report.went_well, report.problems
        assert report.ended_by == "server"
        await carrier.server.empty()
        assert (await carrier.server.record(report.call_sid))["result"] == "silence"
        assert ("DELETE", f"/v1/Account/{carrier.plan().account_sid}/Call/{report.call_sid}/") in [
            (request.method, request.path) for request in carrier.api.requests
        ]


# --- transfers --------------------------------------------------------------------------------------------------------


async def transferred(carrier: Plivo, outcome: str, **changes: object) -> CallReport:
    """A call in which the agent transfers the caller once it has spoken; what becomes of the other side."""

    async def transfer() -> None:
        await until(
            lambda: any(each.call.stats.first_audio_seconds is not None for each in carrier.server.board.live.values())
        )
        (bridge,) = carrier.server.board.live.values()
        carrier.api.live[bridge.identity.call_id].dial_status = outcome
        assert bridge.transfer("+15550003000", ring_seconds=20)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(transfer())
        report = await call(carrier, **changes)
    return report


async def test_a_transfer_that_is_answered_is_the_end_of_our_part() -> None:
    async with openai("mulaw", voice="tone:440", seconds=1.1) as (carrier, _):
        report = await transferred(carrier, "completed", hang_up=None, seconds=20)
        assert report.result == "completed"
        assert not report.problems
        assert "DialAnswer" in [what for what, _ in report.callbacks]
        await carrier.server.empty()
        assert (await carrier.server.record(report.call_sid))["result"] == "transferred"
        assert "DELETE" not in [request.method for request in carrier.api.requests], "the line is somebody else's"


async def test_a_transfer_that_nobody_takes_comes_back_to_the_agent() -> None:
    """Pain 24: the caller is never lost. A second stream of the same call, the same provider session, one record."""
    async with openai("mulaw", voice="tone:440", seconds=1.1) as (carrier, simulator):
        report = await transferred(carrier, "busy", hang_up=At(2000), seconds=10)
        assert not report.problems
        assert [what for what, _ in report.callbacks].count("StartStream") == 2
        await carrier.server.empty()
        (record,) = await carrier.server.calls()
        assert (record["call_id"], record["result"]) == (report.call_sid, "caller_hung_up")
        assert len(simulator.sessions) == 1
        told = (await simulator.session(1)).record.received
        assert "the other side is busy" in str(told), "and the agent knows"


async def test_a_transfer_that_the_carrier_refuses_leaves_the_conversation_as_it_was() -> None:
    async with plivo() as carrier, carrier.stream(plays=True) as stream:
        await stream.speaks()
        bridge = carrier.server.bridge(stream.call_id)  # the API does not know this call
        await until(lambda: bridge.call.state.value == "talking")
        assert bridge.transfer("+15550003000")
        await until(lambda: bool(carrier.api.requests))
        await until(lambda: bridge.call.state.value == "talking")
        assert stream.closed is None
        before = len(stream.audio)
        await stream.media(speech("hello"))
        await stream.until(lambda: len(stream.audio) > before)


# --- carriers that misbehave ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(1, 0), (0, 0, 1), (2, 0, 1)], ids=["swapped", "doubled", "rotated"])
async def test_r26_media_out_of_order_or_doubled_is_put_right(order: tuple[int, ...]) -> None:
    shuffle = Shuffle(max(order) + 1, order)
    async with plivo() as carrier:
        report = await call(carrier, hang_up=At(1000), seconds=5, faults=Faults(media_order=shuffle))
        assert report.went_well, report.problems
        await carrier.server.empty()
        assert await carrier.server.metric("gaps_total") == 0, "nothing was given up"


async def test_r10_a_connection_that_is_cut_ends_the_call_within_a_second() -> None:
    async with plivo() as carrier:
        report = await call(carrier, faults=Faults(breaks_at_ms=300), seconds=5)
        assert report.ended_by == "fault"
        await carrier.server.empty(seconds=1)
        assert (await carrier.server.record(report.call_sid))["result"] == "carrier_lost"


async def test_r11_a_carrier_that_vanishes_is_given_up() -> None:
    async with plivo() as carrier:
        carrier.server.hurry(carrier_gone_seconds=0.6)
        report = await call(carrier, faults=Faults(vanishes_at_ms=300), seconds=2)
        assert report.ended_by == "fault"
        assert (await carrier.server.record(report.call_sid))["result"] == "carrier_silent"
        assert "DELETE" in [request.method for request in carrier.api.requests], "and the line is not left open"


async def test_r20_nonsense_in_between_is_counted_and_survived() -> None:
    faults = Faults(inject=[Inject(100, "[]"), Inject(120, '{"event":"media"}'), Inject(140, '{"event":"news"}')])
    async with plivo() as carrier:
        report = await call(carrier, faults=faults, hang_up=At(800), seconds=5)
        assert report.went_well, report.problems
        await carrier.server.empty()
        assert await carrier.server.metric("bad_frames_total") == 2


async def test_a_wrong_call_is_refused() -> None:
    async with plivo() as carrier:
        report = await call(carrier, faults=Faults(wrong_call="97ceeb52-0000"), seconds=5)
        assert report.close_code == 1008
        assert report.ended_by == "server"
