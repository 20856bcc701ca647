"""A leg of a TeXML application: document after document is obeyed, until the call is over."""

from __future__ import annotations

import asyncio
from typing import Final

from tandem.simulators.telnyx_api import CallState
from tandem.simulators.telnyx_leg import Leg
from tandem.simulators.telnyx_texml import (
    Connect,
    Dial,
    Hangup,
    Keys,
    Pause,
    Redirect,
    Reject,
    Say,
    TexmlError,
    Verb,
    parse_texml,
)

MOST_DOCUMENTS: Final = 10
"""That one call follows, so that two that point at each other come to an end."""


async def obey_documents(leg: Leg) -> None:
    """An incoming call of a TeXML application, to its end."""
    leg.tell("dialling", leg.plan.url)
    try:
        await _obey(leg, await _ask(leg, leg.plan.url, leg.plan.method))
    except TexmlError as error:
        leg.problem(str(error))
        leg.result = "failed"
    leg.call.state = CallState.ENDED
    leg.ended = asyncio.get_running_loop().time()
    status = {"completed": "completed", "busy": "busy", "failed": "failed"}[leg.result]
    if leg.plan.status_url:
        fields = {"CallStatus": status, "CallbackSource": "call-progress-events", "HangupCause": "normal_clearing"}
        await leg.callback(leg.plan.status_url, fields)
    leg.tell("ended", leg.result)
    leg.over.set()
    await leg.settled()


async def _ask(leg: Leg, url: str, method: str, **extra: str) -> list[Verb]:
    leg.documents += 1
    if leg.documents > MOST_DOCUMENTS:
        raise TexmlError(f"more than {MOST_DOCUMENTS} documents in one call")
    response = await leg.webhooks.form(method, url, leg.plan.via, {**leg.fields(), **extra})
    if response is None:
        raise TexmlError("no answer")
    return parse_texml(response.status_code, response.headers.get("content-type", ""), response.content)


async def _obey(leg: Leg, verbs: list[Verb]) -> None:
    while verbs:
        verb = verbs.pop(0)
        match verb:
            case Reject():
                leg.result = "busy"
                leg.tell("rejected", verb.reason)
                return
            case Hangup():
                return
            case Say():
                leg.said.append(verb.text)
                leg.tell("said", verb.text)
            case Pause():
                await asyncio.sleep(verb.seconds)
            case Keys():
                leg.digits += verb.digits
            case Dial():
                verbs = await _ask(leg, verb.action, "POST", DialCallStatus=await leg.dial(leg, verb))
            case Redirect():
                verbs = await _ask(leg, verb.url, verb.method)
            case Connect():
                if leg.call.state is CallState.PARKED:
                    leg.call.state = CallState.ANSWERED
                    leg.tell("answered")
                await leg.stream(verb.order, verb.status_callback or leg.plan.status_url)
                if leg.document:
                    verbs = parse_texml(200, "text/xml", leg.document.encode())
                    leg.document = ""
                    continue
                if leg.ended_by in ("caller", "limit", "fault") or leg.hung_up.is_set():
                    return
