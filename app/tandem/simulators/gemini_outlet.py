"""The way out of a simulated session: binary messages, the agenda of what comes later, and faults on the way."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tandem.simulators.gemini_script import GeminiOptions
from tandem.simulators.openai_outlet import Action, Close, Cut, Send

UNKNOWN: Final = ("modelStatus", "latencyReport", "sessionDiagnostics")
"""Messages that no client knows; a good client passes over them."""
REASONS: Final[Mapping[int, str]] = {
    1007: "Request contains an invalid argument.",
    1008: "The operation was aborted.",
    1011: "Internal error encountered.",
}
_MISCHIEF_AT_PIECE: Final = 2
"""Faults in the middle of a turn strike at this piece of its audio."""


@dataclass(slots=True)
class Record:
    """What passed, for inspection. The lists and the audio stay empty when nothing is to be kept."""

    received: list[dict[str, Any]] = field(default_factory=list)
    """Client messages in order, names in camel case; caller audio is left out (see `audio`)."""
    audio: bytearray = field(default_factory=bytearray)
    """All caller audio, as it came."""
    turns: list[bytes] = field(default_factory=list)
    """The audio of each of the caller's turns."""
    sent: list[bytes] = field(default_factory=list)
    """Every message as it went out; `messages` decodes them."""
    pieces: int = 0
    """Messages of caller audio."""
    responses: int = 0
    heard_ms: float = 0.0
    said_ms: float = 0.0

    def messages(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What was sent, decoded; only messages with that field when one is named."""
        everything: list[dict[str, Any]] = [msgspec.json.decode(message) for message in self.sent]
        return everything if kind is None else [message for message in everything if kind in message]

    def commands(self, kind: str) -> list[Any]:
        """Bodies of the client messages of that kind."""
        return [message[kind] for message in self.received if kind in message]


class Outlet:
    """Collects what is to be sent until it is drained. After `close`, and while mute, emitting does nothing."""

    def __init__(self, options: GeminiOptions, faults: Mapping[str, str], rng: random.Random, now: float) -> None:
        self.now = now
        self.record = Record()
        self.is_mute = False
        self.is_closed = False
        self._options = options
        self._faults = faults
        self._rng = rng
        self._out: list[Action] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._emitted = 0
        self._pieces = 0
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
        return f"{prefix}-{self._rng.getrandbits(64):016x}"

    def content(self, **fields: Any) -> None:
        """Send a `serverContent` with these fields."""
        self.emit(serverContent=fields)

    def emit(self, **message: Any) -> None:
        """Send a message. It is written down at once, so what it refers to may change afterwards."""
        if self.is_mute or self.is_closed:
            return
        self._emitted += 1
        if self._options.extras:
            self._decorate(message)
        self._send(msgspec.json.encode(message))
        if "setupComplete" in message:
            self._strike_when_ready()
        if "unknown-events" in self._faults or self._emitted == self._unknown_at:
            self._send(msgspec.json.encode({self._rng.choice(UNKNOWN): {"shard": self._rng.randint(0, 9)}}))

    def audio(self, data: str, mime_type: str) -> None:
        """Send a piece of the agent's voice, unless a fault strikes."""
        self._pieces += 1
        if self._pieces == _MISCHIEF_AT_PIECE:
            if "close-mid-response" in self._faults:
                code = int(self._faults["close-mid-response"])
                self.close(code, REASONS.get(code, ""))
            if "cut" in self._faults:
                self._out.append(Cut())
                self.is_closed = True
            if "bad-base64" in self._faults:
                data = "@@not base64@@"
        self.content(modelTurn={"parts": [{"inlineData": {"mimeType": mime_type, "data": data}}]})

    def new_turn(self) -> None:
        """Faults in the middle of a turn count its pieces from here."""
        self._pieces = 0

    def close(self, code: int, reason: str = "") -> None:
        """End the session."""
        if not self.is_closed:
            self._out.append(Close(code, reason))
            self.is_closed = True

    def _send(self, text: bytes) -> None:
        if self.is_closed or self.is_mute:
            return
        self._out.append(Send(text, binary=True))
        if self._options.record:
            self.record.sent.append(text)

    def _decorate(self, message: dict[str, Any]) -> None:
        """Now and then an empty message, or a field that nobody documented."""
        chance = self._rng.random()
        if chance < 0.1:
            self._send(b"{}")
        elif chance < 0.3:
            message["traceId"] = f"{self._rng.getrandbits(40):x}"
        elif chance < 0.4 and "serverContent" in message:
            message["serverContent"] = {**message["serverContent"], "groundingMetadata": {}}

    def _strike_when_ready(self) -> None:
        if "bad-json" in self._faults:
            self._send(b'{"serverContent":{"modelTurn":{"parts":[')
        if "close-after-ready" in self._faults:
            code = int(self._faults["close-after-ready"])
            self.close(code, REASONS.get(code, ""))
        if "silent-after-ready" in self._faults:
            self.is_mute = True
