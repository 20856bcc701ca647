"""The operators' doors over real sockets: health, readiness, metrics, calls."""

from __future__ import annotations

import pytest
from servers import API_TOKEN, bearer, new_sid, tandem
from sounds import speech

from tandem_codecs.format import MULAW_8K


async def test_healthz_says_that_the_process_is_alive() -> None:
    async with tandem() as server:
        answer = await server.http.get("/healthz")
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        assert answer.json()["carriers"] == ["twilio"]
        server.board.draining = True
        assert (await server.http.get("/healthz")).status_code == 200, "who drains is alive"


@pytest.mark.parametrize("plain", [False, True])
async def test_who_only_wants_the_status_sends_head(plain: bool) -> None:
    async with tandem(plain=plain) as server:
        for path in ("/healthz", "/readyz", "/metrics"):
            whole, head = await server.http.get(path), await server.http.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == whole.headers["content-type"], path
        server.board.draining = True
        assert (await server.http.head("/readyz")).status_code == 503
        assert "head" not in (await server.http.get("/openapi.json")).json()["paths"]["/readyz"]


async def test_readyz_tells_whether_and_why_not() -> None:
    async with tandem(MAX_CALLS="1") as server:
        answer = await server.http.get("/readyz")
        assert answer.status_code == 200
        told = answer.json()
        assert told["ready"] is True
        assert told["reasons"] == []
        assert (told["calls"], told["max_calls"], told["providers"]) == (0, 1, ["echo"])
        await server.dial()
        answer = await server.http.get("/readyz")
        assert (answer.status_code, answer.json()["reasons"], answer.json()["calls"]) == (503, ["full"], 1)
        server.board.draining = True
        answer = await server.http.get("/readyz")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["draining"])


async def test_readyz_tells_what_is_probably_not_meant() -> None:
    async with tandem(TWILIO_ACCOUNT_SID=None, TWILIO_AUTH_TOKEN=None) as server:
        assert any("demo account" in note for note in (await server.http.get("/readyz")).json()["notes"])
    async with tandem(
        TWILIO_ACCOUNT_SID=None, TWILIO_AUTH_TOKEN=None, PROVIDERS="openai", OPENAI_API_KEY="planted-key"
    ) as server:
        notes = (await server.http.get("/readyz")).json()["notes"]
        assert any("TWILIO_ACCOUNT_SID" in note for note in notes)


async def test_metrics_are_prometheus_text_and_follow_the_calls() -> None:
    async with tandem() as server:
        answer = await server.http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert await server.metric("calls_live") == 0
        async with server.stream() as stream:
            await stream.speaks(4000)
            assert await server.metric("calls_live") == 1
            await stream.media(b"\xff" * 1600)
            await stream.stop()
            await stream.ends()
        await server.empty()
        assert await server.metric("calls_live") == 0
        assert await server.metric("calls_total", carrier="twilio", result="caller_hung_up") == 1
        assert await server.metric("provider_attempts_total", provider="echo", outcome="ready") == 1
        assert await server.metric("media_frames_total", direction="in") == 10
        assert await server.metric("media_frames_total", direction="out") > 10
        assert await server.metric("first_audio_seconds_count") == 1
        assert await server.metric("call_seconds_count") == 1


@pytest.mark.parametrize("path", ["/calls", "/calls/CA1"])
async def test_calls_are_for_who_knows_the_token(path: str) -> None:
    async with tandem() as server:
        for headers in (
            {},
            bearer("wrong"),
            {"Authorization": "Bearer"},
            bearer(API_TOKEN + "x"),
            bearer(API_TOKEN[:-1]),
            {"Authorization": f"Basic {API_TOKEN}"},
            {"Authorization": API_TOKEN},
            {b"Authorization": b"Bearer \xff\xfe"},
        ):
            answer = await server.http.get(path, headers=headers)
            assert answer.status_code == 401, headers
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await server.http.get(f"{path}?token={API_TOKEN}")).status_code == 401


async def test_calls_list_live_ones_first_and_ended_ones_newest_first() -> None:
    async with tandem() as server:
        first, second, third = [await server.dial() for _ in range(3)]
        for dialled in (first, second):
            await server.post("/twilio/status", server.form(dialled.call_sid, CallStatus="completed"))
            await server.result(dialled.call_sid)
        records = await server.calls()
        assert [record["call_id"] for record in records] == [third.call_sid, second.call_sid, first.call_sid]
        assert [record["state"] for record in records] == ["ringing-ready", "ended", "ended"]
        assert all("transcript" not in record for record in records)


async def test_a_call_is_shown_with_what_was_heard() -> None:
    async with tandem() as server, server.stream(plays=True) as stream:
        await stream.speaks(4500)
        record = await server.record(stream.call_sid)
        assert record["provider"] == "echo"
        assert record["state"] == "talking"
        assert record["result"] is None
        assert record["first_audio_seconds"] < 0.5
        greeting = len(stream.audio)
        await stream.until(lambda: stream.got[-1]["event"] == "mark")
        await stream.media(speech())
        await stream.until(lambda: len(stream.audio) > greeting + MULAW_8K.size(1000))
        record = await server.record(stream.call_sid)
        assert record["caller_turns"] == 1
        assert len(record["turn_latency_seconds"]) == 1
        assert [line["role"] for line in record["transcript"]] == ["agent", "caller", "agent"][
            : len(record["transcript"])
        ]
        first = record["transcript"][0]
        assert first["text"]
        assert first["heard_ms"] > 4000
        assert first["interrupted"] is False


async def test_a_call_that_nobody_knows_is_not_found() -> None:
    async with tandem() as server:
        assert (await server.http.get(f"/calls/{new_sid('CA')}", headers=bearer())).status_code == 404


async def test_the_interface_describes_itself() -> None:
    async with tandem() as server:
        paths = (await server.http.get("/openapi.json")).json()["paths"]
        assert {"/calls", "/calls/{call_id}", "/healthz", "/readyz", "/metrics"} <= paths.keys()
        assert (await server.http.get("/docs")).status_code == 200
