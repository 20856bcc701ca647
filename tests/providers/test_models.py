from __future__ import annotations

from datetime import date, timedelta

import pytest

from tandem_providers.models import MODELS, NEAR_DAYS, newest, remark, remarks
from tandem_providers.openai import OpenAIOptions
from tandem_providers.table import KINDS

END = date(2027, 1, 20)


def test_a_model_is_warned_of_before_its_end_and_more_so_after() -> None:
    assert remark("openai", "gpt-realtime", END - timedelta(NEAR_DAYS + 1)) == ""
    assert "ends on 2027-01-20, in 30 days" in remark("openai", "gpt-realtime", END - timedelta(NEAR_DAYS))
    assert "in 0 days" in remark("openai", "gpt-realtime", END)
    gone = remark("openai", "gpt-realtime", END + timedelta(1))
    assert "ended on 2027-01-20" in gone
    assert newest("openai") in gone


def test_a_model_nobody_has_heard_of_is_a_remark_and_one_without_an_end_is_none() -> None:
    assert "not known" in remark("openai", "gpt-realtime-99", END)
    assert remark("openai", "gpt-realtime-2.1", date(2040, 1, 1)) == ""
    assert remark("openai-compatible", "whatever", END) == ""
    assert remark("openai", "", END) == ""


def test_the_models_that_write_down_the_caller_are_looked_at_too() -> None:
    options = OpenAIOptions(api_key="k", model="gpt-realtime-2.1", transcription_model="whisper-1")
    assert "whisper-1" in remarks("openai", options, date(2027, 2, 20))[0]
    assert not remarks("openai", OpenAIOptions(api_key="k", transcription_model="none"), END)


@pytest.mark.parametrize("kind", [kind for kind in MODELS if not kind.endswith("-transcription")])
def test_the_default_of_each_kind_is_a_model_that_goes_on(kind: str) -> None:
    default = next(
        field.default for field in KINDS[kind].options.__dataclass_fields__.values() if field.name == "model"
    )
    assert not default or MODELS[kind][default] is None
