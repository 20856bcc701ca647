"""What the environment asks for in the way of tools, read and checked before the server starts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tandem.tolls import is_number, is_sip
from tandem.tools.builtin import NAMES, builtin_tools
from tandem_providers.config import FunctionDeclaration

if TYPE_CHECKING:
    from tandem.settings import Settings
    from tandem.tools.http_tool import HttpTool
    from tandem.tools.mcp_config import McpServer

_TARGET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,39}")


@dataclass(frozen=True, slots=True)
class WantedTools:
    """Nothing of it has been tried yet."""

    http: tuple[HttpTool, ...] = ()
    mcp: tuple[McpServer, ...] = ()
    builtin: tuple[str, ...] = ()
    targets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Whom calls may be handed over to, by the name that the model uses."""
    allow_private: bool = False

    def __bool__(self) -> bool:
        return bool(self.http or self.mcp or self.builtin)

    @property
    def declarations(self) -> tuple[FunctionDeclaration, ...]:
        """What providers will be asked for, as far as it is known; tools of other servers are not known before those
        have been asked."""
        known = [tool.declaration for tool in builtin_tools(self.builtin, self.targets, controlled=True)]
        known += [tool.declaration for tool in self.http]
        if self.mcp and not known:
            known = [FunctionDeclaration("mcp_tool", "Any tool of another server.")]
        return tuple(known)

    @property
    def secrets(self) -> list[str]:
        """What must not appear in any output."""
        return [*(s for tool in self.http for s in tool.secrets), *(s for server in self.mcp for s in server.secrets)]


def wanted_tools(settings: Settings, environ: Mapping[str, str], problems: list[str]) -> WantedTools:
    """What these settings ask for. What is wrong with it goes to `problems`."""
    http: list[HttpTool] = []
    mcp: list[McpServer] = []
    if settings.tools_file:
        # Imported for those who have such a file: schemas and YAML take their time.
        from tandem.tools.file import read_tools

        http = read_tools(
            Path(settings.tools_file).expanduser(),
            environ,
            settings.tools_secret.get_secret_value(),
            allow_private=settings.tools_allow_private,
            problems=problems,
        )
    if servers := settings.mcp_servers.get_secret_value():
        from tandem.tools.mcp_config import read_servers

        mcp = read_servers(servers, environ, allow_private=settings.tools_allow_private, problems=problems)
        if find_spec("mcp") is None:
            problems.append("MCP_SERVERS: needs the package mcp; install it with: pip install 'tandem[mcp]'")
    builtin = _builtin(settings.builtin_tools, problems)
    targets = _targets(settings.transfer_targets, problems)
    if "transfer_call" in builtin and not settings.transfer_targets:
        problems.append("TRANSFER_TARGETS: is missing; transfer_call is on, and may hand calls over to nobody")
    for tool in http:
        if tool.declaration.name in builtin:
            problems.append(f"TOOLS_FILE: {tool.declaration.name} is the name of a built-in tool that is on")
    return WantedTools(tuple(http), tuple(mcp), builtin, targets, settings.tools_allow_private)


def _builtin(text: str, problems: list[str]) -> tuple[str, ...]:
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"BUILTIN_TOOLS: there is no tool {name!r}; there are {', '.join(NAMES)}{hint}")
    return tuple(name for name in names if name in NAMES)


def _targets(text: str, problems: list[str]) -> dict[str, str]:
    targets: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        name, equals, to = (piece.strip() for piece in part.partition("="))
        if not equals or not _TARGET.fullmatch(name):
            problems.append("TRANSFER_TARGETS: write name=+15551234567,other=sip:desk@example.com")
        elif not (is_number(to) or is_sip(to)):
            problems.append(f"TRANSFER_TARGETS: {name} is neither a number in the form +15551234567 nor a SIP URI")
        elif name in targets:
            problems.append(f"TRANSFER_TARGETS: {name} is there twice")
        else:
            targets[name] = to
    return targets
