"""How a simulated call is shown, and under which name of the server it is signed."""

from __future__ import annotations

import asyncio
import io

import pytest

from tandem import calling
from tandem.screen import Screen
from tandem.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN, TwilioAccount
from tandem.simulators.phone import Answer, Interruption
from tandem.simulators.plan import CallEvent, CallReport


def test_the_script_has_its_recordings() -> None:
    voice = calling.Voice()
    turns = calling.conversation(voice)
    assert len(turns) == len(calling.SCRIPT)
    assert all(len(turn.audio) > 2_000 for turn in turns)
    assert set(calling.SCRIPT) <= set(voice.texts)


def test_events_are_lines() -> None:
    out = io.StringIO()
    screen = Screen(out)
    calling.show_event(screen, CallEvent(1234.0, "agent-speaks", latency_ms=812.4))
    calling.show_event(screen, CallEvent(2000.0, "clear", "640 ms thrown away", 81.0))
    calling.show_event(screen, CallEvent(3000.0, "callback", "stream-started: 200"))
    assert out.getvalue().splitlines() == [
        "   1.23 s  agent    speaks  (812 ms)",
        "   2.00 s  agent    is interrupted: 640 ms thrown away  (81 ms)",
    ]


def test_the_report_names_median_and_worst() -> None:
    out = io.StringIO()
    report = CallReport(
        "CA1",
        "completed",
        "caller",
        12.0,
        webhook_ms=4.2,
        answers=(Answer(0, 700), Answer(1000, 1900), Answer(0, 650)),
        interruptions=(Interruption(500, 581), Interruption(900, None)),
        heard_ms=9_000,
    )
    calling.show_report(Screen(out), report)
    text = out.getvalue()
    assert "webhook to answer\t4 ms" in text
    assert "answer to open media stream\t-" in text
    assert "caller stops to agent audible\t700 ms median, 900 ms worst of 3" in text
    assert "caller interrupts to clear\t81 ms" in text


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]"])
async def test_a_proxy_that_answers_for_the_server_is_no_record(body: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        told = await calling.fetch_record(f"http://127.0.0.1:{port}", "CA1", "token")
    assert isinstance(told, str)
    assert "a proxy, perhaps" in told


def test_a_caller_who_heard_an_apology_was_not_served() -> None:
    assert calling.unserved({"result": "caller_hung_up", "provider_error": "was lost, and another took over"}) == ""
    assert calling.unserved({"result": "providers_failed", "provider_error": "no key"}) == "providers_failed: no key"
    assert calling.unserved({"result": "internal_error"}) == "internal_error"
    assert calling.unserved({}) == ""


def test_the_transcript_says_who_and_what() -> None:
    out = io.StringIO()
    lines = [{"role": "caller", "text": "Hi"}, {"role": "agent", "text": "Hello th", "interrupted": True}]
    calling.show_transcript(Screen(out), {"transcript": lines})
    assert out.getvalue().splitlines()[2:] == ["caller\tHi\t", "agent\tHello th\tinterrupted"]


@pytest.mark.parametrize(
    ("origin", "public_url", "tried"),
    [
        ("http://localhost:8000", "", ["http://localhost:8000"]),
        ("http://127.0.0.1:9000", "", ["http://localhost:9000", "http://127.0.0.1:9000"]),
        ("https://voice.example.com", "", ["https://voice.example.com"]),
        (
            "http://127.0.0.1:8000",
            "https://voice.example.com",
            ["https://voice.example.com", "http://localhost:8000", "http://127.0.0.1:8000"],
        ),
    ],
)
def test_the_likeliest_name_of_the_server_is_tried_first(origin: str, public_url: str, tried: list[str]) -> None:
    assert calling.signing_origins(origin, public_url) == tried


def test_a_refusal_is_told_from_other_failures_with_what_to_do() -> None:
    refused = CallReport("CA1", "failed", None, 0.1, problems=("11200 the webhook was answered with HTTP 403",))
    assert calling.was_refused(refused)
    assert not calling.was_refused(CallReport("CA1", "failed", None, 0.1, problems=("11205 no answer",)))
    assert not calling.was_refused(CallReport("CA1", "busy", None, 0.1))
    demo = TwilioAccount(DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN, demo=True)
    assert "TWILIO_ACCOUNT_SID" in calling.why_refused(demo)
    assert "PUBLIC_URL" in calling.why_refused(TwilioAccount("AC1", "x"))
