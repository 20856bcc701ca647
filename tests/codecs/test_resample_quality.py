"""What the resampler does to sound, measured with tones through its real bytes. `pytest -rP` shows the table.

Between 16 and 24 kHz there is twice as much band to keep, so all frequencies count double there.
"""

from __future__ import annotations

import itertools
import timeit
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from tandem_codecs.format import AudioFormat, Encoding
from tandem_codecs.resample import RATES, Resampler

LEVEL = 20000
SETTLED_MS = 100
SPEECH = (300, 499, 757, 1013, 1507, 1999, 2503, 2749, 3000)
EDGE = 3400
STOP = 4500
NEAR_STOP = 4200


@dataclass(frozen=True, slots=True)
class Quality:
    """One row of the table; None where the question does not arise."""

    ripple_db: float
    edge_db: float
    images_db: float | None
    aliases_db: float | None
    near_alias_db: float | None
    snr_db: float
    delay_ms: float
    phase_error: float
    held_back_ms: float
    microseconds: float


def tone(rate: int, frequency: int) -> bytes:
    """A second and a bit, so that a second is left after the filter has settled."""
    time = np.arange(rate + SETTLED_MS * rate // 1000) / rate
    levels: npt.NDArray[np.float64] = np.rint(LEVEL * np.sin(2 * np.pi * frequency * time))
    return levels.astype("<i2").tobytes()


def spectrum(rate: int, pcm: bytes) -> npt.NDArray[np.complex128]:
    """Of the settled second, one bin a hertz, 1.0 for a tone at our level; a whole number of hertz leaks nowhere."""
    start = SETTLED_MS * rate // 1000
    second = np.frombuffer(pcm, "<i2")[start : start + rate].astype(np.float64)
    return np.asarray(np.fft.rfft(second) * 2 / rate / LEVEL)


def decibels(ratio: float) -> float:
    return 20 * float(np.log10(max(ratio, 1e-9)))


def worst(values: Iterable[float]) -> float | None:
    return max(values, default=None)


def measure(source: int, target: int) -> Quality:
    scale = min(source, target) // 8000

    def through(frequency: int) -> npt.NDArray[np.complex128]:
        return spectrum(target, Resampler(source, target).feed(tone(source, frequency)))

    def gain(frequency: int) -> float:
        return decibels(abs(through(frequency)[frequency]))

    def strongest_other(frequency: int) -> float:
        bins = np.abs(through(frequency))
        if frequency < len(bins):
            bins[frequency] = 0
        return decibels(float(bins.max()))

    def round_trip_snr(frequency: int) -> float:
        there_and_back = Resampler(target, source).feed(Resampler(source, target).feed(tone(source, frequency)))
        bins = np.abs(spectrum(source, there_and_back))
        signal, bins[frequency] = bins[frequency], 0
        return decibels(signal) - decibels(float(np.linalg.norm(bins)))

    def turn(frequency: int) -> float:
        """How far the tone's phase is behind, in turns."""
        before, after = spectrum(source, tone(source, frequency)), through(frequency)
        return float(np.angle(before[frequency] / after[frequency])) / (2 * np.pi)

    keep = [frequency * scale for frequency in SPEECH]
    edge = EDGE * scale
    rising, falling = target > source, source > target
    stop = range(STOP * scale, source // 2, 307) if falling else ()
    delay = turn(100) / 100
    misfits = [turn(frequency) - delay * frequency for frequency in (*keep, edge)]
    pcm = tone(source, 1000)
    frame = AudioFormat(Encoding.PCM16, source).frame_bytes
    resampler = Resampler(source, target)
    frames = [resampler.feed(pcm[start : start + frame]) for start in range(0, frame * 10, frame)]
    received = itertools.accumulate(AudioFormat(Encoding.PCM16, target).milliseconds(len(out)) for out in frames)
    return Quality(
        ripple_db=max(abs(gain(frequency)) for frequency in keep),
        edge_db=gain(edge),
        images_db=worst(strongest_other(frequency) for frequency in (*keep, edge)) if rising else None,
        aliases_db=worst(strongest_other(frequency) for frequency in stop),
        near_alias_db=strongest_other(NEAR_STOP * scale) if falling else None,
        snr_db=min(round_trip_snr(frequency) for frequency in (*keep, edge)),
        delay_ms=delay * 1000,
        phase_error=max(abs(misfit - round(misfit)) for misfit in misfits),
        held_back_ms=max(20 * count - heard for count, heard in enumerate(received, 1)),
        microseconds=min(timeit.repeat(lambda: resampler.feed(pcm[:frame]), number=100, repeat=10)) * 1e4,
    )


COLUMNS = (
    # heading, bar, field, format
    ("gain 300-3000 Hz", "0.1 dB", "ripple_db", "{:.4f} dB"),
    ("at 3400", ">= -0.5", "edge_db", "{:.3f} dB"),
    ("images", "<= -75", "images_db", "{:.1f} dB"),
    ("aliases 4.5k-", "<= -70", "aliases_db", "{:.1f} dB"),
    ("at 4.2k", "<= -45", "near_alias_db", "{:.1f} dB"),
    ("round-trip SNR", ">= 80", "snr_db", "{:.1f} dB"),
    ("delay", "<= 3 ms", "delay_ms", "{:.3f} ms"),
    ("phase error", "linear", "phase_error", "{:.6f} turn"),
    ("hold-back", "0 ms", "held_back_ms", "{:.1f} ms"),
    ("20 ms frame", "<= 6 us", "microseconds", "{:.1f} us"),
)


def table(rows: dict[str, Quality]) -> str:
    def cell(quality: Quality, field: str, pattern: str) -> str:
        value = getattr(quality, field)
        return "-" if value is None else pattern.format(value)

    lines = [
        ["Resampler", *(heading for heading, *_ in COLUMNS)],
        ["bar", *(bar for _, bar, *_ in COLUMNS)],
        *([name, *(cell(quality, field, pattern) for *_, field, pattern in COLUMNS)] for name, quality in rows.items()),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


@pytest.fixture(scope="module")
def measured() -> dict[str, Quality]:
    return {f"{source} -> {target}": measure(source, target) for source, target in itertools.permutations(RATES, 2)}


def test_quality(measured: dict[str, Quality]) -> None:
    print(f"\n{table(measured)}")  # noqa: T201 - the table is for reading
    for name, quality in measured.items():
        assert quality.ripple_db <= 0.1, name
        assert quality.edge_db >= -0.5, name
        assert quality.images_db is None or quality.images_db <= -75, name
        assert quality.aliases_db is None or quality.aliases_db <= -70, name
        assert quality.near_alias_db is None or quality.near_alias_db <= -45, name
        assert quality.snr_db >= 80, name
        assert quality.delay_ms <= 3, name
        assert quality.phase_error <= 1e-4, name
        assert quality.held_back_ms == 0, name


def test_speed(measured: dict[str, Quality]) -> None:
    """The bar is 6 us on a quiet machine; ten times that is no busy machine any more but a lost fast path."""
    for name, quality in measured.items():
        assert quality.microseconds <= 60, name


def test_silence_stays_silent_and_a_level_stays_level() -> None:
    for source, target in itertools.permutations(RATES, 2):
        assert not any(Resampler(source, target).feed(bytes(source)))
        steady = np.full(source // 10, 12345, "<i2").tobytes()
        settled = np.frombuffer(Resampler(source, target).feed(steady), "<i2")[target // 50 :]
        assert set(settled.tolist()) == {12345}
