"""Writes the tables of README.md that come from the code: providers and variables. A test says when to run it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from tandem.settings import Settings
from tandem.tolls import DENIED
from tandem_codecs.format import MULAW_8K, AudioFormat
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.models import MODELS
from tandem_providers.options import OptionInfo, option_infos
from tandem_providers.provider import Capabilities
from tandem_providers.table import KINDS, ProviderKind

README: Final = Path(__file__).parent.parent / "README.md"
_TABLE: Final = re.compile(r"(?P<begin><!-- table: (?P<name>.+?) -->)\n.*?(?P<end><!-- end of table -->)", re.DOTALL)

SERVICES: Final = {
    "openai": "OpenAI Realtime",
    "openai-live": "OpenAI Live",
    "azure": "Azure OpenAI",
    "xai": "xAI Grok Voice",
    "openai-compatible": "a server of yours",
    "gemini": "Gemini Live, on Vertex AI too",
    "deepgram": "Deepgram Voice Agent",
    "elevenlabs": "ElevenLabs Agents",
    "echo": "embedded: says what you say",
}
SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "azure": {"endpoint": "https://name.openai.azure.com", "deployment": "any"},
    "openai-compatible": {"url": "wss://realtime.example.com/v1"},
    "elevenlabs": {"agent_id": "any", "client_tools": "*"},
}
"""What a kind can not do without."""

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "server": (
        "HOST", "PORT", "PUBLIC_URL", "INSTANCE_", "TRUSTED_", "SECRET_KEY", "API_TOKEN", "MAX_", "SILENCE_", "DRAIN_",
        "LOG_",
    ),
    "agent": ("PROVIDERS", "INSTRUCTIONS", "GREETING", "VOICE", "TEMPERATURE", "CONNECT_", "HEDGE_", "FAILOVER_"),
    "carriers": ("TWILIO_", "TELNYX_", "PLIVO_"),
    "calls": ("ROUTES_", "CALL_", "OUTBOUND_"),
    "tools": ("TOOLS_", "MCP_", "BUILTIN_", "TRANSFER_"),
}  # fmt: skip
"""By the beginnings of their names, where the server's own variables stand."""


def written(readme: str) -> str:
    """The README with every table as it has to be."""
    tables: dict[str, Callable[[], list[str]]] = {"providers": providers, "models": models, "denied": denied}
    tables |= {f"variables: {group}": partial(own, group) for group in GROUPS}
    tables |= {f"variables: {kind.name}": partial(options, kind) for kind in KINDS.values()}

    def fill(found: re.Match[str]) -> str:
        return "\n".join((found["begin"], *tables[found["name"]](), found["end"]))

    return _TABLE.sub(fill, readme)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """As Markdown."""
    names = list(head)
    return [_row(names), "|" + "---|" * len(names), *(_row(row) for row in rows)]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# Calls out


def denied() -> list[str]:
    """Whom the server does not call unless it is told to."""
    rows = ([what[:1].upper() + what[1:], ", ".join(f"`{p}`" for p in prefixes)] for what, prefixes in DENIED.items())
    return table(["not called", "numbers that begin with"], rows)


# Providers

_WISHES: Final[Mapping[str, ProcessConfig]] = {
    "functions": ProcessConfig(functions=[FunctionDeclaration("any")], on_function_call=lambda name, arguments: ""),
    "temperature": ProcessConfig(temperature=0.5),
}


def providers() -> list[str]:
    """What each kind is and can do, as the code has it."""
    head = ["`PROVIDERS`", "service", "needs", "on the telephone", "turns", "forgets what was not heard"]
    head += ["is told words", "functions", "`TEMPERATURE`", "takes over with memory", "longest session"]
    return table(head, (_provider(kind) for kind in KINDS.values()))


def _provider(kind: ProviderKind) -> list[str]:
    infos = option_infos(kind.options)
    needed = [
        info.env[0]
        for declared in fields(kind.options)
        if (info := infos.get(declared.name)) is not None
        and (declared.default is MISSING or (info.secret and info.env[0].endswith("_API_KEY")))
    ]
    built = kind.build(kind.options(**_sample(kind)), kind.name)
    can: Capabilities = built.capabilities

    def takes(wish: str) -> bool:
        try:
            built.check(_WISHES[wish], leg=MULAW_8K)  # type: ignore[attr-defined]  # every kind of the table has it
        except InvalidConfigError:
            return False
        return True

    return [
        f"`{kind.name}`",
        SERVICES[kind.name],
        ", ".join(f"`{name}`" for name in needed) or "nothing",
        _audio(can.input_formats, can.output_formats),
        {"turns": "by turns", "agent": "the agent's own", "duplex": "none"}[can.turn_model],
        _yes(can.truncate),
        _yes(can.text_in),
        _yes(takes("functions")),
        _yes(takes("temperature")),
        _yes(can.seeds),
        f"{can.max_session_seconds / 60:.0f} min" if can.max_session_seconds else "-",
    ]


def _sample(kind: ProviderKind) -> dict[str, Any]:
    """Options with which one can be made."""
    keys = {name: "any" for name, info in option_infos(kind.options).items() if info.env[0].endswith("_API_KEY")}
    return keys | dict(SAMPLES.get(kind.name, {}))


def _audio(heard: tuple[AudioFormat, ...], spoken: tuple[AudioFormat, ...]) -> str:
    if MULAW_8K in heard and MULAW_8K in spoken:
        return "G.711 as it is"
    rates = [f"{each[0].rate // 1000} kHz" for each in (heard, spoken)]
    return f"{rates[0]} in and out" if rates[0] == rates[1] else f"{rates[0]} in, {rates[1]} out"


def _yes(answer: bool) -> str:
    return "yes" if answer else "-"


def models() -> list[str]:
    """Which models are known, the first of each being the default, and when they end."""
    rows = []
    for kind, known in MODELS.items():
        names = [f"`{name}`" + (f" (ends {ends})" if ends else "") for name, ends in known.items()]
        rows.append([f"`{kind}`", ", ".join(names)])
    return table(("provider", "models"), rows)


# Variables


def own(group: str) -> list[str]:
    """The server's own variables that belong together."""
    rows = []
    for name, field in Settings.model_fields.items():
        if name.upper().startswith(GROUPS[group]):
            meaning, _, otherwise = (field.description or "").partition(" Default: ")
            default = _shown(field.default, "random" if field.annotation is SecretStr else "-")
            rows.append([f"`{name.upper()}`", otherwise.rstrip(".") or default, meaning])
    return table(("variable", "default", "meaning"), rows)


def options(kind: ProviderKind) -> list[str]:
    """The variables of one kind of provider."""
    rows = []
    for declared in fields(kind.options):
        info = option_infos(kind.options).get(declared.name)
        if info is None or not info.env:
            continue
        also = f" (also `{'`, `'.join(info.env[1:])}`)" if info.env[1:] else ""
        rows.append([f"`{info.env[0]}`{also}", _default_of(declared, info), info.help])
    return table(("variable", "default", "meaning"), rows)


def _default_of(declared: Field[Any], info: OptionInfo) -> str:
    return "**must be set**" if declared.default is MISSING else _shown(declared.default, "-")


def _shown(default: Any, otherwise: str) -> str:
    text = str(default).lower() if isinstance(default, bool) else str(default)
    if text in ("", "None", "**********"):
        return "-"
    return otherwise if text.startswith("PydanticUndefined") else f"`{text.removesuffix('.0')}`"


def missing() -> list[str]:
    """Variables that have no place in the README."""
    places = tuple(place for group in GROUPS.values() for place in group)
    return [name.upper() for name in Settings.model_fields if not name.upper().startswith(places)]


if __name__ == "__main__":
    if missing():
        sys.exit(f"say in GROUPS where these belong: {', '.join(missing())}")
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
