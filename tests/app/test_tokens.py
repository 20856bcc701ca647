import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.tokens import SingleUse, Token, issue, new_session, parse

KEY = b"bridge-media-token-key-EXAMPLE"
SESSION = "8f14e45fceea167a5a36dedd4bea2543"
CALL = "CA00000000000000000000000000000002"
EXPIRES = 1767323105
VECTOR = f"v1{SESSION}695735e1cd7a7a27e1e7ede76f681deadc6e2de7ec343ab01e745e60de53bfe154bd4773"


def test_the_published_vector() -> None:
    assert issue(KEY, "twilio", SESSION, CALL, EXPIRES) == VECTOR
    token = parse(VECTOR)
    assert token is not None
    assert (token.session, token.expires) == (SESSION, EXPIRES)
    assert token.verify(KEY, "twilio", CALL)
    assert len(VECTOR) == 106
    assert VECTOR.isalnum()


def test_it_fits_nothing_else() -> None:
    token = parse(VECTOR)
    assert token is not None
    assert not token.verify(KEY, "telnyx", CALL)
    assert not token.verify(KEY, "twilio", CALL[:-1] + "3")
    assert not token.verify(KEY, "twilio", "")
    assert not token.verify(b"another key", "twilio", CALL)


def test_any_single_change_is_refused() -> None:
    hexadecimal = string.hexdigits.lower()
    for position in range(len(VECTOR)):
        for letter in sorted(set(hexadecimal)):
            if letter == VECTOR[position]:
                continue
            token = parse(VECTOR[:position] + letter + VECTOR[position + 1 :])
            assert token is None or not token.verify(KEY, "twilio", CALL)


@pytest.mark.parametrize(
    "text", ["", "v1", VECTOR[:-1], VECTOR + "0", VECTOR.upper(), "v2" + VECTOR[2:], VECTOR + "\n"]
)
def test_other_shapes_are_no_tokens(text: str) -> None:
    assert parse(text) is None


@given(st.text())
def test_parse_takes_any_text(text: str) -> None:
    assert parse(text) is None


def test_expiry_with_an_allowance_for_clocks() -> None:
    token = Token(SESSION, EXPIRES, "")
    assert not token.expired(EXPIRES - 120)
    assert not token.expired(EXPIRES + 30)
    assert token.expired(EXPIRES + 30.5)
    assert token.expired(EXPIRES + 0.5, allowance=0)
    assert not token.expired(EXPIRES - 3600)
    assert token.expired(EXPIRES - 3700), "nothing is issued for that long"


def test_the_mac_is_not_printed() -> None:
    assert VECTOR[-64:] not in repr(parse(VECTOR))


@pytest.mark.parametrize(
    ("session", "carrier", "call"), [("short", "twilio", CALL), (SESSION, "a|b", CALL), (SESSION, "twilio", "a|b")]
)
def test_issue_refuses_what_would_be_ambiguous(session: str, carrier: str, call: str) -> None:
    with pytest.raises(ValueError, match=r"session id|'\|'"):
        issue(KEY, carrier, session, call, EXPIRES)


def _token(number: int, expires: int = EXPIRES) -> Token:
    return Token(f"{number:032x}", expires, "0" * 64)


def test_a_token_is_taken_once() -> None:
    used = SingleUse()
    assert _token(1) not in used
    assert used.take(_token(1), EXPIRES - 60)
    assert _token(1) in used
    assert not used.take(_token(1), EXPIRES - 60)
    assert not used.take(_token(1), EXPIRES + 30), "still usable by its expiry, so still remembered"
    assert used.take(_token(2), EXPIRES - 60)
    assert not used.take(_token(3), EXPIRES + 31), "expired"


def test_memory_is_given_back_at_expiry_and_bounded_until_then() -> None:
    used = SingleUse(capacity=2)
    assert used.take(_token(1, EXPIRES + 100), EXPIRES)
    assert used.take(_token(2, EXPIRES), EXPIRES)
    assert not used.take(_token(3, EXPIRES + 100), EXPIRES), "full: refuse rather than forget"
    assert used.take(_token(4, EXPIRES + 100), EXPIRES + 31)
    assert len(used) == 2
    assert not used.take(_token(1, EXPIRES + 100), EXPIRES + 31)


def test_a_session_says_who_made_it() -> None:
    key = b"a key"
    session = new_session(key, "twilio", "0123456789abcdef")
    token = parse(issue(key, "twilio", session, "CA1", EXPIRES))
    assert token is not None
    assert token.of_ours(key, "twilio")
    assert not token.of_ours(key, "telnyx")
    assert not token.of_ours(b"another", "twilio")
    foreign = parse(issue(key, "twilio", "f" * 32, "CA1", EXPIRES))
    assert foreign is not None
    assert not foreign.of_ours(key, "twilio")
