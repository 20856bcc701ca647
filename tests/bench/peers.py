"""Both far ends of many calls, in one lean process: a carrier that calls, a provider that answers, and one clock.

Each side talks all the time, a frame every 20 ms, the calls spread evenly over those 20 ms. That is heavier than any
real call. What the two say is in `lines` and `voices`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import time
from binascii import a2b_base64, b2a_base64
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np

from tandem.simulators.line import ClearAsked, MarkAsked, WireError
from tandem_codecs.convert import Converter
from tandem_codecs.format import FRAME_MS, MULAW_8K, PCM16_8K, PCM16_24K, AudioFormat
from tandem_providers.frame_socket import Connection, Limits
from tandem_providers.provider import Dial
from tandem_providers.wire import open_socket

from .lines import Line
from .measure import Track, cut
from .voices import Voice

SLOTS = 20
NOT_YET = (math.inf, math.inf)
"""What is sent while calls are set up does not count for latency."""
TRACK_SECONDS = 5
_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


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
    def of(cls, voice: Voice) -> Sounds:
        caller = [[(f, b2a_base64(f, newline=False)) for f in noise(MULAW_8K, seed)] for seed in range(8)]
        voices = [noise(voice.speaks, 100 + seed) for seed in range(8)]
        return cls(caller, [[(f, voice.piece % b2a_base64(f, newline=False)) for f in said] for said in voices])


class Call:
    """One call, seen from both its ends."""

    def __init__(self, number: int, sounds: Sounds, voice: Voice) -> None:
        self.number = number
        self.up = Track(MULAW_8K, voice.hears, NOT_YET)
        self.down = Track(voice.speaks, MULAW_8K, NOT_YET)
        self.carrier: Connection | None = None
        self.provider: Connection | None = None
        self.talking = False
        self.speaking = False
        self.connected_at = self.first_audio_at = self.interrupted_at = self.clear_at = 0.0
        self.problems: list[str] = []
        self._line: Line
        self._words = sounds.caller[number % 8]
        self._voice = voice
        self._answer = sounds.provider[number % 8]
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
        try:
            match self._line.wire.read(data.decode()):
                case MarkAsked(name):
                    self._marks.append((self._plays_until, name))
                case ClearAsked():
                    self.clear_at = self.clear_at or now
                    self._plays_until = now
                    self._tell(*self._line.wire.cleared([name for _, name in self._marks]))
                    self._marks.clear()
        except WireError as error:
            self.problems.append(f"the carrier does not take it: {error}")

    def on_close(self, code: int, reason: str) -> None:
        if self.talking:
            self.problems.append(f"carrier's socket closed: {code} {reason}")
        self.talking = False

    async def connect(self, line: Line) -> None:
        """Open the media stream, and talk."""
        if (line.wire.caller_format, line.wire.agent_format) != (MULAW_8K, MULAW_8K):
            self.problems.append("the stream is not in mu-law")
        self._line = line
        self.carrier = await open_socket(Dial(line.url, line.headers), self)
        self.connected_at = time.monotonic()
        self._tell(*line.wire.connected(), line.wire.start())
        self.talking = True

    def hang_up(self) -> None:
        self.talking = self.speaking = False
        if self.carrier is not None:
            self._tell(self._line.wire.stop())
            self.carrier.close()

    def _tell(self, *frames: str | bytes | None) -> None:
        assert self.carrier is not None
        for frame in frames:
            if frame is not None:
                self.carrier.send_text(frame if isinstance(frame, bytes) else frame.encode())

    def tick(self, talk: bool) -> None:
        """Twenty milliseconds of both."""
        now = time.monotonic()
        if self.talking and self.carrier is not None:
            if talk:
                frame, payload = self._words[self._said % len(self._words)]
                self._said += 1
                self.up.send(now, frame)
                self.carrier.send_text(self._line.spoken(self._said, self._said * FRAME_MS, payload))
            while self._marks and self._marks[0][0] <= now:
                self._tell(self._line.wire.played(self._marks.popleft()[1]))
        if self.speaking and talk:
            self.speak(now)

    # The provider's end

    def speak(self, now: float) -> None:
        """One more frame of the answer."""
        frame, message = self._answer[self._spoken % len(self._answer)]
        self._spoken += 1
        self.down.send(now, frame)
        self.say(message)

    def finish_answer(self) -> None:
        """The answer is complete: its tail must arrive all the same."""
        self.speaking = False
        self.say(*self._voice.over())

    def interrupt(self) -> None:
        """A second of audio at once, then the caller speaks up: the carrier has to be told to throw it away."""
        self.interrupted_at = time.monotonic()
        self.say(*self._voice.once_more([message for _, message in self._answer[:50]]))
        self.interrupted_at = time.monotonic()
        self.say(*self._voice.cut_in())

    def say(self, *messages: bytes) -> None:
        assert self.provider is not None
        send = self.provider.send_binary if self._voice.binary else self.provider.send_text
        for message in messages:
            send(message)


class ProviderEnd:
    """What the provider's socket of one call receives."""

    def __init__(self, call: Call, voice: Voice) -> None:
        self._call = call
        self._voice = voice

    def on_message(self, data: bytes, is_text: bool) -> None:
        call = self._call
        payload = self._voice.heard(data)
        if payload is not None:
            call.up.hear(time.monotonic(), a2b_base64(payload))
            return
        try:
            replies, begins = self._voice.answer(data)
        except ValueError as error:
            call.problems.append(str(error))
            return
        if begins and call.speaking:
            return
        call.say(*replies)
        if begins:
            call.speaking = True
            call.speak(time.monotonic())

    def on_close(self, code: int, reason: str) -> None:
        if self._call.speaking:
            self._call.problems.append(f"provider's socket closed: {code} {reason}")
        self._call.speaking = False


class Door(asyncio.Protocol):
    """Accepts whoever knocks as the provider of the call that is being set up."""

    def __init__(self, next_call: Callable[[], Call], voice: Voice) -> None:
        self._next_call = next_call
        self._voice = voice
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
            end_ = ProviderEnd(call, self._voice)
            call.provider = Connection(end_, self._transport, Limits(), client=False, early=early)


class Peers:
    """All calls, and the clock that drives them."""

    def __init__(self, voice: Voice) -> None:
        self.calls: list[Call] = []
        self.late_ms: list[float] = []
        """How late this process itself was: when this is bad, so is every other figure."""
        self.talk = True
        self._voice = voice
        self._sounds = Sounds.of(voice)
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def provider(self) -> AsyncIterator[int]:
        """The provider listens, and the clock runs. Gives the port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Door(lambda: self.calls[-1], self._voice), "127.0.0.1", 0)
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

    async def place(self, ring: Callable[[int], Awaitable[Line]]) -> None:
        """A call, by its own front door."""
        call = Call(len(self.calls), self._sounds, self._voice)
        self.calls.append(call)
        await call.connect(await ring(call.number))
        if not await until(lambda: bool(call.first_audio_at or call.problems), 10):
            call.problems.append("the agent says nothing")


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look every 2 ms whether it has come true."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110  # it is told of by callbacks without end
        await asyncio.sleep(0.002)
    return condition()
