"""The simulated ElevenLabs agent, met by the vendor's own client and by a plain one."""

from __future__ import annotations

import asyncio
import base64
import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from servers import until
from sounds import hum, silence
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tandem.simulators.elevenlabs import SIGNING_PATHS, ElevenLabsSimulator
from tandem.simulators.elevenlabs_engine import ElevenLabsOutlet
from tandem.simulators.elevenlabs_script import EVENTS, FIRST_MESSAGE, FORMATS
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem_codecs.format import MULAW_8K

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the vendor's library imports what its own dependencies call outdated
    from elevenlabs import ElevenLabs
    from elevenlabs.conversational_ai.conversation import (
        AsyncAudioInterface,
        AsyncConversation,
        ClientTools,
        ConversationInitiationData,
        DisconnectionDetails,
    )

INITIATION = {"type": "conversation_initiation_client_data"}


# --- the vendor's own client ------------------------------------------------------------------------------------------


class Ears(AsyncAudioInterface):
    """The vendor's port to a loudspeaker and a microphone."""

    def __init__(self) -> None:
        self.say: Callable[[bytes], Awaitable[None]] | None = None
        self.heard = b""
        self.interruptions = 0

    async def start(self, input_callback: Callable[[bytes], Awaitable[None]]) -> None:
        self.say = input_callback

    async def stop(self) -> None:
        self.say = None

    async def output(self, audio: bytes) -> None:
        self.heard += audio

    async def interrupt(self) -> None:
        self.interruptions += 1


class Vendor:
    """A conversation of the vendor's own client."""

    def __init__(self) -> None:
        self.ears = Ears()
        self.lines: list[tuple[str, str]] = []
        self.ended: DisconnectionDetails | None = None
        self.tools = ClientTools(loop=asyncio.get_running_loop())
        self.conversation: Any
        """Parts of it have no types."""

    async def agent(self, text: str) -> None:
        self.lines.append(("agent", text))

    async def caller(self, text: str) -> None:
        self.lines.append(("caller", text))

    async def correct(self, original: str, corrected: str) -> None:
        self.lines.append(("corrected", corrected))

    async def end(self, details: DisconnectionDetails) -> None:
        self.ended = details

    async def says(self, audio: bytes) -> None:
        await until(lambda: self.ears.say is not None)
        assert self.ears.say is not None
        await self.ears.say(audio)

    async def until_line(self, line: tuple[str, str]) -> None:
        await until(lambda: line in self.lines)


@asynccontextmanager
async def vendor(
    simulator: ElevenLabsSimulator, *, private: bool = False, config: ConversationInitiationData | None = None
) -> AsyncIterator[Vendor]:
    here = Vendor()
    client = await asyncio.to_thread(lambda: ElevenLabs(api_key="sk_test", base_url=simulator.base_url))
    here.conversation = AsyncConversation(
        client,
        "agent",
        requires_auth=private,
        audio_interface=here.ears,
        config=config,
        client_tools=here.tools,
        callback_agent_response=here.agent,
        callback_agent_response_correction=here.correct,
        callback_user_transcript=here.caller,
        callback_disconnect=here.end,
    )
    await here.conversation.start_session()
    try:
        yield here
    finally:
        await here.conversation.end_session()
        await here.conversation.wait_for_session_end()


async def test_a_conversation_with_the_vendors_client() -> None:
    script = ["It is noon."]
    async with (
        ElevenLabsSimulator(
            script=script, seconds=0.5, transcripts=["What time is it?"], ping_seconds=0.1
        ) as simulator,
        vendor(simulator) as here,
    ):
        await here.until_line(("agent", FIRST_MESSAGE))
        await until(lambda: len(here.ears.heard) == MULAW_8K.size(500))
        await asyncio.sleep(0.6)  # the vendor plays it
        await here.says(hum(300, 400) + silence(1000))
        await here.until_line(("agent", "It is noon."))
        assert here.lines == [("agent", FIRST_MESSAGE), ("caller", "What time is it?"), ("agent", "It is noon.")]
        session = await simulator.session(1)
        assert session.query["source"] == "python_sdk"
        await session.until(lambda s: len(s.record.messages("pong")) >= 2)
        await here.conversation.send_contextual_update("The caller is in Bonn.")
        await here.conversation.register_user_activity()
        await here.conversation.send_user_message('Say exactly: "Four."')
        await here.until_line(("agent", "Four."))
    assert here.ended == DisconnectionDetails(reason="user")


async def test_a_private_agent_replaced_in_part_and_interrupted() -> None:
    override = {"agent": {"first_message": "One two three four."}, "tts": {"voice_id": "x"}}
    config = ConversationInitiationData(conversation_config_override=override, dynamic_variables={"caller": "Ann"})
    async with (
        ElevenLabsSimulator(key="sk_test", seconds=20, pace=2.0, faults=["late-deltas"]) as simulator,
        vendor(simulator, private=True, config=config) as here,
    ):
        await here.until_line(("agent", "One two three four."))
        await here.says(hum(300, 100))
        await until(lambda: here.ears.interruptions)
        heard = len(here.ears.heard)
        await until(lambda: here.lines[-1][0] == "corrected")
        assert here.lines[-1] == ("corrected", "...")
        session = await simulator.session(1)
        await session.until(lambda s: s.record.events("audio")[-1]["audio_event"]["event_id"] >= 4)
        assert len(here.ears.heard) == heard, "what came late has an event id that was told to be dropped"


async def test_tools_with_the_vendors_client_and_an_agent_that_hangs_up() -> None:
    script = [
        Reply("Let me see.", (FunctionCall("weather", '{"city":"Rome"}'),)),
        Reply("It is sunny. Goodbye.", (FunctionCall("end_call"),)),
    ]
    async with (
        ElevenLabsSimulator(script=script, seconds=0.2, tools=("weather",), first_message="") as simulator,
        vendor(simulator) as here,
    ):
        asked: list[dict[str, Any]] = []

        async def weather(parameters: dict[str, Any]) -> str:
            asked.append(parameters)
            return "sunny"

        here.tools.register("weather", weather, is_async=True)
        await until(lambda: here.ears.say is not None)
        await here.conversation.send_user_message("How is the weather?")
        await here.until_line(("agent", "It is sunny. Goodbye."))
        assert asked[0]["city"] == "Rome"
        await until(lambda: here.ended)
        assert here.ended is not None
        assert (here.ended.reason, here.ended.close_code) == ("agent", 1000)


async def test_a_refused_override_with_the_vendors_client() -> None:
    config = ConversationInitiationData(conversation_config_override={"agent": {"language": "de"}})
    async with ElevenLabsSimulator(overrides=()) as simulator, vendor(simulator, config=config) as here:
        await until(lambda: here.ended)
    assert here.ended is not None
    assert (here.ended.reason, here.ended.close_code) == ("error", 1008)
    assert here.ended.close_reason == "Override for field 'language' is not allowed by config."


# --- a plain one ------------------------------------------------------------------------------------------------------


class Client:
    """Knows nothing but JSON. Answers pings unless told not to."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []
        self.pongs = True

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def say(self, audio: bytes) -> None:
        await self.socket.send(json.dumps({"user_audio_chunk": base64.b64encode(audio).decode()}))

    async def receive(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await self.socket.recv())
        self.seen.append(told)
        if told["type"] == "ping" and self.pongs:
            await self.send("pong", event_id=told["ping_event"]["event_id"])
        return told

    async def until(self, kind: str) -> dict[str, Any]:
        """The next message of that kind."""
        while (told := await self.receive())["type"] != kind:
            pass
        return told

    async def set_up(self, **fields: Any) -> dict[str, Any]:
        await self.socket.send(json.dumps({**INITIATION, **fields}))
        told = await self.until("conversation_initiation_metadata")
        metadata: dict[str, Any] = told["conversation_initiation_metadata_event"]
        return metadata

    async def ended(self) -> tuple[int | None, str]:
        """Read on until the connection ends; how."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as end:
            return (None, "") if end.rcvd is None else (end.rcvd.code, end.rcvd.reason)

    @property
    def voice(self) -> bytes:
        pieces = [told["audio_event"]["audio_base_64"] for told in self.seen if told["type"] == "audio"]
        return b"".join(base64.b64decode(piece) for piece in pieces)


@asynccontextmanager
async def dial(simulator: ElevenLabsSimulator, query: str = "agent_id=agent", **headers: str) -> AsyncIterator[Client]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with connect(f"{simulator.url}?{query}", additional_headers=sent, compression=None, max_queue=None) as socket:
        yield Client(socket)


async def test_formats_are_the_agents_own() -> None:
    async with (
        ElevenLabsSimulator(hears="pcm_16000", speaks="pcm_48000", voice="tone:440", seconds=0.5) as simulator,
        dial(simulator) as client,
    ):
        metadata = await client.set_up()
        assert metadata["user_input_audio_format"] == "pcm_16000"
        assert metadata["agent_output_audio_format"] == "pcm_48000"
        await client.until("agent_response_complete")
        assert len(client.voice) == FORMATS["pcm_48000"].size(500)


@pytest.mark.parametrize(
    "first",
    ["no json", "[1]", '{"type":"pong","event_id":1}', '{"user_audio_chunk":"AAAA"}', '{"type":"dance"}', "{}"],
)
async def test_anything_before_the_initiation_ends_the_session(first: str) -> None:
    async with ElevenLabsSimulator() as simulator, dial(simulator) as client:
        await client.socket.send(first)
        assert (await client.ended())[0] == 1008
        assert not client.seen


@pytest.mark.parametrize(
    "wrong",
    [
        INITIATION,
        {"type": "user_message"},
        {"user_audio_chunk": "@@"},
        {"user_audio_chunk": 5},
        {"type": "client_tool_result", "tool_call_id": "x"},
    ],
)
async def test_messages_are_checked(wrong: dict[str, Any]) -> None:
    async with ElevenLabsSimulator() as simulator, dial(simulator) as client:
        await client.set_up()
        await client.socket.send(json.dumps(wrong))
        assert (await client.ended())[0] == 1008


async def test_who_does_not_answer_pings_is_left() -> None:
    async with ElevenLabsSimulator(ping_seconds=0.05) as simulator:
        async with dial(simulator) as client:
            client.pongs = False
            await client.set_up()
            assert await client.ended() == (1008, "Ping timed out.")
        async with dial(simulator) as client:
            await client.set_up()
            for _ in range(6):
                await client.until("ping")


async def test_only_what_the_agent_is_set_up_to_tell_is_told() -> None:
    async with ElevenLabsSimulator(client_events=("audio",), extras=False) as simulator, dial(simulator) as client:
        await client.set_up()
        await client.until("audio")
        await client.send("user_message", text="hello")
        await client.until("audio")
        assert {told["type"] for told in client.seen} == {"conversation_initiation_metadata", "ping", "audio"}
    assert "agent_response" in EVENTS


async def test_what_the_caller_seems_to_say_comes_before_what_it_said() -> None:
    async with (
        ElevenLabsSimulator(tentative=True, first_message="", transcripts=["Hello."]) as simulator,
        dial(simulator) as client,
    ):
        await client.set_up()
        await client.say(hum(300, 300) + silence(1000))
        await client.until("user_transcript")
        kinds = [told["type"] for told in client.seen if "transcript" in told["type"]]
        assert kinds == ["tentative_user_transcript", "tentative_user_transcript", "user_transcript"]


async def test_keys_signed_addresses_agents_and_paths() -> None:
    async with ElevenLabsSimulator(key="sk_good", agent_id="agent") as simulator, httpx.AsyncClient() as http:
        for headers in ({}, {"xi_api_key": "sk_bad"}):
            with pytest.raises(InvalidStatus) as refused:
                async with dial(simulator, **headers):
                    pass
            assert refused.value.response.status_code == 401
        async with dial(simulator, xi_api_key="sk_good") as client:
            await client.set_up()
        for path in SIGNING_PATHS:
            address = f"{simulator.base_url}{path}?agent_id=agent"
            assert (await http.get(address)).status_code == 401
            answer = await http.get(address, headers={"xi-api-key": "sk_good"})
            query = answer.json()["signed_url"].partition("?")[2]
            async with dial(simulator, query) as client:
                await client.set_up()
        async with dial(simulator, "agent_id=other", xi_api_key="sk_good") as client:
            assert await client.ended() == (3000, "The AI agent you are trying to reach does not exist.")
        with pytest.raises(InvalidStatus) as refused:
            async with dial(simulator, "x=1", xi_api_key="sk_good"):
                pass
        assert refused.value.response.status_code == 400


# --- faults -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def faulty(*faults: str, **options: Any) -> AsyncIterator[Client]:
    """A client that has begun a conversation, or tried to."""
    async with (
        ElevenLabsSimulator(faults=faults, **{"seconds": 1.0, **options}) as simulator,
        dial(simulator) as client,
    ):
        with suppress(ConnectionClosed):
            await client.socket.send(json.dumps(INITIATION))
        yield client


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("close-after-ready=1013", 1013),
        ("close-mid-response=1011", 1011),
        ("cut", None),
        ("session-expired=0.1", 1008),
        ("quota=connect", 1002),
        ("quota", 1002),
        ("rate-limited-response", 1008),
        ("model-not-found", 1011),
        ("invalid-key-late", 3000),
    ],
)
async def test_faults_that_end_it(fault: str, code: int | None) -> None:
    async with faulty(fault) as client:
        assert (await client.ended())[0] == code


async def test_a_field_that_may_not_be_replaced() -> None:
    simulator = ElevenLabsSimulator(faults=["refuse-field=agent.first_message"])
    async with simulator, dial(simulator) as client:
        override = {"agent": {"first_message": "Hi."}}
        await client.socket.send(json.dumps({**INITIATION, "conversation_config_override": override}))
        assert await client.ended() == (1008, "Override for field 'first_message' is not allowed by config.")


async def test_faults_of_the_voice() -> None:
    async with faulty("wrong-format") as client:
        await client.until("agent_response_complete")
        assert len(client.voice) == FORMATS["pcm_24000"].size(1000)
    async with faulty("bad-base64") as client:
        await client.until("agent_response_complete")
        pieces = [told["audio_event"]["audio_base_64"] for told in client.seen if told["type"] == "audio"]
        assert pieces[1].startswith("@@")
    async with faulty("odd-deltas", speaks="pcm_16000") as client:
        await client.until("agent_response_complete")
        assert len(client.voice) == FORMATS["pcm_16000"].size(1000)


async def test_faults_that_leave_things_out_or_add_them() -> None:
    async with faulty("silent-after-ready") as client:
        await client.until("conversation_initiation_metadata")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.receive(), 0.1)
    async with faulty("no-answer", first_message="") as client:
        await client.say(hum(300, 100) + silence(1000))
        await client.until("user_transcript")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.until("audio"), 0.1)
    async with faulty("transcription-failed", first_message="") as client:
        await client.say(hum(300, 100) + silence(1000))
        await client.until("agent_response")
        assert not [told for told in client.seen if told["type"] == "user_transcript"]
    async with faulty("vanish") as client:
        await client.until("agent_response")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.until("audio"), 0.1)
    async with faulty("unknown-events") as client:
        await client.until("agent_response_complete")
        assert set(ElevenLabsOutlet.UNKNOWN) & {told["type"] for told in client.seen}
    async with faulty("duplicate-tool-calls", first_message="", tools=("f",), script=["call f {}"]) as client:
        await client.until("conversation_initiation_metadata")
        await client.send("user_message", text="hello")
        one = await client.until("client_tool_call")
        assert (await client.until("client_tool_call"))["client_tool_call"] == one["client_tool_call"]


@pytest.mark.parametrize(
    "options",
    [
        {"hears": "mp3"},
        {"speaks": "pcm_48000"},
        {"client_events": ("dance",)},
        {"overrides": ("agent.name",)},
        {"ping_seconds": 0},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"there|pings"):
        ElevenLabsSimulator(**options)
