"""The bare floor: the same libraries and sockets as the real server, and not one line of call logic.

    python -m tests.bench.floor PORT PROVIDER_URL passthrough|pcm16|gemini

No signature, no order, no ledger, no clock, no metrics. One typed pass of the parser reads each frame (which checks and
decodes its base64: no bridge can send on what it has not read), and the audio is spliced into the next.
"""

from __future__ import annotations

import gc
import sys
from binascii import b2a_base64
from collections.abc import Callable

import msgspec
import uvicorn
from fastapi import FastAPI, WebSocket

from tandem.http_limits import DeadlineProtocol
from tandem.media_socket import MediaSocketProtocol, take_over
from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, AudioFormat
from tandem_providers.provider import Dial
from tandem_providers.wire import FrameSocket, open_socket

from .voices import VOICES


class Body(msgspec.Struct, gc=False):
    payload: bytes


class FromCarrier(msgspec.Struct, gc=False):
    media: Body | None = None


class FromOpenAi(msgspec.Struct, gc=False):
    delta: bytes | None = None


class Blob(msgspec.Struct, gc=False):
    data: bytes


class Part(msgspec.Struct, gc=False, rename="camel"):
    inline_data: Blob | None = None


class Turn(msgspec.Struct, gc=False):
    parts: list[Part]


class Content(msgspec.Struct, gc=False, rename="camel"):
    model_turn: Turn | None = None


class FromGemini(msgspec.Struct, gc=False, rename="camel"):
    server_content: Content | None = None


def caller_audio(data: bytes) -> bytes | None:
    media = _from_carrier(data).media
    return None if media is None else media.payload


def openai_audio(data: bytes) -> bytes | None:
    return _from_openai(data).delta


def gemini_audio(data: bytes) -> bytes | None:
    content = _from_gemini(data).server_content
    if content is None or content.model_turn is None:
        return None
    blob = content.model_turn.parts[0].inline_data
    return None if blob is None else blob.data


_from_carrier = msgspec.json.Decoder(FromCarrier).decode
_from_openai = msgspec.json.Decoder(FromOpenAi).decode
_from_gemini = msgspec.json.Decoder(FromGemini).decode

_OPENAI = (openai_audio, b'{"type":"input_audio_buffer.append","audio":"', b'"}')
_GEMINI = (gemini_audio, b'{"realtimeInput":{"audio":{"data":"', b'","mimeType":"audio/pcm;rate=16000"}}}')


class Half:
    """One direction: what one socket receives, the other sends."""

    def __init__(
        self, read: Callable[[bytes], bytes | None], head: bytes, tail: bytes, converter: Converter | None
    ) -> None:
        self._read = read
        self._head = head
        self._tail = tail
        self._converter = converter
        self.target: FrameSocket | None = None

    def on_message(self, data: bytes, is_text: bool) -> None:
        audio = self._read(data)
        if audio is None or self.target is None:
            return
        if self._converter is not None:
            audio = self._converter.feed(audio)
        self.target.send_text(b"%b%b%b" % (self._head, b2a_base64(audio, newline=False), self._tail))

    def on_close(self, code: int, reason: str) -> None:
        if self.target is not None:
            self.target.close()


def app(provider: str, mode: str) -> FastAPI:
    made = FastAPI()
    voice = VOICES[mode]
    agent_audio, head, tail = _GEMINI if mode == "gemini" else _OPENAI

    @made.websocket("/media")
    async def media(websocket: WebSocket) -> None:
        await websocket.accept()
        up = Half(caller_audio, head, tail, _converter(MULAW_8K, voice.hears))
        down = Half(
            agent_audio,
            b'{"event":"media","streamSid":"MZ1","media":{"payload":"',
            b'"}}',
            _converter(voice.speaks, MULAW_8K),
        )
        up.target = await open_socket(Dial(provider), down)
        down.target = take_over(websocket, up)
        for message in voice.opening:
            up.target.send_text(message)
        await down.target.wait_closed()

    return made


def _converter(source: AudioFormat, target: AudioFormat) -> Converter | None:
    return None if source == target else Converter(source, target)


if __name__ == "__main__":
    port, provider, mode = sys.argv[1:]
    config = uvicorn.Config(
        app(provider, mode), port=int(port), http=DeadlineProtocol, ws=MediaSocketProtocol, log_level="warning"
    )
    gc.freeze()
    uvicorn.Server(config).run()
