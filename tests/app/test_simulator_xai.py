"""The simulated xAI server: what makes it another server than OpenAI's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from realtime_client import EVENT_TYPES, Event, RealtimeClient, hum, kinds, of, quiet
from realtime_dialogue import Dialogue
from websockets.asyncio.client import connect

from tandem.simulators.openai_checks import Refused
from tandem.simulators.openai_outlet import UNKNOWN_EVENTS, Action, Send
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem.simulators.xai import XAISimulator, XAITongue

TOOL = {"type": "function", "name": "f", "description": "", "parameters": {"type": "object"}}
OWN = {"ping", "conversation.item.input_audio_transcription.updated", "response.text.delta", "response.text.done"}


def validate(event: Event) -> None:
    """All but what is the vendor's own is as OpenAI's library knows it."""
    kind = event["type"]
    if kind in OWN or kind in UNKNOWN_EVENTS or kind.startswith("session."):
        return
    if kind == "response.function_call_arguments.done":
        event = {"response_id": "r", "item_id": "i", **event}
    EVENT_TYPES[kind].model_validate(event)


class XAIDialogue(Dialogue):
    """A dialogue with the vendor's tongue."""

    def __init__(self, faults: dict[str, str] | None = None, **options: Any) -> None:
        super().__init__(
            faults, "grok-voice-latest", tongue=XAITongue(), judge=validate, **{"extras": False, **options}
        )

    def set_up(self, **session: Any) -> Event:
        (updated,) = self.say("session.update", session=session)
        assert updated["type"] == "session.updated", updated
        effective: Event = updated["session"]
        return effective


def test_a_session_has_voice_and_turns_at_its_top_and_thinks_hard_unless_told() -> None:
    talk = XAIDialogue()
    assert [event["type"] for event in talk.opening] == ["session.created", "conversation.created", "ping"]
    created = talk.opening[0]["session"]
    assert created["reasoning"] == {"effort": "high"}
    updated = talk.set_up(
        voice="rex",
        turn_detection=None,
        instructions="Be kind.",
        audio={
            "input": {"format": {"type": "audio/pcm", "rate": 16000}, "transport": "json"},
            "output": {"format": {"type": "audio/pcma"}, "speed": 0.7},
        },
        tools=[TOOL, {"type": "web_search"}],
        reasoning={"effort": "none"},
        replace={"SQL": "sequel"},
    )
    assert (updated["voice"], updated["turn_detection"], updated["instructions"]) == ("rex", None, "Be kind.")
    assert updated["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 16000}
    assert updated["audio"]["output"] == {"format": {"type": "audio/pcma"}, "speed": 0.7}
    assert (updated["reasoning"], updated["replace"]) == ({"effort": "none"}, {"SQL": "sequel"})
    assert not {"type", "output_modalities"} & updated.keys()
    assert str(talk.engine.settings.input_format) == "pcm16/16000"


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "realtime"}, "session.type"),
        ({"output_modalities": ["audio"]}, "session.output_modalities"),
        ({"audio": {"output": {"voice": "eve"}}}, "session.audio.output.voice"),
        ({"audio": {"input": {"turn_detection": None}}}, "session.audio.input.turn_detection"),
        ({"audio": {"input": {"noise_reduction": None}}}, "session.audio.input.noise_reduction"),
        ({"turn_detection": {"type": "server_vad", "threshold": 0.95}}, "session.turn_detection.threshold"),
        ({"turn_detection": {"type": "server_vad", "create_response": True}}, "session.turn_detection.create_response"),
        ({"voice": "marin"}, "session.voice"),
        ({"audio": {"output": {"speed": 1.6}}}, "session.audio.output.speed"),
        ({"tool_choice": "auto"}, "session.tool_choice"),
    ],
)
def test_what_openai_takes_is_not_taken_here(session: Event, param: str) -> None:
    assert XAIDialogue().refusal("session.update", session=session)["param"] == param


def test_a_response_has_modalities_and_no_choice_of_tools() -> None:
    talk = XAIDialogue()
    assert talk.refusal("response.create", response={"output_modalities": ["audio"]})["code"] == "unknown_parameter"
    assert talk.refusal("response.create", response={"tool_choice": "none"})["param"] == "response.tool_choice"
    events = talk.say("response.create", response={"modalities": ["text", "audio"], "metadata": {"a": "b"}})
    assert of(events, "response.created")[0]["response"]["metadata"] == {"a": "b"}
    assert of(events, "response.output_audio.delta")
    done = of(events, "response.done")[0]
    assert done["response"]["usage"] == {}
    assert done["usage"]["total_tokens"] > 0


def test_text_comes_by_both_names() -> None:
    talk = XAIDialogue(script=["One two"])
    events = talk.say("response.create", response={"modalities": ["text"]})
    for piece in ("delta", "done"):
        old, new = of(events, f"response.text.{piece}"), of(events, f"response.output_text.{piece}")
        assert len(old) == len(new) > 0
    assert [event["delta"] for event in of(events, "response.text.delta")] == ["One", " two"]


def test_words_are_forced() -> None:
    talk = XAIDialogue(script=["From the script."])
    item = {"type": "force_message", "role": "assistant", "content": [{"type": "output_text", "text": 'So "be" it.'}]}
    events = talk.say("conversation.item.create", item=item)
    assert of(events, "response.output_audio_transcript.done")[0]["transcript"] == 'So "be" it.'
    assert of(events, "response.created")[0]["response"]["metadata"] is None
    assert len(of(events, "response.done")) == 1
    wrong = {**item, "role": "user"}
    assert talk.refusal("conversation.item.create", item=wrong)["param"] == "item.role"
    with pytest.raises(Refused):
        XAITongue().check({"type": "conversation.item.create", "item": {"type": "force_message"}})


def test_what_the_caller_says_is_told_whole_each_time_and_called_complete_too_early() -> None:
    talk = XAIDialogue(transcripts=["I would like to"])
    talk.set_up(audio={"input": {"transcription": {"model": "grok-transcribe"}}})
    name = "conversation.item.input_audio_transcription"
    events = talk.append(hum(500) + quiet(600))
    assert [event["transcript"] for event in of(events, f"{name}.updated")] == [
        "I", "I would", "I would like", "I would like to",
    ]  # fmt: skip
    assert [(event["transcript"], event["status"]) for event in of(events, f"{name}.completed")] == [
        ("I would like", "in_progress"),
        ("I would like to", "completed"),
    ]
    assert not of(events, f"{name}.delta")


def test_a_response_that_nobody_heard_ends_without_a_word() -> None:
    talk = XAIDialogue(latency=1.0)
    events = talk.append(hum(500) + quiet(600))
    (created,) = of(events, "response.created")
    events = talk.append(hum(500))
    assert kinds(events) == ["input_audio_buffer.speech_started"]
    events = talk.append(quiet(600)) + talk.wait(2.0)
    (done,) = of(events, "response.done")
    assert done["response"]["id"] != created["response"]["id"]


def test_a_response_that_was_heard_is_cancelled_aloud() -> None:
    talk = XAIDialogue(pace=1.0, seconds=5.0)
    talk.say("response.create")
    events = talk.append(hum(500))
    assert of(events, "response.done")[0]["response"]["status_details"]["reason"] == "turn_detected"


def test_calls_lack_ids_and_a_late_cancel_lacks_a_code() -> None:
    talk = XAIDialogue(script=[Reply("", (FunctionCall("f"),))])
    talk.set_up(tools=[TOOL])
    (call,) = of(talk.say("response.create"), "response.function_call_arguments.done")
    assert call.keys() == {"type", "event_id", "output_index", "call_id", "name", "arguments"}
    refused = talk.refusal("response.cancel")
    assert refused["code"] is None
    assert refused["message"].startswith("Cancellation failed")


def test_pings_come_every_few_seconds() -> None:
    talk = XAIDialogue()
    assert kinds(talk.wait(11.0)) == ["ping", "ping"]


async def test_a_conversation_goes_on_by_its_name_where_that_was_allowed() -> None:
    async with XAISimulator(extras=False) as simulator:

        async def conversation(query: str, *, enabled: bool) -> str:
            async with connect(f"{simulator.url}?{query}", additional_headers={"Authorization": "Bearer k"}) as socket:
                client = RealtimeClient(socket)
                update = {"type": "session.update", "session": {"resumption": {"enabled": enabled}}}
                created = named = None
                while created is None or named is None:
                    event = json.loads(await socket.recv())
                    created = event if event["type"] == "session.created" else created
                    named = event["conversation"]["id"] if event["type"] == "conversation.created" else named
                await socket.send(json.dumps(update))
                await client.send("conversation.item.create", item={"type": "message", "role": "user", "content": []})
                async with asyncio.timeout(5):
                    while json.loads(await socket.recv())["type"] != "conversation.item.done":
                        pass
                return str(named)

        first = await conversation("", enabled=True)
        assert await conversation(f"conversation_id={first}", enabled=False) == first
        other = await conversation("", enabled=False)
        assert await conversation(f"conversation_id={other}", enabled=True) != other
        engine = (await simulator.session(2)).engine
    assert engine is not None
    assert len(engine.conversation.items) == 2


def test_actions_are_messages() -> None:
    actions: list[Action] = XAIDialogue().engine.wake(200.0)
    assert all(isinstance(action, Send) for action in actions)
