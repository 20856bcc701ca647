"""One call as the carrier has it, over the carrier's API: dialled, given to somebody else, ended."""

from __future__ import annotations

import asyncio
from typing import Final

from tandem import logs
from tandem.call_types import Keys, Transfer
from tandem.carriers.events import CarrierTraits
from tandem.identity import Identity
from tandem.rest.port import CarrierApi, CarrierApiError, OutboundCall
from tandem.rest.port import Transfer as RestTransfer

PLACE_SECONDS: Final = 10.0
GIVE_SECONDS: Final = 10.0
HANG_UP_SECONDS: Final = 6.0
"""How long ending a call over the carrier's API may take, its own retry included."""


class CarrierLine:
    """Without an `api` nothing can be ordered. `origin` is where the carrier reaches us (`INSTANCE_URL`)."""

    def __init__(self, traits: CarrierTraits, identity: Identity, api: CarrierApi | None, origin: str) -> None:
        self.api = api
        self.is_ours = True
        """The call ends when we do. No longer, once the carrier has ended it or moved it to somebody else."""
        self.orders = 0
        """Given so far: transfers and keys."""
        self.news = ""
        """Why the last one came to nothing."""
        self.mistaken = False
        """The stream that came is of another call than the one that was placed."""
        self._traits = traits
        self._identity = identity
        self._origin = origin

    async def dial(self, order: OutboundCall, log: logs.Log) -> CarrierApiError | None:
        """Have the carrier place the call: why it did not. The stream may be here before this is done."""
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                placed_as = await self._reach().place(order)
        except (CarrierApiError, TimeoutError) as error:
            failure = error if isinstance(error, CarrierApiError) else CarrierApiError("the carrier did not answer")
            log.error("the carrier did not place the call", error=failure)
            return failure
        self._learn(placed_as, log)
        return None

    def _learn(self, placed_as: str, log: logs.Log) -> None:
        identity = self._identity
        if self._traits.placed_by_request:
            identity.request_id = placed_as
            return
        if identity.call_id and identity.call_id != placed_as:
            log.error("the stream that came is of another call than the one that was placed")
            self.mistaken = True
        identity.call_id = placed_as

    async def give(self, order: Transfer | Keys, log: logs.Log) -> str:
        """Have the carrier do it. Answers what to tell the agent when it refuses, which leaves everything as it was."""
        self.orders, self.news = self.orders + 1, ""
        identity, where = self._identity, f"{self._origin}/{self._traits.name}"
        try:
            api = self._reach()
            async with asyncio.timeout(GIVE_SECONDS):
                if isinstance(order, Keys):
                    await api.send_dtmf(identity.call_id, order.digits, f"{where}/voice?after=keys")
                else:
                    caller_id = order.caller_id or identity.ours
                    after = f"{where}/status?after=transfer"
                    await api.transfer(identity.call_id, RestTransfer(order.to, caller_id, after, order.ring_seconds))
        except (CarrierApiError, TimeoutError) as error:
            log.error("the carrier refused an order", order=type(order).__name__, error=error)
            what = "The keys could not be sent." if isinstance(order, Keys) else "The transfer could not be made."
            return f"{what} The caller is still on the line."
        return ""

    async def end(self, log: logs.Log) -> None:
        """End the call; once, and only while it is ours."""
        api, call_id = self.api, self._identity.call_id or self._identity.request_id
        if not self.is_ours or api is None or not call_id:
            return
        self.is_ours = False
        try:
            async with asyncio.timeout(HANG_UP_SECONDS):
                await api.hang_up(call_id)
        except Exception as error:  # whatever it is, the call is over for us, and others go on
            log.error("the call could not be ended at the carrier", error=error)

    def _reach(self) -> CarrierApi:
        if self.api is None:
            raise CarrierApiError("there are no credentials for this carrier's API")
        return self.api
