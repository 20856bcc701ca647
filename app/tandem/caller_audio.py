"""The caller's audio put in order on the media clock: what arrived late, twice or not at all is sorted out here.

A frame in order passes at once. One that came early waits at most 60 ms for the ones before it; what never came
becomes silence, because a provider's turn detection needs time to pass. Some carriers send nothing at all while the
caller is silent: then the clock on the wall speaks for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem.carriers.events import Media
from tandem_codecs.format import FRAME_MS, AudioFormat

REORDER_CHUNKS = 3
"""60 ms of frames: how far a chunk may be out of place and still be put back."""
REORDER_SECONDS = REORDER_CHUNKS * FRAME_MS / 1000
IDLE_SECONDS = 0.4
"""Nothing for this long, and silence is put in. Shorter, and a stall of the network would make the stream longer."""
ANEW_CHUNKS = 25
"""So many old numbers in a row are no late frames: the carrier has begun to count anew (a stream that it restarted, a
counter that ran over). Half a second, far more than a network ever delivers twice in one go."""
LONGEST_GAP_MS = 10_000
"""A larger jump of the carrier's clock is not believed."""


@dataclass(slots=True)
class ArrivalCounters:
    """What the network did to the caller's voice."""

    late_or_twice: int = 0
    reordered: int = 0
    missing: int = 0
    """Chunks that never came."""
    silence_ms: float = 0.0
    """Silence put in."""


@dataclass(slots=True)
class CallerAudio:
    """See the module. `since` is when the stream started; all times are of one monotonic clock."""

    format: AudioFormat
    since: float
    counters: ArrivalCounters = field(default_factory=ArrivalCounters)
    frames: int = 0
    """How many have come."""
    last_media: float = field(init=False)
    """When the carrier last sent audio."""
    _clock: float = field(init=False)
    """Up to here audio has been passed on."""
    _expected: int = 1
    _next_ms: int | None = None
    _due_ms: int | None = None
    """`_next_ms` while all is in order: nothing is waited for, nothing was filled in. None: `_sort` has to see."""
    _filled_ms: float = 0.0
    _old: int = 0
    """The last chunk that came too late, and how many did in a row."""
    _old_run: int = 0
    _early: dict[int, Media] = field(default_factory=dict)
    _early_since: float = 0.0
    _per_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.last_media = self._clock = self.since
        self._per_ms = self.format.bytes_per_ms

    def accept(self, media: Media, now: float) -> bytes:
        """One piece arrived; answers the audio that may go on now, in order (possibly none)."""
        self.frames += 1
        self.last_media = now
        at = media.timestamp_ms
        if at is not None and at == self._due_ms and media.chunk == self._expected:  # as nearly always
            audio = media.audio
            self._clock = now
            self._expected += 1
            self._due_ms = at + len(audio) // self._per_ms
            return audio
        if self._due_ms is not None:
            self._next_ms, self._due_ms = self._due_ms, None
        audio = self._sort(media, now)
        self._settle()
        return audio

    def _settle(self) -> None:
        if not self._filled_ms and not self._early:
            self._due_ms = self._next_ms

    def _sort(self, media: Media, now: float) -> bytes:
        """Any piece but one that comes as it should."""
        chunk = media.chunk
        if chunk is None:
            self._clock = now
            self._filled_ms = 0.0
            return media.audio
        if chunk == self._expected:
            self._clock = now
            audio = self._pass(media)
            return audio if not self._early else audio + self._drain()
        if chunk in self._early or (chunk < self._expected and not self._counts_anew(chunk)):
            self.counters.late_or_twice += 1
            return b""
        if chunk < self._expected:
            self._clock, self._expected, self._next_ms = now, chunk, None
            self._early.clear()
            return self._pass(media)
        if not self._early:
            self._early_since = now
        self._early[chunk] = media
        self.counters.reordered += 1
        if chunk - self._expected <= REORDER_CHUNKS:
            return b""
        self._clock = now
        return self._give_up()

    def _counts_anew(self, old: int) -> bool:
        """Whether this old number is one too many."""
        self._old_run = self._old_run + 1 if old == self._old + 1 else 1
        self._old = old
        return self._old_run > ANEW_CHUNKS

    def flows(self, now: float) -> float:
        """For so many seconds `tick` would find nothing to do, as all is in order and came not long ago; else 0."""
        if self._early or self._filled_ms or now - self._clock >= IDLE_SECONDS / 2:
            return 0.0
        return self._clock + IDLE_SECONDS - now

    def tick(self, now: float) -> bytes:
        """Time passed; answers silence for what did not come."""
        if self._early and now - self._early_since >= REORDER_SECONDS:
            self._clock = now
            audio = self._give_up()
            self._settle()
            return audio
        if not self._filled_ms and now - self._clock < IDLE_SECONDS:
            return b""
        milliseconds = int((now - self._clock) * 1000 + 0.001) // FRAME_MS * FRAME_MS
        self._clock += milliseconds / 1000
        self._filled_ms += milliseconds
        if self._due_ms is not None:
            self._next_ms, self._due_ms = self._due_ms, None
        return self._silence(milliseconds)

    def _pass(self, media: Media) -> bytes:
        """Take the expected chunk, with silence before it where the carrier's own clock jumped."""
        self._expected += 1
        at, duration = media.timestamp_ms, len(media.audio) // self._per_ms
        gap = b""
        if at is not None:
            if self._next_ms is not None and at - self._next_ms >= FRAME_MS:
                missing = min(at - self._next_ms, LONGEST_GAP_MS) - self._filled_ms
                gap = self._silence(missing) if missing > 0 else b""
            self._next_ms = at + duration
        self._filled_ms = 0.0
        return gap + media.audio if gap else media.audio

    def _drain(self) -> bytes:
        pieces = []
        while (media := self._early.pop(self._expected, None)) is not None:
            pieces.append(self._pass(media))
        return b"".join(pieces)

    def _give_up(self) -> bytes:
        """Stop waiting for the missing chunks: what came early goes on, silence stands for the rest."""
        first = min(self._early)
        gap = b""
        if self._next_ms is not None or self._expected > 1:
            missing = first - self._expected
            self.counters.missing += missing
            if self._early[first].timestamp_ms is None:
                gap = self._silence(min(missing * FRAME_MS, LONGEST_GAP_MS))
        self._expected = first
        audio = gap + self._drain()
        if self._early:
            self._early_since = self._clock
        return audio

    def _silence(self, milliseconds: float) -> bytes:
        self.counters.silence_ms += milliseconds
        return self.format.silence(milliseconds)
