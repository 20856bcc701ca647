"""Is the provider still alive? One that owes an answer and says nothing for long is dead, whatever its socket says."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from tandem_providers.commands import CancelResponse, Command, CommitTurn, Purpose, Say, ToolResult
from tandem_providers.config import ProcessConfig
from tandem_providers.events import (
    AudioChunk,
    Event,
    Interrupted,
    ToolCall,
    ToolCallCancelled,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.provider import Capabilities
from tandem_providers.tools import TOOL_SECONDS

HEEDED: Final = frozenset(
    {
        AudioChunk,
        Interrupted,
        ToolCall,
        ToolCallCancelled,
        Transcript,
        TurnEnded,
        TurnStarted,
        UserSpeechStarted,
        UserSpeechStopped,
    }
)

_INTO_SILENCE: Final = frozenset({Purpose.GREETING, Purpose.STILL_THERE, Purpose.RESUME})
"""What the agent is asked to say while nobody speaks: there is no reason to wait with it."""


class Vigil:
    """Watches over one session after the other; `give_up` is told why, at most once for each.

    Two things are watched: that an answer comes once the caller has finished, a function has answered, the agent was
    asked to break a silence, or a turn has begun; and, for a voice without turns, that anything comes at all. Whatever
    only says that something was received is no answer. While a function is at work nothing is expected.
    """

    __slots__ = (
        "_asked",
        "_at_work",
        "_flow_timer",
        "_give_up",
        "_limits",
        "_sees_results",
        "_timer",
        "due",
        "flows",
        "paused",
        "seconds",
        "waits",
    )

    def __init__(self, seconds: float, config: ProcessConfig, give_up: Callable[[str], None]) -> None:
        self.seconds = seconds
        self.due = False
        """The caller has finished, and the answer has not begun."""
        self.waits = False
        """Something of `HEEDED` makes a difference now; for pieces of audio nobody need ask else."""
        self.flows = False
        """To be set whenever anything comes."""
        self.paused = False
        """Nothing is read from the provider: that nothing comes is no wonder."""
        self._asked = False
        """What is expected is what the agent was asked to say."""
        self._give_up = give_up
        self._timer: asyncio.TimerHandle | None = None
        self._flow_timer: asyncio.TimerHandle | None = None
        self._at_work: dict[str, float] = {}
        """Functions without a result, each with the time until which it may be so."""
        self._limits = {function.name: function.seconds or TOOL_SECONDS for function in config.functions}
        self._sees_results = config.on_function_call is None

    def begin(self, can: Capabilities) -> None:
        """Another session has the conversation."""
        self.stop()
        if can.turn_model == "duplex":
            self._watch_flow()

    def stop(self) -> None:
        """Nobody has the conversation."""
        self._rest()
        self._at_work.clear()
        if self._flow_timer is not None:
            self._flow_timer.cancel()
            self._flow_timer = None

    def heed(self, event: Event) -> None:
        """Of the kinds in `HEEDED`, all but pieces of audio at a time when nothing `waits`."""
        match event:
            case UserSpeechStopped():
                self._expect(due=True)
            case TurnStarted():
                self._expect(due=False)
            case ToolCall():
                self._rest()
                seconds = math.inf if self._sees_results else self._limits.get(event.name, TOOL_SECONDS)
                self._at_work[event.call_id] = asyncio.get_running_loop().time() + seconds
            case ToolCallCancelled():
                self._at_work.pop(event.call_id, None)
            case TurnEnded():
                self._rest()
                if not event.awaiting_tools:
                    self._at_work.clear()
            case Transcript() if event.is_input:
                pass  # it was heard; that is not an answer
            case _:
                self._rest()

    def told(self, command: Command, can: Capabilities) -> None:
        """A command goes to the provider."""
        if isinstance(command, CommitTurn) and not can.hears_turns:
            self._expect(due=True)
        elif isinstance(command, Say):
            if command.purpose in _INTO_SILENCE and not self.waits and can.turn_model != "duplex":
                self._expect(due=False)
                self._asked = self.waits
        elif isinstance(command, CancelResponse):
            if self._asked:
                self._rest()
        elif isinstance(command, ToolResult):
            self._at_work.pop(command.call_id, None)
            self._expect(due=self.due)

    def _expect(self, *, due: bool) -> None:
        self._rest()
        loop = asyncio.get_running_loop()
        if all(until <= loop.time() for until in self._at_work.values()):
            self._timer = loop.call_later(self.seconds, self._no_answer)
        self.due = due
        self.waits = due or self._timer is not None

    def _rest(self) -> None:
        self.due = self.waits = self._asked = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _no_answer(self) -> None:
        if self.paused:
            asked = self._asked
            self._expect(due=self.due)
            self._asked = asked
            return
        self._rest()
        self._give_up(f"said nothing for {self.seconds:g} s when it was its turn")

    def _watch_flow(self) -> None:
        """A voice without turns never pauses: when nothing comes for a while, it is dead."""
        self.flows = False
        self._flow_timer = asyncio.get_running_loop().call_later(self.seconds / 2, self._check_flow)

    def _check_flow(self) -> None:
        self._flow_timer = None
        if self.flows or self.paused:
            self._watch_flow()
        else:
            self._give_up("nothing came, not even silence")
