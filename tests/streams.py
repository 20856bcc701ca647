"""A carrier whose hand the test leads: one media stream, message by message."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from fakes import News
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tandem_codecs.format import FRAME_MS, MULAW_8K
from tandem_providers.tasks import owned_tasks

if TYPE_CHECKING:
    from servers import Door

FRAME: Final = MULAW_8K.frame_bytes


def new_sid(kind: str) -> str:
    return kind + secrets.token_hex(16)


class Dialled:
    """A call that Twilio has asked about, before its stream."""

    def __init__(self, door: Door, call_sid: str, url: str) -> None:
        self.door = door
        self.call_sid = call_sid
        self.url = url

    @property
    def token(self) -> str:
        return self.url.rpartition("/")[2]

    @asynccontextmanager
    async def stream(self, *, plays: bool = False, door: Door | None = None, **options: Any) -> AsyncIterator[Stream]:
        """The media socket, `connected` said. `door`: another server than the one that was called."""
        url, other = self.url, door or self.door
        if door is not None:
            url = f"{door.origin.replace('http', 'ws', 1)}/twilio/media/{self.token}"
        async with other.upgrade(url, **options) as socket:
            stream = Stream(socket, other, self.call_sid, plays=plays)
            async with owned_tasks() as start:
                listener = start(stream.listen(), name="carrier")
                try:
                    await stream.send("connected", protocol="Call", version="1.0.0")
                    yield stream
                finally:
                    if not stream.closed:  # asyncio minds an abort after the end
                        socket.transport.abort()
                    await listener


class Stream:
    """Twilio's end of one media stream, led by hand. With `plays` a mark is returned at once, as if all were heard."""

    def __init__(self, socket: ClientConnection, door: Door, call_sid: str, *, plays: bool = False) -> None:
        self.socket = socket
        self.door = door
        self.call_sid = call_sid
        self.stream_sid = new_sid("MZ")
        self.plays = plays
        self.got: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self._news = News()
        self._chunk = 0

    # What it is told

    async def listen(self) -> None:
        try:
            async for message in self.socket:
                got = json.loads(message)
                self.got.append(got)
                if self.plays and got["event"] == "mark":
                    await self.mark(got["mark"]["name"])
                self._news.tell()
        except ConnectionClosed:
            pass
        finally:
            self.closed = (self.socket.close_code or 1006, self.socket.close_reason or "")
            self._news.tell()

    @property
    def audio(self) -> bytes:
        """All agent audio so far."""
        return b"".join(base64.b64decode(got["media"]["payload"]) for got in self.got if got["event"] == "media")

    @property
    def marks(self) -> list[str]:
        return [got["mark"]["name"] for got in self.got if got["event"] == "mark"]

    @property
    def events(self) -> list[str]:
        """Kinds of messages in order, repeated ones once."""
        kinds = [got["event"] for got in self.got]
        return [kind for number, kind in enumerate(kinds) if not number or kinds[number - 1] != kind]

    async def until(self, condition: Callable[[], object]) -> None:
        await self._news.until(condition)

    async def speaks(self, milliseconds: float = 20.0) -> None:
        """Wait until so much agent audio has come."""
        await self.until(lambda: len(self.audio) >= MULAW_8K.size(milliseconds))

    async def ends(self) -> tuple[int, str]:
        """Wait for the server to close; with which code and words."""
        await self.until(lambda: self.closed)
        assert self.closed is not None
        return self.closed

    # What it tells

    async def send(self, event: str, **body: Any) -> None:
        await self.raw(json.dumps({"event": event, "streamSid": self.stream_sid, **body}))

    async def raw(self, message: str | bytes) -> None:
        """Whatever it is; nothing happens once the socket is closed."""
        with suppress(ConnectionClosed):
            await self.socket.send(message)

    async def start(self, **changes: Any) -> None:
        body = {
            "accountSid": self.door.account,
            "callSid": self.call_sid,
            "streamSid": self.stream_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {},
            **changes,
        }
        await self.send("start", sequenceNumber="1", start=body)

    async def media(self, audio: bytes) -> None:
        """The caller's voice, in frames, at once."""
        for place in range(0, len(audio), FRAME):
            await self.frame(audio[place : place + FRAME])

    async def frame(self, payload: bytes | str, *, number: int | None = None) -> None:
        """One media message; `payload` goes as it is when it is text."""
        if number is None:
            number = self._chunk
            self._chunk += 1
        text = payload if isinstance(payload, str) else base64.b64encode(payload).decode()
        stamps = {"chunk": str(number + 1), "timestamp": str(number * FRAME_MS)}
        await self.send("media", media={"track": "inbound", **stamps, "payload": text})

    async def dtmf(self, digit: str) -> None:
        await self.send("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    async def mark(self, name: str) -> None:
        await self.send("mark", mark={"name": name})

    async def stop(self) -> None:
        await self.send("stop", stop={"accountSid": self.door.account, "callSid": self.call_sid})
