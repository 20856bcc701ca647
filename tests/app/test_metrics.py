"""The series that dashboards rely on, and the watch over the event loop."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time

import pytest

from tandem.metrics import BEAT_SECONDS, Metrics, Watchdog, watch_loop

NAMES = """
tandem_calls_live tandem_calls_total tandem_calls_refused_total tandem_provider_attempts_total tandem_call_seconds
tandem_first_audio_seconds tandem_turn_latency_seconds tandem_bargein_total tandem_clear_seconds
tandem_media_frames_total tandem_bad_frames_total tandem_gaps_total tandem_underruns_total tandem_loop_lag_seconds
tandem_webhooks_total tandem_tokens_refused_total tandem_circuit_open tandem_usage_total tandem_wrong_codec_total
tandem_tools_total tandem_tool_seconds tandem_call_webhooks_total tandem_connections_unknown
tandem_connections_refused_total
"""


def test_every_series_has_its_name_and_labels() -> None:
    metrics = Metrics()
    metrics.calls.labels("twilio", "completed").inc()
    metrics.calls_refused.labels("full").inc()
    metrics.provider_attempts.labels("openai", "ready").inc()
    metrics.media_frames.labels("in").inc(500)
    metrics.bad_frames.labels("json").inc()
    metrics.webhooks.labels("/twilio/voice", "200").inc()
    metrics.tokens_refused.labels("replayed").inc()
    metrics.circuit_open.labels("openai").set(1)
    metrics.usage.labels("openai", "input_tokens").inc(3)
    text = metrics.render().decode()
    assert set(re.findall(r"^# HELP (tandem_\w+)", text, re.MULTILINE)) == set(NAMES.split())
    assert 'tandem_calls_total{carrier="twilio",result="completed"} 1.0' in text
    assert 'tandem_media_frames_total{direction="in"} 500.0' in text
    assert "_created" not in text
    assert "python_gc_objects_collected_total" in text


def test_two_servers_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.bargein.inc()
    assert "tandem_bargein_total 1.0" in first.render().decode()
    assert "tandem_bargein_total 0.0" in second.render().decode()


async def test_lag_is_measured_and_the_watch_ends_with_its_owner() -> None:
    metrics = Metrics()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3 * BEAT_SECONDS):
            await watch_loop(metrics)
    assert "tandem_loop_lag_seconds_count 0.0" not in metrics.render().decode()
    for thread in threading.enumerate():
        if isinstance(thread, Watchdog):
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()


def test_a_stall_is_logged_once_with_the_place_where_it_hangs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    hang = threading.Event()

    def hanging_here() -> None:
        hang.wait(10)

    stalled = threading.Thread(target=hanging_here)
    stalled.start()
    assert stalled.ident is not None
    watchdog = Watchdog(stalled.ident, 0.02)
    watchdog.start()
    deadline = time.monotonic() + 10
    while not caplog.records and time.monotonic() < deadline:
        watchdog.join(0.01)
    watchdog.join(0.2)  # time enough for a second line, if there were one
    hang.set()
    watchdog.stop()
    stalled.join()
    (record,) = caplog.records
    assert record.getMessage() == "event loop stalled"
    assert 0 <= record.fields["watchdog_late"] <= record.fields["seconds"]  # type: ignore[attr-defined]  # set by Log
    assert any("hanging_here" in place for place in record.fields["stack"])  # type: ignore[attr-defined]  # set by Log
