"""Every kind of provider there is, one row each; the order is the order of preference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tandem_providers.echo import Echo, EchoOptions
from tandem_providers.openai import OpenAIOptions, OpenAIProtocol
from tandem_providers.openai import capabilities as openai_capabilities
from tandem_providers.provider import Provider
from tandem_providers.session import READY_SECONDS, WebSocketProvider

PATIENCE_SECONDS: Final = 60.0
"""For providers made from a row: whoever tries them (`Client`) sets the deadline."""


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """What the configuration needs to know of one kind.

    `options` is a dataclass made of `option` fields: environment names, help, and which one is the key. A kind without
    a secret option needs no account. `build` makes an instance from them and its configured name (`openai@backup`).
    """

    name: str
    options: type[Any]
    build: Callable[[Any, str], Provider]
    """Raises `InvalidConfigError` for options that contradict each other or cannot be used."""


def OpenAIRealtime(*, name: str = "openai", **options: Any) -> WebSocketProvider:
    """OpenAI Realtime, or a server compatible with it; takes the fields of `OpenAIOptions`.

    Raises:
        InvalidConfigError: an option is wrong.
        TypeError: there is no such option.
    """
    return _openai(OpenAIOptions(**options), name, READY_SECONDS)


def _openai(options: OpenAIOptions, name: str, ready_seconds: float = PATIENCE_SECONDS) -> WebSocketProvider:
    return WebSocketProvider(
        name,
        openai_capabilities(options, name),
        lambda config, leg, opening: OpenAIProtocol(options, config, leg, name, opening),
        ready_seconds=ready_seconds,
    )


def _echo(options: EchoOptions, name: str) -> Echo:
    return Echo(prompts=options.prompts, name=name)


_ROWS: Final = (
    ProviderKind("openai", OpenAIOptions, _openai),
    ProviderKind("echo", EchoOptions, _echo),
)

KINDS: Final[Mapping[str, ProviderKind]] = {kind.name: kind for kind in _ROWS}
