"""How a simulated OpenAI Live behaves: settings that a test, a drill or the command line may choose."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.simulators.openai_script import OpenAIOptions


@dataclass(frozen=True, slots=True)
class OpenAILiveOptions(OpenAIOptions):
    """How the simulated server behaves, when nothing is wrong with it. A reply of the script is what is said next."""

    pace: float = 1.0
    """Audio seconds per second: this voice speaks as fast as it is heard."""
    latency: float = 0.3
    """Seconds from a commentary, or from the end of what the caller said, to the first word."""
    usage_seconds: float = 5.0
    """How often the cost so far is told."""
    abort_seconds: float = 2.0
    """How long after an error in place of a session the connection is cut."""

    def __post_init__(self) -> None:
        OpenAIOptions.__post_init__(self)
        if self.usage_seconds <= 0 or self.abort_seconds < 0:
            raise ValueError("the cost can't be told more often than always, nor a connection cut before its time")
