"""What a call allows to pass without being asked: the two frames that come fifty times a second. Pure."""

from __future__ import annotations

from tandem.caller_audio import CallerAudio
from tandem.ledger import Ledger

LOOK_SECONDS = 0.5
"""Clocks of seconds are looked at this often while all is well."""


class ShortWays:
    """Kept up to date by the call after each event, and obeyed by the bridge before it tells the next one."""

    __slots__ = ("hearing", "ledger", "look_at")

    def __init__(self) -> None:
        self.ledger: Ledger | None = None
        """While another piece of agent audio like the last one has only to be played (see its `passes`)."""
        self.hearing: CallerAudio | None = None
        """While a frame of the caller's audio has only to be put in order and passed on to the provider."""
        self.look_at = 0.0
        """Until then time alone changes nothing, as long as the caller's audio comes."""

    def rests(self, now: float) -> float:
        """For so many seconds nothing can be due, unless something happens; 0: the call has to be told of the time."""
        if now >= self.look_at or self.hearing is None:
            return 0.0
        return min(self.look_at - now, self.hearing.flows(now))

    def close(self) -> None:
        """Whatever comes next is for the call to decide."""
        self.ledger = self.hearing = None
        self.look_at = 0.0
