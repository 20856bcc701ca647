"""Providers built as the settings say: in order, spared what they can't do, counted."""

from __future__ import annotations

import pytest
from acme import Acme, NoOptions, acme

from tandem.metrics import Metrics
from tandem.settings import load
from tandem.voices import Clients, Unburdened, build, build_client, process_config
from tandem_codecs.format import MULAW_8K
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import AuthenticationFailedError, ProviderError


async def test_the_spared_provider_is_asked_for_the_rest() -> None:
    kinds = {"acme": acme("acme", NoOptions)}
    found = load({"TEMPERATURE": "1", "VOICE": "alto"}, None, kinds)
    provider = build(found.choices[0])
    assert isinstance(provider, Unburdened)
    with pytest.raises(AuthenticationFailedError):
        async with provider.connect(process_config(found), lambda event: None, leg=MULAW_8K):
            pass
    inner = provider._provider
    assert isinstance(inner, Acme)
    assert inner.asked == [ProcessConfig(voice="alto")]
    await provider.close()
    assert inner.closed


async def test_the_client_has_the_providers_in_order_and_its_attempts_are_counted() -> None:
    kinds = {"acme": acme("acme", NoOptions, {}), "other": acme("other", NoOptions, {})}
    found = load({"PROVIDERS": "other,acme,acme@b", "CONNECT_SECONDS": "2"}, None, kinds)
    metrics = Metrics()
    client = build_client(found, metrics)
    assert [provider.name for provider in client.providers] == ["other", "acme", "acme@b"]
    assert (client.attempt_seconds, client.total_seconds) == (2, 3.2)
    with pytest.raises(ProviderError):
        async with client.connect(process_config(found), lambda event: None):
            pass
    text = metrics.render().decode()
    assert 'tandem_provider_attempts_total{outcome="authentication_failed",provider="acme@b"} 1.0' in text
    assert 'tandem_circuit_open{provider="other"} 1.0' in text  # a refused key is not tried again
    await client.close()


def test_a_function_that_one_of_the_providers_would_refuse_is_told() -> None:
    found = load({"PROVIDERS": "openai,xai", "OPENAI_API_KEY": "sk-planted", "XAI_API_KEY": "planted"}, None)
    clients = Clients(found, Metrics())
    assert clients.refuses_function(FunctionDeclaration("find")) == ""
    assert clients.refuses_function(FunctionDeclaration("web_search")).startswith(
        "provider xai: functions['web_search']"
    )
    embedded = Clients(load({"BUILTIN_TOOLS": "hang_up"}, None), Metrics())
    assert embedded.refuses_function(FunctionDeclaration("find")) == "", "it is spared all of them"


@pytest.mark.parametrize(
    ("configured", "conversions"),
    [
        ({"PROVIDERS": "gemini", "GEMINI_API_KEY": "planted"}, {(8000, 16000), (24000, 8000)}),
        (
            {"PROVIDERS": "openai", "OPENAI_API_KEY": "sk-planted", "OPENAI_AUDIO": "pcm16"},
            {(8000, 24000), (24000, 8000)},
        ),
        ({"OPENAI_API_KEY": "sk-planted"}, set()),
        ({}, set()),
    ],
)
def test_no_call_waits_for_the_tables_of_a_conversion(
    configured: dict[str, str], conversions: set[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: set[tuple[int, int]] = set()
    monkeypatch.setattr("tandem.voices.prepare", lambda source, target: made.add((source.rate, target.rate)))
    Clients(load(configured, None), Metrics())
    assert made == conversions
