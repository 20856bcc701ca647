"""Function calls of an OpenAI Live session: they belong to a model behind the voice, whose answers come nested.

One response of that model may call several functions. They are answered together, once it has completed: one item for
each, then one request to go on. A result that is missing, or that does not fit into what the server takes from a
session in all, would leave the call unanswered for ever, and the voice deaf; so there is always an answer, if need be
a tiny one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tandem_providers.commands import ToolResult
from tandem_providers.events import Event, GoingAway, ProviderWarning, ToolCall, ToolCallCancelled, Usage
from tandem_providers.openai_errors import presentable
from tandem_providers.openai_reader import flattened

INPUT_BYTES: Final = 32_768
INPUT_ITEMS: Final = 128
"""What a session takes in all from us for the model behind the voice."""
_NEARLY_FULL: Final = 0.75
PLACEHOLDER: Final = '{"error":"too large"}'
_KNOWN_CALLS: Final = 1024
_FAILURES: Final = frozenset({"response.failed", "response.incomplete", "response.cancelled", "error"})

Write = Callable[..., str]
"""Writes one message: its type, then its fields."""


@dataclass(slots=True)
class _Response:
    """One response of the model behind the voice."""

    id: str = ""
    open_calls: set[str] = field(default_factory=set)
    results: list[ToolResult] = field(default_factory=list)
    completed: bool = False


class Delegations:
    """Follows the work that the voice hands over."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._responses: dict[str, _Response] = {}
        """Of each delegation the one that is under way, or waits for its results."""
        self._calls: dict[str, str] = {}
        """Every call that was told, with its delegation."""
        self._bytes = self._items = 0
        self._is_going = False

    def nested(self, delegation: str, event: Mapping[str, Any]) -> list[Event]:
        """An event of the model behind the voice."""
        kind = event.get("type")
        if kind == "response.created":
            return self._begun(delegation, event)
        if kind == "response.output_item.done":
            return self._item(delegation, event.get("item"))
        if kind == "response.completed":
            return self._completed(delegation, event)
        if kind in _FAILURES:
            return self._failed(delegation, event)
        return []

    def result(self, result: ToolResult) -> list[Event]:
        """The answer to a call."""
        delegation = self._calls.get(result.call_id, "")
        response = self._responses.get(delegation)
        if response is None or result.call_id not in response.open_calls:
            return []
        response.open_calls.remove(result.call_id)
        response.results.append(result)
        return self._answer(delegation, response)

    def _begun(self, delegation: str, event: Mapping[str, Any]) -> list[Event]:
        events = self._drop(delegation)
        self._responses[delegation] = _Response(_response_id(event))
        return events

    def _item(self, delegation: str, item: Any) -> list[Event]:
        if not isinstance(item, dict) or item.get("type") != "function_call":
            return []
        call_id, name = item.get("call_id"), item.get("name")
        if item.get("status") not in ("completed", None) or not isinstance(call_id, str) or not isinstance(name, str):
            return []
        if not call_id or not name or call_id in self._calls:
            return []
        response = self._responses.setdefault(delegation, _Response())
        if len(self._calls) >= _KNOWN_CALLS:
            del self._calls[next(iter(self._calls))]
        self._calls[call_id] = delegation
        response.open_calls.add(call_id)
        arguments = item.get("arguments")
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
        return [ToolCall(call_id, name, text or "{}", response.id or delegation)]

    def _completed(self, delegation: str, event: Mapping[str, Any]) -> list[Event]:
        events = _usage(event)
        response = self._responses.get(delegation)
        if response is not None:
            response.completed = True
            events += self._answer(delegation, response)
        return events

    def _failed(self, delegation: str, event: Mapping[str, Any]) -> list[Event]:
        """The server forgets the calls of such a response; so do we."""
        events = [*_usage(event), *self._drop(delegation)]
        code, message = _failure(event)
        return [*events, ProviderWarning(code, message)]

    def _drop(self, delegation: str) -> list[Event]:
        response = self._responses.pop(delegation, None)
        return [ToolCallCancelled(call_id) for call_id in sorted(response.open_calls)] if response is not None else []

    def _answer(self, delegation: str, response: _Response) -> list[Event]:
        """Send what the calls gave, if all is there and the response is over."""
        if not response.completed or response.open_calls:
            return []
        del self._responses[delegation]
        if not response.results:
            return []
        events: list[Event] = []
        for index, result in enumerate(response.results):
            item = _output(result.call_id, result.output)
            rest = sum(_size(_output(later.call_id, PLACEHOLDER)) for later in response.results[index + 1 :])
            if self._bytes + _size(item) + rest > INPUT_BYTES:
                item = _output(result.call_id, PLACEHOLDER)
                message = "the results of this session's functions are more than the provider takes; one is left out"
                events.append(ProviderWarning("tool_result_left_out", message))
            self._bytes += _size(item)
            self._items += 1
            self._write("response.item.create", item=item)
        self._write("response.create")
        return events + self._leave_in_time()

    def _leave_in_time(self) -> list[Event]:
        """Another session has room for more results."""
        share = max(self._bytes / INPUT_BYTES, self._items / INPUT_ITEMS)
        if self._is_going or share < _NEARLY_FULL:
            return []
        self._is_going = True
        return [GoingAway(reason="function results fill the session")]


def _output(call_id: str, output: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _size(item: dict[str, Any]) -> int:
    return len(msgspec.json.encode(item))


def _response(event: Mapping[str, Any]) -> Mapping[str, Any]:
    response = event.get("response")
    return response if isinstance(response, dict) else {}


def _response_id(event: Mapping[str, Any]) -> str:
    response_id = _response(event).get("id")
    return response_id if isinstance(response_id, str) else ""


def _usage(event: Mapping[str, Any]) -> list[Event]:
    amounts = flattened(_response(event).get("usage"))
    return [Usage("response", amounts)] if amounts else []


def _failure(event: Mapping[str, Any]) -> tuple[str, str]:
    """Code and message of a response that did not complete."""
    response = _response(event)
    error = response.get("error") or response.get("incomplete_details") or event
    told = error if isinstance(error, dict) else {}
    code = told.get("code") or told.get("reason")
    message = told.get("message") or "the model behind the voice did not complete its work"
    return (code if isinstance(code, str) else "delegation_failed"), presentable(str(message))
