"""Which agent answers a call: a file of routes, called numbers (or patterns) to agents.

    [default]                          # what routes leave open; what this leaves open is as the environment has it
    greeting = "Hello, how can I help you?"

    [[routes]]
    name = "sales"
    called = ["+15551234567", "+1555200*"]    # numbers or SIP URIs; * is anything, ? is one character
    carrier = "twilio"                        # optional; so is `caller`, patterns like `called`
    instructions = "You sell bicycles."
    voice = "marin"
    providers = ["openai", "echo"]
    max_call_seconds = 600
    tools = ["find_order", "hang_up"]         # of those that there are; [] for none

The first route that fits is taken; the same in YAML. Reading is pure but for `load`, which opens the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tandem.agents import DEFAULT, Agent

LARGEST_FILE: Final = 1 << 20
YAML_ENDINGS: Final = (".yaml", ".yml")


class RoutesError(Exception):
    """The file can't be used. `problems` are one line each, with the place."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the file."""

    agent: Agent
    called: tuple[str, ...]
    """Patterns; empty: any number."""
    caller: tuple[str, ...] = ()
    carrier: str = ""
    place: str = ""
    """Where it stands, for people: file and line."""

    @property
    def takes(self) -> str:
        """Its conditions, for people."""
        caller = f" from {', '.join(self.caller)}" if self.caller else ""
        carrier = f" over {self.carrier}" if self.carrier else ""
        return f"{', '.join(self.called) or 'any number'}{caller}{carrier}"

    def fits(self, called: str, caller: str, carrier: str) -> bool:
        if self.carrier and carrier and self.carrier != carrier:
            return False
        return _any_fits(self.called, called) and _any_fits(self.caller, caller)


@dataclass(frozen=True, slots=True)
class Routed:
    """Who answers, and why."""

    agent: Agent
    why: str


@dataclass(frozen=True, slots=True)
class Routes:
    """The whole file."""

    routes: tuple[Route, ...] = ()
    default: Agent = DEFAULT
    path: str = ""

    def choose(self, called: str, caller: str = "", carrier: str = "") -> Routed:
        """Who answers a call to this number."""
        for route in self.routes:
            if route.fits(called, caller, carrier):
                return Routed(route.agent, f"route {route.agent.name!r} ({route.place}) takes {route.takes}")
        if not self.path:
            return Routed(self.default, "there is no ROUTES_FILE: the environment's agent answers every call")
        return Routed(self.default, f"no route of {self.path} fits: the default answers")

    def named(self, name: str) -> Agent | None:
        """The agent of that name."""
        agents = (route.agent for route in self.routes)
        return next((agent for agent in (*agents, self.default) if agent.name == name), None)

    def number_of(self, agent: Agent) -> int:
        """Of an agent of the file, the same in every process that has read it; 0 is the default, as is any other."""
        numbers = (number for number, route in enumerate(self.routes, 1) if route.agent == agent)
        return next(numbers, 0)

    def numbered(self, number: int) -> Agent:
        """The agent of that number."""
        return self.routes[number - 1].agent if 0 < number <= len(self.routes) else self.default

    def agents(self) -> Iterator[tuple[Agent, str]]:
        """Each, with the place where it stands."""
        yield self.default, self.path
        for route in self.routes:
            yield route.agent, route.place


def normal(number: str) -> str:
    """A number as it is compared: some carriers leave the plus sign out, and people write spaces."""
    bare = number.strip()
    if bare.startswith(("sip:", "sips:")):
        return bare.partition(";")[0].lower()
    bare = re.sub(r"[\s()./-]", "", bare)
    return f"+{bare}" if bare[:1].isdigit() else bare


def _any_fits(patterns: tuple[str, ...], number: str) -> bool:
    return not patterns or any(fnmatchcase(normal(number), pattern) for pattern in patterns)


# --- reading ----------------------------------------------------------------------------------------------------------


def _listed(value: object) -> object:
    if isinstance(value, int) or (isinstance(value, list) and any(isinstance(each, int) for each in value)):
        raise ValueError("numbers stand in quotes: the plus sign belongs to them")
    return [value] if isinstance(value, str) else value


_OneOrMore = Annotated[list[Annotated[str, Field(min_length=1, max_length=300)]], BeforeValidator(_listed)]


class Wishes(BaseModel):
    """What is said of an agent; the same for the default, each route and the webhook's answer."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    instructions: Annotated[str | None, Field(max_length=100_000)] = None
    greeting: Annotated[str | None, Field(max_length=10_000)] = None
    voice: Annotated[str | None, Field(max_length=200)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    providers: Annotated[_OneOrMore | None, Field(min_length=1)] = None
    max_call_seconds: Annotated[float | None, Field(gt=0)] = None
    silence_seconds: Annotated[float | None, Field(gt=0)] = None
    tools: _OneOrMore | None = None

    def agent_called(self, name: str) -> Agent:
        """The agent that is wished for."""
        names = tuple(each.strip().lower() for each in self.providers) if self.providers else None
        return Agent(
            name,
            self.instructions,
            self.greeting,
            self.voice,
            self.temperature,
            names,
            self.max_call_seconds,
            self.silence_seconds,
            None if self.tools is None else tuple(self.tools),
        )


class _Entry(Wishes):
    name: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[\w .-]+$")] = ""
    called: _OneOrMore = []
    caller: _OneOrMore = []
    carrier: Literal["", "twilio", "telnyx", "plivo"] = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    default: Wishes = Wishes()
    routes: list[_Entry] = []


def load(path: Path) -> Routes:
    """Read the file.

    Raises:
        RoutesError: it can't be read or used; says where and why.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise RoutesError(f"{path}: {error.strerror or error}") from None
    if len(text) > LARGEST_FILE:
        raise RoutesError(f"{path}: is larger than {LARGEST_FILE} bytes")
    try:
        return parse(text.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise RoutesError(f"{path}: is not UTF-8") from None


def parse(text: str, path: str) -> Routes:
    """The routes of a file of that name.

    Raises:
        RoutesError: see `load`.
    """
    yaml = path.lower().endswith(YAML_ENDINGS)
    content, lines = _yaml(text, path) if yaml else _toml(text, path)
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise RoutesError(*(_told(path, lines, each) for each in error.errors(include_url=False))) from None
    default = file.default.agent_called("default")
    routes: list[Route] = []
    problems: list[str] = []
    seen = {"default"}
    for number, entry in enumerate(file.routes):
        place = f"{path}, line {lines[('routes', number)]}" if ("routes", number) in lines else path
        name = entry.name or f"route {number + 1}"
        if name in seen:
            problems.append(f"{place}: there is another agent {name!r}")
        seen.add(name)
        if not (entry.called or entry.caller or entry.carrier) and number + 1 < len(file.routes):
            problems.append(f"{place}: takes every call, so that the routes below it are never reached; name `called`")
        called, caller = (tuple(normal(each) for each in some) for some in (entry.called, entry.caller))
        routes.append(Route(entry.agent_called(name).over(default), called, caller, entry.carrier, place))
    if problems:
        raise RoutesError(*problems)
    return Routes(tuple(routes), default, path)


_Lines = Mapping[tuple[Any, ...], int]


def _told(path: str, lines: _Lines, error: Any) -> str:
    """One line: where, what is there, what is wrong with it."""
    at = tuple(error["loc"])
    known = next((at[:size] for size in range(len(at), 0, -1) if at[:size] in lines), None)
    place = f"{path}, line {lines[known]}" if known is not None else path
    what = ".".join(str(part) for part in at if not isinstance(part, int)) or "the file"
    words = "there is no such field" if error["type"] == "extra_forbidden" else str(error["msg"])
    words = words.removeprefix("Value error, ")
    return f"{place}: {what}: {words[:1].lower()}{words[1:]}"


# --- TOML -------------------------------------------------------------------------------------------------------------

_TABLE: Final = re.compile(r"\s*\[(\[)?\s*\"?([\w-]+)\"?\s*\]?\]")
_KEY: Final = re.compile(r"\s*\"?([\w-]+)\"?\s*=")


def _toml(text: str, path: str) -> tuple[Any, _Lines]:
    try:
        return tomllib.loads(text), _toml_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise RoutesError(f"{path}: {error}") from None


def _toml_lines(text: str) -> dict[tuple[Any, ...], int]:
    """Where tables and their keys stand, as far as they are written one a line."""
    lines: dict[tuple[Any, ...], int] = {}
    counts: dict[str, int] = {}
    here: tuple[Any, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if table := _TABLE.match(line):
            name = table[2]
            here = (name, counts.setdefault(name, 0)) if table[1] else (name,)
            counts[name] = counts.get(name, 0) + 1
            lines.setdefault(here, number)
        elif key := _KEY.match(line):
            lines.setdefault((*here, key[1]), number)
    return lines


# --- YAML -------------------------------------------------------------------------------------------------------------


def _yaml(text: str, path: str) -> tuple[Any, _Lines]:
    import yaml  # only who writes YAML waits for it

    lines: dict[tuple[Any, ...], int] = {}

    def note(node: yaml.Node | None, at: tuple[Any, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                lines[(*at, key.value)] = key.start_mark.line + 1
                note(value, (*at, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                lines[(*at, number)] = value.start_mark.line + 1
                note(value, (*at, number))

    try:
        note(yaml.compose(text, Loader=yaml.SafeLoader), ())
        return yaml.safe_load(text) or {}, lines
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark is not None else path
        raise RoutesError(f"{place}: {getattr(error, 'problem', None) or 'is no YAML'}") from None
