"""Plivo's words for a media stream, from its own side, pure."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, assert_never

import msgspec
from msgspec import Meta, Struct

from tandem.simulators.line import (
    Audio,
    Buffer,
    ClearAsked,
    Faults,
    Frame,
    MarkAsked,
    MediaLine,
    Recording,
    Told,
    WireError,
)
from tandem.simulators.phone import Caller
from tandem_codecs.format import FRAME_MS, MULAW_8K, PCM16_8K, PCM16_16K, AudioFormat

FORMATS: Final = {
    "audio/x-mulaw;rate=8000": MULAW_8K,
    "audio/x-l16;rate=8000": PCM16_8K,
    "audio/x-l16;rate=16000": PCM16_16K,
}
"""What a document can ask for."""

BUFFER_MS: Final = 40_000.0
"""Agent audio that is kept, by the smaller of the documented figures; the rest is dropped."""
LONGEST_MESSAGE: Final = 64 * 1024

CONNECTION: Final = "connection_failed"
CONTENT_TYPE: Final = "invalid_content_type"
OVERFLOW: Final = "buffer_overflow"
"""Plivo's names for what goes wrong."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling on which stream."""

    account_id: str
    call_id: str
    stream_id: str


_Text = Annotated[str, Meta(min_length=1)]


class _PlayBody(Struct, rename="camel"):
    content_type: str
    sample_rate: int
    payload: bytes


class _Play(Struct, tag_field="event", tag="playAudio", rename="camel"):
    media: _PlayBody
    stream_id: str | None = None


class _Checkpoint(Struct, tag_field="event", tag="checkpoint", rename="camel"):
    stream_id: str
    name: _Text


class _Clear(Struct, tag_field="event", tag="clearAudio", rename="camel"):
    stream_id: str


_decode: Final = msgspec.json.Decoder(_Play | _Checkpoint | _Clear).decode


class PlivoWire:
    """See `Wire`. `content_type` is the document's; `began_unix_ms` stamps the media."""

    def __init__(
        self,
        identity: Identity,
        content_type: str,
        extra_headers: str = "",
        faults: Faults | None = None,
        began_unix_ms: int = 1_767_323_045_123,
    ) -> None:
        self.caller_format: AudioFormat = FORMATS[content_type]
        self.agent_format: AudioFormat = FORMATS[content_type]
        self._encoding = content_type.partition(";")[0]
        self._identity = identity
        self._headers = _told(extra_headers)
        self._faults = faults or Faults()
        self._began = began_unix_ms
        self._sequence = 0

    def connected(self) -> list[Frame]:
        """Plivo has no such message: `start` comes first."""
        return []

    def start(self) -> Frame:
        encoding, rate, _ = self._faults.announce or (self._encoding, self.caller_format.rate, 1)
        body = {
            "callId": self._faults.wrong_call or self._identity.call_id,
            "streamId": self._identity.stream_id,
            "accountId": self._identity.account_id,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": encoding, "sampleRate": rate},
        }
        self._sequence += 1
        return _dumped({"event": "start", "sequenceNumber": self._sequence, "start": body, **self._headers})

    def media(self, audio: bytes, number: int) -> Frame:
        body = {
            "track": "inbound",
            "timestamp": self._stamp(number),
            "chunk": number + 1,
            "payload": b64encode(audio).decode("ascii"),
        }
        return self._message("media", media=body, **self._headers)

    def dtmf(self, digit: str) -> Frame:
        body = {"track": "inbound", "digit": digit, "timestamp": self._stamp(self._sequence)}
        return self._message("dtmf", dtmf=body, **self._headers)

    def played(self, name: str) -> Frame:
        return self._message("playedStream", name=name)

    def cleared(self, names: Sequence[str]) -> list[Frame]:
        """The checkpoints that were waiting never come back."""
        return [self._message("clearedAudio")]

    def complain(self, error: WireError) -> list[Frame]:
        return [self._message("error", reason=error.code)]

    def stop(self) -> None:
        """The socket just closes."""

    def read(self, frame: Frame) -> Told:
        if isinstance(frame, bytes):
            raise WireError(CONNECTION, "a binary frame")
        if len(frame) > LONGEST_MESSAGE:
            raise WireError(CONNECTION, f"a message of {len(frame)} bytes")
        try:
            message = _decode(frame)
        except (ValueError, RecursionError) as error:
            raise WireError(CONNECTION, str(error)) from None
        if message.stream_id not in (None, self._identity.stream_id):
            raise WireError(CONNECTION, "streamId is of another stream")
        match message:
            case _Play(media=media):
                return self._audio(media)
            case _Checkpoint():
                return MarkAsked(message.name)
            case _Clear():
                return ClearAsked()
            case _:
                assert_never(message)

    def _audio(self, media: _PlayBody) -> Told:
        if (media.content_type, media.sample_rate) != (self._encoding, self.agent_format.rate):
            raise WireError(CONTENT_TYPE, f"{media.content_type} at {media.sample_rate} Hz")
        if not media.payload or len(media.payload) % self.agent_format.sample_bytes:
            raise WireError(CONTENT_TYPE, f"{len(media.payload)} bytes of audio")
        return Audio(media.payload)

    def _stamp(self, number: int) -> str:
        """Unix milliseconds, as text."""
        return str(self._began + number * FRAME_MS)

    def _message(self, event: str, **body: Any) -> str:
        self._sequence += 1
        head = {"event": event, "sequenceNumber": self._sequence, "streamId": self._identity.stream_id}
        return _dumped({**head, **body})


def _told(extra_headers: str) -> dict[str, str]:
    """What a document's `extraHeaders` become on the socket: text in braces, on each event."""
    pairs = [pair.partition("=") for pair in extra_headers.split(",") if pair]
    return {"extra_headers": "{" + ", ".join(f"X-PH-{name}: {value}" for name, _, value in pairs) + "}"}


def _dumped(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def plivo_line(wire: PlivoWire, caller: Caller, recording: Recording, faults: Faults | None = None) -> MediaLine:
    """A stream as Plivo runs it."""
    full = Buffer(BUFFER_MS, WireError(OVERFLOW, f"more than {BUFFER_MS / 1000:.0f} s of audio"))
    return MediaLine(wire, caller, recording, faults, buffer=full, clear_returns_marks=False)
