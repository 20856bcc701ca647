"""Twilio's end of one media stream, pure: what it sends each 20 ms, and how it takes what it is sent.

Written from the carrier's side and sharing no parser with `tandem.carriers.twilio`, so that the two can check each
other. Misbehaviours of real and of broken carriers are switched on by `Faults`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, assert_never

import msgspec
from msgspec import Meta, Struct

from tandem.simulators.phone import SILENCE, Caller, Conversation, Note, Playout
from tandem_codecs.format import ALAW_8K, FRAME_MS, MULAW_8K, PCM16_8K, AudioFormat
from tandem_codecs.g711 import alaw_to_mulaw, mulaw_to_alaw, mulaw_to_pcm16, pcm16_to_mulaw


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
    audio: AudioFormat = MULAW_8K
    """What really flows, both ways: mu-law, A-law or PCM16 at 8 kHz."""
    announce: tuple[str, int, int] = ("audio/x-mulaw", 8000, 1)
    """Encoding, rate and channels that `start` claims."""
    wrong_call: str = ""
    """A call id for `start` other than the webhook's."""
    never_reads: bool = False
    """The socket is never read from."""
    vanishes_at_ms: float | None = None
    """From then on nothing is sent or read, and the connection stays open: a cable was cut."""
    breaks_at_ms: float | None = None
    """The connection is reset then."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling on which stream."""

    account_sid: str
    call_sid: str
    stream_sid: str


class Recording:
    """Both voices as mu-law on one clock: each grows by a frame at each tick."""

    def __init__(self) -> None:
        self.caller = bytearray()
        self.agent = bytearray()


Frame = str | bytes
"""A message: text if it is a string."""

_Text = Annotated[str, Meta(min_length=1)]
_ENCODE: Final[dict[AudioFormat, Callable[[bytes], bytes]]] = {
    MULAW_8K: bytes,
    ALAW_8K: mulaw_to_alaw,
    PCM16_8K: mulaw_to_pcm16,
}
_DECODE: Final[dict[AudioFormat, Callable[[bytes], bytes]]] = {
    MULAW_8K: bytes,
    ALAW_8K: alaw_to_mulaw,
    PCM16_8K: pcm16_to_mulaw,
}


class _Payload(Struct):
    payload: bytes


class _Name(Struct):
    name: _Text


class _Media(Struct, tag_field="event", tag="media", rename="camel"):
    stream_sid: str
    media: _Payload


class _Mark(Struct, tag_field="event", tag="mark", rename="camel"):
    stream_sid: str
    mark: _Name


class _Clear(Struct, tag_field="event", tag="clear", rename="camel"):
    stream_sid: str


_decode: Final = msgspec.json.Decoder(_Media | _Mark | _Clear).decode

ERROR_PROTOCOL: Final = "31924"
ERROR_BINARY: Final = "31950"


class TwilioLine:
    """One stream: `opening` frames, then `tick` every 20 ms and `receive` for what comes, then `closing` frames."""

    def __init__(
        self,
        identity: Identity,
        caller: Caller,
        recording: Recording,
        *,
        parameters: dict[str, str] | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.identity = identity
        self.caller = caller
        self.playout = Playout()
        self.conversation = Conversation()
        self.errors: list[str] = []
        """What the carrier would show in its debugger: code and words."""
        self.frames_sent = 0
        self.marks_returned = 0
        self.clears = 0
        self._recording = recording
        self._parameters = parameters or {}
        self._faults = faults or Faults()
        self._sequence = 0
        self._ticks = 0
        self._cycle: list[bytes] = []
        self._order = list(self._faults.media_order.order) if self._faults.media_order else []
        self._cycle_start = 0
        self._inject = sorted(self._faults.inject, key=lambda frame: frame.at_ms)
        self._encode = _ENCODE[self._faults.audio]
        self._decode = _DECODE[self._faults.audio]

    @property
    def now(self) -> float:
        """The media clock: milliseconds that were ticked."""
        return self._ticks * float(FRAME_MS)

    def opening(self) -> list[Frame]:
        """The frames that begin the stream."""
        frames: list[Frame] = [json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})]
        frames += [self._media(SILENCE, number) for number in range(self._faults.media_before_start)]
        encoding, rate, channels = self._faults.announce
        body = {
            "accountSid": self.identity.account_sid,
            "streamSid": self.identity.stream_sid,
            "callSid": self._faults.wrong_call or self.identity.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": encoding, "sampleRate": rate, "channels": channels},
            "customParameters": self._parameters,
        }
        frames += [self._message("start", start=body) for _ in range(self._faults.starts)]
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
        if isinstance(frame, bytes):
            self._error(now, ERROR_BINARY, "a binary frame")
            return []
        try:
            message = _decode(frame)
        except (ValueError, RecursionError) as error:
            self._error(now, ERROR_PROTOCOL, str(error))
            return []
        if message.stream_sid != self.identity.stream_sid:
            self._error(now, ERROR_PROTOCOL, "streamSid is of another stream")
            return []
        match message:
            case _Media(media=media):
                if not media.payload:
                    self._error(now, ERROR_PROTOCOL, "media without audio")
                self.playout.add(self._decode(media.payload))
                return []
            case _Mark(mark=mark):
                return self._return(self.playout.mark(mark.name))
            case _Clear():
                dropped = self.playout.waiting_ms
                self.clears += 1
                marks = self.playout.clear()
                self.conversation.cleared(now, dropped)
                return self._return(marks)
            case _:
                assert_never(message)

    def closing(self) -> list[Frame]:
        """The frames that end the stream when the caller has hung up."""
        body = {"accountSid": self.identity.account_sid, "callSid": self.identity.call_sid}
        return [self._message("stop", stop=body) for _ in range(self._faults.stops)]

    def _error(self, now: float, code: str, words: str) -> None:
        self.errors.append(f"{code} {words}")
        self.conversation.note(Note(now, "problem", f"{code} {words}"))

    def _return(self, names: Sequence[str]) -> list[Frame]:
        self.marks_returned += len(names)
        return [self._message("mark", mark={"name": name}) for name in names]

    def _dtmf(self, digit: str) -> Frame:
        self.conversation.note(Note(self.now, "dtmf", digit))
        return self._message("dtmf", dtmf={"track": "inbound_track", "digit": digit})

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

    def _media(self, audio: bytes, number: int) -> str:
        self.frames_sent += 1
        return self._message(
            "media",
            media={
                "track": "inbound",
                "chunk": str(number + 1),
                "timestamp": str(number * FRAME_MS),
                "payload": b64encode(self._encode(audio)).decode("ascii"),
            },
        )

    def _message(self, event: str, **body: Any) -> str:
        self._sequence += 1
        head = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self.identity.stream_sid}
        return json.dumps({**head, **body}, separators=(",", ":"))
