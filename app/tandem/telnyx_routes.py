"""The doors for Telnyx, both ways in: Call Control (events, and our commands over REST) and TeXML (documents).

Telnyx wants its events answered at once, sends them in any order, and sends them again. So a request is verified, told
from its repeats and answered; what it asks for over the network is done by a task of the server. Whoever is not Telnyx
changes nothing here.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Final

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response, WebSocket

from tandem import logs
from tandem.bridge import Bridge
from tandem.call_types import EndReason
from tandem.carriers import telnyx_webhook as webhook
from tandem.carriers.forms import Form, parse_form
from tandem.carriers.seen import Seen
from tandem.carriers.table import TELNYX, CarrierKind
from tandem.carriers.telnyx import CODECS, IN_TEXML, Codec, TelnyxStream, traits
from tandem.carriers.xml_answer import XmlAnswer
from tandem.doors import IncomingCall, let_in, stream_url_of, take_in, turn_away
from tandem.rest.port import CarrierApiError
from tandem.rest.telnyx import ALREADY_ENDED, TelnyxApi
from tandem.settings import Settings, TelnyxAccount
from tandem.switchboard import Refusal, Switchboard

SPEAK_SECONDS: Final = 10.0
"""How long an apology may take before the call is ended without its end being told."""
CONFIRM_SECONDS: Final = 2.0
"""How long a call that a GET speaks of may take to be found."""

_APOLOGY: Final = "Sorry, we can not take your call right now. Please try again later."
_OVER: Final = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})

log = logs.get(__name__)
router = APIRouter(tags=["telnyx"])


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
        traits=traits(codec, socket_ends_call=texml),
        dialect=partial(TelnyxStream, codec.format, account.l16_order),
    )


def codec_of(account: TelnyxAccount, *, texml: bool = False) -> Codec:
    """What its streams are asked for in."""
    return CODECS["PCMU" if texml and account.codec not in IN_TEXML else account.codec]


# --- Call Control -----------------------------------------------------------------------------------------------------


@router.post("/telnyx/events")
async def events(request: Request) -> Response:
    """Call Control webhooks. Whatever Telnyx says is answered 200: it would only say it again."""
    app: FastAPI = request.app
    body = await _genuine(request, _account(app.state.settings))
    if body is not None:
        try:
            event = webhook.parse_event(body)
        except ValueError as error:
            log.warning("an event that can not be read", problem=str(error))
        else:
            _act(app, event)
    return Response()


def _act(app: FastAPI, event: webhook.Event) -> None:
    """Do what an event asks for, once however often it comes."""
    desk: Desk = app.state.telnyx
    if event.event_id and not desk.events.is_news(event.event_id, time.monotonic()):
        return
    match event.kind:
        case "call.initiated" if event.incoming:
            _ring(app, event)
        case "call.answered" if event.session and not event.placed:
            _start(app, _order_stream(app, event.call_id, event.session), "stream")
        case "streaming.failed":
            log.error("telnyx could not stream", call_id=event.call_id, problem=event.cause)
            _start(app, _apologise(app, event.call_id), "apology")
        case "call.speak.ended" if event.call_id in desk.speaking:
            desk.speaking[event.call_id].set()
        case "call.hangup":
            _hung_up(app, event)
        case _:
            log.debug("telnyx tells", call_id=event.call_id, event_kind=event.kind)


def _ring(app: FastAPI, event: webhook.Event) -> None:
    desk: Desk = app.state.telnyx
    if event.call_id in desk.ended:
        return
    kind = carrier_of(_account(app.state.settings))
    taken = take_in(app, kind, IncomingCall(event.call_id, "", event.caller, event.called))
    if isinstance(taken, Refusal):
        _start(app, _refuse(app, event.call_id), "reject")
    else:
        _start(app, _answer(app, taken), "answer")


async def _refuse(app: FastAPI, call_id: str) -> None:
    try:
        await _api(app).reject(call_id)
    except CarrierApiError as error:
        log.warning("a call could not be rejected", call_id=call_id, error=error)


async def _answer(app: FastAPI, bridge: Bridge) -> None:
    call_id = bridge.identity.call_id
    try:
        await _api(app).answer(call_id, bridge.identity.session)
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
        bridge.line_is_ours = False


async def _order_stream(app: FastAPI, call_id: str, session: str) -> None:
    """Have an answered call streamed here. Another instance may have answered it: the client state says enough."""
    settings: Settings = app.state.settings
    board: Switchboard = app.state.switchboard
    bridge = board.by_session(session)
    try:
        await _api(app).start_stream(call_id, session, stream_url_of(settings, TELNYX, session, call_id))
    except CarrierApiError as error:
        if not _is_over(error):
            log.error("a stream could not be ordered", call_id=call_id, error=error)
            await _apologise(app, call_id)
        elif bridge is not None:
            bridge.carrier_ended()


async def _apologise(app: FastAPI, call_id: str) -> None:
    """There is no stream, so the caller is told in Telnyx's own voice; then the call ends."""
    api, desk, board = _api(app), app.state.telnyx, app.state.switchboard
    bridge = board.by_call(call_id)
    if bridge is not None:
        bridge.stream_failed()
    said = desk.speaking[call_id] = asyncio.Event()
    try:
        await api.speak(call_id, _APOLOGY)
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


def _hung_up(app: FastAPI, event: webhook.Event) -> None:
    desk: Desk = app.state.telnyx
    board: Switchboard = app.state.switchboard
    desk.ended.is_news(event.call_id, time.monotonic())
    log.info("telnyx ended the call", call_id=event.call_id, cause=event.cause, by=event.source)
    if event.call_id in desk.speaking:
        desk.speaking[event.call_id].set()
    bridge = board.by_call(event.call_id)
    if bridge is not None:
        bridge.carrier_ended()


def _is_over(error: CarrierApiError) -> bool:
    return error.status == 404 or error.code == ALREADY_ENDED


# --- TeXML ------------------------------------------------------------------------------------------------------------


@router.get("/telnyx/voice")
@router.post("/telnyx/voice")
async def voice(request: Request) -> Response:
    """An inbound call of a TeXML application: admit it, begin to open its provider, and tell Telnyx where to stream."""
    settings: Settings = request.app.state.settings
    account = _account(settings)
    form = await _form(request, account)
    if form is None:
        return _texml(webhook.nothing())
    call = _call_of(form)
    if request.method == "GET":
        await _confirm(request.app, call.call_id)
    kind = carrier_of(account, texml=True)
    bridge = take_in(request.app, kind, IncomingCall(call.call_id, "", call.caller, call.called))
    if isinstance(bridge, Refusal):
        return _texml(webhook.reject_busy())
    session = bridge.identity.session
    return _texml(
        webhook.connect_stream(
            stream_url_of(settings, kind, session, call.call_id),
            codec_of(account, texml=True),
            status_callback=f"{settings.origin}/telnyx/status",
            parameters={"session": session},
        )
    )


async def _confirm(app: FastAPI, call_id: str) -> None:
    """A GET's signature does not cover its parameters, so Telnyx is asked whether there is such a call.

    Raises:
        HTTPException: 403, there is none. When Telnyx does not answer, the call is taken on its word.
    """
    try:
        async with asyncio.timeout(CONFIRM_SECONDS):
            alive = await _api(app).is_alive(call_id)
    except (CarrierApiError, TimeoutError) as error:
        log.warning("a call asked about by GET could not be confirmed; use POST", call_id=call_id, error=error)
        return
    if alive is False:
        log.warning("a GET speaks of a call that Telnyx does not know", call_id=call_id)
        raise HTTPException(403)


@router.post("/telnyx/status")
async def status(request: Request) -> Response:
    """Call and stream status callbacks of TeXML."""
    board: Switchboard = request.app.state.switchboard
    form = await _form(request, _account(request.app.state.settings))
    if form is None:
        return _texml(webhook.nothing())
    call = _call_of(form)
    bridge = board.by_call(call.call_id)
    event = form.get("StreamEvent")
    if event == "stream-failed":
        log.error("telnyx could not stream", call_id=call.call_id, problem=form.get("StreamError"))
        if bridge is not None:
            bridge.stream_failed()
    elif call.status in _OVER and not event:
        log.info("telnyx ended the call", call_id=call.call_id, status=call.status, cause=form.get("HangupCause"))
        if bridge is not None:
            bridge.carrier_ended()
    return _texml(webhook.nothing())


# --- the media socket -------------------------------------------------------------------------------------------------


@router.websocket("/telnyx/media/{token}")
async def media(websocket: WebSocket, token: str) -> None:
    """The media stream. Refused before the upgrade (403) unless its token is ours and unused: Telnyx signs no upgrade.

    The same token comes in a header where the stream was ordered with it; one that differs is refused.
    """
    account = websocket.app.state.settings.telnyx
    if account is None:
        await turn_away(websocket, "not_configured")
        return
    given = websocket.headers.get(webhook.AUTH_TOKEN_HEADER, token)
    if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode("utf-8", "surrogatepass")):
        await turn_away(websocket, "auth_token")
        return
    await let_in(websocket, carrier_of(account), "", token)


# --- who may come in --------------------------------------------------------------------------------------------------


def _account(settings: Settings) -> TelnyxAccount:
    if settings.telnyx is None:
        raise HTTPException(404)
    return settings.telnyx


async def _genuine(request: Request, account: TelnyxAccount) -> bytes | None:
    """The body, once it is certain that Telnyx sent it; None when it was obeyed before.

    Raises:
        HTTPException: 403.
    """
    body = await request.body()
    signature = request.headers.get(webhook.SIGNATURE_HEADER, "")
    timestamp = request.headers.get(webhook.TIMESTAMP_HEADER, "")
    route = request.url.path
    problem = webhook.verify(body, signature, timestamp, account.public_key, time.time())
    if problem:
        request.app.state.metrics.webhooks.labels(route, "403").inc()
        log.warning("webhook refused", route=route, reason=problem)
        raise HTTPException(403)
    request.app.state.metrics.webhooks.labels(route, "200").inc()
    desk: Desk = request.app.state.telnyx
    query = request.scope["query_string"].decode("latin-1")
    once = webhook.fingerprint(timestamp, signature, body, f"{request.method} {route}?{query}")
    return body if desk.requests.is_news(once, time.monotonic()) else None


async def _form(request: Request, account: TelnyxAccount) -> Form | None:
    """The parameters of a TeXML request; None when it was obeyed before.

    Raises:
        HTTPException: 403, or 400 when they can't be read.
    """
    body = await _genuine(request, account)
    if body is None:
        return None
    try:
        return parse_form(request.scope["query_string"] if request.method == "GET" else body)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


def _call_of(form: Form) -> webhook.VoiceRequest:
    try:
        return webhook.voice_request(form)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


def _api(app: FastAPI) -> TelnyxApi:
    api: TelnyxApi = app.state.apis[TELNYX.name]
    return api


def _start(app: FastAPI, work: Coroutine[Any, Any, None], what: str) -> None:
    """Do this beside the request, which Telnyx wants answered at once."""
    app.state.start(work, name=f"telnyx {what}")


def _texml(answer: XmlAnswer) -> Response:
    return Response(answer.body, media_type=answer.content_type)
