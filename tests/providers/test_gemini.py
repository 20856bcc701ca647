"""A session with Gemini Live: set-up, both ways of audio, barge-in, and everything that may go wrong on the wire."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from gemini_play import (
    COMPLETE,
    GENERATED,
    GENERATIONS,
    INTERRUPTED,
    LIVE_38,
    NATIVE_25,
    Play,
    blob,
    call,
    calls,
    client,
    content,
    heard,
    plain,
    raw,
    said,
    server,
    voice,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_codecs.format import MULAW_8K, PCM16_16K, PCM16_24K
from tandem_providers.commands import CancelResponse, PlaybackReport, Purpose, Say, SendDtmf, SendText, ToolResult
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError, SessionClosedError
from tandem_providers.events import (
    AudioChunk,
    Event,
    GoingAway,
    Interrupted,
    ItemAdded,
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
    UserSpeechStopped,
)
from tandem_providers.gemini import GeminiOptions, GeminiProtocol, capabilities

FRAME = b"\x01\x02" * (PCM16_16K.frame_bytes // 2)
ASKED = {"clientContent": {"turnComplete": True}}


def protocol(**options: Any) -> GeminiProtocol:
    return GeminiProtocol(GeminiOptions(**{"api_key": "k", **options}), ProcessConfig(), MULAW_8K, "gemini@backup")


# Set-up


def test_set_up_is_sent_at_once_and_nothing_else_before_it_is_confirmed() -> None:
    session = protocol()
    (message,) = session.outgoing()
    assert client(message)["setup"]["model"] == "models/gemini-3.8-live"
    assert session.outgoing() == []
    assert session.audio(FRAME) == []
    assert session.send(Say(Purpose.GREETING)) == []
    assert session.receive(raw()) == []
    assert session.receive(voice(b"early")) == []
    (ready,) = session.receive(server(setupComplete={"sessionId": "s1"}))
    assert ready == SessionReady("gemini@backup", PCM16_16K, PCM16_24K, "s1", LIVE_38)
    assert len(session.audio(FRAME)) == 1
    assert session.receive(server(setupComplete={})) == []


def test_what_was_wrong_before_ready_is_told_after_it() -> None:
    session = protocol(model="gemini-9-live")
    session.outgoing()
    assert session.receive(b"nonsense") == []
    ready, *warnings = session.receive(server(setupComplete={}))
    assert isinstance(ready, SessionReady)
    assert [warning.code for warning in warnings if isinstance(warning, ProviderWarning)] == [
        "unknown_model",
        "malformed_message",
    ]


def test_formats_and_what_it_can_do() -> None:
    can = capabilities(GeminiOptions(api_key="k"))
    assert (can.input_formats, can.output_formats) == ((PCM16_16K,), (PCM16_24K,))
    assert (can.hears_turns, can.seeds, can.truncate, can.text_in, can.transcribes) == (True, True, False, True, True)
    assert can.max_session_seconds == 3300
    assert capabilities(GeminiOptions(api_key="k", turn_detection="none")).hears_turns is False
    config = ProcessConfig(extensions={"input_transcription": False, "compression": False})
    made = GeminiProtocol(GeminiOptions(api_key="k"), config, MULAW_8K, "gemini")
    assert made.capabilities.transcribes is False
    assert made.capabilities.max_session_seconds == 900


@pytest.mark.parametrize(("behavior", "speaks"), [("BLOCKING", False), ("NON_BLOCKING", True)])
def test_a_model_that_waits_for_a_function_says_nothing_meanwhile(behavior: str, speaks: bool) -> None:
    config = ProcessConfig(functions=[FunctionDeclaration("f")], extensions={"function_behavior": behavior})
    options = GeminiOptions(api_key="k", model="gemini-2.5-flash-native-audio-preview-12-2025")
    assert GeminiProtocol(options, config, PCM16_24K, "gemini").capabilities.speaks_while_it_waits is speaks
    assert GeminiProtocol(options, ProcessConfig(), PCM16_24K, "gemini").capabilities.speaks_while_it_waits


def test_names_of_two_sessions_never_meet() -> None:
    names = set()
    for _ in range(2):
        session = protocol()
        session.outgoing()
        session.receive(server(setupComplete={}))
        names |= {
            getattr(event, "turn_id", "") or getattr(event, "item_id", "") for event in session.receive(voice(b"v"))
        }
    assert len(names) == 4


# Audio


@pytest.mark.parametrize("size", [1, 2, 640, 641, 6400, 6401, 1_000_001])
def test_every_byte_of_caller_audio_is_sent(size: int) -> None:
    play = Play()
    audio = bytes(i * 7 % 256 for i in range(size))
    blobs = [client(message)["realtimeInput"]["audio"] for message in play.protocol.audio(audio)]
    assert {sent["mimeType"] for sent in blobs} == {"audio/pcm;rate=16000"}
    assert b"".join(base64.b64decode(sent["data"], validate=True) for sent in blobs) == audio
    assert all(len(sent["data"]) < 10_000 for sent in blobs)
    assert play.protocol.audio(b"") == []


def test_voice_passes_as_it_comes_and_ends_before_its_turn_does() -> None:
    play = Play()
    (
        play
        >> voice(b"abc")
        << [
            TurnStarted("turn1"),
            ItemAdded("item1", None, False),
            AudioChunk(b"abc", False, "item1", "turn1"),
        ]
    )
    play >> voice(b"d") << AudioChunk(b"d", False, "item1", "turn1")
    (play >> voice(b"")).silence()
    play >> GENERATED << AudioChunk(b"", True, "item1", "turn1")
    (play >> GENERATED).silence()
    play.listen(3000).silence()  # the server waits for as long as the caller listens
    play >> COMPLETE << TurnEnded("turn1", "completed")
    (play >> COMPLETE).silence()


def test_a_turn_that_is_over_without_a_word_about_its_voice() -> None:
    play = Play().speak("Yes.")
    (
        play
        >> COMPLETE
        << [
            AudioChunk(b"", True, "item1", "turn1"),
            Transcript("Yes.", True, False, "item1", "turn1"),
            TurnEnded("turn1", "completed"),
        ]
    )


def test_everything_in_one_message() -> None:
    play = Play()
    (
        play
        >> server(
            serverContent={
                "inputTranscription": {"text": "Hello?"},
                "modelTurn": {"parts": [{"text": "hm", "thought": True}, blob(b"a"), blob(b"b")]},
                "outputTranscription": {"text": " Hi."},
                "generationComplete": True,
                "turnComplete": True,
            },
            usageMetadata={"totalTokenCount": 7},
        )
        << [
            ItemAdded("item1", None, True),
            Transcript("Hello?", False, True, "item1"),
            TurnStarted("turn1"),
            ItemAdded("item2", "item1", False),
            AudioChunk(b"a", False, "item2", "turn1"),
            AudioChunk(b"b", False, "item2", "turn1"),
            Transcript(" Hi.", False, False, "item2", "turn1"),
            AudioChunk(b"", True, "item2", "turn1"),
            Transcript("Hello?", True, True, "item1"),
            Transcript("Hi.", True, False, "item2", "turn1"),
            TurnEnded("turn1", "completed"),
            Usage("response", {"totalTokenCount": 7.0}),
        ]
    )


def test_voice_at_another_rate_is_played_at_ours() -> None:
    play = Play()
    quick = {"parts": [blob(bytes(3200), "audio/pcm;rate=16000")]}
    play >> content(modelTurn=quick)
    warning, _started, _added, chunk = play.take()
    assert warning.code == "audio_format"
    assert abs(len(chunk.audio) - 4800) < 200
    play >> content(modelTurn=quick) << AudioChunk


@pytest.mark.parametrize("mime_type", ["audio/opus", "audio/pcm;rate=0", "audio/pcm;rate=x", "image/png"])
def test_what_is_no_voice_is_never_played(mime_type: str) -> None:
    play = Play()
    play >> content(modelTurn={"parts": [blob(b"noise", mime_type)]}) << ProviderWarning
    (play >> content(modelTurn={"parts": [blob(b"noise", mime_type)]})).silence()


def test_old_and_other_ways_of_writing_are_read_too() -> None:
    play = Play()
    (
        play
        >> raw(
            server_content={
                "model_turn": {"parts": [{"inline_data": {"mime_type": "audio/pcm;rate=24000", "data": "_-8"}}]}
            }
        )
        << [TurnStarted, ItemAdded, AudioChunk(b"\xff\xef", False, "item1", "turn1")]
    )
    play >> raw(serverContent={"generationComplete": True, "modelTurn": None, "turnComplete": False}) << AudioChunk
    (
        play
        >> raw(serverContent={"turn_complete": True}, usage_metadata={"total_token_count": "12"})
        << [
            TurnEnded,
            Usage("response", {"totalTokenCount": 12.0}),
        ]
    )
    (
        play
        >> raw(tool_call={"function_calls": [{"id": "c", "name": "f", "args": {"snake_case": 1}}]})
        << [
            TurnStarted,
            ToolCall("c", "f", '{"snake_case":1}', "turn2"),
        ]
    )


@pytest.mark.parametrize("data", ["@@@", "QUI\n=", 5, ["QUI="], {}])
def test_bad_audio_is_dropped_and_counted(data: Any) -> None:
    play = Play()
    bad = {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": data}}]}
    play >> raw(serverContent={"modelTurn": bad}) << ProviderWarning
    assert play.protocol.bad_audio == 1
    play >> voice(b"fine") << [TurnStarted, ItemAdded, AudioChunk]


# Barge-in


def test_barge_in_while_generating() -> None:
    play = Play().speak("It", " is")
    (
        play
        >> INTERRUPTED
        << [
            Interrupted("turn1"),
            Transcript("It is", True, False, "item1", "turn1"),
            TurnEnded("turn1", "interrupted"),
        ]
    )
    # What is under way of it is late.
    (play >> voice(b"late") >> said(" late") >> GENERATED).silence()
    (play >> COMPLETE).silence()
    play.speak(item=2, turn=2)


def test_barge_in_while_all_has_been_generated() -> None:
    play = Play().speak("It is ten.")
    play >> GENERATED << AudioChunk
    play >> INTERRUPTED << [Interrupted("turn1"), Transcript, TurnEnded("turn1", "interrupted")]
    (play >> COMPLETE).silence()
    play.speak(item=2, turn=2)


def test_an_interruption_after_the_turn_still_empties_the_line() -> None:
    play = Play().speak("It is ten.").finish("It is ten.")
    play >> INTERRUPTED << Interrupted("")
    play.speak(item=2, turn=2)  # it stopped nothing, so nothing that follows is late


def test_an_interruption_before_the_turn() -> None:
    play = Play()
    play >> INTERRUPTED << Interrupted("")
    (play >> COMPLETE).silence()
    play.speak()


def test_a_server_that_never_tells_the_end_of_what_it_stopped() -> None:
    play = Play().speak()
    play >> INTERRUPTED << [Interrupted, TurnEnded]
    play.listen(200).silence()
    (play >> voice(b"late")).silence()
    play.listen(500).silence()
    play.speak(item=2, turn=2)


def test_the_server_knows_by_itself_what_was_heard() -> None:
    play = Play().speak()
    (play >> PlaybackReport("item1", "turn1", 0, 20, 40)).silence()


def test_a_turn_that_we_stop_is_not_heard_any_further() -> None:
    play = Play().speak("One")
    (play >> CancelResponse()).silence()
    (play >> voice(b"more") >> said(" two") >> GENERATED).silence()
    play >> COMPLETE << [Transcript("One", True, False, "item1", "turn1"), TurnEnded("turn1", "cancelled")]
    play.speak(item=2, turn=2)


def test_a_key_pressed_into_a_turn_stops_it_at_the_server() -> None:
    play = Play().speak("One")
    (play >> CancelResponse()).silence()
    play >> SendDtmf("5") << ASKED
    play >> INTERRUPTED << [Interrupted("turn1"), Transcript, TurnEnded("turn1", "cancelled")]
    (play >> COMPLETE).silence()
    play.speak(item=2, turn=2)


def test_a_turn_that_was_asked_for_but_has_not_begun_can_be_stopped() -> None:
    play = Play()
    play >> Say(Purpose.STILL_THERE) << ASKED
    (play >> CancelResponse()).silence()
    play >> voice(b"v") << [TurnStarted("turn1"), ItemAdded]
    play >> COMPLETE << TurnEnded("turn1", "cancelled")
    play.speak(item=2, turn=2)


# Turns and their ends


def test_a_model_that_thinks_in_between_has_one_turn_of_several_utterances() -> None:
    play = Play(model="gemini-3.8-live-extended-thinking").speak("Let me see.")
    play >> GENERATED << AudioChunk(b"", True, "item1", "turn1")
    (
        play
        >> content(turnComplete=True, interactionStatus="IN_PROGRESS")
        << Transcript("Let me see.", True, False, "item1", "turn1")
    )
    play.speak("It is ten.", item=2, begins=False)
    (
        play
        >> content(turnComplete=True, interactionStatus="IDLE")
        << [
            AudioChunk(b"", True, "item2", "turn1"),
            Transcript("It is ten.", True, False, "item2", "turn1"),
            TurnEnded("turn1", "completed"),
        ]
    )


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("MALFORMED_FUNCTION_CALL", "failed"),
        ("RESPONSE_REJECTED", "failed"),
        ("PROHIBITED_INPUT_CONTENT", "incomplete"),
        ("GENERATED_AUDIO_SAFETY", "incomplete"),
        ("SOMETHING_NEW", "incomplete"),
    ],
)
def test_turns_that_end_badly(reason: str, status: Any) -> None:
    over = raw(serverContent={"turnComplete": True, "turnCompleteReason": reason})
    Play() >> over << [TurnStarted("turn1"), TurnEnded("turn1", status, reason), ProviderWarning]
    Play().speak() >> over << [TurnEnded("turn1", status, reason), ProviderWarning]


def test_a_model_that_waits_for_more_has_not_failed() -> None:
    over = content(turnComplete=True, turnCompleteReason="NEED_MORE_INPUT")
    (Play() >> over).silence()
    Play().speak() >> over << [AudioChunk, TurnEnded("turn1", "completed", "NEED_MORE_INPUT")]


# What is told besides


def test_what_is_told_besides() -> None:
    play = Play()
    play >> server(goAway={"timeLeft": "50s"}) << GoingAway(50.0, "goAway")
    play >> server(goAway={}) << GoingAway(None, "goAway")
    play >> raw(goAway={"timeLeft": "soon"}) << GoingAway(None, "goAway")
    (play >> server(sessionResumptionUpdate={})).silence()
    (play >> server(sessionResumptionUpdate={"newHandle": "", "resumable": True})).silence()
    (
        play
        >> raw(sessionResumptionUpdate={"newHandle": "h2", "resumable": True, "lastConsumedClientMessageIndex": "7"})
        << ResumeHandle("h2")
    )
    usage = {
        "promptTokenCount": 10,
        "responseTokenCount": 4,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 6}, {"modality": "AUDIO", "tokenCount": 4}],
        "trafficType": "ON_DEMAND",
    }
    (
        play
        >> server(usageMetadata=usage)
        << Usage(
            "response",
            {
                "promptTokenCount": 10.0,
                "responseTokenCount": 4.0,
                "promptTokensDetails.TEXT": 6.0,
                "promptTokensDetails.AUDIO": 4.0,
            },
        )
    )


def test_services_that_tell_when_the_caller_speaks() -> None:
    play = Play(vertex=True, project="p", access_token="t")
    activity = {"voiceActivityType": "ACTIVITY_START", "audioOffset": "1.5s"}
    play >> server(voiceActivity=activity) << UserSpeechStarted(at_ms=1500)
    play >> server(voiceActivity={"voiceActivityType": "ACTIVITY_END"}) << UserSpeechStopped()
    play >> server(voiceActivityDetectionSignal={"vadSignalType": "VAD_SIGNAL_TYPE_SOS"}) << UserSpeechStarted()
    (play >> server(voiceActivity={"voiceActivityType": "TYPE_UNSPECIFIED"})).silence()


# Whatever comes


@pytest.mark.parametrize(
    "message", [b"", b"\xff\xfe", b"{", b"[]", b"null", b"7", b"[" * 100_000, b'{"serverContent":' + b"[" * 99_999]
)
def test_broken_messages_are_told_and_dropped(message: bytes) -> None:
    Play() >> message << ProviderWarning


@pytest.mark.parametrize(
    "message",
    [{}, {"modelStatus": {}}, {"serverContent": {}}, {"serverContent": {"groundingMetadata": {}}}, {"toolCall": {}}],
)
def test_empty_and_unknown_messages_are_let_by(message: Any) -> None:
    (Play() >> raw(**message)).silence()


def test_errors_of_whatever_stands_before_the_server_are_told() -> None:
    Play() >> raw(error={"code": 503, "message": "busy"}) << ProviderWarning
    Play() >> raw(code=500, message="broken") << ProviderWarning("error", "broken")


def test_unknown_messages_are_shown_on_request() -> None:
    play = Play(ProcessConfig(extensions={"raw_events": True}))
    play >> raw(modelStatus={"a": 1}) << RawEvent({"modelStatus": {"a": 1}})
    (play >> raw()).silence()


@pytest.mark.parametrize("fields", [{"modelTurn": 5}, {"turnComplete": "x"}, {"inputTranscription": []}])
def test_known_messages_of_odd_shape_are_told(fields: Any) -> None:
    Play() >> raw(serverContent=fields) << ProviderWarning


def test_the_end_is_told_by_how_the_socket_closed() -> None:
    play = Play(ready=False)
    error = play.protocol.closed(1007, "Request contains an invalid argument.")
    assert isinstance(error, InvalidConfigError)
    assert error.provider == "gemini"
    play = Play()
    assert isinstance(play.protocol.closed(1008, ""), InvalidConfigError)
    play.listen(10_000).silence()
    assert isinstance(play.protocol.closed(1008, ""), SessionClosedError)
    assert isinstance(
        Play().protocol.closed(1011, "Deadline expired before operation could complete."), SessionClosedError
    )


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    [
        "modelTurn",
        "parts",
        "inlineData",
        "data",
        "mimeType",
        "inputTranscription",
        "outputTranscription",
        "text",
        "interrupted",
        "finished",
        "generationComplete",
        "turnComplete",
        "turnCompleteReason",
        "interactionStatus",
        "functionCalls",
        "id",
        "name",
        "args",
        "ids",
        "timeLeft",
        "newHandle",
        "resumable",
        "sessionId",
    ]
)
_BODIES = st.dictionaries(_FIELDS, _JSON | st.dictionaries(_FIELDS, _JSON), max_size=4)
_KINDS = st.sampled_from(
    [
        "serverContent",
        "setupComplete",
        "toolCall",
        "toolCallCancellation",
        "usageMetadata",
        "goAway",
        "sessionResumptionUpdate",
        "voiceActivity",
        "voiceActivityDetectionSignal",
    ]
)
_SOUND = st.sampled_from(
    [voice(b"v"), said("w"), heard("c"), GENERATED, COMPLETE, INTERRUPTED, calls(call("1"), call("2", "g"))]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        _SOUND | st.dictionaries(_KINDS, _BODIES | _JSON, max_size=3) | _JSON | st.binary(max_size=40), max_size=15
    ),
    st.booleans(),
    st.sampled_from(GENERATIONS),
)
def test_no_message_ever_raises(messages: list[Any], ready: bool, model: str) -> None:
    config = ProcessConfig(functions=[FunctionDeclaration("f")])
    play = Play(config, model=model, ready=ready)
    begun: set[str] = set()
    for message in messages:
        events = play.protocol.receive(message if isinstance(message, bytes) else json.dumps(message).encode())
        for event in events:
            if isinstance(event, TurnStarted):
                assert event.turn_id not in begun
                begun.add(event.turn_id)
            assert getattr(event, "turn_id", "") in {"", *begun}
        sent = play.protocol.outgoing() + play.protocol.send(SendText("x")) + play.protocol.send(ToolResult("1", "{}"))
        for message_of_ours in sent + play.protocol.audio(FRAME):
            client(message_of_ours)


def test_the_oldest_generation_answers_the_same() -> None:
    Play(model=NATIVE_25).speak("Yes.").finish("Yes.")


def odd_voice(*parts: dict[str, Any], **siblings: Any) -> bytes:
    return raw(serverContent={"modelTurn": {"parts": list(parts)}, **siblings})


_NEARLY_VOICE = [
    voice(b"more"),
    odd_voice(blob(b"a"), blob(b"b")),
    odd_voice(blob(b"c"), {"text": "thinking", "thought": True}),
    odd_voice({**blob(b"d"), "thought": True}),
    odd_voice({"inlineData": {"mimeType": "audio/pcm"}}),
    odd_voice({"inlineData": None}),
    odd_voice(),
    odd_voice({"inlineData": {"data": "QUJD", "displayName": "e"}}),
    odd_voice(blob(b"f0", "audio/pcm;rate=16000")),
    odd_voice(blob(b"g", "image/png")),
    odd_voice({"inlineData": {"data": "no base64", "mimeType": "audio/pcm"}}),
    raw(server_content={"model_turn": {"parts": [{"inline_data": {"data": "QUJD", "mime_type": "audio/pcm"}}]}}),
    voice(b"h", generationComplete=True),
    voice(b"i", turnComplete=True),
    voice(b"j", interrupted=True),
    voice(b"k", outputTranscription={"text": "k"}),
    raw(serverContent={"modelTurn": {"role": 7, "parts": [blob(b"l")]}}),
    raw(serverContent={"modelTurn": {"parts": [blob(b"m")]}}, usageMetadata={"totalTokenCount": 3}),
    raw(serverContent={"modelTurn": {"parts": [blob(b"n")]}}, toolCall={"functionCalls": [call("c9")]}),
    raw(serverContent={"modelTurn": {"parts": [blob(b"o")]}}, toolCallCancellation={"ids": ["c1", "nobody"]}),
    raw(serverContent={"modelTurn": {"parts": [blob(b"p")]}}, unknown=1),
    b'{"serverContent":{"interrupted":true},"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":"QUJD"}}]}}}',
    b"[]",
    b"{",
]
_OTHERS = [
    *(GENERATED, COMPLETE, INTERRUPTED, said("word"), heard("caller"), calls(call("c1")), calls(call("c2", "g"))),
    *(content(turnComplete=True, turnCompleteReason="RESPONSE_REJECTED"), raw(toolCallCancellation={"ids": ["c1"]})),
    *(CancelResponse(), SendText("aside", respond=False), SendText("more"), Say(Purpose.STILL_THERE)),
    *(ToolResult("c1", "{}"), ToolResult("c2", "{}"), FRAME, FRAME * 150),
]


@given(st.lists(st.sampled_from(_NEARLY_VOICE) | st.just(voice(b"more")) | st.sampled_from(_OTHERS), max_size=25))
@settings(max_examples=200, deadline=None)
def test_the_short_way_of_voice_tells_the_same_as_the_long_one(steps: list[Any]) -> None:
    """Whatever comes before it and beside it; and a message of which nothing but voice came asks for no answer."""
    config = ProcessConfig(functions=[FunctionDeclaration("f", ""), FunctionDeclaration("g", "")])
    short, long = Play(config), Play(config)
    long.protocol._tries = long.protocol._hope = 0
    frames_ = (FRAME, FRAME * 150)
    for step in [voice(b"first"), *steps, voice(b"last")]:
        told = []
        for play in (short, long):
            protocol = play.protocol
            if not isinstance(step, bytes):
                events, sent = list[Event](), protocol.send(step)
            elif step in frames_:
                events, sent = [], protocol.audio(step)
            else:
                events, sent = protocol.receive(step), protocol.outgoing()
                alone = len(events) == 1 and isinstance(events[0], AudioChunk)
                assert not (alone and sent), "it would not be asked for"
            told.append(([plain(event) for event in events], sent))
        assert told[0] == told[1]
