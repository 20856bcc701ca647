"""Telnyx for tests: a server of ours, the simulated Telnyx that it talks to, and a hand to lead either."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
from servers import CALLED, CALLER, Tandem, tandem, until

from tandem.simulators.plan import CallPlan, CallReport
from tandem.simulators.telnyx import CONNECTION_ID, Exchange
from tandem.simulators.telnyx_http import signed

CALL = "v3:planned-by-the-test"
EVENTS, VOICE, STATUS = "/telnyx/events", "/telnyx/voice", "/telnyx/status"
OTHER_SEED = bytes(range(1, 33))
"""Of somebody who is not Telnyx."""


class Line:
    """A server of ours, and the Telnyx that it talks to."""

    def __init__(self, server: Tandem, exchange: Exchange) -> None:
        self.server = server
        self.exchange = exchange

    def plan(self, way: str = EVENTS, **changes: Any) -> CallPlan:
        return CallPlan(f"{self.server.origin}{way}", "", "", from_=CALLER, to=CALLED, **changes)

    async def call(self, way: str = EVENTS, **changes: Any) -> CallReport:
        return await self.exchange.call(self.plan(way, **changes))

    async def event(
        self, kind: str, *, event_id: str = "", seed: bytes | None = None, at: float | None = None, **payload: Any
    ) -> int:
        """Tell the server something, led by hand; the status of its answer."""
        data = {"event_type": kind, "id": event_id, "payload": {"call_control_id": CALL, **payload}}
        body = json.dumps({"data": data}).encode()
        headers = signed(body, seed or self.exchange.seed, at)
        return (await self.server.http.post(EVENTS, content=body, headers=headers)).status_code

    async def ring(self, **changes: Any) -> int:
        if CALL not in self.exchange.engine.calls:
            self.exchange.leg(self.plan(), call_id=CALL).silent = True
        incoming = {"direction": "incoming", "from": CALLER, "to": CALLED, **changes}
        return await self.event("call.initiated", **incoming)

    async def form(
        self, path: str, fields: Mapping[str, str], *, seed: bytes | None = None, method: str = "POST"
    ) -> httpx.Response:
        """A TeXML request."""
        query, body = (urlencode(fields), b"") if method == "GET" else ("", urlencode(fields).encode())
        return await self.server.http.request(
            method,
            f"{path}?{query}" if query else path,
            content=body,
            headers={"Content-Type": "application/x-www-form-urlencoded", **signed(body, seed or self.exchange.seed)},
        )

    @property
    def commands(self) -> list[str]:
        """What the server did over the API: the last words of the paths."""
        return [request.path.rpartition("/")[2] for request in self.exchange.asked]

    def bodies(self, action: str) -> list[dict[str, Any]]:
        return [request.json for request in self.exchange.asked if request.path.endswith(f"/{action}")]

    async def commanded(self, *actions: str) -> None:
        await until(lambda: self.commands == list(actions))


FORM = {"AccountSid": "b4a0c5d2", "CallSid": CALL, "From": CALLER, "To": CALLED}


def account(telnyx: Exchange) -> dict[str, str | None]:
    """The environment of a server that has its account there."""
    keys = {"TELNYX_API_KEY": telnyx.api_key, "TELNYX_PUBLIC_KEY": telnyx.public_key}
    return {**keys, "TELNYX_API_URL": telnyx.api_url, "TELNYX_CONNECTION_ID": CONNECTION_ID}


@asynccontextmanager
async def line(exchange: Exchange | None = None, **env: str | None) -> AsyncIterator[Line]:
    async with (
        exchange or Exchange() as telnyx,
        tandem({**account(telnyx), **env}) as server,
    ):
        yield Line(server, telnyx)


def quiet(here: Line) -> bool:
    """Nothing has come of it: no call, no command."""
    return not here.server.board.live and not here.exchange.asked
