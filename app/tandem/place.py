"""`tandem call`: one call against a running server, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tandem import calling
from tandem.callers import CALLERS, AddressTaken, Caller
from tandem.origins import origin_of
from tandem.screen import Screen
from tandem.settings import Settings
from tandem.simulators.phone import Turn
from tandem.simulators.plan import CallPlan, CallReport
from tandem_codecs.format import MULAW_8K
from tandem_codecs.wav import read_wav


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line, checked."""

    origin: str
    """Where the server is."""
    path: str
    status_path: str
    caller: Caller
    audio: bytes | Sequence[Turn]
    out: Path | None
    seconds: float

    @classmethod
    def of(
        cls,
        settings: Settings,
        url: str,
        wav: Path | None,
        out: Path | None,
        seconds: float,
        carrier: str = "twilio",
    ) -> Wish:
        """Read what there is to read.

        Raises:
            ValueError: the URL, the file or the settings are of no use; says why.
            OSError: the file can't be read.
        """
        kind = CALLERS.get(carrier)
        if kind is None:
            raise ValueError(f"this version speaks for no carrier {carrier!r}; it has: {', '.join(CALLERS)}")
        caller = kind.caller(settings)
        if url and "://" not in url:
            url = f"http://{url}"
        parts = urlsplit(url or _here(settings))
        try:
            origin = origin_of(f"{parts.scheme}://{parts.netloc}")
        except ValueError as error:
            raise ValueError(f"--url {url}: {error}") from None
        path = parts.path if parts.path not in ("", "/") else kind.path
        audio = read_wav(wav, MULAW_8K) if wav is not None else calling.conversation(calling.Voice())
        if out is not None:
            calling.can_record(out)
        return cls(origin, path, kind.status_path, caller, audio, out, seconds)


def _here(settings: Settings) -> str:
    """The server of these settings, as seen from this machine."""
    host = {"0.0.0.0": "localhost", "::": "localhost", "127.0.0.1": "localhost"}.get(settings.host, settings.host)  # noqa: S104  # nothing is bound here
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


async def place(screen: Screen, settings: Settings, wish: Wish) -> int:
    """Place the call and show it. Returns the exit status."""
    try:
        report = await _call(screen, settings, wish)
    except AddressTaken as taken:
        screen.problem(str(taken))
        return 1
    calling.show_report(screen, report)
    if calling.was_refused(report):
        screen.problem(wish.caller.why_refused)
        return 1
    wrong = "" if report.went_well else str(report.result)
    if report.result == "completed":
        record = await calling.fetch_record(wish.origin, report.call_sid, settings.api_token.get_secret_value())
        if isinstance(record, str):
            screen.say(record, "yellow")
        else:
            calling.show_transcript(screen, record)
            wrong = wrong or calling.unserved(record)
    if report.recording is not None:
        screen.say(f"recorded in {report.recording} (caller left, agent right)")
    screen.say(f"the call did not go well ({wrong})" if wrong else "the call went well", "red" if wrong else "green")
    return 1 if wrong else 0


async def _call(screen: Screen, settings: Settings, wish: Wish) -> CallReport:
    """A server knows its own name and signs for that; which name that is, it does not tell: try what is likely."""
    origins = calling.signing_origins(wish.origin, settings.public_url)
    while True:
        origin = origins.pop(0)
        plan = CallPlan(
            f"{origin}{wish.path}",
            wish.caller.account,
            wish.caller.secret,
            audio=wish.audio,
            seconds=wish.seconds,
            via=wish.origin if wish.origin != origin else "",
            status_url=f"{origin}{wish.status_path}",
            recording=wish.out,
        )
        report = await wish.caller.place(plan, lambda event: calling.show_event(screen, event))
        if not origins or not calling.was_refused(report):
            return report
