"""Who answers a call: the file, and the webhook above it, through real doors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from servers import CALLED, CALLER, Dialled, Tandem, new_sid, tandem, until

from tandem.simulators.api_server import HANG, ApiAnswer, ApiRequest, RestServer
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.twilio_twiml import Connect, Reject

ROUTES = f"""
[[routes]]
name = "desk"
called = "{CALLED}"
greeting = "Front desk."
max_call_seconds = 120

[[routes]]
name = "night"
called = "+1999*"
silence_seconds = 7
"""

Answer = ApiAnswer | str | Callable[[ApiRequest], ApiAnswer | str]


@asynccontextmanager
async def house(
    tmp_path: Path, answer: Answer | None = None, **environ: str | None
) -> AsyncIterator[tuple[Tandem, list[Any]]]:
    """A server with routes and (with an `answer`) a webhook; and what that was asked."""
    file = tmp_path / "routes.toml"
    file.write_text(ROUTES)
    asked: list[Any] = []

    def respond(request: ApiRequest) -> ApiAnswer | str:
        asked.append(json.loads(request.body))
        return answer(request) if callable(answer) else answer or ApiAnswer(204)

    async with RestServer(respond) as webhook:
        given: dict[str, str | None] = {"ROUTES_FILE": str(file), **environ}
        if answer is not None:
            given |= {
                "CALL_WEBHOOK_URL": f"{webhook.url}/calls",
                "CALL_WEBHOOK_SECRET": "planted-webhook-secret",
                "CALL_WEBHOOK_ALLOW_PRIVATE": "true",
            }
        async with tandem(given) as server:
            yield server, asked
            for bridge in [*server.board.live.values()]:
                bridge.carrier_ended()
            await server.empty()


async def agent(server: Tandem, **changes: str) -> Any:
    """Who answers such a call: its record."""
    call_sid = new_sid("CA")
    first, *_ = await server.voice(call_sid, **changes)
    assert isinstance(first, Connect), first
    return await server.record(call_sid)


async def test_the_called_number_chooses_the_agent(tmp_path: Path) -> None:
    async with house(tmp_path) as (server, _):
        assert (await agent(server))["agent"] == "desk"
        plan = next(iter(server.board.live.values())).call.plan
        assert (plan.greeting, plan.max_seconds, plan.silence_seconds) == ("Front desk.", 120, 60)
        assert (await agent(server, To="+19995550000"))["agent"] == "night"
        assert (await agent(server, To="+15559999999"))["agent"] == "default"


async def test_the_webhook_is_asked_and_its_word_is_above_the_files(tmp_path: Path) -> None:
    async with house(tmp_path, ApiAnswer(200, {"greeting": "Good evening.", "max_call_seconds": 30})) as (
        server,
        asked,
    ):
        record = await agent(server)
        assert record["agent"] == "webhook"
        plan = next(iter(server.board.live.values())).call.plan
        assert (plan.greeting, plan.max_seconds) == ("Good evening.", 30)
        assert asked == [
            {
                "event": "call.incoming",
                "call_id": record["call_id"],
                "carrier": "twilio",
                "from": CALLER,
                "to": CALLED,
                "agent": "desk",
            }
        ]
        assert await server.metric("call_webhooks_total", outcome="answered") == 1


async def test_the_webhook_may_choose_an_agent_of_the_file(tmp_path: Path) -> None:
    async with house(tmp_path, ApiAnswer(200, {"agent": "night"})) as (server, _):
        assert (await agent(server))["agent"] == "night"


async def test_the_webhook_may_refuse_a_call_which_is_then_never_taken(tmp_path: Path) -> None:
    async with house(tmp_path, ApiAnswer(200, {"refuse": True})) as (server, _):
        call_sid = new_sid("CA")
        assert isinstance((await server.voice(call_sid))[0], Reject)
        assert not server.board.live
        assert await server.metric("calls_refused_total", reason="unwanted") == 1


@pytest.mark.parametrize(
    "answer",
    [
        ApiAnswer(500, {}),
        ApiAnswer(200, [1, 2]),
        ApiAnswer(200, {"greeting": 3}),
        ApiAnswer(200, {"greting": "x"}),
        ApiAnswer(200, {"agent": "nobody"}),
        ApiAnswer(200, {"providers": ["openai"]}),
        ApiAnswer(200, {"providers": ["acme"]}),
        ApiAnswer(200, {"max_call_seconds": -1}),
        ApiAnswer(302, {}, {"Location": "/elsewhere"}),
        HANG,
    ],
    ids=str,
)
async def test_the_file_decides_when_the_webhook_is_of_no_use(tmp_path: Path, answer: ApiAnswer | str) -> None:
    async with house(tmp_path, answer) as (server, _):
        assert (await agent(server))["agent"] == "desk"
        assert await server.metric("call_webhooks_total", outcome="failed") == 1


async def test_a_private_webhook_is_not_asked_unless_allowed(tmp_path: Path) -> None:
    async with house(tmp_path, ApiAnswer(200, {"refuse": True}), CALL_WEBHOOK_ALLOW_PRIVATE=None) as (server, asked):
        server.app.state.reception._webhook._http._transport._allow_private = False
        assert (await agent(server))["agent"] == "desk"
        assert not asked


async def test_a_carrier_that_asks_again_meanwhile_gets_the_same_call(tmp_path: Path) -> None:
    async with house(tmp_path, ApiAnswer(200, {"agent": "night"})) as (server, asked):
        call_sid = new_sid("CA")
        answers = await asyncio.gather(*(server.voice(call_sid) for _ in range(4)))
        sessions = {verbs[0].parameters["session"] for verbs in answers if isinstance(verbs[0], Connect)}
        assert len(sessions) == len(asked) == len(server.board.live) == 1


async def test_calls_that_are_being_asked_about_count_as_calls(tmp_path: Path) -> None:
    async with house(tmp_path, HANG, MAX_CALLS="1") as (server, asked):
        first = asyncio.ensure_future(server.voice(new_sid("CA")))
        await until(lambda: asked)
        assert isinstance((await server.voice(new_sid("CA")))[0], Reject)
        assert isinstance((await first)[0], Connect)


async def test_agents_have_providers_of_their_own_which_are_shared_and_closed(tmp_path: Path) -> None:
    routes = '[[routes]]\nname = "model"\ncalled = "+1999*"\nproviders = ["openai", "echo"]\nvoice = "cedar"\n'
    async with OpenAISimulator() as simulator:
        file = tmp_path / "routes.toml"
        file.write_text(routes)
        given = {"OPENAI_API_KEY": "any", "OPENAI_REALTIME_URL": simulator.url, "ROUTES_FILE": str(file)}
        async with tandem(given, PROVIDERS="echo") as server:
            clients = server.app.state.reception._clients
            assert clients.of() is clients.of(("echo",))
            other = clients.of(("openai", "echo"))
            assert other.providers[1] is clients.of().providers[0]
            assert other.breakers[1] is clients.of().breakers[0], "what one learns of a provider, all know"
            async with server.stream(start=False) as usual:
                await usual.start()
                await usual.speaks()
            dialled_sid = new_sid("CA")
            await server.voice(dialled_sid, To="+19995550000")
            bridge = server.bridge(dialled_sid)
            await until(lambda: bridge.call.stats.provider == "openai")
            assert bridge.agent == "model"
            bridge.carrier_ended()
            await server.empty()
        assert all(not client._sessions for client in clients._made.values())


async def test_another_instance_that_gets_the_stream_has_the_same_agent(tmp_path: Path) -> None:
    async with house(tmp_path) as (here, _), house(tmp_path) as (there, _):
        call_sid = new_sid("CA")
        first, *_ = await here.voice(call_sid, To="+19995550000")
        assert isinstance(first, Connect)
        async with Dialled(here, call_sid, first.url).stream(door=there) as stream:
            await stream.start()
            await stream.speaks()
            assert (await there.record(call_sid))["agent"] == "night"
            assert there.bridge(call_sid).call.plan.silence_seconds == 7
