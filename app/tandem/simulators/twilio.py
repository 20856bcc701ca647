"""The carrier that calls: places a simulated call against a server, over Twilio's real wire protocol.

Signed webhook, TwiML obeyed verb by verb, WebSocket with a signed upgrade, media both ways at 20 ms on an absolute
clock, marks when played, `clear`, DTMF, status callbacks, the `action` after the stream. What is said and measured is
`phone`; what goes over the socket is `twilio_line`; here is what waits. With an `account` (the simulated REST API that
the server was told) the server can end the call, and have it do something else.

    report = await place_call(CallPlan("http://localhost:8000/twilio/voice", account_sid, auth_token, audio=speech))
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urljoin

import httpx
from websockets.exceptions import InvalidHandshake, InvalidMessage

from tandem.carriers.twilio_webhook import signature
from tandem.simulators.callback_client import callback_client
from tandem.simulators.line import MediaLine, Recording
from tandem.simulators.phone import At, Caller, Note, Turn
from tandem.simulators.plan import CallEvent, CallPlan, CallReport, EventKind, OnEvent
from tandem.simulators.stream_socket import INTENDED, EndedBy, StreamCall, Stuck, open_stream, upgrade_problem
from tandem.simulators.twilio_http import USER_AGENT, WEBHOOK_SECONDS, Webhooks
from tandem.simulators.twilio_line import Identity, twilio_line
from tandem.simulators.twilio_rest import Account, LiveCall, Placed
from tandem.simulators.twilio_twiml import (
    HTTP_FAILED,
    Connect,
    Dial,
    Hangup,
    Pause,
    PlayKeys,
    Redirect,
    Reject,
    Say,
    TwimlError,
    Verb,
)
from tandem_codecs.format import MULAW_8K
from tandem_codecs.g711 import mulaw_to_pcm16
from tandem_codecs.wav import StereoWriter


@dataclass(frozen=True, slots=True)
class Callee:
    """Somebody who is called: when a server places a call, or has one put through."""

    result: Literal["answers", "busy", "no-answer", "failed"] = "answers"
    ring_seconds: float = 0.0
    """Before that result; of `no-answer` as long as the server lets it ring."""
    talk_seconds: float = 1.0
    """Who was put through hangs up after so long."""
    answered_by: str = ""
    """What answering machine detection finds, if it is asked for: human, machine_end_beep, ..."""
    listens_seconds: float = 0.0
    """How long that takes."""


NOBODY: Final = Callee("no-answer")
WhoAnswers = Callable[[str], Callee]
"""Who is there when a number is called."""


def nobody(number: str) -> Callee:
    """Whoever is called does not answer."""
    return NOBODY


KEY_SECONDS: Final = 0.1
"""How long one key is played."""


async def place_call(
    plan: CallPlan, on_event: OnEvent | None = None, account: Account | None = None, *, beyond: WhoAnswers = nobody
) -> CallReport:
    """Place the call and see it to its end. `beyond` is who answers when the server has it put through.

    What goes wrong with the call is in the report. Cancelled, it hangs up by closing its socket; a recording of what
    there was is still written.

    Raises:
        OSError: the recording cannot be written.
    """
    # Making a TLS context reads files: only where one is needed.
    secure = plan.url.startswith("https") or plan.via.startswith("https")
    async with callback_client(WEBHOOK_SECONDS, USER_AGENT, verify=secure, trust_env=secure) as http:
        call = Call(plan, http, on_event or (lambda event: None), beyond=beyond)
        if account is not None:
            account.calls[call.live.sid] = call.live
        try:
            await call.run(plan.url)
        finally:
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

    def __init__(
        self,
        plan: CallPlan,
        http: httpx.AsyncClient,
        on_event: OnEvent,
        *,
        live: LiveCall | None = None,
        beyond: WhoAnswers = nobody,
    ) -> None:
        self.sound = Recording()
        self.live = live or LiveCall("CA" + secrets.token_hex(16), plan.to, plan.from_)
        self._plan = plan
        self._on_event = on_event
        self._beyond = beyond
        self._loop = asyncio.get_running_loop()
        self._began = self._ended = self._loop.time()
        self._webhooks = Webhooks(plan, http, self.live.sid)
        self._result: Literal["completed", "busy", "failed", "no-answer", "canceled"] = "completed"
        self._ended_by: EndedBy | None = None
        self._upgrade_ms: float | None = None
        self._close_code: int | None = None
        self._lines: list[MediaLine] = []
        self._offset = 0.0
        self._said: list[str] = []
        self._callbacks: list[tuple[str, int]] = []
        self._problems: list[str] = []
        self._tasks = asyncio.TaskGroup()

    async def run(self, url: str = "", document: list[Verb] | None = None) -> None:
        """The call, from its first document (or where that is to be asked for) to the last callback."""
        async with self._tasks:
            try:
                self._tell("dialling", url)
                if document is None:
                    document = await self._webhooks.ask(url, self._plan.method)
                await self._obey(document, url)
            except TwimlError as error:
                self._problem(str(error))
                self._result = "failed"
            self._ended = self._loop.time()
            self._say_status(self._result)
        # The call's own callback comes last: the group has waited for those of its streams.
        if self._plan.status_url:
            await self._callback(self._plan.status_url, self._result, self._final_fields())
        self._tell("ended", self._result)

    async def ring(self, placed: Placed, callee: Callee) -> bool:
        """It is placed by the server: whether somebody picks up."""
        self._say_status("ringing")
        limit = float(placed.fields.get("Timeout", "60"))
        if await self._told_within(min(callee.ring_seconds, limit) if callee.result != "no-answer" else limit):
            self._result = "canceled"
        elif callee.result != "answers" or callee.ring_seconds > limit:
            self._result = "no-answer" if callee.result == "answers" else callee.result
        else:
            self._answer()
            return True
        return False

    async def answered(self, placed: Placed, callee: Callee) -> None:
        """Somebody has picked up: the server is told, and machine detection listens."""
        if "answered" in placed.events and self._plan.status_url:
            await self._callback(self._plan.status_url, "in-progress", {"CallbackSource": "call-progress-events"})
        url = placed.fields.get("AsyncAmdStatusCallback", "")
        if url and "MachineDetection" in placed.fields and callee.answered_by:
            await asyncio.sleep(callee.listens_seconds)
            found = {"AnsweredBy": callee.answered_by, "MachineDetectionDuration": "1500"}
            await self._callback(url, callee.answered_by, found)

    async def end(self) -> None:
        """It has come to nothing."""
        self._ended = self._loop.time()
        self._say_status(self._result)
        if self._plan.status_url:
            await self._callback(self._plan.status_url, self._result, self._final_fields())
        self._tell("ended", self._result)

    async def _callback(self, url: str, what: str, fields: Mapping[str, str], method: str = "POST") -> None:
        status = await self._webhooks.tell(url, fields, method)
        self._callbacks.append((what, status))
        self._tell("callback", f"{what}: {status or 'no answer'}")
        if not 200 <= status < 300:
            self._problem(f"{HTTP_FAILED} callback {what} was answered {status or 'not at all'}")

    def _final_fields(self) -> dict[str, str]:
        seconds = math.ceil(self._ended - self._began) if self._result == "completed" else 0
        return {
            "CallDuration": str(seconds),
            "Duration": str(math.ceil(seconds / 60)),
            "Timestamp": format_datetime(datetime.now(UTC)),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": "0",
        }

    def _say_status(self, status: str) -> None:
        self._webhooks.call_status = self.live.status = status

    # What the server says over the API

    async def _told_within(self, seconds: float) -> bool:
        """Wait; True when the server wants something else of this call meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self.live.told.wait()
        except TimeoutError:
            return False
        return True

    async def _redirected(self, base: str) -> tuple[list[Verb], str] | None:
        """What it wants; None: that the call ends, or nothing."""
        self.live.told.clear()
        if self.live.hung_up:
            return None
        document, self.live.document = self.live.document, None
        url, self.live.url = self.live.url, ""
        if document is not None:
            return document, base
        return (await self._webhooks.ask(url, "POST"), url) if url else None

    # TwiML

    async def _obey(self, verbs: list[Verb], base: str) -> None:
        """Verb by verb, and document by document, until the call is over."""
        while verbs:
            verb = verbs.pop(0)
            match verb:
                case Reject():
                    self._result = "busy"
                    self._tell("rejected", verb.reason)
                    return
                case Hangup():
                    return
                case Say():
                    self._answer()
                    self._said.append(verb.text)
                    self._tell("said", verb.text)
                case Pause():
                    self._answer()
                    await self._told_within(verb.seconds)
                case PlayKeys():
                    self.live.digits.append(verb.digits)
                    self._tell("keys", verb.digits)
                    await self._told_within(KEY_SECONDS * len(verb.digits))
                case Redirect():
                    base = urljoin(base, verb.url)
                    verbs = await self._webhooks.ask(base, verb.method)
                case Dial():
                    self._answer()
                    outcome = await self._dial(verb)
                    if verb.action and not self.live.told.is_set():
                        base = urljoin(base, verb.action)
                        verbs = await self._webhooks.ask(base, verb.method, outcome)
                case Connect():
                    self._answer()
                    if await self._connect(verb):
                        return
                    if verb.action and not self.live.told.is_set():
                        base = urljoin(base, verb.action)
                        verbs = await self._webhooks.ask(base, verb.method)
            if self.live.told.is_set():
                following = await self._redirected(base)
                if following is None:
                    return
                verbs, base = following

    def _answer(self) -> None:
        if self._webhooks.call_status in ("queued", "ringing"):
            self._say_status("in-progress")
            self._tell("answered")

    async def _dial(self, verb: Dial) -> dict[str, str]:
        """Call somebody else, and connect the two; what the action is told of it."""
        self.live.dialled.append(verb.to)
        self._tell("dialled", verb.to)
        callee, child = self._beyond(verb.to), "CA" + secrets.token_hex(16)
        ring = verb.timeout if callee.result == "no-answer" else min(callee.ring_seconds, verb.timeout)
        outcome = {"DialCallSid": child, "DialCallStatus": "no-answer"}
        if await self._told_within(ring) or callee.ring_seconds > verb.timeout:
            return outcome
        if callee.result != "answers":
            return {**outcome, "DialCallStatus": callee.result}
        self._tell("put-through", verb.to)
        if verb.status_callback and "answered" in verb.status_callback_events:
            leg = {"CallSid": child, "ParentCallSid": self.live.sid, "CallStatus": "in-progress", "To": verb.to}
            await self._callback(verb.status_callback, "in-progress", {**leg, "Direction": "outbound-dial"})
        began = self._loop.time()
        await self._told_within(callee.talk_seconds)
        seconds = str(math.ceil(self._loop.time() - began))
        return {**outcome, "DialCallStatus": "completed", "DialCallDuration": seconds}

    # The stream

    async def _connect(self, verb: Connect) -> bool:
        """Run the stream; True when the call ended with it, False when TwiML goes on."""
        identity = Identity(self._plan.account_sid, self.live.sid, "MZ" + secrets.token_hex(16))
        signed = {"X-Twilio-Signature": signature(verb.url, (), self._plan.auth_token)}
        try:
            socket = await open_stream(self._webhooks.reach(verb.url), signed, USER_AGENT)
        except (OSError, InvalidHandshake, InvalidMessage) as error:
            problem = _upgrade_problem(error)
            self._problem(problem)
            self._post(verb, identity, "stream-error", problem)
            return False
        self._upgrade_ms = (self._loop.time() - self._webhooks.answered_at) * 1000
        self._tell("stream", identity.stream_sid)
        self._post(verb, identity, "stream-started")
        turns = [Turn(self._plan.audio, At(0))] if isinstance(self._plan.audio, bytes) else self._plan.audio
        caller = Caller([] if self._lines else turns, self._plan.hang_up)  # a second stream: all was said on the first
        faults = self._plan.faults
        line = twilio_line(identity, caller, self.sound, parameters=verb.parameters, faults=faults)
        self._lines.append(line)
        self._offset = (self._loop.time() - self._began) * 1000
        try:
            stream = StreamCall(socket, line, self._plan.seconds, faults, self._note, self.live.told)
            self._ended_by = await stream.run()
        except Stuck:
            self._problem("31924 the server takes no more frames")
            self._ended_by = "limit"
        self._close_code = socket.close_code
        self._problems += line.errors
        told = self.live.told.is_set()
        if self._ended_by == "server" and self._close_code not in INTENDED and not told:
            self._problem(f"31921 the server closed the stream: {self._close_code} {socket.close_reason}".rstrip())
        self._tell("stream-ended", f"by {self._ended_by}")
        self._post(verb, identity, "stream-stopped")
        return self._ended_by != "server" and not told

    def _note(self, note: Note) -> None:
        self._on_event(CallEvent(note.at_ms + self._offset, note.kind, note.detail, note.latency_ms))

    def _post(self, verb: Connect, identity: Identity, event: str, error: str = "") -> None:
        """Tell the stream's status in the background: media does not wait for it."""
        if verb.status_callback:
            fields = _stream_fields(verb, identity, event, error)
            self._tasks.create_task(self._callback(verb.status_callback, event, fields, verb.status_callback_method))

    # Telling

    def _tell(self, kind: EventKind, detail: str = "") -> None:
        self._on_event(CallEvent((self._loop.time() - self._began) * 1000, kind, detail))

    def _problem(self, words: str) -> None:
        self._problems.append(words)
        self._tell("problem", words)

    def report(self) -> CallReport:
        return CallReport.measured(
            self._lines,
            call_sid=self.live.sid,
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


def _stream_fields(verb: Connect, identity: Identity, event: str, error: str) -> dict[str, str]:
    fields = {
        "StreamSid": identity.stream_sid,
        "StreamName": verb.name or identity.stream_sid,
        "StreamEvent": event,
        "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return {**fields, "StreamError": error} if error else fields


def _upgrade_problem(error: Exception) -> str:
    return f"{31901 if isinstance(error, TimeoutError) else 31920} {upgrade_problem(error)}"
