"""Every setting by option and by extension: what is sent for it, and what is refused with which words."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_play import Play

from tandem_codecs.format import MULAW_8K
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.openai import OpenAIOptions, OpenAIProtocol

F = FunctionDeclaration("f")


def session(extensions: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """The session as the vendor's library reads it."""
    sent: dict[str, Any] = Play(ProcessConfig(extensions=extensions or {}, functions=[F]), **options).session
    return sent


def refusal(config: ProcessConfig | None = None, **options: Any) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        OpenAIProtocol(OpenAIOptions(**{"api_key": "k", **options}), config or ProcessConfig(), MULAW_8K, "openai@b")
    assert refused.value.provider == "openai@b"
    return refused.value.message


SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "create_response": True,
    "interrupt_response": True,
}


@pytest.mark.parametrize(
    ("given_as", "sent"),
    [
        ("server_vad", SERVER_VAD),
        ("", SERVER_VAD),
        ({"type": "server_vad"}, SERVER_VAD),
        ('{"type":"server_vad","silence_duration_ms":200}', {**SERVER_VAD, "silence_duration_ms": 200}),
        (
            {"type": "server_vad", "threshold": 1, "prefix_padding_ms": 0, "idle_timeout_ms": 5000},
            {**SERVER_VAD, "threshold": 1, "prefix_padding_ms": 0, "idle_timeout_ms": 5000},
        ),
        ({"type": "server_vad", "idle_timeout_ms": None}, {**SERVER_VAD, "idle_timeout_ms": None}),
        (
            "semantic_vad",
            {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True},
        ),
        (
            '{"type":"semantic_vad","eagerness":"high","create_response":false,"interrupt_response":false}',
            {"type": "semantic_vad", "eagerness": "high", "create_response": False, "interrupt_response": False},
        ),
        ("none", None),
        ("None", None),
    ],
)
def test_turn_detection(given_as: Any, sent: Any) -> None:
    assert session(turn_detection=given_as)["audio"]["input"]["turn_detection"] == sent
    if given_as != "":
        by_extension = session({"turn_detection": given_as}, turn_detection="semantic_vad")
        assert by_extension["audio"]["input"]["turn_detection"] == sent


@pytest.mark.parametrize(
    "wrong",
    [
        "loud_vad",
        "{",
        '{"type":"server_vad","threshold":1.1}',
        '{"type":"server_vad","idle_timeout_ms":4999}',
        '{"type":"server_vad","eagerness":"low"}',
        '{"type":"semantic_vad","eagerness":"eager"}',
        '{"type":"semantic_vad","threshold":0.5}',
        '{"threshold":0.5}',
        '{"type":"server_vad","create_response":"yes"}',
    ],
)
def test_wrong_turn_detection(wrong: str) -> None:
    assert refusal(turn_detection=wrong).startswith("turn_detection (OPENAI_TURN_DETECTION): ")
    config = ProcessConfig(extensions={"turn_detection": wrong})
    assert refusal(config).startswith("extensions['turn_detection']: ")


def test_transcription() -> None:
    def transcription(extension: Any = None, **options: Any) -> Any:
        extensions = {"transcription": extension} if extension is not None else {}
        return session(extensions, **options)["audio"]["input"]["transcription"]

    assert transcription() == {"model": "gpt-transcribe"}
    assert transcription(transcription_language="de") == {"model": "gpt-transcribe", "language": "de"}
    assert transcription(transcription_model="none") is None
    assert transcription("none") is None
    assert transcription("whisper-1") == {"model": "whisper-1"}
    full = {"model": "gpt-live-transcribe", "prompt": "Names", "keywords": ["Tandem"], "languages": ["de", "en"]}
    assert transcription(full) == full
    delayed = {"model": "gpt-realtime-whisper", "delay": "low", "language": "en"}
    assert transcription(delayed) == delayed
    unknown = {"model": "mine", "delay": "low", "keywords": ["x"], "prompt": "y"}
    assert transcription(unknown) == unknown


@pytest.mark.parametrize(
    ("transcription", "field"),
    [
        ({"model": "whisper-1", "keywords": ["x"]}, "keywords"),
        ({"model": "gpt-realtime-whisper", "languages": ["x"]}, "languages"),
        ({"model": "gpt-realtime-whisper", "prompt": "x"}, "prompt"),
        ({"model": "gpt-transcribe", "delay": "low"}, "delay"),
        ({"language": "de"}, "model"),
        ({"model": "x", "speed": 1}, "speed"),
    ],
)
def test_wrong_transcription(transcription: Any, field: str) -> None:
    message = refusal(ProcessConfig(extensions={"transcription": transcription}))
    assert message.startswith("extensions['transcription']: ")
    assert field in message


def test_noise_reduction() -> None:
    def reduction(**options: Any) -> Any:
        return session(**options)["audio"]["input"]["noise_reduction"]

    assert reduction() == {"type": "near_field"}
    assert reduction(noise_reduction="far_field") == {"type": "far_field"}
    assert reduction(noise_reduction="none") is None
    by_extension = session({"noise_reduction": {"type": "near_field"}}, noise_reduction="none")
    assert by_extension["audio"]["input"]["noise_reduction"] == {"type": "near_field"}
    assert refusal(noise_reduction="loud").startswith("noise_reduction (OPENAI_NOISE_REDUCTION): ")


def test_speed_tokens_and_reasoning() -> None:
    assert "speed" not in session()["audio"]["output"]
    assert session(speed="1.25")["audio"]["output"]["speed"] == 1.25
    assert session(speed=1)["audio"]["output"]["speed"] == 1
    assert session({"speed": 0.25}, speed=1.5)["audio"]["output"]["speed"] == 0.25
    assert "max_output_tokens" not in session()
    assert session(max_output_tokens="4096")["max_output_tokens"] == 4096
    assert session(max_output_tokens="inf")["max_output_tokens"] == "inf"
    assert session({"max_output_tokens": 1})["max_output_tokens"] == 1
    assert "reasoning" not in session()
    assert session(reasoning_effort="low")["reasoning"] == {"effort": "low"}
    assert session({"reasoning": {"effort": "xhigh"}})["reasoning"] == {"effort": "xhigh"}
    for speed in ("0.2", "1.6", "fast", 2):
        assert refusal(speed=speed).startswith("speed (OPENAI_SPEED): ")
    for tokens in ("0", "4097", "many", 1.5):
        assert refusal(max_output_tokens=tokens).startswith("max_output_tokens (OPENAI_MAX_OUTPUT_TOKENS): ")
    assert refusal(reasoning_effort="hard").startswith("reasoning_effort (OPENAI_REASONING_EFFORT): ")


@pytest.mark.parametrize("model", ["gpt-realtime", "gpt-realtime-2025-08-28", "gpt-realtime-mini", "gpt-realtime-1.5"])
def test_older_models_do_not_reason(model: str) -> None:
    assert refusal(model=model, reasoning_effort="low").endswith(f"{model} does not reason")
    assert "reasoning" not in session(model=model)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tool_choice", "auto"),
        ("tool_choice", "none"),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "name": "f"}),
        ("parallel_tool_calls", False),
        ("truncation", "disabled"),
        (
            "truncation",
            {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 8000}},
        ),
        ("tracing", "auto"),
        ("tracing", None),
        ("tracing", {"workflow_name": "calls", "group_id": "g", "metadata": {"a": "b"}}),
        ("prompt", {"id": "pmpt_1", "version": "3", "variables": {"name": "Ada"}}),
        ("prompt", None),
        ("include", ["item.input_audio_transcription.logprobs"]),
    ],
)
def test_extensions_are_sent_as_given(name: str, value: Any) -> None:
    assert name not in session()
    assert session({name: value})[name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tool_choice", "maybe"),
        ("tool_choice", {"type": "function", "name": "g"}),
        ("parallel_tool_calls", "yes"),
        ("truncation", {"type": "retention_ratio"}),
        ("truncation", "sometimes"),
        ("tracing", "no"),
        ("prompt", {"version": "3"}),
        ("include", ["everything"]),
        ("raw_events", 1),
        ("safety_identifier", "x" * 65),
        ("transcription", object()),
    ],
)
def test_wrong_extensions(name: str, value: Any) -> None:
    assert name in refusal(ProcessConfig(extensions={name: value}, functions=[F]))


def test_unknown_extensions_are_refused_by_name() -> None:
    message = refusal(ProcessConfig(extensions={"temprature": 1, "zap": 2}))
    assert message.startswith("extensions: unknown temprature, zap; known are turn_detection, ")


def test_a_required_tool_needs_tools() -> None:
    assert "tool_choice" in refusal(ProcessConfig(extensions={"tool_choice": "required"}))


def test_temperature_is_refused() -> None:
    assert refusal(ProcessConfig(temperature=0.8)).startswith("temperature: ")


def test_another_protocols_model_is_refused() -> None:
    assert "openai-live" in refusal(model="gpt-live-1")


_ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(["turn_detection", "speed", "tracing", "prompt", "x"]), _ANYTHING))
def test_wrong_values_of_any_kind_are_refused_with_the_one_error(extensions: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidConfigError):
        OpenAIProtocol(OpenAIOptions(api_key="k"), ProcessConfig(extensions=extensions), MULAW_8K, "openai")
