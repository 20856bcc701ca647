"""The doors for Twilio: its webhooks and its media socket. Whoever is not Twilio changes nothing here."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, HTTPException, Request, Response, WebSocket

from tandem import logs
from tandem.bridge import Bridge
from tandem.call_types import EndReason
from tandem.carriers import twilio_webhook as webhook
from tandem.carriers.forms import Form
from tandem.carriers.table import TWILIO
from tandem.carriers.xml_answer import XmlAnswer
from tandem.doors import IncomingCall, let_in, stream_url, take_in, turn_away, verdict_of, without_values
from tandem.guests import welcome
from tandem.settings import Settings, TwilioAccount
from tandem.switchboard import Refusal, Switchboard

_AFTER = "/twilio/status?after=stream"
_STREAM_FAILS_WITHIN = 15.0
"""Seconds after the webhook; Twilio gives up on a stream that does not open long before."""
_APOLOGY = "Sorry, we can not take your call right now. Please try again later."
_BAD_DOCUMENT = "12"
"""What the codes of errors in TwiML begin with."""
_NOT_REACHED = {
    "busy": "is busy",
    "no-answer": "did not answer",
    "canceled": "was not called",
    "failed": "could not be reached",
}
_OVER = {
    "completed": EndReason.CALLER_HUNG_UP,
    "busy": EndReason.BUSY,
    "no-answer": EndReason.NO_ANSWER,
    "failed": EndReason.NOT_PLACED,
    "canceled": EndReason.NOT_PLACED,
}
"""The states of a call that is over, and why, if nobody answered it."""

log = logs.get(__name__)
router = APIRouter(tags=["twilio"])


@router.get("/twilio/voice")
@router.post("/twilio/voice")
async def voice(request: Request) -> Response:
    """An inbound call: admit it, begin to open its provider, and tell Twilio where to stream.

    With `after=keys`: a call that was taken out of its stream to play keys comes back to it. Good as a fallback URL,
    too: a document that Twilio could not use is not sent again.
    """
    settings: Settings = request.app.state.settings
    account = _account(settings)
    form = await _verified(request, settings, account)
    call = _call_of(form)
    if call.account_id != account.account_sid:
        raise HTTPException(403)
    if trouble := form.get("ErrorCode"):
        log.error(
            "twilio asks the fallback", call_id=call.call_id, code=trouble, url=without_values(form.get("ErrorUrl"))
        )
        if trouble.startswith(_BAD_DOCUMENT):
            return _twiml(webhook.say_and_hangup(_APOLOGY))
    if request.query_params.get("after") == "keys":
        return _back_to_the_agent(request, call.call_id, "")
    bridge = await take_in(request.app, TWILIO, IncomingCall(call.call_id, call.account_id, call.caller, call.called))
    if isinstance(bridge, Refusal):
        return _twiml(webhook.reject_busy())
    return _twiml(stream_of(settings, bridge))


@router.get("/twilio/status")
@router.post("/twilio/status")
async def status(request: Request) -> Response:
    """Call and stream status callbacks. With `after`, the question what follows a stream or a transfer."""
    settings: Settings = request.app.state.settings
    board: Switchboard = request.app.state.switchboard
    form = await _verified(request, settings, _account(settings))
    call = _call_of(form)
    match request.query_params.get("after"):
        case "stream":
            record = board.record(call.call_id)
            # A stream that is asked about much later ran, just not here: on another instance with the same key.
            fresh = board.age(call.call_id) < _STREAM_FAILS_WITHIN
            failed = record is not None and not record["stream_started"] and fresh
            waiting = board.by_call(call.call_id)
            if failed and waiting is not None:
                waiting.stream_failed()  # what was opened for it is of no use to anybody
            return _twiml(webhook.say_and_hangup(_APOLOGY) if failed else webhook.hangup())
        case "transfer" if "DialCallStatus" in form:
            return _after_transfer(request, call.call_id, form.get("DialCallStatus"))
        case "transfer":
            caller = board.by_call(form.get("ParentCallSid"))
            if caller is not None and call.status == "in-progress":
                caller.returned(moved=True)
        case "machine":
            _listened(board.by_call(call.call_id) or _placed(request), form.get("AnsweredBy"))
        case _:
            _note(board.by_call(call.call_id) or _placed(request), call, form)
    return _twiml(webhook.empty())


def _note(bridge: Bridge | None, call: webhook.VoiceRequest, form: Form) -> None:
    """Something has happened to a call or its stream."""
    event = form.get("StreamEvent")
    if event == "stream-error":
        log.error("twilio could not stream", call_id=call.call_id, problem=form.get("StreamError"))
    elif event or bridge is None:
        return
    elif call.status in _OVER:
        log.info("twilio ended the call", call_id=call.call_id, status=call.status)
        bridge.carrier_ended(_OVER[call.status] if bridge.identity.outbound else EndReason.CALLER_HUNG_UP)
    elif call.status == "in-progress" and bridge.identity.outbound:
        bridge.answered()


def _placed(request: Request) -> Bridge | None:
    """The call that we placed and that is told of before its id is known here."""
    bridge = request.app.state.switchboard.by_session(request.query_params.get("session", ""))
    return bridge if bridge is not None and bridge.identity.outbound and not bridge.identity.call_id else None


def _listened(bridge: Bridge | None, answered_by: str) -> None:
    """What Twilio has heard at the other end: `human`, `machine_...`, `fax` or `unknown`."""
    if bridge is None:
        return
    if answered_by.startswith("machine") or answered_by == "fax":
        bridge.machine_found(ready=answered_by.startswith("machine_end"))
    elif answered_by == "human":
        bridge.human_found()


def stream_of(settings: Settings, bridge: Bridge) -> XmlAnswer:
    """The TwiML that streams this call to us."""
    return webhook.connect_stream(
        stream_url(settings, bridge),
        action_url=f"{settings.own_origin}{_AFTER}",
        status_callback_url=f"{settings.own_origin}/twilio/status",
        parameters={"session": bridge.identity.session},
    )


def _after_transfer(request: Request, call_id: str, outcome: str) -> Response:
    """The other side has hung up, or never answered: then the caller is still ours."""
    if outcome in ("completed", "answered"):
        bridge = request.app.state.switchboard.by_call(call_id)
        if bridge is not None:
            bridge.returned(moved=True)
        return _twiml(webhook.hangup())
    why = _NOT_REACHED.get(outcome, "could not be reached")
    return _back_to_the_agent(request, call_id, f"The transfer did not work: the other side {why}.")


def _back_to_the_agent(request: Request, call_id: str, news: str) -> Response:
    bridge = request.app.state.switchboard.by_call(call_id)
    if bridge is None or not bridge.wants_stream:
        return _twiml(webhook.say_and_hangup(_APOLOGY))
    bridge.returned(moved=False, news=news)
    return _twiml(stream_of(request.app.state.settings, bridge))


@router.websocket("/twilio/media/{token}")
async def media(websocket: WebSocket, token: str) -> None:
    """The media stream. Refused before the upgrade (403) unless Twilio signed it and the token is ours and unused."""
    settings: Settings = websocket.app.state.settings
    account = settings.twilio
    if account is None:
        await turn_away(websocket, "not_configured", status=404)
        return
    if verdict_of(settings, partial(_upgrade_from_twilio, websocket, account)).genuine:
        await let_in(websocket, TWILIO, account.account_sid, token)
    else:
        await turn_away(websocket, "signature", status=404 if account.demo else 403)


def _upgrade_from_twilio(websocket: WebSocket, account: TwilioAccount, origin: str) -> webhook.Verdict:
    return webhook.verify_upgrade(
        _raw_path(websocket.scope["raw_path"]),
        origin,
        webhook.Keys((account.auth_token,), account.shared_keys),
        query=websocket.scope["query_string"].decode("latin-1"),
        given=websocket.headers.get(webhook.SIGNATURE_HEADER, ""),
        settings=websocket.headers.get(webhook.SETTINGS_HEADER, ""),
    )


def _account(settings: Settings) -> TwilioAccount:
    if settings.twilio is None:
        raise HTTPException(404)
    return settings.twilio


async def _verified(request: Request, settings: Settings, account: TwilioAccount) -> Form:
    """The request's parameters, once it is certain that Twilio sent them.

    Raises:
        HTTPException: 403; for the demo account 404, since then no carrier is configured.
    """
    asked = webhook.Webhook(
        method=request.method,
        path=_raw_path(request.scope["raw_path"]),
        query=request.scope["query_string"].decode("latin-1"),
        content_type=request.headers.get("content-type", ""),
        body=await request.body(),
        signature=request.headers.get(webhook.SIGNATURE_HEADER, ""),
        signature_settings=request.headers.get(webhook.SETTINGS_HEADER, ""),
    )
    keys = webhook.Keys((account.auth_token,), account.shared_keys)
    verdict = verdict_of(settings, lambda origin: webhook.verify(asked, origin, keys))
    route = request.url.path
    if not verdict.genuine or verdict.form is None:
        code = 404 if account.demo else 403
        request.app.state.metrics.webhooks.labels(route, str(code)).inc()
        log.warning("webhook refused", route=route, reason=verdict.reason, signed_url=without_values(verdict.url))
        raise HTTPException(code)
    welcome(request)
    request.app.state.metrics.webhooks.labels(route, "200").inc()
    return verdict.form


def _call_of(form: Form) -> webhook.VoiceRequest:
    try:
        return webhook.voice_request(form)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


def _raw_path(path: bytes) -> str:
    return path.decode("latin-1").partition("?")[0]


def _twiml(answer: XmlAnswer) -> Response:
    return Response(answer.body, media_type=answer.content_type)
