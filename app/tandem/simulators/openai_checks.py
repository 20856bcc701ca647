"""Checks of what an OpenAI client sends, and the refusals, worded as the vendor words them.

A check is a function of a value and its path; it raises `Refused` at the first thing wrong, so nothing of a bad
message is ever applied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

Check = Callable[[Any, str], None]


class Refused(Exception):
    """The server answers this with an `error` event; the session goes on."""

    def __init__(
        self, message: str, code: str | None = None, param: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind


def _type_name(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")


def _wrong_type(path: str, wanted: str, value: Any) -> Refused:
    return Refused(
        f"Invalid type for '{path}': expected {wanted}, but got {_type_name(value)} instead.", "invalid_type", path
    )


def string(value: Any, path: str) -> None:
    """Any text."""
    if not isinstance(value, str):
        raise _wrong_type(path, "a string", value)


def boolean(value: Any, path: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong_type(path, "a boolean", value)


def mapping(value: Any, path: str) -> None:
    """Any JSON object."""
    if not isinstance(value, dict):
        raise _wrong_type(path, "an object", value)


def _bounded(value: float, path: str, low: float, high: float) -> None:
    if value < low:
        raise Refused(
            f"Invalid '{path}': value below minimum. Expected a value >= {low:g}, but got {value:g} instead.",
            "decimal_below_min_value" if isinstance(value, float) else "integer_below_min_value",
            path,
        )
    if value > high:
        raise Refused(
            f"Invalid '{path}': value above maximum. Expected a value <= {high:g}, but got {value:g} instead.",
            "decimal_above_max_value" if isinstance(value, float) else "integer_above_max_value",
            path,
        )


def number(low: float, high: float) -> Check:
    """A number within the bounds, both included."""

    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _wrong_type(path, "a decimal", value)
        _bounded(value, path, low, high)

    return check


def integer(low: int, high: int = 2**31) -> Check:
    """A whole number within the bounds, both included."""

    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(path, "an integer", value)
        _bounded(value, path, low, high)

    return check


def one_of(*allowed: Any) -> Check:
    """One of these values."""

    def check(value: Any, path: str) -> None:
        if value not in allowed or isinstance(value, bool):
            listed = ", ".join(f"'{choice}'" for choice in allowed)
            raise Refused(f"Invalid value: '{value}'. Supported values are: {listed}.", "invalid_value", path)

    return check


def nullable(inner: Check) -> Check:
    """Null, or what the inner check takes."""

    def check(value: Any, path: str) -> None:
        if value is not None:
            inner(value, path)

    return check


def either(*checks: Check) -> Check:
    """What any of these takes; the last one words the refusal."""

    def check(value: Any, path: str) -> None:
        for attempt in checks[:-1]:
            try:
                return attempt(value, path)
            except Refused:
                continue
        return checks[-1](value, path)

    return check


def array(inner: Check) -> Check:
    """A list of what the inner check takes."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise _wrong_type(path, f"an array for '{path}'", value)
        for index, entry in enumerate(value):
            inner(entry, f"{path}[{index}]")

    return check


def record(fields: Mapping[str, Check], required: Collection[str] = ()) -> Check:
    """An object with no other fields than these."""

    def check(value: Any, path: str) -> None:
        mapping(value, path)
        for name in value:
            if name not in fields:
                param = f"{path}.{name}" if path else name
                raise Refused(f"Unknown parameter: '{param}'.", "unknown_parameter", param)
        for name in required:
            if name not in value:
                param = f"{path}.{name}" if path else name
                raise Refused(f"Missing required parameter: '{param}'.", "missing_required_parameter", param)
        for name, entry in value.items():
            fields[name](entry, f"{path}.{name}" if path else name)

    return check


def tagged(tag: str, kinds: Mapping[str, Check]) -> Check:
    """An object whose field `tag` says which of these it is."""
    known = one_of(*kinds)

    def check(value: Any, path: str) -> None:
        mapping(value, path)
        param = f"{path}.{tag}" if path else tag
        if tag not in value:
            raise Refused(f"Missing required parameter: '{param}'.", "missing_required_parameter", param)
        known(value[tag], param)
        kinds[value[tag]](value, path)

    return check
