"""The tools file: functions of an agent, each with a URL that does the work. Read once, every mistake told at once."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tandem.tools.addresses import is_public
from tandem.tools.http_tool import HttpTool
from tandem.tools.schema import Arguments
from tandem_providers.config import FunctionDeclaration
from tandem_providers.tools import RESULT_BYTES

LONGEST_SECONDS: Final = 60.0
"""Nobody waits longer on the telephone."""
GRACE_SECONDS: Final = 1.0
"""A tool ends itself, with its own words, this long before its session would."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""What every provider takes for a function's name."""
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "expect"}
)


class _Entry(BaseModel):
    """One tool as the file has it."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)

    name: str
    description: str = Field(min_length=1, max_length=4000)
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    url: str
    timeout_seconds: float = Field(10.0, gt=0, le=LONGEST_SECONDS)
    filler: str = Field("", max_length=300)
    max_result_bytes: int = Field(16_384, ge=1, le=RESULT_BYTES)
    secret: str = ""
    headers: dict[str, str] = Field(default_factory=dict)


def read_tools(
    path: Path, environ: Mapping[str, str], secret: str, *, allow_private: bool, problems: list[str]
) -> list[HttpTool]:
    """The tools of a file, JSON or YAML. What is wrong goes to `problems`; then what is returned is incomplete.

    `${NAME}` in a secret or a header is taken from `environ`. `secret` signs for tools that have none of their own.
    """
    place = f"TOOLS_FILE {path}"
    try:
        listed = _listed(path.read_text("utf-8-sig"))
    except OSError as error:
        problems.append(f"{place}: can not be read: {error.strerror or type(error).__name__}")
        return []
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        problems.append(f"{place}: {_why_unreadable(error)}")
        return []
    tools: list[HttpTool] = []
    for number, raw in enumerate(listed, start=1):
        named = raw.get("name") if isinstance(raw, dict) else None
        where = f"{place}: tool {number}" + (f" ({named[:64]})" if isinstance(named, str) else "")
        wrong: list[str] = []
        tool = _tool(raw, environ, secret, allow_private, wrong)
        if tool is not None and any(other.declaration.name == tool.declaration.name for other in tools):
            wrong.append("name: another tool has it already")
        problems += [f"{where}: {each}" for each in wrong]
        if tool is not None and not wrong:
            tools.append(tool)
    return tools


def _listed(text: str) -> list[Any]:
    """The entries: a list, or what stands under `tools`."""
    found = yaml.safe_load(text)  # JSON is YAML, too
    if isinstance(found, dict) and set(found) == {"tools"}:
        found = found["tools"]
    if not isinstance(found, list):
        raise ValueError("must be a list of tools, or an object with nothing but such a list under tools")
    return found


def _why_unreadable(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or 'is neither JSON nor YAML'}"
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    return str(error).partition("\n")[0] or "is neither JSON nor YAML"


def _tool(raw: Any, environ: Mapping[str, str], secret: str, allow_private: bool, wrong: list[str]) -> HttpTool | None:
    if not isinstance(raw, dict):
        wrong.append("must be an object with name, description and url")
        return None
    try:
        entry = _Entry.model_validate(raw)
    except ValidationError as error:
        wrong += [explain(each, _Entry.model_fields) for each in error.errors(include_url=False)]
        return None
    if not _NAME.fullmatch(entry.name):
        wrong.append("name: has 1 to 64 letters, digits, _ and -, and begins with a letter or _")
    arguments: Arguments | None = None
    try:
        arguments = Arguments(entry.parameters)
    except ValueError as error:
        wrong.append(f"parameters: {error}")
    if (problem := url_problem(entry.url, allow_private=allow_private)) is not None:
        wrong.append(f"url: {problem}")
    own = filled(entry.secret, environ, "secret", wrong) or secret
    if not own:
        wrong.append("secret: is missing, and TOOLS_SECRET is not set; every call is signed with one of them")
    headers = {name: filled(value, environ, f"headers.{name}", wrong) for name, value in entry.headers.items()}
    wrong += [f"headers.{name}: {why}" for name, value in headers.items() if (why := header_problem(name, value))]
    if wrong or arguments is None:
        return None
    parameters = json.loads(json.dumps(entry.parameters))
    seconds = entry.timeout_seconds
    return HttpTool(
        FunctionDeclaration(entry.name, entry.description, parameters, seconds=seconds + GRACE_SECONDS),
        entry.url,
        arguments,
        filler=entry.filler.strip(),
        seconds=seconds,
        max_result_bytes=entry.max_result_bytes,
        secret=own,
        headers=headers,
    )


def explain(error: Any, fields: Iterable[str]) -> str:
    """A mistake in an entry that has these fields, without what stands there."""
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, list(fields), n=1)
        return f"{field[:64]}: there is no such field" + (f"; did you mean {near[0]}?" if near else "")
    if error["type"] == "missing":
        return f"{field}: is missing"
    message = str(error["msg"])
    return f"{field}: {message[:1].lower()}{message[1:]}"


def url_problem(url: str, *, allow_private: bool) -> str | None:
    """Why nothing may be asked for at that address; None when it may, as far as the text tells."""
    if not url.isascii() or not url.isprintable() or any(character in url for character in ' \\"<>^`{|}'):
        return "has characters that a URL can't have; write others as %XX, and a host with an umlaut as xn--..."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    host = parts.hostname or ""
    if parts.scheme not in ("https", "http") or not host or "//" not in url:
        return "must begin with https:// and a host"
    if parts.scheme == "http" and not allow_private:
        return "must begin with https://; plain http is for one's own network (TOOLS_ALLOW_PRIVATE=true)"
    if "@" in parts.netloc:
        return "must not have a user or a password in it; send a header instead"
    if parts.fragment or "#" in url:
        return "must not have a part behind #"
    if "%" in parts.netloc or port == 0:
        return "has no usable host and port"
    literal = ":" in host or re.fullmatch(r"[0-9.]+", host) is not None
    if literal and not allow_private and not is_public(host):
        return "leads to a private address; allow that with TOOLS_ALLOW_PRIVATE=true"
    return None


def header_problem(name: str, value: str) -> str:
    """Why a header can't be sent; empty when it can."""
    if not _HEADER.fullmatch(name):
        return "is no name of a header"
    if name.lower() in _OURS or name.lower().startswith("x-tandem-"):
        return "is written by Tandem itself"
    if not value.isascii() or not value.isprintable():
        return "has characters that can't travel in a header"
    return ""


def filled(text: str, environ: Mapping[str, str], where: str, wrong: list[str]) -> str:
    """With each `${NAME}` replaced from the environment."""
    missing = [name for name in _VARIABLE.findall(text) if not environ.get(name)]
    wrong += [f"{where}: there is no variable {name}, which it refers to" for name in missing]
    return _VARIABLE.sub(lambda found: environ.get(found[1], ""), text)
