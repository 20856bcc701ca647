"""How the agent is asked to speak: the session's instructions first, then the occasion, the words last."""

from __future__ import annotations

import pytest
from openai_play import Play

from tandem_providers.commands import Purpose, Say
from tandem_providers.config import FunctionDeclaration, ProcessConfig


def asked(say: Say, config: ProcessConfig) -> dict[str, object]:
    (message,) = (Play(config) >> say).take()
    assert message["type"] == "response.create"
    response: dict[str, object] = message["response"]
    assert response["metadata"] == {"client_event_id": message["event_id"]}
    return response


@pytest.mark.parametrize("purpose", list(Purpose))
def test_own_words(purpose: Purpose) -> None:
    config = ProcessConfig(instructions="You are Ada.")
    response = asked(Say(purpose, 'Good "day",\nsir.'), config)
    instructions = str(response["instructions"])
    assert instructions.startswith("You are Ada.\n\n")
    assert instructions.endswith('"Good "day",\nsir."')
    assert "exactly" in instructions
    assert "tool_choice" not in response


@pytest.mark.parametrize("purpose", list(Purpose))
def test_the_agents_words(purpose: Purpose) -> None:
    instructions = str(asked(Say(purpose), ProcessConfig(instructions="You are Ada."))["instructions"])
    assert instructions.startswith("You are Ada.\n\n")
    assert "exactly" not in instructions
    if purpose is not Purpose.GREETING:
        assert "in the language of the conversation" in instructions


def test_no_function_is_called_instead_of_speaking() -> None:
    config = ProcessConfig(functions=[FunctionDeclaration("f")])
    response = asked(Say(Purpose.GREETING, "Hello"), config)
    assert response["tool_choice"] == "none"
    assert str(response["instructions"]).startswith("The call has just been answered")
