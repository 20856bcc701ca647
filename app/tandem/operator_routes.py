"""The doors for operators who steer calls: list, place, inspect and control them. All want the API token."""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Path, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from tandem import logs
from tandem.agents import Agent
from tandem.bridge import Bridge
from tandem.call_state import State
from tandem.call_types import EndReason, Outbound
from tandem.guests import welcome
from tandem.idempotency import Idempotency, Mismatch
from tandem.operator_models import (
    CallRecord,
    CallSummary,
    InjectText,
    PlaceCall,
    Problem,
    SaySomething,
    SendKeys,
    TransferCall,
)
from tandem.outbound import NoCarrier, Order, carriers_of, dial, outcome
from tandem.reception import Reception
from tandem.settings import Settings
from tandem.switchboard import Refusal, Switchboard
from tandem.tolls import NotAllowed, Tolls, described

TALKS: Final = frozenset({State.TALKING, State.RECOVERING})


@dataclass(frozen=True, slots=True)
class Answer:
    """What an order is answered."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


log = logs.get(__name__)
_bearer = HTTPBearer(auto_error=False, description="The API_TOKEN of this server.")


@dataclass(slots=True)
class Desk:
    """What the requests of operators have in common beside the calls."""

    tolls: Tolls
    answers: Idempotency[asyncio.Future[Answer]] = field(default_factory=Idempotency)


def authorised(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> None:
    """Only who knows `API_TOKEN` may look at calls."""
    wanted = request.app.state.settings.api_token.get_secret_value().encode()
    if given is None or not secrets.compare_digest(given.credentials.encode(), wanted):
        raise HTTPException(401, "send the API_TOKEN as a bearer token", {"WWW-Authenticate": "Bearer"})
    welcome(request)


def switchboard_of(request: Request) -> Switchboard:
    board: Switchboard = request.app.state.switchboard
    return board


Board = Annotated[Switchboard, Depends(switchboard_of)]
CallId = Annotated[str, Path(max_length=300, description="The carrier's id of the call, or ours.")]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem} for status in (401, *statuses)}


router = APIRouter(tags=["calls"], dependencies=[Depends(authorised)])


@router.get("/calls", response_model=list[CallSummary], responses=_problems())
async def calls(board: Board) -> list[dict[str, Any]]:
    """Live calls and the last ended ones, without their transcripts."""
    return board.records()


@router.get("/calls/{call_id}", response_model=CallRecord, responses=_problems(404))
async def call(call_id: CallId, board: Board) -> dict[str, Any]:
    """One call with its transcript, as the caller heard it."""
    record = board.record(call_id)
    if record is None:
        raise HTTPException(404, "no such call, or it ended long ago")
    return record


@router.post(
    "/calls",
    status_code=201,
    response_model=CallSummary,
    responses=_problems(403, 409, 429, 502, 503),
    description="Place a call. Answered once the carrier has taken it, which is before anybody picks up.\n\n"
    f"Not called, unless OUTBOUND_ALLOW names them: {described()}.",
)
async def place(
    wish: PlaceCall,
    request: Request,
    idempotency_key: Annotated[
        str | None, Header(max_length=200, description="Within 24 hours the same key is the same call.")
    ] = None,
) -> Response:
    """See its description."""
    desk: Desk = request.app.state.desk
    if idempotency_key is None:
        return _answered(await _try(request.app, desk, wish), call_again=False)
    fingerprint, now = hashlib.sha256(wish.model_dump_json().encode()).digest(), time.monotonic()
    try:
        known = desk.answers.find(idempotency_key, fingerprint, now)
    except Mismatch:
        raise HTTPException(409, "this Idempotency-Key came with another request before") from None
    if known is not None:
        return _answered(await asyncio.shield(known), call_again=True)
    promise: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    desk.answers.keep(idempotency_key, fingerprint, promise, now)
    try:
        answer = await _try(request.app, desk, wish)
    except BaseException:
        desk.answers.forget(idempotency_key)
        promise.cancel()
        raise
    promise.set_result(answer)
    if answer.status not in (201, 502):  # nothing was tried: the same may be tried again
        desk.answers.forget(idempotency_key)
    return _answered(answer, call_again=False)


@router.delete("/calls/{call_id}", status_code=202, response_model=CallSummary, responses=_problems(404, 409))
async def hang_up(call_id: CallId, board: Board) -> dict[str, Any]:
    """End a call politely: the caller hears a goodbye. One that still rings is cancelled."""
    bridge = _live(board, call_id)
    bridge.hang_up(EndReason.OPERATOR)
    return board.describe(bridge)


@router.post(
    "/calls/{call_id}/transfer", status_code=202, response_model=CallSummary, responses=_problems(403, 404, 409, 429)
)
async def transfer(call_id: CallId, wish: TransferCall, request: Request, board: Board) -> dict[str, Any]:
    """Give the caller to a number or SIP URI. Who is busy or does not answer leaves the caller with the agent."""
    bridge = _carried(board, call_id)
    desk: Desk = request.app.state.desk
    try:
        desk.tolls.take_transfer(wish.to, time.monotonic())
    except NotAllowed as refusal:
        raise _refused(refusal) from None
    if not bridge.transfer(wish.to, wish.say, ring_seconds=wish.ring_seconds):
        raise _not_now(bridge)
    return board.describe(bridge)


@router.post("/calls/{call_id}/dtmf", status_code=202, response_model=CallSummary, responses=_problems(404, 409))
async def dtmf(call_id: CallId, wish: SendKeys, board: Board) -> dict[str, Any]:
    """Press keys for the far end to hear."""
    bridge = _carried(board, call_id)
    if not bridge.send_keys(wish.digits):
        raise _not_now(bridge)
    return board.describe(bridge)


@router.post("/calls/{call_id}/say", status_code=202, response_model=CallSummary, responses=_problems(404, 409))
async def say(call_id: CallId, wish: SaySomething, board: Board) -> dict[str, Any]:
    """Have the agent say something, word by word."""
    return _tell(board, _live(board, call_id), wish.text, aloud=True)


@router.post("/calls/{call_id}/inject", status_code=202, response_model=CallSummary, responses=_problems(404, 409))
async def inject(call_id: CallId, wish: InjectText, board: Board) -> dict[str, Any]:
    """Tell the agent something that the caller does not hear."""
    return _tell(board, _live(board, call_id), wish.text, aloud=False, respond=wish.respond)


# --- placing ----------------------------------------------------------------------------------------------------------


async def _try(app: FastAPI, desk: Desk, wish: PlaceCall) -> Answer:
    try:
        return await _place(app, desk, wish)
    except HTTPException as refusal:
        return Answer(refusal.status_code, {"detail": refusal.detail}, refusal.headers or {})


async def _place(app: FastAPI, desk: Desk, wish: PlaceCall) -> Answer:
    settings: Settings = app.state.settings
    board: Switchboard = app.state.switchboard
    carrier = wish.carrier or "".join([*carriers_of(app)][:1])
    from_ = wish.from_ or settings.outbound_from
    if not carrier:
        raise HTTPException(503, "this server has no carrier account to place calls with")
    if not from_:
        raise HTTPException(422, "`from` is missing, and OUTBOUND_FROM is not set")
    order = _order(settings, wish, carrier, from_)
    reception: Reception = app.state.reception
    if refusal := reception.refuses(order.agent):
        raise HTTPException(422, refusal)
    try:
        desk.tolls.may_reach(wish.to)
        if (busy := board.refuse()) is not None:
            raise _no_room(busy)
        desk.tolls.take(wish.to, time.monotonic())
        bridge = dial(app, order)
    except NotAllowed as no:
        raise _refused(no) from None
    except NoCarrier as missing:
        raise HTTPException(503, str(missing)) from None
    if isinstance(bridge, Refusal):
        raise _no_room(bridge)
    failure = await outcome(bridge)
    if failure is not None:
        raise HTTPException(502, str(failure))
    record = CallSummary.model_validate(board.describe(bridge)).model_dump(exclude={"transcript"})
    return Answer(201, record, {"Location": f"/calls/{record['call_id']}"})


def _order(settings: Settings, wish: PlaceCall, carrier: str, from_: str) -> Order:
    agent = settings.routes.default if wish.agent is None else settings.routes.named(wish.agent)
    if agent is None:
        raise HTTPException(422, f"`agent`: ROUTES_FILE has no {wish.agent!r}")
    changes = Agent("order", wish.instructions, wish.greeting, wish.voice)
    if changes != Agent("order"):
        agent = changes.over(agent)
    outbound = Outbound(wish.ring_seconds, wish.listen_first, wish.machine or "continue", wish.message or "")
    return Order(wish.to, from_, carrier, agent, outbound, detect_machine=wish.machine is not None)


def _answered(answer: Answer, *, call_again: bool) -> Response:
    again = {"Idempotent-Replayed": "true"} if call_again else {}
    return JSONResponse(answer.body, answer.status, {**answer.headers, **again})


# --- refusing ---------------------------------------------------------------------------------------------------------


def _no_room(refusal: Refusal) -> HTTPException:
    return HTTPException(503, f"no call is taken now: {refusal.value.replace('_', ' ')}", {"Retry-After": "5"})


def _refused(refusal: NotAllowed) -> HTTPException:
    words = f"`to` {refusal}"
    if refusal.slow:
        return HTTPException(429, words, {"Retry-After": str(math.ceil(refusal.retry_after))})
    return HTTPException(403, words)


def _live(board: Switchboard, call_id: str) -> Bridge:
    """The call, if it is up."""
    bridge = board.by_call(call_id)
    if bridge is not None and bridge.call.state is not State.ENDED:
        return bridge
    if bridge is None and board.record(call_id) is None:
        raise HTTPException(404, "no such call, or it ended long ago")
    raise HTTPException(409, "the call is over")


def _carried(board: Switchboard, call_id: str) -> Bridge:
    """The call, if it is up and its carrier can be told what to do."""
    bridge = _live(board, call_id)
    if bridge.line.api is None:
        raise HTTPException(409, f"this server has no credentials for {bridge.carrier.name}'s API")
    if bridge.call.state is not State.TALKING:
        raise _not_now(bridge)
    if bridge.call.parking.busy:
        raise HTTPException(409, "another order to the carrier is still being carried out")
    return bridge


def _not_now(bridge: Bridge) -> HTTPException:
    return HTTPException(409, f"the call is {bridge.call.state.value}: only one that is talking can be told that")


def _tell(board: Switchboard, bridge: Bridge, text: str, *, aloud: bool, respond: bool = True) -> dict[str, Any]:
    if bridge.call.state not in TALKS:
        raise _not_now(bridge)
    if not bridge.takes_text:
        raise HTTPException(409, "the provider that speaks in this call takes no text")
    bridge.tell_agent(text, aloud=aloud, respond=respond)
    return board.describe(bridge)
