"""What the README says is true: its variables are all there are, and its example runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tandem.settings import Settings
from tandem.simulators.openai import OpenAISimulator
from tandem_codecs.format import PCM16_24K
from tandem_providers import Client, OpenAIRealtime
from tandem_providers.options import option_infos
from tandem_providers.table import KINDS

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_every_variable_is_in_the_readme() -> None:
    options = [info for kind in KINDS.values() for info in option_infos(kind.options).values()]
    names = {name.upper() for name in Settings.model_fields} | {info.env[0] for info in options if info.env}
    assert not [name for name in sorted(names) if f"`{name}`" not in README]


async def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # our own README
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
            talk = tasks.create_task(names["converse"](client, microphone(), play))
            await done.wait()
            talk.cancel()
        await client.close()
    assert played
