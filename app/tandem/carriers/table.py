"""The carriers, one row each: what joins a carrier's wire dialect to its traits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from tandem.carriers import plivo, telnyx, twilio
from tandem.carriers.events import CarrierCommand, CarrierEvent, CarrierTraits


class StreamDialect(Protocol):
    """One media stream in a carrier's own words, pure."""

    def receive(self, data: bytes) -> list[CarrierEvent]:
        """One text message; never raises."""
        ...

    def play(self, audio: bytes) -> bytes:
        """Audio in the outbound format, as one message; empty when it waits for more to go with."""
        ...

    def send(self, command: CarrierCommand) -> list[bytes]:
        """Any command, as messages."""
        ...


@dataclass(frozen=True, slots=True)
class CarrierKind:
    """One carrier."""

    traits: CarrierTraits
    dialect: Callable[[], StreamDialect]

    @property
    def name(self) -> str:
        return self.traits.name


TWILIO: Final = CarrierKind(twilio.TRAITS, twilio.TwilioStream)
TELNYX: Final = CarrierKind(telnyx.TRAITS, telnyx.TelnyxStream)
PLIVO: Final = CarrierKind(plivo.TRAITS, plivo.PlivoStream)
CARRIERS: Final = {kind.name: kind for kind in (TWILIO, TELNYX, PLIVO)}
