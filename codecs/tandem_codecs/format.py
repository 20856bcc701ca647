"""What a stretch of audio is: encoding and sample rate, and every size that follows from them.

All audio in Tandem is mono. Sizes are derived here and nowhere else, so no other file knows that a
20 ms frame of telephone audio is 160 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

FRAME_MS: Final = 20
"""The packet length of telephony, in milliseconds."""


class Encoding(Enum):
    """How one sample is written down."""

    PCM16 = "pcm16"
    """Signed 16-bit little-endian."""
    MULAW = "mulaw"
    """G.711 mu-law, one byte a sample (ITU-T G.711, North America and Japan)."""
    ALAW = "alaw"
    """G.711 A-law, one byte a sample (ITU-T G.711, elsewhere)."""


_SAMPLE_BYTES: Final = {Encoding.PCM16: 2, Encoding.MULAW: 1, Encoding.ALAW: 1}
_SILENCE: Final = {Encoding.PCM16: b"\x00\x00", Encoding.MULAW: b"\xff", Encoding.ALAW: b"\xd5"}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One encoding at one sample rate (Hz), mono.

    Raises:
        ValueError: the rate is not a positive multiple of 1000 Hz, so that a millisecond is no whole number of samples.
    """

    encoding: Encoding
    rate: int
    # Worked out once: they are asked for at every frame of every call.
    sample_bytes: int = field(init=False, repr=False, compare=False)
    """Bytes of one sample."""
    bytes_per_ms: int = field(init=False, repr=False, compare=False)
    """Bytes of one millisecond; always whole."""
    frame_bytes: int = field(init=False, repr=False, compare=False)
    """Bytes of one 20 ms frame."""

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.rate % 1000:
            raise ValueError(f"sample rate must be a positive multiple of 1000 Hz, not {self.rate}")
        sample_bytes = _SAMPLE_BYTES[self.encoding]
        per_ms = self.rate // 1000 * sample_bytes
        for name, value in (
            ("sample_bytes", sample_bytes),
            ("bytes_per_ms", per_ms),
            ("frame_bytes", per_ms * FRAME_MS),
        ):
            object.__setattr__(self, name, value)  # the class is frozen; this is still its making

    def milliseconds(self, size: int) -> float:
        """How long `size` bytes of this format last."""
        return size / self.bytes_per_ms

    def size(self, milliseconds: float) -> int:
        """Bytes of that many milliseconds, rounded down to whole samples."""
        return int(milliseconds * self.rate) // 1000 * self.sample_bytes

    def silence(self, milliseconds: float) -> bytes:
        """That much digital silence."""
        return _SILENCE[self.encoding] * (self.size(milliseconds) // self.sample_bytes)

    def __str__(self) -> str:
        return f"{self.encoding.value}/{self.rate}"


MULAW_8K: Final = AudioFormat(Encoding.MULAW, 8000)
ALAW_8K: Final = AudioFormat(Encoding.ALAW, 8000)
PCM16_8K: Final = AudioFormat(Encoding.PCM16, 8000)
PCM16_16K: Final = AudioFormat(Encoding.PCM16, 16000)
PCM16_24K: Final = AudioFormat(Encoding.PCM16, 24000)
