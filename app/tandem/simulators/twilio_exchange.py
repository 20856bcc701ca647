"""Twilio, simulated: its REST API on loopback, and calls both ways with real documents and media streams.

    async with Exchange(account_sid, auth_token) as twilio:
        # a server with TWILIO_API_URL of twilio.url
        report = await twilio.call(CallPlan("http://localhost:8000/twilio/voice", account_sid, auth_token))

What the server commands over the API happens: a call is ended, does something else, or is placed and answered by
`callee`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import httpx

from tandem.simulators.api_server import ApiAnswer, ApiRequest, RestServer
from tandem.simulators.callback_client import callback_client
from tandem.simulators.plan import CallPlan, CallReport, OnEvent
from tandem.simulators.twilio import NOBODY, Call, Callee, WhoAnswers, place_call
from tandem.simulators.twilio_http import USER_AGENT, WEBHOOK_SECONDS
from tandem.simulators.twilio_rest import Account, Placed
from tandem_providers.tasks import StartTask, owned_tasks


@dataclass(slots=True)
class Exchange:
    """See the module. Leaving it hangs up on everybody."""

    sid: str
    auth_token: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    callee: Callee = field(default_factory=Callee)
    """Who is called when the server places a call."""
    who_answers: WhoAnswers | None = None
    """The same by number, and for transfers; else it is `callee` and `beyond`."""
    plan: CallPlan | None = None
    """What the callee says, and when it hangs up; numbers are those that the server dials."""
    beyond: Callee = NOBODY
    """Whom calls can be put through to."""
    reports: list[CallReport] = field(default_factory=list)
    """Of calls that the server placed."""
    url: str = ""
    """For `TWILIO_API_URL`."""
    account: Account = field(init=False)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _start: StartTask = field(init=False)
    _http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.account = Account(self.sid, self.auth_token, self._place)

    async def __aenter__(self) -> Self:
        self._http = await self._stack.enter_async_context(callback_client(WEBHOOK_SECONDS, USER_AGENT))
        self._start = await self._stack.enter_async_context(owned_tasks())
        server = await self._stack.enter_async_context(RestServer(self.answer, self.host, self.port))
        self.url = server.url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def call(self, plan: CallPlan, on_event: OnEvent | None = None) -> CallReport:
        """Call the server, and see the call to its end. Raises like `place_call`."""
        return await place_call(plan, on_event, self.account, beyond=self._beyond)

    def answer(self, request: ApiRequest) -> ApiAnswer | str:
        """What a request to the API comes to."""
        return self.account.answer(request)

    def _beyond(self, number: str) -> Callee:
        return self.beyond if self.who_answers is None else self.who_answers(number)

    def _place(self, placed: Placed) -> None:
        callee = self.callee if self.who_answers is None else self.who_answers(placed.call.to)
        self._start(self._run(placed, callee), name=f"call {placed.call.sid}")

    async def _run(self, placed: Placed, callee: Callee) -> None:
        base = self.plan or CallPlan("", self.sid, self.auth_token)
        plan = replace(
            base,
            to=placed.call.to,
            from_=placed.call.from_,
            status_url=placed.fields.get("StatusCallback", ""),
            extra={"Direction": "outbound-api", **base.extra},
        )
        call = Call(plan, self._http, _unheard, live=placed.call, beyond=self._beyond)
        if await call.ring(placed, callee):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(call.answered(placed, callee))
                await call.run(placed.fields.get("Url", ""), placed.document)
        else:
            await call.end()
        self.reports.append(call.report())


def _unheard(event: object) -> None:
    """Nobody watches."""
