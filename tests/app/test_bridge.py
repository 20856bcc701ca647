"""The pump, one call at a time in process: what reaches whom, in which order, and how it all ends."""

from __future__ import annotations

import asyncio
import time

import pytest
from bridging import CALL, Line, line
from fakes import FakeProvider, cancel_everywhere, turns
from playbook import FRAME, PROMPTS
from servers import log_lines, until

from tandem.bridge import TICK_SECONDS
from tandem.call_types import EndReason
from tandem.caller_audio import IDLE_SECONDS
from tandem_codecs.convert import Converter
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K
from tandem_providers.commands import CancelResponse, PlaybackReport, Purpose, Say, SendDtmf, ToolResult
from tandem_providers.errors import AuthenticationFailedError, ConnectionFailedError
from tandem_providers.events import (
    AudioChunk,
    ProviderLost,
    ProviderWarning,
    ToolCall,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.prompts import prompt


def voice(milliseconds: int) -> bytes:
    return b"\x33" * MULAW_8K.size(milliseconds)


def mulaw(**options: object) -> FakeProvider:
    return FakeProvider(speaks=MULAW_8K, **options)  # type: ignore[arg-type]  # passed on as they are


async def talking(one: Line) -> None:
    """Both ends are there, and the greeting has been asked for."""
    await until(lambda: one.bridge.call.stats.provider)
    one.start()


# --- coming up --------------------------------------------------------------------------------------------------------


async def test_the_provider_is_called_before_the_stream_and_its_first_words_wait_for_it() -> None:
    async with line(attach=False) as one:
        await until(lambda: one.providers[0].sessions and one.session.commands)
        assert one.session.commands == [Say(Purpose.GREETING, None)]
        one.session.tell(AudioChunk(voice(100), False, "i1", "t1"))
        one.session.tell(AudioChunk(voice(60), True, "i1", "t1"))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one.bridge.attach(one.socket))
            await asyncio.sleep(0)
            assert one.socket.sent == [], "nothing before the start"
            one.start()
            assert one.socket.audio == voice(160), "all of it in the same turn of the loop"
            assert one.socket.events[-1] == "mark"
            one.stop()


async def test_what_the_caller_says_before_a_provider_is_there_is_heard_whole_and_in_order() -> None:
    async with line(mulaw(steps=50)) as one:
        one.start()
        said = [bytes([number]) * MULAW_8K.frame_bytes for number in range(1, 20)]
        for frame in said:
            one.media(frame)
        await until(lambda: one.providers[0].sessions and one.session.heard)
        one.media(b"\x7a" * MULAW_8K.frame_bytes)
        assert one.session.heard == b"".join(said) + b"\x7a" * MULAW_8K.frame_bytes


async def test_frames_take_one_synchronous_path_each_way() -> None:
    async with line() as one:
        await talking(one)
        one.media(FRAME)
        assert one.session.heard == FRAME
        one.session.tell(AudioChunk(voice(20), False, "i1", "t1"))
        assert one.socket.audio == voice(20)


async def test_a_caller_whose_audio_is_not_what_was_announced_is_heard_all_the_same() -> None:
    """The carrier says mu-law and sends A-law (R25): static for a moment, then words."""
    spoken = prompt("greeting").audio
    sent = Converter(MULAW_8K, ALAW_8K).feed(spoken)
    async with line() as one:
        await talking(one)
        for at in range(0, len(sent), MULAW_8K.frame_bytes):
            one.media(sent[at : at + MULAW_8K.frame_bytes])
        assert one.session.heard[-8000:] == Converter(ALAW_8K, MULAW_8K).feed(sent)[-8000:]
        assert 'tandem_wrong_codec_total{direction="in"} 1.0' in one.bridge._metrics.render().decode()


async def test_a_key_reaches_the_provider() -> None:
    async with line() as one:
        await talking(one)
        one.carrier("dtmf", dtmf={"track": "inbound_track", "digit": "5"})
        assert one.session.commands[-1] == SendDtmf("5")
        assert one.bridge.call.stats.dtmf == 1


# --- barge-in ---------------------------------------------------------------------------------------------------------


async def test_a_function_that_nobody_here_has_is_answered_at_once() -> None:
    """An agent that is set up at its vendor may have some. It would wait for the answer, and the caller with it."""
    provider = mulaw()
    async with line(provider) as one:
        await talking(one)
        one.session.tell(ToolCall("c1", "book_table", "{}", "t1"))
        (answer,) = (told for told in one.session.commands if isinstance(told, ToolResult))
        assert answer.call_id == "c1"
        assert "unknown_function" in answer.output


async def test_a_barge_in_clears_the_carrier_and_tells_the_provider_in_the_same_turn_of_the_loop() -> None:
    async with line() as one:
        await talking(one)
        one.session.tell(TurnStarted("t1"))
        one.session.tell(AudioChunk(voice(2000), False, "i1", "t1"))
        one.session.tell(UserSpeechStarted("i2"))
        assert one.socket.events[-1] == "clear"
        report, cancel = one.session.commands[-2:]
        assert isinstance(report, PlaybackReport)
        assert (report.item_id, report.received_ms) == ("i1", 2000)
        assert report.played_ms < 100
        assert cancel == CancelResponse()
        sent = len(one.socket.sent)
        one.session.tell(AudioChunk(voice(400), True, "i1", "t1"))
        one.session.tell(AudioChunk(voice(400), True, "i3", "t1"))
        assert len(one.socket.sent) == sent, "what comes late of the cut turn is not played"
        one.session.tell(TurnStarted("t2"))
        one.session.tell(AudioChunk(voice(40), True, "i4", "t2"))
        assert one.socket.audio.endswith(voice(40))
        assert len(one.socket.sent) > sent


async def test_marks_that_a_clear_returns_do_not_count_as_heard() -> None:
    async with line() as one:
        await talking(one)
        one.session.tell(TurnStarted("t1"))
        one.session.tell(AudioChunk(voice(3000), True, "i1", "t1"))
        one.session.tell(UserSpeechStarted("i2"))
        one.return_marks()
        (item,) = one.bridge.call.ledger.items.values()
        assert one.bridge.call.ledger.heard_ms(item, time.monotonic()) < 100


async def test_the_answers_delay_is_in_the_metrics_though_its_first_audio_had_to_wait() -> None:
    async with line(lead_ms=600) as one:
        await talking(one)
        one.session.tell(TurnStarted("t1"))
        one.session.tell(AudioChunk(voice(600), True, "i1", "t1"))  # all that the carrier may have
        one.session.tell(TurnEnded("t1", "completed"))
        one.session.tell(UserSpeechStopped("u1"))
        one.session.tell(TurnStarted("t2"))
        one.session.tell(AudioChunk(voice(300), False, "i2", "t2"))
        await until(lambda: len(one.socket.audio) == len(voice(900)))
        one.return_marks()
        for _ in range(5):
            one.session.tell(AudioChunk(voice(20), False, "i2", "t2"))
        assert len(one.socket.audio) == len(voice(1000))
        one.stop()
        await until(lambda: one.bridge.call.end_reason is not None)
    (delay,) = one.bridge.call.stats.turn_latencies
    assert 0 < delay < 5
    await turns(2)
    assert "tandem_turn_latency_seconds_count 1.0" in one.metrics.render().decode()


# --- converting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "rate", "theirs"),
    [("audio/x-alaw", 8000, ALAW_8K), ("audio/x-l16", 8000, PCM16_8K)],
)
async def test_r25_an_announced_format_is_converted_both_ways(encoding: str, rate: int, theirs: object) -> None:
    assert theirs in (ALAW_8K, PCM16_8K)
    other = ALAW_8K if theirs == ALAW_8K else PCM16_8K
    async with line() as one:
        await until(lambda: one.bridge.call.stats.provider)
        one.start(mediaFormat={"encoding": encoding, "sampleRate": rate, "channels": 1})
        sound = bytes(range(256)) * 5
        one.media(Converter(MULAW_8K, other).feed(sound))
        assert one.session.heard == Converter(other, MULAW_8K).feed(Converter(MULAW_8K, other).feed(sound))
        one.session.tell(AudioChunk(sound, True, "i1", "t1"))
        assert one.socket.audio == Converter(MULAW_8K, other).feed(sound)


@pytest.mark.parametrize(
    "unknown",
    [
        {"encoding": "audio/opus", "sampleRate": 48000, "channels": 1},
        {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2},
        {"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1},
    ],
)
async def test_r25_a_format_nobody_knows_is_refused_and_never_noise(unknown: dict[str, object]) -> None:
    async with line() as one:
        await until(lambda: one.bridge.call.stats.provider)
        one.session.tell(AudioChunk(voice(100), True, "i1", "t1"))
        one.start(mediaFormat=unknown)
        assert await one.socket.ends() == (1003, "wrong_format")
        assert one.socket.sent == []
        assert one.session.heard == b""


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_the_carrier_stops() -> None:
    async with line() as one:
        await talking(one)
        one.stop()
        assert await one.socket.ends() == (1000, "caller_hung_up")
    assert one.providers[0].open == 0


async def test_r10_the_carriers_socket_breaks() -> None:
    async with line() as one:
        await talking(one)
        one.bridge.on_close(1006, "")
        await until(lambda: one.session.ended, seconds=1)
        assert one.result == "carrier_lost"


async def test_r09_no_provider_can_be_had() -> None:
    refused = FakeProvider(results=[AuthenticationFailedError("no such key", provider="a")])
    broken = FakeProvider("b", results=[ConnectionFailedError("gone", provider="b")])
    async with line(refused, broken) as one:
        one.start()
        await one.socket.until(lambda: len(one.socket.audio) >= len(PROMPTS.sorry))
        assert one.socket.audio == PROMPTS.sorry
        assert one.socket.closed is None, "the apology is heard first"
        one.return_marks()
        assert await one.socket.ends() == (1000, "providers_failed")
    assert "a: no such key" in one.bridge.call.stats.provider_error
    assert refused.attempts == 1, "a key that was refused is not tried again"


async def test_the_first_end_stands_and_everything_after_it_is_nothing() -> None:
    async with line() as one:
        await talking(one)
        one.stop()
        one.bridge.on_close(1006, "")
        one.bridge.hang_up(EndReason.OPERATOR)
        one.media(FRAME)
        one.session.tell(AudioChunk(voice(20), True, "i1", "t1"))
        assert one.result == "caller_hung_up"
        assert one.session.heard == b""


async def test_a_socket_that_comes_to_a_call_that_has_just_ended_is_closed() -> None:
    async with line(attach=False) as one:
        one.bridge.carrier_ended()
        async with asyncio.timeout(1):
            await one.bridge.attach(one.socket)
        assert one.socket.closed == (1000, "caller_hung_up")


async def test_a_mistake_of_ours_ends_this_call_with_1011_and_one_line() -> None:
    with log_lines() as lines:
        async with line() as one:
            await talking(one)
            for _ in range(2):  # who has lost one provider cannot lose another: there is no such move
                one.bridge.tell(ProviderLost("fake", ConnectionFailedError("gone")))
            assert await one.socket.ends() == (1011, "internal_error")
    failures = [each for each in lines if each["level"] == "error"]
    assert [each["event"] for each in failures] == ["the call failed"]
    assert failures[0]["event_kind"] == "ProviderLost"
    assert failures[0]["call_id"] == CALL


async def test_an_operator_hangs_up_with_a_goodbye_that_is_heard() -> None:
    async with line() as one:
        await talking(one)
        one.bridge.hang_up(EndReason.OPERATOR)
        assert one.socket.audio == PROMPTS.goodbye
        assert one.socket.closed is None
        one.return_marks()
        assert await one.socket.ends() == (1000, "operator")


async def test_r12_a_carrier_that_takes_nothing_more_is_let_go() -> None:
    async with line(carrier_gone_seconds=0.3) as one:
        await talking(one)
        one.socket.buffered = 100_000
        await until(lambda: one.bridge.call.ledger.blocked)
        one.session.tell(AudioChunk(voice(500), True, "i1", "t1"))
        assert one.socket.audio == b"", "what it does not take waits on our side"
        assert await one.socket.ends() == (1000, "carrier_stalled")


async def test_r12_a_carrier_that_takes_again_gets_what_waited() -> None:
    async with line() as one:
        await talking(one)
        one.socket.buffered = 100_000
        await until(lambda: one.bridge.call.ledger.blocked)
        one.session.tell(AudioChunk(voice(500), True, "i1", "t1"))
        one.socket.buffered = 0
        await one.socket.until(lambda: one.socket.audio)
        assert one.socket.audio == voice(500)


async def test_r23_a_binary_frame_ends_the_stream_with_1003() -> None:
    async with line() as one:
        await talking(one)
        one.bridge.on_message(b"\x00\x01", False)
        assert await one.socket.ends() == (1003, "bad_stream")


async def test_warnings_of_providers_are_lines_and_no_more() -> None:
    with log_lines() as lines:
        async with line() as one:
            await talking(one)
            one.session.tell(ProviderWarning("odd", "something"))
            one.media(FRAME)
            assert one.session.heard == FRAME
    assert [each["code"] for each in lines if each["level"] == "warning"] == ["odd"]


async def test_the_call_reports_itself_in_one_line_and_in_the_metrics() -> None:
    with log_lines() as lines:
        async with line() as one:
            await talking(one)
            for _ in range(3):
                one.media(FRAME)
            one.session.tell(UserSpeechStopped("i0"))
            one.session.tell(TurnStarted("t1"))
            one.session.tell(AudioChunk(voice(1500), False, "i1", "t1"))
            one.session.tell(UserSpeechStarted("i2"))
            one.session.tell(TurnEnded("t1", "interrupted"))
            one.carrier("media", media={"payload": "@@"})
            one.stop()
    (told,) = [each for each in lines if each["event"] == "call ended"]
    assert told["call_id"] == CALL
    assert (told["result"], told["carrier"], told["provider"]) == ("caller_hung_up", "twilio", "fake")
    assert (told["barge_ins"], told["bad_frames"], told["sent_seconds"]) == (1, 1, 1.5)
    assert "5550002000" not in str(told)
    text = one.metrics.render().decode()
    for sample in (
        'tandem_calls_total{carrier="twilio",result="caller_hung_up"} 1.0',
        "tandem_bargein_total 1.0",
        'tandem_media_frames_total{direction="in"} 3.0',
        'tandem_media_frames_total{direction="out"} 1.0',
        'tandem_bad_frames_total{reason="unreadable"} 1.0',
        "tandem_turn_latency_seconds_count 1.0",
        "tandem_clear_seconds_count 1.0",
    ):
        assert sample in text, sample


# --- cancelling -------------------------------------------------------------------------------------------------------


async def test_a_call_cancelled_at_any_turn_of_the_loop_leaves_nothing() -> None:
    provider = mulaw(steps=3)

    async def work() -> None:
        one = Line(provider)
        async with asyncio.TaskGroup() as tasks:
            owner = tasks.create_task(one.bridge.run())
            tasks.create_task(one.bridge.attach(one.socket))
            await turns(2)
            one.start()
            one.media(FRAME)
            await turns(12)
            one.stop()
            await owner

    async def check() -> None:
        assert provider.open == 0

    assert await cancel_everywhere(work, check) > 15


async def test_a_cancelled_call_is_reported_as_drained() -> None:
    one = Line()
    with log_lines() as lines:
        async with asyncio.TaskGroup() as tasks:
            owner = tasks.create_task(one.bridge.run())
            await turns(5)
            owner.cancel()
    assert one.result == "drained"
    assert [each["result"] for each in lines if each["event"] == "call ended"] == ["drained"]


async def test_a_socket_that_has_been_followed_by_another_is_not_listened_to() -> None:
    """A call that came back from a transfer: what its first socket still says, or that it closes, ends nothing."""
    async with line() as one:
        await talking(one)
        first = one.bridge.receiver()
        second = one.bridge.receiver()
        async with asyncio.TaskGroup() as tasks:
            one.bridge._receiver = first
            tasks.create_task(one.bridge.attach(one.socket, second))
            await asyncio.sleep(0)
            first.on_message(b'{"event":"stop"}', True)
            first.on_close(1006, "")
            assert one.bridge.call.end_reason is None
            second.on_close(1006, "")
            assert one.bridge.call.end_reason is EndReason.CARRIER_LOST


async def test_while_all_is_well_most_beats_of_the_clock_are_let_pass_and_none_once_something_happens() -> None:
    async with line() as one:
        await talking(one)

        def rest() -> int:
            one.media(FRAME)
            one.bridge._tick()  # the first tells the call of the time, and is told that nothing is due
            one.bridge._tick()
            return one.bridge._skips

        assert rest() == int(IDLE_SECONDS / TICK_SECONDS) - 2
        one.carrier("dtmf", dtmf={"digit": "1"})
        assert one.bridge._skips == 0
        assert rest() > 0
        one.session.tell(TurnStarted("t1"))
        assert one.bridge._skips == 0
        assert rest() > 0
        one._chunk += 1
        one.media(FRAME)
        assert one.bridge._skips == 0, "it waits for the one before it, and 60 ms at most"
