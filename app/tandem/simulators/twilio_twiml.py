"""How Twilio reads the answer to a webhook, pure: strictly, and with its own error codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET


@dataclass(frozen=True, slots=True)
class Connect:
    """A bidirectional stream; the verbs after it wait until the server closes it."""

    url: str
    action: str = ""
    method: str = "POST"
    name: str = ""
    status_callback: str = ""
    status_callback_method: str = "POST"
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True)
class Dial:
    """Call somebody else and connect the two; the verbs after it wait."""

    to: str
    caller_id: str = ""
    timeout: float = 30.0
    action: str = ""
    method: str = "POST"
    status_callback: str = ""
    status_callback_events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlayKeys:
    digits: str


Verb = Connect | Say | Pause | Redirect | Reject | Hangup | Dial | PlayKeys


class TwimlError(Exception):
    """The answer can't be obeyed. `code` is what Twilio's debugger shows."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


HTTP_FAILED: Final = 11200
PARSE_FAILED: Final = 12100
SCHEMA: Final = 12200
CONTENT_TYPE: Final = 12300

_PARAMETER_LIMIT: Final = 500
_ATTRIBUTES: Final = {
    "Connect": {"action", "method"},
    "Stream": {"url", "name", "track", "statusCallback", "statusCallbackMethod"},
    "Parameter": {"name", "value"},
    "Say": {"voice", "language", "loop"},
    "Pause": {"length"},
    "Redirect": {"method"},
    "Reject": {"reason"},
    "Hangup": set[str](),
    "Dial": {"action", "method", "timeout", "callerId", "timeLimit", "hangupOnStar", "answerOnBridge"},
    "Number": {"statusCallback", "statusCallbackEvent", "statusCallbackMethod", "sendDigits", "url", "method"},
    "Sip": {"statusCallback", "statusCallbackEvent", "statusCallbackMethod", "username", "password", "url", "method"},
    "Play": {"digits", "loop"},
}


def parse_twiml(status: int, content_type: str, body: bytes, *, plain: bool = False) -> list[Verb]:
    """The verbs of an answer. `plain` takes `ws://` streams, too: a server on one's own machine has no certificate.

    Raises:
        TwimlError: Twilio would not take it.
    """
    if not 200 <= status < 300:
        raise TwimlError(HTTP_FAILED, f"HTTP status {status}")
    if content_type.partition(";")[0].strip().lower() not in ("text/xml", "application/xml"):
        raise TwimlError(CONTENT_TYPE, f"content type {content_type or 'missing'}")
    try:
        root = ET.fromstring(body)  # noqa: S314 - expat refuses the blow-ups that this rule is about
    except ET.ParseError as error:
        raise TwimlError(PARSE_FAILED, str(error)) from None
    if root.tag != "Response" or root.attrib:
        raise TwimlError(SCHEMA, f"the root is <{root.tag}>, not <Response>")
    verbs = [_verb(element, plain) for element in root]
    if any(isinstance(verb, Reject) for verb in verbs[1:]):
        raise TwimlError(SCHEMA, "<Reject> is not the first verb")
    return verbs


def _verb(element: ET.Element, plain: bool) -> Verb:
    given = _attributes(element)
    if element.tag not in ("Connect", "Dial") and len(element):
        raise TwimlError(SCHEMA, f"<{element.tag}> has children")
    match element.tag:
        case "Connect":
            return _connect(element, given, plain)
        case "Say":
            if not (element.text or "").strip():
                raise TwimlError(SCHEMA, "<Say> has no text")
            return Say(element.text or "", given.get("language", ""))
        case "Pause":
            length = given.get("length", "1")
            if not length.isascii() or not length.isdigit():
                raise TwimlError(SCHEMA, "<Pause> has no whole number of seconds")
            return Pause(float(length))
        case "Redirect":
            return Redirect((element.text or "").strip(), _method(given.get("method", "POST")))
        case "Reject":
            reason = given.get("reason", "rejected")
            if reason not in ("busy", "rejected"):
                raise TwimlError(SCHEMA, f"<Reject> for {reason!r}")
            return Reject(reason)
        case "Hangup":
            return Hangup()
        case "Dial":
            return _dial(element, given)
        case "Play":
            if not re.fullmatch(r"[0-9A-Da-d*#wW]{1,32}", given.get("digits", "")):
                raise TwimlError(SCHEMA, "<Play> without digits is not known here")
            return PlayKeys(given["digits"])
        case _:
            raise TwimlError(SCHEMA, f"<{element.tag}> is not a verb that this simulator knows")


def _connect(element: ET.Element, given: Mapping[str, str], plain: bool) -> Connect:
    if len(element) != 1 or element[0].tag != "Stream":
        raise TwimlError(SCHEMA, "<Connect> needs one <Stream>")
    stream = element[0]
    wanted = _attributes(stream)
    if wanted.get("track", "inbound_track") != "inbound_track":
        raise TwimlError(SCHEMA, "a bidirectional stream has only the inbound track")
    callback = wanted.get("statusCallback", "")
    if callback and urlsplit(callback).scheme not in ("http", "https"):
        raise TwimlError(SCHEMA, "statusCallback is not absolute")
    return Connect(
        url=_stream_url(wanted.get("url", ""), plain),
        action=given.get("action", ""),
        method=_method(given.get("method", "POST")),
        name=wanted.get("name", ""),
        status_callback=callback,
        status_callback_method=_method(wanted.get("statusCallbackMethod", "POST")),
        parameters=_parameters(stream),
    )


def _dial(element: ET.Element, given: Mapping[str, str]) -> Dial:
    if len(element) != 1 or element[0].tag not in ("Number", "Sip"):
        raise TwimlError(SCHEMA, "<Dial> needs one <Number> or <Sip> here")
    noun = _attributes(element[0])
    to = (element[0].text or "").strip()
    if not to or (element[0].tag == "Sip" and not to.startswith(("sip:", "sips:"))):
        raise TwimlError(SCHEMA, f"<{element[0].tag}> names nobody")
    events = tuple(noun.get("statusCallbackEvent", "completed").split())
    if not {"initiated", "ringing", "answered", "completed"}.issuperset(events):
        raise TwimlError(SCHEMA, "statusCallbackEvent names an event that does not exist")
    timeout = given.get("timeout", "30")
    if not timeout.isascii() or not timeout.isdigit():
        raise TwimlError(SCHEMA, "<Dial> has no whole number of seconds")
    return Dial(
        to,
        given.get("callerId", ""),
        float(timeout),
        given.get("action", ""),
        _method(given.get("method", "POST")),
        noun.get("statusCallback", ""),
        events,
    )


def _stream_url(url: str, plain: bool) -> str:
    if "?" in url:
        raise TwimlError(31920, "a stream's URL has no query")
    if not url.startswith(("wss://", "ws://") if plain else "wss://"):
        raise TwimlError(31922, "a stream's URL begins with wss://")
    return url


def _parameters(stream: ET.Element) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for child in stream:
        given = _attributes(child)
        if child.tag != "Parameter" or "name" not in given or "value" not in given:
            raise TwimlError(SCHEMA, "<Stream> holds only <Parameter name value>")
        if len(given["name"]) + len(given["value"]) >= _PARAMETER_LIMIT:
            raise TwimlError(SCHEMA, f"parameter {given['name'][:40]!r} is too long")
        parameters[given["name"]] = given["value"]
    return parameters


def _attributes(element: ET.Element) -> Mapping[str, str]:
    unknown = set(element.attrib) - _ATTRIBUTES.get(element.tag, set(element.attrib))
    if unknown:
        raise TwimlError(SCHEMA, f"<{element.tag}> has no attribute {sorted(unknown)[0]!r}")
    return element.attrib


def _method(method: str) -> str:
    if method not in ("GET", "POST"):
        raise TwimlError(SCHEMA, f"method {method!r}")
    return method
