"""What the words in an OpenAI error mean: one table for error events, failed responses, closes and handshake bodies.

The vendor puts the telling word into `code` or into `type`, so both are looked up, the code first.
"""

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

EXPIRED: Final = "session_expired"
ACTIVE_RESPONSE: Final = "conversation_already_has_active_response"
NOTHING_TO_CANCEL: Final = "response_cancel_not_active"

UNRELATED: Final = frozenset(
    {
        NOTHING_TO_CANCEL,
        "input_audio_buffer_commit_empty",
        "unsupported_content_type",
        "item_create_duplicate_item_id",
        "item_retrieve_invalid_item_id",
        "item_delete_invalid_item_id",
        "item_truncate_invalid_item_id",
    }
)
"""Harmless errors that never concern a request for a response, even when they do not say what they are about."""
_QUOTA: Final = frozenset(
    {"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "billing_not_active"}
)
_KINDS: Final[dict[str, type[ProviderError]]] = {
    **dict.fromkeys(_QUOTA, RateLimitedError),
    "invalid_api_key": AuthenticationFailedError,
    "account_deactivated": AuthenticationFailedError,
    "authentication_error": AuthenticationFailedError,
    "permission_error": AuthenticationFailedError,
    "insufficient_permissions": AuthenticationFailedError,
    "unsupported_country_region_territory": AuthenticationFailedError,
    "rate_limit_exceeded": RateLimitedError,
    "rate_limit_error": RateLimitedError,
    "inference_rate_limit_exceeded": RateLimitedError,
    "too_many_requests": RateLimitedError,
    "session_limit_reached": RateLimitedError,
    "model_not_found": InvalidConfigError,
    "beta_api_shape_disabled": InvalidConfigError,
    "invalid_intent": InvalidConfigError,
    "internal_error": ProviderUnavailableError,
    "service_unavailable": ProviderUnavailableError,
    "engine_overloaded": ProviderUnavailableError,
    EXPIRED: SessionClosedError,
}
"""Words that tell what is the matter, wherever they stand."""
_BROAD: Final[dict[str, type[ProviderError]]] = {
    "invalid_request_error": InvalidConfigError,
    "server_error": ProviderUnavailableError,
}
"""Types that only tell whose fault it is."""
_FATAL: Final = _QUOTA | {
    "invalid_api_key",
    "account_deactivated",
    "authentication_error",
    "model_not_found",
    "beta_api_shape_disabled",
    "invalid_intent",
    EXPIRED,
}
_CLOSES: Final[dict[int, type[ProviderError]]] = {
    3000: AuthenticationFailedError,
    4000: InvalidConfigError,
    1008: ProviderUnavailableError,
    1011: ProviderUnavailableError,
    1012: ProviderUnavailableError,
    1013: ProviderUnavailableError,
}
_STATUSES: Final[dict[int, type[ProviderError]]] = {
    400: InvalidConfigError,
    401: AuthenticationFailedError,
    402: RateLimitedError,
    403: AuthenticationFailedError,
    404: InvalidConfigError,
    422: InvalidConfigError,
    429: RateLimitedError,
}
_LONGEST_MESSAGE: Final = 500
_KEY = re.compile(r"\b(?:sk|ek)[-_][\w*.-]+")


def is_fatal(code: str, type_: str = "") -> bool:
    """Whether the session is of no more use after this, although the socket may still be open."""
    return code in _FATAL or type_ in _FATAL


def is_nothing_to_cancel(code: str, type_: str, message: str) -> bool:
    """The answer to a cancel that came too late; not everybody has a word for it."""
    return NOTHING_TO_CANCEL in (code, type_) or message.startswith("Cancellation failed")


def classify(
    code: str,
    type_: str = "",
    message: str = "",
    *,
    provider: str = "",
    status: int | None = None,
    otherwise: type[ProviderError] = ProviderUnavailableError,
) -> ProviderError:
    """The error of ours for one of theirs, by its most telling word, else by HTTP `status`, else `otherwise`."""
    told = sorted((word for word in (code, type_) if word in _KINDS), key=lambda word: word not in _FATAL)
    if told:
        kind = _KINDS[told[0]]
    elif status is not None and status in _STATUSES:
        kind = _STATUSES[status]
    else:
        kind = _BROAD.get(code) or _BROAD.get(type_) or otherwise
    word = told[0] if told else code or type_
    error = kind(presentable(message) or word or "no reason given", provider=provider, code=word, status=status)
    if isinstance(error, RateLimitedError):
        error.exhausted = word in _QUOTA or status == 402
    return error


def classify_close(code: int, reason: str, *, provider: str, ready: bool) -> ProviderError:
    """What a close by the far end means. Its reason has the form `<type>.<code>` when there is one."""
    type_, _, word = reason.partition(".")
    if code == 1000:
        # An unexplained goodbye: before the session stood, the connection never really came about.
        kind: type[ProviderError] = SessionClosedError if ready else ConnectionFailedError
    else:
        kind = _CLOSES.get(code, ConnectionFailedError)
    message = f"the provider closed the connection ({code})"
    if reason:
        message = f"{message}: {presentable(reason)}"
    if word in _KINDS:
        return classify(word, type_, message, provider=provider, status=code)
    return kind(message, provider=provider, code=word, status=code)


def presentable(message: str) -> str:
    """A vendor's sentence, fit for a log: without keys, and not endless."""
    text = _KEY.sub("[key]", message)
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "..."
