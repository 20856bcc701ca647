"""The providers that can be simulated, one row each. A simulator is imported when it is started, not before."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, cast


@dataclass(frozen=True, slots=True)
class SimulatorKind:
    """One vendor's simulated servers."""

    title: str
    module: str
    """Has `serve(host, port, faults, *, on_listening, on_report, **options)`."""
    variables: str
    """What points a server of ours at it; `{url}` and `{key}` stand in it."""

    @property
    def serve(self) -> Callable[..., Coroutine[Any, Any, None]]:
        """Serves until cancelled; see the module."""
        return cast(Callable[..., Coroutine[Any, Any, None]], importlib.import_module(self.module).serve)


SIMULATORS: Final = {
    "openai": SimulatorKind("OpenAI", "tandem.simulators.openai", "OPENAI_API_KEY={key} OPENAI_REALTIME_URL={url}"),
    "openai-live": SimulatorKind(
        "OpenAI Live",
        "tandem.simulators.openai_live",
        "PROVIDERS=openai-live OPENAI_API_KEY={key} OPENAI_LIVE_URL={url}",
    ),
    "azure": SimulatorKind(
        "Azure OpenAI",
        "tandem.simulators.azure",
        "AZURE_OPENAI_API_KEY={key} AZURE_OPENAI_ENDPOINT={url} AZURE_OPENAI_DEPLOYMENT=any",
    ),
    "xai": SimulatorKind("xAI", "tandem.simulators.xai", "XAI_API_KEY={key} XAI_REALTIME_URL={url}"),
    "openai-compatible": SimulatorKind(
        "OpenAI-compatible",
        "tandem.simulators.openai_compatible",
        "PROVIDERS=openai-compatible OPENAI_COMPATIBLE_API_KEY={key} OPENAI_COMPATIBLE_URL={url} "
        "OPENAI_COMPATIBLE_INPUT_RATE=16000",
    ),
    "gemini": SimulatorKind("Gemini Live", "tandem.simulators.gemini", "GEMINI_API_KEY={key} GEMINI_LIVE_URL={url}"),
    "deepgram": SimulatorKind("Deepgram", "tandem.simulators.deepgram", "DEEPGRAM_API_KEY={key} DEEPGRAM_URL={url}"),
    "elevenlabs": SimulatorKind(
        "ElevenLabs",
        "tandem.simulators.elevenlabs",
        "ELEVENLABS_API_KEY={key} ELEVENLABS_AGENT_ID=any ELEVENLABS_URL={url}",
    ),
}
