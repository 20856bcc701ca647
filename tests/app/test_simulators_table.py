"""The simulators that the command offers."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

import pytest

from tandem.settings import load
from tandem.simulators.table import SIMULATORS, SimulatorKind
from tandem_providers.table import KINDS


@pytest.mark.parametrize(("name", "kind"), SIMULATORS.items(), ids=list(SIMULATORS))
async def test_each_serves_and_its_variables_point_a_server_at_it(name: str, kind: SimulatorKind) -> None:
    url = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(kind.serve("127.0.0.1", 0, (), on_listening=url.set_result, voice="silence"))
        assert urlsplit(await url).hostname == "127.0.0.1"
        serving.cancel()
    given = kind.variables.format(key="sk-any", url=url.result())
    variables = dict(pair.split("=", 1) for pair in given.split())
    assert re.findall(r"\{(\w+)\}", kind.variables) == ["key", "url"]
    (choice,) = load(variables, None).choices
    assert choice.kind is KINDS[name]
