"""Failures, sorted by remedy.

    ProviderError
    ├── InvalidConfigError          fix the configuration; another provider may still do    (CONFIG)
    ├── AuthenticationFailedError   fix the key; do not try this one again                  (AUTH)
    ├── RateLimitedError            too much at once, or no quota left; others may do       (RATE, QUOTA)
    ├── ConnectionFailedError       no connection came about, or it broke                   (TRANSIENT)
    ├── ProviderUnavailableError    it answered that it can't, or did not answer in time    (TRANSIENT)
    └── SessionClosedError          the session is over, nothing more can be sent           (EXPIRY, CONTENT, closed)

Cancellation is not a failure: `asyncio.CancelledError` always travels on.
"""

from __future__ import annotations

from collections.abc import Sequence


class ProviderError(Exception):
    """Base of all. `provider` names the configured instance, `code` is the vendor's own word for it, if any."""

    retryable = False
    """Whether the same provider may be tried once more at once."""

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        code: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.code = code
        self.status = status
        """HTTP status of a refused handshake, or WebSocket close code."""
        self.retry_after = retry_after
        """Seconds the vendor asked us to wait, if it did."""
        self.attempts: Sequence[ProviderError] = ()
        """When several providers were tried: each one's failure, in order."""

    def __str__(self) -> str:
        where = f"{self.provider}: " if self.provider else ""
        code = f" [{self.code}]" if self.code else ""
        return f"{where}{self.message}{code}"


class InvalidConfigError(ProviderError):
    """An option, a model or a request that the provider does not accept."""


class AuthenticationFailedError(ProviderError):
    """The key is missing, wrong, or not allowed to do this."""


class RateLimitedError(ProviderError):
    """Too many requests, or no quota or credit left (`exhausted`)."""

    exhausted = False


class ConnectionFailedError(ProviderError):
    """DNS, TCP, TLS or the WebSocket handshake failed, or the connection broke."""

    retryable = True


class ProviderUnavailableError(ProviderError):
    """The provider is down, overloaded, or was not ready in time."""

    retryable = True


class SessionClosedError(ProviderError):
    """The session has ended."""
