"""The bare floor: the same libraries and sockets as the real server, and not one line of call logic.

    python -m tests.bench.floor PORT PROVIDER_URL passthrough|pcm16

No signature, no ledger, no clock, no metrics, no parser: the base64 is cut out of each frame and put into the next.
"""

from __future__ import annotations

import gc
import sys
from binascii import a2b_base64, b2a_base64

import uvicorn
from fastapi import FastAPI, WebSocket

from tandem.http_limits import DeadlineProtocol
from tandem.media_socket import MediaSocketProtocol, take_over
from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_24K
from tandem_providers.provider import Dial
from tandem_providers.wire import FrameSocket, open_socket

from .peers import cut, session_update


class Half:
    """One direction: what one socket receives, the other sends."""

    def __init__(self, field: bytes, head: bytes, tail: bytes, converter: Converter | None) -> None:
        self._field = field
        self._head = head
        self._tail = tail
        self._converter = converter
        self.target: FrameSocket | None = None

    def on_message(self, data: bytes, is_text: bool) -> None:
        payload = cut(data, self._field)
        if payload is None or self.target is None:
            return
        if self._converter is not None:
            payload = b2a_base64(self._converter.feed(a2b_base64(payload)), newline=False)
        self.target.send_text(self._head + payload + self._tail)

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
        up = Half(b'"payload":"', b'{"type":"input_audio_buffer.append","audio":"', b'"}', converters[0])
        down = Half(b'"delta":"', b'{"event":"media","streamSid":"MZ1","media":{"payload":"', b'"}}', converters[1])
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
