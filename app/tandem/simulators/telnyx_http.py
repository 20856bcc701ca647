"""Telnyx's HTTP requests: signed webhooks, sent again when they were not taken."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import httpx
from nacl.signing import SigningKey

from tandem.cancelling import politely

USER_AGENT: Final = "telnyx-webhooks"
WEBHOOK_SECONDS: Final = 5.0
ATTEMPTS: Final = 3
RETRY_SECONDS: Final = 0.2

DEMO_SEED: Final = bytes(range(32))
"""Of the key that simulated webhooks are signed with: known to everyone, so a server that has its public half set is
one to play with."""


def public_key(seed: bytes) -> str:
    """As the portal would show it, and `TELNYX_PUBLIC_KEY` wants it."""
    return base64.b64encode(bytes(SigningKey(seed).verify_key)).decode("ascii")


def signed(body: bytes, seed: bytes, at: float | None = None) -> dict[str, str]:
    """The headers of a request with this body."""
    timestamp = str(int(time.time() if at is None else at))
    given = SigningKey(seed).sign(f"{timestamp}|".encode() + body).signature
    return {"Telnyx-Signature-Ed25519": base64.b64encode(given).decode("ascii"), "Telnyx-Timestamp": timestamp}


def reach(url: str, via: str) -> str:
    """Where a URL is really asked for: at the origin `via`, if there is one."""
    if not via:
        return url
    parts, origin = urlsplit(url), urlsplit(via)
    scheme = origin.scheme.replace("http", "ws") if parts.scheme.startswith("ws") else origin.scheme
    return urlunsplit((scheme, origin.netloc, parts.path, parts.query, ""))


@dataclass(slots=True)
class Webhooks:
    """What Telnyx tells and asks the server."""

    http: httpx.AsyncClient
    seed: bytes = field(repr=False)
    repeats: int = 1
    """How often each event is told, all at once: at least once is all that is promised."""
    first_ms: float | None = None
    """How long the first answer took."""
    answered_at: float = 0.0
    """When the last answer came, on the loop's clock."""

    async def tell(self, url: str, via: str, event_type: str, payload: Mapping[str, Any]) -> int:
        """An event: the status of its answer, 0 for none. Not taken, it is told again, as the same event."""
        data = {
            "record_type": "event",
            "event_type": event_type,
            "id": str(uuid.uuid4()),
            "occurred_at": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "payload": dict(payload),
        }
        if self.repeats > 1:
            async with asyncio.TaskGroup() as tasks:
                for number in range(2, self.repeats + 1):
                    tasks.create_task(self._post_event(url, via, data, number))
                return await self._post_event(url, via, data, 1)
        status = 0
        for attempt in range(1, ATTEMPTS + 1):
            status = await self._post_event(url, via, data, attempt)
            if 200 <= status < 300:
                break
            await asyncio.sleep(RETRY_SECONDS)
        return status

    async def _post_event(self, url: str, via: str, data: Mapping[str, Any], attempt: int) -> int:
        body = json.dumps({"data": data, "meta": {"attempt": attempt, "delivered_to": url}}).encode()
        response = await self._send("POST", url, via, body, "application/json")
        return 0 if response is None else response.status_code

    async def form(self, method: str, url: str, via: str, fields: Mapping[str, str]) -> httpx.Response | None:
        """A TeXML request; None when there was no answer. A GET has its parameters in the URL, where nothing signs
        them."""
        if method == "GET":
            url += ("&" if urlsplit(url).query else "?") + urlencode(fields)
            return await self._send("GET", url, via, b"", "")
        return await self._send("POST", url, via, urlencode(fields).encode(), "application/x-www-form-urlencoded")

    async def _send(self, method: str, url: str, via: str, body: bytes, content_type: str) -> httpx.Response | None:
        headers = {**signed(body, self.seed), **({"Content-Type": content_type} if content_type else {})}
        clock = asyncio.get_running_loop().time
        asked = clock()
        try:
            response = await politely(self.http.request, method, reach(url, via), content=body, headers=headers)
        except httpx.HTTPError:
            return None
        self.answered_at = clock()
        if self.first_ms is None:
            self.first_ms = (self.answered_at - asked) * 1000
        return response
