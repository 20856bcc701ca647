"""What fails while the machine stands still is tried again; what is broken fails all the same."""

from __future__ import annotations

import pytest
from stalls import TRIES

pytest_plugins = ["pytester"]

RUNS = """
import pathlib, time, pytest

@pytest.fixture
def number(request):
    runs = pathlib.Path(request.node.name)
    with runs.open("a") as file:
        file.write("x")
    yield len(runs.read_text())
    with runs.open("a") as file:
        file.write("y")

def test_in_bad_luck(number):
    if number == 1:
        stand_still()
    assert number != 1, "bad luck"

def test_that_is_broken(number):
    stand_still()
    assert False, "broken"

def test_that_is_broken_by_itself(number):
    assert False, "broken, and nothing stood still"

def test_slow(number):
    stand_still()
"""

CONFTEST = """
import sys, time
sys.path.insert(0, {tests!r})
import stalls, builtins

class Told(stalls.Stalls):
    "Told by the test, and not by a clock, that time has passed."
    def __init__(self):
        self.longest = 0.0
        builtins.stand_still = lambda: setattr(self, "longest", 1.0)

stalls.Stalls = Told

def pytest_configure(config):
    config.pluginmanager.register(stalls.Repeated(), "repeated")
"""


def test_only_what_failed_in_a_stall_is_tried_again(pytester: pytest.Pytester, pytestconfig: pytest.Config) -> None:
    pytester.makeconftest(CONFTEST.format(tests=str(pytestconfig.rootpath / "tests")))
    pytester.makepyfile(RUNS)
    ran = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")
    outcomes = ran.parseoutcomes()
    assert (outcomes["passed"], outcomes["failed"], outcomes["again"]) == (2, 2, 1 + TRIES - 1)
    runs = {name: (pytester.path / name).read_text() for name in ("test_in_bad_luck", "test_that_is_broken")}
    assert runs == {"test_in_bad_luck": "xyxy", "test_that_is_broken": "xy" * TRIES}
    assert (pytester.path / "test_that_is_broken_by_itself").read_text() == "xy"
    assert (pytester.path / "test_slow").read_text() == "xy"
    ran.stdout.fnmatch_lines(
        ["*tried again, the machine had stood still for 1000 ms: *::test_in_bad_luck", "*bad luck*"]
    )
