"""xAI Grok Voice: what its profile makes of a session, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest
from openai_play import Message, Play, any_client, call_done, created, done, failure, raw, server, voice

from tandem.simulators.openai_checks import Refused
from tandem.simulators.xai import XAITongue
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_16K, PCM16_24K, AudioFormat
from tandem_providers.commands import (
    CancelResponse,
    PlaybackReport,
    Purpose,
    Say,
    SendText,
    ToolResult,
)
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import (
    AudioChunk,
    ProviderWarning,
    RawEvent,
    ResumeHandle,
    SessionReady,
    ToolCall,
    Transcript,
    TurnEnded,
    TurnStarted,
    Usage,
    UserSpeechStarted,
)
from tandem_providers.openai import OpenAIProtocol, capabilities
from tandem_providers.provider import HistoryTurn, Opening
from tandem_providers.xai import XAIOptions

FRAME = b"\x7e" * MULAW_8K.frame_bytes
CREATE = {"type": "response.create"}


def strict(message: bytes) -> Message:
    """A message of ours, read by the simulated server: whatever it does not know is refused."""
    content = any_client(message)
    try:
        XAITongue().check(content)
    except Refused as refused:
        raise AssertionError(f"{refused.message} in {content}") from None
    return content


def play(config: ProcessConfig | None = None, **fields: Any) -> Play:
    return Play(config, kind=XAIOptions, judge=strict, **fields)


def refusal(config: ProcessConfig | None = None, **options: Any) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        OpenAIProtocol(XAIOptions(**{"api_key": "k", **options}), config or ProcessConfig(), MULAW_8K, "xai@b").dial()
    assert refused.value.provider == "xai@b"
    return refused.value.message


# Set-up


def test_an_ordinary_session() -> None:
    schema = {"type": "object", "properties": {}}
    config = ProcessConfig(instructions="Be kind.", functions=[FunctionDeclaration("f", "does it", schema)])
    assert play(config).session == {
        "instructions": "Be kind.",
        "voice": "eve",
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "silence_duration_ms": 500,
            "prefix_padding_ms": 300,
        },
        "audio": {
            "input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "grok-transcribe"}},
            "output": {"format": {"type": "audio/pcmu"}},
        },
        "tools": [{"type": "function", "name": "f", "description": "does it", "parameters": schema}],
        "reasoning": {"effort": "none"},
        "resumption": {"enabled": True},
    }


def test_everything_that_can_be_asked_for() -> None:
    extensions = {
        "turn_detection": {"type": "server_vad", "threshold": 0.9, "idle_timeout_ms": None},
        "transcription": {"model": "grok-transcribe", "keyterms": ["Tandem"]},
        "replace": {"SQL": "sequel"},
        "resumption": {"enabled": False},
    }
    session = play(
        ProcessConfig(extensions=extensions), voice="rex", speed="0.7", reasoning_effort="low", audio="pcm16"
    ).session
    assert session["voice"] == "rex"
    assert session["turn_detection"]["threshold"] == 0.9
    assert session["audio"]["input"]["transcription"]["keyterms"] == ["Tandem"]
    assert session["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24000}, "speed": 0.7}
    assert session["reasoning"] == {"effort": "low"}
    assert session["resumption"] == {"enabled": False}
    assert session["replace"] == {"SQL": "sequel"}
    said = play(transcription_language="de", turn_detection=None, resumption=False).session
    assert said["audio"]["input"]["transcription"] == {"model": "grok-transcribe", "language_hint": "de"}
    assert said["turn_detection"] is None
    assert "resumption" not in said
    assert play(transcription_model="none").session["audio"]["input"]["transcription"] is None


@pytest.mark.parametrize(
    ("config", "options", "named"),
    [
        ({}, {"speed": "0.5"}, "XAI_SPEED"),
        ({}, {"reasoning_effort": "hard"}, "XAI_REASONING_EFFORT"),
        ({}, {"turn_detection": "semantic_vad"}, "XAI_TURN_DETECTION"),
        ({}, {"turn_detection": '{"type":"server_vad","threshold":0.95}'}, "XAI_TURN_DETECTION"),
        ({}, {"audio": "opus"}, "XAI_AUDIO"),
        ({}, {"api_key": ""}, "XAI_API_KEY"),
        ({}, {"url": "https://api.x.ai/v1/realtime"}, "XAI_REALTIME_URL"),
        ({"temperature": 0.5}, {}, "temperature"),
        ({"functions": [FunctionDeclaration("web_search")]}, {}, "web_search"),
        ({"extensions": {"noise_reduction": "none"}}, {}, "noise_reduction"),
        ({"extensions": {"transcription": {"model": "x", "keyterms": ["y" * 51]}}}, {}, "transcription"),
    ],
)
def test_what_it_does_not_take_is_refused_by_name(config: dict[str, Any], options: dict[str, Any], named: str) -> None:
    assert named in refusal(ProcessConfig(**config), **options)


def test_where_it_is_dialled() -> None:
    dial = OpenAIProtocol(XAIOptions(api_key="k"), ProcessConfig(), MULAW_8K, "xai").dial()
    assert dial.url == "wss://api.x.ai/v1/realtime?model=grok-voice-latest"
    assert dict(dial.headers) == {"Authorization": "Bearer k"}


@pytest.mark.parametrize("leg", [MULAW_8K, ALAW_8K, PCM16_24K, PCM16_16K])
def test_the_leg_passes_through(leg: AudioFormat) -> None:
    session = OpenAIProtocol(XAIOptions(api_key="k"), ProcessConfig(), leg, "xai")
    session.outgoing()
    (ready,) = session.receive(server("session.updated", session={"type": "realtime"}))
    assert isinstance(ready, SessionReady)
    assert ready.input_format == ready.output_format == leg
    made = capabilities(XAIOptions(api_key="k"), "xai")
    assert (made.truncate, made.cancel, made.seeds, made.max_session_seconds) == (True, True, True, 7200)


def test_a_voice_is_the_same_in_whatever_case() -> None:
    session = OpenAIProtocol(XAIOptions(api_key="k", voice="Eve"), ProcessConfig(), MULAW_8K, "xai")
    session.outgoing()
    assert len(session.receive(raw(type="session.updated", session={"voice": "eve"}))) == 1


# A conversation that goes on


def test_a_conversation_can_be_resumed_by_its_name() -> None:
    talk = play(ready=False)
    talk.protocol.outgoing()
    (talk >> raw(type="conversation.created", conversation={"id": "conv_1"})).silence()
    talk >> raw(type="session.updated", session={}) << [SessionReady, ResumeHandle("conv_1")]


def test_no_handle_where_nothing_is_kept() -> None:
    talk = play(ready=False, resumption=False)
    talk.protocol.outgoing()
    (talk >> raw(type="conversation.created", conversation={"id": "conv_1"})).silence()
    talk >> raw(type="session.updated", session={}) << SessionReady


@pytest.mark.parametrize(("told", "seeded"), [("conv_1", 0), ("conv_2", 2), (None, 2)])
def test_memory_is_given_again_unless_the_conversation_is_the_same(told: str | None, seeded: int) -> None:
    history = (HistoryTurn("user", "I am Ada."), HistoryTurn("assistant", "Hello Ada."))
    talk = play(ready=False, opening=Opening(history, resume="conv_1"))
    assert talk.protocol.dial().url.endswith("?model=grok-voice-latest&conversation_id=conv_1")
    talk.protocol.outgoing()
    if told is not None:
        (talk >> raw(type="conversation.created", conversation={"id": told})).silence()
    talk >> raw(type="session.updated", session={})
    items = [answer for answer in talk.take() if isinstance(answer, dict)]
    assert len(items) == seeded
    if seeded:
        assert items[1]["item"]["content"] == [{"type": "output_text", "text": "Hello Ada."}]


# What is said


def test_given_words_are_spoken_as_they_are() -> None:
    talk = play(ProcessConfig(functions=[FunctionDeclaration("f")]))
    words = 'Hello. "Quoted".'
    item = {
        "type": "force_message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": words}],
    }
    talk >> Say(Purpose.GREETING, words) << {"type": "conversation.item.create", "item": item}
    # No metadata comes back with it, so that nothing tells whose response it is.
    talk >> created("r1") << TurnStarted("r1")
    (talk >> Say(Purpose.STILL_THERE)).silence()
    talk >> voice("r1", "i", FRAME) << AudioChunk
    request = {"type": "response.create", "response": {"modalities": ["text", "audio"]}}
    talk >> done("r1") << [AudioChunk, TurnEnded("r1", "completed"), request]


def test_forced_words_are_not_said_twice_however_long_they_take() -> None:
    talk = play()
    talk >> Say(Purpose.GREETING, "Long.") << {"type": "conversation.item.create"}
    talk >> created("r1") << TurnStarted
    for _ in range(4):
        talk.listen(5_000)
        talk >> voice("r1", "i", FRAME) << AudioChunk
    talk >> done("r1") << [AudioChunk, TurnEnded]
    talk.listen(20_000).silence()


def test_open_words_are_asked_of_the_model_without_a_choice_of_tools() -> None:
    talk = play(ProcessConfig(instructions="Be kind.", functions=[FunctionDeclaration("f")]))
    talk >> Say(Purpose.GREETING)
    (request,) = talk.take()
    response = request["response"]
    assert response.keys() == {"modalities", "instructions", "metadata"}
    assert response["modalities"] == ["text", "audio"]
    assert response["instructions"].startswith("Be kind.")


# What is heard


def heard(kind: str, text: str, **fields: Any) -> bytes:
    name = f"conversation.item.input_audio_transcription.{kind}"
    return raw(type=name, item_id="u", transcript=text, **fields)


def test_words_of_the_caller_are_told_whole_each_time() -> None:
    talk = play()
    talk >> heard("updated", "I would") << Transcript("I would", False, True, "u", replaces=True)
    talk >> heard("updated", "I'd like") << Transcript("I'd like", False, True, "u", replaces=True)
    early = heard("completed", "I'd like to", status="in_progress")
    talk >> early << Transcript("I'd like to", False, True, "u", replaces=True)
    talk >> heard("completed", "I'd like to go.", status="completed") << Transcript("I'd like to go.", True, True, "u")
    (talk >> heard("completed", "I'd like to go.", status="completed")).silence()
    talk >> heard("completed", "I'd like to go home.") << Transcript("I'd like to go home.", True, True, "u")
    (talk >> heard("updated", "")).silence()


def test_text_that_comes_by_two_names_is_told_once() -> None:
    talk = play()
    talk >> created("r1") << TurnStarted
    old = {"response_id": "r1", "item_id": "i", "delta": "Hel"}
    new = {"response_id": "r1", "item_id": "i", "output_index": 0, "content_index": 0}
    talk >> raw(type="response.text.delta", **old) << Transcript("Hel", False, False, "i", "r1")
    (talk >> server("response.output_text.delta", delta="Hel", **new)).silence()
    talk >> raw(type="response.text.delta", **{**old, "delta": "lo"}) << Transcript("lo", False, False, "i", "r1")
    (talk >> server("response.output_text.delta", delta="lo", **new)).silence()
    (
        talk
        >> raw(type="response.text.done", response_id="r1", item_id="i", text="Hello")
        << Transcript("Hello", True, False, "i", "r1")
    )
    (talk >> server("response.output_text.done", text="Hello", **new)).silence()
    talk >> done("r1") << TurnEnded


def test_costs_stand_beside_the_response() -> None:
    talk = play()
    talk >> created("r1") << TurnStarted
    response = {"id": "r1", "status": "completed", "output": [], "usage": {}}
    (
        talk
        >> raw(type="response.done", response=response, usage={"total_tokens": 7})
        << [
            TurnEnded("r1", "completed"),
            Usage("response", {"total_tokens": 7.0}),
        ]
    )
    (talk >> raw(type="response.done", response=response, usage={"total_tokens": 7})).silence()


def test_pings_mean_nothing_unless_one_asks_for_everything() -> None:
    (play() >> raw(type="ping", timestamp=1)).silence()
    talk = play(ProcessConfig(extensions={"raw_events": True}))
    talk >> raw(type="ping", timestamp=1) << RawEvent({"type": "ping", "timestamp": 1})


# Responses that never end


def test_a_response_that_was_not_heard_ends_when_the_caller_goes_on() -> None:
    talk = play()
    talk >> created("r1") << TurnStarted
    started = server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=100)
    talk >> started << [TurnEnded("r1", "incomplete", "dropped"), UserSpeechStarted("u", 100)]
    (talk >> voice("r1", "i", FRAME)).silence()
    talk >> created("r2") << TurnStarted("r2")
    talk >> voice("r2", "i2", FRAME) << AudioChunk


def test_a_response_that_was_heard_is_interrupted_like_any_other() -> None:
    talk = play()
    talk >> created("r1") << TurnStarted
    talk >> voice("r1", "i", FRAME) << AudioChunk
    talk >> server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=100) << UserSpeechStarted("u", 100)
    (talk >> voice("r1", "i", FRAME)).silence()
    (
        talk
        >> PlaybackReport("i", "r1", 0, 10, 20)
        << [
            {"type": "response.cancel"},
            {"type": "conversation.item.truncate", "audio_end_ms": 10},
        ]
    )
    talk >> done("r1", "cancelled", status_details={"type": "cancelled", "reason": "turn_detected"}) << TurnEnded


def test_the_next_response_ends_the_one_before() -> None:
    talk = play()
    talk >> created("r1") << TurnStarted
    talk >> created("r2") << [TurnEnded("r1", "incomplete", "dropped"), TurnStarted("r2")]


def test_a_response_is_not_waited_for_for_ever_though_the_server_pings() -> None:
    talk = play()
    talk >> created("r1") << TurnStarted
    for _ in range(4):
        talk.listen(2_500)
        talk >> raw(type="ping", timestamp=1)
        gone = talk.take()
    assert gone == [TurnEnded("r1", "incomplete", "dropped")]
    talk >> SendText("hello") << [{"type": "conversation.item.create"}, CREATE]


# Functions


def arguments_done(**fields: Any) -> bytes:
    return raw(type="response.function_call_arguments.done", call_id="c1", name="f", arguments="{}", **fields)


def test_a_call_is_told_as_soon_as_it_is_known_and_once() -> None:
    talk = play(ProcessConfig(functions=[FunctionDeclaration("f")]))
    talk >> created("r1") << TurnStarted
    talk >> arguments_done() << ToolCall("c1", "f", "{}", "r1")
    (talk >> call_done("r1", "c1")).silence()
    talk >> done("r1") << TurnEnded("r1", "completed", "", True)
    talk >> ToolResult("c1", "1") << [{"type": "conversation.item.create"}, CREATE]


def test_all_answers_go_before_the_one_request() -> None:
    talk = play(ProcessConfig(functions=[FunctionDeclaration("f")]))
    talk >> created("r1") << TurnStarted
    talk >> call_done("r1", "c1") << ToolCall
    talk >> call_done("r1", "c2") << ToolCall
    talk >> done("r1") << TurnEnded
    talk >> ToolResult("c2", "2") << {"type": "conversation.item.create"}
    talk >> ToolResult("c1", "1") << [{"type": "conversation.item.create"}, CREATE]


def test_answers_do_not_wait_for_the_end_of_a_response_that_has_none() -> None:
    talk = play(ProcessConfig(functions=[FunctionDeclaration("f")]))
    talk >> created("r1") << TurnStarted
    talk >> arguments_done() << ToolCall
    talk.listen(5_000).silence()  # the function takes its time, and is waited for
    talk >> ToolResult("c1", "1") << [{"type": "conversation.item.create"}, CREATE]
    talk >> raw(type="ping") << TurnEnded("r1", "incomplete", "dropped", True)
    talk >> created("r2", "tandem_reply_1") << TurnStarted("r2")


def test_quick_answers_leave_the_response_a_moment_to_end() -> None:
    talk = play(ProcessConfig(functions=[FunctionDeclaration("f")]))
    talk >> created("r1") << TurnStarted
    talk >> arguments_done() << ToolCall
    (talk >> ToolResult("c1", "1")).silence()
    talk.listen(980).silence()
    talk.listen(20) << [{"type": "conversation.item.create"}, CREATE]


# Errors


def test_a_cancel_that_came_too_late_is_no_news_by_whatever_word() -> None:
    talk = play()
    talk >> created("r1") << TurnStarted
    talk >> voice("r1", "i", FRAME) << AudioChunk
    talk >> CancelResponse()
    (cancel,) = talk.take()
    talk >> done("r1") << TurnEnded
    (talk >> failure(None, message="Cancellation failed: nothing to cancel", event_id=cancel["event_id"])).silence()
    late = failure(None, message="Cancellation failed: nothing to cancel")
    talk >> late << ProviderWarning("invalid_request_error", "Cancellation failed: nothing to cancel")
