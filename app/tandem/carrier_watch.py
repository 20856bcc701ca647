"""Is the carrier still there? It may have nothing to say, take nothing more, or be gone without a word. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem.call_types import EndReason

BAD_FRAMES = 5
BAD_FRAME_WINDOW = 10.0
"""So many unreadable frames in so many seconds are no stream any more."""
STALE_AFTER_SECONDS = 2.0
"""What waits for a carrier that has taken nothing for so long is too old to be said, but for the last of it."""
KEEP_WHEN_BLOCKED_MS = 2000
PROBE_AFTER_SECONDS = 5.0
PROBE_EVERY_SECONDS = 2.0


@dataclass(slots=True)
class CarrierWatch:
    """A carrier that says nothing is asked by a mark: one that lives returns it, a dead one never does."""

    gone_seconds: float
    """Silent, or taking nothing, for so long: gone."""
    last_word: float
    blocked_since: float | None = None
    probes: int = 0
    _probed_at: float = 0.0
    _bad_times: list[float] = field(default_factory=list)

    def heard(self, now: float) -> None:
        """The carrier said something, whatever it was."""
        self.last_word = max(self.last_word, now)

    def block(self, blocked: bool, now: float) -> None:
        """Its socket takes nothing at the moment, or takes again."""
        self.blocked_since = now if blocked else None

    def gone(self, now: float) -> EndReason | None:
        """Whether, and how, the carrier is no longer there."""
        if self.stalled(now):
            return EndReason.CARRIER_STALLED
        return EndReason.CARRIER_SILENT if self.silent(now) else None

    def stalled(self, now: float) -> bool:
        return self.blocked_since is not None and now - self.blocked_since >= self.gone_seconds

    def stalled_for(self, now: float) -> float:
        """Seconds since it took anything."""
        return 0.0 if self.blocked_since is None else now - self.blocked_since

    def silent(self, now: float) -> bool:
        return self.blocked_since is None and now - self.last_word >= self.gone_seconds

    def probe(self, now: float) -> str | None:
        """The name of a mark to be sent now, to see whether it comes back."""
        after = min(PROBE_AFTER_SECONDS, self.gone_seconds / 2)
        if self.blocked_since is not None or now - self.last_word < after:
            return None
        if now - self._probed_at < min(PROBE_EVERY_SECONDS, after):
            return None
        self._probed_at = now
        self.probes += 1
        return f"probe{self.probes}"

    def bad_frame(self, now: float) -> bool:
        """One that can't be read. True when that is one too many."""
        self._bad_times = [*self._bad_times[1 - BAD_FRAMES :], now]
        return len(self._bad_times) == BAD_FRAMES and now - self._bad_times[0] <= BAD_FRAME_WINDOW
