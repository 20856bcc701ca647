"""The token in a media stream's URL: short-lived, for one use, bound to a carrier and to a call.

    "v1" + session (32 hex) + expiry (8 hex, Unix seconds) + HMAC-SHA256 (64 hex) over "v1|carrier|session|call|expiry"

The call's id is under the MAC but not in the token, so a stolen token tells nothing and fits no other call. Whoever
issued the token knows the call of that session and can verify at the WebSocket's upgrade. Another instance with the
same key checks shape and expiry at the upgrade, and the MAC when the stream's `start` names the call: before any of
the call's audio moves and before anything costs money.

Pure: the key and the time are arguments.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

CLOCK_ALLOWANCE: Final = 30.0
"""Seconds by which the clocks of two instances may differ."""

MAX_LIFETIME: Final = 3600.0
"""No token is issued for longer than this, so one that claims more is forged."""

_SHAPE: Final = re.compile(r"v1([0-9a-f]{32})([0-9a-f]{8})([0-9a-f]{64})")
_SESSION: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the right shape; nothing about it is proved until `verify` says so."""

    session: str
    expires: int
    """Unix seconds."""
    mac: str = field(repr=False)

    @property
    def name(self) -> str:
        """Tells it from the other tokens of its call: one whose stream comes back gets another."""
        return f"{self.session}{self.expires:08x}"

    def expired(self, now: float, allowance: float = CLOCK_ALLOWANCE) -> bool:
        """Too late to be used, or not of our making because it would live too long."""
        return not -allowance <= self.expires - now <= MAX_LIFETIME + allowance

    def of_ours(self, key: bytes, carrier: str) -> bool:
        """Whether an instance with this key made the session. Constant time. Proves nothing about the call."""
        return hmac.compare_digest(_proof(key, carrier, self.session[:16]), self.session[16:])

    def verify(self, key: bytes, carrier: str, call_id: str) -> bool:
        """Whether this key issued it for this call of this carrier. Constant time."""
        expected = _mac(key, carrier, self.session, call_id, self.expires)
        return hmac.compare_digest(expected.encode("ascii"), self.mac.encode("ascii"))


def issue(key: bytes, carrier: str, session: str, call_id: str, expires: float) -> str:
    """A token that ends with the second `expires`. `session` is 32 random hex digits: one token each.

    `call_id` is empty where it is not known yet (an outbound call whose stream may open before the reply to dialling).

    Raises:
        ValueError: `session` has another shape, or a name contains the separator.
    """
    if not _SESSION.fullmatch(session):
        raise ValueError("a session id is 32 lower-case hex digits")
    if "|" in carrier or "|" in call_id:
        raise ValueError("a carrier's name and a call id have no '|' in them")
    until = int(expires)
    return f"v1{session}{until:08x}{_mac(key, carrier, session, call_id, until)}"


def new_session(key: bytes, carrier: str, chance: str) -> str:
    """The id of a new call: `chance` (16 random hex digits) and a proof that we made it.

    Another instance can so tell at the upgrade, before it knows the call, that a stream was ordered by one of us.
    """
    return chance + _proof(key, carrier, chance)


def _proof(key: bytes, carrier: str, chance: str) -> str:
    return hmac.new(key, f"session|{carrier}|{chance}".encode(), hashlib.sha256).hexdigest()[:16]


def parse(token: str) -> Token | None:
    """The parts of a token, or None when it has not the shape of one. Proves nothing."""
    match = _SHAPE.fullmatch(token)
    return Token(match[1], int(match[2], 16), match[3]) if match else None


def _mac(key: bytes, carrier: str, session: str, call_id: str, expires: int) -> str:
    message = f"v1|{carrier}|{session}|{call_id}|{expires}"
    return hmac.new(key, message.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


class SingleUse:
    """Remembers used tokens until they expire of themselves.

    Give it verified tokens only: then its size is bounded by what we issue, and strangers can't fill it. Full, it
    refuses: letting the oldest go would let it be used again.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._used: set[str] = set()
        self._expiries: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._used)

    def __contains__(self, token: Token) -> bool:
        """Whether it has been used, and could otherwise be used still."""
        return token.name in self._used

    def take(self, token: Token, now: float) -> bool:
        """Use the token: True the first time, False ever after."""
        while self._expiries and self._expiries[0][0] < now:
            self._used.discard(heapq.heappop(self._expiries)[1])
        if token.name in self._used or token.expired(now) or len(self._used) >= self._capacity:
            return False
        self._used.add(token.name)
        heapq.heappush(self._expiries, (token.expires + CLOCK_ALLOWANCE, token.name))
        return True
