"""Each fault of the simulated OpenAI, as a client meets it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from realtime_client import dial, hum, kinds, of, quiet, sound
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_outlet import UNKNOWN_EVENTS

TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
HEADERS = {"Authorization": "Bearer sk-test"}


def faulty(*faults: str, **options: Any) -> OpenAISimulator:
    return OpenAISimulator(faults=faults, **{"seconds": 1.0, **options})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_refuse_the_first_ones(status: int) -> None:
    async with faulty(f"refuse={status}*2", "retry-after=7") as simulator:
        for _ in range(2):
            with pytest.raises(InvalidStatus) as refusal:
                async with dial(simulator.url):
                    pass
            assert refusal.value.response.status_code == status
            assert refusal.value.response.headers["Retry-After"] == "7"
            assert json.loads(refusal.value.response.body)["error"]["code"]
        async with dial(simulator.url) as client:
            await client.set_up()
        assert [session.refused for session in simulator.sessions] == [status, status, None]


async def test_hang_connect() -> None:
    async with faulty("hang-connect") as simulator:
        connecting = asyncio.create_task(connect(f"{simulator.url}?model=m", additional_headers=HEADERS).__aenter__())
        session = await simulator.session(1)
        assert not connecting.done()
        assert not session.is_over
    with pytest.raises(Exception, match=r"."):
        await connecting
    assert session.close_code == 1006


async def test_hang_connect_until_the_client_gives_up() -> None:
    async with faulty("hang-connect") as simulator:
        connecting = asyncio.create_task(connect(f"{simulator.url}?model=m", additional_headers=HEADERS).__aenter__())
        session = await simulator.session(1)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await session.closed()


async def test_close_on_connect() -> None:
    async with faulty("close-on-connect=1013") as simulator, dial(simulator.url) as client:
        assert await client.close_code() == 1013
        assert client.seen == []


async def test_delay_ready() -> None:
    async with faulty("delay-ready=0.15") as simulator, dial(simulator.url) as client:
        begun = asyncio.get_running_loop().time()
        await client.set_up()
        assert asyncio.get_running_loop().time() - begun >= 0.14


async def test_a_client_need_not_wait_for_a_late_server() -> None:
    async with faulty("delay-ready=600") as simulator:
        async with dial(simulator.url):
            session = await simulator.session(1)
        await session.closed()


async def test_silent() -> None:
    async with faulty("silent") as simulator, dial(simulator.url) as client:
        await client.send("session.update", session={"type": "realtime"})
        # A pong proves that the message before it was read, and that there was no answer.
        await (await client.socket.ping())
        await client.socket.close()
        await client.end()
        assert client.seen == []


async def test_silent_after_ready() -> None:
    async with faulty("silent-after-ready") as simulator, dial(simulator.url) as client:
        await client.set_up()
        await client.send("response.create")
        session = await simulator.session(1)
        await session.until(lambda session: bool(session.record.messages("response.create")))
        await client.socket.close()
        await client.end()
        assert client.seen == []


async def test_no_answer() -> None:
    async with faulty("no-answer") as simulator, dial(simulator.url) as client:
        await client.set_up()
        await client.send("response.create")
        await client.append(hum(400) + quiet(600))
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        assert "input_audio_buffer.committed" in kinds(client.seen)
        assert "response.created" not in kinds(client.seen)


async def test_invalid_key_late() -> None:
    async with faulty("invalid-key-late") as simulator, dial(simulator.url) as client:
        assert (await client.error())["code"] == "invalid_api_key"
        assert await client.close_code() == 3000


async def test_close_after_ready() -> None:
    async with faulty("close-after-ready=1012") as simulator, dial(simulator.url) as client:
        await client.set_up()
        assert await client.close_code() == 1012


async def test_close_mid_response() -> None:
    async with faulty("close-mid-response") as simulator, dial(simulator.url) as client:
        await client.set_up()
        await client.send("response.create")
        assert await client.close_code() == 1011
        assert len(of(client.seen, "response.output_audio.delta")) == 1
    assert simulator.sessions[0].record.said_ms <= 200


async def test_cut_is_a_reset() -> None:
    async with faulty("cut") as simulator, dial(simulator.url) as client:
        await client.set_up()
        await client.send("response.create")
        end = await client.end()
        assert end.rcvd is None
        assert isinstance(end.__cause__, ConnectionResetError)


async def test_paces() -> None:
    spent = []
    for fault, seconds in (("burst=50", 5.0), ("slow=0.5", 0.06)):
        async with faulty(fault, seconds=seconds, delta_ms=(20, 20)) as simulator, dial(simulator.url) as client:
            await client.set_up()
            begun = asyncio.get_running_loop().time()
            await client.respond()
            spent.append(asyncio.get_running_loop().time() - begun)
    assert 0.09 <= spent[0] < 5
    assert spent[1] >= 0.115


async def test_odd_deltas() -> None:
    async with faulty("odd-deltas") as simulator, dial(simulator.url) as client:
        await client.set_up()
        await client.respond()
        deltas = of(client.seen, "response.output_audio.delta")
        assert all(len(sound([delta])) % 2 for delta in deltas[:-1])
        assert len(sound(client.seen)) == 48000


async def test_unknown_events() -> None:
    async with faulty("unknown-events") as simulator, dial(simulator.url) as client:
        await client.set_up()
        await client.respond()
        strange = [event for event in client.seen if event["type"] in UNKNOWN_EVENTS]
        assert len(strange) >= len(client.seen) // 2


async def test_late_deltas() -> None:
    async with faulty("late-deltas", seconds=20.0, pace=4.0) as simulator, dial(simulator.url) as client:
        await client.set_up()
        await client.send("response.create")
        first = await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        await client.until("response.done")
        for _ in range(3):
            assert (await client.until("response.output_audio.delta"))["response_id"] == first["response_id"]


async def test_duplicate_tool_calls() -> None:
    async with (
        faulty("duplicate-tool-calls", script=["call get_weather {}"]) as simulator,
        dial(simulator.url) as client,
    ):
        await client.set_up(tools=[TOOL])
        done = await client.respond()
        assert len(done["output"]) == 1
        for kind in ("response.function_call_arguments.done", "response.output_item.done"):
            assert len(of(client.seen, kind)) == 2


async def test_bad_json() -> None:
    async with faulty("bad-json") as simulator, dial(simulator.url) as client:
        await client.set_up()
        with pytest.raises(json.JSONDecodeError):
            await client.receive()
        assert (await client.respond())["status"] == "completed"


async def test_bad_base64() -> None:
    async with faulty("bad-base64") as simulator, dial(simulator.url) as client:
        await client.set_up()
        assert (await client.respond())["status"] == "completed"
        deltas = of(client.seen, "response.output_audio.delta")
        assert ["@" in delta["delta"] for delta in deltas].index(True) == 1


async def test_session_expired() -> None:
    async with faulty("session-expired=0.05") as simulator, dial(simulator.url) as client:
        assert (await client.error())["code"] == "session_expired"
        assert await client.close_code() == 1000


async def test_quota() -> None:
    async with faulty("quota=connect") as simulator, dial(simulator.url) as client:
        error = await client.error()
        assert error["type"] == error["code"] == "insufficient_quota"
    async with faulty("quota") as simulator, dial(simulator.url) as client:
        await client.set_up()
        failed = await client.respond()
        assert failed["status_details"]["error"]["code"] == "insufficient_quota"


@pytest.mark.parametrize(
    ("fault", "code"),
    [("rate-limited-response", "rate_limit_exceeded"), ("model-not-found", "model_not_found")],
)
async def test_responses_that_fail(fault: str, code: str) -> None:
    async with faulty(fault) as simulator, dial(simulator.url) as client:
        await client.set_up()
        failed = await client.respond()
        assert failed["status"] == "failed"
        assert failed["status_details"]["error"]["code"] == code


async def test_wrong_format() -> None:
    async with faulty("wrong-format") as simulator, dial(simulator.url) as client:
        session = await client.set_up(audio={"output": {"format": {"type": "audio/pcmu"}}})
        assert session["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
        await client.send("session.update", session={"type": "realtime", "instructions": "x"})
        again = await client.until("session.updated")
        assert again["session"]["audio"]["output"]["format"]["type"] == "audio/pcm"
        await client.respond()
        assert len(sound(client.seen)) == 48000


async def test_transcription_failed() -> None:
    async with faulty("transcription-failed") as simulator, dial(simulator.url) as client:
        await client.set_up(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
        await client.append(hum(400) + quiet(600))
        failed = await client.until("conversation.item.input_audio_transcription.failed")
        assert failed["error"]["code"] == "transcription_failed"


async def test_a_hanging_socket_that_asks_for_nothing_holds_up_nobody() -> None:
    async with faulty() as simulator:
        port = urlsplit(simulator.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b""
    writer.close()
