"""What the words in an OpenAI Live error mean: those of the Realtime API, and a few of its own."""

from __future__ import annotations

from typing import Final

from tandem_providers import openai_errors
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    SessionClosedError,
)
from tandem_providers.openai_errors import presentable

BUFFER_FULL: Final = "response_input_buffer_full"
_FORBIDDEN: Final = "forbidden"
_ENDINGS: Final = {
    "expired": "the session reached its time limit",
    "content": "the provider's safety filter ended the session",
    "remote_hangup": "the far end hung up",
    "close_requested": "somebody else asked for the end of the session",
}


def is_fatal(code: str, type_: str) -> bool:
    """Whether the session is of no more use after this, although the socket may still be open.

    A full input buffer leaves a function call without its answer for ever, and the model listens to nobody meanwhile.
    """
    return code in (_FORBIDDEN, BUFFER_FULL) or openai_errors.is_fatal(code, type_)


def classify(code: str, type_: str, message: str, *, provider: str, ready: bool) -> ProviderError:
    """The error of ours for one of theirs. One that came instead of the session is about what was asked for."""
    if code == _FORBIDDEN:
        return AuthenticationFailedError(presentable(message) or code, provider=provider, code=code)
    if code == BUFFER_FULL:
        return SessionClosedError(presentable(message) or code, provider=provider, code=code)
    otherwise = ProviderUnavailableError if ready else InvalidConfigError
    return openai_errors.classify(code, type_, message, provider=provider, otherwise=otherwise)


def classify_end(reason: str, *, provider: str, asked: bool) -> ProviderError | None:
    """What the reason of a `session.closed` means; None when it is what we asked for."""
    if reason == "close_requested" and asked:
        return None
    if reason == "connection_lost":
        return ConnectionFailedError("the provider lost the connection", provider=provider, code=reason)
    message = _ENDINGS.get(reason, "the provider ended the session")
    return SessionClosedError(message, provider=provider, code=reason)
