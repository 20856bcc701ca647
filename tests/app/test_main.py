"""The assembled server: as `uvicorn tandem.main:app` on protocols of its own, and over plain ASGI."""

from __future__ import annotations

import asyncio
import signal

import pytest
from children import Child, child
from servers import CALLER, new_sid, tandem
from sounds import speech

from tandem.main import app, create_app
from tandem.simulators.phone import At
from tandem.simulators.twilio import place_call
from tandem_codecs.format import MULAW_8K


def test_the_application_has_a_name_and_needs_no_environment_to_be_imported() -> None:
    assert app.title == "Tandem"
    assert create_app() is not app


async def test_plain_uvicorn_carries_a_call() -> None:
    """No protocol classes of ours: frames go by ordinary ASGI, and a call sounds the same."""
    async with child("uvicorn") as running, running.stream(plays=True) as stream:
        await stream.speaks(4500)
        before = len(stream.audio)
        await stream.media(speech())
        await stream.until(lambda: len(stream.audio) > before + MULAW_8K.size(1500))
        await stream.dtmf("9")
        assert await stream.ends() == (1000, "agent_hung_up")
        assert (await running.result(stream.call_sid))["caller_turns"] == 2, "words, and a key"
        await _reveals_nothing(running)
    assert "Traceback" not in running.output


async def _reveals_nothing(running: Child) -> None:
    dialled = await running.dial(new_sid("CA"))
    await running.get("/twilio/voice", running.form(dialled.call_sid))
    running.signal(signal.SIGTERM)
    await running.post("/twilio/status", running.form(dialled.call_sid, CallStatus="completed"))
    async with asyncio.timeout(5):
        assert await running.process.wait() in (0, -signal.SIGTERM), "uvicorn itself ends by its signal"
    assert dialled.token not in running.output
    assert CALLER.lstrip("+") not in running.output


async def test_plain_asgi_in_this_process_is_heard_by_the_simulated_carrier() -> None:
    async with tandem(plain=True) as server:
        report = await place_call(server.plan(audio=speech(), hang_up=At(1200), seconds=8))
        assert report.went_well, report
        assert report.clears == 1, "the caller spoke into the greeting"
        assert report.underruns == 0
        record = await server.result(report.call_sid)
        assert record["result"] == "caller_hung_up"


@pytest.mark.parametrize("plain", [False, True])
async def test_a_stream_that_says_nothing_is_closed_on_either_path(plain: bool) -> None:
    async with tandem(plain=plain) as server:
        server.hurry(start_seconds=0.2)
        async with server.stream(start=False) as stream:
            assert await stream.ends() == (1008, "no_start")


async def test_the_server_writes_no_access_log() -> None:
    """A path may be a token and a query has numbers in it; each call has its own line instead."""
    async with child() as running:
        call_sid = new_sid("CA")
        await running.get("/twilio/voice", running.form(call_sid))
        await running.post("/twilio/status", running.form(call_sid, CallStatus="canceled"))
        running.signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await running.process.wait() == 0
    assert [line["result"] for line in running.lines if line["event"] == "call ended"] == ["caller_hung_up"]
    assert not [line for line in running.lines if line["logger"] == "uvicorn.access"]
    assert CALLER.lstrip("+") not in running.output
