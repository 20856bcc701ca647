"""Providers in a hurry, and carriers that drop, vanish or take nothing (R08, R10 to R12)."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path

from fakes import tasks
from playbook import FRAME
from servers import Tandem, new_sid, raw_stream, tandem, until
from sounds import hum, level_db, silence, speech

from tandem.simulators.line import Faults
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_script import Reply
from tandem.simulators.phone import At
from tandem.simulators.twilio import place_call
from tandem_codecs.format import MULAW_8K
from tandem_providers import frames


def openai_at(simulator: OpenAISimulator) -> dict[str, str]:
    return {"PROVIDERS": "openai", "OPENAI_API_KEY": "planted-key", "OPENAI_REALTIME_URL": simulator.url}


# --- R08: a provider in a hurry ---------------------------------------------------------------------------------------


async def test_r08_two_minutes_at_once_are_sent_on_up_to_the_lead_and_the_rest_is_held_where_a_barge_in_drops_it() -> (
    None
):
    async with (
        OpenAISimulator(
            script=[Reply("On and on.", voice="tone:440", seconds=120), Reply("Yes?", seconds=0.5)]
        ) as simulator,
        tandem(openai_at(simulator)) as server,
        server.stream() as stream,
    ):
        ledger = server.bridge(stream.call_sid).call.ledger
        await until(lambda: ledger.held_ms > 99_000)
        assert 19_500 <= len(stream.audio) / 8 <= 20_500
        await stream.media(hum(1000, 200))
        await stream.until(lambda: "clear" in stream.events)
        assert ledger.held_ms == 0
        before = len(stream.audio)
        await stream.media(silence(700))
        await stream.until(lambda: len(stream.audio) >= before + MULAW_8K.size(500))
        assert len(stream.audio) == before + MULAW_8K.size(500), "nothing of what was dropped"


async def test_r08_more_than_can_be_held_is_not_even_read_and_a_barge_in_is_noticed_all_the_same() -> None:
    """What the provider says of the caller lies behind its audio then: the bridge listens for itself."""
    async with (
        OpenAISimulator(
            script=[Reply("On and on.", voice="tone:440", seconds=240), Reply("Yes?", voice="tone:700", seconds=0.5)]
        ) as simulator,
        tandem(openai_at(simulator)) as server,
        server.stream() as stream,
    ):
        ledger = server.bridge(stream.call_sid).call.ledger
        await until(lambda: ledger.overfull)
        await asyncio.sleep(0.1)  # time for more to come, if anything let it
        assert ledger.held_ms < 150_000, "120 s, and what one read of the socket brought"
        before = len(stream.audio)
        await stream.media(silence(400) + speech("wait"))
        await stream.until(lambda: "clear" in stream.events)
        await stream.until(lambda: len(stream.audio) >= before + MULAW_8K.size(500))
        assert stream.events.count("clear") == 1
        answer = stream.audio[-MULAW_8K.size(500) :]
        assert abs(level_db(answer, 700)) < 1
        assert level_db(answer, 440) < -40
        session = await simulator.session(1)
        assert len(session.record.truncations) == 1
        assert server.bridge(stream.call_sid).call.stats.barge_ins == 1


async def test_a_voice_slower_than_speech_is_counted_as_gaps_and_not_cut_off() -> None:
    async with (
        OpenAISimulator(script=[Reply("Slow.", voice="tone:440", seconds=0.8)], faults=["slow=0.6"]) as simulator,
        tandem(openai_at(simulator)) as server,
    ):
        report = await place_call(server.plan(hang_up=At(1800), seconds=6))
        assert report.heard_ms == 800
        assert report.underruns > 0
        await server.empty()
        assert await server.metric("underruns_total") > 0


# --- R10: sockets that drop -------------------------------------------------------------------------------------------


async def drop(server: Tandem, number: int) -> None:
    """A stream that breaks at one of four places: after the upgrade, the start, some media, the first answer."""
    sid = new_sid("CA")
    start = {"callSid": sid, "accountSid": server.account}
    messages = [{"event": "start", "streamSid": "MZ1", "start": start}] * (number % 4 > 0)
    messages += [{"event": "media", "media": {"payload": "Kioq" * 40}}] * (number % 4 > 1)
    async with raw_stream(server, sid) as client:
        for message in messages:
            client.send(frames.TEXT, json.dumps(message).encode())
        if number % 4 == 3:
            await client.message()
        client.writer.transport.abort()


async def test_r10_a_thousand_dropped_sockets_leave_nothing_behind() -> None:
    async with tandem(MAX_CALLS="2000", MAX_STARTS_PER_SECOND="100000") as server:
        await drop(server, 3)  # whatever is made once is there now
        await server.empty()
        before, open_before = tasks(), open_files()
        for first in range(0, 1000, 25):
            await asyncio.gather(*(drop(server, number) for number in range(first, first + 25)))
        await server.empty(seconds=1)
        await until(lambda: open_files() <= open_before, seconds=1)
        assert tasks() <= before
        assert await server.metric("calls_live") == 0
        assert await server.metric("calls_total", result="carrier_lost") == 1001


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


async def test_r10_the_provider_is_closed_within_a_second_of_the_drop() -> None:
    async with OpenAISimulator() as simulator, tandem(openai_at(simulator)) as server:
        async with server.stream() as stream:
            await stream.speaks()
            session = await simulator.session(1)
        began = time.monotonic()
        await session.closed()
        assert time.monotonic() - began < 1
        assert (await server.result(stream.call_sid))["result"] == "carrier_lost"


# --- R11 and R12: a carrier that vanishes, or takes nothing -----------------------------------------------------------


async def test_r11_a_carrier_that_says_nothing_any_more_is_gone() -> None:
    async with OpenAISimulator() as simulator, tandem(openai_at(simulator)) as server:
        server.hurry(carrier_gone_seconds=0.5)
        plan = server.plan(seconds=1.2, hang_up=None, faults=Faults(vanishes_at_ms=200))
        report = await place_call(plan)
        assert report.ended_by == "fault"
        record = await server.result(report.call_sid)
        assert record["result"] == "carrier_silent"
        assert 0.6 <= record["seconds"] <= 1.0
        session = await simulator.session(1)
        await session.closed()


async def test_r11_a_carrier_that_sends_no_silence_but_answers_is_there() -> None:
    """Some send no frames while the caller says nothing: a mark now and then proves that they live."""
    async with tandem() as server:
        server.hurry(carrier_gone_seconds=0.6)
        async with server.stream(plays=True) as stream:
            await until(lambda: sum(name.startswith("probe") for name in stream.marks) >= 3)
            assert stream.closed is None


async def test_r12_a_carrier_that_never_reads_is_let_go_and_little_is_queued_for_it() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # or the kernel alone would take it all in
        async with (
            OpenAISimulator(script=[Reply("On and on.", voice="tone:440", seconds=100)]) as simulator,
            tandem(openai_at(simulator)) as server,
        ):
            server.hurry(carrier_gone_seconds=0.5)
            dialled = await server.dial()
            narrow.setblocking(False)
            await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", server.settings.port))
            async with dialled.stream(sock=narrow) as stream:
                stream.socket.transport.pause_reading()
                await stream.start()
                most = 0
                bridge = server.bridge(stream.call_sid)
                while bridge.call.end_reason is None:
                    most = max(most, bridge.socket.buffered if bridge.socket else 0)
                    await stream.media(FRAME)  # alive, but deaf
                    await asyncio.sleep(0.02)
            record = await server.result(dialled.call_sid)
            assert record["result"] == "carrier_stalled"
            assert 65_536 < most <= 256 * 1024, "4 MB without a limit"
            session = await simulator.session(1)
            await session.closed()
