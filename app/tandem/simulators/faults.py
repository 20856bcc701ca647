"""What can be made to go wrong with a simulated provider: one table, for code, help and drills.

A fault is written `NAME`, `NAME=VALUE`, or either followed by `*N`: it then holds for the first N connections only,
so that a client which tries again, or a breaker which closes again, meets a healthy server.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One row of the table."""

    help: str
    value: str | None = None
    """What a value means; None: it takes none."""
    default: str = ""
    """The value when none is given; with a meaning and no default, one must be given."""


FAULTS: Final[Mapping[str, FaultKind]] = {
    "refuse": FaultKind("the handshake is refused", "HTTP status: 400, 401, 403, 404, 429, 500 or 503", "503"),
    "retry-after": FaultKind("refusals carry Retry-After", "seconds", "1"),
    "hang-connect": FaultKind("TCP is accepted, the handshake never answered"),
    "close-on-connect": FaultKind("accepted, then closed before a word", "close code", "1011"),
    "delay-ready": FaultKind("the first event comes late", "seconds", "3"),
    "silent": FaultKind("accepted, but nothing is ever sent"),
    "invalid-key-late": FaultKind("accepted, then error invalid_api_key and close 3000"),
    "close-after-ready": FaultKind("closed right after session.updated", "close code", "1011"),
    "silent-after-ready": FaultKind("nothing is sent after session.updated"),
    "unconfirmed": FaultKind("the session is taken in without session.updated"),
    "refuse-field": FaultKind(
        "a session with this field is refused", "path of a setting", "audio.input.noise_reduction"
    ),
    "vanish": FaultKind("the first response is announced and never heard of again"),
    "no-answer": FaultKind("the caller is heard, but no response is ever made"),
    "close-mid-response": FaultKind("closed after the second piece of a response's audio", "close code", "1011"),
    "cut": FaultKind("the connection is reset after the second piece of a response's audio"),
    "burst": FaultKind("audio comes faster than real time", "factor", "10"),
    "slow": FaultKind("audio comes slower than real time", "factor", "0.5"),
    "odd-deltas": FaultKind("16-bit audio is cut in the middle of samples"),
    "unknown-events": FaultKind("events of kinds nobody knows, between all others"),
    "late-deltas": FaultKind("a cancelled response's audio goes on for a little after its end"),
    "duplicate-tool-calls": FaultKind("each function call is told twice"),
    "bad-json": FaultKind("a message that is no JSON follows session.updated"),
    "bad-base64": FaultKind("the second piece of a response's audio is no base64"),
    "session-expired": FaultKind("the session reaches its maximum duration early", "seconds", "1"),
    "transcription-failed": FaultKind("what the caller said is never transcribed"),
    "quota": FaultKind(
        "no quota left", "when: `connect` (error, then silence) or `response` (each response fails)", "response"
    ),
    "rate-limited-response": FaultKind("each response fails with rate_limit_exceeded"),
    "model-not-found": FaultKind("each response fails with model_not_found"),
    "go-away": FaultKind("the connection is said to end soon, right after it is ready", "seconds", "3"),
    "resume-refused": FaultKind("handles of earlier sessions are not accepted"),
    "wrong-format": FaultKind("another output format than asked for is confirmed and sent"),
}
_REFUSALS: Final = ("400", "401", "403", "404", "429", "500", "503")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault asked for."""

    name: str
    value: str = ""
    first: int | None = None
    """It holds for the first so many connections; None: for all."""


def parse_fault(text: str) -> Fault:
    """Read `NAME[=VALUE][*N]`.

    Raises:
        ValueError: no such fault, or a value that it does not take; says what would do.
    """
    spec, star, count = text.partition("*")
    if star and not (count.isdecimal() and int(count)):
        raise ValueError(f"fault {text!r}: after * comes the number of connections it holds for")
    name, equals, value = spec.partition("=")
    kind = FAULTS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, FAULTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FAULTS)}"
        raise ValueError(f"there is no fault {name!r}: {hint}")
    if equals and kind.value is None:
        raise ValueError(f"fault {name} takes no value")
    value = value or kind.default
    _check_value(name, kind, value)
    return Fault(name, value, int(count) if star else None)


def _check_value(name: str, kind: FaultKind, value: str) -> None:
    wrong = ValueError(f"fault {name}={value}: wanted {kind.value}")
    if name == "refuse" and value not in _REFUSALS:
        raise wrong
    if name == "quota" and value not in ("connect", "response"):
        raise wrong
    if kind.value == "close code" and not (value.isdecimal() and 1000 <= int(value) < 5000):
        raise wrong
    if kind.value in ("seconds", "factor"):
        try:
            good = float(value) > 0
        except ValueError:
            raise wrong from None
        if not good:
            raise wrong


def faults_of_connection(faults: Iterable[Fault], number: int) -> dict[str, str]:
    """The faults that hold for connection `number` (counted from 1): name to value."""
    return {fault.name: fault.value for fault in faults if fault.first is None or number <= fault.first}
