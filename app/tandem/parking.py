"""The carrier shall have the call for a while, or has it: what for, until when, and what news it brings back. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.call_types import Depart, Keys, Transfer
from tandem.leaving import WORDS_SECONDS

WAY_OUT_SECONDS = 60.0
PUT_OFF = "The caller spoke while being told of the transfer, so it was not made. Ask what the caller wants."


@dataclass(slots=True)
class Parking:
    """`wanted` waits until all that is being said has been heard; `away` is what the carrier has the call for."""

    wanted: Depart | None = None
    away: Depart | None = None
    back_by: float = 0.0
    words_by: float = 0.0
    """A word about it was asked for and has not begun; it is waited for until then."""
    news: str = ""
    _way_out_tried: bool = False

    @property
    def busy(self) -> bool:
        """The carrier is to have the call, or has it."""
        return self.wanted is not None or self.away is not None

    def ask(self, departure: Depart, now: float) -> None:
        self.wanted = departure
        if departure.say is not None:
            self.words_by = now + WORDS_SECONDS

    def ask_for_way_out(self, to: str) -> None:
        """There is no agent any more: after the apology somebody else shall have the caller."""
        if to and not self._way_out_tried:
            self._way_out_tried = True
            self.wanted, self.words_by = Depart(Transfer(to), seconds=WAY_OUT_SECONDS), 0.0

    def put_off(self) -> bool:
        """The caller spoke while a transfer was being announced: it is off. Whatever else was ordered stands."""
        if self.wanted is None or self.wanted.say is None or isinstance(self.wanted.order, Keys):
            return False
        self.wanted = None
        return True

    def due(self, now: float, *, heard: bool) -> bool:
        """Whether the carrier is to be given the call now. `heard`: nothing of the agent is playing or being made."""
        return self.wanted is not None and heard and now >= self.words_by

    def go(self, now: float) -> Depart:
        """It goes."""
        assert self.wanted is not None, "a departure was asked for"  # noqa: S101  # the caller has just seen that it is due
        self.away, self.wanted = self.wanted, None
        self.back_by = now + self.away.seconds
        return self.away

    def back(self) -> str:
        """The call is ours again: the news for the agent, told once."""
        self.away = None
        news, self.news = self.news, ""
        return news
