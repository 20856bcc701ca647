"""What changes without code: the models and voices of Gemini Live, and how the generations of models differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

BLOCKING: Final = "BLOCKING"
NON_BLOCKING: Final = "NON_BLOCKING"


@dataclass(frozen=True, slots=True)
class Generation:
    """What one generation of models takes, and how it wants to be spoken to."""

    name: str
    thinking: Literal["budget", "level", "level-required", "none"]
    """How the amount of thinking is set; `level-required`: and must be; `none`: a setting is refused."""
    behaviors: tuple[str, ...]
    """Whether the model waits for a function's answer: what is possible, what it does by default first."""
    text: Literal["content", "realtime"]
    """The message that carries text into a session under way."""
    history_flag: bool
    """The set-up has to announce that the memory of an earlier conversation follows."""
    context_update: bool
    """The instructions can be changed in the middle of a session."""
    proactive: Literal["optional", "always", "never"]
    affective: bool


NATIVE_25: Final = Generation(
    "2.5 native audio",
    thinking="budget",
    behaviors=(BLOCKING, NON_BLOCKING),
    text="content",
    history_flag=False,
    context_update=False,
    proactive="optional",
    affective=True,
)
FLASH_31: Final = Generation(
    "3.1 flash live",
    thinking="level",
    behaviors=(BLOCKING,),
    text="realtime",
    history_flag=True,
    context_update=False,
    proactive="never",
    affective=False,
)
LIVE_38: Final = Generation(
    "3.8 live",
    thinking="none",
    behaviors=(NON_BLOCKING, BLOCKING),
    text="content",
    history_flag=True,
    context_update=True,
    proactive="always",
    affective=False,
)
EXTENDED_38: Final = Generation(
    "3.8 live extended thinking",
    thinking="level-required",
    behaviors=(NON_BLOCKING,),
    text="content",
    history_flag=True,
    context_update=True,
    proactive="always",
    affective=False,
)

DEFAULT_MODEL: Final = "gemini-3.8-live"
MODELS: Final[dict[str, Generation]] = {
    DEFAULT_MODEL: LIVE_38,
    "gemini-3.8-live-extended-thinking": EXTENDED_38,
    "gemini-3.1-flash-live-preview": FLASH_31,
    "gemini-2.5-flash-native-audio-preview-12-2025": NATIVE_25,
    "gemini-live-2.5-flash-native-audio": NATIVE_25,
}
"""The models that hold a conversation. Others are passed on, with a warning."""
NOT_CONVERSATIONAL: Final = ("gemini-3.5-transcribe-live", "gemini-3.5-live-translate")
"""How the names of models begin that speak this protocol, but do not answer."""

VOICES: Final = (
    "Zephyr", "Puck", "Charon", "Kore", "Fenrir", "Leda", "Orus", "Aoede", "Callirrhoe", "Autonoe", "Enceladus",
    "Iapetus", "Umbriel", "Algieba", "Despina", "Erinome", "Algenib", "Rasalgethi", "Laomedeia", "Achernar", "Alnilam",
    "Schedar", "Gacrux", "Pulcherrima", "Achird", "Zubenelgenubi", "Vindemiatrix", "Sadachbia", "Sadaltager",
    "Sulafat",
)  # fmt: skip


def bare(model: str) -> str:
    """The model's id, without the path that one of the two services puts before it."""
    return model.rpartition("/")[2]


def generation_of(model: str) -> Generation:
    """How to speak to this model; one that is not known is taken for one of the newest."""
    name = bare(model)
    if name in MODELS:
        return MODELS[name]
    if "extended-thinking" in name:
        return EXTENDED_38
    if name.startswith(("gemini-3.1", "gemini-3-")):
        return FLASH_31
    if "-2.5" in name or "-2.0" in name:
        return NATIVE_25
    return LIVE_38


def voice_named(name: str) -> str | None:
    """The voice of that name as the vendor spells it, or None when it is not known."""
    return next((voice for voice in VOICES if voice.lower() == name.lower()), None)
