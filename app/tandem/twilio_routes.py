"""The doors for Twilio: its webhooks and its media socket. Whoever is not Twilio changes nothing here."""

from __future__ import annotations

import secrets
import time

from fastapi import APIRouter, HTTPException, Request, Response, WebSocket
from fastapi.responses import PlainTextResponse

from tandem import logs, tokens
from tandem.bridge import Bridge, Identity
from tandem.carriers import twilio_webhook as webhook
from tandem.carriers.events import Started
from tandem.carriers.table import TWILIO
from tandem.media_socket import take_over
from tandem.settings import Settings, TwilioAccount
from tandem.switchboard import Switchboard

TOKEN_SECONDS = 120
"""From the webhook to the media socket; Twilio needs well under a second."""
_AFTER = "/twilio/status?after=stream"
_APOLOGY = "Sorry, we can not take your call right now. Please try again later."

log = logs.get(__name__)
router = APIRouter(tags=["twilio"])


@router.api_route("/twilio/voice", methods=["GET", "POST"])
async def voice(request: Request) -> Response:
    """An inbound call: admit it, begin to open its provider, and tell Twilio where to stream."""
    settings: Settings = request.app.state.settings
    board: Switchboard = request.app.state.switchboard
    account = _account(settings)
    call = _call_of(await _verified(request, settings, account))
    if call.account_id != account.account_sid:
        raise HTTPException(403)
    bridge = board.by_call(call.call_id)  # Twilio asks again when it did not like an answer: same call, same bridge
    if bridge is None:
        refusal = board.refuse()
        if refusal is not None:
            request.app.state.metrics.calls_refused.labels(refusal.value).inc()
            log.warning("call refused", call_id=call.call_id, reason=refusal.value)
            return _twiml(webhook.reject_busy())
        identity = Identity(secrets.token_hex(16), call.call_id, call.account_id, call.caller, call.called)
        bridge = board.open(TWILIO, identity, lambda start: _is_call(start, identity))
        log.info("call", call_id=call.call_id, carrier="twilio", caller=logs.Private(call.caller))
    return _twiml(_stream_of(bridge, settings))


@router.post("/twilio/status")
async def status(request: Request) -> Response:
    """Call and stream status callbacks; with `after=stream`, the question what follows the stream."""
    settings: Settings = request.app.state.settings
    board: Switchboard = request.app.state.switchboard
    form = await _verified(request, settings, _account(settings))
    call = _call_of(form)
    if request.query_params.get("after") == "stream":
        record = board.record(call.call_id)
        failed = record is not None and not record["stream_started"]
        return _twiml(webhook.say_and_hangup(_APOLOGY) if failed else webhook.hangup())
    event, problem = form.get("StreamEvent"), form.get("StreamError")
    if event == "stream-error":
        log.error("twilio could not stream", call_id=call.call_id, problem=problem)
    elif call.status in ("completed", "busy", "failed", "no-answer", "canceled") and not event:
        log.info("twilio ended the call", call_id=call.call_id, status=call.status)
        bridge = board.by_call(call.call_id)
        if bridge is not None:
            bridge.carrier_ended()
    return _twiml(webhook.empty())


@router.websocket("/twilio/media/{token}")
async def media(websocket: WebSocket, token: str) -> None:
    """The media stream. Refused before the upgrade (403) unless Twilio signed it and the token is ours and unused."""
    settings: Settings = websocket.app.state.settings
    bridge, why = _admit(websocket, settings, token)
    if bridge is None:
        websocket.app.state.metrics.tokens_refused.labels(why).inc()
        log.warning("media socket refused", reason=why)
        await websocket.close(1008)
        return
    await websocket.accept()
    await bridge.attach(take_over(websocket, bridge))


def _admit(websocket: WebSocket, settings: Settings, text: str) -> tuple[Bridge | None, str]:
    """The call that this socket is for, or why it is refused."""
    account, board = settings.twilio, websocket.app.state.switchboard
    if account is None:
        return None, "not_configured"
    headers = websocket.headers
    verdict = webhook.verify_upgrade(
        _raw_path(websocket.scope["raw_path"]),
        settings.origin,
        webhook.Keys((account.auth_token,)),
        query=websocket.scope["query_string"].decode("latin-1"),
        given=headers.get(webhook.SIGNATURE_HEADER, ""),
        settings=headers.get(webhook.SETTINGS_HEADER, ""),
    )
    if not verdict.genuine:
        return None, "signature"
    token, now = tokens.parse(text), time.time()
    if token is None:
        return None, "shape"
    if token.expired(now):
        return None, "expired"
    key = settings.secret_key.get_secret_value().encode()
    used: tokens.SingleUse = websocket.app.state.used_tokens
    bridge: Bridge | None = board.by_session(token.session)
    if bridge is not None:
        if not token.verify(key, TWILIO.name, bridge.identity.call_id):
            return None, "forged"
        return (bridge, "") if used.take(token, now) else (None, "used")
    refusal = board.refuse()
    if refusal is not None:
        return None, refusal.value
    identity = Identity(token.session, "", account.account_sid)

    def accepts(start: Started) -> bool:
        """Issued by another instance: the MAC can be checked now that the call's id is known."""
        genuine = token.verify(key, TWILIO.name, start.call_id)
        return genuine and start.account_id == identity.account_id and used.take(token, time.time())

    return board.open(TWILIO, identity, accepts), ""


def _is_call(start: Started, identity: Identity) -> bool:
    return start.call_id == identity.call_id and start.account_id == identity.account_id


def _stream_of(bridge: Bridge, settings: Settings) -> webhook.Twiml:
    identity = bridge.identity
    key = settings.secret_key.get_secret_value().encode()
    token = tokens.issue(key, TWILIO.name, identity.session, identity.call_id, time.time() + TOKEN_SECONDS)
    return webhook.connect_stream(
        f"{webhook.websocket_url(settings.origin)}/twilio/media/{token}",
        action_url=f"{settings.origin}{_AFTER}",
        status_callback_url=f"{settings.origin}/twilio/status",
        parameters={"session": identity.session},
    )


def _account(settings: Settings) -> TwilioAccount:
    if settings.twilio is None:
        raise HTTPException(404)
    return settings.twilio


async def _verified(request: Request, settings: Settings, account: TwilioAccount) -> webhook.Form:
    """The request's parameters, once it is certain that Twilio sent them.

    Raises:
        HTTPException: 403; for the demo account 404, since then no carrier is configured.
    """
    verdict = webhook.verify(
        webhook.Webhook(
            method=request.method,
            path=_raw_path(request.scope["raw_path"]),
            query=request.scope["query_string"].decode("latin-1"),
            content_type=request.headers.get("content-type", ""),
            body=await request.body(),
            signature=request.headers.get(webhook.SIGNATURE_HEADER, ""),
            signature_settings=request.headers.get(webhook.SETTINGS_HEADER, ""),
        ),
        settings.origin,
        webhook.Keys((account.auth_token,)),
    )
    route = request.url.path
    if not verdict.genuine or verdict.form is None:
        code = 404 if account.demo else 403
        request.app.state.metrics.webhooks.labels(route, str(code)).inc()
        log.warning("webhook refused", route=route, reason=verdict.reason, signed_url=verdict.url)
        raise HTTPException(code)
    request.app.state.metrics.webhooks.labels(route, "200").inc()
    return verdict.form


def _call_of(form: webhook.Form) -> webhook.VoiceRequest:
    try:
        return webhook.voice_request(form)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


def _raw_path(path: bytes) -> str:
    return path.decode("latin-1").partition("?")[0]


def _twiml(answer: webhook.Twiml) -> Response:
    return PlainTextResponse(answer.body, media_type=answer.content_type)
