"""The vendor's words for failures, sorted into ours."""

from __future__ import annotations

import pytest

from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)
from tandem_providers.openai_errors import classify, classify_close, is_fatal, presentable


@pytest.mark.parametrize(
    ("code", "type_", "status", "kind", "word"),
    [
        ("invalid_api_key", "invalid_request_error", 401, AuthenticationFailedError, "invalid_api_key"),
        ("", "invalid_api_key", None, AuthenticationFailedError, "invalid_api_key"),
        ("unheard_of", "insufficient_quota", 429, RateLimitedError, "insufficient_quota"),
        ("rate_limit_exceeded", "insufficient_quota", 429, RateLimitedError, "insufficient_quota"),
        ("rate_limit_exceeded", "tokens", 429, RateLimitedError, "rate_limit_exceeded"),
        ("", "requests", 429, RateLimitedError, "requests"),
        ("", "", 402, RateLimitedError, ""),
        ("", "invalid_request_error", 401, AuthenticationFailedError, "invalid_request_error"),
        ("", "", 403, AuthenticationFailedError, ""),
        ("", "invalid_request_error", 404, InvalidConfigError, "invalid_request_error"),
        ("model_not_found", "", 403, InvalidConfigError, "model_not_found"),
        ("", "invalid_request_error", None, InvalidConfigError, "invalid_request_error"),
        ("server_error", "", None, ProviderUnavailableError, "server_error"),
        ("", "server_error", 500, ProviderUnavailableError, "server_error"),
        ("session_expired", "invalid_request_error", None, SessionClosedError, "session_expired"),
        ("what", "ever", None, ProviderUnavailableError, "what"),
        ("", "", None, ProviderUnavailableError, ""),
    ],
)
def test_by_word_then_by_status(
    code: str, type_: str, status: int | None, kind: type[ProviderError], word: str
) -> None:
    error = classify(code, type_, "Sorry.", provider="openai", status=status)
    assert type(error) is kind
    assert (error.code, error.status, error.provider, error.message) == (word, status, "openai", "Sorry.")
    if isinstance(error, RateLimitedError):
        assert error.exhausted is (word == "insufficient_quota" or status == 402)


def test_unknown_words_are_what_the_caller_says() -> None:
    assert type(classify("odd", otherwise=InvalidConfigError)) is InvalidConfigError
    assert classify("odd").message == "odd"
    assert classify("").message == "no reason given"


def test_what_ends_a_session() -> None:
    assert is_fatal("session_expired")
    assert is_fatal("odd", "account_deactivated")
    assert not is_fatal("rate_limit_exceeded", "tokens")
    assert not is_fatal("", "invalid_request_error")


def test_closes() -> None:
    assert type(classify_close(1000, "", provider="p", ready=True)) is SessionClosedError
    assert type(classify_close(1000, "", provider="p", ready=False)) is ConnectionFailedError
    error = classify_close(4000, "invalid_request_error.invalid_intent", provider="p", ready=False)
    assert (type(error), error.code, error.status, error.provider) == (InvalidConfigError, "invalid_intent", 4000, "p")
    error = classify_close(4000, "invalid_request_error.something_new", provider="p", ready=False)
    assert (type(error), error.code) == (InvalidConfigError, "something_new")
    assert type(classify_close(4999, "who knows", provider="p", ready=True)) is ConnectionFailedError


def test_keys_do_not_get_into_messages() -> None:
    said = "Incorrect API key provided: sk-proj-abc_DEF*****xyz. Find yours."
    assert "abc" not in presentable(said)
    assert "ek_12" not in presentable("secret ek_12345")
    assert len(presentable("x" * 10_000)) < 600
    assert presentable("task-force and risk_free") == "task-force and risk_free"
