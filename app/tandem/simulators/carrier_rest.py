"""The carriers' REST APIs on loopback, all at one address: for servers that place, move and end calls without account.

Whom a server calls decides how that goes, by the end of the number: 0001 is busy, 0002 does not answer, 0003 can not be
reached, at 0004 a machine answers, and everybody else picks up, talks for a while and hangs up. Who is called by a
transfer picks up, too, unless the number has one of these ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from tandem.calling import Voice, conversation
from tandem.settings import Settings
from tandem.simulators import plivo_exchange, telnyx, twilio_exchange
from tandem.simulators.api_server import ApiAnswer, ApiRequest, RestServer
from tandem.simulators.plan import CallPlan
from tandem.simulators.twilio import Callee
from tandem.simulators.twilio_rest import error

RING_SECONDS: Final = 2.0
TALK_SECONDS: Final = 10.0
TELNYX_RING_SECONDS: Final = 30.0
"""How long Telnyx lets a telephone ring when it is told nothing."""
ENDS: Final[dict[str, tuple[Literal["busy", "no-answer", "failed", "answers"], str]]] = {
    "0001": ("busy", ""),
    "0002": ("no-answer", ""),
    "0003": ("failed", ""),
    "0004": ("answers", "machine_end_beep"),
}
"""How it goes, and who picks up, by the end of a number."""
TWILIO_NUMBER: Final = "+15550001011"
TELNYX_NUMBER: Final = "+15550001012"
PLIVO_NUMBER: Final = "+15550001013"
"""Each account has one number, which leads elsewhere until somebody sets its URLs."""
ELSEWHERE: Final = "https://elsewhere.example.com/voice"
PLIVO_APPLICATION: Final = "20480000000000001"


@dataclass(frozen=True, slots=True)
class Accounts:
    """With what servers come in. What is not configured is made up."""

    twilio_sid: str = "AC" + "5" * 32
    twilio_token: str = "simulated"  # noqa: S105  # nobody's account
    telnyx_key: str = telnyx.API_KEY
    plivo_id: str = "MASIMULATED000000000"
    plivo_token: str = "simulated"  # noqa: S105  # the same

    @classmethod
    def of(cls, settings: Settings) -> Accounts:
        """Those of a server with these settings."""
        given: dict[str, str] = {}
        if settings.twilio is not None and not settings.twilio.demo:
            given |= {"twilio_sid": settings.twilio.account_sid, "twilio_token": settings.twilio.auth_token}
        if settings.telnyx is not None:
            given["telnyx_key"] = settings.telnyx.api_key
        if settings.plivo is not None:
            given |= {"plivo_id": settings.plivo.auth_id, "plivo_token": settings.plivo.auth_token}
        return cls(**given)


class CarrierRest:
    """All of them; an async context manager. `url` is the address of each."""

    def __init__(self, accounts: Accounts, plan: CallPlan, host: str = "127.0.0.1", port: int = 0) -> None:
        self.twilio = twilio_exchange.Exchange(accounts.twilio_sid, accounts.twilio_token)
        self.telnyx = telnyx.Exchange(api_key=accounts.telnyx_key)
        self.plivo = plivo_exchange.Exchange(accounts.plivo_id, accounts.plivo_token)
        self.url = ""
        self.requests = 0
        self._accounts = accounts
        self._plan = plan
        self._host, self._port = host, port
        self._stack = contextlib.AsyncExitStack()
        self.twilio.plan = replace(plan, account_sid=accounts.twilio_sid, auth_token=accounts.twilio_token)
        self.plivo.plan = replace(plan, account_sid=accounts.plivo_id, auth_token=accounts.plivo_token)
        self.twilio.who_answers = self.plivo.who_answers = callee_of
        self.on_request: Callable[[str], None] = lambda words: None
        self._furnish()

    async def __aenter__(self) -> CarrierRest:
        for exchange in (self.twilio, self.telnyx, self.plivo):
            await self._stack.enter_async_context(exchange)
        server = await self._stack.enter_async_context(RestServer(self._answer, self._host, self._port))
        self.url = server.url
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def _furnish(self) -> None:
        """What `tandem check` looks at in an account."""
        self.twilio.account.add_number(TWILIO_NUMBER, voice_url=ELSEWHERE)
        self.telnyx.engine.applications[telnyx.CONNECTION_ID] = {
            "record_type": "call_control_application",
            "id": telnyx.CONNECTION_ID,
            "application_name": "Simulated",
            "active": True,
            "webhook_event_url": ELSEWHERE,
            "webhook_event_failover_url": None,
            "webhook_api_version": "2",
        }
        number = {"phone_number": TELNYX_NUMBER, "connection_id": telnyx.CONNECTION_ID, "connection_name": "Simulated"}
        self.telnyx.engine.numbers.append(number)
        self.plivo.calls.add_application(PLIVO_APPLICATION, app_name="Simulated", answer_url=ELSEWHERE)
        self.plivo.calls.add_number(PLIVO_NUMBER.lstrip("+"), PLIVO_APPLICATION)

    def _answer(self, request: ApiRequest) -> ApiAnswer | str:
        """Each carrier has paths of its own."""
        self.requests += 1
        answer = self._of_carrier(request)
        status = answer if isinstance(answer, str) else answer.status
        self.on_request(f"{request.method} {request.path}: {status}")
        return answer

    def _of_carrier(self, request: ApiRequest) -> ApiAnswer | str:
        if request.path.startswith("/2010-04-01/"):
            return self.twilio.answer(request)
        if request.path.startswith("/v1/Account/"):
            return self.plivo.answer(request)
        if request.path.startswith("/v2/"):
            if isinstance(body := request.json, dict) and "to" in body:
                self.telnyx.callee = self.telnyx.transfer_to = self._telnyx_callee(body)
            return self.telnyx.answer(request)
        return error(404, 20404, "no carrier's API has such a path")

    @property
    def variables(self) -> str:
        """What points a server at all of them."""
        accounts = self._accounts
        pairs = {
            "TWILIO_API_URL": self.url,
            "TWILIO_ACCOUNT_SID": accounts.twilio_sid,
            "TWILIO_AUTH_TOKEN": accounts.twilio_token,
            "TELNYX_API_URL": self.url,
            "TELNYX_API_KEY": accounts.telnyx_key,
            "TELNYX_PUBLIC_KEY": self.telnyx.public_key,
            "TELNYX_CONNECTION_ID": telnyx.CONNECTION_ID,
            "PLIVO_API_URL": self.url,
            "PLIVO_AUTH_ID": accounts.plivo_id,
            "PLIVO_AUTH_TOKEN": accounts.plivo_token,
        }
        return " ".join(f"{name}={value}" for name, value in pairs.items())

    def _telnyx_callee(self, body: Mapping[str, Any]) -> telnyx.Callee:
        callee = callee_of(str(body["to"]))
        rings = float(body.get("timeout_secs", TELNYX_RING_SECONDS))
        seconds = rings if callee.result == "no-answer" else callee.ring_seconds
        machine = "machine" if callee.answered_by.startswith("machine") else "human"
        return telnyx.Callee(self._plan, callee.result, seconds, callee.talk_seconds, machine)


def callee_of(number: str) -> Callee:
    """Who is there when this number is called."""
    result, answered_by = ENDS.get(number[-4:], ("answers", "human"))
    return Callee(result, RING_SECONDS, TALK_SECONDS, answered_by, 1.0)


@contextlib.asynccontextmanager
async def carriers(settings: Settings, host: str, port: int) -> AsyncIterator[CarrierRest]:
    """As the command runs them."""
    voice = await asyncio.to_thread(Voice)
    plan = CallPlan("", "", "", audio=conversation(voice))
    async with CarrierRest(Accounts.of(settings), plan, host, port) as running:
        yield running


async def serve(
    settings: Settings,
    host: str,
    port: int,
    *,
    on_listening: Callable[[str], None],
    on_report: Callable[[str], None],
) -> None:
    """Serve until cancelled. `on_listening` is told the variables that point a server at it, `on_report` each request.

    Raises:
        OSError: the address is taken.
    """
    async with carriers(settings, host, port) as running:
        running.on_request = on_report
        on_listening(running.variables)
        await asyncio.get_running_loop().create_future()
