"""Telnyx, simulated: its REST API on loopback, webhooks signed with its key, and calls with real media streams.

    async with Exchange() as telnyx:
        # a server with TELNYX_API_URL, TELNYX_API_KEY and TELNYX_PUBLIC_KEY of telnyx
        report = await telnyx.call(CallPlan("http://localhost:8000/telnyx/events", ...))

What the server commands over REST happens: an answered call is streamed when that is ordered, a hang-up ends it, a
call that the server places is answered by `callee`. The words on the socket are `telnyx_line`, the API's `telnyx_api`,
one leg and what waits in it `telnyx_leg`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import httpx

from tandem.simulators.api_server import ApiAnswer, ApiRequest, RestServer
from tandem.simulators.callback_client import callback_client
from tandem.simulators.line import Recording
from tandem.simulators.plan import CallEvent, CallPlan, CallReport, OnEvent
from tandem.simulators.telnyx_api import CallState, TelnyxApiEngine, described, refusal
from tandem.simulators.telnyx_documents import obey_documents
from tandem.simulators.telnyx_http import DEMO_SEED, USER_AGENT, WEBHOOK_SECONDS, Webhooks, public_key
from tandem.simulators.telnyx_leg import SILENT_SECONDS, Leg, new_call, order_of
from tandem.simulators.telnyx_line import Quirks
from tandem.simulators.telnyx_texml import Dial
from tandem_codecs.format import MULAW_8K
from tandem_codecs.g711 import mulaw_to_pcm16
from tandem_codecs.wav import StereoWriter
from tandem_providers.tasks import StartTask, owned_tasks

USER_ID: Final = "b4a0c5d2-0000-4000-8000-000000000001"
CONNECTION_ID: Final = "1494404757140276705"
API_KEY: Final = "KEY-simulated"

_CAUSES: Final = {"busy": "user_busy", "no-answer": "timeout", "failed": "not_found"}
"""Of the end of a leg that nobody has taken."""

Fault = int | str
"""An API request is answered with this status, or `HANG` or `CUT` happens to it."""


@dataclass(frozen=True, slots=True)
class Callee:
    """Who is called when the server places a call: how it goes, and what is said."""

    plan: CallPlan
    """URL: where webhooks go that the server does not direct elsewhere; the numbers are those that it dials."""
    result: Literal["answers", "busy", "no-answer", "failed"] = "answers"
    ring_seconds: float = 0.0
    talk_seconds: float = 0.5
    """How long the other end of a transfer talks before it hangs up."""
    machine: str = ""
    """What answering machine detection finds, if it is asked for: human, machine or not_sure."""
    greeting_result: str = "beep_detected"
    """How a machine's greeting ends."""


@dataclass(slots=True)
class Exchange:
    """See the module. Leaving it hangs up on everybody."""

    seed: bytes = field(default=DEMO_SEED, repr=False)
    api_key: str = field(default=API_KEY, repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    quirks: Quirks = field(default_factory=Quirks)
    repeats: int = 1
    """How often each webhook is sent."""
    patience: float = SILENT_SECONDS
    """How long a server may leave a call up without a stream."""
    callee: Callee | None = None
    transfer_to: Callee | None = None
    """Who is at the other end of a transfer. None: nobody answers."""
    asked: list[ApiRequest] = field(default_factory=list)
    """Requests to the API."""
    placed: list[Leg] = field(default_factory=list)
    """Legs of calls that the server placed, and of transfers."""
    dialled: list[Dial] = field(default_factory=list)
    """Whom TeXML documents have called."""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """By action (`answer`, `dial`, ...): what happens to its next requests, in turn."""
    engine: TelnyxApiEngine = field(init=False)
    origin: str = ""
    _legs: dict[str, Leg] = field(default_factory=dict)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _start: StartTask = field(init=False)
    _http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.engine = TelnyxApiEngine(self.api_key)

    @property
    def public_key(self) -> str:
        """For `TELNYX_PUBLIC_KEY`."""
        return public_key(self.seed)

    @property
    def api_url(self) -> str:
        """For `TELNYX_API_URL`."""
        return self.origin

    async def __aenter__(self) -> Self:
        self._http = await self._stack.enter_async_context(callback_client(WEBHOOK_SECONDS, USER_AGENT))
        self._start = await self._stack.enter_async_context(owned_tasks())
        server = await self._stack.enter_async_context(RestServer(self.answer, self.host, self.port))
        self.origin = server.url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # --- calls ------------------------------------------------------------------------------------

    async def call(self, plan: CallPlan, on_event: OnEvent | None = None) -> CallReport:
        """Call the server, and see the call to its end: by TeXML where the plan's URL ends in `/voice`, else by Call
        Control. What goes wrong with the call is in the report.

        Raises:
            OSError: the recording cannot be written.
        """
        leg = self.leg(plan, incoming=True, on_event=on_event)
        try:
            await _run(leg)
        finally:
            leg.call.state = CallState.ENDED
            if plan.recording is not None:
                await asyncio.to_thread(_write, plan.recording, leg.sound)
        return leg.report()

    def begin(self, leg: Leg) -> None:
        """Have a leg call the server, beside whatever else goes on."""
        self._start(_run(leg), name="caller")

    def leg(self, plan: CallPlan, *, incoming: bool = True, on_event: OnEvent | None = None, call_id: str = "") -> Leg:
        """A leg that the API knows and that does nothing of itself, with that id if one is given."""
        call = new_call(plan, incoming=incoming, connection_id=CONNECTION_ID)
        call.call_control_id = call_id or call.call_control_id
        webhooks = Webhooks(self._http, self.seed, self.repeats)
        leg = Leg(
            call,
            plan,
            webhooks,
            USER_ID,
            self.quirks,
            self._start,
            self._transfer,
            self._dial_out,
            on_event or _unheard,
            self.patience,
        )
        self._legs[call.call_control_id] = leg
        self.engine.calls[call.call_control_id] = call
        return leg

    # --- the API ----------------------------------------------------------------------------------

    def answer(self, request: ApiRequest) -> ApiAnswer | str:
        """What a request to the API comes to."""
        self.asked.append(request)
        action = "dial" if request.path == "/v2/calls" else request.path.rpartition("/")[2]
        planned = self.faults.get(action)
        if planned:
            fault = planned.pop(0)
            return fault if isinstance(fault, str) else _failure(fault)
        answer, command = self.engine.request(request, time.monotonic())
        if command is None:
            return answer
        if command.call is None:
            return self._dial(command.body)
        self._legs[command.call.call_control_id].obey(command)
        return answer

    # --- calls that the server places -------------------------------------------------------------

    def _dial(self, body: Mapping[str, Any]) -> ApiAnswer:
        if self.callee is None:
            return refusal(403, "10010", "Nobody can be called", "This exchange has no callee.")
        leg = self._outgoing(self.callee, body)
        self._start(self._ring_out(leg, self.callee, body), name="callee")
        return ApiAnswer(200, {"data": described(leg.call)})

    def _outgoing(self, callee: Callee, body: Mapping[str, Any]) -> Leg:
        plan = replace(callee.plan, from_=str(body.get("from", callee.plan.from_)), to=str(body["to"]))
        leg = self.leg(plan, incoming=False)
        leg.call.webhook_url = body.get("webhook_url", "")
        leg.call.client_state = body.get("client_state", "")
        self.placed.append(leg)
        return leg

    async def _ring_out(self, leg: Leg, callee: Callee, body: Mapping[str, Any]) -> None:
        numbers = {"from": leg.call.from_, "to": leg.call.to}
        await leg.event("call.initiated", direction="outgoing", state="bridging", **numbers)
        if await leg.hung_up_within(callee.ring_seconds):
            return
        if callee.result != "answers":
            await leg.end(_CAUSES[callee.result], "callee")
            return
        leg.call.state = CallState.ANSWERED
        await leg.event("call.answered", state="answered", **numbers)
        if body.get("answering_machine_detection", "disabled") != "disabled" and callee.machine:
            self._start(self._detect(leg, callee), name="machine detection")
        if "stream_url" in body:
            await leg.stream(order_of(body))

    async def _detect(self, leg: Leg, callee: Callee) -> None:
        await leg.event("call.machine.detection.ended", result=callee.machine)
        if callee.machine == "machine":
            await leg.event("call.machine.greeting.ended", result=callee.greeting_result)

    def _transfer(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._start(self._move(leg, body), name="transfer")

    async def _move(self, leg: Leg, body: Mapping[str, Any]) -> None:
        """A second leg is dialled. When it answers the two are joined, and then end together; when it does not, the
        first leg stays as it is."""
        callee = self.transfer_to or Callee(leg.plan, result="no-answer")
        if body.get("webhook_url"):
            leg.call.webhook_url = body["webhook_url"]
        other = self._outgoing(callee, {**body, "client_state": body.get("target_leg_client_state", "")})
        other.call.call_session_id = leg.call.call_session_id
        numbers = {"from": other.call.from_, "to": other.call.to}
        await other.event("call.initiated", direction="outgoing", state="bridging", **numbers)
        if await leg.hung_up_within(callee.ring_seconds):
            await other.end("originator_cancel", "caller")
            return
        if callee.result != "answers":
            await other.end(_CAUSES[callee.result], "callee")
            return
        other.call.state = CallState.ANSWERED
        await other.event("call.answered", state="answered", **numbers)
        async with asyncio.TaskGroup() as tasks:
            for each in (leg, other):
                tasks.create_task(each.bridged())
        await asyncio.sleep(callee.talk_seconds)
        for each in (other, leg):
            await each.end("normal_clearing", "callee")

    async def _dial_out(self, leg: Leg, verb: Dial) -> str:
        """A TeXML document calls somebody else: `DialCallStatus`, when that is over."""
        callee = self.transfer_to or Callee(leg.plan, result="no-answer")
        self.dialled.append(verb)
        await asyncio.sleep(callee.ring_seconds)
        if callee.result != "answers":
            return callee.result
        await asyncio.sleep(callee.talk_seconds)
        return "completed"


async def _run(leg: Leg) -> None:
    """The call, to its end: by TeXML where its URL ends in `/voice`, else by Call Control."""
    if leg.plan.url.endswith("/voice"):
        await obey_documents(leg)
    else:
        await leg.ring()


def _unheard(event: CallEvent) -> None:
    """Nobody watches."""


def _failure(status: int) -> ApiAnswer:
    """An answer that was planned."""
    headers = {"x-ratelimit-reset": "0"} if status == 429 else {}
    code = {429: "10011", 422: "90018"}.get(status, "10007")
    return replace(refusal(status, code, "On purpose"), headers=headers)


def _write(path: Path, sound: Recording) -> None:
    with StereoWriter(path, MULAW_8K.rate) as writer:
        writer.write("left", 0, mulaw_to_pcm16(bytes(sound.caller)))
        writer.write("right", 0, mulaw_to_pcm16(bytes(sound.agent)))


async def place_call(plan: CallPlan, on_event: OnEvent | None = None, *, host: str, port: int) -> CallReport:
    """Place one call, with Telnyx's API at this address as long as it lasts.

    The plan's `auth_token` is the seed of the signing key in base64 (empty: the demonstration key), its `account_sid`
    the API key that the server has.

    Raises:
        OSError: the address is taken, or the recording cannot be written.
    """
    seed = base64.b64decode(plan.auth_token) if plan.auth_token else DEMO_SEED
    async with Exchange(seed, plan.account_sid or secrets.token_hex(8), host, port) as exchange:
        return await exchange.call(plan, on_event)
