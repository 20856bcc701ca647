"""When has the caller been silent for too long? A clock on the wall, not a level meter.

Voice activity detection alone would be held up by comfort noise, so where the provider transcribes, only words (and
keys) count as a sign of life; speech that has begun and not ended counts for a limited time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_NUDGE_SHARE = 0.25
"""Of the limit: when to ask whether the caller is still there (15 s of 60 s)."""
_NOISE_SHARE = 0.5
"""Of the limit: so long, at most, what may have been words puts the question off."""
_GOODBYE_SHARE = 0.1
_GOODBYE_SECONDS = 4.0
"""How long before the end the goodbye begins, at most."""


_TRANSCRIPT_SECONDS = 3.0
"""How long the words of a caller may take to be written down."""


@dataclass(slots=True)
class SilenceWatch:
    """`limit` seconds of silence end a call; 0 never does."""

    limit: float
    since: float
    """The silence is counted from here."""
    trust_speech: bool = False
    """Detected speech is a sign of life (where no transcripts come)."""
    nudged: bool = False
    _speech_since: float | None = field(default=None)
    _speech_ended: float = field(default=float("-inf"))

    def start(self, now: float) -> None:
        self.since = now

    def caller_active(self, now: float) -> None:
        """The caller said words or pressed a key."""
        self.since = now
        self.nudged = False

    def said(self, now: float, *, final: bool) -> bool:
        """Words of the caller. Those that are not `final` may still come to nothing, so they only put things off."""
        if final:
            self.caller_active(now)
        else:
            self._speech_ended = now
        return final

    def speech_started(self, now: float) -> None:
        self._speech_since = now

    def speech_stopped(self, now: float) -> None:
        self._speech_since = None
        self._speech_ended = now
        if self.trust_speech:
            self.caller_active(now)

    def agent_active(self, now: float) -> None:
        """The agent speaks or is about to; asking "are you there" does not count."""
        if not self.nudged:
            self.since = now

    @property
    def end_at(self) -> float:
        return self.since + self.limit

    def nudge_due(self, now: float) -> bool:
        """True once per silence. Who was just speaking is about to be answered, and is not asked."""
        if not self.limit or self.nudged or self.talking(now) or now < self.since + self.limit * _NUDGE_SHARE:
            return False
        if self._being_written_down(now, self.since + self.limit * _NOISE_SHARE):
            return False
        self.nudged = True
        # However late it is asked, there is as much time as ever to answer.
        self.since = max(self.since, now - self.limit * _NUDGE_SHARE)
        return True

    def goodbye_due(self, now: float) -> bool:
        if not self.limit or not self.nudged or self.talking(now) or self._being_written_down(now, self.end_at):
            return False
        return now >= self.end_at - min(_GOODBYE_SECONDS, self.limit * _GOODBYE_SHARE)

    def talking(self, now: float) -> bool:
        """Speech under way, as long as that is credible."""
        return self._speech_since is not None and now - self._speech_since < self.limit

    def _being_written_down(self, now: float, until: float) -> bool:
        """Speech was just over, and what was said may still come as words. Mere noise puts off nothing for ever."""
        return now < min(self._speech_ended + _TRANSCRIPT_SECONDS, until)
