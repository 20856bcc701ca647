"""What the ends of Gemini's sockets mean: the only way in which it tells of failures."""

from __future__ import annotations

import pytest

from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)
from tandem_providers.gemini_errors import RESUME_REFUSED, classify_close, presentable

QUOTA = "You exceeded your current quota, please check your plan and billing details."
NO_MODEL = "models/x is not found for API version v1beta, or is not supported for bidiGenerateContent."
ARGUMENT = "Request contains an invalid argument."
UNKNOWN = "Invalid JSON payload received. Unknown name \"x\" at 'setup'"
TOO_LONG = "The input token count (140000) exceeds the maximum"
UNSUPPORTED = "Operation is not implemented, or supported, or enabled."
DEADLINE = "Deadline expired before operation could complete."


@pytest.mark.parametrize(
    ("code", "reason", "before", "after", "word"),
    [
        (1007, "API key not valid. Please pass a valid API key.", AuthenticationFailedError, None, "api_key"),
        (1007, "API key expired. Please renew the API key.", AuthenticationFailedError, None, "api_key"),
        (1008, "Method doesn't allow unregistered callers", AuthenticationFailedError, None, "permission"),
        (1007, ARGUMENT, InvalidConfigError, SessionClosedError, "invalid_argument"),
        (1007, UNKNOWN, InvalidConfigError, SessionClosedError, "invalid_argument"),
        (1007, TOO_LONG, ProviderUnavailableError, SessionClosedError, "context"),
        (1008, NO_MODEL, InvalidConfigError, None, "model_not_found"),
        (1008, UNSUPPORTED, InvalidConfigError, SessionClosedError, "not_supported"),
        (1008, "The operation was aborted", ProviderUnavailableError, None, "aborted"),
        (1008, "", InvalidConfigError, SessionClosedError, ""),
        (1011, "Internal error encountered.", ProviderUnavailableError, None, "unavailable"),
        (1011, DEADLINE, ProviderUnavailableError, SessionClosedError, "session_expired"),
        (1011, QUOTA, RateLimitedError, None, "quota"),
        (1011, "Resource has been exhausted (e.g. check quota).", RateLimitedError, None, "rate_limit"),
        (1011, "", ProviderUnavailableError, None, ""),
        (1006, "", ConnectionFailedError, None, ""),
        (1001, "", ConnectionFailedError, None, ""),
        (1000, "", ConnectionFailedError, SessionClosedError, ""),
    ],
)  # fmt: skip
def test_closes(code: int, reason: str, before: type[Exception], after: type[Exception] | None, word: str) -> None:
    for ready, kind in ((False, before), (True, after or before)):
        error = classify_close(code, reason, provider="gemini", ready=ready, proven=ready)
        assert type(error) is kind
        assert (error.status, error.code, error.provider) == (code, word, "gemini")


@pytest.mark.parametrize(("code", "reason"), [(1007, ARGUMENT), (1008, UNSUPPORTED), (1008, "")])
def test_a_complaint_at_the_first_words_would_come_again(code: int, reason: str) -> None:
    assert isinstance(classify_close(code, reason, provider="g", ready=True), InvalidConfigError)


def test_an_empty_account_and_too_much_at_once_are_told_apart() -> None:
    assert getattr(classify_close(1011, QUOTA, provider="g", ready=True), "exhausted", None) is True
    busy = classify_close(1011, "RESOURCE_EXHAUSTED: try later", provider="g", ready=True)
    assert getattr(busy, "exhausted", None) is False


@pytest.mark.parametrize(("code", "reason"), [(1008, "Requested entity was not found."), (1007, ARGUMENT), (1008, "")])
def test_a_handle_that_is_not_taken_says_nothing_against_a_session_without_it(code: int, reason: str) -> None:
    error = classify_close(code, reason, provider="g", ready=False, resuming=True)
    assert isinstance(error, ProviderUnavailableError)
    assert error.code == RESUME_REFUSED
    fresh = classify_close(code, reason, provider="g", ready=False)
    assert isinstance(fresh, InvalidConfigError)


def test_a_bad_key_is_a_bad_key_also_when_resuming() -> None:
    error = classify_close(1007, "API key not valid.", provider="g", ready=False, resuming=True)
    assert isinstance(error, AuthenticationFailedError)


def test_no_secret_comes_out_of_a_reason() -> None:
    told = presentable("AIzaSy-planted_1 ya29.plan-ted auth_tokens/pl4nted url?key=planted&access_token=planted")
    assert "planted" not in told
    assert "pl" not in told.replace("[key]", "")
    assert len(presentable("x" * 2000)) < 600
