"""Plivo, simulated: calls that a server places over the simulated API are dialled, answered and streamed.

async with Exchange(auth_id, auth_token) as plivo:
    # a server with PLIVO_API_URL of plivo.url places a call; plivo.callee says how that goes
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
from tandem.simulators.plan import CallPlan, CallReport
from tandem.simulators.plivo import Call
from tandem.simulators.plivo_http import USER_AGENT, WEBHOOK_SECONDS
from tandem.simulators.plivo_rest import Calls, Placed
from tandem.simulators.twilio import Callee, WhoAnswers
from tandem_providers.tasks import StartTask, owned_tasks


@dataclass(slots=True)
class Exchange:
    """See the module. Leaving it hangs up on everybody."""

    auth_id: str
    auth_token: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    callee: Callee = field(default_factory=Callee)
    """Who is called when the server places a call."""
    who_answers: WhoAnswers | None = None
    """The same by number, and for transfers."""
    plan: CallPlan | None = None
    """What the callee says, and when it hangs up; numbers are those that the server dials."""
    reports: list[CallReport] = field(default_factory=list)
    """Of calls that the server placed."""
    url: str = ""
    """For `PLIVO_API_URL`."""
    calls: Calls = field(init=False)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _start: StartTask = field(init=False)
    _http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.calls = Calls(self.auth_id, self.auth_token, self._place)

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

    def answer(self, request: ApiRequest) -> ApiAnswer | str:
        """What a request to the API comes to."""
        return self.calls.answer(request)

    def _place(self, placed: Placed) -> None:
        callee = self.callee if self.who_answers is None else self.who_answers(str(placed.fields["to"]))
        self._start(self._run(placed, callee), name=f"call {placed.request_id}")

    async def _run(self, placed: Placed, callee: Callee) -> None:
        fields, base = placed.fields, self.plan or CallPlan("", self.auth_id, self.auth_token)
        outbound = {"Direction": "outbound", "RequestUUID": placed.request_id, **base.extra}
        plan = replace(
            base,
            url=str(fields["answer_url"]),
            to=str(fields["to"]),
            from_=str(fields["from"]),
            status_url=str(fields.get("hangup_url", "")),
            extra=outbound,
        )
        call = Call(plan, self._http, _unheard)
        limit = float(fields.get("ring_timeout", 120))
        try:
            async with asyncio.timeout(limit if callee.result == "no-answer" else min(callee.ring_seconds, limit)):
                await placed.cancelled.wait()
        except TimeoutError:
            if callee.result != "answers":
                await call.come_to_nothing(callee.result)
            elif callee.ring_seconds > limit:
                await call.come_to_nothing("no-answer")
            else:
                await self._talk(call, placed, callee)
        else:
            await call.come_to_nothing("canceled")
        self.reports.append(call.report())

    async def _talk(self, call: Call, placed: Placed, callee: Callee) -> None:
        self.calls.live[call.live.call_id] = call.live
        call.live.dial_status = "completed"  # whom it is put through to is there, if nothing else is said
        call.beyond = self.who_answers
        call.pick_up()
        try:
            async with asyncio.TaskGroup() as tasks:
                url = str(placed.fields.get("machine_detection_url", ""))
                if url and callee.answered_by.startswith("machine"):
                    tasks.create_task(_listen(call, url, callee))
                await call.run()
        finally:
            self.calls.live.pop(call.live.call_id, None)


async def _listen(call: Call, url: str, callee: Callee) -> None:
    """Machine detection has found one."""
    await asyncio.sleep(callee.listens_seconds)
    await call.tell(url, "MachineDetection", Machine="true")


def _unheard(event: object) -> None:
    """Nobody watches."""
