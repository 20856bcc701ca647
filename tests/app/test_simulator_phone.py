import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.simulators.phone import (
    SILENCE,
    At,
    BargeIn,
    Caller,
    Conversation,
    Playout,
    Turn,
    WhenQuiet,
    loud_span,
)
from tandem_codecs.format import MULAW_8K
from tandem_codecs.g711 import pcm16_to_mulaw


def tone(ms: int) -> bytes:
    samples = (int(8000 * math.sin(2 * math.pi * 440 * i / 8000 + 0.5)) for i in range(ms * 8))
    return pcm16_to_mulaw(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))


LOUD = tone(20)


# The playout buffer


def test_marks_return_when_their_audio_has_been_played_and_not_before() -> None:
    playout = Playout()
    playout.add(tone(50))
    assert playout.mark("end") == []
    assert playout.tick(0).marks == []
    assert playout.tick(20).marks == []
    last = playout.tick(40)
    assert last.marks == [], "its last 10 ms are only now being played"
    assert last.audio[80:] == SILENCE[80:]
    assert playout.mark("late") == []
    assert playout.tick(60).marks == ["end", "late"]
    assert playout.mark("empty") == ["empty"]


def test_clear_returns_every_mark_at_once_and_forgets_the_audio() -> None:
    playout = Playout()
    playout.add(tone(100))
    playout.mark("a")
    playout.add(tone(100))
    playout.mark("b")
    playout.tick(0)
    assert playout.clear() == ["a", "b"]
    assert playout.tick(20).audio == SILENCE
    assert (playout.received_ms, playout.played_ms, playout.cleared_ms, playout.waiting_ms) == (200, 20, 180, 0)
    assert playout.clear() == []
    assert playout.mark("c") == ["c"]


def test_audio_that_comes_late_is_an_underrun_and_after_a_pause_it_is_not() -> None:
    playout = Playout()
    playout.add(tone(30))
    for now in range(0, 100, 20):
        playout.tick(now)
    playout.add(tone(20))
    playout.tick(100)
    assert (playout.underruns, playout.gap_ms) == (1, 70.0)
    for now in range(120, 800, 20):
        playout.tick(now)
    playout.add(tone(20))
    playout.tick(800)
    assert playout.underruns == 1


def test_a_steady_stream_and_a_clear_have_no_gaps() -> None:
    playout = Playout()
    for now in range(0, 400, 20):
        playout.add(LOUD)
        playout.tick(now)
    playout.clear()
    playout.tick(400)
    playout.add(LOUD)
    playout.tick(420)
    assert (playout.underruns, playout.gap_ms) == (0, 0.0)


@given(st.lists(st.one_of(st.integers(1, 700), st.just("tick"), st.just("mark"), st.just("clear")), max_size=60))
def test_nothing_is_lost_or_invented(steps: list[int | str]) -> None:
    playout = Playout()
    sent = heard = 0
    asked: list[str] = []
    returned: list[str] = []
    for number, step in enumerate(steps):
        if isinstance(step, int):
            playout.add(b"\x01" * step)
            sent += step
        elif step == "tick":
            frame = playout.tick(number * 20.0)
            heard += frame.audio.count(1)
            returned += frame.marks
        elif step == "mark":
            asked.append(str(number))
            returned += playout.mark(str(number))
        else:
            returned += playout.clear()
    assert MULAW_8K.size(playout.received_ms) == sent
    assert MULAW_8K.size(playout.played_ms) == heard
    assert playout.received_ms == playout.played_ms + playout.cleared_ms + playout.waiting_ms
    assert returned == asked[: len(returned)], "in order, each once"


# Hearing


def test_loudness() -> None:
    assert loud_span(SILENCE) is None
    assert loud_span(b"") is None
    assert loud_span(SILENCE[:80] + LOUD[:40] + SILENCE[:40]) == (10.0, 15.0)


class Scene:
    """Both sides frame by frame: `c` the caller is loud, `a` the agent, `b` both, `.` nobody, `X` a clear before it."""

    def __init__(self, script: str) -> None:
        self.conversation = Conversation()
        now = 0.0
        for letter in script:
            if letter == "X":
                self.conversation.cleared(now, 0)
                continue
            self.conversation.caller(now, LOUD if letter in "cb" else SILENCE)
            self.conversation.agent(now, LOUD if letter in "ab" else SILENCE)
            now += 20


def test_answers_are_measured_from_the_last_loud_sample_to_the_first() -> None:
    scene = Scene("aaaaa" + "." * 40 + "ccccc" + "." * 5 + "ccccc" + "." * 30 + "aaaaa")
    (answer,) = scene.conversation.answers
    assert answer.caller_ended_ms == 60 * 20
    assert answer.agent_began_ms == pytest.approx(90 * 20, abs=0.3)
    assert answer.latency_ms == pytest.approx(600, abs=0.3)
    assert scene.conversation.first_audio_ms == pytest.approx(0, abs=0.3)


def test_a_pause_in_the_agents_words_is_no_new_answer() -> None:
    scene = Scene("ccccc" + "." * 10 + "aaa" + "." * 10 + "aaa" + "." * 30 + "aaa")
    assert len(scene.conversation.answers) == 1


def test_an_interruption_is_measured_to_the_clear() -> None:
    scene = Scene("a" * 50 + "b" * 10 + "X" + "c" * 5 + "." * 20 + "aaa")
    (interruption,) = scene.conversation.interruptions
    assert interruption.latency_ms == pytest.approx(200, abs=0.3)
    assert len(scene.conversation.answers) == 1


def test_an_interruption_that_nobody_obeys() -> None:
    scene = Scene("a" * 50 + "b" * 5 + "a" * 60 + "." * 20)
    (interruption,) = scene.conversation.interruptions
    assert interruption.began_ms == pytest.approx(1000, abs=0.3)
    assert interruption.latency_ms is None


def test_an_agent_that_was_just_finishing_was_not_interrupted() -> None:
    assert Scene("a" * 50 + "b" * 5 + "." * 30).conversation.interruptions == []


def test_notes_tell_the_story_in_order() -> None:
    scene = Scene("aaa" + "." * 20 + "ccc" + "." * 20 + "aaa")
    kinds = [note.kind for note in scene.conversation.notes()]
    assert kinds == ["agent-speaks", "agent-quiet", "caller-speaks", "caller-quiet", "agent-speaks"]
    assert scene.conversation.notes() == []


# Speaking


def play(caller: Caller, agent: str, ticks: int) -> list[tuple[int, str]]:
    """Which ticks had what: `s` for speech, the digits, `!` for hanging up. The agent is loud in frames marked `a`."""
    conversation = Conversation()
    seen: list[tuple[int, str]] = []
    for tick in range(ticks):
        now = tick * 20.0
        said = caller.tick(now, conversation)
        conversation.caller(now, said.audio)
        conversation.agent(now, LOUD if agent[tick : tick + 1] == "a" else SILENCE)
        what = ("s" if loud_span(said.audio) else "") + said.digits
        if what:
            seen.append((tick, what))
        if caller.hung_up:
            seen.append((tick, "!"))
            break
    return seen


def test_audio_at_a_time_comes_out_whole() -> None:
    caller = Caller([Turn(tone(50), At(40))], At(200))
    assert play(caller, "", 50) == [(2, "s"), (3, "s"), (4, "s"), (10, "!")]


def test_waiting_until_the_agent_has_finished() -> None:
    agent = "." * 10 + "a" * 10 + "." * 10 + "a" * 10
    caller = Caller([Turn(tone(20), WhenQuiet(700))], None)
    ((tick, _),) = play(caller, agent, 200)
    assert tick == 40 + 35, "700 ms after the last sample, the pause within does not count"


def test_an_agent_that_never_speaks_is_waited_for_only_so_long() -> None:
    assert play(Caller([Turn(tone(20), WhenQuiet(700, limit_ms=1000))], None), "", 200) == [(50, "s")]
    assert play(Caller([Turn(tone(20), BargeIn(700, limit_ms=1000))], None), "", 200) == [(50, "s")]


def test_barging_in_after_the_agent_began() -> None:
    caller = Caller([Turn(tone(20), BargeIn(200))], None)
    ((tick, _),) = play(caller, "." * 20 + "a" * 100, 200)
    assert tick in (30, 31)


def test_the_next_turn_waits_for_the_next_answer() -> None:
    caller = Caller([Turn(tone(20), WhenQuiet(400)), Turn(tone(20), WhenQuiet(400))], WhenQuiet(500))
    agent = "aaa" + "." * 60 + "aaa" + "." * 60 + "aaa" + "." * 60
    ticks = [tick for tick, _ in play(caller, agent, 300)]
    assert ticks == [3 + 20, 66 + 20, 129 + 25]


def test_a_short_silence_is_no_end() -> None:
    with pytest.raises(ValueError, match="300"):
        WhenQuiet(300)


def test_keys_are_pressed_one_after_another() -> None:
    caller = Caller([Turn(digits="1#", when=At(100))], At(0))
    seen = play(caller, "", 50)
    assert [what for _, what in seen] == ["1", "#", "!"]
    assert [b - a for (a, _), (b, _) in pairwise(seen)] == [10, 1]
