"""The way out of a simulated agent session: JSON messages without ids of their own, and voice in binary frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from tandem.simulators.openai_outlet import Outlet, Record, Send


@dataclass(slots=True)
class AgentRecord(Record):
    """What passed, for inspection; `sent` holds messages, and here is what was said in binary frames."""

    voice: bytearray = field(default_factory=bytearray)


class AgentOutlet(Outlet):
    """An `Outlet` whose events are named by the vendor who is simulated."""

    UNKNOWN: ClassVar[tuple[str, ...]] = ()
    """Kinds of messages that no client knows; a good client passes over them."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.record: AgentRecord = AgentRecord()
        self._emitted = 0

    def emit(self, event: dict[str, Any]) -> None:
        """Send a message. It is written down at once, so what it refers to may change afterwards."""
        if self.is_mute or self.is_closed:
            return
        self._emitted += 1
        event = {**event}
        if self._options.extras and self._rng.random() < 0.2:
            event["x_trace"] = f"{self._rng.getrandbits(40):x}"
        if event["type"] == self.AUDIO:
            event = self._strike(event)
        self._send(msgspec.json.encode(event))
        if event["type"] == self.READY:
            self._strike_when_ready()
        if self.UNKNOWN and ("unknown-events" in self._faults or self._emitted == self._unknown_at):
            self._send(msgspec.json.encode({"type": self._rng.choice(self.UNKNOWN), "shard": self._rng.randint(0, 9)}))

    def voice(self, audio: bytes) -> None:
        """Send a piece of the agent's voice in a binary frame, unless a fault strikes."""
        if self.is_mute or self.is_closed:
            return
        self._strike({})
        self._send_voice(audio)

    def _send_voice(self, audio: bytes) -> None:
        if self.is_closed:
            return
        self._out.append(Send(audio, binary=True))
        if self._options.record:
            self.record.voice += audio

    def fail(self, event: dict[str, Any], code: int, reason: str = "") -> None:
        """Say what is wrong, and end the session."""
        self.emit(event)
        self.close(code, reason)
