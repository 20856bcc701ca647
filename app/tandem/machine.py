"""An answering machine has taken the call that we placed: leave a message at the beep, hang up, or go on. Pure.

The carrier listens for machines, and tells once or twice: that it is one, and that its greeting is over. Where the
second word does not come, our own ears tell: a greeting is over when nobody has spoken for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

from tandem.call_types import MachinePolicy
from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, AudioFormat
from tandem_providers.detector import SpeechStarted, TurnDetector

QUIET_SECONDS = 1.2
"""A greeting that pauses for so long is over, beep or no beep."""
GREETING_SECONDS = 45.0
"""The longest greeting that is waited for."""
MESSAGE_SECONDS = 90.0
"""The longest message."""


@dataclass(slots=True)
class MachineWatch:
    """What is known about it. `found` once the carrier has said so; `ready` once a message may be left."""

    policy: MachinePolicy
    message: str
    format: AudioFormat
    found: bool = False
    ready: bool = False
    leaving_message: bool = False
    _ears: TurnDetector | None = None
    _convert: Converter | None = None
    _found_at: float = 0.0
    _spoke_at: float = 0.0
    _speaking: bool = False

    @property
    def deaf(self) -> bool:
        """The agent shall not hear the line: what a machine says is nothing to answer, its beep nothing to stop for."""
        return self.found and self.policy == "leave_message"

    def find(self, ready: bool, now: float) -> None:
        """The carrier says: a machine; `ready`: and its greeting is over."""
        if not self.found:
            self.found = True
            self._found_at = self._spoke_at = now
            if self.deaf:
                self._ears, self._convert = TurnDetector(), Converter(self.format, MULAW_8K)
        self.ready = self.ready or ready

    def hear(self, audio: bytes, now: float) -> bytes:
        """What is said on the line, for our own ears; what the agent shall hear of it."""
        if not self.deaf:
            return audio
        if self._ears is not None and self._convert is not None and not self.ready:
            for heard in self._ears.feed(self._convert.feed(audio)):
                self._speaking = isinstance(heard, SpeechStarted)
            if self._speaking:
                self._spoke_at = now
        return self.format.silence(self.format.milliseconds(len(audio)))

    def message_due(self, now: float) -> bool:
        """Whether the message is to be said now. True once."""
        if not self.deaf or self.leaving_message:
            return False
        over = now - self._spoke_at >= QUIET_SECONDS or now - self._found_at >= GREETING_SECONDS
        if not self.ready and not over:
            return False
        self.ready = self.leaving_message = True
        return True
