"""A stream of sound and words, parted into utterances."""

from __future__ import annotations

import pytest

from tandem_codecs.format import MULAW_8K, PCM16_24K, AudioFormat
from tandem_providers.events import AudioChunk, Event, ItemAdded, Transcript
from tandem_providers.openai_live_utterances import Utterances


def sound(start: float, milliseconds: float, audio_format: AudioFormat) -> bytes:
    """Loud, and each millisecond differs from its neighbours."""
    return b"".join(bytes([int(start + ms) % 61]) * audio_format.bytes_per_ms for ms in range(int(milliseconds)))


class Flow:
    """One session's utterances, with all that they told."""

    def __init__(self, audio_format: AudioFormat = MULAW_8K) -> None:
        self.format = audio_format
        self.utterances = Utterances("s", audio_format)
        self.events: list[Event] = []
        self.sent = b""

    def speaks(self, milliseconds: int, step: int = 100) -> Flow:
        """So much of the agent's voice."""
        return self._play(
            [sound(self.utterances.position + at, step, self.format) for at in range(0, milliseconds, step)]
        )

    def quiet(self, milliseconds: int, step: int = 100) -> Flow:
        return self._play([self.format.silence(step)] * (milliseconds // step))

    def _play(self, pieces: list[bytes]) -> Flow:
        for piece in pieces:
            self.sent += piece
            self.events += self.utterances.audio(piece, None)
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
        place, spans = 0, []
        for event in self.events:
            if isinstance(event, AudioChunk):
                if event.item_id == item_id and event.audio:
                    spans.append((place, place + len(event.audio)))
                place += len(event.audio)
        return (spans[0][0] / self.format.bytes_per_ms, spans[-1][1] / self.format.bytes_per_ms) if spans else (0, 0)

    @property
    def finals(self) -> list[str]:
        """Items whose audio was told to be over."""
        return [event.item_id for event in self.events if isinstance(event, AudioChunk) and event.is_final]

    @property
    def audio(self) -> bytes:
        return b"".join(event.audio for event in self.events if isinstance(event, AudioChunk))


def test_words_that_come_before_their_sound_meet_it() -> None:
    flow = Flow().quiet(300).agent("Hello", 512, 700).quiet(200).speaks(300).quiet(3000)
    assert flow.span("s-1") == (500, 800)
    assert flow.span("s-pause-1")[0] == 0
    assert flow.texts == {"s-1": "Hello"}
    assert flow.finals == ["s-1"]


def test_words_that_come_long_before_their_sound_part_it_to_the_sample() -> None:
    flow = Flow().speaks(300).agent("Hello", 1012, 1700).speaks(1000).quiet(3000)
    assert flow.span("s-1") == (0, 1012)
    assert flow.span("s-2") == (1012, 1300)


def test_sound_that_comes_before_its_words_has_their_id_already() -> None:
    flow = Flow().quiet(300).speaks(700).agent("Hello", 300, 600).speaks(300).agent(" there", 600, 1290).quiet(4000)
    assert flow.span("s-1") == (300, 1300)
    assert flow.texts == {"s-1": "Hello there"}
    assert flow.finals == ["s-1"]


def test_even_if_its_words_come_far_behind() -> None:
    flow = Flow().speaks(200).agent("A", 0, 200).speaks(3800).agent(" story.", 300, 3900).quiet(4000)
    assert flow.span("s-1") == (0, 4000)
    assert flow.texts == flow.drafts == {"s-1": "A story."}
    assert flow.finals == ["s-1"]


def test_even_if_its_words_come_when_it_is_over() -> None:
    flow = Flow().quiet(300).speaks(200).quiet(1500).agent("Yes.", 300, 500).quiet(3000)
    assert flow.span("s-1") == (300, 500)
    assert flow.texts == {"s-1": "Yes."}
    assert flow.finals == ["s-1"]


def test_even_if_the_clocks_differ_a_little() -> None:
    flow = Flow().quiet(300).speaks(100).agent("Hello", 450, 800).speaks(400).quiet(3000)
    assert flow.span("s-1") == (300, 800)
    assert flow.order == ["s-1"]


def test_a_sound_without_words_is_an_item_without_text() -> None:
    flow = Flow().speaks(300).quiet(2000).speaks(300).agent("Hello", 2300, 2600).quiet(3000)
    assert flow.span("s-1") == (0, 300)
    assert flow.span("s-2") == (2300, 2600)
    assert flow.texts == {"s-2": "Hello"}
    assert flow.finals == ["s-1", "s-2"]


def test_silence_within_an_utterance_is_none_of_it() -> None:
    flow = Flow().agent("Well", 0, 300).speaks(300).quiet(500).agent(" yes", 800, 1000).speaks(200).quiet(3000)
    chunks = [event for event in flow.events if isinstance(event, AudioChunk) and event.item_id == "s-1"]
    assert sum(len(chunk.audio) for chunk in chunks) == MULAW_8K.size(500)


def test_a_voice_that_begins_anew_after_the_callers_word_is_a_new_one_before_its_words_come() -> None:
    flow = Flow().speaks(1000).agent("How are you?", 0, 1000).caller("Fine.", 1050, 1300).quiet(400).speaks(400)
    flow.agent("Good.", 1400, 1700).quiet(3000)
    assert flow.order == ["s-1", "s-2", "s-3"]
    assert flow.span("s-1") == (0, 1000)
    assert flow.span("s-3") == (1400, 1800)


@pytest.mark.parametrize("audio_format", [MULAW_8K, PCM16_24K], ids=str)
@pytest.mark.parametrize("step", [10, 20, 100, 1000])
def test_no_sample_is_lost_or_added_wherever_it_is_parted(step: int, audio_format: AudioFormat) -> None:
    flow = Flow(audio_format)
    flow.agent("a", 35, 90).agent("b", 1033, 1100).speaks(1000, step).quiet(1000, step).agent("c", 2555, 2600)
    flow.caller("d", 100, 900).speaks(3000, step).quiet(3000, step)
    assert flow.audio == flow.sent
    assert len(flow.audio) == audio_format.size(8000)
    assert flow.texts == {"s-1": "a", "s-2": "b", "s-3": "c", "s-4": "d"}


def test_a_pause_parts_two_utterances_of_one_side() -> None:
    flow = Flow().agent("One", 0, 500).agent(" two", 1300, 1500).agent("three", 2301, 2500).quiet(5000)
    assert flow.texts == {"s-1": "One two", "s-2": "three"}
    assert flow.order == ["s-1", "s-2"]


def test_the_other_side_parts_two_utterances() -> None:
    flow = Flow().agent("How are you?", 0, 1000).caller("Fine.", 1100, 1400).agent("Good.", 1500, 1700).quiet(5000)
    assert flow.texts == {"s-1": "How are you?", "s-2": "Fine.", "s-3": "Good."}
    assert flow.order == ["s-1", "s-2", "s-3"]


@pytest.mark.parametrize("late", [0, 300], ids=["as it is said", "a little later"])
def test_words_that_were_never_said_do_not_reach_into_the_next_utterance(late: int) -> None:
    """The agent is interrupted: its words had been told as if it would say them all."""
    flow = Flow().agent("A long", 0, 4000).speaks(1500).quiet(1500).caller("Stop.", 1400, 2400).quiet(500)
    flow.speaks(late).agent("Yes?", 3500, 3800).speaks(400).quiet(4000)
    assert flow.texts == {"s-1": "A long", "s-2": "Stop.", "s-3": "Yes?"}
    assert flow.order == ["s-1", "s-2", "s-3"]
    assert flow.span("s-3") == (3500, 3900 + late)


def test_a_word_thrown_in_parts_nothing() -> None:
    flow = Flow()
    flow.agent("I can offer", 0, 1000).caller("mhm", 700, 900).agent(" Tuesday", 1050, 1400).agent(
        " at ten", 1400, 1800
    )
    flow.quiet(5000)
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
    flow = Flow().agent("Good", 0, 300).speaks(300).quiet(1700)
    assert flow.texts == {"s-1": "Good"}
    flow.agent(" bye.", 400, 700)
    assert flow.texts == flow.drafts == {"s-1": "Good bye."}
    assert flow.order == ["s-1"]


def test_an_utterance_is_closed_by_the_clock_though_nobody_speaks() -> None:
    flow = Flow().caller("Hello?", 1000, 1400).quiet(2800)
    assert flow.texts == {}
    flow.quiet(100)
    assert flow.texts == {"s-1": "Hello?"}
    count = len(flow.events)
    flow.quiet(3000)
    assert all(isinstance(event, AudioChunk) for event in flow.events[count:])


def test_pauses_have_names_of_their_own() -> None:
    flow = Flow().quiet(500).agent("a", 500, 600).speaks(100).quiet(3000).agent("b", 4000, 4100).quiet(400).speaks(100)
    flow.quiet(3000)
    ids = list(dict.fromkeys(event.item_id for event in flow.events if isinstance(event, AudioChunk)))
    assert ids == ["s-pause-1", "s-1", "s-pause-2", "s-2", "s-pause-3"]


def test_a_cut_parts_sound_and_words() -> None:
    flow = Flow().agent("One", 0, 300).speaks(300)
    flow.utterances.cut("s-1")
    flow.speaks(100).agent(" two", 300, 600).speaks(200).quiet(100)
    assert flow.drafts == {"s-1": "One", "s-2": " two"}
    assert flow.span("s-1") == (0, 300)
    assert flow.span("s-2") == (300, 600)
    for item_id in ("s-1", "nobody", "s-pause-1"):
        flow.utterances.cut(item_id)
    flow.speaks(100).quiet(100)
    assert flow.span("s-2") == (300, 800)
    assert flow.span("s-pause-2") == (800, 900)


def test_a_cut_of_sound_without_words_parts_it_too() -> None:
    flow = Flow().speaks(300)
    flow.utterances.cut("s-1")
    flow.speaks(300)
    assert flow.span("s-1") == (0, 300)
    assert flow.span("s-2") == (300, 600)


def test_words_without_times_are_said_now() -> None:
    flow = Flow().quiet(1000).agent("Hello", None, None).speaks(500).agent(" there", None, None).quiet(3000)
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
    utterances.audio(MULAW_8K.silence(100), 5000)
    assert utterances.position == 5100
    events = utterances.words(False, "Hi", 5150, 5300) + utterances.audio(sound(0, 100, MULAW_8K), None)
    assert {event.item_id for event in events if isinstance(event, AudioChunk) and event.audio} == {"s-1"}


def test_a_long_talk_fills_no_memory() -> None:
    utterances = Utterances("s", MULAW_8K)
    for number in range(3000):
        start = number * 2000
        utterances.words(number % 2 == 0, "word", start, start + 500)
        utterances.audio(sound(start, 500, MULAW_8K), None)
        utterances.audio(MULAW_8K.silence(1500), None)
    assert len(utterances._places) <= 64  # memory is what this is about
    assert not utterances._coming  # the same
