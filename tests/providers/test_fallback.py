"""Whom next, and when: as scripts, as rules that hold for any script, and as an outage with three hundred calls."""

from __future__ import annotations

import heapq
import random
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)
from tandem_providers.fallback import (
    AUTH_SECONDS,
    FAILURES,
    INSISTS_SECONDS,
    LEAST_SECONDS,
    QUOTA_SECONDS,
    Attempt,
    Breaker,
    Pass,
    Plan,
    combined,
)

DOWN = ConnectionFailedError("down")


def exhausted() -> RateLimitedError:
    error = RateLimitedError("no credit")
    error.exhausted = True
    return error


def admitted(breaker: Breaker, now: float) -> Pass:
    leave = breaker.admit(now)
    assert leave is not None
    return leave


def opened(now: float = 0.0, jitter: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.failed(admitted(breaker, now), DOWN, now, jitter)
    return breaker


# --- the breaker ------------------------------------------------------------------------------------------------------


def test_five_failures_in_ten_seconds_open_it() -> None:
    breaker = Breaker()
    for now in (0.0, 2.0, 4.0, 6.0):
        breaker.failed(admitted(breaker, now), DOWN, now, 0.5)
        assert breaker.state(now) == "closed"
    breaker.failed(admitted(breaker, 8.0), DOWN, 8.0, 0.5)
    assert breaker.state(8.0) == "open"
    assert breaker.admit(8.0) is None
    assert breaker.state(17.9) == "open"
    assert breaker.state(18.0) == "half-open", "jitter 0.5 lies half way between 5 and 15 s"


def test_failures_that_are_rare_or_few_among_many_leave_it_closed() -> None:
    breaker = Breaker()
    for step in range(50):
        breaker.failed(admitted(breaker, step * 3.0), DOWN, step * 3.0, 0.5)
    assert breaker.state(150.0) == "closed", "one every three seconds is four within ten"
    for step in range(100):
        now = 200 + step / 10
        if step % 3:
            breaker.succeeded(now)
        else:
            breaker.failed(admitted(breaker, now), DOWN, now, 0.5)
    assert breaker.state(210.0) == "closed", "a third of many calls"


def test_one_at_a_time_to_see_whether_it_is_back() -> None:
    breaker = opened(jitter=0.0)
    probe = admitted(breaker, 5.0)
    assert not breaker.admits(5.0)
    assert breaker.admit(6.0) is None
    breaker.failed(probe, DOWN, 7.0, 1.0)
    assert breaker.state(21.9) == "open"
    probe = admitted(breaker, 22.0)
    breaker.abandoned(probe)
    admitted(breaker, 22.0)
    breaker.succeeded(23.0)
    assert breaker.state(23.0) == "closed"
    assert breaker.admits(23.0)


@pytest.mark.parametrize(
    ("error", "seconds"), [(AuthenticationFailedError("no"), AUTH_SECONDS), (exhausted(), QUOTA_SECONDS)]
)
def test_a_bad_key_or_an_empty_account_opens_it_at_once_and_for_long(error: ProviderError, seconds: float) -> None:
    breaker = Breaker()
    breaker.failed(admitted(breaker, 0.0), error, 0.0, 0.0)
    assert breaker.state(seconds - 1) == "open"
    assert breaker.state(seconds) == "half-open"
    assert breaker.reason
    breaker = Breaker()
    breaker.failed(None, error, 0.0, 0.0)
    assert breaker.state(0.0) == "open", "also when a session that was up dies of it"


def test_what_says_nothing_about_the_provider_is_not_held_against_it() -> None:
    breaker = Breaker()
    for error in (InvalidConfigError("voice"), SessionClosedError("expired")):
        for _ in range(20):
            breaker.failed(admitted(breaker, 0.0), error, 0.0, 0.0)
    assert breaker.state(0.0) == "closed"


def test_late_news_from_before_it_opened_do_not_prolong_the_rest() -> None:
    breaker = Breaker()
    early = [admitted(breaker, 0.0) for _ in range(FAILURES + 3)]
    for leave in early[:FAILURES]:
        breaker.failed(leave, DOWN, 1.0, 0.0)
    for leave in early[FAILURES:]:
        breaker.failed(leave, DOWN, 5.0, 0.9)
    assert breaker.state(6.0) == "half-open"


def test_the_vendors_wish_is_granted_within_bounds() -> None:
    for wish, until in ((9.0, 9.0), (600.0, 15.0), (1.0, 5.0)):
        breaker = Breaker()
        for _ in range(FAILURES):
            breaker.failed(admitted(breaker, 0.0), RateLimitedError("slow down", retry_after=wish), 0.0, 0.0)
        assert breaker.state(until - 0.1) == "open"
        assert breaker.state(until) == "half-open"


def test_retries_are_paid_for_by_successes() -> None:
    breaker = Breaker()
    assert [breaker.admit_retry(0.0) is not None for _ in range(4)] == [True, True, True, False]
    for _ in range(10):
        breaker.succeeded(0.0)
    assert breaker.admit_retry(0.0) is not None
    assert breaker.admit_retry(0.0) is None
    assert opened().admit_retry(100.0) is None, "the one probe is no retry"


Step = tuple[str, float, float]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "ok", "fail", "auth", "config", "abandon"]), st.floats(0, 8), st.floats(0, 0.99)
        )
    )
)
def test_rules_that_hold_whatever_happens(steps: list[Step]) -> None:
    breaker = Breaker()
    passes: list[Pass] = []
    now = 0.0
    errors = {"fail": DOWN, "auth": AuthenticationFailedError("no"), "config": InvalidConfigError("no")}
    for kind, seconds, jitter in steps:
        now += seconds
        if kind == "admit":
            half_open = breaker.state(now) == "half-open"
            leave = breaker.admit(now)
            if leave is not None:
                passes.append(leave)
                assert not half_open or not breaker.admits(now), "one probe at a time"
        elif passes:
            leave = passes.pop(0)
            if kind == "ok":
                breaker.succeeded(now)
                assert breaker.state(now) == "closed"
            elif kind == "abandon":
                breaker.abandoned(leave)
            else:
                breaker.failed(leave, errors[kind], now, jitter)
                if kind == "auth":
                    assert breaker.state(now) == "open"
    for leave in passes:
        breaker.abandoned(leave)
    assert breaker.admits(now + AUTH_SECONDS), "never shut for good"


# --- the plan ---------------------------------------------------------------------------------------------------------


def plan_of(*breakers: Breaker, now: float = 0.0, attempt: float = 5.0, total: float = 8.0) -> Plan:
    names = [f"p{index}" for index in range(len(breakers))]
    return Plan(names, breakers, now, attempt_seconds=attempt, total_seconds=total)


def must(attempt: Attempt | None) -> Attempt:
    assert attempt is not None
    return attempt


def test_in_order_and_at_once_after_what_cannot_be_helped() -> None:
    plan = plan_of(Breaker(), Breaker(), Breaker())
    failures = [AuthenticationFailedError("key"), InvalidConfigError("model")]
    for index, failure in enumerate(failures):
        attempt = must(plan.next(0.1))
        assert (attempt.index, attempt.wait) == (index, 0.0)
        plan.failed(attempt, failure, began=0.1, now=0.1, jitter=0.5)
    attempt = must(plan.next(0.1))
    assert attempt.index == 2
    plan.succeeded(attempt, 1.0)
    assert plan.errors == failures


def test_one_retry_of_what_failed_fast_and_then_the_next() -> None:
    plan = plan_of(Breaker(), Breaker())
    plan.failed(must(plan.next(0.0)), DOWN, began=0.0, now=0.1, jitter=0.5)
    retry = must(plan.next(0.1))
    assert retry.index == 0
    assert retry.wait == pytest.approx(0.2)
    plan.failed(retry, DOWN, began=0.4, now=0.5, jitter=0.5)
    second = must(plan.next(0.5))
    assert (second.index, second.wait) == (1, 0.0)
    plan.failed(second, DOWN, began=0.5, now=0.6, jitter=0.5)
    assert plan.next(0.6) is None, "one retry for the whole call"
    assert plan.errors == [DOWN, DOWN, DOWN]


def test_no_retry_of_what_took_long() -> None:
    plan = plan_of(Breaker(), Breaker())
    plan.failed(must(plan.next(0.0)), DOWN, began=0.0, now=2.0, jitter=0.5)
    attempt = must(plan.next(2.0))
    assert (attempt.index, attempt.wait) == (1, 0.0)


def test_a_throttled_provider_is_tried_again_only_if_it_is_the_last() -> None:
    slow_down = RateLimitedError("slow down", retry_after=2.0)
    plan = plan_of(Breaker(), Breaker())
    plan.failed(must(plan.next(0.0)), slow_down, began=0.0, now=0.1, jitter=0.0)
    last = must(plan.next(0.1))
    assert last.index == 1
    plan.failed(last, slow_down, began=0.1, now=0.2, jitter=0.5)
    retry = must(plan.next(0.2))
    assert retry.index == 1
    assert retry.wait == pytest.approx(2.1)
    plan = plan_of(Breaker())
    plan.failed(must(plan.next(0.0)), RateLimitedError("slow", retry_after=60), began=0.0, now=0.1, jitter=0.0)
    assert plan.next(0.1) is None, "does not fit the budget"
    plan = plan_of(Breaker())
    plan.failed(must(plan.next(0.0)), exhausted(), began=0.0, now=0.1, jitter=0.0)
    assert plan.next(0.1) is None


def test_a_long_wish_gives_way_to_the_next_provider() -> None:
    plan = plan_of(Breaker(), Breaker())
    busy = ProviderUnavailableError("busy", retry_after=3.0)
    plan.failed(must(plan.next(0.0)), busy, began=0.0, now=0.1, jitter=0.0)
    assert must(plan.next(0.1)).index == 1


def test_the_time_of_all_attempts_is_bounded() -> None:
    plan = plan_of(Breaker(), Breaker(), Breaker())
    first = must(plan.next(0.0))
    assert first.seconds == 5.0
    plan.failed(first, DOWN, began=0.0, now=5.0, jitter=0.0)
    second = must(plan.next(5.0))
    assert second.seconds == 3.0
    plan.failed(second, DOWN, began=5.0, now=8.0, jitter=0.0)
    assert plan.next(8.0) is None
    assert [error.code for error in plan.errors] == ["", "", "no_time"]


def test_an_open_one_is_passed_over_and_that_is_said() -> None:
    plan = plan_of(opened(), Breaker())
    assert must(plan.next(0.0)).index == 1
    (skipped,) = plan.errors
    assert (skipped.provider, skipped.code) == ("p0", "circuit_open")
    plan = plan_of(opened(), opened())
    assert plan.next(0.0) is None
    assert len(plan.errors) == 2


def insisting(*breakers: Breaker) -> Plan:
    names = [f"p{index}" for index in range(len(breakers))]
    return Plan(names, breakers, 0.0, attempt_seconds=5.0, total_seconds=8.0, insists=True)


def test_one_that_insists_tries_the_first_that_may_be_back_though_all_are_open() -> None:
    refused, resting = Breaker(), opened()
    refused.failed(None, AuthenticationFailedError("key"), 0.0, 0.0)
    plan = insisting(refused, resting, opened())
    anyway = must(plan.next(0.0))
    assert (anyway.index, anyway.wait) == (1, 0.0)
    plan.failed(anyway, DOWN, began=0.0, now=0.1, jitter=0.0)
    again = must(plan.next(0.1))
    assert (again.index, again.wait) == (1, INSISTS_SECONDS[0])
    plan.failed(again, DOWN, began=1.1, now=1.2, jitter=0.0)
    assert plan.next(1.2) is None
    plan = insisting(opened())
    plan.succeeded(must(plan.next(0.0)), 0.1)
    assert insisting(refused).next(0.0) is None, "a refused key is not asked again"


def test_one_that_insists_outlasts_a_blip_of_a_second() -> None:
    breaker = Breaker()
    plan = insisting(breaker)
    plan.failed(must(plan.next(0.0)), DOWN, began=0.0, now=0.1, jitter=0.5)
    plan.failed(must(plan.next(0.1)), DOWN, began=0.4, now=0.4, jitter=0.5)
    again = must(plan.next(0.4))
    assert again.wait == pytest.approx(1.25)
    plan.failed(again, AuthenticationFailedError("key"), began=1.7, now=1.7, jitter=0.5)
    assert plan.next(1.7) is None
    plan = insisting(Breaker())
    plan.failed(must(plan.next(0.0)), DOWN, began=0.0, now=7.0, jitter=0.5)
    assert plan.next(7.0) is None, "there is no time left for it"


def test_one_error_for_all() -> None:
    denied = AuthenticationFailedError("denied", provider="a")
    error = combined([denied])
    assert type(error) is AuthenticationFailedError
    assert error.attempts == (denied,)
    assert "a: denied" in str(error)
    mixed = combined([denied, DOWN])
    assert type(mixed) is ProviderUnavailableError
    assert mixed.attempts == (denied, DOWN)
    spent = combined([exhausted(), exhausted()])
    assert isinstance(spent, RateLimitedError)
    assert spent.exhausted
    throttled = combined([exhausted(), RateLimitedError("slow")])
    assert isinstance(throttled, RateLimitedError)
    assert not throttled.exhausted


OUTCOMES = st.sampled_from(
    [
        DOWN,
        ProviderUnavailableError("busy", retry_after=0.4),
        ProviderUnavailableError("later", retry_after=4.0),
        RateLimitedError("slow", retry_after=0.2),
        AuthenticationFailedError("key"),
        InvalidConfigError("model"),
        exhausted(),
    ]
)


@given(
    providers=st.integers(1, 4),
    outcomes=st.lists(st.tuples(OUTCOMES, st.floats(0, 5), st.floats(0, 0.99)), min_size=12, max_size=12),
    attempt_seconds=st.floats(0.3, 6),
    total_seconds=st.floats(0.3, 10),
)
def test_any_run_of_failures_ends_in_time_and_explains_itself(
    providers: int, outcomes: list[tuple[ProviderError, float, float]], attempt_seconds: float, total_seconds: float
) -> None:
    plan = plan_of(*(Breaker() for _ in range(providers)), attempt=attempt_seconds, total=total_seconds)
    now = 0.0
    tried: list[int] = []
    for failure, wanted, jitter in outcomes:
        attempt = plan.next(now)
        if attempt is None:
            break
        assert attempt.seconds <= attempt_seconds
        assert attempt.seconds >= min(LEAST_SECONDS, attempt_seconds) * 0.999
        began = now + attempt.wait
        now = began + min(wanted, attempt.seconds)
        assert now <= total_seconds + 1e-6
        tried.append(attempt.index)
        plan.failed(attempt, failure, began=began, now=now, jitter=jitter)
    assert plan.next(now) is None
    assert tried == sorted(tried)
    assert len(tried) <= providers + 1
    assert set(tried) | {int(error.provider[1:]) for error in plan.errors if error.provider} >= set(
        range(providers)
    ) - set(tried)
    assert plan.error().attempts == tuple(plan.errors)


# --- an outage --------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), rate=st.sampled_from([1.0, 10.0, 100.0, 1000.0]), quick=st.booleans())
def test_three_hundred_calls_in_an_outage(seed: int, rate: float, quick: bool) -> None:
    """The first provider is down for all of them and then works: few attempts meanwhile, and soon it is used."""
    dice = random.Random(seed)
    breakers = (Breaker(), Breaker())
    takes = 0.05 if quick else 2.0
    numbers = count()
    calls = 300
    outage = calls / rate
    attempts: list[float] = []
    served: list[tuple[float, int]] = []
    events: list[tuple[float, int, str, Plan, Attempt | None, float]] = []

    def proceed(plan: Plan, now: float) -> None:
        attempt = plan.next(now)
        if attempt is not None:
            began = now + attempt.wait
            ends = began + (takes if attempt.index == 0 and began < outage else 0.05)
            heapq.heappush(events, (ends, next(numbers), "ends", plan, attempt, began))

    for call in range(calls + int(rate * 40)):
        now = call / rate
        heapq.heappush(events, (now, next(numbers), "starts", plan_of(*breakers, now=now), None, now))
        if call > calls + 2000:
            break
    while events:
        now, _, _, plan, attempt, began = heapq.heappop(events)
        if attempt is None:
            proceed(plan, now)
            continue
        if attempt.index == 0 and began < outage:
            attempts.append(began)
            plan.failed(attempt, DOWN, began=began, now=now, jitter=dice.random())
            proceed(plan, now)
        else:
            plan.succeeded(attempt, now)
            served.append((now, attempt.index))
    assert len(attempts) <= 1.1 * calls
    back = [at for at, index in served if index == 0]
    if rate < 100:  # with the others, the calls after the outage do not last long enough to tell
        assert min(back) <= outage + 20
