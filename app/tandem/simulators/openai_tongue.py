"""How a vendor's server speaks: what it takes from a client, and what it makes of the engine's words.

The engine speaks OpenAI's protocol as it is. A tongue stands between it and the wire, so that servers which speak
another version of it need no engine of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tandem.simulators.openai_schema import EVENT

Event = dict[str, Any]


class Tongue(Protocol):
    """One session's. It may keep what it said, to say it again."""

    drops_unheard: bool
    """A response of which nothing was heard yet ends without a word when the caller speaks."""
    ping_seconds: float
    """Time between two messages that mean nothing; 0: there are none."""
    always_named: bool
    """The conversation's name is told at the start in any case."""
    may_resume: bool
    """A later session may go on with this one's conversation."""

    def check(self, event: Event) -> None:
        """Raises `Refused` when this server takes no such message."""
        ...

    def read(self, event: Event) -> Event:
        """A checked message of the client, in the engine's words."""
        ...

    def tell(self, event: Event) -> list[Event]:
        """An event of the engine as this server sends it: the same, several, or nothing at all."""
        ...


class OpenAITongue:
    """OpenAI's own."""

    drops_unheard = False
    ping_seconds = 0.0
    always_named = False
    may_resume = False

    def check(self, event: Event) -> None:
        EVENT(event, "")

    def read(self, event: Event) -> Event:
        return event

    def tell(self, event: Event) -> list[Event]:
        return [event]


MakeTongue = Callable[[], Tongue]
