"""Turns, words, items, calls and costs as the application hears of them."""

from __future__ import annotations

from typing import Any

from openai_play import Play, added, created, done, raw, server, voice

from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import Purpose, Say
from tandem_providers.events import (
    AudioChunk,
    ItemAdded,
    ProviderWarning,
    RateLimits,
    Transcript,
    TurnEnded,
    TurnStarted,
    Usage,
)
from tandem_providers.openai_reader import flattened

FRAME = b"\x7e" * MULAW_8K.frame_bytes
CREATE = {"type": "response.create"}


def words(kind: str, response_id: str, item_id: str, **text: str) -> bytes:
    name = f"response.output_audio_transcript.{kind}"
    return server(name, response_id=response_id, item_id=item_id, output_index=0, content_index=0, **text)


def heard(kind: str, item_id: str, **fields: Any) -> bytes:
    return server(f"conversation.item.input_audio_transcription.{kind}", item_id=item_id, content_index=0, **fields)


# Words


def test_words_of_the_agent() -> None:
    play = Play()
    play >> created("r") << TurnStarted("r")
    play >> words("delta", "r", "i", delta="Good ") << Transcript("Good ", False, False, "i", "r")
    play >> words("delta", "r", "i", delta="day.") << Transcript("day.", False, False, "i", "r")
    play >> words("done", "r", "i", transcript="Good day.") << Transcript("Good day.", True, False, "i", "r")
    play >> done("r") << TurnEnded("r", "completed")


def test_words_of_the_caller_by_item_whatever_the_order() -> None:
    play = Play()
    play >> server("input_audio_buffer.committed", item_id="u1", previous_item_id=None) << ItemAdded("u1", None, True)
    play >> server("input_audio_buffer.committed", item_id="u2", previous_item_id="u1") << ItemAdded("u2", "u1", True)
    play >> heard("delta", "u2", delta="two") << Transcript("two", False, True, "u2")
    usage = {"type": "duration", "seconds": 1.5}
    (
        play
        >> heard("completed", "u2", transcript="Two.", usage=usage)
        << [
            Transcript("Two.", True, True, "u2"),
            Usage("transcription", {"seconds": 1.5}),
        ]
    )
    play >> heard("delta", "u1", delta="one") << Transcript("one", False, True, "u1")
    usage = {"type": "tokens", "input_tokens": 9, "output_tokens": 2, "total_tokens": 11}
    (
        play
        >> heard("completed", "u1", transcript="One.", usage=usage)
        << [
            Transcript("One.", True, True, "u1"),
            Usage("transcription", {"input_tokens": 9.0, "output_tokens": 2.0, "total_tokens": 11.0}),
        ]
    )


def test_a_failed_transcription_is_settled_with_what_there_is() -> None:
    play = Play()
    play >> heard("delta", "u", delta="I would li") << Transcript
    error = {"type": "transcription_error", "code": "audio_unintelligible", "message": "could not be understood"}
    (
        play
        >> heard("failed", "u", error=error)
        << [
            Transcript("I would li", True, True, "u"),
            ProviderWarning("audio_unintelligible", "could not be understood"),
        ]
    )
    play >> heard("failed", "u2", error={}) << [Transcript("", True, True, "u2"), ProviderWarning]


def test_words_of_an_interrupted_turn_are_settled() -> None:
    play = Play()
    play >> created("r") << TurnStarted
    play >> words("delta", "r", "i", delta="Let me ex") << Transcript
    play >> server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=1)
    play.take()
    (play >> words("delta", "r", "i", delta="plain")).silence()
    (
        play
        >> done("r", "cancelled", status_details={"reason": "turn_detected"})
        << [
            Transcript("Let me ex", True, False, "i", "r"),
            TurnEnded("r", "interrupted", "turn_detected"),
        ]
    )


def test_words_without_a_voice_and_old_names() -> None:
    play = Play()
    (
        play
        >> raw(type="response.text.delta", response_id="r", item_id="i", delta="Hi")
        << [
            TurnStarted("r"),
            Transcript("Hi", False, False, "i", "r"),
        ]
    )
    (
        play
        >> raw(type="response.text.done", response_id="r", item_id="i", text="Hi!")
        << Transcript("Hi!", True, False, "i", "r")
    )
    (
        play
        >> raw(type="response.audio_transcript.delta", response_id="r", item_id="j", delta="Ho")
        << Transcript("Ho", False, False, "j", "r")
    )
    (
        play
        >> raw(type="response.audio_transcript.done", response_id="r", item_id="j")
        << Transcript("Ho", True, False, "j", "r")
    )


# Items


def test_each_item_takes_its_place_once() -> None:
    play = Play()
    play >> server("input_audio_buffer.committed", item_id="u", previous_item_id="a") << ItemAdded("u", "a", True)
    (play >> added("u", after="a")).silence()
    play >> added("b", "assistant", after="u") << ItemAdded("b", "u", False)
    play >> added("s", "system", after="root") << ItemAdded("s", None, False)


# Turns


def test_turns_are_told_by_their_end() -> None:
    for status, details, expected in (
        ("completed", None, TurnEnded("r", "completed")),
        ("cancelled", {"reason": "turn_detected"}, TurnEnded("r", "interrupted", "turn_detected")),
        ("cancelled", {"reason": "client_cancelled"}, TurnEnded("r", "cancelled", "client_cancelled")),
        ("incomplete", {"reason": "max_output_tokens"}, TurnEnded("r", "incomplete", "max_output_tokens")),
        ("incomplete", {"reason": "content_filter"}, TurnEnded("r", "incomplete", "content_filter")),
    ):
        play = Play()
        play >> created("r") << TurnStarted("r")
        play >> done("r", status, **({"status_details": details} if details else {})) << expected


def test_an_end_without_a_beginning() -> None:
    Play() >> done("r") << [TurnStarted("r"), TurnEnded("r", "completed")]


def test_a_turn_that_vanished_ends_when_another_begins() -> None:
    play = Play()
    play >> created("r1") << TurnStarted("r1")
    play >> voice("r1", "i", FRAME) << AudioChunk
    play >> created("r2") << [TurnEnded("r1", "incomplete", "dropped"), TurnStarted("r2")]
    (play >> voice("r1", "i", FRAME)).silence()


def test_a_turn_that_vanished_does_not_hold_up_what_is_to_be_said() -> None:
    play = Play()
    play >> created("r1") << TurnStarted
    (play >> Say(Purpose.STILL_THERE)).silence()
    play.listen(19_900).silence()
    play >> voice("r1", "i", FRAME) << AudioChunk
    play.listen(19_980).silence()
    play.listen(20) << CREATE
    play >> created("r2", "tandem_say_1") << [TurnEnded("r1", "incomplete", "dropped"), TurnStarted("r2")]


def test_a_server_that_leaves_out_the_ids() -> None:
    play = Play()
    play >> raw(type="response.created", response={}) << TurnStarted("unnamed_1")
    (
        play
        >> raw(type="response.output_audio.delta", item_id="i", delta="QUI=")
        << AudioChunk(b"AB", False, "i", "unnamed_1")
    )
    (
        play
        >> raw(type="response.done", response={"status": "completed"})
        << [AudioChunk, TurnEnded("unnamed_1", "completed")]
    )
    play >> raw(type="response.created", response={}) << TurnStarted("unnamed_2")


def test_usage_comes_with_every_end() -> None:
    play = Play()
    usage = {
        "total_tokens": 253,
        "input_token_details": {"text_tokens": 119, "cached_tokens_details": {"audio_tokens": 0}},
        "output_token_details": {"audio_tokens": 91},
    }
    amounts = {
        "total_tokens": 253.0,
        "input_token_details.text_tokens": 119.0,
        "input_token_details.cached_tokens_details.audio_tokens": 0.0,
        "output_token_details.audio_tokens": 91.0,
    }
    play >> done("r", "cancelled", usage=usage) << [TurnStarted, TurnEnded, Usage("response", amounts)]


def test_flattening_takes_numbers_only() -> None:
    assert flattened({"a": 1, "b": {"c": 2.5, "d": "x", "e": True, "f": None}, "g": [3], "h": 10**400}) == {
        "a": 1.0,
        "b.c": 2.5,
    }
    assert flattened(None) == flattened(7) == flattened([]) == {}


def test_rate_limits() -> None:
    limits = [
        {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 0.06},
        {"name": "tokens", "limit": 50_000, "remaining": 49_950, "reset_seconds": 0.12},
    ]
    (
        Play()
        >> server("rate_limits.updated", rate_limits=limits)
        << RateLimits({"requests": (999.0, 0.06), "tokens": (49_950.0, 0.12)})
    )


def failed(response_id: str, code: str | None, type_: str) -> bytes:
    error = {"type": type_, "code": code, "message": "It failed."}
    return done(response_id, "failed", status_details={"type": "failed", "error": error})


def test_a_failure_before_the_first_sound_is_tried_again() -> None:
    play = Play()
    play >> Say(Purpose.GREETING, "Hello") << CREATE
    play >> created("r1", "tandem_say_1") << TurnStarted
    (
        play
        >> failed("r1", None, "server_error")
        << [
            TurnEnded("r1", "failed", "server_error"),
            ProviderWarning("server_error", "It failed."),
            CREATE,
        ]
    )
    play >> created("r2", "tandem_say_2") << TurnStarted
    play >> failed("r2", None, "server_error") << [TurnEnded, ProviderWarning]


def test_a_failure_after_the_first_sound_is_not() -> None:
    play = Play()
    play >> created("r1") << TurnStarted
    play >> voice("r1", "i", FRAME) << AudioChunk
    play >> failed("r1", None, "server_error") << [TurnEnded, ProviderWarning]


def test_a_refusal_for_the_rate_is_tried_again_when_it_has_recovered() -> None:
    play = Play()
    limits = [{"name": "tokens", "limit": 100, "remaining": 0, "reset_seconds": 3}]
    play >> server("rate_limits.updated", rate_limits=limits) << RateLimits
    play >> created("r1") << TurnStarted
    (
        play
        >> failed("r1", "rate_limit_exceeded", "tokens")
        << [
            TurnEnded("r1", "failed", "rate_limit_exceeded"),
            ProviderWarning,
        ]
    )
    play.listen(2980).silence()
    play.listen(20) << CREATE
