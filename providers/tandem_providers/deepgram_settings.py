"""The vendor's settings of a session, each with its range, and how options and extensions become them.

They are checked here before anything is dialled, so that a mistake is named at start-up and not by a remote server in
the middle of a call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tandem_providers.config import ProcessConfig
from tandem_providers.deepgram_options import DeepgramOptions
from tandem_providers.errors import InvalidConfigError


class _Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Settings as the vendor documents them; a misspelt field is an error."""


class Endpoint(_Strict, frozen=True):
    """A server of one's own, or one's account with another vendor."""

    url: str
    headers: dict[str, str] = {}


class Part(_Strict, frozen=True):
    """One way to think or to speak: a provider with the fields it has."""

    provider: dict[str, Any]
    endpoint: dict[str, Any] | UnsetType = UNSET
    context_length: Literal["max"] | Annotated[int, Meta(ge=1)] | UnsetType = UNSET


_KINDS: Final[dict[str, Any]] = {
    "listen": Part,
    "think": Part | list[Part],
    "speak": Part | list[Part],
    "keyterms": list[str],
    "eot_threshold": Annotated[float, Meta(ge=0.5, le=1)],
    "eager_eot_threshold": Annotated[float, Meta(ge=0.3, le=0.9)],
    "eot_timeout_ms": Annotated[int, Meta(ge=500, le=60_000)],
    "smart_format": bool,
    "think_endpoint": Endpoint,
    "context_length": Literal["max"] | Annotated[int, Meta(ge=1)],
    "reasoning_mode": Literal["none", "minimal", "low", "medium", "high"],
    "speed": Annotated[float, Meta(ge=0.5, le=1.5)],
    "defer_until_eot": bool | list[str],
    "tags": list[str],
    "mip_opt_out": bool,
    "experimental": bool,
    "raw_events": bool,
}
"""Every setting by name, with what it may be. All can be given as extensions; some have an option as well."""
_FROM_OPTIONS: Final = {
    "keyterms": "DEEPGRAM_KEYTERMS",
    "eot_threshold": "DEEPGRAM_EOT_THRESHOLD",
    "eot_timeout_ms": "DEEPGRAM_EOT_TIMEOUT_MS",
    "think_endpoint": "DEEPGRAM_THINK_ENDPOINT",
    "speak": "DEEPGRAM_SPEAK",
    "mip_opt_out": "DEEPGRAM_MIP_OPT_OUT",
}


def given_settings(options: DeepgramOptions, config: ProcessConfig, name: str) -> dict[str, tuple[str, Any]]:
    """What was set, each with the name under which its owner knows it."""
    unknown = sorted(set(map(str, config.extensions)) - set(_KINDS))
    if unknown:
        raise InvalidConfigError(
            f"extensions: unknown {', '.join(unknown)}; known are {', '.join(_KINDS)}", provider=name
        )
    given: dict[str, tuple[str, Any]] = {}
    for key, variable in _FROM_OPTIONS.items():
        value = getattr(options, key)
        if value not in ("", None, False, ()):
            given[key] = (f"{key} ({variable})", value)
    return given | {key: (f"extensions[{key!r}]", value) for key, value in config.extensions.items()}


def checked(key: str, value: Any, label: str, name: str) -> Any:
    try:
        return msgspec.convert(_spelt_out(key, value), _KINDS[key])
    except (msgspec.MsgspecError, RecursionError) as error:
        # A decoder's complaint may quote the text, which may hold a key.
        why = (
            "is no JSON"
            if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError)
            else str(error)
        )
        raise InvalidConfigError(f"{label}: {why}", provider=name) from None


def _spelt_out(key: str, value: Any) -> Any:
    """Text as it comes from the environment, as what it stands for."""
    if key == "keyterms":
        words = value.split(",") if isinstance(value, str) else value
        return [word.strip() for word in words if word.strip()] if isinstance(words, Sequence) else words
    if not isinstance(value, str):
        return dict(value) if isinstance(value, Mapping) else value
    text = value.strip()
    if key in ("listen", "think", "speak", "think_endpoint", "eot_threshold", "eager_eot_threshold", "eot_timeout_ms"):
        return msgspec.json.decode(text)
    if key in ("mip_opt_out", "smart_format", "experimental", "raw_events"):
        return {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False}.get(text.lower(), text)
    return text
