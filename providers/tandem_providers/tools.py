"""Runs the functions that a model calls, off the audio path, and always has an answer for the model.

What may go wrong with a function stays here: the model hears a neutral word in time, the operator gets a warning and
the details in the log. Plain functions run in daemon threads, so that one that never returns delays neither a call nor
the end of the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final

import msgspec

from tandem_providers.commands import ToolResult
from tandem_providers.config import OnFunctionCall, ProcessConfig
from tandem_providers.events import ProviderWarning, ToolCall
from tandem_providers.tasks import StartTask

logger = logging.getLogger(__name__)

TOOL_SECONDS: Final = 10.0
"""A caller does not wait longer for one function."""
RESULT_BYTES: Final = 64 * 1024
"""More than a model can use in a phone call."""
AT_ONCE: Final = 16
"""Functions running for one session."""
THREADS: Final = 32
"""Plain functions running in the process; more wait in line, within their deadline."""


class DaemonThreads:
    """A bounded pool of threads that never holds up the end of the process. Threads are started as they are needed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._open = 0
        """Jobs running or waiting."""

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Run it as soon as a thread is free; a future cancelled before that never runs."""
        future: Future[Any] = Future()
        with self._lock:
            self._open += 1
            start = self._open > self._threads and self._threads < self._limit
            self._threads += start
        self._jobs.put((future, function))
        if start:
            threading.Thread(target=self._work, name="tandem-tool", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            future, function = self._jobs.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    # Not as it is: a SystemExit must not end the loop, nor a StopIteration confuse the future.
                    failure = RuntimeError(f"the function raised {type(error).__name__}")
                    failure.__cause__ = error
                    future.set_exception(failure)
                    del failure
            with self._lock:
                self._open -= 1
            del future, function


_threads = DaemonThreads(THREADS)


class _Refusal(Exception):
    """Why there is no result: a word and a sentence, fit for the model."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message


class ToolRunner:
    """The functions of one session.

    `reply` is called on the event loop, once for each call that was started, unless the session ends before that. A
    coroutine that does not give in to being cancelled is answered for at its deadline all the same, but it holds up
    the end of its session.
    """

    def __init__(
        self,
        config: ProcessConfig,
        start_task: StartTask,
        reply: Callable[[ToolResult], None],
        warn: Callable[[ProviderWarning], None],
        *,
        seconds: float = TOOL_SECONDS,
        threads: DaemonThreads = _threads,
    ) -> None:
        self._function = config.on_function_call
        self._declared = {function.name: function.seconds or seconds for function in config.functions}
        """How long each is waited for."""
        self._start_task = start_task
        self._reply = reply
        self._warn = warn
        self._threads = threads
        self._running: dict[str, tuple[asyncio.Task[None], asyncio.TimerHandle]] = {}
        self._closed = False

    @property
    def running(self) -> int:
        """Calls that have no answer yet."""
        return len(self._running)

    def start(self, call: ToolCall) -> None:
        """Call the function. Does nothing when the user handles `ToolCall` events, or after `close`."""
        function = self._function
        if function is None or self._closed or call.call_id in self._running:
            return
        try:
            arguments = self._arguments(call)
        except _Refusal as refusal:
            self._answer(call, refusal)
            return
        timer = asyncio.get_running_loop().call_later(self._declared[call.name], self._expire, call)
        task = self._start_task(self._run(function, call, arguments), name=f"tool {call.name}")
        self._running[call.call_id] = (task, timer)

    def cancel(self, call_id: str) -> None:
        """The model no longer wants this result: it gets none."""
        task, timer = self._running.pop(call_id, (None, None))
        if task is not None and timer is not None:
            timer.cancel()
            task.cancel()

    def close(self) -> None:
        """The session is over: nothing more is started or answered, what runs is cancelled. Idempotent."""
        self._closed = True
        for task, timer in self._running.values():
            timer.cancel()
            task.cancel()
        self._running.clear()

    def _arguments(self, call: ToolCall) -> Mapping[str, Any]:
        if call.name not in self._declared:
            raise _Refusal("unknown_function", "There is no such function.")
        if len(self._running) >= AT_ONCE:
            raise _Refusal("busy", "Too many functions are running.")
        try:
            arguments = msgspec.json.decode(call.arguments or "{}")
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            raise _Refusal("invalid_arguments", "The arguments are not valid JSON.") from None
        if not isinstance(arguments, dict):
            raise _Refusal("invalid_arguments", "The arguments are not a JSON object.")
        return arguments

    async def _run(self, function: OnFunctionCall, call: ToolCall, arguments: Mapping[str, Any]) -> None:
        result: str | _Refusal
        try:
            result = _output(await self._call(function, call.name, arguments))
        except _Refusal as refusal:
            result = refusal
        except Exception as error:
            logger.warning("function %s failed", call.name, exc_info=error)
            result = _Refusal("failed", "The function failed.")
        task, timer = self._running.get(call.call_id, (None, None))
        if timer is not None and task is asyncio.current_task():  # else it is too late: answered at the deadline
            timer.cancel()
            del self._running[call.call_id]
            self._answer(call, result)

    async def _call(self, function: OnFunctionCall, name: str, arguments: Mapping[str, Any]) -> Any:
        if _is_async(function):
            result = function(name, arguments)
        else:
            context = contextvars.copy_context()
            job = self._threads.submit(lambda: context.run(function, name, arguments))
            result = await asyncio.wrap_future(job)
        return await result if inspect.isawaitable(result) else result

    def _expire(self, call: ToolCall) -> None:
        task, _ = self._running.pop(call.call_id)
        self._answer(call, _Refusal("timeout", "The function did not answer in time."))
        task.cancel()

    def _answer(self, call: ToolCall, result: str | _Refusal) -> None:
        if isinstance(result, _Refusal):
            self._warn(ProviderWarning(f"tool_{result.error}", f"{call.name[:64]}: {result.message}"))
            result = _output({"error": result.error, "message": result.message})
        self._reply(ToolResult(call.call_id, result))


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - asks what calling it gives, not whether it can be called


def _output(result: object) -> str:
    """A string as it is, anything else as JSON; None is null."""
    if isinstance(result, str):
        encoded = result.encode(errors="replace")  # halves of surrogate pairs have no place on a wire
    else:
        try:
            encoded = msgspec.json.encode(result)
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
            logger.warning("a function's result of type %s has no form in JSON", type(result).__name__)
            raise _Refusal("failed", "The function failed.") from None
    if len(encoded) > RESULT_BYTES:
        raise _Refusal("too_large", "The result is too large.")
    return encoded.decode()
