"""The container's own look at its server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

from tandem import demo
from tandem.healthcheck import healthy


def test_a_running_server_is_healthy_and_an_ended_one_is_not(tmp_path: Path) -> None:
    with demo.server(tmp_path, "token") as child:
        asyncio.run(child.ready())
        env = demo.environment(child.port, "token") | {"HOST": "0.0.0.0"}  # noqa: S104  # as the container has it
        command = [sys.executable, "-m", "tandem.healthcheck"]
        assert subprocess.run(command, env=env, check=False, capture_output=True).returncode == 0
    assert subprocess.run(command, env=env, check=False, capture_output=True).returncode == 1


def test_what_does_not_answer_is_not_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not healthy("127.0.0.1", silent.getsockname()[1], seconds=0.05)
