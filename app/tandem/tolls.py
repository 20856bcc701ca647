"""Whom this server may call, and how often: what keeps a stolen token, or a model that was talked into something, from
running up a bill. Pure.

A destination is an E.164 number or a SIP URI. Numbers that cost the caller extra, satellite networks and special
services are refused unless `OUTBOUND_ALLOW` names them at least as exactly as the list below does. When it is set,
whatever it does not name is refused, too.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

PER_NUMBER: Final = 2
"""Calls to one number ..."""
PER_NUMBER_SECONDS: Final = 600.0
"""... within so many seconds."""
_MOST_NUMBERS: Final = 10_000

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_SIP: Final = re.compile(
    r"sips?:(?P<user>[A-Za-z0-9._~!$&'*+=%-]{1,64})@(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)"
    r"(?::[0-9]{1,5})?(?:;[A-Za-z0-9._-]{1,32}(?:=[A-Za-z0-9._:-]{1,64})?){0,8}"
)
_PUNCTUATION: Final = re.compile(r"[-.()~_ ]")
_INTERNATIONAL: Final = re.compile(r"\A(?:\+|00|011)?")
_LEAST_BARE: Final = 9
"""Plus sign and digits of the shortest bare user that is taken for a number; what is shorter is an extension."""

DENIED: Final[dict[str, tuple[str, ...]]] = {
    "satellite and maritime networks": ("+870", "+881", "+882", "+883"),
    "international premium, shared-cost and personal numbers": ("+979", "+808", "+878", "+888", "+991"),
    "North America: premium and personal numbers": (
        "+1900", "+1500", "+1521", "+1522", "+1533", "+1544", "+1566", "+1577", "+1588", "+1700",
    ),
    "United Kingdom: premium, service and personal numbers": ("+4470", "+4484", "+4487", "+4490", "+4491", "+4498"),
    "Germany": ("+49900", "+49137", "+49180", "+49118", "+49190", "+49700"),
    "Austria": ("+43810", "+43820", "+43821", "+43900", "+43901", "+43930", "+43931", "+43939"),
    "Switzerland": ("+41900", "+41901", "+41906", "+4184"),
    "France": ("+3381", "+3382", "+3389"),
    "Belgium": ("+32900", "+32901", "+32902", "+32903", "+32904", "+32905", "+32906", "+32907", "+32909", "+3270"),
    "Netherlands": ("+31900", "+31906", "+31909", "+3184", "+3187"),
    "Italy": ("+39144", "+39166", "+39178", "+39199", "+39892", "+39895", "+39899"),
    "Spain": ("+34803", "+34806", "+34807", "+34905", "+34907"),
    "Portugal": ("+351601", "+351607", "+351608", "+351646", "+351648", "+351707", "+351760", "+351761", "+351762"),
    "Sweden": ("+46900", "+46939", "+46944"),
    "Norway": ("+47820", "+47829"),
    "Denmark": ("+4590",),
    "Finland": ("+358600", "+358700"),
    "Poland": ("+48300", "+48400", "+4870"),
    "Australia": ("+6119",),
    "New Zealand": ("+64900",),
    "Japan": ("+81990", "+81570"),
    "South Africa": ("+27862", "+27865", "+27866", "+27867"),
    "Brazil": ("+55300", "+55500", "+55900"),
    "Russia": ("+7803", "+7809"),
}  # fmt: skip
"""By what they are, the beginnings of numbers that are refused unless they are allowed by name."""

_NANP_EXCHANGE: Final = re.compile(r"\+1[2-9][0-9]{2}976[0-9]{4}")
"""Pay-per-call exchanges within ordinary area codes."""


class NotAllowed(Exception):
    """This destination is not called. `slow`: not now."""

    def __init__(self, why: str, *, slow: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.slow = slow
        self.retry_after = retry_after
        """Seconds until it may be tried again."""


def is_number(text: str) -> bool:
    """An E.164 number, plus sign and all."""
    return _E164.fullmatch(text) is not None


def is_sip(text: str) -> bool:
    """A SIP URI in the form that is taken: user, host, port and parameters; no headers."""
    return _SIP.fullmatch(text) is not None


def _number_of_user(user: str) -> str:
    """The E.164 number that a gateway would dial for the user part of a SIP URI; empty if it is a name or an extension.

    A gateway takes a number in many dresses: escaped, with punctuation, with 00 or 011 before it, or bare.
    """
    plain = _PUNCTUATION.sub("", unquote(user))
    number = "+" + _INTERNATIONAL.sub("", plain)
    return number if is_number(number) and (len(number) >= _LEAST_BARE or plain.startswith("+")) else ""


@dataclass(slots=True)
class Tolls:
    """The rules, and the memory that counting needs. `allow` are prefixes of numbers, and `sip:HOST` (`sip:*.HOST`)."""

    allow: tuple[str, ...] = ()
    per_minute: float = 10.0
    _recent: deque[float] = field(default_factory=deque)
    _by_number: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def may_reach(self, to: str) -> None:
        """Whether this destination may be called at all. Counts nothing.

        Raises:
            NotAllowed: it may not; the message says why and what would allow it.
        """
        if is_number(to):
            self._may_dial(to)
            return
        sip = _SIP.fullmatch(to)
        if sip is None:
            raise NotAllowed("is no E.164 number (+ and 7 to 15 digits) and no SIP URI (sip:user@host)")
        number = _number_of_user(sip["user"])
        if number:
            self._may_dial(number, by_host=sip["host"])
        elif self.allow and not self._allows_host(sip["host"]):
            raise NotAllowed(f"is not allowed: OUTBOUND_ALLOW names no sip:{sip['host']}")

    def take(self, to: str, now: float) -> None:
        """Count a call that is about to be placed.

        Raises:
            NotAllowed: it may not be, at all or at the moment.
        """
        self.may_reach(to)
        calls = self._by_number.get(to, deque())
        while calls and now - calls[0] >= PER_NUMBER_SECONDS:
            calls.popleft()
        if len(calls) >= PER_NUMBER:
            minutes = PER_NUMBER_SECONDS / 60
            raise NotAllowed(
                f"was called {PER_NUMBER} times within {minutes:.0f} minutes",
                slow=True,
                retry_after=calls[0] + PER_NUMBER_SECONDS - now,
            )
        self._count(now)
        calls.append(now)
        self._by_number[to] = calls
        self._by_number.move_to_end(to)
        while len(self._by_number) > _MOST_NUMBERS:
            self._by_number.popitem(last=False)

    def take_transfer(self, to: str, now: float) -> None:
        """Count a call that is given to somebody else: many may be given to the same one.

        Raises:
            NotAllowed: see `take`.
        """
        self.may_reach(to)
        self._count(now)

    def _count(self, now: float) -> None:
        while self._recent and now - self._recent[0] >= 60.0:
            self._recent.popleft()
        if len(self._recent) >= self.per_minute:
            wait = self._recent[0] + 60.0 - now if self._recent else 60.0
            raise NotAllowed(
                f"is one too many: OUTBOUND_PER_MINUTE is {self.per_minute:g}", slow=True, retry_after=wait
            )
        self._recent.append(now)

    def _may_dial(self, number: str, *, by_host: str = "") -> None:
        allowed = max((len(prefix) for prefix in self.allow if number.startswith(prefix)), default=0)
        denied, what = _denied(number)
        if denied and allowed < denied:
            raise NotAllowed(f"is not allowed ({what}): {number[:denied]}... must be named by OUTBOUND_ALLOW")
        if self.allow and not allowed and not (by_host and self._allows_host(by_host)):
            raise NotAllowed("is not allowed: OUTBOUND_ALLOW names no prefix of it")

    def _allows_host(self, host: str) -> bool:
        host = host.lower()
        for entry in self.allow:
            name = entry.removeprefix("sip:").lower()
            if name != entry.lower() and (host == name or (name.startswith("*.") and host.endswith(name[1:]))):
                return True
        return False


def _denied(number: str) -> tuple[int, str]:
    """How exactly the built-in list names it, and as what; 0: not at all."""
    if _NANP_EXCHANGE.fullmatch(number):
        return 8, "North America: pay-per-call exchange"
    found = [(len(p), what) for what, prefixes in DENIED.items() for p in prefixes if number.startswith(p)]
    return max(found, default=(0, ""))


def parse_allow(text: str) -> tuple[str, ...]:
    """The entries of `OUTBOUND_ALLOW`.

    Raises:
        ValueError: one is neither a prefix nor a SIP host; says which.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    for entry in entries:
        if not re.fullmatch(r"\+[0-9]{1,15}|sip:(\*\.)?[A-Za-z0-9.-]+", entry):
            raise ValueError(f"{entry!r} is neither a number's beginning (+49) nor a SIP host (sip:pbx.example.com)")
    return tuple(entries)


def doubts(allow: tuple[str, ...], configured: Mapping[str, str]) -> list[str]:
    """A sentence for each destination in `configured` (by where it is set) that `POST /calls` would refuse.

    It is used all the same: no token and no model can have chosen it."""
    tolls, found = Tolls(allow), []
    for where, to in configured.items():
        try:
            tolls.may_reach(to)
        except NotAllowed as error:
            found.append(f"{where} is used as it is set, but POST /calls would refuse it: it {error}")
    return found


def described() -> str:
    """The built-in list, for people."""
    return "; ".join(f"{what}: {', '.join(prefixes)}" for what, prefixes in DENIED.items())
