"""Which server events are read, and how forgiving the second look is."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from openai.types.realtime import RealtimeServerEvent

from tandem_providers import openai_events as wire

# What the vendor's library knows and we let by, each for a reason.
LET_BY = {
    "conversation.item.deleted",  # we asked for it
    "conversation.item.done",  # the item has its place already, its content has come in pieces
    "conversation.item.input_audio_transcription.segment",  # the whole text comes, too
    "conversation.item.retrieved",  # never asked for
    "conversation.item.truncated",  # we asked for it
    "input_audio_buffer.dtmf_event_received",  # SIP only
    "input_audio_buffer.timeout_triggered",  # an item and a response follow
    "mcp_list_tools.completed",  # tools on the provider's side
    "mcp_list_tools.failed",
    "mcp_list_tools.in_progress",
    "output_audio_buffer.cleared",  # WebRTC and SIP only
    "output_audio_buffer.started",
    "output_audio_buffer.stopped",
    "response.content_part.added",  # the deltas say it
    "response.content_part.done",
    "response.function_call_arguments.delta",  # the whole comes at the end
    "response.mcp_call.completed",
    "response.mcp_call.failed",
    "response.mcp_call.in_progress",
    "response.mcp_call_arguments.delta",
    "response.mcp_call_arguments.done",
    "response.output_item.added",  # the deltas say it
}


def test_every_event_of_the_vendors_library_is_read_or_let_by_for_a_reason() -> None:
    union = get_args(RealtimeServerEvent)[0]
    vendors = {get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(union)}
    ours = {name for name in wire.NAMES if name in vendors}
    assert vendors - ours == LET_BY & vendors
    assert wire.NAMES - vendors == {  # of the beta interface, but for the first one, which is xAI's
        "conversation.item.input_audio_transcription.updated",
        "response.audio.delta",
        "response.audio.done",
        "response.audio_transcript.delta",
        "response.audio_transcript.done",
        "response.text.delta",
        "response.text.done",
    }


def test_the_second_look_takes_nulls_and_numbers_in_quotes() -> None:
    event = wire.lenient(
        {
            "type": "response.output_audio.delta",
            "response_id": "r",
            "item_id": None,
            "content_index": "1",
            "delta": "QUI=",
        }
    )
    assert event == wire.AudioDelta("r", "", 1, b"AB")


def test_what_makes_no_sense_stays_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        wire.lenient({"type": "response.output_audio.delta", "delta": "@"})
