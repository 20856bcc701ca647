"""G.711: mu-law and A-law to linear 16-bit and back, and to each other.

The companding itself is CPython's `audioop` in C (a third of a microsecond for a 20 ms frame). Every function takes
whole samples and answers as many; whoever cuts audio at odd bytes (`Converter` does) carries the odd byte itself.
"""

from __future__ import annotations

import warnings
from typing import Final

with warnings.catch_warnings():
    # Python 3.11 and 3.12 announce that audioop leaves in 3.13, where audioop-lts puts it back. Nobody need hear of it.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

_PCM16_BYTES: Final = 2


def mulaw_to_pcm16(mulaw: bytes) -> bytes:
    """Linear samples, twice as many bytes. Both zeros of mu-law (0xFF and 0x7F) become 0."""
    return audioop.ulaw2lin(mulaw, _PCM16_BYTES)


def alaw_to_pcm16(alaw: bytes) -> bytes:
    """Linear samples, twice as many bytes. A-law has no zero: its silence 0xD5 becomes 8."""
    return audioop.alaw2lin(alaw, _PCM16_BYTES)


def pcm16_to_mulaw(pcm: bytes) -> bytes:
    """Mu-law codes, half as many bytes; levels beyond 32635 are clipped, as G.711 has it.

    Raises:
        ValueError: the last sample is half.
    """
    _refuse_half_samples(pcm)
    return audioop.lin2ulaw(pcm, _PCM16_BYTES)


def pcm16_to_alaw(pcm: bytes) -> bytes:
    """A-law codes, half as many bytes.

    Raises:
        ValueError: the last sample is half.
    """
    _refuse_half_samples(pcm)
    return audioop.lin2alaw(pcm, _PCM16_BYTES)


def mulaw_to_alaw(mulaw: bytes) -> bytes:
    """The A-law code of each mu-law code's level, by table."""
    return mulaw.translate(_MULAW_TO_ALAW)


def alaw_to_mulaw(alaw: bytes) -> bytes:
    """The mu-law code of each A-law code's level, by table."""
    return alaw.translate(_ALAW_TO_MULAW)


def _refuse_half_samples(pcm: bytes) -> None:
    if len(pcm) % _PCM16_BYTES:
        raise ValueError(f"16-bit audio comes in pairs of bytes, not {len(pcm)}")


_EVERY_CODE: Final = bytes(range(256))
_MULAW_TO_ALAW: Final = pcm16_to_alaw(mulaw_to_pcm16(_EVERY_CODE))
_ALAW_TO_MULAW: Final = pcm16_to_mulaw(alaw_to_pcm16(_EVERY_CODE))


def pcm16_rms(pcm16: bytes) -> float:
    """Root mean square of whole samples, of 32768 at full scale; 0 of nothing."""
    return float(audioop.rms(pcm16, _PCM16_BYTES))
