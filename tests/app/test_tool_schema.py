"""Arguments against the schema of their tool."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.tools.schema import LONGEST_WORDS, Arguments

SCHEMA = {
    "type": "object",
    "properties": {
        "day": {"type": "string", "enum": ["saturday", "sunday"]},
        "guests": {"type": "array", "items": {"$ref": "#/$defs/guest"}},
    },
    "required": ["day"],
    "additionalProperties": False,
    "$defs": {"guest": {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}}},
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("arguments", [{"day": "sunday"}, {"day": "sunday", "guests": [{"age": 3}, {}]}])
def test_what_fits(arguments: dict[str, Any]) -> None:
    assert Arguments(SCHEMA).problem(arguments) == ""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "At the top: 'day' is a required property"),
        ({"day": "monday"}, "At day: 'monday' is not one of ['saturday', 'sunday']"),
        ({"day": "sunday", "guests": [{"age": -1}]}, "At guests.0.age: -1 is less than the minimum of 0"),
        ({"day": "sunday", "x": 1}, "At the top: Additional properties are not allowed ('x' was unexpected)"),
    ],
)
def test_what_does_not_fit_is_told_so_that_a_model_can_mend_it(arguments: dict[str, Any], problem: str) -> None:
    assert Arguments(SCHEMA).problem(arguments) == problem


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ([], "must be a JSON Schema with type: object"),
        ({"type": "string"}, "must be a JSON Schema with type: object"),
        ({}, "must be a JSON Schema with type: object"),
        ({"type": "object", "properties": []}, "at properties: "),
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "at properties.a.type: "),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, "at properties.a.pattern: "),
        ({"type": "object", "x": object()}, "is not JSON"),
        ({"type": "object", "properties": {"a": {"$ref": "https://x.test/a"}}}, "refers to 'https://x.test/a'"),
        ({"type": "object", "allOf": [{"$ref": "file:///etc/passwd"}]}, "refers to 'file:///etc/passwd'"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_place(schema: object, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}"):
        Arguments(schema)


@pytest.mark.parametrize("reference", ["#/nowhere", "#a", "#/properties/loop"])
def test_a_schema_that_leads_nowhere_lets_nothing_through(reference: str) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": reference}, "loop": {"$ref": "#/properties/loop"}}}
    assert Arguments(schema).problem({"a": 1}).startswith("They can not be checked")


@given(st.dictionaries(st.text(max_size=8), anything, max_size=4))
def test_any_arguments_are_judged(arguments: dict[str, Any]) -> None:
    assert len(Arguments(SCHEMA).problem(arguments)) <= LONGEST_WORDS
