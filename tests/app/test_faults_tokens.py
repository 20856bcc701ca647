"""Ten thousand forged stream tokens at the door of the media sockets, without a network (R30)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from forgeries import WAYS, forgeries
from servers import ACCOUNT, Tandem, issued, new_sid, tandem, until
from starlette.websockets import WebSocket

from tandem.bridge import Bridge
from tandem.carriers.table import PLIVO, TELNYX, TWILIO, CarrierKind
from tandem.doors import IncomingCall, let_in, stream_url, take_in

MANY: dict[str, str | None] = {
    "MAX_STARTS_PER_SECOND": "1000000",
    "MAX_CALLS": "1000",
    "LOG_LEVEL": "error",
}


class Knock:
    """A media socket that asks to be let in. Once it is, it says `start` and then nothing."""

    def __init__(self, server: Tandem, carrier: CarrierKind, text: str, call_id: str = "") -> None:
        self.answers: list[dict[str, Any]] = []
        self.over = asyncio.Event()
        start = {"accountSid": ACCOUNT, "callSid": call_id, "streamSid": "MZ1"}
        self._says = [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": json.dumps({"event": "start", "streamSid": "MZ1", "start": start})},
        ]
        scope = {"type": "websocket", "app": server.app, "path": "/", "headers": [], "query_string": b""}
        self._socket = WebSocket(scope, self._receive, self._send)
        self._carrier, self._text = carrier, text

    async def _receive(self) -> dict[str, Any]:
        if self._says:
            return self._says.pop(0)
        await self.over.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def _send(self, answer: Any) -> None:
        self.answers.append(answer)
        if answer["type"] == "websocket.close":
            self.over.set()

    async def come(self) -> None:
        account = ACCOUNT if self._carrier is TWILIO else ""
        await let_in(self._socket, self._carrier, account, self._text)

    @property
    def let_in(self) -> bool:
        return any(answer["type"] == "websocket.accept" for answer in self.answers)

    @property
    def closed(self) -> tuple[int, str]:
        (last,) = [answer for answer in self.answers if answer["type"] == "websocket.close"]
        return last["code"], last["reason"]


async def admitted(server: Tandem, carrier: CarrierKind) -> Bridge:
    """A call that waits for its stream."""
    call = IncomingCall(new_sid("CA"), ACCOUNT if carrier is TWILIO else "", "+15550002000", "+15550001000")
    taken = await take_in(server.app, carrier, call)
    assert isinstance(taken, Bridge)
    return taken


def token_of(server: Tandem, bridge: Bridge) -> str:
    return stream_url(server.settings, bridge).rpartition("/")[2]


async def knocks(server: Tandem, carrier: CarrierKind, texts: Sequence[str]) -> None:
    """Nobody with one of these is let in."""
    for text in texts:
        knock = Knock(server, carrier, text)
        await knock.come()
        assert knock.answers == [{"type": "websocket.close", "code": 1008, "reason": ""}], text


async def test_r30_none_of_ten_thousand_forged_tokens_opens_a_media_socket() -> None:
    async with tandem(MANY) as server:
        server.hurry(stream_seconds=60)
        bridges = [await admitted(server, kind) for kind in (TWILIO, TELNYX, PLIVO) for _ in range(3)]
        genuine = [token_of(server, bridge) for bridge in bridges]
        before = set(server.board.live)
        for number, text in enumerate(forgeries(genuine, 10_000)):
            await knocks(server, bridges[number % len(bridges)].carrier, [text])
            if number % 100 == 0:
                await asyncio.sleep(0)  # others have the loop, too
        refused = {
            why: await server.metric("tokens_refused_total", reason=why) for why in ("shape", "expired", "forged")
        }
        assert sum(refused.values()) == 10_000
        assert all(refused.values())
        assert set(server.board.live) == before, "nor has any of them taken up a place, or ended a call"
        for bridge, text in zip(bridges, genuine, strict=True):
            await used_up(server, bridge, text)


async def used_up(server: Tandem, bridge: Bridge, text: str) -> None:
    """The genuine token opens its call's socket, once, and neither meanwhile nor afterwards another."""
    knock = Knock(server, bridge.carrier, text)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(knock.come())
        await until(lambda: knock.answers)
        assert knock.let_in
        await knocks(server, bridge.carrier, [text] * 10)
        bridge.carrier_ended()
    await until(lambda: bridge.identity.session not in server.board.live)
    await knocks(server, bridge.carrier, [text] * 10)


async def test_r30_another_instance_lets_no_forged_token_past_the_start() -> None:
    """It does not know the call. What is of a session of ours it hears out until the stream says whose it is."""
    async with tandem(MANY) as server:
        calls = [new_sid("CA") for _ in range(3)]
        genuine = [issued(call_id) for call_id in calls]
        ends: Counter[str] = Counter()
        for number, text in enumerate(forgeries(genuine, 50 * len(WAYS))):
            await until(lambda: server.board.refuse() is None)  # a busy machine's loop may be late, and say so
            knock = Knock(server, TWILIO, text, calls[number % len(calls)])
            await knock.come()
            ends["started" if knock.let_in else "turned away"] += 1
            assert knock.closed == ((1008, "wrong_call") if knock.let_in else (1008, "")), text
        await server.empty()
        assert min(ends.values()) > 100, ends
        assert await server.metric("provider_attempts_total") == 0, "nothing was spent on any of them"
        assert not any(record["stream_started"] for record in server.board.records())
