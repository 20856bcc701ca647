"""Telnyx's words for a media stream, from its own side, pure."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, assert_never

import msgspec
from msgspec import Meta, Struct

from tandem.simulators.line import Audio, ClearAsked, Faults, Frame, MarkAsked, MediaLine, Recording, Told, WireError
from tandem.simulators.phone import Caller
from tandem_codecs.format import ALAW_8K, FRAME_MS, MULAW_8K, AudioFormat, Encoding

SHORTEST_MS: Final = 20.0
LONGEST_MS: Final = 30_000.0
"""Of audio in one message."""

UNKNOWN_ERROR: Final = "100002"
MALFORMED_FRAME: Final = "100003"
INVALID_MEDIA: Final = "100004"
_TITLES: Final = {
    UNKNOWN_ERROR: "unknown_error",
    MALFORMED_FRAME: "malformed_frame",
    INVALID_MEDIA: "invalid_media",
}


@dataclass(frozen=True, slots=True)
class Order:
    """The stream that was ordered: by `streaming_start`, by `dial`, or by a TeXML document."""

    url: str = field(repr=False)
    codec: str = "PCMU"
    """What is sent to the server: PCMU, PCMA, L16, or `default` (the call's own)."""
    mode: Literal["mp3", "rtp"] = "mp3"
    agent_codec: str = "PCMU"
    agent_rate: int = 8000
    track: str = "inbound_track"
    auth_token: str = field(default="", repr=False)
    client_state: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling on which stream. Numbers are people: they do not print."""

    user_id: str
    call_control_id: str
    call_session_id: str
    stream_id: str
    from_: str = field(repr=False)
    to: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Quirks:
    """What Telnyx's documentation leaves open."""

    l16_order: Literal["little", "big"] = "little"
    parameters_as: Literal["object", "pairs"] = "object"
    leg_codec: Literal["PCMU", "PCMA"] = "PCMU"
    """The phone network's own, which a stream has that asks for `default`."""
    l16_rate: int = 16_000
    """Of L16 towards the server."""


def format_of(codec: str, rate: int) -> AudioFormat:
    """A codec as the carrier names it.

    Raises:
        ValueError: it is none that this simulator speaks.
    """
    match codec:
        case "PCMU":
            return MULAW_8K
        case "PCMA":
            return ALAW_8K
        case "L16":
            return AudioFormat(Encoding.PCM16, rate)
    raise ValueError(f"codec {codec!r}")


class _Payload(Struct):
    payload: bytes


class _Name(Struct):
    name: Annotated[str, Meta(min_length=1)]


class _Media(Struct, tag_field="event", tag="media"):
    media: _Payload


class _Mark(Struct, tag_field="event", tag="mark"):
    mark: _Name


class _Clear(Struct, tag_field="event", tag="clear"):
    pass


_decode: Final = msgspec.json.Decoder(_Media | _Mark | _Clear).decode

_EPOCH: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
"""When each simulated stream begins, by the timestamps in it: nothing here reads a clock."""


class TelnyxWire:
    """See `Wire`."""

    def __init__(self, identity: Identity, order: Order, quirks: Quirks, faults: Faults) -> None:
        self._identity = identity
        self._order = order
        self._quirks = quirks
        self._faults = faults
        self._sequence = 0
        self._number = 0
        self._codec = quirks.leg_codec if order.codec == "default" else order.codec
        self.caller_format: AudioFormat = format_of(self._codec, quirks.l16_rate)
        self.agent_format: AudioFormat = format_of(order.agent_codec, order.agent_rate)

    def connected(self) -> list[Frame]:
        return [json.dumps({"event": "connected", "version": "1.0.0"})]

    def start(self) -> Frame:
        identity, order = self._identity, self._order
        encoding, rate, channels = self._faults.announce or (self._codec, self.caller_format.rate, 1)
        pairs = [{"name": name, "value": value} for name, value in order.parameters.items()]
        body = {
            "user_id": identity.user_id,
            "call_control_id": self._faults.wrong_call or identity.call_control_id,
            "call_session_id": identity.call_session_id,
            "from": identity.from_,
            "to": identity.to,
            "tags": [],
            "client_state": order.client_state or None,
            "custom_parameters": dict(order.parameters) if self._quirks.parameters_as == "object" else pairs,
            "media_format": {"encoding": encoding, "sample_rate": rate, "channels": channels},
        }
        return self._message("start", start=body)

    def media(self, audio: bytes, number: int) -> Frame:
        self._number = number
        return self._message(
            "media",
            media={
                "track": "inbound",
                "chunk": str(number + 1),
                "timestamp": str(number * FRAME_MS),
                "payload": b64encode(self._ordered(audio, self.caller_format)).decode("ascii"),
            },
        )

    def dtmf(self, digit: str) -> Frame:
        at = _EPOCH + timedelta(milliseconds=self._number * FRAME_MS)
        return self._message("dtmf", occurred_at=at.isoformat().replace("+00:00", "Z"), dtmf={"digit": digit})

    def played(self, name: str) -> Frame:
        return self._message("mark", mark={"name": name})

    def cleared(self, names: Sequence[str]) -> list[Frame]:
        return [self.played(name) for name in names]

    def complain(self, error: WireError) -> list[Frame]:
        payload = {"code": int(error.code), "title": _TITLES.get(error.code, "unknown_error"), "detail": error.words}
        return [json.dumps({"event": "error", "stream_id": self._identity.stream_id, "payload": payload})]

    def stop(self) -> Frame:
        identity = self._identity
        return self._message("stop", stop={"user_id": identity.user_id, "call_control_id": identity.call_control_id})

    def read(self, frame: Frame) -> Told:
        if isinstance(frame, bytes):
            raise WireError(MALFORMED_FRAME, "a binary frame")
        try:
            message = _decode(frame)
        except (ValueError, RecursionError) as error:
            raise WireError(MALFORMED_FRAME, str(error)) from None
        match message:
            case _Media(media=media):
                return Audio(self._played(media.payload))
            case _Mark(mark=mark):
                return MarkAsked(mark.name)
            case _Clear():
                return ClearAsked()
            case _:
                assert_never(message)

    def _played(self, payload: bytes) -> bytes:
        if self._order.mode != "rtp":
            raise WireError(INVALID_MEDIA, "the stream was ordered for mp3, and this is none")
        lasts = self.agent_format.milliseconds(len(payload))
        if len(payload) % self.agent_format.sample_bytes or not SHORTEST_MS <= lasts <= LONGEST_MS:
            raise WireError(INVALID_MEDIA, f"{lasts:g} ms of audio; a message has {SHORTEST_MS:g} to {LONGEST_MS:g} ms")
        return self._ordered(payload, self.agent_format)

    def _ordered(self, audio: bytes, audio_format: AudioFormat) -> bytes:
        """Samples in the wire's byte order, from ours or to it."""
        if audio_format.encoding is not Encoding.PCM16 or self._quirks.l16_order == "little":
            return audio
        return b"".join(audio[at : at + 2][::-1] for at in range(0, len(audio), 2))

    def _message(self, event: str, **body: Any) -> str:
        self._sequence += 1
        head = {"event": event, "sequence_number": str(self._sequence), "stream_id": self._identity.stream_id}
        return json.dumps({**head, **body}, separators=(",", ":"))


def telnyx_line(
    identity: Identity,
    order: Order,
    caller: Caller,
    recording: Recording,
    *,
    quirks: Quirks | None = None,
    faults: Faults | None = None,
) -> MediaLine:
    """One stream of Telnyx's.

    Raises:
        ValueError: it was ordered in a codec that this simulator does not speak.
    """
    wire = TelnyxWire(identity, order, quirks or Quirks(), faults or Faults())
    return MediaLine(wire, caller, recording, faults)
