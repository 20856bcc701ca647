"""A vendor that does not exist: a kind of provider with options of every type, which refuses what it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from tandem_codecs.format import MULAW_8K, PCM16_24K, AudioFormat
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import AuthenticationFailedError, InvalidConfigError
from tandem_providers.events import Event
from tandem_providers.options import option
from tandem_providers.provider import FRESH, Capabilities, EventSink, Opening, Session
from tandem_providers.table import ProviderKind


@dataclass(frozen=True, slots=True)
class Options:
    key: str = option("ACME_KEY", "ACME_OTHER_KEY", secret=True)
    speed: float = option("ACME_SPEED", default=1.0)
    loud: bool = option("ACME_LOUD", default=False)
    words: tuple[str, ...] = option("ACME_WORDS", default=())
    hidden: int = option("ACME_PIN", default=0, secret=True)
    internal: int = option(default=3)


REFUSES = {"temperature": "it is always warm"}


class Acme:
    """A provider that only says what it refuses, and what it is asked for."""

    def __init__(self, name: str, refuses: dict[str, str], capabilities: Capabilities) -> None:
        self.name = name
        self.capabilities = capabilities
        self.asked: list[ProcessConfig] = []
        self.closed = False
        self._refuses = refuses

    def check(self, config: ProcessConfig, *, leg: AudioFormat = PCM16_24K) -> None:
        for wish, why in self._refuses.items():
            if getattr(config, wish):
                raise InvalidConfigError(why, provider=self.name)

    def connect(
        self, config: ProcessConfig, on_event: EventSink, *, leg: AudioFormat = PCM16_24K, opening: Opening = FRESH
    ) -> AbstractAsyncContextManager[Session]:
        self.asked.append(config)
        raise AuthenticationFailedError("no", provider=self.name)

    def process_audio_stream(
        self, audio_in: AsyncIterable[bytes], config: ProcessConfig
    ) -> AbstractAsyncContextManager[AsyncIterable[Event]]:
        raise AssertionError("nobody streams here")

    async def close(self) -> None:
        self.closed = True


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Comes with the house."""


def acme(name: str, options: type = Options, refuses: dict[str, str] = REFUSES, text_in: bool = True) -> ProviderKind:
    capabilities = Capabilities((MULAW_8K,), (MULAW_8K,), text_in=text_in)
    return ProviderKind(name, options, lambda options, name: Acme(name, refuses, capabilities))
