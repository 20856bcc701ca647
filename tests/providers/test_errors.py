"""Failures say who, what and the vendor's own word, and are sorted by remedy."""

from __future__ import annotations

import pytest

from tandem_providers import errors
from tandem_providers.errors import ProviderError, RateLimitedError

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ProviderError)]


@pytest.mark.parametrize("kind", ALL)
def test_each_carries_what_is_known_and_prints_it(kind: type[ProviderError]) -> None:
    bare = kind("it broke")
    assert str(bare) == "it broke"
    assert (bare.provider, bare.code, bare.status, bare.retry_after, bare.attempts) == ("", "", None, None, ())
    full = kind("it broke", provider="openai@backup", code="server_error", status=1011, retry_after=2.5)
    assert str(full) == "openai@backup: it broke [server_error]"
    assert (full.message, full.status, full.retry_after) == ("it broke", 1011, 2.5)


def test_only_what_passes_by_itself_is_worth_a_second_try() -> None:
    assert {kind.__name__ for kind in ALL if kind.retryable} == {"ConnectionFailedError", "ProviderUnavailableError"}


def test_an_empty_account_is_told_from_a_busy_one() -> None:
    busy, empty = RateLimitedError("slow down"), RateLimitedError("no credit")
    empty.exhausted = True
    assert (busy.exhausted, RateLimitedError.exhausted) == (False, False)


def test_the_drawing_of_the_tree_has_all_of_them() -> None:
    assert errors.__doc__ is not None
    assert not [kind.__name__ for kind in ALL if kind.__name__ not in errors.__doc__]
