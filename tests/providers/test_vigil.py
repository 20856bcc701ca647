"""What counts as an answer, and what only looks like one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes import capabilities

from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import CancelResponse, Command, CommitTurn, Purpose, Say, ToolResult
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.events import (
    AudioChunk,
    Event,
    Interrupted,
    ToolCall,
    ToolCallCancelled,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.vigil import HEEDED, Vigil

HEARS = capabilities(MULAW_8K)
DEAF = replace(HEARS, hears_turns=False)
CALL = ToolCall("c", "f", "{}")
WORDS_OF_THE_AGENT = Transcript("hello", False, False)


async def given_up(*steps: Event | Command, config: ProcessConfig | None = None) -> bool:
    """Whether the provider counts as dead a while after these."""
    reasons: list[str] = []
    vigil = Vigil(0.01, config or ProcessConfig(), reasons.append)
    vigil.begin(DEAF)
    for step in steps:
        if type(step) in HEEDED:
            vigil.heed(step)  # type: ignore[arg-type]  # its kind says it
        else:
            vigil.told(step, DEAF)  # type: ignore[arg-type]  # all others are commands
    await asyncio.sleep(0.03)
    vigil.stop()
    return bool(reasons)


@pytest.mark.parametrize(
    "answer",
    [AudioChunk(b"x"), CALL, WORDS_OF_THE_AGENT, UserSpeechStarted(), Interrupted(), TurnEnded("t", "completed")],
)
async def test_an_answer(answer: Event) -> None:
    assert not await given_up(UserSpeechStopped(), answer)


@pytest.mark.parametrize(
    "steps",
    [
        (UserSpeechStopped(),),
        (UserSpeechStopped(), Transcript("hm", True, True)),
        (CommitTurn(),),
        (CommitTurn(), CancelResponse()),
        (UserSpeechStopped(), TurnStarted("t")),
        (TurnStarted("t"),),
        (CALL, TurnEnded("t", "completed", awaiting_tools=True), ToolResult("c", "{}")),
        (CALL, ToolCallCancelled("c"), UserSpeechStopped()),
        (CALL, TurnEnded("t", "completed"), UserSpeechStopped()),
        (Say(Purpose.GREETING),),
        (Say(Purpose.STILL_THERE),),
        (Say(Purpose.RESUME),),
        (UserSpeechStopped(), Say(Purpose.RESUME), CancelResponse()),
    ],
)
async def test_no_answer(steps: tuple[Event | Command, ...]) -> None:
    assert await given_up(*steps)


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (CALL, UserSpeechStopped()),
        (CALL, TurnEnded("t", "completed", awaiting_tools=True), TurnStarted("filler")),
        (CALL, ToolCall("d", "f", "{}"), ToolResult("c", "{}")),
    ],
)
async def test_while_a_function_is_at_work_nothing_is_expected(steps: tuple[Event | Command, ...]) -> None:
    assert not await given_up(*steps)


@pytest.mark.parametrize(
    "steps",
    [
        (Say(Purpose.GREETING), TurnStarted("t"), AudioChunk(b"x")),
        (Say(Purpose.GREETING), UserSpeechStarted()),
        (Say(Purpose.STILL_THERE), CancelResponse()),
        (Say(Purpose.MESSAGE, "one moment"),),
        (Say(Purpose.GOODBYE),),
        (CALL, Say(Purpose.STILL_THERE)),
    ],
)
async def test_who_is_asked_to_speak_owes_it_while_nobody_else_does(steps: tuple[Event | Command, ...]) -> None:
    assert not await given_up(*steps)


async def test_a_function_whose_result_is_not_seen_is_at_work_for_its_time() -> None:
    for seconds, dead in ((0.000001, True), (60.0, False)):
        config = ProcessConfig(
            functions=[FunctionDeclaration("f", seconds=seconds)], on_function_call=lambda name, arguments: None
        )
        assert await given_up(CALL, UserSpeechStopped(), config=config) is dead


async def test_one_that_hears_turns_itself_owes_no_answer_to_a_commit() -> None:
    vigil = Vigil(0.01, ProcessConfig(), lambda why: None)
    seen = []
    vigil.told(CommitTurn(), HEARS)
    seen.append((vigil.waits, vigil.due))
    vigil.told(CommitTurn(), DEAF)
    seen.append((vigil.waits, vigil.due))
    for event in (TurnStarted("t"), AudioChunk(b"x")):
        vigil.heed(event)
        seen.append((vigil.waits, vigil.due))
    assert seen == [(False, False), (True, True), (True, False), (False, False)]


async def test_one_that_is_not_read_is_not_dead() -> None:
    reasons: list[str] = []
    vigil = Vigil(0.01, ProcessConfig(), reasons.append)
    vigil.paused = True
    vigil.heed(UserSpeechStopped())
    await asyncio.sleep(0.03)
    assert not reasons
    vigil.paused = False
    await asyncio.sleep(0.03)
    assert reasons == ["said nothing for 0.01 s when it was its turn"]


async def test_a_voice_without_turns_never_pauses() -> None:
    reasons: list[str] = []
    vigil = Vigil(0.01, ProcessConfig(), reasons.append)
    vigil.begin(replace(HEARS, turn_model="duplex"))
    vigil.paused = True
    await asyncio.sleep(0.03)
    assert not reasons
    vigil.paused = False
    await asyncio.sleep(0.03)
    assert reasons == ["nothing came, not even silence"]
    del reasons[:]
    vigil.begin(replace(HEARS, turn_model="duplex"))
    for _ in range(4):
        vigil.flows = True
        await asyncio.sleep(0)
    assert not reasons
    vigil.stop()
    await asyncio.sleep(0.03)
    assert not reasons
