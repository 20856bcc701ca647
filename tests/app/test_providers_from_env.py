"""Options of providers out of the environment, whatever the kinds are."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from tandem.metrics import Metrics
from tandem.providers_from_env import Unburdened, build, build_client, process_config
from tandem.settings import SettingsError, load
from tandem_codecs.format import MULAW_8K, PCM16_24K, AudioFormat
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import AuthenticationFailedError, InvalidConfigError, ProviderError
from tandem_providers.events import Event
from tandem_providers.options import option
from tandem_providers.provider import Capabilities, EventSink, Session
from tandem_providers.table import ProviderKind


@dataclass(frozen=True, slots=True)
class Options:
    key: str = option("ACME_KEY", "ACME_OTHER_KEY", secret=True)
    speed: float = option("ACME_SPEED", default=1.0)
    loud: bool = option("ACME_LOUD", default=False)
    words: tuple[str, ...] = option("ACME_WORDS", default=())
    hidden: int = option("ACME_PIN", default=0, secret=True)
    internal: int = option(default=3)


REFUSES = {"temperature": "it is always warm"}


class Acme:
    """A provider that only says what it refuses, and what it is asked for."""

    def __init__(self, name: str, refuses: dict[str, str], capabilities: Capabilities) -> None:
        self.name = name
        self.capabilities = capabilities
        self.asked: list[ProcessConfig] = []
        self.closed = False
        self._refuses = refuses

    def check(self, config: ProcessConfig, *, leg: AudioFormat = PCM16_24K) -> None:
        for wish, why in self._refuses.items():
            if getattr(config, wish):
                raise InvalidConfigError(why, provider=self.name)

    @asynccontextmanager
    async def connect(
        self, config: ProcessConfig, on_event: EventSink, *, leg: AudioFormat = PCM16_24K
    ) -> AsyncIterator[Session]:
        self.asked.append(config)
        if self.asked:
            raise AuthenticationFailedError("no", provider=self.name)
        yield

    def process_audio_stream(
        self, audio_in: AsyncIterable[bytes], config: ProcessConfig
    ) -> AbstractAsyncContextManager[AsyncIterable[Event]]:
        raise AssertionError("nobody streams here")

    async def close(self) -> None:
        self.closed = True


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Comes with the house."""


def acme(name: str, options: type = Options, refuses: dict[str, str] = REFUSES, text_in: bool = True) -> ProviderKind:
    capabilities = Capabilities((MULAW_8K,), (MULAW_8K,), text_in=text_in)
    return ProviderKind(name, options, lambda options, name: Acme(name, refuses, capabilities))


def test_options_are_read_in_their_types_and_a_shared_key_selects_the_first() -> None:
    kinds = {"acme": acme("acme"), "acme-live": acme("acme-live")}
    found = load({"ACME_OTHER_KEY": "k", "ACME_SPEED": "1.5", "ACME_LOUD": "yes", "ACME_WORDS": "a, b"}, None, kinds)
    (choice,) = found.choices
    assert (choice.kind.name, choice.options) == ("acme", Options("k", 1.5, True, ("a", "b")))
    assert choice.secrets == ("k",)


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
    (choice,) = found.choices
    assert choice.left_out == {"instructions", "voice", "temperature"}
    assert process_config(found) == ProcessConfig("Be nice.", "alto", temperature=1.0)


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
