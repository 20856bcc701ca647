"""The simulated Gemini Live server, met by the vendor's own client and by a plain one."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google import genai
from google.genai import errors, types
from google.genai.live import AsyncSession
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tandem.simulators.gemini import GeminiSimulator
from tandem.simulators.gemini_outlet import UNKNOWN
from tandem.simulators.openai_script import FunctionCall, Reply

CERTIFICATE = Path(__file__).parent.parent / "providers" / "localhost.pem"
MODEL = "gemini-3.8-live"
NATIVE_25 = "gemini-2.5-flash-native-audio-preview-12-2025"
AUDIO = "audio/pcm;rate=16000"
WORDS: dict[str, Any] = {"input_audio_transcription": {}, "output_audio_transcription": {}}
F: dict[str, Any] = {"name": "f", "description": "does it", "parameters": {"type": "OBJECT", "properties": {}}}


def tone(milliseconds: int, level: int = 8000) -> bytes:
    """A hum in 16 kHz PCM."""
    samples = level * np.sin(2 * np.pi * 300 / 16000 * np.arange(16 * milliseconds))
    return bytes(samples.astype("<i2"))


def silence(milliseconds: int) -> bytes:
    return bytes(32 * milliseconds)


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the server and for the client, which speaks nothing else."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    return server, ssl.create_default_context(cafile=str(CERTIFICATE))


class Vendors:
    """The vendor's own client, talking to a simulator."""

    def __init__(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        self._server, context = contexts
        self._options = types.HttpOptions(
            base_url="https://localhost", api_version="v1beta", async_client_args={"ssl": context}
        )
        self._client = genai.Client(api_key="k", http_options=self._options, vertexai=False)

    def simulator(self, **options: Any) -> GeminiSimulator:
        # Without messages that it does not know: it raises at those.
        return GeminiSimulator(tls=self._server, extras=False, **options)

    @asynccontextmanager
    async def session(
        self, simulator: GeminiSimulator, model: str = MODEL, **config: Any
    ) -> AsyncIterator[AsyncSession]:
        where = types.HttpOptions(base_url=simulator.base_url.replace("127.0.0.1", "localhost"))
        settings = types.LiveConnectConfig(response_modalities=[types.Modality.AUDIO], http_options=where, **config)
        async with self._client.aio.live.connect(model=model, config=settings) as session:
            yield session


@pytest.fixture
def vendors(tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> Vendors:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI"):
        monkeypatch.delenv(name, raising=False)
    return Vendors(tls)


class Turn:
    """What the vendor's client makes of one turn."""

    def __init__(self) -> None:
        self.audio = b""
        self.said = self.heard = ""
        self.calls: list[types.FunctionCall] = []
        self.interrupted = False
        self.handle = ""
        self.usage: types.UsageMetadata | None = None


async def turn_of(session: AsyncSession) -> Turn:
    """Read until the vendor's client finds that the turn is over, or that a function is to be called."""
    turn = Turn()
    async for message in session.receive():
        content = message.server_content
        if content is not None:
            for part in content.model_turn.parts or () if content.model_turn else ():
                if part.inline_data is not None:
                    assert part.inline_data.mime_type == "audio/pcm;rate=24000"
                    turn.audio += part.inline_data.data or b""
            turn.said += content.output_transcription.text or "" if content.output_transcription else ""
            turn.heard += content.input_transcription.text or "" if content.input_transcription else ""
            turn.interrupted |= bool(content.interrupted)
        if message.usage_metadata is not None:
            turn.usage = message.usage_metadata
        update = message.session_resumption_update
        if update is not None and update.resumable and update.new_handle:
            turn.handle = update.new_handle
        if message.tool_call is not None:
            turn.calls += message.tool_call.function_calls or []
            return turn
    return turn


async def test_the_vendors_client_holds_a_turn_in_text(vendors: Vendors) -> None:
    async with (
        vendors.simulator(script=["Hello there, caller."], seconds=0.3) as simulator,
        vendors.session(simulator, **WORDS) as session,
    ):
        await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="Hi")]))
        turn = await turn_of(session)
    assert turn.said == "Hello there, caller."
    assert len(turn.audio) == 48 * 300
    assert turn.usage is not None
    assert turn.usage.response_token_count == 7
    assert simulator.sessions[0].headers["x-goog-api-key"] == "k"
    assert {message["setup"]["model"] for message in simulator.sessions[0].record.received[:1]} == {f"models/{MODEL}"}


async def test_the_vendors_client_speaks_is_understood_and_barges_in(vendors: Vendors) -> None:
    options: dict[str, Any] = {
        "transcripts": ["what time is it"],
        "script": ["It is ten."],
        "seconds": 20.0,
        "pace": 1.0,
    }
    async with vendors.simulator(**options) as simulator, vendors.session(simulator, **WORDS) as session:
        await session.send_realtime_input(audio=types.Blob(data=tone(800) + silence(600), mime_type=AUDIO))
        record = simulator.sessions[0].record
        await simulator.sessions[0].until(lambda _: record.said_ms > 0)
        await session.send_realtime_input(audio=types.Blob(data=tone(400), mime_type=AUDIO))
        turn = await turn_of(session)
    assert turn.interrupted
    assert turn.heard == "what time is it"
    assert 0 < len(turn.audio) < 48 * 20_000
    assert record.audio == tone(800) + silence(600) + tone(400)


@pytest.mark.parametrize("model", [MODEL, NATIVE_25])
async def test_the_vendors_client_calls_a_function(vendors: Vendors, model: str) -> None:
    script = [Reply("", (FunctionCall("f", '{"city":"Ulm"}'),)), "Blue."]
    async with (
        vendors.simulator(script=script, seconds=0.1) as simulator,
        vendors.session(simulator, model, tools=[{"function_declarations": [F]}], **WORDS) as session,
    ):
        await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="Sky?")]))
        (call,) = (await turn_of(session)).calls
        assert (call.name, call.args) == ("f", {"city": "Ulm"})
        answer = types.FunctionResponse(id=call.id, name=call.name, response={"output": "blue"})
        await session.send_tool_response(function_responses=answer)
        turn = await turn_of(session)
        while not turn.said:
            turn = await turn_of(session)
    assert turn.said == "Blue."


async def test_the_vendors_client_resumes(vendors: Vendors) -> None:
    async with vendors.simulator(script=["One.", "Two."], seconds=0.1) as simulator:
        again = types.SessionResumptionConfig()
        async with vendors.session(simulator, session_resumption=again, **WORDS) as session:
            await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="Count")]))
            assert (await turn_of(session)).said == "One."
            async for message in session.receive():
                update = message.session_resumption_update
                if update is not None and update.resumable:
                    break
        assert update is not None
        again = types.SessionResumptionConfig(handle=update.new_handle)
        async with vendors.session(simulator, session_resumption=again, **WORDS) as session:
            await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text="More")]))
            assert (await turn_of(session)).said == "Two."
        engine = simulator.sessions[1].engine
        assert engine is not None
        assert [(entry.role, entry.text) for entry in engine.memory.entries] == [
            ("user", "Count"),
            ("model", "One."),
            ("user", "More"),
            ("model", "Two."),
        ]


async def test_the_vendors_client_marks_turns_itself(vendors: Vendors) -> None:
    manual = {"automatic_activity_detection": {"disabled": True}}
    async with (
        vendors.simulator(script=["Yes."], seconds=0.1) as simulator,
        vendors.session(simulator, realtime_input_config=manual, **WORDS) as session,
    ):
        await session.send_realtime_input(activity_start=types.ActivityStart())
        await session.send_realtime_input(audio=types.Blob(data=tone(300), mime_type=AUDIO))
        await session.send_realtime_input(activity_end=types.ActivityEnd())
        turn = await turn_of(session)
    assert (turn.heard, turn.said) == ("caller spoke 0.3 s", "Yes.")
    assert simulator.sessions[0].record.turns == [tone(300)]


async def test_the_vendors_client_is_told_of_a_bad_key(vendors: Vendors) -> None:
    async with vendors.simulator(key="another") as simulator:
        with pytest.raises((errors.APIError, ConnectionClosed)) as refusal:
            async with vendors.session(simulator):
                pass
        assert "API key not valid" in str(refusal.value)


# A plain client.


class Plain:
    """A client that knows nothing but JSON."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self, audio: bytes) -> None:
        await self.send(realtimeInput={"audio": {"mimeType": AUDIO, "data": base64.b64encode(audio).decode()}})

    async def receive(self) -> dict[str, Any]:
        frame = await self.socket.recv()
        assert isinstance(frame, bytes), "JSON comes in binary frames"
        message: dict[str, Any] = json.loads(frame)
        if not set(message) & set(UNKNOWN):
            types.LiveServerMessage.model_validate({k: v for k, v in message.items() if k != "traceId"})
        self.seen.append(message)
        return message

    async def until(self, kind: str, field: str | None = None) -> Any:
        """The next message of that kind (with that field in it); those before it are kept in `seen`."""
        while True:
            body = (await self.receive()).get(kind)
            if body is not None and (field is None or field in body):
                return body

    async def set_up(self, model: str = MODEL, **setup: Any) -> None:
        await self.send(setup={"model": f"models/{model}", **setup})
        await self.until("setupComplete")

    async def ended(self) -> tuple[int, str]:
        """Read on until the end; answers how it came."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")


@asynccontextmanager
async def plain(url: str, **headers: str) -> AsyncIterator[Plain]:
    sent = headers or {"x-goog-api-key": "k"}
    async with connect(url, additional_headers=sent, max_size=None, compression=None) as socket:
        yield Plain(socket)


def user(text: str) -> dict[str, Any]:
    return {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": True}


async def test_a_plain_turn_has_the_exact_trace() -> None:
    options: dict[str, Any] = {"script": ["One two"], "seconds": 0.2, "extras": False, "delta_ms": (100, 100)}
    async with GeminiSimulator(**options) as simulator, plain(simulator.url) as client:
        await client.set_up(outputAudioTranscription={})
        await client.send(clientContent=user("Hi"))
        await client.until("serverContent", "turnComplete")
    kinds = [next(iter(message["serverContent"])) for message in client.seen[1:]]
    assert kinds == [
        "outputTranscription",
        "modelTurn",
        "outputTranscription",
        "modelTurn",
        "generationComplete",
        "turnComplete",
    ]
    assert client.seen[-1]["usageMetadata"]["responseTokenCount"] == 5


async def test_the_end_of_a_turn_is_told_once_it_was_played() -> None:
    async with GeminiSimulator(seconds=0.3) as simulator, plain(simulator.url) as client:
        await client.set_up()
        loop = asyncio.get_running_loop()
        await client.send(clientContent=user("Hi"))
        await client.until("serverContent", "generationComplete")
        generated = loop.time()
        await client.until("serverContent", "turnComplete")
        assert loop.time() - generated > 0.25


async def test_a_reset_is_seen_by_the_client() -> None:
    async with GeminiSimulator(faults=["cut"], seconds=2) as simulator, plain(simulator.url) as client:
        await client.set_up()
        await client.send(clientContent=user("Hi"))
        assert (await client.ended())[0] == 1006


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_a_refused_handshake(status: int) -> None:
    async with GeminiSimulator(faults=[f"refuse={status}*1", "retry-after=7"]) as simulator:
        with pytest.raises(InvalidStatus) as refusal:
            async with plain(simulator.url):
                pass
        assert refusal.value.response.status_code == status
        assert refusal.value.response.headers["Retry-After"] == "7"
        async with plain(simulator.url) as client:
            await client.set_up()


async def test_vertex_looks_at_its_tokens_before_it_accepts() -> None:
    async with GeminiSimulator(key="good") as simulator:
        with pytest.raises(InvalidStatus) as refusal:
            async with plain(simulator.vertex_url, Authorization="Bearer bad"):
                pass
        assert refusal.value.response.status_code == 401
        async with plain(simulator.vertex_url, Authorization="Bearer good") as client:
            await client.send(setup={"model": f"projects/p/locations/l/publishers/google/models/{MODEL}"})
            assert (await client.until("setupComplete"))["sessionId"]


async def test_a_path_that_is_nobodys() -> None:
    async with GeminiSimulator() as simulator:
        with pytest.raises(InvalidStatus) as refusal:
            async with plain(simulator.url.replace("v1beta", "v7")):
                pass
        assert refusal.value.response.status_code == 404


@pytest.mark.parametrize("header", ["x-goog-api-key", "query", "Authorization"])
async def test_a_key_may_stand_in_three_places(header: str) -> None:
    async with GeminiSimulator(key="good") as simulator:
        for key, code in (("bad", 1007), ("good", None)):
            url = f"{simulator.url}?key={key}" if header == "query" else simulator.url
            headers = {} if header == "query" else {header: f"Token {key}" if header == "Authorization" else key}
            async with plain(url, **(headers or {"x": "y"})) as client:
                if code is None:
                    await client.set_up()
                else:
                    assert await client.ended() == (1007, "API key not valid. Please pass a valid API key.")


async def test_a_connection_that_is_told_to_go() -> None:
    async with (
        GeminiSimulator(session_seconds=0.1, warning_seconds=0.05) as simulator,
        plain(simulator.url) as client,
    ):
        await client.set_up()
        assert (await client.until("goAway")) == {"timeLeft": "0.05s"}
        assert (await client.ended())[0] == 1001


@pytest.mark.parametrize("fault", ["hang-connect", "silent", "delay-ready=60"])
async def test_servers_that_say_nothing_let_go_when_the_client_leaves(fault: str) -> None:
    async with GeminiSimulator(faults=[fault]) as simulator:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), plain(simulator.url) as client:
                await client.set_up()
        await (await simulator.session(1)).closed()


async def test_what_is_reported_of_a_session() -> None:
    reports: list[str] = []
    async with (
        GeminiSimulator(record=False, on_report=reports.append, seconds=0.1) as simulator,
        plain(simulator.url) as client,
    ):
        await client.set_up()
        await client.hear(silence(100))
        await client.send(clientContent=user("Hi"))
        await client.until("serverContent", "turnComplete")
    assert simulator.sessions == []
    assert reports[0].startswith("session 1: ")
    assert "heard 0.1 s, said 0.1 s in 1 turns" in reports[0]
