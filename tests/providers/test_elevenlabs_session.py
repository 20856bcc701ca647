"""What a conversation with an ElevenLabs agent begins with, and what is refused before anything is dialled."""

from __future__ import annotations

from typing import Any

import pytest
from agent_play import elevenlabs

from tandem_codecs.format import MULAW_8K
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.elevenlabs import ElevenLabsProtocol
from tandem_providers.elevenlabs_options import ElevenLabsOptions, dial, signing_address
from tandem_providers.elevenlabs_session import plan_session
from tandem_providers.errors import InvalidConfigError
from tandem_providers.provider import FRESH


def begun(config: ProcessConfig | None = None, **options: Any) -> dict[str, Any]:
    """The first message, which the vendor's library and the simulator have found right."""
    return elevenlabs(config, **options)[1]


def refusal(config: ProcessConfig | None = None, **options: Any) -> str:
    made = ElevenLabsOptions(**{"agent_id": "agent", **options})
    with pytest.raises(InvalidConfigError) as caught:
        ElevenLabsProtocol(made, config or ProcessConfig(), MULAW_8K, "el@b")
    assert caught.value.provider == "el@b"
    return caught.value.message


# --- the address ------------------------------------------------------------------------------------------------------


def test_the_agent_stands_in_the_address_and_the_key_in_a_header() -> None:
    made = dial(ElevenLabsOptions(agent_id="a b", api_key="sk_1"), "e")
    assert made.url == "wss://api.elevenlabs.io/v1/convai/conversation?agent_id=a+b"
    assert made.headers == {"xi-api-key": "sk_1"}
    assert dial(ElevenLabsOptions(agent_id="a"), "e").headers == {}
    kept = dial(ElevenLabsOptions(agent_id="a", url="ws://localhost:1/x?agent_id=b&z=1"), "e")
    assert kept.url == "ws://localhost:1/x?agent_id=b&z=1"


def test_with_signed_addresses_the_key_stays_at_home() -> None:
    options = ElevenLabsOptions(
        agent_id="a", api_key="sk_1", auth="signed-url", url="wss://api.eu.residency.elevenlabs.io/x"
    )
    assert dial(options, "e").headers == {}
    signing = signing_address(options)
    assert signing == "https://api.eu.residency.elevenlabs.io/v1/convai/conversation/get-signed-url?agent_id=a"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"agent_id": " "}, "agent_id (ELEVENLABS_AGENT_ID)"),
        ({"api_key": "Ünsinn"}, "api_key (ELEVENLABS_API_KEY): may only hold"),
        ({"url": "https://x"}, "url (ELEVENLABS_URL): must begin with"),
        ({"url": "wss://[x"}, "url (ELEVENLABS_URL)"),
        ({"url": "wss://u:p@x"}, "no credentials here"),
        ({"auth": "magic"}, "auth (ELEVENLABS_AUTH): must be header or signed-url"),
        ({"auth": "signed-url"}, "api_key (ELEVENLABS_API_KEY): signed URLs"),
    ],
)
def test_what_cannot_be_dialled_is_refused_and_no_key_is_shown(options: dict[str, str], said: str) -> None:
    told = refusal(None, **options)
    assert said in told
    assert "Ünsinn" not in told


# --- what replaces the agent's own ------------------------------------------------------------------------------------


def test_an_agent_is_left_alone_where_nothing_is_asked() -> None:
    assert begun() == {
        "type": "conversation_initiation_client_data",
        "conversation_config_override": {},
        "custom_llm_extra_body": {},
        "dynamic_variables": {},
    }


def test_everything_in_its_place() -> None:
    config = ProcessConfig(
        "Be brief.",
        "voice-1",
        extensions={
            "dynamic_variables": {"caller": "Ann", "visits": 3},
            "user_id": "u1",
            "llm": "gpt-4o",
            "tool_ids": ["t1"],
            "tts": {"speed": 1.1, "stability": 0.5},
            "max_duration_seconds": 600,
            "custom_llm_extra_body": {"top_p": 0.5},
        },
    )
    asked = begun(config, language="de", first_message="Guten Tag.")
    assert asked["conversation_config_override"] == {
        "agent": {
            "prompt": {"prompt": "Be brief.", "llm": "gpt-4o", "tool_ids": ["t1"]},
            "language": "de",
            "first_message": "Guten Tag.",
        },
        "tts": {"speed": 1.1, "stability": 0.5, "voice_id": "voice-1"},
        "conversation": {"max_duration_seconds": 600},
    }
    assert asked["dynamic_variables"] == {"caller": "Ann", "visits": 3}
    assert asked["user_id"] == "u1"
    assert asked["custom_llm_extra_body"] == {"top_p": 0.5}
    assert begun(config, voice="own")["conversation_config_override"]["tts"]["voice_id"] == "own"


@pytest.mark.parametrize(
    ("extensions", "said"),
    [
        ({"nope": 1}, "unknown nope; known are dynamic_variables"),
        ({"tts": {"speed": 3}}, "extensions['tts']"),
        ({"tts": {"colour": "blue"}}, "extensions['tts']"),
        ({"dynamic_variables": {"a": [1]}}, "extensions['dynamic_variables']"),
        ({"reasoning_effort": "deep"}, "extensions['reasoning_effort']"),
    ],
)
def test_extensions_are_checked(extensions: dict[str, Any], said: str) -> None:
    assert said in refusal(ProcessConfig(extensions=extensions))


def test_temperature_only_for_a_model_of_ones_own() -> None:
    warm = ProcessConfig(temperature=0.5)
    assert "the agent has its own" in refusal(warm)
    assert begun(warm, custom_llm=True)["custom_llm_extra_body"] == {"temperature": 0.5}
    assert "must lie in 0 to 2" in refusal(ProcessConfig(temperature=3.0), custom_llm=True)


def test_functions_only_where_the_agent_has_them() -> None:
    weather = ProcessConfig(functions=[FunctionDeclaration("weather")])
    said = refusal(weather)
    assert "functions['weather']: functions can't be declared in a session" in said
    assert "ELEVENLABS_CLIENT_TOOLS" in said
    assert "functions['weather']" in refusal(weather, client_tools="other")
    for tools in ("weather", "other, weather", "*", ("weather",)):
        plan_session(ElevenLabsOptions(agent_id="a", client_tools=tools), weather, FRESH, "e")


def test_nothing_of_this_depends_on_the_leg() -> None:
    assert begun(leg=MULAW_8K) == begun()
