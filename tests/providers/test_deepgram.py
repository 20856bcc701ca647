"""The Deepgram adapter: turns that nobody names, barge-in, words, functions, and what it is asked to say."""

from __future__ import annotations

import pytest
from agent_play import FRAME, Play, deepgram, raw, told
from hypothesis import given
from hypothesis import strategies as st
from sounds import hum

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_24K, AudioFormat
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
from tandem_providers.deepgram import IDLE_SECONDS, DeepgramOptions, DeepgramProtocol, capabilities
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import (
    AudioChunk,
    ItemAdded,
    ProviderWarning,
    RawEvent,
    SessionClosed,
    SessionReady,
    ToolCall,
    ToolCallCancelled,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.provider import Binary, HistoryTurn, KeepsTime, Opening, SpeaksBinary, StaysAwake

AGENT = {"role": "assistant"}
CALLER = {"role": "user"}
STARTED_SPEAKING = told("AgentStartedSpeaking", total_latency=0.4, tts_latency=0.1, ttt_latency=0.3)
DONE = told("AgentAudioDone")
SPEAKS = told("UserStartedSpeaking")
VOICE = Binary(FRAME)
EMPTY = AudioChunk  # the final one of an item


def said(text: str) -> bytes:
    return told("ConversationText", content=text, **AGENT)


def heard(text: str) -> bytes:
    return told("ConversationText", content=text, **CALLER)


def fresh(**fields: object) -> Play:
    return deepgram(**fields)[0]  # type: ignore[arg-type]  # what `deepgram` takes


def speaking(play: Play, text: str = "Hello.") -> Play:
    """A turn of the agent is under way."""
    play >> said(text) << [TurnStarted, ItemAdded, Transcript]
    return play >> VOICE << AudioChunk


# --- a session --------------------------------------------------------------------------------------------------------


def test_it_speaks_as_the_session_needs_it() -> None:
    play = fresh()
    assert isinstance(play.protocol, SpeaksBinary)
    assert isinstance(play.protocol, KeepsTime)
    assert isinstance(play.protocol, StaysAwake)
    assert play.protocol.idle_seconds == IDLE_SECONDS
    assert [play.client(each) for each in play.protocol.keep_alive()] == [{"type": "KeepAlive"}]


@pytest.mark.parametrize(
    ("leg", "encoding"),
    [(MULAW_8K, "mulaw"), (ALAW_8K, "alaw"), (PCM16_24K, "linear16"), (PCM16_8K, "linear16")],
    ids=str,
)
def test_it_speaks_what_the_leg_speaks(leg: AudioFormat, encoding: str) -> None:
    play, settings = deepgram(leg=leg)
    assert settings["audio"] == {
        "input": {"encoding": encoding, "sample_rate": leg.rate},
        "output": {"encoding": encoding, "sample_rate": leg.rate, "container": "none"},
    }
    assert play.ready == SessionReady("deepgram", leg, leg, "r1", "gpt-4o-mini")


def test_ready_comes_first_and_only_once() -> None:
    play = fresh(ready=False)
    play.protocol.outgoing()
    assert play.protocol.audio(FRAME) == []
    assert play.protocol.send(Say(Purpose.GREETING)) == []
    assert play.protocol.receive(told("Welcome", request_id="r1")) == []
    assert play.protocol.receive(told("Warning", code="PROMPT_TOO_LONG", description="It is.")) == []
    assert play.binary(FRAME) == []
    assert play.protocol.receive(said("too soon")) == []
    ready, warning = play.protocol.receive(told("SettingsApplied"))
    assert isinstance(ready, SessionReady)
    assert warning == ProviderWarning("prompt_too_long", "It is.")
    assert play.protocol.receive(told("SettingsApplied")) == []


def test_caller_audio_goes_out_as_it_came() -> None:
    play = fresh()
    sent = play.protocol.audio(bytes(range(160)))
    assert sent == [bytes(range(160))]
    assert type(sent[0]) is Binary
    assert play.protocol.audio(b"") == []
    pieces = play.protocol.audio(bytes(200_000))
    assert all(type(piece) is Binary for piece in pieces)
    assert b"".join(pieces) == bytes(200_000)


# --- turns ------------------------------------------------------------------------------------------------------------


def test_a_turn() -> None:
    play = fresh()
    (
        play
        >> said("Hello.")
        << [
            TurnStarted,
            ItemAdded,
            Transcript("Hello.", False, False, play_item(play, 1), play_turn(play, 1)),
        ]
    )
    (play >> STARTED_SPEAKING).silence()
    play >> VOICE << AudioChunk(FRAME, False, play_item(play, 1), play_turn(play, 1))
    play >> said("How are you?") << Transcript(" How are you?", False, False, play_item(play, 1), play_turn(play, 1))
    play >> VOICE << AudioChunk
    (
        play
        >> DONE
        << [
            AudioChunk(b"", True, play_item(play, 1), play_turn(play, 1)),
            Transcript("Hello. How are you?", True, False, play_item(play, 1), play_turn(play, 1)),
            TurnEnded(play_turn(play, 1), "completed"),
        ]
    )
    (play >> DONE).silence()


def play_turn(play: Play, number: int) -> str:
    return f"{_names(play)}.turn{number}"


def play_item(play: Play, number: int) -> str:
    return f"{_names(play)}.item{number}"


def _names(play: Play) -> str:
    assert isinstance(play.protocol, DeepgramProtocol)
    return play.protocol._reader._names


@pytest.mark.parametrize("first", [STARTED_SPEAKING, VOICE, said("Hello.")], ids=["started", "voice", "words"])
def test_a_turn_begins_with_whatever_comes_first(first: bytes) -> None:
    play = fresh()
    play >> first
    got = play.take()
    assert isinstance(got[0], TurnStarted)
    assert got[1] == ItemAdded(play_item(play, 1), None, False)
    play >> VOICE << AudioChunk
    play >> DONE
    assert isinstance(play.take()[-1], TurnEnded)


def test_items_stand_in_their_order_and_names_never_meet_those_of_another_session() -> None:
    play, other = fresh(), fresh()
    speaking(play) >> DONE
    play.take()
    play >> SPEAKS << UserSpeechStarted(play_item(play, 2))
    (
        play
        >> heard("What time is it?")
        << [
            ItemAdded(play_item(play, 2), play_item(play, 1), True),
            Transcript("What time is it?", True, True, play_item(play, 2)),
            UserSpeechStopped(play_item(play, 2)),
        ]
    )
    (play >> told("AgentThinking", content="hm")).silence()
    play >> said("Noon.") << [TurnStarted, ItemAdded(play_item(play, 3), play_item(play, 2), False), Transcript]
    assert _names(play) != _names(other)


def test_the_caller_may_be_heard_without_having_been_announced() -> None:
    play = fresh()
    play >> heard("Hello?") << [ItemAdded, Transcript]
    (play >> heard("  ")).silence()


def test_thinking_means_that_the_caller_is_done() -> None:
    play = fresh()
    play >> SPEAKS << UserSpeechStarted
    play >> told("AgentThinking", content="hm") << UserSpeechStopped
    (play >> told("AgentThinking", content="hm")).silence()


# --- barge-in ---------------------------------------------------------------------------------------------------------


def test_barge_in_and_what_comes_late_of_the_turn_that_was_cut() -> None:
    play = speaking(fresh(), "Hello, how can I help you today?")
    (
        play
        >> SPEAKS
        << [
            UserSpeechStarted(play_item(play, 2)),
            Transcript("", True, False, play_item(play, 1), play_turn(play, 1)),
            TurnEnded(play_turn(play, 1), "interrupted"),
        ]
    )
    (play >> VOICE).silence()
    (play >> said("One more sentence of it.")).silence()
    (play >> CancelResponse()).silence()
    (play >> PlaybackReport(play_item(play, 1), play_turn(play, 1), 0, 10, 20)).silence()
    (play >> VOICE).silence()
    play >> heard("Wait.") << [ItemAdded, Transcript, UserSpeechStopped]
    play >> said("Yes?") << [TurnStarted, ItemAdded, Transcript]
    play >> VOICE << AudioChunk


@pytest.mark.parametrize(
    "sign",
    [STARTED_SPEAKING, told("AgentThinking", content=""), heard("Wait."), DONE],
    ids=["started", "thinking", "words", "done"],
)
def test_after_a_barge_in_any_sign_of_another_turn_lets_its_voice_through(sign: bytes) -> None:
    play = speaking(fresh())
    play >> SPEAKS
    play.take()
    (play >> VOICE).silence()
    play >> sign
    play.take()
    play >> VOICE
    assert isinstance(play.take()[-1], AudioChunk)


def test_a_server_that_gives_no_sign_is_heard_again_after_a_while() -> None:
    play = speaking(fresh())
    play >> SPEAKS
    play.take()
    play.listen(2980).silence()
    (play >> VOICE).silence()
    play.listen(40).silence()
    play >> VOICE << [UserSpeechStopped, TurnStarted, ItemAdded, AudioChunk]


def test_barge_in_after_all_voice_has_come_ends_nothing_but_is_told() -> None:
    play = speaking(fresh())
    play >> DONE
    play.take()
    play >> SPEAKS << UserSpeechStarted
    play >> STARTED_SPEAKING << [UserSpeechStopped, TurnStarted, ItemAdded]


def test_a_cancelled_turn_is_not_heard_and_ends_as_cancelled() -> None:
    play = speaking(fresh())
    (play >> CancelResponse()).silence()
    (play >> VOICE).silence()
    play >> DONE << [Transcript, TurnEnded(play_turn(play, 1), "cancelled")]
    speaking(play)


def test_a_turn_that_was_asked_for_can_be_cancelled_before_it_begins() -> None:
    play = fresh()
    play >> Say(Purpose.STILL_THERE) << {"type": "InjectUserMessage"}
    (play >> CancelResponse()).silence()
    play >> said("Are you there?") << [TurnStarted, ItemAdded]
    (play >> STARTED_SPEAKING).silence()
    (play >> VOICE).silence()
    play >> DONE << [Transcript, TurnEnded(play_turn(play, 1), "cancelled")]


def test_the_answer_to_the_caller_is_heard_though_a_request_was_cancelled_before() -> None:
    play = fresh()
    play >> Say(Purpose.STILL_THERE) << {"type": "InjectUserMessage"}
    play >> SPEAKS << UserSpeechStarted
    (play >> CancelResponse()).silence()
    play >> heard("I am here.") << [ItemAdded, Transcript, UserSpeechStopped]
    speaking(play, "Good.")


def test_a_wav_header_ends_the_session_instead_of_being_played() -> None:
    play = fresh()
    play >> said("Hello.")
    play.take()
    play >> Binary(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    (closed,) = play.take()
    assert isinstance(closed, SessionClosed)
    assert isinstance(closed.error, InvalidConfigError)
    assert play.protocol.closed(1000, "") is closed.error
    assert play.binary(FRAME) == []
    assert play.protocol.audio(FRAME) == []


# --- being asked to speak ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", Purpose)
def test_words_are_put_into_its_mouth(purpose: Purpose) -> None:
    play = fresh()
    play >> Say(purpose, "Good day.") << {"type": "InjectAgentMessage", "message": "Good day.", "behavior": "queue"}
    speaking(play, "Good day.")


@pytest.mark.parametrize("purpose", Purpose)
def test_without_words_it_is_told_what_for(purpose: Purpose) -> None:
    play = fresh()
    play >> Say(purpose)
    (message,) = play.take()
    assert message["type"] == "InjectUserMessage"
    (play >> heard(message["content"])).silence()  # it comes back as if the caller had said it
    speaking(play)


def test_what_it_is_to_say_waits_for_its_own_turn_to_end_and_for_the_answer_to_come() -> None:
    play = speaking(fresh())
    (play >> Say(Purpose.MESSAGE, "One.")).silence()
    (play >> Say(Purpose.MESSAGE, "Two.")).silence()
    play >> DONE
    assert play.take()[-1]["message"] == "One."
    play >> said("One.") << [TurnStarted, ItemAdded, Transcript]
    play >> DONE
    assert play.take()[-1]["message"] == "Two."


def test_words_of_ours_show_that_the_turn_that_was_cut_is_over() -> None:
    play = speaking(fresh())
    play >> SPEAKS
    play.take()
    (play >> Say(Purpose.GOODBYE, "Goodbye.")).silence()
    play.listen(10_000)
    assert {"type": "InjectAgentMessage", "message": "Goodbye.", "behavior": "queue"} in play.take()
    play >> said("Goodbye.")
    assert any(isinstance(each, TurnStarted) for each in play.take())


def test_it_is_not_spoken_to_while_the_caller_speaks() -> None:
    play = fresh()
    play >> SPEAKS << UserSpeechStarted
    (play >> Say(Purpose.MESSAGE, "News.")).silence()
    (
        play
        >> heard("Hello.")
        << [
            ItemAdded,
            Transcript,
            UserSpeechStopped,
            {"type": "InjectAgentMessage", "message": "News."},
        ]
    )


@pytest.mark.parametrize(
    "refusal",
    [
        told("InjectionRefused", message="Cannot inject message while agent is currently speaking"),
        told("Warning", code="INJECT_AGENT_MESSAGE_DURING_USER_SPEECH", description="It was ignored."),
    ],
    ids=["message", "warning"],
)
def test_what_was_refused_is_asked_for_again(refusal: bytes) -> None:
    play = fresh()
    play >> Say(Purpose.MESSAGE, "News.") << {"type": "InjectAgentMessage"}
    play >> refusal << ProviderWarning
    play.listen(1980).silence()
    play.listen(40) << {"type": "InjectAgentMessage", "message": "News."}
    for _ in range(2):
        play >> refusal << ProviderWarning
        play.listen(2020) << {"type": "InjectAgentMessage"}
    play >> refusal << ProviderWarning
    play.listen(15_000).silence()


def test_a_refusal_of_nothing_is_only_told() -> None:
    play = fresh()
    play >> told("InjectionRefused", message="") << ProviderWarning("injection_refused", "the agent may not speak now")
    play.listen(3000).silence()


def test_a_request_that_nothing_comes_of_does_not_block_the_next() -> None:
    play = fresh()
    play >> Say(Purpose.GREETING) << {"type": "InjectUserMessage"}
    (play >> SendText("hello")).silence()
    play.listen(9_980).silence()
    play.listen(40) << {"type": "InjectUserMessage", "content": "hello"}


def test_text_is_answered_or_only_known() -> None:
    play = fresh(config=ProcessConfig(instructions="Be brief."))
    play >> SendText("hello") << {"type": "InjectUserMessage", "content": "hello"}
    (
        play
        >> SendText("the caller is in Bonn", role="system", respond=False)
        << {
            "type": "UpdatePrompt",
            "prompt": "Be brief.\n\nthe caller is in Bonn",
        }
    )
    (
        play
        >> SendText("bring it to a close", role="system", respond=False)
        << {"prompt": "Be brief.\n\nthe caller is in Bonn\n\nbring it to a close"}
    )
    (play >> told("PromptUpdated")).silence()


def test_keys_stop_it_and_are_answered() -> None:
    play = speaking(fresh())
    (play >> CancelResponse()).silence()
    (play >> SendDtmf("5")).silence()
    (
        play
        >> DONE
        << [Transcript, TurnEnded, {"type": "InjectUserMessage", "content": "The caller pressed 5 on the keypad."}]
    )
    play >> told("AgentThinking", content="") << []
    speaking(play, "Five it is.")


def test_a_stopped_turn_whose_end_does_not_come_holds_up_nothing_for_long() -> None:
    play = speaking(fresh())
    (play >> CancelResponse()).silence()
    (play >> SendDtmf("5")).silence()
    play.listen(1980).silence()
    play.listen(40) << {"type": "InjectUserMessage"}
    play >> told("AgentThinking", content="") << [Transcript, TurnEnded(play_turn(play, 1), "cancelled")]
    speaking(play, "Five it is.")


def test_what_has_no_meaning_here_is_taken_all_the_same() -> None:
    play = fresh()
    (play >> CommitTurn()).silence()
    (play >> PlaybackReport("i", "t", 0, 1, 2)).silence()
    (play >> ToolResult("nobody", "{}")).silence()
    (play >> CancelResponse()).silence()


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_caller_whose_end_the_server_misses_is_helped_out() -> None:
    """Seen by users: the caller is told to speak, and then nothing more."""
    play = fresh()
    play >> SPEAKS << UserSpeechStarted
    play.listen(3000, hum(300, 20)).silence()
    play.listen(6480).silence()
    play.listen(40) << [UserSpeechStopped(play_item(play, 1)), {"type": "ForceEndTurn"}]
    play.listen(2_900).silence()
    play >> heard("Hello?") << [ItemAdded(play_item(play, 1), None, True), Transcript]
    play.listen(20_000).silence()


def test_a_cough_that_stopped_the_agent_does_not_leave_both_waiting() -> None:
    """The server takes it for the caller's voice, and waits for words that nobody has said."""
    play = speaking(fresh())
    play >> SPEAKS
    play.take()
    play.listen(300, hum(300, 20)).listen(6480).silence()
    play.listen(40) << [UserSpeechStopped(play_item(play, 2)), {"type": "ForceEndTurn"}]
    play.listen(2_900).silence()
    play.listen(200) << {"type": "InjectUserMessage"}
    play.listen(9_000).silence()


@pytest.mark.parametrize("sign", ["words", "thinking", "voice", "caller"])
def test_who_is_answered_is_not_asked_to_be(sign: str) -> None:
    play = fresh()
    play >> SPEAKS << UserSpeechStarted
    play.listen(6540)
    play.take()
    thinks = raw(type="AgentThinking", content="hm")
    play >> {"words": heard("Hello?"), "thinking": thinks, "voice": VOICE, "caller": SPEAKS}[sign]
    play.take()
    play.listen(5_000).silence()


def test_a_turn_that_no_more_comes_of_is_dropped() -> None:
    play = speaking(fresh())
    play.listen(9_980).silence()
    play.listen(40) << [Transcript, TurnEnded(play_turn(play, 1), "incomplete", "dropped")]


def test_audio_that_was_kept_does_not_make_time_fly() -> None:
    play = speaking(fresh())
    assert len(play.protocol.audio(MULAW_8K.silence(30_000))) == 4
    assert play.protocol.occurred() == []


# --- functions --------------------------------------------------------------------------------------------------------

WEATHER = ProcessConfig(functions=[FunctionDeclaration("weather", "Tells it.")])


def request(*calls: tuple[str, str, bool]) -> bytes:
    functions = [
        {"id": id_, "name": name, "arguments": '{"city":"Rome"}', "client_side": ours} for id_, name, ours in calls
    ]
    return told("FunctionCallRequest", functions=functions)


def test_a_function_call() -> None:
    play = fresh(config=WEATHER)
    turn = play_turn(play, 1)
    play >> request(("c1", "weather", True)) << [TurnStarted(turn), ToolCall("c1", "weather", '{"city":"Rome"}', turn)]
    (play >> request(("c1", "weather", True))).silence()
    (
        play
        >> ToolResult("c1", "sunny")
        << {"type": "FunctionCallResponse", "id": "c1", "name": "weather", "content": "sunny"}
    )
    (play >> ToolResult("c1", "again")).silence()
    play >> said("It is sunny.") << [ItemAdded, Transcript]
    play >> VOICE << AudioChunk
    play >> DONE << [AudioChunk, Transcript, TurnEnded(turn, "completed")]


def test_a_turn_that_ends_while_functions_run_says_so() -> None:
    play = speaking(fresh(config=WEATHER), "Let me see.")
    play >> request(("c1", "weather", True)) << ToolCall
    play >> DONE << [AudioChunk, Transcript, TurnEnded(play_turn(play, 1), "completed", "", True)]
    play.listen(30_000).silence()


def test_several_calls_in_one_message_and_those_that_are_not_ours() -> None:
    play = fresh(config=WEATHER)
    (
        play
        >> request(("c1", "weather", True), ("c2", "theirs", False), ("c3", "weather", True))
        << [
            TurnStarted,
            ToolCall,
            ToolCall,
        ]
    )
    (play >> told("FunctionCallResponse", id="c2", name="theirs", content="done")).silence()
    play.listen(30_000).silence()  # it waits for us
    play >> ToolResult("c1", "a") << {"type": "FunctionCallResponse"}
    play >> ToolResult("c3", "b") << {"type": "FunctionCallResponse"}
    play.listen(9_980).silence()
    play.listen(40) << TurnEnded(play_turn(play, 1), "incomplete", "dropped")


def test_only_functions_of_the_server_open_no_turn() -> None:
    play = fresh()
    play >> SPEAKS << UserSpeechStarted
    play >> request(("c2", "theirs", False)) << UserSpeechStopped


def test_a_cancelled_call_is_not_answered() -> None:
    play = fresh(config=WEATHER)
    play >> request(("c1", "weather", True)) << [TurnStarted, ToolCall]
    (
        play
        >> told("FunctionCallCancelled", functions=[{"id": "c1", "name": "weather"}, {"id": "x", "name": "y"}])
        << [ToolCallCancelled("c1")]
    )
    (play >> ToolResult("c1", "late")).silence()


def test_a_call_without_an_id_is_answered_by_its_name() -> None:
    play = fresh(config=WEATHER)
    play >> raw(type="FunctionCallRequest", functions=[{"id": "", "name": "weather", "arguments": {"a": 1}}])
    _, call = play.take()
    assert call.arguments == '{"a":1}'
    play >> ToolResult(call.call_id, "x")
    assert play.take() == [{"type": "FunctionCallResponse", "name": "weather", "content": "x"}]


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_a_session_that_goes_on_knows_what_was_said() -> None:
    history = (HistoryTurn("assistant", "Hello."), HistoryTurn("user", "Hi."), HistoryTurn("user", ""))
    _, settings = deepgram(opening=Opening(history))
    assert settings["agent"]["context"]["messages"] == [
        {"type": "History", "role": "assistant", "content": "Hello."},
        {"type": "History", "role": "user", "content": "Hi."},
    ]


def test_unknown_messages_pass_unless_asked_for() -> None:
    play = fresh()
    (play >> raw(type="AgentMood", mood="fine")).silence()
    (play >> told("LatencyReport", total_latency=0.3)).silence()
    (play >> raw(type="History", role="user", content="x")).silence()
    play = fresh(config=ProcessConfig(extensions={"raw_events": True}))
    play >> raw(type="AgentMood", mood="fine") << RawEvent({"type": "AgentMood", "mood": "fine"})


def test_messages_in_binary_frames_are_read_and_voice_is_never_taken_for_one() -> None:
    play = fresh()
    play >> Binary(said("Hello.")) << [TurnStarted, ItemAdded, Transcript]
    for voice in (b'{"' + FRAME, b"{" * 160, b'{"type":', b'{"a":1}'):
        play >> Binary(voice) << AudioChunk(voice, False, play_item(play, 1), play_turn(play, 1))
    play >> Binary(DONE)
    assert isinstance(play.take()[-1], TurnEnded)


def test_messages_that_are_nearly_right_are_understood() -> None:
    play = fresh()
    (
        play
        >> raw(type="ConversationText", role="assistant", content="Hi.", languages=None, confidence="0.9")
        << [
            TurnStarted,
            ItemAdded,
            Transcript,
        ]
    )
    play >> raw(type="ConversationText", role=None, content=5) << ProviderWarning
    play >> raw(type="FunctionCallRequest", functions="none") << ProviderWarning
    play >> b"no json" << ProviderWarning
    play >> b"[1]" << ProviderWarning
    play >> raw(kind="x") << ProviderWarning
    play >> b"[" * 100_000 << ProviderWarning


@given(
    st.lists(
        st.one_of(st.binary(max_size=60), st.sampled_from([DONE, SPEAKS, STARTED_SPEAKING, said("x"), heard("y")]))
    )
)
def test_nothing_raises(messages: list[bytes]) -> None:
    play = fresh()
    for message in messages:
        play.protocol.receive(message)
        play.binary(message)
        play.protocol.audio(message)
        play.protocol.occurred()
        play.protocol.outgoing()


def test_capabilities() -> None:
    can = capabilities(DeepgramOptions(api_key="key"))
    assert can.input_formats[:2] == (MULAW_8K, ALAW_8K)
    assert (can.turn_model, can.truncate, can.text_in, can.hears_turns, can.transcribes) == (
        "agent",
        False,
        True,
        True,
        True,
    )
    assert can.seeds
    assert not capabilities(DeepgramOptions(api_key="key", agent_id="a1")).seeds
    assert capabilities(DeepgramOptions(api_key="key", audio="pcm16")).input_formats == (PCM16_24K,)
