"""Options of providers out of the environment, whatever the kinds are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tandem_providers.table import ProviderKind

from tandem.settings import SettingsError, load
from tandem_providers.options import option


@dataclass(frozen=True, slots=True)
class Options:
    key: str = option("ACME_KEY", "ACME_OTHER_KEY", secret=True)
    speed: float = option("ACME_SPEED", default=1.0)
    loud: bool = option("ACME_LOUD", default=False)
    words: tuple[str, ...] = option("ACME_WORDS", default=())
    hidden: int = option("ACME_PIN", default=0, secret=True)
    internal: int = option(default=3)


def acme(name: str, options: type = Options) -> ProviderKind:
    def build(options: Any, name: str) -> Any:
        raise AssertionError("settings build nothing")

    return ProviderKind(name=name, options=options, build=build)


def test_options_are_read_in_their_types_and_a_shared_key_selects_the_first() -> None:
    kinds = {"acme": acme("acme"), "acme-live": acme("acme-live")}
    found = load({"ACME_OTHER_KEY": "k", "ACME_SPEED": "1.5", "ACME_LOUD": "yes", "ACME_WORDS": "a, b"}, None, kinds)
    (choice,) = found.choices
    assert (choice.kind.name, choice.options) == ("acme", Options("k", 1.5, True, ("a", "b")))
    assert choice.secrets == ("k",)


def test_bad_and_missing_options_are_told_by_their_variable() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"PROVIDERS": "acme@x", "X_ACME_SPEED": "fast", "ACME_PIN": "s3cret"}, None, {"acme": acme("acme")})
    assert caught.value.problems[0].startswith("X_ACME_SPEED: 'fast':")
    assert caught.value.problems[1].startswith("ACME_PIN: input should be a valid integer")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SettingsError, match="ACME_KEY: is missing, and provider acme needs it"):
        load({"PROVIDERS": "acme"}, None, {"acme": acme("acme")})
