"""The way out of a simulated session: events with their ids, the agenda of what comes later, and faults on the way."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tandem.simulators.openai_checks import Refused
from tandem.simulators.openai_script import OpenAIOptions

UNKNOWN_EVENTS: Final = ("session.diagnostics.updated", "conversation.summary.updated", "response.reasoning.delta")
"""Kinds that no client knows; a good client passes over them."""
_MISCHIEF_AT_DELTA: Final = 2
"""Faults in the middle of a response strike at this piece of its audio."""
_ID_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class Send:
    """A message to the client."""

    text: bytes
    binary: bool = False
    """In a binary frame, as some servers send their JSON."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket; nothing more is sent."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """Reset the connection, without a farewell."""


Action = Send | Close | Cut


@dataclass(slots=True)
class Record:
    """What passed, for inspection. The lists and the audio stay empty when nothing is to be kept."""

    received: list[dict[str, Any]] = field(default_factory=list)
    """Client messages in order; audio appends are left out (see `audio`)."""
    audio: bytearray = field(default_factory=bytearray)
    """All caller audio, decoded, in the input format of its time."""
    turns: list[bytes] = field(default_factory=list)
    """The audio of each committed user turn."""
    truncations: list[dict[str, Any]] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    """Every message as it went out; `events` decodes them."""
    appends: int = 0
    responses: int = 0
    heard_ms: float = 0.0
    said_ms: float = 0.0

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What was sent, decoded; only events of that type when one is named."""
        decoded: list[dict[str, Any]] = [msgspec.json.decode(message) for message in self.sent]
        return decoded if kind is None else [event for event in decoded if event["type"] == kind]

    def messages(self, kind: str) -> list[dict[str, Any]]:
        """Client messages of that type."""
        return [message for message in self.received if message["type"] == kind]


class Outlet:
    """Collects what is to be sent until it is drained. After `close`, and while mute, emitting does nothing."""

    READY = "session.updated"
    """The event after which a session may be used, and faults begin."""
    AUDIO = "response.output_audio.delta"

    def __init__(
        self,
        options: OpenAIOptions,
        faults: Mapping[str, str],
        rng: random.Random,
        now: float,
        tell: Callable[[dict[str, Any]], list[dict[str, Any]]] = lambda event: [event],
    ) -> None:
        self.now = now
        self.record = Record()
        self.is_mute = False
        self.is_closed = False
        self._options = options
        self._faults = faults
        self._rng = rng
        self._tell = tell
        self._out: list[Action] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._serial = itertools.count(1)
        self._deltas = 0
        self._unknown_at = rng.randint(2, 8) if options.extras else 0

    @property
    def next_due(self) -> float | None:
        """When the agenda's next entry is due."""
        return self._agenda[0][0] if self._agenda else None

    def at(self, due: float, action: Callable[[], None]) -> None:
        """Do that at that time; at the same time, first come first served."""
        heapq.heappush(self._agenda, (due, next(self._order), action))

    def run_due(self, now: float) -> list[Action]:
        """Do what is due, and answer all that is to be sent."""
        while self._agenda and self._agenda[0][0] <= now and not self.is_closed:
            due, _, action = heapq.heappop(self._agenda)
            # Each thing happens at its own time, however late we are called: paced audio does not drift.
            self.now = due
            action()
        self.now = now
        out, self._out = self._out, []
        return out

    def new_id(self, prefix: str) -> str:
        """An id as the vendor makes them."""
        return f"{prefix}_{''.join(self._rng.choices(_ID_ALPHABET, k=15))}"

    def emit(self, event: dict[str, Any]) -> None:
        """Send an event. It is written down at once, so what it refers to may change afterwards."""
        if self.is_mute or self.is_closed:
            return
        kind = event["type"]
        serial = next(self._serial)
        event = {"type": kind, "event_id": f"event_{serial:06d}", **event}
        if self._options.extras:
            self._decorate(event)
        if kind == self.AUDIO:
            event = self._strike(event)
        for told in self._tell(event):
            self._send(msgspec.json.encode(told))
        if kind == self.READY:
            self._strike_when_ready()
        if "unknown-events" in self._faults or serial == self._unknown_at:
            unknown = {"type": self._rng.choice(UNKNOWN_EVENTS), "event_id": f"event_u{serial:05d}"}
            self._send(msgspec.json.encode(unknown))

    def error(self, refusal: Refused, event_id: str | None = None) -> None:
        """Send an `error` event; `event_id` is that of the message it answers."""
        error = {
            "type": refusal.kind,
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "event_id": event_id,
        }
        self.emit({"type": "error", "error": error})

    def close(self, code: int, reason: str = "") -> None:
        """End the session."""
        if not self.is_closed:
            self._out.append(Close(code, reason))
            self.is_closed = True

    def new_response(self) -> None:
        """Faults in the middle of a response count its pieces from here."""
        self._deltas = 0

    def _send(self, text: bytes) -> None:
        if self.is_closed or self.is_mute:
            return
        self._out.append(Send(text))
        if self._options.record:
            self.record.sent.append(text)

    def _decorate(self, event: dict[str, Any]) -> None:
        """Now and then a field that nobody documented."""
        chance = self._rng.random()
        if chance < 0.2:
            event["obfuscation"] = f"{self._rng.getrandbits(40):x}"
        elif chance < 0.4:
            for name in ("session", "response", "item", "part"):
                if name in event:
                    event[name] = {**event[name], "x_trace": {"shard": self._rng.randint(0, 9)}}

    def _strike_when_ready(self) -> None:
        if "bad-json" in self._faults:
            self._out.append(Send(b'{"type":"response.created","response":{"id":'))
        if "close-after-ready" in self._faults:
            self.close(int(self._faults["close-after-ready"]))
        if "silent-after-ready" in self._faults:
            self.is_mute = True

    def _strike(self, event: dict[str, Any]) -> dict[str, Any]:
        self._deltas += 1
        if self._deltas != _MISCHIEF_AT_DELTA:
            return event
        if "close-mid-response" in self._faults:
            self.close(int(self._faults["close-mid-response"]))
        if "cut" in self._faults:
            self._out.append(Cut())
            self.is_closed = True
        return {**event, "delta": "@@not base64@@"} if "bad-base64" in self._faults else event
