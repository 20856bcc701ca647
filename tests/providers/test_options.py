"""One list of options for code, environment and documentation."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tandem_providers.options import OptionInfo, option, option_infos


@dataclass(frozen=True)
class Options:
    url: str = option("ACME_URL", help="where")
    api_key: str = option("ACME_KEY", "ACME_OLD_KEY", default="", help="the key", secret=True)
    inner: int = option(default=3)
    plain: int = 4


def test_what_is_declared_is_found_in_its_order() -> None:
    assert option_infos(Options) == {
        "url": OptionInfo(("ACME_URL",), "where", secret=False),
        "api_key": OptionInfo(("ACME_KEY", "ACME_OLD_KEY"), "the key", secret=True),
        "inner": OptionInfo((), "", secret=False),
    }


def test_an_option_without_a_default_is_required() -> None:
    with pytest.raises(TypeError, match="url"):
        Options()
    assert Options("wss://x") == Options(url="wss://x", api_key="", inner=3, plain=4)


def test_a_secret_does_not_print() -> None:
    assert "planted" not in repr(Options("wss://x", api_key="planted"))
