"""What the simulated OpenAI says: responses, function calls and items."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from realtime_client import Event, hum, kinds, of, quiet, sound
from realtime_dialogue import Dialogue, done

from tandem.simulators.openai_script import FunctionCall, Reply, asked_words
from tandem.simulators.openai_voice import speak
from tandem_codecs.format import MULAW_8K, PCM16_24K
from tandem_codecs.g711 import mulaw_to_pcm16

TOOL = {"type": "function", "name": "get_weather", "description": "", "parameters": {"type": "object"}}


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


def test_a_response_beside_the_conversation_is_cancelled_by_its_id() -> None:
    talk = Dialogue(seconds=1.0, pace=1.0)
    beside = talk.say("response.create", response={"conversation": "none"})[0]["response"]["id"]
    assert talk.refusal("response.cancel")["code"] == "response_cancel_not_active"
    assert done(talk.say("response.cancel", response_id=beside))["status"] == "cancelled"
    assert talk.refusal("response.cancel", response_id=beside)["code"] == "response_cancel_not_active"


def test_certain_words_do_not_use_up_the_script() -> None:
    talk = Dialogue(script=["From the script."], seconds=0.1)
    said = [
        of(talk.say("response.create", response=response), "response.output_audio_transcript.done")[0]["transcript"]
        for response in ({"instructions": 'Say exactly: "Good day."'}, {})
    ]
    assert said == ["Good day.", "From the script."]


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
