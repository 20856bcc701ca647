"""`tandem check` and the carriers: what a console has wrong, in its words, and what `--fix` sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from servers import ACCOUNT, AUTH_TOKEN

from tandem import check_carriers
from tandem.check_carriers import Field, carriers
from tandem.finding import Finding
from tandem.settings import Settings, load
from tandem.simulators.api_server import ApiAnswer, RestServer
from tandem.simulators.carrier_rest import ELSEWHERE, Accounts, CarrierRest
from tandem.simulators.plan import CallPlan
from tandem.simulators.plivo_rest import Calls
from tandem.simulators.plivo_rest import serve as serve_plivo
from tandem.simulators.telnyx import Exchange
from tandem.simulators.twilio_rest import Account, error

ORIGIN = "https://voice.example.com"
OURS, OTHER = "+15550001000", "+15550009999"
OLD = "https://old.example.com/hook"


def settings(**env: str) -> Settings:
    return load({"PUBLIC_URL": ORIGIN, "PROVIDERS": "echo", **env}, None)


def lines(findings: list[Finding]) -> list[str]:
    """Verdicts and what was found, for comparing."""
    return [f"{each.verdict}: {each.what}: {each.found}" for each in findings]


def said(findings: list[Finding], *words: str) -> Finding:
    """The one finding with these words."""
    (found,) = [each for each in findings if all(word in f"{each.what} {each.found}" for word in words)]
    return found


def test_a_field_is_right_when_it_is_as_wanted_or_somebodys_own() -> None:
    assert Field("x", "a", "a").right
    assert not Field("x", "b", "a").right
    assert Field("x", "b", "a", own=True).right
    assert not Field("x", "", "a", own=True).right


async def test_without_an_account_there_is_nobody_to_ask() -> None:
    assert await carriers(settings()) == []


# --- Twilio -----------------------------------------------------------------------------------------------------------

RIGHT = {
    "voice_url": f"{ORIGIN}/twilio/voice",
    "voice_fallback_url": "https://static.example.com/sorry.xml",
    "status_callback": f"{ORIGIN}/twilio/status",
}


@asynccontextmanager
async def twilio(*numbers: dict[str, Any]) -> AsyncIterator[tuple[Settings, Account]]:
    books = Account(ACCOUNT, AUTH_TOKEN)
    for number in numbers:
        books.add_number(**number)
    async with RestServer(lambda request: books.answer(request)) as server:
        found = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": AUTH_TOKEN, "TWILIO_API_URL": server.url}
        yield settings(**found), books


async def test_a_twilio_number_that_leads_here_is_found_and_not_shown() -> None:
    async with twilio({"number": OURS, **RIGHT}, {"number": OTHER, "voice_url": OLD}) as (found, _):
        assert lines(await carriers(found)) == [
            "ok: Twilio account: is active",
            "ok: Twilio numbers: 1 of 2 lead here: +15•••••••00",
            "ok: Twilio +15•••••••00: is set up as it should be",
        ]


async def test_what_is_missing_at_a_twilio_number_is_named_as_its_console_names_it() -> None:
    async with twilio({"number": OURS, "voice_url": f"{ORIGIN}/twilio/voice", "voice_method": "GET"}) as (found, books):
        findings = await carriers(found)
        assert said(findings, "'A call comes in, HTTP' is GET").verdict == "warning"
        assert said(findings, "'Primary handler fails' is empty").verdict == "warning"
        status = said(findings, "'Call status changes' is empty")
        assert f"{ORIGIN}/twilio/status" in status.fix
        assert {request.method for request in books.requests} == {"GET"}, "looking changes nothing"


async def test_twilio_numbers_that_lead_elsewhere_are_left_alone_unless_they_are_named() -> None:
    async with twilio({"number": OURS, "voice_url": OLD}, {"number": OTHER, "voice_url": OLD}) as (found, books):
        findings = await carriers(found, fix=True)
        assert said(findings, "none of 2 leads here").verdict == "warning"
        assert all(number["voice_url"] == OLD for number in books.numbers.values())
        wrong = said(await carriers(found, [OURS]), "'A call comes in' is https://old.example.com/hook")
        assert wrong.verdict == "wrong"
        assert f"{ORIGIN}/twilio/voice" in wrong.fix
        fixed = await carriers(found, [OURS], fix=True)
        assert said(fixed, f"'A call comes in' was {OLD}; set to {ORIGIN}/twilio/voice").verdict == "ok"
        urls = {number["phone_number"]: number["voice_url"] for number in books.numbers.values()}
        assert urls == {OURS: f"{ORIGIN}/twilio/voice", OTHER: OLD}
        assert "ok: Twilio +15•••••••00: is set up as it should be" in lines(await carriers(found, [OURS]))


async def test_the_only_number_of_an_account_is_meant() -> None:
    async with twilio({"number": OURS, "voice_url": None, "status_callback": OLD}) as (found, books):
        assert said(await carriers(found), "'A call comes in' is empty").verdict == "wrong"
        findings = await carriers(found, fix=True)
        assert not [each for each in findings if each.verdict != "ok"]
        (number,) = books.numbers.values()
        assert (number["voice_url"], number["voice_method"]) == (f"{ORIGIN}/twilio/voice", "POST")
        assert number["voice_fallback_url"] == f"{ORIGIN}/twilio/voice?after=failure"
        assert number["status_callback"] == OLD, "somebody's own stays"


async def test_the_file_of_routes_names_numbers_too(tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(f'[[routes]]\ncalled = ["{OURS}", "+49*"]\n')
    async with twilio({"number": OURS, "voice_url": OLD}, {"number": OTHER, "voice_url": OLD}) as (found, _):
        env = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": AUTH_TOKEN, "TWILIO_API_URL": found.twilio_api_url}
        findings = await carriers(await asyncio.to_thread(partial(settings, ROUTES_FILE=str(file), **env)))
        assert said(findings, "'A call comes in' is https://old.example.com/hook").verdict == "wrong"


@pytest.mark.parametrize(
    ("field", "sid", "word"), [("voice_application_sid", "AP1", "TwiML App"), ("trunk_sid", "TK1", "SIP trunk")]
)
async def test_a_number_whose_urls_are_overridden_is_not_thought_to_be_right(field: str, sid: str, word: str) -> None:
    async with twilio({"number": OURS, **RIGHT, field: sid}) as (found, _):
        finding = said(await carriers(found), "'Configure with'", word, sid)
        assert finding.verdict == "wrong"


async def test_a_number_of_another_account_is_said_to_be_one() -> None:
    async with twilio({"number": OURS, **RIGHT}) as (found, _):
        assert said(await carriers(found, [OTHER]), "not of this account").verdict == "warning"


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (error(401, 20003, "Authenticate"), "wrong", "credentials refused (401)"),
        (error(404, 20404, "not found"), "wrong", "credentials refused (404)"),
        (error(500, 20500, "internal"), "wrong", "answered 500"),
        (ApiAnswer(200, {"status": "suspended"}), "wrong", "is suspended"),
        (ApiAnswer(200, [3]), "wrong", "is None"),
    ],
)
async def test_what_twilio_says_of_the_account(answer: ApiAnswer, verdict: str, words: str) -> None:
    async with twilio({"number": OURS, **RIGHT}) as (found, books):
        books.fail += [answer] * 2
        (finding,) = (await carriers(found))[:1]
        assert finding.verdict == verdict
        assert words in finding.found


async def test_numbers_that_can_not_be_listed_or_set_are_said_to_be() -> None:
    async with twilio({"number": OURS, "voice_url": OLD}) as (found, books):
        books.fail += [ApiAnswer(200, {"status": "active"}), error(403, 20003, "no"), error(403, 20003, "no")]
        assert said(await carriers(found), "can't be listed").verdict == "warning"
        books.fail.clear()
        answer = books.answer
        books.answer = lambda request: answer(request) if request.method == "GET" else error(403, 20003, "no")  # type: ignore[method-assign]  # a token that may only read
        findings = await carriers(found, [OURS], fix=True)
        assert said(findings, "'A call comes in'").verdict == "wrong"
        assert said(findings, "can't be changed: twilio answered 403").verdict == "wrong"


async def test_an_api_that_is_not_there() -> None:
    found = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": AUTH_TOKEN, "TWILIO_API_URL": "http://127.0.0.1:9"}
    (finding,) = await carriers(settings(**found))
    assert (finding.verdict, "TWILIO_API_URL" in finding.fix) == ("wrong", True)


# --- Telnyx -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def telnyx(*, connection: str = "") -> AsyncIterator[tuple[Settings, Exchange]]:
    async with Exchange() as exchange:
        engine = exchange.engine
        engine.applications["11"] = {
            "record_type": "call_control_application",
            "id": "11",
            "application_name": "Tandem",
            "active": True,
            "webhook_event_url": OLD,
            "webhook_event_failover_url": None,
            "webhook_api_version": "2",
        }
        engine.applications["22"] = {
            "record_type": "texml_application",
            "id": "22",
            "friendly_name": "Documents",
            "active": True,
            "voice_url": f"{ORIGIN}/telnyx/voice",
            "voice_method": "post",
            "voice_fallback_url": OLD,
            "status_callback": f"{ORIGIN}/telnyx/status",
        }
        engine.numbers += [
            {"phone_number": OURS, "connection_id": "11", "connection_name": "Tandem"},
            {"phone_number": OTHER, "connection_id": "33", "connection_name": "my trunk"},
            {"phone_number": "+15550008888", "connection_id": None, "connection_name": None},
        ]
        found = {"TELNYX_API_KEY": exchange.api_key, "TELNYX_PUBLIC_KEY": exchange.public_key}
        yield settings(**found, TELNYX_API_URL=exchange.api_url, TELNYX_CONNECTION_ID=connection), exchange


async def test_a_telnyx_application_is_set_when_its_number_is_named() -> None:
    async with telnyx() as (found, exchange):
        assert said(await carriers(found), "none of 3 leads here").verdict == "warning"
        wrong = said(await carriers(found, [OURS]), "'Send a webhook to the URL' is https://old.example.com/hook")
        assert wrong.verdict == "wrong"
        findings = await carriers(found, [OURS], fix=True)
        assert not [each for each in findings if each.verdict == "wrong"]
        application = exchange.engine.applications["11"]
        assert application["webhook_event_url"] == f"{ORIGIN}/telnyx/events"
        assert application["webhook_event_failover_url"] == f"{ORIGIN}/telnyx/events"
        assert application["application_name"] == "Tandem"
        findings = await carriers(found)
        assert said(findings, "1 of 3 lead here").verdict == "ok"
        assert said(findings, "application Tandem", "as it should be").verdict == "ok"


async def test_a_telnyx_number_that_leads_to_no_application_says_where_it_leads() -> None:
    async with telnyx() as (found, _):
        findings = await carriers(found, [OTHER, "+15550008888"])
        assert said(findings, "leads to my trunk, which is no Voice API or TeXML application").verdict == "wrong"
        assert said(findings, "assigned to no application").verdict == "wrong"


async def test_a_texml_application_that_leads_here_is_looked_at() -> None:
    async with telnyx() as (found, exchange):
        exchange.engine.numbers[0]["connection_id"] = "22"
        assert said(await carriers(found), "application Documents", "as it should be").verdict == "ok"
        exchange.engine.applications["22"] |= {"voice_method": "get", "status_callback": "", "active": False}
        findings = await carriers(found)
        assert said(findings, "'Voice method' is GET").verdict == "warning"
        assert said(findings, "'Status callback' is empty").verdict == "warning"
        assert said(findings, "is not active").verdict == "wrong"
        await carriers(found, fix=True)
        mended = exchange.engine.applications["22"]
        assert (mended["voice_method"], mended["status_callback"]) == ("post", f"{ORIGIN}/telnyx/status")
        assert mended["voice_fallback_url"] == OLD


async def test_webhooks_of_the_first_version_are_found() -> None:
    async with telnyx() as (found, exchange):
        exchange.engine.applications["11"]["webhook_api_version"] = "1"
        assert said(await carriers(found, [OURS]), "'Webhook API version' is API v1").verdict == "wrong"


@pytest.mark.parametrize(("connection", "wrong"), [("11", False), ("22", True), ("99", True)])
async def test_the_application_that_places_calls_is_one(connection: str, wrong: bool) -> None:
    async with telnyx(connection=connection) as (found, _):
        findings = [each for each in await carriers(found) if each.what == "TELNYX_CONNECTION_ID"]
        assert bool(findings) == wrong


async def test_a_wrong_key_of_telnyx() -> None:
    async with telnyx() as (found, _):
        other = {"TELNYX_API_KEY": "KEYwrong", "TELNYX_PUBLIC_KEY": found.telnyx_public_key}
        (finding,) = await carriers(settings(**other, TELNYX_API_URL=found.telnyx_api_url))
        assert (finding.verdict, "TELNYX_API_KEY" in finding.fix) == ("wrong", True)


# --- Plivo ------------------------------------------------------------------------------------------------------------

AUTH_ID = "MA" + "X" * 18


@asynccontextmanager
async def plivo(given: str = "planted-token") -> AsyncIterator[tuple[Settings, Calls]]:
    calls = Calls(AUTH_ID, "planted-token")
    calls.add_application("2048", answer_url=OLD)
    calls.add_number(OURS.lstrip("+"), "2048")
    calls.add_number(OTHER.lstrip("+"))
    async with serve_plivo(calls) as server:
        yield settings(PLIVO_AUTH_ID=AUTH_ID, PLIVO_AUTH_TOKEN=given, PLIVO_API_URL=server.url), calls


async def test_a_plivo_application_is_set_when_its_number_is_named() -> None:
    async with plivo() as (found, calls):
        assert said(await carriers(found), "none of 2 leads here").verdict == "warning"
        assert said(await carriers(found, [OURS]), f"'Primary answer URL' is {OLD}").verdict == "wrong"
        findings = await carriers(found, [OURS], fix=True)
        assert not [each for each in findings if each.verdict == "wrong"]
        application = calls.applications["2048"]
        assert application["answer_url"] == application["fallback_answer_url"] == f"{ORIGIN}/plivo/voice"
        assert application["hangup_url"] == f"{ORIGIN}/plivo/status"
        findings = await carriers(found)
        assert said(findings, "1 of 2 lead here: +15").verdict == "ok"


async def test_what_is_wrong_with_a_plivo_number_is_said() -> None:
    async with plivo() as (found, calls):
        assert said(await carriers(found, [OTHER]), "assigned to no XML application").verdict == "wrong"
        calls.numbers[OTHER.lstrip("+")]["voice_enabled"] = False
        assert said(await carriers(found, [OTHER]), "can not take voice calls").verdict == "wrong"
        calls.applications["2048"] |= {"enabled": False, "answer_method": "GET"}
        findings = await carriers(found, [OURS])
        assert said(findings, "is not enabled").verdict == "wrong"
        assert said(findings, "method' is GET").verdict == "warning"


async def test_wrong_credentials_of_plivo() -> None:
    async with plivo("planted-wrong") as (found, _):
        (finding,) = await carriers(found)
        assert (finding.verdict, "PLIVO_AUTH_ID" in finding.fix) == ("wrong", True)


# --- accounts with one number ---------------------------------------------------------------------------------------


@asynccontextmanager
async def everywhere(origin: str = ORIGIN) -> AsyncIterator[tuple[Settings, CarrierRest]]:
    """All three accounts, as the simulator has them: each with one number that leads elsewhere."""
    async with CarrierRest(Accounts(), CallPlan("", "", "")) as rest:
        variables = dict(pair.split("=", 1) for pair in rest.variables.split())
        yield settings(**(variables | {"PUBLIC_URL": origin})), rest


async def test_the_only_number_of_an_account_need_not_be_named() -> None:
    async with everywhere() as (found, rest):
        before = await carriers(found)
        for what in ("'A call comes in' is", "'Send a webhook to the URL' is", "'Primary answer URL' is"):
            assert said(before, what).verdict == "wrong"
        await carriers(found, fix=True)
        assert {each.verdict for each in await carriers(found)} == {"ok"}
        (number,) = rest.twilio.account.numbers.values()
        (telnyx_application,) = rest.telnyx.engine.applications.values()
        (plivo_application,) = rest.plivo.calls.applications.values()
        assert number["voice_url"] == f"{ORIGIN}/twilio/voice"
        assert telnyx_application["webhook_event_url"] == f"{ORIGIN}/telnyx/events"
        assert plivo_application["answer_url"] == f"{ORIGIN}/plivo/voice"


async def test_no_number_is_led_to_where_no_carrier_can_go(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "http://localhost:8000"
    monkeypatch.setattr(check_carriers, "is_local", lambda url: url == here)
    async with everywhere(here) as (found, rest):
        assert said(await carriers(found, fix=True), "nothing is set").verdict == "wrong"
        (number,) = rest.twilio.account.numbers.values()
        assert number["voice_url"] == ELSEWHERE
