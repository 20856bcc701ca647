"""Exit status and words of the command, as a shell sees them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import clean
from typer.testing import CliRunner

from tandem import __version__, settings
from tandem.cli import app

runner = CliRunner()


@pytest.fixture(autouse=True)
def _a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No .env of a developer, and settings read anew."""
    monkeypatch.chdir(tmp_path)
    settings.current.cache_clear()


def test_version_and_help() -> None:
    assert runner.invoke(app, ["--version"]).output == f"tandem {__version__}\n"
    for command in ("serve", "demo", "call", "simulate", "check"):
        assert runner.invoke(app, [command, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage"),
        (["cal"], "No such command"),
        (["call", "--carrier", "acme"], "no carrier 'acme'; it has: twilio, telnyx, plivo"),
        (["call", "--carrier", "telnyx"], "TELNYX_PUBLIC_KEY="),
        (["call", "--carrier", "plivo"], "PLIVO_AUTH_ID"),
        (["call", "--url", "ftp://x"], "use http:// or https://"),
        (["call", "--wav", "nowhere.wav"], "nowhere.wav"),
        (["call", "--out", "nowhere/call.wav"], "no such folder"),
        (["call", "--seconds", "0"], "0.1"),
        (["demo", "--out", "nowhere/call.wav"], "no such folder"),
        (["demo", "--out", "."], "is a folder"),
        (["simulate"], "Missing argument"),
        (["simulate", "acme"], "no provider 'acme'"),
        (["simulate", "carrier-rest", "--fault", "silence"], "takes --host and --port only"),
        (["simulate", "carrier-rest", "--faults"], "takes --host and --port only"),
        (["simulate", "openai", "--fault", "nope"], "no fault 'nope'"),
        (["simulate", "openai", "--port", "70000"], "65535"),
        (["simulate", "openai", "--pace", "slow"], "slow"),
        (["simulate", "openai-live", "--fault", "nope"], "no fault 'nope'"),
    ],
)
def test_bad_usage_exits_2_and_says_what_is_wrong(arguments: list[str], said: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert said in result.output + result.stderr


@pytest.mark.parametrize("command", ["serve", "call", "check"])
def test_a_bad_configuration_exits_2_with_all_problems(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("OPENAI_API_KEI", "sk-planted")
    result = runner.invoke(app, [command])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "configuration: PORT: 'eighty': input should be a valid integer, unable to parse string as an integer",
        "configuration: OPENAI_API_KEI: there is no such variable; did you mean OPENAI_API_KEY?",
    ]


def test_calls_need_the_secret_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    result = runner.invoke(app, ["call"])
    assert result.exit_code == 2
    assert "TWILIO_AUTH_TOKEN" in result.stderr
    assert "Before there is an account made-up ones will do" in result.stderr


def test_a_call_to_nobody_fails_with_1() -> None:
    result = runner.invoke(app, ["call", "--url", "http://127.0.0.1:1", "--seconds", "1"])
    assert result.exit_code == 1
    assert "did not go well" in result.output


def test_the_faults_are_listed() -> None:
    result = runner.invoke(app, ["simulate", "openai", "--faults"])
    assert result.exit_code == 0
    assert "close-mid-response\t" in result.output


def test_a_bad_configuration_is_told_within_two_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    env = {**clean(), "TWILIO_AUTH_TOKEN": "planted", "PORT": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tandem", "serve"], cwd=tmp_path, env=env, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"TWILIO_ACCOUNT_SID: is missing" in done.stderr
    assert b"planted" not in done.stderr + done.stdout
    assert time.monotonic() - began < 2 * PATIENCE


PATIENCE = 3  # two seconds are promised on a quiet machine; the suite may share its own with others
