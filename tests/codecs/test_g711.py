"""All 256 codes both ways, against the formulas of ITU-T G.711 and golden values."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from tandem_codecs.g711 import (
    alaw_to_mulaw,
    alaw_to_pcm16,
    mulaw_to_alaw,
    mulaw_to_pcm16,
    pcm16_to_alaw,
    pcm16_to_mulaw,
)

EVERY_CODE = bytes(range(256))
EVERY_LEVEL = np.arange(-32768, 32768, dtype="<i2")


def samples(pcm: bytes) -> npt.NDArray[np.int32]:
    return np.frombuffer(pcm, "<i2").astype(np.int32)


def mulaw_level(code: int) -> int:
    """G.711 table 2, as a formula: sign, three bits of segment, four of step; all bits sent inverted; bias 33 * 4."""
    code ^= 0xFF
    magnitude = (((code & 0x0F) << 3) + 132 << (code >> 4 & 0x07)) - 132
    return -magnitude if code & 0x80 else magnitude


def alaw_level(code: int) -> int:
    """G.711 table 1, as a formula: even bits sent inverted; the first two segments share one step size."""
    code ^= 0x55
    segment, step = code >> 4 & 0x07, code & 0x0F
    magnitude = (step << 4) + 8 if segment == 0 else (step << 4) + 264 << segment - 1
    return magnitude if code & 0x80 else -magnitude


def test_golden_values() -> None:
    pcm = np.array([0, 1000, -1000, 32767, -32768], "<i2").tobytes()
    assert pcm16_to_mulaw(pcm).hex() == "ffce4e8000"
    assert pcm16_to_alaw(pcm).hex() == "d5fa7aaa2a"
    assert samples(mulaw_to_pcm16(bytes.fromhex("ffce4e8000"))).tolist() == [0, 988, -988, 32124, -32124]
    assert samples(alaw_to_pcm16(bytes.fromhex("d5fa7aaa2a"))).tolist() == [8, 1008, -1008, 32256, -32256]


def test_every_code_has_the_level_of_the_standard() -> None:
    assert samples(mulaw_to_pcm16(EVERY_CODE)).tolist() == [mulaw_level(code) for code in EVERY_CODE]
    assert samples(alaw_to_pcm16(EVERY_CODE)).tolist() == [alaw_level(code) for code in EVERY_CODE]


def test_every_code_survives_the_way_there_and_back() -> None:
    assert pcm16_to_alaw(alaw_to_pcm16(EVERY_CODE)) == EVERY_CODE
    # Mu-law writes zero twice; the negative one comes back as the positive one, which is also its silence.
    assert pcm16_to_mulaw(mulaw_to_pcm16(EVERY_CODE)) == EVERY_CODE.replace(b"\x7f", b"\xff")


def test_every_level_lands_within_one_step_and_none_out_of_order() -> None:
    for encode, decode, codes in (
        (pcm16_to_mulaw, mulaw_to_pcm16, [mulaw_level(code) for code in EVERY_CODE]),
        (pcm16_to_alaw, alaw_to_pcm16, [alaw_level(code) for code in EVERY_CODE]),
    ):
        levels = EVERY_LEVEL.astype(np.int32)
        heard = samples(decode(encode(EVERY_LEVEL.tobytes())))
        assert np.all(np.diff(heard) >= 0)
        ladder = np.unique(codes)
        position = np.searchsorted(ladder, heard)
        step = np.maximum(
            ladder[np.minimum(position + 1, len(ladder) - 1)] - heard, heard - ladder[np.maximum(position - 1, 0)]
        )
        assert np.all(np.abs(heard - levels) <= step)


def test_one_law_to_the_other_is_the_way_over_linear() -> None:
    assert mulaw_to_alaw(EVERY_CODE) == pcm16_to_alaw(mulaw_to_pcm16(EVERY_CODE))
    assert alaw_to_mulaw(EVERY_CODE) == pcm16_to_mulaw(alaw_to_pcm16(EVERY_CODE))
    assert mulaw_to_alaw(b"\xff") == b"\xd5"


def test_half_a_sample_is_refused_and_nothing_is_nothing() -> None:
    for encode in (pcm16_to_mulaw, pcm16_to_alaw):
        with pytest.raises(ValueError, match="not 3"):
            encode(b"\0\0\0")
        assert encode(b"") == b""
    assert mulaw_to_pcm16(b"") == alaw_to_pcm16(b"") == b""


def test_importing_warns_nobody() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", "import tandem_codecs.g711"], check=True, timeout=30)
