"""The providers that can be simulated, one row each. A simulator is imported when it is started, not before."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, cast


@dataclass(frozen=True, slots=True)
class SimulatorKind:
    """One vendor's simulated servers."""

    title: str
    module: str
    """Has `serve(host, port, faults, *, on_listening, on_report, **options)`."""
    variables: str
    """What points a server of ours at it; `{url}` and `{key}` stand in it."""

    @property
    def serve(self) -> Callable[..., Coroutine[Any, Any, None]]:
        """Serves until cancelled; see the module."""
        return cast(Callable[..., Coroutine[Any, Any, None]], importlib.import_module(self.module).serve)


SIMULATORS: Final = {
    "openai": SimulatorKind("OpenAI", "tandem.simulators.openai", "OPENAI_API_KEY={key} OPENAI_REALTIME_URL={url}"),
    "openai-live": SimulatorKind(
        "OpenAI Live",
        "tandem.simulators.openai_live",
        "PROVIDERS=openai-live OPENAI_API_KEY={key} OPENAI_LIVE_URL={url}",
    ),
    "gemini": SimulatorKind("Gemini Live", "tandem.simulators.gemini", "GEMINI_API_KEY={key} GEMINI_LIVE_URL={url}"),
}
