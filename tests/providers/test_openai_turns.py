"""Memory of a session: complete for what matters, bounded whatever a provider sends."""

from __future__ import annotations

from tandem_providers.openai_turns import Drafts, Turns, remember


def test_memory_forgets_the_oldest() -> None:
    memory: dict[str, int] = {}
    for number in range(10):
        remember(memory, str(number), number, 3)
    assert list(memory) == ["7", "8", "9"]
    remember(memory, "8", 80, 3)
    assert memory == {"7": 7, "8": 80, "9": 9}


def test_everything_is_bounded() -> None:
    turns, drafts = Turns(), Drafts()
    for number in range(5000):
        turn = turns.begin(f"r{number}")
        turns.item(f"i{number}", turn)
        assert turns.call(turn, f"c{number}")
        drafts.add(f"i{number}", turn.id, "x")
    assert turns.find("r0") is None
    assert turns.find("r4999") is not None
    assert len(turns.items) < 1000
    assert turns.answered("c0") is None
    assert drafts.settle("i0") == ""


def test_a_call_is_answered_once() -> None:
    turns = Turns()
    turn = turns.begin("r")
    assert turns.call(turn, "c")
    assert not turns.call(turn, "c")
    assert not turns.call(turn, "")
    assert turns.answered("c") is turn
    assert turns.answered("c") is None
    assert not turns.call(turn, "c")
    assert turn.called


def test_items_belong_to_one_turn() -> None:
    turns = Turns()
    first, second = turns.begin("r1"), turns.begin("r2")
    item = turns.item("i", first)
    assert turns.item("i", first) is item
    assert turns.unfinished(first) == [item]
    assert turns.item("i", second) is not item


def test_drafts_are_settled_by_item_and_turn() -> None:
    drafts = Drafts()
    for item, turn, text in (("a", "r1", "Hel"), ("b", "r2", "x"), ("a", "r1", "lo")):
        drafts.add(item, turn, text)
    assert drafts.of("r1") == ["a"]
    assert drafts.settle("a") == "Hello"
    assert drafts.of("r1") == []


def test_words_told_by_two_names_count_once() -> None:
    drafts = Drafts()
    told = [drafts.add("a", "r", text, source) for text, source in (("x", 1), ("x", 2), ("y", 1), ("y", 2))]
    assert told == [True, False, True, False]
    assert drafts.settle("a") == "xy"


def test_what_comes_for_a_final_item_is_the_whole_or_the_next_piece() -> None:
    drafts = Drafts()
    drafts.replace("a", "", "I wou")
    assert drafts.settle("a", "I would.") == "I would."
    assert drafts.settle("a", "I would.") is None
    assert drafts.settle("a") is None
    assert drafts.settle("a", "I would, yes.") == "I would, yes."
    assert drafts.settle("b", "One.", in_pieces=True) == "One."
    assert drafts.settle("b", "Two.", in_pieces=True) == "One. Two."
    assert drafts.settle("b", "One. Two. Three.", in_pieces=True) == "One. Two. Three."
    assert drafts.settle("c") == ""
    assert drafts.settle("c", "late", in_pieces=True) == "late"
