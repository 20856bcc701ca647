"""Telnyx's doors over real sockets: whole calls by both ways in, what is obeyed once, and who is not let in."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from fakes import PATIENCE
from servers import CALLER, tandem, until
from telnyx_play import CALL, EVENTS, FORM, OTHER_SEED, STATUS, VOICE, Line, account, line, quiet
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tandem.demo import reserved_port
from tandem.simulators.line import Faults
from tandem.simulators.phone import At
from tandem.simulators.telnyx import Exchange
from tandem.simulators.telnyx_http import DEMO_SEED, public_key, signed
from tandem.simulators.telnyx_texml import Connect, Hangup, Reject, parse_texml

both_ways = pytest.mark.parametrize("way", [EVENTS, VOICE])


# --- how it is commanded ----------------------------------------------------------------------------------------------


async def test_a_stream_is_ordered_as_telnyxs_own_plugin_does() -> None:
    async with line() as here:
        report = await here.call(audio=[], hang_up=At(100), seconds=1)
        (answer,), (ordered,) = here.bodies("answer"), here.bodies("streaming_start")
        session = answer["command_id"].removeprefix("answer-")
        assert answer.keys() == {"command_id", "client_state"}
        url = ordered.pop("stream_url")
        assert url.startswith(f"{here.server.origin.replace('http', 'ws', 1)}/telnyx/media/v1{session}")
        assert ordered == {
            "command_id": f"stream-{session}",
            "stream_track": "inbound_track",
            "stream_codec": "PCMU",
            "stream_bidirectional_mode": "rtp",
            "stream_bidirectional_codec": "PCMU",
            "stream_bidirectional_sampling_rate": 8000,
            "stream_bidirectional_target_legs": "both",
            "client_state": answer["client_state"],
            "stream_auth_token": url.rpartition("/")[2],
            "custom_parameters": [{"name": "session", "value": session}],
        }
        assert report.problems == ()


# --- commands that fail -----------------------------------------------------------------------------------------------


async def test_an_answer_that_meets_a_passing_failure_is_repeated_with_the_same_command_id() -> None:
    async with line(Exchange(faults={"answer": [503], "streaming_start": [500]})) as here:
        report = await here.call(hang_up=At(200))
        assert report.problems == ()
        assert here.commands == ["answer", "answer", "streaming_start", "streaming_start", "hangup"]
        for action in ("answer", "streaming_start"):
            first, second = here.bodies(action)
            assert first == second


async def test_a_caller_who_hangs_up_before_the_answer_is_no_failure() -> None:
    async with line(Exchange(faults={"answer": [422]})) as here:  # 90018: has ended
        assert await here.ring() == 200
        await here.server.empty()
        assert here.commands == ["answer"]
        assert (await here.server.record(CALL))["result"] == "caller_hung_up"


@pytest.mark.parametrize("failure", [400, 401, 429, 500])
async def test_a_call_that_can_not_be_answered_is_let_go(failure: int) -> None:
    async with line(Exchange(faults={"answer": [failure, failure]})) as here:
        report = await here.call(hang_up=None, seconds=3)
        await here.server.empty()
        assert here.commands[-1] == "hangup"
        assert (await here.server.record(report.call_sid))["result"] == "no_stream"


async def test_a_caller_who_can_not_be_streamed_is_told_so_and_let_go() -> None:
    async with line(Exchange(faults={"streaming_start": [400]})) as here:
        report = await here.call(hang_up=None, seconds=3)
        assert here.commands == ["answer", "streaming_start", "speak", "hangup"]
        assert len(report.said) == 1
        assert "orry" in report.said[0]
        await here.server.empty()
        assert (await here.server.record(report.call_sid))["result"] == "no_stream"


async def test_a_stream_that_fails_after_it_was_ordered_is_apologised_for() -> None:
    """Telnyx could not reach us: it says so by webhook."""
    async with line() as here:
        report = await here.call(hang_up=None, faults=Faults(unreachable=True))
        assert here.commands == ["answer", "streaming_start", "speak", "hangup"]
        assert "orry" in report.said[0]
        await here.server.empty()
        assert (await here.server.record(report.call_sid))["result"] == "no_stream"


async def test_an_apology_that_can_not_be_said_does_not_keep_the_line_open() -> None:
    async with line(Exchange(faults={"streaming_start": [400], "speak": [400]})) as here:
        await here.call(hang_up=None, seconds=3)
        assert here.commands == ["answer", "streaming_start", "speak", "hangup"]


async def test_a_call_whose_stream_never_comes_is_let_go() -> None:
    async with line(SECRET_KEY=None) as here:
        here.server.hurry(stream_seconds=0.3)
        await here.ring()
        await here.commanded("answer", "hangup")
        await here.server.empty()


# --- refusals ---------------------------------------------------------------------------------------------------------


@both_ways
async def test_r34_a_full_server_is_busy(way: str) -> None:
    async with line(MAX_CALLS="1") as here:
        await here.ring()
        await until(lambda: here.commands == ["answer"])
        report = await here.call(way)
        assert report.result == "busy"
        assert report.problems == ()
        assert [request.json["cause"] for request in here.exchange.asked if request.path.endswith("reject")] == (
            ["USER_BUSY"] if way == EVENTS else []
        )
        assert await here.server.metric("calls_refused_total", reason="full") == 1


# --- obeyed once ------------------------------------------------------------------------------------------------------


async def test_events_that_come_three_times_at_once_are_obeyed_once() -> None:
    async with line(Exchange(repeats=3), MAX_CALL_SECONDS="1") as here:
        report = await here.call(hang_up=None, seconds=20)
        assert report.problems == ()
        assert here.commands == ["answer", "streaming_start", "hangup"]
        assert await here.server.metric("calls_total", carrier="telnyx") == 1


async def test_an_event_that_is_told_again_under_its_id_changes_nothing() -> None:
    async with line() as here:
        for _ in range(3):
            assert await here.ring(event_id="e1") == 200
        await here.event("call.hangup", event_id="e2")
        await here.server.empty()
        assert await here.ring(event_id="e1") == 200
        assert here.commands == ["answer"]
        assert not here.server.board.live


async def test_a_call_that_is_over_is_not_begun_by_a_late_word_of_it() -> None:
    """Delivery is in no order: the hang-up may overtake the ringing."""
    async with line() as here:
        await here.event("call.hangup", hangup_cause="originator_cancel")
        assert await here.ring() == 200
        assert quiet(here)


async def test_the_same_request_again_is_answered_and_not_obeyed() -> None:
    """A recorded request is no use to whoever has it."""
    async with line() as here:
        here.exchange.leg(here.plan(), call_id=CALL).silent = True
        data = {"event_type": "call.initiated", "payload": {"call_control_id": CALL, "direction": "incoming"}}
        body = json.dumps({"data": data}).encode()
        headers = signed(body, here.exchange.seed)
        for _ in range(2):
            assert (await here.server.http.post(EVENTS, content=body, headers=headers)).status_code == 200
        await here.commanded("answer")
        body = urlencode(FORM).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", **signed(body, here.exchange.seed)}
        first = await here.server.http.post(VOICE, content=body, headers=headers)
        again = await here.server.http.post(VOICE, content=body, headers=headers)
        assert b"Stream" in first.content
        assert again.status_code == 200
        assert b"Stream" not in again.content


async def test_other_events_are_answered_and_do_nothing() -> None:
    async with line() as here:
        await here.ring()
        for kind in ("call.bridged", "call.dtmf.received", "streaming.started", "call.speak.ended", "weather.changed"):
            assert await here.event(kind, digit="5") == 200
        assert await here.event("call.answered") == 200, "answered by somebody else: no client state of ours"
        await here.commanded("answer")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data":{}}', b"[" * 10_000, b'{"data":{"event_type":"call.hangup"}}'])
async def test_what_is_no_event_is_answered_all_the_same(body: bytes) -> None:
    """Telnyx would only say it again."""
    async with line() as here:
        answer = await here.server.http.post(EVENTS, content=body, headers=signed(body, here.exchange.seed))
        assert answer.status_code == 200
        assert quiet(here)


async def test_a_call_that_we_placed_is_not_answered() -> None:
    """Outgoing legs are told at the same URL."""
    async with line() as here:
        await here.ring(direction="outgoing")
        await here.ring(direction=None)
        assert quiet(here)


# --- who is not let in ------------------------------------------------------------------------------------------------


async def test_r29_a_forged_request_gets_403_and_changes_nothing() -> None:
    async with line() as here:
        http = here.server.http
        body = urlencode(FORM).encode()
        good = signed(body, here.exchange.seed)
        statuses = [
            await here.event("call.initiated", direction="incoming", seed=OTHER_SEED),
            await here.event("call.initiated", direction="incoming", at=1_000_000_000),
            (await http.post(EVENTS, content=b"{}")).status_code,
            (await http.post(EVENTS, content=b"{}", headers=signed(b"{} ", here.exchange.seed))).status_code,
            (await here.form(VOICE, FORM, seed=OTHER_SEED)).status_code,
            (await here.form(VOICE, FORM, seed=OTHER_SEED, method="GET")).status_code,
            (await here.form(STATUS, FORM, seed=OTHER_SEED)).status_code,
            (await http.post(VOICE, content=body + b"&x=1", headers=good)).status_code,
            (await http.get(f"{VOICE}?{body.decode()}", headers=good)).status_code,
        ]
        assert statuses == [403] * 9
        assert quiet(here)
        assert await here.server.metric("webhooks_total", route=EVENTS, status="403") == 4


async def test_r29_a_forged_hangup_does_not_end_a_call() -> None:
    async with line() as here:
        await here.ring()
        await here.event("call.hangup", seed=OTHER_SEED)
        await here.form(STATUS, {**FORM, "CallStatus": "completed"}, seed=OTHER_SEED)
        assert CALL in [bridge.identity.call_id for bridge in here.server.board.live.values()]


async def test_without_credentials_there_are_no_such_routes() -> None:
    async with tandem() as server:
        body = b"{}"
        headers = signed(body, bytes(32))
        assert (await server.http.post(EVENTS, content=body, headers=headers)).status_code == 404
        assert (await server.http.post(VOICE, content=body, headers=headers)).status_code == 404
        assert (await server.http.get(VOICE, headers=headers)).status_code == 404
        assert (await server.http.post(STATUS, content=body, headers=headers)).status_code == 404
        assert await refused(f"{server.origin}/telnyx/media/v1{'0' * 104}") == 404


async def test_a_key_in_pem_and_an_api_url_with_its_version_are_taken_too() -> None:
    der = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + base64.b64decode(public_key(DEMO_SEED)))
    pem = f"-----BEGIN PUBLIC KEY-----\n{der.decode()}\n-----END PUBLIC KEY-----"
    with reserved_port() as port:
        exchange = Exchange(port=port)
        url = f"http://127.0.0.1:{port}/v2/"
        async with line(exchange, TELNYX_PUBLIC_KEY=pem, TELNYX_API_URL=url) as here:
            assert await here.ring() == 200
            await here.commanded("answer")


# --- TeXML ------------------------------------------------------------------------------------------------------------


async def test_a_texml_call_is_told_where_to_stream() -> None:
    async with line() as here:
        answer = await here.form(VOICE, FORM)
        verbs = parse_texml(answer.status_code, answer.headers["content-type"], answer.content)
        assert [type(verb) for verb in verbs] == [Connect, Hangup]
        (connect_verb, _) = verbs
        assert isinstance(connect_verb, Connect)
        assert not connect_verb.reconnects, "a reconnection would bring a token that has been used"
        order = connect_verb.order
        assert (order.mode, order.codec, order.agent_codec, order.agent_rate) == ("rtp", "PCMU", "PCMU", 8000)
        assert order.url.startswith(f"{here.server.origin.replace('http', 'ws', 1)}/telnyx/media/v1")
        assert connect_verb.status_callback == f"{here.server.origin}{STATUS}"
        again = await here.form(VOICE, {**FORM, "retry": "1"})
        assert again.status_code == 200
        assert len(here.server.board.live) == 1


async def test_texml_is_not_asked_for_l16() -> None:
    async with line(TELNYX_CODEC="L16") as here:
        answer = await here.form(VOICE, FORM)
        (connect_verb, _) = parse_texml(answer.status_code, answer.headers["content-type"], answer.content)
        assert isinstance(connect_verb, Connect)
        assert connect_verb.order.codec == "PCMU"


async def test_a_get_is_believed_only_when_telnyx_knows_the_call() -> None:
    """Its signature does not cover what it says."""
    async with line() as here:
        assert (await here.form(VOICE, FORM, method="GET")).status_code == 403
        assert not here.server.board.live
        report = await here.call(VOICE, method="GET", hang_up=At(300))
        assert report.problems == ()
        assert report.result == "completed"


async def test_a_get_that_can_not_be_confirmed_is_taken_on_its_word() -> None:
    async with line(TELNYX_API_URL="http://127.0.0.1:1") as here:
        answer = await here.form(VOICE, FORM, method="GET")
        assert b"<Stream" in answer.content


@pytest.mark.parametrize("call_sid", ["", "a b", "x" * 600, "Ü"])
async def test_a_call_without_a_usable_id_is_a_bad_request(call_sid: str) -> None:
    async with line() as here:
        assert (await here.form(VOICE, {**FORM, "CallSid": call_sid})).status_code == 400
        assert quiet(here)


@pytest.mark.parametrize("status", ["completed", "busy", "failed", "no-answer", "canceled"])
async def test_a_texml_call_that_is_over_before_its_stream_ends_at_once(status: str) -> None:
    async with line() as here:
        await here.form(VOICE, FORM)
        assert (await here.form(STATUS, {**FORM, "CallStatus": status})).status_code == 200
        await here.server.empty(seconds=1)
        assert (await here.server.record(CALL))["result"] == "caller_hung_up"


async def test_a_texml_stream_that_failed_ends_its_call() -> None:
    async with line() as here:
        await here.form(VOICE, FORM)
        for extra in ({"StreamEvent": "stream-started"}, {"CallStatus": "in-progress"}):
            await here.form(STATUS, {**FORM, **extra})
        assert here.server.board.live
        await here.form(STATUS, {**FORM, "StreamEvent": "stream-failed", "StreamError": "connection refused"})
        await here.server.empty(seconds=1)
        assert (await here.server.record(CALL))["result"] == "no_stream"


# --- the media socket -------------------------------------------------------------------------------------------------


async def refused(url: str, headers: Mapping[str, str] | None = None) -> int:
    """The HTTP status with which an upgrade is answered."""
    with pytest.raises(InvalidStatus) as refusal:
        await connect(url.replace("http", "ws", 1), additional_headers=headers, proxy=None, open_timeout=PATIENCE)
    return refusal.value.response.status_code


async def stream_url(here: Line, **changes: str) -> str:
    answer = await here.form(VOICE, {**FORM, **changes})
    (verb, *_) = parse_texml(answer.status_code, answer.headers["content-type"], answer.content)
    assert isinstance(verb, Connect), verb
    return verb.order.url


async def test_r30_a_media_socket_needs_its_own_unused_token() -> None:
    async with line() as here:
        url = await stream_url(here)
        other = "0" if url[-1] != "0" else "1"
        assert await refused(url[:-1] + other) == 403
        assert await refused(url.replace("/telnyx/", "/twilio/")) == 403
        assert await refused(url + "x") == 403
        assert await refused(url, {"x-telnyx-streaming-auth-token": "another"}) == 403
        token = url.rpartition("/")[2]
        async with connect(url, additional_headers={"x-telnyx-streaming-auth-token": token}, proxy=None):
            assert await refused(url) == 403, "used"
        assert await here.server.metric("tokens_refused_total", reason="auth_token") == 1


async def test_r30_a_stream_of_another_call_is_refused_at_its_start() -> None:
    async with line() as here:
        url = await stream_url(here)
        async with connect(url, proxy=None) as socket:
            start = {"call_control_id": "v3:another", "media_format": {"encoding": "PCMU", "sample_rate": 8000}}
            await socket.send(json.dumps({"event": "start", "stream_id": "s", "start": start}))
            await socket.wait_closed()
            assert socket.close_code == 1008
        assert (await here.server.result(CALL))["result"] == "wrong_call"


async def test_complaints_of_the_carrier_are_counted_and_do_not_end_the_call(caplog: pytest.LogCaptureFixture) -> None:
    async with line() as here:
        url = await stream_url(here)
        async with connect(url, proxy=None) as socket:
            start = {"call_control_id": CALL, "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1}}
            await socket.send(json.dumps({"event": "start", "stream_id": "s", "start": start}))
            for _ in range(8):
                complaint = {"code": 100004, "title": "invalid_media", "detail": "too short"}
                await socket.send(json.dumps({"event": "error", "stream_id": "s", "payload": complaint}))
            await socket.send(json.dumps({"event": "stop", "stream_id": "s"}))
            await socket.wait_closed()
        assert (await here.server.result(CALL))["result"] == "caller_hung_up"
        assert await here.server.metric("bad_frames_total", reason="complaint of the carrier") == 8


# --- several instances ------------------------------------------------------------------------------------------------


async def test_a_call_that_another_instance_is_told_of_goes_on_there() -> None:
    """Webhooks and sockets of one call land where the load balancer puts them."""
    async with (
        Exchange() as telnyx,
        tandem(account(telnyx)) as first,
        tandem(account(telnyx)) as second,
    ):
        a, b = Line(first, telnyx), Line(second, telnyx)
        first.hurry(stream_seconds=0.3)
        leg = telnyx.leg(b.plan(hang_up=At(1_000)))  # every event but the first lands at the second instance
        call_id = leg.call.call_control_id
        await a.ring(call_control_id=call_id)
        await until(lambda: leg.lines and leg.lines[0].frames_sent > 10)
        await first.empty()
        assert (await first.record(call_id))["result"] == "no_stream"
        assert "hangup" not in a.commands, "the call is the second instance's"
        await second.empty()
        await leg.settled()
        assert a.commands == ["answer", "streaming_start", "hangup"]


# --- what is written --------------------------------------------------------------------------------------------------


async def test_r37_what_is_logged_of_a_call_names_no_number_key_or_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "tandem")
    exchange = Exchange(api_key="planted-api-key", faults={"streaming_start": [400]})
    async with line(exchange) as here:
        await here.call(hang_up=None, seconds=3)
        await here.call(VOICE, hang_up=At(200))
        await here.event("call.initiated", direction="incoming", seed=OTHER_SEED)
        await here.server.empty()
    written = caplog.text + repr([record.__dict__ for record in caplog.records if record.name.startswith("tandem")])
    for secret in ("planted-api-key", CALLER.lstrip("+"), "/media/v1"):
        assert secret not in written


def test_a_reject_is_a_verb() -> None:
    assert parse_texml(200, "text/xml", b'<Response><Reject reason="busy"/></Response>') == [Reject("busy")]
