"""What Tandem asks of a carrier besides media: the port that each carrier's REST client implements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class CarrierApiError(Exception):
    """The carrier's API refused, failed or did not answer.

    `status` is the HTTP status (None: no answer), `code` the carrier's own number or word for it.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retryable = retryable
        """Nothing was done, and the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class OutboundCall:
    """A call to place. URLs are ours, of the carrier's own routes; a carrier uses those that it needs."""

    to: str = field(repr=False)
    """E.164 number or SIP URI."""
    from_: str = field(repr=False)
    session: str
    """Our id of the call; comes back in webhooks (as client state or in the URL's query)."""
    stream_url: str = field(repr=False)
    """With a token whose MAC has an empty call id, since that is not known yet."""
    answer_url: str
    status_url: str
    ring_seconds: int = 30
    limit_seconds: int = 14_400
    detect_machine: bool = False


@dataclass(frozen=True, slots=True)
class Transfer:
    """Move the caller to somebody else."""

    to: str = field(repr=False)
    """E.164 number or SIP URI."""
    caller_id: str = field(repr=False)
    after_url: str
    """Asked (or told by webhook) when the other side did not answer or has hung up."""
    ring_seconds: int = 30


class CarrierApi(Protocol):
    """One account at one carrier. Every method has its own deadline; all but `close` raise `CarrierApiError`."""

    async def place(self, call: OutboundCall) -> str:
        """Dial. Answers the carrier's id of the call; the media socket may open before this returns."""
        ...

    async def hang_up(self, call_id: str) -> None:
        """End the call; one that has ended already is no error."""
        ...

    async def transfer(self, call_id: str, transfer: Transfer) -> None:
        """Begin to move the call: returns once the carrier has taken it over, which ends the media stream."""
        ...

    async def send_dtmf(self, call_id: str, digits: str, return_url: str) -> None:
        """Play keys to the far end. Where that takes the call out of its stream, `return_url` brings it back."""
        ...

    async def close(self) -> None: ...
