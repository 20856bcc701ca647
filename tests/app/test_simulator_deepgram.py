"""The simulated Deepgram agent, met by the vendor's own client and by a plain one."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel
from sounds import hum, silence
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tandem.simulators.deepgram import DeepgramSimulator
from tandem.simulators.deepgram_engine import DeepgramOutlet
from tandem.simulators.deepgram_script import DeepgramOptions
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem_codecs.format import MULAW_8K

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the vendor's library imports what its own dependency calls outdated
    from deepgram import AsyncDeepgramClient, DeepgramClientEnvironment
    from deepgram.agent.v1.socket_client import AsyncV1SocketClient
    from deepgram.agent.v1.types import (
        AgentV1InjectAgentMessage,
        AgentV1InjectUserMessage,
        AgentV1SendFunctionCallResponse,
        AgentV1Settings,
        AgentV1UpdatePrompt,
    )

AUDIO = {
    "input": {"encoding": "mulaw", "sample_rate": 8000},
    "output": {"encoding": "mulaw", "sample_rate": 8000, "container": "none"},
}
THINK = {"provider": {"type": "open_ai", "model": "gpt-4o-mini"}, "prompt": "Be brief."}
WEATHER = {"name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}}
SETTINGS: dict[str, Any] = {"type": "Settings", "audio": AUDIO, "agent": {"think": THINK}}
HEADERS = {"Authorization": "Token key"}


def settings(**agent: Any) -> dict[str, Any]:
    return {**SETTINGS, "agent": {"think": THINK, **agent}}


# --- the vendor's own client ------------------------------------------------------------------------------------------


@asynccontextmanager
async def vendor(simulator: DeepgramSimulator, **agent: Any) -> AsyncIterator[AsyncV1SocketClient]:
    """The vendor's own client, set up."""
    address = simulator.base_url
    environment = DeepgramClientEnvironment(base=address, production=address, agent=address, agent_rest=address)
    client = await asyncio.to_thread(lambda: AsyncDeepgramClient(api_key="key", environment=environment))
    async with client.agent.v1.connect() as agent_socket:
        assert (await told(agent_socket, "Welcome")).request_id
        await agent_socket.send_settings(AgentV1Settings.model_validate(settings(**agent)))
        await told(agent_socket, "SettingsApplied")
        yield agent_socket


async def told(socket: AsyncV1SocketClient, kind: str, audio: bytearray | None = None) -> Any:
    """The next message of that kind; every one before it is held against the vendor's type for it."""
    async for message in socket:
        if isinstance(message, bytes):
            if audio is not None:
                audio += message
        elif isinstance(message, BaseModel):
            type(message).model_validate(message.model_dump(by_alias=True))
            if getattr(message, "type", "") == kind:
                return message
    raise AssertionError(f"the connection ended before any {kind}")


outdated = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what the vendor's client uses of its dependency


@outdated
async def test_a_turn_with_the_vendors_client() -> None:
    async with (
        DeepgramSimulator(
            script=["It is noon. Anything else?"], seconds=0.5, voice="tone:440", transcripts=["Hi."]
        ) as simulator,
        vendor(simulator, greeting="Hello.") as agent,
    ):
        audio = bytearray()
        assert (await told(agent, "ConversationText")).content == "Hello."
        await told(agent, "AgentAudioDone", audio)
        assert len(audio) == MULAW_8K.size(500)
        await agent.send_media(hum(300, 400) + silence(1000))
        await told(agent, "UserStartedSpeaking")
        heard = await told(agent, "ConversationText")
        assert (heard.role, heard.content) == ("user", "Hi.")
        await told(agent, "AgentThinking")
        assert (await told(agent, "ConversationText")).content == "It is noon."
        assert (await told(agent, "ConversationText")).content == "Anything else?"
        await told(agent, "AgentStartedSpeaking")
        await told(agent, "AgentAudioDone", audio)
        assert len(audio) == 2 * MULAW_8K.size(500)


@outdated
async def test_functions_with_the_vendors_client() -> None:
    script = [
        Reply("", (FunctionCall("weather", '{"city":"Rome"}'), FunctionCall("theirs"))),
        Reply("", (FunctionCall("theirs"),)),
    ]
    theirs = {"name": "theirs", "endpoint": {"url": "https://example.com/f"}}
    think = {**THINK, "functions": [WEATHER, theirs]}
    async with DeepgramSimulator(script=script, seconds=0.2) as simulator, vendor(simulator, think=think) as agent:
        await agent.send_inject_user_message(AgentV1InjectUserMessage(content="How is the weather?"))
        asked = (await told(agent, "FunctionCallRequest")).functions
        assert [(each.name, each.client_side) for each in asked] == [("weather", True), ("theirs", False)]
        assert json.loads(asked[0].arguments) == {"city": "Rome"}
        assert (await told(agent, "FunctionCallResponse")).name == "theirs"
        answer = AgentV1SendFunctionCallResponse(id=asked[0].id, name="weather", content="sunny")
        await agent.send_function_call_response(answer)
        (again,) = (await told(agent, "FunctionCallRequest")).functions
        assert (again.name, again.client_side) == ("theirs", False)
        assert (await told(agent, "ConversationText")).content == "Here is what I found: done"


@outdated
async def test_the_rest_with_the_vendors_client() -> None:
    async with DeepgramSimulator(seconds=30, pace=4) as simulator, vendor(simulator) as agent:
        await agent.send_update_prompt(AgentV1UpdatePrompt(prompt="Be long."))
        await told(agent, "PromptUpdated")
        await agent.send_keep_alive()
        await agent.send_inject_agent_message(AgentV1InjectAgentMessage(message="One.", behavior="queue"))
        assert (await told(agent, "ConversationText")).content == "One."
        await agent.send_inject_agent_message(AgentV1InjectAgentMessage(message="Two."))
        assert "agent is currently speaking" in (await told(agent, "InjectionRefused")).message
        await agent.send_inject_agent_message(AgentV1InjectAgentMessage(message="Three.", behavior="interrupt"))
        assert (await told(agent, "ConversationText")).content == "Three."


# --- a plain one ------------------------------------------------------------------------------------------------------


class Client:
    """Knows nothing but JSON and bytes."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.voice = b""
        self.seen: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, kind: str) -> dict[str, Any]:
        """The next message of that kind."""
        while True:
            message = await self.socket.recv()
            if isinstance(message, bytes):
                self.voice += message
                continue
            told: dict[str, Any] = json.loads(message)
            self.seen.append(told)
            if told["type"] == kind:
                return told

    async def set_up(self, **agent: Any) -> None:
        await self.until("Welcome")
        await self.socket.send(json.dumps(settings(**agent)))
        await self.until("SettingsApplied")
        self.seen.clear()

    async def ended(self) -> int | None:
        """Read on until the connection ends; the code, or None when it just broke."""
        try:
            while True:
                message = await self.socket.recv()
                if isinstance(message, str):
                    self.seen.append(json.loads(message))
                else:
                    self.voice += message
        except ConnectionClosed as end:
            return None if end.rcvd is None else end.rcvd.code

    @property
    def kinds(self) -> list[str]:
        return [told["type"] for told in self.seen if told["type"] not in DeepgramOutlet.UNKNOWN]


@asynccontextmanager
async def dial(simulator: DeepgramSimulator, **headers: str) -> AsyncIterator[Client]:
    async with connect(
        simulator.url, additional_headers=headers or HEADERS, compression=None, max_queue=None
    ) as socket:
        yield Client(socket)


@pytest.mark.parametrize("first", [bytes(160), '{"type":"KeepAlive"}', "no json", "[1]"])
async def test_anything_before_the_settings_ends_the_session(first: str | bytes) -> None:
    async with DeepgramSimulator(extras=False) as simulator, dial(simulator) as client:
        await client.socket.send(first)
        assert await client.ended() == 1008
        welcome, error = client.seen
        assert welcome["type"] == "Welcome"
        assert (error["type"], error["code"]) == (
            "Error",
            "UNPARSABLE_CLIENT_MESSAGE" if first == "no json" else "NON_SETTINGS_MESSAGE_BEFORE_SETTINGS",
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {**SETTINGS, "colour": "blue"},
        {"type": "Settings", "audio": AUDIO},
        settings(think={"provider": {"type": "acme", "model": "x"}}),
        settings(think={"provider": {"type": "open_ai", "model": "x", "temperature": 3}}),
        settings(listen={"provider": {"type": "deepgram", "model": "flux-general-en"}}),
        settings(listen={"provider": {"type": "deepgram", "model": "nova-3", "eot_threshold": 0.7}}),
        settings(speak={"provider": {"type": "cartesia", "model_id": "s", "voice": {"mode": "id", "id": "x"}}}),
        settings(context={"messages": [{"type": "History", "role": "robot", "content": "x"}]}),
    ],
)
async def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    async with DeepgramSimulator() as simulator, dial(simulator) as client:
        await client.socket.send(json.dumps(wrong))
        assert await client.ended() == 1008
        assert client.seen[-1]["code"] == "INVALID_SETTINGS"


async def test_settings_come_once_and_other_messages_are_checked_too() -> None:
    async with DeepgramSimulator() as simulator:
        for message, code in (
            (SETTINGS, "SETTINGS_ALREADY_APPLIED"),
            ({"type": "Dance"}, "UNPARSABLE_CLIENT_MESSAGE"),
            ({"type": "InjectAgentMessage"}, "UNPARSABLE_CLIENT_MESSAGE"),
        ):
            async with dial(simulator) as client:
                await client.set_up()
                await client.socket.send(json.dumps(message))
                await client.ended()
                assert client.seen[-1]["code"] == code


async def test_idle_sessions_are_ended_unless_they_are_kept_awake() -> None:
    async with DeepgramSimulator(idle_seconds=0.3) as simulator, dial(simulator) as client:
        await client.set_up()
        for _ in range(4):
            await asyncio.sleep(0.1)
            await client.send("KeepAlive")
        assert await client.ended() == 1011
        assert client.seen[-1]["code"] == "CLIENT_MESSAGE_TIMEOUT"
        session = await simulator.session(1)
        await session.closed()
        assert session.seconds > 0.6


async def test_a_barge_in_stops_the_voice() -> None:
    async with DeepgramSimulator(seconds=30, pace=4, done_after_cut=True) as simulator, dial(simulator) as client:
        await client.set_up(greeting="Hello.")
        await client.until("AgentStartedSpeaking")
        await client.socket.send(hum(300, 200))
        await client.until("UserStartedSpeaking")
        await client.until("AgentAudioDone")
        heard = len(client.voice)
        await client.socket.send(silence(1000))
        await client.until("ConversationText")
        assert len(client.voice) == heard


async def test_open_calls_are_taken_back_when_the_caller_speaks() -> None:
    think = {**THINK, "functions": [WEATHER]}
    async with DeepgramSimulator(script=["call weather {}"]) as simulator, dial(simulator) as client:
        await client.set_up(think=think)
        await client.send("InjectUserMessage", content="How is the weather?")
        (call,) = (await client.until("FunctionCallRequest"))["functions"]
        await client.socket.send(hum(300, 200))
        (taken,) = (await client.until("FunctionCallCancelled"))["functions"]
        assert taken == {"id": call["id"], "name": "weather"}


async def test_it_can_be_told_that_the_caller_is_done() -> None:
    async with DeepgramSimulator() as simulator, dial(simulator) as client:
        await client.set_up()
        await client.send("ForceEndTurn")
        await client.socket.send(hum(300, 400))
        await client.until("UserStartedSpeaking")
        await client.send("ForceEndTurn")
        assert (await client.until("ConversationText"))["role"] == "user"


async def test_a_prompt_that_is_too_long_is_told() -> None:
    async with DeepgramSimulator() as simulator, dial(simulator) as client:
        await client.set_up(think={**THINK, "prompt": "x" * 25_001})
        assert (await client.until("Warning"))["code"] == "PROMPT_TOO_LONG"


async def test_keys_and_paths() -> None:
    async with DeepgramSimulator(key="good") as simulator:
        for headers, status in (({"Authorization": "Token bad"}, 401), ({"Authorization": "Basic good"}, 401)):
            with pytest.raises(InvalidStatus) as refused:
                async with dial(simulator, **headers):
                    pass
            assert refused.value.response.status_code == status
            assert json.loads(refused.value.response.body)["err_code"] == "INVALID_AUTH"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{simulator.base_url}/v1/listen", additional_headers={"Authorization": "Token good"}):
                pass
        assert refused.value.response.status_code == 404
        for scheme in ("Token", "Bearer"):
            async with dial(simulator, Authorization=f"{scheme} good") as client:
                await client.set_up()


# --- faults -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def faulty(*faults: str, greeting: str = "Hello.", **options: Any) -> AsyncIterator[Client]:
    """A client that has been greeted, or would have been."""
    async with DeepgramSimulator(faults=faults, **{"seconds": 1.0, **options}) as simulator, dial(simulator) as client:
        await client.until("Welcome")
        await client.socket.send(json.dumps(settings(greeting=greeting)))
        yield client


@pytest.mark.parametrize(
    ("fault", "code", "error"),
    [
        ("close-after-ready=1013", 1013, ""),
        ("close-mid-response=1011", 1011, ""),
        ("cut", None, ""),
        ("session-expired=0.1", 1000, ""),
        ("quota=connect", 1008, "INSUFFICIENT_CREDITS"),
        ("quota", 1011, "FAILED_TO_THINK"),
        ("rate-limited-response", 1011, "TOO_MANY_REQUESTS"),
        ("model-not-found", 1008, "INVALID_SETTINGS"),
    ],
)
async def test_faults_that_end_it(fault: str, code: int | None, error: str) -> None:
    async with faulty(fault) as client:
        assert await client.ended() == code
        errors = [told["code"] for told in client.seen if told["type"] == "Error"]
        assert errors == ([error] if error else [])


async def test_faults_before_the_session() -> None:
    async with DeepgramSimulator(faults=["refuse=429*1", "retry-after=2*1", "invalid-key-late"]) as simulator:
        with pytest.raises(InvalidStatus) as refused:
            async with dial(simulator):
                pass
        assert refused.value.response.headers["Retry-After"] == "2"
        assert json.loads(refused.value.response.body)["err_code"] == "TOO_MANY_REQUESTS"
        async with dial(simulator) as client:
            assert await client.ended() == 1008
            assert client.seen[0]["code"] == "INVALID_AUTH"


async def test_faults_of_the_voice() -> None:
    async with faulty("wrong-format") as client:
        await client.until("AgentAudioDone")
        assert client.voice.startswith(b"RIFF")
    async with faulty("odd-deltas", delta_ms=(10, 10)) as client:
        await client.until("AgentAudioDone")
        assert len(client.voice) == MULAW_8K.size(1000)
    async with faulty("late-deltas", pace=2.0) as client:
        await client.until("AgentStartedSpeaking")
        await client.socket.send(hum(300, 100))
        await client.until("UserStartedSpeaking")
        before = len(client.voice)
        await client.socket.send(silence(1000))
        await client.until("ConversationText")
        assert len(client.voice) == before + 3 * MULAW_8K.size(DeepgramOptions().delta_ms[0])


async def test_faults_that_leave_things_out() -> None:
    async with faulty("silent-after-ready") as client:
        await client.until("SettingsApplied")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.until("AgentAudioDone"), 0.1)
    async with faulty("no-answer", greeting="") as client:
        await client.socket.send(hum(300, 100) + silence(1000))
        await client.until("ConversationText")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.until("ConversationText"), 0.1)
    async with faulty("transcription-failed", greeting="") as client:
        await client.socket.send(hum(300, 100) + silence(1000))
        await client.until("UserStartedSpeaking")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.until("ConversationText"), 0.1)
    async with faulty("vanish") as client:
        await client.until("ConversationText")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.until("AgentAudioDone"), 0.1)


async def test_faults_that_add_things() -> None:
    async with faulty("unknown-events") as client:
        await client.until("AgentAudioDone")
        assert set(DeepgramOutlet.UNKNOWN) & {told["type"] for told in client.seen}
    async with faulty("bad-json") as client:
        with pytest.raises(json.JSONDecodeError):
            await client.until("AgentAudioDone")
    twice = DeepgramSimulator(faults=["duplicate-tool-calls"], script=["call weather {}"])
    async with twice as simulator, dial(simulator) as client:
        await client.set_up(think={**THINK, "functions": [WEATHER]})
        await client.send("InjectUserMessage", content="How is the weather?")
        one = await client.until("FunctionCallRequest")
        assert (await client.until("FunctionCallRequest"))["functions"] == one["functions"]


async def test_options_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="idle"):
        DeepgramSimulator(idle_seconds=0)
    with pytest.raises(ValueError, match="no voice"):
        DeepgramSimulator(voice="bass")
