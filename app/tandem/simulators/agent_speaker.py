"""The turns of a simulated agent: one at a time, made, paced, cut by the caller, and the functions that it calls.

How each of these is told is the vendor's own: a subclass says it.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tandem.simulators.agent_outlet import AgentOutlet
from tandem.simulators.openai_script import FunctionCall, OpenAIOptions, Reply, Script, asked_words
from tandem.simulators.openai_voice import speak, stock_text
from tandem_codecs.format import AudioFormat

LATE_PIECES: Final = 3
"""So much of a turn that was cut still comes, with the fault `late-deltas`."""
_ODD_BYTE: Final = 1


@dataclass(slots=True)
class Turn:
    """One turn of the agent."""

    text: str
    calls: tuple[FunctionCall, ...] = ()
    over: bool = False
    size: int = 0
    """Bytes of its voice, whether they have been sent or not."""
    from_time: float = 0.0
    """When a client that plays in real time begins to play it."""


@dataclass(slots=True)
class OpenCall:
    """A function call of the agent's."""

    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class Speaker:
    """Speaks. Turns that are asked for while another one is under way wait for its end."""

    options: OpenAIOptions
    faults: Mapping[str, str]
    outlet: AgentOutlet
    rng: random.Random
    format: AudioFormat
    functions: Sequence[str]
    """Names of the functions that it may call."""
    last_heard: Callable[[], bytes]
    """What the caller said last, for a voice that is an echo."""
    turn: Turn | None = None
    plays_until: float = 0.0
    calls: dict[str, OpenCall] = field(default_factory=dict)
    """Those that are not answered."""
    _queue: deque[str | None] = field(default_factory=deque)
    _script: Script | None = None
    _reply: Reply = field(default_factory=Reply)
    """What the script says of the turn that is being planned."""
    _turns: int = 0
    _found: str = ""
    """The last answer to a call."""

    # How it is told

    def tell_words(self, turn: Turn) -> None:
        """The turn begins, with these words."""

    def tell_voice(self, audio: bytes) -> None:
        """A piece of its voice."""

    def tell_done(self, turn: Turn) -> None:
        """All of it has been sent."""

    def tell_calls(self, calls: Sequence[OpenCall]) -> None:
        """These functions are to be called."""

    def tell_cut(self, turn: Turn, played: float) -> None:
        """The caller spoke into it, when that share of it had been played."""

    def fails(self) -> bool:
        """Whether a fault keeps it from speaking; tells so."""
        return False

    # What is asked of it

    def answer(self, text: str = "") -> None:
        """Answer to the caller, or to a text; a text that asks for certain words gets just these."""
        self.say(asked_words(text) or None)

    def say(self, text: str | None) -> None:
        """Say this, or what the script has next, once what is under way is over."""
        if "no-answer" in self.faults:
            return
        self._queue.append(text)
        self.outlet.at(self.outlet.now, self._next)

    def interrupt(self) -> None:
        """The caller speaks: whatever is being said, or still heard, is over."""
        self._queue.clear()
        turn, now = self.turn, self.outlet.now
        playing, self.plays_until = self.plays_until > now, min(self.plays_until, now)
        if turn is None or (turn.over and not playing):
            return
        seconds = self.format.milliseconds(turn.size) / 1000
        played = min(1.0, max(0.0, now - turn.from_time) / seconds) if seconds else 0.0
        cut, turn.over, self.turn = not turn.over, True, None
        self.tell_cut(turn, played)
        if cut and "late-deltas" in self.faults:
            for _ in range(LATE_PIECES):
                self.outlet.at(now, lambda: self.tell_voice(self.format.silence(self.options.delta_ms[0])))

    @property
    def speaks(self) -> bool:
        """A turn is being sent."""
        return self.turn is not None and not self.turn.over

    def answered(self, call_id: str, output: str) -> bool:
        """The answer to a call; False when there is no such call."""
        call = self.calls.pop(call_id, None)
        if call is None:
            return False
        self._found = output
        if not self.calls:
            self.say(None)
        return True

    # Turns

    def _next(self) -> None:
        if self.speaks or not self._queue or self.outlet.is_closed or self.fails():
            return
        turn = self.turn = self._planned(self._queue.popleft())
        self.outlet.record.responses += 1
        self.outlet.new_response()
        steps = self._steps(turn)
        self.outlet.at(self.outlet.now + self.options.latency, lambda: self._proceed(turn, steps))

    def _planned(self, text: str | None) -> Turn:
        if text is not None:
            return Turn(text)
        self._script = self._script or Script(self.options)
        reply = self._script.next_reply()
        self._reply = reply
        calls = tuple(
            FunctionCall(call.name or self.functions[0], call.arguments)
            for call in reply.calls
            if self.knows(call.name)
        )
        found, self._found = self._found, ""
        if reply.text is not None:
            return Turn(reply.text, calls)
        if calls:
            return Turn("", calls)
        self._turns += 1
        return Turn(f"Here is what I found: {found}" if found else stock_text(self._turns - 1))

    def knows(self, name: str) -> bool:
        """Whether there is such a function; the empty name means any."""
        return name in self.functions if name else bool(self.functions)

    def _sound(self, turn: Turn) -> bytes:
        if not turn.text:
            return b""
        reply, self._reply = self._reply, Reply()
        voice = reply.voice or self.options.voice
        if voice == "echo":
            heard = self.last_heard()
            if heard:
                return heard
            voice = "speech"
        seconds = reply.seconds if reply.seconds is not None else self.options.seconds
        return speak(voice, turn.text, seconds, self.format)

    def _steps(self, turn: Turn) -> Iterator[float]:
        audio = self._sound(turn)
        if turn.text:
            turn.from_time = max(self.plays_until, self.outlet.now)
            self.tell_words(turn)
            if "vanish" in self.faults and self.outlet.record.responses == 1:
                yield math.inf
            turn.size = len(audio)
            pace = self._pace
            for piece in self._cut(audio):
                lasts = self.format.milliseconds(len(piece))
                self.outlet.record.said_ms += lasts
                self.plays_until = max(self.plays_until, self.outlet.now) + lasts / 1000
                self.tell_voice(piece)
                if math.isfinite(pace):
                    yield lasts / 1000 / pace
            self.tell_done(turn)
        if turn.calls:
            self._call(turn)

    def _call(self, turn: Turn) -> None:
        calls = [OpenCall(self.outlet.new_id("call"), call.name, call.arguments) for call in turn.calls]
        self.calls.update({call.id: call for call in calls})
        for _ in range(2 if "duplicate-tool-calls" in self.faults else 1):
            self.tell_calls(calls)

    @property
    def _pace(self) -> float:
        return next((float(self.faults[name]) for name in ("burst", "slow") if name in self.faults), self.options.pace)

    def _cut(self, audio: bytes) -> Iterator[bytes]:
        odd = self.options.odd_deltas or "odd-deltas" in self.faults
        position = 0
        while position < len(audio):
            size = self.format.size(self.rng.randint(*self.options.delta_ms))
            if odd:
                size |= _ODD_BYTE
            yield audio[position : position + size]
            position += size

    def _proceed(self, turn: Turn, steps: Iterator[float]) -> None:
        """Go on until the turn pauses, ends, or was cut meanwhile."""
        if turn.over:
            return
        for pause in steps:
            if self.outlet.is_closed or pause == math.inf:
                return
            self.outlet.at(self.outlet.now + pause, lambda: self._proceed(turn, steps))
            return
        turn.over = True
        self._next()
