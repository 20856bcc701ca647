"""Twilio's doors over real sockets: webhooks and callbacks, and who is not let in."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest
from servers import CALLED, CALLER, Tandem, log_lines, new_sid, tandem, until, verbs
from websockets.exceptions import InvalidStatus

from tandem.carriers.twilio_webhook import signature
from tandem.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from tandem.simulators.twilio_twiml import Connect, Hangup, Reject, Say

CALL = "CA" + "a" * 32


async def quiet(server: Tandem) -> bool:
    """Nothing has come of it: no call, no record."""
    return not server.board.live and await server.calls() == []


# --- the voice webhook ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_call_is_told_where_to_stream(method: str) -> None:
    async with tandem() as server:
        ask = server.post if method == "POST" else server.get
        answer = await ask("/twilio/voice", server.form(CALL))
        assert answer.headers["content-type"] == "text/xml; charset=utf-8"
        connect, hangup = verbs(answer)
        assert isinstance(connect, Connect)
        assert hangup == Hangup(), "whatever becomes of the stream, no caller is left on a silent line"
        host = server.origin.removeprefix("http://")
        assert connect.url.startswith(f"ws://{host}/twilio/media/v1")
        assert "?" not in connect.url
        assert connect.action == f"{server.origin}/twilio/status?after=stream"
        assert connect.status_callback == f"{server.origin}/twilio/status"
        (record,) = await server.calls()
        assert record["call_id"] == CALL
        assert (record["caller"], record["called"]) == (CALLER, CALLED)
        assert connect.parameters == {"session": connect.url.rpartition("/")[2][2:34]}


async def test_the_public_url_decides_not_the_host_header() -> None:
    public = "https://voice.example.com"
    async with tandem(PUBLIC_URL=public) as server:
        signed = signature(f"{public}/twilio/voice", list(server.form(CALL).items()), server.auth_token)
        headers = {"X-Twilio-Signature": signed, "Host": "evil.example.net", "X-Forwarded-Host": "evil.example.net"}
        url = f"http://127.0.0.1:{server.settings.port}/twilio/voice"
        connect, _ = verbs_of_https(await server.http.post(url, data=server.form(CALL), headers=headers))
        assert connect.url.startswith("wss://voice.example.com/twilio/media/")
        assert connect.action.startswith(public)


def verbs_of_https(answer: object) -> tuple[Connect, Hangup]:
    found = verbs(answer)  # type: ignore[arg-type]  # an httpx response
    assert isinstance(found[0], Connect)
    assert isinstance(found[1], Hangup)
    return found[0], found[1]


async def test_a_webhook_that_is_repeated_is_the_same_call() -> None:
    """Twilio asks again when an answer was late or lost: one provider session, one stream."""
    async with tandem(MAX_CALLS="1") as server:
        first = await server.dial(CALL)
        again = await server.dial(CALL)
        assert again.token[2:34] == first.token[2:34]
        assert len(server.board.live) == 1
        async with again.stream() as stream:
            await stream.start()
            await stream.speaks()


@pytest.mark.parametrize("call_sid", ["", "CA123", "CA" + "g" * 32, "CA" + "a" * 33, "'; drop table", "ÜCA"])
async def test_a_call_without_a_usable_id_is_a_bad_request(call_sid: str) -> None:
    async with tandem() as server:
        answer = await server.post("/twilio/voice", server.form(call_sid))
        assert answer.status_code == 400
        assert await quiet(server)


# --- who is not let in ------------------------------------------------------------------------------------------------


async def test_r29_a_forged_request_gets_403_and_changes_nothing() -> None:
    async with tandem() as server:
        form = server.form(CALL)
        answers = [
            await server.post("/twilio/voice", form, key="another-key"),
            await server.post("/twilio/status", form, key="another-key"),
            await server.post("/twilio/status?after=stream", form, key="another-key"),
            await server.http.post("/twilio/voice", data=form),
            await server.http.get("/twilio/voice", params=form),
            await server.http.post("/twilio/voice", json=form, headers={"X-Twilio-Signature": "x"}),
            await server.http.post("/twilio/voice", data=form, headers={b"X-Twilio-Signature": b"\xff"}),
        ]
        assert [answer.status_code for answer in answers] == [403] * 7
        assert await quiet(server)
        assert await server.metric("webhooks_total", route="/twilio/voice", status="403") == 5


async def test_r29_a_forged_status_does_not_end_a_call() -> None:
    async with tandem() as server, server.stream() as stream:
        await stream.speaks()
        await server.post("/twilio/status", server.form(stream.call_sid, CallStatus="completed"), key="another-key")
        assert stream.call_sid in [bridge.identity.call_id for bridge in server.board.live.values()]


async def test_another_account_that_knows_the_key_is_refused() -> None:
    """A subaccount, say: its calls are not ours to answer."""
    async with tandem() as server:
        answer = await server.post("/twilio/voice", server.form(CALL, AccountSid="AC" + "2" * 32))
        assert answer.status_code == 403
        assert await quiet(server)


async def test_without_credentials_there_are_no_such_routes() -> None:
    """A provider that costs money and no carrier: nobody may call, and nobody may find out more than that."""
    async with tandem(
        TWILIO_ACCOUNT_SID=None, TWILIO_AUTH_TOKEN=None, PROVIDERS="openai", OPENAI_API_KEY="planted-key"
    ) as server:
        server.account, server.auth_token = DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
        form = server.form(CALL)
        assert (await server.post("/twilio/voice", form)).status_code == 404
        assert (await server.get("/twilio/voice", form)).status_code == 404
        assert (await server.post("/twilio/status", form)).status_code == 404
        assert await quiet(server)


async def test_a_server_without_any_key_answers_the_demo_account_only() -> None:
    async with tandem(TWILIO_ACCOUNT_SID=None, TWILIO_AUTH_TOKEN=None, PROVIDERS=None) as server:
        assert (server.account, server.auth_token) == (DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN)
        assert (await server.post("/twilio/voice", server.form(CALL), key="guess")).status_code == 404
        assert (await server.post("/twilio/status", server.form(CALL), key="guess")).status_code == 404
        assert await quiet(server)
        async with server.stream() as stream:
            await stream.speaks()


async def test_an_account_that_is_configured_shuts_the_demo_account_out() -> None:
    async with tandem() as server:
        server.account, server.auth_token = DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
        assert (await server.post("/twilio/voice", server.form(CALL))).status_code == 403


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_r34_a_full_server_says_busy() -> None:
    async with tandem(MAX_CALLS="2") as server:
        first, _ = await server.dial(), await server.dial()
        assert await server.voice(CALL) == [Reject("busy")]
        assert len(server.board.live) == 2
        assert await server.metric("calls_refused_total", reason="full") == 1
        await server.post("/twilio/status", server.form(first.call_sid, CallStatus="completed"))
        await until(lambda: len(server.board.live) == 1)
        assert isinstance((await server.voice(CALL))[0], Connect)


async def test_r34_too_many_calls_at_once_are_busy_and_the_next_second_is_a_new_one() -> None:
    async with tandem(MAX_STARTS_PER_SECOND="2") as server:
        answers = [(await server.voice(new_sid("CA")))[0] for _ in range(4)]
        assert [type(answer) for answer in answers] == [Connect, Connect, Reject, Reject]
        assert await server.metric("calls_refused_total", reason="too_fast") == 2
        await until(lambda: server.board.refuse() is None)
        assert isinstance((await server.voice(CALL))[0], Connect)


async def test_r13_a_draining_server_says_busy_and_goes_on_with_the_calls_it_has() -> None:
    async with tandem() as server:
        dialled = await server.dial()
        server.board.draining = True
        assert await server.voice(CALL) == [Reject("busy")]
        async with dialled.stream() as stream:
            await stream.start()
            await stream.speaks()


# --- what follows the stream, and callbacks ---------------------------------------------------------------------------


async def test_after_a_stream_that_talked_comes_the_hangup() -> None:
    async with tandem() as server:
        async with server.stream() as stream:
            await stream.speaks()
            await stream.stop()
            await stream.ends()
        answer = await server.post(
            "/twilio/status?after=stream", server.form(stream.call_sid, CallStatus="in-progress")
        )
        assert verbs(answer) == [Hangup()]


async def test_after_a_stream_that_never_started_twilio_says_sorry() -> None:
    """The media socket could not be opened: Twilio goes on with the action, and the caller must not hear nothing."""
    async with tandem() as server:
        dialled = await server.dial()
        form = server.form(dialled.call_sid, CallStatus="in-progress")
        problem = {"StreamEvent": "stream-error", "StreamError": "31920 handshake", "StreamSid": "MZ1"}
        assert (await server.post("/twilio/status", {**form, **problem})).status_code == 200
        say, hangup = verbs(await server.post("/twilio/status?after=stream", form))
        assert isinstance(say, Say)
        assert "orry" in say.text
        assert hangup == Hangup()
        await server.empty(seconds=1)
        assert (await server.record(dialled.call_sid))["result"] == "no_stream"
        assert verbs(await server.post("/twilio/status?after=stream", form)) == [say, hangup], "asked again"


async def test_after_the_stream_of_a_call_that_nobody_knows_comes_the_hangup() -> None:
    """This instance was started after the call, or the call is long over."""
    async with tandem() as server:
        assert verbs(await server.post("/twilio/status?after=stream", server.form(CALL))) == [Hangup()]


@pytest.mark.parametrize("status", ["completed", "busy", "failed", "no-answer", "canceled"])
async def test_a_call_that_is_over_before_its_stream_ends_at_once(status: str) -> None:
    async with tandem() as server:
        dialled = await server.dial()
        await server.post("/twilio/status", server.form(dialled.call_sid, CallStatus=status))
        await server.empty(seconds=1)
        assert (await server.record(dialled.call_sid))["result"] == "caller_hung_up"


async def test_callbacks_on_the_way_change_nothing() -> None:
    async with tandem() as server, server.stream() as stream:
        await stream.speaks()
        form = server.form(stream.call_sid)
        for extra in (
            {"CallStatus": "in-progress"},
            {"CallStatus": "ringing"},
            {"CallStatus": "completed", "StreamEvent": "stream-stopped", "StreamSid": "MZ1"},
            {"CallStatus": "in-progress", "StreamEvent": "stream-started", "StreamSid": "MZ1"},
        ):
            answer = await server.post("/twilio/status", {**form, **extra})
            assert verbs(answer) == []
        assert len(server.board.live) == 1
        assert verbs(await server.post("/twilio/status", server.form(CALL, CallStatus="completed"))) == []


async def test_a_callback_that_arrives_during_the_stream_ends_it() -> None:
    async with tandem() as server, server.stream() as stream:
        await stream.speaks()
        await server.post("/twilio/status", server.form(stream.call_sid, CallStatus="completed"))
        assert (await stream.ends())[0] == 1000


# --- the media socket's signature -------------------------------------------------------------------------------------


async def test_a_media_socket_is_refused_before_the_upgrade_unless_twilio_signed_its_wss_url() -> None:
    async with tandem() as server:
        dialled = await server.dial()
        wrong = [
            {"key": "another-key"},
            {"signed_url": dialled.url.replace("ws://", "http://")},
            {"signed_url": dialled.url + "/"},
            {"signed_url": dialled.url[:-1]},
        ]
        for options in wrong:
            assert await refused(server.upgrade(dialled.url, **options)) == 403
        assert await server.metric("tokens_refused_total", reason="signature") == len(wrong)
        async with dialled.stream() as stream:  # the token is still good
            await stream.start()
            await stream.speaks()


async def test_without_credentials_there_is_no_media_socket() -> None:
    async with tandem(
        TWILIO_ACCOUNT_SID=None, TWILIO_AUTH_TOKEN=None, PROVIDERS="openai", OPENAI_API_KEY="planted-key"
    ) as server:
        url = f"{server.origin.replace('http', 'ws', 1)}/twilio/media/v1{'0' * 104}"
        assert await refused(server.upgrade(url)) in (403, 404)
        assert await quiet(server)


async def refused(attempt: Awaitable[object]) -> int:
    """The HTTP status with which an upgrade is answered."""
    with pytest.raises(InvalidStatus) as refusal:
        await attempt
    return refusal.value.response.status_code


async def test_r37_what_is_logged_of_requests_that_are_refused_says_nothing_of_people() -> None:
    """The URL is told, for whoever looks for the mistake in PUBLIC_URL; what its parameters say is not."""
    async with tandem() as server:
        form = server.form(CALL, CallerName="Ann Planted", From="sip:ann@planted.example")
        with log_lines() as lines:
            await server.http.get("/twilio/voice", params=form)
    (line,) = lines
    assert line["reason"] == "no signature"
    assert line["signed_url"].startswith(f"{server.origin}/twilio/voice?AccountSid=…&CallSid=…&")
    assert "lanted" not in str(line)
    assert CALL not in str(line)
