"""How long a call waits for its media stream, from the first ring to the first word of the carrier. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.call_types import CallPlan, EndReason

DIAL_SECONDS = 15.0
"""For a carrier to begin to ring somebody whom we call, and to tell that nobody answers."""


@dataclass(slots=True)
class StreamWatch:
    """Whoever is called picks up (`answered`), the carrier opens its socket (`attached`), and says what it streams."""

    plan: CallPlan
    since: float
    """The call began, or was answered."""
    dialling: bool
    attached_at: float | None = None

    def answered(self, now: float) -> None:
        """Whoever we called has picked up."""
        self.since, self.dialling = now, False

    def late(self, now: float) -> EndReason | None:
        """Why it is no use to wait any longer, if it is not."""
        plan = self.plan
        if self.attached_at is not None:
            return EndReason.NO_START if now >= self.attached_at + plan.start_seconds else None
        if self.dialling and plan.outbound is not None:
            return EndReason.NO_ANSWER if now >= self.since + plan.outbound.ring_seconds + DIAL_SECONDS else None
        return EndReason.NO_STREAM if now >= self.since + plan.stream_seconds else None
