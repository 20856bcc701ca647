"""Starts and ends of speech: found soon, in noise too, by both ears; not found where nobody speaks.

The speech is the simulated caller's, the noise is made here. `pytest -s` prints the table of figures.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tandem
from tandem_codecs.format import FRAME_MS, MULAW_8K
from tandem_codecs.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from tandem_providers import detector
from tandem_providers.detector import (
    EnergyVoice,
    NoiseFloor,
    Speech,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    Voice,
    WebRtcVoice,
    best_voice,
)

Samples = NDArray[np.float64]
MakeVoice = Callable[[], Voice]

RATE = MULAW_8K.rate
SPEECH = Path(tandem.__file__).parent / "simulators/speech"
PHRASES = ("hello", "opening-hours", "long", "wait", "goodbye")
PAUSE_MS = 1500

needs_webrtcvad = pytest.mark.skipif(
    importlib.util.find_spec("webrtcvad") is None, reason="no wheel here: the other ear is tested"
)
both_ears = pytest.mark.parametrize(
    "ear", [pytest.param(WebRtcVoice, marks=needs_webrtcvad), EnergyVoice], ids=["webrtcvad", "energy"]
)


def phrase(name: str) -> Samples:
    return np.frombuffer(mulaw_to_pcm16((SPEECH / f"{name}.ulaw").read_bytes()), dtype="<i2").astype(np.float64)


def mulaw(samples: Samples) -> bytes:
    return pcm16_to_mulaw(np.clip(np.round(samples), -32768, 32767).astype("<i2").tobytes())


def silence(milliseconds: float) -> Samples:
    return np.zeros(int(RATE * milliseconds / 1000))


def noise(count: int, dbfs: float, kind: str = "white", seed: int = 1) -> Samples:
    """Hiss, traffic (all below falls off by 3 dB an octave from a rumble on) or a mains hum, at that RMS level."""
    white = np.random.default_rng(seed).standard_normal(count)
    if kind == "traffic":
        spectrum = np.fft.rfft(white)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        white = np.fft.irfft(spectrum, count)
    elif kind == "hum":
        time = np.arange(count) / RATE
        white = 0.05 * white + sum(np.sin(2 * np.pi * 120 * n * time) / n for n in (1, 2, 3))
    return np.asarray(white / np.sqrt(np.mean(white**2)) * 32768 * 10 ** (dbfs / 20))


@dataclass(frozen=True)
class Timed:
    """An event and when it was known, in audio time."""

    event: Speech
    known_ms: int


def heard(audio: bytes, ear: MakeVoice, piece: int = MULAW_8K.frame_bytes) -> list[Timed]:
    turns = TurnDetector(voice=ear())
    return [
        Timed(event, int(MULAW_8K.milliseconds(at + piece)))
        for at in range(0, len(audio), piece)
        for event in turns.feed(audio[at : at + piece])
    ]


def conversation(noise_dbfs: float, kind: str) -> tuple[bytes, list[tuple[float, float]]]:
    """All phrases with pauses between, in noise that is there from the first moment; where each begins and ends."""
    parts = [silence(PAUSE_MS)]
    places: list[tuple[float, float]] = []
    at = float(PAUSE_MS)
    for name in PHRASES:
        said = phrase(name)
        lasts = len(said) * 1000 / RATE
        places.append((at, at + lasts))
        parts += [said, silence(PAUSE_MS)]
        at += lasts + PAUSE_MS
    clean = np.concatenate(parts)
    return mulaw(clean + noise(len(clean), noise_dbfs, kind)), places


@both_ears
@pytest.mark.parametrize("kind", ["white", "traffic", "hum"])
@pytest.mark.parametrize(("snr", "start_within", "end_within"), [(50, 140, 140), (20, 180, 140), (10, 220, 300)])
def test_each_turn_is_found_once_and_in_time(
    ear: MakeVoice, kind: str, snr: int, start_within: int, end_within: int
) -> None:
    """Measured from the edges of the recordings, which begin with 30 ms of near silence and often a soft consonant."""
    audio, places = conversation(-20 - snr, kind)
    events = heard(audio, ear)
    assert [type(timed.event) for timed in events] == [SpeechStarted, SpeechStopped] * len(PHRASES)
    starts = [t.known_ms - begin for t, (begin, _) in zip(events[::2], places, strict=True)]
    ends = [t.event.at_ms - end for t, (_, end) in zip(events[1::2], places, strict=True)]
    waits = [t.known_ms - end for t, (_, end) in zip(events[1::2], places, strict=True)]
    print(  # noqa: T201 - the figures, for whoever asks with -s
        f"\n{ear.__name__:12} {kind:8} {snr:3} dB: start known after {min(starts):.0f}-{max(starts):.0f} ms, "
        f"end placed {min(ends):.0f} to {max(ends):.0f} ms off, known {min(waits):.0f}-{max(waits):.0f} ms after it"
    )
    assert max(starts) <= start_within
    assert max(abs(end) for end in ends) <= end_within
    assert max(waits) <= 560
    for timed in events[::2]:
        assert timed.known_ms - timed.event.at_ms <= 200


@both_ears
@pytest.mark.parametrize("background", [-80.0, -50.0])
@pytest.mark.parametrize("offset", [0, 7, 13, 19])
def test_loud_onset_is_known_within_120_ms(ear: MakeVoice, background: float, offset: int) -> None:
    """From a vowel that begins at full level, at any place within a frame."""
    vowel = phrase("hello")[2400:]
    before = silence(1000 + offset)
    audio = mulaw(np.concatenate([before, vowel]) + noise(len(before) + len(vowel), background))
    first = heard(audio, ear)[0]
    assert isinstance(first.event, SpeechStarted)
    assert first.known_ms - (1000 + offset) <= 120
    assert abs(first.event.at_ms - (1000 + offset)) <= 40


@both_ears
@pytest.mark.parametrize("gain_db", [-20, -10, 0, 10])
def test_loud_and_soft_speakers_are_heard(ear: MakeVoice, gain_db: int) -> None:
    said = np.concatenate([silence(1000), phrase("opening-hours"), silence(1000)]) * 10 ** (gain_db / 20)
    events = heard(mulaw(said + noise(len(said), -65)), ear)
    assert [type(timed.event) for timed in events] == [SpeechStarted, SpeechStopped]


@both_ears
@pytest.mark.parametrize("kind", ["white", "traffic", "hum"])
@pytest.mark.parametrize("dbfs", [-30.0, -40.0, -50.0, -65.0])
def test_noise_alone_is_no_speech(ear: MakeVoice, kind: str, dbfs: float) -> None:
    """Nor at the start of a call, when nothing has been learnt; some calls begin with digital silence."""
    for lead in (0, 100, 300):
        audio = mulaw(np.concatenate([silence(lead), noise(RATE * 20, dbfs, kind)]))
        assert heard(audio, ear) == []


@both_ears
def test_digital_silence_is_no_speech(ear: MakeVoice) -> None:
    assert heard(MULAW_8K.silence(5000), ear) == []
    assert heard(b"\x7f" * 8000, ear) == []  # mu-law's other zero


@both_ears
def test_speech_right_at_the_start_is_heard(ear: MakeVoice) -> None:
    """A pure recording without any noise to learn from, cut in the middle of a vowel."""
    events = heard(mulaw(np.concatenate([phrase("opening-hours")[4000:], silence(1000)])), ear)
    assert [type(timed.event) for timed in events] == [SpeechStarted, SpeechStopped]
    assert events[0].known_ms < 500


@both_ears
def test_clicks_are_no_speech(ear: MakeVoice) -> None:
    line = noise(RATE * 10, -60)
    for at in range(4000, len(line), 4000):  # twice a second
        line[at : at + 40] += 20000 * np.sign(np.sin(np.arange(40)))
    assert heard(mulaw(line), ear) == []


@both_ears
def test_comfort_noise_that_comes_and_goes_is_no_speech(ear: MakeVoice) -> None:
    """A codec that stops sending in pauses: nothing at all, then its own faint noise, and so on."""
    burst = noise(RATE, -60)
    line = np.concatenate([part for _ in range(6) for part in (silence(1000), burst)])
    assert heard(mulaw(line), ear) == []


@both_ears
def test_losses_filled_with_silence_do_not_turn_noise_into_speech(ear: MakeVoice) -> None:
    line = noise(RATE * 12, -38)
    for at in range(RATE, len(line), RATE):
        line[at : at + RATE // 5] = 0  # 200 ms in each second
    assert heard(mulaw(line), ear) == []


@both_ears
def test_noise_that_grows_is_speech_for_a_moment_at_most(ear: MakeVoice) -> None:
    """Nothing but patience tells a step of the noise from a voice; after it the ear has adapted."""
    line = np.concatenate([noise(RATE * 5, -60), noise(RATE * 15, -35, seed=2)])
    events = heard(mulaw(line), ear)
    assert len(events) <= 2
    assert all(timed.known_ms < 5000 + 3000 for timed in events)


@both_ears
def test_click_in_the_pause_does_not_hold_up_the_end(ear: MakeVoice) -> None:
    said = phrase("hello")
    end = 1000 + len(said) * 1000 / RATE
    line = np.concatenate([silence(1000), said, silence(1500)])
    line = line + noise(len(line), -60)
    at = int((end + 300) * RATE / 1000)
    line[at : at + 16] += 15000 * np.sign(np.sin(np.arange(16)))
    stopped = heard(mulaw(line), ear)[1]
    assert isinstance(stopped.event, SpeechStopped)
    assert stopped.known_ms - end <= 560


@both_ears
def test_short_pause_does_not_end_a_turn(ear: MakeVoice) -> None:
    said = np.concatenate([silence(1000), phrase("hello"), silence(350), phrase("opening-hours"), silence(1000)])
    events = heard(mulaw(said + noise(len(said), -60)), ear)
    assert [type(timed.event) for timed in events] == [SpeechStarted, SpeechStopped]


@both_ears
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 2000), min_size=1, max_size=30))
def test_any_split_gives_the_same_events(ear: MakeVoice, cuts: list[int]) -> None:
    audio = SPLIT
    turns = TurnDetector(voice=ear())
    events: list[Speech] = []
    at = turn = 0
    while at < len(audio):
        size = cuts[turn % len(cuts)]
        events += turns.feed(audio[at : at + size])
        at, turn = at + size, turn + 1
    assert events == [timed.event for timed in heard(audio, ear)]
    assert turns.heard_ms == MULAW_8K.milliseconds(len(audio)) // FRAME_MS * FRAME_MS


SPLIT = (
    mulaw(np.concatenate([silence(500), phrase("wait"), silence(800), phrase("hello"), silence(800)])) + b"\xff" * 77
)


class Told:
    """A `Voice` that has been told what it hears, one character a frame."""

    def __init__(self, script: str) -> None:
        self._script = iter(script)

    def voiced(self, pcm: bytes) -> bool:
        return next(self._script) == "#"


def turns_of(script: str, start_ms: int = 80, silence_ms: int = 500) -> list[Timed]:
    turns = TurnDetector(voice=Told(script), start_ms=start_ms, silence_ms=silence_ms)
    frame = MULAW_8K.silence(FRAME_MS)
    return [Timed(event, turns.heard_ms) for _ in script for event in turns.feed(frame)]


def test_a_start_needs_enough_voice_and_an_end_enough_silence() -> None:
    assert turns_of("...###......") == []
    assert turns_of("...####......", silence_ms=100) == [Timed(SpeechStarted(60), 140), Timed(SpeechStopped(140), 240)]
    assert turns_of("..##......", start_ms=40, silence_ms=60) == [
        Timed(SpeechStarted(40), 80),
        Timed(SpeechStopped(80), 140),
    ]


def test_a_gap_in_the_first_word_delays_the_start_but_does_not_move_it() -> None:
    assert turns_of("..##.##.##") == [Timed(SpeechStarted(40), 200)]


def test_single_frames_do_not_add_up_to_a_start() -> None:
    assert turns_of("#..#..#..#..#..#..#..#..#..#") == []


def test_single_frames_do_not_prolong_a_turn() -> None:
    assert turns_of("####.#.#.#.#.#", silence_ms=100)[1] == Timed(SpeechStopped(80), 180)


def test_cut_ends_a_turn_and_waits_for_quiet() -> None:
    frame = MULAW_8K.silence(FRAME_MS)
    turns = TurnDetector(voice=Told("######" + "#######" + "..##...######"), silence_ms=100)
    assert [turns.frame(frame) for _ in range(6)][3] == SpeechStarted(0)
    assert turns.speaking
    assert turns.cut(60) == SpeechStopped(120)
    assert turns.cut(60) is None
    rest = [turns.frame(frame) for _ in range(20)]
    assert not any(rest[:17])  # what was cut goes on, pauses too shortly, pauses
    assert SpeechStarted(400) in rest


def test_without_webrtcvad_our_own_ear_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webrtcvad", None)  # as if it were not installed
    spec = importlib.util.spec_from_file_location("detector_on_its_own", detector.__file__)
    assert spec is not None
    assert spec.loader is not None
    on_its_own = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, on_its_own)
    spec.loader.exec_module(on_its_own)
    assert isinstance(on_its_own.best_voice(), on_its_own.EnergyVoice)


@needs_webrtcvad
def test_with_webrtcvad_it_listens() -> None:
    assert isinstance(best_voice(), WebRtcVoice)


@pytest.mark.parametrize(("start_ms", "silence_ms"), [(0, 500), (80, 19)])
def test_times_below_a_frame_are_refused(start_ms: int, silence_ms: int) -> None:
    with pytest.raises(ValueError, match="20 ms"):
        TurnDetector(start_ms=start_ms, silence_ms=silence_ms)


def test_floor_knows_nothing_until_it_has_heard_something() -> None:
    floor = NoiseFloor()
    assert floor.level == float("inf")
    floor.feed(0)
    assert floor.level == float("inf")
    floor.feed(300)
    assert floor.level == 300


def test_floor_follows_down_at_once_and_up_within_two_and_a_half_seconds() -> None:
    floor = NoiseFloor()
    for _ in range(50):
        floor.feed(1000)
    for _ in range(3):
        floor.feed(100)
    assert floor.level == 100
    frames = 0
    while floor.level < 1000:
        floor.feed(1000)
        frames += 1
    assert 1500 <= frames * FRAME_MS <= 2500
