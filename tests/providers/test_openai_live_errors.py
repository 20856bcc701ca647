"""OpenAI Live's words for failures, sorted."""

from __future__ import annotations

import pytest

from tandem_providers.errors import InvalidConfigError, ProviderError, ProviderUnavailableError, SessionClosedError
from tandem_providers.openai_live_errors import classify, classify_end, is_fatal


@pytest.mark.parametrize(
    ("code", "type_", "fatal"),
    [
        ("forbidden", "", True),
        ("response_input_buffer_full", "invalid_request_error", True),
        ("", "insufficient_quota", True),
        ("unknown_parameter", "invalid_request_error", False),
        ("", "", False),
    ],
)
def test_what_ends_a_session(code: str, type_: str, fatal: bool) -> None:
    assert is_fatal(code, type_) is fatal


@pytest.mark.parametrize(("ready", "kind"), [(False, InvalidConfigError), (True, ProviderUnavailableError)])
def test_an_unknown_word_before_the_session_is_about_the_request(ready: bool, kind: type[ProviderError]) -> None:
    assert type(classify("brand_new", "unheard_of", "Hm.", provider="p", ready=ready)) is kind


def test_keys_are_not_repeated() -> None:
    error = classify("forbidden", "", "Key sk-planted123 may not do this.", provider="p", ready=True)
    assert "planted" not in str(error)
    assert error.provider == "p"


def test_endings() -> None:
    assert classify_end("close_requested", provider="p", asked=True) is None
    error = classify_end("something_new", provider="p", asked=True)
    assert isinstance(error, SessionClosedError)
    assert error.code == "something_new"
