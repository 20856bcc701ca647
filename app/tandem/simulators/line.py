"""A carrier's end of one media stream, pure: what it sends each 20 ms, and how it takes what it is sent.

What is the same for all carriers is here: the phone, the order of things, the misbehaviours of real and of broken
carriers. A carrier's own words are its `Wire`, written from the carrier's side and sharing no parser with the server's
dialect, so that the two can check each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from tandem.simulators.phone import SILENCE, Caller, Conversation, Note, Playout
from tandem_codecs.convert import Converter
from tandem_codecs.format import FRAME_MS, MULAW_8K, AudioFormat


@dataclass(frozen=True, slots=True)
class Shuffle:
    """Each `cycle` media frames are sent in this order: `(1, 0)` swaps, `(0, 0, 1)` doubles, `(0, 2)` loses one."""

    cycle: int
    order: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.order or not all(0 <= position < self.cycle for position in self.order):
            raise ValueError("a shuffle's order names positions within its cycle")


@dataclass(frozen=True, slots=True)
class Inject:
    """Send this frame, as it is, at that time: text if it is a string, binary otherwise."""

    at_ms: float
    frame: str | bytes


@dataclass(frozen=True, slots=True)
class Faults:
    """What this carrier does wrong. Nothing, by default."""

    media_order: Shuffle | None = None
    media_before_start: int = 0
    """So many media frames come before `start`."""
    starts: int = 1
    """How often `start` is sent; 0: never."""
    stops: int = 1
    inject: Sequence[Inject] = ()
    audio: AudioFormat | None = None
    """What really flows, both ways, whatever is announced."""
    announce: tuple[str, int, int] | None = None
    """Encoding, rate and channels that `start` claims."""
    wrong_call: str = ""
    """A call id for `start` other than the webhook's."""
    unreachable: bool = False
    """The carrier can not open the media socket."""
    never_reads: bool = False
    """The socket is never read from."""
    vanishes_at_ms: float | None = None
    """From then on nothing is sent or read, and the connection stays open: a cable was cut."""
    breaks_at_ms: float | None = None
    """The connection is reset then."""


class Recording:
    """Both voices as mu-law on one clock: each grows by a frame at each tick."""

    def __init__(self) -> None:
        self.caller = bytearray()
        self.agent = bytearray()


Frame = str | bytes
"""A message: text if it is a string."""


@dataclass(frozen=True, slots=True)
class Audio:
    """The server wants this played, in the agent's format."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class MarkAsked:
    """The server wants to know when all that it has sent has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearAsked:
    """The server takes back what has not been played."""


Told = Audio | MarkAsked | ClearAsked


class WireError(Exception):
    """The server's message is none that the carrier takes. `code` is what its debugger shows."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"{code} {words}".strip())
        self.code = code
        self.words = words


class Wire(Protocol):
    """One carrier's words. Numbers its own messages; frames are to be sent in the order they were made."""

    @property
    def caller_format(self) -> AudioFormat:
        """What it sends."""
        ...

    @property
    def agent_format(self) -> AudioFormat:
        """What it takes."""
        ...

    def connected(self) -> list[Frame]:
        """What comes before everything else."""
        ...

    def start(self) -> Frame: ...

    def media(self, audio: bytes, number: int) -> Frame:
        """The caller's voice in `caller_format`; `number` counts from 0."""
        ...

    def dtmf(self, digit: str) -> Frame: ...

    def played(self, name: str) -> Frame:
        """A mark has been reached."""
        ...

    def cleared(self, names: Sequence[str]) -> list[Frame]:
        """Everything was taken back, these marks with it."""
        ...

    def complain(self, error: WireError) -> list[Frame]:
        """What is said of a message that was not taken."""
        ...

    def stop(self) -> Frame | None:
        """The stream ends; None where only the socket's end says so."""
        ...

    def read(self, frame: Frame) -> Told:
        """A message of the server.

        Raises:
            WireError: it is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Buffer:
    """How much agent audio the carrier keeps; what exceeds it is dropped, with this complaint."""

    ms: float
    full: WireError


class MediaLine:
    """One stream: `opening` frames, then `tick` every 20 ms and `receive` for what comes, then `closing` frames."""

    def __init__(
        self,
        wire: Wire,
        caller: Caller,
        recording: Recording,
        faults: Faults | None = None,
        *,
        buffer: Buffer | None = None,
        clear_returns_marks: bool = True,
    ) -> None:
        self.caller = caller
        self.playout = Playout()
        self.conversation = Conversation()
        self.errors: list[str] = []
        """What the carrier would show in its debugger: code and words."""
        self.frames_sent = 0
        self.marks_returned = 0
        self.clears = 0
        self._wire = wire
        self._buffer = buffer
        self._clear_returns_marks = clear_returns_marks
        self._recording = recording
        self._faults = faults or Faults()
        self._ticks = 0
        self._cycle: list[bytes] = []
        self._order = list(self._faults.media_order.order) if self._faults.media_order else []
        self._cycle_start = 0
        self._inject = sorted(self._faults.inject, key=lambda frame: frame.at_ms)
        self._encode = Converter(MULAW_8K, self._faults.audio or wire.caller_format).feed
        self._decode = Converter(self._faults.audio or wire.agent_format, MULAW_8K).feed

    @property
    def now(self) -> float:
        """The media clock: milliseconds that were ticked."""
        return self._ticks * float(FRAME_MS)

    def opening(self) -> list[Frame]:
        """The frames that begin the stream."""
        frames = self._wire.connected()
        frames += [self._media(SILENCE, number) for number in range(self._faults.media_before_start)]
        frames += [self._wire.start() for _ in range(self._faults.starts)]
        return frames

    def tick(self) -> list[Frame]:
        """Twenty milliseconds have passed: what the caller said in them, and marks that have been reached."""
        start = self.now
        self._ticks += 1
        said = self.caller.tick(self.now, self.conversation)
        self.conversation.caller(start, said.audio)
        self._recording.caller += said.audio
        frames: list[Frame] = [self._dtmf(digit) for digit in said.digits]
        frames += self._in_order(said.audio)
        heard = self.playout.tick(self.now)
        frames += self._return(heard.marks)
        self.conversation.agent(self.now, heard.audio)
        # One frame of silence ahead of all that is heard: both sides are recorded on the caller's clock.
        if not self._recording.agent:
            self._recording.agent += SILENCE
        self._recording.agent += heard.audio
        while self._inject and self._inject[0].at_ms <= self.now:
            frames.append(self._inject.pop(0).frame)
        return frames

    def receive(self, frame: Frame, now: float) -> list[Frame]:
        """A message of the server, `now` on the media clock: frames to send at once."""
        try:
            told = self._wire.read(frame)
        except WireError as error:
            self._error(now, error)
            return self._wire.complain(error)
        match told:
            case Audio():
                return self._play(told.payload, now)
            case MarkAsked():
                return self._return(self.playout.mark(told.name))
            case ClearAsked():
                dropped = self.playout.waiting_ms
                self.clears += 1
                marks = self.playout.clear()
                self.conversation.cleared(now, dropped)
                frames = self._wire.cleared(marks)
                self.marks_returned += len(marks) if self._clear_returns_marks else 0
                return frames
            case _:
                assert_never(told)

    def closing(self) -> list[Frame]:
        """The frames that end the stream when the caller has hung up."""
        return [frame for _ in range(self._faults.stops) if (frame := self._wire.stop()) is not None]

    def _play(self, payload: bytes, now: float) -> list[Frame]:
        audio = self._decode(payload)
        if self._buffer is not None and self.playout.waiting_ms + MULAW_8K.milliseconds(len(audio)) > self._buffer.ms:
            self._error(now, self._buffer.full)
            return self._wire.complain(self._buffer.full)
        self.playout.add(audio)
        return []

    def _error(self, now: float, error: WireError) -> None:
        self.errors.append(str(error))
        self.conversation.note(Note(now, "problem", str(error)))

    def _return(self, names: Sequence[str]) -> list[Frame]:
        self.marks_returned += len(names)
        return [self._wire.played(name) for name in names]

    def _dtmf(self, digit: str) -> Frame:
        self.conversation.note(Note(self.now, "dtmf", digit))
        return self._wire.dtmf(digit)

    def _in_order(self, audio: bytes) -> list[Frame]:
        """This frame and those that waited for it, in the order of the faults."""
        shuffle = self._faults.media_order
        if shuffle is None:
            return [self._media(audio, self._ticks - 1)]
        self._cycle.append(audio)
        frames: list[Frame] = []
        while self._order and self._order[0] < len(self._cycle):
            position = self._order.pop(0)
            frames.append(self._media(self._cycle[position], self._cycle_start + position))
        if len(self._cycle) == shuffle.cycle:
            self._cycle_start += shuffle.cycle
            self._cycle.clear()
            self._order = list(shuffle.order)
        return frames

    def _media(self, audio: bytes, number: int) -> Frame:
        self.frames_sent += 1
        return self._wire.media(self._encode(audio), number)
