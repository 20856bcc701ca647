"""A simulated call, shown as it runs and summed up afterwards: what `tandem call` and `tandem demo` share."""

from __future__ import annotations

import os
import statistics
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from tandem.origins import is_local
from tandem.screen import Screen
from tandem.settings import TwilioAccount
from tandem.simulators.phone import BargeIn, Turn, When, WhenQuiet
from tandem.simulators.plan import CallEvent, CallReport

VOICE_PATH: Final = "/twilio/voice"
REFUSED: Final = (403, 404)
UNSERVED: Final = ("providers_failed", "provider_lost", "internal_error")
"""Results of calls whose caller heard an apology at best, though to the carrier they look like any other."""

_SHOWN: Final[Mapping[str, tuple[str, str, str]]] = {
    "dialling": ("carrier", "dials {}", "dim"),
    "answered": ("carrier", "the server answers", "dim"),
    "rejected": ("carrier", "the call is rejected: {}", "yellow"),
    "stream": ("carrier", "media stream open", "dim"),
    "stream-ended": ("carrier", "media stream ended {}", "dim"),
    "said": ("carrier", "reads out: {}", "dim"),
    "ended": ("carrier", "call {}", "dim"),
    "agent-speaks": ("agent", "speaks", "green"),
    "agent-quiet": ("agent", "is quiet", "dim green"),
    "caller-speaks": ("caller", "speaks", "cyan"),
    "caller-quiet": ("caller", "is quiet", "dim cyan"),
    "clear": ("agent", "is interrupted: {}", "yellow"),
    "dtmf": ("caller", "presses {}", "cyan"),
    "problem": ("problem", "{}", "red"),
}
"""Who, what and how of each event that is worth a line."""


class Voice:
    """What the simulated caller says: recordings that come with Tandem, read at once. Blocks while it reads."""

    def __init__(self) -> None:
        folder = resources.files("tandem.simulators") / "speech"
        self.texts: dict[str, str] = tomllib.loads((folder / "texts.toml").read_text("utf-8"))
        self._audio = {name: (folder / f"{name}.ulaw").read_bytes() for name in self.texts}

    def audio(self, name: str) -> bytes:
        """Mu-law at 8 kHz."""
        return self._audio[name]


def can_record(path: Path) -> None:
    """Find out before the call whether its recording could be written afterwards.

    Raises:
        ValueError: it could not; says why.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder")
    if not os.access(path.absolute().parent, os.W_OK):
        raise ValueError(f"{path} can not be written: there is no such folder, or it is not ours")


SCRIPT: Final[Mapping[str, When]] = {
    "hello": WhenQuiet(),
    "opening-hours": WhenQuiet(),
    "long": WhenQuiet(),
    "wait": BargeIn(1_500),
    "goodbye": WhenQuiet(),
}
"""Two turns, a long one, a word into its answer, and a goodbye: what is said, and when."""


def conversation(voice: Voice) -> list[Turn]:
    """The script, as turns of the simulated caller."""
    return [Turn(voice.audio(name), when) for name, when in SCRIPT.items()]


def show_event(screen: Screen, event: CallEvent) -> None:
    """One line for what has just happened."""
    if event.kind not in _SHOWN:
        return
    who, what, style = _SHOWN[event.kind]
    latency = "" if event.latency_ms is None else f"  ({event.latency_ms:.0f} ms)"
    screen.say(f"{event.at_ms / 1000:7.2f} s  {who:8} {what.format(event.detail)}{latency}", style)


def show_report(screen: Screen, report: CallReport) -> None:
    """What was measured."""
    rows = [
        ["webhook to answer", _ms(report.webhook_ms)],
        ["answer to open media stream", _ms(report.upgrade_ms)],
        ["stream start to first audible sample", _ms(report.first_audio_ms)],
        ["caller stops to agent audible", _spread(answer.latency_ms for answer in report.answers)],
        ["caller interrupts to clear", _spread(each.latency_ms for each in report.interruptions if each.latency_ms)],
        ["agent heard, gaps in it", f"{report.heard_ms / 1000:.1f} s, {report.gap_ms:.0f} ms in {report.underruns}"],
        ["agent audio thrown away by clear", f"{report.cleared_ms / 1000:.1f} s"],
    ]
    screen.table("Latencies", ["what", "measured"], rows)


def show_transcript(screen: Screen, record: Mapping[str, Any]) -> None:
    """The words as the caller heard them."""
    rows = [
        [
            str(line.get("role", "")),
            str(line.get("text", "")),
            "interrupted" if line.get("interrupted") else "",
        ]
        for line in record.get("transcript", [])
    ]
    screen.table("Transcript (as heard)", ["who", "what", ""], rows)


async def fetch_record(origin: str, call_id: str, api_token: str) -> Mapping[str, Any] | str:
    """What the server knows of the call, or why it can't be had."""
    try:
        async with httpx.AsyncClient(timeout=5, verify=origin.startswith("https")) as http:
            answer = await http.get(f"{origin}/calls/{call_id}", headers={"Authorization": f"Bearer {api_token}"})
    except httpx.HTTPError as error:
        return f"no transcript: {type(error).__name__}"
    if answer.status_code == 401:
        return "no transcript: set API_TOKEN to the server's (it prints one at start when it has none)"
    if answer.status_code != 200:
        return f"no transcript: the server answered {answer.status_code}"
    try:
        record = answer.json()
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return "no transcript: something else answers at /calls there; a proxy, perhaps, that keeps it inside"
    return record


def unserved(record: Mapping[str, Any]) -> str:
    """Why nobody spoke with the caller, as the server has it; empty when somebody did."""
    result, error = str(record.get("result")), record.get("provider_error")
    if result not in UNSERVED:
        return ""
    return f"{result}: {error}" if error else result


def signing_origins(origin: str, public_url: str) -> list[str]:
    """Which origins the server at `origin` may take for its own, the likeliest first: signatures cover it.

    `public_url` is ours, if it is set: a server with the same configuration has the same. One without has the default.
    """
    port = urlsplit(origin).port or (443 if origin.startswith("https") else 80)
    default = [f"http://localhost:{port}"] if is_local(origin) else []
    return list(dict.fromkeys([*([public_url] if public_url else []), *default, origin]))


def was_refused(report: CallReport) -> bool:
    """The server did not take us for the carrier."""
    return report.result == "failed" and any(str(status) in line for line in report.problems for status in REFUSED)


def why_refused(account: TwilioAccount) -> str:
    """What to do about it."""
    if account.demo:
        return "refused: the server has keys of its own; set the same TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN here"
    return "refused: TWILIO_AUTH_TOKEN or PUBLIC_URL of the server differ from those set here"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _spread(values: Iterable[float | None]) -> str:
    found = sorted(value for value in values if value is not None)
    if not found:
        return "-"
    if len(found) == 1:
        return f"{found[0]:.0f} ms"
    return f"{statistics.median(found):.0f} ms median, {found[-1]:.0f} ms worst of {len(found)}"
