"""How Telnyx reads a TeXML document, pure: strictly, so that ours are known to be meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from tandem.simulators.telnyx_line import Order


@dataclass(frozen=True, slots=True)
class Connect:
    """A bidirectional stream; the verbs after it wait until it ends."""

    order: Order
    status_callback: str = ""
    reconnects: bool = True


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Dial:
    """Somebody else is called and joined with the caller; `action` is told what came of it."""

    to: str
    action: str
    caller_id: str = ""
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys that are played to the caller."""

    digits: str


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


Verb = Connect | Say | Pause | Redirect | Dial | Keys | Reject | Hangup


class TexmlError(Exception):
    """The answer can't be obeyed."""


_ATTRIBUTES: Final = {
    "Response": set[str](),
    "Connect": {"action", "method"},
    "Stream": {
        "url", "name", "track", "codec", "bidirectionalMode", "bidirectionalCodec", "bidirectionalSamplingRate",
        "statusCallback", "statusCallbackMethod", "enableReconnect",
    },
    "Parameter": {"name", "value"},
    "Say": {"voice", "language"},
    "Pause": {"length"},
    "Redirect": {"method"},
    "Dial": {"action", "method", "timeout", "callerId"},
    "Number": set[str](),
    "Sip": set[str](),
    "Play": {"digits"},
    "Reject": {"reason"},
    "Hangup": set[str](),
}  # fmt: skip
_VALUES: Final = {
    "track": {"inbound_track", "outbound_track", "both_tracks"},
    "codec": {"PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "default"},
    "bidirectionalMode": {"mp3", "rtp"},
    "bidirectionalCodec": {"PCMU", "PCMA", "G722", "OPUS", "AMR-WB"},
    "bidirectionalSamplingRate": {"8000", "16000", "24000"},
    "enableReconnect": {"true", "false"},
    "reason": {"rejected", "busy"},
}


def parse_texml(status: int, content_type: str, body: bytes) -> list[Verb]:
    """The verbs of an answer.

    Raises:
        TexmlError: Telnyx would not take it.
    """
    if not 200 <= status < 300:
        raise TexmlError(f"HTTP status {status}")
    if content_type.partition(";")[0].strip().lower() not in ("text/xml", "application/xml"):
        raise TexmlError(f"content type {content_type or 'missing'}")
    try:
        root = ET.fromstring(body)  # noqa: S314 - expat refuses the blow-ups that this rule is about
    except ET.ParseError as error:
        raise TexmlError(str(error)) from None
    if root.tag != "Response":
        raise TexmlError(f"the root is <{root.tag}>, not <Response>")
    return [_verb(element) for element in root]


def _verb(element: ET.Element) -> Verb:
    given = _attributes(element)
    text = (element.text or "").strip()
    match element.tag:
        case "Connect" if len(element) == 1 and element[0].tag == "Stream":
            return _connect(element[0])
        case "Say" if text:
            return Say(text)
        case "Pause":
            return Pause(float(given.get("length", "1")))
        case "Redirect" if text:
            return Redirect(text, given.get("method", "POST"))
        case "Dial" if len(element) == 1 and element[0].tag in ("Number", "Sip"):
            to = (element[0].text or "").strip()
            _attributes(element[0])
            return Dial(to, given.get("action", ""), given.get("callerId", ""), float(given.get("timeout", "30")))
        case "Play" if given.get("digits"):
            return Keys(given["digits"])
        case "Reject":
            return Reject(given.get("reason", "rejected"))
        case "Hangup":
            return Hangup()
        case _:
            raise TexmlError(f"<{element.tag}> is nothing that this simulator can obey")


def _connect(stream: ET.Element) -> Connect:
    given = _attributes(stream)
    if not given.get("url", "").startswith(("ws://", "wss://")):
        raise TexmlError("a stream's URL begins with wss:// or ws://")
    return Connect(
        Order(
            url=given["url"],
            codec=given.get("codec", "default"),
            mode="rtp" if given.get("bidirectionalMode") == "rtp" else "mp3",
            agent_codec=given.get("bidirectionalCodec", "PCMU"),
            agent_rate=int(given.get("bidirectionalSamplingRate", "8000")),
            track=given.get("track", "inbound_track"),
            parameters={each["name"]: each["value"] for each in map(_parameter, stream)},
        ),
        status_callback=given.get("statusCallback", ""),
        reconnects=given.get("enableReconnect", "true") == "true",
    )


def _parameter(element: ET.Element) -> Mapping[str, str]:
    given = _attributes(element)
    if element.tag != "Parameter" or given.keys() != {"name", "value"}:
        raise TexmlError("<Stream> holds only <Parameter name value>")
    return given


def _attributes(element: ET.Element) -> Mapping[str, str]:
    for name, value in element.attrib.items():
        if name not in _ATTRIBUTES.get(element.tag, set()):
            raise TexmlError(f"<{element.tag}> has no attribute {name!r}")
        if name in _VALUES and value not in _VALUES[name]:
            raise TexmlError(f"<{element.tag}>: {name} can't be {value!r}")
    return element.attrib
