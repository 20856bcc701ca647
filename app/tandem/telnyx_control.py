"""What Telnyx's events ask of us: calls are answered, streamed, moved and let go over its API.

Events come in any order, and again. What they ask for over the network is done by tasks of the server, so that each
event can be answered at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Final

from fastapi import FastAPI

from tandem import logs
from tandem.bridge import Bridge
from tandem.call_types import EndReason
from tandem.carriers import telnyx_webhook as webhook
from tandem.carriers.seen import Seen
from tandem.carriers.table import TELNYX, CarrierKind
from tandem.carriers.telnyx import CODECS, IN_TEXML, Codec, TelnyxStream, traits
from tandem.doors import IncomingCall, stream_url, stream_url_of, take_in
from tandem.rest.port import CarrierApiError
from tandem.rest.telnyx import ALREADY_ENDED, STREAMING, TelnyxApi
from tandem.settings import Settings, TelnyxAccount
from tandem.switchboard import Refusal, Switchboard

SPEAK_SECONDS: Final = 10.0
"""How long an apology may take before the call is ended without its end being told."""

_FORMER_STREAM: Final = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between orders of a stream while the former one is not over."""
APOLOGY: Final = "Sorry, we can not take your call right now. Please try again later."
_NOT_REACHED: Final = {
    "user_busy": "is busy",
    "timeout": "did not answer",
    "no_answer": "did not answer",
    "no_user_response": "did not answer",
    "call_rejected": "did not take the call",
}
_UNANSWERED: Final = {
    "user_busy": EndReason.BUSY,
    "call_rejected": EndReason.BUSY,
    "timeout": EndReason.NO_ANSWER,
    "no_answer": EndReason.NO_ANSWER,
    "no_user_response": EndReason.NO_ANSWER,
    "subscriber_absent": EndReason.NO_ANSWER,
    "normal_clearing": EndReason.CALLER_HUNG_UP,
    "originator_cancel": EndReason.CALLER_HUNG_UP,
}
"""Why a call that we placed came to nothing; any other cause: it could not be placed."""

log = logs.get(__name__)


@dataclass(slots=True)
class Desk:
    """What the webhooks of one server have in common beside the calls."""

    requests: Seen = field(default_factory=lambda: Seen(2 * webhook.WINDOW_SECONDS, 200_000))
    """What is not obeyed twice, because anyone could send it again."""
    events: Seen = field(default_factory=lambda: Seen(3_600, 200_000))
    """What Telnyx has told already."""
    ended: Seen = field(default_factory=lambda: Seen(3_600, 50_000))
    """Calls that are over: a late word of their beginning begins nothing."""
    speaking: dict[str, asyncio.Event] = field(default_factory=dict)
    """Calls that are being told an apology; set when it has been said."""


@lru_cache
def carrier_of(account: TelnyxAccount, *, texml: bool = False) -> CarrierKind:
    """Telnyx as this account's calls speak it."""
    codec = codec_of(account, texml=texml)
    return replace(
        TELNYX,
        traits=traits(codec, texml=texml),
        dialect=partial(TelnyxStream, codec.format, account.l16_order),
    )


def codec_of(account: TelnyxAccount, *, texml: bool = False) -> Codec:
    """What its streams are asked for in."""
    return CODECS["PCMU" if texml and account.codec not in IN_TEXML else account.codec]


def act(app: FastAPI, event: webhook.Event) -> None:
    """Do what an event asks for, once however often it comes."""
    desk: Desk = app.state.telnyx
    if event.event_id and not desk.events.is_news(event.event_id, time.monotonic()):
        return
    bridge = _bridge_of(app, event)
    match event.kind:
        case "call.initiated" if event.incoming:
            _start(app, _ring(app, event), "ring")
        case "call.answered" if event.placed:
            if bridge is not None:
                bridge.answered()
        case "call.answered" if event.session:
            _start(app, _order_stream(app, event.call_id, event.session), "stream")
        case "call.bridged":
            if bridge is not None and bridge.wants_stream:
                bridge.returned(moved=True)
        case "call.hangup" if event.transfer_of:
            if bridge is not None and bridge.wants_stream:
                _not_moved(app, bridge, event)
        case "call.machine.detection.ended" | "call.machine.premium.detection.ended":
            if bridge is not None and event.cause.startswith("machine"):
                bridge.machine_found(ready=False)
            elif bridge is not None and event.cause.startswith("human"):  # else it is not sure
                bridge.human_found()
        case "call.machine.greeting.ended" | "call.machine.premium.greeting.ended":
            if bridge is not None:
                bridge.machine_found(ready=True)
        case "streaming.failed":
            log.error("telnyx could not stream", call_id=event.call_id, problem=event.cause)
            _start(app, _apologise(app, event.call_id), "apology")
        case "call.speak.ended" if event.call_id in desk.speaking:
            desk.speaking[event.call_id].set()
        case "call.hangup":
            _hung_up(app, event, bridge)
        case _:
            log.debug("telnyx tells", call_id=event.call_id, event_kind=event.kind)


def _bridge_of(app: FastAPI, event: webhook.Event) -> Bridge | None:
    """The call that an event is about: that of its leg, of the leg that it is a transfer of, or one that we placed and
    that learns its id here."""
    board: Switchboard = app.state.switchboard
    bridge = board.by_call(event.transfer_of or event.call_id)
    if bridge is None and event.placed:
        bridge = board.by_session(event.session)
        if bridge is not None and not bridge.identity.call_id:
            bridge.identity.call_id = event.call_id
    return bridge


def _not_moved(app: FastAPI, bridge: Bridge, event: webhook.Event) -> None:
    """The other side did not take the call: the caller is still ours, and comes back to the agent."""
    why = _NOT_REACHED.get(event.cause, "could not be reached")
    bridge.returned(moved=False, news=f"The transfer did not work: the other side {why}.")
    identity = bridge.identity
    command_id = f"back-{event.event_id or event.call_id}"
    _start(app, _order_stream(app, identity.call_id, identity.session, command_id), "stream")


async def _ring(app: FastAPI, event: webhook.Event) -> None:
    desk: Desk = app.state.telnyx
    if event.call_id in desk.ended:
        return
    settings: Settings = app.state.settings
    if settings.telnyx is None:
        return
    kind = carrier_of(settings.telnyx)
    taken = await take_in(app, kind, IncomingCall(event.call_id, "", event.caller, event.called))
    if isinstance(taken, Refusal):
        await _refuse(app, event.call_id)
    else:
        await _answer(app, taken)


async def _refuse(app: FastAPI, call_id: str) -> None:
    try:
        await telnyx_api(app).reject(call_id)
    except CarrierApiError as error:
        log.warning("a call could not be rejected", call_id=call_id, error=error)


async def _answer(app: FastAPI, bridge: Bridge) -> None:
    call_id = bridge.identity.call_id
    try:
        await telnyx_api(app).answer(call_id, bridge.identity.session)
    except CarrierApiError as error:
        if _is_over(error):
            bridge.carrier_ended()
            return
        log.error("a call could not be answered", call_id=call_id, error=error)
        bridge.hang_up(EndReason.NO_STREAM)
        return
    settings: Settings = app.state.settings
    if settings.secret_key_is_shared and bridge.call.started_at is None:
        # Another instance may be told of the answer, or be given the stream; then the call is that one's to end. If it
        # is this one's after all, its start says so.
        bridge.line.is_ours = False


async def _order_stream(app: FastAPI, call_id: str, session: str, command_id: str = "") -> None:
    """Have an answered call streamed here. Another instance may have answered it: the client state says enough."""
    board: Switchboard = app.state.switchboard
    try:
        await _start_stream(app, call_id, session, command_id)
    except CarrierApiError as error:
        bridge = board.by_session(session)
        if not _is_over(error):
            log.error("a stream could not be ordered", call_id=call_id, error=error)
            await _apologise(app, call_id)
        elif bridge is not None:
            bridge.carrier_ended()


async def _start_stream(app: FastAPI, call_id: str, session: str, command_id: str) -> None:
    """A call's former stream may still be on its way out: it is waited for.

    Raises:
        CarrierApiError: there is no stream.
    """
    settings: Settings = app.state.settings
    board: Switchboard = app.state.switchboard
    bridge = board.by_session(session)
    for number, wait in enumerate((*_FORMER_STREAM, None)):
        url = stream_url_of(settings, TELNYX, session, call_id) if bridge is None else stream_url(settings, bridge)
        try:
            # A refused order has used its id up.
            await telnyx_api(app).start_stream(call_id, session, url, f"{command_id}-{number}" if command_id else "")
            return
        except CarrierApiError as error:
            if error.code != STREAMING or not command_id or wait is None:
                raise
            await asyncio.sleep(wait)


async def _apologise(app: FastAPI, call_id: str) -> None:
    """There is no stream, so the caller is told in Telnyx's own voice; then the call ends."""
    api, desk, board = telnyx_api(app), app.state.telnyx, app.state.switchboard
    bridge = board.by_call(call_id)
    if bridge is not None:
        bridge.stream_failed()
    said = desk.speaking[call_id] = asyncio.Event()
    try:
        await api.speak(call_id, APOLOGY)
        async with asyncio.timeout(SPEAK_SECONDS):
            await said.wait()
    except TimeoutError:
        pass
    except CarrierApiError as error:
        log.warning("no apology could be said", call_id=call_id, error=error)
    finally:
        desk.speaking.pop(call_id, None)
    try:
        await api.hang_up(call_id)
    except CarrierApiError as error:
        log.error("the call could not be ended at the carrier", call_id=call_id, error=error)


def _hung_up(app: FastAPI, event: webhook.Event, bridge: Bridge | None) -> None:
    desk: Desk = app.state.telnyx
    desk.ended.is_news(event.call_id, time.monotonic())
    log.info("telnyx ended the call", call_id=event.call_id, cause=event.cause, by=event.source)
    if event.call_id in desk.speaking:
        desk.speaking[event.call_id].set()
    if bridge is not None:
        why = _UNANSWERED.get(event.cause, EndReason.NOT_PLACED)
        bridge.carrier_ended(why if event.placed else EndReason.CALLER_HUNG_UP)


def _is_over(error: CarrierApiError) -> bool:
    return error.status == 404 or error.code == ALREADY_ENDED


def telnyx_api(app: FastAPI) -> TelnyxApi:
    api: TelnyxApi = app.state.apis[TELNYX.name]
    return api


def _start(app: FastAPI, work: Coroutine[Any, Any, None], what: str) -> None:
    """Do this beside the request, which Telnyx wants answered at once."""
    app.state.start(work, name=f"telnyx {what}")
