"""All tools of a server, and what one call has of them: bound to that call, measured, bridged while slow."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from tandem import logs
from tandem.call_state import State
from tandem.call_types import Tell
from tandem.metrics import Metrics
from tandem.tools.builtin import builtin_tools
from tandem.tools.fillers import Fillers
from tandem.tools.tool import Tool, ToolFailed
from tandem_providers.config import FunctionDeclaration

if TYPE_CHECKING:
    from tandem.bridge import Bridge

FILLER_SECONDS: Final = 2.0
"""Silence of this length is bridged with a word."""
LOOK_SECONDS: Final = 0.1
EXCUSE_SECONDS: Final = 1.0

log = logs.get(__name__)


Refuses = Callable[[FunctionDeclaration], str]
"""Why a provider would not take a function; empty when all would."""


class Source(Protocol):
    """Where tools come from while the server runs."""

    def tools(self) -> Sequence[Tool]:
        """Those that there are now."""
        ...


class Toolbox:
    """One per server."""

    def __init__(
        self,
        fixed: Sequence[Tool] = (),
        source: Source | None = None,
        *,
        builtin: Collection[str] = (),
        targets: Mapping[str, str] | None = None,
        metrics: Metrics | None = None,
        refuses: Refuses | None = None,
        filler_seconds: float = FILLER_SECONDS,
    ) -> None:
        self.filler_seconds = filler_seconds
        self._fixed = fixed
        self._source = source
        self._builtin = builtin
        self._targets = targets or {}
        self._metrics = metrics
        self._refuses = refuses
        self._judged: dict[str, tuple[Tool, bool]] = {}

    def equip(self, bridge: Bridge, only: Collection[str] | None = None) -> None:
        """Give a call its tools, before it runs: all that there are now, or `only` these."""
        tools: dict[str, Tool] = {}
        for tool in (
            *builtin_tools(self._builtin, self._targets, controlled=bridge.line.api is not None),
            *self._fixed,
            *(tool for tool in (self._source.tools() if self._source is not None else ()) if self._usable(tool)),
        ):
            if only is None or tool.name in only:
                tools.setdefault(tool.name, tool)
        bridge.config = replace(
            bridge.config,
            functions=[tool.declaration for tool in tools.values()],
            on_function_call=CallTools(bridge, tools, self.filler_seconds, self._metrics) if tools else None,
        )

    def _usable(self, tool: Tool) -> bool:
        """What comes from elsewhere while the server runs must not make a provider refuse its every call."""
        known = self._judged.get(tool.name)
        if known is not None and known[0] is tool:
            return known[1]
        problem = self._refuses(tool.declaration) if self._refuses is not None else ""
        if problem:
            log.warning("tool left out", tool=tool.name, problem=problem)
        self._judged[tool.name] = (tool, not problem)
        return not problem


class CallTools:
    """The functions of one call: an `OnFunctionCall`. Whatever goes wrong, the model gets a word that is fit for it."""

    def __init__(
        self, bridge: Bridge, tools: Mapping[str, Tool], filler_seconds: float, metrics: Metrics | None = None
    ) -> None:
        self._bridge = bridge
        self._tools = tools
        self._filler_seconds = filler_seconds
        self._metrics = metrics
        self._fillers = Fillers()
        self._numbers = itertools.count()
        self._running: set[int] = set()

    async def __call__(self, name: str, arguments: Mapping[str, Any]) -> object:
        tool, began = self._tools[name], time.monotonic()
        number, outcome = next(self._numbers), "cancelled"
        call_id = self._bridge.identity.call_id or self._bridge.identity.session
        timer = None
        self._running.add(number)
        self._excuse_silence()
        if tool.filler:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._filler_seconds, self._is_slow, number, tool.filler)
        try:
            result = await tool.run(arguments, self._bridge)
            outcome = "done"
            return result
        except ToolFailed as failure:
            outcome = failure.error
            return failure.answer
        except Exception as error:
            outcome = "failed"
            log.error("tool failed in a way that it must not", tool=name, call_id=call_id, error=error)
            return ToolFailed("failed", "The function failed.").answer
        finally:
            if timer is not None:
                timer.cancel()
            self._running.discard(number)
            self._fillers.over(number)
            seconds = time.monotonic() - began
            log.info("tool", tool=name, call_id=call_id, outcome=outcome, seconds=round(seconds, 3))
            if self._metrics is not None:
                self._metrics.tools.labels(name, outcome).inc()
                self._metrics.tool_seconds.observe(seconds)

    def _excuse_silence(self) -> None:
        """A caller who waits for us is not asked why he is silent."""
        if self._running:
            self._bridge.call.silence.agent_active(time.monotonic())
            asyncio.get_running_loop().call_later(EXCUSE_SECONDS, self._excuse_silence)

    def _is_slow(self, number: int, words: str) -> None:
        self._fillers.wait(number, words)
        self._bridge_silence()

    def _bridge_silence(self) -> None:
        """Have the agent say something as soon as it is quiet, unless the answer comes before."""
        call = self._bridge.call
        heard = call.state is State.TALKING and not call.ledger.speaking(time.monotonic())
        if words := self._fillers.due(heard=heard):
            self._bridge.tell(Tell(words, aloud=True, waits=True))
        elif self._fillers.waiting:
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._bridge_silence)
