"""Signed addresses for agents that are not public."""

from __future__ import annotations

import asyncio
import http.client

import pytest
from fakes import Events

from tandem.simulators.elevenlabs import ElevenLabsSimulator
from tandem_providers.config import ProcessConfig
from tandem_providers.elevenlabs_auth import SignedUrls
from tandem_providers.elevenlabs_options import ElevenLabsOptions
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tandem_providers.provider import Dial
from tandem_providers.table import ElevenLabsAgent

OPTIONS = ElevenLabsOptions(agent_id="agent", api_key="sk_test", auth="signed-url")


async def test_a_session_is_opened_at_the_address_that_was_signed_for_it() -> None:
    async with ElevenLabsSimulator(key="sk_test") as simulator:
        provider = ElevenLabsAgent(agent_id="agent", api_key="sk_test", auth="signed-url", url=simulator.url)
        async with provider.connect(ProcessConfig(), Events()), provider.connect(ProcessConfig(), Events()):
            pass
        sessions = simulator.sessions
    assert [session.query["agent_id"] for session in sessions] == ["agent", "agent"]
    assert {session.query["conversation_signature"] for session in sessions} == simulator.signatures
    assert not any("xi-api-key" in session.headers for session in sessions)


async def test_a_wrong_key_gets_none() -> None:
    async with ElevenLabsSimulator(key="sk_test") as simulator:
        provider = ElevenLabsAgent(agent_id="agent", api_key="sk_wrong", auth="signed-url", url=simulator.url)
        with pytest.raises(AuthenticationFailedError) as caught:
            async with provider.connect(ProcessConfig(), Events()):
                pytest.fail("it was let in")
    assert caught.value.provider == "elevenlabs"
    assert caught.value.status == 401


async def test_nobody_there() -> None:
    provider = ElevenLabsAgent(
        agent_id="agent", api_key="k", auth="signed-url", url="ws://127.0.0.1:1/v1/convai/conversation"
    )
    with pytest.raises(ConnectionFailedError):
        async with provider.connect(ProcessConfig(), Events()):
            pytest.fail("to whom?")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidConfigError),
        (402, RateLimitedError),
        (403, AuthenticationFailedError),
        (404, InvalidConfigError),
        (429, RateLimitedError),
        (500, ProviderUnavailableError),
    ],
)
async def test_refusals_are_sorted(status: int, kind: type[ProviderError]) -> None:
    with pytest.raises(kind) as caught:
        await SignedUrls(OPTIONS, "e", lambda address, key: (status, b"secret"))(Dial("wss://x"))
    assert caught.value.status == status
    assert "secret" not in str(caught.value)
    if isinstance(caught.value, RateLimitedError):
        assert caught.value.exhausted == (status == 402)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"signed_url": 5}', b'{"signed_url": "https://x"}', b"[" * 100_000]
)
async def test_an_answer_without_an_address(body: bytes) -> None:
    with pytest.raises(ProviderUnavailableError):
        await SignedUrls(OPTIONS, "e", lambda address, key: (200, body))(Dial("wss://x"))


async def test_what_is_asked_and_what_is_kept() -> None:
    asked: list[tuple[str, str]] = []

    def fetch(address: str, key: str) -> tuple[int, bytes]:
        asked.append((address, key))
        return 200, b'{"signed_url": "wss://signed"}'

    dial = await SignedUrls(OPTIONS, "e", fetch)(Dial("wss://plain", {"a": "b"}))
    assert dial == Dial("wss://signed", {"a": "b"})
    assert asked == [("https://api.elevenlabs.io/v1/convai/conversation/get-signed-url?agent_id=agent", "sk_test")]


async def test_a_broken_answer_and_a_wait_that_is_given_up() -> None:
    def broken(address: str, key: str) -> tuple[int, bytes]:
        raise http.client.BadStatusLine("")

    with pytest.raises(ConnectionFailedError):
        await SignedUrls(OPTIONS, "e", broken)(Dial("wss://x"))
    asking = asyncio.get_running_loop().create_task(
        SignedUrls(OPTIONS, "e", lambda a, k: (200, b"{}"))(Dial("wss://x"))
    )
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
