"""The carriers' REST APIs at one address, and a server of ours that places calls over each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from servers import Tandem, bearer, eventually, tandem, until
from sounds import speech
from typer.testing import CliRunner

from tandem import settings
from tandem.call_state import State
from tandem.cli import app
from tandem.simulators import carrier_rest
from tandem.simulators.carrier_rest import Accounts, CarrierRest, callee_of
from tandem.simulators.phone import At, Turn, WhenQuiet
from tandem.simulators.plan import CallPlan

OURS = "+15550001000"
every_carrier = pytest.mark.parametrize("carrier", ["twilio", "telnyx", "plivo"])


@asynccontextmanager
async def office(monkeypatch: pytest.MonkeyPatch, **plan: Any) -> AsyncIterator[tuple[Tandem, CarrierRest]]:
    """A server that is pointed at all of them, as the command says. Nobody rings for long."""
    monkeypatch.setattr(carrier_rest, "RING_SECONDS", 0.1)
    callee = CallPlan("", "", "", **{"audio": [Turn(speech(), At(500))], "hang_up": None, "seconds": 20, **plan})
    async with CarrierRest(Accounts(), callee) as rest:
        variables = dict(pair.split("=", 1) for pair in rest.variables.split())
        async with tandem(variables, OUTBOUND_FROM=OURS) as server:
            yield server, rest
            for bridge in [*server.board.live.values()]:
                bridge.carrier_ended()
            await server.empty()


async def ask(server: Tandem, method: str, path: str, body: Any = None) -> httpx.Response:
    return await server.http.request(method, path, json=body, headers=bearer())


async def place(server: Tandem, carrier: str, end: str, **changes: Any) -> str:
    """A call to a number with that end; its id."""
    answer = await ask(server, "POST", "/calls", {"to": f"+1555777{end}", "carrier": carrier, **changes})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["call_id"])


async def state(server: Tandem, call_id: str, wanted: str) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        record = await server.record(call_id)
        return record if record["state"] == wanted else None

    found: dict[str, Any] = await eventually(there)
    return found


@every_carrier
async def test_a_call_is_placed_answered_talked_on_and_hung_up(monkeypatch: pytest.MonkeyPatch, carrier: str) -> None:
    async with office(monkeypatch) as (server, _):
        call_id = await place(server, carrier, "5555")
        record = await state(server, call_id, "talking")
        assert (record["carrier"], record["direction"], record["called"]) == (carrier, "outbound", "+15557775555")
        bridge = server.board.by_call(call_id)
        assert bridge is not None
        await until(lambda: bridge.call.stats.caller_turns or (bridge.call.audio and bridge.call.audio.frames > 20))
        assert (await ask(server, "DELETE", f"/calls/{call_id}")).status_code == 202
        over = await server.result(call_id)
        assert over["result"] == "operator"
        assert over["first_audio_seconds"] is not None


@every_carrier
@pytest.mark.parametrize(("end", "reason"), [("0001", "busy"), ("0002", "no_answer"), ("0003", "not_placed")])
async def test_nobody_is_at_home(monkeypatch: pytest.MonkeyPatch, carrier: str, end: str, reason: str) -> None:
    async with office(monkeypatch) as (server, rest):
        call_id = await place(server, carrier, end, ring_seconds=5)
        over = await server.result(call_id, seconds=10)
        assert over["result"] == reason
        assert (over["seconds"] >= 5) is (end == "0002"), "it rings as long as it was asked to"
        assert rest.requests == 1, "nothing is left to be ended"


@every_carrier
async def test_the_provider_waits_until_somebody_has_picked_up(monkeypatch: pytest.MonkeyPatch, carrier: str) -> None:
    async with office(monkeypatch) as (server, _):
        monkeypatch.setattr(carrier_rest, "RING_SECONDS", 0.5)
        call_id = await place(server, carrier, "5555")
        await asyncio.sleep(0.2)  # while it rings
        assert await server.metric("provider_attempts_total", provider="echo", outcome="ready") == 0
        assert (await server.record(call_id))["state"] == "dialling"
        await state(server, call_id, "talking")
        assert await server.metric("provider_attempts_total", provider="echo", outcome="ready") == 1


@every_carrier
@pytest.mark.parametrize(("policy", "talks"), [("hang_up", False), ("leave_message", True), ("continue", True)])
async def test_an_answering_machine(monkeypatch: pytest.MonkeyPatch, carrier: str, policy: str, talks: bool) -> None:
    message = {"message": "Please call back."} if policy == "leave_message" else {}
    async with office(monkeypatch, audio=()) as (server, _):
        call_id = await place(server, carrier, "0004", machine=policy, **message)
        bridge = server.board.by_call(call_id)
        assert bridge is not None
        await until(lambda: bridge.call.stats.machine)
        if policy == "continue":
            assert bridge.call.end_reason is None
            return
        over = await server.result(call_id, seconds=15)
        assert (over["result"], over["machine"]) == ("machine", True)
        if talks:
            assert bridge.call.ledger.sent_bytes > 8_000, "the message was said, and heard"


@every_carrier
async def test_a_person_is_no_machine(monkeypatch: pytest.MonkeyPatch, carrier: str) -> None:
    async with office(monkeypatch, audio=()) as (server, _):
        call_id = await place(server, carrier, "5555", machine="hang_up")
        bridge = server.board.by_call(call_id)
        assert bridge is not None
        await until(lambda: bridge.call.stats.first_audio_seconds is not None)
        if carrier != "plivo":  # which tells of machines only
            await until(lambda: bridge.call.stats.machine is False)
        record = await server.record(call_id)
        assert (record["state"], record["machine"] or False) == ("talking", False)


@every_carrier
async def test_a_call_that_still_rings_is_taken_back_at_the_carrier(
    monkeypatch: pytest.MonkeyPatch, carrier: str
) -> None:
    async with office(monkeypatch) as (server, rest):
        call_id = await place(server, carrier, "0002", ring_seconds=60)
        assert (await ask(server, "DELETE", f"/calls/{call_id}")).status_code == 202
        assert (await server.result(call_id))["result"] == "operator"
        match carrier:
            case "twilio":
                await until(lambda: rest.twilio.reports)
                assert rest.twilio.reports[0].result == "canceled"
            case "plivo":
                await until(lambda: rest.plivo.reports)
                assert rest.plivo.reports[0].result == "canceled"
            case _:
                assert rest.telnyx.asked[-1].path.endswith("/actions/hangup")


@every_carrier
async def test_a_call_that_we_placed_can_be_given_to_somebody_else(
    monkeypatch: pytest.MonkeyPatch, carrier: str
) -> None:
    monkeypatch.setattr(carrier_rest, "TALK_SECONDS", 0.3)
    async with office(monkeypatch, audio=()) as (server, _):
        call_id = await place(server, carrier, "5555")
        bridge = server.board.by_call(call_id)
        assert bridge is not None
        await state(server, call_id, "talking")
        await until(lambda: bridge.call.stats.first_audio_seconds is not None)
        answer = await ask(server, "POST", f"/calls/{call_id}/transfer", {"to": "+15557776666"})
        assert answer.status_code == 202
        assert (await server.result(call_id, seconds=20))["result"] == "transferred"


@every_carrier
@pytest.mark.parametrize("end", ["0001", "0002", "0003"])
async def test_whom_nobody_takes_comes_back_to_the_agent(
    monkeypatch: pytest.MonkeyPatch, carrier: str, end: str
) -> None:
    async with office(monkeypatch, audio=()) as (server, _):
        call_id = await place(server, carrier, "5555")
        bridge = server.board.by_call(call_id)
        assert bridge is not None
        await state(server, call_id, "talking")
        await until(lambda: bridge.call.stats.first_audio_seconds is not None)
        wish = {"to": f"+1555777{end}", "ring_seconds": 5}
        assert (await ask(server, "POST", f"/calls/{call_id}/transfer", wish)).status_code == 202
        await until(lambda: bridge.call.state is State.PARKED, seconds=15)  # the greeting is heard first
        await until(lambda: bridge.streams == 2 and bridge.call.state is State.TALKING, seconds=15)
        assert bridge.call.end_reason is None


async def test_each_carrier_is_strict_about_its_own_account(monkeypatch: pytest.MonkeyPatch) -> None:
    async with CarrierRest(Accounts(), CallPlan("", "", "")) as rest, httpx.AsyncClient(trust_env=False) as http:
        sid = Accounts().twilio_sid
        paths = {
            f"/2010-04-01/Accounts/{sid}.json": 401,
            "/v1/Account/MA/Call/": 401,
            "/v2/phone_numbers": 401,
            "/": 404,
        }
        for path, status in paths.items():
            assert (await http.get(rest.url + path)).status_code == status, path


def test_accounts_are_those_of_the_settings_or_made_up() -> None:
    assert Accounts.of(settings.load({}, None)) == Accounts(), "the demo account places no calls"
    given = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "planted"}
    given |= {"PLIVO_AUTH_ID": "MA" + "X" * 18, "PLIVO_AUTH_TOKEN": "planted-too"}
    found = Accounts.of(settings.load(given, None))
    assert (found.twilio_sid, found.twilio_token) == ("AC" + "1" * 32, "planted")
    assert (found.plivo_id, found.plivo_token) == ("MA" + "X" * 18, "planted-too")


@pytest.mark.parametrize(
    ("number", "result", "who"),
    [("+15550000001", "busy", ""), ("15550000002", "no-answer", ""), ("+15550000003", "failed", ""),
     ("+15550000004", "answers", "machine_end_beep"), ("+15550000005", "answers", "human"),
     ("sip:a@b", "answers", "human")],
)  # fmt: skip
def test_who_is_called_decides_how_it_goes(number: str, result: str, who: str) -> None:
    callee = callee_of(number)
    assert (callee.result, callee.answered_by) == (result, who)


def test_the_command_says_what_points_a_server_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "current", lambda: settings.load({}, None))

    async def leave(*_: object, on_listening: Any, **__: object) -> None:
        async with CarrierRest(Accounts(), CallPlan("", "", "", hang_up=WhenQuiet())) as rest:
            on_listening(rest.variables)

    monkeypatch.setattr(carrier_rest, "serve", leave)
    result = CliRunner().invoke(app, ["simulate", "carrier-rest", "--port", "0"])
    assert result.exit_code == 0
    for name in ("TWILIO_API_URL=http://127.0.0.1:", "TELNYX_PUBLIC_KEY=", "PLIVO_AUTH_ID=", "tandem serve", "0001"):
        assert name in result.output
