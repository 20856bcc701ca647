"""What was said to a provider before there was one, kept in order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tandem_codecs.format import AudioFormat
from tandem_providers.commands import Command

COMMANDS: Final = 64
"""Far more than a call gives in the time that a connection takes."""


class Kept:
    """A bounded memory of audio and commands. Too much audio pushes out the oldest; commands are never pushed out."""

    def __init__(self, audio_format: AudioFormat, seconds: float) -> None:
        self._format = audio_format
        self._limit = audio_format.size(seconds * 1000)
        self._audio = bytearray()
        self._commands: list[tuple[int, Command]] = []
        """Each with the number of bytes that came before it."""
        self.dropped_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._audio or self._commands)

    @property
    def dropped_ms(self) -> float:
        return self._format.milliseconds(self.dropped_bytes)

    def add_audio(self, audio: bytes) -> None:
        self._audio += audio
        excess = len(self._audio) - self._limit
        if excess > 0:
            excess += -excess % self._format.sample_bytes  # whole samples, or all that follows is noise
            del self._audio[:excess]
            self.dropped_bytes += excess

    def add_command(self, command: Command) -> bool:
        """False when there are too many already: then this one is not kept."""
        if len(self._commands) >= COMMANDS:
            return False
        self._commands.append((self.dropped_bytes + len(self._audio), command))
        return True

    def take(self) -> Iterator[bytes | Command]:
        """All of it, in the order in which it came, and forget it. Audio is in as few pieces as that order allows."""
        audio, self._audio = bytes(self._audio), bytearray()
        commands, self._commands = self._commands, []
        base = self.dropped_bytes
        at = 0
        for position, command in commands:
            end = max(at, position - base)
            if end > at:
                yield audio[at:end]
            yield command
            at = end
        if at < len(audio):
            yield audio[at:]

    def clear(self) -> None:
        self._audio = bytearray()
        self._commands = []
