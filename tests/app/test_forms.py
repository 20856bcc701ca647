from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.carriers.forms import Form, parse_form


def test_form_keeps_blanks_repeats_and_order() -> None:
    form = parse_form(b"b=&a=1&a=+2&c&%C3%A9=%26")
    assert form.pairs == (("b", ""), ("a", "1"), ("a", " 2"), ("c", ""), ("é", "&"))
    assert form.get("a") == "1"
    assert form.all("a") == ["1", " 2"]
    assert form.get("nothing") == ""
    assert list(form) == ["b", "a", "c", "é"]
    assert "b" in form
    assert parse_form(b"") == Form(())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"a=%ff", "UTF-8"),
        (b"a=%zz", "escape"),
        (b"a=%4", "escape"),
        (b"a=\xc3\xa9", "ASCII"),
        (b"a" * 65537, "larger"),
        (b"a=1&" * 501, "fields"),
    ],
)
def test_malformed_forms_say_why(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_form(body)


@given(st.binary())
def test_any_bytes_are_a_form_or_a_value_error(body: bytes) -> None:
    with suppress(ValueError):
        parse_form(body)


def test_what_a_form_says_of_people_does_not_print() -> None:
    assert "15550002000" not in repr(parse_form(b"From=15550002000"))
