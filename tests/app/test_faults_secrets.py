"""Nothing private in what is written, and nothing started with settings that cannot work (R37, R39)."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping

import pytest
from children import Child, child, clean
from servers import API_TOKEN, AUTH_TOKEN, CALLED, CALLER, SECRET_KEY, bearer, environment, new_sid
from sounds import speech
from websockets.exceptions import InvalidStatus

from tandem.carriers.twilio_webhook import signature
from tandem.serve import listen
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_script import Reply

KEY = "planted-openai-key-0123456789"
WORDS = "My pin is four seven one one"


async def everything(running: Child) -> list[str]:
    """Every way to get something private into a log; answers the tokens that were used."""
    seen = []
    async with running.stream(plays=True) as stream:
        await stream.speaks(500)
        await stream.media(speech())
        await stream.dtmf("7")
        await stream.raw('{"event":"media","media":{"payload":"' + WORDS + '"}}')
        await stream.until(lambda: len(stream.audio) > 4000)
        seen.append(stream.socket.request.path.rpartition("/")[2] if stream.socket.request else "")
        await stream.stop()
        await stream.ends()
    form = running.form(new_sid("CA"), CallerName=WORDS)
    await running.get("/twilio/voice", form)
    await running.post("/twilio/voice", form, key="planted-wrong-key")
    await running.post("/twilio/status", {**form, "CallStatus": "canceled"})
    await running.http.get("/calls", headers=bearer("planted-wrong-token"))
    await running.http.get(f"/calls?token={API_TOKEN}", headers=bearer())
    dialled = await running.dial()
    seen.append(dialled.token)
    with pytest.raises(InvalidStatus):
        await running.upgrade(dialled.url, key="planted-wrong-key")
    await running.post("/twilio/status", running.form(dialled.call_sid, CallStatus="completed"))
    seen.append(signature(dialled.url, (), running.auth_token))
    return seen


@pytest.mark.parametrize("how", ["serve", "uvicorn"])
async def test_r37_no_secret_no_number_and_no_word_is_written_even_when_debugging(how: str) -> None:
    script = [Reply(WORDS, seconds=0.5), Reply(WORDS, seconds=0.5)]
    async with OpenAISimulator(script=script, transcripts=[WORDS] * 3) as simulator:
        async with child(
            "serve" if how == "serve" else "uvicorn",
            LOG_LEVEL="debug",
            PROVIDERS="openai",
            OPENAI_API_KEY=KEY,
            OPENAI_REALTIME_URL=simulator.url,
            INSTRUCTIONS=f"Never say: {WORDS}",
        ) as running:
            tokens = await everything(running)
            running.signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                await running.process.wait()
        assert "call ended" in running.output
        for planted in (AUTH_TOKEN, API_TOKEN, SECRET_KEY, KEY, "planted-wrong", WORDS, *tokens):
            assert planted not in running.output, planted
        for number in (CALLER, CALLED):
            assert number.lstrip("+") not in running.output
            assert number.replace("+", "%2B") not in running.output
        assert "Traceback" not in running.output


async def refused(changes: Mapping[str, str | None]) -> tuple[int | None, str, float]:
    """`tandem serve` with these settings: its exit status, what it wrote, and how long that took."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tandem", "serve",
        env={**clean(), **environment(1, changes)}, cwd="/",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(15):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode(), time.monotonic() - began


BAD: dict[str, dict[str, str | None]] = {
    "MAX_CALLS": {"MAX_CALLS": "many"},
    "OPENAI_API_KEY": {"PROVIDERS": "openai"},
    "TWILIO_AUTH_TOKEN": {"TWILIO_AUTH_TOKEN": None},
    "PUBLIC_URL": {"PUBLIC_URL": "voice.example.com/path"},
    "OPENAI_VIOCE": {"OPENAI_VIOCE": "x"},
    "PROVIDERS": {"PROVIDERS": "openia"},
}


async def test_r39_settings_that_cannot_work_end_it_with_2_before_it_listens_and_say_what_to_fix() -> None:
    for first in range(0, len(BAD), 2):
        names = [*BAD][first : first + 2]
        results = await asyncio.gather(*(refused(BAD[name]) for name in names))
        for name, (status, output, took) in zip(names, results, strict=True):
            assert status == 2, (name, output)
            assert name in output, output
            assert "Traceback" not in output
            assert AUTH_TOKEN not in output
            assert took < 6, "2 s on a quiet machine; here two at once on shared cores"


async def test_r39_no_key_at_all_is_the_embedded_provider() -> None:
    async with child(
        TWILIO_ACCOUNT_SID=None, TWILIO_AUTH_TOKEN=None, PROVIDERS=None, SECRET_KEY=None, API_TOKEN=None
    ) as running:
        ready = (await running.http.get("/readyz")).json()
        assert ready["providers"] == ["echo"]
        assert ready["ready"] is True
        assert any("demo account" in note for note in ready["notes"])


async def test_r39_an_address_that_is_taken_is_said_and_ends_it() -> None:
    with listen("127.0.0.1", 0) as taken:
        async with child(ready=False, PORT=str(taken.getsockname()[1])) as running:
            async with asyncio.timeout(10):
                assert await running.process.wait() == 1
        assert "Traceback" not in running.output
    assert any("listen" in line["event"] for line in running.lines)
