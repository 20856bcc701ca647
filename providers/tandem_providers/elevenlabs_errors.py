"""What goes wrong, sorted. The vendor says little of it: a close with code and sentence, perhaps an `error` before."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)

_REASONS: Final[tuple[tuple[re.Pattern[str], type[ProviderError], str], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind, code)
    for pattern, kind, code in (
        (r"quota|credit|subscription|payment|billing", RateLimitedError, "quota"),
        (r"concurren|too many|rate.?limit", RateLimitedError, "rate_limit"),
        (r"override|not allowed by config", InvalidConfigError, "override_not_allowed"),
        (r"agent\b.*(does not exist|not found|no such)|no agent", InvalidConfigError, "agent_not_found"),
        (
            r"api.?key|unauthori|authori[sz]|authentic|signed.?url|signature|permission",
            AuthenticationFailedError,
            "auth",
        ),
        (r"(max\w*|conversation|session) .*(duration|length|time)|inactiv|timed? ?out", SessionClosedError, "expired"),
        (r"invalid|malformed|missing|required|unsupported|not supported", InvalidConfigError, "invalid_request"),
        (r"overload|unavailable|internal|try again", ProviderUnavailableError, "unavailable"),
    )
)
"""Words that tell what is the matter, whatever the code; the first one found counts."""
_CODES: Final[dict[int, type[ProviderError]]] = {
    1002: ProviderUnavailableError,
    1003: InvalidConfigError,
    1007: InvalidConfigError,
    1008: InvalidConfigError,
    1009: InvalidConfigError,
    1011: ProviderUnavailableError,
    1012: ProviderUnavailableError,
    1013: ProviderUnavailableError,
    3000: AuthenticationFailedError,
}
_ENDS: Final = frozenset({"expired", "unavailable", "invalid_request", ""})
"""What may be meant by a reason that comes with an ordinary goodbye, and makes it no failure."""
_LONGEST_MESSAGE: Final = 500
_KEY: Final = re.compile(r"\bsk_[0-9a-f]{16,}\b|(token|signature|conversation_signature)=[^&\s]+")


def classify_close(code: int, reason: str, *, provider: str, ready: bool) -> ProviderError | None:
    """What a close by the far end means; None: the agent has ended the conversation.

    A session that had worked and is then told off says nothing against a new one: `SessionClosedError`.
    """
    kind, word = sort(reason)
    if code == 1000 and ready and word in _ENDS:
        return None
    if kind is None:
        kind = _CODES.get(code, ConnectionFailedError)
    if kind is SessionClosedError and not ready:
        kind = ConnectionFailedError
    elif kind is InvalidConfigError and ready:
        kind = SessionClosedError
    message = f"the provider closed the connection ({code})"
    if reason:
        message = f"{message}: {presentable(reason)}"
    if word == "override_not_allowed" or (code == 1008 and not ready and not word):
        message += "; what replaces the agent's own has to be allowed in its security settings"
    return _exhausted(kind(message, provider=provider, code=word, status=code))


def classify(message: str, *, provider: str) -> ProviderError | None:
    """The error of ours for an `error` message that says what is the matter; None for one that does not."""
    kind, word = sort(message)
    if kind not in (RateLimitedError, AuthenticationFailedError):
        return None
    return _exhausted(kind(presentable(message), provider=provider, code=word))


def is_failure(output: str) -> bool:
    """Whether an answer tells of a failure, as the runner of functions writes one."""
    try:
        value = msgspec.json.decode(output)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "error" in value


def sort(text: str) -> tuple[type[ProviderError] | None, str]:
    """The kind of failure that a sentence is about, and a word for it."""
    found = ((kind, word) for pattern, kind, word in _REASONS if pattern.search(text))
    return next(found, (None, ""))


def _exhausted(error: ProviderError) -> ProviderError:
    if isinstance(error, RateLimitedError):
        error.exhausted = error.code == "quota"
    return error


def presentable(message: str) -> str:
    """A vendor's sentence, fit for a log: without keys, and not endless."""
    text = _KEY.sub(lambda found: f"{found[1]}=[key]" if found[1] else "[key]", message)
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "..."
