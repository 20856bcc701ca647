"""Who speaks first in a call that we placed: us, or, with `listen_first`, whoever picked up. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.call_types import ToProvider
from tandem_providers.commands import Purpose, Say, SendText

LISTEN_SECONDS = 2.0
"""Somebody who picks up and says nothing for so long is greeted."""
_AFTER_YOU = "The person you called has picked up and speaks first. Begin your answer with these words: {}"


@dataclass(slots=True)
class Outset:
    """The greeting, said once or given up. `text_in`: the agent can be told something."""

    greeting: str | None
    listen_first: bool
    text_in: bool = False
    _listening_since: float | None = None
    _over: bool = False

    def ready(self) -> list[ToProvider]:
        """An agent is there, the first or one in its place before it could say anything."""
        return [] if self.listen_first else self._greet()

    def tick(self, now: float) -> list[ToProvider]:
        """The agent is there and the line is open; time passes."""
        if self._over or not self.listen_first:
            return []
        if self._listening_since is None:
            self._listening_since = now
        return self._greet() if now - self._listening_since >= LISTEN_SECONDS else []

    def spoken_to(self) -> list[ToProvider]:
        """Somebody speaks: the agent will answer that, and shall do it with the greeting."""
        if self._over or not self.listen_first:
            return []
        self._over = True
        if self.greeting is None or not self.text_in:
            return []
        return [ToProvider(SendText(_AFTER_YOU.format(self.greeting), role="system", respond=False))]

    def give_up(self) -> None:
        """Nobody is there to be greeted."""
        self._over = True

    def _greet(self) -> list[ToProvider]:
        self._over = True
        return [ToProvider(Say(Purpose.GREETING, self.greeting))]
