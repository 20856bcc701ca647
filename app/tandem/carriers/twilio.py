"""Twilio Media Streams: the dialect of the WebSocket, pure.

One text frame is one JSON object. What looks like a number is written as a string there, except the format's; both
spellings are read. The frame that arrives fifty times a second costs one typed pass of the parser, which also decodes
the base64 (strictly), and the frame that leaves is spliced around its base64 rather than built and dumped.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Annotated, Final, assert_never

import msgspec
from msgspec import Meta, Struct

from tandem.carriers.events import (
    CarrierCommand,
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
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat

LEAD_SECONDS: Final = 20.0
"""Twilio buffers whatever it is sent and publishes no limit; this much is far from any that was seen."""

MARKS_RETURNED_ON_CLEAR: Final = True

TRAITS: Final = CarrierTraits(
    name="twilio",
    formats=(MULAW_8K,),
    lead_seconds=LEAD_SECONDS,
    marks_returned_on_clear=MARKS_RETURNED_ON_CLEAR,
    socket_ends_call=True,  # what our TwiML says after the stream is to hang up
    keys_end_stream=True,
)

FORMATS: Final[dict[tuple[str, int], AudioFormat]] = {
    ("audio/x-mulaw", 8000): MULAW_8K,
    ("audio/pcmu", 8000): MULAW_8K,
    ("audio/x-alaw", 8000): ALAW_8K,
    ("audio/pcma", 8000): ALAW_8K,
    **{
        (name, audio_format.rate): audio_format
        for name in ("audio/x-l16", "audio/l16")
        for audio_format in (PCM16_8K, PCM16_16K, PCM16_24K)
    },
}
"""Announced encoding (lower case) and rate to what it is. Twilio documents the first only; the others are spoken by
services that copied its protocol."""

_Id = Annotated[str, Meta(min_length=1, max_length=256)]
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


class _MediaFormat(Struct):
    encoding: Annotated[str, Meta(max_length=64)]
    sample_rate: _Count = msgspec.field(name="sampleRate")
    channels: _Count = 1


class _StartBody(Struct, rename="camel"):
    call_sid: _Id
    account_sid: _Id
    stream_sid: _Id | None = None
    media_format: _MediaFormat | None = None
    custom_parameters: dict[str, str] | None = None


class _Start(Struct, tag_field="event", tag="start", rename="camel"):
    start: _StartBody
    stream_sid: _Id | None = None


_MESSAGES = _Media | _Mark | _Dtmf | _Connected | _Stop | _Start
_KINDS: Final = frozenset({"media", "mark", "dtmf", "connected", "stop", "start"})


# Not strict: numbers may be written as strings. Strings are never made out of numbers.
_decode: Final = msgspec.json.Decoder(_MESSAGES, strict=False).decode
_encode: Final = msgspec.json.encode


class TwilioStream:
    """One media stream. Tell it each text frame; it answers events, and writes commands as frames.

    `stream_id` is empty until a `start` was received: before that there is nothing to send to.
    """

    __slots__ = (
        "_clear",
        "_mark_head",
        "_media_head",
        "stream_id",
    )

    def __init__(self) -> None:
        self.stream_id = ""
        self._media_head = b""
        self._mark_head = b""
        self._clear = b""

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
            if media.track != "inbound":
                return [Unknown(short(f"media of track {media.track}"))]
            if not media.payload:
                return [Malformed("media without audio")]
            return [Media(media.payload, media.chunk, media.timestamp)]
        return [self._control(message)]

    def _control(self, message: _Mark | _Dtmf | _Connected | _Stop | _Start | _Media) -> CarrierEvent:
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
            case _Media():
                raise AssertionError("media is handled before")
            case _:
                assert_never(message)

    def _started(self, message: _Start) -> CarrierEvent:
        start = message.start
        stream_id = message.stream_sid or start.stream_sid
        if stream_id is None:
            return Malformed("start without streamSid")
        if not self.stream_id:  # a second start is the call's business; the stream we send to stays the first
            self._learn(stream_id)
        audio_format, announced = _format(start.media_format)
        return Started(
            call_id=start.call_sid,
            stream_id=stream_id,
            account_id=start.account_sid,
            inbound=audio_format,
            outbound=audio_format,
            announced=announced,
            parameters=start.custom_parameters or {},
        )

    def _learn(self, stream_id: str) -> None:
        self.stream_id = stream_id
        quoted = _encode(stream_id)
        self._media_head = b'{"event":"media","streamSid":' + quoted + b',"media":{"payload":"'
        self._mark_head = b'{"event":"mark","streamSid":' + quoted + b',"mark":{"name":'
        self._clear = b'{"event":"clear","streamSid":' + quoted + b"}"

    def play(self, audio: bytes) -> bytes:
        """The frame that plays `audio`, of any length, after all that was sent before.

        Raises:
            RuntimeError: no `start` has been received.
        """
        if not self._media_head:
            raise RuntimeError("the stream has not started")
        return b'%b%b"}}' % (self._media_head, b2a_base64(audio, newline=False))

    def send(self, command: CarrierCommand) -> list[bytes]:
        """A command, as frames to be sent in this order; none for audio of no length.

        Raises:
            RuntimeError: no `start` has been received.
        """
        match command:
            case Play():
                return [self.play(command.audio)] if command.audio else []
            case _ if not self.stream_id:
                raise RuntimeError("the stream has not started")
            case Mark():
                return [b"%b%b}}" % (self._mark_head, quote(command.name))]
            case Clear():
                return [self._clear]
            case _:
                assert_never(command)


def _format(announced: _MediaFormat | None) -> tuple[AudioFormat | None, str]:
    """What the stream's audio is, and the carrier's words for it. Nothing said means the documented format."""
    if announced is None:
        return MULAW_8K, ""
    words = f"{announced.encoding} {announced.sample_rate} Hz, {announced.channels} channel(s)"
    known = FORMATS.get((announced.encoding.lower(), announced.sample_rate))
    return (known if announced.channels == 1 else None), words
