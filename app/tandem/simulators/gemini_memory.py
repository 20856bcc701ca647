"""What a simulated Gemini remembers of a conversation, in this session or one that resumes it."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import Literal

from tandem.simulators.gemini_script import Place

Role = Literal["user", "model", "system", "tool"]


@dataclass(slots=True)
class Entry:
    """Something that was said or known."""

    role: Role
    text: str
    audio: bytes = b""
    """The caller's voice, 16-bit at `rate`, where it came as such."""
    rate: int = 0
    interrupted: bool = False


@dataclass(slots=True)
class Memory:
    """One conversation."""

    instructions: str = ""
    entries: list[Entry] = field(default_factory=list)
    place: Place = field(default_factory=Place)

    def add(self, role: Role, text: str, *, interrupted: bool = False) -> None:
        self.entries.append(Entry(role, text, interrupted=interrupted))

    @property
    def last(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    def last_voice(self) -> Entry | None:
        """What the caller said last, to be echoed."""
        return next((entry for entry in reversed(self.entries) if entry.audio), None)

    def tokens(self) -> int:
        """About how many tokens the model reads of it."""
        voice = sum(len(entry.audio) // (entry.rate * 2 // 25) for entry in self.entries if entry.rate)
        return voice + sum(len(entry.text) // 4 + 1 for entry in self.entries) + len(self.instructions) // 4


class Handles:
    """Conversations as they stood, by handle. They outlive the connections in which the handles were given out."""

    def __init__(self, seed: int) -> None:
        self._kept: dict[str, Memory] = {}
        self._rng = random.Random(f"handles/{seed}")

    def keep(self, memory: Memory) -> str:
        """A new handle for the conversation as it is now."""
        handle = f"handle-{self._rng.getrandbits(96):024x}"
        self._kept[handle] = copy.deepcopy(memory)
        return handle

    def find(self, handle: str) -> Memory | None:
        memory = self._kept.get(handle)
        return copy.deepcopy(memory)
