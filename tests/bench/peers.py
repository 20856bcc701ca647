"""Both far ends of many calls, in one lean process: a carrier that calls, a provider that answers, and one clock.

Each side talks all the time, a frame every 20 ms, the calls spread evenly over those 20 ms. That is heavier than any
real call. The provider speaks as much of OpenAI Realtime as an audio session takes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
import secrets
import time
from binascii import a2b_base64, b2a_base64
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx
import numpy as np

from tandem.carriers.twilio_webhook import signature
from tandem.simulators.plan import CallPlan
from tandem.simulators.twilio_http import Webhooks
from tandem.simulators.twilio_twiml import Connect
from tandem_codecs.convert import Converter
from tandem_codecs.format import FRAME_MS, MULAW_8K, PCM16_8K, PCM16_24K, AudioFormat
from tandem_providers.frame_socket import Connection, Limits
from tandem_providers.provider import Dial
from tandem_providers.wire import open_socket

from .measure import Track

ACCOUNT, TOKEN = "AC" + "b" * 32, "bench-token"
SLOTS = 20
NOT_YET = (math.inf, math.inf)
"""What is sent while calls are set up does not count for latency."""
TRACK_SECONDS = 5
_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DELTA = b'{"type":"response.output_audio.delta","event_id":"event_1","response_id":"resp_1","item_id":"item_1",'
_DELTA += b'"output_index":0,"content_index":0,"delta":"%b"}'
_MEDIA = b'{"event":"media","sequenceNumber":"%d","media":{"track":"inbound","chunk":"%d","timestamp":"%d",'
_MEDIA += b'"payload":"%b"},"streamSid":"%b"}'


def cut(data: bytes, field: bytes) -> bytes | None:
    """The string that follows `field` in a JSON text, unless it is not there."""
    start = data.find(field) + len(field)
    return data[start : data.index(b'"', start)] if start >= len(field) else None


def provider_format(mode: str) -> AudioFormat:
    return PCM16_24K if mode == "pcm16" else MULAW_8K


def session_update(mode: str) -> bytes:
    kind = {"type": "audio/pcm", "rate": 24000} if mode == "pcm16" else {"type": "audio/pcmu"}
    session = {"type": "realtime", "audio": {"input": {"format": kind}, "output": {"format": kind}}}
    return json.dumps({"type": "session.update", "session": session}).encode()


def noise(audio_format: AudioFormat, seed: int) -> list[bytes]:
    """Frames of sound that nowhere repeats itself, so that each piece of it can be told from any other."""
    samples = audio_format.rate * TRACK_SECONDS
    raw = np.random.default_rng(seed).normal(0, 4000, samples + 16)
    smooth = np.convolve(raw, np.ones(8 if audio_format is PCM16_24K else 3) / 3, "same")[:samples]
    audio = smooth.clip(-32000, 32000).astype("<i2").tobytes()
    if audio_format is MULAW_8K:
        audio = Converter(PCM16_8K, MULAW_8K).feed(audio)
    size = audio_format.frame_bytes
    return [audio[at : at + size] for at in range(0, len(audio), size)]


@dataclass
class Sounds:
    """What is said: the same for all runs of a mode, encoded once."""

    caller: list[list[tuple[bytes, bytes]]]
    """Frames and their base64."""
    provider: list[list[tuple[bytes, bytes]]]
    """Frames and their whole messages."""

    @classmethod
    def of(cls, mode: str) -> Sounds:
        caller = [[(f, b2a_base64(f, newline=False)) for f in noise(MULAW_8K, seed)] for seed in range(8)]
        voices = [noise(provider_format(mode), 100 + seed) for seed in range(8)]
        return cls(caller, [[(f, _DELTA % b2a_base64(f, newline=False)) for f in voice] for voice in voices])


class Call:
    """One call, seen from both its ends."""

    def __init__(self, number: int, sounds: Sounds, mode: str) -> None:
        self.number = number
        self.up = Track(MULAW_8K, provider_format(mode), NOT_YET)
        self.down = Track(provider_format(mode), MULAW_8K, NOT_YET)
        self.carrier: Connection | None = None
        self.provider: Connection | None = None
        self.talking = False
        self.speaking = False
        self.connected_at = self.first_audio_at = self.interrupted_at = self.clear_at = 0.0
        self.problems: list[str] = []
        self._words = sounds.caller[number % 8]
        self._voice = sounds.provider[number % 8]
        self._stream = b"MZ" + secrets.token_hex(16).encode()
        self._said = self._spoken = 0
        self._plays_until = 0.0
        self._marks: deque[tuple[float, str]] = deque()

    # The carrier's end

    def on_message(self, data: bytes, is_text: bool) -> None:
        now = time.monotonic()
        payload = cut(data, b'"payload":"')
        if payload is not None:
            if not self.first_audio_at:
                self.first_audio_at = now
            audio = a2b_base64(payload)
            if not self.interrupted_at:
                self.down.hear(now, audio)
            self._plays_until = max(now, self._plays_until) + len(audio) / 8000
            return
        message = json.loads(data)
        if message["event"] == "mark":
            self._marks.append((self._plays_until, message["mark"]["name"]))
        elif message["event"] == "clear":
            self.clear_at = self.clear_at or now
            self._plays_until = now
            self._marks = deque((now, name) for _, name in self._marks)

    def on_close(self, code: int, reason: str) -> None:
        if self.talking:
            self.problems.append(f"carrier's socket closed: {code} {reason}")
        self.talking = False

    def start(self, parameters: dict[str, str]) -> None:
        assert self.carrier is not None
        self.connected_at = time.monotonic()
        start = {
            "streamSid": self._stream.decode(),
            "accountSid": ACCOUNT,
            "callSid": call_sid(self.number),
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": parameters,
        }
        self._tell({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        self._tell({"event": "start", "sequenceNumber": "1", "start": start, "streamSid": self._stream.decode()})
        self.talking = True

    def hang_up(self) -> None:
        self.talking = self.speaking = False
        if self.carrier is not None:
            self._tell({"event": "stop", "stop": {"accountSid": ACCOUNT, "callSid": call_sid(self.number)}})
            self.carrier.close()

    def _tell(self, message: dict[str, Any]) -> None:
        assert self.carrier is not None
        self.carrier.send_text(json.dumps(message).encode())

    def tick(self, talk: bool) -> None:
        """Twenty milliseconds of both."""
        now = time.monotonic()
        if self.talking and self.carrier is not None:
            if talk:
                frame, payload = self._words[self._said % len(self._words)]
                self._said += 1
                self.up.send(now, frame)
                at = self._said
                self.carrier.send_text(_MEDIA % (at + 1, at, at * FRAME_MS, payload, self._stream))
            while self._marks and self._marks[0][0] <= now:
                name = self._marks.popleft()[1]
                self._tell({"event": "mark", "streamSid": self._stream.decode(), "mark": {"name": name}})
        if self.speaking and talk:
            self.speak(now)

    # The provider's end

    def speak(self, now: float) -> None:
        """One more frame of the answer."""
        assert self.provider is not None
        frame, message = self._voice[self._spoken % len(self._voice)]
        self._spoken += 1
        self.down.send(now, frame)
        self.provider.send_text(message)

    def finish_answer(self) -> None:
        """The answer is complete: its tail must arrive all the same."""
        self.speaking = False
        for kind in ("response.output_audio.done", "response.done"):
            self.say(kind, response_id="resp_1", item_id="item_1", response={"id": "resp_1", "status": "completed"})

    def interrupt(self) -> None:
        """A second of audio at once, then the caller speaks up: the carrier has to be told to throw it away."""
        assert self.provider is not None
        self.say("response.created", response={"id": "resp_2", "status": "in_progress"})
        self.interrupted_at = time.monotonic()
        for _, message in self._voice[:50]:
            self.provider.send_text(message.replace(b"resp_1", b"resp_2").replace(b"item_1", b"item_2"))
        self.interrupted_at = time.monotonic()
        self.say("input_audio_buffer.speech_started", item_id="item_3", audio_start_ms=0)

    def say(self, kind: str, **fields: Any) -> None:
        assert self.provider is not None
        self.provider.send_text(json.dumps({"type": kind, "event_id": "event_0", **fields}).encode())


class ProviderEnd:
    """What the provider's socket of one call receives."""

    def __init__(self, call: Call, mode: str) -> None:
        self._call = call
        self._mode = mode

    def on_message(self, data: bytes, is_text: bool) -> None:
        call = self._call
        payload = cut(data, b'"audio":"')
        if payload is not None:
            call.up.hear(time.monotonic(), a2b_base64(payload))
            return
        message = json.loads(data)
        if message["type"] == "session.update":
            asked = message["session"]["audio"]["output"]["format"]["type"]
            if asked != ("audio/pcm" if self._mode == "pcm16" else "audio/pcmu"):
                call.problems.append(f"the server asks for {asked}")
            call.say("session.created", session={"type": "realtime", "id": "sess_1"})
            call.say("session.updated", session={"id": "sess_1", **message["session"]})
        elif message["type"] == "response.create" and not call.speaking:
            request = message.get("response", {})
            call.say("response.created", response={"id": "resp_1", "metadata": request.get("metadata")})
            call.speaking = True
            call.speak(time.monotonic())

    def on_close(self, code: int, reason: str) -> None:
        if self._call.speaking:
            self._call.problems.append(f"provider's socket closed: {code} {reason}")
        self._call.speaking = False


class Door(asyncio.Protocol):
    """Accepts whoever knocks as the provider of the call that is being set up."""

    def __init__(self, next_call: Callable[[], Call], mode: str) -> None:
        self._next_call = next_call
        self._mode = mode
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        head, end, early = self._head.partition(b"\r\n\r\n")
        if end:
            fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
            key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
            digest = hashlib.sha1(key.split(b": ")[1] + _ACCEPT_SUFFIX, usedforsecurity=False).digest()
            assert fields["upgrade"] == "websocket"
            answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            answer += f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}\r\n\r\n"
            self._transport.write(answer.encode())
            call = self._next_call()
            end_ = ProviderEnd(call, self._mode)
            call.provider = Connection(end_, self._transport, Limits(), client=False, early=early)


def call_sid(number: int) -> str:
    return f"CA{number:032x}"


class Peers:
    """All calls, and the clock that drives them."""

    def __init__(self, mode: str) -> None:
        self.calls: list[Call] = []
        self.late_ms: list[float] = []
        """How late this process itself was: when this is bad, so is every other figure."""
        self.talk = True
        self._mode = mode
        self._sounds = Sounds.of(mode)
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def provider(self) -> AsyncIterator[int]:
        """The provider listens, and the clock runs. Gives the port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Door(lambda: self.calls[-1], self._mode), "127.0.0.1", 0)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run())
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                self._stop.set()
                server.close()

    async def _run(self) -> None:
        began, beat = time.monotonic(), 0
        while not self._stop.is_set():
            due = began + beat * FRAME_MS / 1000 / SLOTS
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            self.late_ms.append(max(0.0, time.monotonic() - due) * 1000)
            for call in self.calls[beat % SLOTS :: SLOTS]:
                call.tick(self.talk)
            beat += 1
            if wait <= -0.001:
                await asyncio.sleep(0)

    async def place_signed(self, origin: str, http: httpx.AsyncClient) -> Call:
        """A call through the front door: webhook, TwiML, signed media socket."""
        call = Call(len(self.calls), self._sounds, self._mode)
        self.calls.append(call)
        plan = CallPlan(f"{origin}/twilio/voice", ACCOUNT, TOKEN)
        verbs = await Webhooks(plan, http, call_sid(call.number)).ask(plan.url, "POST")
        connect = next((verb for verb in verbs if isinstance(verb, Connect)), None)
        if connect is None:
            raise RuntimeError(f"the server does not take the call: {verbs}")
        signed = {"X-Twilio-Signature": signature(connect.url, (), TOKEN)}
        await self._stream(call, connect.url, signed, dict(connect.parameters))
        return call

    async def place_bare(self, url: str) -> Call:
        """A call straight to a media socket."""
        call = Call(len(self.calls), self._sounds, self._mode)
        self.calls.append(call)
        await self._stream(call, url, {}, {})
        return call

    async def _stream(self, call: Call, url: str, headers: dict[str, str], parameters: dict[str, str]) -> None:
        call.carrier = await open_socket(Dial(url, headers), call)
        call.start(parameters)
        await until(lambda: bool(call.first_audio_at or call.problems), 5)


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look every 2 ms whether it has come true."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110  # it is told of by callbacks without end
        await asyncio.sleep(0.002)
    return condition()
