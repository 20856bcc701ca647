"""A provider's session as it looks from the telephone leg: the leg's audio format in both directions. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tandem_codecs.convert import Converter
from tandem_codecs.format import AudioFormat
from tandem_codecs.guard import CodecGuard
from tandem_providers.commands import Command, PlaybackReport
from tandem_providers.events import (
    AudioChunk,
    Event,
    Interrupted,
    ItemAdded,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    ToolCall,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.provider import EventSink, Lane, Session

WRONG_CODEC: Final = "wrong_codec"
"""Code of the warning that the agent's audio was not what had been agreed."""
ITEMS: Final = 32
"""So many recent pieces of speech are remembered by length; only the last few can still be playing."""

_HEEDED: Final = frozenset({SessionReady, TurnEnded, Interrupted})
_CUT_SHORT: Final = frozenset({"interrupted", "cancelled", "failed"})


class Line:
    """One session seen in the format of the leg. Where the provider speaks it, everything passes through untouched.

    `send_audio` takes the caller's voice; `receive` takes the session's events and hands them to `sink`. One converter
    per direction keeps the state of its stream; the agent's is emptied at the end of each piece of speech.

    Raises:
        ValueError: there is no way from one format to the other.
    """

    __slots__ = (
        "_bytes",
        "_converts",
        "_counted",
        "_feed",
        "_guard",
        "_leg",
        "_outward",
        "_prefix",
        "_send",
        "_session",
        "_sink",
        "_size",
        "_speaking",
        "send_audio",
    )

    def __init__(self, session: Session, leg: AudioFormat, sink: EventSink) -> None:
        self._session = session
        self._leg = leg
        self._sink = sink
        self._prefix = ""
        self._outward = Converter(session.output_format, leg)
        self._converts = session.output_format != leg
        self._guard: CodecGuard | None = CodecGuard(session.output_format)
        if self._guard.done:
            self._guard = None
        self._speaking: AudioChunk | None = None
        """The last piece of the speech that is in the outward converter."""
        self._bytes: dict[tuple[str, int], int] = {}
        """What the provider sent of each recent item, in its own format."""
        self._counted = ("", 0)
        self._size = 0
        """And of the one that comes now, since it was last entered there."""
        self._feed = Converter(leg, session.input_format).feed
        self._send = self.send_audio = session.send_audio
        if session.input_format != leg:
            self.send_audio = self._send_converted

    def tell_apart(self, prefix: str) -> None:
        """From now on the names of items and turns begin with `prefix`: other sessions have the same names."""
        self._prefix, sink = prefix, self._sink
        self._sink = lambda event: sink(_renamed(event, prefix))

    def send(self, command: Command) -> None:
        if self._prefix and isinstance(command, PlaybackReport):
            if command.item_id and not command.item_id.startswith(self._prefix):
                return  # of a session before this one, whose items it does not know
            turn_id = command.turn_id.removeprefix(self._prefix)
            command = replace(command, item_id=command.item_id.removeprefix(self._prefix), turn_id=turn_id)
        if self._converts and isinstance(command, PlaybackReport):
            command = self._in_its_own_time(command)
        self._session.send(command)

    def lane(self, further: Lane) -> Lane | None:
        """The short way of the agent's audio through this line into `further`; None while there is none.

        It stands until the line is told something.
        """
        if self._guard is not None or self._prefix:
            return None
        if not self._converts:
            return further
        speaking, sink, feed = self._speaking, self._sink, self._outward.feed
        if speaking is None or speaking.content_index:
            return None
        current = speaking.item_id

        def converted(audio: bytes, item_id: str) -> bool:
            if item_id != current:
                return False
            self._size += len(audio)
            audio = feed(audio)
            if audio and not further(audio, item_id):
                sink(AudioChunk(audio, False, item_id, speaking.turn_id))
            return True

        return converted

    def receive(self, event: Event) -> None:
        kind = type(event)
        if kind is AudioChunk and self._guard is not None:
            self._check(self._guard, event.audio)  # type: ignore[union-attr]  # `kind` says it
        if kind is AudioChunk and self._converts:
            self._hear(event)  # type: ignore[arg-type]  # `kind` says it: isinstance would be slower, for each frame
        elif kind in _HEEDED:
            self._heed(event)
        else:
            self._sink(event)

    def _check(self, guard: CodecGuard, audio: bytes) -> None:
        """Is the agent's audio what the provider confirmed? Where it certainly is not, it is read as what it is."""
        guard.feed(audio)
        if not guard.done:
            return
        self._guard = None
        if guard.found is not None:
            self._outward = Converter(guard.found, self._leg)
            self._converts = guard.found != self._leg
            message = f"the agent's audio is {guard.found}, not {guard.announced} as was agreed"
            self._sink(ProviderWarning(WRONG_CODEC, message))

    def _send_converted(self, audio: bytes) -> None:
        converted = self._feed(audio)
        if converted:
            self._send(converted)

    def _hear(self, chunk: AudioChunk) -> None:
        heard = self._convert(chunk)
        if heard is not None:
            self._sink(heard)

    def _convert(self, chunk: AudioChunk) -> AudioChunk | None:
        """The same in the leg's format; None while there is too little of it."""
        before = self._speaking
        if before is not None and (before.item_id != chunk.item_id or before.content_index != chunk.content_index):
            self._finish(before)
        self._count(chunk)
        audio = self._outward.feed(chunk.audio)
        if chunk.is_final:
            audio += self._outward.flush()
            self._speaking = None
        else:
            self._speaking = chunk
        if not audio and not chunk.is_final:
            return None
        return AudioChunk(audio, chunk.is_final, chunk.item_id, chunk.turn_id, chunk.content_index)

    def _heed(self, event: Event) -> None:
        if isinstance(event, SessionReady):
            event = replace(event, input_format=self._leg, output_format=self._leg)
        elif self._speaking is not None:
            if isinstance(event, TurnEnded) and event.status not in _CUT_SHORT:
                self._finish(self._speaking)
            else:
                self._outward.flush()  # the tail of what was cut off is not heard, least of all in the next turn
            self._speaking = None
        self._sink(event)

    def _finish(self, last: AudioChunk) -> None:
        """Speech ended without saying so: what is left of it goes out under its own name."""
        tail = self._outward.flush()
        self._speaking = None
        if tail:
            self._sink(AudioChunk(tail, False, last.item_id, last.turn_id, last.content_index))

    def _count(self, chunk: AudioChunk) -> None:
        item = (chunk.item_id, chunk.content_index)
        if item != self._counted:
            self._enter()
            self._counted = item
        self._size += len(chunk.audio)

    def _enter(self) -> None:
        """The item that is being counted, in the books."""
        item, size, self._size = self._counted, self._size, 0
        if size:
            if item not in self._bytes and len(self._bytes) >= ITEMS:
                del self._bytes[next(iter(self._bytes))]
            self._bytes[item] = self._bytes.get(item, 0) + size

    def _in_its_own_time(self, report: PlaybackReport) -> PlaybackReport:
        """Never more than the provider sent: a filter's tail makes the leg's audio some milliseconds longer."""
        self._enter()
        sent = self._bytes.get((report.item_id, report.content_index))
        if sent is None:
            return report
        most = int(self._session.output_format.milliseconds(sent))
        return replace(report, played_ms=min(report.played_ms, most), received_ms=min(report.received_ms, most))


def _renamed(event: Event, prefix: str) -> Event:
    """The same with its item's and turn's names, where it has any, behind `prefix`."""
    match event:
        case AudioChunk():
            item_id, turn_id = _behind(prefix, event.item_id), _behind(prefix, event.turn_id)
            return AudioChunk(event.audio, event.is_final, item_id, turn_id, event.content_index)
        case Transcript():
            return replace(event, item_id=_behind(prefix, event.item_id), turn_id=_behind(prefix, event.turn_id))
        case ItemAdded():
            after = event.after and _behind(prefix, event.after)
            return replace(event, item_id=_behind(prefix, event.item_id), after=after)
        case UserSpeechStarted() | UserSpeechStopped():
            return replace(event, item_id=_behind(prefix, event.item_id))
        case TurnStarted() | TurnEnded() | Interrupted() | ToolCall():
            return replace(event, turn_id=_behind(prefix, event.turn_id))
        case _:
            return event


def _behind(prefix: str, name: str) -> str:
    return prefix + name if name else name


class Gate:
    """The sink of a session that is being opened: events wait until it is known who hears them, then pass."""

    __slots__ = (
        "_sink",
        "held",
        "on_end",
    )

    def __init__(self) -> None:
        self.held: list[Event] = []
        self.on_end: Callable[[], None] = _nothing
        """Called when the session ends while its events wait."""
        self._sink: EventSink = self._hold

    @property
    def ended(self) -> SessionClosed | None:
        """How the session ended, if it did while its events wait."""
        return next((event for event in self.held if isinstance(event, SessionClosed)), None)

    def __call__(self, event: Event) -> None:
        self._sink(event)

    def open(self, sink: EventSink) -> None:
        """Let out what waits, in order, and everything after it."""
        before = self._sink
        for event in self.held:  # also what is added meanwhile
            sink(event)
        self.held.clear()
        if self._sink is before:  # else the sink has let in somebody else
            self._sink = sink

    def _hold(self, event: Event) -> None:
        self.held.append(event)
        if isinstance(event, SessionClosed):
            self.on_end()


def _nothing() -> None:
    pass
