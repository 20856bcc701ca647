"""One simulated leg of a Telnyx call: what its owner says, what the server commands, and when it is over."""

from __future__ import annotations

import asyncio
import base64
import secrets
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from websockets.exceptions import InvalidHandshake, InvalidMessage

from tandem.simulators.line import MediaLine, Recording
from tandem.simulators.phone import At, Caller, Note, Turn
from tandem.simulators.plan import CallEvent, CallPlan, CallReport, EventKind, OnEvent
from tandem.simulators.stream_socket import INTENDED, EndedBy, StreamCall, Stuck, open_stream, upgrade_problem
from tandem.simulators.telnyx_api import CallState, Command, SimulatedCall
from tandem.simulators.telnyx_http import USER_AGENT, Webhooks, reach
from tandem.simulators.telnyx_line import Identity, Order, Quirks, telnyx_line
from tandem.simulators.telnyx_texml import (
    Dial,
)

FIRST_COMMAND_SECONDS: Final = 10.0
"""How long an incoming call waits for a command before Telnyx hangs up."""
SILENT_SECONDS: Final = 5.0
"""How long a call may be left without a stream by a server that closed it, before that is a complaint."""
MOST_DOCUMENTS: Final = 10
AUTH_HEADER: Final = "x-telnyx-streaming-auth-token"
NOWHERE: Final = "ws://127.0.0.1:1/"


class StartTask(Protocol):
    def __call__(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]: ...


@dataclass(slots=True)
class Leg:
    """One leg. `obey` is told each command that the API took."""

    call: SimulatedCall
    plan: CallPlan
    webhooks: Webhooks
    user_id: str
    quirks: Quirks
    start: StartTask
    transfer: Callable[[Leg, Mapping[str, Any]], None]
    """Begins to move this leg to somebody else."""
    dial: Callable[[Leg, Dial], Awaitable[str]]
    """Calls somebody else for this leg, and tells what came of it when it is over."""
    on_event: OnEvent
    patience: float = SILENT_SECONDS
    """So long it may be left without a stream before that is a complaint."""
    silent: bool = False
    """It tells the server nothing: somebody else does."""
    sound: Recording = field(default_factory=Recording)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    digits: str = ""
    """Keys that the server played."""
    said: list[str] = field(default_factory=list)
    events: list[tuple[str, int]] = field(default_factory=list)
    """What was told, and what that was answered."""
    problems: list[str] = field(default_factory=list)
    result: Literal["completed", "busy", "failed"] = "completed"
    lines: list[MediaLine] = field(default_factory=list)
    ended_by: EndedBy | None = None
    close_code: int | None = None
    upgrade_ms: float | None = None
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """The call is over, whatever its stream does."""
    _stream_stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _commanded: asyncio.Event = field(default_factory=asyncio.Event)
    _began: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    ended: float = 0.0
    """When, on the loop's clock."""
    _offset: float = 0.0
    _stream_id: str = ""
    _work: list[asyncio.Task[None]] = field(default_factory=list)
    document: str = ""
    """One that the server gave the call out of turn."""
    documents: int = 0
    """TeXML documents so far; none where Call Control is spoken."""

    # --- Call Control -----------------------------------------------------------------------------

    async def ring(self) -> None:
        """An incoming call of a Voice API application, to its end."""
        self.tell("dialling", self.plan.url)
        status = await self.event("call.initiated", direction="incoming", state="parked", **_numbers(self.call))
        if not 200 <= status < 300:
            self.problem(f"the webhook was answered {status or 'not at all'}")
            self.result = "failed"
            await self.end("unspecified", "unknown")
            return
        try:
            async with asyncio.timeout(FIRST_COMMAND_SECONDS):
                await self._commanded.wait()
        except TimeoutError:
            self.problem("no command came for the call")
            self.result = "failed"
            await self.end("timeout", "unknown")
        await self.over.wait()
        await self.settled()

    async def settled(self) -> None:
        """Everything that was begun for this leg is done."""
        while pending := [task for task in self._work if not task.done()]:
            await asyncio.wait(pending)

    def obey(self, command: Command) -> None:
        """A command that the API has taken."""
        self._commanded.set()
        body = command.body
        match command.action:
            case "answer":
                self.call.state = CallState.ANSWERED
                self.tell("answered")
                self._go(self.event("call.answered", state="answered", **_numbers(self.call)))
            case "reject":
                self.result = "busy"
                self.tell("rejected", str(body["cause"]))
                self._go(self.end("call_rejected", "callee"))
            case "hangup":
                self._go(self.end("normal_clearing", "callee"))
            case "streaming_start":
                self.call.streaming = True
                self._go(self.stream(order_of(body)))
            case "streaming_stop":
                self._stream_stopped.set()
            case "speak":
                self._go(self._speak(str(body["payload"])))
            case "send_dtmf":
                self.digits += str(body["digits"])
            case "transfer":
                self.transfer(self, body)
            case "update" if "Texml" in body:
                self.document = str(body["Texml"])
                self._stream_stopped.set()
            case "update":
                self.hung_up.set()
            case _:
                raise AssertionError(f"the API takes no {command.action}")

    async def _speak(self, text: str) -> None:
        self.said.append(text)
        self.tell("said", text)
        await self.event("call.speak.started")
        await self.event("call.speak.ended", status="completed")

    async def event(self, event_type: str, **fields: Any) -> int:
        """Tell the server; the status of its answer."""
        call = self.call
        payload = {
            "call_control_id": call.call_control_id,
            "call_leg_id": call.call_leg_id,
            "call_session_id": call.call_session_id,
            "connection_id": call.connection_id,
            "client_state": call.client_state or None,
            **fields,
            **self.plan.extra,
        }
        if self.silent:
            return 200
        url = call.webhook_url or self.plan.url
        status = await self.webhooks.tell(url, self.plan.via, event_type, payload)
        self.events.append((event_type, status))
        self.tell("callback", f"{event_type}: {status or 'no answer'}")
        return status

    async def hung_up_within(self, seconds: float) -> bool:
        """Let it ring; whether the call is over before that is."""
        try:
            async with asyncio.timeout(seconds):
                await self.hung_up.wait()
        except TimeoutError:
            return False
        return True

    async def bridged(self) -> None:
        """This leg has been joined with another."""
        await self.event("call.bridged")

    async def end(self, cause: str, source: Literal["caller", "callee", "unknown"]) -> None:
        """The leg is over, for this reason; once."""
        if self.call.state is CallState.ENDED:
            return
        if self.documents:
            self.hung_up.set()  # whoever obeys the documents sees to the rest
            return
        self.call.state = CallState.ENDED
        self.ended = asyncio.get_running_loop().time()
        self.hung_up.set()
        self._commanded.set()
        status = {"hangup_cause": cause, "hangup_source": source, "sip_hangup_cause": "200", "state": "hangup"}
        await self.event("call.hangup", **status, **_numbers(self.call))
        self.tell("ended", self.result)
        self.over.set()

    # --- the stream -------------------------------------------------------------------------------

    async def stream(self, order: Order, status_callback: str = "") -> None:
        """Run the stream to its end, and with it, when it was the caller's doing, the call."""
        self._stream_id = str(uuid.uuid4())
        self.call.streaming = True
        self._stream_stopped.clear()
        ended_by: EndedBy | None = None
        try:
            ended_by = await self._media(order, status_callback)
        finally:
            self.call.streaming = False
        if ended_by in ("caller", "limit", "fault"):
            await self.end("normal_clearing", "caller")
        elif not status_callback and ended_by == "server" and not self._stream_stopped.is_set():
            await self._left_alone()

    async def _left_alone(self) -> None:
        """Our socket is closed, and that is not the end of the call here: a command has to come."""
        try:
            async with asyncio.timeout(self.patience):
                await self.hung_up.wait()
        except TimeoutError:
            self.problem("the stream was closed and the call left up: the caller hears nothing")
            await self.end("timeout", "unknown")

    async def _media(self, order: Order, status_callback: str) -> EndedBy | None:
        plan, call = self.plan, self.call
        headers = {AUTH_HEADER: order.auth_token} if order.auth_token else {}
        address = NOWHERE if plan.faults.unreachable else reach(order.url, plan.via)
        try:
            socket = await open_stream(address, headers, USER_AGENT)
        except (OSError, InvalidHandshake, InvalidMessage) as error:
            problem = upgrade_problem(error)
            self.problem(problem)
            await self._stream_event("failed", order, status_callback, problem)
            return None
        loop = asyncio.get_running_loop()
        self.upgrade_ms = (loop.time() - self.webhooks.answered_at) * 1000
        self.tell("stream", self._stream_id)
        self._go(self._stream_event("started", order, status_callback))
        turns = [Turn(plan.audio, At(0))] if isinstance(plan.audio, bytes) else plan.audio
        caller = Caller([] if self.lines else turns, plan.hang_up)  # a second stream: all was said on the first
        identity = Identity(
            self.user_id, call.call_control_id, call.call_session_id, self._stream_id, call.from_, call.to
        )
        line = telnyx_line(identity, order, caller, self.sound, quirks=self.quirks, faults=plan.faults)
        self.lines.append(line)
        self._offset = (loop.time() - self._began) * 1000
        try:
            self.ended_by = await self._run(StreamCall(socket, line, plan.seconds, plan.faults, self._note))
        except Stuck:
            self.problem("the server takes no more frames")
            self.ended_by = "limit"
        self.close_code = socket.close_code
        self.problems += line.errors
        if self.ended_by == "server" and self.close_code not in INTENDED:
            self.problem(f"the server closed the stream: {self.close_code} {socket.close_reason}".rstrip())
        self.tell("stream-ended", f"by {self.ended_by}")
        self._go(self._stream_event("stopped", order, status_callback))
        return self.ended_by

    async def _run(self, stream: StreamCall) -> EndedBy:
        """The stream, until its own end, the call's, or a command to stop it."""
        stream.hung_up = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            watches = [
                tasks.create_task(_pass_on(event, stream.hung_up)) for event in (self.hung_up, self._stream_stopped)
            ]
            try:
                return await stream.run()
            finally:
                for watch in watches:
                    watch.cancel()

    async def _stream_event(self, what: str, order: Order, status_callback: str, problem: str = "") -> None:
        if status_callback:
            fields = {"StreamSid": self._stream_id, "StreamEvent": f"stream-{what}", "Timestamp": _now()}
            await self.callback(status_callback, {**fields, **({"StreamError": problem} if problem else {})})
            return
        extra: dict[str, Any] = {"stream_url": order.url}
        if what == "failed":
            params = {"stream_url": order.url, "track": order.track}
            extra = {"failure_reason": problem, "stream_params": params, "stream_type": "websocket"}
            extra["stream_id"] = self._stream_id
        await self.event(f"streaming.{what}", **extra)

    # --- TeXML ------------------------------------------------------------------------------------

    async def callback(self, url: str, fields: Mapping[str, str]) -> None:
        """Tell a TeXML application's callback URL."""
        response = await self.webhooks.form("POST", url, self.plan.via, {**self.fields(), **fields})
        status = 0 if response is None else response.status_code
        what = fields.get("StreamEvent") or fields.get("CallStatus", "")
        self.events.append((what, status))
        self.tell("callback", f"{what}: {status or 'no answer'}")
        if not 200 <= status < 300:
            self.problem(f"callback {what} was answered {status or 'not at all'}")

    def fields(self) -> dict[str, str]:
        """What every TeXML request of the call says."""
        call = self.call
        return {
            "AccountSid": self.user_id,
            "CallSid": call.call_control_id,
            "CallSidLegacy": call.call_control_id,
            "CallerId": call.from_,
            "CallingPartyType": "pstn",
            "ConnectionId": call.connection_id,
            "From": call.from_,
            "To": call.to,
            **self.plan.extra,
        }

    # --- telling ----------------------------------------------------------------------------------

    def report(self) -> CallReport:
        """What came of it."""
        return CallReport.measured(
            self.lines,
            call_sid=self.call.call_control_id,
            result=self.result,
            ended_by=self.ended_by,
            seconds=(self.ended or asyncio.get_running_loop().time()) - self._began,
            webhook_ms=self.webhooks.first_ms,
            upgrade_ms=self.upgrade_ms,
            close_code=self.close_code,
            said=tuple(self.said),
            callbacks=tuple(self.events),
            problems=tuple(self.problems),
            recording=self.plan.recording,
        )

    def problem(self, words: str) -> None:
        """Something that a person would have to look into."""
        self.problems.append(words)
        self.tell("problem", words)

    def tell(self, kind: EventKind, detail: str = "") -> None:
        """Whoever watches the call."""
        at = (asyncio.get_running_loop().time() - self._began) * 1000
        self.on_event(CallEvent(at, kind, detail))

    def _note(self, note: Note) -> None:
        self.on_event(CallEvent(note.at_ms + self._offset, note.kind, note.detail, note.latency_ms))

    def _go(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work.append(self.start(_nothing(work), name=f"leg {self.call.call_control_id}"))


def order_of(body: Mapping[str, Any]) -> Order:
    """A stream as a command orders it."""
    return Order(
        url=body["stream_url"],
        codec=body.get("stream_codec", "default"),
        mode=body.get("stream_bidirectional_mode", "mp3"),
        agent_codec=body.get("stream_bidirectional_codec", "PCMU"),
        agent_rate=body.get("stream_bidirectional_sampling_rate", 8000),
        track=body.get("stream_track", "inbound_track"),
        auth_token=body.get("stream_auth_token", ""),
        client_state=body.get("client_state", ""),
        parameters={each["name"]: each["value"] for each in body.get("custom_parameters", [])},
    )


def new_call(plan: CallPlan, *, incoming: bool, connection_id: str) -> SimulatedCall:
    """A leg that has just come up, with ids as Telnyx makes them."""
    opaque = base64.urlsafe_b64encode(secrets.token_bytes(36)).decode().rstrip("=")
    session = str(uuid.uuid4())
    return SimulatedCall(f"v3:{opaque}", str(uuid.uuid4()), session, connection_id, incoming, plan.from_, plan.to)


async def _pass_on(event: asyncio.Event, to: asyncio.Event) -> None:
    await event.wait()
    to.set()


async def _nothing(work: Coroutine[Any, Any, Any]) -> None:
    await work


def _numbers(call: SimulatedCall) -> dict[str, Any]:
    return {
        "from": call.from_,
        "to": call.to,
        "start_time": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
