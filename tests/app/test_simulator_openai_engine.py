"""The simulated OpenAI session as a dialogue: what a client says, and what comes back at which time."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from realtime_client import Event, hum, kinds, of, quiet
from realtime_dialogue import Dialogue, done

from tandem.simulators.openai_hearing import Hearing, SpeechStarted, SpeechStopped
from tandem.simulators.openai_outlet import UNKNOWN_EVENTS, Send
from tandem.simulators.openai_script import FunctionCall, OpenAIOptions, Reply, pace, reply
from tandem.simulators.openai_voice import check_voice, speak
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat

TOOL = {"type": "function", "name": "get_weather", "description": "", "parameters": {"type": "object"}}


# The session.


def test_the_opening_tells_the_whole_session() -> None:
    created = Dialogue(extras=False).opening[0]["session"]
    assert created["object"] == "realtime.session"
    assert created["expires_at"] == 1_000_003_600
    assert created["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 200
    assert created["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "voice": "marin",
        "speed": 1.0,
    }


def test_an_update_keeps_what_it_does_not_name() -> None:
    talk = Dialogue(extras=False)
    talk.set_up(instructions="Be kind.", tools=[TOOL], audio={"output": {"voice": "cedar"}})
    updated = talk.set_up(
        audio={"input": {"format": {"type": "audio/pcmu"}, "noise_reduction": {"type": "near_field"}}}
    )
    assert updated["instructions"] == "Be kind."
    assert updated["tools"] == [TOOL]
    assert updated["audio"]["output"]["voice"] == "cedar"
    assert updated["audio"]["input"]["noise_reduction"] == {"type": "near_field", "strength": 1.0}
    cleared = talk.set_up(instructions="", tools=[], audio={"input": {"turn_detection": None, "noise_reduction": None}})
    assert (cleared["instructions"], cleared["tools"]) == ("", [])
    assert cleared["audio"]["input"]["turn_detection"] is None
    assert cleared["audio"]["input"]["format"] == {"type": "audio/pcmu"}


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"instructions": "x"}, "missing_required_parameter", "session.type"),
        ({"type": "conversation"}, "invalid_value", "session.type"),
        ({"type": "realtime", "temperature": 0.8}, "unknown_parameter", "session.temperature"),
        ({"type": "realtime", "voice": "marin"}, "unknown_parameter", "session.voice"),
        ({"type": "realtime", "model": "gpt-realtime"}, "cannot_update_model", "session.model"),
        ({"type": "realtime", "instructions": None}, "invalid_type", "session.instructions"),
        ({"type": "realtime", "output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
        ({"type": "realtime", "max_output_tokens": 0}, "integer_below_min_value", "session.max_output_tokens"),
        (
            {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu", "rate": 8000}}}},
            "unknown_parameter",
            "session.audio.input.format.rate",
        ),
        (
            {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        (
            {"type": "realtime", "audio": {"output": {"speed": 2.0}}},
            "decimal_above_max_value",
            "session.audio.output.speed",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "eagerness": "low"}}}},
            "unknown_parameter",
            "session.audio.input.turn_detection.eagerness",
        ),
        ({"type": "realtime", "tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
    ],
)
def test_a_wrong_update_is_refused_whole(session: Event, code: str, param: str) -> None:
    talk = Dialogue(extras=False)
    before = json.dumps(talk.engine.settings.wire)
    error = talk.refusal("session.update", session=session)
    assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error")
    assert json.dumps(talk.engine.settings.wire) == before


def test_reasoning_is_only_for_models_that_reason() -> None:
    Dialogue().set_up(reasoning={"effort": "low"})
    error = Dialogue(model="gpt-realtime-mini-2025-10-06").refusal(
        "session.update", session={"type": "realtime", "reasoning": {"effort": "low"}}
    )
    assert error["code"] == "unsupported_parameter"


def test_the_voice_is_fixed_once_it_was_heard() -> None:
    talk = Dialogue(seconds=0.1)
    talk.set_up(audio={"output": {"voice": "cedar"}})
    talk.say("response.create")
    error = talk.refusal("session.update", session={"type": "realtime", "audio": {"output": {"voice": "marin"}}})
    assert error["code"] == "cannot_update_voice"
    talk.set_up(audio={"output": {"voice": "cedar"}})


@pytest.mark.parametrize("message", ["", "{", "[]", "null", '"x"', "{}", '{"type":1}', '{"type":"no.such"}'])
def test_nonsense_is_answered_by_an_error(message: str) -> None:
    talk = Dialogue(extras=False)
    (action,) = talk.engine.receive(message, talk.now)
    assert isinstance(action, Send)
    assert json.loads(action.text)["error"]["type"] == "invalid_request_error"
    assert talk.set_up()


def test_a_binary_message_is_refused() -> None:
    talk = Dialogue(extras=False)
    (action,) = talk.engine.receive(b"{}", talk.now)
    assert isinstance(action, Send)
    assert json.loads(action.text)["error"]["code"] == "invalid_event"


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["realtime", "auto", "user", "message", ""]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "session", "item", "response", "audio", "id", "role", "content", "input", "tools"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["session.update", "conversation.item.create", "response.create", "conversation.item.truncate"]),
)
def test_no_message_is_too_strange(body: Any, kind: str) -> None:
    talk = Dialogue(seconds=0.1)
    for fields in (body if isinstance(body, dict) else {}, {"session": body}, {"item": body}, {"response": body}):
        talk.say(**{**fields, "kind": kind})


def test_a_session_ends_when_its_time_is_up() -> None:
    talk = Dialogue(session_seconds=3600.0)
    assert talk.wait(3599) == []
    (error,) = talk.wait(1)
    assert error["error"]["code"] == "session_expired"
    assert talk.closed is not None
    assert talk.say("response.create") == []


# The caller.


@pytest.mark.parametrize("audio_format", [PCM16_24K, MULAW_8K, ALAW_8K], ids=str)
def test_a_turn_is_heard_in_every_format(audio_format: AudioFormat) -> None:
    name = {PCM16_24K: "audio/pcm", MULAW_8K: "audio/pcmu", ALAW_8K: "audio/pcma"}[audio_format]
    talk = Dialogue(seconds=0.1)
    detection = {"type": "server_vad", "silence_duration_ms": 400, "prefix_padding_ms": 100}
    talk.set_up(audio={"input": {"format": {"type": name}, "turn_detection": detection}})
    speech = quiet(300, audio_format) + hum(500, 8000, audio_format) + quiet(380, audio_format)
    (started,) = talk.append(speech)
    assert started["audio_start_ms"] == 200
    events = talk.append(quiet(20, audio_format))
    assert kinds(events)[:5] == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert events[0]["audio_end_ms"] == 1200
    assert talk.engine.record.turns == [speech[audio_format.size(200) :] + quiet(20, audio_format)]
    assert bytes(talk.engine.record.audio) == speech + quiet(20, audio_format)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_hearing_does_not_depend_on_the_cut(data: st.DataObject) -> None:
    audio = quiet(250, MULAW_8K) + hum(300, 8000, MULAW_8K) + quiet(400, MULAW_8K) + hum(200, 8000, MULAW_8K)
    detection = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 100, "silence_duration_ms": 300}
    whole = list(Hearing(MULAW_8K, detection).feed(audio))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(audio)), max_size=12)))
    hearing = Hearing(MULAW_8K, detection)
    pieces = [audio[start:end] for start, end in zip([0, *cuts], [*cuts, len(audio)], strict=True)]
    assert [heard for piece in pieces for heard in hearing.feed(piece)] == whole
    assert [type(heard) for heard in whole] == [SpeechStarted, SpeechStopped, SpeechStarted]


def test_a_higher_threshold_wants_a_louder_caller() -> None:
    for threshold, heard in ((0.1, True), (0.9, False)):
        talk = Dialogue()
        talk.set_up(audio={"input": {"turn_detection": {"type": "server_vad", "threshold": threshold}}})
        assert bool(talk.append(hum(200, level=500))) is heard


def test_a_click_is_no_speech() -> None:
    assert Dialogue().append(quiet(100) + hum(20) + quiet(100)) == []


def test_the_eager_semantic_detector_waits_less() -> None:
    stops = []
    for eagerness in ("high", "low"):
        talk = Dialogue(seconds=0.1)
        talk.set_up(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}})
        (stopped,) = of(talk.append(hum(400) + quiet(2000)), "input_audio_buffer.speech_stopped")
        stops.append(stopped["audio_end_ms"])
    assert stops == [800, 1600]


def test_without_create_response_a_turn_is_only_noted() -> None:
    talk = Dialogue()
    talk.set_up(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
    assert kinds(talk.append(hum(400) + quiet(600)))[-1] == "conversation.item.done"


def test_push_to_talk() -> None:
    talk = Dialogue(seconds=0.1)
    talk.set_up(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    assert talk.append(hum(99)) == []
    error = talk.refusal("input_audio_buffer.commit")
    assert error["code"] == "input_audio_buffer_commit_empty"
    assert "99.00ms" in error["message"]
    talk.append(hum(1))
    committed = talk.say("input_audio_buffer.commit")
    assert kinds(committed) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    assert committed[-1]["transcript"] == committed[-2]["delta"] == "caller spoke 0.1 s"
    assert done(talk.say("response.create"))["status"] == "completed"


def test_a_cleared_buffer_is_empty() -> None:
    talk = Dialogue()
    talk.set_up(audio={"input": {"turn_detection": None}})
    talk.append(hum(500))
    assert kinds(talk.say("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert talk.refusal("input_audio_buffer.commit")["code"] == "input_audio_buffer_commit_empty"


def test_audio_that_is_no_base64_is_refused() -> None:
    assert Dialogue().refusal("input_audio_buffer.append", audio="@@@")["code"] == "invalid_value"


def test_transcripts_come_scripted_and_late() -> None:
    talk = Dialogue(seconds=0.1, transcripts=["What are your hours?"], transcription_delay=0.7)
    talk.set_up(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
    answer = talk.append(hum(400) + quiet(600))
    assert kinds(answer)[-1] == "response.done"
    item_id = of(answer, "input_audio_buffer.committed")[0]["item_id"]
    assert talk.wait(0.69) == []
    *deltas, completed = talk.wait(0.01)
    assert "".join(delta["delta"] for delta in deltas) == completed["transcript"] == "What are your hours?"
    assert {event["item_id"] for event in (*deltas, completed)} == {item_id}


def test_a_silent_caller_is_asked_after_the_answer_was_played() -> None:
    talk = Dialogue(seconds=2.0)
    talk.set_up(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}})
    talk.say("response.create")
    assert talk.wait(6.9) == []
    events = talk.wait(0.1)
    assert kinds(events)[:5] == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "input_audio_buffer.timeout_triggered",
        "response.created",
    ]
    talk.append(hum(100))
    assert talk.wait(60) == []


# Settings.


def test_a_seed_repeats_a_run() -> None:
    runs = []
    for _ in range(2):
        talk = Dialogue(seconds=1.0)
        talk.say("response.create")
        runs.append(talk.engine.record.sent)
    assert runs[0] == runs[1]


def test_a_stranger_is_met_once_a_session() -> None:
    talk = Dialogue(seconds=1.0)
    talk.say("response.create")
    events = talk.engine.record.events()
    assert len([event for event in events if event["type"] in UNKNOWN_EVENTS]) == 1
    assert any("obfuscation" in event or "x_trace" in json.dumps(event) for event in events)


@pytest.mark.parametrize(("text", "factor"), [("realtime", 1.0), ("10x", 10.0), ("0.5", 0.5), ("burst", float("inf"))])
def test_paces(text: str, factor: float) -> None:
    assert pace(text) == factor


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in ("0x", "-1", "fast"):
        with pytest.raises(ValueError, match=r"pace|float"):
            pace(wrong)
    with pytest.raises(ValueError, match="tone:HZ"):
        check_voice("tone:loud")
    for options in ({"pace": 0.0}, {"delta_ms": (0, 5)}, {"items": 0}, {"key_refusal": "never"}):
        with pytest.raises(ValueError, match=r"."):
            OpenAIOptions(**options)


def test_a_line_is_a_reply() -> None:
    assert reply("Hello.") == Reply("Hello.")
    assert reply('call end_call {"why": "done"}') == Reply("", (FunctionCall("end_call", '{"why": "done"}'),))
    assert reply("call end_call").calls == (FunctionCall("end_call", "{}"),)


def test_a_tone_is_that_tone() -> None:
    samples = np.frombuffer(speak("tone:1000", "x", 1.0, PCM16_24K), dtype="<i2").astype(float)
    assert int(np.abs(np.fft.rfft(samples)).argmax()) == 1000


def test_a_caller_who_never_pauses_fills_no_memory() -> None:
    hearing = Hearing(MULAW_8K, {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 200})
    for _ in range(70):
        list(hearing.feed(hum(1000, 8000, MULAW_8K)))
    (stopped,) = hearing.feed(quiet(200, MULAW_8K))
    assert isinstance(stopped, SpeechStopped)
    assert stopped.at_ms == 70_200
    assert 60_000 <= MULAW_8K.milliseconds(len(stopped.audio)) <= 61_200


def test_without_a_record_only_the_last_turn_is_kept() -> None:
    talk = Dialogue(record=False, voice="echo", seconds=0.1)
    for _ in range(2):
        talk.append(hum(400) + quiet(400))
        talk.say("response.create")
    record = talk.engine.record
    assert (record.received, record.sent, record.turns, bytes(record.audio)) == ([], [], [], b"")
    assert (record.appends, record.responses, record.heard_ms) == (2, 4, 1600.0)
