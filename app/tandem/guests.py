"""Connections that have not shown yet who they are: how many of them there may be, and for how long.

A flood of them must cost nobody his call, so they are few, they are let go soon, and one that is too many is told so
at once. A connection is known, and no guest any more, as soon as a carrier's signature or an operator's token has come
over it; a media socket, when it is accepted.

The addresses of our own network are those of proxies, behind which there is everybody: no limit per address is sound
for them, nor for what `TRUSTED_PROXIES` names. There, the proxy is the place for one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from tandem import logs
from tandem.tools.addresses import is_public

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

MOST: Final = 200
"""Guests of this process."""
KEPT: Final = 50
"""Of these, for our own network and the proxies: strangers can not take every place."""
MOST_OF_ONE: Final = 20
"""Guests from one address."""
SECONDS: Final = 5.0
"""To become known."""
SAY_SECONDS: Final = 10.0
"""A flood is not to fill the log, too."""

Networks = tuple[IPv4Network | IPv6Network, ...]

log = logs.get(__name__)


def networks(text: str) -> Networks:
    """The entries of `TRUSTED_PROXIES`.

    Raises:
        ValueError: one is no address and no network; says which.
    """
    found: list[IPv4Network | IPv6Network] = []
    for entry in (entry.strip() for entry in text.split(",") if entry.strip()):
        try:
            found.append(ip_network(entry))
        except ValueError:
            raise ValueError(f"{entry!r} is no address (192.0.2.7) and no network (192.0.2.0/24)") from None
    return tuple(found)


class Guests:
    """All of one server. `refused` hears of each that is turned away, and why: `full`, `address` or `late`."""

    def __init__(self, proxies: Networks = (), refused: Callable[[str], None] = lambda why: None) -> None:
        self._proxies = proxies
        self._refused = refused
        self._there = 0
        self._by_place: Counter[str] = Counter()
        self._said = -SAY_SECONDS

    def __len__(self) -> int:
        return self._there

    def admit(self, address: str, now: float, seconds: float = SECONDS) -> Guest | None:
        """A place for a connection from there (empty: from no address); None when it is one too many."""
        place = self._place(address)
        if self._there >= (MOST - KEPT if place else MOST):
            self.turned_away("full", now)
        elif place and self._by_place[place] >= MOST_OF_ONE:
            self.turned_away("address", now)
        else:
            self._there += 1
            if place:
                self._by_place[place] += 1
            return Guest(self, place, now + seconds)
        return None

    def turned_away(self, why: str, now: float) -> None:
        """Count it, and say it now and then."""
        self._refused(why)
        if now - self._said >= SAY_SECONDS:
            self._said = now
            log.warning("connections refused", reason=why, unknown=self._there)

    def leave(self, place: str) -> None:
        """One guest less."""
        self._there -= 1
        if place:
            self._by_place[place] -= 1
            if not self._by_place[place]:
                del self._by_place[place]

    def _place(self, address: str) -> str:
        """Whose guests are counted together; empty where everybody may be."""
        if not address or not is_public(address):
            return ""
        where = ip_address(address)
        where = getattr(where, "ipv4_mapped", None) or where
        if any(where in network for network in self._proxies):
            return ""
        # Whoever has one address of the sixth version has a whole /64 of them.
        return str(where) if where.version == 4 else str(ip_network((int(where) >> 64 << 64, 64)))


class Guest:
    """The place of one connection."""

    __slots__ = ("_guests", "_place", "deadline", "there")

    def __init__(self, guests: Guests, place: str, deadline: float) -> None:
        self._guests = guests
        self._place = place
        self.deadline = deadline
        self.there = True
        """Neither known nor gone."""

    def leave(self) -> None:
        """It is known now, or gone. More than once is as good."""
        if self.there:
            self.there = False
            self._guests.leave(self._place)

    def late(self, now: float) -> None:
        """It is turned away, for it did not become known in time."""
        if self.there:
            self._guests.turned_away("late", now)
            self.leave()


def welcome(request: HTTPConnection) -> None:
    """Whoever sent this has shown who he is. Servers without guests are none the worse."""
    guest: Guest | None = getattr(request.state, "guest", None)
    if guest is not None:
        guest.leave()
