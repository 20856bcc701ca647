"""How a simulated ElevenLabs agent is set up and behaves: what a test, a drill or the command line may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.simulators.openai_script import OpenAIOptions
from tandem_codecs.format import MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat, Encoding

FORMATS: Final = {
    "ulaw_8000": MULAW_8K,
    "pcm_8000": PCM16_8K,
    "pcm_16000": PCM16_16K,
    "pcm_24000": PCM16_24K,
    "pcm_48000": AudioFormat(Encoding.PCM16, 48_000),
}
"""What an agent may be set up to hear and to speak, by the vendor's names."""
EVENTS: Final = (
    "audio",
    "interruption",
    "user_transcript",
    "agent_response",
    "agent_response_correction",
    "agent_response_complete",
    "client_tool_call",
    "agent_tool_request",
    "agent_tool_response",
)
"""Events that an agent may be set up to tell its client, beside those that are always told."""
OVERRIDES: Final = (
    "agent.prompt.prompt",
    "agent.prompt.llm",
    "agent.prompt.reasoning_effort",
    "agent.prompt.tool_ids",
    "agent.first_message",
    "agent.language",
    "tts.voice_id",
    "tts.model_id",
    "tts.stability",
    "tts.similarity_boost",
    "tts.speed",
    "conversation.max_duration_seconds",
    "conversation.text_only",
)
"""What of an agent a client may replace, where its security settings allow it."""
FIRST_MESSAGE: Final = "Hello! How can I help you today?"


@dataclass(frozen=True, slots=True)
class ElevenLabsOptions(OpenAIOptions):
    """The agent that takes every call, and how the server behaves when nothing is wrong with it."""

    agent_id: str = ""
    """The only one that there is; empty: any."""
    first_message: str = FIRST_MESSAGE
    """What it says as soon as a conversation begins; empty: it waits."""
    hears: str = "ulaw_8000"
    speaks: str = "ulaw_8000"
    client_events: tuple[str, ...] = EVENTS
    overrides: tuple[str, ...] = OVERRIDES
    tools: tuple[str, ...] = ()
    """Names of its client tools. It has the system tools `end_call` and `skip_turn` in any case."""
    ping_seconds: float = 5.0
    pongs_missed: int = 2
    """So many pings without an answer, and the server hangs up."""
    tentative: bool = False
    """What the caller seems to be saying is told before it is final."""

    def __post_init__(self) -> None:
        OpenAIOptions.__post_init__(self)
        if {self.hears, self.speaks} - set(FORMATS):
            raise ValueError(f"there are the formats {', '.join(FORMATS)}, not {self.hears} or {self.speaks}")
        if set(self.client_events) - set(EVENTS) or set(self.overrides) - set(OVERRIDES):
            raise ValueError("there is no such event, or nothing such to be replaced")
        if self.speaks == "pcm_48000" and not self.voice.startswith("tone"):
            raise ValueError("there are only tones at 48 kHz")
        if self.ping_seconds <= 0 or self.pongs_missed < 1:
            raise ValueError("pings need time between them, and at least one answer may be missed")
