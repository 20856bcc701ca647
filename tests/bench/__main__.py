"""`python -m tests.bench`: what a call costs, beside a bare floor of the same libraries, in one run.

Absolute figures do not carry to another machine or hour; the ratio to the floor does. Floor and server take turns on a
core of their own where there are two, and the median of the runs is shown (the worst for what must not happen). Both
sides of a call talk all the time. When the far ends were late themselves (last lines), everything else is, too: a
quiet machine is part of the measurement (from 0.4 s on, silence stands for a caller of whom nothing comes: it counts
as extra, and what follows as altered). Of several carriers, the last table has each beside Twilio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tandem.simulators.api_server import ApiAnswer, ApiRequest, RestServer

from .lines import CARRIERS, Line, bare
from .measure import beside, middle, percentile, summary
from .peers import Peers, until
from .voices import VOICES

ROOT = Path(__file__).parents[2]
COLUMNS = {
    "cpu_ms": "CPU ms per call-s",
    "calls_per_core": "calls per core",
    "up_p50_ms": "to provider p50 ms",
    "up_p99_ms": "p99",
    "down_p50_ms": "to caller p50 ms",
    "down_p99_ms": "p99",
    "first_audio_ms": "first audio ms",
    "clear_ms": "clear ms",
    "lost": "lost",
    "extra": "extra",
    "altered": "altered",
    "late": "late",
    "base_mb": "base MB",
    "kb_per_call": "kB per call",
    "peers_late_p99_ms": "(peers late p99 ms)",
    "peers_late_most": "(peers late at most ms)",
}
WARM_UP_SECONDS = 1.0
TWILIO = "twilio"
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
"""Of the environment, for the servers: nothing that they would be configured by."""


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    kinds = [
        *(["floor"] if "floor" in options.server else []),
        *(options.carrier if "tandem" in options.server else []),
    ]
    results = []
    for mode in options.mode:
        for calls in options.calls:
            runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
            for number in range(options.runs):
                for kind in kinds:
                    _progress(f"{mode}, {calls} calls, run {number + 1} of {options.runs}: {kind}")
                    runs[kind].append(_run(kind, mode, calls, options.seconds))
            _progress("")
            rows = [{"server": kind, "mode": mode, "calls": calls, **middle(runs[kind])} for kind in kinds]
            if TWILIO in runs:
                for row in rows:
                    row["beside_twilio"] = beside(runs[row["server"]], runs[TWILIO], "cpu_ms")
            if not options.json:
                _print(rows)
            results += rows
    if options.json:
        print(json.dumps(_known(results), indent=2))  # noqa: T201  # this is its output
    elif TWILIO in kinds and len(options.carrier) > 1:
        _print_beside([row for row in results if row["server"] in CARRIERS])
    return 0


def _known(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As JSON, which has no NaN."""
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]


def _progress(words: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{words}")
        sys.stderr.flush()


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--calls", type=int, nargs="+", default=[25, 100], help="calls at once")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long they talk")
    parser.add_argument("--mode", nargs="+", choices=VOICES, default=[*VOICES])
    parser.add_argument("--carrier", nargs="+", choices=CARRIERS, default=[TWILIO], help="the floor's is Twilio always")
    parser.add_argument("--server", nargs="+", choices=["floor", "tandem"], default=["floor", "tandem"])
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown")
    parser.add_argument("--quick", action="store_true", help="ten calls, three seconds, once")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.quick:
        options.calls, options.seconds, options.runs = [10], 3.0, 1
    return options


def _run(kind: str, mode: str, calls: int, seconds: float) -> dict[str, float]:
    try:
        import uvloop
    except ImportError:
        factory: Any = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_measure(kind, mode, calls, seconds))


async def _measure(kind: str, mode: str, calls: int, seconds: float) -> dict[str, float]:
    peers = Peers(VOICES[mode])
    _pin(os.getpid(), 1)
    async with peers.provider() as provider_port, httpx.AsyncClient(timeout=10) as http, RestServer(_obey) as api:
        port = _free_port()

        async def ring(number: int) -> Line:
            if kind == "floor":
                return bare(f"ws://127.0.0.1:{port}/media")
            return await CARRIERS[kind].ring(f"http://localhost:{port}", http, number)

        with _server(kind, mode, port, f"ws://127.0.0.1:{provider_port}", api.url) as process:
            await _listening(port, process)
            base = process.memory_info().rss
            for _ in range(calls):
                await peers.place(ring)
            figures = await _talk(peers, process, seconds)
            figures["base_mb"] = base / 1e6
            figures["kb_per_call"] = (process.memory_info().rss - base) / 1000 / calls
            figures["clear_ms"] = await _interrupt(peers) if kind != "floor" else math.nan
            for call in peers.calls:
                call.hang_up()
            await until(lambda: all(c.provider is None or c.provider.closing for c in peers.calls), 3)
            problems = [f"call {call.number}: {problem}" for call in peers.calls for problem in call.problems]
            if problems:
                raise RuntimeError(f"{kind}: {len(problems)} problems, so this is no measurement: {problems[:3]}")
            return figures


def _obey(request: ApiRequest) -> ApiAnswer:
    """The carrier's REST API: whatever is asked when calls end is done."""
    return ApiAnswer(200, {})


async def _talk(peers: Peers, process: psutil.Process, seconds: float) -> dict[str, float]:
    """Let them talk, and watch the server's processor time meanwhile."""
    await asyncio.sleep(WARM_UP_SECONDS)
    began, cpu, late_from = time.monotonic(), _cpu_seconds(process), len(peers.late_ms)
    for call in peers.calls:
        call.up.window = call.down.window = (began, began + seconds)
    await asyncio.sleep(seconds)
    spent, took = _cpu_seconds(process) - cpu, time.monotonic() - began
    peers.talk = False
    for call in peers.calls:
        if call.speaking:
            call.finish_answer()
    tracks = [track for call in peers.calls for track in (call.up, call.down)]
    await until(lambda: all(track.missing_samples <= 0 for track in tracks), 5)
    figures = summary([call.up for call in peers.calls], [call.down for call in peers.calls])
    for name in ("late", "lost", "extra", "altered"):
        figures[name] = figures[f"up_{name}"] + figures[f"down_{name}"]
    figures["cpu_ms"] = spent * 1000 / took / len(peers.calls)
    figures["calls_per_core"] = 1000 / figures["cpu_ms"]
    waited = [(call.first_audio_at - call.connected_at) * 1000 for call in peers.calls if call.first_audio_at]
    figures["first_audio_ms"] = percentile(waited, 50)
    figures["peers_late_p99_ms"] = percentile(peers.late_ms[late_from:], 99)
    figures["peers_late_most"] = percentile(peers.late_ms, 100)
    return figures


async def _interrupt(peers: Peers) -> float:
    """How long from the provider's `speech_started` to the carrier's `clear`, one call after another."""
    some = [call for call in peers.calls if call.provider is not None and not call.problems][:20]
    for call in some:
        call.interrupt()
        await until(lambda call=call: bool(call.clear_at), 1)  # type: ignore[misc]  # the default binds this call
    return percentile([(call.clear_at - call.interrupted_at) * 1000 for call in some if call.clear_at], 50)


@contextmanager
def _server(kind: str, mode: str, port: int, provider: str, api: str) -> Iterator[psutil.Process]:
    if kind == "floor":
        command = ["-m", "tests.bench.floor", str(port), provider, mode]
        environment: dict[str, str] = {}
    else:
        command = ["-m", "tandem", "serve"]
        environment = {
            "PORT": str(port),
            "LOG_FORMAT": "json",
            **VOICES[mode].environment(provider),
            **CARRIERS[kind].environment,
            f"{kind.upper()}_API_URL": api,
            "MAX_CALLS": "10000",
            "MAX_STARTS_PER_SECOND": "10000",
            "SILENCE_SECONDS": "3600",
        }
    with tempfile.TemporaryFile() as output:
        keep = {name: value for name, value in os.environ.items() if name in KEPT}
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env={**keep, **environment}, stdout=output, stderr=output
        )
        _pin(process.pid, 0)
        try:
            yield psutil.Process(process.pid)
        except BaseException:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace")[-3000:])
            raise
        finally:
            process.kill()
            process.wait()


_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
"""Before anything was pinned: a child inherits its parent's."""


def _pin(pid: int, core: int) -> None:
    if len(_CORES) > 1:
        os.sched_setaffinity(pid, {_CORES[core]})


def _cpu_seconds(process: psutil.Process) -> float:
    """Finer than the clock ticks of `cpu_times` where the kernel tells."""
    try:
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        times = process.cpu_times()
        return float(times.user + times.system)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def _listening(port: int, process: psutil.Process) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            await asyncio.sleep(0.3)  # let what start-up left behind be done
            return
    raise RuntimeError("the server does not start")


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{rows[0]['mode']}, {rows[0]['calls']} calls")
    table.add_column("")
    for row in rows:
        table.add_column(row["server"], justify="right")
    ratios = len(rows) == 2 and rows[0]["server"] == "floor"
    if ratios:
        table.add_column("ratio", justify="right")
    for name, title in COLUMNS.items():
        values = [row[name] for row in rows]
        ratio = values[1] / values[0] if ratios and values[0] and name not in ("clear_ms",) else math.nan
        cells = ["-" if math.isnan(value) else f"{value:.2f}" if value < 100 else f"{value:.0f}" for value in values]
        table.add_row(title, *cells, *([f"{ratio:.2f}" if not math.isnan(ratio) else ""] if ratios else []))
    Console().print(table)


def _print_beside(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", title="CPU beside Twilio's of the same turn: median (least-most)")
    for carrier in dict.fromkeys(row["server"] for row in rows):
        table.add_column(carrier, justify="right")
    for mode, calls in dict.fromkeys((row["mode"], row["calls"]) for row in rows):
        found = [row["beside_twilio"] for row in rows if (row["mode"], row["calls"]) == (mode, calls)]
        table.add_row(
            f"{mode}, {calls} calls", *(f"{half:.2f} ({least:.2f}-{most:.2f})" for half, least, most in found)
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
