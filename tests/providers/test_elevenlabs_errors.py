"""Failures of a conversation with an ElevenLabs agent, sorted by remedy; and the close that is none."""

from __future__ import annotations

import pytest
from agent_play import elevenlabs, event, raw

from tandem_providers.elevenlabs_errors import classify, classify_close, presentable
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)
from tandem_providers.events import ProviderWarning, SessionClosed


@pytest.mark.parametrize(
    ("code", "reason", "ready", "kind"),
    [
        (1000, "", True, None),
        (1000, "Conversation ended: max duration reached", True, None),
        (1000, "", False, ConnectionFailedError),
        (1000, "This request exceeds your quota limit.", True, RateLimitedError),
        (1001, "", True, ConnectionFailedError),
        (1006, "", True, ConnectionFailedError),
        (1002, "This request exceeds your quota limit.", True, RateLimitedError),
        (1002, "", True, ProviderUnavailableError),
        (1008, "Override for field 'prompt' is not allowed by config.", False, InvalidConfigError),
        (1008, "", False, InvalidConfigError),
        (1008, "", True, SessionClosedError),
        (1008, "Conversation exceeded its maximum duration.", True, SessionClosedError),
        (1008, "Session timed out", False, ConnectionFailedError),
        (1008, "Too many concurrent requests", False, RateLimitedError),
        (1011, "", True, ProviderUnavailableError),
        (1011, "Internal error", True, ProviderUnavailableError),
        (3000, "", False, AuthenticationFailedError),
        (3000, "Could not authorize the conversation.", False, AuthenticationFailedError),
        (3000, "The AI agent you are trying to reach does not exist.", False, InvalidConfigError),
        (4999, "", True, ConnectionFailedError),
    ],
)
def test_closes(code: int, reason: str, ready: bool, kind: type[ProviderError] | None) -> None:
    error = classify_close(code, reason, provider="e", ready=ready)
    assert type(error) is (kind or type(None))
    if error is not None:
        assert (error.provider, error.status) == ("e", code)
    if isinstance(error, RateLimitedError):
        assert error.exhausted == ("quota" in reason)


def test_a_refused_override_says_where_to_allow_it() -> None:
    error = classify_close(1008, "Override for field 'prompt' is not allowed by config.", provider="e", ready=False)
    assert error is not None
    assert "security settings" in error.message
    assert error.code == "override_not_allowed"


@pytest.mark.parametrize(
    "message",
    [
        raw(type="error", message="received 1002 (protocol error) This request exceeds your quota limit."),
        event("error", error_type="quota", message="This request exceeds your quota limit."),
        event("error", code=1002, reason="Your subscription has no credits left."),
    ],
)
def test_what_is_said_before_the_close_explains_it(message: bytes) -> None:
    play, _ = elevenlabs()
    play >> message
    (closed,) = play.take()
    assert isinstance(closed, SessionClosed)
    assert isinstance(closed.error, RateLimitedError)
    assert closed.error.exhausted
    assert play.protocol.closed(1000, "") is closed.error
    (play >> event("ping", event_id=1)).silence()


def test_what_explains_nothing_is_only_told() -> None:
    assert classify("something odd", provider="e") is None
    play, _ = elevenlabs()
    play >> raw(type="error", message="something odd") << ProviderWarning("error", "something odd")


def test_keys_never_show() -> None:
    assert presentable("bad key sk_0123456789abcdef0123") == "bad key [key]"
    assert presentable("wss://x?conversation_signature=abc&y=1") == "wss://x?conversation_signature=[key]&y=1"
    assert len(presentable("x" * 10_000)) < 600
