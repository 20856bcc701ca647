"""What was said to the agent and may have to be said again, kept in order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tandem_codecs.format import AudioFormat
from tandem_providers.commands import Command, CommitTurn, Say, SendDtmf, SendText

COMMANDS: Final = 64
"""Far more than a call gives in the time that a connection takes."""
WORDS: Final = (SendText, SendDtmf, CommitTurn)
"""Commands that are the caller's words, so to speak: a successor has to be told them, too."""


class Kept:
    """A bounded memory of audio and commands since the last finished turn.

    Positions count bytes of audio since the beginning. Too much audio pushes out the oldest; commands are never
    pushed out by audio.
    """

    __slots__ = (
        "_audio",
        "_commands",
        "_format",
        "_limit",
        "commands",
        "dropped_bytes",
        "start",
    )

    def __init__(self, audio_format: AudioFormat, seconds: float) -> None:
        self._format = audio_format
        self._limit = audio_format.size(seconds * 1000)
        self._audio = bytearray()
        self._commands: list[tuple[int, int, Command]] = []
        """Each with its number and the position that it stands before."""
        self.commands = 0
        """How many there have been: the number of the next one."""
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
        if len(self._audio) > self._limit:
            excess = len(self._audio) - self._limit
            excess += -excess % self._format.sample_bytes  # whole samples, or all that follows is noise
            self._forget_bytes(excess)
            self.dropped_bytes += excess

    def add_command(self, command: Command) -> bool:
        """False when there are too many already: then this one is not kept."""
        if len(self._commands) >= COMMANDS:
            return False
        self._commands.append((self.commands, self.end, command))
        self.commands += 1
        return True

    def add_told(self, command: Command) -> None:
        """One that a provider was told: kept if a successor may have to be told it, too."""
        if isinstance(command, Say):
            self.begun()
        if isinstance(command, (Say, *WORDS)):
            self.add_command(command)

    def begun(self) -> None:
        """A turn has begun: what the agent was to say is being said."""
        self._commands = [kept for kept in self._commands if not isinstance(kept[2], Say)]

    def forget(self, position: int) -> None:
        """A turn is finished: nobody need be told again what came before `position`."""
        self._forget_bytes(min(max(0, position - self.start), len(self._audio)))
        self._commands = [kept for kept in self._commands if kept[1] > position]

    def keep_only_words(self) -> None:
        """All was told: only the caller's words, and the last that the agent shall say, may be needed again."""
        says = [number for number, _, command in self._commands if isinstance(command, Say)]
        self._commands = [
            kept for kept in self._commands if isinstance(kept[2], WORDS) or (says and kept[0] == says[-1])
        ]

    def since(self, position: int, commands: int = 0) -> Iterator[bytes | Command]:
        """Everything from `position` and from that command on, in order; audio in few pieces. Forgets nothing."""
        audio = bytes(self._audio)
        at = max(position, self.start)
        for number, before, command in self._commands:
            if number < commands:
                continue
            end = min(max(at, before), self.start + len(audio))
            if end > at:
                yield audio[at - self.start : end - self.start]
            yield command
            at = end
        if at < self.start + len(audio):
            yield audio[at - self.start :]

    def clear(self) -> None:
        self.forget(self.end)

    def _forget_bytes(self, count: int) -> None:
        del self._audio[:count]
        self.start += count
