"""Which MCP servers there are, in both ways of writing it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tandem.tools.mcp_config import McpServer, read_servers


def read(text: str, *, private: bool = True, **environ: str) -> tuple[list[McpServer], list[str]]:
    problems: list[str] = []
    return read_servers(text, environ, allow_private=private, problems=problems), problems


def test_in_a_line() -> None:
    servers, problems = read(
        "crm=https://crm.example/mcp, files=npx -y 'a server' --root=/data\nlocal=http://localhost:1/"
    )
    assert not problems
    assert [(s.name, s.url, s.command, s.args) for s in servers] == [
        ("crm", "https://crm.example/mcp", "", ()),
        ("files", "", "npx", ("-y", "a server", "--root=/data")),
        ("local", "http://localhost:1/", "", ()),
    ]


def test_as_json_with_secrets_from_the_environment() -> None:
    entries = [
        {
            "name": "crm",
            "url": "https://crm.example/mcp",
            "headers": {"Authorization": "Bearer ${KEY}"},
            "filler": "Hm.",
        },
        {"name": "db", "command": "db-server", "args": ["-v"], "env": {"TOKEN": "${KEY}"}, "timeout_seconds": 3},
    ]
    servers, problems = read(json.dumps(entries), KEY="planted-key")
    assert not problems
    assert servers[0].headers == {"Authorization": "Bearer planted-key"}
    assert (servers[1].env, servers[1].timeout_seconds) == ({"TOKEN": "planted-key"}, 3)
    assert "planted" not in repr(servers)
    assert [secret for server in servers for secret in server.secrets] == ["Bearer planted-key", "planted-key"]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"name": "a b", "command": "x"}, "server 1 (a b): name: has 1 to 32 letters"),
        ({"name": "a"}, "server 1 (a): must have one of url and command"),
        ({"name": "a", "url": "https://x.example", "command": "x"}, "server 1 (a): must have one of url and command"),
        ({"name": "a", "url": "http://x.example"}, "server 1 (a): url: must begin with https://"),
        ({"name": "a", "comand": "planted"}, "server 1 (a): comand: there is no such field; did you mean command?"),
        ({"name": "a", "command": "x", "env": {"T": "${NO}"}}, "server 1 (a): env.T: there is no variable NO"),
        ({"command": "planted"}, "server 1: name: is missing"),
        ("planted", "server 1: must be an object"),
    ],
)
def test_each_mistake_is_told_without_what_stands_there(entry: Any, told: str) -> None:
    servers, problems = read(json.dumps([entry]), private=False)
    assert not servers
    assert problems[0].startswith(f"MCP_SERVERS: {told}")
    assert "planted" not in problems[0]


@pytest.mark.parametrize("text", ["[", '{"a": 1}', "[1", "a", "=b", "a=", "a='b"])
def test_what_can_not_be_read(text: str) -> None:
    servers, problems = read(text)
    assert not servers
    assert problems[0].startswith("MCP_SERVERS: ")


def test_a_name_stands_for_one_server() -> None:
    servers, problems = read("a=x,a=y")
    assert len(servers) == 1
    assert problems == ["MCP_SERVERS: server 2 (a): name: another server has it already"]
