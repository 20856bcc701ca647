"""Carriers that lie and stammer: frames that cannot be read, floods, any order, any codec (R20 to R26)."""

from __future__ import annotations

import time

import numpy as np
import pytest
from bridging import line
from playbook import FRAME
from servers import log_lines, new_sid, raw_stream, tandem, until
from sounds import hum, level_db, noise, samples, silence
from websockets.exceptions import ConnectionClosed

from tandem.simulators.line import Faults, Shuffle
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.phone import At
from tandem.simulators.twilio import place_call
from tandem_codecs.convert import Converter
from tandem_codecs.format import ALAW_8K, MULAW_8K
from tandem_providers import frames

MALFORMED = [
    "",
    "{",
    "[]",
    "null",
    "NaN",
    '"media"',
    "[" * 60_000,
    '{"event":' * 5_000,
    '{"event":"media"}',
    '{"event":"media","media":{"payload":NaN}}',
    '{"event":"media","media":{"payload":"","chunk":"1"}}',
    '{"event":"media","media":{"payload":"@@@@"}}',
    '{"event":"media","media":{"payload":"Kio"}}',
    '{"event":"media","media":{"payload":"Kioq","chunk":"-1"}}',
    '{"event":"media","media":{"payload":"Kioq","chunk":' + "9" * 400 + "}}",
    '{"event":"media","media":{"payload":7}}',
    '{"event":"media","media":[]}',
    '{"event":"mark","mark":{}}',
    '{"event":"dtmf","dtmf":{"digit":"99"}}',
    '{"event":"start"}',
    '{"event":"start","streamSid":"MZ2","start":{"callSid":"CA1","accountSid":"AC1"}}',
    '{"event":["media"]}',
    '{"no":"event"}',
    "\x00",
]


def openai_at(simulator: OpenAISimulator) -> dict[str, str]:
    return {"PROVIDERS": "openai", "OPENAI_API_KEY": "planted-key", "OPENAI_REALTIME_URL": simulator.url}


# --- R20 to R22: frames that cannot be read ---------------------------------------------------------------------------


async def test_r20_r21_what_cannot_be_read_is_dropped_and_counted_and_the_call_goes_on() -> None:
    for number, bad in enumerate(MALFORMED):
        with log_lines() as lines:
            async with line() as one:
                await until(lambda one=one: one.bridge.call.stats.provider)  # type: ignore[misc]  # bound in the loop
                one.start()
                took = []
                for _ in range(4):
                    began = time.perf_counter()
                    one.bridge.on_message(bad.encode(), True)
                    took.append(time.perf_counter() - began)
                one.media(FRAME)
                assert one.session.heard == FRAME, bad[:50]
                assert one.socket.closed is None, bad[:50]
                counted = sum(one.bridge.call.stats.bad_frames.values())
        assert counted == 4, (number, bad[:50], one.bridge.call.stats.bad_frames)
        assert min(took) < 0.002
        assert not [each for each in lines if each["level"] == "error"], bad[:50]


async def test_r20_kinds_that_nobody_knows_are_no_mistake() -> None:
    async with tandem() as server, server.stream() as stream:
        for number in range(20):
            await stream.send(f"new-kind-{number}", news={"x": number})
        await stream.media(FRAME)
        await stream.speaks()
        assert stream.closed is None
        assert server.bridge(stream.call_sid).call.stats.bad_frames == {}


async def test_r20_five_in_ten_seconds_close_with_1007() -> None:
    with log_lines() as lines:
        async with tandem() as server, server.stream() as stream:
            for bad in MALFORMED[:5]:
                await stream.raw(bad)
            assert await stream.ends() == (1007, "bad_stream")
            assert (await server.result(stream.call_sid))["result"] == "bad_stream"
            assert await server.metric("bad_frames_total", reason="unreadable") == 5
    assert not [each for each in lines if each["level"] == "error"]


async def test_r20_invalid_utf8_closes_with_1007() -> None:
    async with tandem() as server, server.stream() as stream:
        await stream.speaks()
        mask = b"\x01\x02\x03\x04"
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(b'{"event":"\xff\xfe"}'))
        stream.socket.transport.write(bytes([0x81, 0x80 | len(payload)]) + mask + payload)
        assert (await stream.ends())[0] == 1007


async def test_r21_a_frame_that_is_no_base64_leaves_the_rest_of_the_voice_as_it_was() -> None:
    words = [noise(20, seed=number) for number in range(12)]
    async with OpenAISimulator() as simulator, tandem(openai_at(simulator)) as server, server.stream() as stream:
        session = await simulator.session(1)
        for number, word in enumerate(words):
            await stream.frame("@@" * 80 if number == 5 else word, number=number)
        wanted = b"".join(words[:5]) + silence(20) + b"".join(words[6:])
        await session.until(lambda s: len(s.record.audio) >= len(wanted))
        assert wanted in bytes(session.record.audio)


@pytest.mark.parametrize("size", [64 * 1024 + 1, 16 * 1024 * 1024])
async def test_r22_a_frame_over_the_limit_closes_with_1009(size: int) -> None:
    with log_lines() as lines:
        async with tandem() as server:
            sid = new_sid("CA")
            async with raw_stream(server, sid) as client:
                client.send(frames.TEXT, b"x" * size)
                assert await client.close_code() == 1009
            await server.empty()
            assert await server.metric("calls_total", result="carrier_lost") == 1
    assert [each["close_code"] for each in lines if each["event"] == "call ended"] == [1009]


# --- R23: floods ------------------------------------------------------------------------------------------------------


async def test_r23_a_binary_frame_closes_with_1003() -> None:
    async with tandem() as server, server.stream() as stream:
        await stream.raw(b"\x00" * 160)
        assert await stream.ends() == (1003, "bad_stream")
        assert await server.metric("bad_frames_total", reason="binary frame") == 1


async def test_r23_more_than_two_hundred_messages_a_second_close_with_1008() -> None:
    async with tandem() as server, server.stream() as stream, server.stream(plays=True) as neighbour:
        await stream.media(FRAME * 900)
        assert (await stream.ends())[0] == 1008
        await neighbour.speaks(1000)
        assert neighbour.closed is None
        assert (await server.result(stream.call_sid))["result"] == "carrier_lost"


async def test_r23_a_flood_of_pings_closes_with_1008() -> None:
    async with tandem() as server, server.stream() as stream:
        for _ in range(900):
            try:
                await stream.socket.ping()
            except ConnectionClosed:
                break
        assert (await stream.ends())[0] == 1008


# --- R24: any order ---------------------------------------------------------------------------------------------------


async def test_r24_media_before_the_start_two_starts_and_two_stops_are_survived() -> None:
    async with tandem() as server:
        faults = Faults(media_before_start=2, starts=2, stops=2)
        report = await place_call(server.plan(hang_up=At(300), seconds=4, faults=faults))
        assert report.result == "completed"
        assert report.heard_ms > 200
        record = await server.result(report.call_sid)
        assert record["result"] == "caller_hung_up"
        assert await server.metric("bad_frames_total", reason="media before start") == 2
        assert await server.metric("bad_frames_total", reason="a second start") == 1


async def test_r24_frames_after_the_stop_are_nothing() -> None:
    async with tandem() as server, server.stream() as stream:
        await stream.stop()
        await stream.media(FRAME * 3)
        await stream.start()
        assert await stream.ends() == (1000, "caller_hung_up")


async def test_r24_a_start_that_never_comes_is_not_made_up_for_by_other_frames() -> None:
    async with tandem() as server:
        server.hurry(start_seconds=0.3)
        async with server.stream(start=False) as stream:
            for _ in range(3):
                await stream.mark("m1")
                await stream.send("connected")
            assert await stream.ends() == (1008, "no_start")


# --- R25: codecs ------------------------------------------------------------------------------------------------------


async def test_r25_a_law_is_converted_both_ways() -> None:
    async with (
        OpenAISimulator(voice="tone:440", seconds=1.0) as simulator,
        tandem(openai_at(simulator)) as server,
        server.stream(
            {"mediaFormat": {"encoding": "audio/x-alaw", "sampleRate": 8000, "channels": 1}}, plays=True
        ) as stream,
    ):
        await stream.until(lambda: "mark" in stream.events)
        heard = stream.audio[MULAW_8K.size(50) : MULAW_8K.size(950)]
        assert abs(level_db(heard, 440, ALAW_8K)) < 1
        assert snr_db(heard, 440) >= 25
        words = Converter(MULAW_8K, ALAW_8K).feed(hum(1000, 1000) + silence(800))
        await stream.media(words)
        session = await simulator.session(1)
        await session.until(lambda s: bool(s.record.turns))
        turn = session.record.turns[0][MULAW_8K.size(400) : MULAW_8K.size(1200)]
        assert abs(level_db(turn, 1000)) < 1
        assert level_db(turn, 440) < -40


def snr_db(audio: bytes, hertz: float) -> float:
    """Of a hum in A-law: what lies at its frequency against all the rest."""
    wave = samples(audio, ALAW_8K)
    turns = 2 * np.pi * hertz * np.arange(len(wave)) / 8000
    basis = np.stack([np.sin(turns), np.cos(turns), np.ones(len(wave))])
    fit, *_ = np.linalg.lstsq(basis.T, wave, rcond=None)
    rest = wave - basis.T @ fit
    return float(10 * np.log10(np.sum((basis.T @ fit) ** 2) / np.sum(rest**2)))


async def test_r25_a_carrier_that_speaks_a_law_is_answered_in_it() -> None:
    async with tandem() as server:
        faults = Faults(audio=ALAW_8K, announce=("audio/x-alaw", 8000, 1))
        report = await place_call(server.plan(audio=hum(440, 500), hang_up=At(600), seconds=6, faults=faults))
        assert report.went_well, report
        assert report.first_audio_ms is not None


async def test_r25_an_unknown_codec_is_refused_and_twilio_is_told_why() -> None:
    async with tandem() as server:
        faults = Faults(announce=("audio/opus", 48000, 2))
        report = await place_call(server.plan(seconds=3, hang_up=None, faults=faults))
        assert (report.ended_by, report.close_code, report.heard_ms) == ("server", 1003, 0)
        assert (await server.result(report.call_sid))["result"] == "wrong_format"


# --- R26: out of order ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [(1, 0), (2, 1, 0), (3, 0, 1, 2), (1, 2, 3, 0), (0, 0, 1, 1), (1, 0, 0, 1), (2, 0, 2, 1)],
    ids=str,
)
async def test_r26_frames_up_to_three_places_out_of_order_and_doubled_ones_are_put_right(
    order: tuple[int, ...],
) -> None:
    words = [noise(20, seed=number) for number in range((max(order) + 1) * 6)]
    async with OpenAISimulator() as simulator, tandem(openai_at(simulator)) as server, server.stream() as stream:
        session = await simulator.session(1)
        for first in range(0, len(words), max(order) + 1):
            for place in order:
                await stream.frame(words[first + place], number=first + place)
        await session.until(lambda s: len(s.record.audio) >= len(words) * len(FRAME))
        assert b"".join(words) in bytes(session.record.audio)
        assert server.bridge(stream.call_sid).call.stats.bad_frames == {}


async def test_r26_what_never_comes_is_silence_of_its_length() -> None:
    words = [noise(20, seed=number) for number in range(20)]
    lost = {4, 9, 10, 11}
    async with OpenAISimulator() as simulator, tandem(openai_at(simulator)) as server, server.stream() as stream:
        session = await simulator.session(1)
        for number, word in enumerate(words):
            if number not in lost:
                await stream.frame(word, number=number)
        wanted = b"".join(silence(20) if number in lost else word for number, word in enumerate(words))
        await session.until(lambda s: len(s.record.audio) >= len(wanted))
        assert wanted in bytes(session.record.audio)
        await stream.stop()
        await server.empty()
        assert await server.metric("gaps_total") == len(lost)


async def test_r26_a_shuffled_call_in_real_time_sounds_like_one_in_order() -> None:
    async with OpenAISimulator() as simulator, tandem(openai_at(simulator)) as server:
        words = noise(600)
        faults = Faults(media_order=Shuffle(4, (1, 0, 3, 3, 2)))
        report = await place_call(server.plan(audio=words, hang_up=At(900), seconds=4, faults=faults))
        session = await simulator.session(1)
        assert words in bytes(session.record.audio)
        assert not report.problems
