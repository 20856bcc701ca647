"""What holds for every test: nothing blocks the loop, nothing private reaches a log, no key comes from outside."""

from __future__ import annotations

import gc
import logging
import os
import re
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings
from stalls import Repeated

from tandem.logs import JsonFormatter, Redactor
from tandem.settings import PREFIXES

OURS = ("tandem", "tandem_providers", "tandem_codecs")

# Who may block, and why that is no harm.
MAY_BLOCK = [
    ("tandem_providers/prompts.py", "_load", "read once, when a provider is made; no call is up by then"),
    ("prometheus_client/process_collector.py", "collect", "/proc is no disk"),
]
# What must never be logged. Keys, numbers and words of tests say "planted" or look like what they are.
PRIVATE = re.compile(
    r"planted|Bearer\s+\S|(?<![a-z])sk-[A-Za-z0-9]{4,}|(?<![\w.-])\+?\d{10,15}(?![\w.-])|/media/[\w-]+\.", re.IGNORECASE
)
_ON_PURPOSE = ("tandem.test", "lib")  # loggers of the tests that prove the redaction itself


# Several tests run at once, and how long one example took says nothing then.
settings.register_profile("tandem", deadline=None)
settings.load_profile("tandem")


def pytest_collection_finish() -> None:
    """The thousands of tests stay for good: without this each full collection walks them all, for seconds on a busy
    machine, and a test that measures time would find the bridge late."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported that reads it: the developer's own keys are not for tests."""
    for name in [name for name in os.environ if name.startswith(PREFIXES) or name == "PROVIDERS"]:
        del os.environ[name]
    config.pluginmanager.register(Repeated(), "repeated")


@pytest.fixture(autouse=True, scope="module")
def collections_stay_short() -> Iterator[None]:
    """What is there after a module stays for good, mostly modules; the collections that follow need not walk it."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """What a test has dropped without closing it (a connection, a loop, a process) is found now, and is an error of
    this test: later it would be one of whatever test the collector runs in."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def nothing_blocks(nothing_is_left_open: None) -> Iterator[BlockBuster]:
    """A call of ours that blocks while an event loop runs fails the test."""
    with blockbuster_ctx(list(OURS)) as watch:
        for place, function, _ in MAY_BLOCK:
            for blocking in watch.functions.values():
                blocking.can_block_in(place, function)
        yield watch


class Listener(logging.Handler):
    """Reads each line as it would be written, without being told any secret beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.setFormatter(JsonFormatter(Redactor()))

    def emit(self, record: logging.LogRecord) -> None:
        if record.name not in _ON_PURPOSE and PRIVATE.search(line := self.format(record)):
            self.found.append(line)


@pytest.fixture(autouse=True)
def nothing_private_is_logged() -> Iterator[None]:
    """Every line that our packages log in any test, down to debug, is searched for what must not be there."""
    listener = Listener()
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in OURS]
    before = [logger.level for logger in loggers]
    root.addHandler(listener)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield
    root.removeHandler(listener)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)
    assert not listener.found, "private things were logged"
