"""What the environment asks for in the way of tools: as settings, with everything that is wrong told at start."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
from tool_play import tool, tools_file

from tandem.settings import Settings, SettingsError, load
from tandem.voices import process_config

URL = "https://shop.example/hours"


def settings(**environ: str) -> Settings:
    return load(environ, None)


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(environ, None)
    return list(caught.value.problems)


def test_nothing_is_wanted_by_itself() -> None:
    assert not settings().tools
    assert process_config(settings()).on_function_call is None


def test_a_file_and_what_providers_are_asked_for(tmp_path: Path) -> None:
    path = tools_file(tmp_path, tool(URL, headers={"Authorization": "Bearer planted-header"}))
    found = settings(
        PROVIDERS="openai",
        OPENAI_API_KEY="planted-key",
        TOOLS_FILE=path,
        TOOLS_SECRET="planted-tools",
        BUILTIN_TOOLS="hang_up, transfer_call",
        TRANSFER_TARGETS="sales=+15550001111,front desk=sip:desk@example.com",
    )
    config = process_config(found)
    assert [function.name for function in config.functions] == ["hang_up", "transfer_call", "opening_hours"]
    assert config.on_function_call is not None
    trial = cast(Coroutine[Any, Any, object], config.on_function_call("opening_hours", {}))
    assert asyncio.run(trial) == {"error": "failed", "message": "There is no call."}
    assert found.tools.targets == {"sales": "+15550001111", "front desk": "sip:desk@example.com"}
    assert {"planted-tools", "Bearer planted-header"} <= set(found.secret_values())
    assert "planted" not in f"{found!r} {found.tools!r}"
    assert "15550001111" not in repr(found.tools)


def test_the_embedded_provider_goes_without_and_says_so(tmp_path: Path) -> None:
    found = settings(PROVIDERS="echo", BUILTIN_TOOLS="hang_up")
    assert found.warnings == (
        "TOOLS_FILE, MCP_SERVERS, BUILTIN_TOOLS mean nothing to provider echo, which answers without them",
    )
    assert found.choices[0].left_out == {"functions", "on_function_call"}
    assert settings(PROVIDERS="echo", MCP_SERVERS="a=https://mcp.example/").choices[0].left_out


def test_a_provider_that_can_not_have_a_tool_refuses_it_at_start() -> None:
    told = problems(PROVIDERS="elevenlabs", ELEVENLABS_AGENT_ID="a", ELEVENLABS_API_KEY="k", BUILTIN_TOOLS="hang_up")
    assert [line.partition(": functions")[0] for line in told] == [
        "TOOLS_FILE, MCP_SERVERS, BUILTIN_TOOLS: provider elevenlabs"
    ]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("BUILTIN_TOOLS", "hangup", "BUILTIN_TOOLS: there is no tool 'hangup'; there are hang_up, transfer_call, "
         "send_dtmf; did you mean hang_up?"),
        ("BUILTIN_TOOLS", "transfer_call", "TRANSFER_TARGETS: is missing; transfer_call is on"),
        ("TRANSFER_TARGETS", "+15550001111", "TRANSFER_TARGETS: write name=+15551234567"),
        ("TRANSFER_TARGETS", "sales=15550001111", "TRANSFER_TARGETS: sales is neither a number in the form"),
        ("TRANSFER_TARGETS", "a=+15550001111,a=+15550002222", "TRANSFER_TARGETS: a is there twice"),
        ("TOOLS_FILE", "/nowhere/tools.json", "TOOLS_FILE /nowhere/tools.json: can not be read"),
        ("MCP_SERVERS", "planted-words", "MCP_SERVERS: write name=https://... or name=command, or a JSON list"),
        ("TOOLS_ALLOW_PRIVATE", "perhaps", "TOOLS_ALLOW_PRIVATE: 'perhaps': "),
    ],
)  # fmt: skip
def test_each_mistake_is_told(name: str, value: str, told: str) -> None:
    (line,) = problems(**{name: value})
    assert line.startswith(told)
    assert "planted" not in line
    assert "0001111" not in line


def test_a_file_must_not_take_a_name_of_ours(tmp_path: Path) -> None:
    path = tools_file(tmp_path, tool(URL, name="hang_up"))
    told = problems(TOOLS_FILE=path, TOOLS_SECRET="x", BUILTIN_TOOLS="hang_up", PROVIDERS="echo")
    assert "TOOLS_FILE: hang_up is the name of a built-in tool that is on" in told
    assert settings(TOOLS_FILE=path, TOOLS_SECRET="x", PROVIDERS="echo").tools


def test_without_its_package_mcp_is_refused_with_what_to_do() -> None:
    program = """
import sys
sys.modules["mcp"] = None
from tandem.settings import SettingsError, load
try:
    load({"PROVIDERS": "echo", "MCP_SERVERS": "a=https://mcp.example/"}, None)
except SettingsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "MCP_SERVERS: needs the package mcp; install it with: pip install 'tandem[mcp]'\n"


def test_a_route_names_tools_that_there_are(tmp_path: Path) -> None:
    routes = tmp_path / "routes.toml"
    routes.write_text('[[routes]]\nname = "desk"\ncalled = "+15550001111"\ntools = ["hang_up", "hangup"]\n')
    environ = {"ROUTES_FILE": str(routes), "PROVIDERS": "echo", "BUILTIN_TOOLS": "hang_up"}
    (line,) = problems(**environ)
    assert line.startswith(f"ROUTES_FILE: {routes}")
    assert line.endswith("there is no tool 'hangup'; there are hang_up")
    # What another server offers is known when it is asked.
    agent = settings(**environ, MCP_SERVERS="a=https://mcp.example/").routes.choose("+15550001111").agent
    assert agent.tools == ("hang_up", "hangup")
