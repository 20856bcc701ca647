"""Telnyx media streaming: the dialect of the WebSocket, pure. Call Control and TeXML speak the same.

One text frame is one JSON object in snake_case; numbers are mostly written as strings, and both spellings are read.
What flows towards us is what `start` announces; what flows back is what was asked for when the stream was ordered, so
the two directions may differ. Media may come out of order: the pieces carry their number, and the call sorts them.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, assert_never

import msgspec
from msgspec import Meta, Struct

from tandem.carriers.events import (
    CarrierCommand,
    CarrierError,
    CarrierEvent,
    CarrierTraits,
    Clear,
    Connected,
    Dtmf,
    Malformed,
    Mark,
    MarkPlayed,
    Media,
    Play,
    Started,
    Stopped,
    Unknown,
)
from tandem.carriers.frames import DTMF_DIGITS, quote, short, unreadable
from tandem_codecs.format import ALAW_8K, FRAME_MS, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat, Encoding

LEAD_SECONDS: Final = 2.0
"""Telnyx queues what it is sent and asks for no pacing; its own advice is to stay about so far ahead."""

ByteOrder = Literal["little", "big"]


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec as a stream is asked for it."""

    name: str
    rate: int
    format: AudioFormat


CODECS: Final[Mapping[str, Codec]] = {
    "PCMU": Codec("PCMU", 8000, MULAW_8K),
    "PCMA": Codec("PCMA", 8000, ALAW_8K),
    "L16": Codec("L16", 16000, PCM16_16K),
    "L16/8000": Codec("L16", 8000, PCM16_8K),
}
"""What can be asked for, by the name in the configuration."""

IN_TEXML: Final = frozenset({"PCMU", "PCMA"})
"""TeXML's `<Stream>` is not documented to take L16."""

FORMATS: Final[Mapping[tuple[str, int], AudioFormat]] = {
    ("PCMU", 8000): MULAW_8K,
    ("PCMA", 8000): ALAW_8K,
    ("L16", 8000): PCM16_8K,
    ("L16", 16000): PCM16_16K,
    ("L16", 24000): PCM16_24K,
}
"""Announced encoding (capitals) and rate to what it is."""

TRAITS: Final = CarrierTraits(
    name="telnyx",
    formats=tuple(codec.format for codec in CODECS.values()),
    lead_seconds=LEAD_SECONDS,
    marks_returned_on_clear=True,
    socket_ends_call=False,
    longest_play_ms=29_000,  # of thirty seconds, with room for what was kept from the frame before
)


def traits(codec: Codec, *, texml: bool = False) -> CarrierTraits:
    """Of calls whose stream is asked for in this codec.

    A TeXML call goes on to hang up when the socket closes, and leaves its stream to obey another document.
    """
    others = tuple(known for known in TRAITS.formats if known != codec.format)
    return replace(TRAITS, formats=(codec.format, *others), socket_ends_call=texml, keys_end_stream=texml)


_Id = Annotated[str, Meta(min_length=1, max_length=512)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]


class _MediaBody(Struct, gc=False):
    payload: bytes
    track: str = "inbound"
    chunk: _Count | None = None
    timestamp: _Count | None = None


class _Media(Struct, tag_field="event", tag="media", gc=False):
    media: _MediaBody


class _MarkBody(Struct, gc=False):
    name: str


class _Mark(Struct, tag_field="event", tag="mark", gc=False):
    mark: _MarkBody


class _DtmfBody(Struct, gc=False):
    digit: str


class _Dtmf(Struct, tag_field="event", tag="dtmf", gc=False):
    dtmf: _DtmfBody


class _Connected(Struct, tag_field="event", tag="connected", gc=False):
    pass


class _Stop(Struct, tag_field="event", tag="stop", gc=False):
    pass


class _ErrorBody(Struct):
    code: int | str = ""
    title: str = ""
    detail: str = ""


class _Error(Struct, tag_field="event", tag="error"):
    payload: _ErrorBody


class _MediaFormat(Struct):
    encoding: Annotated[str, Meta(max_length=64)]
    sample_rate: _Count = 8000
    channels: _Count = 1


class _StartBody(Struct):
    call_control_id: _Id
    user_id: Annotated[str, Meta(max_length=512)] = ""
    media_format: _MediaFormat | None = None
    custom_parameters: Any = None
    """An object, or a list of pairs: the documentation does not say which."""


class _Start(Struct, tag_field="event", tag="start"):
    stream_id: _Id
    start: _StartBody


_MESSAGES = _Media | _Mark | _Dtmf | _Connected | _Stop | _Start | _Error
_KINDS: Final = frozenset({"media", "mark", "dtmf", "connected", "stop", "start", "error"})

# Not strict: numbers may be written as strings. Strings are never made out of numbers.
_decode: Final = msgspec.json.Decoder(_MESSAGES, strict=False).decode

_CLEAR: Final = b'{"event":"clear"}'


class TelnyxStream:
    """One media stream. Tell it each text frame; it answers events, and writes commands as frames.

    `outbound` is what the carrier was asked to take from us, `order` how 16-bit samples are written on the wire, both
    ways. `stream_id` is empty until a `start` was received: before that there is nothing to send to.
    """

    __slots__ = (
        "_big",
        "_carry",
        "_inbound_bytes",
        "_least",
        "_outbound",
        "_swap_in",
        "_swap_out",
        "stream_id",
    )

    def __init__(self, outbound: AudioFormat = MULAW_8K, order: ByteOrder = "little") -> None:
        self.stream_id = ""
        self._outbound = outbound
        self._big = order == "big"
        self._swap_out = self._big and outbound.encoding is Encoding.PCM16
        self._swap_in = False
        self._inbound_bytes = 1
        self._least = outbound.frame_bytes
        self._carry = b""

    def receive(self, data: bytes) -> list[CarrierEvent]:
        """One text frame, as events. Never raises: what can't be read is `Malformed`, a kind not known `Unknown`."""
        try:
            message = _decode(data)
        except msgspec.ValidationError as error:
            return [unreadable(data, str(error), _KINDS)]
        except ValueError as error:  # the parser's own, and UnicodeDecodeError
            return [Malformed(short(str(error)))]
        except RecursionError:
            return [Malformed("nested too deeply")]
        if type(message) is _Media:  # the hot path: an exact class, tested first
            media = message.media
            audio = media.payload
            if media.track != "inbound":
                return [Unknown(short(f"media of track {media.track}"))]
            if not audio:
                return [Malformed("media without audio")]
            if self._inbound_bytes != 1:
                if len(audio) % self._inbound_bytes:
                    return [Malformed("media with half a sample")]
                if self._swap_in:
                    audio = swapped(audio)
            return [Media(audio, media.chunk, media.timestamp)]
        return [self._control(message)]

    def _control(self, message: _Mark | _Dtmf | _Connected | _Stop | _Start | _Error | _Media) -> CarrierEvent:
        match message:
            case _Mark():
                return MarkPlayed(message.mark.name)
            case _Dtmf():
                digit = message.dtmf.digit.upper()
                return Dtmf(digit) if digit in DTMF_DIGITS else Malformed("dtmf is not one of 0-9 * # A-D")
            case _Connected():
                return Connected()
            case _Stop():
                return Stopped()
            case _Start():
                return self._started(message)
            case _Error(payload=body):
                return CarrierError(short(str(body.code)), short(f"{body.title} {body.detail}".strip()))
            case _Media():
                raise AssertionError("media is handled before")
            case _:
                assert_never(message)

    def _started(self, message: _Start) -> CarrierEvent:
        start = message.start
        inbound, announced = self._format(start.media_format)
        if not self.stream_id:  # a second start is the call's business; the stream we are on stays the first
            self.stream_id = message.stream_id
            self._inbound_bytes = inbound.sample_bytes if inbound is not None else 1
            self._swap_in = self._big and inbound is not None and inbound.encoding is Encoding.PCM16
        return Started(
            call_id=start.call_control_id,
            stream_id=message.stream_id,
            account_id=start.user_id,
            inbound=inbound,
            outbound=self._outbound,
            announced=announced,
            parameters=_parameters(start.custom_parameters),
        )

    def _format(self, announced: _MediaFormat | None) -> tuple[AudioFormat | None, str]:
        """What the caller's audio is, and the carrier's words for it. Nothing said means what was asked for."""
        if announced is None:
            return self._outbound, ""
        words = f"{announced.encoding} {announced.sample_rate} Hz, {announced.channels} channel(s)"
        known = FORMATS.get((announced.encoding.upper(), announced.sample_rate))
        return (known if announced.channels == 1 else None), words

    def play(self, audio: bytes) -> bytes:
        """The frame that plays `audio` after all that was sent before; empty while it is too short to be sent alone.

        Telnyx takes from 20 ms to 30 s a frame: less is kept for the next one, more must not be given.

        Raises:
            RuntimeError: no `start` has been received.
        """
        if not self.stream_id:
            raise RuntimeError("the stream has not started")
        if self._carry:
            audio, self._carry = self._carry + audio, b""
        if len(audio) < self._least:
            self._carry = audio
            return b""
        if self._swap_out:
            audio = swapped(audio)
        return b'{"event":"media","media":{"payload":"%b"}}' % b2a_base64(audio, newline=False)

    def send(self, command: CarrierCommand) -> list[bytes]:
        """A command, as frames to be sent in this order; none for audio that waits for more.

        A mark sends what still waits, filled up with silence; a clear forgets it.

        Raises:
            RuntimeError: no `start` has been received.
        """
        if not self.stream_id:
            raise RuntimeError("the stream has not started")
        match command:
            case Play():
                frame = self.play(command.audio)
                return [frame] if frame else []
            case Mark():
                return [*self._rest(), b'{"event":"mark","mark":{"name":%b}}' % quote(command.name)]
            case Clear():
                self._carry = b""
                return [_CLEAR]
            case _:
                assert_never(command)

    def _rest(self) -> list[bytes]:
        if not self._carry:
            return []
        return [self.play(self._outbound.silence(FRAME_MS)[len(self._carry) :])]


def swapped(samples: bytes) -> bytes:
    """16-bit samples in the other byte order."""
    other = bytearray(len(samples))
    other[::2] = samples[1::2]
    other[1::2] = samples[::2]
    return bytes(other)


def _parameters(given: object) -> dict[str, str]:
    """Custom parameters of either shape; what is no name with a plain value is left out."""
    pairs: list[tuple[object, object]] = []
    if isinstance(given, dict):
        pairs += given.items()
    elif isinstance(given, list):
        for each in given:
            if isinstance(each, dict):
                pairs.append((each.get("name"), each.get("value")))
            elif isinstance(each, list) and len(each) == 2:
                pairs.append((each[0], each[1]))
    return {
        name: value if isinstance(value, str) else str(value)
        for name, value in pairs
        if isinstance(name, str) and isinstance(value, str | int | float)
    }
