"""The simulated server of one's own, held against what the vendor's library still knows of the old protocol."""

from __future__ import annotations

import base64
import json
from typing import Any, get_args

import pytest
from openai import AsyncOpenAI
from openai.types.beta.realtime import RealtimeServerEvent
from realtime_client import Event, hum, kinds, of, quiet
from realtime_dialogue import Dialogue
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tandem.simulators.openai_compatible import BetaTongue, OpenAICompatibleSimulator
from tandem.simulators.openai_outlet import UNKNOWN_EVENTS
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem_codecs.format import PCM16_16K, PCM16_24K

EVENT_TYPES = {
    get_args(each.model_fields["type"].annotation)[0]: each for each in get_args(get_args(RealtimeServerEvent)[0])
}
TOOL = {"type": "function", "name": "f", "description": "", "parameters": {"type": "object"}}


def validate(event: Event) -> None:
    if event["type"] not in UNKNOWN_EVENTS:
        EVENT_TYPES[event["type"]].model_validate(event)


class BetaDialogue(Dialogue):
    """A dialogue in the old tongue."""

    def __init__(self, faults: dict[str, str] | None = None, **options: Any) -> None:
        super().__init__(faults, "gpt-realtime", tongue=BetaTongue(), judge=validate, **{"extras": False, **options})

    def set_up(self, **session: Any) -> Event:
        (updated,) = self.say("session.update", session=session)
        assert updated["type"] == "session.updated", updated
        effective: Event = updated["session"]
        return effective


def test_a_session_is_flat() -> None:
    talk = BetaDialogue()
    (created,) = talk.opening
    assert created["session"]["modalities"] == ["text", "audio"]
    assert created["session"]["input_audio_format"] == "pcm16"
    updated = talk.set_up(
        modalities=["text", "audio"],
        instructions="Be kind.",
        voice="af_heart",
        turn_detection=None,
        input_audio_format="pcm16",
        input_audio_transcription={"model": "whisper-1"},
        temperature=0.7,
        max_response_output_tokens=99,
        tools=[TOOL],
    )
    assert updated["voice"] == "af_heart"
    assert updated["turn_detection"] is None
    assert updated["input_audio_transcription"] == {"model": "whisper-1"}
    assert updated["max_response_output_tokens"] == 99
    assert talk.engine.settings.input_format == PCM16_16K
    assert talk.engine.settings.output_format == PCM16_24K


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "realtime"}, "session.type"),
        ({"audio": {}}, "session.audio"),
        ({"modalities": ["audio"]}, "session.modalities"),
        ({"input_audio_format": "g711_ulaw"}, "session.input_audio_format"),
        ({"input_audio_noise_reduction": {"type": "near_field"}}, "session.input_audio_noise_reduction"),
    ],
)
def test_what_it_does_not_know(session: Event, param: str) -> None:
    assert BetaDialogue().refusal("session.update", session=session)["param"] == param


@pytest.mark.parametrize("kind", ["conversation.item.truncate", "conversation.item.delete"])
def test_messages_that_it_does_not_know(kind: str) -> None:
    refused = BetaDialogue().refusal(kind, item_id="i")
    assert (refused["type"], refused["code"]) == ("unknown_or_invalid_event", None)


def test_a_turn_and_its_answer_by_the_old_names() -> None:
    talk = BetaDialogue(script=["Hello there."])
    talk.set_up(input_audio_transcription={"model": "whisper-1"})
    events = talk.append(hum(500, audio_format=PCM16_16K) + quiet(600, PCM16_16K))
    assert {"response.audio.delta", "response.audio_transcript.done", "conversation.item.created"} <= set(kinds(events))
    assert not [kind for kind in kinds(events) if "output_audio" in kind or kind.endswith(("item.added", "item.done"))][
        2:
    ]
    (done,) = of(events, "response.done")
    assert done["response"]["output"][0]["content"] == [{"type": "audio", "transcript": "Hello there."}]
    assert not {"metadata", "audio", "output_modalities"} & done["response"].keys()


def test_text_in_and_out() -> None:
    talk = BetaDialogue()
    items = [
        {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": 'Say exactly: "Yes."'}]},
    ]
    for item in items:
        (created,) = talk.say("conversation.item.create", item=item)
        assert created["type"] == "conversation.item.created"
        assert created["item"]["content"] == item["content"]
    events = talk.say("response.create", response={"modalities": ["text"], "instructions": "x", "voice": "y"})
    assert of(events, "response.text.done")[0]["text"] == "Yes."


def test_functions() -> None:
    talk = BetaDialogue(script=[Reply("", (FunctionCall("f"),)), "Done."])
    talk.set_up(tools=[TOOL])
    (call,) = of(talk.say("response.create"), "response.function_call_arguments.done")
    talk.say(
        "conversation.item.create", item={"type": "function_call_output", "call_id": call["call_id"], "output": "1"}
    )
    assert of(talk.say("response.create"), "response.audio_transcript.done")[0]["transcript"] == "Done."


def test_faults_of_servers_that_know_little() -> None:
    silent = BetaDialogue({"unconfirmed": ""})
    assert silent.say("session.update", session={"instructions": "x"}) == []
    assert kinds(silent.say("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    picky = BetaDialogue({"refuse-field": "turn_detection.threshold"})
    assert picky.set_up(turn_detection=None)["turn_detection"] is None
    asked = {"turn_detection": {"type": "server_vad", "threshold": 0.5}}
    assert picky.refusal("session.update", session=asked)["param"] == "session.turn_detection.threshold"


async def test_the_vendors_client_as_it_was() -> None:
    async with (
        OpenAICompatibleSimulator(script=["Good day."]) as simulator,
        AsyncOpenAI(api_key="k", websocket_base_url=simulator.base_url) as client,
        client.beta.realtime.connect(model="any") as connection,
    ):
        await connection.session.update(session={"modalities": ["text", "audio"], "input_audio_format": "pcm16"})
        await connection.response.create()
        transcript, audio = "", b""
        async for event in connection:
            if event.type == "response.audio_transcript.delta":
                transcript += event.delta
            elif event.type == "response.audio.delta":
                audio += base64.b64decode(event.delta)
            elif event.type == "response.done":
                break
        session = await simulator.session(1)
    assert transcript == "Good day."
    assert PCM16_24K.milliseconds(len(audio)) > 300
    assert session.headers["openai-beta"] == "realtime=v1"


async def test_a_key_in_any_of_the_ways_and_none_if_there_is_none() -> None:
    ways: list[tuple[dict[str, str], str]] = [
        ({"Authorization": "Bearer k"}, ""),
        ({"X-API-Key": "k"}, ""),
        ({"api-key": "k"}, ""),
        ({}, "?api_key=k"),
    ]
    async with OpenAICompatibleSimulator(key="k") as simulator:
        for headers, query in ways:
            async with connect(simulator.url + query, additional_headers=headers) as socket:
                assert json.loads(await socket.recv())["type"] == "session.created"
        with pytest.raises(InvalidStatus):
            await connect(simulator.url, additional_headers={"X-API-Key": "wrong"})
    async with OpenAICompatibleSimulator() as simulator, connect(simulator.url) as socket:
        assert json.loads(await socket.recv())["type"] == "session.created"
