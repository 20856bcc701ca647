"""Azure OpenAI: another address and another key, and for the rest what OpenAI's protocol is."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Events
from openai_play import Play, client

from tandem.simulators.azure import AzureSimulator
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K
from tandem_providers.azure import AzureOptions
from tandem_providers.commands import Purpose, Say
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import AuthenticationFailedError, InvalidConfigError, ProviderError
from tandem_providers.events import SessionReady, TurnEnded
from tandem_providers.openai import OpenAIProtocol, capabilities
from tandem_providers.options import option_infos
from tandem_providers.provider import Dial, HistoryTurn, Opening
from tandem_providers.table import AzureRealtime

GIVEN: dict[str, Any] = {"endpoint": "https://res.openai.azure.com", "deployment": "phone 1", "api_key": "k"}
URL = "wss://res.openai.azure.com/openai/v1/realtime?model=phone+1"


def dialled(**options: Any) -> Dial:
    return OpenAIProtocol(AzureOptions(**{**GIVEN, **options}), ProcessConfig(), MULAW_8K, "azure@eu").dial()


def refusal(**options: Any) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        dialled(**options)
    assert refused.value.provider == "azure@eu"
    return refused.value.message


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://res.openai.azure.com", URL),
        ("https://res.openai.azure.com/", URL),
        ("https://res.openai.azure.com/openai/v1/", URL),
        ("wss://res.openai.azure.com/openai/v1/realtime", URL),
        ("http://127.0.0.1:9", "ws://127.0.0.1:9/openai/v1/realtime?model=phone+1"),
        ("ws://[::1]:9/openai", "ws://[::1]:9/openai/v1/realtime?model=phone+1"),
        ("https://h?model=other", "wss://h/openai/v1/realtime?model=other"),
    ],
)
def test_an_address_may_be_given_as_any_console_shows_it(endpoint: str, url: str) -> None:
    assert dialled(endpoint=endpoint).url == url


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"endpoint": ""}, "AZURE_OPENAI_ENDPOINT"),
        ({"endpoint": "res.openai.azure.com"}, "AZURE_OPENAI_ENDPOINT"),
        ({"endpoint": "https://me:pw@h"}, "AZURE_OPENAI_API_KEY"),
        ({"endpoint": "https://h/openai/realtime?api-version=2025-04-01-preview"}, "api-version"),
        ({"endpoint": "https://h/openai/deployments/x"}, "give https://h"),
        ({"deployment": " "}, "AZURE_OPENAI_DEPLOYMENT"),
        ({"api_key": ""}, "AZURE_OPENAI_AD_TOKEN"),
        ({"speed": "9"}, "AZURE_OPENAI_SPEED"),
        ({"turn_detection": "loud"}, "AZURE_OPENAI_TURN_DETECTION"),
        ({"api_key": "k\n\x00"}, "api-key"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, str], named: str) -> None:
    message = refusal(**options)
    assert named in message
    assert "pw" not in message


def test_a_key_or_else_a_token() -> None:
    assert dict(dialled().headers) == {"api-key": "k"}
    assert dict(dialled(ad_token="t").headers) == {"api-key": "k"}
    assert dict(dialled(api_key="", ad_token="t").headers) == {"Authorization": "Bearer t"}
    assert {name for name, info in option_infos(AzureOptions).items() if info.secret} == {"api_key", "ad_token"}
    assert "k1" not in repr(AzureOptions("e", "d", api_key="k1", ad_token="k1"))


def test_a_session_is_asked_for_as_openai_is_asked() -> None:
    config = ProcessConfig(instructions="Be kind.", functions=[FunctionDeclaration("f")])
    options: dict[str, Any] = {"voice": "cedar", "speed": "1.1", "reasoning_effort": "low", "max_output_tokens": "99"}
    azure = Play(config, kind=AzureOptions, **GIVEN, **options)
    openai = Play(config, **options)
    assert azure.session == openai.session
    session = capabilities(AzureOptions(**GIVEN), "azure")
    assert session.input_formats == session.output_formats == (MULAW_8K, ALAW_8K, PCM16_24K)
    assert session == capabilities(openai_options(), "openai")


def openai_options() -> Any:
    from tandem_providers.openai_options import OpenAIOptions  # only to be held beside it

    return OpenAIOptions(api_key="k")


def test_a_conversation_goes_on_with_its_memory() -> None:
    play = Play(ready=False, kind=AzureOptions, opening=Opening((HistoryTurn("user", "I am Ada."),)), **GIVEN)
    (update,) = map(client, play.protocol.outgoing())
    play.protocol.receive(b'{"type":"session.updated","session":{}}')
    (item,) = map(client, play.protocol.outgoing())
    assert update["type"] == "session.update"
    assert item["item"]["content"] == [{"type": "input_text", "text": "I am Ada."}]


# With the simulated resource


async def failure(simulator: AzureSimulator, **options: Any) -> ProviderError:
    given = {"endpoint": simulator.endpoint, "deployment": "phone", "api_key": "right", **options}
    provider = AzureRealtime(**given)
    with pytest.raises(ProviderError) as failed:
        async with provider.connect(ProcessConfig(), Events(), leg=MULAW_8K):
            pytest.fail("it was let in")
    return failed.value


async def test_who_is_let_in() -> None:
    async with AzureSimulator(key="right", deployment="phone") as simulator:
        wrong_key = await failure(simulator, api_key="wrong")
        wrong_name = await failure(simulator, deployment="fax")
        events = Events()
        provider = AzureRealtime(endpoint=simulator.endpoint, deployment="phone", ad_token="right")
        async with provider.connect(ProcessConfig(), events, leg=MULAW_8K) as session:
            session.send(Say(Purpose.GREETING, "Good day."))
            await events.until(TurnEnded)
        session_3 = await simulator.session(3)
    assert (type(wrong_key), wrong_key.status) == (AuthenticationFailedError, 401)
    assert (type(wrong_name), wrong_name.status) == (InvalidConfigError, 404)
    assert session_3.query == {"model": "phone"}
    assert session_3.headers["authorization"] == "Bearer right"
    assert "api-key" not in session_3.headers
    assert events.of(SessionReady)[0].input_format == MULAW_8K


@pytest.mark.parametrize("status", [429, 503])
async def test_capacity_errors_of_a_region_are_others_chance(status: int) -> None:
    async with AzureSimulator(faults=[f"refuse={status}", "retry-after=1"]) as simulator:
        error = await failure(simulator)
    assert error.status == status
    assert error.retry_after == 1
