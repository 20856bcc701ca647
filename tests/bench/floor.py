"""The bare floor: the same libraries and sockets as the real server, and not one line of call logic.

    python -m tests.bench.floor PORT PROVIDER_URL passthrough|pcm16

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
from tandem_codecs.format import MULAW_8K, PCM16_24K
from tandem_providers.provider import Dial
from tandem_providers.wire import FrameSocket, open_socket

from .peers import session_update


class Body(msgspec.Struct, gc=False):
    payload: bytes


class FromCarrier(msgspec.Struct, gc=False):
    media: Body | None = None


class FromProvider(msgspec.Struct, gc=False):
    delta: bytes | None = None


def caller_audio(data: bytes) -> bytes | None:
    media = _from_carrier(data).media
    return None if media is None else media.payload


def agent_audio(data: bytes) -> bytes | None:
    return _from_provider(data).delta


_from_carrier = msgspec.json.Decoder(FromCarrier).decode
_from_provider = msgspec.json.Decoder(FromProvider).decode


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

    @made.websocket("/media")
    async def media(websocket: WebSocket) -> None:
        await websocket.accept()
        converters = (
            (Converter(MULAW_8K, PCM16_24K), Converter(PCM16_24K, MULAW_8K)) if mode == "pcm16" else (None, None)
        )
        up = Half(caller_audio, b'{"type":"input_audio_buffer.append","audio":"', b'"}', converters[0])
        down = Half(agent_audio, b'{"event":"media","streamSid":"MZ1","media":{"payload":"', b'"}}', converters[1])
        up.target = await open_socket(Dial(provider), down)
        down.target = take_over(websocket, up)
        up.target.send_text(session_update(mode))
        up.target.send_text(b'{"type":"response.create"}')
        await down.target.wait_closed()

    return made


if __name__ == "__main__":
    port, provider, mode = sys.argv[1:]
    config = uvicorn.Config(
        app(provider, mode), port=int(port), http=DeadlineProtocol, ws=MediaSocketProtocol, log_level="warning"
    )
    gc.freeze()
    uvicorn.Server(config).run()
