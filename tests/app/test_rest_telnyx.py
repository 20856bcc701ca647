"""Telnyx's REST client: what it sends is what the vendor's own library sends, and what it makes of answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from telnyx import AsyncTelnyx

from tandem.carriers.telnyx import CODECS
from tandem.carriers.telnyx_webhook import client_state, dial, placed_state, transfer_state
from tandem.rest.http import Patience
from tandem.rest.port import CarrierApiError, OutboundCall, Transfer
from tandem.rest.telnyx import PAGE, Application, Number, TelnyxApi
from tandem.simulators.api_server import CUT, HANG, ApiAnswer, ApiRequest, RestServer

KEY = "planted-key"
EVENTS = "https://x/telnyx/events"
CALL = "v3:a-b_c"
URL = "wss://bridge.example.com/telnyx/media/v1TOKEN"
OK = ApiAnswer(200, {"data": {"result": "ok"}})
BRISK = Patience(seconds=2.0, attempt_seconds=0.3, connect_seconds=0.3, pause_seconds=0.01)


class FarEnd:
    """Answers from a list, then with `ok`; remembers what it was asked."""

    def __init__(self, answers: Sequence[ApiAnswer | str]) -> None:
        self.answers = list(answers)
        self.asked: list[ApiRequest] = []

    def __call__(self, request: ApiRequest) -> ApiAnswer | str:
        self.asked.append(request)
        return self.answers.pop(0) if self.answers else OK

    @property
    def last(self) -> ApiRequest:
        return self.asked[-1]


@asynccontextmanager
async def api(*answers: ApiAnswer | str, codec: str = "PCMU", connection: str = "149") -> AsyncIterator[Any]:
    far = FarEnd(answers)
    async with RestServer(far) as server:
        client = TelnyxApi(
            server.url, KEY, codec=CODECS[codec], events_url=EVENTS, connection_id=connection, patience=BRISK
        )
        try:
            yield client, far, server.url
        finally:
            await client.close()


def error(status: int, code: str = "", title: str = "No", **headers: str) -> ApiAnswer:
    return ApiAnswer(status, {"errors": [{"code": code, "title": title, "detail": "why"}]}, headers)


# --- as the vendor's library does -------------------------------------------------------------------------------------

OUTBOUND = OutboundCall(
    to="+15550003000",
    from_="+15550001000",
    session="8f14",
    stream_url=URL,
    answer_url="https://x/telnyx/voice",
    status_url="https://x/telnyx/events",
    ring_seconds=25,
    limit_seconds=600,
    detect_machine=True,
)
TRANSFER = Transfer(
    to="sip:desk@example.com", caller_id="+15550001000", after_url="https://x/telnyx/events", ring_seconds=20
)
STREAM: dict[str, Any] = {
    "stream_url": URL,
    "stream_track": "inbound_track",
    "stream_codec": "PCMU",
    "stream_bidirectional_mode": "rtp",
    "stream_bidirectional_codec": "PCMU",
    "stream_bidirectional_sampling_rate": 8000,
    "stream_bidirectional_target_legs": "both",
    "stream_auth_token": "v1TOKEN",
}

OPERATIONS: dict[str, tuple[Callable[[TelnyxApi], Awaitable[Any]], Callable[[AsyncTelnyx], Awaitable[Any]]]] = {
    "answer": (
        lambda ours: ours.answer(CALL, "8f14"),
        lambda sdk: sdk.calls.actions.answer(CALL, client_state=client_state("8f14"), command_id="answer-8f14"),
    ),
    "reject": (
        lambda ours: ours.reject(CALL),
        lambda sdk: sdk.calls.actions.reject(CALL, cause="USER_BUSY", command_id="any"),
    ),
    "hang up": (
        lambda ours: ours.hang_up(CALL),
        lambda sdk: sdk.calls.actions.hangup(CALL, command_id="any"),
    ),
    "start stream": (
        lambda ours: ours.start_stream(CALL, "8f14", URL),
        lambda sdk: sdk.calls.actions.start_streaming(
            CALL,
            **STREAM,
            client_state=client_state("8f14"),
            custom_parameters=[{"name": "session", "value": "8f14"}],
            command_id="stream-8f14",
        ),
    ),
    "stop stream": (
        lambda ours: ours.stop_stream(CALL),
        lambda sdk: sdk.calls.actions.stop_streaming(CALL, command_id="any"),
    ),
    "speak": (
        lambda ours: ours.speak(CALL, "Sorry.", "state"),
        lambda sdk: sdk.calls.actions.speak(
            CALL,
            payload="Sorry.",
            voice="female",
            language="en-US",
            client_state=client_state("state"),
            command_id="any",
        ),
    ),
    "dtmf": (
        lambda ours: ours.send_dtmf(CALL, "12#w9", ""),
        lambda sdk: sdk.calls.actions.send_dtmf(CALL, digits="12#w9", duration_millis=250, command_id="any"),
    ),
    "transfer": (
        lambda ours: ours.transfer(CALL, TRANSFER),
        lambda sdk: sdk.calls.actions.transfer(
            CALL,
            to=TRANSFER.to,
            from_=TRANSFER.caller_id,
            timeout_secs=20,
            webhook_url=EVENTS,
            webhook_url_method="POST",
            target_leg_client_state=transfer_state(CALL),
            command_id="any",
        ),
    ),
    "dial": (
        lambda ours: ours.place(OUTBOUND),
        lambda sdk: sdk.calls.dial(
            connection_id="149",
            to=OUTBOUND.to,
            from_=OUTBOUND.from_,
            timeout_secs=25,
            time_limit_secs=600,
            **STREAM,
            webhook_url=EVENTS,
            webhook_url_method="POST",
            client_state=placed_state("8f14"),
            command_id="dial-8f14",
            answering_machine_detection="greeting_end",
        ),
    ),
    "texml hang up": (
        lambda ours: ours.texml("b4a0").hang_up(CALL),
        lambda sdk: sdk.texml.accounts.calls.update(CALL, account_sid="b4a0", status="completed"),
    ),
    "texml transfer": (
        lambda ours: ours.texml("b4a0").transfer(CALL, TRANSFER),
        lambda sdk: sdk.texml.accounts.calls.update(
            CALL,
            account_sid="b4a0",
            texml=dial(
                TRANSFER.to, caller_id=TRANSFER.caller_id, ring_seconds=20, after_url=TRANSFER.after_url
            ).body.decode(),
        ),
    ),
    "status": (lambda ours: ours.is_alive(CALL), lambda sdk: sdk.calls.retrieve_status(CALL)),
    "application": (
        lambda ours: ours.application("149"),
        lambda sdk: sdk.call_control_applications.retrieve("149"),
    ),
}
CALL_ANSWER = ApiAnswer(200, {"data": {"call_control_id": CALL, "is_alive": True, "id": "149", "record_type": "call"}})


@pytest.mark.parametrize("name", OPERATIONS)
async def test_what_is_sent_is_what_the_vendors_library_sends(name: str) -> None:
    ours, theirs = OPERATIONS[name]
    async with api(CALL_ANSWER, OK if name == "transfer" else CALL_ANSWER, CALL_ANSWER) as (client, far, url):
        await ours(client)
        async with AsyncTelnyx(api_key=KEY, base_url=f"{url}/v2", max_retries=0) as sdk:
            await theirs(sdk)
        mine, vendors = far.asked[0], far.last
        assert (mine.method, mine.path, mine.query) == (vendors.method, vendors.path, vendors.query)
        assert mine.headers["authorization"] == vendors.headers["authorization"] == f"Bearer {KEY}"
        assert comparable(mine.json) == comparable(vendors.json)
        if mine.body:
            assert mine.headers["content-type"] == "application/json"


def comparable(body: Any) -> Any:
    """Without the command ids that are made up anew each time."""
    if isinstance(body, dict) and not str(body.get("command_id", "")).endswith("8f14"):
        return {key: value for key, value in body.items() if key != "command_id"}
    return body


async def test_numbers_are_listed_as_the_vendors_library_does() -> None:
    async with api(ApiAnswer(200, {"data": []}), ApiAnswer(200, {"data": []})) as (client, far, url):
        await client.numbers()
        async with AsyncTelnyx(api_key=KEY, base_url=f"{url}/v2", max_retries=0) as sdk:
            await sdk.phone_numbers.list(page_number=1, page_size=PAGE, sort="phone_number")
        assert (far.asked[0].path, far.asked[0].query) == (far.last.path, far.last.query)


@pytest.mark.parametrize("kind", ["call-control", "texml"])
async def test_urls_are_set_as_the_vendors_library_does(kind: Any) -> None:
    application = Application("149", kind, "Tandem", True, "old", "", "POST", None)
    async with api() as (client, far, url):
        await client.set_urls(application, "https://x/new", "https://y/new")
        async with AsyncTelnyx(api_key=KEY, base_url=f"{url}/v2", max_retries=0) as sdk:
            if kind == "texml":
                await sdk.texml_applications.update(
                    "149",
                    friendly_name="Tandem",
                    voice_url="https://x/new",
                    voice_fallback_url="https://y/new",
                    voice_method="post",
                )
            else:
                await sdk.call_control_applications.update(
                    "149",
                    application_name="Tandem",
                    webhook_event_url="https://x/new",
                    webhook_event_failover_url="https://y/new",
                )
        mine, vendors = far.asked
        assert (mine.method, mine.path, mine.json) == (vendors.method, vendors.path, vendors.json)


async def test_without_a_second_url_the_first_is_all_there_is() -> None:
    async with api() as (client, far, _):
        await client.set_urls(Application("1", "call-control", "n", True, "", "", "POST", None), "https://x")
        assert far.last.json["webhook_event_failover_url"] is None
        await client.set_urls(Application("1", "texml", "n", True, "", "", "POST", None), "https://x")
        assert "voice_fallback_url" not in far.last.json


@pytest.mark.parametrize(
    ("codec", "name", "rate"), [("PCMA", "PCMA", 8000), ("L16", "L16", 16000), ("L16/8000", "L16", 8000)]
)
async def test_a_stream_is_asked_for_in_the_configured_codec(codec: str, name: str, rate: int) -> None:
    async with api(codec=codec) as (client, far, _):
        await client.start_stream(CALL, "8f14", URL)
        body = far.last.json
        assert (body["stream_codec"], body["stream_bidirectional_codec"]) == (name, name)
        assert body["stream_bidirectional_sampling_rate"] == rate


async def test_a_second_stream_of_a_call_is_another_command() -> None:
    """Under the first one's id it would be ignored for a minute."""
    async with api() as (client, far, _):
        await client.start_stream(CALL, "8f14", URL, "back-1")
        assert far.last.json["command_id"] == "back-1"


# --- what is made of answers ------------------------------------------------------------------------------------------


async def test_every_command_has_its_own_id_and_keeps_it_when_repeated() -> None:
    async with api(error(500), OK, HANG, OK, CUT, OK) as (client, far, _):
        for _ in range(3):
            await client.hang_up(CALL)
        ids = [request.json["command_id"] for request in far.asked]
        assert [ids[0], ids[2], ids[4]] == [ids[1], ids[3], ids[5]]
        assert len(set(ids)) == 3


@pytest.mark.parametrize("gone", [error(404), error(422, "90018"), error(404, "10005")])
async def test_a_call_that_has_ended_already_is_hung_up(gone: ApiAnswer) -> None:
    async with api(gone) as (client, _, _):
        await client.hang_up(CALL)


@pytest.mark.parametrize(
    ("answers", "status", "code", "retryable", "requests"),
    [
        ([error(422, "90015")], 422, "90015", False, 1),
        ([error(401, "10009")], 401, "10009", False, 1),
        ([error(403, "10010")], 403, "10010", False, 1),
        ([error(429, "10011"), error(429, "10011")], 429, "10011", True, 2),
        ([error(429, "10011", **{"x-ratelimit-reset": "30"})], 429, "10011", True, 1),
        ([error(500), error(500)], 500, "", False, 2),
        ([error(503), error(503)], 503, "", True, 2),
        ([HANG, HANG], None, "", False, 2),
        ([CUT, CUT], None, "", False, 2),
    ],
)
async def test_failures_are_told(
    answers: list[ApiAnswer | str], status: int | None, code: str, retryable: bool, requests: int
) -> None:
    async with api(*answers) as (client, far, _):
        with pytest.raises(CarrierApiError) as failure:
            await client.answer(CALL, "8f14")
        told = failure.value
        assert (told.status, told.code, told.retryable, len(far.asked)) == (status, code, retryable, requests)
        assert KEY not in str(told)
        assert CALL not in str(told)


async def test_dialling_answers_the_id_of_the_call() -> None:
    async with api(CALL_ANSWER) as (client, _, _):
        assert await client.place(OUTBOUND) == CALL
    for nothing in (OK, ApiAnswer(200, []), ApiAnswer(200, {"data": {"call_control_id": 5}})):
        async with api(nothing) as (client, _, _):
            with pytest.raises(CarrierApiError, match="without its id"):
                await client.place(OUTBOUND)


async def test_dialling_needs_an_application() -> None:
    async with api(connection="") as (client, far, _):
        with pytest.raises(CarrierApiError, match="TELNYX_CONNECTION_ID"):
            await client.place(OUTBOUND)
        assert far.asked == []


async def test_limits_are_kept_to_what_telnyx_takes() -> None:
    wild = OutboundCall("a", "b", "s", URL, "", "", ring_seconds=1, limit_seconds=10**6)
    async with api(CALL_ANSWER) as (client, far, _):
        await client.place(wild)
        assert (far.last.json["timeout_secs"], far.last.json["time_limit_secs"]) == (5, 14_400)
        assert "answering_machine_detection" not in far.last.json


async def test_a_transfer_stops_the_stream_only_once_it_is_taken() -> None:
    async with api() as (client, far, _):
        await client.transfer(CALL, TRANSFER)
        assert [request.path.rpartition("/")[2] for request in far.asked] == ["transfer", "streaming_stop"]
    async with api(error(422, "90041")) as (client, far, _):
        with pytest.raises(CarrierApiError):
            await client.transfer(CALL, TRANSFER)
        assert len(far.asked) == 1, "the conversation goes on"


@pytest.mark.parametrize("harmless", [error(422, "90048"), error(422, "90018"), error(404)])
async def test_a_transfer_whose_stream_is_over_already_is_done(harmless: ApiAnswer) -> None:
    async with api(OK, harmless) as (client, _, _):
        await client.transfer(CALL, TRANSFER)


async def test_whether_a_call_is_there() -> None:
    answers = [ApiAnswer(200, {"data": {"is_alive": alive}}) for alive in (True, False, None)]
    async with api(*answers, error(404), error(422, "90015"), OK, error(500), error(500)) as (client, _, _):
        assert [await client.is_alive(CALL) for _ in range(6)] == [True, False, None, False, False, None]
        with pytest.raises(CarrierApiError):
            await client.is_alive(CALL)


# --- the account's configuration --------------------------------------------------------------------------------------


async def test_numbers_page_by_page() -> None:
    rows = [{"phone_number": f"+1555{n:07}", "connection_id": "149", "connection_name": "Tandem"} for n in range(PAGE)]
    last = [{"phone_number": "+15559999999", "connection_id": None}, "nonsense", {"phone_number": 5}]
    async with api(ApiAnswer(200, {"data": rows}), ApiAnswer(200, {"data": last})) as (client, far, _):
        numbers = await client.numbers()
        assert len(numbers) == PAGE + 2
        assert numbers[0] == Number("+15550000000", "149", "Tandem")
        assert numbers[-2] == Number("+15559999999", "", "")
        assert [request.query["page[number]"] for request in far.asked] == ["1", "2"]
        assert "1555" not in repr(numbers[0])


async def test_an_application_of_either_kind_or_of_none() -> None:
    control = {
        "id": "149",
        "application_name": "Tandem",
        "active": True,
        "webhook_event_url": "https://x",
        "webhook_event_failover_url": None,
        "inbound": {"channel_limit": 10},
    }
    texml = {"id": "7", "friendly_name": "Doc", "active": False, "voice_url": "https://v", "voice_method": "get"}
    async with api(
        ApiAnswer(200, {"data": control}), error(404), ApiAnswer(200, {"data": texml}), error(404), error(404)
    ) as (client, far, _):
        assert await client.application("149") == Application(
            "149", "call-control", "Tandem", True, "https://x", "", "POST", 10
        )
        assert await client.application("7") == Application("7", "texml", "Doc", False, "https://v", "", "GET", None)
        assert await client.application("8") is None
        assert far.last.path == "/v2/texml_applications/8"


async def test_an_account_that_does_not_answer_is_an_error() -> None:
    async with api(error(500), error(500)) as (client, _, _):
        with pytest.raises(CarrierApiError):
            await client.application("1")


async def test_many_commands_at_once_do_not_wait_for_each_other() -> None:
    async with api(HANG) as (client, _, _), asyncio.timeout(1), asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(client.hang_up(CALL))
