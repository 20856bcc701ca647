"""Where a Gemini session is opened, and that no key ever stands in an address."""

from __future__ import annotations

from typing import Any

import pytest

from tandem_codecs.format import MULAW_8K
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.gemini import GeminiProtocol
from tandem_providers.gemini_options import GeminiOptions, dial, needs_credentials
from tandem_providers.options import option_infos

SERVICE = "GenerativeService.BidiGenerateContent"
API = f"wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.{SERVICE}"
VERTEX = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"


@pytest.mark.parametrize(
    ("options", "url", "headers"),
    [
        ({"api_key": "k"}, API, {"x-goog-api-key": "k"}),
        ({"api_key": "k", "api_version": "v1"}, API.replace("v1beta", "v1"), {"x-goog-api-key": "k"}),
        (
            {"api_key": "auth_tokens/abc"},
            API.replace("v1beta", "v1alpha") + "Constrained",
            {"Authorization": "Token auth_tokens/abc"},
        ),
        ({"url": "ws://127.0.0.1:9/ws/x"}, "ws://127.0.0.1:9/ws/x", {}),
        ({"url": "ws://127.0.0.1:9/ws/x", "api_key": "k"}, "ws://127.0.0.1:9/ws/x", {"x-goog-api-key": "k"}),
        (
            {"vertex": True, "project": "p", "access_token": "t", "quota_project": "q"},
            f"wss://aiplatform.googleapis.com{VERTEX}",
            {"Authorization": "Bearer t", "x-goog-user-project": "q"},
        ),
        (
            {"vertex": True, "project": "p", "location": "europe-west4"},
            f"wss://europe-west4-aiplatform.googleapis.com{VERTEX}",
            {},
        ),
        ({"vertex": True, "project": "p", "location": "eu"}, f"wss://aiplatform.eu.rep.googleapis.com{VERTEX}", {}),
        ({"vertex": True, "api_key": "k"}, f"wss://aiplatform.googleapis.com{VERTEX}", {"x-goog-api-key": "k"}),
    ],
)
def test_where_and_with_what(options: dict[str, Any], url: str, headers: dict[str, str]) -> None:
    made = dial(GeminiOptions(**options), "gemini")
    assert (made.url, dict(made.headers)) == (url, headers)


def test_what_only_the_unfinished_version_has_goes_there() -> None:
    config = ProcessConfig(extensions={"affective_dialog": True})
    options = GeminiOptions(api_key="k", model="gemini-2.5-flash-native-audio-preview-12-2025")
    assert "v1alpha" in GeminiProtocol(options, config, MULAW_8K, "gemini").dial().url
    assert "v1beta." in GeminiProtocol(options, ProcessConfig(), MULAW_8K, "gemini").dial().url


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "GEMINI_API_KEY"),
        ({"url": API}, "GEMINI_API_KEY"),
        ({"api_key": "k", "url": "https://x"}, "GEMINI_LIVE_URL"),
        ({"api_key": "k", "url": "ws://[x"}, "GEMINI_LIVE_URL"),
        ({"api_key": "k", "url": "ws://h/p?key=planted-key"}, "no credentials"),
        ({"api_key": "k", "url": "ws://planted-key@h/p"}, "no credentials"),
        ({"api_key": "planted-k\u00e9y"}, "printable ASCII"),
        ({"api_key": "k", "api_version": "beta"}, "GEMINI_API_VERSION"),
        ({"vertex": True, "project": "p", "location": "x/y"}, "GOOGLE_CLOUD_LOCATION"),
    ],
)
def test_what_can_not_be_dialled(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidConfigError) as error:
        dial(GeminiOptions(**options), "gemini")
    assert words in error.value.message
    assert "planted" not in str(error.value)


def test_vertex_needs_a_project() -> None:
    with pytest.raises(InvalidConfigError, match="GOOGLE_CLOUD_PROJECT"):
        GeminiProtocol(GeminiOptions(vertex=True, access_token="t"), ProcessConfig(), MULAW_8K, "gemini")


def test_when_a_token_has_to_be_fetched() -> None:
    assert needs_credentials(GeminiOptions(vertex=True, project="p"))
    assert needs_credentials(GeminiOptions(vertex=True, project="p", api_key="k"))
    assert not needs_credentials(GeminiOptions(vertex=True, project="p", access_token="t"))
    assert not needs_credentials(GeminiOptions(vertex=True, api_key="k"))
    assert not needs_credentials(GeminiOptions(api_key="k"))


def test_values_from_the_environment() -> None:
    options = GeminiOptions(api_key=" k ", model=" ", location="")
    assert (options.api_key, options.model, options.location) == ("k", "gemini-3.8-live", "global")
    assert "planted" not in repr(GeminiOptions(api_key="planted", access_token="planted"))
    infos = option_infos(GeminiOptions)
    assert infos["api_key"].env == ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    assert {name for name, info in infos.items() if info.secret} == {"api_key", "access_token"}
