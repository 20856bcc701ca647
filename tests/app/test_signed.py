"""Our signature, as a receiver would compute it."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from tandem.signed import signature, signed_headers


def test_a_receiver_computes_the_same() -> None:
    body = b'{"call_id": "CA1"}'
    headers = signed_headers("sesame", 1_700_000_000, body, "CA1")
    wanted = hmac.new(b"sesame", b"1700000000." + body, hashlib.sha256).hexdigest()
    assert headers == {
        "Content-Type": "application/json",
        "X-Tandem-Timestamp": "1700000000",
        "X-Tandem-Signature": wanted,
        "X-Tandem-Call-Id": "CA1",
    }
    # Worked out by another program: printf '1.{}' | openssl dgst -sha256 -hmac key
    assert signature("key", "1", b"{}") == "1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"


def test_every_part_counts() -> None:
    first = signature("key", "1", b"body")
    others = {signature("kez", "1", b"body"), signature("key", "2", b"body"), signature("key", "1", b"bodz")}
    assert len({first, *others}) == 4


@given(st.text(max_size=300))
def test_any_call_id_fits_into_a_header(call_id: str) -> None:
    value = signed_headers("key", 1, b"", call_id)["X-Tandem-Call-Id"]
    assert value.isascii()
    assert len(value) <= 128
    assert not set(value) & set("\r\n \0")
