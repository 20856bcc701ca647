"""The `session.update` as a whole, read by the vendor's library."""

from __future__ import annotations

from typing import Any

import pytest
from openai_play import Play

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.openai import OpenAIOptions, OpenAIProtocol, capabilities


def refusal(config: ProcessConfig) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        OpenAIProtocol(OpenAIOptions(api_key="k"), config, MULAW_8K, "openai")
    return refused.value.message


def test_an_ordinary_session() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    config = ProcessConfig(instructions="Be kind.", functions=[FunctionDeclaration("weather", "Tells it", schema)])
    assert Play(config, voice="cedar").session == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "Be kind.",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "gpt-transcribe"},
                "noise_reduction": {"type": "near_field"},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcmu"}, "voice": "cedar"},
        },
        "tools": [{"type": "function", "name": "weather", "description": "Tells it", "parameters": schema}],
    }


def test_what_is_not_set_is_cleared_rather_than_left_to_the_server() -> None:
    session = Play().session
    assert session["instructions"] == ""
    assert session["tools"] == []
    assert "model" not in session  # the address has said it, and it cannot be changed


@pytest.mark.parametrize(
    ("options", "config", "sent"),
    [
        ({}, {}, "marin"),
        ({}, {"voice": "cedar"}, "cedar"),
        ({"voice": "ash"}, {"voice": "cedar"}, "ash"),
        ({"voice": "voice_123"}, {}, {"id": "voice_123"}),
    ],
)
def test_voice(options: dict[str, Any], config: dict[str, Any], sent: Any) -> None:
    assert Play(ProcessConfig(**config), **options).session["audio"]["output"]["voice"] == sent


@pytest.mark.parametrize(
    "functions",
    [
        [FunctionDeclaration("")],
        [FunctionDeclaration("two words")],
        [FunctionDeclaration("f" * 65)],
        [FunctionDeclaration("f"), FunctionDeclaration("f")],
        [FunctionDeclaration("f", parameters={"type": "string"})],
        [FunctionDeclaration("f", parameters={"type": "object", "properties": {"a": object()}})],
        [FunctionDeclaration("f", parameters={"type": "object", "x": float("nan"), "y": {1: {2: object()}}})],
    ],
)
def test_functions_that_cannot_be(functions: list[FunctionDeclaration]) -> None:
    assert refusal(ProcessConfig(functions=functions)).startswith("functions[")


def test_capabilities() -> None:
    made = capabilities(OpenAIOptions(api_key="k"))
    assert made.input_formats == made.output_formats == (MULAW_8K, ALAW_8K, PCM16_24K)
    assert (made.turn_model, made.truncate, made.cancel, made.text_in, made.hears_turns) == (
        "turns",
        True,
        True,
        True,
        True,
    )
    assert made.max_session_seconds == 3600
    assert capabilities(OpenAIOptions(api_key="k", audio="pcm16")).input_formats == (PCM16_24K,)
    with pytest.raises(InvalidConfigError, match="OPENAI_AUDIO"):
        capabilities(OpenAIOptions(api_key="k", audio="opus"))


def test_capabilities_of_one_session_follow_its_extensions() -> None:
    config = ProcessConfig(extensions={"turn_detection": None})
    protocol = OpenAIProtocol(OpenAIOptions(api_key="k"), config, MULAW_8K, "openai")
    assert protocol.capabilities.hears_turns is False


def test_the_safety_identifier_is_a_header() -> None:
    config = ProcessConfig(extensions={"safety_identifier": "caller-7"})
    protocol = OpenAIProtocol(OpenAIOptions(api_key="k"), config, MULAW_8K, "openai")
    assert protocol.dial().headers["OpenAI-Safety-Identifier"] == "caller-7"
