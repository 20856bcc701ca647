"""Arguments, held against the JSON Schema that a tool was declared with, before anybody is asked to work with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import validator_for
from referencing import Registry

LONGEST_WORDS = 240
"""Of what the model is told about a mistake."""


class Arguments:
    """One tool's arguments. Nothing is ever fetched: a schema refers to its own parts only.

    Raises:
        ValueError: it is no schema of an object; says why.
    """

    def __init__(self, schema: object) -> None:
        try:
            plain = msgspec.json.decode(msgspec.json.encode(schema))
        except (TypeError, ValueError, RecursionError):
            raise ValueError("is not JSON") from None
        if not isinstance(plain, dict) or plain.get("type") != "object":
            raise ValueError("must be a JSON Schema with type: object")
        for reference in _references(plain):
            if not reference.startswith("#"):
                raise ValueError(f"refers to {reference!r}; a schema may refer to its own parts only (#/...)")
        checks = validator_for(plain, default=Draft202012Validator)
        try:
            checks.check_schema(plain)
        except SchemaError as error:
            raise ValueError(f"at {_place(error.absolute_path)}: {error.message[:LONGEST_WORDS]}") from None
        self._validator = checks(plain, registry=Registry())

    def problem(self, arguments: Mapping[str, Any]) -> str:
        """Where they do not fit, in words for the model that wrote them; empty when they do."""
        error: ValidationError | None
        try:
            error = best_match(self._validator.iter_errors(arguments))
        except Exception as failure:  # a reference into the void, or a schema that goes in circles
            return f"They can not be checked ({type(failure).__name__})."
        return f"At {_place(error.absolute_path)}: {error.message}"[:LONGEST_WORDS] if error else ""


def _place(path: object) -> str:
    parts = [str(part) for part in path]  # type: ignore[attr-defined]  # a deque, which the library's types do not say
    return ".".join(parts) or "the top"


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)
