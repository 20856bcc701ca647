"""Who answers."""

from __future__ import annotations

from playbook import plan

from tandem.agents import DEFAULT, Agent
from tandem_providers.config import ProcessConfig

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
