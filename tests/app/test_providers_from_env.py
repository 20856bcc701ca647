"""Options of providers out of the environment, whatever the kinds are."""

from __future__ import annotations

import pytest
from acme import Options, acme

from tandem.settings import SettingsError, load
from tandem.voices import process_config
from tandem_providers.config import ProcessConfig


def test_options_are_read_in_their_types_and_a_shared_key_selects_the_first() -> None:
    kinds = {"acme": acme("acme"), "acme-live": acme("acme-live")}
    found = load({"ACME_OTHER_KEY": "k", "ACME_SPEED": "1.5", "ACME_LOUD": "yes", "ACME_WORDS": "a, b"}, None, kinds)
    (choice,) = found.choices
    assert (choice.kind.name, choice.options) == ("acme", Options("k", 1.5, True, ("a", "b")))
    assert found.secret_values()[-1:] == ["k"]


def test_bad_and_missing_options_are_told_by_their_variable() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"PROVIDERS": "acme@x", "X_ACME_SPEED": "fast", "ACME_PIN": "s3cret"}, None, {"acme": acme("acme")})
    assert caught.value.problems[0].startswith("X_ACME_SPEED: 'fast':")
    assert caught.value.problems[1].startswith("ACME_PIN: input should be a valid integer")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SettingsError, match="ACME_KEY: is missing, and provider acme needs it"):
        load({"PROVIDERS": "acme"}, None, {"acme": acme("acme")})


def test_variables_of_a_provider_that_is_not_in_use_are_told() -> None:
    found = load({"PROVIDERS": "echo", "OPENAI_MODEL": "m", "OPENAI_API_KEY": "sk"}, None)
    assert found.warnings == ("OPENAI_API_KEY, OPENAI_MODEL: not read, for provider openai is not in use",)


def test_a_key_that_two_kinds_share_selects_the_first_and_the_other_has_to_be_named() -> None:
    assert [choice.name for choice in load({"OPENAI_API_KEY": "sk"}, None).choices] == ["openai"]
    env = {
        "OPENAI_API_KEY": "sk",
        "OPENAI_LIVE_VOICE": "quartz",
        "PROVIDERS": "openai-live,openai-live@eu",
        "EU_OPENAI_LIVE_URL": "wss://eu.example/v1/live/sessions",
    }
    found = load(env, None)
    assert found.warnings == ()
    here, there = found.choices
    assert (here.name, there.name) == ("openai-live", "openai-live@eu")
    assert here.options.voice == there.options.voice == "quartz"
    assert there.options.url == "wss://eu.example/v1/live/sessions"
    assert there.options.api_key == "sk"


# What a provider can't honour


def test_a_paid_provider_that_can_not_honour_a_wish_is_a_problem() -> None:
    with pytest.raises(SettingsError, match=r"^TEMPERATURE: provider acme: it is always warm$"):
        load({"ACME_KEY": "k", "TEMPERATURE": "0.5"}, None, {"acme": acme("acme")})


def test_temperature_is_refused_for_openai_at_start() -> None:
    with pytest.raises(SettingsError, match=r"^TEMPERATURE: provider openai: .*temperature"):
        load({"OPENAI_API_KEY": "sk", "TEMPERATURE": "0.5"}, None)


def test_options_that_the_library_refuses_are_refused_at_start() -> None:
    with pytest.raises(SettingsError, match=r"provider openai: .*OPENAI_REALTIME_URL"):
        load({"OPENAI_API_KEY": "sk", "OPENAI_REALTIME_URL": "https://x"}, None)
    with pytest.raises(SettingsError, match=r"provider openai: .*OPENAI_API_KEY"):
        load({"PROVIDERS": "openai"}, None)
    with pytest.raises(SettingsError, match=r"provider echo: "):
        load({"ECHO_PROMPTS": "/nowhere"}, None)


def test_what_comes_with_the_house_is_spared_and_that_is_told_once() -> None:
    env = {"INSTRUCTIONS": "Be nice.", "VOICE": "alto", "GREETING": "Hi!", "TEMPERATURE": "1"}
    found = load(env, None)
    assert found.warnings == (
        "INSTRUCTIONS and VOICE and TEMPERATURE and GREETING mean nothing to provider echo, which answers without them",
    )
    assert "GREETING means nothing" in load({"GREETING": "Hi!"}, None).warnings[0]
    (choice,) = found.choices
    assert choice.left_out == {"instructions", "voice", "temperature"}
    assert process_config(found) == ProcessConfig("Be nice.", "alto", temperature=1.0)
