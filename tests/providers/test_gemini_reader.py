"""Words, their order, and function calls of a Gemini session."""

from __future__ import annotations

import pytest
from gemini_play import (
    COMPLETE,
    EXTENDED_38,
    GENERATED,
    INTERRUPTED,
    NATIVE_25,
    Play,
    call,
    calls,
    content,
    heard,
    raw,
    said,
    server,
    voice,
)

from tandem_providers.commands import Purpose, Say, ToolResult
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.events import (
    AudioChunk,
    Interrupted,
    ItemAdded,
    ToolCall,
    ToolCallCancelled,
    Transcript,
    TurnEnded,
    TurnStarted,
)

FUNCTIONS = ProcessConfig(functions=[FunctionDeclaration("f"), FunctionDeclaration("g")])


# The caller's words


def test_the_callers_words_add_up_and_are_final_when_the_turn_that_answers_them_is_over() -> None:
    play = Play()
    play >> heard("What") << [ItemAdded("item1", None, True), Transcript("What", False, True, "item1")]
    play >> heard(" time?") << Transcript(" time?", False, True, "item1")
    play.speak("Ten.", item=2)
    play >> GENERATED << AudioChunk
    (
        play
        >> COMPLETE
        << [
            Transcript("What time?", True, True, "item1"),
            Transcript("Ten.", True, False, "item2", "turn1"),
            TurnEnded,
        ]
    )
    play >> heard("Thanks") << [ItemAdded("item3", "item2", True), Transcript("Thanks", False, True, "item3")]


def test_a_server_that_says_when_the_words_are_complete() -> None:
    play = Play()
    play >> heard("One.", finished=True) << [ItemAdded, Transcript, Transcript("One.", True, True, "item1")]
    (play >> heard("", finished=True)).silence()
    play.speak(item=2)
    # Words into the agent's, which did not stop it: they stand behind it.
    play >> heard("Mhm") << [ItemAdded("item3", "item2", True), Transcript]


def test_words_that_come_after_the_answer_began_stand_before_it() -> None:
    play = Play().speak("Let me see.")
    play >> GENERATED << AudioChunk
    play >> voice(b"w") << [ItemAdded("item2", "item1", False), AudioChunk]
    (
        play
        >> heard("What time")
        << [
            ItemAdded("item3", None, True),
            ItemAdded("item1", "item3", False),
            ItemAdded("item2", "item1", False),
            Transcript("What time", False, True, "item3"),
        ]
    )
    play >> heard(" is it?") << Transcript(" is it?", False, True, "item3")
    (
        play
        >> COMPLETE
        << [
            AudioChunk(b"", True, "item2", "turn1"),
            Transcript("What time is it?", True, True, "item3"),
            Transcript,
            TurnEnded,
        ]
    )


def test_words_into_a_greeting_are_no_question_that_it_answers() -> None:
    play = Play()
    play >> Say(Purpose.GREETING) << {"clientContent": {}}
    play.speak("Hello")
    play >> heard("Hi,") << [ItemAdded("item2", "item1", True), Transcript]
    play >> INTERRUPTED << [Interrupted, Transcript("Hello", True, False, "item1", "turn1"), TurnEnded]
    play >> heard(" there") << Transcript(" there", False, True, "item2")


def test_first_guesses_are_replaced() -> None:
    play = Play()
    (
        play
        >> content(interimInputTranscription={"text": "what's a"})
        << [
            ItemAdded,
            Transcript("what's a", False, True, "item1", replaces=True),
        ]
    )
    (
        play
        >> content(interimInputTranscription={"text": "what's the time"})
        << Transcript("what's the time", False, True, "item1", replaces=True)
    )
    play >> heard("What's the time?") << Transcript("What's the time?", False, True, "item1", replaces=True)
    play >> heard(" Please.") << Transcript(" Please.", False, True, "item1")
    (play >> content(interimInputTranscription={"text": " "})).silence()


def test_marks_among_the_words_are_no_words() -> None:
    play = Play()
    (play >> heard("<noise>")).silence()
    (play >> heard(" ")).silence()
    play >> heard(" Hello<noise>") << [ItemAdded, Transcript(" Hello", False, True, "item1")]
    play >> heard(" <no") << Transcript(" <no", False, True, "item1")
    play >> heard("ise>you") << Transcript("ise>you", False, True, "item1")
    play >> COMPLETE << Transcript("Hello you", True, True, "item1")


# The agent's words


def test_words_before_their_voice_and_after_it() -> None:
    play = Play(vertex=True, project="p", access_token="t")
    play >> heard("Time?") << [ItemAdded, Transcript]
    play >> said("It is") << [TurnStarted("turn1"), ItemAdded("item2", "item1", False), Transcript]
    play >> voice(b"v") << AudioChunk(b"v", False, "item2", "turn1")
    play >> GENERATED << AudioChunk
    play >> said(" ten.") << Transcript(" ten.", False, False, "item2", "turn1")
    play >> COMPLETE << [Transcript, Transcript("It is ten.", True, False, "item2", "turn1"), TurnEnded]
    # The last of them, when all is over: no new turn, but the whole text again.
    play >> said(" Sharp.") << Transcript("It is ten. Sharp.", True, False, "item2", "turn1")
    play >> heard("And now?") << [ItemAdded, Transcript]
    play >> said("Eleven.") << [TurnStarted("turn2"), ItemAdded, Transcript]


def test_empty_words_begin_no_turn() -> None:
    play = Play()
    (play >> said("") >> said(" ") >> said("<x>") >> GENERATED).silence()


def test_without_transcription_words_are_not_taken_for_late_ones() -> None:
    play = Play(ProcessConfig(extensions={"input_transcription": False})).speak("A").finish("A")
    play >> said("B") << [TurnStarted("turn2"), ItemAdded, Transcript]


# Function calls


def test_a_call_that_nobody_waits_for() -> None:
    play = Play(FUNCTIONS)
    play >> heard("Weather?") << [ItemAdded, Transcript]
    play >> calls(call("c1", "f", city="Ulm")) << [TurnStarted("turn1"), ToolCall("c1", "f", '{"city":"Ulm"}', "turn1")]
    (play >> GENERATED).silence()
    play >> voice(b"v") << [ItemAdded("item2", "item1", False), AudioChunk]
    play >> COMPLETE << [AudioChunk, Transcript, TurnEnded("turn1", "completed", "", awaiting_tools=True)]
    play.listen(100).silence()
    (
        play
        >> ToolResult("c1", '{"sky":"blue"}')
        << {"toolResponse": {"functionResponses": [{"id": "c1", "name": "f", "response": {"output": {"sky": "blue"}}}]}}
    )
    (play >> ToolResult("c1", "again")).silence()
    play.speak("Blue.", item=3, turn=2).finish("Blue.", item=3, turn=2)


def test_a_call_in_the_middle_of_a_turn_that_waits_for_it() -> None:
    play = Play(FUNCTIONS, model=NATIVE_25).speak("One moment.")
    play >> calls(call("c1")) << ToolCall("c1", "f", "{}", "turn1")
    play >> GENERATED << AudioChunk(b"", True, "item1", "turn1")
    play >> ToolResult("c1", "ten") << {"toolResponse": {}}
    play >> voice(b"w") << [ItemAdded("item2", "item1", False), AudioChunk(b"w", False, "item2", "turn1")]
    play >> said("It is ten.") << Transcript("It is ten.", False, False, "item2", "turn1")
    (
        play
        >> COMPLETE
        << [
            AudioChunk(b"", True, "item2", "turn1"),
            Transcript("One moment.", True, False, "item1", "turn1"),
            Transcript("It is ten.", True, False, "item2", "turn1"),
            TurnEnded("turn1", "completed"),
        ]
    )


def test_calls_that_are_waited_for_are_answered_together() -> None:
    play = Play(FUNCTIONS, model=NATIVE_25)
    play >> calls(call("c1"), call("c2", "g")) << [TurnStarted, ToolCall, ToolCall]
    (play >> ToolResult("c2", "two")).silence()
    play >> ToolResult("c1", "one")
    (message,) = play.take()
    assert [answer["id"] for answer in message["toolResponse"]["functionResponses"]] == ["c1", "c2"]


def test_calls_that_are_taken_back() -> None:
    play = Play(FUNCTIONS, model=NATIVE_25)
    play >> calls(call("c1"), call("c2", "g")) << [TurnStarted, ToolCall, ToolCall]
    (play >> ToolResult("c2", "two")).silence()
    # With the first one gone, the answer to the second one need not wait any longer.
    (
        play
        >> server(toolCallCancellation={"ids": ["c1", "unknown"]})
        << [
            ToolCallCancelled("c1"),
            {"toolResponse": {"functionResponses": [{"id": "c2", "name": "g", "response": {"output": "two"}}]}},
        ]
    )
    (play >> ToolResult("c1", "late")).silence()
    (play >> server(toolCallCancellation={"ids": ["c1"]})).silence()


def test_each_call_is_told_once() -> None:
    play = Play(FUNCTIONS)
    play >> calls(call("c1")) << [TurnStarted, ToolCall]
    (play >> calls(call("c1"))).silence()


def test_a_call_without_an_id_is_answered_without_one() -> None:
    play = Play(FUNCTIONS, vertex=True, project="p", access_token="t")
    play >> raw(toolCall={"functionCalls": [{"name": "f"}, {"name": "f", "args": None}, {"args": {}}]})
    _, first, second = play.take()
    assert first.call_id
    assert first.call_id != second.call_id
    assert (first.arguments, second.arguments) == ("{}", "{}")
    play >> ToolResult(first.call_id, "done")
    (message,) = play.take()
    assert message == {"toolResponse": {"functionResponses": [{"name": "f", "response": {"output": "done"}}]}}


@pytest.mark.parametrize(
    ("scheduling", "awaited"), [("SILENT", False), ("WHEN_IDLE", True), ("interrupt", True), ({"f": "silent"}, False)]
)
def test_when_the_agent_speaks_about_the_answer(scheduling: object, awaited: bool) -> None:
    extensions = {"function_behavior": "NON_BLOCKING", "function_scheduling": scheduling}
    config = ProcessConfig(functions=FUNCTIONS.functions, extensions=extensions)
    play = Play(config, model=EXTENDED_38)
    play >> calls(call("c1")) << [TurnStarted, ToolCall]
    play >> content(turnComplete=True, interactionStatus="IDLE") << TurnEnded("turn1", "completed", "", awaited)
    play >> ToolResult("c1", "x")
    (message,) = play.take()
    (answer,) = message["toolResponse"]["functionResponses"]
    word = scheduling["f"] if isinstance(scheduling, dict) else scheduling
    assert answer["scheduling"] == str(word).upper()


def test_a_turn_that_the_server_says_needs_answers() -> None:
    play = Play(FUNCTIONS)
    play >> calls(call("c1")) << [TurnStarted, ToolCall]
    play >> content(turnComplete=True, interactionStatus="REQUIRES_ACTION") << TurnEnded("turn1", "completed", "", True)


def test_an_interrupted_turn_with_calls() -> None:
    play = Play(FUNCTIONS)
    play >> calls(call("c1")) << [TurnStarted, ToolCall]
    play >> INTERRUPTED << [Interrupted("turn1"), TurnEnded("turn1", "interrupted", "", True)]
    (play >> COMPLETE).silence()
    play >> ToolResult("c1", "x") << {"toolResponse": {}}
