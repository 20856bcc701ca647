"""Who answers."""

from __future__ import annotations

from dataclasses import replace

from playbook import plan

from tandem.agents import DEFAULT, Agent
from tandem_providers.config import FunctionDeclaration, ProcessConfig

BASE = ProcessConfig("Be kind.", "ash", temperature=0.7, extensions={"x": 1})


def test_what_is_left_open_is_as_the_server_has_it() -> None:
    assert DEFAULT.config(BASE) == BASE
    assert DEFAULT.plan(plan(greeting="Hello.")) == plan(greeting="Hello.")


def test_an_agents_own_wishes_win() -> None:
    agent = Agent("desk", "Be brief.", "Desk.", "coral", 0.2, ("openai",), 60.0, 10.0)
    config = agent.config(BASE)
    assert (config.instructions, config.voice, config.temperature) == ("Be brief.", "coral", 0.2)
    assert config.extensions == {"x": 1}
    call = agent.plan(plan(greeting="Hello."))
    assert (call.greeting, call.max_seconds, call.silence_seconds) == ("Desk.", 60.0, 10.0)


def test_one_over_another_keeps_its_name_and_fills_its_gaps() -> None:
    file = Agent("desk", "Be brief.", "Desk.", providers=("openai",))
    asked = Agent("webhook", greeting="Good morning.").over(file)
    assert asked == Agent("webhook", "Be brief.", "Good morning.", providers=("openai",))


def test_an_agent_may_have_some_of_the_tools_or_none() -> None:
    async def handle(*_: object) -> object:
        return None

    base = replace(BASE, functions=(FunctionDeclaration("a"), FunctionDeclaration("b")), on_function_call=handle)
    assert Agent().config(base) == base
    some = Agent(tools=("b", "unknown")).config(base)
    assert ([function.name for function in some.functions], some.on_function_call) == (["b"], handle)
    none = Agent(tools=()).config(base)
    assert (none.functions, none.on_function_call) == ((), None)
    assert Agent(tools=()).over(Agent(tools=("a",))).tools == ()
