"""The agents of a file of routes, held against the providers and tools that there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from acme import acme

from tandem.cast import check_tools, fit_agents, providers_of, read_routes
from tandem.providers_from_env import Choice
from tandem.routing import Routes, parse
from tandem.tools.wanted import WantedTools
from tandem_providers.config import ProcessConfig
from tandem_providers.table import KINDS, ProviderKind


@pytest.fixture
def kinds() -> dict[str, ProviderKind]:
    return {"acme": acme("acme"), "echo": KINDS["echo"]}


def routes(text: str) -> Routes:
    return parse(text, "routes.toml")


def choice(kinds: dict[str, ProviderKind], name: str) -> Choice:
    kind = kinds[name]
    return Choice(kind, name, kind.options(key="k") if name == "acme" else kind.options())


def test_without_a_file_there_is_one_agent() -> None:
    problems: list[str] = []
    found = read_routes("", problems)
    assert (found.path, problems) == ("", [])
    assert found.choose("+15551234567").agent.name == "default"


def test_a_file_that_can_not_be_used_is_told_of_with_its_variable(tmp_path: Path) -> None:
    problems: list[str] = []
    assert read_routes(str(tmp_path / "none.toml"), problems) == Routes()
    (told,) = problems
    assert told.startswith("ROUTES_FILE: ")
    assert "none.toml" in told


def test_the_providers_of_all_routes_are_known_each_once(kinds: dict[str, ProviderKind]) -> None:
    file = routes(
        '[default]\nproviders = "echo"\n[[routes]]\ncalled = "+1*"\nproviders = ["acme", "acme@two", "echo"]\n'
        '[[routes]]\ncalled = "+2*"\nproviders = ["acne"]\n'
    )
    problems: list[str] = []
    assert providers_of(file, kinds, problems) == ["echo", "acme", "acme@two"]
    (told,) = problems
    assert told.startswith("ROUTES_FILE: routes.toml, line 6: ")
    assert "'acne'" in told
    assert "did you mean acme?" in told


def test_a_route_names_only_tools_that_there_are() -> None:
    file = routes('[[routes]]\ncalled = "+1*"\ntools = ["hang_up", "hang_op"]\n')
    problems: list[str] = []
    check_tools(file, WantedTools(builtin=("hang_up",)), problems)
    assert problems == ["ROUTES_FILE: routes.toml, line 1: there is no tool 'hang_op'; there are hang_up"]
    problems = []
    check_tools(file, WantedTools(), problems)
    assert [told.rpartition("; ")[2] for told in problems] == ["there are none"] * 2


def test_what_an_agents_provider_can_not_do_is_told_with_the_route(kinds: dict[str, ProviderKind]) -> None:
    file = routes('[[routes]]\ncalled = "+1*"\nproviders = ["acme"]\ntemperature = 0.5\n')
    echo, paid = choice(kinds, "echo"), choice(kinds, "acme")
    problems: list[str] = []
    warnings: list[str] = []
    fitted = fit_agents(file, [echo], {"acme": paid, "echo": echo}, ProcessConfig(), "", problems, warnings)
    assert set(fitted) == {"acme", "echo"}
    (told,) = problems
    assert told.startswith("ROUTES_FILE: routes.toml, line 1: TEMPERATURE: provider acme: ")


def test_the_embedded_provider_is_spared_what_any_of_its_agents_wants_in_vain(kinds: dict[str, ProviderKind]) -> None:
    file = routes('[[routes]]\ncalled = "+1*"\ninstructions = "Be kind."\n[[routes]]\ncalled = "+2*"\nvoice = "deep"\n')
    echo = choice(kinds, "echo")
    problems: list[str] = []
    warnings: list[str] = []
    fitted = fit_agents(file, [echo], {"echo": echo}, ProcessConfig(), "", problems, warnings)
    assert fitted["echo"].left_out == {"instructions", "voice"}
    assert problems == []
    assert [told.partition(": ")[0] for told in warnings] == ["routes.toml, line 1", "routes.toml, line 4"]
