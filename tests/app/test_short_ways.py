"""What passes without the call being asked, and when it is asked for its slow clocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from playbook import FRAME, START, plan

from tandem.call import Call
from tandem.call_types import (
    CallCommand,
    Depart,
    EndReason,
    HangUp,
    Hear,
    Keys,
    MachineFound,
    Returned,
    SocketBlocked,
    Tell,
    Tick,
    Transfer,
)
from tandem.caller_audio import IDLE_SECONDS, CallerAudio
from tandem.carriers.events import Dtmf, Mark, MarkPlayed, Media, Play, Stopped
from tandem.ledger import Ledger
from tandem.short_ways import LOOK_SECONDS, ShortWays
from tandem_codecs.format import MULAW_8K
from tandem_providers.errors import ConnectionFailedError
from tandem_providers.events import (
    AudioChunk,
    HangupRequested,
    Interrupted,
    ProviderLost,
    SessionReady,
    Transcript,
    TurnEnded,
    TurnStarted,
    Usage,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.provider import Capabilities


def flowing(now: float) -> ShortWays:
    ways = ShortWays()
    ways.hearing = CallerAudio(MULAW_8K, now)
    ways.hearing.accept(Media(FRAME, 1, 0), now)
    ways.look_at = now + LOOK_SECONDS
    return ways


def test_a_call_in_which_all_is_well_rests_for_a_while() -> None:
    ways = flowing(10.0)
    assert ways.rests(10.1) == pytest.approx(IDLE_SECONDS - 0.1)
    assert not ways.rests(10.0 + LOOK_SECONDS)


def test_it_is_asked_at_once_when_the_callers_audio_stops_or_comes_out_of_order() -> None:
    ways = flowing(10.0)
    assert not ways.rests(10.0 + IDLE_SECONDS / 2 + 0.01), "long before silence has to be put in"
    ways = flowing(10.0)
    assert ways.hearing is not None
    ways.hearing.accept(Media(FRAME, 3, 40), 10.02)
    assert not ways.rests(10.03)


def test_nothing_rests_or_passes_once_they_are_closed() -> None:
    ways = flowing(10.0)
    ways.ledger = Ledger(MULAW_8K, 1000.0)
    ways.close()
    assert not ways.rests(10.0)
    assert [ways.hearing, ways.ledger] == [None] * 2


# --- the same call, asked and not asked ------------------------------------------------------------------------------

CAN = Capabilities((MULAW_8K,), (MULAW_8K,), text_in=True)
READY = SessionReady("p", MULAW_8K, MULAW_8K)


class Leg:
    """A call as the bridge drives it: by its short ways, or (`asks`) by asking it each time."""

    def __init__(self, *, asks: bool, **changes: Any) -> None:
        self.asks = asks
        self.call = Call(plan(**changes), 0.0)
        self.passed = 0
        """Pieces of either side of which the call did not hear."""

    def tell(self, event: Any, now: float) -> list[CallCommand]:
        ways = self.call.ways
        if (
            not self.asks
            and isinstance(event, AudioChunk)
            and ways.ledger is not None
            and not event.is_final
            and event.audio
        ):
            if ways.ledger.passes(len(event.audio), event.item_id, now):
                self.passed += 1
                return [Play(event.audio)]
        elif not self.asks and isinstance(event, Media) and ways.hearing is not None:
            self.passed += 1
            audio = ways.hearing.accept(event, now)
            return [Hear(audio)] if audio else []
        return self.call.handle(event, now)

    def facts(self, now: float) -> tuple[Any, ...]:
        call, ledger = self.call, self.call.ledger
        played = (ledger.sent_bytes, ledger.held_ms, ledger.played(now), ledger.speaking(now), ledger.counters)
        return call.state, call.end_reason, played, ledger.heard(now), call.stats


class EitherWay(RuleBasedStateMachine):
    """Whatever happens, a call whose short ways are taken does what one does that is asked about every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.legs = [Leg(asks=asks, lead_ms=3000, silence_seconds=20.0, max_seconds=60.0) for asks in (False, True)]
        self.marks: list[str] = []
        self.turn = self.item = self.chunk = 0
        self.duplex = False
        self.ready()
        for event in (START, READY, TurnStarted("t0")):
            self.tell(event)

    def ready(self) -> None:
        can = replace(CAN, turn_model="duplex") if self.duplex else CAN
        for leg in self.legs:
            leg.call.set_voice(can)

    def tell(self, event: Any) -> None:
        answers = [leg.tell(event, self.now) for leg in self.legs]
        assert answers[0] == answers[1], event
        self.marks += [command.name for command in answers[0] if isinstance(command, Mark)]

    @invariant()
    def the_same_is_known(self) -> None:
        facts = [leg.facts(self.now) for leg in self.legs]
        assert facts[0] == facts[1]

    @rule(frames=st.integers(1, 60), marks=st.booleans(), agent=st.booleans())
    def time_passes(self, frames: int, marks: bool, agent: bool) -> None:
        for number in range(frames):
            self.now += 0.02
            self.chunk += 1
            self.tell(Media(FRAME, self.chunk, self.chunk * 20))
            if agent:
                self.tell(AudioChunk(FRAME, False, f"i{self.item}", f"t{self.turn}"))
            if marks and self.marks and number % 10 == 9:
                self.tell(MarkPlayed(self.marks.pop(0)))
            if number % 5 == 4:
                self.tell(Tick())

    @rule(seconds=st.sampled_from([0.02, 0.1, 0.5, 2.1, 6.0]))
    def quiet(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Tick())

    @rule(size=st.sampled_from([0, 1, 160, 800, 8000, 40_000]), back=st.sampled_from([0, 0, 0, 1, 2]))
    def speaks(self, size: int, back: int) -> None:
        """Of what is being said, or something late of what was said before."""
        self.tell(AudioChunk(b"\x33" * size, False, f"i{max(0, self.item - back)}", f"t{max(0, self.turn - back)}"))

    @rule(final=st.booleans(), status=st.sampled_from(["completed", "completed", "failed", "cancelled"]))
    def next_turn(self, final: bool, status: Any) -> None:
        if final:
            self.tell(AudioChunk(b"", True, f"i{self.item}", f"t{self.turn}"))
        self.tell(TurnEnded(f"t{self.turn}", status))
        self.turn += 1
        self.item += 1
        self.tell(TurnStarted(f"t{self.turn}"))

    @rule()
    def next_item(self) -> None:
        self.item += 1

    @rule(late=st.integers(0, 5))
    def media_out_of_order(self, late: int) -> None:
        self.tell(Media(FRAME, max(1, self.chunk + 2 - late), (self.chunk + 2 - late) * 20))

    @rule(
        event=st.sampled_from(
            [
                *(UserSpeechStarted(), UserSpeechStopped(), Interrupted(), Dtmf("1"), Usage("response", {})),
                *(Transcript("hi", True, True, "u"), SocketBlocked(True), SocketBlocked(False)),
                *(Tell("words", True), MachineFound(True), Depart(Keys("1"), seconds=5.0)),
                *(Depart(Transfer("+1"), "one moment", seconds=5.0), Returned(False, "no", True), START),
            ]
        )
    )
    def anything(self, event: Any) -> None:
        self.tell(event)

    @rule(duplex=st.booleans())
    def another_provider(self, duplex: bool) -> None:
        self.tell(ProviderLost("p", ConnectionFailedError("gone")))
        self.turn, self.item, self.duplex = self.turn + 10, self.item + 10, duplex
        self.ready()
        self.tell(READY)
        self.tell(TurnStarted(f"t{self.turn}"))

    @precondition(lambda self: self.legs[0].passed > 20)
    @rule(event=st.sampled_from([HangUp(EndReason.OPERATOR), HangupRequested(), Stopped()]))
    def leaves(self, event: Any) -> None:
        self.tell(event)


EitherWay.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestEitherWay = EitherWay.TestCase


def test_the_answers_delay_is_noted_though_its_first_audio_had_to_wait() -> None:
    """From the end of the caller's speech to the first audio that the carrier has room for, whichever way it takes."""
    leg = Leg(asks=False, lead_ms=1000)
    leg.call.set_voice(CAN)
    for event in (START, READY, TurnStarted("t0")):
        leg.tell(event, 0.0)
    _, mark = leg.tell(AudioChunk(FRAME * 50, True, "i0", "t0"), 0.0)  # a full second: all that the carrier may have
    assert isinstance(mark, Mark)
    leg.tell(TurnEnded("t0", "completed"), 0.0)
    leg.tell(UserSpeechStopped(), 0.1)
    leg.tell(TurnStarted("t1"), 0.15)
    assert leg.tell(AudioChunk(FRAME * 45, False, "i1", "t1"), 0.15) == [], "it waits"
    assert leg.call.stats.turn_latencies == [], "and nobody has heard of it yet"
    assert Play(FRAME * 45) in leg.tell(MarkPlayed(mark.name), 1.0)
    for number in range(1, 5):
        assert leg.tell(AudioChunk(FRAME, False, "i1", "t1"), 1.0 + number / 50) == [Play(FRAME)]
    assert leg.call.stats.turn_latencies == [pytest.approx(0.9, abs=0.021)], "with the next frame at the latest"
    assert leg.passed >= 3, "the others took the short way"
    leg.tell(UserSpeechStarted(), 3.0)
    leg.tell(UserSpeechStopped(), 3.25)
    leg.tell(TurnStarted("t2"), 3.25)
    leg.tell(AudioChunk(FRAME, False, "i2", "t2"), 3.5)
    assert leg.call.stats.turn_latencies[1:] == [0.25], "and the next answer has its own"


def test_the_agents_audio_and_the_callers_pass_without_a_word_to_the_call() -> None:
    leg = Leg(asks=False, lead_ms=3000)
    leg.call.set_voice(CAN)
    for event in (START, READY, TurnStarted("t")):
        leg.tell(event, 0.0)
    for number in range(1, 41):
        now = number / 50
        leg.tell(Media(FRAME, number, number * 20), now)
        leg.tell(AudioChunk(FRAME, False, "i", "t"), now)
    assert leg.passed == 40 + 39
    leg.tell(UserSpeechStarted(), 1.0)
    leg.passed = 0
    assert leg.tell(AudioChunk(FRAME, False, "i", "t"), 1.0) == []
    assert leg.passed == 0
    assert leg.call.ledger.counters.stale_bytes == len(FRAME)
