"""The command as it is installed: what serves carries nothing that a server does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tandem import command
from tandem_providers.table import KINDS

LOADED = "import sys, tandem.serve; print(*sys.modules)"


def test_a_server_carries_neither_the_command_line_nor_the_terminal_nor_voices_that_it_has_not() -> None:
    ran = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(ran.stdout.split())
    assert "tandem_providers.openai" in loaded
    unused = {"typer", "rich", "tandem.cli", "tandem.screen", "soxr"}
    unused |= {f"tandem_providers.{name}" for name in ("gemini", "deepgram", "elevenlabs", "openai_live")}
    assert not loaded & unused


@pytest.mark.parametrize(("words", "status"), [(["--version"], 0), (["serve", "--loudly"], 2), (["serves"], 2)])
def test_everything_but_serve_is_read_as_a_command_line(
    words: list[str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tandem", *words])
    with pytest.raises(SystemExit) as left:
        command.main()
    assert left.value.code == status


def test_serve_answers_with_the_servers_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tandem", "serve"])
    monkeypatch.setattr("tandem.serve.main", lambda: 7)
    with pytest.raises(SystemExit) as left:
        command.main()
    assert left.value.code == 7


def test_each_kind_can_be_named_without_being_loaded() -> None:
    assert {"openai", "gemini", "echo"} <= set(KINDS)
