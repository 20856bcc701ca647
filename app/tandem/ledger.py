"""The playout ledger: for every piece of agent audio, whether it is held, sent, heard or cut.

Everything that must agree on "what did the caller hear" asks here and nowhere else: where the model's memory is
truncated, how far the transcript goes, whether the agent is speaking, whether the goodbye is over.

The carrier buffers what we send and plays it in order; a mark comes back when all audio before it has been played. So
between marks the position is *the last acknowledged one plus the time elapsed since*, and never more than was sent.
A `clear` empties the carrier's buffer and returns the marks in it at once: those marks say nothing about hearing.

Positions are bytes of the outbound format, counted from the start of the call and set back by a clear.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tandem.carriers.events import CarrierCommand, Clear, Mark, Play
from tandem.transcript import Heard
from tandem_codecs.format import AudioFormat
from tandem_providers.commands import PlaybackReport

MARK_EVERY_MS = 1000
"""Marks within long speech; one per delta would delay it (seen by users of the carriers)."""
LOST_MARK_SECONDS = 2.0
"""A mark this late is taken as played: a carrier that forgets marks must not keep a call "speaking"."""
NOTICED_SECONDS = 0.02
"""A shorter gap than this is hidden by the jitter buffers on the way to the ear."""
REFILL_MS = 200
"""What is held follows in pieces of at least this, not in a message a tick."""
HOLD_LIMIT_MS = 120_000
"""More than this waiting on our side, and the provider is asked to wait."""
_FORGET = 64
"""Cut turns that are remembered, to recognise what still arrives for them."""


@dataclass(slots=True)
class ItemAudio:
    """The audio of one conversation item, in the order it plays."""

    item_id: str
    turn_id: str
    content_index: int
    received: int = 0
    """Bytes that came from the provider."""
    heard: int = 0
    """Bytes known to have been played (never estimated ahead)."""
    complete: bool = False
    """Nothing more will come."""
    cut: bool = False
    """A barge-in ended it: `heard` is final."""


@dataclass(slots=True)
class _Piece:
    item: ItemAudio
    size: int
    audio: bytes = b""
    """Only while held."""
    final: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """What a clear took away from one item."""

    item: ItemAudio
    played_ms: int
    received_ms: int

    @property
    def report(self) -> PlaybackReport:
        """The same, for the provider."""
        item = self.item
        return PlaybackReport(item.item_id, item.turn_id, item.content_index, self.played_ms, self.received_ms)


@dataclass(slots=True)
class PlayoutCounters:
    """What playing cost the caller, for the log and the metrics."""

    underruns: int = 0
    """The carrier ran dry in the middle of an item."""
    underrun_ms: float = 0.0
    lost_marks: int = 0
    stale_bytes: int = 0
    """Audio of a cut turn that came late and was not played."""
    dropped_ms: float = 0.0
    """Held audio thrown away because the carrier would not take it."""


@dataclass(slots=True)
class Ledger:
    """See the module. `lead_ms` is how far ahead of the caller's ear we may fill this carrier's buffer."""

    format: AudioFormat
    lead_ms: float
    counters: PlayoutCounters = field(default_factory=PlayoutCounters)
    items: dict[str, ItemAudio] = field(default_factory=dict)
    blocked: bool = False
    """The socket takes nothing at the moment: everything is held. See `block`."""
    _held: list[_Piece] = field(default_factory=list)
    _held_bytes: int = 0
    _out: list[_Piece] = field(default_factory=list)
    _sent: int = 0
    _taken_back: int = 0
    """Sent, and thrown away by a clear before it was heard."""
    _acknowledged: int = 0
    _anchor: int = 0
    _anchor_time: float | None = None
    _marks: dict[str, int] = field(default_factory=dict)
    _last_mark: int = 0
    _mark_count: int = 0
    _dead_turns: list[str] = field(default_factory=list)
    _dry_since: float | None = None
    _plays_until: float = 0.0
    """Before this the carrier can not have run dry."""
    _tail: _Piece | None = None
    """The piece of `_out` that audio of the same item can simply be added to. None while anything has to wait."""
    _passing: str | None = None
    """Of which item that is."""
    _until: int = 0
    """Up to this position audio can simply be sent: no mark is due, and the carrier has room."""
    _counted: int = 0
    """What was sent behind this position is not yet in the tail's books."""
    _byte_seconds: float = field(init=False)
    _lead: int = field(init=False)
    _mark_every: int = field(init=False)
    _refill: int = field(init=False)

    def __post_init__(self) -> None:
        self._byte_seconds = 0.001 / self.format.bytes_per_ms
        self._lead = self.format.size(self.lead_ms)
        self._mark_every = self.format.size(MARK_EVERY_MS)
        self._refill = self.format.size(min(REFILL_MS, self.lead_ms))
        self._bound()

    # --- what is asked ----------------------------------------------------------------------------

    def played(self, now: float) -> int:
        """Position up to which the caller has heard: acknowledged plus elapsed, never more than sent."""
        if self._anchor_time is None:
            return self._acknowledged
        moved = self._anchor + int((now - self._anchor_time) * 1000 + 0.001) * self.format.bytes_per_ms
        limit = next(iter(self._marks.values()), self._sent)
        return max(self._acknowledged, min(moved, limit, self._sent))

    def speaking(self, now: float) -> bool:
        """Agent audio is waiting or playing."""
        return self._held_bytes > 0 or self.played(now) < self._sent

    def ahead_ms(self, now: float) -> float:
        """How much unplayed audio the carrier has."""
        return (self._sent - self.played(now)) / self.format.bytes_per_ms

    @property
    def sent_bytes(self) -> int:
        """All that ever was sent, heard or not."""
        return self._sent + self._taken_back

    @property
    def held_ms(self) -> float:
        """How much waits on our side."""
        return self._held_bytes / self.format.bytes_per_ms

    @property
    def waits(self) -> bool:
        """Something is held, and goes on as time passes."""
        return bool(self._held) or self.blocked

    @property
    def overfull(self) -> bool:
        return self.held_ms > HOLD_LIMIT_MS

    def heard_ms(self, item: ItemAudio, now: float) -> int:
        """Milliseconds of the item that the caller has heard by now, estimated ahead of the last mark."""
        self._account()
        heard = item.heard
        if not item.cut:
            heard += sum(size for piece, size in self._progress(self.played(now)) if piece.item is item)
        return heard // self.format.bytes_per_ms

    def heard(self, now: float) -> dict[str, Heard]:
        """How much of each item was heard, for the record of the conversation."""
        return {
            key: Heard(self.heard_ms(item, now), self.received_ms(item), item.complete or item.cut, item.cut)
            for key, item in self.items.items()
        }

    def received_ms(self, item: ItemAudio) -> int:
        self._account()
        return item.received // self.format.bytes_per_ms

    # --- what happens -----------------------------------------------------------------------------

    def passes(self, size: int, item_id: str, now: float) -> bool:
        """The short way of a further piece of the item that is being sent.

        True: it is accounted for and may go to the carrier as it is. False: nothing was done, `append` has to decide.
        """
        sent = self._sent + size
        if item_id != self._passing or sent > self._until:
            return False
        if now >= self._plays_until and self._tail is not None:
            self._account()
            self._note_start(self._tail.item, now)
        self._sent = sent
        self._plays_until += size * self._byte_seconds
        return True

    def append(
        self, audio: bytes, item_id: str, turn_id: str, content_index: int, is_final: bool, now: float
    ) -> list[CarrierCommand]:
        """Agent audio arrived; answers what the carrier shall be sent now."""
        self._account()
        if turn_id and turn_id in self._dead_turns:
            self.counters.stale_bytes += len(audio)
            return []
        item = self.items.get(item_id)
        if item is None:
            item = self.items[item_id] = ItemAudio(item_id, turn_id, content_index)
        elif item.cut:
            self.counters.stale_bytes += len(audio)
            return []
        size = len(audio)
        item.received += size
        if is_final:
            item.complete = True
        elif size and not self._held and not self.blocked and self._sent - self._acknowledged + size <= self._lead:
            # The short way of most audio: it may be sent as it is.
            commands: list[CarrierCommand] = []
            self._send(item, audio, False, now, commands)
            return commands
        self._held.append(_Piece(item, size, audio, is_final))
        self._held_bytes += size
        self._follow(None)
        return self._release(now)

    def mark_played(self, name: str, now: float) -> bool:
        """The carrier returned a mark; False when it was one of a clear (or unknown) and proves nothing."""
        position = self._marks.pop(name, None)
        if position is None:
            return False
        self._account()
        for earlier in [other for other, at in self._marks.items() if at <= position]:
            del self._marks[earlier]
        self._acknowledge(position, now)
        return True

    def clear(self, now: float) -> tuple[list[CarrierCommand], list[Cut]]:
        """Barge-in: forget all that has not been heard. Answers nothing when there is nothing to cut."""
        if not self.speaking(now):
            return [], []
        self._account()
        position = self.played(now)
        self._settle(position)
        cut_items = list(dict.fromkeys(id(piece.item) for piece in (*self._out, *self._held)))
        by_id = {id(piece.item): piece.item for piece in (*self._out, *self._held)}
        cuts = []
        for key in cut_items:
            item = by_id[key]
            item.cut = True
            cuts.append(Cut(item, item.heard // self.format.bytes_per_ms, self.received_ms(item)))
            self.kill(item.turn_id)
        self._taken_back += self._sent - position
        commands: list[CarrierCommand] = [Clear()] if position < self._sent or self._marks else []
        self._marks.clear()
        self._held.clear()
        self._held_bytes = 0
        self._out.clear()
        self._sent = self._counted = self._acknowledged = self._anchor = self._last_mark = position
        self._anchor_time = self._dry_since = None
        self._plays_until = 0.0
        self._follow(None)
        self._bound()
        return commands, cuts

    def kill(self, turn_id: str) -> None:
        """Nothing of this turn shall play any more, whenever it arrives."""
        if turn_id and turn_id not in self._dead_turns:
            self._dead_turns = [*self._dead_turns[1 - _FORGET :], turn_id]
        self._follow(None)

    def block(self, blocked: bool) -> None:
        """The socket takes nothing from now on, or takes something again (`tick` sends it what was held)."""
        self.blocked = blocked
        self._follow(None)

    def tick(self, now: float) -> list[CarrierCommand]:
        """Time passed: send what the lead now allows, give up on marks that never came."""
        if self._anchor_time is not None:
            self._account()
            self._expect_marks(now)
        return self._release(now) if self._held else []

    def drop_oldest(self, keep_ms: float) -> None:
        """The carrier takes nothing: held audio beyond `keep_ms` is too old to be said; the oldest goes."""
        excess = self._held_bytes - self.format.size(keep_ms)
        while excess > 0 and self._held:
            piece = self._held[0]
            if piece.size > excess:
                piece.audio = piece.audio[excess:]
                piece.size -= excess
                dropped = excess
            else:
                self._held.pop(0)
                dropped = piece.size
            self._held_bytes -= dropped
            excess -= dropped
            self.counters.dropped_ms += dropped / self.format.bytes_per_ms

    # --- inside -----------------------------------------------------------------------------------

    def _release(self, now: float) -> list[CarrierCommand]:
        commands: list[CarrierCommand] = []
        room = self._lead - (self._sent - self.played(now))
        while self._held and not self.blocked:
            piece = self._held[0]
            if piece.size > room:
                if room < self._refill:
                    break
                room -= room % self.format.frame_bytes
                head = _Piece(piece.item, room, piece.audio[:room])
                piece.audio, piece.size = piece.audio[room:], piece.size - room
                piece = head
            else:
                self._held.pop(0)
            room -= piece.size
            self._held_bytes -= piece.size
            self._send(piece.item, piece.audio, piece.final, now, commands)
        if self._held:
            self._follow(None)
        return commands

    def _bound(self) -> None:
        self._until = min(self._acknowledged + self._lead, self._last_mark + self._mark_every - 1)

    def _follow(self, tail: _Piece | None) -> None:
        """What is sent next may go on in this piece, or has to be looked at."""
        self._account()
        self._tail = tail
        self._passing = None if tail is None else tail.item.item_id

    def _account(self) -> None:
        """Enter what took the short way since this was last done."""
        passed = self._sent - self._counted
        if passed and self._tail is not None:
            self._tail.size += passed
            self._tail.item.received += passed
        self._counted = self._sent

    def _send(self, item: ItemAudio, audio: bytes, final: bool, now: float, commands: list[CarrierCommand]) -> None:
        size = len(audio)
        if size:
            if now >= self._plays_until:
                self._note_start(item, now)
            self._sent += size
            self._counted = self._sent
            self._plays_until += size * self._byte_seconds
            commands.append(Play(audio))
            tail = self._tail
            if tail is not None and tail.item is item:
                tail.size += size
            else:
                tail = _Piece(item, size)
                self._out.append(tail)
                self._follow(tail)
        since_mark = self._sent - self._last_mark
        if since_mark and (final or since_mark >= self._mark_every):
            self._mark_count += 1
            name = f"m{self._mark_count}"
            self._marks[name] = self._last_mark = self._sent
            self._bound()
            commands.append(Mark(name))

    def _note_start(self, item: ItemAudio, now: float) -> None:
        """Start the clock when the carrier's buffer was empty; notice when it ran dry within an item."""
        dry_since = self._dry_since
        if self._anchor_time is not None:
            if self.played(now) < self._sent:
                return
            dry_since = self._anchor_time + (self._sent - self._anchor) * self._byte_seconds
        if dry_since is not None and now - dry_since >= NOTICED_SECONDS and item.heard + self._unheard(item) > 0:
            self.counters.underruns += 1
            self.counters.underrun_ms += (now - dry_since) * 1000
        self._dry_since = None
        self._anchor, self._anchor_time = self._sent, now
        self._plays_until = now

    def _unheard(self, item: ItemAudio) -> int:
        return sum(piece.size for piece in self._out if piece.item is item)

    def _acknowledge(self, position: int, now: float) -> None:
        self._settle(position)
        self._acknowledged = self._anchor = position
        self._anchor_time = now
        self._plays_until = now + (self._sent - position) / self.format.bytes_per_ms / 1000
        if position >= self._sent and not self._held:
            self._anchor_time = None
            self._dry_since = now

    def _settle(self, position: int) -> None:
        """Everything before `position` has been heard, for good."""
        for piece, size in list(self._progress(position)):
            piece.item.heard += size
            piece.size -= size
        while self._out and not self._out[0].size:
            if self._out.pop(0) is self._tail:
                self._follow(None)
        self._acknowledged = max(self._acknowledged, position)
        self._bound()

    def _progress(self, position: int) -> Iterator[tuple[_Piece, int]]:
        """How much of each sent piece lies between the last acknowledged position and this one."""
        left = position - self._acknowledged
        for piece in self._out:
            if left <= 0:
                return
            yield piece, min(piece.size, left)
            left -= piece.size

    def _expect_marks(self, now: float) -> None:
        if not self._marks or self._anchor_time is None:
            return
        position = next(iter(self._marks.values()))
        due = self._anchor_time + (position - self._anchor) / self.format.bytes_per_ms / 1000
        if now > due + LOST_MARK_SECONDS:
            self.counters.lost_marks += 1
            del self._marks[next(iter(self._marks))]
            self._acknowledge(position, due)
