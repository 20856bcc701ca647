"""Telnyx's webhooks, pure: whether Telnyx sent the request, what it says, and the TeXML to answer with.

A signature covers the timestamp and the raw body; neither the URL nor its query. So nothing that a query says is
believed, and a request is good for five minutes and, being remembered for as long, once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import msgspec
from msgspec import Struct

from tandem.carriers.forms import Form
from tandem.carriers.telnyx import Codec
from tandem.carriers.xml_answer import XmlAnswer, clean, document

if TYPE_CHECKING:
    from nacl.signing import VerifyKey

SIGNATURE_HEADER: Final = "telnyx-signature-ed25519"
TIMESTAMP_HEADER: Final = "telnyx-timestamp"
AUTH_TOKEN_HEADER: Final = "x-telnyx-streaming-auth-token"  # noqa: S105  # a header's name
"""On the media socket's upgrade, where the stream was ordered with a token."""

WINDOW_SECONDS: Final = 300
"""How far a timestamp may be from our clock; exactly this still passes."""

_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_SPKI_HEAD: Final = bytes.fromhex("302a300506032b6570032100")
"""What stands before an Ed25519 key in DER (RFC 8410)."""


# Signatures


def public_key(text: str) -> bytes:
    """The account's public key, as the portal shows it (base64 of 32 bytes), in base64url, DER or PEM.

    Raises:
        ValueError: it is none of these.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    joined = "".join(line for line in lines if not line.startswith("-----"))
    padded = joined.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        key = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    if len(key) == len(_SPKI_HEAD) + _KEY_BYTES and key.startswith(_SPKI_HEAD):
        key = key[len(_SPKI_HEAD) :]
    if len(key) != _KEY_BYTES:
        raise ValueError(f"has {len(key)} bytes, not the {_KEY_BYTES} of an Ed25519 key")
    _signing()  # reads files: at start, and not when the first webhook comes
    return key


def _signing() -> tuple[type[VerifyKey], type[Exception]]:
    """The library, loaded by those only who have a key: it is 1 MB."""
    from nacl.exceptions import CryptoError
    from nacl.signing import VerifyKey

    return VerifyKey, CryptoError


def verify(body: bytes, signature: str, timestamp: str, key: bytes, now: float) -> str:
    """Why this request is not Telnyx's, in words for our log (never for the sender); empty when it is. Never raises.

    `signature` and `timestamp` are the two headers, `body` the raw one, before anything has read it.
    """
    if not signature or not timestamp:
        return "no signature"
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return "the timestamp is no number of seconds"
    try:
        given = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return "the signature is not base64"
    # One spelling a signature: the last character before the padding has bits that decoding drops.
    if len(given) != _SIGNATURE_BYTES or base64.b64encode(given).decode("ascii") != signature:
        return "the signature is not 64 bytes in base64"
    verify_key, crypto_error = _signing()
    try:
        verify_key(key).verify(timestamp.encode("ascii") + b"|" + body, given)
    except (crypto_error, ValueError):
        return "the signature does not match"
    if abs(int(now) - int(timestamp)) > WINDOW_SECONDS:
        return "the timestamp is out of the window: replayed, or a clock is wrong"
    return ""


def fingerprint(timestamp: str, signature: str, body: bytes, url: str = "") -> bytes:
    """What tells one request from another: a repeat has the same. `url` where the body does not say it all (GET)."""
    parts = (timestamp.encode("utf-8", "surrogatepass"), signature.encode("utf-8", "surrogatepass"), body)
    return hashlib.sha256(b"\n".join((*parts, url.encode("utf-8", "surrogatepass")))).digest()


# Call Control events

_PLACED: Final = "out:"
_TRANSFER: Final = "transfer:"


@dataclass(frozen=True, slots=True)
class Event:
    """What a Call Control webhook says. Numbers are people: they do not print. Fields it does not have are empty."""

    kind: str
    """As in `call.initiated`."""
    event_id: str
    """The same when Telnyx says the same thing again."""
    call_id: str
    """Its call control id."""
    incoming: bool = False
    session: str = ""
    """Ours, out of the client state that we gave."""
    placed: bool = False
    """A call that we placed; its streams are not to be ordered, its dialling did that."""
    transfer_of: str = ""
    """The call whose transfer dialled this leg."""
    caller: str = field(default="", repr=False)
    called: str = field(default="", repr=False)
    cause: str = ""
    """Why a call was hung up or a stream failed; the result of answering machine detection."""
    source: str = ""
    """Who hung up: caller, callee or unknown."""


class _Payload(Struct):
    call_control_id: str
    direction: str | None = None
    client_state: str | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | list[str] | None = None
    hangup_cause: str | None = None
    hangup_source: str | None = None
    failure_reason: str | None = None
    result: str | None = None


class _Data(Struct):
    event_type: str
    id: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class _Envelope(Struct):
    data: _Data


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_decode_payload: Final = msgspec.json.Decoder(_Payload).decode


def parse_event(body: bytes) -> Event:
    """Read a (genuine) webhook.

    Raises:
        ValueError: it is no event, or an event of no call.
    """
    try:
        data = _decode_envelope(body).data
        payload = _decode_payload(data.payload)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    state = read_state(payload.client_state or "")
    transfer = state.startswith(_TRANSFER)
    return Event(
        kind=data.event_type,
        event_id=data.id,
        call_id=payload.call_control_id,
        incoming=payload.direction == "incoming",
        session="" if transfer else state.removeprefix(_PLACED),
        placed=state.startswith(_PLACED),
        transfer_of=state.removeprefix(_TRANSFER) if transfer else "",
        caller=payload.from_ or "",
        called=payload.to if isinstance(payload.to, str) else "",
        cause=payload.hangup_cause or payload.failure_reason or payload.result or "",
        source=payload.hangup_source or "",
    )


def client_state(text: str) -> str:
    """What Telnyx shall send back in each later webhook of a call."""
    return base64.b64encode(text.encode()).decode("ascii")


def placed_state(session: str) -> str:
    """The client state of a call that we place."""
    return client_state(_PLACED + session)


def transfer_state(call_id: str) -> str:
    """The client state of the leg that a transfer of this call dials."""
    return client_state(_TRANSFER + call_id)


def read_state(state: str) -> str:
    """The text that was given as client state; empty for anything else."""
    try:
        return base64.b64decode(state, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


# TeXML


@dataclass(frozen=True, slots=True)
class VoiceRequest:
    """What a TeXML webhook or callback says. Numbers are people: they do not print."""

    call_id: str
    account_id: str
    caller: str = field(repr=False)
    called: str = field(repr=False)
    status: str = ""
    dialled: str = ""
    """What came of a `<Dial>`, if that is what it is about."""


def voice_request(form: Form) -> VoiceRequest:
    """Read a (genuine) TeXML webhook.

    Raises:
        ValueError: it has no usable CallSid, so there is no call to speak of.
    """
    call_id = form.get("CallSid")
    if not 0 < len(call_id) <= 512 or not call_id.isascii() or not call_id.isprintable() or " " in call_id:
        raise ValueError("CallSid is missing or not of the form of a call control id")
    return VoiceRequest(
        call_id=call_id,
        account_id=form.get("AccountSid"),
        caller=form.get("From"),
        called=form.get("To"),
        status=form.get("CallStatus"),
        dialled=form.get("DialCallStatus"),
    )


def connect_stream(url: str, codec: Codec, *, status_callback: str, parameters: Mapping[str, str]) -> XmlAnswer:
    """Open a bidirectional stream to `url`; when it ends, hang up.

    A reconnection would bring a token that has been used, so none is asked for.

    Raises:
        ValueError: the URL is no WebSocket URL.
    """
    if urlsplit(url).scheme not in ("ws", "wss"):
        raise ValueError("a stream needs a ws:// or wss:// URL")
    connect = ET.Element("Connect")
    stream = ET.SubElement(
        connect,
        "Stream",
        url=clean(url),
        track="inbound_track",
        codec=codec.name,
        bidirectionalMode="rtp",
        bidirectionalCodec=codec.name,
        bidirectionalSamplingRate=str(codec.rate),
        statusCallback=clean(status_callback),
        statusCallbackMethod="POST",
        enableReconnect="false",
    )
    for name, value in parameters.items():
        ET.SubElement(stream, "Parameter", name=clean(name), value=clean(value))
    return document(connect, ET.Element("Hangup"))


def dial(to: str, *, caller_id: str, ring_seconds: int, after_url: str) -> XmlAnswer:
    """Call somebody else and join them with the caller; what came of it is told, and what follows asked, there."""
    verb = ET.Element(
        "Dial", action=clean(after_url), method="POST", timeout=str(ring_seconds), callerId=clean(caller_id)
    )
    ET.SubElement(verb, "Sip" if to.startswith(("sip:", "sips:")) else "Number").text = clean(to)
    return document(verb)


def play_keys(digits: str, *, return_url: str) -> XmlAnswer:
    """Play keys to the caller; what follows is asked there."""
    redirect = ET.Element("Redirect", method="POST")
    redirect.text = clean(return_url)
    return document(ET.Element("Play", digits=clean(digits)), redirect)


def say_and_hang_up(text: str) -> XmlAnswer:
    """Have Telnyx's own voice say something, then end the call."""
    say = ET.Element("Say")
    say.text = clean(text)
    return document(say, ET.Element("Hangup"))


def hang_up() -> XmlAnswer:
    return document(ET.Element("Hangup"))


def reject_busy() -> XmlAnswer:
    """Refuse the call as busy."""
    return document(ET.Element("Reject", reason="busy"))


def nothing() -> XmlAnswer:
    """The answer to a callback, and to a webhook that has been answered before."""
    return document()
