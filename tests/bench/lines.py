"""The carrier's end of a call: how it comes in by that carrier's own front door, and the words on its media stream."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx

from tandem.carriers.twilio_webhook import signature
from tandem.simulators import (
    plivo_http,
    plivo_line,
    plivo_xml,
    telnyx_http,
    telnyx_line,
    telnyx_texml,
    twilio_http,
    twilio_line,
    twilio_twiml,
)
from tandem.simulators.line import Faults, Wire
from tandem.simulators.plan import CallPlan

CALLER, CALLED = "+15550002000", "+15550001000"
ACCOUNT, TOKEN = "AC" + "b" * 32, "bench-token"
AUTH_ID = "MA" + "B" * 18

_TWILIO_MEDIA: Final = (
    b'{"event":"media","sequenceNumber":"%%(after)d","media":{"track":"inbound","chunk":"%%(number)d",'
    b'"timestamp":"%%(at_ms)d","payload":"%%(payload)b"},"streamSid":"%b"}'
)
_TELNYX_MEDIA: Final = (
    b'{"event":"media","sequence_number":"%%(after)d","stream_id":"%b","media":{"track":"inbound",'
    b'"chunk":"%%(number)d","timestamp":"%%(at_ms)d","payload":"%%(payload)b"}}'
)
_PLIVO_MEDIA: Final = (  # its time is of day, in milliseconds: thirteen digits
    b'{"event":"media","sequenceNumber":%%(after)d,"streamId":"%b","media":{"track":"inbound",'
    b'"timestamp":"1767323%%(at_ms)06d","chunk":%%(number)d,"payload":"%%(payload)b"},"extra_headers":%b}'
)


@dataclass(frozen=True, slots=True)
class Line:
    """The media stream of one call."""

    wire: Wire
    media: bytes
    """A frame of the caller's, to be filled in: simulators build theirs anew, which is slow."""
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def spoken(self, number: int, at_ms: int, payload: bytes) -> bytes:
        """The caller's frame of that number, which counts from one."""
        return self.media % {b"after": number + 1, b"number": number, b"at_ms": at_ms, b"payload": payload}


@dataclass(frozen=True, slots=True)
class Carrier:
    """How a call of this carrier comes in, and what the server has to know of it."""

    ring: Callable[[str, httpx.AsyncClient, int], Awaitable[Line]]
    """To the server at this origin, the call of this number."""
    environment: Mapping[str, str]


def bare(url: str) -> Line:
    """A stream without a call, for a server that asks nothing."""
    return _twilio(url, {}, {}, 0)


async def _ring_twilio(origin: str, http: httpx.AsyncClient, number: int) -> Line:
    plan = CallPlan(f"{origin}/twilio/voice", ACCOUNT, TOKEN, CALLER, CALLED)
    verbs = await twilio_http.Webhooks(plan, http, _call_sid(number)).ask(plan.url, "POST")
    for verb in verbs:
        if isinstance(verb, twilio_twiml.Connect):
            signed = {"X-Twilio-Signature": signature(verb.url, (), TOKEN)}
            return _twilio(verb.url, signed, verb.parameters, number)
    raise _not_taken(verbs)


def _twilio(url: str, headers: Mapping[str, str], parameters: Mapping[str, str], number: int) -> Line:
    stream = "MZ" + secrets.token_hex(16)
    wire = twilio_line.TwilioWire(twilio_line.Identity(ACCOUNT, _call_sid(number), stream), parameters, Faults())
    return Line(wire, _TWILIO_MEDIA % stream.encode(), url, headers)


def _call_sid(number: int) -> str:
    return f"CA{number:032x}"


async def _ring_telnyx(origin: str, http: httpx.AsyncClient, number: int) -> Line:
    call, user = f"v3:bench-{number}", str(uuid.uuid4())
    fields = {
        "AccountSid": user,
        "CallSid": call,
        "CallSidLegacy": call,
        "CallerId": CALLER,
        "CallingPartyType": "pstn",
        "ConnectionId": "1494404757140276705",
        "From": CALLER,
        "To": CALLED,
        "CallStatus": "ringing",
    }
    webhooks = telnyx_http.Webhooks(http, telnyx_http.DEMO_SEED)
    answer = await webhooks.form("POST", f"{origin}/telnyx/voice", "", fields)
    if answer is None:
        raise _not_taken("no answer")
    verbs = telnyx_texml.parse_texml(answer.status_code, answer.headers.get("content-type", ""), answer.content)
    for verb in verbs:
        if isinstance(verb, telnyx_texml.Connect):
            stream = str(uuid.uuid4())
            identity = telnyx_line.Identity(user, call, str(uuid.uuid4()), stream, CALLER, CALLED)
            wire = telnyx_line.TelnyxWire(identity, verb.order, telnyx_line.Quirks(), Faults())
            return Line(wire, _TELNYX_MEDIA % stream.encode(), verb.order.url)
    raise _not_taken(verbs)


async def _ring_plivo(origin: str, http: httpx.AsyncClient, number: int) -> Line:
    plan = CallPlan(f"{origin}/plivo/voice", AUTH_ID, TOKEN, CALLER, CALLED)
    call = str(uuid.UUID(int=number))
    elements = await plivo_http.Webhooks(plan, http, call).ask(plan.url, "POST")
    for element in elements:
        if isinstance(element, plivo_xml.Stream):
            stream = str(uuid.uuid4())
            identity = plivo_line.Identity(AUTH_ID, call, stream)
            wire = plivo_line.PlivoWire(identity, element.content_type, element.extra_headers)
            headers = json.loads(wire.start())["extra_headers"]  # which each event repeats
            media = _PLIVO_MEDIA % (stream.encode(), json.dumps(headers).encode())
            return Line(wire, media, element.url)
    raise _not_taken(elements)


def _not_taken(answer: object) -> RuntimeError:
    return RuntimeError(f"the server does not take the call: {answer}")


CARRIERS: Final[Mapping[str, Carrier]] = {
    "twilio": Carrier(_ring_twilio, {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}),
    "telnyx": Carrier(
        _ring_telnyx,
        {"TELNYX_API_KEY": "KEY-bench", "TELNYX_PUBLIC_KEY": telnyx_http.public_key(telnyx_http.DEMO_SEED)},
    ),
    "plivo": Carrier(_ring_plivo, {"PLIVO_AUTH_ID": AUTH_ID, "PLIVO_AUTH_TOKEN": TOKEN}),
}
