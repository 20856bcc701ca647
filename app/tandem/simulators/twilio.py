"""The carrier that calls: places a simulated call against a server, over Twilio's real wire protocol.

Signed webhook, TwiML obeyed verb by verb, WebSocket with a signed upgrade, media both ways at 20 ms on an absolute
clock, marks when played, `clear`, DTMF, status callbacks, the `action` after the stream. What is said and measured is
`phone`; what goes over the socket is `twilio_line`; here is what waits.

    report = await place_call(CallPlan("http://localhost:8000/twilio/voice", account_sid, auth_token, audio=speech))
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin

import httpx
from websockets.exceptions import InvalidHandshake, InvalidMessage

from tandem.carriers.twilio_webhook import signature
from tandem.simulators.line import MediaLine, Recording
from tandem.simulators.phone import At, Caller, Note, Turn
from tandem.simulators.plan import CallEvent, CallPlan, CallReport, EventKind, OnEvent
from tandem.simulators.stream_socket import INTENDED, EndedBy, StreamCall, Stuck, open_stream, upgrade_problem
from tandem.simulators.twilio_http import USER_AGENT, WEBHOOK_SECONDS, Webhooks
from tandem.simulators.twilio_line import Identity, twilio_line
from tandem.simulators.twilio_twiml import HTTP_FAILED, Connect, Hangup, Pause, Redirect, Reject, Say, TwimlError, Verb
from tandem_codecs.format import MULAW_8K
from tandem_codecs.g711 import mulaw_to_pcm16
from tandem_codecs.wav import StereoWriter


async def place_call(plan: CallPlan, on_event: OnEvent | None = None) -> CallReport:
    """Place the call and see it to its end.

    What goes wrong with the call is in the report. Cancelled, it hangs up by closing its socket; a recording of what
    there was is still written.

    Raises:
        OSError: the recording cannot be written.
    """
    # Making a TLS context reads files: only where one is needed.
    secure = plan.url.startswith("https") or plan.via.startswith("https")
    async with httpx.AsyncClient(
        timeout=WEBHOOK_SECONDS, verify=secure, trust_env=secure, headers={"User-Agent": USER_AGENT}
    ) as http:
        call = _Call(plan, http, on_event or (lambda event: None))
        try:
            await call.run()
        finally:
            if plan.recording is not None:
                await asyncio.to_thread(_write, plan.recording, call.sound)
        return call.report()


def _write(path: Path, sound: Recording) -> None:
    with StereoWriter(path, MULAW_8K.rate) as writer:
        writer.write("left", 0, mulaw_to_pcm16(bytes(sound.caller)))
        writer.write("right", 0, mulaw_to_pcm16(bytes(sound.agent)))


class _Call:
    """One call: its state, and everything in it that waits."""

    def __init__(self, plan: CallPlan, http: httpx.AsyncClient, on_event: OnEvent) -> None:
        self.sound = Recording()
        self._plan = plan
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._began = self._ended = self._loop.time()
        self._call_sid = "CA" + secrets.token_hex(16)
        self._webhooks = Webhooks(plan, http, self._call_sid)
        self._result: Literal["completed", "busy", "failed"] = "completed"
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
            except TwimlError as error:
                self._problem(str(error))
                self._result = "failed"
            self._ended = self._loop.time()
            self._webhooks.call_status = self._result
        # The call's own callback comes last: the group has waited for those of its streams.
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
        seconds = 0 if self._result == "busy" else math.ceil(self._ended - self._began)
        return {
            "CallDuration": str(seconds),
            "Duration": str(math.ceil(seconds / 60)),
            "Timestamp": format_datetime(datetime.now(UTC)),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": "0",
        }

    # TwiML

    async def _obey(self, verbs: list[Verb]) -> None:
        """Verb by verb, and document by document, until the call is over."""
        base = self._plan.url
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
                    await asyncio.sleep(verb.seconds)
                case Redirect():
                    base = urljoin(base, verb.url)
                    verbs = await self._webhooks.ask(base, verb.method)
                case Connect():
                    self._answer()
                    if await self._connect(verb):
                        return
                    if verb.action:
                        base = urljoin(base, verb.action)
                        verbs = await self._webhooks.ask(base, verb.method)

    def _answer(self) -> None:
        if self._webhooks.call_status == "ringing":
            self._webhooks.call_status = "in-progress"
            self._tell("answered")

    # The stream

    async def _connect(self, verb: Connect) -> bool:
        """Run the stream; True when the call ended with it, False when TwiML goes on."""
        identity = Identity(self._plan.account_sid, self._call_sid, "MZ" + secrets.token_hex(16))
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
            self._ended_by = await StreamCall(socket, line, self._plan.seconds, faults, self._note).run()
        except Stuck:
            self._problem("31924 the server takes no more frames")
            self._ended_by = "limit"
        self._close_code = socket.close_code
        self._problems += line.errors
        if self._ended_by == "server" and self._close_code not in INTENDED:
            self._problem(f"31921 the server closed the stream: {self._close_code} {socket.close_reason}".rstrip())
        self._tell("stream-ended", f"by {self._ended_by}")
        self._post(verb, identity, "stream-stopped")
        return self._ended_by != "server"

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
            call_sid=self._call_sid,
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
