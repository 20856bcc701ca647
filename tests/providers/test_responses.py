"""The response arbiter: never two requests at once, nothing lost, nothing said twice, nothing stuck."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tandem_providers.commands import Purpose
from tandem_providers.responses import (
    ANSWER_WITHIN_MS,
    LONGEST_SPEECH_MS,
    REFUSED_MS,
    REPLY_DUE_MS,
    Request,
    ResponseArbiter,
)

GREETING, STILL_THERE, GOODBYE = Purpose.GREETING, Purpose.STILL_THERE, Purpose.GOODBYE


def arbiter(*, hears_turns: bool = True, provider_replies: bool = True) -> ResponseArbiter:
    return ResponseArbiter(hears_turns=hears_turns, provider_replies=provider_replies)


def taken(arbiter: ResponseArbiter, now: float = 0.0) -> Request:
    request = arbiter.take(now)
    assert request is not None
    return request


def test_where_nothing_tells_whose_a_response_is_it_is_ours_until_our_request_is_refused() -> None:
    made = ResponseArbiter(hears_turns=True, provider_replies=True, echoes=False)
    made.say(GREETING, {})
    first = taken(made)
    assert made.created("own", "")
    made.refused("", 0, response_active=True)
    made.done("own")
    again = taken(made)
    assert (again.purpose, again.tries) == (GREETING, 1)
    assert again is first
    assert made.created("ours", "")
    made.done("ours")
    assert made.take(10 * ANSWER_WITHIN_MS) is None


def test_where_nothing_tells_whose_a_response_is_a_cancelled_request_is_not_wanted() -> None:
    made = ResponseArbiter(hears_turns=True, provider_replies=True, echoes=False)
    made.say(GREETING, {})
    taken(made)
    made.cancel(0)
    assert not made.created("ours", "")


def test_an_item_that_speaks_by_itself_is_a_request_without_a_name() -> None:
    made = arbiter()
    made.say(GREETING, {}, {"type": "force_message"})
    request = taken(made)
    assert request.item == {"type": "force_message"}
    assert made.created("resp_1", "")
    assert made.take(10 * ANSWER_WITHIN_MS) is None
    made.done("resp_1")
    assert made.take(10 * ANSWER_WITHIN_MS) is None


def test_a_long_response_is_not_taken_for_none_where_nothing_was_echoed_yet() -> None:
    made = arbiter()
    made.say(GREETING, {})
    taken(made)
    made.created("somebodys", "")
    assert made.take(2 * ANSWER_WITHIN_MS) is None
    made.done("somebodys")
    assert made.take(3 * ANSWER_WITHIN_MS) is None


def test_one_at_a_time() -> None:
    made = arbiter()
    made.say(GREETING, {"instructions": "hello"})
    made.reply("item_1")
    first = taken(made)
    assert (first.purpose, first.body) == (GREETING, {"instructions": "hello"})
    assert made.take(0) is None
    assert made.created("resp_1", first.id)
    assert made.take(0) is None
    made.done("resp_1")
    second = taken(made)
    assert second.purpose is None
    assert second.id != first.id
    assert not made.waiting


def test_replies_are_coalesced_and_go_after_what_is_to_be_said() -> None:
    made = arbiter()
    for item in ("a", "b", "c"):
        made.reply(item)
    made.say(STILL_THERE, {})
    assert taken(made).purpose is STILL_THERE
    made.created("resp_1", "tandem_say_1")
    made.done("resp_1")
    assert set(taken(made).replies_to) == {"a", "b", "c"}
    made.created("resp_2", "tandem_reply_2")
    made.done("resp_2")
    assert made.take(0) is None


def test_a_later_wish_of_the_same_purpose_replaces_the_earlier() -> None:
    made = arbiter()
    made.created("resp_1", "")
    made.say(STILL_THERE, {"instructions": "1"})
    made.say(STILL_THERE, {"instructions": "2"})
    made.done("resp_1")
    assert taken(made).body == {"instructions": "2"}
    made.created("resp_2", "tandem_say_1")
    made.done("resp_2")
    assert made.take(0) is None


def test_the_farewell_is_the_last_word() -> None:
    made = arbiter()
    made.created("resp_1", "")
    made.say(STILL_THERE, {})
    made.reply("item_1")
    made.say(GOODBYE, {})
    made.cancel(0)
    made.done("resp_1")
    assert taken(made).purpose is GOODBYE
    assert not made.waiting


def test_refused_because_a_response_is_active() -> None:
    made = arbiter()
    made.say(GREETING, {})
    request = taken(made)
    made.refused(request.id, 0, response_active=True)
    assert made.take(0) is None  # some response is active, though we have not heard of it
    made.created("resp_1", "")
    assert made.take(0) is None
    made.done("resp_1")
    assert taken(made).purpose is GREETING


def test_being_refused_for_an_active_response_is_no_failure_of_the_request() -> None:
    made = arbiter()
    made.say(GREETING, {})
    for number in range(5):
        made.refused(taken(made).id, 0, response_active=True)
        made.created(f"resp_{number}", "")
        made.done(f"resp_{number}")
    assert taken(made).purpose is GREETING


def test_a_cancelled_request_that_is_refused_is_not_repeated() -> None:
    made = arbiter()
    made.say(GREETING, {})
    request = taken(made)
    made.cancel(0)
    made.refused(request.id, 0, response_active=True)
    made.created("resp_1", "")
    made.done("resp_1")
    assert made.take(0) is None


def test_a_refused_reply_joins_the_one_that_has_come_to_wait_since() -> None:
    made = arbiter()
    made.reply("a")
    request = taken(made)
    made.reply("b")
    made.refused(request.id, 0, response_active=True)
    made.created("resp_1", "")
    made.done("resp_1")
    assert set(taken(made).replies_to) == {"a", "b"}


def test_refused_for_another_reason_is_tried_once_more_after_a_moment() -> None:
    made = arbiter()
    made.say(GREETING, {})
    made.refused(taken(made).id, 100, response_active=False)
    assert made.take(100) is None
    assert made.deadline == 100 + REFUSED_MS
    again = taken(made, 100 + REFUSED_MS)
    assert again.purpose is GREETING
    made.refused(again.id, 1000, response_active=False)
    assert made.take(10_000) is None
    made.reply("item_1")
    assert made.take(10_000) is not None


def test_an_error_that_names_nothing_lets_go_of_the_request_but_asks_for_nothing_twice() -> None:
    made = arbiter()
    made.say(GREETING, {})
    taken(made)
    made.refused("", 0, response_active=False)
    assert made.take(10_000) is None
    made.reply("item_1")
    assert made.take(10_000) is not None


def test_what_is_being_said_anyway_is_not_taken_up_again() -> None:
    """A reply that failed is asked for again here, and the application asks for it, too: one answer will do."""
    made = arbiter()
    made.created("resp_1", "")
    made.done("resp_1", retry_at=0)
    reply = taken(made)
    made.say(Purpose.RESUME, {})
    made.created("resp_2", reply.id)
    made.say(Purpose.RESUME, {})
    made.done("resp_2")
    assert made.take(10_000) is None
    made.say(Purpose.RESUME, {})
    assert taken(made, 10_000).purpose is Purpose.RESUME


def test_a_caller_who_speaks_up_is_not_asked_whether_anybody_is_there() -> None:
    for purpose in (STILL_THERE, Purpose.RESUME):
        made = arbiter()
        made.say(purpose, {})
        request = taken(made)
        made.speech_started(0)
        assert not made.created("resp_1", request.id), "it is on its way, and is stopped"
        made.done("resp_1")
        made.say(STILL_THERE, {})
        made.speech_started(0)
        assert not made.waiting
    made.say(GREETING, {})
    made.speech_started(0)
    assert made.waiting, "words that have to be said are not lost"


def test_a_request_that_nobody_wants_any_more_is_no_answer() -> None:
    made = arbiter()
    made.reply("item_1")
    taken(made)
    made.cancel(0)
    made.say(Purpose.RESUME, {})
    assert made.waiting


def test_errors_about_other_things_release_nothing() -> None:
    made = arbiter()
    made.say(GREETING, {})
    taken(made)
    made.refused("tandem_99", 0, response_active=False)
    made.reply("item_1")
    assert made.take(0) is None


def test_an_active_response_that_never_shows_does_not_block_for_ever() -> None:
    made = arbiter()
    made.say(GREETING, {})
    made.refused(taken(made).id, 0, response_active=True)
    assert made.deadline == ANSWER_WITHIN_MS
    assert made.take(ANSWER_WITHIN_MS - 1) is None
    assert taken(made, ANSWER_WITHIN_MS).purpose is GREETING


def test_a_request_without_an_answer_is_made_once_more_then_forgotten() -> None:
    made = arbiter()
    made.say(GREETING, {})
    first = taken(made, 100)
    assert made.deadline == 100 + ANSWER_WITHIN_MS
    second = taken(made, 100 + ANSWER_WITHIN_MS)
    assert second.id != first.id or second is first
    assert made.take(100 + 2 * ANSWER_WITHIN_MS) is None
    made.reply("item_1")
    assert taken(made, 100 + 2 * ANSWER_WITHIN_MS).purpose is None


def test_the_late_answer_to_a_forgotten_request_is_unwanted() -> None:
    made = arbiter()
    made.say(GREETING, {})
    first = taken(made).id
    second = taken(made, ANSWER_WITHIN_MS).id
    assert first != second
    assert not made.created("resp_1", first)
    made.done("resp_1")
    assert made.created("resp_2", second)


def test_the_providers_own_reply_covers_what_it_knew_of() -> None:
    made = arbiter()
    made.speech_started(0)
    made.reply("known")
    made.reply("new")
    made.placed("known")
    assert made.take(500) is None
    made.speech_stopped(1000)
    made.created("resp_1", "")
    made.placed("new")
    made.done("resp_1")
    assert set(taken(made, 2000).replies_to) == {"new"}


def test_a_request_that_the_providers_own_reply_made_needless_is_not_repeated() -> None:
    made = arbiter()
    made.reply("item_1")
    request = taken(made)
    made.placed("item_1")
    made.created("resp_1", "")
    made.refused(request.id, 0, response_active=True)
    made.done("resp_1")
    assert made.take(0) is None


def test_replies_wait_for_the_caller_but_not_for_ever() -> None:
    made = arbiter()
    made.speech_started(0)
    made.reply("item_1")
    assert made.take(LONGEST_SPEECH_MS - 1) is None
    assert made.deadline == LONGEST_SPEECH_MS
    assert made.take(LONGEST_SPEECH_MS) is not None


def test_a_reply_of_ours_steps_in_when_the_providers_does_not_come() -> None:
    made = arbiter()
    made.speech_started(0)
    made.reply("item_1")
    made.speech_stopped(2000)
    assert made.take(2000) is None
    assert made.take(2000 + REPLY_DUE_MS) is not None


def test_what_is_to_be_said_does_not_wait_for_the_caller() -> None:
    made = arbiter()
    made.speech_started(0)
    made.say(GREETING, {})
    assert made.deadline == 0
    assert made.take(0) is not None


def test_a_reply_on_its_way_when_the_caller_begins_to_speak_is_unwanted() -> None:
    made = arbiter()
    made.reply("item_1")
    request = taken(made)
    made.speech_started(0)
    assert not made.created("resp_1", request.id)


def test_after_a_cancel_without_the_providers_ears_replies_wait_for_the_application() -> None:
    made = arbiter(hears_turns=False, provider_replies=False)
    made.created("resp_1", "")
    assert made.cancel(0) == "resp_1"
    made.reply("late result")
    made.done("resp_1")
    assert made.take(1000) is None
    made.release()
    assert made.take(1000) is not None


def test_a_silent_failure_is_repaired_once() -> None:
    made = arbiter()
    made.say(GREETING, {"instructions": "hi"})
    made.created("resp_1", taken(made).id)
    made.done("resp_1", retry_at=500)
    assert made.deadline == 500
    assert made.take(499) is None
    again = taken(made, 500)
    assert again.body == {"instructions": "hi"}
    made.created("resp_2", again.id)
    made.done("resp_2", retry_at=500)
    assert made.take(1000) is None


def test_the_providers_own_failed_reply_is_repaired_by_one_of_ours() -> None:
    made = arbiter()
    made.created("resp_1", "")
    made.done("resp_1", retry_at=0)
    assert taken(made).purpose is None
    made.created("resp_2", "tandem_reply_1")
    made.done("resp_2", retry_at=0)
    assert made.take(0) is None


def test_servers_that_do_not_return_the_metadata() -> None:
    made = arbiter()
    made.say(GREETING, {})
    made.reply("item_1")
    taken(made)
    made.created("resp_1", "")
    made.done("resp_1")
    assert taken(made).purpose is None


class Server(RuleBasedStateMachine):
    """A provider that may refuse, lose, delay and start responses as it likes, and an application that wants much."""

    def __init__(self) -> None:
        super().__init__()
        self.made = arbiter()
        self.now = 0.0
        self.items = 0
        self.responses = 0
        self.asked: str | None = None
        self.asked_at = 0.0
        self.active = ""

    def advance(self) -> None:
        request = self.made.take(self.now)
        if request is None:
            return
        assert not self.active, "asked while a response was active"
        assert self.asked is None or self.now >= self.asked_at + ANSWER_WITHIN_MS, "asked twice"
        self.asked, self.asked_at = request.id, self.now

    def started(self, request_id: str) -> None:
        self.responses += 1
        self.active = f"resp_{self.responses}"
        self.made.created(self.active, request_id)
        self.advance()

    @rule(purpose=st.sampled_from(Purpose))
    def say(self, purpose: Purpose) -> None:
        self.made.say(purpose, {})
        self.advance()

    @rule(placed=st.booleans())
    def result(self, placed: bool) -> None:
        self.items += 1
        self.made.reply(f"item_{self.items}")
        if placed:
            self.made.placed(f"item_{self.items}")
        self.advance()

    @rule()
    def cancel(self) -> None:
        assert self.made.cancel(self.now) == self.active
        self.advance()

    @rule(milliseconds=st.sampled_from([20, 1000, 10_000, 30_000]))
    def time_passes(self, milliseconds: float) -> None:
        self.now += milliseconds
        self.advance()

    @rule()
    def speech(self) -> None:
        self.made.speech_started(self.now)
        self.advance()
        self.made.speech_stopped(self.now)
        self.advance()

    @precondition(lambda self: not self.active)
    @rule()
    def replies_by_itself(self) -> None:
        self.started("")

    @precondition(lambda self: self.asked is not None and not self.active)
    @rule()
    def accepts(self) -> None:
        request_id, self.asked = self.asked or "", None
        self.started(request_id)

    @precondition(lambda self: self.asked is not None)
    @rule(active=st.booleans(), named=st.booleans())
    def refuses(self, active: bool, named: bool) -> None:
        request_id, self.asked = self.asked or "", None
        self.made.refused(request_id if named else "", self.now, response_active=active)
        self.advance()

    @precondition(lambda self: self.active)
    @rule(fails=st.booleans())
    def ends(self, fails: bool) -> None:
        response_id, self.active = self.active, ""
        if not self.made._echoes:
            self.asked = None
        self.made.done(response_id, retry_at=self.now if fails else None)
        self.advance()

    @invariant()
    def active_is_known(self) -> None:
        assert self.made.active == self.active

    def teardown(self) -> None:
        """Nothing is stuck: a provider that behaves from now on gets to hear everything in finite time."""
        for _ in range(2 * self.items + 20):
            if self.active:
                self.ends(False)
            elif self.asked is not None:
                self.accepts()
            else:
                self.time_passes(LONGEST_SPEECH_MS)
        if self.active:
            self.ends(False)
        assert not self.made.waiting


Server.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestServer = Server.TestCase
