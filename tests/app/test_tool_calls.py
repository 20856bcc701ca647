"""Whole calls in which an agent uses tools: carrier, server, simulated provider and somebody's web service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from servers import CALLED, CALLER, Stream, Tandem, eventually, log_lines, tandem
from sounds import speech
from tool_play import SECRET, Answer, Service, service, tool, tools_file

from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_connection import SimulatedSession
from tandem.simulators.openai_script import FunctionCall, Reply

CALL = FunctionCall("opening_hours", '{"day": "sunday"}')


class Here:
    """A call in which the model is about to use a tool."""

    def __init__(self, server: Tandem, stream: Stream, session: SimulatedSession, web: Service) -> None:
        self.server = server
        self.stream = stream
        self.session = session
        self.web = web

    def outputs(self) -> list[str]:
        """What the model was given for its calls."""
        items = [sent["item"] for sent in self.session.record.messages("conversation.item.create")]
        return [item["output"] for item in items if item["type"] == "function_call_output"]

    async def output(self, count: int = 1) -> Any:
        await self.session.until(lambda _: len(self.outputs()) >= count)
        return json.loads(self.outputs()[count - 1])

    async def words(self) -> list[str]:
        """What the agent was heard to say."""
        record = await self.server.record(self.stream.call_sid)
        return [line["text"] for line in record["transcript"] if line["role"] == "agent"]

    async def says(self, words: str) -> None:
        async def heard() -> bool:
            return any(words in line for line in await self.words())

        await eventually(heard)


@asynccontextmanager
async def call(
    folder: Path,
    *calls: FunctionCall,
    env: dict[str, str] | None = None,
    filler_seconds: float | None = None,
    **changes: Any,
) -> AsyncIterator[Here]:
    script = [Reply("Hello there.", seconds=0.2), Reply("", calls or (CALL,))]
    async with (
        service() as web,
        OpenAISimulator(script=script) as simulator,
        tandem(
            {
                "PROVIDERS": "openai",
                "OPENAI_API_KEY": "planted-key",
                "OPENAI_REALTIME_URL": simulator.url,
                "TOOLS_FILE": tools_file(folder, tool(web.url, **changes)),
                "TOOLS_SECRET": SECRET,
                "TOOLS_ALLOW_PRIVATE": "true",
                **(env or {}),
            }
        ) as server,
    ):
        if filler_seconds is not None:
            server.app.state.toolbox.filler_seconds = filler_seconds
        async with server.stream(plays=True) as stream:
            session = await simulator.session(1)
            await session.until(lambda s: bool(s.record.events("response.done")))
            await stream.media(speech("hello"))
            yield Here(server, stream, session, web)


async def test_a_tool_of_the_file_answers_and_the_agent_speaks_the_result(tmp_path: Path) -> None:
    with log_lines() as lines:
        async with call(tmp_path) as here:
            here.web.answer = lambda _: Answer(b'{"open": "ten to four"}')
            asked = await here.web.times(1)
            assert asked.is_signed()
            assert asked.headers["x-tandem-call-id"] == here.stream.call_sid
            assert asked.told == {
                "call_id": here.stream.call_sid,
                "tool": "opening_hours",
                "arguments": {"day": "sunday"},
                "caller": CALLER,
                "called": CALLED,
            }
            assert await here.output() == {"open": "ten to four"}
            await here.says('Here is what I found: {"open": "ten to four"}')
            assert await here.server.metric("tools_total", tool="opening_hours", outcome="done") == 1
    (line,) = [line for line in lines if line["event"] == "tool"]
    assert (line["tool"], line["outcome"], line["call_id"]) == ("opening_hours", "done", here.stream.call_sid)
    assert "sunday" not in json.dumps(lines), "what was talked about is nobody else's"
