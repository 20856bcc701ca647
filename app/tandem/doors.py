"""What every carrier's doors have in common: taking a call in, and letting its media socket in afterwards."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from fastapi import FastAPI, Response, WebSocket

from tandem import logs, tokens
from tandem.agents import DEFAULT, Agent
from tandem.bridge import Bridge, Identity
from tandem.carriers.events import Started
from tandem.carriers.table import CarrierKind
from tandem.media_socket import take_over
from tandem.reception import Caller, Reception
from tandem.rest.port import CarrierApi
from tandem.settings import Settings
from tandem.switchboard import Refusal, Switchboard

TOKEN_SECONDS = 120
"""From the webhook to the media socket; a carrier needs well under a second."""

_MOST_AGENTS = 0xFF
"""That another instance can be told of."""

_NOT_HERE = "not_here"
"""It is of a call that we place, and only the instance that placed it knows what for: 503, so that a proxy which can
asks another one."""

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """What a (genuine) webhook says of a new call. Numbers are people: they do not print."""

    call_id: str
    account_id: str
    caller: str = field(repr=False)
    called: str = field(repr=False)


def api_of(app: FastAPI, carrier: CarrierKind) -> CarrierApi | None:
    """The carrier's REST API, where this server has an account for it."""
    apis: dict[str, CarrierApi] = app.state.apis
    return apis.get(carrier.name)


async def take_in(
    app: FastAPI, carrier: CarrierKind, call: IncomingCall, api: CarrierApi | None = None
) -> Bridge | Refusal:
    """Admit a call and begin to open its provider; a carrier that asks again gets the same bridge. `api` controls it,
    where that is not what the carrier's other calls have."""
    board: Switchboard = app.state.switchboard
    bridge = board.by_call(call.call_id)
    if bridge is not None:
        return bridge
    refusal, agent = board.refuse(), None
    if refusal is None:
        reception: Reception = app.state.reception
        with board.expecting():
            agent = await reception.agent_for(Caller(carrier.name, call.call_id, call.caller, call.called))
        if (bridge := board.by_call(call.call_id)) is not None:
            return bridge  # the carrier has asked again meanwhile
    if agent is None:
        refusal = refusal or Refusal.UNWANTED
        app.state.metrics.calls_refused.labels(refusal.value).inc()
        log.warning("call refused", call_id=call.call_id, carrier=carrier.name, reason=refusal.value)
        return refusal
    settings: Settings = app.state.settings
    session = new_session(settings, carrier, agent)
    identity = Identity(session, call.call_id, call.account_id, call.caller, call.called)
    log.info(
        "call taken",
        call_id=call.call_id,
        carrier=carrier.name,
        caller=logs.Private(call.caller),
        called=logs.Private(call.called),
        agent=agent.name,
    )
    accepts = partial(_is_call, identity=identity)
    return board.open(carrier, identity, accepts, api or api_of(app, carrier), agent=agent)


def new_session(settings: Settings, carrier: CarrierKind, agent: Agent = DEFAULT) -> str:
    """Our id of a new call. It tells every instance with the same file of routes which of its agents answers."""
    number = settings.routes.number_of(agent)
    chance = f"{number if number <= _MOST_AGENTS else 0:02x}{secrets.token_hex(7)}"
    return tokens.new_session(_key(settings), carrier.name, chance)


def stream_url(settings: Settings, bridge: Bridge) -> str:
    """Where the carrier shall stream this call: a URL with a token for one use, good for two minutes."""
    identity = bridge.identity
    # A token is known by session and second: one for a call that comes back at once must not be the used one.
    seconds = TOKEN_SECONDS + bridge.streams
    return stream_url_of(settings, bridge.carrier, identity.session, identity.call_id, seconds=seconds)


def stream_url_of(
    settings: Settings, carrier: CarrierKind, session: str, call_id: str, *, seconds: float = TOKEN_SECONDS
) -> str:
    """The same for a call that another instance may have taken in, or that has no id yet (empty)."""
    token = tokens.issue(_key(settings), carrier.name, session, call_id, time.time() + seconds)
    scheme, _, host = settings.own_origin.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{host}/{carrier.name}/media/{token}"


class Verdict(Protocol):
    """What a carrier's signature is worth."""

    @property
    def genuine(self) -> bool: ...


V = TypeVar("V", bound=Verdict)


def verdict_of(settings: Settings, judge: Callable[[str], V]) -> V:
    """That of a request to any of our origins: a signature covers the URL as the carrier was given it."""
    verdicts = [judge(origin) for origin in settings.origins]
    return next((verdict for verdict in verdicts if verdict.genuine), verdicts[0])


def without_values(url: str) -> str:
    """A URL for the log: which parameters it has, and not what they say of people."""
    return re.sub(r"=[^&]*", "=…", url)


async def let_in(websocket: WebSocket, carrier: CarrierKind, account_id: str, token: str) -> None:
    """A media socket whose upgrade is genuine: carries its call to the end, or is refused before it is accepted."""
    bridge, why = _bridge_of(websocket, carrier, account_id, token)
    if bridge is None:
        await turn_away(websocket, why, status=503 if why == _NOT_HERE else 403)
        return
    await websocket.accept()
    receiver = bridge.receiver()
    await bridge.attach(take_over(websocket, receiver), receiver)


async def turn_away(websocket: WebSocket, why: str, *, status: int = 403) -> None:
    """Refuse a media socket before the upgrade, with this status; under some servers it can only be 403."""
    websocket.app.state.metrics.tokens_refused.labels(why).inc()
    log.warning("media socket refused", carrier=websocket.url.path.split("/")[1], reason=why)
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(Response(status_code=status))
    else:
        await websocket.close(1008)


def _bridge_of(websocket: WebSocket, carrier: CarrierKind, account_id: str, text: str) -> tuple[Bridge | None, str]:
    """The call that this socket is for, or why it is refused."""
    state = websocket.app.state
    board: Switchboard = state.switchboard
    used: tokens.SingleUse = state.used_tokens
    token, now = tokens.parse(text), time.time()
    if token is None:
        return None, "shape"
    if token.expired(now):
        return None, "expired"
    key = _key(state.settings)
    bridge = board.by_session(token.session)
    if bridge is not None:
        # The stream of a call that we place is ordered before the call has an id.
        known = {bridge.identity.call_id, "" if bridge.call.plan.outbound is not None else bridge.identity.call_id}
        if not any(token.verify(key, carrier.name, call_id) for call_id in known):
            return None, "forged"
        if not used.take(token, now):
            return None, "used"
        return (bridge, "") if bridge.wants_stream else (None, "attached")
    if not token.of_ours(key, carrier.name):
        return None, "forged"  # nobody takes up a place here without one of us having said so
    if token in used:
        return None, "used"  # its call was here, and is over
    if token.verify(key, carrier.name, ""):
        return None, _NOT_HERE
    refusal = board.refuse()
    if refusal is not None:
        return None, refusal.value
    identity = Identity(token.session, "", account_id)

    def accepts(start: Started) -> bool:
        """Issued by another instance: the MAC can be checked now that the call's id is known."""
        genuine = token.verify(key, carrier.name, start.call_id)
        return genuine and _is_account(start, account_id) and used.take(token, time.time())

    agent = state.settings.routes.numbered(int(token.session[:2], 16))
    return board.open(carrier, identity, accepts, api_of(websocket.app, carrier), agent=agent), ""


def _is_call(start: Started, identity: Identity) -> bool:
    return start.call_id == identity.call_id and _is_account(start, identity.account_id)


def _is_account(start: Started, account_id: str) -> bool:
    """Carriers that do not say in their webhooks whose account it is are recognised by the call alone."""
    return not account_id or start.account_id == account_id


def _key(settings: Settings) -> bytes:
    return settings.secret_key.get_secret_value().encode("utf-8", "surrogateescape")  # as the environment has it
