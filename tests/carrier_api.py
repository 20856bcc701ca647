"""A server of ours whose Twilio account is simulated, and operators who steer its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from servers import ACCOUNT, AUTH_TOKEN, Environment, Tandem, bearer, eventually, tandem

from tandem.simulators.phone import At, WhenQuiet
from tandem.simulators.plan import CallPlan
from tandem.simulators.twilio import Callee
from tandem.simulators.twilio_exchange import Exchange

OURS, THEIRS = "+15550001000", "+15550003000"


class Office:
    """The server, the carrier, and the operator between them."""

    def __init__(self, server: Tandem, twilio: Exchange) -> None:
        self.server = server
        self.twilio = twilio

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """What an operator asks, with the token."""
        return await self.server.http.request(method, path, json=body, headers={**bearer(), **headers})

    async def place(self, **changes: Any) -> dict[str, Any]:
        """A call that the carrier takes."""
        answer = await self.ask("POST", "/calls", {"to": THEIRS, "from": OURS, **changes})
        assert answer.status_code == 201, answer.text
        record: dict[str, Any] = answer.json()
        return record

    async def state(self, call_id: str, wanted: str) -> dict[str, Any]:
        """Wait until the call is in that state."""

        async def there() -> dict[str, Any] | None:
            record = await self.server.record(call_id)
            return record if record["state"] == wanted else None

        record: dict[str, Any] = await eventually(there)
        return record

    def plan(self, **changes: Any) -> CallPlan:
        """A call of the simulated carrier to this server."""
        return self.server.plan(**{"hang_up": None, "seconds": 20, **changes})


@asynccontextmanager
async def office(
    environ: Environment | None = None, *, callee: Callee | None = None, beyond: Callee | None = None, **plan: Any
) -> AsyncIterator[Office]:
    """Both, in this loop. `plan` is what the callee says and when it hangs up."""
    async with Exchange(ACCOUNT, AUTH_TOKEN) as twilio:
        twilio.callee = callee or twilio.callee
        twilio.beyond = beyond or twilio.beyond
        twilio.plan = CallPlan("", ACCOUNT, AUTH_TOKEN, **{"hang_up": None, "seconds": 20, **plan})
        async with tandem({"TWILIO_API_URL": twilio.url, "OUTBOUND_FROM": OURS, **(environ or {})}) as server:
            yield Office(server, twilio)
            for bridge in [*server.board.live.values()]:
                bridge.carrier_ended()
            await server.empty()


__all__ = ["ACCOUNT", "AUTH_TOKEN", "OURS", "THEIRS", "At", "Callee", "Office", "WhenQuiet", "office"]
