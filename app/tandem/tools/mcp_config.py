"""Which MCP servers there are, and how each is reached: a URL, or a command to run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tandem.tools.file import LONGEST_SECONDS, explain, filled, header_problem, url_problem

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class McpServer:
    """One server. It has a URL, or a command."""

    name: str
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    command: str = ""
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float = 10.0
    filler: str = ""

    @property
    def secrets(self) -> list[str]:
        """What must not appear in any output."""
        return [*self.headers.values(), *self.env.values()]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)

    name: str
    url: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    command: str = ""
    args: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    timeout_seconds: float = Field(10.0, gt=0, le=LONGEST_SECONDS)
    filler: str = Field("", max_length=300)


def read_servers(text: str, environ: Mapping[str, str], *, allow_private: bool, problems: list[str]) -> list[McpServer]:
    """The servers of `MCP_SERVERS`: a JSON list, or `name=url` and `name=command line`, separated by commas or lines.

    `${NAME}` in a header or a variable is taken from `environ`. What is wrong goes to `problems`, without showing it.
    """
    servers: list[McpServer] = []
    for number, raw in enumerate(_entries(text, problems), start=1):
        named = raw.get("name") if isinstance(raw, dict) else None
        where = f"MCP_SERVERS: server {number}" + (f" ({named[:32]})" if isinstance(named, str) else "")
        wrong: list[str] = []
        server = _server(raw, environ, allow_private, wrong)
        if server is not None and any(other.name == server.name for other in servers):
            wrong.append("name: another server has it already")
        problems += [f"{where}: {each}" for each in wrong]
        if server is not None and not wrong:
            servers.append(server)
    return servers


def _entries(text: str, problems: list[str]) -> list[Any]:
    if text.lstrip()[:1] in ("[", "{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list):
            problems.append("MCP_SERVERS: is not a JSON list of servers")
            return []
        return found
    entries: list[Any] = []
    for part in (part.strip() for part in re.split(r"[,\n]", text) if part.strip()):
        name, equals, rest = (piece.strip() for piece in part.partition("="))
        if not equals or not rest:
            problems.append("MCP_SERVERS: write name=https://... or name=command, or a JSON list")
            continue
        if re.match(r"https?:", rest):
            entries.append({"name": name, "url": rest})
            continue
        try:
            command, *arguments = shlex.split(rest)
        except ValueError:
            problems.append(f"MCP_SERVERS: {name[:32]}: the command line has a quote that does not end")
            continue
        entries.append({"name": name, "command": command, "args": arguments})
    return entries


def _server(raw: Any, environ: Mapping[str, str], allow_private: bool, wrong: list[str]) -> McpServer | None:
    if not isinstance(raw, dict):
        wrong.append("must be an object with name, and url or command")
        return None
    try:
        entry = _Entry.model_validate(raw)
    except ValidationError as error:
        wrong += [explain(each, _Entry.model_fields) for each in error.errors(include_url=False)]
        return None
    if not _NAME.fullmatch(entry.name):
        wrong.append("name: has 1 to 32 letters, digits, _ and -, and begins with a letter")
    if bool(entry.url) == bool(entry.command):
        wrong.append("must have one of url and command")
    if entry.url and (problem := url_problem(entry.url, allow_private=allow_private)) is not None:
        wrong.append(f"url: {problem}")
    headers = {name: filled(value, environ, f"headers.{name}", wrong) for name, value in entry.headers.items()}
    wrong += [f"headers.{name}: {why}" for name, value in headers.items() if (why := header_problem(name, value))]
    env = {name: filled(value, environ, f"env.{name}", wrong) for name, value in entry.env.items()}
    return McpServer(
        entry.name,
        entry.url,
        headers,
        entry.command,
        tuple(entry.args),
        env,
        entry.timeout_seconds,
        entry.filler.strip(),
    )
