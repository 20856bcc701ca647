"""WAV files: any speech file in, the recording of a call out. Unlike the rest of the package it touches the disk."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt
import soxr

from tandem_codecs.format import AudioFormat, Encoding
from tandem_codecs.g711 import alaw_to_pcm16, mulaw_to_pcm16, pcm16_to_alaw, pcm16_to_mulaw

Samples = npt.NDArray[np.float32]

_PCM: Final = 1
_ALAW: Final = 6
_MULAW: Final = 7
_EXTENSIBLE: Final = 0xFFFE
_FORMAT: Final = struct.Struct("<HHIIHH")
_ENCODE: Final = {Encoding.MULAW: pcm16_to_mulaw, Encoding.ALAW: pcm16_to_alaw}
_FULL_SCALE: Final = 32768.0


def read_wav(path: str | Path, target: AudioFormat) -> bytes:
    """The whole file in the target format: mixed to mono, resampled, encoded.

    Reads integers of 8, 16, 24 and 32 bits and G.711, any number of channels, any rate. A file cut short by a crash
    gives what it has. Blocks while it reads and computes.

    Raises:
        ValueError: it is no WAV file, or its samples are of a kind that is not read.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    header, data = _split(path, path.read_bytes())
    tag, channels, rate, _, block, bits = _FORMAT.unpack_from(header)
    if tag == _EXTENSIBLE and len(header) >= 26:
        (tag,) = struct.unpack_from("<H", header, 24)
    if not channels or not rate or block != channels * ((bits + 7) // 8):
        raise ValueError(f"{path}: its format chunk contradicts itself")
    samples = _samples(path, tag, bits, data[: len(data) - len(data) % block])
    mono = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32) if channels > 1 else samples
    if rate != target.rate:
        mono = soxr.resample(mono, rate, target.rate, quality="HQ")
    loud = np.rint(mono * np.float32(_FULL_SCALE))
    pcm = np.clip(loud, -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").tobytes()
    encode = _ENCODE.get(target.encoding)
    return encode(pcm) if encode else pcm


def _split(path: Path, content: bytes) -> tuple[bytes, bytes]:
    """The format chunk and the samples."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError(f"{path}: not a WAV file")
    header = b""
    for name, body in _chunks(content):
        if name == b"fmt ":
            header = body
        elif name == b"data":
            if len(header) < _FORMAT.size:
                break
            return header, body
    raise ValueError(f"{path}: a WAV file without {'samples' if len(header) >= _FORMAT.size else 'a format'}")


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        position += 8
        # Who streams a WAV file does not know its size yet and claims the largest; slicing takes what there is.
        yield name, content[position : position + size]
        position += size + size % 2


def _samples(path: Path, tag: int, bits: int, data: bytes) -> Samples:
    """Between -1 and 1, channels still interleaved."""
    if (tag, bits) == (_MULAW, 8):
        data, bits, tag = mulaw_to_pcm16(data), 16, _PCM
    elif (tag, bits) == (_ALAW, 8):
        data, bits, tag = alaw_to_pcm16(data), 16, _PCM
    if tag != _PCM or bits not in (8, 16, 24, 32):
        kind = {_PCM: "integer", 3: "floating-point"}.get(tag, f"type {tag:#06x}")
        raise ValueError(f"{path}: {kind} samples of {bits} bits are not read; save it as 16-bit PCM")
    if bits == 8:  # the only width that WAV stores unsigned
        return (np.frombuffer(data, "u1").astype(np.float32) - np.float32(128)) / np.float32(128)
    if bits == 24:
        wide = np.zeros((len(data) // 3, 4), "u1")
        wide[:, 1:] = np.frombuffer(data, "u1").reshape(-1, 3)
        data, bits = wide.tobytes(), 32
    return np.frombuffer(data, f"<i{bits // 8}").astype(np.float32) / np.float32(2.0 ** (bits - 1))


Channel = Literal["left", "right"]

_CHANNELS: Final[tuple[Channel, ...]] = ("left", "right")
_SAMPLE_BYTES: Final = 2
_BLOCK_BYTES: Final = _SAMPLE_BYTES * len(_CHANNELS)
_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")
_MOST_BYTES: Final = 0xFFFFFFFF - _HEADER.size
"""A WAV file counts its bytes in 32 bits: 37 hours at 8 kHz."""


class StereoWriter:
    """A recording of two voices on one clock, written as it goes; memory does not grow with its length.

    The file appears under its name when the writer is closed, complete, or not at all. A `with` block closes it also
    when the block fails: what was said until then is kept. Each write blocks for one disk write, so on an event loop
    use a thread.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, path: str | Path, rate: int) -> None:
        self.path = Path(path)
        self.rate = rate
        self._ends: dict[Channel, int] = dict.fromkeys(_CHANNELS, 0)
        self._part = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.part")
        self._file = self._part.open("x+b")
        self._file.write(bytes(_HEADER.size))

    def write(self, channel: Channel, start_ms: float, pcm: bytes) -> None:
        """Place PCM16 at a moment of the recording. Gaps become silence.

        Audio that would begin before this channel's last audio has ended follows right after it, as it does in a
        telephone's playout buffer: nothing is overwritten, and the next gap takes up the shift.

        Raises:
            ValueError: the last sample is half, the moment is negative, or the file would outgrow the WAV format.
        """
        if len(pcm) % _SAMPLE_BYTES or start_ms < 0:
            raise ValueError(f"expected whole samples from 0 ms on, not {len(pcm)} bytes at {start_ms} ms")
        start = max(round(start_ms * self.rate / 1000), self._ends[channel])
        count = len(pcm) // _SAMPLE_BYTES
        if (start + count) * _BLOCK_BYTES > _MOST_BYTES:
            raise ValueError(f"{self.path}: {start_ms:.0f} ms is beyond what a WAV file can hold")
        position = _HEADER.size + start * _BLOCK_BYTES
        self._file.seek(position)
        # What the other channel has there already, or nothing yet.
        both = bytearray(self._file.read(count * _BLOCK_BYTES).ljust(count * _BLOCK_BYTES, b"\0"))
        np.frombuffer(both, "<i2").reshape(-1, 2)[:, _CHANNELS.index(channel)] = np.frombuffer(pcm, "<i2")
        self._file.seek(position)
        self._file.write(both)
        self._ends[channel] = start + count

    @property
    def milliseconds(self) -> float:
        """How long the recording is so far."""
        return max(self._ends.values()) / self.rate * 1000

    def close(self) -> None:
        """Complete the file and give it its name, replacing one that has it. Again: nothing happens."""
        if self._file.closed:
            return
        size = max(self._ends.values()) * _BLOCK_BYTES
        with self._file:
            self._file.seek(0)
            self._file.write(_header(self.rate, size))
        self._part.replace(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _header(rate: int, size: int) -> bytes:
    return _HEADER.pack(
        b"RIFF",
        _HEADER.size - 8 + size,
        b"WAVE",
        b"fmt ",
        _FORMAT.size,
        _PCM,
        len(_CHANNELS),
        rate,
        rate * _BLOCK_BYTES,
        _BLOCK_BYTES,
        _SAMPLE_BYTES * 8,
        b"data",
        size,
    )
