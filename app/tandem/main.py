"""Assembles the server, and does nothing else. `app` is what `uvicorn tandem.main:app` serves."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from tandem import (
    __version__,
    logs,
    metrics,
    plivo_routes,
    routes,
    settings,
    telnyx_control,
    telnyx_routes,
    twilio_routes,
)
from tandem.drain import drain_on_signals
from tandem.guests import Guests, networks
from tandem.http_limits import BodyLimit
from tandem.operator_routes import Desk
from tandem.operator_routes import router as calls
from tandem.paths import OneSlash, wrong_method
from tandem.reception import Reception, open_webhook
from tandem.rest.table import open_apis
from tandem.switchboard import Limits, Switchboard
from tandem.tokens import SingleUse
from tandem.tolls import Tolls, parse_allow
from tandem.tools.opened import opened_tools
from tandem.voices import Clients, process_config
from tandem_providers.tasks import owned_tasks


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    current = app.state.settings = app.state.settings or settings.current()
    logs.setup(current)
    settings.announce(current)
    counters = app.state.metrics = metrics.Metrics()
    guests = Guests(networks(current.trusted_proxies), lambda why: counters.connections_refused.labels(why).inc())
    counters.connections_unknown.set_function(lambda: len(guests))
    app.state.used_tokens = SingleUse()
    app.state.telnyx = telnyx_control.Desk()
    app.state.plivo = plivo_routes.Desk()
    apis = app.state.apis = await asyncio.to_thread(open_apis, current)  # TLS contexts are read from files
    clients = Clients(current, counters)
    config = process_config(current)
    webhook = await asyncio.to_thread(open_webhook, current)
    app.state.reception = Reception(current.routes, clients, config, counters, webhook)
    app.state.desk = Desk(Tolls(parse_allow(current.outbound_allow), current.outbound_per_minute))
    limits = Limits(
        current.max_calls,
        current.max_starts_per_second,
        current.max_call_seconds,
        current.silence_seconds,
        current.greeting or None,
        current.failover_number,
    )
    try:
        async with opened_tools(current.tools, counters, clients.refuses_function) as toolbox, owned_tasks() as start:
            board = Switchboard(clients.of(), config, limits, counters, start, current.own_origin)
            app.state.toolbox, board.equip, board.client_of = toolbox, toolbox.equip, clients.of
            app.state.switchboard = board
            app.state.start = start  # for work that a carrier's request starts and does not wait for
            start(metrics.watch_loop(counters), name="loop watch")
            # What lives from here on is the calls' own; the modules need not be looked at again and again.
            await asyncio.to_thread(gc.collect)
            gc.freeze()
            with drain_on_signals(board, current.drain_seconds, start):
                yield {"guests": guests}  # uvicorn hands it to our protocols
    finally:
        for api in apis.values():
            await api.close()
        await app.state.reception.close()
        await clients.close()


def create_app(with_settings: settings.Settings | None = None) -> FastAPI:
    """A server with these settings, or with those of the environment, read when it starts."""
    made = FastAPI(
        title="Tandem", version=__version__, lifespan=_lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    made.state.settings = with_settings
    made.add_middleware(BodyLimit)
    made.add_middleware(OneSlash)
    made.add_exception_handler(405, wrong_method)
    made.include_router(routes.router)
    made.add_api_route("/docs", routes.docs, include_in_schema=False)
    made.include_router(calls)
    made.include_router(twilio_routes.router)
    made.include_router(telnyx_routes.router)
    made.include_router(plivo_routes.router)
    return made


def __getattr__(name: str) -> FastAPI:
    """`app`, made when it is first asked for: `tandem serve` makes its own, and the routes' models are 2 MB."""
    if name != "app":
        raise AttributeError(name)
    made = globals()["app"] = create_app()
    return made
