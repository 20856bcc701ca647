"""The benchmark itself, on a few calls: a real server, every carrier's front door, the provider with two rates."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from children import clean

from tandem_codecs.format import FRAME_MS, PCM16_16K

ROOT = Path(__file__).parents[2]


def test_every_carrier_is_measured_and_nothing_is_lost_on_the_way() -> None:
    command = ["-m", "tests.bench", "--mode", "gemini", "--carrier", "twilio", "telnyx", "plivo", "--json"]
    few = ["--calls", "2", "--seconds", "0.4", "--runs", "1"]
    done = subprocess.run(
        [sys.executable, *command, *few],
        cwd=ROOT,
        env=clean(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = {row["server"]: row for row in json.loads(done.stdout)}
    assert [*rows] == ["floor", "twilio", "telnyx", "plivo"]
    for row in rows.values():
        assert row["cpu_ms"] > 0
        assert (row["lost"], row["down_extra"], row["down_altered"]) == (0, 0, 0), row
        # On a machine that stands still for long, silence stands for the caller: whole frames of it.
        assert row["up_extra"] % (PCM16_16K.size(FRAME_MS) // PCM16_16K.sample_bytes) == 0, row
        assert row["up_extra"] or not row["up_altered"], row
    assert all(rows[carrier]["clear_ms"] > 0 for carrier in ("twilio", "telnyx", "plivo"))
    assert rows["twilio"]["beside_twilio"] == [1, 1, 1]
