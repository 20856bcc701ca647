"""Commands to a Gemini session: when text may be sent, and how each generation of models wants it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from gemini_play import (
    COMPLETE,
    EXTENDED_38,
    FLASH_31,
    GENERATED,
    GENERATIONS,
    LIVE_38,
    NATIVE_25,
    Message,
    Play,
    call,
    calls,
    client,
    server,
    voice,
)

from tandem_codecs.format import PCM16_16K
from tandem_providers.commands import CancelResponse, CommitTurn, Purpose, Say, SendDtmf, SendText, ToolResult
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.events import AudioChunk, ItemAdded, ToolCall, TurnEnded, TurnStarted
from tandem_providers.provider import HistoryTurn, Opening

FUNCTIONS = ProcessConfig(functions=[FunctionDeclaration("f")])
LOUD = b"\x00\x20\x00\xe0" * (PCM16_16K.frame_bytes // 4)
VERTEX: dict[str, Any] = {"vertex": True, "project": "p", "access_token": "t"}


def asked(message: Message) -> str:
    """The text of a message that makes the model speak."""
    if "realtimeInput" in message:
        return str(message["realtimeInput"]["text"])
    body = message["clientContent"]
    assert body["turnComplete"] is True
    assert {turn["role"] for turn in body["turns"]} == {"user"}
    return "\n".join(part["text"] for turn in body["turns"] for part in turn["parts"])


# Speaking unprompted


@pytest.mark.parametrize("model", GENERATIONS)
@pytest.mark.parametrize("purpose", Purpose)
def test_the_agent_is_asked_to_speak(model: str, purpose: Purpose) -> None:
    play = Play(model=model)
    play >> Say(purpose)
    (message,) = play.take()
    assert ("realtimeInput" in message) is (model == FLASH_31)
    assert asked(message).startswith("(Not said by the caller.)")


def test_words_that_are_wanted_exactly_stand_last() -> None:
    play = Play()
    play >> Say(Purpose.GREETING, 'Hello, this is "Tandem".\nHow can I help?')
    (message,) = play.take()
    assert asked(message).endswith('nothing else: "Hello, this is "Tandem".\nHow can I help?"')


def test_one_wish_after_the_other_and_none_into_a_turn() -> None:
    play = Play().speak()
    (play >> Say(Purpose.STILL_THERE)).silence()
    (play >> SendText("And this.")).silence()
    play >> GENERATED << AudioChunk
    play.listen(1000).silence()  # it is still being heard
    play >> COMPLETE
    ended, first = play.take()
    assert ended == TurnEnded("turn1", "completed")
    assert "has not said anything" in asked(first)
    (play >> COMPLETE).silence()
    play.speak(item=2, turn=2)
    play >> GENERATED << AudioChunk
    play >> COMPLETE
    _, second = play.take()
    assert asked(second) == "And this."


def test_texts_that_wait_together_are_answered_together() -> None:
    play = Play().speak()
    (play >> SendText("One.") >> SendText("Two.") >> SendDtmf("#")).silence()
    play >> COMPLETE
    assert asked(play.take()[-1]) == "One.\nTwo.\nThe caller pressed # on the keypad."


def test_a_farewell_replaces_what_waits() -> None:
    play = Play().speak()
    (play >> SendText("One.") >> Say(Purpose.STILL_THERE) >> Say(Purpose.GOODBYE)).silence()
    (play >> CancelResponse()).silence()
    play >> COMPLETE
    messages = play.take()
    assert "The call ends now" in asked(messages[-1]) or "call ends" in asked(messages[-1])
    assert len([message for message in messages if isinstance(message, dict)]) == 1


def test_a_second_wish_of_the_same_kind_replaces_the_first() -> None:
    play = Play().speak()
    (play >> Say(Purpose.STILL_THERE) >> Say(Purpose.STILL_THERE, "Hello?")).silence()
    play >> COMPLETE
    assert asked(play.take()[-1]).endswith('"Hello?"')


def test_a_wish_that_came_to_nothing_makes_room_for_the_next() -> None:
    play = Play()
    play >> Say(Purpose.GREETING) << {"clientContent": {}}
    (play >> Say(Purpose.STILL_THERE)).silence()
    play.listen(9_980).silence()
    play.listen(20) << {"clientContent": {"turnComplete": True}}


def test_a_turn_whose_end_was_lost_makes_room_for_the_next() -> None:
    play = Play().speak()
    (play >> Say(Purpose.STILL_THERE)).silence()
    play.listen(19_980).silence()
    play.listen(20) << {"clientContent": {}}
    play >> server(usageMetadata={}) << TurnEnded("turn1", "incomplete", "dropped")


# Text


@pytest.mark.parametrize("model", GENERATIONS)
def test_text_to_be_answered(model: str) -> None:
    play = Play(model=model)
    play >> SendText("What day is it?")
    assert asked(play.take()[0]) == "What day is it?"
    play = Play(model=model)
    play >> SendText("Be brief.", role="system")
    assert asked(play.take()[0]) == "(Not said by the caller.) Be brief."


def test_text_to_be_known() -> None:
    note = SendText("Time is nearly up.", role="system", respond=False)
    config = ProcessConfig(instructions="Be kind.")
    instructions = "Be kind.\n\nTime is nearly up."
    parts = [{"text": instructions}]
    Play(config) >> note << {"contextUpdate": {"systemInstruction": {"parts": parts}}}
    Play(config, model=EXTENDED_38) >> note << {"contextUpdate": {"systemInstruction": {"parts": parts}}}
    (
        Play(config, model=FLASH_31)
        >> note
        << {"realtimeInput": {"text": "(Not said by the caller.) Keep in mind, and do not answer: Time is nearly up."}}
    )
    turn = {"role": "user", "parts": [{"text": "Time is nearly up."}]}
    Play(config, model=NATIVE_25) >> note << {"clientContent": {"turns": [turn], "turnComplete": False}}
    vertex = Play(config, model=NATIVE_25, **VERTEX)
    vertex >> note << {"clientContent": {"turns": [{"role": "system", "parts": parts}], "turnComplete": False}}
    more = [{"text": f"{instructions}\n\nNow."}]
    vertex >> SendText("Now.", "system", False) << {"clientContent": {"turns": [{"role": "system", "parts": more}]}}


def test_notes_wait_for_the_end_of_a_turn_and_go_first() -> None:
    play = Play().speak()
    (play >> SendText("Say this.") >> SendText("Know this.", "system", False)).silence()
    play >> COMPLETE << [AudioChunk, TurnEnded, {"contextUpdate": {}}, {"clientContent": {"turnComplete": True}}]


# Answers to calls


@pytest.mark.parametrize(
    ("output", "response"),
    [
        ('{"a":1}', {"output": {"a": 1}}),
        ("[1]", {"output": [1]}),
        ("plain words", {"output": "plain words"}),
        ("{broken", {"output": "{broken"}),
        ('{"error":"timeout","message":"m"}', {"error": {"error": "timeout", "message": "m"}}),
        ("false", {"output": False}),
        ("0", {"output": 0}),
    ],
)
def test_answers_are_objects(output: str, response: Any) -> None:
    play = Play(FUNCTIONS)
    play >> calls(call("c1")) << [TurnStarted, ToolCall]
    (
        play
        >> ToolResult("c1", output)
        << {"toolResponse": {"functionResponses": [{"id": "c1", "name": "f", "response": response}]}}
    )


@pytest.mark.parametrize("output", ["", '""', "null", "{}", "[]"])
def test_an_empty_answer_says_that_it_is_one(output: str) -> None:
    """Else the newest models ask again and again."""
    play = Play(FUNCTIONS)
    play >> calls(call("c1")) << [TurnStarted, ToolCall]
    play >> ToolResult("c1", output)
    (answer,) = play.take()[0]["toolResponse"]["functionResponses"]
    assert set(answer["response"]["output"]) == {"status", "retryable", "message"}


def test_while_the_model_waits_it_hears_nothing_and_then_everything() -> None:
    play = Play(FUNCTIONS, model=NATIVE_25)
    play >> calls(call("c1")) << [TurnStarted, ToolCall]
    spoken = [bytes([i]) * PCM16_16K.frame_bytes for i in range(20)]
    for frame in spoken:
        assert play.protocol.audio(frame) == []
    (play >> Say(Purpose.STILL_THERE)).silence()
    play >> ToolResult("c1", "x")
    answer, *audio = play.take()
    assert "toolResponse" in answer
    kept = b"".join(base64.b64decode(message["realtimeInput"]["audio"]["data"]) for message in audio)
    assert kept == b"".join(spoken)
    assert len(play.protocol.audio(LOUD)) == 1


def test_a_call_that_is_never_answered_does_not_make_it_deaf_for_ever() -> None:
    play = Play(FUNCTIONS, model=NATIVE_25)
    play >> calls(call("c1")) << [TurnStarted, ToolCall]
    frame = PCM16_16K.silence(100)
    assert all(play.protocol.audio(frame) == [] for _ in range(299))
    assert len(play.protocol.audio(frame)) == 300
    assert len(play.protocol.audio(frame)) == 1


def test_a_call_taken_back_lets_it_hear_again() -> None:
    play = Play(ProcessConfig(functions=FUNCTIONS.functions, extensions={"function_behavior": "blocking"}))
    play >> calls(call("c1")) << [TurnStarted, ToolCall]
    assert play.protocol.audio(LOUD) == []
    play >> server(toolCallCancellation={"ids": ["c1"]})
    _, audio = play.take()
    assert "audio" in audio["realtimeInput"]


def test_by_default_the_newest_models_listen_on() -> None:
    play = Play(FUNCTIONS, model=LIVE_38)
    play >> calls(call("c1")) << [TurnStarted, ToolCall]
    assert len(play.protocol.audio(LOUD)) == 1


# The memory of an earlier session

HISTORY = (
    HistoryTurn("assistant", "Hello."),
    HistoryTurn("user", "What time is it?"),
    HistoryTurn("user", " "),
    HistoryTurn("assistant", "Ten."),
)
TURNS = [
    {"role": "model", "parts": [{"text": "Hello."}]},
    {"role": "user", "parts": [{"text": "What time is it?"}]},
    {"role": "model", "parts": [{"text": "Ten."}]},
]


@pytest.mark.parametrize("model", [FLASH_31, LIVE_38, EXTENDED_38])
def test_history_that_is_announced_and_then_complete(model: str) -> None:
    play = Play(model=model, opening=Opening(HISTORY))
    assert play.setup["historyConfig"] == {"initialHistoryInClientContent": True}
    play << {"clientContent": {"turns": TURNS, "turnComplete": True}}
    play >> Say(Purpose.RESUME)
    assert "Go on" in asked(play.take()[0])


def test_history_where_nothing_announces_it() -> None:
    play = Play(model=NATIVE_25, opening=Opening(HISTORY))
    assert "historyConfig" not in play.setup
    (message,) = play.take()
    assert message["clientContent"]["turnComplete"] is False
    *turns, last = message["clientContent"]["turns"]
    assert turns == TURNS
    assert last["role"] == "user"  # this generation wants the caller last
    ends_with_caller = Play(model=NATIVE_25, opening=Opening(HISTORY[:2]))
    ends_with_caller << {"clientContent": {"turns": TURNS[:2], "turnComplete": False}}


def test_history_on_vertex() -> None:
    play = Play(opening=Opening(HISTORY), **VERTEX)
    assert "historyConfig" not in play.setup
    play << {"clientContent": {"turns": TURNS, "turnComplete": False}}


def test_an_empty_history_that_was_announced_is_completed_all_the_same() -> None:
    play = Play(opening=Opening((HistoryTurn("user", ""),)))
    play << {"clientContent": {"turns": [], "turnComplete": True}}


def test_a_session_that_resumes_remembers_by_itself() -> None:
    play = Play(opening=Opening(HISTORY, resume="handle-7"))
    assert play.setup["sessionResumption"] == {"handle": "handle-7"}
    assert "historyConfig" not in play.setup
    play.silence()


# Turns that we mark


def marked(messages: list[bytes]) -> list[str]:
    return [next(iter(client(message)["realtimeInput"])) for message in messages]


def test_a_turn_begins_with_the_first_loud_sound_and_ends_when_it_is_told() -> None:
    play = Play(turn_detection="none")
    assert play.setup["realtimeInputConfig"]["automaticActivityDetection"] == {"disabled": True}
    quiet = PCM16_16K.silence(20)
    assert [message for _ in range(50) for message in play.protocol.audio(quiet)] == []
    begun = play.protocol.audio(LOUD)
    assert marked(begun) == ["activityStart", "audio", "audio", "audio"]
    sent = b"".join(base64.b64decode(client(m)["realtimeInput"]["audio"]["data"]) for m in begun[1:])
    assert sent == quiet * 14 + LOUD  # 300 ms of pre-roll
    assert marked(play.protocol.audio(quiet)) == ["audio"]
    play >> CommitTurn() << {"realtimeInput": {"activityEnd": {}}}
    assert play.protocol.audio(quiet) == []
    (play >> CommitTurn()).silence()  # 20 ms are no turn


def test_a_turn_too_soft_to_be_noticed_is_sent_when_it_is_over() -> None:
    play = Play(turn_detection="none")
    soft = b"\x01\x00" * (PCM16_16K.frame_bytes // 2)
    assert [message for _ in range(10) for message in play.protocol.audio(soft)] == []
    play >> CommitTurn()
    messages = play.take()
    assert [next(iter(message["realtimeInput"])) for message in messages] == [
        "activityStart",
        "audio",
        "audio",
        "activityEnd",
    ]


def test_while_the_agent_speaks_only_the_application_tells_that_the_caller_does() -> None:
    play = Play(turn_detection="none").speak()
    assert play.protocol.audio(LOUD) == []
    play >> CancelResponse() << [{"realtimeInput": {"activityStart": {}}}, {"realtimeInput": {"audio": {}}}]
    assert marked(play.protocol.audio(LOUD)) == ["audio"]


def test_text_that_the_model_was_cancelled_for_is_sent_before_the_old_turn_is_over() -> None:
    play = Play().speak()
    (play >> CancelResponse()).silence()
    (play >> voice(b"more")).silence()
    play >> SendText("Stop. What day is it?") << {"clientContent": {"turnComplete": True}}
    play >> COMPLETE << TurnEnded("turn1", "cancelled")
    play >> voice(b"new") << [TurnStarted("turn2"), ItemAdded, AudioChunk]


def test_messages_are_plain_json() -> None:
    play = Play()
    for message in play.protocol.send(Say(Purpose.GREETING, 'Grüß "dich" \u2028 \x00')):
        json.loads(message)
