"""The carriers that `tandem call` can play, one row each: where a call comes in, whose it is, and who places it."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from tandem import calling
from tandem.origins import is_local
from tandem.settings import Settings
from tandem.simulators import plivo, telnyx, twilio
from tandem.simulators.plan import CallPlan, CallReport, OnEvent
from tandem.simulators.telnyx_http import DEMO_SEED
from tandem.simulators.telnyx_http import public_key as telnyx_key

Place = Callable[[CallPlan, OnEvent], Awaitable[CallReport]]


class AddressTaken(Exception):
    """Where the carrier's API would have to be, somebody else is; says what to do."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the carrier's account as the server knows it."""

    account: str
    secret: str = field(repr=False)
    place: Place
    why_refused: str
    """What to do when the server does not take us for the carrier."""


@dataclass(frozen=True, slots=True)
class CallerKind:
    """One carrier."""

    path: str
    """Where a call comes in, when the URL does not say."""
    status_path: str
    caller: Callable[[Settings], Caller]
    """Raises ValueError when these settings have no account there; says what to set."""


def _twilio(settings: Settings) -> Caller:
    account = settings.twilio
    if account is None:
        raise ValueError(
            "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN: calls are signed with the server's; set them. Before there is "
            "an account made-up ones will do, the same here and for the server, such as "
            "TWILIO_ACCOUNT_SID=AC00000000000000000000000000000001"
        )
    return Caller(account.account_sid, account.auth_token, twilio.place_call, calling.why_refused(account))


def _telnyx(settings: Settings) -> Caller:
    """Telnyx commands calls over its API, so the server must have been told that it is here; and signs with a key that
    only it has, so the server must know the simulator's."""
    account, key = settings.telnyx, telnyx_key(DEMO_SEED)
    wanted = f"TELNYX_API_KEY=KEY-simulated TELNYX_PUBLIC_KEY={key} TELNYX_API_URL=http://127.0.0.1:8103"
    if account is None:
        raise ValueError(f"TELNYX_API_KEY and the like: set here and for the server {wanted}")
    if settings.telnyx_public_key != key:
        raise ValueError(f"TELNYX_PUBLIC_KEY: only Telnyx can sign for this one; set here and for the server {wanted}")
    where = urlsplit(account.api_url)
    if not is_local(account.api_url) or where.port is None:
        raise ValueError(f"TELNYX_API_URL: the simulated API has to be on this machine; set {wanted}")
    host, port = where.hostname or "127.0.0.1", where.port

    async def place(plan: CallPlan, on_event: OnEvent) -> CallReport:
        try:
            return await telnyx.place_call(plan, on_event, host=host, port=port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise AddressTaken(
                f"TELNYX_API_URL: {host}:{port} is taken, by `tandem simulate carrier-rest` perhaps; for this call the "
                "API has to be the caller's own: stop the other one"
            ) from None

    return Caller(account.api_key, "", place, "refused: TELNYX_PUBLIC_KEY of the server differs from the one set here")


def _plivo(settings: Settings) -> Caller:
    account = settings.plivo
    if account is None:
        raise ValueError("PLIVO_AUTH_ID and PLIVO_AUTH_TOKEN: calls are signed with the server's; set them")
    why = "refused: PLIVO_AUTH_ID, PLIVO_AUTH_TOKEN or PUBLIC_URL of the server differ from those set here"
    return Caller(account.auth_id, account.auth_token, plivo.place_call, why)


CALLERS: Final = {
    "twilio": CallerKind(calling.VOICE_PATH, "/twilio/status", _twilio),
    "telnyx": CallerKind("/telnyx/events", "/telnyx/status", _telnyx),
    "plivo": CallerKind("/plivo/voice", "/plivo/status", _plivo),
}
