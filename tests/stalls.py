"""A test that failed while the machine stood still is tried again.

Calls are measured in milliseconds here, on clocks that are real. On a shared machine a whole process may not run for a
tenth of a second, and what failed then says nothing about the code. So a clock beside the tests notices each time that
it comes too late itself; only what failed at such a time is repeated, and what is broken fails again.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import pytest
from _pytest.runner import runtestprotocol

BEAT_SECONDS: Final = 0.01
STALL_SECONDS: Final = 0.02
"""A gap of this length in somebody's ear is counted by the bridge."""
TRIES: Final = 3
AGAIN: Final = "again"
STALLED: Final = "stalled"


class Stalls:
    """The longest time since `begin` in which a thread that wanted to run did not."""

    def __init__(self) -> None:
        self.longest = 0.0
        threading.Thread(target=self._watch, name="stalls", daemon=True).start()

    def begin(self) -> None:
        self.longest = 0.0

    def _watch(self) -> None:
        before = time.monotonic()
        while True:
            time.sleep(BEAT_SECONDS)
            now = time.monotonic()
            self.longest = max(self.longest, now - before - BEAT_SECONDS)
            before = now


class Repeated:
    """The plugin."""

    def __init__(self) -> None:
        self._stalls = Stalls()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for number in range(1, TRIES + 1):
            self._stalls.begin()
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            failed = any(report.failed for report in reports)
            if failed and number < TRIES and self._stalls.longest >= STALL_SECONDS:
                for report in reports:
                    if report.failed:
                        report.outcome = AGAIN  # type: ignore[assignment]  # a word of our own, see the status below
                        report.sections.append((STALLED, f"{self._stalls.longest * 1000:.0f} ms"))
                        hook.pytest_runtest_logreport(report=report)
                continue
            for report in reports:
                hook.pytest_runtest_logreport(report=report)
            break
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if str(report.outcome) == AGAIN:
            return AGAIN, "A", "AGAIN"
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for report in terminalreporter.stats.get(AGAIN, ()):
            stalled = next(words for title, words in report.sections if title == STALLED)
            terminalreporter.write_line(f"tried again, the machine had stood still for {stalled}: {report.nodeid}")
            crash = getattr(report.longrepr, "reprcrash", None)
            terminalreporter.write_line(f"    {crash.message.splitlines()[0] if crash else report.longreprtext[-200:]}")
