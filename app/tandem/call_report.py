"""What is left of a call: one line in the log, and its share of the metrics."""

from __future__ import annotations

import time

from tandem import logs
from tandem.call import Call
from tandem.call_types import EndReason
from tandem.identity import Identity
from tandem.metrics import Metrics

COMPLAINT = "complaint of the carrier"
_KNOWN_BAD = frozenset({COMPLAINT, "binary frame", "media before start", "dtmf before start", "a second start"})


def tell(
    call: Call, identity: Identity, carrier: str, agent: str, frames_out: int, metrics: Metrics, log: logs.Log
) -> None:
    """The call is over: say so, once."""
    stats, now = call.stats, time.monotonic()
    reason = (call.end_reason or EndReason.INTERNAL_ERROR).value
    seconds = now - (call.started_at if call.started_at is not None else call.opened_at)
    counters, arrivals = call.ledger.counters, call.audio.counters if call.audio else None
    metrics.calls.labels(carrier, reason).inc()
    metrics.call_seconds.observe(seconds)
    if stats.first_audio_seconds is not None:
        metrics.first_audio_seconds.observe(stats.first_audio_seconds)
    for latency in stats.turn_latencies:
        metrics.turn_latency_seconds.observe(latency)
    metrics.bargein.inc(stats.barge_ins)
    metrics.underruns.inc(counters.underruns)
    metrics.media_frames.labels("out").inc(frames_out)
    if call.audio is not None:
        metrics.media_frames.labels("in").inc(call.audio.frames)
    if arrivals is not None:
        metrics.gaps.inc(arrivals.missing)
    for why, count in stats.bad_frames.items():
        metrics.bad_frames.labels(_kind_of(why)).inc(count)
    for kind, amount in stats.usage.items():
        metrics.usage.labels(stats.provider, kind).inc(amount)
    log.info(
        "call ended",
        result=reason,
        close_code=stats.close_code,
        carrier=carrier,
        session=identity.session,
        direction="outbound" if identity.outbound else "inbound",
        agent=agent,
        caller=logs.Private(identity.caller),
        called=logs.Private(identity.called),
        provider=stats.provider,
        model=stats.model,
        provider_error=stats.provider_error,
        seconds=round(seconds, 3),
        ready_seconds=_round(stats.ready_seconds),
        first_audio_seconds=_round(stats.first_audio_seconds),
        caller_turns=stats.caller_turns,
        barge_ins=stats.barge_ins,
        machine=stats.machine,
        sent_seconds=round(call.plan.format.milliseconds(call.ledger.sent_bytes) / 1000, 3),
        underruns=counters.underruns,
        missing_frames=arrivals.missing if arrivals else 0,
        late_frames=arrivals.late_or_twice if arrivals else 0,
        bad_frames=sum(stats.bad_frames.values()),
        usage=stats.usage,
    )


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _kind_of(reason: str) -> str:
    """A metric's label must not have as many values as there are ways to be wrong."""
    return reason.partition(":")[0].strip()[:40] if reason in _KNOWN_BAD else "unreadable"
