"""Twilio's REST API, simulated and pure: calls that are up, calls that are placed, and an account's numbers.

`Account` decides what each request comes to. Live calls are told by whoever runs them (`simulators.twilio`), calls that
a server places are handed to `on_place`. It is strict where the real one is: Basic credentials, form bodies, required
parameters, values that exist.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import parse_qs

from tandem.simulators.api_server import ApiAnswer, ApiRequest
from tandem.simulators.twilio_twiml import TwimlError, Verb, parse_twiml

KEPT_REQUESTS: Final = 1_000
LONGEST_TWIML: Final = 4_000

Form = Mapping[str, list[str]]

_PLACING = """
To From Url Twiml ApplicationSid Method FallbackUrl FallbackMethod StatusCallback StatusCallbackMethod
StatusCallbackEvent SendDigits Timeout TimeLimit Record RecordingChannels MachineDetection MachineDetectionTimeout
MachineDetectionSpeechThreshold MachineDetectionSpeechEndThreshold MachineDetectionSilenceTimeout AsyncAmd
AsyncAmdStatusCallback AsyncAmdStatusCallbackMethod CallerId CallReason CallToken Byoc SipAuthUsername SipAuthPassword
"""
_PLACE: Final = frozenset(_PLACING.split())
_UPDATE: Final = frozenset({"Status", "Twiml", "Url", "Method", "FallbackUrl", "FallbackMethod", "StatusCallback"})
_NUMBER: Final = {
    "VoiceUrl": "voice_url",
    "VoiceMethod": "voice_method",
    "VoiceFallbackUrl": "voice_fallback_url",
    "VoiceFallbackMethod": "voice_fallback_method",
    "StatusCallback": "status_callback",
    "StatusCallbackMethod": "status_callback_method",
    "VoiceApplicationSid": "voice_application_sid",
    "FriendlyName": "friendly_name",
}


@dataclass(slots=True)
class LiveCall:
    """A call that the account knows, and what it was told over the API."""

    sid: str
    to: str = field(default="", repr=False)
    from_: str = field(default="", repr=False)
    direction: str = "inbound"
    status: str = "ringing"
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: there is something new; whoever runs the call clears it."""
    hung_up: bool = False
    document: list[Verb] | None = None
    """What it shall do from now on."""
    url: str = ""
    """Or where it is to ask for that."""
    digits: list[str] = field(default_factory=list)
    """Keys that were played to it."""
    dialled: list[str] = field(default_factory=list)
    """Whom it was put through to."""

    @property
    def over(self) -> bool:
        return self.status in ("completed", "busy", "failed", "no-answer", "canceled")


@dataclass(frozen=True, slots=True)
class Placed:
    """A call that the server wants placed."""

    call: LiveCall
    document: list[Verb] | None
    fields: Mapping[str, str] = field(repr=False)
    events: tuple[str, ...] = ()
    """Which of its states are to be told."""


class Account:
    """One account. `fail` are answers (or `HANG`, `CUT`) that the next requests get instead of their own."""

    def __init__(self, sid: str, auth_token: str, on_place: Callable[[Placed], None] | None = None) -> None:
        self.sid = sid
        self.status = "active"
        self.calls: dict[str, LiveCall] = {}
        self.placed: list[Placed] = []
        self.numbers: dict[str, dict[str, Any]] = {}
        self.requests: deque[ApiRequest] = deque(maxlen=KEPT_REQUESTS)
        self.fail: deque[ApiAnswer | str] = deque()
        self.on_place = on_place
        self._authorization = "Basic " + base64.b64encode(f"{sid}:{auth_token}".encode()).decode("ascii")

    def add_number(self, number: str, **fields: Any) -> str:
        """A number of the account; its sid."""
        sid = "PN" + secrets.token_hex(16)
        self.numbers[sid] = {
            "sid": sid,
            "account_sid": self.sid,
            "phone_number": number,
            "friendly_name": number,
            "capabilities": {"voice": True, "sms": True, "mms": False, "fax": False},
            "voice_url": None,
            "voice_method": "POST",
            "voice_fallback_url": None,
            "voice_fallback_method": "POST",
            "status_callback": "",
            "status_callback_method": "POST",
            "voice_application_sid": "",
            "trunk_sid": None,
            "voice_caller_id_lookup": False,
            "uri": f"/2010-04-01/Accounts/{self.sid}/IncomingPhoneNumbers/{sid}.json",
            **fields,
        }
        return sid

    def answer(self, request: ApiRequest) -> ApiAnswer | str:
        """What this request comes to."""
        self.requests.append(request)
        if self.fail:
            return self.fail.popleft()
        if request.headers.get("authorization") != self._authorization:
            return error(401, 20003, "Authenticate")
        parts = request.path.removesuffix(".json").split("/")
        if parts[:3] != ["", "2010-04-01", "Accounts"] or not request.path.endswith(".json"):
            return _not_found(request)
        if len(parts) < 4 or parts[3] != self.sid:
            return _not_found(request)
        kind = request.headers.get("content-type", "").partition(";")[0]
        if request.method == "POST" and kind != "application/x-www-form-urlencoded":
            return error(400, 21603, "a form is needed")
        form = parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        return self._resource(request, parts[4:], form)

    def _resource(self, request: ApiRequest, path: list[str], form: Form) -> ApiAnswer:
        match request.method, path:
            case "GET", []:
                return ApiAnswer(200, {"sid": self.sid, "status": self.status, "type": "Full", "friendly_name": "Sim"})
            case "POST", ["Calls"]:
                return self._place(form)
            case "GET" | "POST", ["Calls", sid] if sid in self.calls:
                call = self.calls[sid]
                return self._update(call, form) if request.method == "POST" else ApiAnswer(200, self.described(call))
            case "GET", ["IncomingPhoneNumbers"]:
                return self._list(request.query)
            case "GET" | "POST", ["IncomingPhoneNumbers", sid] if sid in self.numbers:
                return self._number(self.numbers[sid], form)
            case _:
                return _not_found(request)

    def described(self, call: LiveCall) -> dict[str, Any]:
        """A call, as the API tells of it."""
        return {
            "sid": call.sid,
            "account_sid": self.sid,
            "to": call.to,
            "from": call.from_,
            "status": call.status,
            "direction": call.direction,
            "answered_by": None,
            "api_version": "2010-04-01",
            "date_created": format_datetime(datetime.now(UTC)),
            "queue_time": "0",
            "uri": f"/2010-04-01/Accounts/{self.sid}/Calls/{call.sid}.json",
        }

    # --- calls ------------------------------------------------------------------------------------

    def _place(self, form: Form) -> ApiAnswer:
        wrong = _check(form, _PLACE)
        if wrong is not None:
            return wrong
        to, from_ = _one(form, "To"), _one(form, "From")
        if not to:
            return error(400, 21201, "No 'To' number is specified")
        if not from_:
            return error(400, 21213, "Caller phone number required")
        if not to.startswith(("+", "sip:", "sips:", "client:")):
            return error(400, 21211, f"The phone number you are attempting to call, {to}, is not valid.")
        if not any(name in form for name in ("Url", "Twiml", "ApplicationSid")):
            return error(400, 21205, "Url parameter is required.")
        document: list[Verb] | None = None
        if "Url" not in form:
            try:
                document = _document(form)
            except TwimlError as problem:
                return error(400, 21218 if problem.code == 0 else problem.code, str(problem))
        call = LiveCall("CA" + secrets.token_hex(16), to, from_, "outbound-api", "queued")
        self.calls[call.sid] = call
        events = tuple(form.get("StatusCallbackEvent", ["completed"]))
        fields = {name: values[0] for name, values in form.items()}
        placed = Placed(call, document, fields, events)
        self.placed.append(placed)
        described = self.described(call)
        if self.on_place is not None:
            self.on_place(placed)
        return ApiAnswer(201, described)

    def _update(self, call: LiveCall, form: Form) -> ApiAnswer:
        wrong = _check(form, _UPDATE)
        if wrong is not None:
            return wrong
        if call.over:
            return error(400, 21220, "Call is not in-progress. Cannot redirect.")
        status = _one(form, "Status")
        if status in ("completed", "canceled"):
            if status == "canceled" and call.status == "in-progress":
                return error(400, 21220, "Call is in-progress and can not be canceled")
            call.hung_up = True
        elif status:
            return error(400, 21218, f"Invalid Status {status}")
        elif "Twiml" in form and "Url" in form:
            return error(400, 21218, "Url and Twiml exclude each other")
        elif "Twiml" in form:
            if call.status != "in-progress":
                return error(400, 21220, "Call is not in-progress. Cannot redirect.")
            try:
                call.document = _document(form)
            except TwimlError as problem:
                return error(400, problem.code, str(problem))
        elif "Url" in form:
            call.url = _one(form, "Url")
        call.told.set()
        return ApiAnswer(200, self.described(call))

    # --- numbers ----------------------------------------------------------------------------------

    def _list(self, query: Mapping[str, str]) -> ApiAnswer:
        size, page = int(query.get("PageSize", "50")), int(query.get("Page", "0"))
        rows = [*self.numbers.values()]
        if wanted := query.get("PhoneNumber"):
            rows = [row for row in rows if wanted in row["phone_number"]]
        some = rows[page * size : (page + 1) * size]
        more = len(rows) > (page + 1) * size
        following = f"/2010-04-01/Accounts/{self.sid}/IncomingPhoneNumbers.json?PageSize={size}&Page={page + 1}"
        body = {"incoming_phone_numbers": some, "page": page, "page_size": size}
        return ApiAnswer(200, {**body, "next_page_uri": following if more else None})

    def _number(self, row: dict[str, Any], form: Form) -> ApiAnswer:
        wrong = _check(form, frozenset(_NUMBER))
        if wrong is not None:
            return wrong
        for name, values in form.items():
            row[_NUMBER[name]] = values[0]
        return ApiAnswer(200, row)


def error(status: int, code: int, message: str) -> ApiAnswer:
    """An error in Twilio's shape."""
    info = f"https://www.twilio.com/docs/errors/{code}"
    return ApiAnswer(status, {"code": code, "message": message, "more_info": info, "status": status})


def _not_found(request: ApiRequest) -> ApiAnswer:
    return error(404, 20404, f"The requested resource {request.path} was not found")


def _check(form: Form, known: frozenset[str]) -> ApiAnswer | None:
    unknown = sorted(form.keys() - known)
    return error(400, 20001, f"unknown parameter {unknown[0]}") if unknown else None


def _one(form: Form, name: str) -> str:
    return form.get(name, [""])[0]


def _document(form: Form) -> list[Verb]:
    twiml = _one(form, "Twiml")
    if len(twiml) > LONGEST_TWIML:
        raise TwimlError(21218, f"Twiml has {len(twiml)} characters")
    return parse_twiml(200, "text/xml", twiml.encode(), plain=True)
