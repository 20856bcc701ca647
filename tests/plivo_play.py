"""Plivo for tests, led by hand message by message: its webhooks to a server of ours, and its end of a media stream."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import httpx
from fakes import News
from servers import CALLED, CALLER, Tandem, tandem
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tandem.simulators import plivo_rest
from tandem.simulators.plan import CallPlan
from tandem.simulators.plivo_http import signed
from tandem.simulators.plivo_xml import Element, Stream, parse_answer
from tandem_codecs.format import FRAME_MS, MULAW_8K, AudioFormat
from tandem_providers.tasks import owned_tasks

AUTH_ID: Final = "MA" + "P" * 18
AUTH_TOKEN: Final = "planted-plivo-token"


class Plivo:
    """The account that calls `server`, and its REST API."""

    def __init__(self, server: Tandem, api: plivo_rest.Calls) -> None:
        self.server = server
        self.api = api

    def plan(self, **changes: Any) -> CallPlan:
        """A call of the carrier's simulator to this server."""
        origin = self.server.origin
        given = {"status_url": f"{origin}/plivo/status", **changes}
        return CallPlan(f"{origin}/plivo/voice", AUTH_ID, AUTH_TOKEN, **given)

    def form(self, call_id: str, **changes: str) -> dict[str, str]:
        """What Plivo says of a call."""
        return {
            "CallUUID": call_id,
            "From": CALLER.lstrip("+"),
            "To": CALLED.lstrip("+"),
            "Direction": "inbound",
            "CallStatus": "ringing",
            "Event": "StartApp",
            **changes,
        }

    async def post(
        self, path: str, fields: Mapping[str, str], *, key: str = AUTH_TOKEN, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """A form as Plivo signs it; `headers` in place of the right ones."""
        if headers is None:
            headers = signed("POST", f"{self.server.origin}{path}", fields, key)
        return await self.server.http.post(path, data=fields, headers=headers)

    async def get(self, path: str, fields: Mapping[str, str], *, key: str = AUTH_TOKEN) -> httpx.Response:
        """The same with the parameters in the URL."""
        url = str(httpx.URL(f"{self.server.origin}{path}", params=dict(fields)))
        return await self.server.http.get(url, headers=signed("GET", url, {}, key))

    async def voice(self, call_id: str, path: str = "/plivo/voice", **changes: str) -> list[Element]:
        """Ask the answer URL; what it answers."""
        return elements(await self.post(path, self.form(call_id, **changes)))

    async def dial(self, call_id: str | None = None) -> Dialled:
        """Call; answers where to stream."""
        call_id = call_id or str(uuid.uuid4())
        first, *_ = await self.voice(call_id)
        assert isinstance(first, Stream), first
        return Dialled(call_id, first.url, first.extra_headers)

    def upgrade(self, url: str, **options: Any) -> connect:
        """Open a media socket, signed over its own URL."""
        headers = signed("GET", url, {}, AUTH_TOKEN)
        return connect(
            url, additional_headers=headers, compression=None, ping_interval=None, max_size=None, max_queue=None,
            close_timeout=1, proxy=None, **options,
        )  # fmt: skip

    @asynccontextmanager
    async def stream(
        self, changes: Mapping[str, Any] | None = None, *, start: bool = True, plays: bool = False
    ) -> AsyncIterator[Led]:
        """A whole call up to (with `start`) its start message, with `changes` in it. Cut at the end if still open."""
        dialled = await self.dial()
        async with self.attach(dialled, plays=plays) as stream:
            if start:
                await stream.start(**(changes or {}))
            yield stream

    @asynccontextmanager
    async def attach(self, dialled: Dialled, *, plays: bool = False) -> AsyncIterator[Led]:
        """The media socket of a call."""
        async with self.upgrade(dialled.url) as socket:
            stream = Led(socket, dialled.call_id, plays=plays)
            async with owned_tasks() as start:
                listener = start(stream.listen(), name="carrier")
                try:
                    yield stream
                finally:
                    socket.transport.abort()
                    await listener


class Dialled:
    """A call that Plivo has asked about, before its stream."""

    def __init__(self, call_id: str, url: str, extra_headers: str) -> None:
        self.call_id = call_id
        self.url = url
        self.extra_headers = extra_headers

    @property
    def token(self) -> str:
        return self.url.rpartition("/")[2]


class Led:
    """Plivo's end of one media stream. With `plays` a checkpoint is played at once, as if all were heard."""

    def __init__(self, socket: ClientConnection, call_id: str, *, plays: bool = False) -> None:
        self.socket = socket
        self.call_id = call_id
        self.stream_id = str(uuid.uuid4())
        self.format: AudioFormat = MULAW_8K
        self.plays = plays
        self.got: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self._news = News()
        self._sequence = 0
        self._chunk = 0

    # What it is told

    async def listen(self) -> None:
        try:
            async for message in self.socket:
                got = json.loads(message)
                self.got.append(got)
                if self.plays and got["event"] == "checkpoint":
                    await self.played(got["name"])
                self._news.tell()
        except ConnectionClosed:
            pass
        finally:
            self.closed = (self.socket.close_code or 1006, self.socket.close_reason or "")
            self._news.tell()

    @property
    def audio(self) -> bytes:
        """All agent audio so far."""
        return b"".join(base64.b64decode(got["media"]["payload"]) for got in self.got if got["event"] == "playAudio")

    @property
    def checkpoints(self) -> list[str]:
        return [got["name"] for got in self.got if got["event"] == "checkpoint"]

    async def until(self, condition: Callable[[], object]) -> None:
        await self._news.until(condition)

    async def speaks(self, milliseconds: float = 20.0) -> None:
        """Wait until so much agent audio has come."""
        await self.until(lambda: len(self.audio) >= self.format.size(milliseconds))

    async def ends(self) -> tuple[int, str]:
        """Wait for the server to close; with which code and words."""
        await self.until(lambda: self.closed)
        assert self.closed is not None
        return self.closed

    # What it tells

    async def send(self, event: str, **body: Any) -> None:
        self._sequence += 1
        head = {"event": event, "sequenceNumber": self._sequence, "streamId": self.stream_id}
        await self.raw(json.dumps({**head, **body}))

    async def raw(self, message: str | bytes) -> None:
        """Whatever it is; nothing happens once the socket is closed."""
        with suppress(ConnectionClosed):
            await self.socket.send(message)

    async def start(self, **changes: Any) -> None:
        body = {
            "callId": self.call_id,
            "streamId": self.stream_id,
            "accountId": AUTH_ID,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
            **changes,
        }
        await self.send("start", start=body, extra_headers="{}")

    async def media(self, audio: bytes) -> None:
        """The caller's voice, in frames, at once."""
        size = self.format.frame_bytes
        for place in range(0, len(audio), size):
            await self.frame(audio[place : place + size])

    async def frame(self, payload: bytes | str, *, number: int | None = None) -> None:
        """One media message; `payload` goes as it is when it is text."""
        if number is None:
            number = self._chunk
            self._chunk += 1
        text = payload if isinstance(payload, str) else base64.b64encode(payload).decode()
        stamp = str(1_767_323_045_123 + number * FRAME_MS)
        await self.send("media", media={"track": "inbound", "timestamp": stamp, "chunk": number + 1, "payload": text})

    async def dtmf(self, digit: str) -> None:
        await self.send("dtmf", dtmf={"track": "inbound", "digit": digit, "timestamp": "1767323046000"})

    async def played(self, name: str) -> None:
        await self.send("playedStream", name=name)

    async def hang_up(self, code: int = 1000) -> None:
        """The caller is gone: Plivo says nothing more and closes."""
        await self.socket.close(code)


def elements(answer: httpx.Response) -> list[Element]:
    """The document, read as strictly as Plivo does."""
    return parse_answer(answer.status_code, answer.headers.get("content-type", ""), answer.content, plain=True)


@asynccontextmanager
async def plivo(**changes: str | None) -> AsyncIterator[Plivo]:
    """A server of ours with a Plivo account, and that account's API on loopback. Keywords are environment variables."""
    calls = plivo_rest.Calls(AUTH_ID, AUTH_TOKEN)
    async with plivo_rest.serve(calls) as api:
        account: dict[str, str | None] = {
            "PLIVO_AUTH_ID": AUTH_ID,
            "PLIVO_AUTH_TOKEN": AUTH_TOKEN,
            "PLIVO_API_URL": api.url,
        }
        account.update(changes)
        async with tandem(account) as server:
            yield Plivo(server, calls)


async def settle() -> None:
    """Let what is due run."""
    for _ in range(5):
        await asyncio.sleep(0)
