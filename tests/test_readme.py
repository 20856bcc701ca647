"""What the README says is true: its tables are the code's own, its examples are good, and its programs run."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from pydantic import BaseModel
from tool_play import service

from tandem.bridge import Bridge
from tandem.call_types import EndReason
from tandem.call_webhook import CallWebhook
from tandem.carriers.table import PLIVO, TELNYX, TWILIO
from tandem.cli import app
from tandem.identity import Identity
from tandem.main import create_app
from tandem.metrics import Metrics
from tandem.operator_models import InjectText, PlaceCall, SaySomething, SendKeys, TransferCall
from tandem.routing import parse
from tandem.settings import Settings, load
from tandem.signed import signature
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.table import SIMULATORS
from tandem.tools.file import read_tools
from tandem.tools.http_tool import HttpTool
from tandem.tools.schema import Arguments
from tandem.tools.web import Guard, Web
from tandem_codecs.format import PCM16_24K
from tandem_providers import Client, OpenAIRealtime
from tandem_providers.config import FunctionDeclaration
from tandem_providers.options import option_infos
from tandem_providers.table import KINDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLES = runpy.run_path(str(ROOT / "scripts" / "readme_tables.py"))


def blocks(language: str) -> list[str]:
    """What stands between the fences."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(part: str) -> dict[str, Any]:
    """The program that has this in it, run; its names."""
    (code,) = [block for block in blocks("python") if part in block]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # our own README
    return names


# Tables


def test_its_tables_are_the_codes_own() -> None:
    assert not TABLES["missing"](), "say in GROUPS of scripts/readme_tables.py where these variables belong"
    wanted = TABLES["written"](README)
    assert wanted == README, "it is out of date: run `python scripts/readme_tables.py`"
    assert len(re.findall("<!-- table: variables: ", README)) == len(TABLES["GROUPS"]) + len(KINDS)


def test_every_variable_is_in_it() -> None:
    options = [info for kind in KINDS.values() for info in option_infos(kind.options).values()]
    names = {name.upper() for name in Settings.model_fields} | {info.env[0] for info in options if info.env}
    assert not [name for name in sorted(names) if f"`{name}`" not in README]


def test_it_names_no_variable_that_there_is_not() -> None:
    options = [info for kind in KINDS.values() for info in option_infos(kind.options).values()]
    known = {name.upper() for name in Settings.model_fields} | {name for info in options for name in info.env}
    named = re.findall(r"`((?:TANDEM|TWILIO|TELNYX|PLIVO|OPENAI|OUTBOUND|MAX|CALL)_[A-Z_]+)[=`]", README)
    assert not set(named) - known


def test_every_route_is_in_it_and_no_other() -> None:
    server = create_app(load({}, None))
    there = {path for route in server.routes if (path := getattr(route, "path", "")) and path.startswith("/")}
    there |= set(server.openapi()["paths"])
    named = set(re.findall(r"`(?:GET/POST |GET |POST |WS )(/[^`]*)`", README))
    named |= {named_path for named_path in ("/calls", "/docs") if f"`{named_path}`" in README}
    media = {f"/{carrier.name}/media/{{token}}" for carrier in (TWILIO, TELNYX, PLIVO)}
    assert "/{carrier}/media/{token}" in named
    assert named - {"/{carrier}/media/{token}"} <= there
    hidden = ("/openapi", "/calls/")
    assert not [path for path in there - named - media if not path.startswith(hidden)]


def test_its_words_for_the_end_of_a_call_are_all_there_are() -> None:
    (listed,) = re.findall(r"A call ends with one result\.(.*?)\n\n", README, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) == {reason.value for reason in EndReason}


def test_its_alarms_look_at_series_that_there_are() -> None:
    text = Metrics().render().decode()
    there = set(re.findall(r"^# TYPE (\w+) \w+", text, re.MULTILINE))
    named = re.findall(r"\b(tandem_[a-z_]+)[{\[ ]", "\n".join(re.findall(r"^\| .* \|$", README, re.MULTILINE)))
    assert len(named) >= 8
    assert not [name for name in named if name not in there and name.removesuffix("_bucket") not in there]


def test_it_says_what_to_fill_in_by_the_names_that_the_check_uses() -> None:
    code = (ROOT / "app" / "tandem" / "check_carriers.py").read_text(encoding="utf-8")
    fields = {name.partition(",")[0] for name in re.findall(r'Field\("([^"]+)"', code)}
    assert len(fields) >= 8
    assert not [name for name in fields if f"| {name} |" not in README]


def test_its_commands_and_their_options_are_those_that_there_are() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    options = {
        name: {flag for param in command.params for flag in param.opts} for name, command in group.commands.items()
    }
    shown = re.findall(r"^(?:\| `)?(?:[A-Z_]+=\S+ )*tandem (\w+)(.*)$", README, re.MULTILINE)
    shown += re.findall(r"`tandem (\w+)([^`]*)`", README)
    assert {name for name, _ in shown} == set(options)
    for name, rest in shown:
        assert set(re.findall(r"--[a-z]+", rest.partition("#")[0].partition("`")[0])) <= options[name], (name, rest)


def test_what_it_says_can_be_simulated_can() -> None:
    assert set(SIMULATORS) == set(KINDS) - {"echo"}


# Examples


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/calls", PlaceCall),
        ("/calls/CA123/say", SaySomething),
        ("/calls/CA123/inject", InjectText),
        ("/calls/CA123/dtmf", SendKeys),
        ("/calls/CA123/transfer", TransferCall),
    ],
)
def test_what_its_curl_lines_send_is_understood(path: str, model: type[BaseModel]) -> None:
    sent = re.findall(rf"--json '(.*?)' \$url{re.escape(path)}$", README, re.MULTILINE)
    assert sent
    for body in sent:
        model.model_validate(json.loads(body))


def test_its_routes_are_understood() -> None:
    (text,) = blocks("toml")
    routes = parse(text, "routes.toml")
    assert routes.choose("+15551234567").agent.name == "sales"
    assert routes.choose("+15552000000").agent.name == "sales"
    assert routes.choose("+4930123456", "+15557654321").agent.name == "family"
    assert routes.choose("+4930123456").agent.greeting == "Hello, how can I help you?"


def test_its_tools_are_understood(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    file = tmp_path / "tools.yaml"
    file.write_text(text, encoding="utf-8")
    problems: list[str] = []
    (tool,) = read_tools(file, {"SHOP_TOKEN": "any"}, "secret", allow_private=False, problems=problems)
    assert not problems
    assert tool.declaration.name == "find_order"


def test_its_settings_are_understood() -> None:
    for text in blocks("ini"):
        found = load(dict(line.split("=", 1) for line in text.splitlines()), None)
        assert not found.warnings
    inline = dict(re.findall(r"`((?:MCP_SERVERS|BUILTIN_TOOLS|TRANSFER_TARGETS|OUTBOUND_ALLOW))=([^`]+)`", README))
    found = load(inline, None)
    assert [server.name for server in found.tools.mcp] == ["shop", "files"]
    assert found.tools.targets == {"sales": "+15551234567", "desk": "sip:desk@pbx.example.com"}


async def test_its_program_knows_what_we_send() -> None:
    genuine = run("def genuine")["genuine"]
    schema = {"type": "object"}
    guard = await asyncio.to_thread(Guard, allow_private=True)
    async with service() as there, Web(guard) as web:
        tool = HttpTool(FunctionDeclaration("hours", "When.", schema), there.url, Arguments(schema), secret="secret")
        await tool.run({}, cast(Bridge, SimpleNamespace(identity=Identity("ours", "CA1"))), web)
        webhook = await asyncio.to_thread(partial(CallWebhook, there.url, "secret", allow_private=True))
        await webhook.ask({"event": "call.incoming", "call_id": "CA1"})
        await webhook.close()
    assert len(there.asked) == 2
    for asked in there.asked:
        stamp, sent = asked.headers["x-tandem-timestamp"], asked.headers["x-tandem-signature"]
        assert genuine("secret", stamp, sent, asked.body)
        assert not genuine("another", stamp, sent, asked.body)


def test_its_program_refuses_what_is_forged_or_old() -> None:
    genuine, now = run("def genuine")["genuine"], str(int(time.time()))
    assert genuine("secret", now, signature("secret", now, b"{}"), b"{}")
    assert not genuine("secret", now, signature("secret", now, b"{}"), b"[]")
    assert not genuine("secret", "1000000000", signature("secret", "1000000000", b"{}"), b"{}")


async def test_its_program_converses() -> None:
    converse = run("async def converse")["converse"]
    done = asyncio.Event()
    played: list[bytes] = []

    async def microphone() -> AsyncIterator[bytes]:
        tone = b"\x00\x20\x00\xe0" * (PCM16_24K.size(1000) // 4)
        yield tone + PCM16_24K.silence(1500)
        await asyncio.Event().wait()

    def play(audio: bytes) -> None:
        played.append(audio)
        done.set()

    async with OpenAISimulator() as simulator:
        client = Client(OpenAIRealtime(api_key="any", url=simulator.url))
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            talk = tasks.create_task(converse(client, microphone(), play))
            await done.wait()
            talk.cancel()
        await client.close()
    assert played
