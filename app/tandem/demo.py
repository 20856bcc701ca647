"""`tandem demo`: a real server, a real call over the carrier's wire, nothing to configure; and whether it went well."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tandem import calling
from tandem.screen import Screen
from tandem.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN, PREFIXES, Settings
from tandem.simulators.plan import CallPlan, CallReport
from tandem.simulators.twilio import place_call
from tandem_codecs.format import MULAW_8K
from tandem_codecs.g711 import pcm16_to_mulaw

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
CALL_SECONDS: Final = 90.0
REPEATED: Final = ("hello", "opening-hours")
"""Turns that must come back word for word; the long one is interrupted on purpose."""
SLICE_MS: Final = 400
"""So much of a turn's middle must be found in the agent's voice, bit by bit."""


class DemoError(Exception):
    """The demonstration could not be held."""


def run(screen: Screen, out: Path) -> int:
    """Show everything. Returns the exit status: 0 when the call went well."""
    token = secrets.token_urlsafe(16)
    voice = calling.Voice()
    with tempfile.TemporaryDirectory(prefix="tandem-demo-") as folder, server(Path(folder), token) as child:
        try:
            wrong = asyncio.run(_hold(screen, child, token, voice, out))
        except DemoError as error:
            wrong = [str(error)]
        for line in wrong:
            screen.problem(f"not as it should be: {line}")
        if wrong:
            screen.problem(f"the server's last words: {child.last_words()}")
            return 1
    screen.say(f"The call went well. Listen to it: {out} (caller left, agent right)", "green")
    screen.say("Next: put OPENAI_API_KEY, TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and PUBLIC_URL into .env, run")
    command = _command()
    screen.say(
        f"  {command} check && {command} serve   and let your number's voice URL be PUBLIC_URL{calling.VOICE_PATH}"
    )
    return 0


def _command() -> str:
    """What to type, here, for `tandem`: it may be in an environment that is not the shell's."""
    ours = Path(sys.executable).with_name("tandem")
    known = shutil.which("tandem")
    if known is not None and (not ours.exists() or Path(known).samefile(ours)):
        return "tandem"
    return str(ours.relative_to(Path.cwd()) if ours.is_relative_to(Path.cwd()) else ours)


async def _hold(screen: Screen, child: Child, token: str, voice: calling.Voice, out: Path) -> list[str]:
    """Call the server, show the call, and say what was wrong with it."""
    with screen.busy("starting the server"):
        await child.ready()
    screen.say(f"Tandem listens on {child.origin} (embedded provider: it repeats what it hears)", "bold")
    screen.say("A simulated phone calls it over Twilio's media stream protocol.")
    screen.say(f"The caller says: {' / '.join(voice.texts[name] for name in calling.SCRIPT)}")
    plan = CallPlan(
        f"{child.origin}{calling.VOICE_PATH}",
        DEMO_ACCOUNT_SID,
        DEMO_AUTH_TOKEN,
        audio=calling.conversation(voice),
        seconds=CALL_SECONDS,
        status_url=f"{child.origin}/twilio/status",
        recording=out,
    )
    report = await place_call(plan, lambda event: calling.show_event(screen, event))
    record = await calling.fetch_record(child.origin, report.call_sid, token)
    if not isinstance(record, str):
        calling.show_transcript(screen, record)
    calling.show_report(screen, report)
    return shortcomings(report, await asyncio.to_thread(agent_side, out), voice)


def shortcomings(report: CallReport, agent: bytes, voice: calling.Voice) -> list[str]:
    """What was not as it must be, for the call that `calling.conversation` plans. `agent` is what was heard, mu-law."""
    wrong = list(report.problems)
    if report.result != "completed":
        wrong.append(f"the call ended as {report.result}")
    if report.first_audio_ms is None:
        wrong.append("the agent was never heard")
    for name in REPEATED:
        audio = voice.audio(name)
        half, size = len(audio) // 2, MULAW_8K.size(SLICE_MS)
        if audio[half - size // 2 : half + size // 2] not in agent:
            wrong.append(f"the agent did not repeat {voice.texts[name]!r}")
    if len(report.answers) < len(REPEATED):
        wrong.append(f"only {len(report.answers)} turns were answered")
    if not [each for each in report.interruptions if each.cleared_ms is not None]:
        wrong.append("the interruption did not silence the agent")
    if report.underruns:
        wrong.append(f"the agent's voice had {report.underruns} gaps, {report.gap_ms:.0f} ms in all")
    return wrong


def agent_side(path: Path) -> bytes:
    """The agent's side of a recording, as the mu-law that it came as. Blocks."""
    with wave.open(str(path)) as file:
        frames = file.readframes(file.getnframes())
    return pcm16_to_mulaw(memoryview(frames).cast("h")[1::2].tobytes())


class Child:
    """The server, a process of its own, as a user would start it."""

    def __init__(self, process: subprocess.Popen[Any], port: int, log: Path) -> None:
        self.port = port
        self.origin = f"http://localhost:{port}"
        self._process = process
        self._log = log

    async def ready(self) -> None:
        """Return when it takes calls.

        Raises:
            DemoError: it ended, or it took too long.
        """
        try:
            async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(verify=False) as http:  # noqa: S501  # loopback, no TLS
                while self._process.poll() is None:
                    try:
                        if (await http.get(f"{self.origin}/readyz")).status_code == 200:
                            return
                    except httpx.TransportError:
                        pass
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DemoError(f"the server was not ready within {START_SECONDS:.0f} s") from None
        raise DemoError(f"the server ended with status {self._process.returncode}")

    def log_since(self, place: int) -> tuple[list[str], int]:
        """Whole lines of its log from there on, and where the next ones will begin. Blocks."""
        with self._log.open("rb") as file:
            file.seek(place)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        return whole.decode("utf-8", "replace").splitlines(), place + len(whole)

    def last_words(self) -> str:
        """The end of its log."""
        return " | ".join(self._log.read_text("utf-8", "replace").splitlines()[-5:])


@contextmanager
def server(folder: Path, api_token: str, **more: str) -> Iterator[Child]:
    """A server on a free port that is stopped at the end. `folder` has no .env in it, and gets the log.

    `more` is set in its environment besides.
    """
    log = folder / "server.log"
    with reserved_port() as port:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tandem", "serve"],
                cwd=folder,
                env=environment(port, api_token) | more,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield Child(process, port, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def environment(port: int, api_token: str) -> dict[str, str]:
    """The environment without anything of ours that may be set in it: the demonstration needs, and uses, no keys."""
    ours = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith(PREFIXES)}
    return kept | {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PUBLIC_URL": f"http://localhost:{port}",
        "PROVIDERS": "echo",
        "API_TOKEN": api_token,
        "LOG_FORMAT": "json",
    }


def free_port() -> int:
    """A port that nobody listens on right now."""
    with reserved_port() as port:
        return port


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that the system gives to nobody meanwhile; a server that is told it by name can listen there.

    Between a port's being found free and a server's listening there somebody else could be given it, and would then be
    taken for that server.
    """
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])
