"""Twilio's REST client: its requests held against those of Twilio's own library, and what it makes of answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit
from xml.etree import ElementTree as ET

import pytest
from servers import ACCOUNT, AUTH_TOKEN, until
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]  # ships no types
from twilio.rest import Client  # type: ignore[import-untyped]  # the same

from tandem.rest.http import Patience
from tandem.rest.port import CarrierApiError, OutboundCall, Transfer
from tandem.rest.twilio import TwilioApi
from tandem.simulators.api_server import CUT, HANG, ApiAnswer, ApiRequest, RestServer
from tandem.simulators.twilio_rest import Account, LiveCall, error

CALL = "CA" + "b" * 32
STATUS = "https://bridge.example.com/twilio/status"
VOICE = "https://bridge.example.com/twilio/voice"
BRISK = Patience(seconds=2.0, attempt_seconds=0.3, connect_seconds=0.3, pause_seconds=0.01)
ORDER = OutboundCall(
    to="+15550003000",
    from_="+15550001000",
    session="a" * 32,
    stream_url="wss://bridge.example.com/twilio/media/token",
    answer_url=VOICE,
    status_url=STATUS,
    ring_seconds=25,
    limit_seconds=600,
)
TRANSFER = Transfer("+15550003000", "+15550001000", f"{STATUS}?after=transfer", 20)


@asynccontextmanager
async def account(*, token: str = AUTH_TOKEN) -> AsyncIterator[tuple[TwilioApi, Account, str]]:
    """The client and the simulated account, in which one call is up."""
    books = Account(ACCOUNT, AUTH_TOKEN)
    books.calls[CALL] = LiveCall(CALL, "+15550001000", "+15550002000", status="in-progress")
    async with RestServer(books.answer) as server:
        api = TwilioApi(server.url, ACCOUNT, token, patience=BRISK)
        try:
            yield api, books, server.url
        finally:
            await api.close()


def form(request: ApiRequest) -> dict[str, list[str]]:
    return parse_qs(request.body.decode(), keep_blank_values=True)


# --- the same as the library asks -------------------------------------------------------------------------------------


class Loopback(TwilioHttpClient):  # type: ignore[misc]  # without types it is anything
    """The library's own client, which goes to loopback instead."""

    def __init__(self, origin: str) -> None:
        super().__init__()
        self.origin = urlsplit(origin)

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        parts = urlsplit(url)
        assert parts.netloc.endswith("twilio.com")
        return super().request(method, urlunsplit((*self.origin[:2], *parts[2:])), *args, **kwargs)


async def captured(books: Account, url: str, ask: Callable[[Any], Any]) -> ApiRequest:
    """What the library sends for it; it blocks, so in a thread."""
    books.requests.clear()
    client = Client(ACCOUNT, AUTH_TOKEN, http_client=Loopback(url))
    await asyncio.to_thread(ask, client)
    (request,) = books.requests
    return request


def same(ours: ApiRequest, theirs: ApiRequest) -> None:
    assert (ours.method, ours.path, ours.query) == (theirs.method, theirs.path, theirs.query)
    assert ours.headers["authorization"] == theirs.headers["authorization"]
    assert form(ours) == form(theirs)
    if ours.method == "POST":
        assert ours.headers["content-type"] == theirs.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("machine", [False, True])
async def test_placing_a_call(monkeypatch: pytest.MonkeyPatch, machine: bool) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with account() as (api, books, url):
        sid = await api.place(replace(ORDER, detect_machine=machine))
        assert books.placed[-1].call.sid == sid
        ours = books.requests[-1]
        twiml = form(ours)["Twiml"][0]
        wishes: dict[str, Any] = {}
        if machine:
            wishes = {
                "machine_detection": "DetectMessageEnd",
                "async_amd": "true",
                "async_amd_status_callback": f"{STATUS}?after=machine&session={'a' * 32}",
                "async_amd_status_callback_method": "POST",
            }
        theirs = await captured(
            books,
            url,
            lambda client: client.calls.create(
                to="+15550003000",
                from_="+15550001000",
                twiml=twiml,
                timeout=25,
                time_limit=600,
                status_callback=f"{STATUS}?session={'a' * 32}",
                status_callback_method="POST",
                status_callback_event=["answered", "completed"],
                **wishes,
            ),
        )
        same(ours, theirs)


async def test_the_document_of_a_placed_call_streams_it_to_us() -> None:
    async with account() as (api, books, _):
        await api.place(ORDER)
        twiml = form(books.requests[-1])["Twiml"][0]
        assert len(twiml) < 4000
        root = ET.fromstring(twiml)  # noqa: S314  # our own
        assert [each.tag for each in root] == ["Connect", "Hangup"]
        assert root[0].attrib == {"action": f"{STATUS}?after=stream", "method": "POST"}
        assert root[0][0].get("url") == ORDER.stream_url


async def test_steering_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with account() as (api, books, url):
        call = books.calls[CALL]
        asks: list[tuple[Coroutine[Any, Any, None], dict[str, str]]] = [
            (api.transfer(CALL, TRANSFER), {}),
            (api.send_dtmf(CALL, "12#", f"{VOICE}?after=keys"), {}),
            (api.hang_up(CALL), {"status": "completed"}),
        ]
        for ask, changes in asks:
            await ask
            ours = books.requests[-1]
            wish = changes or {"twiml": form(ours)["Twiml"][0]}
            call.hung_up = False
            same(ours, await captured(books, url, partial(_update, wish)))


def _update(wish: dict[str, str], client: Any) -> None:
    client.calls(CALL).update(**wish)


async def test_reading_and_setting_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with account() as (api, books, url):
        sid = books.add_number("+15550001000")
        found = await api.account()
        ours = books.requests[-1]
        same(ours, await captured(books, url, lambda client: client.api.accounts(ACCOUNT).fetch()))
        assert found["status"] == "active"
        (number,) = await api.numbers()
        ours = books.requests[-1]
        same(ours, await captured(books, url, lambda client: client.incoming_phone_numbers.list(page_size=1000)))
        assert (number.sid, number.number, number.voice_url) == (sid, "+15550001000", "")
        await api.set_urls(number, VOICE, STATUS, f"{VOICE}?after=failure")
        ours = books.requests[-1]
        theirs = await captured(
            books,
            url,
            lambda client: client.incoming_phone_numbers(sid).update(
                voice_url=VOICE,
                voice_method="POST",
                status_callback=STATUS,
                status_callback_method="POST",
                voice_fallback_url=f"{VOICE}?after=failure",
                voice_fallback_method="POST",
            ),
        )
        same(ours, theirs)
        (number,) = await api.numbers()
        assert (number.voice_url, number.status_callback) == (VOICE, STATUS)


# --- what it does -----------------------------------------------------------------------------------------------------


async def test_a_call_that_is_gone_need_not_be_ended() -> None:
    async with account() as (api, books, _):
        await api.hang_up("CA" + "0" * 32)
        books.calls[CALL].status = "completed"
        await api.hang_up(CALL)
        with pytest.raises(CarrierApiError, match="21220"):
            await api.transfer(CALL, TRANSFER)


async def test_a_transfer_is_a_document_that_dials_and_is_told_of_answer_and_outcome() -> None:
    async with account() as (api, books, _):
        await api.transfer(CALL, replace(TRANSFER, to="sip:desk@pbx.example.com"))
        root = ET.fromstring(form(books.requests[-1])["Twiml"][0])  # noqa: S314  # our own
        dial = root[0]
        assert dial.attrib == {
            "timeout": "20", "action": f"{STATUS}?after=transfer", "method": "POST", "callerId": "+15550001000",
        }  # fmt: skip
        assert (dial[0].tag, dial[0].text) == ("Sip", "sip:desk@pbx.example.com")
        assert dial[0].get("statusCallbackEvent") == "answered"


async def test_the_wishes_of_an_order_stay_within_what_twilio_takes() -> None:
    async with account() as (api, books, _):
        await api.place(replace(ORDER, ring_seconds=9999, limit_seconds=99_999))
        sent = form(books.requests[-1])
        assert (sent["Timeout"], sent["TimeLimit"]) == (["600"], ["14400"])


# --- refused, failed, late --------------------------------------------------------------------------------------------


async def test_wrong_credentials_are_refused_without_being_told() -> None:
    async with account(token="planted-wrong-token") as (api, _, _):
        with pytest.raises(CarrierApiError) as refusal:
            await api.account()
        assert (refusal.value.status, refusal.value.code) == (401, "20003")
        assert "planted" not in str(refusal.value)
        assert ACCOUNT not in str(refusal.value)


async def test_a_refusal_has_twilios_code_and_words() -> None:
    async with account() as (api, books, _):
        books.fail.append(error(400, 21211, "The 'To' number is not a valid phone number."))
        with pytest.raises(CarrierApiError) as refusal:
            await api.place(ORDER)
        assert (refusal.value.status, refusal.value.code) == (400, "21211")
        assert str(refusal.value) == "twilio answered 400 21211 The 'To' number is not a valid phone number."


async def test_too_many_requests_were_not_processed_and_are_tried_again_also_for_dialling() -> None:
    async with account() as (api, books, _):
        books.fail.append(error(429, 20429, "Too Many Requests"))
        await api.place(ORDER)
        assert len(books.placed) == 1
        assert len(books.requests) == 2


@pytest.mark.parametrize("trouble", [CUT, HANG, ApiAnswer(500), ApiAnswer(503, {})], ids=str)
async def test_a_dial_is_never_repeated_when_it_may_have_been_done(trouble: ApiAnswer | str) -> None:
    async with account() as (api, books, _):
        books.fail.append(trouble)
        with pytest.raises(CarrierApiError) as failure:
            await api.place(ORDER)
        assert not failure.value.retryable
        assert len(books.requests) == 1


@pytest.mark.parametrize("trouble", [CUT, HANG, ApiAnswer(500), ApiAnswer(503, {})], ids=str)
async def test_ending_a_call_is_tried_twice(trouble: ApiAnswer | str) -> None:
    async with account() as (api, books, _):
        books.fail.append(trouble)
        await api.hang_up(CALL)
        assert books.calls[CALL].hung_up
        assert len(books.requests) == 2


@pytest.mark.parametrize("body", [None, [], {"sid": 7}, {"status": "queued"}, "text"])
async def test_an_answer_without_the_calls_sid_is_a_failure(body: Any) -> None:
    async with account() as (api, books, _):
        books.fail.append(ApiAnswer(201, body))
        with pytest.raises(CarrierApiError, match="without its sid"):
            await api.place(ORDER)


@pytest.mark.parametrize("body", [[], {"incoming_phone_numbers": 3}, {"incoming_phone_numbers": [3, {}]}])
async def test_a_strange_list_of_numbers_is_read_as_far_as_it_goes(body: Any) -> None:
    async with account() as (api, books, _):
        books.fail.append(ApiAnswer(200, body))
        assert all(number.number == "" for number in await api.numbers())


async def test_nobody_listens() -> None:
    api = TwilioApi("http://127.0.0.1:9", ACCOUNT, AUTH_TOKEN, patience=BRISK)
    with pytest.raises(CarrierApiError, match="can not be reached"):
        await api.hang_up(CALL)
    await api.close()


async def test_a_call_that_was_ended_is_told_so() -> None:
    """What the simulated carrier waits for."""
    async with account() as (api, books, _):
        call = books.calls[CALL]
        await api.hang_up(CALL)
        await until(call.told.is_set)
