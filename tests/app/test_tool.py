"""What a tool is to a call."""

from __future__ import annotations

from tandem.tools.tool import Tool, ToolFailed
from tandem_providers.config import FunctionDeclaration


def test_a_failure_is_an_answer_for_the_model() -> None:
    failure = ToolFailed("busy", "Ask again later.")
    assert failure.answer == {"error": "busy", "message": "Ask again later."}
    assert str(failure) == "Ask again later."


def test_a_tool_is_named_as_it_is_declared() -> None:
    async def run(*_: object) -> object:
        return None

    assert Tool(FunctionDeclaration("f"), run).name == "f"
