"""What was said to the agent and may have to be said again, kept in order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tandem_codecs.format import AudioFormat
from tandem_providers.commands import Command, SendDtmf, SendText

COMMANDS: Final = 64
"""Far more than a call gives in the time that a connection takes."""
WORDS: Final = (SendText, SendDtmf)
"""Commands that are the caller's words, so to speak: a successor has to be told them, too."""


class Kept:
    """A bounded memory of audio and commands since the last finished turn.

    Positions count bytes of audio since the beginning. Too much audio pushes out the oldest; commands are never
    pushed out by audio.
    """

    def __init__(self, audio_format: AudioFormat, seconds: float) -> None:
        self._format = audio_format
        self._limit = audio_format.size(seconds * 1000)
        self._audio = bytearray()
        self._commands: list[tuple[int, Command]] = []
        """Each with the position that it stands before."""
        self.start = 0
        """Position of the oldest byte that is kept."""
        self.dropped_bytes = 0
        """Pushed out, not forgotten on purpose."""

    @property
    def end(self) -> int:
        """Position of what comes next."""
        return self.start + len(self._audio)

    @property
    def dropped_ms(self) -> float:
        return self._format.milliseconds(self.dropped_bytes)

    def add_audio(self, audio: bytes) -> None:
        self._audio += audio
        excess = len(self._audio) - self._limit
        if excess > 0:
            excess += -excess % self._format.sample_bytes  # whole samples, or all that follows is noise
            self._forget_bytes(excess)
            self.dropped_bytes += excess

    def add_command(self, command: Command) -> bool:
        """False when there are too many already: then this one is not kept."""
        if len(self._commands) >= COMMANDS:
            return False
        self._commands.append((self.end, command))
        return True

    def forget(self, position: int) -> None:
        """A turn is finished: nobody need be told again what came before `position`."""
        self._forget_bytes(min(max(0, position - self.start), len(self._audio)))
        self._commands = [(at, command) for at, command in self._commands if at > position]

    def keep_only_words(self) -> None:
        """What is kept has been told: of the commands only the caller's words may be needed again."""
        self._commands = [(at, command) for at, command in self._commands if isinstance(command, WORDS)]

    def since(self, position: int, commands: int = 0) -> Iterator[bytes | Command]:
        """Everything from `position` and from that many commands on, in order; audio in few pieces. Forgets nothing."""
        audio = bytes(self._audio)
        at = max(position, self.start)
        for before, command in self._commands[commands:]:
            end = min(max(at, before), self.start + len(audio))
            if end > at:
                yield audio[at - self.start : end - self.start]
            yield command
            at = end
        if at < self.start + len(audio):
            yield audio[at - self.start :]

    @property
    def commands(self) -> int:
        """How many are kept."""
        return len(self._commands)

    def clear(self) -> None:
        self.forget(self.end)

    def _forget_bytes(self, count: int) -> None:
        del self._audio[:count]
        self.start += count
