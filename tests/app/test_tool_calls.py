"""Whole calls in which an agent uses tools: carrier, server, simulated provider and somebody's web service."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp_play import SHOP
from servers import CALLED, CALLER, Stream, Tandem, eventually, log_lines, tandem
from sounds import speech
from tool_play import SECRET, Answer, Service, service, tool, tools_file

from tandem.call_types import Tell
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
    second: Reply | None = None,
    speaks: bool = True,
    plays: bool = True,
    **changes: Any,
) -> AsyncIterator[Here]:
    """The caller is greeted and, if he `speaks`, answered with the second reply. `changes` are the tool's."""
    script = [Reply("Hello there.", seconds=0.2), second or Reply("", calls or (CALL,))]
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
        async with server.stream(plays=plays) as stream:
            session = await simulator.session(1)
            await session.until(lambda s: bool(s.record.events("response.done")))
            if speaks:
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


async def test_arguments_that_do_not_fit_are_told_to_the_model_and_to_nobody_else(tmp_path: Path) -> None:
    async with call(tmp_path, FunctionCall("opening_hours", '{"day": "monday"}')) as here:
        output = await here.output()
        assert output["error"] == "invalid_arguments"
        assert "'monday' is not one of" in output["message"]
        assert not here.web.asked


@pytest.mark.parametrize(
    ("answer", "error"),
    [(Answer(b"planted stack trace", "500 No"), "failed"), (Answer(b"x" * 200), "too_large")],
)
async def test_a_service_that_fails_gives_a_safe_word(tmp_path: Path, answer: Answer, error: str) -> None:
    async with call(tmp_path, max_result_bytes=100) as here:
        here.web.answer = lambda _: answer
        output = await here.output()
        assert output["error"] == error
        assert "planted" not in output["message"]
        await here.says("Here is what I found")


async def test_r19_a_slow_service_is_bridged_with_its_words_and_its_late_answer_is_spoken(tmp_path: Path) -> None:
    let_go = asyncio.Event()
    async with call(tmp_path, filler="One moment, I am looking.", filler_seconds=0.1) as here:
        here.web.answer = lambda _: Answer(b'{"open": "late"}', hangs=let_go)
        await here.says("One moment, I am looking.")
        assert not here.outputs()
        let_go.set()
        await here.says('Here is what I found: {"open": "late"}')
        words = await here.words()
        assert sum("One moment" in line for line in words) == 1
        assert len(here.web.asked) == 1


async def test_r19_a_service_that_hangs_is_given_up_and_the_talk_goes_on(tmp_path: Path) -> None:
    with log_lines() as lines:
        async with call(tmp_path, timeout_seconds=0.2) as here:
            here.web.answer = lambda _: Answer(hangs=asyncio.Event())
            assert (await here.output())["error"] == "timeout"
            await here.says("Here is what I found")
            await here.web.until(lambda: here.web.gone == 1)
    (line,) = [line for line in lines if line["event"] == "tool"]
    assert line["outcome"] == "timeout"


async def test_pain_10_a_call_that_ends_leaves_no_request_behind(tmp_path: Path) -> None:
    async with call(tmp_path) as here:
        here.web.answer = lambda _: Answer(hangs=asyncio.Event())
        await here.web.times(1)
        await here.stream.stop()
        await here.server.empty()
        await here.web.until(lambda: here.web.gone == 1)
        assert not here.outputs()


async def test_no_secret_of_a_tool_is_ever_logged(tmp_path: Path) -> None:
    """What is planted in headers, secrets and answers is looked for in every line of the suite, too."""
    with log_lines() as lines:
        async with call(tmp_path, headers={"Authorization": "Bearer planted-shop-key"}, secret="planted-own") as here:
            asked = await here.web.times(1)
            assert asked.headers["authorization"] == "Bearer planted-shop-key"
            assert asked.is_signed("planted-own")
            assert not asked.is_signed()
            await here.output()
    assert lines
    assert "planted" not in json.dumps(lines)
    assert CALLER not in json.dumps(lines)


async def test_a_tool_of_an_mcp_server_answers_and_the_agent_speaks_the_result(tmp_path: Path) -> None:
    env = {"MCP_SERVERS": f"shop={sys.executable} {SHOP}"}
    async with call(tmp_path, FunctionCall("with_dots_and_more"), env=env) as here:
        await here.says("Here is what I found: odd")
        assert here.outputs() == ["odd"]


# --- what an agent may do with its call -------------------------------------------------------------------------------


async def test_pain_11_a_goodbye_is_heard_to_its_end_before_the_line_is_cut(tmp_path: Path) -> None:
    """The model says goodbye and hangs up in one breath; nothing is answered, so it has nothing to talk on about."""
    env = {"BUILTIN_TOOLS": "hang_up"}
    bye = Reply("Goodbye and thank you for calling.", (FunctionCall("hang_up", '{"reason": "done"}'),), seconds=1.0)
    async with call(tmp_path, env=env, second=bye) as here:
        assert (await here.stream.ends())[0] == 1000
        record = await here.server.result(here.stream.call_sid)
        assert record["result"] == "agent_hung_up"
        assert record["transcript"][-1]["text"] == "Goodbye and thank you for calling."
        assert record["transcript"][-1]["heard_ms"] == 1000
        assert not here.outputs()
        assert len(here.session.record.events("response.created")) == 2


async def test_pain_12_an_agent_does_not_hang_up_on_somebody_who_has_not_spoken(tmp_path: Path) -> None:
    env = {"BUILTIN_TOOLS": "hang_up"}
    async with call(tmp_path, FunctionCall("hang_up"), env=env, speaks=False) as here:
        here.server.bridge(here.stream.call_sid).tell(Tell("The caller is in a hurry.", aloud=False))
        output = await here.output()
        assert output["error"] == "too_early"
        assert not here.stream.closed


async def test_a_caller_who_speaks_while_the_agent_hangs_up_keeps_the_line(tmp_path: Path) -> None:
    env = {"BUILTIN_TOOLS": "hang_up"}
    bye = Reply("Goodbye.", (FunctionCall("hang_up"),), seconds=3.0)
    async with call(tmp_path, env=env, second=bye, plays=False) as here:
        bridge = here.server.bridge(here.stream.call_sid)
        await here.stream.until(lambda: bridge.call.state.value == "leaving")
        await here.stream.media(speech("wait"))
        assert (await here.output())["status"] == "not_done"
        assert bridge.call.state.value == "talking"
        assert not here.stream.closed
