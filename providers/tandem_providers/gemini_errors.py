"""What goes wrong, sorted. This wire has no error messages: every failure is a close, told by its code and reason."""

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

RESUME_REFUSED: Final = "resume_refused"
"""Code of the error when the handle of an earlier session was not accepted: a session without it may do."""

_REASONS: Final[tuple[tuple[re.Pattern[str], type[ProviderError], str], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind, code)
    for pattern, kind, code in (
        (r"exceeded your current quota|billing", RateLimitedError, "quota"),
        (r"RESOURCE.?EXHAUSTED|resource has been exhausted|quota|rate limit|too many", RateLimitedError, "rate_limit"),
        (r"API.?key|API_KEY_INVALID|unauthenticated|invalid authentication", AuthenticationFailedError, "api_key"),
        (r"permission.?denied|unregistered callers|denied access|forbidden", AuthenticationFailedError, "permission"),
        (r"deadline expired|session (duration|has expired)|maximum duration", SessionClosedError, "session_expired"),
        (r"token count|context (window|length)|exceeds the maximum number of tokens", SessionClosedError, "context"),
        (r"operation was aborted|operation was cancelled", ProviderUnavailableError, "aborted"),
        (r"is not found for API version|not supported for bidi", InvalidConfigError, "model_not_found"),
        (r"not implemented, or supported, or enabled", InvalidConfigError, "not_supported"),
        (r"requested entity was not found|session not found|resumption", InvalidConfigError, "not_found"),
        (r"unknown name|invalid argument|invalid JSON", InvalidConfigError, "invalid_argument"),
        (r"internal error|unavailable|overloaded|try again", ProviderUnavailableError, "unavailable"),
    )
)
"""Words that tell what is the matter, whatever the code; the first one found counts."""
_CODES: Final[dict[int, type[ProviderError]]] = {
    1007: InvalidConfigError,
    1008: InvalidConfigError,
    1011: ProviderUnavailableError,
    1012: ProviderUnavailableError,
    1013: ProviderUnavailableError,
}
_OF_THE_REQUEST: Final = frozenset({"not_supported", "not_found", "invalid_argument", ""})
"""Complaints about what was sent last. After a session has worked for a while they come without any fault of ours."""
_LONGEST_REASON: Final = 500
_SECRET: Final = re.compile(r"AIza[\w-]+|auth_tokens/[\w-]+|ya29\.[\w.-]+|((?:access_)?(?:key|token)=)[^&\s]+")


def classify_close(
    code: int, reason: str, *, provider: str, ready: bool, proven: bool = False, resuming: bool = False
) -> ProviderError:
    """What a close by the far end means.

    A session that has worked for a while (`proven`) and is then told that its request was wrong, as happens around
    function calls, is over but says nothing against a new one: `SessionClosedError`. One that is told so at once would
    be told so again.
    """
    kind, word = next(((kind, word) for pattern, kind, word in _REASONS if pattern.search(reason)), (None, ""))
    if kind is None:
        kind = _CODES.get(code, ConnectionFailedError)
    if code == 1000:
        # An unexplained goodbye: before the session stood, the connection never really came about.
        kind = SessionClosedError if ready else ConnectionFailedError
    elif kind is SessionClosedError and not ready:
        kind = ProviderUnavailableError
    elif kind is InvalidConfigError and word in _OF_THE_REQUEST:
        if proven:
            kind = SessionClosedError
        elif resuming:
            kind, word = ProviderUnavailableError, RESUME_REFUSED
    message = f"the provider closed the connection ({code})"
    if reason:
        message = f"{message}: {presentable(reason)}"
    error = kind(message, provider=provider, code=word, status=code)
    if isinstance(error, RateLimitedError):
        error.exhausted = word == "quota"
    return error


def presentable(message: str) -> str:
    """A vendor's sentence, fit for a log: without keys, and not endless."""
    text = _SECRET.sub(lambda found: f"{found[1] or ''}[key]", message)
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "..."
