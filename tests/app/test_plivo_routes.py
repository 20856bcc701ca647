"""Plivo's doors over real sockets: webhooks, callbacks, the media socket, and who is not let in."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest
from plivo_play import AUTH_ID, AUTH_TOKEN, Dialled, Led, Plivo, elements, plivo
from servers import CALLED, CALLER, log_lines, new_sid, tandem, until
from sounds import hum, speech
from websockets.exceptions import InvalidStatus

from tandem.bridge import Identity
from tandem.call_types import EndReason
from tandem.carriers.plivo_webhook import signature_v2
from tandem.carriers.table import PLIVO
from tandem.simulators.api_server import ApiAnswer
from tandem.simulators.plivo_http import signed
from tandem.simulators.plivo_rest import LiveCall
from tandem.simulators.plivo_xml import Dial, Hangup, Speak, Stream
from tandem_codecs.format import MULAW_8K, PCM16_16K

CALL = "97ceeb52-58b6-11e1-86da-77300b68f8bb"


async def quiet(carrier: Plivo) -> bool:
    """Nothing has come of it: no call, no record."""
    return not carrier.server.board.live and await carrier.server.calls() == []


def asked_to_end(carrier: Plivo) -> list[str]:
    """The calls that the server has ended over the API."""
    return [request.path.split("/")[5] for request in carrier.api.requests if request.method == "DELETE"]


# --- the answer URL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_call_is_told_where_to_stream(method: str) -> None:
    async with plivo() as carrier:
        server = carrier.server
        ask = carrier.post if method == "POST" else carrier.get
        answer = await ask("/plivo/voice", carrier.form(CALL))
        assert answer.headers["content-type"] == "text/xml; charset=utf-8"
        stream, hangup = elements(answer)
        assert isinstance(stream, Stream)
        assert hangup == Hangup(), "whatever becomes of the stream, no caller is left on a silent line"
        host = server.origin.removeprefix("http://")
        assert stream.url.startswith(f"ws://{host}/plivo/media/v1")
        assert stream.content_type == "audio/x-mulaw;rate=8000"
        assert stream.status_url == f"{server.origin}/plivo/status"
        assert stream.extra_headers == f"session={stream.url.rpartition('/')[2][2:34]}"
        (record,) = await server.calls()
        assert (record["call_id"], record["carrier"]) == (CALL, "plivo")
        assert (record["caller"], record["called"]) == (CALLER, CALLED), "with the plus sign that Plivo leaves out"


async def test_the_public_url_decides_not_the_host_header() -> None:
    public = "https://voice.example.com"
    async with plivo(PUBLIC_URL=public) as carrier:
        form = carrier.form(CALL)
        headers = {**signed("POST", f"{public}/plivo/voice", form, AUTH_TOKEN), "Host": "evil.example.net"}
        url = f"http://127.0.0.1:{carrier.server.settings.port}/plivo/voice"
        stream, _ = elements(await carrier.server.http.post(url, data=form, headers=headers))
        assert isinstance(stream, Stream)
        assert stream.url.startswith("wss://voice.example.com/plivo/media/")


@pytest.mark.parametrize("codec", ["l16", "l16/8000"])
async def test_the_codec_is_the_configured_one(codec: str) -> None:
    async with plivo(PLIVO_CODEC=codec) as carrier:
        stream, _ = await carrier.voice(CALL)
        assert isinstance(stream, Stream)
        assert stream.content_type == f"audio/x-l16;rate={16000 if codec == 'l16' else 8000}"


async def test_a_webhook_that_is_repeated_is_the_same_call() -> None:
    """Plivo asks again when an answer was late or lost: one provider session, one stream."""
    async with plivo(MAX_CALLS="1") as carrier:
        first, again = await carrier.dial(CALL), await carrier.dial(CALL)
        assert again.token[2:34] == first.token[2:34]
        assert len(carrier.server.board.live) == 1
        async with carrier.attach(again) as stream:
            await stream.start()
            await stream.speaks()


async def test_r29_a_replayed_request_begins_no_second_call() -> None:
    """The signature has no time in it: what was said once is remembered."""
    async with plivo() as carrier:
        form = carrier.form(CALL)
        headers = signed("POST", f"{carrier.server.origin}/plivo/voice", form, AUTH_TOKEN)
        first = await carrier.post("/plivo/voice", form, headers=headers)
        assert isinstance(elements(first)[0], Stream)
        again = await carrier.post("/plivo/voice", form, headers=headers)
        assert isinstance(elements(again)[0], Stream), "as long as the call is up, it is only told again"
        carrier.server.bridge(CALL).carrier_ended()
        await carrier.server.empty()
        assert elements(await carrier.post("/plivo/voice", form, headers=headers)) == [Hangup()]
        assert not carrier.server.board.live


@pytest.mark.parametrize("call_id", ["", "12", "'; drop table", "ÜCA", "a" * 65])
async def test_a_call_without_a_usable_id_is_a_bad_request(call_id: str) -> None:
    async with plivo() as carrier:
        assert (await carrier.post("/plivo/voice", carrier.form(call_id))).status_code == 400
        assert await quiet(carrier)


async def test_a_call_that_we_placed_finds_its_bridge_by_the_session_in_the_url() -> None:
    """The id of an outbound call is not known before; the query is under the signature."""
    async with plivo() as carrier:
        board = carrier.server.board
        session = "a" * 32
        bridge = board.open(PLIVO, Identity(session, "", AUTH_ID), lambda start: True)
        stream, _ = await carrier.voice(CALL, f"/plivo/voice?session={session}", Direction="outbound")
        assert isinstance(stream, Stream)
        assert bridge.identity.call_id == CALL
        assert stream.url.rpartition("/")[2][2:34] == session
        assert list(board.live) == [session]
        bridge.carrier_ended()


async def test_a_placed_call_that_nobody_has_any_longer_is_hung_up() -> None:
    async with plivo() as carrier:
        path = f"/plivo/voice?session={'a' * 32}"
        assert await carrier.voice(CALL, path, Direction="outbound") == [Hangup()]
        assert await quiet(carrier)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        ("busy", "busy"),
        ("no-answer", "no_answer"),
        ("timeout", "no_answer"),
        ("failed", "not_placed"),
        ("completed", "caller_hung_up"),
    ],
)
async def test_a_placed_call_that_came_to_nothing_says_why(status: str, result: str) -> None:
    """Known by the request that placed it, since its own id is not known before it is answered."""
    async with plivo() as carrier:
        session, board = "a" * 32, carrier.server.board
        board.open(PLIVO, Identity(session, "the-request", AUTH_ID), lambda start: True)
        outbound = {"Direction": "outbound", "RequestUUID": "the-request", "CallStatus": status, "Event": "Hangup"}
        path = f"/plivo/status?session={session}"
        assert (await carrier.post(path, carrier.form("another-call", RequestUUID="x"))).status_code == 200
        assert len(board.live) == 1, "of another call"
        assert elements(await carrier.post(path, carrier.form(CALL, **outbound))) == []
        await carrier.server.empty()
        assert (await carrier.server.record(CALL))["result"] == result
        assert asked_to_end(carrier) == []


async def test_an_answering_machine_is_told_to_the_call() -> None:
    async with plivo() as carrier:
        session, board = "a" * 32, carrier.server.board
        bridge = board.open(PLIVO, Identity(session, CALL, AUTH_ID), lambda start: True)
        form = carrier.form(CALL, Direction="outbound", CallStatus="in-progress", Event="MachineDetection")
        path = f"/plivo/status?session={session}"
        for machine in ("false", "true"):
            await carrier.post(path, {**form, "Machine": machine})
            assert (bridge.call.stats.machine is True) is (machine == "true")
        bridge.carrier_ended()


# --- who is not let in ------------------------------------------------------------------------------------------------


async def test_r29_a_forged_request_gets_403_and_changes_nothing() -> None:
    async with plivo() as carrier:
        form, http = carrier.form(CALL), carrier.server.http
        answers = [
            await carrier.post("/plivo/voice", form, key="another-key"),
            await carrier.post("/plivo/status", form, key="another-key"),
            await carrier.get("/plivo/voice", form, key="another-key"),
            await http.post("/plivo/voice", data=form),
            await http.get("/plivo/voice", params=form),
            await http.post("/plivo/voice", json=form, headers=signed("POST", "x", {}, AUTH_TOKEN)),
            await http.post("/plivo/voice", data=form, headers={b"X-Plivo-Signature-V3": b"\xff"}),
        ]
        assert [answer.status_code for answer in answers] == [403] * 7
        assert await quiet(carrier)
        assert await carrier.server.metric("webhooks_total", route="/plivo/voice", status="403") == 6


async def test_r29_a_forged_status_does_not_end_a_call() -> None:
    async with plivo() as carrier, carrier.stream() as stream:
        await stream.speaks()
        await carrier.post("/plivo/status", carrier.form(stream.call_id, CallStatus="completed"), key="another-key")
        assert carrier.server.board.by_call(stream.call_id) is not None


async def test_without_credentials_there_are_no_such_routes() -> None:
    async with tandem() as server:
        answers = [
            await server.http.get("/plivo/voice"),
            await server.http.post("/plivo/voice"),
            await server.http.post("/plivo/status"),
        ]
        assert [answer.status_code for answer in answers] == [404] * 3
        url = f"{server.origin.replace('http', 'ws', 1)}/plivo/media/v1{'0' * 104}"
        assert await refused(server.upgrade(url)) == 404
        assert not server.board.live


@pytest.mark.parametrize(("setting", "status"), [(None, 403), ("false", 403), ("true", 200)])
async def test_v2_signatures_count_only_where_asked_for(setting: str | None, status: int) -> None:
    async with plivo(PLIVO_SIGNATURE_V2=setting) as carrier:
        url = f"{carrier.server.origin}/plivo/voice"
        headers = {"X-Plivo-Signature-V2": signature_v2(url, "5", AUTH_TOKEN), "X-Plivo-Signature-V2-Nonce": "5"}
        answer = await carrier.post("/plivo/voice", carrier.form(CALL), headers=headers)
        assert answer.status_code == status


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_r34_a_full_server_says_busy() -> None:
    async with plivo(MAX_CALLS="1") as carrier:
        first = await carrier.dial()
        assert await carrier.voice(CALL) == [Hangup("busy")]
        assert len(carrier.server.board.live) == 1
        assert await carrier.server.metric("calls_refused_total", reason="full") == 1
        await carrier.post("/plivo/status", carrier.form(first.call_id, CallStatus="completed", Event="Hangup"))
        await until(lambda: not carrier.server.board.live)
        assert isinstance((await carrier.voice(CALL))[0], Stream)


async def test_r13_a_draining_server_says_busy() -> None:
    async with plivo() as carrier:
        carrier.server.board.draining = True
        assert await carrier.voice(CALL) == [Hangup("busy")]


# --- callbacks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "busy", "failed", "timeout", "no-answer"])
@pytest.mark.parametrize("path", ["/plivo/status", "/plivo/voice"], ids=["status", "no hangup URL"])
async def test_a_call_that_is_over_before_its_stream_ends_at_once(status: str, path: str) -> None:
    """Without a hangup URL in its application Plivo tells the answer URL."""
    async with plivo() as carrier:
        dialled = await carrier.dial()
        answer = await carrier.post(path, carrier.form(dialled.call_id, CallStatus=status, Event="Hangup"))
        assert elements(answer) == []
        await carrier.server.empty(seconds=1)
        assert (await carrier.server.record(dialled.call_id))["result"] == "caller_hung_up"
        assert asked_to_end(carrier) == [], "it has ended; nobody need be told"


async def test_callbacks_on_the_way_change_nothing() -> None:
    async with plivo() as carrier, carrier.stream() as stream:
        await stream.speaks()
        for extra in (
            {"Event": "Ring"},
            {"Event": "StartStream", "StreamID": "s", "CallStatus": "in-progress"},
            {"Event": "started", "StreamID": "s", "CallStatus": "in-progress"},
            {"Event": "DegradedStream", "StreamID": "s", "StatusReason": "buffer at 30 %"},
            {"Event": "failed", "StreamID": "s", "StatusReason": "an old one"},
            {"Event": "StopStream", "StreamID": "s", "CallStatus": "completed"},
            {"Event": "SomethingNew", "StreamID": "s"},
        ):
            answer = await carrier.post("/plivo/status", {**carrier.form(stream.call_id), **extra})
            assert elements(answer) == []
        assert len(carrier.server.board.live) == 1
        over = carrier.form(CALL, CallStatus="completed")
        assert elements(await carrier.post("/plivo/status", over)) == [], "a call that nobody knows"


@pytest.mark.parametrize("event", ["failed", "DroppedStream"])
async def test_a_stream_that_never_opened_ends_the_call_over_the_api(event: str) -> None:
    async with plivo() as carrier:
        dialled = await carrier.dial()
        carrier.api.live[dialled.call_id] = live = LiveCall(dialled.call_id)
        form = carrier.form(dialled.call_id, Event=event, StreamID="s", StatusReason="handshake failed")
        await carrier.post("/plivo/status", form)
        await carrier.server.empty(seconds=1)
        assert live.hung_up.is_set()
        assert (await carrier.server.record(dialled.call_id))["result"] == "no_stream"


# --- transfers --------------------------------------------------------------------------------------------------------

AFTER = "/plivo/status?after=transfer"


async def test_the_answer_url_says_whom_to_call() -> None:
    """Plivo fetches there what a call that was given away shall do; the query is under the signature."""
    async with plivo() as carrier:
        here = carrier.server.origin
        after = f"{here}/plivo/status%3Fafter%3Dtransfer"
        asked = f"/plivo/voice?transfer=%2B15550003000&as=%2B15550001000&ring=20&after={after}"
        assert await carrier.voice(CALL, asked) == [
            Dial("15550003000", "15550001000", 20.0, f"{here}{AFTER}", True, f"{here}{AFTER}"),
            Hangup(),
        ]
        (short, _) = await carrier.voice(CALL, "/plivo/voice?transfer=sip%3Aann%40example.com&ring=soon")
        assert short == Dial("sip:ann@example.com", "", 30.0, f"{here}{AFTER}", True, f"{here}{AFTER}")
        assert await quiet(carrier)
        forged = await carrier.server.http.post(asked, data=carrier.form(CALL))
        assert forged.status_code == 403


@asynccontextmanager
async def given_away(carrier: Plivo) -> AsyncIterator[Led]:
    """A call that the agent has transferred; Plivo has it."""
    async with carrier.stream(plays=True) as stream:
        await stream.speaks()
        bridge = carrier.server.bridge(stream.call_id)
        carrier.api.live[stream.call_id] = LiveCall(stream.call_id)
        await until(lambda: bridge.call.state.value == "talking")
        assert bridge.transfer("+15550003000", ring_seconds=20)
        assert await stream.ends() == (1000, "transfer")
        assert carrier.api.live[stream.call_id].redirected is not None
        yield stream


async def test_the_other_side_answers_and_the_call_is_no_longer_ours() -> None:
    async with plivo() as carrier, given_away(carrier) as stream:
        form = carrier.form(stream.call_id, CallStatus="in-progress", DialALegUUID=stream.call_id)
        assert elements(await carrier.post(AFTER, {**form, "DialAction": "digits"})) == []
        assert len(carrier.server.board.live) == 1
        assert elements(await carrier.post(AFTER, {**form, "DialAction": "answer"})) == []
        await carrier.server.empty()
        assert (await carrier.server.record(stream.call_id))["result"] == "transferred"
        assert asked_to_end(carrier) == []
        assert elements(await carrier.post(AFTER, {**form, "DialAction": "hangup", "CallStatus": "completed"})) == []
        assert elements(await carrier.post(AFTER, {**form, "DialStatus": "completed"})) == [Hangup()]


@pytest.mark.parametrize("outcome", ["busy", "no-answer", "timeout", "failed", "cancel", "something new"])
async def test_pain_24_nobody_answers_and_the_caller_comes_back(outcome: str) -> None:
    async with plivo() as carrier, given_away(carrier) as stream:
        form = carrier.form(stream.call_id, CallStatus="in-progress", DialStatus=outcome, DialALegUUID=stream.call_id)
        again, hangup = elements(await carrier.post(AFTER, form))
        assert isinstance(again, Stream)
        assert hangup == Hangup()
        assert carrier.server.bridge(stream.call_id).wants_stream


async def test_a_caller_who_comes_back_to_a_server_that_knows_nothing_hears_an_apology() -> None:
    async with plivo() as carrier:
        form = carrier.form(CALL, CallStatus="in-progress", DialStatus="busy")
        speak, hangup = elements(await carrier.post(AFTER, form))
        assert isinstance(speak, Speak)
        assert hangup == Hangup()


async def test_a_caller_who_hangs_up_while_it_rings_is_gone() -> None:
    async with plivo() as carrier, given_away(carrier) as stream:
        await carrier.post("/plivo/status", carrier.form(stream.call_id, CallStatus="completed", Event="Hangup"))
        await carrier.server.empty()
        assert (await carrier.server.record(stream.call_id))["result"] == "caller_hung_up"


# --- the end of the stream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "result"), [(1000, "caller_hung_up"), (1001, "caller_hung_up"), (1011, "carrier_lost")]
)
async def test_the_socket_says_that_the_caller_has_hung_up(code: int, result: str) -> None:
    async with plivo() as carrier, carrier.stream() as stream:
        await stream.speaks()
        await stream.hang_up(code)
        assert (await carrier.server.result(stream.call_id))["result"] == result


async def test_when_our_side_ends_the_call_is_ended_over_the_api() -> None:
    """That our closed socket ends the call is not documented well enough to let a caller wait for it."""
    async with plivo() as carrier, carrier.stream(plays=True) as stream:
        await stream.speaks()
        carrier.api.live[stream.call_id] = live = LiveCall(stream.call_id)
        carrier.server.hurry(leave_seconds=0.1)
        carrier.server.bridge(stream.call_id).hang_up(EndReason.OPERATOR)
        assert (await stream.ends())[0] == 1000
        await carrier.server.empty()
        assert live.hung_up.is_set()
        assert asked_to_end(carrier) == [stream.call_id]
        assert (await carrier.server.record(stream.call_id))["result"] == "operator"


async def test_an_api_that_fails_keeps_no_call_up() -> None:
    async with plivo() as carrier, carrier.stream() as stream:
        await stream.speaks()
        carrier.api.fail.extend([ApiAnswer(500), ApiAnswer(500)])
        with log_lines() as lines:
            await stream.raw(b"\x00")
            assert (await stream.ends())[0] == 1003
            await carrier.server.empty()
        (line,) = [line for line in lines if line["event"] == "the call could not be ended at the carrier"]
        assert "plivo answered 500" in str(line)


# --- the media socket -------------------------------------------------------------------------------------------------


async def refused(attempt: Awaitable[object]) -> int:
    """The HTTP status with which an upgrade is answered."""
    with pytest.raises(InvalidStatus) as refusal:
        await attempt
    return refusal.value.response.status_code


async def test_r30_only_our_unused_token_of_plivo_opens_a_stream() -> None:
    async with plivo() as carrier:
        dialled = await carrier.dial()
        twilio = await carrier.server.dial(new_sid("CA"))
        forged = dialled.url[:-1] + ("0" if dialled.url[-1] != "0" else "1")
        crossed = dialled.url.replace(dialled.token, twilio.token)
        for url in (forged, crossed, dialled.url + "0", dialled.url[:-8]):
            assert await refused(carrier.upgrade(url)) == 403
        async with carrier.attach(dialled) as stream:
            await stream.start()
            await stream.speaks()
            assert await refused(carrier.upgrade(dialled.url)) == 403
        assert await carrier.server.metric("tokens_refused_total", reason="used") == 1


@pytest.mark.parametrize("changes", [{"callId": CALL}, {"accountId": "MA" + "Z" * 18}], ids=["call", "account"])
async def test_r30_a_stream_of_another_call_is_closed_at_its_start(changes: dict[str, str]) -> None:
    async with plivo() as carrier, carrier.stream(changes) as stream:
        assert (await stream.ends())[0] == 1008
        assert (await carrier.server.result(stream.call_id))["result"] == "wrong_call"


async def test_a_subaccounts_stream_may_name_another_account() -> None:
    """Which account a subaccount's stream names is not documented; that the call is ours, its signature has said."""
    async with plivo() as carrier:
        form = carrier.form(CALL)
        headers = signed("POST", f"{carrier.server.origin}/plivo/voice", form, AUTH_TOKEN)
        headers["X-Plivo-Signature-V3"] = "of the subaccount's own token"
        stream, _ = elements(await carrier.post("/plivo/voice", form, headers=headers))
        assert isinstance(stream, Stream)
        async with carrier.attach(Dialled(CALL, stream.url, "")) as led:
            await led.start(accountId="SA" + "Z" * 18)
            await led.speaks()


async def test_a_token_of_another_instance_is_good_here() -> None:
    async with plivo() as here, plivo() as there:
        dialled = await here.dial()
        url = dialled.url.replace(here.server.origin[7:], there.server.origin[7:])
        dialled.url = url
        async with there.attach(dialled) as stream:
            await stream.start()
            await stream.speaks()
            assert there.server.board.by_call(dialled.call_id) is not None


async def test_the_upgrades_signature_is_logged_and_decides_nothing() -> None:
    async with plivo() as carrier:
        first, second = await carrier.dial(), await carrier.dial()
        with log_lines() as lines:
            async with carrier.attach(first) as stream:
                await stream.start()
                await stream.speaks()
            async with carrier.server.upgrade(second.url):
                pass
        told = [line["signed_as"] for line in lines if line["event"] == "plivo opens a media socket"]
        assert told[0].startswith("ws://")
        assert told[1] == "nothing known"
        assert first.token not in str(lines)


# --- what flows -------------------------------------------------------------------------------------------------------


async def test_r23_a_binary_frame_ends_the_call() -> None:
    async with plivo() as carrier, carrier.stream() as stream:
        await stream.raw(b"\xff" * 160)
        assert (await stream.ends())[0] == 1003
        assert (await carrier.server.result(stream.call_id))["result"] == "bad_stream"


async def test_r20_five_unreadable_messages_end_the_call() -> None:
    async with plivo() as carrier, carrier.stream() as stream:
        for message in ("[1]", "{", '{"event":"media"}', '{"event":1}', "null"):
            await stream.raw(message)
        assert (await stream.ends())[0] == 1007


async def test_r22_an_oversized_message_ends_the_call() -> None:
    async with plivo() as carrier, carrier.stream() as stream:
        await stream.raw("x" * (1 << 20))
        assert (await stream.ends())[0] == 1009


async def test_r23_a_flood_ends_the_call_and_no_other() -> None:
    async with plivo() as carrier, carrier.stream() as neighbour, carrier.stream() as stream:
        for number in range(1000):
            await stream.frame(b"\xff" * 160, number=number)
        assert (await stream.ends())[0] == 1008
        before = len(neighbour.audio)
        await neighbour.media(speech("hello"))
        await neighbour.until(lambda: len(neighbour.audio) > before)


async def test_r21_broken_audio_is_dropped_and_the_rest_is_heard_unchanged() -> None:
    async with plivo() as carrier, carrier.stream(plays=True) as stream:
        await stream.speaks()
        for payload in ("@@@", "/w", ""):
            await stream.frame(payload, number=0)
        before = len(stream.audio)
        await stream.media(speech("hello"))
        await stream.until(lambda: len(stream.audio) > before)
        assert sum(carrier.server.bridge(stream.call_id).call.stats.bad_frames.values()) == 3


async def test_r24_media_and_keys_before_start_and_a_second_start_are_survived() -> None:
    async with plivo() as carrier, carrier.stream(start=False) as stream:
        await stream.frame(hum(440, 20))
        await stream.dtmf("1")
        await stream.start()
        await stream.start(streamId="other")
        await stream.speaks()
        assert carrier.server.bridge(stream.call_id).call.stats.bad_frames == {
            "media before start": 1,
            "dtmf before start": 1,
            "a second start": 1,
        }


async def test_r24_a_stream_without_a_start_is_closed() -> None:
    async with plivo() as carrier:
        carrier.server.hurry(start_seconds=0.2)
        async with carrier.stream(start=False) as stream:
            assert (await stream.ends())[0] == 1008
            assert (await carrier.server.result(stream.call_id))["result"] == "no_start"


@pytest.mark.parametrize(
    "announced", [{"encoding": "audio/x-opus", "sampleRate": 48000}, None], ids=["unknown", "nothing"]
)
async def test_r25_a_format_that_nobody_knows_is_refused_and_never_noise(announced: object) -> None:
    async with plivo() as carrier, carrier.stream({"mediaFormat": announced}) as stream:
        assert (await stream.ends())[0] == 1003
        assert stream.audio == b""
        assert (await carrier.server.result(stream.call_id))["result"] == "wrong_format"


async def test_r25_a_format_other_than_asked_for_is_converted() -> None:
    announced = {"encoding": "audio/x-l16", "sampleRate": 16000}
    async with plivo() as carrier, carrier.stream({"mediaFormat": announced}, plays=True) as stream:
        stream.format = PCM16_16K
        await stream.speaks(400)
        (first, *_) = [got["media"] for got in stream.got if got["event"] == "playAudio"]
        assert (first["contentType"], first["sampleRate"]) == ("audio/x-l16", 16000)


async def test_complaints_are_logged_and_counted() -> None:
    async with plivo() as carrier, carrier.stream() as stream:
        await stream.speaks()
        with log_lines() as lines:
            await stream.send("error", reason="buffer_overflow")
            await stream.send("playFailed", reason="bad audio")
            await stream.send("clearedAudio")
            await until(lambda: len([line for line in lines if line["event"] == "the carrier complains"]) == 2)
        assert [line["code"] for line in lines if line["event"] == "the carrier complains"] == [
            "buffer_overflow",
            "playFailed",
        ]
        assert carrier.server.bridge(stream.call_id).call.stats.bad_frames == {"complaint of the carrier": 2}


async def test_no_more_is_sent_than_the_carrier_wants_ahead() -> None:
    """Near real time: at most two seconds that nobody has heard, in pieces of at most 200 ms."""
    async with plivo() as carrier, carrier.stream() as stream:
        bridge = carrier.server.bridge(stream.call_id)
        await stream.speaks(1000)
        sizes = [len(got["media"]["payload"]) * 3 // 4 for got in stream.got if got["event"] == "playAudio"]
        assert max(sizes) <= MULAW_8K.size(200) + 2
        assert bridge.call.ledger.ahead_ms(time.monotonic()) <= 2000


async def test_a_barge_in_clears_what_was_not_heard_and_no_checkpoint_is_waited_for() -> None:
    """Plivo returns none of them: the agent must not be taken for speaking until they would be due."""
    async with plivo() as carrier, carrier.stream() as stream:
        await stream.speaks(200)
        ledger = carrier.server.bridge(stream.call_id).call.ledger
        words = speech("hello")
        pause = MULAW_8K.size(1000)
        await stream.media(words[:-pause])
        await stream.until(lambda: any(got["event"] == "clearAudio" for got in stream.got))
        await stream.send("clearedAudio")
        await stream.played(stream.checkpoints[0])  # one that had been played just before
        assert not ledger.speaking(time.monotonic())
        before = len(stream.audio)
        await stream.media(words[-pause:])
        await stream.until(lambda: len(stream.audio) > before)
        assert ledger.counters.lost_marks == 0


async def test_r37_what_is_logged_of_a_call_names_no_number_key_or_token() -> None:
    with log_lines() as lines:
        async with plivo() as carrier, carrier.stream() as stream:
            await stream.speaks()
            await stream.hang_up()
            await carrier.server.empty()
    written = str(lines)
    for secret in (AUTH_TOKEN, CALLER.lstrip("+")):
        assert secret not in written
