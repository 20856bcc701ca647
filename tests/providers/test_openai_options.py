"""Address and headers: what is dialled, and what is refused before anything is."""

from __future__ import annotations

from typing import Any

import pytest

from tandem_providers.errors import InvalidConfigError
from tandem_providers.openai_options import OpenAIOptions, is_openai
from tandem_providers.openai_profile import make_dial
from tandem_providers.options import option_infos
from tandem_providers.provider import Dial


def dial(options: OpenAIOptions, name: str, safety_identifier: str = "") -> Dial:
    headers = {"OpenAI-Safety-Identifier": safety_identifier}
    return make_dial(options.setup(name), name, headers=headers, query={})


def dialled(**options: Any) -> tuple[str, dict[str, str]]:
    made = dial(OpenAIOptions(**{"api_key": "sk-1", **options}), "openai")
    return made.url, dict(made.headers)


def refusal(**options: Any) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        dial(OpenAIOptions(**{"api_key": "sk-1", **options}), "openai@b")
    assert refused.value.provider == "openai@b"
    return refused.value.message


def test_the_vendors_own_server() -> None:
    url, headers = dialled()
    assert url == "wss://api.openai.com/v1/realtime?model=gpt-realtime-2.1"
    # Above all, no OpenAI-Beta: the server closes such connections.
    assert headers == {"Authorization": "Bearer sk-1"}


def test_all_headers() -> None:
    options = OpenAIOptions(api_key=" sk-1\n", organization="org_1", project="proj_1")
    assert dict(dial(options, "openai", "caller-7").headers) == {
        "Authorization": "Bearer sk-1",
        "OpenAI-Organization": "org_1",
        "OpenAI-Project": "proj_1",
        "OpenAI-Safety-Identifier": "caller-7",
    }


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://localhost:8000/v1/realtime", "ws://localhost:8000/v1/realtime?model=m%2F1"),
        ("wss://h/x?duplex=0&a=%20b#part", "wss://h/x?duplex=0&a=+b&model=m%2F1"),
        ("wss://h/x?model=other", "wss://h/x?model=other"),
        ("wss://h/x?api-version=1&deployment=d", "wss://h/x?api-version=1&deployment=d"),
        ("wss://h/x?empty=", "wss://h/x?empty=&model=m%2F1"),
        ("wss://[::1]:9/x", "wss://[::1]:9/x?model=m%2F1"),
    ],
)
def test_the_query_of_an_address_is_kept(url: str, expected: str) -> None:
    assert dialled(url=url, model="m/1")[0] == expected


def test_no_key_is_needed_elsewhere() -> None:
    assert dialled(api_key="", url="ws://localhost/v1/realtime")[1] == {}
    assert "OPENAI_API_KEY" in refusal(api_key="")
    assert "OPENAI_API_KEY" in refusal(api_key="", url="wss://eu.api.openai.com/v1/realtime")


@pytest.mark.parametrize("url", ["https://h/x", "h/x", "wss://", "wss://h:port/x", "wss://[::1/x", "wss://me:pw@h/x"])
def test_addresses_that_cannot_be(url: str) -> None:
    message = refusal(url=url)
    assert "OPENAI_REALTIME_URL" in message
    assert "pw" not in message


@pytest.mark.parametrize("key", ["sk-1\r\nX: y", "sk-\u00e9", "sk-\x00"])
def test_headers_that_cannot_be_do_not_show_the_key(key: str) -> None:
    message = refusal(api_key=key)
    assert message.startswith("Authorization: ")
    assert "sk-" not in message
    assert "OpenAI-Organization" in refusal(organization=key)


def test_empty_text_means_the_default() -> None:
    assert OpenAIOptions(model=" ", url="", audio="", speed="", turn_detection="", voice=" ") == OpenAIOptions()


def test_secrets_do_not_print() -> None:
    assert "sk-1" not in repr(OpenAIOptions(api_key="sk-1"))
    infos = option_infos(OpenAIOptions)
    assert [name for name, info in infos.items() if info.secret] == ["api_key"]
    assert all(info.env and info.help for info in infos.values())


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("wss://api.openai.com/x", True),
        ("wss://eu.api.openai.com/x", True),
        ("wss://api.openai.com.evil/x", False),
    ],
)
def test_who_is_called(url: str, own: bool) -> None:
    assert is_openai(url) is own
