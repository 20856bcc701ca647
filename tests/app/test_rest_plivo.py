"""Plivo's REST client: its requests held against those of Plivo's own SDK, and what it makes of answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import plivo as sdk  # type: ignore[import-untyped]  # the SDK ships no types
import plivo.rest.client as sdk_client  # type: ignore[import-untyped]  # the same
import pytest

from tandem.rest.http import Patience
from tandem.rest.plivo import Application, Number, PlivoApi
from tandem.rest.port import CarrierApiError, OutboundCall, Transfer
from tandem.simulators.api_server import CUT, HANG, ApiAnswer, ApiRequest
from tandem.simulators.plivo_rest import Calls, LiveCall, serve

AUTH_ID, AUTH_TOKEN = "MA" + "X" * 18, "planted-token"
CALL = "97ceeb52-58b6-11e1-86da-77300b68f8bb"
VOICE = "https://bridge.example.com/plivo/voice"
STATUS = "https://bridge.example.com/plivo/status"
OF = f"?session={'a' * 32}"
BRISK = Patience(seconds=2.0, attempt_seconds=0.3, connect_seconds=0.3, pause_seconds=0.01)
PLACE = OutboundCall(
    to="+15550003000",
    from_="+15550001000",
    session="a" * 32,
    stream_url="wss://bridge.example.com/plivo/media/token",
    answer_url=VOICE,
    status_url=STATUS,
    ring_seconds=25,
    limit_seconds=600,
)
TRANSFER = Transfer("+15550003000", "+15550001000", "https://bridge.example.com/plivo/status?after=transfer", 20)


@asynccontextmanager
async def account(*, patience: Patience = BRISK, token: str = AUTH_TOKEN) -> AsyncIterator[tuple[PlivoApi, Calls]]:
    calls = Calls(AUTH_ID, AUTH_TOKEN)
    calls.add_application("2048", answer_url=VOICE)
    calls.add_number("15550001000", "2048")
    async with serve(calls) as server:
        api = PlivoApi(server.url, AUTH_ID, token, voice_url=VOICE, patience=patience)
        try:
            yield api, calls
        finally:
            await api.close()


def asked(calls: Calls) -> list[tuple[str, str]]:
    return [(request.method, request.path.removeprefix(f"/v1/Account/{AUTH_ID}")) for request in calls.requests]


# The same as the SDK asks


@asynccontextmanager
async def both(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[PlivoApi, Any, Calls]]:
    """Our client and the SDK's, against one account."""
    calls = Calls(AUTH_ID, AUTH_TOKEN)
    calls.add_application("2048", answer_url=VOICE)
    calls.add_number("15550001000", "2048")
    async with serve(calls) as server:
        for name in ("PLIVO_API_BASE_URI", "API_VOICE_BASE_URI"):
            monkeypatch.setattr(sdk_client, name, f"{server.url}/v1/Account")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        api = PlivoApi(server.url, AUTH_ID, AUTH_TOKEN, voice_url=VOICE, patience=BRISK)
        with sdk.RestClient(AUTH_ID, AUTH_TOKEN) as theirs:
            try:
                yield api, theirs, calls
            finally:
                await api.close()


async def captured(calls: Calls, ask: Callable[[], Any]) -> ApiRequest:
    """What the SDK sends; it blocks, so in a thread."""
    calls.requests.clear()
    await asyncio.to_thread(ask)
    (request,) = calls.requests
    return request


def same(ours: ApiRequest, theirs: ApiRequest) -> None:
    assert (ours.method, ours.path, ours.query) == (theirs.method, theirs.path, theirs.query)
    assert ours.headers["authorization"] == theirs.headers["authorization"]
    if ours.body:
        assert ours.headers["content-type"] == theirs.headers["content-type"] == "application/json"


async def test_placing_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async with both(monkeypatch) as (api, theirs, calls):
        request_id = await api.place(PLACE)
        ours = calls.requests[-1]
        assert request_id == calls.placed[-1].request_id
        them = await captured(
            calls,
            lambda: theirs.calls.create(
                from_="15550001000",
                to_="15550003000",
                answer_url=VOICE + OF,
                hangup_url=STATUS + OF,
                ring_timeout=25,
                time_limit=600,
            ),
        )
        same(ours, them)
        # The SDK says its defaults, too; what both say is the same.
        defaults = {"ring_method", "fallback_method", "machine_detection_time", "machine_detection_method"}
        assert ours.json == {k: v for k, v in them.json.items() if k not in {*defaults, "error_if_parent_not_found"}}


async def test_a_call_with_machine_detection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with both(monkeypatch) as (api, theirs, calls):
        await api.place(replace(PLACE, detect_machine=True))
        ours = calls.requests[-1].json
        them = await captured(
            calls,
            lambda: theirs.calls.create(
                "15550001000", "15550003000", VOICE, machine_detection="true", machine_detection_url=STATUS + OF
            ),
        )
        for name in ("machine_detection", "machine_detection_url", "machine_detection_method"):
            assert ours[name] == them.json[name]


@pytest.mark.parametrize(
    "operation", ["hang up", "redirect", "keys", "application", "number", "numbers", "urls", "lead"]
)
async def test_every_other_operation(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with both(monkeypatch) as (api, theirs, calls):
        calls.live[CALL] = LiveCall(CALL)
        application = Application("2048", "", "", "", "", "", True)
        url = f"{VOICE}?transfer=1"
        ours_ask, theirs_ask = {
            "hang up": (lambda: api.hang_up(CALL), lambda: theirs.calls.hangup(CALL)),
            "redirect": (
                lambda: api.redirect(CALL, url),
                lambda: theirs.calls.transfer(CALL, legs="aleg", aleg_url=url, aleg_method="POST"),
            ),
            "keys": (
                lambda: api.send_dtmf(CALL, "12#", ""),
                lambda: theirs.calls.send_digits(CALL, "12#", leg="aleg"),
            ),
            "application": (lambda: api.application("2048"), lambda: theirs.applications.get("2048")),
            "number": (lambda: api.number("+15550001000"), lambda: theirs.numbers.get("15550001000")),
            "numbers": (lambda: api.numbers(), lambda: theirs.numbers.list()),
            "urls": (
                lambda: api.set_urls(application, VOICE, PLACE.status_url, VOICE),
                lambda: theirs.applications.update(
                    "2048", answer_url=VOICE, hangup_url=PLACE.status_url, fallback_answer_url=VOICE
                ),
            ),
            "lead": (
                lambda: api.set_application("+15550001000", "2048"),
                lambda: theirs.numbers.update("15550001000", app_id="2048"),
            ),
        }[operation]
        await ours_ask()  # type: ignore[no-untyped-call]  # a table of calls
        ours = calls.requests[-1]
        calls.live[CALL] = LiveCall(CALL)
        them = await captured(calls, theirs_ask)
        same(ours, them)
        said, theirs_said = (each.json if each.body else {} for each in (ours, them))
        assert said.items() <= theirs_said.items()
        more = theirs_said.keys() - said.keys() - {"call_uuid", "number"}  # which the path says already
        # An application's update of the SDK has defaults that would change what is not ours to change.
        assert not more or operation == "urls"


# What becomes of calls


async def test_a_call_that_is_up_is_ended_and_one_that_is_over_is_no_error() -> None:
    async with account() as (api, calls):
        calls.live[CALL] = live = LiveCall(CALL)
        await api.hang_up(CALL)
        assert live.hung_up.is_set()
        await api.hang_up(CALL)
        await api.hang_up("another")
        assert asked(calls) == [("DELETE", f"/Call/{CALL}/")] * 2 + [("DELETE", "/Call/another/")]


async def test_a_call_that_nobody_answered_yet_is_cancelled() -> None:
    async with account() as (api, calls):
        request_id = await api.place(PLACE)
        await api.hang_up(request_id)
        assert calls.cancelled == [request_id]


async def test_a_transfer_is_fetched_from_our_answer_url() -> None:
    async with account() as (api, calls):
        calls.live[CALL] = live = LiveCall(CALL)
        await api.transfer(CALL, TRANSFER)
        assert live.redirected == (
            f"{VOICE}?transfer=%2B15550003000&as=%2B15550001000&ring=20"
            "&after=https%3A%2F%2Fbridge.example.com%2Fplivo%2Fstatus%3Fafter%3Dtransfer"
        )
        with pytest.raises(CarrierApiError) as refused:
            await api.transfer("another", TRANSFER)
        assert refused.value.status == 404


async def test_keys() -> None:
    async with account() as (api, calls):
        calls.live[CALL] = live = LiveCall(CALL)
        await api.send_dtmf(CALL, "12#", "")
        assert live.digits == ["12#"]
        with pytest.raises(CarrierApiError, match="400"):
            await api.send_dtmf(CALL, "x", "")


# What the account says


async def test_a_number_and_where_it_leads() -> None:
    async with account() as (api, calls):
        assert await api.number("+15550001000") == Number("15550001000", "2048", True)
        assert await api.number("+15550009999") is None
        found = await api.application("2048")
        assert found == Application("2048", "Tandem", VOICE, "POST", "", "", True)
        assert await api.application("4096") is None
        calls.add_number("15550002000")
        assert await api.number("15550002000") == Number("15550002000", "", True)


@pytest.mark.parametrize("count", [0, 1, 20, 41])
async def test_all_numbers_page_by_page(count: int) -> None:
    async with account() as (api, calls):
        calls.numbers.clear()
        for number in range(count):
            calls.add_number(f"1555000{number:04}", "2048" if number % 2 else "")
        found = await api.numbers()
        assert [each.number for each in found] == list(calls.numbers)
        assert [each.application_id for each in found] == ["2048" if number % 2 else "" for number in range(count)]
        assert len(calls.requests) == count // 20 + 1


async def test_urls_are_set_and_nothing_else() -> None:
    async with account() as (api, calls):
        found = await api.application("2048")
        assert found is not None
        await api.set_urls(found, VOICE, PLACE.status_url)
        assert json.loads(calls.requests[-1].body).keys() == {
            "answer_url",
            "answer_method",
            "hangup_url",
            "hangup_method",
        }
        await api.set_urls(found, VOICE, PLACE.status_url, f"{VOICE}?fallback")
        changed = await api.application("2048")
        assert changed == Application("2048", "Tandem", VOICE, "POST", PLACE.status_url, f"{VOICE}?fallback", True)
        calls.add_application("4096")
        await api.set_application("15550001000", "4096")
        assert await api.number("15550001000") == Number("15550001000", "4096", True)


# What goes wrong


@pytest.mark.parametrize("status", [500, 502, 503, HANG, CUT])
async def test_a_call_that_may_be_ringing_is_not_dialled_twice(status: int | str) -> None:
    async with account() as (api, calls):
        calls.fail.append(status if isinstance(status, str) else ApiAnswer(status, {"error": "no"}))
        with pytest.raises(CarrierApiError) as failure:
            await api.place(PLACE)
        assert not failure.value.retryable
        assert len(calls.requests) == 1


async def test_a_call_that_came_too_fast_is_dialled_once_more() -> None:
    async with account() as (api, calls):
        calls.fail.append(ApiAnswer(429, {"error": "too many requests"}, {"Retry-After": "0"}))
        assert await api.place(PLACE) == calls.placed[0].request_id
        assert len(calls.requests) == 2


@pytest.mark.parametrize("status", [429, 500, 503, HANG, CUT])
async def test_the_end_of_a_call_is_asked_for_twice(status: int | str) -> None:
    async with account() as (api, calls):
        calls.live[CALL] = live = LiveCall(CALL)
        calls.fail.append(status if isinstance(status, str) else ApiAnswer(status, {"error": "no"}))
        await api.hang_up(CALL)
        assert live.hung_up.is_set()
        assert len(calls.requests) == 2


async def test_keys_are_not_pressed_twice() -> None:
    async with account() as (api, calls):
        calls.live[CALL] = LiveCall(CALL)
        calls.fail.append(ApiAnswer(500, {"error": "no"}))
        with pytest.raises(CarrierApiError):
            await api.send_dtmf(CALL, "1", "")
        assert len(calls.requests) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "authentication failed"}, "plivo answered 400 authentication failed"),
        ({"error": {"from": "is invalid"}}, "plivo answered 400 from: is invalid"),
        ({"api_id": "1"}, "plivo answered 400"),
        ([], "plivo answered 400"),
        (None, "plivo answered 400"),
    ],
)
async def test_a_refusal_in_plivos_words(body: Any, words: str) -> None:
    async with account() as (api, calls):
        calls.fail.append(ApiAnswer(400, body))
        with pytest.raises(CarrierApiError) as failure:
            await api.place(PLACE)
        assert str(failure.value) == words
        assert (failure.value.status, failure.value.retryable) == (400, False)


async def test_a_wrong_token_is_told_and_not_shown() -> None:
    async with account(token="planted-wrong") as (api, _):
        with pytest.raises(CarrierApiError, match="401 authentication failed") as failure:
            await api.number("15550001000")
        assert "planted" not in str(failure.value)


@pytest.mark.parametrize("body", [{}, {"request_uuid": ""}, {"request_uuid": []}, {"request_uuid": 5}, [], None])
async def test_an_answer_without_an_id_is_no_call(body: Any) -> None:
    async with account() as (api, calls):
        calls.fail.append(ApiAnswer(201, body))
        with pytest.raises(CarrierApiError, match="without its id"):
            await api.place(PLACE)


async def test_an_id_in_a_list_is_taken() -> None:
    async with account() as (api, calls):
        calls.fail.append(ApiAnswer(201, {"request_uuid": ["r1"]}))
        assert await api.place(PLACE) == "r1"


@pytest.mark.parametrize("body", [{}, [], {"application": 5, "app_id": None, "answer_method": []}])
async def test_an_account_that_says_nothing_sensible(body: Any) -> None:
    async with account() as (api, calls):
        calls.fail.extend([ApiAnswer(200, body), ApiAnswer(200, body)])
        number = await api.number("1")
        application = await api.application("1")
        assert number is not None
        assert application is not None
        assert application.answer_url == ""
