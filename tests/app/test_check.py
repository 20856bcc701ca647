"""`tandem check`: what is right, what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tandem import check, demo
from tandem.finding import Finding
from tandem.screen import Screen
from tandem.settings import Settings, load
from tandem.simulators.elevenlabs import ElevenLabsSimulator
from tandem.simulators.openai import OpenAISimulator

SID = "AC" + "1a" * 16
Answers = Mapping[str, tuple[int, object]]


@asynccontextmanager
async def web(answers: Answers, **headers: str) -> AsyncIterator[str]:
    """A web server that answers each path with a status and JSON, and anything else with 404."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, body = answers.get(head.split()[1].partition("?")[0], (404, {}))
        text = json.dumps(body)
        lines = [f"HTTP/1.1 {status} x", f"content-length: {len(text)}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", text]).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def settings(**env: str) -> Settings:
    return load(env, None)


async def shown(found: Settings) -> tuple[int, str]:
    out = io.StringIO()
    status = await check.run(Screen(out), found)
    return status, out.getvalue()


async def test_with_nothing_set_everything_that_can_work_works() -> None:
    with demo.reserved_port() as port:
        status, text = await shown(settings(PORT=str(port)))
    assert status == 0
    assert "ok\tprovider echo\tsession ready" in text
    assert "warning\tpublic URL\thttp://localhost:" in text
    assert "Everything that was tried works." in text


def test_a_running_server_is_found_and_accepts_what_we_sign(tmp_path: Path) -> None:
    account = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": "planted-token"}
    with demo.server(tmp_path, "token", **account) as child:

        async def look() -> list[Finding]:
            await child.ready()
            found = settings(PUBLIC_URL=child.origin, **account)
            other = settings(PUBLIC_URL=child.origin, **account | {"TWILIO_AUTH_TOKEN": "another-token"})
            return [*await check.public_url(found), (await check.public_url(other))[-1]]

        local, server, socket, signed, refused = asyncio.run(look())
    assert (local.verdict, "this machine only" in local.found) == ("wrong", True)
    assert (server.verdict, socket.verdict, signed.verdict) == ("ok", "ok", "ok")
    assert (refused.verdict, "TWILIO_AUTH_TOKEN" in refused.fix) == ("wrong", True)


async def test_what_answers_at_the_public_url_must_be_ours() -> None:
    async with web({"/healthz": (200, {"status": "fine"})}) as origin:
        assert "something else answers" in (await check._healthz(origin)).found
    async with web({"/healthz": (301, {})}, location="https://voice.example.com/healthz") as origin:
        finding = await check._healthz(origin)
        assert "redirects to https://voice.example.com" in finding.found
        assert "PUBLIC_URL" in finding.fix
    with demo.reserved_port() as port:
        assert "nothing answers" in (await check._healthz(f"http://127.0.0.1:{port}")).found


async def test_a_server_that_was_started_before_a_carriers_keys_were_set_is_found() -> None:
    keys = {"PLIVO_AUTH_ID": "MA" + "A" * 18, "PLIVO_AUTH_TOKEN": "t0ken"}
    answer = {"status": "ok", "service": "tandem", "carriers": ["twilio"]}
    async with web({"/healthz": (200, answer)}) as origin:
        findings = await check.public_url(settings(PUBLIC_URL=origin, **keys))
    local, server = findings
    assert (local.verdict, "this machine only" in local.found) == ("wrong", True)
    assert (server.verdict, "has no keys of Plivo" in server.found, "restart" in server.fix) == ("wrong", True, True)


async def test_an_instances_own_name_is_looked_at_too() -> None:
    answer = {"status": "ok", "service": "tandem", "carriers": ["twilio"]}
    async with web({"/healthz": (200, answer)}) as origin, web({"/healthz": (301, {})}, location="/") as own:
        findings = await check.public_url(settings(PUBLIC_URL=origin, INSTANCE_URL=own))
    assert next(each.found for each in findings if each.what == "server") == f"a Tandem answers at {origin}"
    assert findings[-1].found == f"{own} redirects to /"
    assert "INSTANCE_URL" in findings[-1].fix


async def test_a_proxy_that_swallows_upgrades_is_found() -> None:
    async with web({}) as origin:
        finding = await check._upgrade(origin)
    assert (finding.verdict, finding.found) == ("wrong", "the upgrade was answered with 404")
    assert "WebSocket" in finding.fix


async def test_a_name_that_does_not_exist_and_one_that_is_private() -> None:
    assert (await check._dns("https://nowhere.invalid")).verdict == "wrong"
    assert (await check._dns("https://10.1.2.3")).verdict == "warning"


async def test_a_real_session_is_opened_on_each_provider() -> None:
    async with OpenAISimulator(key="sk-good-one") as simulator:
        found = settings(
            PROVIDERS="openai,openai@backup",
            OPENAI_API_KEY="sk-good-one",
            OPENAI_REALTIME_URL=simulator.url,
            BACKUP_OPENAI_API_KEY="sk-bad-one",
            PORT="1",
        )
        status, text = await shown(found)
    assert status == 1
    assert "ok\tprovider openai\tsession ready in " in text
    assert "model gpt-realtime" in text
    assert "mulaw/8000 in, mulaw/8000 out" in text
    assert "wrong\tprovider openai@backup\t" in text
    assert "check the key" in text
    assert "sk-" not in text


@pytest.mark.parametrize(
    ("fault", "fix"),
    [
        ("refuse=429", "higher limits"),
        ("quota=connect", "add credit"),
        ("refuse=503", "try again later"),
        ("refuse=404", "the model"),
        ("silent", "CONNECT_SECONDS"),
    ],
)
async def test_what_to_do_depends_on_the_failure(fault: str, fix: str) -> None:
    async with OpenAISimulator(faults=[fault]) as simulator:
        found = settings(OPENAI_API_KEY="sk-x", OPENAI_REALTIME_URL=simulator.url, CONNECT_SECONDS="0.5")
        finding = await check.provider(found, found.choices[0])
    assert finding.verdict == "wrong"
    assert fix in finding.fix, finding


async def test_a_greeting_that_an_agent_may_not_be_given_is_found() -> None:
    async with ElevenLabsSimulator(overrides=()) as simulator:
        agent = {"ELEVENLABS_API_KEY": "sk", "ELEVENLABS_AGENT_ID": "a", "ELEVENLABS_URL": simulator.url}
        assert (await shown(settings(**agent)))[0] == 0
        status, text = await shown(settings(GREETING="Welcome.", **agent))
    assert status == 1
    assert "Override for field 'first_message' is not allowed by config." in text


# Routes


def routed(found: Settings, *call: str) -> str:
    out = io.StringIO()
    assert check.route(Screen(out), found, *call) == 0
    return out.getvalue()


def test_who_would_answer_is_said_with_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    file.write_text('[[routes]]\nname = "desk"\ncalled = "+1555*"\ngreeting = "Front desk."\nmax_call_seconds = 90\n')
    found = settings(ROUTES_FILE=str(file), PROVIDERS="echo", INSTRUCTIONS="Be kind.")
    text = routed(found, "1 555 123 4567")
    for line in ("agent\tdesk", "line 1", "providers\techo", "greeting\tFront desk.", "longest call\t90 s", "Be kind."):
        assert line in text
    assert "agent\tdefault" in routed(found, "+4930123456")
    assert "no ROUTES_FILE" in routed(settings(PROVIDERS="echo"), "+4930123456")


def test_a_webhook_that_may_say_otherwise_is_mentioned() -> None:
    found = settings(CALL_WEBHOOK_URL="https://example.com/calls", CALL_WEBHOOK_SECRET="planted-secret")
    assert "CALL_WEBHOOK_URL is asked first" in routed(found, "+4930123456")
