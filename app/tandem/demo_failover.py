"""`tandem demo --providers A,B --kill N`: a provider dies in the middle of a sentence, the caller stays on the line.

The providers are simulated, each in a process of its own; the first is killed as hard as the system can. What the
server says about it is read from its log, as an operator would.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tandem import calling
from tandem.demo import Child, DemoError, free_port, server
from tandem.screen import Screen
from tandem.simulators.phone import Turn, WhenQuiet
from tandem.simulators.plan import CallEvent, CallPlan, CallReport
from tandem.simulators.table import SIMULATORS
from tandem.simulators.twilio import place_call
from tandem_providers.tasks import owned_tasks

SCRIPT: Final = ("hello", "opening-hours", "long", "opening-hours", "goodbye")
"""What the caller says; each when the agent is quiet."""
INTO_SENTENCE_SECONDS: Final = 0.5
"""A sentence has begun so long ago when it is cut short."""
PACE: Final = "2x"
"""Fast enough that nothing is missing, and slow enough that a sentence is not over before it is heard."""
CALL_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.05
ACCOUNT_SID: Final = "AC" + "d" * 32


def names_of(text: str, kill: float | None) -> list[str]:
    """The simulated providers of `--providers`: primary, then fallbacks.

    Raises:
        ValueError: there is no such simulator, or nobody to take over from one that is killed.
    """
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in SIMULATORS:
            raise ValueError(f"there is no simulated provider {name!r}; there are {', '.join(SIMULATORS)}")
    if not names:
        raise ValueError("--providers names none")
    if kill is not None and len(names) < 2:
        raise ValueError("--kill needs a second provider that takes over: --providers openai,gemini")
    return names


def run(screen: Screen, out: Path, names: Sequence[str], kill: float | None, script: Sequence[str] = SCRIPT) -> int:
    """Show everything. Returns the exit status: 0 when the conversation went on."""
    with tempfile.TemporaryDirectory(prefix="tandem-demo-") as name, ExitStack() as stack:
        folder, token = Path(name), secrets.token_urlsafe(16)
        try:
            with screen.busy("starting the providers"):
                providers = [stack.enter_context(simulator(folder, each)) for each in names]
            account = {"TWILIO_ACCOUNT_SID": ACCOUNT_SID, "TWILIO_AUTH_TOKEN": secrets.token_hex(16)}
            variables = {key: value for each in providers for key, value in each.variables.items()}
            asked = {**variables, **account, "PROVIDERS": ",".join(names)}
            child = stack.enter_context(server(folder, token, **asked))
            shown = _Demonstration(screen, child, providers, kill, account, token, out)
            wrong = asyncio.run(shown.hold(script))
        except DemoError as error:
            wrong = [str(error)]
        for line in wrong:
            screen.problem(f"not as it should be: {line}")
    if wrong:
        return 1
    screen.say(f"The conversation went on. Listen to it: {out} (caller left, agent right)", "green")
    return 0


class _Demonstration:
    def __init__(
        self,
        screen: Screen,
        child: Child,
        providers: Sequence[Simulator],
        kill: float | None,
        account: Mapping[str, str],
        token: str,
        out: Path,
    ) -> None:
        self._screen = screen
        self._child = child
        self._providers = providers
        self._kill = kill
        self._account = account
        self._token = token
        self._out = out
        self._seen = Seen()
        self._speaks = False
        self._streams = asyncio.Event()

    async def hold(self, script: Sequence[str]) -> list[str]:
        """Call the server, kill a provider meanwhile, and say what was wrong."""
        screen, child, account = self._screen, self._child, self._account
        with screen.busy("starting the server"):
            await child.ready()
        voice = await asyncio.to_thread(calling.Voice)
        names = [each.name for each in self._providers]
        screen.say(
            f"Tandem listens on {child.origin}, with {' and then '.join(names)} (simulated) for the agent", "bold"
        )
        plan = CallPlan(
            f"{child.origin}{calling.VOICE_PATH}",
            account["TWILIO_ACCOUNT_SID"],
            account["TWILIO_AUTH_TOKEN"],
            audio=[Turn(voice.audio(name), WhenQuiet()) for name in script],
            seconds=CALL_SECONDS,
            status_url=f"{child.origin}/twilio/status",
            recording=self._out,
        )
        async with owned_tasks() as start:
            start(self._read_log(), name="log")
            if self._kill is not None:
                start(self._kill_first(self._kill), name="kill")
            report = await place_call(plan, self._happened)
            await asyncio.sleep(4 * LOOK_SECONDS)  # for the log's last lines
        record = await calling.fetch_record(child.origin, report.call_sid, self._token)
        if isinstance(record, str):
            return [record]
        calling.show_transcript(screen, record)
        calling.show_report(screen, report)
        return shortcomings(report, record, self._seen, names)

    def _happened(self, event: CallEvent) -> None:
        calling.show_event(self._screen, event)
        if event.kind == "stream":
            self._streams.set()
        elif event.kind in ("agent-speaks", "agent-quiet"):
            self._speaks = event.kind == "agent-speaks"
            if self._speaks and self._seen.killed_ms is not None:
                self._seen.heard_after = True

    async def _kill_first(self, seconds: float) -> None:
        """The first provider's process ends in the middle of the first sentence from then on."""
        loop = asyncio.get_running_loop()
        await self._streams.wait()
        began = loop.time()
        await asyncio.sleep(seconds)
        spoke = 0.0
        while spoke < INTO_SENTENCE_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            spoke = spoke + LOOK_SECONDS if self._speaks else 0.0
        self._seen.killed_ms = (loop.time() - began) * 1000
        self._providers[0].kill()
        self._screen.say(f"{'':12}server {self._providers[0].name} is killed in the middle of a sentence", "bold red")

    async def _read_log(self) -> None:
        """What the server says of its providers, as it says it."""
        place = 0
        while True:
            lines, place = await asyncio.to_thread(self._child.log_since, place)
            for line in lines:
                self._said(line)
            await asyncio.sleep(LOOK_SECONDS)

    def _said(self, line: str) -> None:
        try:
            told = json.loads(line)
        except ValueError:
            return
        event, provider = told.get("event"), str(told.get("provider", ""))
        if event == "provider ready":
            self._seen.ready.append(provider)
            self._screen.say(f"{'':12}server provider {provider} has the conversation", "bold green")
        elif event == "provider lost":
            self._seen.lost.append(provider)
            self._screen.say(f"{'':12}server provider {provider} is lost: {told.get('error', '')}", "bold red")


@dataclass(slots=True)
class Seen:
    """What happened besides the call itself."""

    killed_ms: float | None = None
    """In the stream."""
    heard_after: bool = False
    ready: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def shortcomings(report: CallReport, record: Mapping[str, Any], seen: Seen, names: Sequence[str]) -> list[str]:
    """What was not as it must be."""
    wrong = list(report.problems)
    if report.result != "completed" or report.ended_by != "caller":
        wrong.append(f"the call ended as {report.result}, by {report.ended_by}")
    if record.get("result") != "caller_hung_up":
        wrong.append(f"the server says that the call ended as {record.get('result')}")
    if seen.ready[:1] != [names[0]]:
        wrong.append(f"the conversation did not begin with {names[0]}")
    if len(report.answers) < 2:
        wrong.append(f"only {len(report.answers)} turns were answered")
    if seen.killed_ms is None:
        return wrong if len(seen.ready) == 1 else [*wrong, "a provider was lost that nobody killed"]
    if names[0] not in seen.lost:
        wrong.append(f"the server did not notice that {names[0]} is gone")
    if not any(name in seen.ready[1:] for name in names[1:]):
        wrong.append("no other provider took the conversation over")
    if record.get("provider") == names[0]:
        wrong.append(f"the conversation did not end with another provider than {names[0]}")
    if not seen.heard_after:
        wrong.append("the agent was never heard again")
    if not any(answer.agent_began_ms > seen.killed_ms for answer in report.answers):
        wrong.append("no turn of the caller was answered afterwards")
    return wrong


class Simulator:
    """A simulated provider, in a process of its own."""

    def __init__(self, name: str, process: subprocess.Popen[Any], variables: Mapping[str, str]) -> None:
        self.name = name
        self.variables = variables
        """What points a server at it."""
        self._process = process

    def kill(self) -> None:
        """At once, without a word to anybody."""
        self._process.kill()


@contextmanager
def simulator(folder: Path, name: str) -> Iterator[Simulator]:
    """A simulated provider that speaks as fast as one listens, until this is left.

    Raises:
        DemoError: it did not start.
    """
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "tandem", "simulate", name, "--port", str(free_port()), "--pace", PACE]
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603  # our own program; the name is one of a table
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield Simulator(name, process, _variables(name, process, log))
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _variables(name: str, process: subprocess.Popen[Any], log: Path) -> dict[str, str]:
    """What it says that a server must be told: `NAME=value` words in its second line."""
    assert process.stdout is not None  # noqa: S101  # a pipe was asked for
    lines = [process.stdout.readline() for _ in range(2)]
    found = dict(re.findall(r"([A-Z][A-Z0-9_]*)=(\S*)", lines[1]))
    if not found:
        last = " | ".join(log.read_text("utf-8", "replace").splitlines()[-3:])
        raise DemoError(f"the simulated {name} did not start: {last}")
    found.pop("PROVIDERS", None)
    return found
