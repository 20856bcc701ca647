"""What a tool is to a call, whoever does its work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tandem_providers.config import FunctionDeclaration

if TYPE_CHECKING:
    from tandem.bridge import Bridge


class ToolFailed(Exception):
    """There is no result: a word and a sentence, fit for the model. Details belong into the log."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message

    @property
    def answer(self) -> dict[str, str]:
        """For the model."""
        return {"error": self.error, "message": self.message}


Run = Callable[[Mapping[str, Any], "Bridge"], Awaitable[object]]
"""Does the work for one call. The result is text as it is, or something that can be written as JSON. Raises
`ToolFailed`."""


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that an agent may have done during a call."""

    declaration: FunctionDeclaration
    """As the model is told of it."""
    run: Run
    filler: str = ""
    """Said while it takes long; may be empty."""

    @property
    def name(self) -> str:
        return self.declaration.name
