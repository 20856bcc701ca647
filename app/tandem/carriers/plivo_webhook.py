"""Plivo's webhooks, pure: whether Plivo sent the request, what it says, and the XML to answer with.

A V3 signature covers method, URL, every parameter and a nonce; there is no timestamp, so who wants to know a replay
must remember nonces. A V2 signature covers the URL without its query and nothing else: it is taken only where it is
asked for. The URL is built from the configured public origin, never from what the request claims.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from tandem.carriers.forms import FORM_TYPE, Form, parse_form
from tandem.carriers.urls import spellings, websocket_url
from tandem.carriers.xml_answer import XmlAnswer, clean, document

V3: Final = "x-plivo-signature-v3"
V3_MAIN: Final = "x-plivo-signature-ma-v3"
"""Made with the main account's token where a subaccount's call is concerned."""
V3_NONCE: Final = "x-plivo-signature-v3-nonce"
V2: Final = "x-plivo-signature-v2"
V2_MAIN: Final = "x-plivo-signature-ma-v2"
V2_NONCE: Final = "x-plivo-signature-v2-nonce"

Pairs = Sequence[tuple[str, str]]

_MOST_SIGNATURES: Final = 16
"""In one header. Plivo sends one for each of an account's tokens."""


# Signatures


@dataclass(frozen=True, slots=True)
class Keys:
    """What may have signed a request. Never printed."""

    auth_token: str = field(repr=False)
    v2: bool = False
    """Take V2 signatures, too."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One HTTP request as it came in. `path` and `query` are raw, still percent-encoded; names of headers are in lower
    case."""

    method: str
    path: str
    query: str = ""
    content_type: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is genuine; why not, in words for our log (never for the sender)."""

    genuine: bool
    url: str
    """The URL whose signature matched; when none did, the one that PUBLIC_URL makes."""
    reason: str = ""
    form: Form | None = None
    """The parameters, from the body or (GET) from the query. None when the request is refused."""
    nonce: str = ""
    """What makes this request one of a kind, and is under its signature."""
    own: bool = True
    """Signed as this account's own; else it is of one of its subaccounts."""


def signature_v3(method: str, url: str, params: Pairs, nonce: str, token: str) -> str:
    """What Plivo writes into the V3 header for a request to `url` with these form fields (POST).

    Raises:
        ValueError: the query can't be read.
    """
    return _sign(f"{_v3_base(method, url, params)}.{nonce}", token)


def signature_v2(url: str, nonce: str, token: str) -> str:
    """What Plivo writes into the V2 header: neither query nor parameters are covered."""
    return _sign(f"{url.partition('?')[0]}{nonce}", token)


def _v3_base(method: str, url: str, params: Pairs) -> str:
    """Query and parameters are signed decoded and sorted: names by code point, the values of one name among them."""
    place, _, query = url.partition("?")
    asked = "&".join(f"{name}={value}" for name, value in sorted(_query(query).pairs))
    if method == "GET" or not params:
        return f"{place}?{asked}" if asked else place
    told = "".join(name + value for name, value in sorted(params))
    return f"{place}?{asked}.{told}" if asked else f"{place}?{told}"


def _sign(text: str, token: str) -> str:
    mac = hmac.new(token.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode("ascii")


def verify(request: Webhook, public_url: str, keys: Keys) -> Verdict:
    """Whether Plivo sent this webhook. Never raises."""
    url = _url(public_url.rstrip("/"), request.path, request.query)
    if request.method not in ("GET", "POST"):
        return Verdict(False, url, "only GET and POST are signed")
    try:
        form = _form(request)
        signed = form.pairs if request.method == "POST" else ()
        attempts = [*_v3_attempts(request, url, signed, keys), *_v2_attempts(request, url, keys)]
    except ValueError as error:
        return Verdict(False, url, str(error))
    # All are compared, so that the time taken tells nothing.
    matched = [each for each in attempts if _among(each.expected, each.given)]
    if not matched:
        some = any(request.headers.get(name) for name in (V3, V3_MAIN, V2, V2_MAIN))
        return Verdict(False, url, "the signature does not match" if some else "no signature")
    first = matched[0]
    return Verdict(True, first.url, "", form, first.nonce, any(each.own for each in matched))


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One way in which the request may have been signed."""

    expected: str
    given: str
    url: str
    nonce: str
    own: bool


def _v3_attempts(request: Webhook, url: str, signed: Pairs, keys: Keys) -> Iterator[_Attempt]:
    nonce = request.headers.get(V3_NONCE, "")
    if not nonce:
        return
    for spelling in spellings(url):
        expected = signature_v3(request.method, spelling, signed, nonce, keys.auth_token)
        for name, own in ((V3, True), (V3_MAIN, False)):
            yield _Attempt(expected, request.headers.get(name, ""), spelling, nonce, own)


def _v2_attempts(request: Webhook, url: str, keys: Keys) -> Iterator[_Attempt]:
    nonce = request.headers.get(V2_NONCE, "")
    if not nonce or not keys.v2:
        return
    for spelling in spellings(url):
        expected = signature_v2(spelling, nonce, keys.auth_token)
        for name, own in ((V2, True), (V2_MAIN, False)):
            yield _Attempt(expected, request.headers.get(name, ""), spelling, nonce, own)


def _among(expected: str, given: str) -> bool:
    """Whether the header, a list, has this signature."""
    claims = given.split(",", _MOST_SIGNATURES)[:_MOST_SIGNATURES]
    wanted = expected.encode("ascii")
    same = [hmac.compare_digest(wanted, claim.strip().encode("utf-8", "surrogatepass")) for claim in claims]
    return True in same


def upgrade_signed_as(path: str, public_url: str, token: str, headers: Mapping[str, str]) -> str:
    """As which URL Plivo signed this WebSocket's upgrade; empty when as none that we know. Never raises.

    Which form it signs is not documented, and what Plivo publishes for it disagrees: this is for the log, and decides
    nothing.
    """
    nonce = headers.get(V3_NONCE, "")
    _, separator, host = public_url.rstrip("/").partition("://")
    origins = dict.fromkeys(
        (websocket_url(public_url), *(f"{s}{separator}{host}" for s in ("https", "http", "wss", "ws")))
    )
    for origin in origins:
        for tail in ("", "/websocket"):
            url = f"{origin}{path}{tail}"
            for spelling in spellings(url):
                expected = _sign(f"{spelling}.{nonce}", token)
                if any(_among(expected, headers.get(name, "")) for name in (V3, V3_MAIN)):
                    return url
    return ""


def _url(origin: str, path: str, query: str) -> str:
    return f"{origin}{path}?{query}" if query else f"{origin}{path}"


def _form(request: Webhook) -> Form:
    """The parameters of the request.

    Raises:
        ValueError: it has none that can be trusted or read.
    """
    if request.method == "GET":
        return _query(request.query)
    kind = request.content_type.partition(";")[0].strip().lower()
    if kind == FORM_TYPE or (not kind and not request.body):
        return parse_form(request.body)
    raise ValueError("the body is no form, so no signature covers it")


def _query(query: str) -> Form:
    return parse_form(query.encode("utf-8", "surrogatepass"))


# What it says

_CALL_UUID: Final = re.compile(r"[0-9A-Za-z-]{8,64}")
_DIGITS: Final = re.compile(r"[1-9][0-9]{6,14}")
_OVER: Final = frozenset({"completed", "busy", "failed", "timeout", "no-answer", "cancel"})
_STREAM_EVENTS: Final = {
    "startstream": "started",
    "stopstream": "stopped",
    "droppedstream": "failed",
    "degradedstream": "degraded",
    "playedstream": "played",
    "clearedaudio": "cleared",
    "started": "started",
    "stopped": "stopped",
    "failed": "failed",
}
"""Events of a stream in both of the documented spellings, in lower case, to one word of ours."""


_DIAL_ACTIONS: Final = {"answer": "answered", "connected": "answered"}


@dataclass(frozen=True, slots=True)
class VoiceRequest:
    """What a webhook says of a call. Numbers are people: they do not print."""

    call_id: str
    caller: str = field(repr=False)
    called: str = field(repr=False)
    status: str
    direction: str
    request_id: str
    """Of an outbound call: what placing it answered."""
    cause: str
    """Why a call is over: its code and name."""
    stream_event: str = ""
    """Set when it is told of a stream: started, stopped, failed, degraded, played, cleared, or Plivo's own word."""
    stream_reason: str = ""
    dialled: str = ""
    """What becomes of somebody else whom the call is put through to: `answered` or `told` (of no consequence)
    meanwhile; when that is over, and what next is asked, `completed`, `busy`, `failed`, `timeout`, `no-answer` or
    `cancel`."""

    machine: bool = False
    """An answering machine has taken the call that we placed."""

    @property
    def over(self) -> bool:
        """The call, not only a stream or somebody whom it was put through to, has ended."""
        return self.status in _OVER and not self.stream_event and not self.dialled


def voice_request(form: Form) -> VoiceRequest:
    """Read a (genuine) webhook.

    Raises:
        ValueError: it has no usable CallUUID, so there is no call to speak of.
    """
    call_id = form.get("DialALegUUID") or form.get("CallUUID")
    if not _CALL_UUID.fullmatch(call_id):
        raise ValueError("CallUUID is missing or no UUID")
    event = form.get("Event")
    return VoiceRequest(
        call_id=call_id,
        caller=number(form.get("From")),
        called=number(form.get("To")),
        status=form.get("CallStatus").lower(),
        direction=form.get("Direction"),
        request_id=form.get("RequestUUID"),
        cause=" ".join(part for part in (form.get("HangupCauseCode"), form.get("HangupCauseName")) if part),
        stream_event=_STREAM_EVENTS.get(event.lower(), event) if "StreamID" in form else "",
        stream_reason=form.get("StatusReason"),
        machine=event == "MachineDetection" and form.get("Machine").lower() == "true",
        dialled=_DIAL_ACTIONS.get(action, "told") if (action := form.get("DialAction")) else form.get("DialStatus"),
    )


def number(text: str) -> str:
    """A telephone number with its plus sign, which Plivo leaves out; anything else as it is."""
    return f"+{text}" if _DIGITS.fullmatch(text) else text


def bare(text: str) -> str:
    """The same in Plivo's spelling."""
    return text.removeprefix("+")


# What we answer

_LONGEST_URL: Final = 2048
_SESSION: Final = re.compile(r"[0-9A-Za-z]{0,400}")


def stream_answer(url: str, *, content_type: str, status_url: str = "", session: str = "") -> XmlAnswer:
    """Open a bidirectional stream to `url`, and hang up when it ends: no caller is left on a silent line.

    Raises:
        ValueError: the URL is no WebSocket URL or too long, or the session's name would not survive.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.netloc or "#" in url or len(url) > _LONGEST_URL:
        raise ValueError(f"a stream needs a ws:// or wss:// URL of at most {_LONGEST_URL} characters")
    if not _SESSION.fullmatch(session):
        raise ValueError("only letters and digits come through as an extra header")
    stream = ET.Element("Stream", bidirectional="true", keepCallAlive="true", audioTrack="inbound")
    stream.set("contentType", clean(content_type))
    if status_url:
        stream.attrib.update(statusCallbackUrl=clean(status_url), statusCallbackMethod="POST")
    if session:
        stream.set("extraHeaders", f"session={session}")
    stream.text = clean(url)
    return document(stream, ET.Element("Hangup"))


def busy() -> XmlAnswer:
    """Refuse the call without answering it: the caller hears the busy tone and nobody pays."""
    return document(ET.Element("Hangup", reason="busy"))


def hangup() -> XmlAnswer:
    return document(ET.Element("Hangup"))


def speak_and_hangup(text: str) -> XmlAnswer:
    """Have Plivo's own voice say something, then end the call."""
    speak = ET.Element("Speak")
    speak.text = clean(text)
    return document(speak, ET.Element("Hangup"))


def dial(to: str, *, caller_id: str, ring_seconds: int, after_url: str) -> XmlAnswer:
    """Put the caller through to a number or SIP URI. `after_url` is told when the other side answers, and asked what
    next when it did not, or has hung up."""
    outer = ET.Element("Dial", timeout=str(ring_seconds), action=clean(after_url), method="POST", redirect="true")
    outer.attrib.update(callbackUrl=clean(after_url), callbackMethod="POST")
    if caller_id:
        outer.set("callerId", clean(bare(caller_id)))
    inner = ET.SubElement(outer, "User" if to.startswith(("sip:", "sips:")) else "Number")
    inner.text = clean(bare(to))
    return document(outer, ET.Element("Hangup"))


def empty() -> XmlAnswer:
    """The answer to a status callback, which wants none."""
    return document()
