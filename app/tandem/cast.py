"""The agents of this server and the providers that they need, held against each other before the first call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tandem.agents import Agent
from tandem.providers_from_env import Choice, fit, unknown_provider
from tandem.routing import Routes, RoutesError, load
from tandem.tools.wanted import WantedTools
from tandem_providers.config import ProcessConfig
from tandem_providers.table import ProviderKind


def read_routes(path: str, problems: list[str]) -> Routes:
    """The file of routes; without one, the environment's agent answers every call."""
    if not path:
        return Routes()
    try:
        return load(Path(path))
    except RoutesError as error:
        problems += [f"ROUTES_FILE: {problem}" for problem in error.problems]
        return Routes()


def providers_of(routes: Routes, kinds: Mapping[str, ProviderKind], problems: list[str]) -> list[str]:
    """The names of all providers that routes ask for, each once."""
    names: list[str] = []
    for agent, place in routes.agents():
        for name in agent.providers or ():
            problem = unknown_provider(name, kinds)
            if problem:
                problems.append(f"ROUTES_FILE: {place}: {problem}")
            elif name not in names:
                names.append(name)
    return names


def check_tools(routes: Routes, wanted: WantedTools, problems: list[str]) -> None:
    """No route may name a tool that there is not. What an MCP server will offer is not known yet."""
    known = {declared.name for declared in wanted.declarations}
    if wanted.mcp:
        return
    for agent, place in routes.agents():
        for name in agent.tools or ():
            if name not in known:
                there = f"; there are {', '.join(sorted(known))}" if known else "; there are none"
                problems.append(f"ROUTES_FILE: {place}: there is no tool {name!r}{there}")


def fit_agents(
    routes: Routes,
    default: list[Choice],
    every: Mapping[str, Choice],
    config: ProcessConfig,
    greeting: str,
    problems: list[str],
    warnings: list[str],
) -> dict[str, Choice]:
    """Every provider, spared what it can't do for any of the agents that it speaks for. Problems name the route."""
    fitted = dict(every)
    for choice in default:
        fitted[choice.name] = choice
    if not routes.path:
        return fitted
    for agent, place in routes.agents():
        found: list[str] = []
        notes: list[str] = []
        choices = [every[name] for name in _names(agent, default) if name in every]
        for choice in fit(choices, agent.config(config), agent.greeting or greeting, found, notes):
            known = fitted[choice.name]
            fitted[choice.name] = replace(known, left_out=known.left_out | choice.left_out)
        problems += [f"ROUTES_FILE: {place}: {problem}" for problem in found]
        warnings += [f"{place}: {note}" for note in notes]
    return fitted


def _names(agent: Agent, default: list[Choice]) -> list[str]:
    return [*agent.providers] if agent.providers is not None else [choice.name for choice in default]
