"""The call as the carrier has it: what is ordered, what comes of refusals, and that it is ended once."""

from __future__ import annotations

import pytest

from tandem import logs
from tandem.call_types import Keys, Transfer
from tandem.carrier_line import CarrierLine
from tandem.carriers.table import PLIVO, TWILIO
from tandem.identity import Identity
from tandem.rest.port import CarrierApiError, OutboundCall
from tandem.rest.port import Transfer as RestTransfer

LOG = logs.get("test")
OURS = "https://bridge.example"
ORDER = OutboundCall("+15550002000", "+15550001000", "session", f"wss{OURS[5:]}/twilio/media/t", OURS, OURS)


class Api:
    """Does what it is told, or refuses everything."""

    def __init__(self, *, refuses: bool = False, places: str = "CA1") -> None:
        self.refuses = refuses
        self.places = places
        self.done: list[object] = []

    def _do(self, *what: object) -> None:
        if self.refuses:
            raise CarrierApiError("no")
        self.done.append(what)

    async def place(self, call: OutboundCall) -> str:
        self._do("place", call.to)
        return self.places

    async def hang_up(self, call_id: str) -> None:
        self._do("hang_up", call_id)

    async def transfer(self, call_id: str, transfer: RestTransfer) -> None:
        self._do("transfer", call_id, transfer)

    async def send_dtmf(self, call_id: str, digits: str, return_url: str) -> None:
        self._do("keys", call_id, digits, return_url)

    async def close(self) -> None: ...


def identity(call_id: str = "CA1") -> Identity:
    return Identity("session", call_id, caller="+15550001000", called="+15550002000")


async def test_orders_name_the_call_and_the_way_back() -> None:
    api = Api()
    line = CarrierLine(TWILIO.traits, identity(), api, "https://bridge.example")
    assert await line.give(Transfer("+15550003000", "", 20), LOG) == ""
    assert await line.give(Keys("12#"), LOG) == ""
    after = "https://bridge.example/twilio"
    assert api.done == [
        ("transfer", "CA1", RestTransfer("+15550003000", "+15550002000", f"{after}/status?after=transfer", 20)),
        ("keys", "CA1", "12#", f"{after}/voice?after=keys"),
    ]
    assert line.orders == 2


@pytest.mark.parametrize("api", [Api(refuses=True), None], ids=["refused", "no credentials"])
async def test_what_is_refused_is_news_and_raises_nothing(api: Api | None) -> None:
    line = CarrierLine(TWILIO.traits, identity(), api, "")
    assert "still on the line" in await line.give(Keys("1"), LOG)
    assert "transfer" in await line.give(Transfer("sip:x@example.com", "", 20), LOG)
    assert await line.dial(ORDER, LOG) is not None
    await line.end(LOG)


async def test_a_call_is_ended_once_and_only_while_it_is_ours() -> None:
    api = Api()
    line = CarrierLine(TWILIO.traits, identity(), api, "")
    await line.end(LOG)
    await line.end(LOG)
    assert api.done == [("hang_up", "CA1")]
    moved = CarrierLine(TWILIO.traits, identity(), api, "")
    moved.is_ours = False
    await moved.end(LOG)
    assert len(api.done) == 1


async def test_the_call_that_was_placed_is_learnt_by_its_name() -> None:
    fresh, known, asked = identity(""), identity("CA1"), identity("")
    assert await CarrierLine(TWILIO.traits, fresh, Api(), "").dial(ORDER, LOG) is None
    assert fresh.call_id == "CA1"
    line = CarrierLine(TWILIO.traits, known, Api(places="CA2"), "")
    assert await line.dial(ORDER, LOG) is None
    assert line.mistaken
    assert known.call_id == "CA2", "the one that must be ended"
    await CarrierLine(PLIVO.traits, asked, Api(places="req"), "").dial(ORDER, LOG)
    assert (asked.call_id, asked.request_id) == ("", "req")
