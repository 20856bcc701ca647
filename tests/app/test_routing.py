"""Which agent answers which call: the file of routes, its patterns and its mistakes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.agents import DEFAULT, Agent
from tandem.routing import Routes, RoutesError, load, normal, parse

TOML = """
[default]
greeting = "Good day."
max_call_seconds = 900

[[routes]]
name = "sales"
called = ["+1 (555) 123-4567", "+1555200*"]
carrier = "twilio"
instructions = '''You sell
bicycles.'''
providers = ["openai", "echo"]

[[routes]]
name = "vip"
called = "+49*"
caller = "+4930*"
greeting = "Welcome back."

[[routes]]
called = "sip:support@*"
voice = "marin"
temperature = 1
"""
YAML = """
default:
  greeting: Good day.
  max_call_seconds: 900
routes:
  - name: sales
    called: ["+1 (555) 123-4567", "+1555200*"]
    carrier: twilio
    instructions: "You sell\\nbicycles."
    providers: [openai, echo]
  - name: vip
    called: "+49*"
    caller: "+4930*"
    greeting: Welcome back.
  - called: "sip:support@*"
    voice: marin
    temperature: 1
"""


@pytest.fixture(params=[(TOML, "routes.toml"), (YAML, "routes.yaml")], ids=["toml", "yaml"])
def routes(request: pytest.FixtureRequest) -> Routes:
    return parse(*request.param)


def problems(text: str, path: str = "routes.toml") -> tuple[str, ...]:
    with pytest.raises(RoutesError) as error:
        parse(text, path)
    return error.value.problems


@pytest.mark.parametrize(
    ("called", "caller", "carrier", "name"),
    [
        ("+15551234567", "", "", "sales"),
        ("15552009999", "", "twilio", "sales"),  # a carrier that leaves the plus sign out
        ("+15552009999", "", "plivo", "default"),
        ("+15559999999", "", "", "default"),
        ("+491234567", "+493012345", "", "vip"),
        ("+491234567", "493012345", "", "vip"),
        ("+491234567", "+498912345", "", "default"),
        ("sip:support@pbx.example.com;transport=tls", "", "", "route 3"),
        ("SIP:Support@pbx.example.com"[:4].lower() + "Support@pbx.example.com", "", "", "route 3"),
        ("", "", "", "default"),
    ],
)
def test_the_first_route_that_fits_is_taken(routes: Routes, called: str, caller: str, carrier: str, name: str) -> None:
    routed = routes.choose(called, caller, carrier)
    assert routed.agent.name == name
    assert name in routed.why


def test_an_agent_has_its_own_and_the_files_defaults(routes: Routes) -> None:
    assert routes.named("sales") == Agent(
        "sales", "You sell\nbicycles.", "Good day.", providers=("openai", "echo"), max_call_seconds=900
    )
    vip = routes.named("vip")
    assert vip is not None
    assert (vip.greeting, vip.instructions, vip.max_call_seconds) == ("Welcome back.", None, 900)
    assert routes.named("nobody") is None
    assert [agent.name for agent, _ in routes.agents()] == ["default", "sales", "vip", "route 3"]


def test_why_names_the_place(routes: Routes) -> None:
    why = routes.choose("+15551234567").why
    assert f"{routes.path}, line 6" in why
    assert "+15551234567, +1555200* over twilio" in why
    assert routes.choose("+49301", "+49302").why.endswith("takes +49* from +4930*")


def test_without_a_file_the_environment_answers() -> None:
    routed = Routes().choose("+15551234567")
    assert routed.agent is DEFAULT
    assert "no ROUTES_FILE" in routed.why


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[routes]]\ncalled = '+1*'\nvoise = 'x'", "line 3: routes.voise: there is no such field"),
        ("[[routes]]\n\ncalled = 15551234", "line 3: routes.called: numbers stand in quotes"),
        ("[[routes]]\ncalled = []", "line 1: takes every call"),
        ("[[routes]]\ncalled = '+1*'\ntemperature = 3", "line 3: routes.temperature: input should be less"),
        ("[[routes]]\ncalled = '+1*'\ntemperature = nan", "line 3: routes.temperature"),
        ("[[routes]]\ncalled = '+1*'\nmax_call_seconds = 0", "line 3: routes.max_call_seconds"),
        ("[[routes]]\ncalled = '+1*'\nproviders = []", "line 3: routes.providers"),
        ("[[routes]]\ncalled = '+1*'\ncarrier = 'acme'", "line 3: routes.carrier"),
        ("[[routes]]\ncalled = '+1*'\nname = 'a<b'", "line 3: routes.name"),
        ("[defaults]\nvoice = 'x'", "line 1: defaults: there is no such field"),
        ("[default]\ncalled = 'x'", "line 2: default.called: there is no such field"),
        ("[[routes]]\ncalled = '+1*'\n[[routes]]\ncalled = 'x'\nvoice = true", "line 5: routes.voice"),
        ("routes = 1", "line 1: routes: input should be a valid list"),
        ("[[routes]\n", "line 1"),
        ("a = [", "end of document"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, said: str) -> None:
    found = problems(f"{text}\n[[routes]]\ncalled = '+9*'\n" if "[[routes]]" in text else text)
    assert len(found) == 1
    assert found[0].startswith("routes.toml")
    assert said in found[0]


def test_mistakes_in_yaml_have_places_too() -> None:
    assert problems("routes:\n  - called: 49\n    voise: x\n", "r.yml") == (
        "r.yml, line 2: routes.called: numbers stand in quotes: the plus sign belongs to them",
        "r.yml, line 3: routes.voise: there is no such field",
    )
    assert "line 3" in problems("routes:\n  - called: [\n", "r.yaml")[0]
    for text in ("- 1", "&a [*a]", "!!python/object/apply:os.system ['true']", "{a: b"):
        assert problems(text, "r.yaml")


def test_names_are_unique_and_routes_can_be_reached() -> None:
    twice = "[[routes]]\nname = 'a'\ncalled = '+1*'\n[[routes]]\nname = 'a'\ncalled = '+2*'\n"
    assert problems(twice) == ("routes.toml, line 4: there is another agent 'a'",)
    assert problems("[[routes]]\nname = 'default'\ncalled = '+1*'")[0].endswith("another agent 'default'")
    last = parse("[[routes]]\ncalled = '+1*'\n[[routes]]\nname = 'rest'\n", "routes.toml")
    assert last.choose("+2").agent.name == "rest"


def test_an_empty_file_is_the_environment_alone() -> None:
    for path in ("a.toml", "a.yaml"):
        assert parse("", path).choose("+1").agent == DEFAULT


def test_the_file_is_read_or_its_trouble_told(tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    with pytest.raises(RoutesError, match="No such file"):
        load(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(RoutesError, match="UTF-8"):
        load(file)
    file.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(RoutesError, match="larger"):
        load(file)
    file.write_text("\ufeff" + TOML, encoding="utf-8")
    assert load(file).named("sales") is not None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("+1 (555) 123-45.67", "+15551234567"), ("4930123", "+4930123"), ("sip:A@B.c;x=y", "sip:a@b.c"), ("", ""),
     ("anonymous", "anonymous")],
)  # fmt: skip
def test_numbers_are_compared_in_one_form(text: str, wanted: str) -> None:
    assert normal(text) == wanted


@given(st.text(max_size=200), st.sampled_from(["r.toml", "r.yaml"]))
def test_no_text_does_anything_but_parse_or_be_told(text: str, path: str) -> None:
    with suppress(RoutesError):
        parse(text, path)
