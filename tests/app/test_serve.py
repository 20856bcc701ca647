"""The server as a process: how it starts, what it says, how it ends."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tandem import demo
from tandem.serve import config_of, listen
from tandem.settings import load


def start(folder: Path, port: int, **more: str) -> subprocess.Popen[str]:
    env = {k: v for k, v in demo.environment(port, "").items() if k not in ("API_TOKEN", "PUBLIC_URL")} | more
    return subprocess.Popen(
        [sys.executable, "-m", "tandem", "serve"],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_says_so_and_ends_with_0_when_told(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_CALLS=7\nMAX_CALL=1\n")
    with demo.reserved_port() as port:
        process = start(tmp_path, port)
        asyncio.run(demo.Child(process, port, tmp_path / "none").ready())
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    lines = [json.loads(line) for line in err.splitlines()]
    events = [line["event"] for line in lines]
    assert "listening" in events
    assert events[-1] == "drained"
    assert [line["problem"] for line in lines if line["event"] == "check the configuration"] == [
        "MAX_CALL is not a variable of Tandem and does nothing; did you mean MAX_CALLS?"
    ]
    assert not [line for line in lines if line["logger"].startswith("uvicorn")]
    # The token is told once, and not in a log line.
    assert len(re.findall(r"API token .*: [\w-]{32}$", out, re.MULTILINE)) == 1
    assert out.split()[-1] not in err


def test_a_port_that_is_taken_is_told_with_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(tmp_path, taken.getsockname()[1])
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    (line,) = [json.loads(line) for line in err.splitlines()]
    assert (line["event"], line["problem"]) == ("can not listen", "Address already in use")


def test_addresses_of_both_families_are_listened_on() -> None:
    for host in ("127.0.0.1", "0.0.0.0", "::1", "::", "localhost"):  # noqa: S104  # that it can is what is tested
        listener = listen(host, 0)
        assert listener.getsockname()[1] > 0
        listener.close()
    with pytest.raises(OSError, match=r"[Cc]annot assign"):
        listen("192.0.2.1", 0)


def test_nothing_is_trusted_of_proxies_and_no_path_is_logged() -> None:
    config = config_of(load({}, None))
    assert not config.proxy_headers
    assert not config.access_log
    assert not config.server_header
