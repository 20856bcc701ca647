"""Plivo's REST API: calls, and what `tandem check` reads and sets. All paths end with a slash."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from tandem.carriers.plivo_webhook import bare
from tandem.rest.http import CarrierHttp, Patience
from tandem.rest.port import CarrierApiError, OutboundCall, Transfer

_PATIENCE: Final = Patience(seconds=5.0, attempt_seconds=2.0, connect_seconds=1.5, pause_seconds=0.2)
PAGE: Final = 20
"""Numbers in one page; the most there may be."""
_MOST_PAGES: Final = 50
_PLACED: Final = 10_000
"""Requests for calls that are remembered, to cancel those that were not answered yet."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the account, and the application it leads to (empty: it leads nowhere)."""

    number: str = field(repr=False)
    application_id: str
    voice_enabled: bool


@dataclass(frozen=True, slots=True)
class Application:
    """What a number leads to: the answer URL is asked first, the fallback when that fails."""

    id: str
    name: str
    answer_url: str
    answer_method: str
    hangup_url: str
    fallback_url: str
    enabled: bool


class PlivoApi:
    """One account. Implements `CarrierApi`; the rest is Plivo's own. All but `close` raise `CarrierApiError`.

    `voice_url` is our answer URL: what Plivo shall do with a call it does not take as a command but fetches there.
    """

    def __init__(
        self, api_url: str, auth_id: str, auth_token: str, *, voice_url: str, patience: Patience = _PATIENCE
    ) -> None:
        self._voice_url = voice_url
        self._placed: OrderedDict[str, None] = OrderedDict()
        self._http = CarrierHttp(
            "plivo",
            f"{api_url}/v1/Account/{quote(auth_id, safe='')}",
            explain=explain,
            auth=(auth_id, auth_token),
            patience=patience,
            not_done=frozenset({429}),  # after any 5xx a call may be ringing already: it is not dialled twice
        )

    # --- the port ---------------------------------------------------------------------------------

    async def place(self, call: OutboundCall) -> str:
        """Dial; see `CarrierApi`. The answer is a request's id: webhooks say it as `RequestUUID`, and our session in
        their URLs."""
        status_url = _of(call.status_url, call.session)
        body: dict[str, Any] = {
            "from": bare(call.from_),
            "to": bare(call.to),
            "answer_url": _of(call.answer_url, call.session),
            "answer_method": "POST",
            "hangup_url": status_url,
            "hangup_method": "POST",
            "ring_timeout": call.ring_seconds,
            "time_limit": call.limit_seconds,
        }
        if call.detect_machine:
            body |= {"machine_detection": "true", "machine_detection_url": status_url}
            body |= {"machine_detection_method": "POST"}
        answer = await self._http.call("POST", "/Call/", json=body)
        request_id = answer.get("request_uuid") if isinstance(answer, dict) else None
        if isinstance(request_id, list):  # several destinations; we name one
            request_id = request_id[0] if request_id else None
        if not isinstance(request_id, str) or not request_id:
            raise CarrierApiError("plivo answered a call without its id")
        self._placed[request_id] = None
        while len(self._placed) > _PLACED:
            self._placed.popitem(last=False)
        return request_id

    async def hang_up(self, call_id: str) -> None:
        """End the call, or cancel one that is not answered yet; one that has ended already is no error."""
        if await self._delete(f"/Call/{quote(call_id, safe='')}/") or call_id not in self._placed:
            return
        await self._delete(f"/Request/{quote(call_id, safe='')}/")

    async def transfer(self, call_id: str, transfer: Transfer) -> None:
        """Begin to move the call; see `CarrierApi`. Plivo fetches what to do once our media socket has closed."""
        wish = {"transfer": transfer.to, "as": transfer.caller_id, "ring": str(transfer.ring_seconds)}
        await self.redirect(call_id, f"{self._voice_url}?{urlencode({**wish, 'after': transfer.after_url})}")

    async def redirect(self, call_id: str, url: str) -> None:
        """Have Plivo fetch from `url` what to do with the call from now on."""
        body = {"legs": "aleg", "aleg_url": url, "aleg_method": "POST"}
        await self._http.call("POST", f"/Call/{quote(call_id, safe='')}/", json=body, again=True)

    async def send_dtmf(self, call_id: str, digits: str, return_url: str) -> None:
        """Play keys to the far end; the stream goes on meanwhile, so `return_url` is not needed."""
        body = {"digits": digits, "leg": "aleg"}
        await self._http.call("POST", f"/Call/{quote(call_id, safe='')}/DTMF/", json=body)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.close()

    # --- the account's configuration --------------------------------------------------------------

    async def numbers(self) -> list[Number]:
        """The account's numbers (the first thousand)."""
        found: list[Number] = []
        for page in range(_MOST_PAGES):
            query = {"limit": str(PAGE), "offset": str(page * PAGE)}
            answer = await self._http.call("GET", "/Number/", query=query, again=True)
            listed = answer.get("objects") if isinstance(answer, dict) else None
            rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
            found += [_number(row) for row in rows]
            if len(rows) < PAGE:
                break
        return found

    async def number(self, number: str) -> Number | None:
        """The account's number; None when it has no such."""
        data = await self._read(f"/Number/{quote(bare(number), safe='')}/")
        return None if data is None else _number(data)

    async def application(self, application_id: str) -> Application | None:
        """An application of the account; None when it has no such."""
        data = await self._read(f"/Application/{quote(application_id, safe='')}/")
        if data is None:
            return None
        return Application(
            id=_text(data, "app_id"),
            name=_text(data, "app_name"),
            answer_url=_text(data, "answer_url"),
            answer_method=_text(data, "answer_method").upper(),
            hangup_url=_text(data, "hangup_url"),
            fallback_url=_text(data, "fallback_answer_url"),
            enabled=data.get("enabled") is not False,
        )

    async def set_urls(
        self, application: Application, answer_url: str, hangup_url: str, fallback_url: str = ""
    ) -> None:
        """Have an application ask `answer_url` first and tell `hangup_url`, both with POST."""
        body = {
            "answer_url": answer_url,
            "answer_method": "POST",
            "hangup_url": hangup_url,
            "hangup_method": "POST",
        }
        if fallback_url:
            body |= {"fallback_answer_url": fallback_url, "fallback_method": "POST"}
        await self._http.call("POST", f"/Application/{quote(application.id, safe='')}/", json=body, again=True)

    async def set_application(self, number: str, application_id: str) -> None:
        """Have a number lead to an application."""
        body = {"app_id": application_id}
        await self._http.call("POST", f"/Number/{quote(bare(number), safe='')}/", json=body, again=True)

    # --- inside -----------------------------------------------------------------------------------

    async def _delete(self, path: str) -> bool:
        """False when there was nothing to delete."""
        try:
            await self._http.call("DELETE", path, again=True)
        except CarrierApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    async def _read(self, path: str) -> dict[str, Any] | None:
        try:
            data = await self._http.call("GET", path, again=True)
        except CarrierApiError as error:
            if error.status == 404:
                return None
            raise
        return data if isinstance(data, dict) else {}


def _number(data: dict[str, Any]) -> Number:
    application = _text(data, "application").rstrip("/").rpartition("/")[2]
    return Number(_text(data, "number"), application, data.get("voice_enabled") is not False)


def explain(body: Any) -> tuple[str, str]:
    """Code and words of an error: Plivo has no codes, and words in several shapes."""
    words = body["error"]
    if isinstance(words, dict):
        words = " ".join(f"{name}: {value}" for name, value in words.items())
    return "", str(words)


def _of(url: str, session: str) -> str:
    """The URL, naming the call in its query."""
    return f"{url}{'&' if '?' in url else '?'}session={session}"


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else "" if value is None else str(value)
