"""Functions that a model calls: the loop never waits, the model always gets an answer, and never a secret."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from fakes import News
from hypothesis import given
from hypothesis import strategies as st

from tandem_providers.commands import ToolResult
from tandem_providers.config import FunctionDeclaration, OnFunctionCall, ProcessConfig
from tandem_providers.events import ProviderWarning, ToolCall
from tandem_providers.tasks import owned_tasks
from tandem_providers.tools import AT_ONCE, RESULT_BYTES, DaemonThreads, ToolRunner


class Answers:
    """What the model and the operator are told."""

    def __init__(self) -> None:
        self.results: list[ToolResult] = []
        self.warnings: list[ProviderWarning] = []
        self._news = News()

    def reply(self, result: ToolResult) -> None:
        self.results.append(result)
        self._news.tell()

    async def first(self) -> str:
        return await self.nth(1)

    async def nth(self, count: int) -> str:
        await self._news.until(lambda: len(self.results) >= count)
        return self.results[count - 1].output

    async def error(self) -> str:
        return str(json.loads(await self.first())["error"])


@asynccontextmanager
async def runner(
    function: OnFunctionCall | None, *, threads: int = 4, seconds: float = 5.0
) -> AsyncIterator[tuple[ToolRunner, Answers]]:
    answers = Answers()
    config = ProcessConfig(functions=[FunctionDeclaration("f")], on_function_call=function)
    async with owned_tasks() as start:
        tools = ToolRunner(
            config, start, answers.reply, answers.warnings.append, seconds=seconds, threads=DaemonThreads(threads)
        )
        try:
            yield tools, answers
        finally:
            tools.close()


def call(arguments: str = "{}", *, name: str = "f", call_id: str = "c1") -> ToolCall:
    return ToolCall(call_id, name, arguments)


def echo(name: str, arguments: Mapping[str, Any]) -> Any:
    return {"name": name, **arguments}


async def echo_later(name: str, arguments: Mapping[str, Any]) -> Any:
    await asyncio.sleep(0)
    return echo(name, arguments)


class EchoObject:
    async def __call__(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return echo(name, arguments)


async def echo_with(extra: int, name: str, arguments: Mapping[str, Any]) -> Any:
    return echo(name, arguments)


@pytest.mark.parametrize(
    "function",
    [echo, echo_later, EchoObject(), functools.partial(echo_with, 1), lambda *given: echo_later(*given)],
    ids=["plain", "async", "object", "partial", "plain giving a coroutine"],
)
async def test_any_kind_of_function(function: OnFunctionCall) -> None:
    async with runner(function) as (tools, answers):
        tools.start(call('{"n": 1}'))
        assert json.loads(await answers.first()) == {"name": "f", "n": 1}
        assert answers.results[0].call_id == "c1"
        assert not answers.warnings
        assert not tools.running


@pytest.mark.parametrize(
    ("result", "output"),
    [("as it is", "as it is"), ("", ""), (None, "null"), (3, "3"), ([1, "ü"], '[1,"ü"]'), (float("nan"), "null")],
)
async def test_how_results_are_written(result: Any, output: str) -> None:
    async with runner(lambda *_: result) as (tools, answers):
        tools.start(call(""))
        assert await answers.first() == output


async def test_half_a_character_does_not_break_the_wire() -> None:
    async with runner(lambda *_: "a\ud800b") as (tools, answers):
        tools.start(call())
        assert await answers.first() == "a?b"


async def test_a_plain_function_runs_beside_the_loop_with_the_callers_context() -> None:
    where = ContextVar("where", default="")
    where.set("call 1")
    seen: list[Any] = []
    release = threading.Event()

    def function(name: str, arguments: Mapping[str, Any]) -> str:
        seen.append((threading.current_thread(), where.get()))
        release.wait(5)
        return "done"

    async with runner(function) as (tools, answers):
        tools.start(call())
        for _ in range(10):
            await asyncio.sleep(0.001)  # the loop goes on
        assert not answers.results
        release.set()
        assert await answers.first() == "done"
    (thread, value) = seen[0]
    assert thread is not threading.main_thread()
    assert value == "call 1"


async def test_five_seconds_of_sleep_in_a_tool_do_not_reach_the_loop() -> None:
    """R15, with the clock of the loop as the witness; the tool is left behind, asleep."""
    async with runner(lambda *_: time.sleep(5), seconds=0.3) as (tools, answers):
        loop = asyncio.get_running_loop()
        tools.start(call())
        lags = []
        while not answers.results:
            before = loop.time()
            await asyncio.sleep(0.002)
            lags.append(loop.time() - before - 0.002)
        assert await answers.error() == "timeout"
        lags.sort()
        assert lags[len(lags) * 9 // 10] < 0.02


@pytest.mark.parametrize("kind", ["plain", "async", "stubborn"])
async def test_a_deadline_is_kept_and_a_late_result_is_dropped(kind: str) -> None:
    """R19: the model hears "timeout" on time, whatever the function does about it."""
    release = threading.Event()
    let_go = asyncio.Event()

    def plain(*_: Any) -> str:
        release.wait(5)
        return "late"

    async def patient(*_: Any) -> str:
        await let_go.wait()
        return "late"

    async def stubborn(*_: Any) -> str:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    function = {"plain": plain, "async": patient, "stubborn": stubborn}[kind]
    async with runner(function, seconds=0.05) as (tools, answers):
        began = time.monotonic()
        tools.start(call())
        assert await answers.error() == "timeout"
        assert 0.04 < time.monotonic() - began < 1
        assert [warning.code for warning in answers.warnings] == ["tool_timeout"]
        release.set()
        let_go.set()
        tools.start(call(call_id="c2", name="unknown"))
        await answers.nth(2)
        await asyncio.sleep(0.01)
        assert [result.call_id for result in answers.results] == ["c1", "c2"]


async def test_a_function_may_have_a_deadline_of_its_own() -> None:
    answers = Answers()
    never = asyncio.Event()

    async def function(*_: Any) -> None:
        await never.wait()

    config = ProcessConfig(
        functions=[FunctionDeclaration("f"), FunctionDeclaration("g", seconds=0.02)], on_function_call=function
    )
    async with owned_tasks() as start:
        tools = ToolRunner(config, start, answers.reply, answers.warnings.append, seconds=60.0)
        tools.start(call(name="f", call_id="c1"))
        tools.start(call(name="g", call_id="c2"))
        assert await answers.error() == "timeout"
        assert answers.results[0].call_id == "c2"
        assert tools.running == 1
        tools.close()


@pytest.mark.parametrize(
    ("kind", "error"),
    [*(("plain", error) for error in (ValueError, KeyError, StopIteration, SystemExit)), ("async", ValueError)],
)
async def test_an_exception_becomes_a_neutral_word(
    kind: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise error("the secret of the database")

    async def fails_later(*_: Any) -> None:
        fails()

    async with runner(fails if kind == "plain" else fails_later) as (tools, answers):
        tools.start(call())
        assert await answers.error() == "failed"
        assert "secret" not in answers.results[0].output
        (warning,) = answers.warnings
        assert warning.code == "tool_failed"
        assert "secret" not in warning.message
    assert "the secret of the database" in caplog.text, "the details are in the log"


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (call(name="g"), "unknown_function"),
        (call(name="__import__"), "unknown_function"),
        (call("[]"), "invalid_arguments"),
        (call("1"), "invalid_arguments"),
        (call("{"), "invalid_arguments"),
        (call('{"a":' * 100_000), "invalid_arguments"),
        (call("\ud800"), "invalid_arguments"),
    ],
)
async def test_what_is_not_declared_or_no_object_is_never_called(told: ToolCall, error: str) -> None:
    called: list[str] = []
    async with runner(lambda name, _: called.append(name)) as (tools, answers):
        tools.start(told)
        assert await answers.error() == error
        assert answers.warnings[0].code == f"tool_{error}"
    assert not called


@given(st.text(max_size=50))
def test_any_arguments_give_one_answer(arguments: str) -> None:
    async def run() -> None:
        async with runner(echo_later) as (tools, answers):
            tools.start(call(arguments))
            json.loads(await answers.first())
            assert len(answers.results) == 1

    asyncio.run(run())


async def test_a_result_that_is_too_large_or_has_no_json() -> None:
    results: list[Any] = ["x" * (RESULT_BYTES + 1), "x" * RESULT_BYTES, object(), {1j: 2}]
    async with runner(lambda *_: results.pop(0)) as (tools, answers):
        for number, expected in enumerate(["too_large", None, "failed", "failed"], start=1):
            tools.start(call(call_id=str(number)))
            output = await answers.nth(number)
            assert (json.loads(output)["error"] if expected else None) == expected


async def test_without_a_function_the_user_answers_the_event() -> None:
    async with runner(None) as (tools, answers):
        tools.start(call())
        await asyncio.sleep(0)
        assert not tools.running
        assert not answers.results


async def test_each_call_is_answered_once_and_only_so_many_at_once() -> None:
    let_go = asyncio.Event()

    async def function(*_: Any) -> str:
        await let_go.wait()
        return "ok"

    async with runner(function) as (tools, answers):
        for number in range(AT_ONCE):
            tools.start(call(call_id=str(number)))
            tools.start(call(call_id=str(number)))
        assert tools.running == AT_ONCE
        tools.start(call(call_id="one too many"))
        assert await answers.error() == "busy"
        let_go.set()
        await answers.nth(AT_ONCE + 1)
        assert len({result.call_id for result in answers.results}) == AT_ONCE + 1


async def test_the_end_of_the_session_cancels_and_silences() -> None:
    cancelled: list[bool] = []

    async def function(*_: Any) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with runner(function, seconds=0.01) as (tools, answers):
        tools.start(call())
        await asyncio.sleep(0)
        tools.close()
        tools.close()
        tools.start(call(call_id="c2"))
        await asyncio.sleep(0.02)
    assert cancelled
    assert not answers.results
    assert not answers.warnings


async def test_a_call_that_the_model_takes_back_gets_no_answer() -> None:
    async with runner(echo_later, seconds=0.02) as (tools, answers):
        tools.start(call())
        tools.cancel("c1")
        tools.cancel("another")
        tools.start(call(call_id="c2"))
        await answers.first()
        await asyncio.sleep(0.03)
    assert [result.call_id for result in answers.results] == ["c2"]


def test_threads_are_bounded_and_a_job_given_up_never_runs() -> None:
    threads = DaemonThreads(2)
    release = threading.Event()
    running = threading.Semaphore(0)
    ran: list[int] = []

    def work(number: int) -> int:
        running.release()
        release.wait(5)
        ran.append(number)
        return number

    jobs = [threads.submit(functools.partial(work, number)) for number in range(4)]
    assert running.acquire(timeout=5)
    assert running.acquire(timeout=5)
    assert not running.acquire(blocking=False)
    assert jobs[3].cancel()
    release.set()
    assert [job.result(5) for job in jobs[:3]] == [0, 1, 2]
    assert 3 not in ran


def test_a_function_that_never_returns_does_not_hold_up_the_end_of_the_process() -> None:
    program = """
import threading
from tandem_providers.tools import DaemonThreads
threads = DaemonThreads(2)
started = threading.Event()
threads.submit(lambda: (started.set(), threading.Event().wait()))
started.wait(5)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=20, check=True)
    assert done.returncode == 0
