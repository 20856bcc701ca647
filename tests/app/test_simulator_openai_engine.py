"""The simulated OpenAI session as a dialogue: what a client says, and what comes back at which time."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from realtime_client import Event, hum, kinds, of, quiet, sound, validate

from tandem.simulators.openai_engine import Engine
from tandem.simulators.openai_hearing import Hearing, SpeechStarted, SpeechStopped
from tandem.simulators.openai_outlet import UNKNOWN_EVENTS, Action, Close, Send
from tandem.simulators.openai_script import FunctionCall, OpenAIOptions, Reply, asked_words, pace, reply
from tandem.simulators.openai_voice import check_voice, speak
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat
from tandem_codecs.g711 import mulaw_to_pcm16

TOOL = {"type": "function", "name": "get_weather", "description": "", "parameters": {"type": "object"}}


class Dialogue:
    """One session with a clock of its own. Each event is held against the vendor's type for it."""

    def __init__(self, faults: dict[str, str] | None = None, model: str = "gpt-realtime-2.1", **options: Any) -> None:
        self.now = 100.0
        self.closed: Close | None = None
        self.engine = Engine(
            OpenAIOptions(**options),
            model=model,
            faults=faults or {},
            rng=random.Random(7),
            now=self.now,
            unix_now=1e9,
        )
        self.opening = self._read(self.engine.open(self.now))

    def _read(self, actions: list[Action]) -> list[Event]:
        events: list[Event] = []
        for action in actions:
            match action:
                case Send():
                    event: Event = json.loads(action.text)
                    validate(event)
                    if event["type"] not in UNKNOWN_EVENTS:
                        events.append(event)
                case Close():
                    self.closed = action
        return events

    def say(self, kind: str, **fields: Any) -> list[Event]:
        """A client message, and what is answered at once."""
        return self._read(self.engine.receive(json.dumps({"type": kind, **fields}), self.now))

    def set_up(self, **session: Any) -> Event:
        answer = self.say("session.update", session={"type": "realtime", **session})
        assert [event["type"] for event in answer] == ["session.updated"], answer
        updated: Event = answer[0]["session"]
        return updated

    def append(self, audio: bytes) -> list[Event]:
        return self.say("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass, and hear what comes meanwhile."""
        self.now += seconds
        return self._read(self.engine.wake(self.now))

    def refusal(self, kind: str, **fields: Any) -> Event:
        """The error that answers this message, and nothing but it."""
        (error,) = self.say(kind, event_id="mine", **fields)
        assert error["type"] == "error"
        assert error["error"]["event_id"] == "mine"
        refused: Event = error["error"]
        return refused


def done(events: list[Event]) -> Event:
    """The response of the only `response.done`."""
    (event,) = of(events, "response.done")
    response: Event = event["response"]
    return response


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


# The agent.


def test_only_one_response_at_a_time_but_any_number_beside_it() -> None:
    talk = Dialogue(seconds=1.0, pace=1.0)
    first = talk.say("response.create")[0]["response"]["id"]
    error = talk.refusal("response.create")
    assert error["code"] == "conversation_already_has_active_response"
    assert first in error["message"]
    beside = talk.say(
        "response.create",
        response={"conversation": "none", "output_modalities": ["text"], "metadata": {"purpose": "note"}},
    )
    assert done(beside)["metadata"] == {"purpose": "note"}
    assert done(beside)["conversation_id"] is None
    assert not of(beside, "conversation.item.added")
    assert done(talk.wait(1.01))["id"] == first


def test_speech_is_paced_by_its_length() -> None:
    talk = Dialogue(seconds=1.0, pace=2.0, latency=0.3)
    assert kinds(talk.say("response.create")) == ["response.created", "rate_limits.updated"]
    assert talk.wait(0.29) == []
    early = talk.wait(0.01 + 0.25)
    assert 0.4 <= len(sound(early)) / 48000 <= 0.7
    late = talk.wait(0.25)
    assert len(sound(early) + sound(late)) == 48000
    assert done(late)["status"] == "completed"


def test_odd_deltas_are_odd_and_whole_together() -> None:
    talk = Dialogue(seconds=1.0, odd_deltas=True, voice="tone:440")
    events = talk.say("response.create")
    sizes = [len(base64.b64decode(event["delta"])) for event in of(events, "response.output_audio.delta")]
    assert all(size % 2 for size in sizes[:-1])
    assert sound(events) == speak("tone:440", "x", 1.0, PCM16_24K)


def test_a_long_answer_spreads_over_items() -> None:
    talk = Dialogue(script=["one two three four five six"], items=3, seconds=0.9)
    events = talk.say("response.create")
    output = done(events)["output"]
    assert [item["content"][0]["transcript"] for item in output] == ["one two", "three four", "five six"]
    assert [event["output_index"] for event in of(events, "response.output_item.done")] == [0, 1, 2]
    assert len(sound(events)) == PCM16_24K.size(900)


def test_text_only() -> None:
    talk = Dialogue(script=["Written words."])
    events = talk.say("response.create", response={"output_modalities": ["text"]})
    assert "".join(event["delta"] for event in of(events, "response.output_text.delta")) == "Written words."
    assert done(events)["output"][0]["content"] == [{"type": "output_text", "text": "Written words."}]
    assert not sound(events)


def test_the_output_format_of_a_response_goes_before_the_sessions() -> None:
    talk = Dialogue(seconds=0.5)
    events = talk.say("response.create", response={"audio": {"output": {"format": {"type": "audio/pcma"}}}})
    assert len(sound(events)) == 4000


@pytest.mark.parametrize(
    ("instructions", "words"),
    [
        ('Say exactly: "Good morning."', "Good morning."),
        ('You are "Ann". Now say exactly: "He said "no" twice."', 'He said "no" twice.'),
        ('Say exactly the words of this JSON string: "A \\"quoted\\"\\nline"', 'A "quoted"\nline'),
        ("Greet the caller.", None),
    ],
)
def test_exact_words(instructions: str, words: str | None) -> None:
    assert asked_words(instructions) == words
    talk = Dialogue(seconds=0.1)
    events = talk.say("response.create", response={"instructions": instructions})
    (heard,) = of(events, "response.output_audio_transcript.done")
    assert words is None or heard["transcript"] == words


def test_the_first_stock_answer_greets_in_recorded_speech() -> None:
    talk = Dialogue()
    talk.set_up(audio={"output": {"format": {"type": "audio/pcmu"}}})
    events = talk.say("response.create")
    assert done(events)["output"][0]["content"][0]["transcript"]
    assert len(sound(events)) > MULAW_8K.size(1000)


def test_an_echo_says_what_the_caller_said() -> None:
    talk = Dialogue(voice="echo")
    pcmu = {"format": {"type": "audio/pcmu"}}
    talk.set_up(audio={"input": {"turn_detection": {"type": "server_vad", "prefix_padding_ms": 0}}, "output": pcmu})
    events = talk.append(hum(600) + quiet(200))
    heard = np.frombuffer(mulaw_to_pcm16(sound(events)), dtype="<i2").astype(float)
    assert len(heard) == 6400
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.fft.rfftfreq(len(heard), 1 / 8000)[int(spectrum.argmax())] == pytest.approx(300, abs=3)


def test_a_barge_in_while_generating_ends_the_response() -> None:
    talk = Dialogue(seconds=10.0, pace=1.0)
    created, *_ = talk.say("response.create")
    talk.wait(1.0)
    events = talk.append(hum(100))
    assert kinds(events) == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    response = done(events)
    assert response["id"] == created["response"]["id"]
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] > 0
    assert talk.wait(20) == []


def test_a_barge_in_after_generating_is_only_told() -> None:
    talk = Dialogue(seconds=10.0)
    talk.say("response.create")
    assert kinds(talk.append(hum(100))) == ["input_audio_buffer.speech_started"]


def test_without_interrupt_response_the_agent_talks_on() -> None:
    talk = Dialogue(seconds=1.0, pace=1.0)
    talk.set_up(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    talk.say("response.create")
    events = talk.append(hum(400) + quiet(400))
    assert "response.created" not in kinds(events), "only one may be active"
    assert done(talk.wait(1.0))["status"] == "completed"


def test_a_cancel_before_the_first_word() -> None:
    talk = Dialogue(latency=0.5)
    talk.say("response.create")
    response = done(talk.say("response.cancel"))
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert response["output"] == []
    assert talk.refusal("response.cancel")["code"] == "response_cancel_not_active"
    assert talk.wait(5) == []


@pytest.mark.parametrize("ends", ["max_output_tokens", "content_filter"])
def test_an_incomplete_response(ends: str) -> None:
    response = done(Dialogue(script=[Reply("half a", ends=ends)], seconds=0.2).say("response.create"))
    assert response["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": ends}
    assert response["output"][0]["status"] == "incomplete"


def test_a_token_limit_cuts_an_answer_short() -> None:
    talk = Dialogue(seconds=10.0, voice="tone:440")
    events = talk.say("response.create", response={"max_output_tokens": 50})
    assert done(events)["status_details"]["reason"] == "max_output_tokens"
    assert len(sound(events)) < PCM16_24K.size(3000)


def test_a_failed_response() -> None:
    response = done(Dialogue(script=[Reply("x", ends="server_error")]).say("response.create"))
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == "server_error"


# Functions.


def test_a_function_call_and_what_follows_its_result() -> None:
    talk = Dialogue(script=[Reply("One moment.", (FunctionCall("get_weather", '{"city":"Rome"}'),))], seconds=0.2)
    talk.set_up(tools=[TOOL])
    events = talk.say("response.create")
    pieces = of(events, "response.function_call_arguments.delta")
    (whole,) = of(events, "response.function_call_arguments.done")
    assert "".join(piece["delta"] for piece in pieces) == whole["arguments"] == '{"city":"Rome"}'
    message, call = done(events)["output"]
    assert (message["type"], call["type"], call["status"]) == ("message", "function_call", "completed")
    assert call["call_id"] == whole["call_id"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"sky":"blue"}'}
    assert kinds(talk.say("conversation.item.create", item=result)) == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    answer = talk.say("response.create")
    assert "blue" in of(answer, "response.output_audio_transcript.done")[0]["transcript"]


def test_no_function_is_called_that_the_session_does_not_have() -> None:
    talk = Dialogue(script=["call other {}", "call get_weather {}", "call get_weather {}"], seconds=0.1)
    talk.set_up(tools=[TOOL])
    assert done(talk.say("response.create"))["output"] == []
    assert done(talk.say("response.create", response={"tool_choice": "none"}))["output"] == []
    assert done(talk.say("response.create"))["output"][0]["name"] == "get_weather"
    forced = talk.say("response.create", response={"tool_choice": {"type": "function", "name": "get_weather"}})
    assert done(forced)["output"][0]["type"] == "function_call"


def test_a_result_for_no_call_is_refused() -> None:
    item = {"type": "function_call_output", "call_id": "call_none", "output": "1"}
    assert Dialogue().refusal("conversation.item.create", item=item)["code"] == "invalid_tool_call_id"


# Items.


def text_item(text: str, **fields: Any) -> Event:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}], **fields}


def test_items_are_kept_in_order() -> None:
    talk = Dialogue()
    talk.say("conversation.item.create", item=text_item("a", id="a"))
    talk.say("conversation.item.create", item=text_item("c", id="c"))
    between = talk.say("conversation.item.create", item=text_item("b", id="b"), previous_item_id="a")
    first = talk.say("conversation.item.create", item=text_item("0", id="0"), previous_item_id="root")
    assert [event["previous_item_id"] for event in (*between, *first)] == ["a", "a", None, None]
    answer = talk.say("response.create", response={"output_modalities": ["text"]})
    assert of(answer, "conversation.item.added")[0]["previous_item_id"] == "c"


def test_item_refusals() -> None:
    talk = Dialogue(seconds=0.2)
    talk.say("conversation.item.create", item=text_item("a", id="a"))
    create = "conversation.item.create"
    assert talk.refusal(create, item=text_item("a", id="a"))["code"] == "item_create_duplicate_item_id"
    assert talk.refusal(create, item=text_item("b", id="x" * 33))["code"] == "string_above_max_length"
    assert talk.refusal(create, item=text_item("b"), previous_item_id="no")["param"] == "previous_item_id"
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": ""}]}
    assert talk.refusal(create, item=said)["code"] == "invalid_value", "an agent's audio can't be made up"
    for verb in ("retrieve", "delete"):
        error = talk.refusal(f"conversation.item.{verb}", item_id="no")
        assert error["code"] == f"item_{verb}_invalid_item_id"


def test_what_is_retrieved_includes_the_audio() -> None:
    talk = Dialogue(seconds=0.2, voice="tone:440")
    events = talk.say("response.create")
    item_id = done(events)["output"][0]["id"]
    (answer,) = talk.say("conversation.item.retrieve", item_id=item_id)
    assert base64.b64decode(answer["item"]["content"][0]["audio"]) == sound(events)
    assert kinds(talk.say("conversation.item.delete", item_id=item_id)) == ["conversation.item.deleted"]
    assert talk.refusal("conversation.item.retrieve", item_id=item_id)["code"] == "item_retrieve_invalid_item_id"


def test_truncation_is_checked_against_what_was_produced() -> None:
    talk = Dialogue(seconds=10.0, pace=1.0)
    played = sound(talk.say("response.create") + talk.wait(1.0))
    assert PCM16_24K.size(1000) <= len(played) <= PCM16_24K.size(1200)
    events = talk.append(hum(100))
    item_id = done(events)["output"][0]["id"]
    place = {"item_id": item_id, "content_index": 0}
    truncate = "conversation.item.truncate"
    error = talk.refusal(truncate, **place, audio_end_ms=5000)
    assert error["code"] is None
    produced = int(PCM16_24K.milliseconds(len(played)))
    assert error["message"] == f"Audio content of {produced}ms is already shorter than 5000ms"
    (truncated,) = talk.say(truncate, **place, audio_end_ms=700)
    assert (truncated["item_id"], truncated["content_index"], truncated["audio_end_ms"]) == (item_id, 0, 700)
    assert talk.refusal(truncate, **place, audio_end_ms=701)["message"].startswith("Audio content of 700ms")
    (answer,) = talk.say("conversation.item.retrieve", item_id=item_id)
    assert answer["item"]["content"][0]["transcript"] == "", "what was said after that point is unknown"
    assert talk.engine.record.truncations == [{**place, "audio_end_ms": 700}]


def test_only_the_agents_audio_can_be_truncated() -> None:
    talk = Dialogue()
    talk.say("conversation.item.create", item=text_item("a", id="a"))
    place = {"item_id": "a", "content_index": 0, "audio_end_ms": 0}
    error = talk.refusal("conversation.item.truncate", **place)
    assert error["code"] == "unsupported_content_type"
    missing = talk.refusal("conversation.item.truncate", **{**place, "item_id": "no"})
    assert missing["code"] == "item_truncate_invalid_item_id"


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
