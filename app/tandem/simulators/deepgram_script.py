"""How a simulated Deepgram agent behaves: settings that a test, a drill or the command line may choose."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.simulators.openai_script import OpenAIOptions


@dataclass(frozen=True, slots=True)
class DeepgramOptions(OpenAIOptions):
    """How the simulated server behaves, when nothing is wrong with it."""

    idle_seconds: float = 10.0
    """So long after the client's last message the session is ended."""
    thinking: bool = True
    """`AgentThinking` is told before an answer. Not every model of the vendor's does."""
    started: bool = True
    """`AgentStartedSpeaking` is told. Not every server does."""
    done_after_cut: bool = False
    """`AgentAudioDone` is told of a turn into which the caller spoke, too."""
    server_functions: tuple[str, ...] = ()
    """Functions that the server calls itself, besides those with an endpoint: it only tells of them."""
    json_in_binary: bool = False
    """Messages come in binary frames, as through some proxies."""

    def __post_init__(self) -> None:
        OpenAIOptions.__post_init__(self)
        if self.idle_seconds <= 0:
            raise ValueError("a session can't be idle for less than no time")
