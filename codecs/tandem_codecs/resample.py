"""Streaming resampling of 16-bit audio between 8, 16 and 24 kHz, without hold-back.

A linear-phase low-pass filter in polyphase form. One row of the product below is one millisecond of audio: the input
of that millisecond with the filter's memory before it, times a table with one column per output sample. So a whole
chunk is one small matrix product, and each chunk's output leaves at once.

The arithmetic is exact. Coefficients are whole multiples of 2**-32 and every partial sum stays below 2**17, so it fits
the 53 bits of a double and no order of summation can change it: the same input gives the same bytes however it is cut
and whichever BLAS multiplies. Single precision would save 0.8 of 4 microseconds a frame and lose that.
"""

from __future__ import annotations

from functools import cache
from math import gcd
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy import copyto, dot, maximum, minimum, rint  # by name: looking them up in np is 2 % of a frame

from tandem_codecs.format import PCM16_8K, PCM16_16K, PCM16_24K

RATES: Final = (PCM16_8K.rate, PCM16_16K.rate, PCM16_24K.rate)
"""The rates (Hz) between which `Resampler` converts, each to each."""

# The filter, chosen by measurement (tests/codecs/test_resample.py prints its table): 23 samples of the lower rate are
# 2.9 ms at 8 kHz; -6 dB at 95 % of the lower rate's Nyquist frequency leaves 3.4 kHz untouched and 4.2 kHz out; this
# much tapering puts the far images and aliases below -90 dB.
_DELAY: Final = 23
_CUTOFF: Final = 0.95
_KAISER_BETA: Final = 9.0
_COEFFICIENT_STEP: Final = 2.0**-32

_SAMPLE_BYTES: Final = PCM16_8K.sample_bytes
_ROWS: Final = 100
"""Most milliseconds in one product: bounds the scratch memory, and stays below the size at which BLAS wakes threads."""

_LOWEST: Final = np.array(-32768.0)
_HIGHEST: Final = np.array(32767.0)


class Resampler:
    """One direction of one call. Feed it PCM16 little-endian bytes, cut anywhere, even inside a sample.

    Every whole group of input samples (three for 24 to 8 kHz) gives its output at once; the sound itself is 23 samples
    of the lower rate late. What is too loud after filtering is clipped. Between equal rates it is the identity.

    Instances may be fed from different threads; one instance only from one at a time.

    Raises:
        ValueError: a rate is not one of `RATES`.
    """

    __slots__ = ("_kernel", "_memory", "_rest", "source_rate", "target_rate")

    def __init__(self, source_rate: int, target_rate: int) -> None:
        for rate in (source_rate, target_rate):
            if rate not in RATES:
                raise ValueError(f"cannot resample {rate} Hz: only {', '.join(map(str, RATES))} Hz")
        self.source_rate = source_rate
        self.target_rate = target_rate
        self._kernel = _kernel(source_rate, target_rate)
        self._memory = self._kernel.silence
        self._rest = b""

    def feed(self, pcm: bytes) -> bytes:
        """The output that this input completes; empty when it completes none."""
        kernel = self._kernel
        if kernel.identical:
            return pcm
        if self._rest:
            pcm = self._rest + pcm
            self._rest = b""
        groups, odd = divmod(len(pcm), kernel.group_bytes)
        if odd:
            self._rest = bytes(pcm[-odd:])
            pcm = pcm[:-odd]
        if not groups:
            return b""
        if groups <= kernel.most_groups:
            output, self._memory = kernel.run(self._memory, pcm, groups)
            return output
        return b"".join(self._blocks(pcm))

    def _blocks(self, pcm: bytes) -> list[bytes]:
        kernel = self._kernel
        outputs = []
        step = kernel.most_groups * kernel.group_bytes
        for start in range(0, len(pcm), step):
            block = pcm[start : start + step]
            output, self._memory = kernel.run(self._memory, block, len(block) // kernel.group_bytes)
            outputs.append(output)
        return outputs

    def flush(self) -> bytes:
        """The end of the sound still in the filter (under 6 ms at 8 kHz), then as good as new.

        All feeds and the flush together are the whole convolution: nothing of the input is lost, except half a sample
        if the input ended within one. Empty when nothing was fed since the last flush.
        """
        kernel = self._kernel
        samples = len(self._rest) // _SAMPLE_BYTES
        output = b""
        if samples or self._memory is not kernel.silence:
            count = ((samples - 1) * kernel.up + kernel.taps - 1) // kernel.down + 1
            groups = -(-count // kernel.up)
            last = self._rest[: samples * _SAMPLE_BYTES].ljust(groups * kernel.group_bytes, b"\0")
            output = kernel.run(self._memory, last, groups)[0][: count * _SAMPLE_BYTES]
        self._memory = kernel.silence
        self._rest = b""
        return output

    def __repr__(self) -> str:
        return f"Resampler({self.source_rate}, {self.target_rate})"


class _Views(NamedTuple):
    """The scratch arrays cut to one number of rows."""

    windows: npt.NDArray[np.int16]
    rows: npt.NDArray[np.float64]
    product: npt.NDArray[np.float64]
    samples: npt.NDArray[np.int16]
    output: memoryview


class _Scratch:
    """Working memory of one product. Whoever computes borrows one, so concurrent threads never share it."""

    def __init__(self, memory: int, step: int, columns: int) -> None:
        self.raw = bytearray((memory + _ROWS * step) * _SAMPLE_BYTES)
        self._input = np.frombuffer(self.raw, "<i2")
        self._step = step
        self._rows = np.zeros((_ROWS, memory + step))
        self._product = np.zeros((_ROWS, columns))
        self._samples = np.zeros((_ROWS, columns), "<i2")
        self._views: list[_Views | None] = [None] * (_ROWS + 1)

    def views(self, rows: int) -> _Views:
        """The arrays for that many rows, made when first asked for: slicing them anew would cost more than the sums."""
        views = self._views[rows]
        if views is None:
            stride = self._step * _SAMPLE_BYTES
            shape = (rows, self._rows.shape[1])
            views = self._views[rows] = _Views(
                windows=np.lib.stride_tricks.as_strided(self._input, shape, (stride, _SAMPLE_BYTES)),
                rows=self._rows[:rows],
                product=self._product[:rows],
                samples=self._samples[:rows],
                output=self._samples[:rows].data.cast("B"),
            )
        return views


class _Kernel:
    """What all resamplers of one ratio share: the table, and scratch memory to borrow."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        divisor = gcd(source_rate, target_rate)
        self.identical = source_rate == target_rate
        self.up = target_rate // divisor
        self.down = source_rate // divisor
        self.group_bytes = self.down * _SAMPLE_BYTES
        step = source_rate // 1000
        self._row_groups = step // self.down
        self.most_groups = _ROWS * self._row_groups

        taps = _low_pass(max(self.up, self.down)) * self.up
        self.taps = len(taps)
        memory = (self.taps - 1) // self.up
        self.silence = bytes(memory * _SAMPLE_BYTES)
        self._table = _table(np.round(taps / _COEFFICIENT_STEP) * _COEFFICIENT_STEP, self.up, self.down, memory, step)
        self._scratch_shape = (memory, step, self._table.shape[1])
        self._idle: list[_Scratch] = []

    def run(self, memory: bytes, pcm: bytes, groups: int) -> tuple[bytes, bytes]:
        """The output of so many whole groups of input, and the memory to pass to the next run."""
        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = _Scratch(*self._scratch_shape)
        views = scratch.views(-(-groups // self._row_groups))
        raw = scratch.raw
        start = len(memory)
        size = len(pcm)
        raw[:start] = memory
        raw[start : start + size] = pcm
        # A last row may reach beyond the input: it then reads what an earlier run left there, and is cut off below.
        copyto(views.rows, views.windows)
        product = dot(views.rows, self._table, views.product)
        rint(product, product)
        minimum(product, _HIGHEST, out=product)
        maximum(product, _LOWEST, out=product)
        copyto(views.samples, product, casting="unsafe")
        output = bytes(views.output[: groups * self.up * _SAMPLE_BYTES])
        memory = bytes(raw[size : size + start])
        self._idle.append(scratch)
        return output, memory


@cache
def _kernel(source_rate: int, target_rate: int) -> _Kernel:
    return _Kernel(source_rate, target_rate)


def _low_pass(factor: int) -> npt.NDArray[np.float64]:
    """A windowed sinc of odd length at `factor` times the lower rate: its delay is a whole number of samples there."""
    half = _DELAY * factor
    cutoff = _CUTOFF / factor
    taps = np.sinc(cutoff * np.arange(-half, half + 1)) * np.kaiser(2 * half + 1, _KAISER_BETA)
    return np.asarray(taps / taps.sum(), np.float64)


def _table(taps: npt.NDArray[np.float64], up: int, down: int, memory: int, step: int) -> npt.NDArray[np.float64]:
    """One column per output sample of a millisecond: which tap meets which of the row's input samples."""
    inputs = np.arange(-memory, step)[:, np.newaxis]
    outputs = np.arange(step * up // down)[np.newaxis, :]
    tap = outputs * down - inputs * up
    within = (tap >= 0) & (tap < len(taps))
    return np.ascontiguousarray(np.where(within, taps[np.where(within, tap, 0)], 0.0))
