"""The caller breaks in, or somebody else says whose turn it is: what is stopped, and what is cut from memory."""

from __future__ import annotations

from openai_play import Play, added, created, done, failure, server, voice, voice_done

from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import CancelResponse, CommitTurn, PlaybackReport, Purpose, Say
from tandem_providers.events import (
    AudioChunk,
    ItemAdded,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.openai import OpenAIOptions, capabilities

FRAME = b"\x7e" * MULAW_8K.frame_bytes
CREATE = {"type": "response.create"}


def test_barge_in_while_generating() -> None:
    play = Play()
    play >> created("resp_1") << TurnStarted
    play >> voice("resp_1", "item_1", FRAME * 10) << AudioChunk
    (
        play
        >> server("input_audio_buffer.speech_started", item_id="item_u", audio_start_ms=900)
        << UserSpeechStarted("item_u", 900)
    )
    # The server stops the response by itself; what is still under way is late.
    (play >> voice("resp_1", "item_1", FRAME)).silence()
    (
        play
        >> PlaybackReport("item_1", "resp_1", 0, 120, 200)
        << [
            {"type": "response.cancel", "response_id": "resp_1"},
            {"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0, "audio_end_ms": 120},
        ]
    )
    (play >> CancelResponse()).silence()
    (play >> voice_done("resp_1", "item_1")).silence()
    (
        play
        >> done("resp_1", "cancelled", status_details={"type": "cancelled", "reason": "turn_detected"})
        << TurnEnded("resp_1", "interrupted", "turn_detected")
    )
    # Both stopped it; that ours came too late is no news.
    (play >> failure("response_cancel_not_active", event_id="tandem_2")).silence()
    (
        play
        >> server("input_audio_buffer.speech_stopped", item_id="item_u", audio_end_ms=1900)
        << UserSpeechStopped("item_u", 1900)
    )


def test_barge_in_after_generation_still_cuts_what_was_not_heard() -> None:
    play = Play()
    play >> created("resp_1") << TurnStarted
    play >> voice("resp_1", "item_1", FRAME * 100) << AudioChunk
    play >> voice_done("resp_1", "item_1") << AudioChunk
    play >> voice("resp_1", "item_2", FRAME * 50) << AudioChunk
    play >> done("resp_1") << [AudioChunk, TurnEnded]
    play >> server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=1) << UserSpeechStarted
    (
        play
        >> PlaybackReport("item_1", "resp_1", 0, 700, 2000)
        << {
            "type": "conversation.item.truncate",
            "audio_end_ms": 700,
        }
    )
    play >> PlaybackReport("item_2", "resp_1", 0, 0, 1000) << {"type": "conversation.item.delete", "item_id": "item_2"}
    # Once is enough, and there is nothing to cancel.
    (play >> PlaybackReport("item_1", "resp_1", 0, 100, 2000)).silence()
    (play >> CancelResponse()).silence()


def test_cuts_never_go_beyond_what_was_received() -> None:
    play = Play()
    play >> created("resp_1") << TurnStarted
    play >> voice("resp_1", "item_1", b"\x00" * 8001) << AudioChunk
    (
        play
        >> PlaybackReport("item_1", "resp_1", 0, 3760, 3760)
        << [
            {"type": "response.cancel"},
            {"type": "conversation.item.truncate", "audio_end_ms": 1000},
        ]
    )


def test_what_was_heard_to_the_end_is_not_cut() -> None:
    play = Play()
    play >> created("resp_1") << TurnStarted
    play >> voice("resp_1", "item_1", FRAME) << AudioChunk
    play >> voice_done("resp_1", "item_1") << AudioChunk
    play >> done("resp_1") << TurnEnded
    (play >> PlaybackReport("item_1", "resp_1", 0, 20, 20)).silence()


def test_items_without_audio_are_never_cut() -> None:
    play = Play()
    (play >> PlaybackReport("never-seen", "resp_1", 0, 100, 100)).silence()
    play >> added("item_1", "assistant") << ItemAdded
    (play >> PlaybackReport("item_1", "resp_1", 0, 100, 100)).silence()


def test_what_comes_after_a_cancel_is_late() -> None:
    play = Play()
    play >> created("resp_1") << TurnStarted
    play >> CancelResponse() << {"type": "response.cancel"}
    (play >> voice("resp_1", "i", FRAME)).silence()
    (play >> voice("resp_1", "i", FRAME)).silence()
    play >> done("resp_1", "cancelled", status_details={"reason": "client_cancelled"}) << TurnEnded
    play >> created("resp_2") << TurnStarted
    play >> voice("resp_2", "j", FRAME) << AudioChunk


def test_a_response_that_was_asked_for_but_has_not_begun_can_be_cancelled() -> None:
    play = Play()
    play >> Say(Purpose.GREETING) << CREATE
    (play >> CancelResponse()).silence()
    (
        play
        >> created("resp_1", "tandem_say_1")
        << [
            TurnStarted("resp_1"),
            {"type": "response.cancel", "response_id": "resp_1"},
        ]
    )
    (play >> voice("resp_1", "i", FRAME)).silence()
    (
        play
        >> done("resp_1", "cancelled", status_details={"type": "cancelled", "reason": "client_cancelled"})
        << TurnEnded("resp_1", "cancelled", "client_cancelled")
    )


def test_a_cancel_that_finds_nothing_ends_a_response_whose_end_was_lost() -> None:
    play = Play()
    play >> created("resp_1") << TurnStarted
    play >> CancelResponse() << {"type": "response.cancel", "event_id": "tandem_2"}
    (play >> Say(Purpose.GOODBYE)).silence()
    (
        play
        >> failure("response_cancel_not_active", event_id="tandem_2")
        << [
            TurnEnded("resp_1", "cancelled", "dropped"),
            CREATE,
        ]
    )


# Turns without the provider's ears


def test_push_to_talk() -> None:
    assert capabilities(OpenAIOptions(api_key="k", turn_detection="none")).hears_turns is False
    play = Play(turn_detection="none")
    assert play.session["audio"]["input"]["turn_detection"] is None
    (play >> CommitTurn()).silence()  # there is nothing to commit
    play.listen(80).silence()
    (play >> CommitTurn()).silence()  # less than the provider takes
    play.listen(20).silence()
    play >> CommitTurn() << [{"type": "input_audio_buffer.commit"}, CREATE]
    play >> server("input_audio_buffer.committed", item_id="u", previous_item_id=None) << ItemAdded("u", None, True)
    (play >> added("u")).silence()
    play >> created("resp_1", "tandem_reply_1") << TurnStarted
    play >> voice("resp_1", "i", FRAME * 9) << AudioChunk
    (
        play
        >> PlaybackReport("i", "resp_1", 0, 60, 180)
        << [
            {"type": "response.cancel"},
            {"type": "conversation.item.truncate", "audio_end_ms": 60},
        ]
    )
    (play >> CancelResponse()).silence()
    play >> done("resp_1", "cancelled", status_details={"reason": "client_cancelled"}) << TurnEnded
    play.listen(2000).silence()
    play >> CommitTurn() << [{"type": "input_audio_buffer.commit"}, CREATE]


def test_the_provider_commits_its_turns_itself() -> None:
    play = Play()
    play.listen(2000).silence()
    (play >> CommitTurn()).silence()


def test_turns_heard_by_the_provider_but_answered_on_our_request() -> None:
    play = Play(turn_detection='{"type": "semantic_vad", "create_response": false, "interrupt_response": false}')
    play >> created("resp_1") << TurnStarted
    play >> server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0) << UserSpeechStarted
    # Nobody else stops it, so it goes on until we do.
    play >> voice("resp_1", "i", FRAME) << AudioChunk
    play >> CancelResponse() << {"type": "response.cancel", "response_id": "resp_1"}
    play >> server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=9) << UserSpeechStopped
    play >> server("input_audio_buffer.committed", item_id="u") << ItemAdded
    play >> done("resp_1", "cancelled", status_details={"reason": "client_cancelled"}) << [TurnEnded, CREATE]
