"""The simulated OpenAI Realtime server, met by the vendor's own client and by a plain one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from realtime_client import MODEL, dial, hum, kinds, of, quiet, sound, validate
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tandem.simulators.openai import OpenAISimulator, serve
from tandem.simulators.openai_script import FunctionCall, Reply

TOOL = {"type": "function", "name": "get_weather", "description": "", "parameters": {"type": "object"}}


@asynccontextmanager
async def vendor(simulator: OpenAISimulator, **session: Any) -> AsyncIterator[AsyncRealtimeConnection]:
    """The vendor's own client, set up; afterwards everything that was sent to it is checked."""
    asked: Any = {"type": "realtime", **session}
    async with (
        AsyncOpenAI(api_key="sk-test", websocket_base_url=simulator.base_url) as client,
        client.realtime.connect(model=MODEL) as connection,
    ):
        assert (await connection.recv()).type == "session.created"
        await connection.session.update(session=asked)
        await until(connection, "session.updated")
        yield connection
    for session_ in simulator.sessions:
        for event in session_.record.events():
            validate(event)


async def until(connection: AsyncRealtimeConnection, kind: str) -> Any:
    async for event in connection:
        if event.type == kind:
            return event
    raise AssertionError(f"the connection ended before any {kind}")


def base64_of(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


# The vendor's own client.


async def test_a_plain_turn() -> None:
    async with OpenAISimulator(script=["Hello there, caller."]) as simulator, vendor(simulator) as connection:
        await connection.response.create()
        transcript, audio = "", b""
        async for event in connection:
            if event.type == "response.output_audio_transcript.delta":
                transcript += event.delta
            elif event.type == "response.output_audio.delta":
                audio += base64.b64decode(event.delta)
            elif event.type == "response.done":
                break
        assert event.type == "response.done"
        assert event.response.status == "completed"
        assert event.response.usage is not None
        assert transcript == "Hello there, caller."
        assert len(audio) == 24 * 2 * 60 * len(transcript)


async def test_a_barge_in_and_a_truncation() -> None:
    async with OpenAISimulator(seconds=30.0, pace=4.0) as simulator, vendor(simulator) as connection:
        await connection.response.create()
        item_id = (await until(connection, "response.output_audio.delta")).item_id
        await connection.input_audio_buffer.append(audio=base64_of(hum(200)))
        await until(connection, "input_audio_buffer.speech_started")
        done = await until(connection, "response.done")
        assert done.response.status == "cancelled"
        assert done.response.status_details.reason == "turn_detected"
        truncate = connection.conversation.item.truncate
        await truncate(item_id=item_id, content_index=0, audio_end_ms=29_000)
        error = (await until(connection, "error")).error
        assert "is already shorter than 29000ms" in error.message
        await truncate(item_id=item_id, content_index=0, audio_end_ms=50)
        assert (await until(connection, "conversation.item.truncated")).audio_end_ms == 50


async def test_a_function_call() -> None:
    script = [Reply("One moment.", (FunctionCall("get_weather", '{"city":"Rome"}'),)), Reply("It is sunny.")]
    async with OpenAISimulator(script=script) as simulator, vendor(simulator, tools=[TOOL]) as connection:
        await connection.response.create()
        call = await until(connection, "response.function_call_arguments.done")
        assert (call.name, call.arguments) == ("get_weather", '{"city":"Rome"}')
        await until(connection, "response.done")
        item: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        spoken = await until(connection, "response.output_audio_transcript.done")
        assert spoken.transcript == "It is sunny."


async def test_text() -> None:
    async with OpenAISimulator() as simulator, vendor(simulator, output_modalities=["text"]) as connection:
        text = [{"type": "input_text", "text": 'Please say exactly: "Four words of text."'}]
        item: Any = {"type": "message", "role": "user", "content": text}
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        assert (await until(connection, "response.output_text.done")).text == "Four words of text."


# A plain one.


async def test_a_plain_turn_has_the_exact_trace() -> None:
    async with OpenAISimulator(script=["One two"], seconds=0.25) as simulator, dial(simulator.url) as client:
        await client.set_up()
        done = await client.respond()
    trace = [kind for kind in kinds(client.seen) if not kind.endswith(("audio.delta", "transcript.delta"))]
    assert trace == [
        "response.created",
        "rate_limits.updated",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "One two"}]
    assert len(sound(client.seen)) == 12000


async def test_a_turn_is_heard_committed_answered_and_transcribed() -> None:
    async with OpenAISimulator(seconds=0.2) as simulator, dial(simulator.url) as client:
        await client.set_up(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
        await client.append(quiet(500) + hum(1000) + quiet(600))
        heard = await client.until("conversation.item.input_audio_transcription.completed")
    (started,) = of(client.seen, "input_audio_buffer.speech_started")
    (stopped,) = of(client.seen, "input_audio_buffer.speech_stopped")
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (200, 1700)
    assert heard["item_id"] == started["item_id"] == stopped["item_id"]
    assert heard["transcript"] == "caller spoke 1.5 s"
    order = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done", "response.created"]
    places = [kinds(client.seen).index(kind) for kind in order]
    assert places == sorted(places)


async def test_what_a_client_did_can_be_inspected() -> None:
    async with OpenAISimulator() as simulator:
        async with dial(simulator.url, query=f"model={MODEL}&x=1", OpenAI_Safety_Identifier="abc") as client:
            await client.set_up(instructions="Be kind.")
            await client.append(quiet(60))
            session = await simulator.session(1)
            await session.until(lambda session: session.record.appends == 1)
        await session.closed()
    assert session.headers["authorization"] == "Bearer sk-test"
    assert session.headers["openai-safety-identifier"] == "abc"
    assert session.query == {"model": MODEL, "x": "1"}
    assert session.record.messages("session.update")[0]["session"]["instructions"] == "Be kind."
    assert bytes(session.record.audio) == quiet(60)
    assert session.close_code == 1000
    assert session.report().startswith("session 1: 0.0 s, heard 0.1 s, said 0.0 s in 0 responses; closed with 1000")


async def test_speech_in_real_time_goes_on_by_itself() -> None:
    async with OpenAISimulator(seconds=0.3, pace=3.0, latency=0.02) as simulator, dial(simulator.url) as client:
        await client.set_up()
        begun = asyncio.get_running_loop().time()
        await client.respond()
        assert asyncio.get_running_loop().time() - begun >= 0.11


async def test_many_sessions_at_once() -> None:
    async with OpenAISimulator(seconds=0.5) as simulator:

        async def call() -> int:
            async with dial(simulator.url) as client:
                await client.set_up()
                await client.respond()
                return len(sound(client.seen))

        assert await asyncio.gather(*(call() for _ in range(30))) == [24_000] * 30
        assert len(simulator.sessions) == 30


# The door.


async def test_a_key_is_wanted() -> None:
    async with OpenAISimulator(key="sk-right") as simulator:
        for key in ("", "sk-wrong"):
            with pytest.raises(InvalidStatus) as refusal:
                async with dial(simulator.url, key=key):
                    pass
            assert refusal.value.response.status_code == 401
            assert b"invalid_api_key" in refusal.value.response.body
        async with dial(simulator.url, key="sk-right") as client:
            await client.until("session.created")


async def test_a_bad_key_may_be_refused_late() -> None:
    async with OpenAISimulator(key="sk-right", key_refusal="late") as simulator, dial(simulator.url) as client:
        assert (await client.error())["code"] == "invalid_api_key"
        end = (await client.end()).rcvd
    assert end is not None
    assert (end.code, end.reason) == (3000, "invalid_request_error.invalid_api_key")


async def test_a_browsers_key_comes_as_a_subprotocol() -> None:
    protocols: Any = ["realtime", "openai-insecure-api-key.sk-test"]
    async with (
        OpenAISimulator(key="sk-test") as simulator,
        connect(f"{simulator.url}?model={MODEL}", subprotocols=protocols) as socket,
    ):
        assert socket.subprotocol == "realtime"


@pytest.mark.parametrize(
    ("query", "code"),
    [("", "missing_model"), ("model=gpt-live-1", "invalid_model"), (f"model={MODEL}&intent=chat", "invalid_intent")],
)
async def test_a_bad_query_is_refused_after_the_handshake(query: str, code: str) -> None:
    async with OpenAISimulator() as simulator, dial(simulator.url, query=query) as client:
        assert (await client.error())["code"] == code
        end = (await client.end()).rcvd
    assert end is not None
    assert (end.code, end.reason) == (4000, f"invalid_request_error.{code}")


async def test_the_beta_header_is_refused() -> None:
    async with OpenAISimulator() as simulator, dial(simulator.url, OpenAI_Beta="realtime=v1") as client:
        assert (await client.error())["code"] == "beta_api_shape_disabled"
        assert await client.close_code() == 4000


async def test_other_addresses_are_not_found() -> None:
    async with OpenAISimulator() as simulator:
        with pytest.raises(InvalidStatus) as refusal:
            async with dial(simulator.url.replace("realtime", "elsewhere")):
                pass
    assert refusal.value.response.status_code == 404


async def test_leaving_closes_all_connections() -> None:
    async with OpenAISimulator() as simulator:
        connection = dial(simulator.url)
        client = await connection.__aenter__()
        await client.until("session.created")
        ending = asyncio.create_task(client.close_code())
    assert await ending == 1001
    await connection.__aexit__(None, None, None)


async def test_a_bug_of_the_simulator_is_not_hidden() -> None:
    simulator = OpenAISimulator(voice="echo", script=[Reply("x", voice="no such voice")])
    await simulator.__aenter__()
    async with dial(simulator.url) as client:
        await client.set_up()
        await client.send("response.create")
        assert await client.close_code() is None
    with pytest.raises(ExceptionGroup) as bug:
        await simulator.__aexit__(None, None, None)
    assert bug.group_contains(ValueError, match="no voice")


async def test_serving_for_a_command_line() -> None:
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    reports: asyncio.Queue[str] = asyncio.Queue()
    serving = asyncio.create_task(
        serve(
            "127.0.0.1",
            0,
            ["refuse=429*1"],
            on_listening=listening.set_result,
            on_report=reports.put_nowait,
            voice="tone:440",
        )
    )
    url = await listening
    with pytest.raises(InvalidStatus):
        async with dial(url):
            pass
    assert await reports.get() == "session 1: refused with HTTP 429; faults: refuse"
    async with dial(url) as client:
        await client.until("session.created")
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
