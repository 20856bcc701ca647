"""The doors for operators who steer calls: who may, what is refused and how it is said."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from carrier_api import OURS, THEIRS, Callee, Office, office
from servers import bearer, new_sid, tandem, until

from tandem.call_state import State
from tandem.simulators.api_server import CUT, ApiAnswer
from tandem.simulators.twilio_rest import error

QUIET = {"PROVIDERS": "echo"}
ORDER = {"to": THEIRS, "from": OURS}


async def placed(here: Office, body: dict[str, Any], **headers: str) -> tuple[int, Any]:
    answer = await here.ask("POST", "/calls", body, **headers)
    return answer.status_code, answer.json()


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/calls"), ("GET", "/calls/CA1"), ("POST", "/calls"), ("DELETE", "/calls/CA1")]
    + [("POST", f"/calls/CA1/{verb}") for verb in ("transfer", "dtmf", "say", "inject")],
)
async def test_nobody_steers_calls_without_the_token(method: str, path: str) -> None:
    async with tandem() as server:
        for headers in ({}, bearer("wrong"), {"Authorization": "Basic YTpi"}):
            answer = await server.http.request(method, path, json=ORDER, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert set(answer.json()) == {"detail"}
        assert not server.board.records()


# --- placing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"to": "5551234"}, "E.164"),
        ({"to": "sip:a@b?c=d"}, "E.164"),
        ({"to": None}, "to"),
        ({"from": "anonymous"}, "E.164"),
        ({"carrier": "acme"}, "twilio"),
        ({"ring_seconds": 4}, "5"),
        ({"ring_seconds": 9999}, "600"),
        ({"machine": "shout"}, "hang_up"),
        ({"machine": "leave_message"}, "message"),
        ({"message": "Hello."}, "machine"),
        ({"instruction": "x"}, "instruction"),
        ({"greeting": "x" * 5000}, "4000"),
    ],
)
async def test_an_order_that_can_not_be_understood_is_refused_in_words(change: dict[str, Any], word: str) -> None:
    async with office() as here:
        status, body = await placed(here, {**ORDER, **change})
        assert status == 422
        assert word in str(body["detail"])
        assert not here.twilio.account.placed


async def test_an_order_is_a_call_and_says_where_to_ask_for_it() -> None:
    async with office(callee=Callee("no-answer")) as here:
        answer = await here.ask("POST", "/calls", {"to": THEIRS})
        record = answer.json()
        assert (answer.status_code, answer.headers["Location"]) == (201, f"/calls/{record['call_id']}")
        assert (record["state"], record["result"], record["direction"]) == ("dialling", None, "outbound")
        assert (record["caller"], record["called"], record["machine"]) == (OURS, THEIRS, None)
        assert (await here.ask("GET", answer.headers["Location"])).json()["call_id"] == record["call_id"]
        listed = (await here.ask("GET", "/calls")).json()
        assert [each["call_id"] for each in listed] == [record["call_id"]]
        (sent,) = here.twilio.account.placed
        assert (sent.fields["From"], sent.fields["Timeout"]) == (OURS, "30"), "OUTBOUND_FROM is the default"
        assert "MachineDetection" not in sent.fields


async def test_without_a_number_of_ours_nothing_is_placed() -> None:
    async with office({"OUTBOUND_FROM": None}) as here:
        status, body = await placed(here, {"to": THEIRS})
        assert status == 422
        assert "OUTBOUND_FROM" in body["detail"]


async def test_without_an_account_nothing_is_placed() -> None:
    async with tandem(TWILIO_ACCOUNT_SID=None, TWILIO_AUTH_TOKEN=None) as server:
        answer = await server.http.post("/calls", json=ORDER, headers=bearer())
        assert answer.status_code == 503
        assert "no carrier account" in answer.json()["detail"]
    async with office() as here:
        status, body = await placed(here, {**ORDER, "carrier": "plivo"})
        assert status == 503
        assert "plivo" in body["detail"]


@pytest.mark.parametrize("to", ["+19005551234", "+881612345678", "sip:+19005551234@gateway.example.com"])
async def test_toll_fraud_is_refused_before_anything_is_placed(to: str) -> None:
    async with office() as here:
        status, body = await placed(here, {**ORDER, "to": to})
        assert status == 403
        assert "OUTBOUND_ALLOW" in body["detail"]
        assert not here.twilio.account.placed
        assert not here.server.board.records()


async def test_what_is_allowed_by_name_is_placed_and_nothing_else() -> None:
    async with office({"OUTBOUND_ALLOW": "+1900,+4930"}, callee=Callee("no-answer")) as here:
        assert (await placed(here, {**ORDER, "to": "+19005551234"}))[0] == 201
        assert (await placed(here, {**ORDER, "to": "+15551234567"}))[0] == 403


async def test_a_number_is_not_called_again_and_again() -> None:
    async with office(callee=Callee("busy")) as here:
        assert [(await placed(here, ORDER))[0] for _ in range(3)] == [201, 201, 429]
        answer = await here.ask("POST", "/calls", ORDER)
        assert 0 < int(answer.headers["Retry-After"]) <= 600
        assert len(here.twilio.account.placed) == 2


async def test_only_so_many_calls_are_placed_in_a_minute() -> None:
    async with office({"OUTBOUND_PER_MINUTE": "2"}, callee=Callee("busy")) as here:
        numbers = [f"+1555000300{digit}" for digit in range(3)]
        assert [(await placed(here, {**ORDER, "to": to}))[0] for to in numbers] == [201, 201, 429]


async def test_a_full_or_draining_server_says_so_and_counts_no_toll() -> None:
    async with office({"MAX_CALLS": "1"}, callee=Callee("no-answer")) as here:
        assert (await placed(here, ORDER))[0] == 201
        assert (await placed(here, ORDER))[0] == 503
        here.server.board.draining = True
        answer = await here.ask("POST", "/calls", ORDER)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "draining" in answer.json()["detail"]
        assert len(here.twilio.account.placed) == 1


async def test_a_carrier_that_refuses_is_quoted() -> None:
    async with office() as here:
        here.twilio.account.fail.append(error(400, 21210, "The source phone number is not verified"))
        status, body = await placed(here, ORDER)
        assert status == 502
        assert "21210 The source phone number is not verified" in body["detail"]
        await here.server.empty()
        (record,) = here.server.board.records()
        assert record["result"] == "not_placed"


async def test_a_dial_that_was_not_answered_is_never_repeated() -> None:
    """Better no call than two."""
    async with office() as here:
        here.twilio.account.fail.append(CUT)
        assert (await placed(here, ORDER))[0] == 502
        here.twilio.account.fail.append(ApiAnswer(503, {"code": 20503, "message": "try later"}))
        assert (await placed(here, ORDER))[0] == 502
        assert len(here.twilio.account.requests) == 2


async def test_an_order_may_name_an_agent_of_the_file_and_change_it(tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(
        '[default]\ngreeting = "Good day."\n[[routes]]\nname = "night"\ncalled = "+1*"\ngreeting = "Psst."\n'
    )
    async with office({"ROUTES_FILE": str(file)}, callee=Callee("no-answer")) as here:
        numbers = iter(f"+1555000310{digit}" for digit in range(9))

        async def agent(**wishes: str) -> tuple[str, str | None]:
            status, record = await placed(here, {**ORDER, "to": next(numbers), **wishes})
            assert status == 201, record
            return record["agent"], here.server.bridge(record["call_id"]).call.plan.greeting

        assert await agent() == ("default", "Good day.")
        assert await agent(agent="night") == ("night", "Psst.")
        assert await agent(agent="night", greeting="Hello.") == ("order", "Hello.")
        assert await agent(instructions="Be brief.") == ("order", "Good day.")
        status, body = await placed(here, {**ORDER, "agent": "nobody"})
        assert status == 422
        assert "nobody" in body["detail"]


async def test_a_wish_that_the_provider_would_refuse_is_refused_before_anybody_is_called(tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    file.write_text('[[routes]]\nname = "gemini"\ncalled = "+1*"\nproviders = ["gemini"]\n')
    given = {"PROVIDERS": "echo", "GEMINI_API_KEY": "any", "ROUTES_FILE": str(file)}
    async with office(given, callee=Callee("no-answer")) as here:
        status, body = await placed(here, {**ORDER, "agent": "gemini", "voice": "nobody"})
        assert status == 422
        assert "there is no voice 'nobody'" in body["detail"]
        assert not here.twilio.account.placed


# --- the same request twice -------------------------------------------------------------------------------------------

KEY = {"Idempotency-Key": "order-1"}


async def test_the_same_key_is_the_same_call() -> None:
    async with office(callee=Callee("no-answer")) as here:
        first = await here.ask("POST", "/calls", ORDER, **KEY)
        again = await here.ask("POST", "/calls", ORDER, **KEY)
        assert first.json() == again.json()
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        other = await here.ask("POST", "/calls", {**ORDER, "greeting": "Hi."}, **KEY)
        assert other.status_code == 409
        assert len(here.twilio.account.placed) == 1


async def test_two_at_once_with_one_key_are_one_call() -> None:
    async with office(callee=Callee("no-answer")) as here:
        answers = await asyncio.gather(*(here.ask("POST", "/calls", ORDER, **KEY) for _ in range(5)))
        assert {answer.json()["call_id"] for answer in answers} == {here.twilio.account.placed[0].call.sid}
        assert len(here.twilio.account.placed) == 1


async def test_what_was_refused_before_it_was_tried_may_be_tried_again_with_its_key() -> None:
    async with office(callee=Callee("no-answer")) as here:
        here.server.board.draining = True
        assert (await here.ask("POST", "/calls", ORDER, **KEY)).status_code == 503
        here.server.board.draining = False
        assert (await here.ask("POST", "/calls", ORDER, **KEY)).status_code == 201


async def test_what_the_carrier_refused_stays_refused_for_its_key() -> None:
    """Nobody knows whether a dial that failed has done something: a client that retries must not dial twice."""
    async with office() as here:
        here.twilio.account.fail.append(CUT)
        assert (await here.ask("POST", "/calls", ORDER, **KEY)).status_code == 502
        assert (await here.ask("POST", "/calls", ORDER, **KEY)).status_code == 502
        assert len(here.twilio.account.requests) == 1


# --- steering ---------------------------------------------------------------------------------------------------------

VERBS: list[tuple[str, str, Any]] = [
    ("DELETE", "", None),
    ("POST", "/transfer", {"to": THEIRS}),
    ("POST", "/dtmf", {"digits": "1"}),
    ("POST", "/say", {"text": "Hello."}),
    ("POST", "/inject", {"text": "Hello."}),
]


@pytest.mark.parametrize(("method", "verb", "body"), VERBS)
async def test_a_call_that_is_not_there_or_over_can_not_be_steered(method: str, verb: str, body: Any) -> None:
    async with office(callee=Callee("busy")) as here:
        assert (await here.ask(method, f"/calls/{new_sid('CA')}{verb}", body)).status_code == 404
        record = await here.place()
        await here.server.result(record["call_id"])
        answer = await here.ask(method, f"/calls/{record['call_id']}{verb}", body)
        assert (answer.status_code, answer.json()) == (409, {"detail": "the call is over"})


@pytest.mark.parametrize(("method", "verb", "body"), VERBS[1:])
async def test_a_call_that_still_rings_can_not_be_steered(method: str, verb: str, body: Any) -> None:
    async with office(callee=Callee("no-answer")) as here:
        record = await here.place()
        answer = await here.ask(method, f"/calls/{record['call_id']}{verb}", body)
        assert answer.status_code == 409
        assert "the call is dialling" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("transfer", {"to": "911"}),
        ("transfer", {"to": THEIRS, "say": ""}),
        ("transfer", {}),
        ("dtmf", {"digits": "12e"}),
        ("dtmf", {"digits": ""}),
        ("dtmf", {"digits": "1" * 33}),
        ("say", {"text": " "}),
        ("inject", {"text": "x", "aloud": True}),
    ],
)
async def test_a_wish_that_can_not_be_understood_is_refused(verb: str, body: Any) -> None:
    async with office(callee=Callee("no-answer")) as here:
        record = await here.place()
        assert (await here.ask("POST", f"/calls/{record['call_id']}/{verb}", body)).status_code == 422


async def test_a_call_of_an_account_without_an_api_is_said_to_be_one() -> None:
    async with tandem(TWILIO_ACCOUNT_SID=None, TWILIO_AUTH_TOKEN=None) as server:
        dialled = await server.dial()
        async with dialled.stream(plays=True) as stream:
            await stream.start()
            await stream.speaks()
            answer = await server.http.post(f"/calls/{dialled.call_sid}/dtmf", json={"digits": "1"}, headers=bearer())
            assert answer.status_code == 409
            assert "no credentials" in answer.json()["detail"]


async def test_toll_rules_stand_before_transfers_too() -> None:
    async with office(beyond=Callee("busy")) as here, here.server.stream() as stream:
        await stream.speaks()
        answer = await here.ask("POST", f"/calls/{stream.call_sid}/transfer", {"to": "+19005551234"})
        assert answer.status_code == 403
        assert here.server.bridge(stream.call_sid).call.state is State.TALKING


async def test_one_order_to_the_carrier_at_a_time() -> None:
    """A second transfer while the first waits for the agent's words to be heard does not silently replace it."""
    async with office(beyond=Callee("busy")) as here, here.server.stream() as stream:
        await stream.speaks()
        first = await here.ask("POST", f"/calls/{stream.call_sid}/transfer", {"to": "+15557654321"})
        second = await here.ask("POST", f"/calls/{stream.call_sid}/transfer", {"to": "+15557654322"})
        assert (first.status_code, second.status_code) == (202, 409)
        assert "another order" in second.json()["detail"]
        wanted = here.server.bridge(stream.call_sid).call.parking.wanted
        assert wanted is not None
        assert "4321" in repr(getattr(wanted.order, "to", ""))


async def test_words_for_an_agent_that_takes_none_are_refused() -> None:
    async with office() as here, here.server.stream() as stream:
        await stream.speaks()
        for verb in ("say", "inject"):
            answer = await here.ask("POST", f"/calls/{stream.call_sid}/{verb}", {"text": "Hello."})
            assert answer.status_code == 409
            assert "takes no text" in answer.json()["detail"]


async def test_a_call_is_known_by_our_session_too() -> None:
    async with office(callee=Callee("no-answer")) as here:
        record = await here.place()
        (session,) = here.server.board.live
        assert (await here.ask("GET", f"/calls/{session}")).json()["call_id"] == record["call_id"]
        await here.ask("DELETE", f"/calls/{session}")
        await until(lambda: not here.server.board.live)
        assert (await here.ask("GET", f"/calls/{record['call_id']}")).json()["result"] == "operator"


# --- the page at /docs ------------------------------------------------------------------------------------------------


async def test_the_verbs_are_documented_with_their_models_and_refusals() -> None:
    async with tandem() as server:
        described = (await server.http.get("/openapi.json")).json()
        paths = described["paths"]
        assert set(paths["/calls"]) == {"get", "post"}
        assert set(paths["/calls/{call_id}"]) == {"get", "delete"}
        for verb in ("transfer", "dtmf", "say", "inject"):
            operation = paths[f"/calls/{{call_id}}/{verb}"]["post"]
            assert {"202", "401", "404", "409", "422"} <= set(operation["responses"])
            assert operation["security"] == [{"HTTPBearer": []}]
            assert operation["summary"]
        order = described["components"]["schemas"]["PlaceCall"]["properties"]
        assert {"to", "from", "carrier", "machine", "message", "listen_first", "ring_seconds"} <= set(order)
        assert {"201", "403", "409", "429", "502", "503"} <= set(paths["/calls"]["post"]["responses"])
        assert (await server.http.get("/docs")).status_code == 200
