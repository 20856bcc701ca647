"""The record of a conversation: order by place, and of the agent only what was heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.transcript import ConversationRecord, Heard, Line, heard_text
from tandem_providers.events import ItemAdded, Transcript

WHOLE = Heard(2000, 2000, complete=True, cut=False)


def caller(text: str, item: str = "c", *, final: bool = True) -> Transcript:
    return Transcript(text, final, True, item)


def agent(text: str, item: str = "a", *, final: bool = False, replaces: bool = False) -> Transcript:
    return Transcript(text, final, False, item, "turn", replaces)


def texts(record: ConversationRecord, **heard: Heard) -> list[tuple[str, str]]:
    return [(line.role, line.text) for line in record.lines(heard)]


# --- order ------------------------------------------------------------------------------------------------------------


def test_words_stand_where_their_item_was_placed_however_late_they_come() -> None:
    record = ConversationRecord()
    record.place(ItemAdded("c1", None, True), 1.0)
    record.place(ItemAdded("a1", "c1", False), 1.5)
    record.hear(agent("It is noon.", "a1", final=True), 1.6)
    record.place(ItemAdded("c2", "a1", True), 4.0)
    record.hear(caller("Thanks.", "c2"), 4.5)
    record.hear(caller("What time is it?", "c1"), 5.0)
    assert texts(record, a1=WHOLE) == [
        ("caller", "What time is it?"),
        ("agent", "It is noon."),
        ("caller", "Thanks."),
    ]
    assert [line.at for line in record.lines({"a1": WHOLE})] == [1.0, 1.5, 4.0]


def test_an_item_goes_behind_the_one_it_names_even_when_others_came_since() -> None:
    record = ConversationRecord()
    for item in ("c1", "a1"):
        record.place(ItemAdded(item, None, item[0] == "c"), 0)
    record.place(ItemAdded("c2", "c1", True), 0)
    for item in ("c1", "c2"):
        record.hear(caller(item, item), 0)
    record.hear(agent("a1", "a1", final=True), 0)
    assert [text for _, text in texts(record, a1=WHOLE)] == ["c1", "c2", "a1"]


def test_a_second_word_about_an_items_place_moves_it_and_one_without_place_does_not() -> None:
    record = ConversationRecord()
    for item in ("c1", "c2", "c3"):
        record.hear(caller(item, item), 0)
    record.place(ItemAdded("c1", "c2", True), 0)
    assert [text for _, text in texts(record)] == ["c2", "c1", "c3"]
    record.place(ItemAdded("c2", None, True), 0)
    assert [text for _, text in texts(record)] == ["c2", "c1", "c3"]


def test_a_place_behind_an_unknown_item_or_behind_itself_is_the_end() -> None:
    record = ConversationRecord()
    record.hear(caller("c1", "c1"), 0)
    record.hear(caller("c2", "c2"), 0)
    record.place(ItemAdded("c3", "never-seen", True), 0)
    record.hear(caller("c3", "c3"), 0)
    record.place(ItemAdded("c1", "c1", True), 0)
    assert sorted(text for _, text in texts(record)) == ["c1", "c2", "c3"]
    assert texts(record)[-1] == ("caller", "c1")


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["a", "b", "c", "d", "x", None])), max_size=30))
def test_any_order_of_places_keeps_each_item_once(places: list[tuple[str, str | None]]) -> None:
    record = ConversationRecord()
    for item, after in places:
        record.place(ItemAdded(item, after, True), 0)
        record.hear(caller(item, item), 0)
    assert sorted(text for _, text in texts(record)) == sorted({item for item, _ in places})


# --- words ------------------------------------------------------------------------------------------------------------


def test_partial_words_add_up_and_final_ones_stand() -> None:
    record = ConversationRecord()
    record.hear(caller("Hel", final=False), 0)
    record.hear(caller("lo", final=False), 0)
    assert texts(record) == [("caller", "Hello")]
    record.hear(caller("Hello there."), 0)
    record.hear(caller("late piece", final=False), 0)
    assert texts(record) == [("caller", "Hello there.")]
    record.hear(caller("Hello, there!"), 0)
    assert texts(record) == [("caller", "Hello, there!")]


def test_partials_that_carry_the_whole_text_replace() -> None:
    record = ConversationRecord()
    record.hear(agent("It", replaces=True), 0)
    record.hear(agent("It is noon", replaces=True), 0)
    assert texts(record, a=WHOLE) == [("agent", "It is noon")]


def test_words_without_an_item_belong_to_their_turn() -> None:
    record = ConversationRecord()
    record.hear(Transcript("One ", False, False, "", "t1"), 0)
    record.hear(Transcript("two", False, False, "", "t1"), 0)
    assert texts(record, t1=WHOLE) == [("agent", "One two")]


def test_an_agents_item_of_which_nothing_was_heard_is_not_in_the_record() -> None:
    record = ConversationRecord()
    record.hear(agent("Never played.", final=True), 0)
    assert texts(record) == []
    assert texts(record, a=Heard(0, 900, complete=True, cut=True)) == []


def test_a_caller_of_whom_nothing_was_understood_leaves_no_empty_line() -> None:
    record = ConversationRecord()
    record.place(ItemAdded("c", None, True), 0)
    assert texts(record) == []
    record.hear(caller("   "), 0)
    assert texts(record) == []


def test_lines_tell_how_much_was_heard_and_whether_it_was_cut() -> None:
    record = ConversationRecord()
    record.hear(agent("One two three four.", final=True), 2.5)
    assert record.lines({"a": Heard(500, 1000, complete=True, cut=True)}) == [
        Line("agent", "One two", 2.5, heard_ms=500, interrupted=True)
    ]


# --- the cut ----------------------------------------------------------------------------------------------------------


def test_all_heard_is_the_whole_text() -> None:
    assert heard_text("  One two. ", WHOLE) == "One two."


def test_text_is_cut_between_words_at_the_share_that_was_heard() -> None:
    text = "aaaa bbbb cccc dddd"
    assert heard_text(text, Heard(1000, 2000, complete=True, cut=True)) == "aaaa bbbb"
    assert heard_text(text, Heard(100, 2000, complete=True, cut=True)) == ""
    assert heard_text(text, Heard(1999, 2000, complete=True, cut=True)) in (text, "aaaa bbbb cccc")


def test_text_that_runs_ahead_of_its_audio_is_bounded_by_what_can_be_said() -> None:
    """Ten times the words of the audio that has come so far: two seconds are not enough for them."""
    text = "word " * 60
    heard = heard_text(text, Heard(2000, 2000, complete=False, cut=False))
    assert 0 < len(heard) <= 30


def test_words_that_fit_are_all_there_while_the_item_is_still_growing() -> None:
    assert heard_text("One two.", Heard(2000, 2000, complete=False, cut=False)) == "One two."


@given(
    st.text(alphabet="ab cd.", max_size=80),
    st.integers(-5, 5000),
    st.integers(-5, 5000),
    st.booleans(),
    st.booleans(),
)
def test_what_was_heard_is_always_a_beginning_of_what_was_said(
    text: str, heard: int, received: int, complete: bool, cut: bool
) -> None:
    said = heard_text(text, Heard(heard, received, complete, cut))
    assert text.strip().startswith(said)
    assert said == said.strip()


@given(st.text(alphabet="abc ", min_size=1, max_size=80), st.integers(1, 4000), st.integers(0, 4000), st.booleans())
def test_more_heard_is_never_less_text(text: str, received: int, heard: int, complete: bool) -> None:
    heard = min(heard, received)
    shorter = heard_text(text, Heard(heard, received, complete, True))
    longer = heard_text(text, Heard(min(heard + 100, received), received, complete, True))
    assert longer.startswith(shorter)


def said(record: ConversationRecord, item: str, text: str, at: float, *, caller: bool = True) -> None:
    record.hear(Transcript(text, is_input=caller, is_final=True, item_id=item), at)


def test_what_a_second_provider_hears_again_stands_once_and_in_its_place() -> None:
    record = ConversationRecord()
    said(record, "a", "Good morning.", 1)
    said(record, "b", "How can I help?", 2, caller=False)
    record.settle()
    said(record, "c", "My number is four two.", 5)
    said(record, "d", "Thank you, one", 6, caller=False)
    record.repeat()
    said(record, "2:a", "my number is for two", 9)
    said(record, "2:b", "Thank you.", 10, caller=False)
    heard = {key: Heard(1000, 1000, complete=True, cut=False) for key in ("b", "d", "2:b")}
    assert [(line.text, line.at) for line in record.lines(heard)] == [
        ("Good morning.", 1),
        ("How can I help?", 2),
        ("my number is for two", 5),
        ("Thank you, one", 6),
        ("Thank you.", 10),
    ]


def test_a_repeated_turn_may_be_cut_otherwise() -> None:
    record = ConversationRecord()
    said(record, "a", "My number is", 1)
    said(record, "b", "four two", 2)
    record.repeat()
    said(record, "2:a", "my number is four two", 3)
    assert [line.text for line in record.lines({})] == ["my number is four two"]
    record.repeat()
    said(record, "3:a", "My number is.", 4)
    said(record, "3:b", "Four two.", 5)
    assert [line.text for line in record.lines({})] == ["My number is.", "Four two."]


def test_other_words_are_no_repetition_and_neither_is_what_comes_after_the_answer() -> None:
    record = ConversationRecord()
    said(record, "a", "Is anybody there?", 1)
    record.repeat()
    said(record, "2:a", "Forget it.", 2)
    assert [line.text for line in record.lines({})] == ["Is anybody there?", "Forget it."]
    record.settle()
    said(record, "2:b", "Is anybody there?", 3)
    assert len(record.lines({})) == 3


def test_a_turn_that_was_over_is_not_repeated() -> None:
    record = ConversationRecord()
    said(record, "a", "Yes.", 1)
    record.settle()
    record.repeat()
    said(record, "2:a", "Yes.", 2)
    assert [line.text for line in record.lines({})] == ["Yes.", "Yes."]
