"""The doors for Telnyx, both ways in: Call Control (events) and TeXML (documents).

A request is verified, told from its repeats, and answered at once. Whoever is not Telnyx changes nothing here.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Final

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response, WebSocket

from tandem import logs
from tandem.bridge import Bridge
from tandem.carriers import telnyx_webhook as webhook
from tandem.carriers.forms import Form, parse_form
from tandem.carriers.xml_answer import XmlAnswer
from tandem.doors import IncomingCall, let_in, stream_url, take_in, turn_away
from tandem.guests import welcome
from tandem.rest.port import CarrierApiError
from tandem.settings import Settings, TelnyxAccount
from tandem.switchboard import Refusal, Switchboard
from tandem.telnyx_control import APOLOGY, Desk, act, carrier_of, codec_of, telnyx_api

CONFIRM_SECONDS: Final = 2.0
"""How long a call that a GET speaks of may take to be found."""

_NOT_REACHED: Final = {"busy": "is busy", "no-answer": "did not answer", "canceled": "was not called"}
_OVER: Final = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})

log = logs.get(__name__)
router = APIRouter(tags=["telnyx"])


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
            act(app, event)
    return Response()


# --- TeXML ------------------------------------------------------------------------------------------------------------


@router.get("/telnyx/voice")
@router.post("/telnyx/voice")
async def voice(request: Request) -> Response:
    """An inbound call of a TeXML application: admit it, begin to open its provider, and tell Telnyx where to stream.

    With `after=keys`: a call that was taken out of its stream to play keys comes back to it.
    """
    app: FastAPI = request.app
    settings: Settings = app.state.settings
    account = _account(settings)
    form = await _form(request, account)
    if form is None:
        return _texml(webhook.nothing())
    call = _call_of(form)
    if request.query_params.get("after") == "keys":
        return _texml(_back_to_the_agent(app, account, call.call_id, ""))
    if request.method == "GET":
        await _confirm(app, call.call_id)
    incoming = IncomingCall(call.call_id, "", call.caller, call.called)
    api = telnyx_api(app).texml(call.account_id)
    bridge = await take_in(app, carrier_of(account, texml=True), incoming, api)
    return _texml(webhook.reject_busy() if isinstance(bridge, Refusal) else _stream_of(settings, account, bridge))


def _stream_of(settings: Settings, account: TelnyxAccount, bridge: Bridge) -> XmlAnswer:
    """The document that streams this call to us."""
    return webhook.connect_stream(
        stream_url(settings, bridge),
        codec_of(account, texml=True),
        status_callback=f"{settings.own_origin}/telnyx/status",
        parameters={"session": bridge.identity.session},
    )


def _back_to_the_agent(app: FastAPI, account: TelnyxAccount, call_id: str, news: str) -> XmlAnswer:
    board: Switchboard = app.state.switchboard
    bridge = board.by_call(call_id)
    if bridge is None or not bridge.wants_stream:
        return webhook.say_and_hang_up(APOLOGY)
    bridge.returned(moved=False, news=news)
    return _stream_of(app.state.settings, account, bridge)


def _after_transfer(app: FastAPI, account: TelnyxAccount, call: webhook.VoiceRequest) -> XmlAnswer:
    """The other side has hung up, or never answered: then the caller is still ours."""
    if call.dialled in ("completed", "answered"):
        board: Switchboard = app.state.switchboard
        bridge = board.by_call(call.call_id)
        if bridge is not None:
            bridge.returned(moved=True)
        return webhook.hang_up()
    why = _NOT_REACHED.get(call.dialled, "could not be reached")
    return _back_to_the_agent(app, account, call.call_id, f"The transfer did not work: the other side {why}.")


async def _confirm(app: FastAPI, call_id: str) -> None:
    """A GET's signature does not cover its parameters, so Telnyx is asked whether there is such a call.

    Raises:
        HTTPException: 403, there is none. When Telnyx does not answer, the call is taken on its word.
    """
    try:
        async with asyncio.timeout(CONFIRM_SECONDS):
            alive = await telnyx_api(app).is_alive(call_id)
    except (CarrierApiError, TimeoutError) as error:
        log.warning("a call asked about by GET could not be confirmed; use POST", call_id=call_id, error=error)
        return
    if alive is False:
        log.warning("a GET speaks of a call that Telnyx does not know", call_id=call_id)
        raise HTTPException(403)


@router.post("/telnyx/status")
async def status(request: Request) -> Response:
    """Call and stream status callbacks of TeXML; with `after=transfer`, the question what follows a transfer."""
    app: FastAPI = request.app
    board: Switchboard = app.state.switchboard
    account = _account(app.state.settings)
    form = await _form(request, account)
    if form is None:
        return _texml(webhook.nothing())
    call = _call_of(form)
    if request.query_params.get("after") == "transfer" and call.dialled:
        return _texml(_after_transfer(app, account, call))
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
        await turn_away(websocket, "not_configured", status=404)
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
    welcome(request)
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


def _texml(answer: XmlAnswer) -> Response:
    return Response(answer.body, media_type=answer.content_type)
