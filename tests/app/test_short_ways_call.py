"""Whole calls by the short ways and by the long ones: the caller hears the same, and that is what the agents said.

One call, over real sockets: a greeting that the caller speaks into, two answers, a third in the middle of which its
provider dies, the next provider's, and that of a session which has followed in time.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import pytest
from servers import Stream, tandem, until
from sounds import speech

from tandem.bridge import Bridge
from tandem.call import Call
from tandem.carriers.events import Media
from tandem.short_ways import ShortWays
from tandem.simulators.gemini import GeminiSimulator
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_script import Reply
from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_16K, PCM16_24K, AudioFormat
from tandem_providers.client import Client
from tandem_providers.conversation import Conversation
from tandem_providers.events import AudioChunk

WORD: Final = speech("wait")
FORMATS: Final = {"auto": MULAW_8K, "pcm16": PCM16_24K}
GREETING = Reply("Good morning, and welcome to all of this, which is long.", voice="tone:300", seconds=8.0)
FIRST = [
    GREETING,
    Reply("The first answer, in three parts.", voice="tone:400", seconds=1.013, items=3),
    Reply("And the second one.", voice="tone:500", seconds=0.777),
    Reply("Of the third one nobody hears the end.", voice="tone:600", seconds=3.0),
]
SECOND = [
    Reply("Here I am instead.", voice="tone:700", seconds=0.899),
    Reply("And here is another like me.", voice="tone:800", seconds=0.651),
]
WHOLE: Final = ["The first", "answer, in", "three parts.", FIRST[2].text, *(reply.text for reply in SECOND)]
"""What is heard to its end."""


class Closed(ShortWays):
    """Nothing may pass: the call is asked about each piece and each moment."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, 0.0 if name == "look_at" else None)


def ask_always(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("tandem.call.ShortWays", Closed)


def offer_no_lane(patch: pytest.MonkeyPatch) -> None:
    session = Client.session
    patch.setattr(Client, "session", lambda *args, **options: session(*args, **{**options, "lane": None}))


def as_it_is(_patch: pytest.MonkeyPatch) -> None:
    """Both short ways."""


WAYS: Final = {"as it is": as_it_is, "asked about everything": ask_always, "without a lane": offer_no_lane}


def of_openai(simulator: OpenAISimulator, source: AudioFormat) -> Iterator[bytes]:
    """Each item of its agent's audio, as a caller must hear it: tail included, unless the session died in it."""
    for session in simulator.sessions:
        items: dict[str, list[bytes]] = {}
        ended = set()
        for event in session.record.events():
            if event["type"] == "response.output_audio.delta":
                items.setdefault(event["item_id"], []).append(base64.b64decode(event["delta"]))
            elif event["type"] == "response.output_audio.done":
                ended.add(event["item_id"])
        for item, pieces in items.items():
            yield at_the_ear(pieces, source, whole=item in ended)


def of_gemini(simulator: GeminiSimulator) -> Iterator[bytes]:
    """Each turn of its agent's audio."""
    for session in simulator.sessions:
        turn: list[bytes] = []
        for message in session.record.messages("serverContent"):
            content = message["serverContent"]
            parts = content.get("modelTurn", {}).get("parts", ())
            turn += [base64.b64decode(part["inlineData"]["data"]) for part in parts if "inlineData" in part]
            if turn and content.get("turnComplete"):
                yield at_the_ear(turn, PCM16_24K)
                turn = []


def at_the_ear(
    pieces: list[bytes], source: AudioFormat, target: AudioFormat = MULAW_8K, *, whole: bool = True
) -> bytes:
    converter = Converter(source, target)
    return converter.feed(b"".join(pieces)) + (converter.flush() if whole else b"")


class Recorded(Protocol):
    """A simulated session of either."""

    @property
    def record(self) -> Sent: ...

    async def until(self, condition: Callable[[Any], bool]) -> None: ...


class Sent(Protocol):
    sent: list[bytes]
    audio: bytearray


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the call."""

    said: list[bytes]
    """By the agents, an item or turn each."""
    heard: list[int]
    """How often each session heard the caller's word."""
    frames: list[bytes]
    """The audio that the carrier got, as it came."""
    before: list[tuple[str, str]]
    """All that it got until the first provider died, marks and clears included."""
    asked: Counter[type]
    """Of how many pieces of either side the call was told."""
    record: dict[str, Any]


class Conducted:
    """A call that is led through all of it, up to and with a stop."""

    def __init__(self, stream: Stream, bridge: Bridge, primary: OpenAISimulator, second: GeminiSimulator) -> None:
        self.stream = stream
        self.bridge = bridge
        self.primary = primary
        self.second = second
        self.source = bridge.call.plan.format

    def said(self) -> list[bytes]:
        return [*of_openai(self.primary, self.source), *of_gemini(self.second)]

    async def heard(self, ending: bytes, count: int, server: Recorded) -> None:
        """So many turns of a provider are over, and the carrier has all of the last one, with its mark."""
        await server.until(lambda _: sum(ending in message for message in server.record.sent) >= count)
        size = sum(map(len, self.said()))
        await self.stream.until(lambda: len(self.stream.audio) >= size and self.stream.got[-1]["event"] == "mark")
        if self.stream.plays:
            await until(lambda: not self.speaking)

    @property
    def speaking(self) -> bool:
        return self.bridge.call.ledger.speaking(time.monotonic())

    def words_heard(self) -> list[int]:
        sessions: list[tuple[Recorded, AudioFormat]] = [(one, self.source) for one in self.primary.sessions[:1]]
        sessions += [(one, PCM16_16K) for one in self.second.sessions]
        return [
            bytes(one.record.audio).count(at_the_ear([WORD], MULAW_8K, target, whole=False)) for one, target in sessions
        ]

    async def say(self) -> None:
        """A word of the caller, and the silence after it."""
        await self.stream.media(WORD)

    async def greeting_answers_and_a_death(self) -> list[tuple[str, str]]:
        first = await self.primary.session(1)
        done = b'"response.done"'
        await self.heard(done, 1, first)
        assert self.speaking
        self.stream.plays = True  # what comes from now on is heard at once
        await self.say()
        await self.stream.until(lambda: "clear" in self.stream.events)
        await self.heard(done, 2, first)
        await self.say()
        await self.heard(done, 3, first)
        before = [(got["event"], str(got.get("media") or got.get("mark"))) for got in self.stream.got]
        first.faults["close-mid-response"] = "1011"
        self.primary.options = replace(self.primary.options, key="of nobody")
        await self.say()
        await first.closed()
        return before

    async def successors(self) -> None:
        """Whose first turn answers what had not been answered, and whose second one is another session's."""
        complete = b"turnComplete"
        second = await self.second.session(1)
        await self.heard(complete, 1, second)
        conversation = self.bridge._session
        assert isinstance(conversation, Conversation)
        conversation._rotate_at = asyncio.get_running_loop().time()  # its time is up
        conversation._rotate_by = conversation._rotate_at + 30
        conversation._changed.set()
        await second.closed()
        third = await self.second.session(2)
        await self.say()
        await self.heard(complete, 1, third)

    async def lead(self, source: AudioFormat) -> tuple[list[tuple[str, str]], list[bytes]]:
        self.source = source
        before = await self.greeting_answers_and_a_death()
        await self.successors()
        await self.stream.stop()
        await self.stream.ends()
        got = [base64.b64decode(each["media"]["payload"]) for each in self.stream.got if each["event"] == "media"]
        return before, got


async def conduct(mode: str, asked: Counter[type]) -> Outcome:
    async with (
        OpenAISimulator(script=FIRST, delta_ms=(30, 130)) as primary,
        GeminiSimulator(script=SECOND, turn_complete="generated") as second,
        tandem(
            PROVIDERS="openai,gemini",
            OPENAI_API_KEY="planted-key",
            OPENAI_REALTIME_URL=primary.url,
            OPENAI_AUDIO=mode,
            GEMINI_API_KEY="planted-key",
            GEMINI_LIVE_URL=second.url,
            CONNECT_SECONDS="30",
        ) as server,
    ):
        server.hurry(hold_prompt_seconds=60)
        async with server.stream() as stream:
            conducted = Conducted(stream, server.bridge(stream.call_sid), primary, second)
            before, frames = await conducted.lead(FORMATS[mode])
        record = await server.result(stream.call_sid)
    return Outcome(conducted.said(), conducted.words_heard(), frames, before, asked, record)


@pytest.mark.parametrize("mode", FORMATS)
async def test_the_caller_hears_every_sample_once_and_in_order_whichever_way_it_takes(mode: str) -> None:
    outcomes = {}
    for name, go in WAYS.items():
        asked: Counter[type] = Counter()
        with pytest.MonkeyPatch.context() as patch:
            go(patch)
            count_what_is_asked(patch, asked)
            outcomes[name] = one = await conduct(mode, asked)
        assert [len(item) > 0 for item in one.said] == [True] * 8, "one greeting, three items, one, a piece; two more"
        assert b"".join(one.frames) == b"".join(one.said), name
        assert one.heard == [3, 1, 1], "the third one by two, for the first of them did not answer it"
        ends = [(line["text"], line["heard_ms"]) for line in one.record["transcript"] if line["text"] in WHOLE]
        milliseconds = [int(MULAW_8K.milliseconds(len(item))) for item in (*one.said[1:5], *one.said[6:])]
        assert ends == list(zip(WHOLE, milliseconds, strict=True)), "each has its own in the books"
        kinds = Counter(kind for kind, _ in one.before)
        assert kinds["clear"] == 1, name
        facts = {key: one.record[key] for key in ("result", "provider", "failovers", "caller_turns", "barge_ins")}
        assert facts == {
            "result": "caller_hung_up",
            "provider": "gemini",
            "failovers": 1,
            "caller_turns": 4,
            "barge_ins": 1,
        }
    short, *long = outcomes.values()
    for other in long:
        assert short.said == other.said, "or there would be nothing to compare"
        assert short.frames == other.frames
        assert short.before == other.before
    for kind in (AudioChunk, Media):
        assert short.asked[kind] < 0.7 * outcomes["asked about everything"].asked[kind], "the short way was taken"


def count_what_is_asked(patch: pytest.MonkeyPatch, asked: Counter[type]) -> None:
    handle = Call.handle

    def counting(call: Call, event: Any, now: float) -> Any:
        asked[type(event)] += 1
        return handle(call, event, now)

    patch.setattr(Call, "handle", counting)
