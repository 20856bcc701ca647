"""What a Deepgram session is asked for, and what is refused before anything is dialled."""

from __future__ import annotations

from typing import Any

import pytest
from agent_play import deepgram

from tandem_codecs.format import MULAW_8K, PCM16_24K
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.deepgram_options import DeepgramOptions, dial
from tandem_providers.deepgram_session import LONGEST_PROMPT, plan_session
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import ProviderWarning
from tandem_providers.provider import FRESH, HistoryTurn, Opening


def settings(config: ProcessConfig | None = None, **options: Any) -> dict[str, Any]:
    """The `Settings` message, which the vendor's library and the simulator have found right."""
    return deepgram(config, **options)[1]


def refusal(config: ProcessConfig | None = None, **options: Any) -> str:
    with pytest.raises(InvalidConfigError) as caught:
        plan_session(DeepgramOptions(api_key="key", **options), config or ProcessConfig(), MULAW_8K, FRESH, "dg@b")
    assert caught.value.provider == "dg@b"
    return caught.value.message


def extended(**extensions: Any) -> ProcessConfig:
    return ProcessConfig(extensions=extensions)


# --- the address ------------------------------------------------------------------------------------------------------


def test_a_key_and_a_token_go_by_different_schemes() -> None:
    assert dial(DeepgramOptions(api_key="abc"), "d").headers == {"Authorization": "Token abc"}
    assert dial(DeepgramOptions(api_key="eyJ0.a.b"), "d").headers == {"Authorization": "Bearer eyJ0.a.b"}
    assert dial(DeepgramOptions(url="ws://localhost:1/x"), "d").headers == {}
    assert dial(DeepgramOptions(api_key="abc"), "d").url == "wss://agent.deepgram.com/v1/agent/converse"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "api_key (DEEPGRAM_API_KEY): agent.deepgram.com needs one"),
        ({"api_key": "Ünsinn"}, "api_key (DEEPGRAM_API_KEY): may only hold"),
        ({"api_key": "k", "url": "https://x"}, "url (DEEPGRAM_URL): must begin with"),
        ({"api_key": "k", "url": "wss://[x"}, "url (DEEPGRAM_URL)"),
        ({"api_key": "k", "url": "wss://u:p@x"}, "no credentials here"),
    ],
)
def test_what_cannot_be_dialled_is_refused_and_no_key_is_shown(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        dial(DeepgramOptions(**options), "d")
    assert said in caught.value.message
    assert "Ünsinn" not in str(caught.value)


# --- the six fields of a config ---------------------------------------------------------------------------------------


def test_everything_in_its_place() -> None:
    weather = FunctionDeclaration(
        "weather", "Tells it.", {"type": "object", "properties": {"city": {"type": "string"}}}
    )
    asked = settings(ProcessConfig("Be brief.", "aura-2-apollo-en", [weather], temperature=0.3))
    assert asked["agent"] == {
        "listen": {"provider": {"type": "deepgram", "version": "v2", "model": "flux-general-en"}},
        "think": {
            "provider": {"type": "open_ai", "model": "gpt-4o-mini", "temperature": 0.3},
            "prompt": "Be brief.",
            "functions": [{"name": "weather", "description": "Tells it.", "parameters": weather.parameters}],
        },
        "speak": {"provider": {"type": "deepgram", "model": "aura-2-apollo-en"}},
    }
    assert settings(ProcessConfig(voice="a"), voice="b")["agent"]["speak"]["provider"]["model"] == "b"
    flux = settings(voice="flux-kit-en")["agent"]["speak"]["provider"]
    assert flux == {"type": "deepgram", "version": "v2", "model": "flux-kit-en"}


@pytest.mark.parametrize(
    ("thinker", "temperature"), [("open_ai", 2.1), ("anthropic", 1.1), ("google", -0.1)], ids=["most", "own", "least"]
)
def test_temperature_is_checked_by_the_one_who_thinks(thinker: str, temperature: float) -> None:
    said = refusal(ProcessConfig(temperature=temperature), think_provider=thinker, think_model="claude-x")
    assert said.startswith(f"temperature: {thinker} takes 0 to")


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        ([FunctionDeclaration("no spaces")], "functions['no spaces']: a name has"),
        ([FunctionDeclaration("f"), FunctionDeclaration("f")], "functions['f']: declared twice"),
        ([FunctionDeclaration("f", parameters={"type": "array"})], "must be a JSON Schema of type object"),
        ([FunctionDeclaration("f", parameters={"type": object()})], "parameters are no JSON"),
    ],
)
def test_functions_are_checked(functions: list[FunctionDeclaration], said: str) -> None:
    assert said in refusal(ProcessConfig(functions=functions))


def test_unknown_extensions_are_refused_with_those_that_are_known() -> None:
    said = refusal(extended(nope=1))
    assert "unknown nope" in said
    assert "eot_threshold" in said


def test_a_prompt_that_the_vendor_will_cut_is_told() -> None:
    long = "x" * (LONGEST_PROMPT + 1)
    plan = plan_session(DeepgramOptions(api_key="k"), ProcessConfig(long), MULAW_8K, FRESH, "d")
    assert plan.warnings == (
        ProviderWarning("prompt_too_long", "instructions of 25001 characters are cut after 25000"),
    )
    own = DeepgramOptions(api_key="k", think_endpoint={"url": "https://llm.example.com"})
    assert plan_session(own, ProcessConfig(long), MULAW_8K, FRESH, "d").warnings == ()


# --- how it listens ---------------------------------------------------------------------------------------------------


def test_languages() -> None:
    def listen(**options: Any) -> dict[str, Any]:
        provider: dict[str, Any] = settings(**options)["agent"]["listen"]["provider"]
        return provider

    assert listen(language="en-GB")["model"] == "flux-general-en"
    german = listen(language="de")
    assert (german["model"], german["language_hints"]) == ("flux-general-multi", ["de"])
    assert listen(listen_model="nova-3", language="de") == {
        "type": "deepgram",
        "version": "v1",
        "model": "nova-3",
        "language": "de",
    }
    assert "does not hear de" in refusal(language="de", listen_model="flux-general-en")


def test_turn_detection_as_text_from_the_environment() -> None:
    provider = settings(eot_threshold="0.8", eot_timeout_ms="3000", keyterms="Acme, Bonn,")["agent"]["listen"][
        "provider"
    ]
    assert (provider["eot_threshold"], provider["eot_timeout_ms"], provider["keyterms"]) == (
        0.8,
        3000,
        ["Acme", "Bonn"],
    )
    assert settings(extended(smart_format=True), listen_model="nova-3")["agent"]["listen"]["provider"]["smart_format"]


@pytest.mark.parametrize(
    ("options", "config", "said"),
    [
        ({"eot_threshold": "2"}, None, "eot_threshold (DEEPGRAM_EOT_THRESHOLD)"),
        ({"eot_threshold": "high"}, None, "eot_threshold (DEEPGRAM_EOT_THRESHOLD): is no JSON"),
        ({"eot_timeout_ms": "3000", "listen_model": "nova-3"}, None, "nova-3 has none, flux models have"),
        ({}, extended(smart_format=True), "flux-general-en has none, nova models have"),
        ({}, extended(keyterms=5), "extensions['keyterms']"),
        ({"keyterms": "x"}, extended(listen={"provider": {"type": "deepgram"}}), "write it into `listen`"),
        ({"audio": "mp3"}, None, "audio (DEEPGRAM_AUDIO): must be auto or pcm16"),
    ],
)
def test_what_it_does_not_take_for_listening(options: dict[str, Any], config: ProcessConfig | None, said: str) -> None:
    assert said in refusal(config, **options)


# --- how it thinks ----------------------------------------------------------------------------------------------------


def test_other_models() -> None:
    think = settings(think_provider="anthropic", think_model="claude-sonnet-4")["agent"]["think"]
    assert think == {"provider": {"type": "anthropic", "model": "claude-sonnet-4"}}
    own = settings(
        extended(context_length="max"),
        think_endpoint='{"url": "https://llm.example.com", "headers": {"authorization": "x"}}',
    )["agent"]["think"]
    assert own["endpoint"] == {"url": "https://llm.example.com", "headers": {"authorization": "x"}}
    assert own["context_length"] == "max"


def test_models_that_stand_in_for_each_other() -> None:
    config = ProcessConfig(
        "Be brief.",
        temperature=0.5,
        extensions={
            "think": [
                {"provider": {"type": "open_ai", "model": "gpt-5"}},
                {"provider": {"type": "anthropic", "model": "claude-sonnet-4"}},
            ],
            "reasoning_mode": "low",
        },
    )
    plan = plan_session(DeepgramOptions(api_key="k"), config, MULAW_8K, FRESH, "d")
    first, second = plan.settings["agent"]["think"]
    assert first["provider"] == {"type": "open_ai", "model": "gpt-5", "reasoning_mode": "low", "temperature": 0.5}
    assert first["prompt"] == second["prompt"] == "Be brief."
    assert plan.model == "gpt-5"


def test_an_unknown_model_is_passed_on_with_a_warning() -> None:
    plan = plan_session(DeepgramOptions(api_key="k", think_model="llama"), ProcessConfig(), MULAW_8K, FRESH, "d")
    assert plan.warnings == (ProviderWarning("unknown_model", "model llama is not known to be one of open_ai"),)


@pytest.mark.parametrize(
    ("options", "config", "said"),
    [
        ({"think_provider": "acme"}, None, "think_provider (DEEPGRAM_THINK_PROVIDER): must be one of"),
        ({"think_provider": "google"}, None, "think_model (DEEPGRAM_THINK_MODEL): google needs one"),
        ({"think_endpoint": "{"}, None, "think_endpoint (DEEPGRAM_THINK_ENDPOINT): is no JSON"),
        ({"think_endpoint": '{"url": "x", "secret": "sesame"}'}, None, "think_endpoint (DEEPGRAM_THINK_ENDPOINT)"),
        ({}, extended(context_length="max"), "only a model of your own"),
        ({}, extended(think=[]), "must name at least one"),
        ({}, extended(reasoning_mode="deep"), "extensions['reasoning_mode']"),
    ],
)
def test_what_it_does_not_take_for_thinking(options: dict[str, Any], config: ProcessConfig | None, said: str) -> None:
    told = refusal(config, **options)
    assert said in told
    assert "sesame" not in told


def test_functions_that_wait_for_the_end_of_the_turn() -> None:
    functions = [FunctionDeclaration("book"), FunctionDeclaration("look")]

    def deferred(value: Any) -> list[bool]:
        config = ProcessConfig(functions=functions, extensions={"defer_until_eot": value})
        made = settings(config)["agent"]["think"]["functions"]
        return [each.get("defer_until_eot", False) for each in made]

    assert deferred(True) == [True, True]
    assert deferred(["book"]) == [True, False]
    assert "there is no function 'cook'" in refusal(
        ProcessConfig(functions=functions, extensions={"defer_until_eot": ["cook"]})
    )


# --- how it speaks ----------------------------------------------------------------------------------------------------

CARTESIA = {
    "provider": {"type": "cartesia", "model_id": "sonic-3", "voice": {"mode": "id", "id": "x"}},
    "endpoint": {"url": "https://api.cartesia.ai", "headers": {"x-api-key": "sesame"}},
}


def test_voices_of_other_vendors() -> None:
    assert settings(speak=CARTESIA)["agent"]["speak"] == CARTESIA
    named = settings(speak=CARTESIA, voice="y")["agent"]["speak"]["provider"]
    assert named["voice"] == {"mode": "id", "id": "y"}
    several = settings(
        speak=[{"provider": {"type": "deepgram", "model": "aura-2-a-en"}}, CARTESIA], voice="aura-2-b-en"
    )
    assert [each["provider"].get("model") for each in several["agent"]["speak"]] == ["aura-2-b-en", None]
    assert settings(extended(speed=1.2))["agent"]["speak"]["provider"]["speed"] == 1.2


@pytest.mark.parametrize(
    ("options", "config", "said"),
    [
        ({"speak": {"provider": {"type": "eleven_labs"}}, "voice": "x"}, None, "voice: eleven_labs takes none here"),
        ({"speak": []}, None, "speak (DEEPGRAM_SPEAK): must name at least one voice"),
        ({"speak": CARTESIA}, extended(speed=1.0), "write it into `speak`"),
        ({}, extended(speed=3.0), "extensions['speed']"),
    ],
)
def test_what_it_does_not_take_for_speaking(options: dict[str, Any], config: ProcessConfig | None, said: str) -> None:
    assert said in refusal(config, **options)


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_what_is_said_about_the_session() -> None:
    asked = settings(extended(tags=["x"], experimental=True), mip_opt_out=True)
    assert (asked["tags"], asked["experimental"], asked["mip_opt_out"]) == (["x"], True, True)
    assert "mip_opt_out" not in settings()


def test_always_linear_on_request() -> None:
    plan = plan_session(DeepgramOptions(api_key="k", audio="pcm16"), ProcessConfig(), MULAW_8K, FRESH, "d")
    assert plan.format == PCM16_24K


def test_a_stored_agent_is_taken_as_it_is() -> None:
    asked = settings(extended(tags=["x"]), agent_id="a-1")
    assert asked["agent"] == "a-1"
    assert asked["tags"] == ["x"]
    history = Opening((HistoryTurn("user", "Hi."),))
    assert plan_session(DeepgramOptions(api_key="k", agent_id="a"), ProcessConfig(), MULAW_8K, history, "d").stored


@pytest.mark.parametrize(
    ("options", "config", "said"),
    [
        ({}, ProcessConfig("Be brief."), "instructions: agent a-1 is stored"),
        ({}, ProcessConfig(voice="x"), "voice: agent a-1"),
        ({"voice": "x"}, None, "voice: agent a-1"),
        ({}, ProcessConfig(functions=[FunctionDeclaration("f")]), "functions: agent a-1"),
        ({}, ProcessConfig(temperature=0.0), "temperature: agent a-1"),
        ({"language": "de"}, None, "language (DEEPGRAM_LANGUAGE): agent a-1"),
        ({"keyterms": "x"}, None, "keyterms (DEEPGRAM_KEYTERMS): agent a-1"),
        ({}, extended(speed=1.0), "extensions['speed']: agent a-1"),
    ],
)
def test_a_stored_agent_takes_nothing_else(options: dict[str, Any], config: ProcessConfig | None, said: str) -> None:
    told = refusal(config, agent_id="a-1", **options)
    assert told.startswith(said)
    assert "DEEPGRAM_AGENT_ID" in told
