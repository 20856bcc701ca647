"""What an OpenAI Live session is asked for: every setting honoured or refused, and not a field more."""

from __future__ import annotations

from typing import Any

import pytest
from openai_live_play import Play

from tandem_codecs.format import MULAW_8K, PCM16_24K
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.openai_live import OpenAILiveOptions, OpenAILiveProtocol, capabilities
from tandem_providers.openai_live_options import SERVICE_TIERS
from tandem_providers.provider import HistoryTurn, Opening

WEATHER = FunctionDeclaration("weather", "Tells the weather.", {"type": "object", "properties": {"city": {}}})
TIME = FunctionDeclaration("time")


def asked(config: ProcessConfig | None = None, **more: Any) -> dict[str, Any]:
    return Play(config, ready=False, **more).session


def refused(config: ProcessConfig | None = None, **options: Any) -> str:
    with pytest.raises(InvalidConfigError) as caught:
        OpenAILiveProtocol(
            OpenAILiveOptions(**{"api_key": "sk-planted", **options}), config or ProcessConfig(), MULAW_8K, "live"
        )
    assert caught.value.provider == "live"
    assert "planted" not in str(caught.value)
    return caught.value.message


def test_nothing_is_written_that_was_not_asked_for() -> None:
    assert asked() == {
        "model": "gpt-live-1",
        "audio": {"format": {"type": "audio/pcmu", "rate": 8000}, "output": {"voice": "marin"}},
    }


def test_what_it_can_do() -> None:
    can = capabilities(OpenAILiveOptions(api_key="sk"))
    assert can.turn_model == "duplex"
    assert (can.truncate, can.cancel) == (False, False)
    assert (can.text_in, can.hears_turns, can.seeds, can.transcribes) == (True, True, True, True)
    assert can.input_formats == can.output_formats
    assert PCM16_24K in can.input_formats
    assert MULAW_8K in can.input_formats


# --- voice and instructions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "general", "spoken"),
    [
        ("", "", "marin"),
        ("", "cedar", "cedar"),
        ("quartz", "cedar", "quartz"),
        (" ", " ", "marin"),
        ("voice_abc", "", {"id": "voice_abc"}),
        ("somebody-new", "", "somebody-new"),
    ],
)
def test_the_voice(own: str, general: str, spoken: Any) -> None:
    assert asked(ProcessConfig(voice=general), voice=own)["audio"]["output"]["voice"] == spoken


def test_instructions_come_first_and_speech_shall_be_plain() -> None:
    told = asked(ProcessConfig("You sell flowers."))["instructions"]
    assert told.startswith("You sell flowers.\n\n")
    assert "markup" in told


def test_the_voice_is_told_what_it_can_hand_over() -> None:
    told = asked(ProcessConfig("You sell flowers.", functions=[WEATHER, TIME]))["instructions"]
    assert "- weather: Tells the weather.\n- time\n" in told


# --- the model behind the voice ---------------------------------------------------------------------------------------


def test_functions_belong_to_a_model_behind_the_voice() -> None:
    delegation = asked(ProcessConfig("Be brief.", functions=[WEATHER, TIME]))["delegation"]
    assert delegation["type"] == "responses"
    assert delegation["acknowledgement_delay_ms"] == 800
    responses = delegation["responses"]
    assert set(responses) == {"model", "instructions", "tools", "reasoning"}
    assert responses["model"] == "gpt-5.4-mini"
    assert responses["instructions"].endswith("\nBe brief.")
    assert responses["reasoning"] == {"effort": "low"}
    assert responses["tools"][0] == {
        "type": "function",
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {}}},
        "strict": False,
    }


def test_options_of_that_model() -> None:
    delegation = asked(
        ProcessConfig(functions=[WEATHER]),
        delegation_model="gpt-9",
        delegation_instructions="Look it up.",
        delegation_effort="auto",
        acknowledgement_delay_ms="0",
    )["delegation"]
    assert delegation["acknowledgement_delay_ms"] == 0
    assert delegation["responses"]["model"] == "gpt-9"
    assert delegation["responses"]["instructions"] == "Look it up."
    assert "reasoning" not in delegation["responses"]


def test_extensions_win_over_options() -> None:
    extensions = {
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "verbosity": "low",
        "max_output_tokens": 2000,
        "reasoning_effort": "none",
        "acknowledgement_delay_ms": 50,
        "safety_identifier": "caller-7",
        "store": False,
    }
    session = asked(ProcessConfig(functions=[WEATHER], extensions=extensions))
    assert session["safety_identifier"] == "caller-7"
    assert session["store"] is False
    assert session["delegation"]["acknowledgement_delay_ms"] == 50
    responses = session["delegation"]["responses"]
    assert responses["tool_choice"] == {"type": "function", "name": "weather"}
    assert responses["parallel_tool_calls"] is False
    assert responses["text"] == {"verbosity": "low"}
    assert responses["max_output_tokens"] == 2000
    assert responses["reasoning"] == {"effort": "none"}


# --- memory -----------------------------------------------------------------------------------------------------------


def test_what_was_said_before_is_known() -> None:
    opening = Opening((HistoryTurn("assistant", "Hello."), HistoryTurn("user", " Hi "), HistoryTurn("user", " ")))
    assert asked(opening=opening)["input"] == [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    ]
    assert "input" not in asked(opening=Opening((HistoryTurn("user", ""),)))


def test_of_a_long_talk_the_newest_is_known() -> None:
    many = Opening(tuple(HistoryTurn("user", f"number {number}") for number in range(1000)))
    items = asked(opening=many)["input"]
    assert len(items) == 128
    assert items[-1]["content"][0]["text"] == "number 999"
    assert items[0]["content"][0]["text"] == "number 872"


# --- what it does not take --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (ProcessConfig(temperature=0.5), "temperature: "),
        (ProcessConfig(extensions={"speed": 1, "mood": 2}), "extensions: unknown mood, speed; known are "),
        (ProcessConfig(extensions={"store": "yes"}), "extensions['store']: "),
        (ProcessConfig(extensions={"safety_identifier": "x" * 65}), "extensions['safety_identifier']: "),
        (ProcessConfig(extensions={"verbosity": "low"}), "extensions: verbosity mean nothing without functions"),
        (ProcessConfig(functions=[TIME], extensions={"reasoning_effort": "huge"}), "extensions['reasoning_effort']: "),
        (ProcessConfig(functions=[TIME], extensions={"max_output_tokens": 1}), "extensions['max_output_tokens']: "),
        (ProcessConfig(functions=[TIME], extensions={"acknowledgement_delay_ms": -1}), "extensions["),
        (
            ProcessConfig(functions=[TIME], extensions={"tool_choice": {"type": "function", "name": "nope"}}),
            "tool_choice: there is no function 'nope'",
        ),
        (ProcessConfig(functions=[FunctionDeclaration("a b")]), "functions['a b']: "),
        (ProcessConfig(functions=[TIME, TIME]), "functions['time']: declared twice"),
        (ProcessConfig(functions=[FunctionDeclaration("f", parameters={"x": object()})]), "functions['f']: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_are_refused(config: ProcessConfig, said: str) -> None:
    assert refused(config).startswith(said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "https://api.openai.com/v1/live/sessions"}, "url (OPENAI_LIVE_URL): must begin with wss://"),
        ({"url": "wss://"}, "url (OPENAI_LIVE_URL): must begin with wss://"),
        ({"url": "wss://[::1"}, "url (OPENAI_LIVE_URL): "),
        ({"url": "wss://h:x/"}, "url (OPENAI_LIVE_URL): "),
        ({"url": "wss://user:planted@h/"}, "url (OPENAI_LIVE_URL): no credentials"),
        ({"url": "wss://h/?model=gpt-live-1"}, "url (OPENAI_LIVE_URL): takes no query"),
        ({"api_key": ""}, "api_key (OPENAI_API_KEY): api.openai.com needs one"),
        ({"api_key": "sk-planted\n1"}, "Authorization: may only hold printable ASCII"),
        ({"organization": "ö"}, "OpenAI-Organization: may only"),
        ({"service_tier": "first"}, "service_tier (OPENAI_LIVE_SERVICE_TIER): must be one of auto, "),
        ({"model": "gpt-realtime-2.1"}, "model (OPENAI_LIVE_MODEL): gpt-realtime-2.1 speaks another protocol"),
        ({"delegation_effort": "huge"}, "delegation_effort (OPENAI_LIVE_DELEGATION_EFFORT): "),
        ({"acknowledgement_delay_ms": "soon"}, "acknowledgement_delay_ms (OPENAI_LIVE_ACKNOWLEDGEMENT_DELAY_MS): "),
        ({"acknowledgement_delay_ms": "-5"}, "acknowledgement_delay_ms (OPENAI_LIVE_ACKNOWLEDGEMENT_DELAY_MS): "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_are_refused(options: dict[str, Any], said: str) -> None:
    assert refused(**options).startswith(said)
    with pytest.raises(InvalidConfigError):
        capabilities(OpenAILiveOptions(**{"api_key": "sk-planted", **options}), "live")


def test_headers() -> None:
    options = OpenAILiveOptions(api_key=" sk-planted ", service_tier="priority", organization="org-1", project="p-1")
    dial = OpenAILiveProtocol(options, ProcessConfig(), MULAW_8K, "live").dial()
    assert dial.headers == {
        "Authorization": "Bearer sk-planted",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "p-1",
        "OpenAI-Service-Tier": "priority",
    }
    assert "planted" not in repr(options)
    assert "priority" in SERVICE_TIERS
    local = OpenAILiveOptions(url="ws://127.0.0.1:8100/v1/live/sessions")
    assert OpenAILiveProtocol(local, ProcessConfig(), MULAW_8K, "live").dial().headers == {}


def test_empty_words_of_the_environment_mean_the_default() -> None:
    options = OpenAILiveOptions(api_key="sk", model="", url=" ", delegation_model="", acknowledgement_delay_ms="")
    assert options == OpenAILiveOptions(api_key="sk")
