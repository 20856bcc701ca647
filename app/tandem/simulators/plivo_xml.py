"""How Plivo reads the answer to a webhook, pure: strictly, and with its own hangup codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from tandem.simulators.plivo_line import FORMATS


@dataclass(frozen=True, slots=True)
class Stream:
    """A bidirectional stream; the elements after it wait until it has ended."""

    url: str
    content_type: str
    status_url: str = ""
    status_method: str = "POST"
    extra_headers: str = ""


@dataclass(frozen=True, slots=True)
class Speak:
    text: str


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Dial:
    """Somebody else is called; `action` is asked what to do when that is over."""

    to: str
    caller_id: str = ""
    seconds: float = 120.0
    action: str = ""
    """Asked what next when it is over."""
    redirect: bool = True
    """What `action` answers is obeyed."""
    callback: str = ""
    """Told when the other side answers."""


@dataclass(frozen=True, slots=True)
class Hangup:
    """`reason` (busy or rejected) refuses a call that was not answered."""

    reason: str = ""


Element = Stream | Speak | Wait | Redirect | Dial | Hangup


class AnswerError(Exception):
    """The answer can't be obeyed. `code` is the hangup code that Plivo ends the call with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


HTTP_FAILED: Final = 7011
INVALID: Final = 8011

_LONGEST: Final = 100 * 1024
_LONGEST_URL: Final = 2048
_LONGEST_HEADERS: Final = 512
_ATTRIBUTES: Final = {
    "Stream": {
        "bidirectional", "audioTrack", "keepCallAlive", "contentType", "streamTimeout", "statusCallbackUrl",
        "statusCallbackMethod", "extraHeaders", "noiseCancellation", "noiseCancellationLevel",
    },
    "Speak": {"voice", "language", "loop"},
    "Wait": {"length", "silence", "minSilence", "beep"},
    "Redirect": {"method"},
    "Dial": {"callerId", "timeout", "action", "method", "redirect", "callbackUrl", "callbackMethod"},
    "Hangup": {"reason", "schedule"},
}  # fmt: skip


def parse_answer(status: int, content_type: str, body: bytes, *, plain: bool = False) -> list[Element]:
    """The elements of an answer. `plain` takes `ws://` streams, too: a server on one's own machine has no certificate.

    Raises:
        AnswerError: Plivo would not take it.
    """
    if not 200 <= status < 300:
        raise AnswerError(HTTP_FAILED, f"HTTP status {status}")
    if content_type.partition(";")[0].strip().lower() not in ("text/xml", "application/xml"):
        raise AnswerError(INVALID, f"content type {content_type or 'missing'}")
    if len(body) > _LONGEST:
        raise AnswerError(INVALID, f"a document of {len(body)} bytes")
    try:
        root = ET.fromstring(body)  # noqa: S314 - expat refuses the blow-ups that this rule is about
    except ET.ParseError as error:
        raise AnswerError(INVALID, str(error)) from None
    if root.tag != "Response" or root.attrib:
        raise AnswerError(INVALID, f"the root is <{root.tag}>, not <Response>")
    return [_element(element, plain) for element in root]


def _element(element: ET.Element, plain: bool) -> Element:
    given = _attributes(element)
    if element.tag != "Dial" and len(element):
        raise AnswerError(INVALID, f"<{element.tag}> has children")
    text = (element.text or "").strip()
    match element.tag:
        case "Stream":
            return _stream(text, given, plain)
        case "Speak":
            if not text:
                raise AnswerError(INVALID, "<Speak> has no text")
            return Speak(element.text or "")
        case "Wait":
            return Wait(_seconds(given.get("length", "1")))
        case "Redirect":
            return Redirect(_web_url(text), _method(given.get("method", "POST")))
        case "Dial":
            return _dial(element, given)
        case "Hangup":
            reason = given.get("reason", "")
            if reason not in ("", "busy", "rejected"):
                raise AnswerError(INVALID, f"<Hangup> for {reason!r}")
            return Hangup(reason)
        case _:
            raise AnswerError(INVALID, f"<{element.tag}> is not an element that this simulator knows")


def _stream(url: str, given: Mapping[str, str], plain: bool) -> Stream:
    if not url.startswith(("wss://", "ws://") if plain else "wss://") or len(url) > _LONGEST_URL:
        raise AnswerError(INVALID, "the text of <Stream> is no wss:// URL")
    if not _flag(given, "bidirectional"):
        raise AnswerError(INVALID, "a stream in one direction is nothing to talk over")
    if given.get("audioTrack", "inbound") != "inbound":
        raise AnswerError(INVALID, "a bidirectional stream has only the inbound track")
    if not _flag(given, "keepCallAlive"):
        raise AnswerError(INVALID, "without keepCallAlive the next element runs beside the stream")
    if given.get("contentType") not in FORMATS:
        raise AnswerError(INVALID, f"contentType {given.get('contentType')!r}")
    if len(given.get("extraHeaders", "")) > _LONGEST_HEADERS:
        raise AnswerError(INVALID, "extraHeaders are too long")
    callback = given.get("statusCallbackUrl", "")
    return Stream(
        url=url,
        content_type=given["contentType"],
        status_url=_web_url(callback) if callback else "",
        status_method=_method(given.get("statusCallbackMethod", "POST")),
        extra_headers=given.get("extraHeaders", ""),
    )


def _dial(element: ET.Element, given: Mapping[str, str]) -> Dial:
    if len(element) != 1 or element[0].tag not in ("Number", "User") or not (element[0].text or "").strip():
        raise AnswerError(INVALID, "<Dial> needs one <Number> or <User>")
    action, callback = given.get("action", ""), given.get("callbackUrl", "")
    return Dial(
        to=(element[0].text or "").strip(),
        caller_id=given.get("callerId", ""),
        seconds=_seconds(given.get("timeout", "120")),
        action=_web_url(action) if action else "",
        redirect=given.get("redirect", "true") == "true",
        callback=_web_url(callback) if callback else "",
    )


def _attributes(element: ET.Element) -> Mapping[str, str]:
    unknown = set(element.attrib) - _ATTRIBUTES.get(element.tag, set(element.attrib))
    if unknown:
        raise AnswerError(INVALID, f"<{element.tag}> has no attribute {sorted(unknown)[0]!r}")
    return element.attrib


def _flag(given: Mapping[str, str], name: str) -> bool:
    value = given.get(name, "false")
    if value not in ("true", "false"):
        raise AnswerError(INVALID, f"{name} is {value!r}")
    return value == "true"


def _seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit():
        raise AnswerError(INVALID, f"{text!r} is no whole number of seconds")
    return float(text)


def _web_url(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https"):
        raise AnswerError(INVALID, f"{url[:60]!r} is no URL to ask")
    return url


def _method(method: str) -> str:
    if method not in ("GET", "POST"):
        raise AnswerError(INVALID, f"method {method!r}")
    return method
