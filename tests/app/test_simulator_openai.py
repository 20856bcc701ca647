"""The simulated OpenAI Realtime server, met by the vendor's own client and by a plain one."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_outlet import UNKNOWN_EVENTS

EVENT_TYPES: dict[str, type[BaseModel]] = {
    get_args(each.model_fields["type"].annotation)[0]: each for each in get_args(get_args(RealtimeServerEvent)[0])
}
MULAW = {"type": "audio/pcmu"}


def validate(event: dict[str, Any]) -> None:
    """Hold an event against the vendor's own type for it."""
    if event["type"] not in UNKNOWN_EVENTS:
        EVENT_TYPES[event["type"]].model_validate(event)


class Plain:
    """A client that knows nothing but JSON."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def append(self, audio: bytes) -> None:
        await self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    async def receive(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(await self.socket.recv())
        validate(event)
        self.seen.append(event)
        return event

    async def until(self, kind: str) -> dict[str, Any]:
        """The next event of that type; those before it are kept in `seen`."""
        while True:
            event = await self.receive()
            if event["type"] == kind:
                return event

    async def error(self) -> dict[str, Any]:
        error: dict[str, Any] = (await self.until("error"))["error"]
        return error

    async def set_up(self, **session: Any) -> dict[str, Any]:
        await self.until("session.created")
        await self.send("session.update", session={"type": "realtime", **session})
        updated: dict[str, Any] = (await self.until("session.updated"))["session"]
        self.seen.clear()
        return updated

    async def ended(self) -> ConnectionClosed:
        """Read on until the end; answers how it came."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as end:
            return end

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.seen]


@asynccontextmanager
async def plain(simulator: OpenAISimulator, **headers: str) -> AsyncIterator[Plain]:
    url = f"{simulator.url}?model=gpt-realtime-2.1"
    sent = {"Authorization": "Bearer sk-test", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with connect(url, additional_headers=sent, max_size=None, compression=None) as socket:
        yield Plain(socket)


def tone(milliseconds: int, level: int = 8000) -> bytes:
    """A hum in 24 kHz PCM."""
    samples = level * np.sin(2 * np.pi * 300 / 24000 * np.arange(24 * milliseconds))
    return samples.astype("<i2").tobytes()


def silence(milliseconds: int) -> bytes:
    return bytes(48 * milliseconds)


def audio_of(events: list[dict[str, Any]]) -> bytes:
    return b"".join(
        base64.b64decode(event["delta"]) for event in events if event["type"] == "response.output_audio.delta"
    )


async def test_the_vendors_own_client_holds_a_turn() -> None:
    async with OpenAISimulator(script=["Hello there, caller."], extras=False) as simulator:
        client = AsyncOpenAI(api_key="sk-test", websocket_base_url=simulator.base_url)
        async with client.realtime.connect(model="gpt-realtime-2.1") as connection:
            assert (await connection.recv()).type == "session.created"
            await connection.session.update(session={"type": "realtime", "instructions": "Be kind."})
            await connection.response.create()
            transcript = ""
            async for event in connection:
                if event.type == "response.output_audio_transcript.delta":
                    transcript += event.delta
                if event.type == "response.done":
                    assert event.response.status == "completed"
                    assert event.response.usage is not None
                    break
        assert transcript == "Hello there, caller."
        for sent in simulator.sessions[0].record.events():
            validate(sent)
        await client.close()


async def test_a_plain_turn_has_the_exact_trace() -> None:
    async with OpenAISimulator(script=["One two"], seconds=0.25, extras=False) as simulator, plain(simulator) as client:
        await client.set_up()
        await client.send("response.create")
        done = await client.until("response.done")
    kinds = [kind for kind in client.kinds() if not kind.endswith(("audio.delta", "transcript.delta"))]
    assert kinds == [
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
    assert done["response"]["output"][0]["content"] == [{"type": "output_audio", "transcript": "One two"}]
    assert len(audio_of(client.seen)) == 12000


async def test_a_turn_is_heard_committed_answered_and_transcribed() -> None:
    async with OpenAISimulator(seconds=0.2) as simulator, plain(simulator) as client:
        await client.set_up(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
        await client.append(silence(500) + tone(1000) + silence(600))
        heard = await client.until("conversation.item.input_audio_transcription.completed")
        started = next(event for event in client.seen if event["type"] == "input_audio_buffer.speech_started")
        stopped = next(event for event in client.seen if event["type"] == "input_audio_buffer.speech_stopped")
        assert started["audio_start_ms"] == 200
        assert stopped["audio_end_ms"] == 1700
        assert heard["item_id"] == started["item_id"] == stopped["item_id"]
        assert heard["transcript"] == "caller spoke 1.5 s"
    order = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done", "response.created"]
    places = [client.kinds().index(kind) for kind in order]
    assert places == sorted(places)


async def test_barge_in_cancels_what_is_being_generated() -> None:
    async with OpenAISimulator(seconds=30, pace=1.0, extras=False) as simulator, plain(simulator) as client:
        await client.set_up()
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.append(tone(200))
        await client.until("input_audio_buffer.speech_started")
        done = await client.until("response.done")
    assert done["response"]["status"] == "cancelled"
    assert done["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["response"]["output"][0]["status"] == "incomplete"


async def test_truncating_goes_no_further_than_what_was_said() -> None:
    async with OpenAISimulator(seconds=1.0) as simulator, plain(simulator) as client:
        await client.set_up()
        await client.send("response.create")
        item = (await client.until("response.done"))["response"]["output"][0]["id"]
        await client.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=1001)
        error = await client.error()
        assert error["message"] == "Audio content of 1000ms is already shorter than 1001ms"
        assert error["code"] is None
        await client.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=400)
        await client.until("conversation.item.truncated")
        assert simulator.sessions[0].record.truncations == [{"item_id": item, "content_index": 0, "audio_end_ms": 400}]


async def test_a_cancel_that_comes_too_late_is_told_so() -> None:
    async with OpenAISimulator(seconds=0.1) as simulator, plain(simulator) as client:
        await client.set_up()
        await client.send("response.cancel", event_id="mine")
        error = await client.error()
        assert error["code"] == "response_cancel_not_active"
        assert error["event_id"] == "mine"


async def test_an_unknown_session_field_refuses_the_whole_update() -> None:
    async with OpenAISimulator() as simulator, plain(simulator) as client:
        await client.set_up(instructions="first")
        await client.send("session.update", session={"type": "realtime", "instructions": "second", "temperature": 0.8})
        error = await client.error()
        assert (error["code"], error["param"]) == ("unknown_parameter", "session.temperature")
        engine = simulator.sessions[0].engine
        assert engine is not None
        assert engine.settings.wire["instructions"] == "first"


async def test_a_reset_is_seen_by_the_client() -> None:
    async with OpenAISimulator(faults=["cut"], seconds=2) as simulator, plain(simulator) as client:
        await client.set_up()
        await client.send("response.create")
        assert (await client.ended()).rcvd is None


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_a_refused_handshake(status: int) -> None:
    async with OpenAISimulator(faults=[f"refuse={status}*1", "retry-after=7"]) as simulator:
        with pytest.raises(InvalidStatus) as refusal:
            async with plain(simulator):
                pass
        assert refusal.value.response.status_code == status
        assert refusal.value.response.headers["Retry-After"] == "7"
        async with plain(simulator) as client:
            await client.until("session.created")
