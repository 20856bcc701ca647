"""A stream of sound and words, parted into utterances."""

from __future__ import annotations

import pytest

from tandem_codecs.format import MULAW_8K, PCM16_24K, AudioFormat
from tandem_providers.events import AudioChunk, Event, ItemAdded, Transcript
from tandem_providers.openai_live_utterances import Utterances


class Flow:
    """One session's utterances, with all that they told."""

    def __init__(self, audio_format: AudioFormat = MULAW_8K) -> None:
        self.format = audio_format
        self.utterances = Utterances("s", audio_format)
        self.events: list[Event] = []

    def plays(self, milliseconds: int, step: int = 100) -> Flow:
        """So much more of the agent's audio; each millisecond is told apart by its value."""
        for _ in range(milliseconds // step):
            now = int(self.utterances.position)
            audio = b"".join(bytes([ms % 251]) * self.format.bytes_per_ms for ms in range(now, now + step))
            self.events += self.utterances.audio(audio, None)
        return self

    def agent(self, text: str, start: int | None, end: int | None) -> Flow:
        self.events += self.utterances.words(False, text, start, end)
        return self

    def caller(self, text: str, start: int | None, end: int | None) -> Flow:
        self.events += self.utterances.words(True, text, start, end)
        return self

    @property
    def order(self) -> list[str]:
        """Items as a reader of the transcript places them."""
        placed: list[str] = []
        for event in self.events:
            if isinstance(event, ItemAdded):
                if event.item_id in placed:
                    placed.remove(event.item_id)
                at = placed.index(event.after) + 1 if event.after in placed else len(placed)
                placed.insert(at, event.item_id)
        return placed

    @property
    def texts(self) -> dict[str, str]:
        """The last final text of each item."""
        return {e.item_id: e.text for e in self.events if isinstance(e, Transcript) and e.is_final}

    @property
    def drafts(self) -> dict[str, str]:
        """Partial texts as a reader adds them up; what comes after a final one is ignored."""
        texts: dict[str, str] = {}
        final: set[str] = set()
        for event in self.events:
            if isinstance(event, Transcript):
                if event.is_final:
                    final.add(event.item_id)
                    texts[event.item_id] = event.text
                elif event.item_id not in final:
                    texts[event.item_id] = texts.get(event.item_id, "") + event.text
        return texts

    def span(self, item_id: str) -> tuple[float, float]:
        """From when to when the audio of an item plays, in milliseconds of the session."""
        place, start, end = 0, -1, -1
        for event in self.events:
            if isinstance(event, AudioChunk):
                if event.item_id == item_id and event.audio:
                    start = place if start < 0 else start
                    end = place + len(event.audio)
                place += len(event.audio)
        return start / self.format.bytes_per_ms, end / self.format.bytes_per_ms

    @property
    def audio(self) -> bytes:
        return b"".join(event.audio for event in self.events if isinstance(event, AudioChunk))


def test_words_that_come_before_their_sound_meet_it_to_the_sample() -> None:
    flow = Flow().plays(300).agent("Hello", 512, 700).plays(3000)
    assert flow.span("s-1")[0] == 512
    assert flow.texts == {"s-1": "Hello"}


def test_words_that_come_after_their_sound_take_what_is_left_of_it() -> None:
    flow = Flow().plays(1000).agent("Hello", 300, 600).agent(" there", 600, 1900).plays(4000)
    assert flow.span("s-1") == (1000, 3400)
    finals = [event for event in flow.events if isinstance(event, AudioChunk) and event.is_final]
    assert finals == [AudioChunk(b"", True, "s-1")]


@pytest.mark.parametrize("audio_format", [MULAW_8K, PCM16_24K], ids=str)
@pytest.mark.parametrize("step", [10, 20, 100, 1000])
def test_no_sample_is_lost_or_added_wherever_it_is_parted(step: int, audio_format: AudioFormat) -> None:
    flow = Flow(audio_format)
    flow.agent("a", 35, 90).agent("b", 1033, 1100).plays(2000, step).agent("c", 2555, 2600).caller("d", 100, 900)
    flow.plays(6000, step)
    assert flow.audio == b"".join(bytes([ms % 251]) * audio_format.bytes_per_ms for ms in range(8000))
    assert flow.span("s-1")[0] == 35
    assert flow.span("s-2")[0] == 1033


def test_a_pause_parts_two_utterances_of_one_side() -> None:
    flow = Flow().agent("One", 0, 500).agent(" two", 1300, 1500).agent("three", 2301, 2500).plays(5000)
    assert flow.texts == {"s-1": "One two", "s-2": "three"}
    assert flow.order == ["s-1", "s-2"]


def test_the_other_side_parts_two_utterances() -> None:
    flow = Flow().agent("How are you?", 0, 1000).caller("Fine.", 1100, 1400).agent("Good.", 1500, 1700).plays(5000)
    assert flow.texts == {"s-1": "How are you?", "s-2": "Fine.", "s-3": "Good."}
    assert flow.order == ["s-1", "s-2", "s-3"]


def test_a_word_thrown_in_parts_nothing() -> None:
    flow = Flow()
    flow.agent("I can offer", 0, 1000).caller("mhm", 700, 900).agent(" Tuesday", 1050, 1400).agent(
        " at ten", 1400, 1800
    )
    flow.plays(5000)
    assert flow.texts == {"s-1": "I can offer Tuesday at ten", "s-2": "mhm"}
    assert flow.order == ["s-1", "s-2"]


def test_late_words_of_the_caller_stand_before_the_answer_to_them() -> None:
    flow = Flow().agent("Hello.", 0, 500).agent("It is noon.", 4000, 5000).caller("What time is it?", 2000, 3500)
    assert flow.order == ["s-1", "s-3", "s-2"]


def test_even_when_they_are_the_first_of_all() -> None:
    flow = Flow().agent("Hello.", 1000, 1500).agent("Yes.", 4000, 4500).caller("Hi?", 200, 600)
    assert flow.order == ["s-3", "s-1", "s-2"]


def test_words_that_go_on_after_the_answer_has_begun_are_told_whole() -> None:
    flow = Flow().caller("What time", 0, 500).agent("It", 700, 800).caller(" is it?", 500, 800)
    assert flow.texts["s-1"] == "What time is it?"
    assert flow.drafts["s-1"] == "What time is it?"
    assert flow.order == ["s-1", "s-2"]


def test_words_that_come_after_their_utterance_was_closed_are_told_whole() -> None:
    flow = Flow().agent("Good", 0, 300).plays(2000)
    assert flow.texts == {"s-1": "Good"}
    flow.agent(" bye.", 400, 700)
    assert flow.texts == flow.drafts == {"s-1": "Good bye."}
    assert flow.order == ["s-1"]


def test_an_utterance_is_closed_by_the_clock_though_nobody_speaks() -> None:
    flow = Flow().caller("Hello?", 1000, 1400).plays(2800)
    assert flow.texts == {}
    flow.plays(100)
    assert flow.texts == {"s-1": "Hello?"}
    count = len(flow.events)
    flow.plays(3000)
    assert all(isinstance(event, AudioChunk) for event in flow.events[count:])
    assert flow.utterances.wakes_at == float("inf")


def test_pauses_have_names_of_their_own() -> None:
    flow = Flow().plays(500).agent("a", 500, 600).plays(3000).agent("b", 4000, 4100).plays(4000)
    ids = list(dict.fromkeys(event.item_id for event in flow.events if isinstance(event, AudioChunk)))
    assert ids == ["s-pause-1", "s-1", "s-pause-2", "s-2", "s-pause-3"]


def test_a_cut_parts_sound_and_words() -> None:
    flow = Flow().agent("One", 0, 300).plays(300)
    flow.utterances.cut("s-1")
    flow.plays(100).agent(" two", 300, 600).plays(200)
    assert flow.drafts == {"s-1": "One", "s-2": " two"}
    assert flow.span("s-1") == (0, 300)
    flow.utterances.cut("s-1")
    assert flow.utterances.audio_id == "s-2"
    flow.utterances.cut("s-2")
    flow.utterances.cut(flow.utterances.audio_id)
    assert flow.utterances.audio_id == "s-pause-4"


def test_words_without_times_are_said_now() -> None:
    flow = Flow().plays(1000).agent("Hello", None, None).plays(500).agent(" there", None, None).plays(3000)
    assert flow.texts == {"s-1": "Hello there"}
    assert flow.span("s-1")[0] == 1000


def test_blank_words_begin_nothing() -> None:
    flow = Flow().agent(" ", 0, 100).caller("", 0, 100)
    assert flow.events == []
    flow.agent("a", 100, 200).agent(" ", 200, 300).agent("b", 300, 400)
    assert flow.drafts == {"s-1": "a b"}


def test_a_session_that_ends_settles_everything_once() -> None:
    flow = Flow().agent("Good", 0, 300).caller("But", 100, 300)
    assert flow.utterances.settle() == [Transcript("But", True, True, "s-2"), Transcript("Good", True, False, "s-1")]
    assert flow.utterances.settle() == []


def test_a_server_that_says_where_its_audio_is_is_believed() -> None:
    utterances = Utterances("s", MULAW_8K)
    utterances.audio(bytes(800), 5000)
    assert utterances.position == 5100
    events = utterances.words(False, "Hi", 5150, 5300) + utterances.audio(bytes(800), None)
    assert [len(event.audio) for event in events if isinstance(event, AudioChunk)] == [400, 400]


def test_a_long_talk_fills_no_memory() -> None:
    utterances = Utterances("s", MULAW_8K)
    for number in range(3000):
        start = number * 2000
        utterances.words(number % 2 == 0, "word", start, start + 500)
        utterances.audio(bytes(16_000), None)
    assert len(utterances._places) <= 64  # memory is what this is about
    assert not utterances._coming  # the same
