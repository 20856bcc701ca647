"""What an agent may do with its own call: end it, hand it over, press keys. Off unless they are asked for.

None of them answers the model before it is known what came of it. A call that ends needs no answer, so the model has
nothing to talk on about; and where the caller spoke before the line was cut, that is what it is told.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from tandem.call_state import State
from tandem.call_types import CallStats
from tandem.tools.tool import Tool, ToolFailed
from tandem_providers.config import FunctionDeclaration
from tandem_providers.events import HangupRequested

if TYPE_CHECKING:
    from tandem.bridge import Bridge

HANG_UP: Final = "hang_up"
TRANSFER: Final = "transfer_call"
KEYS: Final = "send_dtmf"
NAMES: Final = (HANG_UP, TRANSFER, KEYS)

TOO_EARLY_SECONDS: Final = 10.0
"""A caller who has said nothing is not hung up on before."""
LOOK_SECONDS: Final = 0.1
"""How finely a call sees time pass; so do those who wait for it."""
PATIENCE_SECONDS: Final = 180.0
"""Longer than a goodbye or a transfer may take."""
_DIGITS: Final = re.compile(r"[0-9*#A-D]{1,32}")
_CALLER_SPOKE: Final = {
    "status": "not_done",
    "message": "The caller spoke before it was done, so it was not done. Ask for it again if it is still wanted.",
}


def builtin_tools(names: Collection[str], targets: Mapping[str, str], *, controlled: bool) -> list[Tool]:
    """Those that are asked for, as far as this call can have them: `controlled` by an API of its carrier."""
    tools: list[Tool] = []
    if HANG_UP in names:
        tools.append(Tool(_HANG_UP, _hang_up))
    if TRANSFER in names and controlled and targets:
        tools.append(_transfer(targets))
    if KEYS in names and controlled:
        tools.append(Tool(_KEYS, _press_keys))
    return tools


# Hanging up

_HANG_UP: Final = FunctionDeclaration(
    HANG_UP,
    "Ends the telephone call. Use it only when the conversation is over, and say goodbye first: the line is cut once "
    "your words have been heard.",
    {
        "type": "object",
        "properties": {"reason": {"type": "string", "description": "Why the call ends, in a few words."}},
    },
    seconds=PATIENCE_SECONDS,
)


async def _hang_up(arguments: Mapping[str, Any], call: Bridge) -> object:
    told, now = call.call, time.monotonic()
    started = told.started_at
    if not has_spoken(told.stats) and (started is None or now - started < TOO_EARLY_SECONDS):
        raise ToolFailed("too_early", "The call has only just begun, and the caller has not spoken yet. Go on.")
    if told.state is not State.LEAVING:
        call.tell(HangupRequested(str(arguments.get("reason", ""))[:200]))
    await _until(lambda: told.state not in (State.LEAVING, State.ENDED))
    return _CALLER_SPOKE


def has_spoken(stats: CallStats) -> bool:
    """Whether anything was heard of the caller so far."""
    return bool(stats.caller_turns or stats.dtmf or stats.barge_ins or stats.turn_latencies)


# Transfer


def _transfer(targets: Mapping[str, str]) -> Tool:
    declaration = FunctionDeclaration(
        TRANSFER,
        "Hands the caller over to somebody else on the telephone. Use it only if the caller wants that or has agreed.",
        {
            "type": "object",
            "properties": {
                "destination": {"type": "string", "enum": sorted(targets), "description": "To whom."},
                "message": {
                    "type": "string",
                    "description": "What the caller is told before, in one short sentence in the caller's language.",
                },
            },
            "required": ["destination", "message"],
        },
        seconds=PATIENCE_SECONDS,
    )

    async def run(arguments: Mapping[str, Any], call: Bridge) -> object:
        to = targets.get(str(arguments.get("destination")))
        if to is None:
            raise ToolFailed("unknown_destination", f"There is no such destination; there are {', '.join(targets)}.")
        message = str(arguments.get("message") or "").strip()[:300]
        speaks = call.capabilities is None or call.capabilities.speaks_while_it_waits
        before = call.line.orders
        if call.call.parking.busy or not call.transfer(to, message if message and speaks else None):
            raise ToolFailed("not_possible", "The call can not be handed over at the moment.")
        return await _outcome(call, before)

    return Tool(declaration, run)


# Keys

_KEYS: Final = FunctionDeclaration(
    KEYS,
    "Presses keys of the telephone, as an answering system of the other side may ask for.",
    {
        "type": "object",
        "properties": {"digits": {"type": "string", "pattern": "^[0-9*#A-D]{1,32}$", "description": "0-9 * # A-D"}},
        "required": ["digits"],
    },
    seconds=PATIENCE_SECONDS,
)


async def _press_keys(arguments: Mapping[str, Any], call: Bridge) -> object:
    digits = str(arguments.get("digits", "")).replace(" ", "")
    if not _DIGITS.fullmatch(digits):
        raise ToolFailed("invalid_arguments", "Keys are 0-9 * # A-D, 32 at most.")
    before = call.line.orders
    if call.call.parking.busy or not call.send_keys(digits):
        raise ToolFailed("not_possible", "No keys can be pressed at the moment.")
    return await _outcome(call, before)


async def _outcome(call: Bridge, before: int) -> object:
    """What came of an order to the carrier; a call that is somebody else's by then ends, and needs no answer."""
    await _until(lambda: not call.call.parking.busy and call.call.state is not State.ENDED)
    if call.line.orders == before:
        return _CALLER_SPOKE
    if call.line.news:
        return {"error": "failed", "message": call.line.news}
    return {"status": "done"}


async def _until(condition: Callable[[], bool]) -> None:
    """Look as often as the call itself does. One that is over cancels whoever waits for it."""
    while not condition():  # noqa: ASYNC110  # the call's states are pure: they wake nobody
        await asyncio.sleep(LOOK_SECONDS)
