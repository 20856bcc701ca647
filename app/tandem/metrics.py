"""What is counted, for `/metrics`; and the watch over the event loop.

Nothing here is touched per audio frame: a call counts for itself and adds its totals when it ends.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from types import FrameType
from typing import Final, NoReturn

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from tandem import logs

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
STALL_SECONDS: Final = 0.1  # a caller hears a gap when five frames come late
BEAT_SECONDS: Final = 0.05
_FADE: Final = 0.87  # per beat: a half in five

# Seconds. First audio and turns are judged around one second, a clear around a millisecond, calls around minutes.
_FIRST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.5, 5.0, 10.0)
_ANSWER = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_INSTANT = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_CALL = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)

log = logs.get(__name__)


class Metrics:
    """All series of one server, in a registry of their own."""

    def __init__(self) -> None:
        # Twice the series, for a time that nobody asks for.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self.registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.PlatformCollector(registry=self.registry)
        prometheus_client.GCCollector(registry=self.registry)
        self.calls_live = self._gauge("calls_live", "Calls that are up.")
        self.calls = self._counter("calls_total", "Calls that ended, by result.", "carrier", "result")
        self.calls_refused = self._counter("calls_refused_total", "Calls that were not taken.", "reason")
        self.call_webhooks = self._counter("call_webhooks_total", "Questions to CALL_WEBHOOK_URL.", "outcome")
        self.provider_attempts = self._counter(
            "provider_attempts_total", "Attempts to open a provider's session.", "provider", "outcome"
        )
        self.call_seconds = self._histogram("call_seconds", "Length of a call.", _CALL)
        self.first_audio_seconds = self._histogram(
            "first_audio_seconds", "Stream accepted to first agent audio sent to the carrier.", _FIRST
        )
        self.turn_latency_seconds = self._histogram(
            "turn_latency_seconds", "The caller stopped speaking to first agent audio sent to the carrier.", _ANSWER
        )
        self.bargein = self._counter("bargein_total", "Times that a caller interrupted the agent.")
        self.clear_seconds = self._histogram(
            "clear_seconds", "The provider heard the caller to `clear` sent to the carrier.", _INSTANT
        )
        self.media_frames = self._counter(
            "media_frames_total", "Audio frames from (in) and to (out) callers.", "direction"
        )
        self.bad_frames = self._counter("bad_frames_total", "Frames of carriers that could not be read.", "reason")
        self.wrong_codec = self._counter(
            "wrong_codec_total",
            "Audio that was not what had been announced, from callers (in) and agents (out).",
            "direction",
        )
        self.gaps = self._counter("gaps_total", "Holes in the caller's audio, filled with silence.")
        self.underruns = self._counter("underruns_total", "Times that the agent's voice ran dry inside a turn.")
        self.lag = 0.0
        """How late the loop has been of late, in seconds: the worst beat, half forgotten after a quarter second."""
        self.loop_lag_seconds = self._histogram("loop_lag_seconds", "How late the event loop woke up.", _INSTANT)
        self.connections_unknown = self._gauge(
            "connections_unknown", "Connections that have not shown yet who they are."
        )
        self.connections_refused = self._counter(
            "connections_refused_total", "Connections that were too many, or not known in time.", "reason"
        )
        self.webhooks = self._counter("webhooks_total", "Requests of carriers, by answer.", "route", "status")
        self.tokens_refused = self._counter("tokens_refused_total", "Stream tokens that were not accepted.", "reason")
        self.circuit_open = self._gauge(
            "circuit_open", "1 while a provider is skipped because it keeps failing.", "provider"
        )
        self.usage = self._counter("usage_total", "What providers say that was used, summed.", "provider", "kind")

        self.tools = self._counter("tools_total", "Calls of an agent's tools, by what came of them.", "tool", "outcome")
        self.tool_seconds = self._histogram("tool_seconds", "How long a tool took.", _ANSWER)

    def render(self) -> bytes:
        """The text that Prometheus reads (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"tandem_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"tandem_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"tandem_{name}", about, buckets=buckets, registry=self.registry)


async def watch_loop(metrics: Metrics, *, stall_seconds: float = STALL_SECONDS) -> NoReturn:
    """Measure how late the loop wakes up, and log where it stands when it stalls. Runs until cancelled."""
    watchdog = Watchdog(threading.get_ident(), stall_seconds)
    watchdog.start()
    try:
        while True:
            due = time.monotonic() + BEAT_SECONDS
            watchdog.beat(due)
            await asyncio.sleep(BEAT_SECONDS)
            late = max(0.0, time.monotonic() - due)
            metrics.loop_lag_seconds.observe(late)
            metrics.lag = max(late, metrics.lag * _FADE)
    finally:
        watchdog.stop()


class Watchdog(threading.Thread):
    """Looks from outside at a thread that should beat, because a stalled loop can't say where it hangs."""

    def __init__(self, watched: int, stall_seconds: float) -> None:
        super().__init__(name="loop-watchdog", daemon=True)
        self._watched = watched
        self._stall_seconds = stall_seconds
        self._due = time.monotonic() + BEAT_SECONDS
        self._reported = 0.0
        self._stopped = threading.Event()

    def beat(self, due: float) -> None:
        """The loop is alive and will beat again at `due`."""
        self._due = due

    def stop(self) -> None:
        """The thread ends at once, for it waits for nothing else."""
        self._stopped.set()

    def run(self) -> None:
        woken = time.monotonic()
        while not self._stopped.wait(BEAT_SECONDS):
            due, slept = self._due, woken
            woken = time.monotonic()
            late = woken - due
            if late >= self._stall_seconds and due != self._reported:
                self._reported = due  # one line a stall
                frame = sys._current_frames().get(self._watched)
                # As late itself as the loop, it was not the loop that hung: nothing in this process got on.
                own = round(max(0.0, woken - slept - BEAT_SECONDS), 3)
                log.warning("event loop stalled", seconds=round(late, 3), watchdog_late=own, stack=_stack(frame))


def _stack(frame: FrameType | None) -> list[str]:
    """Innermost first. No source lines: reading files while the loop hangs helps nobody."""
    places: list[str] = []
    while frame is not None and len(places) < 25:
        places.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return places
