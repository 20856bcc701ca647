"""The doors for Plivo: its webhooks and its media socket. Whoever is not Plivo changes nothing here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response, WebSocket

from tandem import logs
from tandem.bridge import Bridge
from tandem.call_types import EndReason
from tandem.carriers import plivo_webhook as webhook
from tandem.carriers.plivo import content_type, traits
from tandem.carriers.seen import Seen
from tandem.carriers.table import PLIVO, CarrierKind
from tandem.carriers.xml_answer import XmlAnswer
from tandem.doors import IncomingCall, let_in, stream_url, take_in, turn_away, verdict_of, without_values
from tandem.guests import welcome
from tandem.settings import PlivoAccount, Settings
from tandem.switchboard import Refusal, Switchboard

NONCE_SECONDS = 600.0
"""A signature has no time in it: so long a request that comes again is known for a repeat."""

RING_SECONDS = 30
"""How long somebody else's telephone rings, if nothing is said."""
_APOLOGY = "Sorry, we can not take your call right now. Please try again later."
_UNANSWERED = {
    "busy": EndReason.BUSY,
    "no-answer": EndReason.NO_ANSWER,
    "timeout": EndReason.NO_ANSWER,
    "failed": EndReason.NOT_PLACED,
}
"""Why a call that we placed came to nothing."""
_NOT_REACHED = {"busy": "is busy", "no-answer": "did not answer", "timeout": "did not answer"}

log = logs.get(__name__)
router = APIRouter(tags=["plivo"])


@dataclass(slots=True)
class Desk:
    """What the webhooks of one server have in common beside the calls."""

    nonces: Seen = field(default_factory=lambda: Seen(NONCE_SECONDS, 100_000))


@lru_cache
def carrier_of(account: PlivoAccount) -> CarrierKind:
    """Plivo as this account's calls speak it."""
    return replace(PLIVO, traits=traits(account.codec))


@router.get("/plivo/voice")
@router.post("/plivo/voice")
async def voice(request: Request) -> Response:
    """The answer URL: admit the call, begin to open its provider, and tell Plivo where to stream.

    With `session`: a call that we placed, and that somebody has picked up. With `transfer`: whom to call instead of us.
    """
    app: FastAPI = request.app
    settings: Settings = app.state.settings
    verdict, call = await _verified(request, settings, _account(settings))
    asked = request.query_params
    placed = _placed(app, request, call)
    if call.over:  # an application without a hangup URL tells its answer URL
        return _over(call, placed or _board(app).by_call(call.call_id))
    if "transfer" in asked:
        return _xml(_put_through(settings, asked))
    if placed is not None:
        placed.answered()  # it is not asked before somebody has picked up
        return _xml(stream_of(settings, placed))
    if "session" in asked:
        log.warning("nobody here has placed this call, or has it any longer", call_id=call.call_id)
        return _xml(webhook.hangup())
    return _xml(await _take_in(app, verdict, call))


async def _take_in(app: FastAPI, verdict: webhook.Verdict, call: webhook.VoiceRequest) -> XmlAnswer:
    """What becomes of somebody who calls."""
    settings: Settings = app.state.settings
    account = _account(settings)
    if not _is_news(app, verdict) and _board(app).by_call(call.call_id) is None:
        log.warning("a call that was asked about before is over", call_id=call.call_id)
        return webhook.hangup()
    incoming = IncomingCall(call.call_id, account.auth_id if verdict.own else "", call.caller, call.called)
    taken = await take_in(app, carrier_of(account), incoming)
    return webhook.busy() if isinstance(taken, Refusal) else stream_of(settings, taken)


def _put_through(settings: Settings, asked: Mapping[str, str]) -> XmlAnswer:
    ring = asked.get("ring", "")
    return webhook.dial(
        asked["transfer"],
        caller_id=asked.get("as", ""),
        ring_seconds=int(ring) if ring.isascii() and ring.isdigit() else RING_SECONDS,
        after_url=asked.get("after") or f"{settings.own_origin}/plivo/status?after=transfer",
    )


def stream_of(settings: Settings, bridge: Bridge) -> XmlAnswer:
    """The document that streams this call to us."""
    return webhook.stream_answer(
        stream_url(settings, bridge),
        content_type=content_type(bridge.carrier.traits.formats[0]),
        status_url=f"{settings.own_origin}/plivo/status",
        session=bridge.identity.session,
    )


@router.post("/plivo/status")
async def status(request: Request) -> Response:
    """What Plivo tells of a call's end and of its stream; with `after=transfer`, of somebody else who was called."""
    app: FastAPI = request.app
    settings: Settings = app.state.settings
    _, call = await _verified(request, settings, _account(settings))
    bridge = _placed(app, request, call) or _board(app).by_call(call.call_id)
    if request.query_params.get("after") == "transfer" and call.dialled:
        return _xml(_after_transfer(settings, bridge, call.dialled))
    if call.machine and bridge is not None:
        bridge.machine_found(ready=False)  # Plivo does not tell the end of its greeting
    if not call.stream_event:
        return _over(call, bridge) if call.over else _xml(webhook.empty())
    match call.stream_event:
        case "failed":
            log.error("plivo could not stream", call_id=call.call_id, problem=call.stream_reason)
            if bridge is not None and bridge.call.started_at is None:
                bridge.hang_up(EndReason.NO_STREAM)
        case "degraded":
            log.warning("plivo's buffer fills up", call_id=call.call_id, problem=call.stream_reason)
        case _:
            log.debug("plivo tells of the stream", call_id=call.call_id, event_kind=call.stream_event)
    return _xml(webhook.empty())


@router.websocket("/plivo/media/{token}")
async def media(websocket: WebSocket, token: str) -> None:
    """The media stream. Refused before the upgrade (403) unless its token is ours and unused.

    Plivo signs the upgrade, too, but over a URL whose form it does not document: that one is only logged.
    """
    settings: Settings = websocket.app.state.settings
    account = settings.plivo
    if account is None:
        await turn_away(websocket, "not_configured", status=404)
        return
    path = _raw_path(websocket.scope["raw_path"])
    headers = dict(websocket.headers)
    forms = [webhook.upgrade_signed_as(path, origin, account.auth_token, headers) for origin in settings.origins]
    signed = next(filter(None, forms), "")
    log.info("plivo opens a media socket", signed_as=signed.replace(token, "TOKEN") or "nothing known")
    await let_in(websocket, carrier_of(account), account.auth_id, token)


def _after_transfer(settings: Settings, bridge: Bridge | None, outcome: str) -> XmlAnswer:
    """The other side has answered, has hung up, or never answered: then the caller is still ours."""
    if outcome in ("answered", "completed") and bridge is not None:
        bridge.returned(moved=True)
    if outcome in ("answered", "told"):
        return webhook.empty()
    if outcome == "completed":
        return webhook.hangup()
    if bridge is None or not bridge.wants_stream:
        return webhook.speak_and_hangup(_APOLOGY)
    why = _NOT_REACHED.get(outcome, "could not be reached")
    bridge.returned(moved=False, news=f"The transfer did not work: the other side {why}.")
    return stream_of(settings, bridge)


def _account(settings: Settings) -> PlivoAccount:
    if settings.plivo is None:
        raise HTTPException(404)
    return settings.plivo


async def _verified(
    request: Request, settings: Settings, account: PlivoAccount
) -> tuple[webhook.Verdict, webhook.VoiceRequest]:
    """What the request says of which call, once it is certain that Plivo sent it.

    Raises:
        HTTPException: 403; 400 when it is of no call.
    """
    asked = webhook.Webhook(
        method=request.method,
        path=_raw_path(request.scope["raw_path"]),
        query=request.scope["query_string"].decode("latin-1"),
        content_type=request.headers.get("content-type", ""),
        body=await request.body(),
        headers=dict(request.headers),
    )
    keys = webhook.Keys(account.auth_token, v2=account.signature_v2)
    verdict = verdict_of(settings, lambda origin: webhook.verify(asked, origin, keys))
    route = request.url.path
    if not verdict.genuine or verdict.form is None:
        request.app.state.metrics.webhooks.labels(route, "403").inc()
        log.warning("webhook refused", route=route, reason=verdict.reason, signed_url=without_values(verdict.url))
        raise HTTPException(403)
    welcome(request)
    request.app.state.metrics.webhooks.labels(route, "200").inc()
    try:
        return verdict, webhook.voice_request(verdict.form)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


def _placed(app: FastAPI, request: Request, call: webhook.VoiceRequest) -> Bridge | None:
    """The call that we placed ourselves and whose URL this is: it learns its id here."""
    bridge = _board(app).by_session(request.query_params.get("session", ""))
    if bridge is None or bridge.carrier.name != PLIVO.name:
        return None
    if bridge.identity.call_id in ("", call.request_id):  # what placing it answered is the request's id
        bridge.identity.call_id = call.call_id
    return bridge if bridge.identity.call_id == call.call_id else None


def _over(call: webhook.VoiceRequest, bridge: Bridge | None) -> Response:
    log.info("plivo ended the call", call_id=call.call_id, status=call.status, cause=call.cause)
    if bridge is not None:
        placed = call.direction == "outbound"
        bridge.carrier_ended(
            _UNANSWERED.get(call.status, EndReason.CALLER_HUNG_UP) if placed else EndReason.CALLER_HUNG_UP
        )
    return _xml(webhook.empty())


def _is_news(app: FastAPI, verdict: webhook.Verdict) -> bool:
    """Whether this very request came for the first time."""
    desk: Desk = app.state.plivo
    return desk.nonces.is_news(verdict.nonce, time.monotonic())


def _board(app: FastAPI) -> Switchboard:
    board: Switchboard = app.state.switchboard
    return board


def _raw_path(path: bytes) -> str:
    return path.decode("latin-1").partition("?")[0]


def _xml(answer: XmlAnswer) -> Response:
    return Response(answer.body, media_type=answer.content_type)
