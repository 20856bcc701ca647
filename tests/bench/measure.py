"""The benchmark's arithmetic, pure: what was sent and what arrived become latencies, losses and medians."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from tandem_codecs.convert import Converter
from tandem_codecs.format import FRAME_MS, PCM16_8K, AudioFormat, Encoding

LATE_MS = 50.0


@dataclass(slots=True)
class Track:
    """One direction of one call. A frame has arrived when its last byte has, however the bytes were cut on the way.

    Nothing is written into the audio: since every 20 ms that go in come out as 20 ms, the n-th byte out belongs to a
    known byte in.
    """

    sent_format: AudioFormat
    heard_format: AudioFormat
    window: tuple[float, float] = (0.0, math.inf)
    """Frames sent in this time count for latency."""
    sent: bytearray = field(default_factory=bytearray)
    heard: bytearray = field(default_factory=bytearray)
    latencies_ms: list[float] = field(default_factory=list)
    _due: list[tuple[int, float]] = field(default_factory=list)
    _next: int = 0

    def send(self, now: float, frame: bytes) -> None:
        """This frame is being sent."""
        self.sent += frame
        self._due.append((self.expected, now))

    def hear(self, now: float, audio: bytes) -> None:
        """This much came out at the other end."""
        self.heard += audio
        while self._next < len(self._due) and self._due[self._next][0] <= len(self.heard):
            at = self._due[self._next][1]
            self._next += 1
            if self.window[0] <= at < self.window[1]:
                self.latencies_ms.append((now - at) * 1000)

    @property
    def expected(self) -> int:
        """Bytes that have to come out for what went in."""
        return len(self.sent) * self.heard_format.bytes_per_ms // self.sent_format.bytes_per_ms

    @property
    def missing_samples(self) -> int:
        """Lost (or still on the way); negative: so many came that nobody sent.

        A filter's tail may follow the last, and silence after it to the end of a frame: some carriers take no less.
        """
        missing = self.expected - len(self.heard)
        if missing < 0:
            converter = Converter(self.sent_format, self.heard_format)
            converter.feed(bytes(self.sent[-self.sent_format.frame_bytes :]))
            tail = len(converter.flush())
            missing = min(0, missing + tail)
            filled = self.heard_format.silence(FRAME_MS)[: -missing if tail else 0]
            if len(filled) == -missing and self.heard.endswith(filled):
                missing = 0
        return missing // self.heard_format.sample_bytes

    def altered_samples(self) -> int:
        """Samples that are not what the conversion in one go makes of what was sent (G.711 a step off is the same)."""
        if self.sent_format == self.heard_format:
            wanted, tolerance = bytes(self.sent), 0.0
        else:
            converter = Converter(self.sent_format, self.heard_format)
            wanted = converter.feed(bytes(self.sent)) + converter.flush()
            tolerance = 1.0 if self.heard_format.encoding is Encoding.PCM16 else 1 / 8
        size = min(len(wanted), len(self.heard))
        a, b = (_linear(audio[:size], self.heard_format) for audio in (wanted, bytes(self.heard)))
        allowed = tolerance if tolerance >= 1 else tolerance * np.abs(a) + 16 * bool(tolerance)
        return int(np.count_nonzero(np.abs(a - b) > allowed))


def _linear(audio: bytes, audio_format: AudioFormat) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if audio_format.encoding is not Encoding.PCM16:
        audio = Converter(audio_format, PCM16_8K).feed(audio)
    return np.frombuffer(audio, "<i2").astype(np.float64)


def cut(data: bytes, field: bytes) -> bytes | None:
    """The string that follows `field` in a JSON text, unless it is not there."""
    start = data.find(field) + len(field)
    return data[start : data.index(b'"', start)] if start >= len(field) else None


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


Figures = Mapping[str, float]


def summary(up: Sequence[Track], down: Sequence[Track]) -> dict[str, float]:
    """Figures of all calls together. `up` is from the caller to the provider."""
    figures: dict[str, float] = {}
    for name, tracks in (("up", up), ("down", down)):
        latencies = [latency for track in tracks for latency in track.latencies_ms]
        figures[f"{name}_p50_ms"] = percentile(latencies, 50)
        figures[f"{name}_p99_ms"] = percentile(latencies, 99)
        figures[f"{name}_late"] = sum(latency > LATE_MS for latency in latencies)
        figures[f"{name}_lost"] = sum(max(track.missing_samples, 0) for track in tracks)
        figures[f"{name}_extra"] = sum(max(-track.missing_samples, 0) for track in tracks)
        figures[f"{name}_altered"] = sum(track.altered_samples() for track in tracks)
    return figures


def middle(runs: Sequence[Figures]) -> dict[str, float]:
    """The median of each figure over the runs; of what must not happen (lost, extra, altered, late) and of what came
    at most, the worst."""
    merged = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        worst = name.rpartition("_")[2] in ("lost", "extra", "altered", "late", "most")
        merged[name] = max(values) if worst else math.nan if any(map(math.isnan, values)) else median(values)
    return merged


def beside(runs: Sequence[Figures], others: Sequence[Figures], name: str) -> tuple[float, float, float]:
    """A figure as a multiple of what it was in the other's run of the same turn: the median, the least, the most."""
    ratios = [run[name] / other[name] for run, other in zip(runs, others, strict=True)]
    return median(ratios), min(ratios), max(ratios)
