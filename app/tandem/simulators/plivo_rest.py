"""Plivo's REST API, simulated: calls that are up, and an account's numbers and applications.

`Calls` decides what each request comes to, and is told of live calls by whoever places them (`simulators.plivo`);
`serve` puts it on loopback. It is strict where the real one is: Basic credentials, slashes at the end, JSON bodies,
required fields.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tandem.simulators.api_server import ApiAnswer, ApiRequest, RestServer

MOST_TRANSFERS: Final = 70
"""Of one call."""
MOST_IN_A_PAGE: Final = 20
KEPT_REQUESTS: Final = 1_000

_DIGITS: Final = frozenset("0123456789*#ABCDabcdwW")


class LiveCall:
    """A call that is up, and what it was told over the API."""

    def __init__(self, call_id: str, *, dial_status: str = "no-answer") -> None:
        self.call_id = call_id
        self.hung_up = asyncio.Event()
        self.redirected: str | None = None
        """Where it shall go on, once its stream has ended."""
        self.transfers = 0
        self.digits: list[str] = []
        self.dialled: list[str] = []
        self.dial_status = dial_status
        """What becomes of its `<Dial>`."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A call that was asked for."""

    request_id: str
    fields: Mapping[str, Any] = field(repr=False)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """The server does not want it any longer."""


class Calls:
    """One account. `fail` are answers (or `HANG`, `CUT`) that the next requests get instead of their own."""

    def __init__(self, auth_id: str, auth_token: str, on_place: Callable[[Placed], None] | None = None) -> None:
        self.live: dict[str, LiveCall] = {}
        self.placed: list[Placed] = []
        self.cancelled: list[str] = []
        self.numbers: dict[str, dict[str, Any]] = {}
        self.applications: dict[str, dict[str, Any]] = {}
        self.requests: deque[ApiRequest] = deque(maxlen=KEPT_REQUESTS)
        self.fail: deque[ApiAnswer | str] = deque()
        self.on_place = on_place
        """Told of each call that was asked for."""
        self._auth_id = auth_id
        basic = base64.b64encode(f"{auth_id}:{auth_token}".encode()).decode("ascii")
        self._authorization = f"Basic {basic}"

    def add_application(self, app_id: str, **fields: Any) -> None:
        """An application of the account."""
        self.applications[app_id] = {
            "app_id": app_id,
            "app_name": "Tandem",
            "answer_url": "",
            "answer_method": "POST",
            "hangup_url": "",
            "hangup_method": "POST",
            "fallback_answer_url": "",
            "fallback_method": "POST",
            "enabled": True,
            "default_app": False,
            "resource_uri": self._uri("Application", app_id),
            "sip_uri": f"sip:{app_id}@app.plivo.com",
            **fields,
        }

    def add_number(self, number: str, app_id: str = "", **fields: Any) -> None:
        """A number of the account (without a plus sign)."""
        self.numbers[number] = {
            "number": number,
            "application": self._uri("Application", app_id) if app_id else None,
            "number_type": "local",
            "voice_enabled": True,
            "resource_uri": self._uri("Number", number),
            **fields,
        }

    def answer(self, request: ApiRequest) -> ApiAnswer | str:
        """What this request comes to."""
        self.requests.append(request)
        if self.fail:
            return self.fail.popleft()
        if request.headers.get("authorization") != self._authorization:
            return _error(401, "authentication failed")
        parts = request.path.split("/")
        if parts[:4] != ["", "v1", "Account", self._auth_id] or parts[-1] != "":
            return _error(404, "not found")
        body = request.json if request.body else {}
        if not isinstance(body, dict):
            return _error(400, "invalid json")
        return self._resource(request.method, parts[4:-1], body, request.query)

    def _resource(self, method: str, path: list[str], body: Mapping[str, Any], query: Mapping[str, str]) -> ApiAnswer:
        match method, path:
            case "GET", ["Number"]:
                return self._numbers(query)
            case "POST", ["Call"]:
                return self._place(body)
            case "GET" | "DELETE" | "POST", ["Call", call_id, *action]:
                call = self.live.get(call_id)
                if call is None or call.hung_up.is_set():
                    return _error(404, "not found")
                return self._call(method, call, action, body)
            case "DELETE", ["Request", request_id]:
                wanted = [placed for placed in self.placed if placed.request_id == request_id]
                for placed in wanted:
                    placed.cancelled.set()
                    self.cancelled.append(request_id)
                return ApiAnswer(204) if wanted else _error(404, "not found")
            case "GET" | "POST", ["Number", number]:
                return self._number(method, number, body)
            case "GET" | "POST", ["Application", app_id]:
                return self._application(method, app_id, body)
            case _:
                return _error(405, "method not allowed")

    def _place(self, body: Mapping[str, Any]) -> ApiAnswer:
        missing = [name for name in ("from", "to", "answer_url") if not body.get(name)]
        if missing:
            return _error(400, f"{missing[0]} is a mandatory parameter")
        placed = Placed(str(uuid.uuid4()), body)
        self.placed.append(placed)
        if self.on_place is not None:
            self.on_place(placed)
        return _done(201, "call fired", request_uuid=placed.request_id)

    def _call(self, method: str, call: LiveCall, action: list[str], body: Mapping[str, Any]) -> ApiAnswer:
        match method, action:
            case "GET", []:
                return ApiAnswer(200, {"call_uuid": call.call_id, "call_status": "in-progress", "api_id": _id()})
            case "DELETE", []:
                call.hung_up.set()
                return ApiAnswer(204)
            case "POST", []:
                return self._transfer(call, body)
            case "POST", ["DTMF"]:
                digits = body.get("digits")
                if not isinstance(digits, str) or not digits or not _DIGITS.issuperset(digits):
                    return _error(400, "digits is a mandatory parameter")
                call.digits.append(digits)
                return _done(202, "digits sent")
            case _:
                return _error(405, "method not allowed")

    def _transfer(self, call: LiveCall, body: Mapping[str, Any]) -> ApiAnswer:
        if body.get("legs", "aleg") != "aleg" or not str(body.get("aleg_url", "")).startswith("http"):
            return _error(400, "aleg_url is a mandatory parameter")
        if call.transfers >= MOST_TRANSFERS:
            return _error(400, "a call can not be transferred more often")
        call.transfers += 1
        call.redirected = str(body["aleg_url"])
        return _done(202, "call transferred", call_uuids=[call.call_id])

    def _numbers(self, query: Mapping[str, str]) -> ApiAnswer:
        limit, offset = query.get("limit", "20"), query.get("offset", "0")
        if not (limit.isdigit() and 0 < int(limit) <= MOST_IN_A_PAGE and offset.isdigit()):
            return _error(400, "limit or offset is not valid")
        first, after = int(offset), int(offset) + int(limit)
        every = [*self.numbers.values()]
        meta = {"limit": int(limit), "offset": first, "total_count": len(every), "next": None, "previous": None}
        return ApiAnswer(200, {"api_id": _id(), "meta": meta, "objects": every[first:after]})

    def _number(self, method: str, number: str, body: Mapping[str, Any]) -> ApiAnswer:
        found = self.numbers.get(number)
        if found is None:
            return _error(404, "not found")
        if method == "GET":
            return ApiAnswer(200, {**found, "api_id": _id()})
        if (app_id := body.get("app_id")) is not None:
            found["application"] = self._uri("Application", str(app_id)) if app_id else None
        return _done(202, "changed")

    def _application(self, method: str, app_id: str, body: Mapping[str, Any]) -> ApiAnswer:
        found = self.applications.get(app_id)
        if found is None:
            return _error(404, "not found")
        if method == "GET":
            return ApiAnswer(200, {**found, "api_id": _id()})
        found.update(body)
        return _done(202, "changed")

    def _uri(self, *parts: str) -> str:
        return "/".join(["/v1/Account", self._auth_id, *parts, ""])


def serve(calls: Calls, host: str = "127.0.0.1", port: int = 0) -> RestServer:
    """The API on loopback: an async context manager with a `url`, for `PLIVO_API_URL`."""
    return RestServer(calls.answer, host, port)


def _id() -> str:
    return str(uuid.uuid4())


def _done(status: int, message: str, **more: Any) -> ApiAnswer:
    return ApiAnswer(status, {"message": message, "api_id": _id(), **more})


def _error(status: int, words: str) -> ApiAnswer:
    return ApiAnswer(status, {"error": words, "api_id": _id()})


def fail(statuses: Iterable[int]) -> deque[ApiAnswer | str]:
    """For `Calls.fail`: these statuses, in turn."""
    return deque(_error(status, "as ordered") for status in statuses)
