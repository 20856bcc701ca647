"""Every format to every other: what comes out, when, and the same bytes however the input is cut."""

from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_codecs import resample
from tandem_codecs.convert import Converter, prepare
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat, Encoding
from tandem_codecs.g711 import (
    alaw_to_mulaw,
    alaw_to_pcm16,
    mulaw_to_alaw,
    mulaw_to_pcm16,
    pcm16_to_alaw,
    pcm16_to_mulaw,
)
from tandem_codecs.resample import Resampler

FORMATS = (MULAW_8K, ALAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat(Encoding.MULAW, 16000))
PAIRS = list(itertools.product(FORMATS, repeat=2))
pairs = pytest.mark.parametrize(("source", "target"), PAIRS, ids=lambda audio: str(audio).replace("/", "-"))


def sound(audio: AudioFormat, milliseconds: int) -> bytes:
    return np.random.default_rng(7).bytes(audio.size(milliseconds))


def whole(source: AudioFormat, target: AudioFormat, data: bytes) -> bytes:
    converter = Converter(source, target)
    return converter.feed(data) + converter.flush()


@pytest.mark.parametrize(
    ("source", "target", "chain"),
    [
        (MULAW_8K, PCM16_24K, "mulaw/8000 -> pcm16/8000 -> pcm16/24000"),
        (PCM16_24K, ALAW_8K, "pcm16/24000 -> pcm16/8000 -> alaw/8000"),
        (PCM16_16K, PCM16_24K, "pcm16/16000 -> pcm16/24000"),
        (PCM16_8K, MULAW_8K, "pcm16/8000 -> mulaw/8000"),
        (MULAW_8K, ALAW_8K, "mulaw/8000 -> alaw/8000"),
        (ALAW_8K, ALAW_8K, "alaw/8000"),
        (
            ALAW_8K,
            AudioFormat(Encoding.MULAW, 16000),
            "alaw/8000 -> pcm16/8000 -> pcm16/16000 -> mulaw/16000",
        ),
    ],
)
def test_it_prints_its_chain(source: AudioFormat, target: AudioFormat, chain: str) -> None:
    assert repr(Converter(source, target)) == chain


@pairs
def test_every_frame_gives_a_frame_at_once(source: AudioFormat, target: AudioFormat) -> None:
    converter = Converter(source, target)
    for _ in range(5):
        assert len(converter.feed(sound(source, 20))) == target.frame_bytes
    assert converter.feed(b"") == b""


@pairs
def test_flush_ends_one_sound_and_the_next_starts_fresh(source: AudioFormat, target: AudioFormat) -> None:
    converter = Converter(source, target)
    assert converter.flush() == b""
    for odd in (b"", b"\1", b"\1\2\3"):
        data = sound(source, 20) + odd
        first = converter.feed(data) + converter.flush()
        assert converter.flush() == b""
        assert converter.feed(data) + converter.flush() == first


@pytest.mark.parametrize("audio", FORMATS, ids=str)
def test_equal_formats_pass_the_same_object(audio: AudioFormat) -> None:
    data = sound(audio, 20) + b"\1"
    converter = Converter(audio, AudioFormat(audio.encoding, audio.rate))
    assert converter.feed(data) is data
    assert converter.flush() == b""


def test_it_is_its_parts_in_a_row() -> None:
    codes, pcm = bytes(range(256)), sound(PCM16_8K, 100)
    assert whole(MULAW_8K, ALAW_8K, codes) == mulaw_to_alaw(codes)
    assert whole(ALAW_8K, MULAW_8K, codes) == alaw_to_mulaw(codes)
    assert whole(MULAW_8K, PCM16_8K, codes) == mulaw_to_pcm16(codes)
    assert whole(PCM16_8K, ALAW_8K, pcm) == pcm16_to_alaw(pcm)
    up, down = Resampler(8000, 24000), Resampler(24000, 8000)
    assert whole(ALAW_8K, PCM16_24K, codes) == up.feed(alaw_to_pcm16(codes)) + up.flush()
    assert whole(PCM16_24K, MULAW_8K, pcm) == pcm16_to_mulaw(down.feed(pcm) + down.flush())
    assert whole(MULAW_8K, AudioFormat(Encoding.ALAW, 24000), codes) == pcm16_to_alaw(
        up.feed(mulaw_to_pcm16(codes)) + up.flush()
    )


def test_silence_stays_silence() -> None:
    for source, target in itertools.product((MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K), FORMATS):
        assert Converter(source, target).feed(source.silence(100)) == target.silence(100)


def test_other_rates_are_refused_by_name() -> None:
    for source, target in (
        (AudioFormat(Encoding.PCM16, 48000), MULAW_8K),
        (MULAW_8K, AudioFormat(Encoding.ALAW, 12000)),
    ):
        with pytest.raises(ValueError, match=f"{source} to {target}.*8000, 16000, 24000 Hz"):
            Converter(source, target)
    wide = AudioFormat(Encoding.PCM16, 48000)
    assert Converter(wide, wide).feed(b"ab") == b"ab", "where nothing is resampled, any rate will do"


def test_a_call_that_ends_leaves_no_garbage() -> None:
    gc.collect()
    for source, target in PAIRS:
        whole(source, target, sound(source, 20))
    assert gc.collect() == 0


@given(
    pair=st.sampled_from(PAIRS),
    data=st.binary(max_size=600),
    cuts=st.lists(st.integers(0, 600), max_size=10),
)
@settings(max_examples=400)
def test_any_split_same_bytes(pair: tuple[AudioFormat, AudioFormat], data: bytes, cuts: list[int]) -> None:
    converter = Converter(*pair)
    edges = [0, *sorted(cuts), len(data)]
    pieces = b"".join(converter.feed(data[start:end]) for start, end in itertools.pairwise(edges))
    assert pieces + converter.flush() == whole(*pair, data)


def test_what_was_prepared_is_there_and_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(PCM16_24K, MULAW_8K)
    monkeypatch.setattr(resample, "_table", None)  # what is worked out again fails
    tone = sound(PCM16_24K, 40)
    assert len(Converter(PCM16_24K, MULAW_8K).feed(tone)) == 320
    assert Converter(PCM16_24K, MULAW_8K).feed(PCM16_24K.silence(20)) == MULAW_8K.silence(20)
