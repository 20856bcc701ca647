"""Failures of a Deepgram session, sorted by remedy."""

from __future__ import annotations

import pytest
from agent_play import deepgram, raw, told

from tandem_providers.deepgram_errors import classify, classify_close, presentable
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)
from tandem_providers.events import SessionClosed


@pytest.mark.parametrize(
    ("code", "ready", "kind"),
    [
        ("UNPARSABLE_CLIENT_MESSAGE", True, InvalidConfigError),
        ("INVALID_SETTINGS", False, InvalidConfigError),
        ("NON_SETTINGS_MESSAGE_BEFORE_SETTINGS", False, InvalidConfigError),
        ("USER_AUDIO_FORMAT", True, InvalidConfigError),
        ("CLIENT_MESSAGE_TIMEOUT", True, SessionClosedError),
        ("CLIENT_MESSAGE_TIMEOUT", False, ConnectionFailedError),
        ("INVALID_AUTH", False, AuthenticationFailedError),
        ("INSUFFICIENT_PERMISSIONS", False, AuthenticationFailedError),
        ("INSUFFICIENT_CREDITS", False, RateLimitedError),
        ("ASR_PAYMENT_REQUIRED", True, RateLimitedError),
        ("TOO_MANY_REQUESTS", True, RateLimitedError),
        ("INTERNAL_SERVER_ERROR", True, ProviderUnavailableError),
        ("FAILED_TO_SPEAK", True, ProviderUnavailableError),
        ("ASR_CONNECTION_CLOSED", True, ProviderUnavailableError),
        ("", True, ProviderUnavailableError),
    ],
)
def test_errors_by_their_code(code: str, ready: bool, kind: type[ProviderError]) -> None:
    error = classify(code, "It did not work.", provider="d", ready=ready)
    assert type(error) is kind
    assert (error.provider, error.code, error.message) == ("d", code, "It did not work.")
    if isinstance(error, RateLimitedError):
        assert error.exhausted == (code != "TOO_MANY_REQUESTS")


def test_a_quota_of_whoever_thinks_is_told_in_the_description() -> None:
    error = classify("FAILED_TO_THINK", "You exceeded your current quota.", provider="d", ready=True)
    assert isinstance(error, RateLimitedError)
    assert error.exhausted


@pytest.mark.parametrize(
    ("code", "reason", "ready", "kind"),
    [
        (1000, "", True, SessionClosedError),
        (1000, "", False, ConnectionFailedError),
        (1001, "", True, ConnectionFailedError),
        (1006, "", True, ConnectionFailedError),
        (1008, "", False, InvalidConfigError),
        (1008, "", True, SessionClosedError),
        (1011, "", True, ProviderUnavailableError),
        (1013, "", False, ProviderUnavailableError),
        (1008, "Too many requests", True, RateLimitedError),
        (4999, "", True, ConnectionFailedError),
    ],
)
def test_closes(code: int, reason: str, ready: bool, kind: type[ProviderError]) -> None:
    error = classify_close(code, reason, provider="d", ready=ready)
    assert type(error) is kind
    assert error.status == code


def test_an_error_ends_the_session_and_explains_the_close_after_it() -> None:
    play, _ = deepgram()
    play >> told("Error", code="INTERNAL_SERVER_ERROR", description="Sorry.")
    (closed,) = play.take()
    assert isinstance(closed, SessionClosed)
    assert isinstance(closed.error, ProviderUnavailableError)
    assert play.protocol.closed(1011, "whatever") is closed.error
    (play >> told("AgentAudioDone")).silence()


def test_an_error_in_the_words_of_older_servers_and_a_broken_one() -> None:
    for message in (raw(type="Error", message="Sorry."), raw(type="Error", code=[5], description="Sorry.")):
        play, _ = deepgram()
        play >> message
        (closed,) = play.take()
        assert closed.error.message == "Sorry."


def test_an_error_before_it_is_ready() -> None:
    play, _ = deepgram(ready=False)
    (closed,) = play.protocol.receive(told("Error", code="INVALID_SETTINGS", description="No such model."))
    assert isinstance(closed, SessionClosed)
    assert isinstance(closed.error, InvalidConfigError)


def test_keys_never_show() -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    assert presentable(f"bad key {key}") == "bad key [key]"
    assert presentable("token eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl!") == "token [key]!"
    assert len(presentable("x" * 10_000)) < 600
