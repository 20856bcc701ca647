"""The kinds of providers, and the names that the package offers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import MISSING, fields, is_dataclass

import pytest

import tandem_providers
from tandem_codecs.format import MULAW_8K
from tandem_providers import Client, Echo, InvalidConfigError, OpenAIRealtime, ProcessConfig, WebSocketProvider
from tandem_providers.options import option_infos
from tandem_providers.table import KINDS, ProviderKind

PLANTED = {"think_endpoint": '{"url": "wss://planted"}', "speak": '{"provider": {"type": "planted"}}'}
"""Options that may hold a key among other things."""


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_each_row_builds_an_instance_under_its_own_name(kind: ProviderKind) -> None:
    assert is_dataclass(kind.options)
    infos = option_infos(kind.options)
    assert infos, "options are declared with `option`"
    assert all(info.help for info in infos.values())
    keys = {name: PLANTED.get(name, "planted") for name, info in infos.items() if info.secret}
    keys |= {each.name: "wss://example.com" for each in fields(kind.options) if each.default is MISSING}
    provider = kind.build(kind.options(**keys), f"{kind.name}@other")
    assert provider.name == f"{kind.name}@other"
    assert provider.capabilities.input_formats
    assert "planted" not in repr(provider) + repr(kind.options(**keys))


def test_rows_by_name_and_in_order() -> None:
    assert list(KINDS) == [
        "openai",
        "openai-live",
        "azure",
        "xai",
        "openai-compatible",
        "gemini",
        "deepgram",
        "elevenlabs",
        "echo",
    ]
    assert all(name == kind.name for name, kind in KINDS.items())


def test_environment_names_begin_as_their_kind_says() -> None:
    for kind in KINDS.values():
        names = {name for info in option_infos(kind.options).values() for name in info.env}
        assert any(name.startswith(kind.prefix) for name in names), kind.name
    assert [KINDS[name].prefix for name in ("azure", "openai-compatible")] == ["AZURE_OPENAI_", "OPENAI_COMPATIBLE_"]


SHARED = {"OPENAI_API_KEY", "OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT", "OPENAI_PROJECT_ID"}
"""One account for two of the vendor's protocols."""


def test_no_environment_name_belongs_to_two_kinds_by_accident() -> None:
    names = [name for kind in KINDS.values() for info in option_infos(kind.options).values() for name in info.env]
    assert {name for name in names if names.count(name) > 1} == SHARED


def test_openai_by_its_options() -> None:
    provider = OpenAIRealtime(api_key="planted", voice="cedar")
    assert isinstance(provider, WebSocketProvider)
    assert provider.name == "openai"
    assert MULAW_8K in provider.capabilities.input_formats
    assert OpenAIRealtime(api_key="planted", name="backup").name == "backup"
    with pytest.raises(TypeError):
        OpenAIRealtime(api_key="planted", colour="blue")
    with pytest.raises(InvalidConfigError):
        OpenAIRealtime()


async def test_the_names_of_the_contract_are_there() -> None:
    for name in tandem_providers.__all__:
        assert hasattr(tandem_providers, name), name
    assert tandem_providers.__all__ == sorted(tandem_providers.__all__)
    assert repr(Client(OpenAIRealtime(api_key="planted"), Echo())) == "Client(openai, echo)"
    assert ProcessConfig().functions == ()


def test_importing_the_library_starts_nothing() -> None:
    program = """
import sys, threading, asyncio
import tandem_providers
assert threading.active_count() == 1
assert not [m for m in sys.modules if m.split(".")[0] in ("tandem", "fastapi", "uvicorn", "pydantic")]
"""
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)
