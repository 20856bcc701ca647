"""A conversation and the providers that have it one after the other: no word lost, none said twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes import Events, FakeProvider, tasks, turns

from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_16K, PCM16_24K
from tandem_providers.client import Client
from tandem_providers.commands import CancelResponse, SendDtmf
from tandem_providers.config import ProcessConfig
from tandem_providers.conversation import RECOVERIES, Conversation
from tandem_providers.errors import AuthenticationFailedError, ConnectionFailedError, InvalidConfigError
from tandem_providers.events import (
    AudioChunk,
    GoingAway,
    ProviderLost,
    ResumeHandle,
    SessionClosed,
    SessionReady,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.provider import HistoryTurn

CONFIG = ProcessConfig()
BROKEN = ConnectionFailedError("broken", provider="first")


@asynccontextmanager
async def talk(client: Client) -> AsyncIterator[tuple[Conversation, Events]]:
    before = tasks()
    events = Events()
    async with client.session(CONFIG, events) as session:
        await session.ready()
        yield session, events
    assert tasks() <= before, "a task was left behind"


def frame(number: int) -> bytes:
    """A code that no other frame has."""
    return number.to_bytes(4, "big") * (MULAW_8K.frame_bytes // 4)


def codes(audio: bytes) -> list[int]:
    return [int.from_bytes(audio[at : at + 4], "big") for at in range(0, len(audio), MULAW_8K.frame_bytes)]


async def test_the_next_provider_takes_over_with_what_was_said_since_the_last_finished_turn() -> None:
    first, second = FakeProvider("first", MULAW_8K), FakeProvider("second", MULAW_8K)
    async with talk(Client(first, second)) as (session, events):
        session.send_audio(frame(1))
        first.session.tell(TurnStarted("t1"))
        session.send_audio(frame(2))
        first.session.tell(TurnEnded("t1", "completed"))
        session.send_audio(frame(3))
        session.send(SendDtmf("7"))
        session.send(CancelResponse())
        first.results = [BROKEN]
        first.session.end(BROKEN)
        session.send_audio(frame(4))
        await events.until(SessionReady, 2)
        session.send_audio(frame(5))
        assert second.session.told == [frame(2) + frame(3), SendDtmf("7"), frame(4), frame(5)]
        assert events.of(ProviderLost) == [ProviderLost("first", BROKEN)]
        assert session.provider == "second"
        assert not first.open


@pytest.mark.parametrize("seed", range(20))
async def test_killed_at_any_moment_the_successor_hears_every_frame_once_and_in_order(seed: int) -> None:
    """The failover drill: speech of known frames runs while the provider dies at a moment of chance."""
    chance = random.Random(seed)
    first = FakeProvider("first", MULAW_8K, steps=chance.randrange(4))
    second = FakeProvider("second", PCM16_24K if seed % 2 else MULAW_8K, steps=chance.randrange(6))
    dies, finished = chance.randrange(5, 90), 0
    async with talk(Client(first, second)) as (session, events):
        first.results = [BROKEN]
        for number in range(1, 101):
            session.send_audio(frame(number))
            if number < dies and chance.random() < 0.1:
                first.session.tell(TurnStarted(f"t{number}"))
                first.session.tell(TurnEnded(f"t{number}", "completed"))
                finished = number
            if number == dies:
                first.session.end(BROKEN)
            if chance.random() < 0.5:
                await turns(1)
        await events.until(SessionReady, 2)
        expected = b"".join(frame(number) for number in range(finished + 1, 101))
        if second.capabilities.input_formats[0] == MULAW_8K:
            assert codes(second.session.heard) == list(range(finished + 1, 101))
        else:
            assert second.session.heard == Converter(MULAW_8K, PCM16_24K).feed(expected)
        assert codes(first.sessions[0].heard) == list(range(1, dies + 1))


async def test_the_successor_remembers_what_it_is_told_to_and_resumes_where_it_can() -> None:
    first, second = FakeProvider("first", MULAW_8K), FakeProvider("second", PCM16_16K)
    memory = (HistoryTurn("user", "I am Ann."), HistoryTurn("assistant", "Hello"))
    events = Events()
    async with Client(first, second).session(CONFIG, events, history=lambda: memory) as session:
        await session.ready()
        first.session.tell(ResumeHandle("handle-1"))
        first.session.end(BROKEN)
        await events.until(SessionReady, 2)
        assert first.openings[1].resume == "handle-1"
        assert first.openings[1].history == memory
        assert first.openings[0].history == ()
        first.results = [BROKEN]
        first.session.end(BROKEN)
        await events.until(SessionReady, 3)
        assert second.openings[0].resume == ""
        assert second.openings[0].history == memory


async def test_without_a_record_of_its_user_what_was_transcribed_is_remembered() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (_, events):
        provider.session.tell(Transcript("Hello", True, False, "a"))
        provider.session.tell(Transcript("Hi, I am", False, True, "b"))
        provider.session.tell(Transcript("Hi, I am Ann", True, True, "b"))
        provider.session.end(BROKEN)
        await events.until(SessionReady, 2)
        assert provider.openings[1].history == (HistoryTurn("assistant", "Hello"), HistoryTurn("user", "Hi, I am Ann"))


async def test_one_that_refuses_to_go_on_is_asked_last_from_then_on() -> None:
    first, second = FakeProvider("first", MULAW_8K), FakeProvider("second", MULAW_8K)
    async with talk(Client(first, second)) as (session, events):
        first.session.end(InvalidConfigError("no", provider="first"))
        await events.until(SessionReady, 2)
        assert session.provider == "second"
        second.session.end(BROKEN)
        await events.until(SessionReady, 3)
        assert session.provider == "second"
    async with talk(Client(first, second)) as (session, _):
        assert session.provider == "first"


async def test_a_handle_is_tried_once() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (_, events):
        provider.session.tell(ResumeHandle("h"))
        for life in (2, 3):
            provider.session.end(BROKEN)
            await events.until(SessionReady, life)
        assert [opening.resume for opening in provider.openings] == ["", "h", ""]


async def test_nobody_takes_over() -> None:
    provider = FakeProvider("first", MULAW_8K, results=[None, AuthenticationFailedError("denied", provider="first")])
    async with talk(Client(provider)) as (session, events):
        provider.session.end(BROKEN)
        await events.until(SessionClosed)
        assert isinstance(events.of(SessionClosed)[0].error, AuthenticationFailedError)
        session.send_audio(frame(1))


async def test_a_conversation_that_keeps_losing_its_providers_is_given_up() -> None:
    provider = FakeProvider("first", MULAW_8K)
    client = Client(provider)
    async with talk(client) as (_, events):
        for life in range(RECOVERIES + 1):
            await events.until(SessionReady, life + 1)
            client.breakers[0].succeeded(0.0)
            provider.session.end(BROKEN)
        await events.until(SessionClosed)
        assert len(events.of(ProviderLost)) <= RECOVERIES


async def test_a_session_that_ends_by_agreement_is_not_followed() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (_, events):
        provider.session.end()
        await events.until(SessionClosed)
        assert events.of(SessionClosed) == [SessionClosed()]
    assert len(provider.sessions) == 1


# --- silence ----------------------------------------------------------------------------------------------------------


async def test_r06_a_provider_that_does_not_answer_is_taken_for_dead() -> None:
    first, second = FakeProvider("first", MULAW_8K, results=[None, BROKEN]), FakeProvider("second", MULAW_8K)
    async with talk(Client(first, second, answer_seconds=0.05)) as (session, events):
        first.session.tell(UserSpeechStarted())
        session.send_audio(frame(1))
        first.session.tell(UserSpeechStopped())
        await events.until(SessionReady, 2)
        assert events.of(ProviderLost)[0].error.code == "silent"
        assert codes(second.session.heard) == [1]


async def test_any_sign_of_life_is_an_answer() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider, answer_seconds=0.05)) as (session, events):
        provider.session.tell(UserSpeechStopped())
        provider.session.tell(Transcript("hm", False, True, "u"))
        await asyncio.sleep(0.12)
        assert not events.of(ProviderLost)
        assert session.provider == "first"


# --- rotation ---------------------------------------------------------------------------------------------------------


async def test_r07_the_next_session_is_opened_early_and_takes_over_between_turns() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (session, events):
        old = provider.session
        old.tell(TurnStarted("t1"))
        session.send_audio(frame(1))
        old.tell(GoingAway(20.0))
        await turns(20)
        session._rotate_at = asyncio.get_running_loop().time()
        session._changed.set()
        async with asyncio.timeout(5):
            while len(provider.sessions) < 2:
                await turns(1)
        new = provider.session
        session.send_audio(frame(2))
        assert codes(old.heard) == [1, 2]
        assert not new.heard
        old.tell(TurnEnded("t1", "completed"))
        await turns(5)
        session.send_audio(frame(3))
        assert codes(old.heard) == [1, 2]
        assert codes(new.heard)[-1] == 3
        old.tell(AudioChunk(b"late"))
        new.tell(AudioChunk(b"new", item_id="n"))
        assert [chunk.audio for chunk in events.of(AudioChunk)] == [b"new"]
        assert not events.of(ProviderLost)


async def test_r07_a_known_end_of_the_session_is_the_time_for_it() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (session, _):
        began = time.monotonic()
        provider.session.tell(SessionReady("first", MULAW_8K, MULAW_8K, expires_at=time.time() + 1.0))
        async with asyncio.timeout(5):
            while len(provider.sessions) < 2 or session._holding.session is not provider.session:  # type: ignore[union-attr]  # held throughout
                await turns(1)
        assert 0.4 <= time.monotonic() - began < 1.0


async def test_a_session_that_dies_while_its_successor_is_coming_is_followed_at_once() -> None:
    provider = FakeProvider("first", MULAW_8K, steps=5)
    async with talk(Client(provider)) as (session, events):
        session.send_audio(frame(1))
        provider.session.tell(TurnStarted("t"))
        session._rotate_at = asyncio.get_running_loop().time()
        session._changed.set()
        await turns(4)
        provider.sessions[0].end(BROKEN)
        await events.until(SessionReady, 2)
        await turns(10)
        assert codes(provider.session.heard) == [1]
        session.send_audio(frame(2))
        assert codes(provider.session.heard) == [1, 2]


# --- a hedged start ---------------------------------------------------------------------------------------------------


async def test_a_slow_provider_gets_company_and_the_first_that_is_ready_wins() -> None:
    first, second = FakeProvider("first", MULAW_8K, hangs=True), FakeProvider("second", MULAW_8K)
    async with talk(Client(first, second, hedge_seconds=0.02)) as (session, events):
        assert session.provider == "second"
        session.send_audio(frame(1))
        assert codes(second.session.heard) == [1]
        await turns(10)
        assert not first.open, "the loser is closed before it costs anything"
        assert len(events.of(SessionReady)) == 1


async def test_without_a_hedge_the_slow_one_has_its_time() -> None:
    first, second = FakeProvider("first", MULAW_8K, steps=50), FakeProvider("second", MULAW_8K)
    async with talk(Client(first, second)) as (session, _):
        assert session.provider == "first"
        assert not second.attempts


async def test_a_quick_primary_is_not_hedged() -> None:
    first, second = FakeProvider("first", MULAW_8K), FakeProvider("second", MULAW_8K)
    async with talk(Client(first, second, hedge_seconds=5)):
        assert not second.attempts
