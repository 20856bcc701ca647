"""The model behind a simulated voice: work handed over, functions called, their results awaited."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

from tandem.simulators.openai_checks import Refused
from tandem.simulators.openai_live_outlet import LiveOutlet
from tandem.simulators.openai_script import FunctionCall

INPUT_BYTES: Final = 32_768
INPUT_ITEMS: Final = 128
_FAILURES: Final = {
    "rate-limited-response": ("rate_limit_exceeded", "Rate limit reached on tokens per min."),
    "model-not-found": ("model_not_found", "The model does not exist or you do not have access to it."),
    "quota": ("insufficient_quota", "You exceeded your current quota, please check your plan and billing details."),
}


class Backend:
    """One delegation after the other; `done` is called when one has come to its end."""

    def __init__(self, faults: Mapping[str, str], outlet: LiveOutlet) -> None:
        self.settings: dict[str, Any] | None = None
        """The session's `responses`; None: this session has no such model."""
        self._faults = faults
        self._outlet = outlet
        self._delegation = ""
        self._waiting: dict[str, str | None] = {}
        """Calls of the response that waits, with their results as far as they came."""
        self._done: Callable[[], None] | None = None
        self._bytes = self._items = 0
        self._order = itertools.count()

    @property
    def is_busy(self) -> bool:
        """Somebody waits for it: meanwhile the voice hears, but does not answer."""
        return self._done is not None

    @property
    def functions(self) -> list[str]:
        return [tool["name"] for tool in (self.settings or {}).get("tools", ())]

    def delegate(self, calls: tuple[FunctionCall, ...], position_ms: int, done: Callable[[], None]) -> None:
        """Hand work over: the functions to be called for it."""
        self._done = done
        self._delegation = self._outlet.new_id("deleg")
        response_id = self._outlet.new_id("resp")
        self._outlet.emit(
            {
                "type": "session.delegation.created",
                "offset_ms": position_ms,
                "delegation": {
                    "id": self._delegation,
                    "type": "delegation",
                    "target": "responses",
                    "response_id": response_id,
                },
            }
        )
        self._respond(response_id, calls)

    def item(self, item: Mapping[str, Any]) -> None:
        """A client's `response.item.create`.

        Raises:
            Refused: nobody asked for it, or this session's buffer is full.
        """
        self._require()
        call_id, size = item["call_id"], len(item["output"].encode())
        if call_id not in self._waiting:
            raise Refused(f"No function call with call_id '{call_id}' awaits an output.", "invalid_value", "item")
        if self._bytes + size > INPUT_BYTES or self._items == INPUT_ITEMS:
            raise Refused("The response input buffer is full.", "response_input_buffer_full", "item")
        self._bytes += size
        self._items += 1
        self._waiting[call_id] = item["output"]

    def create(self) -> None:
        """A client's `response.create`: the response goes on.

        Raises:
            Refused: an output is missing, or there is nothing to go on with.
        """
        self._require()
        if not self._waiting:
            raise Refused("There is no delegated response to continue.", "invalid_request")
        missing = [call_id for call_id, output in self._waiting.items() if output is None]
        if missing:
            raise Refused(f"Missing outputs: {', '.join(missing)}.", "function_call_outputs_required")
        self._waiting.clear()
        self._respond(self._outlet.new_id("resp"), ())

    def _require(self) -> None:
        if self.settings is None:
            raise Refused("This session has no Responses delegation.", "invalid_request")

    def _respond(self, response_id: str, calls: tuple[FunctionCall, ...]) -> None:
        self._nested("response.created", response=_snapshot(response_id, "in_progress"))
        for index, call in enumerate(calls):
            self._call(index, call)
        failure = self._failure()
        if failure is not None:
            code, message = failure
            snapshot = {**_snapshot(response_id, "failed"), "error": {"code": code, "message": message}}
            self._nested("response.failed", response=snapshot)
            self._waiting.clear()
            self._end()
            return
        usage = {"input_tokens": 120, "output_tokens": 24, "total_tokens": 144}
        self._nested("response.completed", response={**_snapshot(response_id, "completed"), "usage": usage})
        if not calls:
            self._end()

    def _failure(self) -> tuple[str, str] | None:
        return next((told for name, told in _FAILURES.items() if self._faults.get(name, "connect") != "connect"), None)

    def _call(self, index: int, call: FunctionCall) -> None:
        call_id, item_id = self._outlet.new_id("call"), self._outlet.new_id("fc")
        name = call.name or next(iter(self.functions), "")
        self._waiting[call_id] = None
        item = {"id": item_id, "type": "function_call", "call_id": call_id, "name": name}
        place = {"output_index": index, "item_id": item_id}
        started = {**item, "arguments": "", "status": "in_progress"}
        done = {**item, "arguments": call.arguments, "status": "completed"}
        self._nested("response.output_item.added", output_index=index, item=started)
        self._nested("response.function_call_arguments.delta", **place, delta=call.arguments)
        self._nested("response.function_call_arguments.done", **place, name=name, arguments=call.arguments)
        for _ in range(2 if "duplicate-tool-calls" in self._faults else 1):
            self._nested("response.output_item.done", output_index=index, item=done)

    def _nested(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "sequence_number": next(self._order), **fields}
        self._outlet.emit({"type": "response.event", "delegation_id": self._delegation, "event": event})

    def _end(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done()


def _snapshot(response_id: str, status: str) -> dict[str, Any]:
    """A response as it is told within a session: what it consists of is left out."""
    return {"id": response_id, "object": "response", "status": status, "output": [], "tools": [], "instructions": None}
