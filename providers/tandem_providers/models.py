"""Which models there are and when they end: a file that is read (`models.toml`), so that news needs no new code."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from importlib.resources import files
from typing import Any, Final

NEAR_DAYS: Final = 30
"""An end that near is worth a word every day."""


def _read() -> dict[str, dict[str, date | None]]:
    text = (files("tandem_providers") / "models.toml").read_text(encoding="utf-8")
    listed = tomllib.loads(text)
    return {kind: {name: facts.get("ends") for name, facts in models.items()} for kind, models in listed.items()}


MODELS: Final[Mapping[str, Mapping[str, date | None]]] = _read()
"""Kind of provider to model to the day on which it ends, None when none was announced."""


def remark(kind: str, model: str, today: date) -> str:
    """What there is to say about using this model now; empty for nothing."""
    known = MODELS.get(kind)
    if not known or not model:
        return ""
    if model not in known:
        return f"model {model} is not known to be one of {kind}; it has {', '.join(known)}"
    ends = known[model]
    if ends is None:
        return ""
    left = (ends - today).days
    if left < 0:
        return f"model {model} of {kind} ended on {ends}: choose {newest(kind)}"
    if left <= NEAR_DAYS:
        return f"model {model} of {kind} ends on {ends}, in {left} days: choose {newest(kind)}"
    return ""


def newest(kind: str) -> str:
    """The first model of the kind, which is what to use."""
    return next(iter(MODELS[kind]))


def remarks(kind: str, options: Any, today: date) -> list[str]:
    """The same for all models that these options of a provider of that kind name."""
    named = [(kind, getattr(options, "model", ""))]
    if f"{kind}-transcription" in MODELS:
        transcription = getattr(options, "transcription_model", "")
        named.append((f"{kind}-transcription", transcription if transcription != "none" else ""))
    return [found for each, model in named if isinstance(model, str) and (found := remark(each, model, today))]
