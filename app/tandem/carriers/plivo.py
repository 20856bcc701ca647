"""Plivo Audio Streaming: the dialect of the WebSocket, pure.

One text frame is one JSON object. There is no greeting: `start` comes first. Numbers are numbers there, save those that
are strings; both spellings are read. Audio that was not played when it is cleared takes its checkpoints with it: they
never come back, one `clearedAudio` does. The end of the stream is the end of the socket.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from dataclasses import replace
from typing import Annotated, Any, Final, assert_never

import msgspec
from msgspec import Meta, Struct

from tandem.carriers.events import (
    CarrierCommand,
    CarrierError,
    CarrierEvent,
    CarrierTraits,
    Clear,
    Cleared,
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
from tandem_codecs.format import MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat

TRAITS: Final = CarrierTraits(
    name="plivo",
    formats=(MULAW_8K, PCM16_16K, PCM16_8K),
    # Plivo wants audio near real time. Its buffer of 40 to 60 s is no invitation: from 30 % of it on it complains, and
    # when it is full it drops. Two seconds outlast what a network does to a stream and stay far below that.
    lead_seconds=2.0,
    marks_returned_on_clear=False,
    # What follows our <Stream> hangs up, but whether that runs at once when a kept-alive stream's socket closes is not
    # documented. Nobody shall sit on a silent line for it; ending a call twice does no harm.
    socket_ends_call=False,
    moves_when_socket_closes=True,
    placed_by_request=True,
    longest_play_ms=200.0,  # the longest piece that the guide recommends; at 16 kHz linear it is 8.5 kB of base64
    says_stop=False,
)

_ENCODINGS: Final[dict[tuple[str, int], AudioFormat]] = {
    ("audio/x-mulaw", MULAW_8K.rate): MULAW_8K,
    **{("audio/x-l16", linear.rate): linear for linear in (PCM16_8K, PCM16_16K, PCM16_24K)},
}
"""Announced encoding and rate to what it is; linear samples are little-endian."""
_NAMES: Final = {audio_format: encoding for (encoding, _), audio_format in _ENCODINGS.items()}

CODECS: Final[dict[str, AudioFormat]] = {"mulaw": MULAW_8K, "l16": PCM16_16K, "l16/8000": PCM16_8K}
"""What a stream can be asked for, by the name in the configuration."""


def traits(codec: str) -> CarrierTraits:
    """Of calls whose stream is asked for in this codec."""
    asked = CODECS[codec]
    return replace(TRAITS, formats=(asked, *(other for other in TRAITS.formats if other != asked)))


def content_type(audio_format: AudioFormat) -> str:
    """How a document asks for a stream of this format."""
    return f"{_NAMES[audio_format]};rate={audio_format.rate}"


_PREFIX: Final = re.compile(r"x-ph-", re.IGNORECASE)
_LONGEST_HEADERS: Final = 4096
_CODE: Final = re.compile(r"[a-z]+(_[a-z]+)+")

_Id = Annotated[str, Meta(min_length=1, max_length=256)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]


class _MediaBody(Struct, gc=False):
    payload: bytes
    track: str = "inbound"
    chunk: _Count | None = None
    timestamp: _Count | None = None


class _Media(Struct, tag_field="event", tag="media", gc=False):
    media: _MediaBody


class _Played(Struct, tag_field="event", tag="playedStream", gc=False):
    name: str


class _Cleared(Struct, tag_field="event", tag="clearedAudio", gc=False):
    pass


class _DtmfBody(Struct, gc=False):
    digit: str | Annotated[int, Meta(ge=0, le=9)]


class _Dtmf(Struct, tag_field="event", tag="dtmf", gc=False):
    dtmf: _DtmfBody


class _Stop(Struct, tag_field="event", tag="stop", gc=False):
    pass


class _Complaint(Struct, tag_field="event", tag="error", rename="camel"):
    """Its shape is not documented: these are the places where words have been seen."""

    reason: Any = None
    message: Any = None
    error: Any = None
    play_failed: Any = None
    code: Any = None


class _PlayFailed(_Complaint, tag="playFailed"):
    pass


class _MediaFormat(Struct):
    encoding: Annotated[str, Meta(max_length=64)]
    sample_rate: _Count = msgspec.field(name="sampleRate")
    channels: _Count = 1


class _StartBody(Struct, rename="camel"):
    call_id: _Id
    stream_id: _Id | None = None
    account_id: Annotated[str, Meta(max_length=256)] = ""
    media_format: _MediaFormat | None = None


class _Start(Struct, tag_field="event", tag="start"):
    start: _StartBody
    stream_id: _Id | None = msgspec.field(default=None, name="streamId")
    extra_headers: Any = None


_MESSAGES = _Media | _Played | _Cleared | _Dtmf | _Stop | _Start | _Complaint | _PlayFailed
_KINDS: Final = frozenset({"media", "playedStream", "clearedAudio", "dtmf", "stop", "start", "error", "playFailed"})

# Not strict: numbers may be written as strings. Strings are never made out of numbers.
_decode: Final = msgspec.json.Decoder(_MESSAGES, strict=False).decode
_decode_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.encode


class PlivoStream:
    """One media stream. Tell it each text frame; it answers events, and writes commands as frames.

    `stream_id` is empty until a `start` was received: before that there is nothing to send to.
    """

    __slots__ = (
        "_clear",
        "_mark_head",
        "_play_head",
        "stream_id",
    )

    def __init__(self) -> None:
        self.stream_id = ""
        self._play_head = b""
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

    def _control(self, message: _MESSAGES) -> CarrierEvent:
        match message:
            case _Played():
                return MarkPlayed(message.name)
            case _Cleared():
                return Cleared()
            case _Dtmf():
                digit = str(message.dtmf.digit).upper()
                return Dtmf(digit) if digit in DTMF_DIGITS else Malformed("dtmf is not one of 0-9 * # A-D")
            case _Stop():
                return Stopped()
            case _Start():
                return self._started(message)
            case _Complaint() | _PlayFailed():
                return _complained(message)
            case _Media():
                raise AssertionError("media is handled before")
            case _:
                assert_never(message)

    def _started(self, message: _Start) -> CarrierEvent:
        start = message.start
        stream_id = start.stream_id or message.stream_id
        if stream_id is None:
            return Malformed("start without streamId")
        audio_format, announced = _format(start.media_format)
        if not self.stream_id:  # a second start is the call's business; the stream we send to stays the first
            self._learn(stream_id, audio_format)
        return Started(
            call_id=start.call_id,
            stream_id=stream_id,
            account_id=start.account_id,
            inbound=audio_format,
            outbound=audio_format,
            announced=announced,
            parameters=parse_extra_headers(message.extra_headers),
        )

    def _learn(self, stream_id: str, audio_format: AudioFormat | None) -> None:
        self.stream_id = stream_id
        quoted = _encode(stream_id)
        if audio_format is not None:
            kind, rate = _NAMES[audio_format], audio_format.rate
            # No ";rate=" here, unlike in the document that asked for the stream: it would be refused.
            self._play_head = (
                f'{{"event":"playAudio","media":{{"contentType":"{kind}","sampleRate":{rate},"payload":"'.encode()
            )
        self._mark_head = b'{"event":"checkpoint","streamId":' + quoted + b',"name":'
        self._clear = b'{"event":"clearAudio","streamId":' + quoted + b"}"

    def play(self, audio: bytes) -> bytes:
        """The frame that plays `audio`, whole samples of the stream's format, after all that was sent before.

        Raises:
            RuntimeError: no `start` has been received, or one whose format nobody knows.
        """
        if not self._play_head:
            raise RuntimeError("the stream has not started")
        return b'%b%b"}}' % (self._play_head, b2a_base64(audio, newline=False))

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
                return [b"%b%b}" % (self._mark_head, quote(command.name))]
            case Clear():
                return [self._clear]
            case _:
                assert_never(command)


def parse_extra_headers(text: object) -> dict[str, str]:
    """The custom data of a stream, in any of the spellings that were seen or documented; nothing for what is none.

    `{X-PH-session: 8f14, X-PH-lang: en}`, `{"session": "8f14"}`, `session=8f14;lang=en`, `session=8f14,lang=en`.
    """
    if isinstance(text, str):
        if len(text) > _LONGEST_HEADERS:
            return {}
        pairs = _json_pairs(text) or _loose_pairs(text)
    else:
        pairs = text if isinstance(text, dict) else {}
    return {
        name: str(value)
        for key, value in pairs.items()
        if isinstance(value, str | int | float) and (name := _PREFIX.sub("", str(key), count=1).strip())
    }


def _json_pairs(text: str) -> dict[str, Any]:
    try:
        pairs = _decode_any(text)
    except (ValueError, RecursionError):
        return {}
    return pairs if isinstance(pairs, dict) else {}


def _loose_pairs(text: str) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for part in re.split(r"[,;]", text.strip().removeprefix("{").removesuffix("}")):
        key, separator, value = part.partition(
            min((mark for mark in ":=" if mark in part), key=part.index, default="=")
        )
        if separator:
            pairs.setdefault(key.strip(" \t\"'"), value.strip(" \t\"'"))
    return pairs


def _format(announced: _MediaFormat | None) -> tuple[AudioFormat | None, str]:
    """What the stream's audio is, and the carrier's words for it. Which format it has unsaid, its pages disagree on:
    rather none than noise."""
    if announced is None:
        return None, ""
    words = f"{announced.encoding} {announced.sample_rate} Hz, {announced.channels} channel(s)"
    encoding = announced.encoding.partition(";")[0].strip().lower()
    known = _ENCODINGS.get((encoding, announced.sample_rate))
    return (known if announced.channels == 1 else None), words


def _complained(message: _Complaint) -> CarrierError:
    kind = "playFailed" if isinstance(message, _PlayFailed) else "error"
    nested = [each for each in (message.error, message.play_failed) if isinstance(each, dict)]
    named = [each.get(name) for each in nested for name in ("reason", "message", "code")]
    candidates = (message.reason, message.message, message.error, message.play_failed, *named, message.code)
    words = next((each for each in candidates if isinstance(each, str) and each), "no reason given")
    code = _CODE.search(words)
    return CarrierError(code[0] if code else kind, short(words))
