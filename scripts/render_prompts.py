"""Render the recorded prompts and the simulated caller's phrases from their texts.

Run it after a change of a `texts.toml`, in an environment where Tandem is installed, and check in what it wrote.
It needs `flite` (with the voices rms and slt) and `sox`, which nothing else here does. The same texts and the same
versions of the two give the same bytes.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tandem_codecs.format import MULAW_8K
from tandem_codecs.g711 import pcm16_to_mulaw

ROOT: Final = Path(__file__).resolve().parent.parent
VOICES: Final = {
    ROOT / "providers/tandem_providers/prompts": "rms",  # of flite's voices the one understood best over G.711
    ROOT
    / "app/tandem/simulators/speech": "slt",  # unlike the agent's, so that a recording of a call tells the two apart
}
SPEECH_DBFS: Final = -20.0
"""RMS of the speech itself, pauses left out: the usual active speech level of telephony, below a full scale of 0."""
PEAK_DBFS: Final = -1.0
QUIET_DB: Final = 35.0
"""A stretch this far below the loudest one is a pause."""
MARGIN_MS: Final = 30
"""Kept before the first and after the last sound, so that no consonant is cut."""

Samples = NDArray[np.float64]


def spoken(text: str, voice: str, folder: Path) -> Samples:
    """Speech at 8 kHz, full scale 1.0."""
    spoken_wav = folder / "spoken.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", spoken_wav], check=True)  # noqa: S603, S607 - our own texts, tools from PATH
    raw = ["-t", "raw", "-e", "signed", "-b", "16", "-c", "1", "-r", str(MULAW_8K.rate)]
    # -D: no dither, so that the same text gives the same bytes. Rumble below the telephone band only costs level.
    command = ["sox", "-D", "-V1", str(spoken_wav), *raw, "-", "gain", "-6", "highpass", "120", "rate", "-v"]
    pcm = subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603 - as above
    return np.frombuffer(pcm, dtype="<i2") / 32768.0


def frame_levels(samples: Samples, size: int) -> Samples:
    """Mean square of each whole frame."""
    whole = samples[: len(samples) // size * size].reshape(-1, size)
    return np.asarray(np.mean(whole**2, axis=1))


def trimmed(samples: Samples) -> Samples:
    """Without the silence around it, in whole frames."""
    size = MULAW_8K.frame_bytes
    levels = frame_levels(samples, size)
    loud = np.flatnonzero(levels > levels.max() * 10 ** (-QUIET_DB / 10))
    margin = MULAW_8K.size(MARGIN_MS)
    kept = samples[max(0, int(loud[0]) * size - margin) : (int(loud[-1]) + 1) * size + margin]
    return np.pad(kept, (0, -len(kept) % size))


def levelled(samples: Samples) -> Samples:
    """At the speech level wanted, or as near to it as the peaks allow."""
    levels = frame_levels(samples, MULAW_8K.frame_bytes)
    active = levels[levels > levels.max() * 10 ** (-QUIET_DB / 10)]
    gain = 10 ** (SPEECH_DBFS / 20) / math.sqrt(float(np.mean(active)))
    highest = 10 ** (PEAK_DBFS / 20) / float(np.max(np.abs(samples)))
    return samples * min(gain, highest)


def render(folder: Path, voice: str) -> int:
    """Write every recording that the folder's texts name, remove others, and return the size of all."""
    texts: dict[str, str] = tomllib.loads((folder / "texts.toml").read_text(encoding="utf-8"))
    total = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in texts.items():
            samples = levelled(trimmed(spoken(text, voice, Path(scratch))))
            audio = pcm16_to_mulaw(np.round(samples * 32767).astype("<i2").tobytes())
            (folder / f"{name}.ulaw").write_bytes(audio)
            total += len(audio)
            print(f"{MULAW_8K.milliseconds(len(audio)) / 1000:6.2f} s  {folder.name}/{name}: {text}")  # noqa: T201 - a script's output
    for stale in set(folder.glob("*.ulaw")) - {folder / f"{name}.ulaw" for name in texts}:
        stale.unlink()
    return total


def main() -> int:
    missing = [tool for tool in ("flite", "sox") if shutil.which(tool) is None]
    if missing:
        print(f"install {' and '.join(missing)} first", file=sys.stderr)  # noqa: T201 - a script's output
        return 2
    for folder, voice in VOICES.items():
        print(f"{render(folder, voice) / 1000:.0f} kB in {folder.relative_to(ROOT)}")  # noqa: T201 - a script's output
    return 0


if __name__ == "__main__":
    sys.exit(main())
