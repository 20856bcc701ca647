"""The tools file: what is taken, and how each mistake is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_play import tool

from tandem.tools.file import GRACE_SECONDS, read_tools, url_problem
from tandem.tools.http_tool import HttpTool

URL = "https://shop.example/hours"


def read(
    path: Path,
    content: object,
    *,
    secret: str = "planted",  # noqa: S107  # a sample
    environ: dict[str, str] | None = None,
    private: bool = False,
) -> tuple[list[HttpTool], list[str]]:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    problems: list[str] = []
    tools = read_tools(path, environ or {}, secret, allow_private=private, problems=problems)
    return tools, [problem.removeprefix(f"TOOLS_FILE {path}: ") for problem in problems]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tools.json"


def test_a_whole_one(path: Path) -> None:
    tools, problems = read(path, [tool(URL, filler=" One moment. ", timeout_seconds=4, max_result_bytes=99)])
    assert not problems
    (found,) = tools
    assert (found.url, found.filler, found.seconds, found.max_result_bytes) == (URL, "One moment.", 4, 99)
    assert found.declaration.name == "opening_hours"
    assert found.declaration.seconds == 4 + GRACE_SECONDS
    assert found.declaration.parameters["required"] == ["day"]
    assert found.arguments.problem({}) != ""
    assert "planted" not in repr(found)


def test_the_least_that_is_needed(path: Path) -> None:
    ((found,), problems) = read(path, [{"name": "f", "description": "Does.", "url": URL}])
    assert not problems
    assert found.declaration.parameters == {"type": "object", "properties": {}}
    assert (found.seconds, found.filler, found.max_result_bytes) == (10.0, "", 16_384)


def test_yaml_is_as_good(path: Path) -> None:
    text = f"""
# What a shop knows.
tools:
  - name: opening_hours
    description: |
      When a shop is open.
    url: {URL}
    parameters:
      type: object
      properties:
        day: {{type: string}}
    filler: Let me look that up.
    headers:
      X-Shop: "7"
"""
    ((found,), problems) = read(path, text)
    assert not problems
    assert found.headers == {"X-Shop": "7"}
    assert found.declaration.description == "When a shop is open.\n"


def test_secrets_come_from_the_environment(path: Path) -> None:
    entry = tool(URL, secret="${SHOP_SECRET}", headers={"Authorization": "Bearer ${SHOP_KEY}"})
    environ = {"SHOP_SECRET": "planted-s", "SHOP_KEY": "planted-k"}
    ((found,), problems) = read(path, [entry], secret="", environ=environ)
    assert not problems
    assert (found.secret, found.headers["Authorization"]) == ("planted-s", "Bearer planted-k")
    assert set(found.secrets) == {"planted-s", "Bearer planted-k"}
    (_, problems) = read(path, [entry], environ={"SHOP_SECRET": ""})
    assert problems == [
        "tool 1 (opening_hours): secret: there is no variable SHOP_SECRET, which it refers to",
        "tool 1 (opening_hours): headers.Authorization: there is no variable SHOP_KEY, which it refers to",
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "opening hours"}, "(opening hours): name: has 1 to 64 letters"),
        ({"name": 7}, ": name: input should be a valid string"),
        ({"description": ""}, "(opening_hours): description: string should have at least 1 character"),
        ({"descripton": "x"}, "(opening_hours): descripton: there is no such field; did you mean description?"),
        ({"url": "ftp://x"}, "(opening_hours): url: must begin with https:// and a host"),
        ({"url": "http://shop.example/"}, "(opening_hours): url: must begin with https://; plain http is for"),
        ({"url": "https://10.0.0.1/"}, "(opening_hours): url: leads to a private address"),
        ({"timeout_seconds": 61}, "(opening_hours): timeout_seconds: input should be less than or equal to 60"),
        ({"timeout_seconds": "5"}, "(opening_hours): timeout_seconds: input should be a valid number"),
        ({"timeout_seconds": 0}, "(opening_hours): timeout_seconds: input should be greater than 0"),
        ({"max_result_bytes": 70_000}, "(opening_hours): max_result_bytes: input should be less than or equal"),
        ({"parameters": {"type": "array"}}, "(opening_hours): parameters: must be a JSON Schema with type: object"),
        (
            {"parameters": {"type": "object", "properties": {"a": {"type": "text"}}}},
            "(opening_hours): parameters: at properties.a.type: ",
        ),
        ({"headers": {"a b": "c"}}, "(opening_hours): headers.a b: is no name of a header"),
        ({"headers": {"Host": "c"}}, "(opening_hours): headers.Host: is written by Tandem itself"),
        ({"headers": {"X-Tandem-Signature": "c"}}, "(opening_hours): headers.X-Tandem-Signature: is written by"),
        ({"headers": {"X-A": "planted\r\nX-B: c"}}, "(opening_hours): headers.X-A: has characters that can't travel"),
    ],
)
def test_each_mistake_is_told_with_entry_and_field(path: Path, change: dict[str, Any], told: str) -> None:
    tools, problems = read(path, [tool(URL) | change])
    assert not tools
    (problem,) = problems
    assert problem.startswith(f"tool 1 {told}" if told[0] == "(" else f"tool 1{told}"), problem
    assert "planted" not in problem


def test_all_mistakes_are_told_at_once(path: Path) -> None:
    bad = tool("http://x") | {"name": "a b", "parameters": {}}
    tools, problems = read(path, [bad, tool(URL), "text", tool(URL), {"url": 1}], secret="")
    assert not tools
    assert [problem.partition(": ")[0] for problem in problems] == [
        *["tool 1 (a b)"] * 4, "tool 2 (opening_hours)", "tool 3", "tool 4 (opening_hours)", *["tool 5"] * 3,
    ]  # fmt: skip
    assert "secret: is missing, and TOOLS_SECRET is not set" in problems[4]


def test_a_name_stands_for_one_tool(path: Path) -> None:
    _, problems = read(path, [tool(URL), tool(URL)])
    assert problems == ["tool 2 (opening_hours): name: another tool has it already"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "must be a list of tools"),
        ("a: b", "must be a list of tools"),
        ('{"tools": {}}', "must be a list of tools"),
        ('[{"name": "f",', "line 1: "),
        ("- a\n- b: [c\n", "line 3: "),
        ("!!python/object/apply:os.system [true]", "line 1: could not determine a constructor"),
        ("\x00", "unacceptable character"),
    ],
)
def test_what_is_no_such_file(path: Path, content: str, told: str) -> None:
    tools, problems = read(path, content)
    assert not tools
    assert problems[0].startswith(told), problems


def test_no_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    problems: list[str] = []
    read_tools(tmp_path / "none.json", {}, "x", allow_private=False, problems=problems)
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00")
    read_tools(tmp_path / "bad.json", {}, "x", allow_private=False, problems=problems)
    read_tools(tmp_path, {}, "x", allow_private=False, problems=problems)
    assert problems == [
        f"TOOLS_FILE {tmp_path}/none.json: can not be read: No such file or directory",
        f"TOOLS_FILE {tmp_path}/bad.json: is not UTF-8 text",
        f"TOOLS_FILE {tmp_path}: can not be read: Is a directory",
    ]


@given(st.text(max_size=60) | st.builds("https://{}".format, st.text(max_size=40)))
def test_any_url_is_judged(url: str) -> None:
    url_problem(url, allow_private=False)


@pytest.mark.parametrize(
    "url", ["https://a.example", "https://a.example:8443/x?y=z", "https://8.8.8.8/", "https://[2606:4700::1111]/"]
)
def test_urls_that_are_fine(url: str) -> None:
    assert url_problem(url, allow_private=False) is None


@pytest.mark.parametrize("url", ["http://localhost:3000/mcp", "http://10.0.0.7/", "https://[::1]/"])
def test_urls_of_ones_own_network_are_fine_where_that_is_allowed(url: str) -> None:
    assert url_problem(url, allow_private=True) is None


@pytest.mark.parametrize(
    "url", ["https://user@a.example", "https://a.example/#x", "https://a.exa mple", "https://", "https:a", "https://a:0/",
            "https://a:b/", "https://ä.example/", "https://a%2e.example/", "https://a\\b/"]
)  # fmt: skip
def test_urls_that_are_not(url: str) -> None:
    assert url_problem(url, allow_private=True) is not None
