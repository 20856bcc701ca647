"""The same request twice is done once."""

from __future__ import annotations

import pytest

from tandem.idempotency import Idempotency, Mismatch


def test_a_repeat_gets_the_first_answer_for_a_day() -> None:
    memory = Idempotency[str]()
    assert memory.find("key", b"wish", 0.0) is None
    memory.keep("key", b"wish", "answer", 0.0)
    assert memory.find("key", b"wish", 24 * 3600 - 1) == "answer"
    assert memory.find("key", b"wish", 24 * 3600) is None
    assert len(memory) == 0


def test_another_request_with_the_same_key_is_a_mistake() -> None:
    memory = Idempotency[str]()
    memory.keep("key", b"wish", "answer", 0.0)
    with pytest.raises(Mismatch):
        memory.find("key", b"another", 1.0)


def test_what_was_not_done_may_be_tried_again() -> None:
    memory = Idempotency[str]()
    memory.keep("key", b"wish", "answer", 0.0)
    memory.forget("key")
    memory.forget("key")
    assert memory.find("key", b"another", 1.0) is None


def test_it_is_bounded_and_the_oldest_goes() -> None:
    memory = Idempotency[int](capacity=3)
    for number in range(5):
        memory.keep(f"key{number}", b"wish", number, float(number))
    assert len(memory) == 3
    assert [memory.find(f"key{number}", b"wish", 5.0) for number in range(5)] == [None, None, 2, 3, 4]
