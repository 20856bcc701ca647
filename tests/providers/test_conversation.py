"""A conversation and the providers that have it one after the other: no word lost, none said twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from fakes import Events, FakeProvider, tasks, turns

from tandem_codecs.convert import Converter
from tandem_codecs.format import MULAW_8K, PCM16_16K, PCM16_24K
from tandem_providers.client import Client
from tandem_providers.commands import CancelResponse, CommitTurn, PlaybackReport, Purpose, Say, SendDtmf, SendText
from tandem_providers.config import ProcessConfig
from tandem_providers.conversation import RECOVERIES, RECOVERY_WINDOW, Conversation
from tandem_providers.errors import AuthenticationFailedError, ConnectionFailedError, InvalidConfigError
from tandem_providers.events import (
    AudioChunk,
    Event,
    GoingAway,
    ItemAdded,
    ProviderLost,
    ProviderWarning,
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


async def test_one_that_breaks_again_and_again_is_asked_last_from_then_on() -> None:
    """Each time it is ready, and dies of its first words: who could go on with the call must come to it."""
    first, second = FakeProvider("first", MULAW_8K), FakeProvider("second", MULAW_8K)
    async with talk(Client(first, second)) as (session, events):
        first.session.end(BROKEN)
        await events.until(SessionReady, 2)
        assert session.provider == "first", "a connection may break"
        first.session.end(BROKEN)
        await events.until(SessionReady, 3)
        assert session.provider == "second"
        second.session.end(BROKEN)
        await events.until(SessionReady, 4)
        assert session.provider == "second", "for this one it is the first time"
        second.session.end(BROKEN)
        await events.until(SessionReady, 5)
        assert session.provider == "first"


async def test_one_whose_answers_fail_is_followed_by_one_whose_do_not() -> None:
    """Once is tried again by whoever speaks its protocol; what fails then, too, the caller hears as silence."""
    first, second = FakeProvider("first", MULAW_8K), FakeProvider("second", MULAW_8K)
    async with talk(Client(first, second)) as (session, events):
        session.send_audio(frame(1))
        for turn, status in enumerate(("failed", "completed", "failed", "interrupted", "failed"), 1):
            first.session.tell(TurnStarted(f"t{turn}"))
            session.send_audio(frame(turn + 1))
            first.session.tell(TurnEnded(f"t{turn}", status))  # type: ignore[arg-type]  # all of them are statuses
        assert session.provider == "first"
        first.session.tell(TurnStarted("t6"))
        first.session.tell(TurnEnded("t6", "failed", "rate_limit_exceeded"))
        await events.until(SessionReady, 2)
        assert session.provider == "second"
        assert codes(second.session.heard) == [5, 6], "what was not answered is told again"
        (lost,) = events.of(ProviderLost)
        assert (lost.provider, lost.error.code) == ("first", "failing")
        assert len(events.of(TurnEnded)) == 5, "the next one is to go on with the turn"


async def test_answers_that_fail_are_borne_where_nobody_else_is() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (session, events):
        for turn in range(5):
            provider.session.tell(TurnEnded(f"t{turn}", "failed"))
        assert session.provider == "first"
        assert not events.of(ProviderLost)


async def test_one_that_broke_long_ago_may_break_again() -> None:
    first, second = FakeProvider("first", MULAW_8K), FakeProvider("second", MULAW_8K)
    async with talk(Client(first, second)) as (session, events):
        first.session.end(BROKEN)
        await events.until(SessionReady, 2)
        session._lost_by[0] -= RECOVERY_WINDOW
        first.session.end(BROKEN)
        await events.until(SessionReady, 3)
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


async def test_r06_one_that_does_not_greet_is_followed_by_one_that_does() -> None:
    """A model that hangs once its session stands says nothing of any caller, either."""
    first, second = FakeProvider("first", MULAW_8K, results=[None, BROKEN]), FakeProvider("second", MULAW_8K)
    async with talk(Client(first, second, answer_seconds=0.05)) as (session, events):
        session.send(Say(Purpose.GREETING))
        session.send_audio(frame(1))
        await events.until(SessionReady, 2)
        assert events.of(ProviderLost)[0].error.code == "silent"
        assert second.session.told == [Say(Purpose.GREETING), frame(1)]


@pytest.mark.parametrize("sign", [Transcript("hm", False, True, "u"), ItemAdded("u", None, True), TurnStarted("t")])
async def test_r06_that_it_was_heard_is_no_answer(sign: Event) -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider, answer_seconds=0.02)) as (_, events):
        provider.session.tell(UserSpeechStopped())
        provider.session.tell(sign)
        await events.until(ProviderLost)


async def test_r06_one_without_ears_of_its_own_owes_an_answer_to_a_commit_and_so_does_its_successor() -> None:
    provider = FakeProvider("first", MULAW_8K)
    provider.capabilities = replace(provider.capabilities, hears_turns=False)
    async with talk(Client(provider, answer_seconds=0.02)) as (session, events):
        session.send_audio(frame(1))
        session.send(CommitTurn())
        await events.until(ProviderLost)
        await events.until(SessionReady, 2)
        await turns(5)
        assert provider.session.told == [frame(1), CommitTurn()]
        await events.until(ProviderLost, 2)


async def test_what_was_to_be_said_and_had_not_begun_is_asked_of_the_successor() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (session, events):
        session.send(Say(Purpose.GREETING))
        provider.session.end(BROKEN)
        await events.until(SessionReady, 2)
        await turns(5)
        assert provider.session.told == [Say(Purpose.GREETING)]
        provider.session.tell(TurnStarted("t"))
        provider.session.end(BROKEN)
        await events.until(SessionReady, 3)
        await turns(5)
        assert provider.session.told == []


async def test_sessions_that_count_alike_are_told_apart() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (session, events):
        for life in (1, 2):
            provider.session.tell(AudioChunk(b"x", True, "item-1", "turn-1"))
            session.send(PlaybackReport(events.of(AudioChunk)[-1].item_id, "", 0, 1, 2))
            assert provider.session.commands == [PlaybackReport("item-1", "", 0, 1, 2)]
            provider.session.end(BROKEN)
            await events.until(SessionReady, life + 1)
            await turns(5)
        assert [(chunk.item_id, chunk.turn_id) for chunk in events.of(AudioChunk)] == [
            ("item-1", "turn-1"),
            ("2:item-1", "2:turn-1"),
        ]


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


async def test_who_goes_at_once_is_followed_at_once() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)):
        began = time.monotonic()
        provider.session.tell(GoingAway(0.0))
        async with asyncio.timeout(5):
            while len(provider.sessions) < 2:
                await turns(1)
        assert time.monotonic() - began < 2.0


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


async def rotating(session: Conversation, provider: FakeProvider) -> None:
    """The successor is open and stands by."""
    session._rotate_at = asyncio.get_running_loop().time()
    session._rotate_by = session._rotate_at + 5.0
    session._changed.set()
    have = len(provider.sessions)
    async with asyncio.timeout(5):
        while len(provider.sessions) == have:
            await turns(1)
    await turns(5)


@pytest.mark.parametrize("reads", [True, False])
async def test_what_was_settled_while_the_successor_stood_by_is_told_to_it(reads: bool) -> None:
    provider = FakeProvider("first", MULAW_8K)
    provider.capabilities = replace(provider.capabilities, text_in=reads)
    async with talk(Client(provider)) as (session, events):
        old = provider.session
        session.send_audio(frame(1))
        old.tell(TurnStarted("t1"))
        await rotating(session, provider)
        old.tell(Transcript("I am Ann", True, True, "u"))
        old.tell(Transcript("Hello Ann", True, False, "a"))
        old.tell(TurnEnded("t1", "completed"))
        await events.until(SessionReady, 2)
        await turns(5)
        if reads:
            (told,) = provider.session.commands
            assert isinstance(told, SendText)
            assert told.text.endswith("Caller: I am Ann\nYou: Hello Ann")
            assert not provider.session.heard
        else:
            assert provider.session.told == [frame(1)]


async def test_a_turn_that_outlasts_its_session_is_gone_on_with_by_the_successor() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (session, events):
        provider.session.tell(TurnStarted("t1"))
        await rotating(session, provider)
        assert not events.of(ProviderLost)
        session._rotate_by = asyncio.get_running_loop().time()
        session._changed.set()
        await events.until(SessionReady, 2)
        assert events.kinds[-2:] == ["ProviderLost", "SessionReady"]
        assert session.provider == "first"
        await turns(5)
        assert provider.open == 1


async def test_it_does_not_change_hands_between_a_question_and_its_answer() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (session, events):
        old = provider.session
        old.tell(UserSpeechStarted())
        await rotating(session, provider)
        old.tell(UserSpeechStopped())
        await turns(10)
        assert len(events.of(SessionReady)) == 1
        old.tell(TurnStarted("t"))
        old.tell(TurnEnded("t", "completed"))
        await events.until(SessionReady, 2)


async def test_a_successor_that_died_while_it_stood_by_does_not_take_over() -> None:
    provider = FakeProvider("first", MULAW_8K)
    async with talk(Client(provider)) as (session, events):
        old = provider.session
        old.tell(TurnStarted("t1"))
        await rotating(session, provider)
        provider.session.end(BROKEN)
        await turns(10)
        assert [warning.code for warning in events.of(ProviderWarning)] == ["rotation_failed"]
        assert provider.open == 1
        old.tell(TurnEnded("t1", "completed"))
        await rotating(session, provider)
        assert events.kinds == [
            "SessionReady",
            "TurnStarted",
            "ProviderWarning",
            "TurnEnded",
            "SessionReady",
        ]
        assert not events.of(ProviderLost)


async def test_a_successor_is_let_go_when_the_conversation_ends_before_it_took_over() -> None:
    provider = FakeProvider("first", MULAW_8K)
    client = Client(provider)
    async with talk(client) as (session, _):
        provider.session.tell(TurnStarted("t1"))
        await rotating(session, provider)
        assert provider.open == 2
        await client.close()
        await turns(10)
        assert provider.open == 0


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
