"""Twilio's words for a media stream, from its own side, pure."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, assert_never

import msgspec
from msgspec import Meta, Struct

from tandem.simulators.line import Audio, ClearAsked, Faults, Frame, MarkAsked, MediaLine, Recording, Told, WireError
from tandem.simulators.phone import Caller
from tandem_codecs.format import FRAME_MS, MULAW_8K, AudioFormat


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling on which stream."""

    account_sid: str
    call_sid: str
    stream_sid: str


_Text = Annotated[str, Meta(min_length=1)]


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
ANNOUNCED: Final = ("audio/x-mulaw", 8000, 1)


class TwilioWire:
    """See `Wire`."""

    caller_format: AudioFormat = MULAW_8K
    agent_format: AudioFormat = MULAW_8K

    def __init__(self, identity: Identity, parameters: Mapping[str, str], faults: Faults) -> None:
        self._identity = identity
        self._parameters = dict(parameters)
        self._faults = faults
        self._sequence = 0

    def connected(self) -> list[Frame]:
        return [json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})]

    def start(self) -> Frame:
        encoding, rate, channels = self._faults.announce or ANNOUNCED
        body = {
            "accountSid": self._identity.account_sid,
            "streamSid": self._identity.stream_sid,
            "callSid": self._faults.wrong_call or self._identity.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": encoding, "sampleRate": rate, "channels": channels},
            "customParameters": self._parameters,
        }
        return self._message("start", start=body)

    def media(self, audio: bytes, number: int) -> Frame:
        return self._message(
            "media",
            media={
                "track": "inbound",
                "chunk": str(number + 1),
                "timestamp": str(number * FRAME_MS),
                "payload": b64encode(audio).decode("ascii"),
            },
        )

    def dtmf(self, digit: str) -> Frame:
        return self._message("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    def played(self, name: str) -> Frame:
        return self._message("mark", mark={"name": name})

    def cleared(self, names: Sequence[str]) -> list[Frame]:
        return [self.played(name) for name in names]

    def complain(self, error: WireError) -> list[Frame]:
        """Only its debugger tells."""
        return []

    def stop(self) -> Frame:
        body = {"accountSid": self._identity.account_sid, "callSid": self._identity.call_sid}
        return self._message("stop", stop=body)

    def read(self, frame: Frame) -> Told:
        if isinstance(frame, bytes):
            raise WireError(ERROR_BINARY, "a binary frame")
        try:
            message = _decode(frame)
        except (ValueError, RecursionError) as error:
            raise WireError(ERROR_PROTOCOL, str(error)) from None
        if message.stream_sid != self._identity.stream_sid:
            raise WireError(ERROR_PROTOCOL, "streamSid is of another stream")
        match message:
            case _Media(media=media):
                if not media.payload:
                    raise WireError(ERROR_PROTOCOL, "media without audio")
                return Audio(media.payload)
            case _Mark(mark=mark):
                return MarkAsked(mark.name)
            case _Clear():
                return ClearAsked()
            case _:
                assert_never(message)

    def _message(self, event: str, **body: Any) -> str:
        self._sequence += 1
        head = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self._identity.stream_sid}
        return json.dumps({**head, **body}, separators=(",", ":"))


def twilio_line(
    identity: Identity,
    caller: Caller,
    recording: Recording,
    *,
    parameters: Mapping[str, str] | None = None,
    faults: Faults | None = None,
) -> MediaLine:
    """One stream of Twilio's."""
    return MediaLine(TwilioWire(identity, parameters or {}, faults or Faults()), caller, recording, faults)
