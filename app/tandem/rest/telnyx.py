"""Telnyx's REST API (v2): Call Control, and what `tandem check` reads and sets.

Every command of a call carries a `command_id`, which Telnyx obeys once within a minute: so a command that was not
answered is sent again with the same one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote

from tandem.carriers.telnyx import Codec
from tandem.carriers.telnyx_webhook import client_state, placed_state, transfer_state
from tandem.rest.http import CarrierHttp, Patience
from tandem.rest.port import CarrierApiError, OutboundCall, Transfer
from tandem.rest.telnyx_texml import TexmlApi

ALREADY_ENDED: Final = "90018"
STREAMING: Final = "90045"
NOT_STREAMING: Final = "90048"
KEY_MILLISECONDS: Final = 250
"""Of one DTMF key; from 100 to 500."""
PAGE: Final = 250
"""Numbers in one page; the most there may be."""

_PATIENCE: Final = Patience(seconds=5.0, attempt_seconds=1.5, connect_seconds=1.5, pause_seconds=0.1)
_MOST_PAGES: Final = 40

ApplicationKind = Literal["call-control", "texml"]
_PATHS: Final[Mapping[ApplicationKind, str]] = {
    "call-control": "call_control_applications",
    "texml": "texml_applications",
}


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the account, and the application it leads to."""

    number: str = field(repr=False)
    connection_id: str
    """Empty: it leads nowhere."""
    connection_name: str


@dataclass(frozen=True, slots=True)
class Application:
    """What a number can lead to. `url` is asked (or told) first, `fallback_url` when that fails."""

    id: str
    kind: ApplicationKind
    name: str
    active: bool
    url: str
    fallback_url: str
    method: str
    """With which a TeXML application asks; Call Control always posts."""
    channels: int | None
    """Most calls at once; None where nothing is said."""
    status_url: str = ""
    """Told of a TeXML call's states."""
    api_version: str = ""
    """Of Call Control's webhooks: 1 or 2."""


class TelnyxApi:
    """One account. Implements `CarrierApi`; the rest is Telnyx's own. All but `close` raise `CarrierApiError`.

    What becomes of a call that was placed or moved is told at `events_url`, whatever its application is set to; with
    `keeps_calls`, what becomes of one that was answered, too.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str,
        *,
        codec: Codec,
        events_url: str,
        keeps_calls: bool = False,
        connection_id: str = "",
        patience: Patience = _PATIENCE,
    ) -> None:
        self._codec = codec
        self._told_at = {"webhook_url": events_url, "webhook_url_method": "POST"}
        self._told_of_answered = self._told_at if keeps_calls else {}
        self._connection_id = connection_id
        self._http = CarrierHttp(
            "telnyx",
            f"{api_url}/v2",
            explain=explain,
            headers={"Authorization": f"Bearer {api_key}"},
            patience=patience,
        )

    # --- the port ---------------------------------------------------------------------------------

    async def place(self, call: OutboundCall) -> str:
        """Dial, with the stream attached; see `CarrierApi`. Its webhooks are `placed` and name `call.session`."""
        if not self._connection_id:
            raise CarrierApiError("telnyx needs TELNYX_CONNECTION_ID (a Voice API application) to place calls")
        body = {
            "connection_id": self._connection_id,
            "to": call.to,
            "from": call.from_,
            "timeout_secs": min(max(call.ring_seconds, 5), 600),
            "time_limit_secs": min(max(call.limit_seconds, 30), 14_400),
            **self._stream(call.stream_url),
            **self._told_at,
            "client_state": placed_state(call.session),
            "command_id": f"dial-{call.session}",
        }
        if call.detect_machine:
            body["answering_machine_detection"] = "greeting_end"  # told of a beep, and of silence, too
        answer = await self._http.call("POST", "/calls", json=body, again=True)
        call_id = _data(answer).get("call_control_id")
        if not isinstance(call_id, str) or not call_id:
            raise CarrierApiError("telnyx answered a call without its id")
        return call_id

    async def hang_up(self, call_id: str) -> None:
        """End the call; one that has ended already is no error."""
        try:
            await self._command(call_id, "hangup", {})
        except CarrierApiError as error:
            if error.status != 404 and error.code != ALREADY_ENDED:
                raise

    async def transfer(self, call_id: str, transfer: Transfer) -> None:
        """Begin to move the call; see `CarrierApi`.

        Only when Telnyx has taken the command is the stream stopped: one that it refuses leaves the conversation as it
        was. Events of the leg that is dialled say whose transfer it is; as long as it has not answered, the caller's
        own leg is still ours.
        """
        body: dict[str, Any] = {
            "to": transfer.to,
            "from": transfer.caller_id,
            "timeout_secs": min(max(transfer.ring_seconds, 5), 600),
            **self._told_at,
            "target_leg_client_state": transfer_state(call_id),
        }
        await self._command(call_id, "transfer", body)
        try:
            await self.stop_stream(call_id)
        except CarrierApiError as error:
            if error.status != 404 and error.code != ALREADY_ENDED:
                raise

    async def send_dtmf(self, call_id: str, digits: str, return_url: str) -> None:
        """Play keys to the far end; the stream goes on meanwhile, so `return_url` is not needed."""
        await self._command(call_id, "send_dtmf", {"digits": digits, "duration_millis": KEY_MILLISECONDS})

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.close()

    def texml(self, account_sid: str) -> TexmlApi:
        """For calls of this account's TeXML applications."""
        return TexmlApi(self._http, account_sid)

    # --- taking a call ----------------------------------------------------------------------------

    async def answer(self, call_id: str, session: str) -> None:
        """Take an incoming call. `session` comes back as the client state of its later webhooks."""
        known_by = {"client_state": client_state(session), "command_id": f"answer-{session}"}
        await self._command(call_id, "answer", {**known_by, **self._told_of_answered})

    async def reject(self, call_id: str) -> None:
        """Refuse an incoming call: the caller hears the busy tone."""
        await self._command(call_id, "reject", {"cause": "USER_BUSY"})

    async def start_stream(self, call_id: str, session: str, url: str, command_id: str = "") -> None:
        """Have an answered call streamed to `url`, both ways. Its last path segment is the stream's token.

        `command_id` for a call's second stream: its first has one that all instances of this server would use.
        """
        body = {
            **self._stream(url),
            "client_state": client_state(session),
            "custom_parameters": [{"name": "session", "value": session}],
            "command_id": command_id or f"stream-{session}",
        }
        await self._command(call_id, "streaming_start", body)

    async def stop_stream(self, call_id: str) -> None:
        """End the media stream and keep the call; none that runs is no error."""
        try:
            await self._command(call_id, "streaming_stop", {})
        except CarrierApiError as error:
            if error.code != NOT_STREAMING:
                raise

    async def speak(self, call_id: str, text: str, state: str = "") -> None:
        """Have Telnyx's own voice say something; `call.speak.ended` (with `state` as client state) tells the end."""
        body = {"payload": text, "voice": "female", "language": "en-US"}
        if state:
            body["client_state"] = client_state(state)
        await self._command(call_id, "speak", body)

    async def is_alive(self, call_id: str) -> bool | None:
        """Whether the account has such a call and it is up; None when Telnyx does not say."""
        try:
            answer = await self._http.call("GET", f"/calls/{quote(call_id, safe='')}", again=True)
        except CarrierApiError as error:
            if error.status in (404, 422):
                return False
            raise
        alive = _data(answer).get("is_alive")
        return alive if isinstance(alive, bool) else None

    # --- the account's configuration --------------------------------------------------------------

    async def numbers(self) -> list[Number]:
        """The account's numbers (the first ten thousand), in the order of their names."""
        found: list[Number] = []
        for page in range(1, _MOST_PAGES + 1):
            query = {"page[number]": str(page), "page[size]": str(PAGE), "sort": "phone_number"}
            answer = await self._http.call("GET", "/phone_numbers", query=query, again=True)
            listed = answer.get("data") if isinstance(answer, dict) else None
            rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
            found += [
                Number(_text(row, "phone_number"), _text(row, "connection_id"), _text(row, "connection_name"))
                for row in rows
            ]
            if len(rows) < PAGE:
                break
        return found

    async def application(self, connection_id: str) -> Application | None:
        """The Voice API or TeXML application of that id; None when it is neither (a SIP connection, say)."""
        for kind, path in _PATHS.items():
            try:
                answer = await self._http.call("GET", f"/{path}/{quote(connection_id, safe='')}", again=True)
            except CarrierApiError as error:
                if error.status in (404, 422):
                    continue
                raise
            return _application(kind, _data(answer))
        return None

    async def set_urls(self, application: Application, url: str, fallback_url: str = "", status_url: str = "") -> None:
        """Have an application ask `url` first, with POST, and `fallback_url` (empty: nobody) when that fails.

        A TeXML application tells `status_url`, if one is given, of its calls.
        """
        name = application.name
        body: dict[str, Any]
        if application.kind == "call-control":
            body = {"application_name": name, "webhook_event_url": url}
            body["webhook_event_failover_url"] = fallback_url or None
        else:
            body = {"friendly_name": name, "voice_url": url, "voice_method": "post"}
            if fallback_url:
                body["voice_fallback_url"] = fallback_url
            if status_url:
                body |= {"status_callback": status_url, "status_callback_method": "post"}
        path = f"/{_PATHS[application.kind]}/{quote(application.id, safe='')}"
        await self._http.call("PATCH", path, json=body, again=True)

    # --- inside -----------------------------------------------------------------------------------

    async def _command(self, call_id: str, action: str, body: Mapping[str, Any]) -> None:
        command = {"command_id": f"{action}-{secrets.token_hex(8)}", **body}
        await self._http.call("POST", f"/calls/{quote(call_id, safe='')}/actions/{action}", json=command, again=True)

    def _stream(self, url: str) -> dict[str, Any]:
        """How the stream of a call is ordered: the same codec both ways, raw, and only the caller's voice."""
        return {
            "stream_url": url,
            "stream_track": "inbound_track",
            "stream_codec": self._codec.name,
            "stream_bidirectional_mode": "rtp",
            "stream_bidirectional_codec": self._codec.name,
            "stream_bidirectional_sampling_rate": self._codec.rate,
            "stream_bidirectional_target_legs": "both",
            "stream_auth_token": url.rpartition("/")[2],
        }


def explain(body: Any) -> tuple[str, str]:
    """Code and words of an error."""
    first = body["errors"][0]
    words = " ".join(str(first.get(key) or "") for key in ("title", "detail"))
    return str(first.get("code") or ""), words.strip()


def _data(answer: Any) -> Mapping[str, Any]:
    data = answer.get("data") if isinstance(answer, dict) else None
    return data if isinstance(data, dict) else {}


def _application(kind: ApplicationKind, data: Mapping[str, Any]) -> Application:
    texml = kind == "texml"
    inbound = data.get("inbound")
    limit = inbound.get("channel_limit") if isinstance(inbound, dict) else None
    return Application(
        id=_text(data, "id"),
        kind=kind,
        name=_text(data, "friendly_name" if texml else "application_name"),
        active=data.get("active") is not False,
        url=_text(data, "voice_url" if texml else "webhook_event_url"),
        fallback_url=_text(data, "voice_fallback_url" if texml else "webhook_event_failover_url"),
        method=_text(data, "voice_method").upper() if texml else "POST",
        channels=limit if isinstance(limit, int) else None,
        status_url=_text(data, "status_callback") if texml else "",
        api_version="" if texml else _text(data, "webhook_api_version"),
    )


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else "" if value is None else str(value)
