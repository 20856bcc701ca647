"""One session of the simulated Gemini: what each generation of models takes, and everything that ends it."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import numpy as np
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.simulators.faults import faults_of_connection, parse_fault
from tandem.simulators.gemini_engine import Engine
from tandem.simulators.gemini_memory import Handles
from tandem.simulators.gemini_outlet import UNKNOWN
from tandem.simulators.gemini_script import GeminiOptions
from tandem.simulators.openai_outlet import Action, Close, Cut, Send
from tandem.simulators.openai_script import FunctionCall, Reply

NATIVE_25 = "gemini-2.5-flash-native-audio-preview-12-2025"
FLASH_31 = "gemini-3.1-flash-live-preview"
LIVE_38 = "gemini-3.8-live"
EXTENDED_38 = "gemini-3.8-live-extended-thinking"
LEVEL = {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}
F = {"name": "f", "parametersJsonSchema": {"type": "object", "properties": {"snake_case": {}}}}
CALL = Reply("", (FunctionCall("f", '{"a":1}'),))
LOUD = (8000 * np.sin(np.arange(320))).astype("<i2").tobytes()
HI = {"turns": [{"role": "user", "parts": [{"text": "Hi"}]}], "turnComplete": True}


class Dialogue:
    """One session with a clock of its own. Each message is held against the vendor's type for it."""

    def __init__(
        self,
        *faults: str,
        model: str = LIVE_38,
        setup: dict[str, Any] | None = None,
        vertex: bool = False,
        handles: Handles | None = None,
        ready: bool = True,
        **options: Any,
    ) -> None:
        self.now = 100.0
        self.closed: tuple[int, str] | None = None
        self.handles = handles or Handles(0)
        self.engine = Engine(
            GeminiOptions(**{"seconds": 0.2, "extras": False, **options}),
            vertex=vertex,
            faults=faults_of_connection(map(parse_fault, faults), 1),
            rng=random.Random(7),
            now=self.now,
            handles=self.handles,
        )
        self._read(self.engine.open(self.now))
        if ready:
            self.say(setup={"model": f"models/{model}", **(setup or {})})

    def _read(self, actions: list[Action]) -> list[dict[str, Any]]:
        messages = []
        for action in actions:
            match action:
                case Send():
                    assert action.binary
                    try:
                        message = json.loads(action.text)
                    except json.JSONDecodeError:
                        message = {"broken": True}
                    else:
                        if not set(message) & {"traceId", *UNKNOWN}:
                            try:
                                types.LiveServerMessage.model_validate(message)
                            except ValueError:
                                assert b"@@" in action.text
                    messages.append(message)
                case Close():
                    self.closed = (action.code, action.reason)
                case Cut():
                    self.closed = (1006, "")
        return messages

    def say(self, **message: Any) -> list[dict[str, Any]]:
        """A client message, and what is answered at once."""
        return self._read(self.engine.receive(json.dumps(message), self.now))

    def ask(self, text: str = "Hi") -> list[dict[str, Any]]:
        return self.say(clientContent={"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": True})

    def hear(self, milliseconds: int, audio: bytes = LOUD) -> list[dict[str, Any]]:
        """The caller's audio, as long as it lasts."""
        data = base64.b64encode(audio).decode()
        answers = []
        for _ in range(milliseconds // 20):
            answers += self.say(realtimeInput={"audio": {"mimeType": "audio/pcm;rate=16000", "data": data}})
            answers += self.wait(0.02)
        return answers

    def quiet(self, milliseconds: int) -> list[dict[str, Any]]:
        return self.hear(milliseconds, bytes(640))

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Let time pass, and hear what comes meanwhile."""
        until = self.now + seconds
        messages = []
        while (due := self.engine.next_wake) is not None and due <= until and self.closed is None:
            self.now = max(self.now, due)
            messages += self._read(self.engine.wake(self.now))
        self.now = until
        return messages

    def roles(self) -> list[str]:
        return [entry.role for entry in self.engine.memory.entries]


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    """What they are about, without what is said."""
    made = []
    for message in messages:
        for kind, body in message.items():
            if kind == "serverContent":
                made += [field for field in body if field not in ("modelTurn", "outputTranscription")]
            elif kind not in ("usageMetadata", "sessionResumptionUpdate"):
                made.append(kind)
    return made


def handle_of(messages: list[dict[str, Any]]) -> str:
    updates = [message["sessionResumptionUpdate"] for message in messages if "sessionResumptionUpdate" in message]
    assert updates[-1]["resumable"] is True
    return str(updates[-1]["newHandle"])


# Set-up


@pytest.mark.parametrize(
    ("model", "setup", "reason"),
    [
        (LIVE_38, {"voice": "x"}, "Unknown name \"voice\" at 'setup'"),
        (LIVE_38, {"generationConfig": {"speed": 1}}, "Unknown name \"speed\" at 'setup.generationConfig'"),
        (LIVE_38, {"generationConfig": {"temperature": "warm"}}, "setup.generationConfig.temperature"),
        (LIVE_38, {"generationConfig": {"mediaResolution": "LOW"}}, "mediaResolution"),
        (LIVE_38, LEVEL, "invalid argument"),
        (LIVE_38, {"proactivity": {"proactiveAudio": False}}, "invalid argument"),
        (LIVE_38, {"explicitVadSignal": True}, "explicitVadSignal"),
        (LIVE_38, {"generationConfig": {"responseModalities": ["TEXT"]}}, "non-audio"),
        (LIVE_38, {"tools": [{"functionDeclarations": [{**F, "parameters": {}}]}]}, "invalid argument"),
        (LIVE_38, {"contextWindowCompression": {"triggerTokens": "many"}}, "triggerTokens"),
        (EXTENDED_38, {}, "thinking_level is required"),
        (EXTENDED_38, {**LEVEL, "tools": [{"functionDeclarations": [{**F, "behavior": "BLOCKING"}]}]}, "invalid"),
        (FLASH_31, {"tools": [{"functionDeclarations": [{**F, "behavior": "NON_BLOCKING"}]}]}, "invalid argument"),
        (NATIVE_25, LEVEL, "invalid argument"),
    ],
)
def test_a_set_up_that_is_refused(model: str, setup: dict[str, Any], reason: str) -> None:
    dialogue = Dialogue(model=model, setup=setup)
    assert dialogue.closed is not None
    assert dialogue.closed[0] == 1007
    assert reason in dialogue.closed[1]
    assert len(dialogue.closed[1].encode()) <= 123


def test_a_model_that_is_not_there() -> None:
    assert Dialogue(model="gpt-realtime").closed == (
        1008,
        "models/gpt-realtime is not found for API version v1beta, or is not supported for bidiGenerateContent.",
    )


@pytest.mark.parametrize("first", [{"clientContent": HI}, {"realtimeInput": {"text": "x"}}, {}, {"setup": {}, "x": {}}])
def test_nothing_comes_before_the_set_up(first: dict[str, Any]) -> None:
    dialogue = Dialogue(ready=False)
    dialogue.say(**first)
    assert dialogue.closed is not None
    assert dialogue.closed[0] == 1007


def test_a_second_set_up_ends_it() -> None:
    dialogue = Dialogue()
    dialogue.say(setup={"model": f"models/{LIVE_38}"})
    assert dialogue.closed is not None


def test_snake_case_is_taken_and_names_of_the_client_stay() -> None:
    dialogue = Dialogue(ready=False)
    dialogue.say(
        setup={
            "model": f"models/{LIVE_38}",
            "generation_config": {"top_p": 1},
            "tools": [{"function_declarations": [F]}],
            "context_window_compression": {"trigger_tokens": "25600", "sliding_window": {}},
        }
    )
    assert dialogue.closed is None
    (tool,) = dialogue.engine.setup["tools"]
    assert tool["functionDeclarations"][0]["parametersJsonSchema"]["properties"] == {"snake_case": {}}


# Roles and generations


@pytest.mark.parametrize(
    ("model", "turn", "vertex", "good"),
    [
        (LIVE_38, {"parts": [{"text": "x"}]}, False, False),
        (NATIVE_25, {"parts": [{"text": "x"}]}, False, True),
        (LIVE_38, {"role": "system", "parts": []}, False, False),
        (LIVE_38, {"role": "system", "parts": [{"text": "x"}]}, True, True),
        (LIVE_38, {"role": "assistant", "parts": []}, False, False),
        (LIVE_38, {"role": "model", "parts": []}, False, True),
        (NATIVE_25, {"role": "model", "parts": []}, False, False),
        (FLASH_31, {"role": "user", "parts": []}, False, False),
    ],
)
def test_roles(model: str, turn: dict[str, Any], vertex: bool, good: bool) -> None:
    dialogue = Dialogue(model=model, vertex=vertex)
    dialogue.say(clientContent={"turns": [turn], "turnComplete": False})
    assert (dialogue.closed is None) is good
    if not good:
        assert dialogue.closed is not None
        assert dialogue.closed[0] == 1007


@pytest.mark.parametrize("model", [FLASH_31, LIVE_38])
def test_history_makes_nobody_speak(model: str) -> None:
    setup = {"historyConfig": {"initialHistoryInClientContent": True}}
    dialogue = Dialogue(model=model, setup=setup)
    turns = [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]
    assert dialogue.say(clientContent={"turns": turns[:1]}) == []
    assert dialogue.hear(200) + dialogue.quiet(700) == []  # not read before the history is complete
    assert dialogue.say(clientContent={"turns": turns[1:], "turnComplete": True}) == []
    assert dialogue.roles() == ["user", "model"]
    dialogue.say(realtimeInput={"text": "go on"})
    assert "turnComplete" in kinds(dialogue.wait(5))


def test_affective_dialog_passes_the_set_up_and_fails_at_the_first_word() -> None:
    setup = {"generationConfig": {"enableAffectiveDialog": True}}
    dialogue = Dialogue(setup=setup)
    assert dialogue.closed is None
    dialogue.ask()
    assert dialogue.closed == (1007, "Request contains an invalid argument.")


def test_only_the_newest_models_change_their_instructions() -> None:
    update = {"systemInstruction": {"parts": [{"text": "Be brief."}]}}
    newest = Dialogue()
    newest.say(contextUpdate=update)
    assert newest.engine.memory.instructions == "Be brief."
    older = Dialogue(model=NATIVE_25)
    older.say(contextUpdate=update)
    assert older.closed is not None


# Turns


def test_a_model_that_thinks_in_between_ends_several_times() -> None:
    dialogue = Dialogue(model=EXTENDED_38, setup=LEVEL, script=[Reply("One two", items=2)])
    messages = dialogue.ask() + dialogue.wait(5)
    over = [m["serverContent"] for m in messages if m.get("serverContent", {}).get("turnComplete")]
    assert [content["interactionStatus"] for content in over] == ["IN_PROGRESS", "IDLE"]


def test_turns_end_for_the_reason_that_the_script_says() -> None:
    dialogue = Dialogue(script=[Reply("x", ends="RESPONSE_REJECTED")])
    messages = dialogue.ask() + dialogue.wait(5)
    assert messages[-1]["serverContent"]["turnCompleteReason"] == "RESPONSE_REJECTED"


def test_exact_words_are_said_and_leave_the_script_alone() -> None:
    dialogue = Dialogue(script=["Scripted."], setup={"outputAudioTranscription": {}})
    dialogue.ask('Say exactly the following: "Good morning"')
    dialogue.wait(5)
    dialogue.ask()
    dialogue.wait(5)
    said = [entry.text for entry in dialogue.engine.memory.entries if entry.role == "model"]
    assert said == ["Good morning", "Scripted."]


def test_words_before_their_voice() -> None:
    dialogue = Dialogue(script=["One two"], words="before", setup={"outputAudioTranscription": {}})
    fields = [next(iter(m["serverContent"])) for m in dialogue.ask() if "serverContent" in m]
    assert fields[:3] == ["outputTranscription", "outputTranscription", "modelTurn"]


# The caller


def test_a_turn_is_heard_written_down_and_answered() -> None:
    dialogue = Dialogue(setup={"inputAudioTranscription": {}}, transcripts=["what now"], finished=True)
    assert dialogue.hear(500) == []
    messages = dialogue.quiet(600)
    words = [
        m["serverContent"]["inputTranscription"] for m in messages if "inputTranscription" in m.get("serverContent", {})
    ]
    assert words == [{"text": "what"}, {"text": " now", "finished": True}]
    assert "turnComplete" in kinds(messages + dialogue.wait(5))


@pytest.mark.parametrize("pace", [1.0, float("inf")])
def test_barge_in(pace: float) -> None:
    dialogue = Dialogue(seconds=5.0, pace=pace)
    dialogue.ask()
    dialogue.wait(1)
    assert kinds(dialogue.hear(60)) == ["interrupted", "turnComplete", "interactionStatus"]
    assert dialogue.engine.memory.entries[-1].interrupted
    assert kinds(dialogue.wait(10)) == []


def test_an_interruption_after_the_turn_when_the_server_thinks_that_it_is_still_heard() -> None:
    dialogue = Dialogue(seconds=5.0, turn_complete="generated", model=NATIVE_25)
    assert kinds(dialogue.ask() + dialogue.wait(1)) == ["generationComplete", "turnComplete"]
    assert kinds(dialogue.hear(60)) == ["interrupted"]


def test_no_interruption_where_none_is_wanted() -> None:
    setup = {"realtimeInputConfig": {"activityHandling": "NO_INTERRUPTION"}}
    dialogue = Dialogue(setup=setup, seconds=2.0)
    dialogue.ask()
    messages = dialogue.hear(500) + dialogue.quiet(600) + dialogue.wait(10)
    assert kinds(messages).count("turnComplete") == 2
    assert "interrupted" not in kinds(messages)


def test_turns_that_the_client_marks() -> None:
    manual = {"realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}}}
    dialogue = Dialogue(setup=manual)
    assert dialogue.hear(500) + dialogue.quiet(1000) == []
    dialogue.say(realtimeInput={"activityStart": {}})
    dialogue.hear(100)
    dialogue.say(realtimeInput={"activityEnd": {}})
    assert "turnComplete" in kinds(dialogue.wait(5))
    assert dialogue.engine.record.turns == [LOUD * 5]
    automatic = Dialogue()
    automatic.say(realtimeInput={"activityStart": {}})
    assert automatic.closed is not None


def test_the_end_of_the_stream_is_the_end_of_the_turn_but_not_on_vertex() -> None:
    dialogue = Dialogue()
    dialogue.hear(500)
    dialogue.say(realtimeInput={"audioStreamEnd": True})
    assert "turnComplete" in kinds(dialogue.wait(5))
    vertex = Dialogue(vertex=True)
    vertex.say(realtimeInput={"audioStreamEnd": True})
    assert vertex.closed is not None


def test_the_service_that_tells_when_the_caller_speaks() -> None:
    dialogue = Dialogue(vertex=True, setup={"explicitVadSignal": True})
    messages = dialogue.hear(500) + dialogue.quiet(600)
    activity = [m["voiceActivity"]["voiceActivityType"] for m in messages if "voiceActivity" in m]
    assert activity == ["ACTIVITY_START", "ACTIVITY_END"]


@pytest.mark.parametrize("rate", [8000, 24000])
def test_other_rates_are_heard_too(rate: int) -> None:
    dialogue = Dialogue()
    audio = (8000 * np.sin(np.arange(rate // 50))).astype("<i2").tobytes()
    for sound in [audio] * 20 + [bytes(len(audio))] * 30:
        data = base64.urlsafe_b64encode(sound).decode()
        dialogue.say(realtimeInput={"audio": {"mimeType": f"audio/pcm;rate={rate}", "data": data}})
    assert dialogue.engine.record.turns
    assert dialogue.engine.record.heard_ms == pytest.approx(1000)


@pytest.mark.parametrize("blob", [{"mimeType": "audio/pcmu", "data": ""}, {"mimeType": "audio/pcm", "data": "@"}])
def test_audio_that_is_none(blob: dict[str, str]) -> None:
    dialogue = Dialogue()
    dialogue.say(realtimeInput={"audio": blob})
    assert dialogue.closed is not None
    assert dialogue.closed[0] == 1007


# Function calls

TOOLS = {"tools": [{"functionDeclarations": [F]}]}
BLOCKING = {"tools": [{"functionDeclarations": [{**F, "behavior": "BLOCKING"}]}]}


def called(messages: list[dict[str, Any]]) -> str:
    (call,) = next(m["toolCall"]["functionCalls"] for m in messages if "toolCall" in m)
    assert (call["name"], call["args"]) == ("f", {"a": 1})
    return str(call.get("id", "f"))


def answer(dialogue: Dialogue, call_id: str, **more: Any) -> list[dict[str, Any]]:
    response = {"id": call_id, "name": "f", "response": {"output": "blue"}, **more}
    return dialogue.say(toolResponse={"functionResponses": [response]})


def test_a_model_that_waits_goes_on_in_the_same_turn() -> None:
    dialogue = Dialogue(model=NATIVE_25, setup=TOOLS, script=[CALL])
    messages = dialogue.ask() + dialogue.wait(5)
    assert kinds(messages) == ["toolCall"]
    # What the caller says meanwhile waits.
    assert kinds(dialogue.hear(500) + dialogue.quiet(600)) == []
    messages = answer(dialogue, called(messages)) + dialogue.wait(10)
    assert kinds(messages).count("turnComplete") == 2
    assert [entry.text for entry in dialogue.engine.memory.entries if entry.role == "tool"] == ["blue"]


def test_the_newest_model_forgets_a_call_that_the_caller_talks_over() -> None:
    dialogue = Dialogue(setup=BLOCKING, script=[CALL])
    call_id = called(dialogue.ask())
    messages = dialogue.hear(60)
    assert {"toolCallCancellation": {"ids": [call_id]}} in messages
    answer(dialogue, call_id)  # late, but no harm
    assert dialogue.closed is None


@pytest.mark.parametrize(("scheduling", "answers"), [("SILENT", 0), ("WHEN_IDLE", 1), ("INTERRUPT", 1), (None, 1)])
def test_a_model_that_does_not_wait_speaks_about_the_answer_when_it_should(scheduling: str, answers: int) -> None:
    dialogue = Dialogue(setup=TOOLS, script=[CALL])
    messages = dialogue.ask() + dialogue.wait(5)
    assert kinds(messages) == ["toolCall", "generationComplete", "turnComplete", "interactionStatus"]
    more = {"scheduling": scheduling} if scheduling else {}
    messages = answer(dialogue, called(messages), **more) + dialogue.wait(5)
    assert kinds(messages).count("turnComplete") == answers


def test_a_server_that_gives_no_ids_takes_none() -> None:
    dialogue = Dialogue(model=NATIVE_25, setup=TOOLS, script=[CALL], call_ids=False)
    assert called(dialogue.ask()) == "f"
    dialogue.say(toolResponse={"functionResponses": [{"name": "f", "response": {}}]})
    assert "turnComplete" in kinds(dialogue.wait(5))
    again = Dialogue(model=NATIVE_25, setup=TOOLS, script=[CALL], call_ids=False)
    again.ask()
    answer(again, "f")
    assert again.closed is not None


@pytest.mark.parametrize(
    "responses",
    [
        [],
        [{"name": "f", "response": {}}],
        [{"id": "unknown", "name": "f", "response": {}}],
        [{"id": "CALL", "name": "g", "response": {}}],
        [{"id": "CALL", "name": "f"}],
        [{"id": "CALL", "name": "f", "response": "blue"}],
        [{"id": "CALL", "name": "f", "response": {}, "scheduling": "LATER"}],
    ],
)
def test_answers_that_are_malformed_end_it(responses: list[dict[str, Any]]) -> None:
    dialogue = Dialogue(setup=TOOLS, script=[CALL])
    call_id = called(dialogue.ask())
    dialogue.say(
        toolResponse={
            "functionResponses": [{**r, **({"id": call_id} if r.get("id") == "CALL" else {})} for r in responses]
        }
    )
    assert dialogue.closed is not None
    assert dialogue.closed[0] == 1007


# Resumption


def test_a_conversation_is_resumed_where_it_stood() -> None:
    first = Dialogue(setup={"sessionResumption": {}}, script=["One.", "Two."])
    handle = handle_of(first.ask() + first.wait(5))
    second = Dialogue(setup={"sessionResumption": {"handle": handle}}, handles=first.handles, script=["One.", "Two."])
    assert second.closed is None
    second.ask()
    second.wait(5)
    assert [entry.text for entry in second.engine.memory.entries] == ["Hi", "One.", "Hi", "Two."]


def test_in_the_middle_of_a_turn_there_is_no_handle() -> None:
    dialogue = Dialogue(setup={"sessionResumption": {}}, seconds=5.0)
    assert {"sessionResumptionUpdate": {}} not in dialogue.ask()
    dialogue.hear(500)
    messages = dialogue.quiet(600)
    assert {"sessionResumptionUpdate": {}} in messages


@pytest.mark.parametrize("faults", [(), ("resume-refused",)])
def test_a_handle_that_is_not_good(faults: tuple[str, ...]) -> None:
    first = Dialogue(setup={"sessionResumption": {}})
    handle = handle_of(first.ask() + first.wait(5)) if faults else "made up"
    second = Dialogue(*faults, setup={"sessionResumption": {"handle": handle}}, handles=first.handles)
    assert second.closed == (1008, "Requested entity was not found.")


# What goes wrong


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("close-after-ready=1008", (1008, "The operation was aborted.")),
        ("quota=connect", (1011, "You exceeded your current quota, please check your plan and billing details.")),
        ("model-not-found", (1008, f"models/{LIVE_38} is not found for API version v1beta.")),
    ],
)
def test_ends_before_a_word(fault: str, end: tuple[int, str]) -> None:
    assert Dialogue(fault).closed == end


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("close-mid-response=1011", (1011, "Internal error encountered.")),
        ("cut", (1006, "")),
        ("quota=response", (1011, "You exceeded your current quota, please check your plan and billing details.")),
        ("rate-limited-response", (1011, "Resource has been exhausted (e.g. check quota).")),
        ("session-expired=1", (1011, "Deadline expired before operation could complete.")),
        ("go-away=2", (1001, "")),
    ],
)
def test_ends_in_the_middle(fault: str, end: tuple[int, str]) -> None:
    dialogue = Dialogue(fault, seconds=3.0)
    assert dialogue.closed is None
    dialogue.ask()
    dialogue.wait(5)
    assert dialogue.closed == end


def test_faults_that_do_not_end_it() -> None:
    assert Dialogue("no-answer").ask() == []
    assert Dialogue("silent-after-ready").ask() == []
    assert {"broken": True} in Dialogue("bad-json", ready=False).say(setup={"model": f"models/{LIVE_38}"})
    wrong = Dialogue("wrong-format").ask()
    assert "rate=16000" in json.dumps(wrong)
    bad = Dialogue("bad-base64", seconds=2.0).ask()
    assert "@@not base64@@" in json.dumps(bad)
    twice = Dialogue("duplicate-tool-calls", setup=TOOLS, script=[CALL]).ask()
    assert kinds(twice).count("toolCall") == 2
    deaf = Dialogue("transcription-failed", setup={"inputAudioTranscription": {}})
    assert "inputTranscription" not in kinds(deaf.hear(500) + deaf.quiet(600))


def test_late_voice_comes_between_the_interruption_and_the_end_of_its_turn() -> None:
    dialogue = Dialogue("late-deltas", seconds=5.0)
    dialogue.ask()
    fields = [next(iter(m["serverContent"])) for m in dialogue.hear(60) if "serverContent" in m]
    assert fields == ["interrupted", "modelTurn", "modelTurn", "modelTurn", "turnComplete"]


def test_odd_pieces_together_are_the_whole() -> None:
    pieces = [
        base64.b64decode(part["inlineData"]["data"])
        for message in Dialogue("odd-deltas", seconds=1.0).ask()
        for part in message.get("serverContent", {}).get("modelTurn", {}).get("parts", ())
    ]
    assert any(len(piece) % 2 for piece in pieces)
    assert sum(map(len, pieces)) == 48_000


def test_noise_that_a_client_must_bear() -> None:
    sent: list[dict[str, Any]] = []
    for _ in range(3):
        dialogue = Dialogue("unknown-events", extras=True, script=["One two three four five six"])
        sent += dialogue.ask() + dialogue.wait(5)
    assert {} in sent
    assert any("traceId" in message for message in sent)
    assert any(set(message) & set(UNKNOWN) for message in sent)


@pytest.mark.parametrize("message", [b"", b"\xff", "[]", "7", "{", '{"setup":7}', '{"x":1}', "[" * 100_000])
def test_whatever_is_sent_ends_in_an_orderly_way(message: bytes | str) -> None:
    dialogue = Dialogue()
    dialogue._read(dialogue.engine.receive(message, dialogue.now))
    assert dialogue.closed is not None
    assert dialogue.closed[0] == 1007


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(
    [
        "turns",
        "turnComplete",
        "role",
        "parts",
        "text",
        "audio",
        "data",
        "mimeType",
        "activityStart",
        "functionResponses",
    ]
)
_MESSAGES = st.dictionaries(
    st.sampled_from(["clientContent", "realtimeInput", "toolResponse", "contextUpdate"]),
    st.dictionaries(_FIELDS, _JSON | st.dictionaries(_FIELDS, _JSON, max_size=3), max_size=3) | _JSON,
    max_size=2,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_MESSAGES, max_size=6))
def test_no_message_ever_raises(messages: list[dict[str, Any]]) -> None:
    dialogue = Dialogue()
    for message in messages:
        if dialogue.closed is None:
            dialogue.say(**message)
            dialogue.wait(0.5)
