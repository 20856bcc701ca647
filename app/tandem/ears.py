"""Ears of the bridge's own, for when the provider's can't be used. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_providers.detector import SpeechStarted, TurnDetector
from tandem_providers.events import UserSpeechStarted, UserSpeechStopped


@dataclass(slots=True)
class Ears:
    """`own` belong to a provider that hears no turns. `spare` are for while the provider is not read: its word that the
    caller speaks waits behind its own audio."""

    own: TurnDetector | None = None
    spare: TurnDetector | None = None

    @property
    def open(self) -> bool:
        """Somebody listens."""
        return self.own is not None or self.spare is not None

    def listen_meanwhile(self) -> None:
        """The provider is not read from now on."""
        self.spare = self.spare or TurnDetector()

    def feed(self, audio: bytes) -> list[UserSpeechStarted | UserSpeechStopped]:
        """What is heard in it. That speech has stopped, a provider with ears says itself, only later."""
        ears = self.own or self.spare
        if ears is None:
            return []
        events = [
            UserSpeechStarted() if isinstance(heard, SpeechStarted) else UserSpeechStopped()
            for heard in ears.feed(audio)
        ]
        return events if self.own is not None else [each for each in events if isinstance(each, UserSpeechStarted)]
