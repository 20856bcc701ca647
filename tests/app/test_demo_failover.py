"""The demonstration of a provider's death: held once, and its verdict on calls that did not go on."""

from __future__ import annotations

import io
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tandem.demo import DemoError
from tandem.demo_failover import Seen, names_of, run, shortcomings, simulator
from tandem.screen import Screen
from tandem.simulators.phone import Answer
from tandem.simulators.plan import CallReport

GOOD = CallReport("CA1", "completed", "caller", 30.0, answers=(Answer(0, 700), Answer(8000, 8700)))
RECORD = {"result": "caller_hung_up", "provider": "gemini"}
SEEN = Seen(5000.0, True, ["openai", "gemini"], ["openai"])


@pytest.mark.timeout(120)
def test_a_provider_is_killed_and_the_conversation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")  # whoever has a key pays nothing for the demonstration
    out, err = io.StringIO(), io.StringIO()
    recording = tmp_path / "call.wav"
    script = ("hello", "opening-hours")
    assert run(Screen(out, err), recording, ["openai", "gemini"], 0.5, script) == 0, err.getvalue()
    shown = out.getvalue()
    assert err.getvalue() == ""
    place = [
        shown.index(words)
        for words in (
            "server provider openai has the conversation",
            "server openai is killed in the middle of a sentence",
            "server provider openai is lost",
            "server provider gemini has the conversation",
            "Transcript (as heard)",
            "The conversation went on.",
        )
    ]
    assert place == sorted(place)
    with wave.open(str(recording)) as file:
        assert file.getnchannels() == 2


def test_a_good_call_has_no_shortcomings() -> None:
    assert shortcomings(GOOD, RECORD, SEEN, ["openai", "gemini"]) == []
    assert shortcomings(GOOD, RECORD, Seen(None, False, ["openai"]), ["openai"]) == []


@pytest.mark.parametrize(
    ("report", "record", "seen", "said"),
    [
        ({"ended_by": "server"}, {}, {}, "the call ended as completed, by server"),
        ({}, {"result": "provider_lost"}, {}, "the server says that the call ended as provider_lost"),
        ({}, {"provider": "openai"}, {}, "did not end with another provider than openai"),
        ({"answers": (Answer(0, 700), Answer(1, 4000))}, {}, {}, "no turn of the caller was answered afterwards"),
        ({"answers": (Answer(5000, 5700),)}, {}, {}, "only 1 turns"),
        ({}, {}, {"heard_after": False}, "never heard again"),
        ({}, {}, {"ready": ["openai"]}, "no other provider took the conversation over"),
        ({}, {}, {"ready": ["gemini", "gemini"]}, "did not begin with openai"),
        ({}, {}, {"lost": []}, "did not notice that openai is gone"),
        ({}, {}, {"killed_ms": None}, "lost that nobody killed"),
        ({"problems": ("31924 odd",)}, {}, {}, "31924 odd"),
    ],
)
def test_what_went_wrong_is_named(report: Any, record: Any, seen: Any, said: str) -> None:
    told = shortcomings(replace(GOOD, **report), {**RECORD, **record}, replace(SEEN, **seen), ["openai", "gemini"])
    assert len(told) == 1
    assert said in told[0]


@pytest.mark.parametrize(
    ("text", "kill", "why"),
    [("opnai", None, "no simulated provider 'opnai'"), (" , ", None, "names none"), ("openai", 5.0, "needs a second")],
)
def test_which_providers_there_can_be(text: str, kill: float | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        names_of(text, kill)


def test_names_are_taken_once_and_in_order() -> None:
    assert names_of("Gemini, openai,gemini", 5.0) == ["gemini", "openai"]


def test_a_provider_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(DemoError, match=r"the simulated nobody did not start: .*no provider"),
        simulator(tmp_path, "nobody"),
    ):
        pass
