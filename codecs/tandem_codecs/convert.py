"""From one audio format to another, in a stream: decode, resample, encode, each only where needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tandem_codecs.format import FRAME_MS, AudioFormat, Encoding
from tandem_codecs.g711 import (
    alaw_to_mulaw,
    alaw_to_pcm16,
    mulaw_to_alaw,
    mulaw_to_pcm16,
    pcm16_to_alaw,
    pcm16_to_mulaw,
)
from tandem_codecs.resample import RATES, Resampler

Step = Callable[[bytes], bytes]

_DECODE: Final = {Encoding.MULAW: mulaw_to_pcm16, Encoding.ALAW: alaw_to_pcm16}
_ENCODE: Final = {Encoding.MULAW: pcm16_to_mulaw, Encoding.ALAW: pcm16_to_alaw}
_TRANSLATE: Final = {
    (Encoding.MULAW, Encoding.ALAW): mulaw_to_alaw,
    (Encoding.ALAW, Encoding.MULAW): alaw_to_mulaw,
}


class Converter:
    """One direction of one call. Input may be cut anywhere, even inside a sample; output leaves at once.

    Equal formats: `feed` answers the very same object. G.711 to G.711 at one rate goes by table, without a detour.

    Raises:
        ValueError: the formats differ and one's rate is not among those that `Resampler` knows.
    """

    __slots__ = ("_chain", "_flush", "feed", "source", "target")

    feed: Step
    """The output that this input completes; empty when it completes none."""

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self.source = source
        self.target = target
        self._chain = _chain(source, target)
        self.feed, self._flush = _build(source, target)

    def flush(self) -> bytes:
        """The end of the sound still inside (the resampler's tail), then as good as new. Half a sample is dropped."""
        return self._flush()

    def __repr__(self) -> str:
        return " -> ".join(map(str, self._chain))


def prepare(source: AudioFormat, target: AudioFormat) -> None:
    """Do now what the first conversion between these would have to do: work out tables, wake up the library.

    Raises:
        ValueError: see `Converter`.
    """
    Converter(source, target).feed(source.silence(FRAME_MS))


def _chain(source: AudioFormat, target: AudioFormat) -> list[AudioFormat]:
    """Every format that the audio passes through, each once."""
    if source == target:
        return [source]
    for rate in (source.rate, target.rate):
        if rate not in RATES:
            raise ValueError(f"cannot convert {source} to {target}: rates must be of {', '.join(map(str, RATES))} Hz")
    if source.rate == target.rate:
        return [source, target]
    linear = [AudioFormat(Encoding.PCM16, rate) for rate in (source.rate, target.rate)]
    return list(dict.fromkeys([source, *linear, target]))


def _build(source: AudioFormat, target: AudioFormat) -> tuple[Step, Callable[[], bytes]]:
    """`feed` and `flush` as closures made for these two formats: nothing is left to decide per frame."""
    if source == target:
        return _same, bytes
    if source.rate == target.rate:
        return _build_recoding(source.encoding, target.encoding)
    resampler = Resampler(source.rate, target.rate)
    resample, tail = resampler.feed, resampler.flush
    decode, encode = _DECODE.get(source.encoding), _ENCODE.get(target.encoding)
    if encode is None:
        return (resample if decode is None else lambda data: resample(decode(data))), tail
    if decode is None:
        return lambda data: encode(resample(data)), lambda: encode(tail())
    return lambda data: encode(resample(decode(data))), lambda: encode(tail())


def _build_recoding(source: Encoding, target: Encoding) -> tuple[Step, Callable[[], bytes]]:
    if source is Encoding.PCM16:
        encoder = _Encoder(_ENCODE[target])
        return encoder.feed, encoder.flush
    if target is Encoding.PCM16:
        return _DECODE[source], bytes
    return _TRANSLATE[source, target], bytes


class _Encoder:
    """PCM16 to G.711 without a resampler before it, which would carry the odd byte."""

    __slots__ = ("_encode", "_odd")

    def __init__(self, encode: Step) -> None:
        self._encode = encode
        self._odd = b""

    def feed(self, pcm: bytes) -> bytes:
        if self._odd:
            pcm = self._odd + pcm
            self._odd = b""
        if len(pcm) % 2:
            self._odd = pcm[-1:]
            pcm = pcm[:-1]
        return self._encode(pcm)

    def flush(self) -> bytes:
        self._odd = b""
        return b""


def _same(data: bytes) -> bytes:
    return data
