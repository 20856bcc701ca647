"""What is known of a failure of a carrier's API, and what does not print."""

from __future__ import annotations

from tandem.rest.port import CarrierApiError, OutboundCall, Transfer


def test_a_failure_says_what_is_known_of_it() -> None:
    error = CarrierApiError("telnyx answered 429", status=429, code="10011", retryable=True)
    assert (str(error), error.status, error.code, error.retryable) == ("telnyx answered 429", 429, "10011", True)
    unknown = CarrierApiError("no answer")
    assert (unknown.status, unknown.code, unknown.retryable) == (None, "", False)


def test_numbers_and_tokens_do_not_print() -> None:
    call = OutboundCall("+15550002000", "+15550001000", "s", "wss://x/telnyx/media/v1abc", "https://x", "https://x")
    assert "+1555" not in repr(call)
    assert "v1abc" not in repr(call)
    assert "+1555" not in repr(Transfer("+15550002000", "+15550001000", "https://x"))
