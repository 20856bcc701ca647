"""Tests of a call that read as a script: `play >> event`, `play << commands`, `play.wait(seconds)`.

A mismatch prints the dialogue so far. A playbook that is dropped with commands unread is an error, so is one that never
expected anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tandem.call import Call
from tandem.call_types import CallCommand, CallEvent, CallPlan, CallPrompts, Hear, Tick
from tandem.carriers.events import Clear, Mark, MarkPlayed, Media, Play, Started
from tandem_codecs.format import MULAW_8K

FRAME = b"\x2a" * MULAW_8K.frame_bytes
PROMPTS = CallPrompts(one_moment=b"\x11" * 8000, sorry=b"\x12" * 16000, goodbye=b"\x13" * 8000)
START = Started("CA1", "MZ1", "AC1", MULAW_8K, MULAW_8K)


def plan(**changes: Any) -> CallPlan:
    """An ordinary call's plan."""
    return CallPlan(**{"format": MULAW_8K, "lead_ms": 20_000, "prompts": PROMPTS, **changes})


class Playbook:
    """Drives one call through made-up time."""

    def __init__(self, *, returns_marks: bool = False, **changes: Any) -> None:
        self.returns_marks = returns_marks
        """The carrier plays what it gets while time passes, and says so."""
        self._plays_until = 0.0
        self._marks: list[tuple[float, str]] = []
        self.now = 100.0
        self.call = Call(plan(**changes), self.now)
        self.dialogue: list[str] = []
        self._unread: list[CallCommand] = []
        self._chunk = 0
        self._quiet = False

    def __rshift__(self, event: CallEvent) -> Playbook:
        self.dialogue.append(f"{self.now - 100:8.3f} >> {_short(event)}")
        self._answer(event)
        return self

    def _answer(self, event: CallEvent) -> None:
        for command in self.call.handle(event, self.now):
            self._unread.append(command)
            match command:
                case Play():
                    self._plays_until = (
                        max(self.now, self._plays_until) + MULAW_8K.milliseconds(len(command.audio)) / 1000
                    )
                case Mark():
                    self._marks.append((max(self.now, self._plays_until), command.name))
                case Clear():
                    self._plays_until = self.now
                    self._marks = [(self.now, name) for _, name in self._marks]
                case Hear() if self._quiet:
                    self._unread.pop()
                case _:
                    pass

    def __lshift__(self, expected: CallCommand | type | Iterable[CallCommand | type]) -> Playbook:
        wanted = list(expected) if isinstance(expected, list | tuple) else [expected]
        got, self._unread = self._unread, []
        same = len(got) == len(wanted) and all(
            type(g) is w if isinstance(w, type) else g == w for g, w in zip(got, wanted, strict=True)
        )
        self.dialogue += [f"{self.now - 100:8.3f} << {_short(g)}" for g in got]
        if not same:
            lines = "\n".join(self.dialogue)
            raise AssertionError(f"{lines}\nexpected instead: {[_short(w) for w in wanted]}")
        return self

    def silent(self) -> Playbook:
        """Nothing was answered."""
        return self << []

    def take(self) -> list[CallCommand]:
        """What was answered, for a closer look."""
        got, self._unread = self._unread, []
        self.dialogue += [f"{self.now - 100:8.3f} << {_short(g)}" for g in got]
        return got

    def wait(self, seconds: float, *, talking: bool = True) -> Playbook:
        """Time passes in frames: the caller's line is open (`talking`: frames come), ticks happen."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(self.now + 0.02, end)
            self._quiet = True
            while self.returns_marks and self._marks and self._marks[0][0] <= self.now:
                self._answer(MarkPlayed(self._marks.pop(0)[1]))
            if talking and self.call.audio is not None:
                self._chunk += 1
                self._answer(Media(FRAME, self._chunk, self._chunk * 20))
            self._answer(Tick())
            self._quiet = False
        return self


def _short(thing: object) -> str:
    text = repr(thing)
    return text if len(text) < 160 else text[:120] + f"... ({len(text)} characters)"
