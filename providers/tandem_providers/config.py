"""What one session is asked for: the six things of the design, the same for every provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FunctionDeclaration:
    """A function that the model may call. `parameters` is a JSON Schema of type object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    seconds: float | None = None
    """How long it is waited for at most; None: as for every other function of the provider."""


OnFunctionCall = Callable[[str, Mapping[str, Any]], Any | Awaitable[Any]]
"""Called with name and decoded arguments; may be `async`. A plain function runs in a thread, off the audio path.
Its result is sent to the model as it is when it is a string, else as JSON. An exception becomes a neutral error for
the model; its text never leaves the process except into the log."""


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """Settings of one session. Each field is honoured by a provider or refused with `InvalidConfigError`."""

    instructions: str = ""
    voice: str = ""
    functions: Sequence[FunctionDeclaration] = ()
    on_function_call: OnFunctionCall | None = None
    temperature: float | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)
    """Options that only some providers have, by name; a provider refuses names that it does not know."""
