"""The caller interrupts: what the phone played, what the model remembers and what the record says end at one place."""

from __future__ import annotations

import asyncio
import wave
from contextlib import AsyncExitStack
from math import inf
from pathlib import Path

from lateness import lateness
from servers import tandem, until
from sounds import hum, level_db, silence, speech

from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_script import Reply
from tandem.simulators.phone import At, BargeIn, Turn, WhenQuiet
from tandem.simulators.plan import CallEvent
from tandem.simulators.twilio import place_call
from tandem_codecs.format import FRAME_MS, PCM16_8K

WORDS = [f"word{number}" for number in range(80)]
LONG = Reply(" ".join(WORDS), voice="tone:440", seconds=20)
SHORT = Reply("I am listening.", voice="tone:700", seconds=0.6)


class Interrupted:
    """A caller who speaks into the agent's long first words, `into_ms` after they began."""

    def __init__(self, mode: str, into_ms: float, *faults: str, pace: float = inf) -> None:
        self.into_ms = into_ms
        self.cleared_at = 0.0
        self._mode = mode
        self._simulator = OpenAISimulator(script=[LONG, SHORT], faults=faults, pace=pace)

    async def enter(self, stack: AsyncExitStack, recording: Path) -> None:
        self._recording = recording
        simulator = await stack.enter_async_context(self._simulator)
        self._server = await stack.enter_async_context(
            tandem(
                PROVIDERS="openai",
                OPENAI_API_KEY="planted-key",
                OPENAI_REALTIME_URL=simulator.url,
                OPENAI_AUDIO=self._mode,
            )
        )

    async def call(self) -> None:
        caller = [Turn(speech("wait"), BargeIn(self.into_ms))]
        plan = self._server.plan(audio=caller, hang_up=WhenQuiet(400), seconds=9, recording=self._recording)
        self.report = await place_call(plan, self._note)
        self.record = await self._server.result(self.report.call_sid)
        self.session = await self._simulator.session(1)
        assert await self._server.metric("bargein_total") == 1
        assert await self._server.metric("clear_seconds_count") == 1

    def _note(self, event: CallEvent) -> None:
        if event.kind == "clear":
            self.cleared_at = event.at_ms

    def agent(self) -> bytes:
        """What the phone played."""
        with wave.open(str(self._recording)) as recorded:
            both = recorded.readframes(recorded.getnframes())
        return b"".join(both[at + 2 : at + 4] for at in range(0, len(both), 4))


async def test_a_barge_in_is_cut_at_one_place_everywhere(tmp_path: Path) -> None:
    """Pass-through and 24 kHz; an answer that was made at once and some that are still being made when they are cut;
    one that comes ten times too fast (R08) and some of which pieces come late. All at the same time."""
    calls = [
        Interrupted("auto", 1000.0),
        Interrupted("pcm16", 1300.0),
        Interrupted("auto", 1700.0, "late-deltas", pace=3.0),
        Interrupted("pcm16", 800.0, "late-deltas", pace=1.5),
        Interrupted("auto", 900.0, "burst=10"),
    ]
    async with AsyncExitStack() as stack:
        late = await stack.enter_async_context(lateness())
        for number, call in enumerate(calls):
            await call.enter(stack, tmp_path / f"{number}.wav")
        await asyncio.gather(*(call.call() for call in calls))
    for call in calls:
        report = call.report
        assert report.clears == 1, report
        assert not report.problems
        assert report.underruns == 0
        (interruption,) = report.interruptions
        assert interruption.latency_ms is not None
        assert interruption.latency_ms < 200, "onset of the detector included"
        first, second = (line for line in call.record["transcript"] if line["role"] == "agent")
        # The second answer with the tail of the filter; of the frame that was playing at the cut, about half.
        heard = report.heard_ms - second["heard_ms"] - FRAME_MS / 2
        (truncation,) = call.session.record.truncations
        assert abs(truncation["audio_end_ms"] - heard) <= 40 + late.milliseconds, (truncation, report)
        assert abs(first["heard_ms"] - truncation["audio_end_ms"]) <= 1
        assert first["interrupted"]
        words = first["text"].split()
        assert words == WORDS[: len(words)]
        assert abs(len(words) / len(WORDS) - heard / 20_000) < 0.025, "text and sound end at the same place"
        assert 600 <= second["heard_ms"] < 610
        assert (second["text"], second["interrupted"]) == ("I am listening.", False)
        assert report.unplayed_ms == 0
        only_the_second_after_the_clear(call, first["heard_ms"])


def only_the_second_after_the_clear(call: Interrupted, heard_ms: int) -> None:
    """Each answer hums its own note: after the clear there is none of the first."""
    agent = call.agent()
    after = agent[PCM16_8K.size(call.cleared_at + 100) :]
    assert abs(level_db(agent[PCM16_8K.size(100) : PCM16_8K.size(heard_ms)], 440, PCM16_8K)) < 1
    assert level_db(after, 440, PCM16_8K) < -45
    assert level_db(after, 700, PCM16_8K) > -20


async def test_p10_the_clear_leaves_with_the_providers_word() -> None:
    async with (
        OpenAISimulator(voice="tone:440", seconds=10.0) as simulator,
        tandem(PROVIDERS="openai", OPENAI_API_KEY="planted-key", OPENAI_REALTIME_URL=simulator.url) as server,
        server.stream() as stream,
    ):
        await stream.speaks(5000)
        session = await simulator.session(1)
        await stream.media(hum(1000, 100))
        await stream.until(lambda: "clear" in stream.events)
        await session.until(lambda s: bool(s.record.truncations))
        assert session.record.truncations[0]["audio_end_ms"] < 1000
        assert await server.metric("clear_seconds_bucket", le="0.003") == 1


async def test_a_caller_who_speaks_while_nobody_else_does_interrupts_nothing() -> None:
    async with (
        OpenAISimulator(script=["Hello."], seconds=0.5) as simulator,
        tandem(PROVIDERS="openai", OPENAI_API_KEY="planted-key", OPENAI_REALTIME_URL=simulator.url) as server,
        server.stream(plays=True) as stream,
    ):
        await stream.until(lambda: stream.got[-1:] and stream.got[-1]["event"] == "mark")
        await stream.media(hum(1000, 500) + silence(1000))
        session = await simulator.session(1)
        await session.until(lambda s: len(s.record.events("response.done")) == 2)
        assert "clear" not in stream.events
        assert session.record.truncations == []
        assert await server.metric("bargein_total") == 0
        assert not session.record.messages("response.cancel")


async def test_a_key_interrupts_like_a_word() -> None:
    async with tandem() as server:
        plan = server.plan(audio=[Turn(digits="1", when=At(400))], hang_up=At(900), seconds=4)
        report = await place_call(plan)
        assert report.clears >= 1
        record = await server.result(report.call_sid)
        assert record["barge_ins"] >= 1


async def test_a_goodbye_is_heard_before_the_line_is_cut() -> None:
    """Echo says goodbye on 9 and hangs up: the last sample was played."""
    async with tandem() as server:
        plan = server.plan(audio=[Turn(digits="9", when=At(300))], hang_up=None, seconds=8)
        report = await place_call(plan)
        assert report.ended_by == "server"
        assert report.close_code == 1000
        assert report.unplayed_ms == 0, "not a sample of it was cut off"
        record = await server.result(report.call_sid)
        assert record["result"] == "agent_hung_up"
        await until(lambda: not server.board.live)
