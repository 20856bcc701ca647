"""How our own requests to other people's servers are signed, so that they can tell them from anybody else's. Pure.

`X-Tandem-Signature` is HMAC-SHA256, in hexadecimal, over the timestamp, a dot and the body as it is sent; the timestamp
(Unix seconds) is in `X-Tandem-Timestamp`. A receiver computes the same, compares in constant time, and refuses what is
older than a few minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import re


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Of one request."""
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def signed_headers(secret: str, timestamp: int, body: bytes, call_id: str) -> dict[str, str]:
    """What a request carries besides its body. A carrier's call id is not trusted to fit into a header."""
    return {
        "Content-Type": "application/json",
        "X-Tandem-Timestamp": str(timestamp),
        "X-Tandem-Signature": signature(secret, str(timestamp), body),
        "X-Tandem-Call-Id": re.sub(r"[^!-~]", "", call_id)[:128],
    }
