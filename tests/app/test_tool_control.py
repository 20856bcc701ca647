"""Whole calls in which an agent hands the caller over or presses keys, with the carrier's API beside the stream; and
tools on a provider that waits for them in silence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from carrier_api import THEIRS, At, Callee, Office, office
from servers import Tandem, eventually, tandem
from sounds import speech
from streams import Stream
from tool_play import SECRET, Answer, Service, service, tool, tools_file

from tandem.simulators.gemini import GeminiSimulator
from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_connection import SimulatedSession
from tandem.simulators.openai_script import FunctionCall, Reply
from tandem.simulators.phone import Turn
from tandem.simulators.plan import CallReport

TRANSFER = FunctionCall("transfer_call", json.dumps({"destination": "sales", "message": "I am putting you through."}))


class Here:
    def __init__(self, office: Office, session: SimulatedSession, call: asyncio.Task[CallReport]) -> None:
        self.office = office
        self.session = session
        self.call = call

    def outputs(self) -> list[Any]:
        items = [sent["item"] for sent in self.session.record.messages("conversation.item.create")]
        return [json.loads(item["output"]) for item in items if item["type"] == "function_call_output"]

    async def call_id(self) -> str:
        async def live() -> str | None:
            found = [bridge.identity.call_id for bridge in self.office.server.board.live.values()]
            return found[0] if found else None

        return str(await eventually(live))


@asynccontextmanager
async def at_work(call: FunctionCall, beyond: Callee) -> AsyncIterator[Here]:
    """A caller who says something, whereupon the agent does that."""
    script = [Reply("Hello there.", seconds=0.2), Reply("", (call,))]
    async with OpenAISimulator(script=script) as simulator:
        env = {
            "PROVIDERS": "openai",
            "OPENAI_API_KEY": "planted-key",
            "OPENAI_REALTIME_URL": simulator.url,
            "BUILTIN_TOOLS": "transfer_call,send_dtmf",
            "TRANSFER_TARGETS": f"sales={THEIRS}",
        }
        async with office(env, beyond=beyond) as here, asyncio.TaskGroup() as tasks:
            plan = here.plan(audio=[Turn(speech("hello"), At(300))], seconds=30)
            calling = tasks.create_task(here.twilio.call(plan))
            yield Here(here, await simulator.session(1), calling)


async def test_a_transfer_is_announced_and_the_caller_is_somebody_elses() -> None:
    async with at_work(TRANSFER, Callee("answers", ring_seconds=0.1, talk_seconds=0.3)) as here:
        call_id = await here.call_id()
        over = await here.office.server.result(call_id, seconds=20)
        assert over["result"] == "transferred"
        assert over["transcript"][-1]["text"] == "I am putting you through."
        assert here.office.twilio.account.calls[call_id].dialled == [THEIRS]
        assert not here.outputs(), "nothing to talk on about"
        assert (await here.call).result == "completed"


async def test_a_transfer_that_nobody_takes_is_told_to_the_model() -> None:
    async with at_work(TRANSFER, Callee("busy")) as here:
        await here.session.until(lambda _: bool(here.outputs()))
        (output,) = here.outputs()
        assert output["error"] == "failed"
        call_id = await here.call_id()
        assert here.office.server.bridge(call_id).call.state.value == "talking"
        await here.office.ask("DELETE", f"/calls/{call_id}")


async def test_keys_are_pressed_and_the_model_hears_that_it_is_done() -> None:
    async with at_work(FunctionCall("send_dtmf", '{"digits": "12#"}'), Callee()) as here:
        call_id = await here.call_id()
        await here.session.until(lambda _: bool(here.outputs()))
        assert here.outputs() == [{"status": "done"}]
        assert here.office.twilio.account.calls[call_id].digits == ["12#"]
        await here.office.ask("DELETE", f"/calls/{call_id}")


# --- a provider that waits in silence ---------------------------------------------------------------------------------

WAITS = "gemini-2.5-flash-native-audio-preview-12-2025"
GOES_ON = "gemini-3.8-live"


@asynccontextmanager
async def gemini(folder: Path, model: str, **changes: Any) -> AsyncIterator[tuple[Tandem, Stream, Service]]:
    script = [Reply("Hello there.", seconds=0.2), Reply("", (FunctionCall("opening_hours", '{"day": "sunday"}'),))]
    async with (
        service() as web,
        GeminiSimulator(script=script, turn_complete="generated") as simulator,
        tandem(
            {
                "PROVIDERS": "gemini",
                "GEMINI_API_KEY": "planted-key",
                "GEMINI_MODEL": model,
                "GEMINI_LIVE_URL": simulator.url,
                "TOOLS_FILE": tools_file(folder, tool(web.url, **changes)),
                "TOOLS_SECRET": SECRET,
                "TOOLS_ALLOW_PRIVATE": "true",
            }
        ) as server,
    ):
        server.app.state.toolbox.filler_seconds = 0.1
        async with server.stream(plays=True) as stream:
            await stream.speaks(200)
            await stream.media(speech("hello"))
            yield server, stream, web


async def spoken(server: Tandem, stream: Stream) -> str:
    record = await server.record(stream.call_sid)
    return " / ".join(line["text"] for line in record["transcript"] if line["role"] == "agent")


@pytest.mark.parametrize(("model", "says_it"), [(WAITS, False), (GOES_ON, True)])
async def test_pain_10_no_dead_air_whoever_the_agent_is(tmp_path: Path, model: str, says_it: bool) -> None:
    """A model that says nothing while it waits has a recording speak for it; its words come when it may speak again."""
    let_go = asyncio.Event()
    async with gemini(tmp_path, model, filler="Let me look that up.") as (server, stream, web):
        web.answer = lambda _: Answer(b'{"open": "late"}', hangs=let_go)
        await web.times(1)
        before = len(stream.audio)
        await stream.until(lambda: len(stream.audio) > before + 4000)
        assert ("Let me look" in await spoken(server, stream)) is says_it
        let_go.set()

        async def told() -> bool:
            return "late" in await spoken(server, stream)

        await eventually(told, seconds=10)
