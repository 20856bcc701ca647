"""Twilio's HTTP requests for one call: webhooks that are obeyed, callbacks that are not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import httpx

from tandem.cancelling import politely
from tandem.carriers.twilio_webhook import signature
from tandem.simulators.plan import CallPlan
from tandem.simulators.twilio_twiml import HTTP_FAILED, TwimlError, Verb, parse_twiml

USER_AGENT: Final = "TwilioProxy/1.1 (tandem simulator)"
WEBHOOK_SECONDS: Final = 15.0
MOST_DOCUMENTS: Final = 10
"""TwiML documents that one call follows, so that two that point at each other come to an end."""

CONNECT_FAILED: Final = 11205


class Webhooks:
    """What Twilio asks the server over HTTP. `call_status` is what the requests say of the call."""

    def __init__(self, plan: CallPlan, http: httpx.AsyncClient, call_sid: str) -> None:
        self.call_status = "ringing"
        self.first_ms: float | None = None
        """How long the first answer took."""
        self.answered_at = 0.0
        """When the last document came, on the loop's clock."""
        self._plan = plan
        self._http = http
        self._call_sid = call_sid
        self._documents = 0

    async def ask(self, url: str, method: str, extra: Mapping[str, str] | None = None) -> list[Verb]:
        """The verbs that the server answers.

        Raises:
            TwimlError: it answers nothing that can be done.
        """
        self._documents += 1
        if self._documents > MOST_DOCUMENTS:
            raise TwimlError(HTTP_FAILED, f"more than {MOST_DOCUMENTS} documents in one call")
        clock = asyncio.get_running_loop().time
        asked = clock()
        try:
            response = await self.request(url, method, extra)
        except httpx.HTTPError as error:
            raise TwimlError(CONNECT_FAILED, f"no answer: {type(error).__name__} {error}".rstrip()) from None
        self.answered_at = clock()
        if self.first_ms is None:
            self.first_ms = (self.answered_at - asked) * 1000
        content_type = response.headers.get("content-type", "")
        return parse_twiml(response.status_code, content_type, response.content, plain=url.startswith("http:"))

    async def tell(self, url: str, extra: Mapping[str, str], method: str = "POST") -> int:
        """A callback: the HTTP status of its answer, 0 for none."""
        try:
            return (await self.request(url, method, extra)).status_code
        except httpx.HTTPError:
            return 0

    async def request(self, url: str, method: str, extra: Mapping[str, str] | None = None) -> httpx.Response:
        """One signed request with the parameters of the call.

        Raises:
            httpx.HTTPError: there was no answer.
        """
        parameters = {**self._parameters(), **(extra or {})}
        if method == "GET":
            url += ("&" if urlsplit(url).query else "?") + urlencode(parameters)
            signed = signature(url, (), self._plan.auth_token)
            return await politely(self._http.get, self.reach(url), headers={"X-Twilio-Signature": signed})
        headers = {
            "X-Twilio-Signature": signature(url, list(parameters.items()), self._plan.auth_token),
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "I-Twilio-Idempotency-Token": secrets.token_hex(16),
        }
        return await politely(self._http.post, self.reach(url), headers=headers, content=urlencode(parameters))

    def reach(self, url: str) -> str:
        """Where a URL is really asked for."""
        if not self._plan.via:
            return url
        parts, via = urlsplit(url), urlsplit(self._plan.via)
        scheme = via.scheme.replace("http", "ws") if parts.scheme.startswith("ws") else via.scheme
        return urlunsplit((scheme, via.netloc, parts.path, parts.query, ""))

    def _parameters(self) -> dict[str, str]:
        """What every request of a call carries."""
        plan = self._plan
        roles = ("From", "To", "Caller", "Called")
        return {
            "AccountSid": plan.account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": self._call_sid,
            "CallStatus": self.call_status,
            "CallToken": '{"parentCallInfoToken":"simulated"}',
            "Called": plan.to,
            "Caller": plan.from_,
            "Direction": "inbound",
            "From": plan.from_,
            "To": plan.to,
            **{f"{role}{place}": "" for role in roles for place in ("City", "State", "Zip")},
            **{f"{role}Country": "US" for role in roles},
            "StirVerstat": "",
            **plan.extra,
        }
