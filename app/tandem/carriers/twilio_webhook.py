"""Twilio's webhooks, pure: whether Twilio sent the request, what it says, and the TwiML to answer with.

A signature covers the URL as Twilio requested it. That URL is built from the configured public origin plus the path
and query as they came in, never from Host or forwarding headers: those are whatever the sender wants them to be.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import msgspec

from tandem.carriers.forms import FORM_TYPE, Form, parse_form
from tandem.carriers.urls import spellings, websocket_url
from tandem.carriers.xml_answer import XmlAnswer, clean, document

SIGNATURE_HEADER: Final = "x-twilio-signature"
SETTINGS_HEADER: Final = "x-twilio-webhooks-signature-settings"
"""Names the algorithm and the key when a request is signed with a shared key rather than the auth token."""

Pairs = Sequence[tuple[str, str]]
Algorithm = Literal["HMAC_SHA1", "HMAC_SHA256"]


# Signatures


@dataclass(frozen=True, slots=True)
class Keys:
    """What may have signed a request. Never printed."""

    auth_tokens: tuple[str, ...] = field(repr=False)
    """The account's primary auth token, then the secondary one while the token is being rotated."""
    shared_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secrets of shared keys by id. SHA-256 is accepted only from these: a header must not choose the key."""


def shared_keys(text: str) -> dict[str, str]:
    """Secrets by id, of `TWILIO_SHARED_KEYS`.

    Raises:
        ValueError: an entry is not of the form ID:SECRET.
    """
    pairs = [entry.strip().partition(":") for entry in text.split(",") if entry.strip()]
    if not all(name and colon and secret for name, colon, secret in pairs):
        raise ValueError("write ID:SECRET, and a comma between two of them")
    return {name: secret for name, _, secret in pairs}


@dataclass(frozen=True, slots=True)
class Webhook:
    """One HTTP request as it came in. `path` and `query` are raw, still percent-encoded; `body` is unread."""

    method: str
    path: str
    query: str = ""
    content_type: str = ""
    body: bytes = b""
    signature: str = ""
    signature_settings: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is genuine; why not, in words for our log (never for the sender)."""

    genuine: bool
    url: str
    """The URL whose signature matched; when none did, the one that PUBLIC_URL makes."""
    reason: str = ""
    form: Form | None = None
    """The parameters, from the body or (GET) from the query. None when the request is refused."""


def signature(url: str, params: Pairs, key: str, algorithm: Algorithm = "HMAC_SHA1") -> str:
    """What Twilio writes into the signature header for a request to `url` (no fragment) with these form fields.

    Names are sorted by code point; the values of a repeated name are sorted and each is taken once.
    """
    text = url + "".join(name + value for name, value in sorted(set(params)))
    digest = hashlib.sha256 if algorithm == "HMAC_SHA256" else hashlib.sha1
    mac = hmac.new(key.encode(), text.encode("utf-8", "surrogatepass"), digest)
    return base64.b64encode(mac.digest()).decode("ascii")


def verify(request: Webhook, public_url: str, keys: Keys) -> Verdict:
    """Whether Twilio sent this webhook. Never raises."""
    url = _url(public_url.rstrip("/"), request.path, request.query)
    try:
        signed, form = _signed_fields(request)
        algorithm, secrets = _signing_keys(request.signature_settings, keys)
    except ValueError as error:
        return Verdict(False, url, str(error))
    matched = _match(url, signed, request.signature, algorithm, secrets)
    if matched is None:
        return Verdict(False, url, "no signature" if not request.signature else "the signature does not match")
    return Verdict(True, matched, "", form)


def verify_upgrade(
    path: str, public_url: str, keys: Keys, *, query: str = "", given: str = "", settings: str = ""
) -> Verdict:
    """Whether Twilio opened this WebSocket: the signature covers the `wss://` URL as our TwiML wrote it. Never raises.

    `given` and `settings` are the two signature headers.
    """
    url = _url(websocket_url(public_url), path, query)
    try:
        algorithm, secrets = _signing_keys(settings, keys)
    except ValueError as error:
        return Verdict(False, url, str(error))
    matched = _match(url, (), given, algorithm, secrets)
    if matched is None:
        return Verdict(False, url, "no signature" if not given else "the signature does not match")
    return Verdict(True, matched, "", Form(()))


def _url(origin: str, path: str, query: str) -> str:
    return f"{origin}{path}?{query}" if query else f"{origin}{path}"


def _match(url: str, params: Pairs, given: str, algorithm: Algorithm, secrets: Iterable[str]) -> str | None:
    """The candidate whose signature was given. Tries all of them, so that the time taken tells nothing."""
    claimed = given.encode("utf-8", "surrogatepass")
    found: str | None = None
    for secret in secrets:
        for candidate in spellings(url):
            expected = signature(candidate, params, secret, algorithm).encode("ascii")
            if hmac.compare_digest(expected, claimed) and found is None:
                found = candidate
    return found


def _signing_keys(settings: str, keys: Keys) -> tuple[Algorithm, tuple[str, ...]]:
    """Which algorithm and secrets may have signed, by the settings header.

    Raises:
        ValueError: the header asks for something that is not configured.
    """
    named = {name.strip(): value.strip() for name, _, value in (part.partition("=") for part in settings.split(","))}
    algorithm = named.get("algorithm", "").upper() or "HMAC_SHA1"
    if algorithm == "HMAC_SHA1":
        return "HMAC_SHA1", keys.auth_tokens
    if algorithm != "HMAC_SHA256":
        raise ValueError("the signature's algorithm is not supported")
    secret = keys.shared_keys.get(named.get("key", ""))
    if secret is None:
        raise ValueError("signed with a shared key that is not configured")
    return "HMAC_SHA256", (secret,)


def _signed_fields(request: Webhook) -> tuple[Pairs, Form]:
    """The form fields that the signature covers beside the URL, and the parameters to go by.

    Raises:
        ValueError: the request has no form that can be trusted or read.
    """
    if request.method.upper() == "GET":
        return (), parse_form(request.query.encode("utf-8", "surrogatepass"))
    kind = request.content_type.partition(";")[0].strip().lower()
    if kind == FORM_TYPE or (not kind and not request.body):
        form = parse_form(request.body)
        return form.pairs, form
    # Any other body is vouched for by its hash in the signed URL; without one, nothing vouches for it.
    in_query = parse_form(request.query.encode("utf-8", "surrogatepass"))
    claimed = in_query.get("bodySHA256")
    if not claimed:
        raise ValueError("the body is no form, and the URL has no bodySHA256 for it")
    actual = hashlib.sha256(request.body).hexdigest()
    if not hmac.compare_digest(actual.encode(), claimed.lower().encode("utf-8", "surrogatepass")):
        raise ValueError("the body does not match bodySHA256")
    return (), Form((*in_query.pairs, *_json_fields(request.body, kind)))


def _json_fields(body: bytes, kind: str) -> list[tuple[str, str]]:
    """What a JSON body says in plain fields; a body that is none says nothing.

    Raises:
        ValueError: it claims to be JSON and is not.
    """
    if kind != "application/json":
        return []
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("the body is no JSON") from None
    plain = fields.items() if isinstance(fields, dict) else ()
    return [(name, value) for name, value in plain if isinstance(value, str)]


# What it says


_CALL_SID: Final = re.compile(r"CA[0-9a-fA-F]{32}")


@dataclass(frozen=True, slots=True)
class VoiceRequest:
    """What a voice webhook or a call status callback says. Numbers are people: they do not print."""

    call_id: str
    account_id: str
    caller: str = field(repr=False)
    called: str = field(repr=False)
    status: str
    direction: str


def voice_request(form: Form) -> VoiceRequest:
    """Read a (genuine) voice webhook.

    Raises:
        ValueError: it has no usable CallSid, so there is no call to speak of.
    """
    call_id = form.get("CallSid")
    if not _CALL_SID.fullmatch(call_id):
        raise ValueError("CallSid is missing or not of the form CA and 32 hex digits")
    return VoiceRequest(
        call_id=call_id,
        account_id=form.get("AccountSid"),
        caller=form.get("From"),
        called=form.get("To"),
        status=form.get("CallStatus"),
        direction=form.get("Direction"),
    )


# TwiML


_PARAMETER_LIMIT: Final = 500  # name and value together must stay under it, or Twilio drops the parameter


def connect_stream(
    url: str,
    *,
    action_url: str = "",
    status_callback_url: str = "",
    parameters: Mapping[str, str] | None = None,
) -> XmlAnswer:
    """Open a bidirectional stream to `url`. When it ends, `action_url` is asked what to do next.

    A hang-up closes the document: without `action_url` (or when it fails) no caller is left on a silent line.

    Raises:
        ValueError: the URL is no WebSocket URL, has a query (Twilio drops it silently), or a parameter is too long.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.netloc or "?" in url or "#" in url:
        raise ValueError("a stream needs a ws:// or wss:// URL without a query")
    connect = ET.Element("Connect")
    if action_url:
        connect.attrib.update(action=clean(action_url), method="POST")
    stream = ET.SubElement(connect, "Stream", url=clean(url))
    if status_callback_url:
        stream.attrib.update(statusCallback=clean(status_callback_url), statusCallbackMethod="POST")
    for name, value in (parameters or {}).items():
        if len(name) + len(value) >= _PARAMETER_LIMIT:
            raise ValueError(f"stream parameter {name[:40]!r} is too long")
        ET.SubElement(stream, "Parameter", name=clean(name), value=clean(value))
    return document(connect, ET.Element("Hangup"))


def reject_busy() -> XmlAnswer:
    """Refuse the call without answering it: the caller hears the busy tone and nobody pays."""
    return document(ET.Element("Reject", reason="busy"))


def hangup() -> XmlAnswer:
    return document(ET.Element("Hangup"))


def say_and_hangup(text: str, *, language: str = "") -> XmlAnswer:
    """Have Twilio's own voice say something, then end the call."""
    say = ET.Element("Say")
    if language:
        say.set("language", clean(language))
    say.text = clean(text)
    return document(say, ET.Element("Hangup"))


def dial(to: str, *, caller_id: str, ring_seconds: int, action_url: str, answered_url: str) -> XmlAnswer:
    """Put the caller through to a number or SIP URI. `answered_url` is told when the other side answers, `action_url`
    asked what next when it did not, or has hung up."""
    outer = ET.Element("Dial", timeout=str(ring_seconds), action=clean(action_url), method="POST")
    if caller_id:
        outer.set("callerId", clean(caller_id))
    inner = ET.SubElement(outer, "Sip" if to.startswith(("sip:", "sips:")) else "Number")
    inner.attrib.update(statusCallback=clean(answered_url), statusCallbackEvent="answered", statusCallbackMethod="POST")
    inner.text = clean(to)
    return document(outer, ET.Element("Hangup"))


def play_keys(digits: str, *, then_url: str) -> XmlAnswer:
    """Play keys to the far end, then ask `then_url`, which opens the stream again."""
    redirect = ET.Element("Redirect", method="POST")
    redirect.text = clean(then_url)
    return document(ET.Element("Play", digits=digits), redirect)


def empty() -> XmlAnswer:
    """The answer to a status callback, which wants none."""
    return document()
