"""The benchmark's arithmetic: a benchmark that counts wrong is worse than none."""

from __future__ import annotations

import math

import pytest
from bench.measure import Track, beside, cut, middle, percentile, summary

from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_24K

FRAME = bytes(range(160))


def test_latency_is_from_sending_a_frame_to_the_arrival_of_its_last_byte() -> None:
    track = Track(MULAW_8K, MULAW_8K, window=(1.0, 3.0))
    for at in (0.0, 1.0, 2.0, 3.0):
        track.send(at, FRAME)
    track.hear(1.010, FRAME + FRAME[:159])
    assert track.latencies_ms == []
    track.hear(1.020, FRAME[159:])
    track.hear(2.030, FRAME * 2)
    assert track.latencies_ms == pytest.approx([20, 30])
    assert (track.missing_samples, track.altered_samples()) == (0, 0)


def test_missing_extra_and_altered_samples() -> None:
    track = Track(MULAW_8K, MULAW_8K)
    track.send(0, FRAME)
    track.hear(0, FRAME[:100])
    assert track.missing_samples == 60
    track.hear(0, b"\x00" + FRAME[101:] + b"??")
    assert track.missing_samples == -2
    assert track.altered_samples() == 1


@pytest.mark.parametrize(("source", "target"), [(MULAW_8K, PCM16_24K), (PCM16_24K, MULAW_8K)])
def test_converted_audio_counts_at_its_own_rate(source: object, target: object) -> None:
    assert isinstance(source, type(MULAW_8K))
    assert isinstance(target, type(MULAW_8K))
    track = Track(source, target)
    converter = Converter(source, target)
    for number in range(20):
        frame = bytes((number * 7 + position) % 251 for position in range(source.frame_bytes))
        track.send(number, frame)
        track.hear(number + 0.005, converter.feed(frame))
    assert track.latencies_ms == pytest.approx([5] * 20)
    assert (track.missing_samples, track.altered_samples()) == (0, 0)
    tail = converter.flush()
    track.hear(21, tail)
    assert tail
    assert (track.missing_samples, track.altered_samples()) == (0, 0)
    track.hear(22, b"??")
    assert track.missing_samples < 0
    track.heard[2000:2100] = bytes(100)
    assert track.altered_samples() > 20


def test_a_tail_that_is_filled_up_to_a_frame_counts_for_nothing() -> None:
    track = Track(PCM16_24K, MULAW_8K)
    converter = Converter(PCM16_24K, MULAW_8K)
    frame = bytes(range(240)) * 4
    for number in range(3):
        track.send(number, frame)
        track.hear(number, converter.feed(frame))
    tail = converter.flush()
    track.hear(4, tail + MULAW_8K.silence(20)[len(tail) :])
    assert tail
    assert (track.missing_samples, track.altered_samples()) == (0, 0)
    track.hear(5, b"\x00")
    assert track.missing_samples < -1
    plain = Track(MULAW_8K, MULAW_8K)
    plain.hear(0, MULAW_8K.silence(10))
    assert plain.missing_samples == -80


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50, 99, 100)
    assert percentile([7.0], 1) == 7
    assert math.isnan(percentile([], 50))


def test_summary_adds_up_all_calls() -> None:
    up, down = Track(MULAW_8K, MULAW_8K), Track(MULAW_8K, MULAW_8K)
    up.send(0, FRAME)
    up.hear(0.06, FRAME)
    down.send(0, FRAME)
    figures = summary([up, up], [down])
    assert figures["up_p50_ms"] == pytest.approx(60)
    assert figures["up_late"] == 2
    assert figures["down_lost"] == 160
    assert math.isnan(figures["down_p50_ms"])


def test_one_beside_another_is_compared_turn_by_turn() -> None:
    runs = [{"cpu": cpu} for cpu in (1.0, 4.0, 3.0)]
    others = [{"cpu": cpu} for cpu in (1.0, 2.0, 2.0)]
    assert beside(runs, others, "cpu") == (1.5, 1.0, 2.0)
    with pytest.raises(ValueError, match="shorter"):
        beside(runs, others[:2], "cpu")


def test_a_field_is_cut_out_of_a_message() -> None:
    assert cut(b'{"a":{"payload":"Zm9v"}}', b'"payload":"') == b"Zm9v"
    assert cut(b'{"a":{"payload":""}}', b'"payload":"') == b""
    assert cut(b'{"event":"clear"}', b'"payload":"') is None


def test_the_middle_of_runs_is_the_median_but_the_worst_of_what_must_not_happen() -> None:
    runs = [
        {"cpu": 1.0, "up_lost": 0.0, "lost": 1.0, "late_most": 1.0, "x": 1.0},
        {"cpu": 9.0, "up_lost": 5.0, "lost": 5.0, "late_most": 0.0, "x": math.nan},
        {"cpu": 2.0, "up_lost": 0.0, "lost": 0.0, "late_most": 7.0, "x": 2.0},
    ]
    merged = middle(runs)
    assert (merged["cpu"], merged["up_lost"], merged["lost"], merged["late_most"]) == (2.0, 5.0, 5.0, 7.0)
    assert math.isnan(merged["x"])
