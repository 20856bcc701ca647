"""The carrier that calls, as Plivo: places a simulated call against a server, over Plivo's real wire protocol.

Signed answer URL, XML obeyed element by element, WebSocket with a signed upgrade, media both ways at 20 ms on an
absolute clock, checkpoints when played, `clearAudio`, DTMF, stream and hangup callbacks. With an `api` (the simulated
REST API that the server was told) the server can end the call and send it elsewhere.

    report = await place_call(CallPlan("http://localhost:8000/plivo/voice", auth_id, auth_token, audio=speech))
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import httpx
from websockets.exceptions import InvalidHandshake, InvalidMessage

from tandem.simulators.callback_client import callback_client
from tandem.simulators.line import MediaLine, Recording
from tandem.simulators.phone import At, Caller, Note, Turn
from tandem.simulators.plan import CallEvent, CallPlan, CallReport, EventKind, OnEvent
from tandem.simulators.plivo_http import USER_AGENT, WEBHOOK_SECONDS, Webhooks, signed
from tandem.simulators.plivo_line import Identity, PlivoWire, plivo_line
from tandem.simulators.plivo_rest import Calls, LiveCall, serve
from tandem.simulators.plivo_xml import AnswerError, Dial, Element, Hangup, Redirect, Speak, Stream, Wait
from tandem.simulators.stream_socket import INTENDED, EndedBy, StreamCall, Stuck, open_stream, upgrade_problem
from tandem.simulators.twilio import WhoAnswers
from tandem_codecs.format import MULAW_8K
from tandem_codecs.g711 import mulaw_to_pcm16
from tandem_codecs.wav import StereoWriter

STREAM_ATTEMPTS: Final = 3
"""A media socket that can not be opened is tried twice more."""

NOWHERE: Final = "ws://127.0.0.1:9/"
"""Nobody listens there."""

NORMAL: Final = "4000", "Normal Hangup"
END_OF_XML: Final = "4010", "End Of XML Instructions"
BY_API: Final = "1000", "API Request"
BUSY: Final = "3010", "Busy Line"
_UNANSWERED: Final = {
    "busy": BUSY,
    "no-answer": ("6010", "Ring Timeout Reached"),
    "canceled": ("1000", "Cancelled"),
    "failed": ("3000", "Destination Out Of Service"),
}

_DIAL_STATUS: Final = {"answers": "completed", "busy": "busy", "no-answer": "no-answer", "failed": "failed"}


async def place_call_with_api(plan: CallPlan, on_event: OnEvent | None = None, *, host: str, port: int) -> CallReport:
    """Place one call, with Plivo's API at this address as long as it lasts.

    Raises:
        OSError: the address is taken, or the recording cannot be written.
    """
    calls = Calls(plan.account_sid, plan.auth_token)
    async with serve(calls, host, port):
        return await place_call(plan, on_event, calls)


async def place_call(plan: CallPlan, on_event: OnEvent | None = None, api: Calls | None = None) -> CallReport:
    """Place the call and see it to its end. In the plan, `account_sid` is the auth id, and `status_url` is told of the
    call's end. `api`: where the server can end the call, or send it elsewhere.

    What goes wrong with the call is in the report. Cancelled, it hangs up by closing its socket; a recording of what
    there was is still written.

    Raises:
        OSError: the recording cannot be written.
    """
    secure = plan.url.startswith("https") or plan.via.startswith("https")
    async with callback_client(WEBHOOK_SECONDS, USER_AGENT, verify=secure, trust_env=secure) as http:
        call = Call(plan, http, on_event or (lambda event: None))
        if api is not None:
            api.live[call.live.call_id] = call.live
        try:
            await call.run()
        finally:
            if api is not None:
                api.live.pop(call.live.call_id, None)
            if plan.recording is not None:
                await asyncio.to_thread(write_recording, plan.recording, call.sound)
        return call.report()


def write_recording(path: Path, sound: Recording) -> None:
    """Caller left, agent right. Blocks."""
    with StereoWriter(path, MULAW_8K.rate) as writer:
        writer.write("left", 0, mulaw_to_pcm16(bytes(sound.caller)))
        writer.write("right", 0, mulaw_to_pcm16(bytes(sound.agent)))


class Call:
    """One call: its state, and everything in it that waits."""

    def __init__(self, plan: CallPlan, http: httpx.AsyncClient, on_event: OnEvent) -> None:
        self.sound = Recording()
        self.beyond: WhoAnswers | None = None
        """Who is there when it is put through; None: as the live call says, at once."""
        self.live = LiveCall(str(uuid.uuid4()))
        self._plan = plan
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._began = self._ended = self._loop.time()
        self._webhooks = Webhooks(plan, http, self.live.call_id)
        self._result: Literal["completed", "busy", "failed", "no-answer", "canceled"] = "completed"
        self._cause = END_OF_XML
        self._ended_by: EndedBy | None = None
        self._upgrade_ms: float | None = None
        self._close_code: int | None = None
        self._lines: list[MediaLine] = []
        self._offset = 0.0
        self._said: list[str] = []
        self._callbacks: list[tuple[str, int]] = []
        self._problems: list[str] = []
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        async with self._tasks:
            try:
                self._tell("dialling", self._plan.url)
                await self._obey(await self._webhooks.ask(self._plan.url, self._plan.method))
            except AnswerError as error:
                self._problem(str(error))
                self._result = "failed"
                self._cause = str(error.code), "Invalid Answer XML"
            self._ended = self._loop.time()
            self._webhooks.call_status = self._result
        # The call's own callback comes last: the group has waited for those of its streams.
        if self._plan.status_url:
            await self._callback(self._plan.status_url, "Hangup", self._final_fields())
        self._tell("ended", self._result)

    def pick_up(self) -> None:
        """Whoever is called by the server has answered."""
        self._answer()

    async def come_to_nothing(self, result: Literal["busy", "failed", "no-answer", "canceled"]) -> None:
        """Whoever is called by the server has not."""
        self._result = result
        self._webhooks.call_status = "cancel" if result == "canceled" else result
        self._cause = _UNANSWERED[result]
        self._ended = self._loop.time()
        if self._plan.status_url:
            await self._callback(self._plan.status_url, "Hangup", self._final_fields())
        self._tell("ended", result)

    async def tell(self, url: str, what: str, **fields: str) -> None:
        """Something else about the call."""
        await self._callback(url, what, fields)

    async def _callback(self, url: str, what: str, fields: Mapping[str, str], method: str = "POST") -> None:
        status = await self._webhooks.tell(url, {"Event": what, **fields}, method)
        self._callbacks.append((what, status))
        self._tell("callback", f"{what}: {status or 'no answer'}")
        if not 200 <= status < 300:
            self._problem(f"callback {what} was answered {status or 'not at all'}")

    def _final_fields(self) -> dict[str, str]:
        seconds = math.ceil(self._ended - self._began) if self._result in ("completed", "failed") else 0
        code, name = self._cause
        return {
            "HangupCause": "NORMAL_CLEARING",
            "HangupCauseCode": code,
            "HangupCauseName": name,
            "HangupSource": {"caller": "Caller", "limit": "Caller"}.get(self._ended_by or "", "Plivo"),
            "Duration": str(seconds),
            "BillDuration": str(math.ceil(seconds / 60) * 60),
            "TotalCost": "0.00550",
            "StartTime": _now(),
            "AnswerTime": _now(),
            "EndTime": _now(),
        }

    # The document

    async def _obey(self, elements: list[Element]) -> None:
        """Element by element, and document by document, until the call is over."""
        while elements:
            element = elements.pop(0)
            match element:
                case Hangup():
                    if element.reason and self._webhooks.call_status == "ringing":
                        self._result, self._cause = "busy", BUSY
                        self._tell("rejected", element.reason)
                    return
                case Speak():
                    self._answer()
                    self._said.append(element.text)
                    self._tell("said", element.text)
                case Wait():
                    self._answer()
                    await asyncio.sleep(element.seconds)
                case Redirect():
                    elements = await self._webhooks.ask(element.url, element.method)
                case Dial():
                    self._answer()
                    elements = await self._dial(element) or elements
                case Stream():
                    self._answer()
                    if await self._stream(element):
                        return
            if self.live.hung_up.is_set():
                self._cause = BY_API
                return
            if self.live.redirected is not None:
                url, self.live.redirected = self.live.redirected, None
                elements = await self._webhooks.ask(url, "POST")

    def _answer(self) -> None:
        if self._webhooks.call_status == "ringing":
            self._webhooks.call_status = "in-progress"
            self._tell("answered")

    async def _dial(self, element: Dial) -> list[Element]:
        """Somebody else is called, and when he takes the call, both talk for a while."""
        self._tell("said", f"dials {element.to}")
        self.live.dialled.append(element.to)
        status, talk_seconds = self.live.dial_status, 0.0
        if self.beyond is not None:
            callee = self.beyond(element.to)
            rings = element.seconds if callee.result == "no-answer" else min(callee.ring_seconds, element.seconds)
            if await self._hung_up_within(rings):
                return []
            status = _DIAL_STATUS[callee.result] if callee.ring_seconds <= element.seconds else "no-answer"
            talk_seconds = callee.talk_seconds
        fields = {"DialALegUUID": self.live.call_id, "DialRingStatus": "true"}
        if element.callback and status == "completed":
            answered = {**fields, "DialBLegUUID": str(uuid.uuid4()), "DialAction": "answer", "DialBLegStatus": "answer"}
            await self._callback(element.callback, "DialAnswer", answered)
        if status == "completed" and await self._hung_up_within(talk_seconds):
            return []
        if not element.action:
            return []
        fields["DialStatus"] = status
        if element.redirect:
            return await self._webhooks.ask(element.action, "POST", fields)
        await self._callback(element.action, "DialAction", fields)
        return []

    async def _hung_up_within(self, seconds: float) -> bool:
        """Whether the server ends the call before that."""
        try:
            async with asyncio.timeout(seconds):
                await self.live.hung_up.wait()
        except TimeoutError:
            return False
        return True

    # The stream

    async def _stream(self, element: Stream) -> bool:
        """Run the stream; True when the call ended with it, False when the document goes on."""
        identity = Identity(self._plan.account_sid, self.live.call_id, str(uuid.uuid4()))
        socket = None
        for attempt in range(STREAM_ATTEMPTS):
            try:
                headers = signed("GET", element.url, {}, self._plan.auth_token)
                address = NOWHERE if self._plan.faults.unreachable else self._webhooks.reach(element.url)
                socket = await open_stream(address, headers, USER_AGENT)
                break
            except (OSError, InvalidHandshake, InvalidMessage) as error:
                problem = upgrade_problem(error)
                if attempt == STREAM_ATTEMPTS - 1:
                    self._problem(problem)
                    self._post(element, identity, "failed", problem)
        if socket is None:
            return False
        self._upgrade_ms = (self._loop.time() - self._webhooks.answered_at) * 1000
        self._tell("stream", identity.stream_id)
        self._post(element, identity, "StartStream")
        turns = [Turn(self._plan.audio, At(0))] if isinstance(self._plan.audio, bytes) else self._plan.audio
        caller = Caller([] if self._lines else turns, self._plan.hang_up)  # a second stream: all was said on the first
        faults = self._plan.faults
        wire = PlivoWire(identity, element.content_type, element.extra_headers, faults, int(time.time() * 1000))
        line = plivo_line(wire, caller, self.sound, faults)
        self._lines.append(line)
        self._offset = (self._loop.time() - self._began) * 1000
        hung_up = self.live.hung_up
        try:
            self._ended_by = await StreamCall(socket, line, self._plan.seconds, faults, self._note, hung_up).run()
        except Stuck:
            self._problem("the server takes no more frames")
            self._ended_by = "limit"
        self._close_code = socket.close_code
        self._problems += line.errors
        by_api = self.live.hung_up.is_set()
        if self._ended_by == "server" and not by_api and self._close_code not in INTENDED:
            self._problem(f"the server closed the stream: {self._close_code} {socket.close_reason}".rstrip())
        self._tell("stream-ended", f"by {self._ended_by}")
        self._post(element, identity, "StopStream")
        self._cause = BY_API if by_api else END_OF_XML if self._ended_by == "server" else NORMAL
        return self._ended_by != "server" or by_api

    def _note(self, note: Note) -> None:
        self._on_event(CallEvent(note.at_ms + self._offset, note.kind, note.detail, note.latency_ms))

    def _post(self, element: Stream, identity: Identity, event: str, reason: str = "") -> None:
        """Tell the stream's status in the background: media does not wait for it."""
        if element.status_url:
            fields = {"StreamID": identity.stream_id, "Timestamp": _now(), "StatusReason": reason}
            self._tasks.create_task(self._callback(element.status_url, event, fields, element.status_method))

    # Telling

    def _tell(self, kind: EventKind, detail: str = "") -> None:
        self._on_event(CallEvent((self._loop.time() - self._began) * 1000, kind, detail))

    def _problem(self, words: str) -> None:
        self._problems.append(words)
        self._tell("problem", words)

    def report(self) -> CallReport:
        return CallReport.measured(
            self._lines,
            call_sid=self.live.call_id,
            result=self._result,
            ended_by=self._ended_by,
            seconds=self._ended - self._began,
            webhook_ms=self._webhooks.first_ms,
            upgrade_ms=self._upgrade_ms,
            close_code=self._close_code,
            said=tuple(self._said),
            callbacks=tuple(self._callbacks),
            problems=tuple(self._problems),
            recording=self._plan.recording,
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
