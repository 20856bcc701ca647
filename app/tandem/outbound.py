"""Calls that we place: from an order to a bridge whose carrier is dialling."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from fastapi import FastAPI

from tandem import logs, plivo_routes, telnyx_control
from tandem.agents import DEFAULT, Agent
from tandem.bridge import Bridge
from tandem.call_types import Outbound
from tandem.carriers.events import Started
from tandem.carriers.table import TWILIO, CarrierKind
from tandem.doors import new_session, stream_url_of
from tandem.identity import Identity
from tandem.rest.port import CarrierApi, CarrierApiError, OutboundCall
from tandem.settings import Settings
from tandem.switchboard import Refusal, Switchboard

STREAM_GRACE_SECONDS: Final = 60
"""A token outlives the ringing by so much."""

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """A call that somebody wants placed. Numbers are people: they do not print."""

    to: str = field(repr=False)
    from_: str = field(repr=False)
    carrier: str
    agent: Agent = DEFAULT
    outbound: Outbound = field(default_factory=Outbound)
    detect_machine: bool = False


class NoCarrier(Exception):
    """There is no account to place the call with."""


def carriers_of(app: FastAPI) -> dict[str, CarrierKind]:
    """The carriers that can place calls, as this server's accounts speak them."""
    settings: Settings = app.state.settings
    kinds: dict[str, CarrierKind] = {"twilio": TWILIO}
    if settings.telnyx is not None:
        kinds["telnyx"] = telnyx_control.carrier_of(settings.telnyx)
    if settings.plivo is not None:
        kinds["plivo"] = plivo_routes.carrier_of(settings.plivo)
    return {name: kind for name, kind in kinds.items() if name in app.state.apis}


def dial(app: FastAPI, order: Order) -> Bridge | Refusal:
    """Have the call placed: the bridge is up, and its `placed` tells what the carrier says to it.

    Raises:
        NoCarrier: this server has no such account.
    """
    settings: Settings = app.state.settings
    board: Switchboard = app.state.switchboard
    kind = carriers_of(app).get(order.carrier)
    if kind is None:
        raise NoCarrier(f"this server has no {order.carrier} account to place calls with")
    refusal = board.refuse()
    if refusal is not None:
        app.state.metrics.calls_refused.labels(refusal.value).inc()
        return refusal
    api: CarrierApi = app.state.apis[kind.name]
    identity = Identity(new_session(settings, kind), caller=order.from_, called=order.to, outbound=True)
    where, ring = f"{settings.own_origin}/{kind.name}", round(order.outbound.ring_seconds)
    max_seconds = order.agent.max_call_seconds or settings.max_call_seconds
    wish = OutboundCall(
        to=order.to,
        from_=order.from_,
        session=identity.session,
        stream_url=stream_url_of(settings, kind, identity.session, "", seconds=ring + STREAM_GRACE_SECONDS),
        answer_url=f"{where}/voice?session={identity.session}",
        status_url=f"{where}/{_STATUS.get(kind.name, 'status')}",
        ring_seconds=ring,
        limit_seconds=round(max_seconds) + STREAM_GRACE_SECONDS,
        detect_machine=order.detect_machine,
    )
    log.info("placing a call", session=identity.session, carrier=kind.name, called=logs.Private(order.to))
    return board.open(
        kind,
        identity,
        lambda start: _is_ours(start, identity),
        api,
        agent=order.agent,
        order=wish,
        outbound=order.outbound,
    )


_STATUS: Final = {"telnyx": "events"}
"""Where a carrier tells of a call that was placed, if it is not its status door."""


def _is_ours(start: Started, identity: Identity) -> bool:
    """The token has told that it is this session; a call's id that is known already must be this one."""
    return not identity.call_id or start.call_id in (identity.call_id, identity.request_id)


async def outcome(bridge: Bridge) -> CarrierApiError | None:
    """What the carrier said to placing the call; None: it is dialling."""
    failure = None if bridge.placed is None else await asyncio.shield(bridge.placed)
    if failure is None:
        identity = bridge.identity
        call_id = identity.call_id or identity.request_id
        log.info("call placed", call_id=call_id, session=identity.session, carrier=bridge.carrier.name)
    return failure
