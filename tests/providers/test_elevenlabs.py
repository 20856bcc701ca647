"""The ElevenLabs adapter: turns that nobody names, voice by event id, words as heard, tools, what it is told to say."""

from __future__ import annotations

import pytest
from agent_play import FRAME, Play, elevenlabs, event, metadata, raw, voice
from hypothesis import given
from hypothesis import strategies as st

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K
from tandem_providers.commands import (
    CancelResponse,
    CommitTurn,
    PlaybackReport,
    Purpose,
    Say,
    SendDtmf,
    SendText,
    ToolResult,
)
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.elevenlabs import ElevenLabsOptions, ElevenLabsProtocol, capabilities
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import (
    AudioChunk,
    HangupRequested,
    Interrupted,
    ItemAdded,
    ProviderWarning,
    RawEvent,
    SessionClosed,
    SessionReady,
    ToolCall,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStopped,
)
from tandem_providers.provider import HistoryTurn, KeepsTime, Opening, SpeaksBinary

COMPLETE = event("agent_response_complete")
WAITS = "none"
"""An agent that says nothing first."""


def says(text: str) -> bytes:
    return event("agent_response", agent_response=text)


def heard(text: str) -> bytes:
    return event("user_transcript", user_transcript=text)


def interruption(event_id: int) -> bytes:
    return event("interruption", event_id=event_id)


def correction(original: str, corrected: str) -> bytes:
    return event("agent_response_correction", original_agent_response=original, corrected_agent_response=corrected)


def fresh(**fields: object) -> Play:
    return elevenlabs(**fields)[0]  # type: ignore[arg-type]  # what `elevenlabs` takes


def speaking(play: Play, text: str = "Hello.", event_id: int = 1) -> Play:
    """A turn of the agent is under way."""
    play >> says(text) << [TurnStarted, ItemAdded, Transcript]
    return play >> voice(event_id) << AudioChunk


def names(play: Play) -> str:
    assert isinstance(play.protocol, ElevenLabsProtocol)
    return play.protocol._reader._names


def turn_of(play: Play, number: int = 1) -> str:
    return f"{names(play)}.turn{number}"


def item_of(play: Play, number: int = 1) -> str:
    return f"{names(play)}.item{number}"


# --- a session --------------------------------------------------------------------------------------------------------


def test_ready_in_the_formats_that_the_agent_has() -> None:
    play = fresh()
    assert play.ready == SessionReady("elevenlabs", MULAW_8K, MULAW_8K, "c1")
    assert isinstance(play.protocol, KeepsTime)
    assert not isinstance(play.protocol, SpeaksBinary)
    play = fresh(formats=("pcm_16000", "pcm_24000"))
    assert (play.ready.input_format, play.ready.output_format) == (PCM16_16K, PCM16_24K)
    play << ProviderWarning(
        "transcoding",
        "the agent hears pcm16/16000 and speaks pcm16/24000; set to ulaw_8000 it would need no conversion",
    )
    play = fresh(formats=("pcm_16000", "pcm_24000"), leg=PCM16_24K)
    play.silence()
    play = fresh(formats=("", "pcm_8000"), leg=ALAW_8K)
    assert (play.ready.input_format, play.ready.output_format) == (MULAW_8K, PCM16_8K)


@pytest.mark.parametrize("formats", [("ulaw_8000", "pcm_44100"), ("pcm_22050", "ulaw_8000"), ("x", "ulaw_8000")])
def test_formats_that_cannot_be_converted_are_refused_instead_of_played(formats: tuple[str, str]) -> None:
    play = fresh(ready=False)
    (closed,) = play.protocol.receive(metadata(*formats))
    assert isinstance(closed, SessionClosed)
    assert isinstance(closed.error, InvalidConfigError)
    assert "set it to ulaw_8000" in closed.error.message
    assert play.protocol.closed(1000, "") is closed.error


def test_ready_comes_first_and_only_once() -> None:
    play = fresh(ready=False)
    play.protocol.outgoing()
    assert play.protocol.audio(FRAME) == []
    assert play.protocol.send(Say(Purpose.GREETING)) == []
    assert play.protocol.receive(voice(1)) == []
    assert play.protocol.receive(event("guardrail_triggered")) == []
    ready, warning = play.protocol.receive(metadata())
    assert isinstance(ready, SessionReady)
    assert isinstance(warning, ProviderWarning)
    assert play.protocol.receive(metadata()) == []


def test_caller_audio_goes_out_as_it_came() -> None:
    play = fresh()
    play.listen(100)
    assert play.heard == 5 * len(FRAME)
    assert play.protocol.audio(b"") == []
    assert len(play.protocol.audio(MULAW_8K.silence(2500))) == 3
    assert play.protocol.audio(b"\x00\x01\x02") == [b'{"user_audio_chunk":"AAEC"}']


def test_pings_are_answered_at_once_ready_or_not() -> None:
    play = fresh()
    play >> event("ping", event_id=7, ping_ms=50) << {"type": "pong", "event_id": 7}
    play >> event("ping", event_id="8", ping_ms=None) << {"type": "pong", "event_id": 8}
    play = fresh(ready=False)
    play.protocol.outgoing()
    play.protocol.receive(event("ping", event_id=1))
    assert play.protocol.outgoing() == [b'{"type":"pong","event_id":1}']


# --- turns ------------------------------------------------------------------------------------------------------------


def test_a_turn() -> None:
    play = fresh()
    turn, item = turn_of(play), item_of(play)
    (
        play
        >> says("Hello. ")
        << [
            TurnStarted(turn),
            ItemAdded(item, None, False),
            Transcript("Hello.", False, False, item, turn, replaces=True),
        ]
    )
    play >> voice(1) << AudioChunk(FRAME, False, item, turn)
    play >> voice(2) << AudioChunk(FRAME, False, item, turn)
    (
        play
        >> COMPLETE
        << [
            AudioChunk(b"", True, item, turn),
            Transcript("Hello.", True, False, item, turn),
            TurnEnded(turn, "completed"),
        ]
    )
    (play >> COMPLETE).silence()


def test_words_may_come_just_after_the_first_sound() -> None:
    play = fresh()
    play >> voice(1) << [TurnStarted, ItemAdded, AudioChunk]
    play >> says("Hello.") << Transcript("Hello.", False, False, item_of(play), turn_of(play), replaces=True)
    play >> voice(2) << AudioChunk


def test_an_agent_that_does_not_tell_the_end_of_a_turn_is_done_when_no_more_comes() -> None:
    play = speaking(fresh())
    play.listen(980).silence()
    play >> voice(2) << AudioChunk
    play.listen(980).silence()
    play.listen(40) << [AudioChunk, Transcript, TurnEnded(turn_of(play), "completed")]


def test_words_that_are_never_spoken_are_dropped() -> None:
    play = fresh()
    play >> says("Hello.") << [TurnStarted, ItemAdded, Transcript]
    play.listen(9_980).silence()
    play.listen(40) << [Transcript, TurnEnded(turn_of(play), "incomplete", "dropped")]


def test_more_words_are_another_turn() -> None:
    play = speaking(fresh())
    (
        play
        >> says("And another thing.")
        << [
            AudioChunk,
            Transcript("Hello.", True, False, item_of(play), turn_of(play)),
            TurnEnded(turn_of(play), "completed"),
            TurnStarted(turn_of(play, 2)),
            ItemAdded(item_of(play, 2), item_of(play), False),
            Transcript,
        ]
    )


def test_the_callers_words() -> None:
    play = speaking(fresh())
    play >> COMPLETE
    play.take()
    item = item_of(play, 2)
    tentative = event("tentative_user_transcript", user_transcript="What")
    play >> tentative << [ItemAdded(item, item_of(play), True), Transcript("What", False, True, item, replaces=True)]
    (
        play
        >> raw(type="tentative_user_transcript", user_transcription_event={"user_transcript": "What time"})
        << [Transcript("What time", False, True, item, replaces=True)]
    )
    play >> heard("What time is it?") << [Transcript("What time is it?", True, True, item), UserSpeechStopped(item)]
    (
        play
        >> heard("Hello?")
        << [
            ItemAdded(item_of(play, 3), item, True),
            Transcript("Hello?", True, True, item_of(play, 3)),
            UserSpeechStopped(item_of(play, 3)),
        ]
    )
    (play >> heard("  ")).silence()
    (play >> raw(type="tentative_user_transcript")).silence()


# --- barge-in ---------------------------------------------------------------------------------------------------------


def test_voice_up_to_the_event_of_an_interruption_is_never_heard() -> None:
    play = speaking(fresh(), "Hello, how can I help?", 3)
    play >> interruption(6) << [Interrupted(turn_of(play)), TurnEnded(turn_of(play), "interrupted")]
    for late in (4, 5, 6):
        (play >> voice(late)).silence()
    (
        play
        >> correction("Hello, how can I help?", "Hello, how...")
        << [Transcript("Hello, how...", True, False, item_of(play), turn_of(play), as_heard=True)]
    )
    play >> heard("Wait.") << [ItemAdded, Transcript, UserSpeechStopped]
    play >> voice(7) << [TurnStarted, ItemAdded, AudioChunk]
    (play >> voice(6)).silence()
    play >> says("Yes?") << Transcript


def test_without_a_correction_the_words_stand_as_far_as_they_were_spoken() -> None:
    play = speaking(fresh(), "Hello, how can I help you on this beautiful day?")
    play >> voice(2, MULAW_8K.silence(1000)) << AudioChunk
    play >> interruption(2) << [Interrupted, TurnEnded]
    play.listen(1480).silence()
    play.listen(40) << Transcript("Hello, how can", True, False, item_of(play), turn_of(play))
    (play >> correction("x", "too late")).silence()


def test_the_next_turn_settles_the_words_before_it() -> None:
    play = speaking(fresh(), "Hi")
    play >> voice(2, MULAW_8K.silence(1000)) << AudioChunk
    play >> interruption(2) << [Interrupted, TurnEnded]
    (
        play
        >> says("Yes?")
        << [
            Transcript("Hi", True, False, item_of(play), turn_of(play)),
            TurnStarted,
            ItemAdded,
            Transcript,
        ]
    )


def test_an_interruption_after_all_voice_has_come_corrects_what_was_said() -> None:
    """The server believes that it is still being heard, and it may be."""
    play = speaking(fresh(), "Hello, how can I help?", 3)
    play >> COMPLETE
    play.take()
    play >> interruption(3) << Interrupted()
    (
        play
        >> correction("Hello, how can I help?", "Hello...")
        << [Transcript("Hello...", True, False, item_of(play), turn_of(play), as_heard=True)]
    )
    play >> interruption(4) << Interrupted()
    play >> heard("Wait.") << [ItemAdded, Transcript, UserSpeechStopped]


def test_an_interruption_of_nothing() -> None:
    play = fresh()
    play >> interruption(0) << Interrupted()
    (play >> correction("a", "b")).silence()
    play.listen(2000).silence()


def test_a_cancelled_turn_is_not_heard_and_ends_as_cancelled() -> None:
    play = speaking(fresh())
    (play >> CancelResponse()).silence()
    (play >> voice(2)).silence()
    play >> COMPLETE << [Transcript, TurnEnded(turn_of(play), "cancelled")]
    speaking(play, "Yes?", 3)


def test_a_turn_that_was_asked_for_can_be_cancelled_before_it_begins() -> None:
    play = fresh(first_message=WAITS)
    play >> Say(Purpose.STILL_THERE) << {"type": "user_message"}
    (play >> CancelResponse()).silence()
    play >> says("Are you there?") << [TurnStarted, ItemAdded]
    (play >> voice(1)).silence()
    play >> COMPLETE << [Transcript, TurnEnded(turn_of(play), "cancelled")]
    play >> Say(Purpose.STILL_THERE) << {"type": "user_message"}
    (play >> CancelResponse()).silence()
    play >> heard("I am here.") << [ItemAdded, Transcript, UserSpeechStopped]
    speaking(play, "Good.", 2)


# --- the first words --------------------------------------------------------------------------------------------------


def test_an_agent_greets_by_itself_and_is_only_asked_if_it_does_not() -> None:
    play = fresh()
    (play >> Say(Purpose.GREETING)).silence()
    speaking(play)
    play >> COMPLETE
    play.take()
    play.listen(5000).silence()
    play = fresh()
    (play >> Say(Purpose.GREETING)).silence()
    play.listen(2480).silence()
    play.listen(40) << {"type": "user_message"}


def test_the_greeting_is_given_to_it_before_it_begins() -> None:
    play, begun = elevenlabs(opening=Opening(greeting="Welcome."))
    assert begun["conversation_config_override"]["agent"] == {"first_message": "Welcome."}
    (play >> Say(Purpose.GREETING, "Welcome.")).silence()
    play, begun = elevenlabs(opening=Opening(greeting="Welcome."), first_message="Hi there.")
    assert begun["conversation_config_override"]["agent"] == {"first_message": "Hi there."}
    (play >> Say(Purpose.GREETING, "Welcome.")).silence()


def test_a_greeting_that_comes_too_late_to_be_given_is_told() -> None:
    play = fresh()
    (
        play
        >> Say(Purpose.GREETING, "Welcome.")
        << ProviderWarning("greeting_not_said", "the agent greets in its own words: none were given at the start")
    )


def test_an_agent_that_waits_is_asked_to_greet() -> None:
    play, begun = elevenlabs(first_message="None")
    assert begun["conversation_config_override"]["agent"] == {"first_message": ""}
    play >> Say(Purpose.GREETING, "Welcome.") << [ProviderWarning, {"type": "user_message"}]


def test_a_conversation_that_goes_on_is_not_greeted_again() -> None:
    history = Opening((HistoryTurn("assistant", "Hello."), HistoryTurn("user", "Hi."), HistoryTurn("user", "")))
    play, begun = elevenlabs(opening=history)
    assert begun["conversation_config_override"] == {}
    (update,) = play.take()
    assert update["type"] == "contextual_update"
    assert "You: Hello.\nCaller: Hi.\nGo on" in update["text"]
    play >> says("Hello! How can I help?") << [TurnStarted, ItemAdded]
    (play >> voice(1)).silence()
    play >> COMPLETE << [Transcript, TurnEnded(turn_of(play), "cancelled")]
    play >> Say(Purpose.RESUME) << {"type": "user_message"}
    speaking(play, "As I said.", 2)


def test_what_the_caller_says_meanwhile_is_answered_aloud() -> None:
    play = fresh(opening=Opening((HistoryTurn("user", "Hi."),)))
    play.take()
    play >> heard("Are you still there?") << [ItemAdded, Transcript, UserSpeechStopped]
    speaking(play, "Yes.")


def test_where_first_words_may_be_replaced_a_conversation_that_goes_on_has_none() -> None:
    for first, greeting in (("Hi.", ""), ("", "Welcome.")):
        opening = Opening((HistoryTurn("user", "Hi."),), greeting=greeting)
        play, begun = elevenlabs(opening=opening, first_message=first)
        assert begun["conversation_config_override"]["agent"] == {"first_message": ""}
        play.take()
        speaking(play)


# --- being asked to speak ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", [each for each in Purpose if each is not Purpose.GREETING])
def test_it_can_be_asked_to_say_something_but_not_made_to_say_just_that(purpose: Purpose) -> None:
    play = fresh()
    play >> Say(purpose, "Good day.")
    warning, message = play.take()
    assert warning.code == "say_paraphrased"
    assert message["type"] == "user_message"
    assert message["text"].endswith('"Good day."')
    (play >> heard(message["text"])).silence()
    speaking(play)
    play >> COMPLETE
    play.take()
    play >> Say(purpose, "Once more.") << {"type": "user_message"}


def test_asides_wait_for_its_own_turn_to_end_and_for_the_answer_to_come() -> None:
    play = speaking(fresh())
    (play >> SendText("one")).silence()
    (play >> Say(Purpose.STILL_THERE)).silence()
    play >> COMPLETE
    assert "whether the caller is still there" in play.take()[-1]["text"]
    speaking(play, "Are you there?", 2)
    play >> COMPLETE
    assert play.take()[-1] == {"type": "user_message", "text": "one"}
    play.listen(9_980).silence()
    (play >> SendDtmf("5")).silence()
    play.listen(40) << {"text": "The caller pressed 5 on the keypad."}


def test_text_is_answered_or_only_known() -> None:
    play = fresh()
    play >> SendText("hello") << {"type": "user_message", "text": "hello"}
    (
        play
        >> SendText("the caller is in Bonn", role="system", respond=False)
        << {
            "type": "contextual_update",
            "text": "the caller is in Bonn",
        }
    )


def test_keys_stop_it_and_are_answered_soon() -> None:
    play = speaking(fresh())
    (play >> CancelResponse()).silence()
    (play >> SendDtmf("5")).silence()
    for event_id in range(2, 6):
        play.listen(480).silence()
        (play >> voice(event_id)).silence()  # it goes on and on
    play.listen(100) << {"type": "user_message"}


def test_what_has_no_meaning_here_is_taken_all_the_same() -> None:
    play = fresh()
    (play >> CommitTurn()).silence()
    (play >> PlaybackReport("i", "t", 0, 1, 2)).silence()
    (play >> ToolResult("nobody", "{}")).silence()
    (play >> CancelResponse()).silence()


# --- tools ------------------------------------------------------------------------------------------------------------

WEATHER = ProcessConfig(functions=[FunctionDeclaration("weather")])


def call(call_id: str, name: str = "weather", **parameters: object) -> bytes:
    return event("client_tool_call", tool_name=name, tool_call_id=call_id, parameters=parameters)


def test_a_tool_call_that_the_agent_waits_for() -> None:
    play = fresh(config=WEATHER, client_tools="weather, other")
    turn = turn_of(play)
    play >> call("c1", city="Rome") << [TurnStarted(turn), ToolCall("c1", "weather", '{"city":"Rome"}', turn)]
    (play >> call("c1", city="Rome")).silence()
    play.listen(30_000).silence()
    (
        play
        >> ToolResult("c1", "sunny")
        << {
            "type": "client_tool_result",
            "tool_call_id": "c1",
            "result": "sunny",
            "is_error": False,
        }
    )
    (play >> ToolResult("c1", "again")).silence()
    play >> says("It is sunny.") << [ItemAdded, Transcript]
    play >> voice(1) << AudioChunk
    play >> COMPLETE << [AudioChunk, Transcript, TurnEnded(turn, "completed")]


def test_a_tool_call_that_the_agent_talks_over() -> None:
    play = speaking(fresh(config=WEATHER, client_tools="*"), "Let me see.")
    play >> call("c1") << ToolCall
    play >> COMPLETE << [AudioChunk, Transcript, TurnEnded(turn_of(play), "completed", "", True)]
    play >> ToolResult("c1", '{"error": "timeout", "message": "Too late."}') << {"is_error": True}


def test_an_answer_that_nothing_comes_of() -> None:
    play = fresh(config=WEATHER, client_tools="*")
    play >> call("c1") << [TurnStarted, ToolCall]
    play >> ToolResult("c1", "x") << {"type": "client_tool_result"}
    play.listen(10_020) << TurnEnded(turn_of(play), "incomplete", "dropped")
    (play >> event("client_tool_call", tool_name="", tool_call_id="c2")).silence()


def test_tools_of_the_vendor_show_that_the_agent_is_at_work() -> None:
    play = fresh()
    play >> event("agent_tool_request", tool_name="search") << TurnStarted
    (play >> event("agent_tool_response", tool_name="search", is_error=False)).silence()
    (play >> event("mcp_tool_call", tool_name="x")).silence()
    play >> says("I found it.") << [ItemAdded, Transcript]


def test_an_agent_that_chooses_to_say_nothing() -> None:
    play = fresh()
    play >> event("agent_tool_request", tool_name="skip_turn") << TurnStarted
    play >> event("agent_tool_response", tool_name="skip_turn") << TurnEnded(turn_of(play), "completed", "skipped")
    (play >> event("agent_tool_response", tool_name="skip_turn")).silence()


def test_an_agent_that_hangs_up() -> None:
    play = speaking(fresh(), "Goodbye.")
    play >> event("agent_tool_request", tool_name="end_call") << HangupRequested("end_call")
    (play >> event("agent_tool_response", tool_name="end_call")).silence()
    assert play.protocol.closed(1000, "") is None
    ended = play.protocol.occurred()
    assert [type(each) for each in ended] == [AudioChunk, Transcript, TurnEnded]


def test_an_agent_that_hangs_up_without_a_word_about_it() -> None:
    play = speaking(fresh(), "Goodbye.")
    assert play.protocol.closed(1000, "") is None
    assert play.protocol.occurred()[-1] == HangupRequested("the agent ended the conversation")


def test_end_call_that_failed_is_no_hangup() -> None:
    play = speaking(fresh())
    (play >> event("agent_tool_response", tool_name="end_call", is_error=True)).silence()


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_what_is_told_beside_the_conversation() -> None:
    play = fresh()
    play >> event("client_error", code=4, message="no") << ProviderWarning
    play >> event("guardrail_triggered") << ProviderWarning
    play >> event("dtmf_request", dtmf="1") << ProviderWarning
    (play >> event("vad_score", vad_score=0.9)).silence()
    (play >> raw(type="internal_turn_probability")).silence()
    play = fresh(config=ProcessConfig(extensions={"raw_events": True}))
    play >> raw(type="context_usage", used=1) << RawEvent({"type": "context_usage", "used": 1})


def test_messages_that_are_nearly_right_are_understood() -> None:
    play = fresh()
    (
        play
        >> raw(type="audio", audio_event={"audio_base_64": "AAEC", "event_id": "5", "alignment": None})
        << [
            TurnStarted,
            ItemAdded,
            AudioChunk(b"\x00\x01\x02", False, item_of(play), turn_of(play)),
        ]
    )
    play >> raw(type="audio", audio_event={"audio_base_64": "@@@", "event_id": 6}) << ProviderWarning
    assert isinstance(play.protocol, ElevenLabsProtocol)
    assert play.protocol.bad_audio == 1
    play >> raw(type="interruption", interruption_event="x") << ProviderWarning
    play >> b"no json" << ProviderWarning
    play >> b"[1]" << ProviderWarning
    play >> raw(kind="x") << ProviderWarning
    play >> b"[" * 100_000 << ProviderWarning
    (play >> voice(7, b"")).silence()
    (play >> says("")).silence()


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [COMPLETE, says("x"), heard("y"), voice(1), voice(9), interruption(3), correction("a", "b")]
            ),
        )
    )
)
def test_nothing_raises(messages: list[bytes]) -> None:
    play = fresh()
    for message in messages:
        play.protocol.receive(message)
        play.protocol.audio(message)
        play.protocol.occurred()
        play.protocol.outgoing()


def test_capabilities() -> None:
    can = capabilities(ElevenLabsOptions(agent_id="agent"))
    assert can.input_formats == (MULAW_8K, PCM16_16K, PCM16_24K, PCM16_8K)
    assert (can.turn_model, can.truncate, can.text_in, can.hears_turns, can.seeds) == ("agent", False, True, True, True)
