"""Whom next, and when: decided here, done elsewhere. Pure; `now` is any monotonic clock, `jitter` lies in [0, 1).

A `Breaker` remembers how one provider has fared with all calls of the process. A `Plan` leads one call through its
providers: in order, within a budget, with at most one retry, and only where a retry can help.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tandem_providers.errors import (
    AuthenticationFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)

WINDOW_SECONDS: Final = 10.0
FAILURES: Final = 5
RESULTS: Final = 10
"""So many failures within the window, among so many last results, and the provider is left alone for a while."""
REST_SECONDS: Final = (5.0, 15.0)
"""How long: somewhere between, so that many processes do not come back at once."""
QUOTA_SECONDS: Final = 300.0
AUTH_SECONDS: Final = 900.0
"""A refused key and an empty account do not get better by themselves."""

RETRY_COST: Final = 10
RETRY_CREDIT: Final = 30
"""A retry is paid for with so many successes, and no more than so many are saved up for it: an outage must not double
the load on the provider."""
QUICK_SECONDS: Final = 0.5
"""Only what failed as fast as this is tried again: after a longer wait the caller needs another provider."""
PAUSE_SECONDS: Final = (0.1, 0.3)
"""Before it is. Short: when that fails, too, the whole apology shall be heard within five seconds of the answer."""
LONGEST_PAUSE: Final = 1.0
"""While others are left. When none is, a longer `retry_after` is waited for as long as it fits the budget."""
LEAST_SECONDS: Final = 0.25
"""An attempt with less time than this is not worth making."""
INSISTS_SECONDS: Final = (1.0, 1.5)
"""After so long a conversation that would end otherwise tries once more: a blip is over by then."""


class Pass:
    """Leave to make one attempt. To be told once how that went: `succeeded`, `failed` or `abandoned`."""

    __slots__ = ()


class Breaker:
    """One provider's recent past, shared by all calls of the process.

    Closed: everybody may try. Open: nobody. Half-open, once the rest is over: one at a time, to see.
    """

    def __init__(self) -> None:
        self._results: deque[tuple[float, bool]] = deque(maxlen=RESULTS)
        """The last ones: when, and whether it failed."""
        self._open_until: float | None = None
        self._probe: Pass | None = None
        self._credit = RETRY_CREDIT
        self.reason = ""
        """Why it is open."""
        self.lasting = False
        """That does not get better by itself."""

    def state(self, now: float) -> Literal["closed", "open", "half-open"]:
        if self._open_until is None:
            return "closed"
        return "open" if now < self._open_until else "half-open"

    def admits(self, now: float) -> bool:
        """Whether `admit` would let somebody in."""
        state = self.state(now)
        return state == "closed" or (state == "half-open" and self._probe is None)

    def admit(self, now: float) -> Pass | None:
        """Leave to try this provider, or None: it is to be left alone now."""
        if not self.admits(now):
            return None
        leave = Pass()
        if self._open_until is not None:
            self._probe = leave
        return leave

    def admit_retry(self, now: float) -> Pass | None:
        """Leave to try once more after a failure: only while it is closed, and as long as there is credit."""
        if self._credit < RETRY_COST or self.state(now) != "closed":
            return None
        self._credit -= RETRY_COST
        return self.admit(now)

    def succeeded(self, now: float) -> None:
        """It works: open for everybody, whoever found out."""
        self._credit = min(RETRY_CREDIT, self._credit + 1)
        if self._open_until is not None:
            self._open_until = None
            self._probe = None
            self._results.clear()
        self._results.append((now, False))

    def failed(self, leave: Pass | None, error: ProviderError, now: float, jitter: float) -> None:
        """An attempt failed or, without leave, a session that was up died of this."""
        probed = leave is not None and leave is self._probe
        if leave is not None:
            self.abandoned(leave)
        if isinstance(error, InvalidConfigError | SessionClosedError):
            return  # says more about what was asked than about the provider
        if isinstance(error, AuthenticationFailedError):
            self._open(now + AUTH_SECONDS, "its key was refused", lasting=True)
        elif isinstance(error, RateLimitedError) and error.exhausted:
            self._open(now + QUOTA_SECONDS, "its quota is exhausted", lasting=True)
        elif self._open_until is None or probed:
            self._results.append((now, True))
            if probed or self._fails_too_often(now):
                self._open(now + _rest(error, jitter), "it keeps failing")

    def abandoned(self, leave: Pass) -> None:
        """The attempt was given up before it told anything."""
        if leave is self._probe:
            self._probe = None

    def _open(self, until: float, reason: str, *, lasting: bool = False) -> None:
        self._open_until = until if self._open_until is None else max(until, self._open_until)
        self.reason, self.lasting = reason, lasting

    def _fails_too_often(self, now: float) -> bool:
        return sum(failed and at > now - WINDOW_SECONDS for at, failed in self._results) >= FAILURES


def _rest(error: ProviderError, jitter: float) -> float:
    shortest, longest = REST_SECONDS
    return min(max(shortest + (longest - shortest) * jitter, error.retry_after or 0.0), longest)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Try this provider: after `wait` seconds, for `seconds` at most."""

    index: int
    wait: float
    seconds: float
    leave: Pass


class Plan:
    """One call's way through its providers.

    `next` says what to try; then exactly one of `succeeded`, `failed`, `abandoned` tells how that went. One that
    `insists`, for a conversation that would be cut short, tries the first provider that may be back by now when nobody
    else is left: at once if all were to be left alone, and once more a moment later.
    """

    def __init__(
        self,
        names: Sequence[str],
        breakers: Sequence[Breaker],
        now: float,
        *,
        attempt_seconds: float,
        total_seconds: float,
        insists: bool = False,
    ) -> None:
        self._names = names
        self._breakers = breakers
        self._deadline = now + total_seconds
        self._attempt_seconds = attempt_seconds
        self._index = 0
        self._retry: tuple[float, Pass] | None = None
        self._retried = False
        self._insists = insists
        self._hopeful: list[int] = []
        """Whose failure may pass, in order."""
        self._tried = False
        self._jitter = 0.0
        self.goes_on = True
        """There is something to be tried now, beside whatever is under way."""
        self.errors: list[ProviderError] = []
        """Why each one failed or was passed over, in order."""

    def next(self, now: float) -> Attempt | None:
        """What to try now; None when nothing is left."""
        self.goes_on = False
        if self._retry is not None:
            (wait, retry_leave), self._retry = self._retry, None
            return self._attempt(now, wait, retry_leave)
        while self._index < len(self._breakers):
            leave = self._admit(now)
            if leave is not None:
                return self._attempt(now, 0.0, leave)
            self._index += 1
        return self._insist(now)

    def may_go_on(self, attempt: Attempt) -> bool:
        """Whether somebody is left to be tried beside this attempt."""
        return self._retry is None and attempt.index == self._index < len(self._breakers) - 1

    def go_on(self, attempt: Attempt) -> None:
        """This one is slow: it keeps its chance, but the next one is tried beside it."""
        self._index = max(self._index, attempt.index + 1)
        self.goes_on = True

    def succeeded(self, attempt: Attempt, now: float) -> None:
        self._breakers[attempt.index].succeeded(now)

    def abandoned(self, attempt: Attempt) -> None:
        self._breakers[attempt.index].abandoned(attempt.leave)

    def failed(self, attempt: Attempt, error: ProviderError, *, began: float, now: float, jitter: float) -> None:
        """`began` is when the provider was first spoken to."""
        self.errors.append(error)
        self.goes_on = True
        self._jitter = jitter
        self._note(attempt.index, error.retryable)
        breaker = self._breakers[attempt.index]
        breaker.failed(attempt.leave, error, now, jitter)
        pause = None if self._retried or now - began > QUICK_SECONDS else self._pause(error, now, jitter)
        leave = None if pause is None else breaker.admit_retry(now)
        if pause is not None and leave is not None:
            self._retry = (pause, leave)
            self._retried = True
        elif attempt.index == self._index:
            self._index += 1

    def error(self) -> ProviderError:
        """All failures as one, of their common kind when they have one."""
        return combined(self.errors)

    def _admit(self, now: float) -> Pass | None:
        breaker = self._breakers[self._index]
        if self._deadline - now < LEAST_SECONDS:
            self._skip("no time was left for it", "no_time")
            return None
        leave = breaker.admit(now)
        if leave is None:
            self._skip(f"left alone for a while: {breaker.reason}", "circuit_open")
            self._note(self._index, not breaker.lasting)
        return leave

    def _note(self, index: int, may_pass: bool) -> None:
        if index in self._hopeful and not may_pass:
            self._hopeful.remove(index)
        elif index not in self._hopeful and may_pass:
            self._hopeful.append(index)

    def _insist(self, now: float) -> Attempt | None:
        """Nobody is left, and the conversation ends unless one works after all."""
        if not self._insists or not self._hopeful:
            return None
        wait = 0.0
        if self._tried:
            self._insists = False
            shortest, longest = INSISTS_SECONDS
            wait = shortest + (longest - shortest) * self._jitter
        if self._deadline - now - wait < LEAST_SECONDS:
            return None
        self._retried = True
        index = min(self._hopeful)
        return self._attempt(now, wait, self._breakers[index].admit(now) or Pass(), index)

    def _skip(self, message: str, code: str) -> None:
        self.errors.append(ProviderUnavailableError(message, provider=self._names[self._index], code=code))

    def _attempt(self, now: float, wait: float, leave: Pass, index: int | None = None) -> Attempt:
        self._tried = True
        seconds = min(self._attempt_seconds, self._deadline - now - wait)
        return Attempt(self._index if index is None else index, wait, seconds, leave)

    def _pause(self, error: ProviderError, now: float, jitter: float) -> float | None:
        """How long to wait before trying the same one again; None when that is not to be."""
        others = any(breaker.admits(now) for breaker in self._breakers[self._index + 1 :])
        throttled = isinstance(error, RateLimitedError) and not error.exhausted
        if not error.retryable and (others or not throttled):
            return None
        shortest, longest = PAUSE_SECONDS
        pause = max(shortest + (longest - shortest) * jitter, (error.retry_after or 0.0) * (1 + jitter / 10))
        fits = now + pause + LEAST_SECONDS <= self._deadline and (pause <= LONGEST_PAUSE or not others)
        return pause if fits else None


def combined(errors: Sequence[ProviderError]) -> ProviderError:
    """One error for all of these, which it keeps as `attempts`."""
    kinds = {type(error) for error in errors}
    kind = kinds.pop() if len(kinds) == 1 else ProviderUnavailableError
    result = kind("no provider took the session (" + "; ".join(map(str, errors)) + ")")
    result.attempts = tuple(errors)
    if isinstance(result, RateLimitedError):
        result.exhausted = all(isinstance(error, RateLimitedError) and error.exhausted for error in errors)
    return result
