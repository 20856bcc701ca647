"""What simulated agents share: how turns are made, paced, cut and answered, and how messages go out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tandem.simulators.agent_outlet import AgentOutlet
from tandem.simulators.agent_speaker import OpenCall, Speaker, Turn
from tandem.simulators.openai_outlet import Close, Send
from tandem.simulators.openai_script import FunctionCall, OpenAIOptions, Reply
from tandem_codecs.format import MULAW_8K


class Outlet(AgentOutlet):
    READY = "ready"
    UNKNOWN = ("mystery",)


class Agent(Speaker):
    """Writes down what it is to tell."""

    told: list[str]

    def tell_words(self, turn: Turn) -> None:
        self.told.append(turn.text)

    def tell_voice(self, audio: bytes) -> None:
        self.outlet.voice(audio)

    def tell_done(self, turn: Turn) -> None:
        self.told.append("done")

    def tell_calls(self, calls: Sequence[OpenCall]) -> None:
        self.told += [f"{call.name} {call.arguments}" for call in calls]

    def tell_cut(self, turn: Turn, played: float) -> None:
        self.told.append(f"cut at {played:.2f}")


def agent(*script: Reply | str, faults: dict[str, str] | None = None, **options: Any) -> Agent:
    settings = OpenAIOptions(script=script, extras=False, **{"seconds": 1.0, **options})
    outlet = Outlet(settings, faults or {}, random.Random(1), 0.0)
    made = Agent(settings, faults or {}, outlet, random.Random(1), MULAW_8K, ["f"], lambda: b"heard")
    made.told = []
    return made


def voice(agent: Agent) -> bytes:
    record = agent.outlet.record
    return bytes(record.voice)


def test_turns_wait_for_each_other() -> None:
    one = agent("One.", "Two.")
    one.answer()
    one.say("Exactly this.")
    one.answer('Please say exactly: "That."')
    one.outlet.run_due(0.0)
    assert one.told == ["One.", "done", "Exactly this.", "done", "That.", "done"]
    assert len(voice(one)) == 3 * MULAW_8K.size(1000)
    assert not one.speaks
    assert one.plays_until == 3.0


def test_pace_and_a_cut() -> None:
    one = agent("One.", pace=2.0, delta_ms=(100, 100))
    one.answer()
    one.outlet.run_due(0.0)
    one.outlet.run_due(0.26)
    assert len(voice(one)) == MULAW_8K.size(600)
    one.outlet.now = 0.3
    one.interrupt()
    one.interrupt()
    one.outlet.run_due(5.0)
    assert one.told == ["One.", "cut at 0.30"]
    assert len(voice(one)) == MULAW_8K.size(600)


def test_a_cut_of_what_is_still_heard_and_none_of_what_is_over() -> None:
    one = agent("One.", "Two.")
    one.answer()
    one.outlet.run_due(0.0)
    one.outlet.now = 0.5
    one.interrupt()
    assert one.told[-1] == "cut at 0.50"
    one.outlet.now = 2.0
    one.answer()
    one.outlet.run_due(2.0)
    one.outlet.now = 4.0
    one.interrupt()
    assert one.told[-1] == "done"


def test_functions() -> None:
    one = agent(Reply("Let me see.", (FunctionCall("", "{}"), FunctionCall("g"))))
    one.answer()
    one.outlet.run_due(0.0)
    assert one.told == ["Let me see.", "done", "f {}"]
    (call_id,) = one.calls
    assert not one.answered("other", "x")
    assert one.answered(call_id, "42")
    one.outlet.run_due(0.0)
    assert one.told[3:] == ["Here is what I found: 42", "done"]


def test_an_echo_says_what_was_heard() -> None:
    one = agent("One.", voice="echo")
    one.answer()
    one.outlet.run_due(0.0)
    assert voice(one) == b"heard"


def test_faults_of_turns() -> None:
    mute = agent("One.", faults={"no-answer": ""})
    mute.answer()
    mute.outlet.run_due(0.0)
    assert mute.told == []
    gone = agent("One.", "Two.", faults={"vanish": ""})
    gone.answer()
    gone.outlet.run_due(9.0)
    assert gone.told == ["One."]
    gone.interrupt()
    gone.answer()
    gone.outlet.run_due(9.0)
    assert gone.told[-2:] == ["Two.", "done"]


def test_messages() -> None:
    outlet = Outlet(OpenAIOptions(extras=False), {"unknown-events": ""}, random.Random(1), 0.0)
    outlet.emit({"type": "x", "a": 1})
    first, second = outlet.run_due(0.0)
    assert first == Send(b'{"type":"x","a":1}')
    assert isinstance(second, Send)
    assert b"mystery" in second.text
    outlet.fail({"type": "no"}, 1008, "why")
    outlet.emit({"type": "late"})
    outlet.voice(b"late")
    assert outlet.run_due(0.0)[-1] == Close(1008, "why")
    assert [event["type"] for event in outlet.record.events()] == ["x", "mystery", "no", "mystery"]
    assert outlet.record.voice == b""


def test_voice_until_a_fault_strikes() -> None:
    outlet = Outlet(OpenAIOptions(), {"close-mid-response": "1011"}, random.Random(1), 0.0)
    for _ in range(3):
        outlet.voice(b"x")
    assert outlet.run_due(0.0) == [Send(b"x", binary=True), Close(1011, "")]
