"""What the image and the compose file promise, read off them; running them needs an engine."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from tandem.settings import Settings

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()


def test_both_stages_stand_on_the_same_pinned_base() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.13-slim"] * 2


def test_the_server_is_process_one_without_privileges() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["tandem"\]$', DOCKERFILE, re.MULTILINE)
    assert re.search(r'^CMD \["serve"\]$', DOCKERFILE, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", DOCKERFILE, re.MULTILINE)
    assert re.search(r'^HEALTHCHECK .*CMD \["python3", "-m", "tandem.healthcheck"\]$', DOCKERFILE, re.MULTILINE)
    for line in ("read_only: true", "- ALL", "- no-new-privileges:true", "nofile: 20000"):
        assert line in COMPOSE


def test_the_image_has_everything_that_settings_may_ask_for() -> None:
    """Each extra but what only developers need."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r'\*extras\["(\w+)"\]', DOCKERFILE)) == set(extras) - {"dev"}


def test_no_secret_is_baked_in() -> None:
    assert not re.search(r"(KEY|TOKEN|SECRET)\s*[=:]", DOCKERFILE)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "everything is left out but what is named"
    assert not [line for line in ignored if ".env" in line]


def test_a_stop_waits_longer_than_calls_may_take_to_end() -> None:
    minutes = re.search(r"stop_grace_period: (\d+)m$", COMPOSE, re.MULTILINE)
    assert minutes is not None
    assert int(minutes[1]) * 60 > Settings.model_fields["drain_seconds"].default + 60


def test_it_starts_with_nothing_set() -> None:
    assert re.search(r"- path: \.env\n\s+required: false", COMPOSE)
    assert not re.findall(r"\$\{\w+\}", COMPOSE), "each variable has a default"


def test_scripts_can_be_run() -> None:
    for script in (ROOT / "docker").glob("*.sh"):
        assert os.access(script, os.X_OK), script
