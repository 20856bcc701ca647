"""Function calls of OpenAI Live: told at once, answered together, never left without an answer."""

from __future__ import annotations

import json

import pytest
from openai_live_play import Play, begun, called, ended, nested

from tandem_providers.commands import ToolResult
from tandem_providers.events import GoingAway, ProviderWarning, ToolCall, ToolCallCancelled, Usage
from tandem_providers.openai_live_delegation import INPUT_BYTES, INPUT_ITEMS, PLACEHOLDER

ITEM = {"type": "response.item.create"}
CREATE = {"type": "response.create"}


def output(call_id: str, text: str) -> dict[str, object]:
    return {
        "type": "response.item.create",
        "item": {"type": "function_call_output", "call_id": call_id, "output": text},
    }


def test_a_call_is_told_at_once_and_answered_when_the_response_is_over() -> None:
    play = Play()
    (play >> begun()).silence()
    play >> called("c1", "weather", '{"city":"Bonn"}') << ToolCall("c1", "weather", '{"city":"Bonn"}', "r1")
    (play >> ToolResult("c1", "sunny")).silence()
    play >> ended() << [output("c1", "sunny"), CREATE]
    (play >> ToolResult("c1", "again")).silence()


def test_a_result_that_comes_later_is_sent_when_it_comes() -> None:
    play = Play()
    (play >> begun()).silence()
    play >> called("c1") << ToolCall
    (play >> ended()).silence()
    play >> ToolResult("c1", "42") << [output("c1", "42"), CREATE]


def test_several_calls_are_answered_together() -> None:
    play = Play()
    play >> begun()
    for call_id in ("c1", "c2", "c3"):
        play >> called(call_id) << ToolCall
    (play >> ToolResult("c2", "2")).silence()
    (play >> ended()).silence()
    (play >> ToolResult("c3", "3")).silence()
    play >> ToolResult("c1", "1") << [output("c2", "2"), output("c3", "3"), output("c1", "1"), CREATE]


def test_a_call_told_twice_is_one() -> None:
    play = Play()
    play >> begun()
    play >> called("c1") << ToolCall
    (play >> called("c1")).silence()
    play >> ended()
    play.silence()
    play >> ToolResult("c1", "1") << [ITEM, CREATE]
    (play >> called("c1")).silence()


@pytest.mark.parametrize("status", ["in_progress", "incomplete"])
def test_a_call_that_was_not_completed_is_none(status: str) -> None:
    play = Play()
    play >> begun()
    (play >> called("c1", status=status)).silence()
    (play >> ended()).silence()


@pytest.mark.parametrize("how", ["failed", "incomplete", "cancelled"])
def test_calls_of_a_failed_response_are_taken_back(how: str) -> None:
    play = Play()
    play >> begun()
    play >> called("c1") << ToolCall
    play >> called("c2") << ToolCall
    (play >> ToolResult("c2", "too early")).silence()
    error = {"code": "rate_limit_exceeded", "message": "Slow down."}
    (play >> ended(how, error=error) << [ToolCallCancelled("c1"), ProviderWarning("rate_limit_exceeded", "Slow down.")])
    (play >> ToolResult("c1", "too late")).silence()


def test_failures_of_every_shape() -> None:
    play = Play()
    play >> nested("error", code="server_error", message="Oh.") << ProviderWarning("server_error", "Oh.")
    play >> ended("incomplete", incomplete_details={"reason": "max_output_tokens"}) << ProviderWarning
    play >> nested("response.failed") << ProviderWarning
    play >> nested("response.failed", response="x") << ProviderWarning


def test_a_response_whose_end_was_never_told_gives_way_to_the_next() -> None:
    play = Play()
    play >> begun("r1")
    play >> called("c1") << ToolCall
    play >> begun("r2") << ToolCallCancelled("c1")
    play >> called("c2") << ToolCall("c2", "f", "{}", "r2")


def test_delegations_do_not_mix() -> None:
    play = Play()
    play >> begun("r1", "d1")
    play >> called("c1", delegation="d1") << ToolCall
    play >> begun("r2", None)
    play >> called("c2", delegation=None) << ToolCall
    (play >> ToolResult("c2", "2")).silence()
    (play >> ended(delegation="d1")).silence()
    play >> ended(delegation=None) << [output("c2", "2"), CREATE]
    play >> ToolResult("c1", "1") << [output("c1", "1"), CREATE]


def test_a_call_without_its_beginning_is_one_all_the_same() -> None:
    play = Play()
    play >> called("c1") << ToolCall("c1", "f", "{}", "d1")
    (play >> ended()).silence()
    play >> ToolResult("c1", "1") << [ITEM, CREATE]


def test_what_the_model_behind_the_voice_cost() -> None:
    usage = {"input_tokens": 10, "output_tokens_details": {"reasoning_tokens": 3}, "model": "m"}
    assert (Play() >> ended(usage=usage)).take() == [
        Usage("response", {"input_tokens": 10.0, "output_tokens_details.reasoning_tokens": 3.0})
    ]


@pytest.mark.parametrize(
    "item",
    [None, 7, {}, {"type": "message"}, {"type": "function_call"}, {"type": "function_call", "call_id": "", "name": ""}],
)
def test_items_that_are_no_calls(item: object) -> None:
    play = Play()
    (play >> nested("response.output_item.done", item=item)).silence()
    (play >> nested("response.output_text.delta", delta="thinking")).silence()


# --- what a session takes in all --------------------------------------------------------------------------------------


class Spender:
    """A session in which functions give results of given sizes, one after the other."""

    def __init__(self) -> None:
        self.play = Play()
        self.calls = 0
        self.sent: list[dict[str, object]] = []
        self.told: list[object] = []

    def spend(self, *sizes: int) -> list[str]:
        """One response with so many calls; what was sent as their results."""
        self.play >> begun()
        names = []
        for _ in sizes:
            self.calls += 1
            names.append(f"c{self.calls}")
            self.play >> called(names[-1]) << ToolCall
        self.play >> ended()
        answers: list[object] = []
        for name, size in zip(names, sizes, strict=True):
            answers += (self.play >> ToolResult(name, "é" * (size // 2))).take()
        items = [answer for answer in answers if isinstance(answer, dict) and answer["type"] == "response.item.create"]
        assert len(items) == len(sizes)
        assert [a["type"] for a in answers if isinstance(a, dict)][-1] == "response.create"
        self.sent += items
        self.told += [answer for answer in answers if not isinstance(answer, dict)]
        return [item["item"]["output"] for item in items]

    @property
    def size(self) -> int:
        return sum(len(json.dumps(item["item"], ensure_ascii=False).encode()) for item in self.sent)


def test_a_result_that_is_too_large_becomes_a_tiny_one() -> None:
    spender = Spender()
    assert spender.spend(INPUT_BYTES + 10, 100) == [PLACEHOLDER, "é" * 50]
    assert [type(event) for event in spender.told] == [ProviderWarning]


def test_a_session_that_is_full_is_left_in_time_and_answers_still() -> None:
    spender = Spender()
    while not any(isinstance(event, GoingAway) for event in spender.told):
        assert PLACEHOLDER not in spender.spend(2000)
    assert 0.7 * INPUT_BYTES < spender.size < 0.85 * INPUT_BYTES
    results = [spender.spend(2000)[0] for _ in range(20)]
    assert results[0] != PLACEHOLDER
    assert results[-1] == PLACEHOLDER
    assert spender.size <= INPUT_BYTES
    assert len([event for event in spender.told if isinstance(event, GoingAway)]) == 1


def test_many_small_results_fill_it_too() -> None:
    spender = Spender()
    while not any(isinstance(event, GoingAway) for event in spender.told):
        spender.spend(10)
    assert 0.7 * INPUT_ITEMS < spender.calls < 0.8 * INPUT_ITEMS
