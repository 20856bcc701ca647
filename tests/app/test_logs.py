"""Lines: one each, in JSON or for a terminal; private things redacted, secrets gone, nothing injected."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tandem import logs
from tandem.logs import Private, Secret
from tandem.settings import load


class Output:
    """What a process with these settings logs."""

    def __init__(self, **env: str) -> None:
        self._stream = io.StringIO()
        logs.setup(load({"LOG_FORMAT": "json", "LOG_LEVEL": "debug"} | env, None), self._stream)

    def text(self) -> str:
        logs.close()
        return self._stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def line(self) -> dict[str, Any]:
        (line,) = self.lines()
        return line


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("tandem")
    level = root.level
    ours.setLevel(logging.NOTSET)  # as in a server; the suite listens more closely
    yield
    logs.close()
    root.setLevel(level)
    logging.captureWarnings(False)


log = logs.get("tandem.test")


def test_a_line_has_time_level_event_and_fields() -> None:
    out = Output()
    log.info("call ended", call_id="CA1", seconds=1.5, result="completed", providers=("a", "b"), more={"x": None})
    line = out.line()
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "event": "call ended",
        "logger": "tandem.test",
        "call_id": "CA1",
        "seconds": 1.5,
        "result": "completed",
        "providers": ["a", "b"],
        "more": {"x": None},
    }


def test_bound_fields_and_the_call_of_the_task_are_on_each_line() -> None:
    out = Output()
    token = logs.call_id.set("CA2")
    log.bind(carrier="twilio").warning("stream lost", code=1006)
    logging.getLogger("other.library").info("connected to %s", "host")
    logs.call_id.reset(token)
    first, second = out.lines()
    assert (first["call_id"], first["carrier"], first["code"]) == ("CA2", "twilio", 1006)
    assert (second["call_id"], second["event"], second["logger"]) == ("CA2", "connected to host", "other.library")


def test_a_field_can_not_forge_ours() -> None:
    out = Output()
    log.info("real", level="error", ts="never")
    line = out.line()
    assert (line["level"], line["level_"], line["ts_"]) == ("info", "error", "never")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("+15551234500", "+15•••••••00"),
        ("015551234500", "015•••••••00"),
        ("911", "•(3)"),
        ("12345", "•••"),
        ("my secret order", "•(15)"),
        ("Ann", "•(3)"),
        ("", ""),
    ],
)
def test_private_things_are_redacted(value: str, shown: str) -> None:
    assert str(Private(value)) == f"{Private(value)}" == shown
    assert not value or value not in repr(Private(value))
    out = Output()
    log.info("event", what=Private(value), nested=[{"deep": Private(value)}])
    line = out.line()
    assert line["what"] == line["nested"][0]["deep"] == shown


def test_private_things_are_shown_when_asked_for_but_secrets_never() -> None:
    out = Output(LOG_REDACT="false", API_TOKEN="planted-token")
    log.info(
        "event", caller=Private("+15551234500"), key=Secret("sk-123456"), loose="from +15551234500", t="planted-token"
    )
    line = out.line()
    assert (line["caller"], line["key"], line["loose"], line["t"]) == (
        "+15551234500",
        "•••",
        "from +15551234500",
        "•••",
    )


def test_what_slipped_in_unwrapped_is_taken_out() -> None:
    out = Output(API_TOKEN='planted"quote', TWILIO_ACCOUNT_SID="AC" + "0" * 32, TWILIO_AUTH_TOKEN="planted-auth-token")
    logging.getLogger("lib").warning("GET /x?From=%2B15551234500&token=planted-auth-token by +15551234500")
    log.info("value", text='has planted"quote')
    log.info("WS /twilio/media/abc.def-g_h=?x=1 accepted")
    text = out.text()
    assert "15551234500" not in text
    assert "planted" not in text
    assert "/twilio/media/•••?x=1 accepted" in text


@pytest.mark.parametrize("kind", ["json", "console"])
def test_nothing_that_is_logged_can_start_a_line_or_command_the_terminal(kind: str) -> None:
    out = Output(LOG_FORMAT=kind)
    evil = 'a\nb\r\x1b[2J\x85\u2028\u202e{"level":"error"}'
    log.info(evil, field=evil)
    logging.getLogger("lib").info(evil)
    text = out.text()
    assert text.count("\n") == 2
    assert not [c for c in text if c in "\r\x1b\x85\u2028\u202e"]
    if kind == "json":
        assert json.loads(text.splitlines()[0])["field"] == evil


def test_an_exception_is_on_the_same_line_with_its_cause() -> None:
    out = Output(API_TOKEN="planted-token")
    try:
        try:
            raise OSError("no route with planted-token")
        except OSError as cause:
            raise ValueError("first\nsecond") from cause
    except ValueError as error:
        log.error("call failed", error=error)
    line = out.line()
    assert line["error"]["type"] == "ValueError"
    assert line["error"]["message"] == "first\nsecond"
    assert "test_an_exception" in line["error"]["stack"][0]
    assert line["error"]["cause"]["message"] == "no route with •••"


def test_a_group_of_exceptions_names_its_members() -> None:
    out = Output()
    log.error("failed", error=ExceptionGroup("two", [ValueError("a"), OSError("b")]))
    assert [e["type"] for e in out.line()["error"]["errors"]] == ["ValueError", "OSError"]


def test_odd_values_make_a_line_too() -> None:
    out = Output()
    log.info("100 % odd", data=b"abc", error=ValueError("x"), obj=object, long="y" * 5000, number=float("inf"))
    line = out.line()
    assert (line["event"], line["data"], line["error"]) == ("100 % odd", "3 bytes", "ValueError: x")
    assert line["long"].endswith("…(+1000)")


def test_the_level_is_obeyed_and_chatty_libraries_are_quiet() -> None:
    out = Output(LOG_LEVEL="warning")
    log.info("no")
    log.warning("yes")
    logging.getLogger("httpx").info("no")
    logging.getLogger("uvicorn.error").info("no")
    assert [line["event"] for line in out.lines()] == ["yes"]


@pytest.mark.parametrize(("redact", "shown"), [("true", False), ("false", True)])
def test_an_access_log_has_no_queries(redact: str, shown: bool) -> None:
    """Plivo writes numbers without a plus, and every carrier says how a caller is called."""
    Output(LOG_REDACT="true")
    out = Output(LOG_REDACT=redact)
    line = ("127.0.0.1:5", "GET", "/plivo/voice?From=491234567&CallerName=Ann+Example", "1.1", 200)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', *line)
    (told,) = [each["event"] for each in out.lines()]
    assert told.startswith('127.0.0.1:5 - "GET /plivo/voice')
    assert told.endswith('HTTP/1.1" 200')
    assert ("491234567" in told, "Ann" in told) == (shown, shown)


def test_the_console_format_is_for_people() -> None:
    out = Output(LOG_FORMAT="console")
    log.info("call ended", call_id="CA1", reason="hung up", n=3)
    assert out.text().split(maxsplit=1)[1] == 'info    call ended  call_id=CA1 reason="hung up" n=3\n'


class Stalled(io.StringIO):
    """A reader that went away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_is_gone_hurts_nobody() -> None:
    logs.setup(load({"LOG_FORMAT": "json"}, None), Stalled())
    log.info("into the void")
    logs.close()
