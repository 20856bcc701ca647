"""Twilio's REST API (2010-04-01): calls, and what `tandem check` reads and sets.

Twilio has no idempotency key for dialling, so a dial that was not answered is not repeated: better no call than two.
Updates of a call may be: they say what the call shall be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from tandem.carriers import twilio_webhook as webhook
from tandem.rest.http import CarrierHttp, Patience
from tandem.rest.port import CarrierApiError, OutboundCall, Transfer

GONE: Final = frozenset({"20404", "21220"})
"""There is no such call any more, or it is not in progress."""
_MOST_NUMBERS: Final = "1000"
_AFTER: Final = "?after="


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the account, with what Twilio asks when it is called."""

    sid: str
    number: str = field(repr=False)
    voice_url: str
    voice_method: str
    voice_fallback_url: str
    status_callback: str
    application_sid: str
    """A TwiML app or SIP trunk that overrides the URLs, if any."""


class TwilioApi:
    """One account. Implements `CarrierApi`; the rest is Twilio's own. All but `close` raise `CarrierApiError`."""

    def __init__(self, api_url: str, account_sid: str, auth_token: str, *, patience: Patience | None = None) -> None:
        self._account = f"/{quote(account_sid, safe='')}"
        self._http = CarrierHttp(
            "twilio",
            f"{api_url}/2010-04-01/Accounts",
            explain=explain,
            auth=(account_sid, auth_token),
            patience=patience,
            not_done=frozenset({429}),
        )

    # --- the port ---------------------------------------------------------------------------------

    async def place(self, call: OutboundCall) -> str:
        """Dial, with the stream in the call's own TwiML; see `CarrierApi`."""
        answer = webhook.connect_stream(
            call.stream_url,
            action_url=f"{call.status_url}{_AFTER}stream",
            status_callback_url=call.status_url,
            parameters={"session": call.session},
        )
        form: dict[str, str | list[str]] = {
            "To": call.to,
            "From": call.from_,
            "Twiml": answer.body.decode(),
            "Timeout": str(min(max(call.ring_seconds, 5), 600)),
            "TimeLimit": str(min(max(call.limit_seconds, 10), 14_400)),
            "StatusCallback": f"{call.status_url}?session={call.session}",
            "StatusCallbackMethod": "POST",
            "StatusCallbackEvent": ["answered", "completed"],  # the second one comes for every outcome
        }
        if call.detect_machine:
            form |= {
                "MachineDetection": "DetectMessageEnd",
                "AsyncAmd": "true",
                "AsyncAmdStatusCallback": f"{call.status_url}{_AFTER}machine&session={call.session}",
                "AsyncAmdStatusCallbackMethod": "POST",
            }
        placed = await self._http.call("POST", f"{self._account}/Calls.json", form=form)
        sid = placed.get("sid") if isinstance(placed, dict) else None
        if not isinstance(sid, str) or not sid:
            raise CarrierApiError("twilio answered a call without its sid")
        return sid

    async def hang_up(self, call_id: str) -> None:
        """End the call; one that has ended already is no error."""
        try:
            await self._update(call_id, {"Status": "completed"})
        except CarrierApiError as error:
            if error.status != 404 and error.code not in GONE:
                raise

    async def transfer(self, call_id: str, transfer: Transfer) -> None:
        """Begin to move the call; see `CarrierApi`. Twilio leaves our stream at once."""
        answer = webhook.dial(
            transfer.to,
            caller_id=transfer.caller_id,
            ring_seconds=transfer.ring_seconds,
            action_url=transfer.after_url,
            answered_url=transfer.after_url,
        )
        await self._update(call_id, {"Twiml": answer.body.decode()})

    async def send_dtmf(self, call_id: str, digits: str, return_url: str) -> None:
        """Play keys to the far end: the call leaves its stream for them, and `return_url` opens another."""
        answer = webhook.play_keys(digits, then_url=return_url)
        await self._update(call_id, {"Twiml": answer.body.decode()})

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.close()

    # --- the account's configuration --------------------------------------------------------------

    async def account(self) -> Mapping[str, Any]:
        """The account itself: `status` is active, suspended or closed; `type` Trial or Full."""
        found = await self._http.call("GET", f"{self._account}.json", again=True)
        return found if isinstance(found, dict) else {}

    async def numbers(self) -> list[Number]:
        """The account's numbers, the first thousand of them."""
        answer = await self._http.call(
            "GET", f"{self._account}/IncomingPhoneNumbers.json", query={"PageSize": _MOST_NUMBERS}, again=True
        )
        rows = answer.get("incoming_phone_numbers") if isinstance(answer, dict) else None
        return [_number(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    async def set_urls(self, number: Number, voice_url: str, status_url: str, fallback_url: str = "") -> None:
        """Have a number ask `voice_url` with POST, tell `status_url`, and ask `fallback_url` when the first fails."""
        form = {"VoiceUrl": voice_url, "VoiceMethod": "POST"}
        form |= {"StatusCallback": status_url, "StatusCallbackMethod": "POST"}
        if fallback_url:
            form |= {"VoiceFallbackUrl": fallback_url, "VoiceFallbackMethod": "POST"}
        path = f"{self._account}/IncomingPhoneNumbers/{quote(number.sid, safe='')}.json"
        await self._http.call("POST", path, form=form, again=True)

    # --- inside -----------------------------------------------------------------------------------

    async def _update(self, call_id: str, form: Mapping[str, str]) -> None:
        await self._http.call("POST", f"{self._account}/Calls/{quote(call_id, safe='')}.json", form=form, again=True)


def explain(body: Any) -> tuple[str, str]:
    """Code and words of an error."""
    return str(body.get("code") or ""), str(body.get("message") or "")


def _number(row: Mapping[str, Any]) -> Number:
    def text(name: str) -> str:
        value = row.get(name)
        return value if isinstance(value, str) else ""

    return Number(
        text("sid"),
        text("phone_number"),
        text("voice_url"),
        text("voice_method"),
        text("voice_fallback_url"),
        text("status_callback"),
        text("voice_application_sid") or text("trunk_sid"),
    )
