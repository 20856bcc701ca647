"""A client of OpenAI Realtime that knows nothing but JSON, and the vendor's own types to hold each event against."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import numpy as np
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tandem.simulators.openai_outlet import UNKNOWN_EVENTS
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat
from tandem_codecs.g711 import pcm16_to_alaw, pcm16_to_mulaw

Event = dict[str, Any]
MODEL = "gpt-realtime-2.1"
EVENT_TYPES: dict[str, type[BaseModel]] = {
    get_args(each.model_fields["type"].annotation)[0]: each for each in get_args(get_args(RealtimeServerEvent)[0])
}


def validate(event: Event) -> None:
    """Hold an event against the vendor's type for it; kinds that are meant to be unknown pass."""
    if event["type"] not in UNKNOWN_EVENTS:
        EVENT_TYPES[event["type"]].model_validate(event)


def of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["type"] == kind]


def kinds(events: list[Event]) -> list[str]:
    return [event["type"] for event in events if event["type"] not in UNKNOWN_EVENTS]


def sound(events: list[Event]) -> bytes:
    """All audio of these events."""
    return b"".join(base64.b64decode(event["delta"]) for event in of(events, "response.output_audio.delta"))


def hum(milliseconds: int, level: int = 8000, audio_format: AudioFormat = PCM16_24K) -> bytes:
    """A tone of 300 Hz: loud enough to be taken for speech."""
    count = audio_format.rate // 1000 * milliseconds
    pcm: bytes = (level * np.sin(2 * np.pi * 300 / audio_format.rate * np.arange(count))).astype("<i2").tobytes()
    encode = {MULAW_8K: pcm16_to_mulaw, ALAW_8K: pcm16_to_alaw}.get(audio_format)
    return encode(pcm) if encode is not None else pcm


def quiet(milliseconds: int, audio_format: AudioFormat = PCM16_24K) -> bytes:
    return audio_format.silence(milliseconds)


class RealtimeClient:
    """One connection. `seen` holds what was received since `set_up`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[Event] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def append(self, audio: bytes) -> None:
        await self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    async def receive(self) -> Event:
        event: Event = json.loads(await self.socket.recv())
        validate(event)
        self.seen.append(event)
        return event

    async def until(self, kind: str) -> Event:
        """The next event of that type."""
        while True:
            event = await self.receive()
            if event["type"] == kind:
                return event

    async def set_up(self, **session: Any) -> Event:
        """Configure the session; answers the one in effect."""
        await self.until("session.created")
        await self.send("session.update", session={"type": "realtime", **session})
        updated: Event = (await self.until("session.updated"))["session"]
        self.seen.clear()
        return updated

    async def respond(self, **response: Any) -> Event:
        """Ask for a response and hear it to its end."""
        await self.send("response.create", response=response)
        done: Event = (await self.until("response.done"))["response"]
        return done

    async def error(self) -> Event:
        """The next error."""
        error: Event = (await self.until("error"))["error"]
        return error

    async def end(self) -> ConnectionClosed:
        """Read on until the connection ends; answers how."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as end:
            return end

    async def close_code(self) -> int | None:
        """Read on until the connection ends; None when it just broke."""
        received = (await self.end()).rcvd
        return None if received is None else received.code


@asynccontextmanager
async def dial(
    url: str, query: str = f"model={MODEL}", key: str = "sk-test", **headers: str
) -> AsyncIterator[RealtimeClient]:
    """Connect; header names are written with underscores."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if key:
        sent["Authorization"] = f"Bearer {key}"
    async with connect(f"{url}?{query}", additional_headers=sent, max_size=None, compression=None) as socket:
        yield RealtimeClient(socket)
