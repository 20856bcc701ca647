"""Telnyx's REST API from its own side, pure: which requests it takes, what it answers, and what state a call is in.

Strict where the real one is lenient or silent: a field that the documentation does not have is refused, so that the
client's requests are known to be meant. What a command makes happen is the carrier's business (`telnyx`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from tandem.simulators.api_server import ApiAnswer, ApiRequest

COMMAND_SECONDS: Final = 60.0
"""How long a command id is remembered."""

_STREAM_FIELDS: Final = frozenset(
    {
        "stream_url", "stream_track", "stream_codec", "stream_bidirectional_mode", "stream_bidirectional_codec",
        "stream_bidirectional_sampling_rate", "stream_bidirectional_target_legs", "stream_auth_token",
    }
)  # fmt: skip
_STATE_FIELDS: Final = frozenset({"client_state", "command_id"})
_WEBHOOK_FIELDS: Final = frozenset({"webhook_url", "webhook_url_method"})
ACTIONS: Final[Mapping[str, frozenset[str]]] = {
    "answer": _STATE_FIELDS | _WEBHOOK_FIELDS,
    "reject": _STATE_FIELDS | {"cause"},
    "hangup": _STATE_FIELDS | {"custom_headers"},
    "streaming_start": _STATE_FIELDS | _STREAM_FIELDS | {"custom_parameters"},
    "streaming_stop": _STATE_FIELDS | {"stream_id"},
    "speak": _STATE_FIELDS | {"payload", "voice", "language", "payload_type"},
    "send_dtmf": _STATE_FIELDS | {"digits", "duration_millis"},
    "transfer": _STATE_FIELDS
    | _WEBHOOK_FIELDS
    | {"to", "from", "timeout_secs", "time_limit_secs", "target_leg_client_state", "park_after_unbridge"},
}
_REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    "reject": frozenset({"cause"}),
    "streaming_start": frozenset({"stream_url"}),
    "speak": frozenset({"payload", "voice"}),
    "send_dtmf": frozenset({"digits"}),
    "transfer": frozenset({"to"}),
}
_DIAL: Final = (
    _STATE_FIELDS
    | _WEBHOOK_FIELDS
    | _STREAM_FIELDS
    | {"connection_id", "to", "from", "timeout_secs", "time_limit_secs", "answering_machine_detection"}
)
_VALUES: Final[Mapping[str, frozenset[Any]]] = {
    "cause": frozenset({"CALL_REJECTED", "USER_BUSY", "NOT_FOUND", "TEMPORARILY_UNAVAILABLE"}),
    "stream_track": frozenset({"inbound_track", "outbound_track", "both_tracks"}),
    "stream_codec": frozenset({"PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16", "default"}),
    "stream_bidirectional_mode": frozenset({"mp3", "rtp"}),
    "stream_bidirectional_codec": frozenset({"PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16"}),
    "stream_bidirectional_sampling_rate": frozenset({8000, 16000, 22050, 24000, 48000}),
    "stream_bidirectional_target_legs": frozenset({"both", "self", "opposite"}),
    "answering_machine_detection": frozenset(
        {"premium", "detect", "detect_beep", "detect_words", "greeting_end", "disabled"}
    ),
    "webhook_url_method": frozenset({"POST", "GET"}),
}


class CallState(Enum):
    """Where a call is."""

    PARKED = "parked"
    """Incoming, not answered; or outgoing, ringing."""
    ANSWERED = "answered"
    ENDED = "ended"


@dataclass(slots=True)
class SimulatedCall:
    """One leg."""

    call_control_id: str
    call_leg_id: str
    call_session_id: str
    connection_id: str
    incoming: bool
    from_: str = field(repr=False)
    to: str = field(repr=False)
    state: CallState = CallState.PARKED
    client_state: str = ""
    streaming: bool = False
    webhook_url: str = ""
    """Where its webhooks go, if not where the number's go."""
    commands: dict[str, float] = field(default_factory=dict)
    """Command ids, and until when they are remembered."""


@dataclass(frozen=True, slots=True)
class Command:
    """What the request makes happen: an action on a call, or `dial`, whose `call` the carrier has to make."""

    action: str
    body: Mapping[str, Any] = field(repr=False)
    call: SimulatedCall | None = None


OK: Final = ApiAnswer(200, {"data": {"result": "ok"}})


def refusal(status: int, code: str, title: str, detail: str = "") -> ApiAnswer:
    """An error as Telnyx writes it."""
    return ApiAnswer(status, {"errors": [{"code": code, "title": title, "detail": detail or title}]})


@dataclass(slots=True)
class TelnyxApiEngine:
    """One account. `calls` by call control id; the carrier adds them."""

    api_key: str = field(repr=False)
    connection_ids: frozenset[str] = frozenset()
    """Voice API applications that may dial; none named: any may."""
    calls: dict[str, SimulatedCall] = field(default_factory=dict)
    numbers: list[dict[str, Any]] = field(default_factory=list)
    applications: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of both kinds, by id; `record_type` tells which."""

    def request(self, request: ApiRequest, now: float) -> tuple[ApiAnswer, Command | None]:
        """One request. A command that comes with the answer is to be carried out."""
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            return refusal(401, "10009", "Authentication failed"), None
        given = request.json if request.body else {}
        if not isinstance(given, dict):
            return refusal(400, "10015", "Bad Request", "The request body is no JSON object."), None
        method, query = request.method, request.query
        version, *parts = request.path.strip("/").split("/")
        if version != "v2":
            return refusal(404, "10005", "Resource not found"), None
        match method, parts:
            case "POST", ["calls"]:
                return self._dial(given)
            case "GET", ["calls", call_id]:
                return self._status(call_id), None
            case "POST", ["calls", call_id, "actions", action] if action in ACTIONS:
                return self._act(call_id, action, given, now)
            case "POST", ["texml", "Accounts", _, "Calls", call_id]:
                return self._update(call_id, given)
            case "GET", ["phone_numbers"]:
                return self._numbers(query), None
            case "GET" | "PATCH", ["call_control_applications" | "texml_applications" as kind, identifier]:
                return self._application(kind.removesuffix("s"), identifier, given if method == "PATCH" else {}), None
            case _:
                return refusal(404, "10005", "Resource not found"), None

    def _dial(self, body: dict[str, Any]) -> tuple[ApiAnswer, Command | None]:
        wrong = _check("dial", body, _DIAL, frozenset({"connection_id", "to", "from"}))
        if wrong is not None:
            return wrong, None
        if self.connection_ids and body["connection_id"] not in self.connection_ids:
            return refusal(422, "10015", "Invalid value for connection_id (Call Control App ID)"), None
        return OK, Command("dial", body)

    def _status(self, call_id: str) -> ApiAnswer:
        call = self.calls.get(call_id)
        if call is None:
            return refusal(404, "10005", "Resource not found")
        return ApiAnswer(200, {"data": described(call)})

    def _act(self, call_id: str, action: str, body: dict[str, Any], now: float) -> tuple[ApiAnswer, Command | None]:
        wrong = _check(action, body, ACTIONS[action], _REQUIRED.get(action, frozenset()))
        if wrong is not None:
            return wrong, None
        call = self.calls.get(call_id)
        if call is None:
            return refusal(422, "90015", "Invalid Call Control ID"), None
        command_id = body.get("command_id", "")
        if command_id and call.commands.get(command_id, 0.0) > now:
            return OK, None
        wrong = _not_now(call, action)
        if wrong is not None:
            return wrong, None
        if command_id:
            call.commands[command_id] = now + COMMAND_SECONDS
        if body.get("client_state"):
            call.client_state = body["client_state"]
        if action == "answer":
            call.webhook_url = body.get("webhook_url", "")
        return OK, Command(action, body, call)

    def _update(self, call_id: str, body: dict[str, Any]) -> tuple[ApiAnswer, Command | None]:
        """A TeXML call is ended, or given another document."""
        call = self.calls.get(call_id)
        if call is None or call.state is CallState.ENDED:
            return refusal(404, "10005", "Resource not found"), None
        if body.keys() not in ({"Status"}, {"Texml"}) or body.get("Status", "completed") != "completed":
            return refusal(422, "10015", "Invalid parameter"), None
        return ApiAnswer(200, {"sid": call_id, "status": "in-progress"}), Command("update", body, call)

    def _numbers(self, query: Mapping[str, str]) -> ApiAnswer:
        size, page = int(query.get("page[size]", "20")), int(query.get("page[number]", "1"))
        rows = self.numbers[(page - 1) * size : page * size]
        meta = {"page_number": page, "page_size": size, "total_results": len(self.numbers)}
        return ApiAnswer(200, {"data": rows, "meta": meta})

    def _application(self, kind: str, identifier: str, changes: Mapping[str, Any]) -> ApiAnswer:
        found = self.applications.get(identifier)
        if found is None or found.get("record_type") != kind:
            return refusal(404, "10005", "Resource not found")
        found.update(changes)
        return ApiAnswer(200, {"data": found})


def described(call: SimulatedCall) -> dict[str, Any]:
    """A call as `GET /calls/{id}` and `POST /calls` tell of it."""
    return {
        "record_type": "call",
        "call_control_id": call.call_control_id,
        "call_leg_id": call.call_leg_id,
        "call_session_id": call.call_session_id,
        "client_state": call.client_state or None,
        "is_alive": call.state is CallState.ANSWERED or (call.incoming and call.state is CallState.PARKED),
    }


def _not_now(call: SimulatedCall, action: str) -> ApiAnswer | None:
    """Why a call in this state can't be told that."""
    if call.state is CallState.ENDED:
        return refusal(422, "90018", "Call has already ended")
    if action in ("answer", "reject"):
        if not call.incoming:
            return refusal(422, "90102", "Cannot answer an outbound call")
        if call.state is not CallState.PARKED:
            return refusal(422, "90034", "Call is already answered")
    elif action not in ("hangup", "transfer") and call.state is not CallState.ANSWERED:
        return refusal(422, "90034", "Call not answered yet")
    if action == "streaming_start" and call.streaming:
        return refusal(422, "90045", "Media streaming is already in use")
    if action == "streaming_stop" and not call.streaming:
        return refusal(422, "90048", "The call is not streaming")
    return None


def _check(what: str, body: Mapping[str, Any], known: frozenset[str], required: frozenset[str]) -> ApiAnswer | None:
    for name in sorted(required - body.keys()):
        return refusal(422, "10004", "Missing required parameter", f"{what}: {name}")
    for name, value in body.items():
        if name not in known:
            return refusal(422, "10015", "Invalid parameter", f"{what} has no {name}")
        if name in _VALUES and value not in _VALUES[name]:
            return refusal(422, "10015", "Invalid parameter", f"{what}: {name} can't be {value!r}")
    return None
