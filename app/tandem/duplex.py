"""A voice that never pauses: which part of it is words, and what it takes to play it without gaps. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.ledger import Ledger
from tandem_codecs.format import AudioFormat
from tandem_codecs.level import is_loud

CUSHION_MS = 120
"""What is kept ahead of a voice that comes at the pace of speech, against the network's unevenness."""
QUIET_SECONDS = 0.6


@dataclass(slots=True)
class DuplexVoice:
    """Its loud parts are its words; a little silence ahead of them evens out the network."""

    format: AudioFormat
    loud_until: float
    is_loud: bool = False
    """What came last was."""

    def pad(self, audio: bytes, ledger: Ledger, now: float) -> bytes:
        """The audio as it shall be played, and a note of whether it was loud."""
        self.is_loud = is_loud(audio, self.format)
        if not self.is_loud and ledger.ahead_ms(now) + ledger.held_ms > 2 * CUSHION_MS:
            return b""  # a voice at the pace of speech never makes up for a delay: its pauses have to
        if audio and not ledger.speaking(now):
            audio = self.format.silence(CUSHION_MS) + audio
        if self.is_loud:
            self.loud_until = now + (ledger.ahead_ms(now) + self.format.milliseconds(len(audio))) / 1000
        return audio

    def waits_for(self, audio: bytes, ledger: Ledger, now: float) -> None:
        """These words are not its own, and shall be heard all the same; they are played after what waits."""
        waiting = ledger.ahead_ms(now) + ledger.held_ms + self.format.milliseconds(len(audio))
        self.loud_until = now + waiting / 1000

    def heard(self, now: float) -> bool:
        """All its words so far have been heard."""
        return now >= self.loud_until + QUIET_SECONDS
