"""The demonstration: held once in full, and its verdict on calls that went wrong."""

from __future__ import annotations

import asyncio
import io
import sys
import wave
from dataclasses import replace
from pathlib import Path

import pytest

from tandem import calling, demo
from tandem.screen import Screen
from tandem.simulators.phone import Answer, Interruption
from tandem.simulators.plan import CallReport

GOOD = CallReport(
    "CA1",
    "completed",
    "caller",
    30.0,
    first_audio_ms=50,
    answers=(Answer(0, 700), Answer(0, 700)),
    interruptions=(Interruption(0, 80),),
    heard_ms=9_000,
)


@pytest.mark.timeout(120)
def test_the_whole_demonstration_goes_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")  # whoever has a key pays nothing for the demonstration
    out, err = io.StringIO(), io.StringIO()
    recording = tmp_path / "call.wav"
    assert demo.run(Screen(out, err), recording) == 0
    shown = out.getvalue()
    assert err.getvalue() == ""
    assert "Tandem listens on http://localhost:" in shown
    assert "is interrupted" in shown
    assert "caller stops to agent audible\t" in shown
    assert "The call went well." in shown
    with wave.open(str(recording)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        assert file.getnframes() > 20 * 8000


def spoken(voice: calling.Voice) -> bytes:
    return b"\xff" * 999 + voice.audio("hello") + b"\xff" * 800 + voice.audio("opening-hours")


def test_a_good_call_has_no_shortcomings() -> None:
    voice = calling.Voice()
    assert demo.shortcomings(GOOD, spoken(voice), voice) == []


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (replace(GOOD, result="busy"), "ended as busy"),
        (replace(GOOD, first_audio_ms=None), "never heard"),
        (replace(GOOD, answers=()), "only 0 turns"),
        (replace(GOOD, interruptions=(Interruption(0, None),)), "did not silence"),
        (replace(GOOD, underruns=2, gap_ms=41), "2 gaps, 41 ms"),
        (replace(GOOD, problems=("31924 odd",)), "31924 odd"),
    ],
)
def test_what_went_wrong_is_named(report: CallReport, said: str) -> None:
    voice = calling.Voice()
    (told,) = demo.shortcomings(report, spoken(voice), voice)
    assert said in told


def test_one_wrong_bit_in_what_was_heard_is_noticed() -> None:
    voice = calling.Voice()
    heard = bytearray(spoken(voice))
    heard[999 + len(voice.audio("hello")) // 2] ^= 1
    (told,) = demo.shortcomings(GOOD, bytes(heard), voice)
    assert "did not repeat 'Hello" in told


def test_nothing_that_is_configured_reaches_the_demonstration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "TWILIO_AUTH_TOKEN", "SECRET_KEY", "MAX_CALLS"):
        monkeypatch.setenv(name, "planted")
    env = demo.environment(8123, "token")
    assert "planted" not in env.values()
    assert (env["PROVIDERS"], env["PUBLIC_URL"]) == ("echo", "http://localhost:8123")


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    with demo.server(tmp_path, "token", LOG_LEVEL="loud") as child:
        with pytest.raises(demo.DemoError, match="ended with status 2"):
            asyncio.run(child.ready())
        assert "LOG_LEVEL: 'loud'" in child.last_words()


def test_the_command_to_go_on_with_can_be_typed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "tandem").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert demo._command() == str(folder / "tandem")
    monkeypatch.chdir(tmp_path)
    assert demo._command() == ".venv/bin/tandem"
    monkeypatch.setenv("PATH", str(folder))
    assert demo._command() == "tandem"
