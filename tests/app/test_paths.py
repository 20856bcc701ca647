"""Paths as people and monitors write them, and those of carriers that have no account."""

from __future__ import annotations

from typing import Final

import pytest
from servers import Environment, Tandem, bearer, new_sid, tandem
from websockets.exceptions import InvalidStatus

from tandem.paths import OneSlash, is_hidden
from tandem.settings import load
from tandem.simulators.twilio_twiml import Connect

TWILIO: Final = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "planted-auth-token"}
PLIVO: Final = {"PLIVO_AUTH_ID": "MAXXXXXXXXXXXXXXXXXX", "PLIVO_AUTH_TOKEN": "planted-plivo-token"}
NO_TWILIO: Environment = {"TWILIO_ACCOUNT_SID": None, "TWILIO_AUTH_TOKEN": None}


async def upgrade_status(server: Tandem, path: str, *, key: str | None = None) -> int:
    try:
        async with server.upgrade(server.origin.replace("http", "ws", 1) + path, key=key):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


@pytest.mark.parametrize(
    ("given", "passed"), [("/a/b/", "/a/b"), ("/a/b", "/a/b"), ("/", "/"), ("//", "/"), ("/a//", "/a/")]
)
async def test_one_slash_at_the_end_is_no_other_path(given: str, passed: str) -> None:
    seen: list[object] = []

    async def inner(scope: object, receive: object, send: object) -> None:
        seen.append(scope)

    for kind, expected in (("http", passed), ("websocket", given)):
        scope = {"type": kind, "path": given, "raw_path": given.encode()}
        await OneSlash(inner)(scope, None, None)  # type: ignore[arg-type]  # they are only handed on
        assert seen.pop() == {"type": kind, "path": expected, "raw_path": given.encode()}
        assert scope["path"] == given


@pytest.mark.parametrize("plain", [False, True])
async def test_a_url_with_a_slash_at_its_end_is_served_and_its_signature_covers_the_slash(plain: bool) -> None:
    async with tandem(plain=plain) as server:
        form = server.form(new_sid("CA"))
        answer = await server.post("/twilio/voice/", form)
        assert (answer.status_code, answer.text.count("<Stream ")) == (200, 1)
        assert (await server.get("/twilio/voice/", form)).status_code == 200
        unsigned = await server.http.post("/twilio/voice/", data=form, headers={"Host": "evil.example"})
        assert (unsigned.status_code, unsigned.headers.get("location")) == (403, None)
        assert (await server.post("/twilio/voice/", form, key="planted-wrong")).status_code == 403
        assert await server.metric("webhooks_total", route="/twilio/voice", status="200") == 2
        for path in ("/healthz/", "/readyz/", "/metrics/"):
            assert (await server.http.get(path)).status_code == 200, path
        assert (await server.http.get("/calls/", headers=bearer())).status_code == 200
        assert (await server.http.get("/nowhere/")).status_code == 404
        first, *_ = await server.voice(form["CallSid"])
        assert isinstance(first, Connect)
        assert await upgrade_status(server, f"{first.url.removeprefix(server.origin.replace('http', 'ws', 1))}/") == 403


async def test_a_carrier_without_an_account_has_no_routes_at_all() -> None:
    async with tandem({"PROVIDERS": "openai", "OPENAI_API_KEY": "planted-key", **NO_TWILIO}) as server:
        for path in ("twilio/voice", "twilio/status", "telnyx/events", "telnyx/voice", "plivo/voice", "plivo/status"):
            for method in ("GET", "POST", "PUT", "OPTIONS", "HEAD"):
                answer = await server.http.request(method, f"/{path}")
                assert (answer.status_code, answer.headers.get("allow")) == (404, None), (method, path)
        for carrier in ("twilio", "telnyx", "plivo"):
            assert await upgrade_status(server, f"/{carrier}/media/abc") == 404
        assert (await server.http.post("/healthz")).status_code == 405
        assert await server.metric("tokens_refused_total", reason="not_configured") == 3


async def test_to_strangers_a_server_without_keys_has_no_carrier() -> None:
    async with tandem(NO_TWILIO, PROVIDERS=None) as server:
        assert (await server.http.put("/twilio/voice")).status_code == 404
        assert (await server.http.post("/twilio/voice")).status_code == 404
        assert await upgrade_status(server, "/twilio/media/abc", key="planted-wrong") == 404
        assert await upgrade_status(server, "/twilio/media/abc") == 403, "who signs knows that it is there"


async def test_a_carrier_with_an_account_says_what_it_takes() -> None:
    async with tandem(PLIVO) as server:
        for path, allowed in (("/twilio/voice", {"GET", "POST"}), ("/plivo/status", {"POST"})):
            answer = await server.http.put(path)
            assert answer.status_code == 405
            assert set(answer.headers["allow"].split(", ")) <= allowed
        assert (await server.http.put("/telnyx/events")).status_code == 404
        assert await upgrade_status(server, "/plivo/media/abc") == 403


@pytest.mark.parametrize(
    ("environ", "shown"), [({}, ""), (TWILIO, "twilio"), (PLIVO, "plivo"), ({**TWILIO, **PLIVO}, "twilio plivo")]
)
def test_what_is_hidden_follows_the_accounts(environ: dict[str, str], shown: str) -> None:
    settings = load({"PROVIDERS": "echo", **environ}, None)
    for name in ("twilio", "telnyx", "plivo"):
        assert is_hidden(settings, f"/{name}/voice") is (name not in shown.split()), name
    for path in ("/", "", "/healthz", "/twilio2/voice", "telnyx", "/calls/telnyx"):
        assert not is_hidden(settings, path), path
