"""Function calls: told once, answered in groups, and never in the way of anything else."""

from __future__ import annotations

import json

import pytest
from openai_play import Play, call_done, created, done, raw, server

from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import ToolResult
from tandem_providers.events import (
    ItemAdded,
    ToolCall,
    TurnEnded,
    TurnStarted,
)

FRAME = b"\x7e" * MULAW_8K.frame_bytes
CREATE = {"type": "response.create"}


def test_a_call_is_told_once_and_its_result_answered_once() -> None:
    play = Play()
    play >> created("r") << TurnStarted
    play >> server(
        "response.function_call_arguments.done",
        response_id="r",
        item_id="fc",
        output_index=0,
        call_id="c1",
        name="f",
        arguments='{"a":1}',
    )
    play.silence()
    play >> call_done("r", "c1", arguments='{"a":1}') << ToolCall("c1", "f", '{"a":1}', "r")
    (play >> call_done("r", "c1", arguments='{"a":1}')).silence()
    # The result is quicker than the end of the turn.
    (play >> ToolResult("c1", "42")).silence()
    output = [{"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"}]
    (
        play
        >> done("r", output=output)
        << [
            TurnEnded("r", "completed", awaiting_tools=True),
            {
                "type": "conversation.item.create",
                "item": {"type": "function_call_output", "call_id": "c1", "output": "42"},
            },
            CREATE,
        ]
    )
    (play >> ToolResult("c1", "43")).silence()
    (play >> ToolResult("unheard-of", "44")).silence()


def test_several_calls_make_one_reply() -> None:
    play = Play()
    play >> created("r") << TurnStarted
    for call in ("c1", "c2", "c3"):
        play >> call_done("r", call) << ToolCall
    (play >> ToolResult("c2", "2")).silence()
    play >> done("r") << [TurnEnded("r", "completed", awaiting_tools=True), {"type": "conversation.item.create"}]
    play >> ToolResult("c1", "1") << {"type": "conversation.item.create"}
    play >> ToolResult("c3", "3") << [{"type": "conversation.item.create"}, CREATE]


def test_calls_that_were_cut_off_are_none() -> None:
    play = Play()
    play >> created("r") << TurnStarted
    play >> server(
        "response.function_call_arguments.done",
        response_id="r",
        item_id="fc",
        output_index=0,
        call_id="c1",
        name="f",
        arguments='{"a',
    )
    play.silence()
    (play >> call_done("r", "c1", arguments='{"a', status="incomplete")).silence()
    output = [{"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a', "status": "incomplete"}]
    (
        play
        >> done("r", "cancelled", output=output, status_details={"reason": "turn_detected"})
        << TurnEnded("r", "interrupted", "turn_detected", awaiting_tools=False)
    )


@pytest.mark.parametrize("in_output", [True, False])
def test_servers_that_announce_calls_in_one_way_only(in_output: bool) -> None:
    play = Play()
    play >> created("r") << TurnStarted
    output = []
    if in_output:
        output = [{"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}]
    else:
        play >> raw(type="response.function_call_arguments.done", response_id="r", call_id="c1", name="f", arguments={})
        play.silence()
    (
        play
        >> done("r", output=output)
        << [ToolCall("c1", "f", "{}", "r"), TurnEnded("r", "completed", awaiting_tools=True)]
    )


def test_a_late_result_is_sent_and_spoken_when_the_caller_is_done() -> None:
    play = Play()
    play >> created("r1") << TurnStarted
    play >> call_done("r1", "c1") << ToolCall
    play >> done("r1") << TurnEnded
    play >> server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=1)
    play.take()
    play >> ToolResult("c1", "late") << {"type": "conversation.item.create"}
    play >> server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2)
    play.take()
    # The provider's own reply knows the result if it had taken it in, so no second reply is due.
    result = {"id": "tandem_item_2", "type": "function_call_output", "call_id": "c1", "output": "late"}
    play >> server("conversation.item.added", item=result) << ItemAdded
    play >> created("r2") << TurnStarted
    play >> done("r2") << TurnEnded


def test_a_result_during_another_response_is_spoken_after_it() -> None:
    play = Play()
    play >> created("r1") << TurnStarted
    play >> call_done("r1", "c1") << ToolCall
    play >> done("r1") << TurnEnded
    play >> created("r2") << TurnStarted
    play >> ToolResult("c1", "late") << {"type": "conversation.item.create"}
    play >> done("r2") << [TurnEnded, CREATE]


def test_arguments_that_are_no_text() -> None:
    play = Play()
    play >> created("r") << TurnStarted
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": {"a": [1]}, "status": "completed"}
    play >> raw(type="response.output_item.done", response_id="r", item=item)
    (call,) = play.take()
    assert isinstance(call, ToolCall)
    assert json.loads(call.arguments) == {"a": [1]}
