"""The options of `tandem check`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tandem import settings
from tandem.cli import app


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file of routes, and nothing else."""
    file = tmp_path / "routes.toml"
    file.write_text('[[routes]]\nname = "desk"\ncalled = "+1555*"\n')
    found = settings.load({"PROVIDERS": "echo", "ROUTES_FILE": str(file)}, None)
    monkeypatch.setattr(settings, "current", lambda: found)


def test_a_route_is_explained_and_nothing_is_asked() -> None:
    result = CliRunner().invoke(app, ["check", "--route", "+1 555 123 4567"])
    assert result.exit_code == 0
    assert "agent\tdesk" in result.output
    assert "routes.toml, line 1" in result.output


@pytest.mark.parametrize("options", [["--route", "desk"], ["--number", "555"], ["--fix", "--number", "+1"]])
def test_what_is_no_number_is_bad_usage(options: list[str]) -> None:
    result = CliRunner().invoke(app, ["check", *options])
    assert result.exit_code == 2
    assert "is no number" in result.output
