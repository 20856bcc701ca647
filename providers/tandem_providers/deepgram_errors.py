"""What goes wrong, sorted. The vendor says it in an `Error` message, after which the session is over, or by a close."""

from __future__ import annotations

import re
from typing import Final

from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)

IDLE: Final = "CLIENT_MESSAGE_TIMEOUT"
_KINDS: Final[dict[str, type[ProviderError]]] = {
    "UNPARSABLE_CLIENT_MESSAGE": InvalidConfigError,
    "NON_SETTINGS_MESSAGE_BEFORE_SETTINGS": InvalidConfigError,
    "SETTINGS_ALREADY_APPLIED": InvalidConfigError,
    "INVALID_SETTINGS": InvalidConfigError,
    "USER_AUDIO_FORMAT": InvalidConfigError,
    "BINARY_MESSAGE_BEFORE_SETTINGS": InvalidConfigError,
    IDLE: SessionClosedError,
}
"""Codes whose remedy is known; a code that is not here says what it is about by one of the words below, or not."""
_QUOTA: Final = re.compile(r"exceeded your (current )?quota|insufficient (quota|credit|balance|funds)", re.IGNORECASE)
_WORDS: Final[tuple[tuple[re.Pattern[str], type[ProviderError]], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"PAYMENT|CREDIT|QUOTA|BALANCE|BILLING", RateLimitedError),
        (r"TOO_MANY|RATE_LIMIT|CONCURREN", RateLimitedError),
        (
            r"(INVALID|FAILED|MISSING)_AUTH|UNAUTHOR|FORBIDDEN|INSUFFICIENT_PERMISSIONS|API_?KEY",
            AuthenticationFailedError,
        ),
        (r"MODEL_NOT_(FOUND|AVAILABLE)|UNSUPPORTED|NOT_SUPPORTED", InvalidConfigError),
    )
)
_CLOSES: Final[dict[int, type[ProviderError]]] = {
    1003: InvalidConfigError,
    1007: InvalidConfigError,
    1008: InvalidConfigError,
    1009: InvalidConfigError,
    1011: ProviderUnavailableError,
    1012: ProviderUnavailableError,
    1013: ProviderUnavailableError,
}
_LONGEST_MESSAGE: Final = 500
_KEY: Final = re.compile(r"\b(?:[0-9a-f]{40}|eyJ[\w-]+\.[\w-]+\.[\w-]+)\b")
"""What keys and tokens of this vendor look like."""


def classify(code: str, description: str, *, provider: str, ready: bool) -> ProviderError:
    """The error of ours for an `Error` message."""
    # Behind a failure to think may be the account with whoever thinks; only the description says so.
    quota = RateLimitedError if _QUOTA.search(description) else None
    kind = _KINDS.get(code) or _by_word(code) or quota or ProviderUnavailableError
    if kind is SessionClosedError and not ready:
        kind = ConnectionFailedError
    error = kind(presentable(description) or code or "no reason given", provider=provider, code=code)
    return _exhausted(error, f"{code} {description}")


def classify_close(code: int, reason: str, *, provider: str, ready: bool) -> ProviderError:
    """What a close by the far end means that no `Error` has explained.

    A session that had worked says nothing against a new one by being told off: `SessionClosedError`.
    """
    kind = _by_word(reason.replace(" ", "_")) or _CLOSES.get(code, ConnectionFailedError)
    if code == 1000:
        # An unexplained goodbye: before the session stood, the connection never really came about.
        kind = SessionClosedError if ready else ConnectionFailedError
    elif kind is InvalidConfigError and ready:
        kind = SessionClosedError
    message = f"the provider closed the connection ({code})"
    if reason:
        message = f"{message}: {presentable(reason)}"
    return _exhausted(kind(message, provider=provider, status=code), reason)


def _by_word(text: str) -> type[ProviderError] | None:
    return next((kind for pattern, kind in _WORDS if pattern.search(text)), None)


def _exhausted(error: ProviderError, text: str) -> ProviderError:
    if isinstance(error, RateLimitedError):
        error.exhausted = _WORDS[0][0].search(text) is not None
    return error


def presentable(message: str) -> str:
    """A vendor's sentence, fit for a log: without keys, and not endless."""
    text = _KEY.sub("[key]", message)
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "..."
