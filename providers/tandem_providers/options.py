"""How an adapter declares its options, so that code, environment and documentation share one list.

An adapter's options are a frozen dataclass whose fields are made by `option`. The server fills them from the
environment by the names given here; a further instance `kind@name` reads `NAME_` + the same name first.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """What the server and the README need to know about one option."""

    env: tuple[str, ...]
    """Environment names, the first one set wins; empty when it can only be set from Python."""
    help: str
    secret: bool


def option(*env: str, default: Any = MISSING, help: str = "", secret: bool = False) -> Any:
    """A dataclass field that may come from the environment."""
    metadata = {"option": OptionInfo(env, help, secret)}
    if default is MISSING:
        return field(metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


def option_infos(options_type: Any) -> dict[str, OptionInfo]:
    """Field name to what was declared for it, in order of declaration."""
    return {f.name: f.metadata["option"] for f in fields(options_type) if "option" in f.metadata}
