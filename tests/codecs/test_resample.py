"""The resampler as a stream: what comes when, and the same bytes however the input is cut. Its sound is measured in
test_resample_quality.py."""

from __future__ import annotations

import itertools
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from math import gcd

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from tandem_codecs.format import AudioFormat, Encoding
from tandem_codecs.resample import RATES, Resampler

RATIOS = list(itertools.permutations(RATES, 2))
ratios = pytest.mark.parametrize(("source", "target"), RATIOS)


def noise(count: int, level: float = 8000, seed: int = 1) -> bytes:
    values = np.random.default_rng(seed).standard_normal(count) * level
    return np.clip(values, -32768, 32767).astype("<i2").tobytes()


def whole(source: int, target: int, pcm: bytes) -> bytes:
    resampler = Resampler(source, target)
    return resampler.feed(pcm) + resampler.flush()


def reference(source: int, target: int, pcm: bytes) -> npt.NDArray[np.float64]:
    """The same filter by SciPy's design and SciPy's convolution, then rounded and clipped, not wrapped."""
    divisor = gcd(source, target)
    up, down = target // divisor, source // divisor
    factor = max(up, down)
    taps = signal.firwin(2 * 23 * factor + 1, 0.95 / factor, window=("kaiser", 9.0)) * up
    taps = np.round(taps * 2**32) / 2**32
    return np.clip(np.rint(signal.upfirdn(taps, np.frombuffer(pcm, "<i2"), up, down)), -32768, 32767)


@ratios
def test_it_is_the_whole_convolution(source: int, target: int) -> None:
    square = np.where(np.arange(2000) // 37 % 2, 32767, -32768).astype("<i2").tobytes()
    for pcm in (noise(3001), noise(1500, level=30000), square):
        expected = reference(source, target, pcm)
        output = np.frombuffer(whole(source, target, pcm), "<i2")
        np.testing.assert_array_equal(output, expected)


@ratios
def test_every_frame_gives_a_frame_at_once(source: int, target: int) -> None:
    before, after = AudioFormat(Encoding.PCM16, source), AudioFormat(Encoding.PCM16, target)
    resampler = Resampler(source, target)
    for _ in range(50):
        assert len(resampler.feed(noise(before.frame_bytes // 2))) == after.frame_bytes


def test_what_fills_no_group_waits() -> None:
    resampler = Resampler(24000, 8000)
    assert [len(resampler.feed(b"\1")) for _ in range(12)] == [0, 0, 0, 0, 0, 2] * 2
    resampler = Resampler(8000, 24000)
    assert resampler.feed(b"") == b""
    assert [len(resampler.feed(b"\1")) for _ in range(4)] == [0, 6, 0, 6]


@ratios
def test_flush_leaves_nothing_behind(source: int, target: int) -> None:
    resampler = Resampler(source, target)
    assert resampler.flush() == b""
    for odd in (0, 1, 2, 3, 5):
        pcm = noise(480) + b"\x11" * odd
        first = resampler.feed(pcm) + resampler.flush()
        assert resampler.flush() == b""
        assert resampler.feed(pcm) + resampler.flush() == first
    assert resampler.feed(b"\x11") == b""
    assert resampler.flush() == b"", "half a sample is no sound"


@ratios
def test_the_last_sample_is_heard(source: int, target: int) -> None:
    click = bytes(2 * 479) + np.array([20000], "<i2").tobytes()
    tail = whole(source, target, click)
    heard = np.frombuffer(tail, "<i2").astype(np.float64).sum() / 20000
    # A click of one sample carries as much sound after as before, whichever of the filter's phases it meets.
    assert heard == pytest.approx(target / source, rel=0.01)


@given(
    ratio=st.sampled_from(RATIOS),
    pcm=st.binary(max_size=900),
    cuts=st.lists(st.integers(0, 900), max_size=12),
)
@settings(max_examples=300)
def test_any_split_same_bytes(ratio: tuple[int, int], pcm: bytes, cuts: list[int]) -> None:
    resampler = Resampler(*ratio)
    edges = [0, *sorted(cuts), len(pcm)]
    pieces = b"".join(resampler.feed(pcm[start:end]) for start, end in itertools.pairwise(edges))
    assert pieces + resampler.flush() == whole(*ratio, pcm)


@ratios
def test_byte_by_byte_and_all_at_once_are_the_same(source: int, target: int) -> None:
    pcm = noise(source // 4, level=20000)
    at_once = whole(source, target, pcm)
    for size in (1, 7, 159, 961, 5000):
        resampler = Resampler(source, target)
        pieces = [resampler.feed(pcm[start : start + size]) for start in range(0, len(pcm), size)]
        assert b"".join(pieces) + resampler.flush() == at_once


@ratios
def test_ten_seconds_at_once_need_little_memory(source: int, target: int) -> None:
    pcm = noise(source * 10)
    resampler = Resampler(source, target)
    tracemalloc.start()
    try:
        output = resampler.feed(pcm)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(output) == target * 10 * 2
    assert peak < 3 * len(output) + 500_000
    framed = Resampler(source, target)
    frame = source // 50 * 2
    assert b"".join(framed.feed(pcm[start : start + frame]) for start in range(0, len(pcm), frame)) == output


def test_calls_do_not_hear_each_other() -> None:
    loud, quiet = Resampler(8000, 24000), Resampler(8000, 24000)
    for _ in range(5):
        loud.feed(noise(163, level=30000))
        assert not any(quiet.feed(bytes(2 * 7)))


def test_threads_do_not_hear_each_other() -> None:
    def run(seed: int) -> bytes:
        resampler = Resampler(24000, 8000)
        pcm = noise(24000, seed=seed)
        return b"".join(resampler.feed(pcm[start : start + 960]) for start in range(0, len(pcm), 960))

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(run, range(12)))
    assert together == [run(seed) for seed in range(12)]


def test_equal_rates_change_nothing() -> None:
    pcm = b"\1\2\3"
    same = Resampler(16000, 16000)
    assert same.feed(pcm) is pcm
    assert same.flush() == b""


@pytest.mark.parametrize(("source", "target"), [(44100, 8000), (8000, 48000), (0, 8000)])
def test_other_rates_are_refused_by_name(source: int, target: int) -> None:
    with pytest.raises(ValueError, match=f"{source if source not in RATES else target} Hz"):
        Resampler(source, target)


def test_it_prints_itself() -> None:
    assert repr(Resampler(8000, 24000)) == "Resampler(8000, 24000)"
