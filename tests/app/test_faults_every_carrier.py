"""What a carrier's stream must not do to us, on each carrier's own dialect: read slowly, send too much, come back (R12,
R22, R23, R30). What is particular to one carrier is tested beside it."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import pytest
import telnyx_play
from fakes import PATIENCE
from forgeries import WAYS, forgeries, in_a_url
from plivo_play import AUTH_ID, plivo
from servers import Tandem, new_sid, tandem, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tandem.carriers.twilio_webhook import signature
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_script import Reply
from tandem.simulators.telnyx_texml import Connect, parse_texml
from tandem_codecs.format import MULAW_8K

FRAME = base64.b64encode(MULAW_8K.silence(20)).decode()
every_carrier = pytest.mark.parametrize("carrier", ["twilio", "telnyx", "plivo"])


@dataclass(frozen=True, slots=True)
class Streaming:
    """A call that a carrier has asked about, and how that carrier streams it."""

    server: Tandem
    call_id: str
    url: str
    start: dict[str, Any]
    media: Callable[[int], dict[str, Any]]
    """The message with that frame of silence, counted from 0."""
    headers: dict[str, str] = field(default_factory=dict)

    def at(self, url: str) -> Streaming:
        """The same call's stream, ordered to come to another URL."""
        headers = {name: signature(url, (), self.server.auth_token) for name in self.headers}
        return replace(self, url=url, headers=headers)

    def open(self, **options: Any) -> connect:
        return connect(
            self.url, additional_headers=self.headers, compression=None, ping_interval=None, max_size=None,
            max_queue=None, close_timeout=1, proxy=None, open_timeout=PATIENCE, **options,
        )  # fmt: skip

    async def begin(self, media: ClientConnection) -> None:
        await media.send(json.dumps(self.start))

    async def result(self) -> str:
        return str((await self.server.result(self.call_id))["result"])


@asynccontextmanager
async def a_call(carrier: str, **env: str | None) -> AsyncIterator[Streaming]:
    """A server with an account of that carrier, which has just been asked about a call."""
    match carrier:
        case "twilio":
            async with tandem(env) as server:
                sid = new_sid("CA")
                dialled = await server.dial(sid)
                yield twilio_stream(server, sid, dialled.url)
        case "telnyx":
            async with telnyx_play.line(None, **env) as here:
                answer = await here.form(telnyx_play.VOICE, telnyx_play.FORM)
                (verb, *_) = parse_texml(answer.status_code, answer.headers["content-type"], answer.content)
                assert isinstance(verb, Connect), verb
                yield telnyx_stream(here.server, telnyx_play.CALL, verb.order.url)
        case _:
            async with plivo(**env) as here:
                call_id = str(uuid4())
                led = await here.dial(call_id)
                yield plivo_stream(here.server, call_id, led.url)


def twilio_stream(server: Tandem, sid: str, url: str) -> Streaming:
    media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    start = {"callSid": sid, "accountSid": server.account, "streamSid": "MZ1", "mediaFormat": media_format}

    def media(number: int) -> dict[str, Any]:
        body = {"track": "inbound", "chunk": str(number + 1), "timestamp": str(number * 20), "payload": FRAME}
        return {"event": "media", "streamSid": "MZ1", "sequenceNumber": str(number + 2), "media": body}

    return Streaming(
        server,
        sid,
        url,
        {"event": "start", "streamSid": "MZ1", "start": start},
        media,
        {"X-Twilio-Signature": signature(url, (), server.auth_token)},
    )


def telnyx_stream(server: Tandem, call_id: str, url: str) -> Streaming:
    start = {"call_control_id": call_id, "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1}}

    def media(number: int) -> dict[str, Any]:
        body = {"track": "inbound", "chunk": str(number + 1), "timestamp": str(number * 20), "payload": FRAME}
        return {"event": "media", "stream_id": "s", "sequence_number": str(number + 2), "media": body}

    return Streaming(server, call_id, url, {"event": "start", "stream_id": "s", "start": start}, media)


def plivo_stream(server: Tandem, call_id: str, url: str) -> Streaming:
    media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000}
    start = {"callId": call_id, "streamId": "s", "accountId": AUTH_ID, "tracks": ["inbound"]}

    def media(number: int) -> dict[str, Any]:
        body = {"track": "inbound", "chunk": number + 1, "timestamp": str(1_767_323_045_123 + number * 20)}
        return {"event": "media", "streamId": "s", "sequenceNumber": number + 2, "media": {**body, "payload": FRAME}}

    whole = {"event": "start", "sequenceNumber": 1, "start": {**start, "mediaFormat": media_format}}
    return Streaming(server, call_id, url, whole, media)


async def code_of(media: ClientConnection) -> int | None:
    """With which the server closes."""
    async with asyncio.timeout(PATIENCE):
        await media.wait_closed()
    return media.close_code


@every_carrier
async def test_r12_a_carrier_that_never_reads_is_let_go_and_little_is_queued_for_it(carrier: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # or the kernel alone would take it all in
        narrow.setblocking(False)
        reply = Reply("On and on.", voice="tone:440", seconds=100)
        async with OpenAISimulator(script=[reply]) as simulator:
            openai = {"PROVIDERS": "openai", "OPENAI_API_KEY": "planted-key", "OPENAI_REALTIME_URL": simulator.url}
            async with a_call(carrier, **openai) as call:
                call.server.hurry(carrier_gone_seconds=0.5)
                address = ("127.0.0.1", call.server.settings.port)
                await asyncio.get_running_loop().sock_connect(narrow, address)
                async with call.open(sock=narrow) as media:
                    media.transport.pause_reading()
                    await call.begin(media)
                    bridge = call.server.bridge(call.call_id)
                    most = number = 0
                    while bridge.call.end_reason is None:
                        most = max(most, bridge.socket.buffered if bridge.socket else 0)
                        await media.send(json.dumps(call.media(number)))  # alive, but deaf
                        number += 1
                        await asyncio.sleep(0.02)
                    media.transport.abort()
                assert await call.result() == "carrier_stalled"
                assert 32_768 < most <= 256 * 1024
                await (await simulator.session(1)).closed()


@every_carrier
async def test_r22_a_message_over_the_limit_closes_with_1009(carrier: str) -> None:
    async with a_call(carrier) as call, call.open() as media:
        await call.begin(media)
        await media.send("x" * (64 * 1024 + 1))
        assert await code_of(media) == 1009
        assert await call.result() == "carrier_lost"


@every_carrier
async def test_r23_a_binary_message_closes_with_1003(carrier: str) -> None:
    async with a_call(carrier) as call, call.open() as media:
        await call.begin(media)
        await media.send(b"\xff" * 160)
        assert await code_of(media) == 1003
        assert await call.result() == "bad_stream"


@every_carrier
async def test_r23_a_flood_closes_with_1008(carrier: str) -> None:
    async with a_call(carrier) as call, call.open() as media:
        await call.begin(media)
        try:
            for number in range(1000):
                await media.send(json.dumps(call.media(number)))
        except ConnectionClosed:
            pass  # in the middle of it
        assert await code_of(media) == 1008


@every_carrier
async def test_r30_a_stream_that_was_lost_does_not_come_back_on_its_old_token(carrier: str) -> None:
    """Two sockets for one call would be two voices in one ear."""
    async with a_call(carrier) as call:
        async with call.open() as media:
            await call.begin(media)
            await until(lambda: call.server.bridge(call.call_id).call.started_at is not None)
            with pytest.raises(InvalidStatus) as second:
                await call.open()
            assert second.value.response.status_code == 403, "while the first is there"
            media.transport.abort()
        assert await call.result() == "carrier_lost"
        with pytest.raises(InvalidStatus) as again:
            await call.open()
        assert again.value.response.status_code == 403, "and after it"
        assert await call.server.metric("calls_live") == 0


@every_carrier
async def test_r30_no_forged_token_opens_a_media_socket(carrier: str) -> None:
    """A few of each kind over the wire; ten thousand of them, without it: `test_faults_tokens`."""
    async with a_call(carrier) as call:
        token = call.url.rpartition("/")[2]
        for text in forgeries([token], 3 * len(WAYS)):
            with pytest.raises(InvalidStatus) as refused:
                await call.at(in_a_url(call.url, text)).open()
            assert refused.value.response.status_code == 403, text
        assert not await call.server.metric("tokens_refused_total", reason="signature"), "each was looked at for itself"
        bridge = call.server.bridge(call.call_id)
        assert bridge.socket is None
        async with call.open() as media:
            await call.begin(media)
            await until(lambda: bridge.call.started_at is not None)
            spelt = in_a_url(call.url, "") + "".join(f"%{ord(letter):02x}" for letter in token)
            with pytest.raises(InvalidStatus):  # the same token, however it is written
                await call.at(spelt).open()
        assert len(call.server.board.records()) == 1
