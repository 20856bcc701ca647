"""Plivo's HTTP requests for one call: webhooks that are obeyed, callbacks that are not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import httpx

from tandem.cancelling import politely
from tandem.carriers.plivo_webhook import signature_v3
from tandem.simulators.plan import CallPlan
from tandem.simulators.plivo_xml import HTTP_FAILED, AnswerError, Element, parse_answer

USER_AGENT: Final = "Plivo (tandem simulator)"
WEBHOOK_SECONDS: Final = 15.0
MOST_DOCUMENTS: Final = 10
"""Documents that one call follows, so that two that point at each other come to an end."""


def signed(method: str, url: str, fields: Mapping[str, str], token: str) -> dict[str, str]:
    """The headers with which Plivo signs a request: a list of signatures, as while a token is being changed."""
    nonce = str(secrets.randbelow(10**20)).zfill(20)
    signature = signature_v3(method, url, list(fields.items()), nonce, token)
    former = signature_v3(method, url, list(fields.items()), nonce, "the token before")
    return {
        "X-Plivo-Signature-V3": f"{former},{signature}",
        "X-Plivo-Signature-Ma-V3": signature,
        "X-Plivo-Signature-V3-Nonce": nonce,
    }


class Webhooks:
    """What Plivo asks the server over HTTP. `call_status` is what the requests say of the call."""

    def __init__(self, plan: CallPlan, http: httpx.AsyncClient, call_id: str) -> None:
        self.call_status = "ringing"
        self.first_ms: float | None = None
        """How long the first answer took."""
        self.answered_at = 0.0
        """When the last document came, on the loop's clock."""
        self._plan = plan
        self._http = http
        self._call_id = call_id
        self._documents = 0

    async def ask(self, url: str, method: str, extra: Mapping[str, str] | None = None) -> list[Element]:
        """The elements that the server answers.

        Raises:
            AnswerError: it answers nothing that can be done.
        """
        self._documents += 1
        if self._documents > MOST_DOCUMENTS:
            raise AnswerError(HTTP_FAILED, f"more than {MOST_DOCUMENTS} documents in one call")
        clock = asyncio.get_running_loop().time
        asked = clock()
        fields = {"Event": "StartApp" if self._documents == 1 else "Redirect", **(extra or {})}
        try:
            response = await self.request(url, method, fields)
        except httpx.HTTPError as error:
            raise AnswerError(HTTP_FAILED, f"no answer: {type(error).__name__} {error}".rstrip()) from None
        self.answered_at = clock()
        if self.first_ms is None:
            self.first_ms = (self.answered_at - asked) * 1000
        content_type = response.headers.get("content-type", "")
        return parse_answer(response.status_code, content_type, response.content, plain=url.startswith("http:"))

    async def tell(self, url: str, extra: Mapping[str, str], method: str = "POST") -> int:
        """A callback: the HTTP status of its answer, 0 for none."""
        try:
            return (await self.request(url, method, extra)).status_code
        except httpx.HTTPError:
            return 0

    async def request(self, url: str, method: str, extra: Mapping[str, str]) -> httpx.Response:
        """One signed request with the parameters of the call.

        Raises:
            httpx.HTTPError: there was no answer.
        """
        fields = {**self._parameters(), **extra, **self._plan.extra}
        if method == "GET":
            url += ("&" if urlsplit(url).query else "?") + urlencode(fields)
            headers = signed("GET", url, {}, self._plan.auth_token)
            return await politely(self._http.get, self.reach(url), headers=headers)
        headers = {
            **signed("POST", url, fields, self._plan.auth_token),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return await politely(self._http.post, self.reach(url), headers=headers, content=urlencode(fields))

    def reach(self, url: str) -> str:
        """Where a URL is really asked for."""
        if not self._plan.via:
            return url
        parts, via = urlsplit(url), urlsplit(self._plan.via)
        scheme = via.scheme.replace("http", "ws") if parts.scheme.startswith("ws") else via.scheme
        return urlunsplit((scheme, via.netloc, parts.path, parts.query, ""))

    def _parameters(self) -> dict[str, str]:
        """What every request of a call carries. Plivo writes numbers without their plus sign."""
        return {
            "CallUUID": self._call_id,
            "From": self._plan.from_.removeprefix("+"),
            "To": self._plan.to.removeprefix("+"),
            "Direction": "inbound",
            "CallStatus": self.call_status,
            "ALegUUID": self._call_id,
            "BillRate": "0.0055",
            "CallerName": self._plan.from_,
            "ParentAuthID": self._plan.account_sid,
            "STIRVerification": "",
        }
