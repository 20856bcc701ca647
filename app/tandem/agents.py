"""Who answers: what a call's agent is told, how it sounds, which providers speak for it, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tandem.call_types import CallPlan
from tandem_providers.config import ProcessConfig


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent. What is None is as the server's own settings have it."""

    name: str = "default"
    instructions: str | None = None
    greeting: str | None = None
    voice: str | None = None
    temperature: float | None = None
    providers: tuple[str, ...] | None = None
    """Names of configured providers: primary, then fallbacks."""
    max_call_seconds: float | None = None
    silence_seconds: float | None = None
    tools: tuple[str, ...] | None = None
    """Names of the tools that it may use."""

    def over(self, other: Agent) -> Agent:
        """This one, with what it leaves open as the other has it."""
        known = {name: value for name in _FIELDS if (value := getattr(self, name)) is not None}
        return replace(other, name=self.name, **known)

    def config(self, base: ProcessConfig) -> ProcessConfig:
        """What its provider is asked for."""
        wishes = {name: getattr(self, name) for name in ("instructions", "voice", "temperature")}
        config = replace(base, **{name: value for name, value in wishes.items() if value is not None})
        if self.tools is None:
            return config
        functions = tuple(function for function in base.functions if function.name in self.tools)
        return replace(config, functions=functions, on_function_call=base.on_function_call if functions else None)

    def plan(self, base: CallPlan) -> CallPlan:
        """What its calls are set up with."""
        wishes: dict[str, Any] = {
            "greeting": self.greeting or None,
            "max_seconds": self.max_call_seconds,
            "silence_seconds": self.silence_seconds,
        }
        return replace(base, **{name: value for name, value in wishes.items() if value is not None})


_FIELDS = (
    "instructions",
    "greeting",
    "voice",
    "temperature",
    "providers",
    "max_call_seconds",
    "silence_seconds",
    "tools",
)
DEFAULT = Agent()
"""As the server's own settings have it."""
