"""What a Gemini client may send: every message field by field, and what only some models take.

The server has no error messages. Whatever is wrong ends the connection, with a code and a sentence, as `Closing` says.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

INVALID: Final = "Request contains an invalid argument."
_OPEN: Final = frozenset({"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels", "properties"})
"""Objects whose names are the client's own."""
_UNDERSCORE: Final = re.compile(r"_([a-z0-9])")

Check = Callable[[Any, str], None]


class Closing(Exception):
    """The connection ends like this."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def invalid(reason: str = INVALID) -> Closing:
    return Closing(1007, reason)


def camel(value: Any) -> Any:
    """Names in camel case: the server also takes those in snake case."""
    if isinstance(value, list):
        return [camel(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, inner in value.items():
        name = _UNDERSCORE.sub(lambda found: found[1].upper(), key)
        made[name] = inner if name in _OPEN else camel(inner)
    return made


# Kinds of values, as protobuf's JSON has them.


def _text(value: Any, path: str) -> None:
    if not isinstance(value, str):
        raise invalid(f"Invalid value at '{path}' (TYPE_STRING), {value!r}"[:120])


def _flag(value: Any, path: str) -> None:
    if not isinstance(value, bool):
        raise invalid(f"Invalid value at '{path}' (TYPE_BOOL), {value!r}"[:120])


def _number(value: Any, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(f"Invalid value at '{path}' (TYPE_FLOAT), {value!r}"[:120])


def _integer(value: Any, path: str) -> None:
    """64 bits may be written as text."""
    whole = isinstance(value, int) or (isinstance(value, str) and value.lstrip("-").isdecimal())
    if isinstance(value, bool) or not whole:
        raise invalid(f"Invalid value at '{path}' (TYPE_INT64), {value!r}"[:120])


def _anything(value: Any, path: str) -> None:
    pass


def _bytes(value: Any, path: str) -> None:
    decoded(value, path)


def _any_object(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at '{path}'")


def _word(*words: str) -> Check:
    def check(value: Any, path: str) -> None:
        if value not in words:
            raise invalid(f"Invalid value at '{path}' (TYPE_ENUM), {value!r}"[:120])

    return check


def _many(entry: Check) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise invalid(f"Invalid value at '{path}'")
        for index, inner in enumerate(value):
            entry(inner, f"{path}[{index}]")

    return check


def _message(**fields: Check) -> Check:
    def check(value: Any, path: str) -> None:
        _any_object(value, path)
        for name, inner in value.items():
            if name not in fields:
                where = f" at '{path}'" if path else ""
                raise invalid(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'[:120])
            fields[name](inner, f"{path}.{name}" if path else name)

    return check


def decoded(value: Any, path: str = "data") -> bytes:
    """Bytes out of base64 of either alphabet."""
    _text(value, path)
    try:
        text = value.replace("-", "+").replace("_", "/")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise invalid(f"Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed") from None


_BLOB: Final = _message(data=_bytes, mimeType=_text, displayName=_text)
_PART: Final = _message(
    text=_text, inlineData=_BLOB, thought=_flag, functionCall=_any_object, functionResponse=_any_object
)
_CONTENT: Final = _message(role=_text, parts=_many(_PART))
_FUNCTION: Final = _message(
    name=_text,
    description=_text,
    parameters=_any_object,
    parametersJsonSchema=_any_object,
    behavior=_word("BLOCKING", "NON_BLOCKING"),
)
_TOOLS: Final = _many(
    _message(functionDeclarations=_many(_FUNCTION), googleSearch=_any_object, codeExecution=_any_object)
)
_TRANSCRIPTION: Final = _message(
    languageCodes=_many(_text),
    customVocabulary=_many(_text),
    mode=_word("VERBATIM", "SMART"),
    wordTimestamp=_flag,
    diarization=_flag,
)
_SETUP: Final = _message(
    model=_text,
    generationConfig=_message(
        responseModalities=_many(_word("AUDIO", "TEXT")),
        temperature=_number,
        topP=_number,
        topK=_number,
        maxOutputTokens=_integer,
        seed=_integer,
        candidateCount=_integer,
        presencePenalty=_number,
        frequencyPenalty=_number,
        mediaResolution=_word("MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH"),
        speechConfig=_message(voiceConfig=_message(prebuiltVoiceConfig=_message(voiceName=_text)), languageCode=_text),
        thinkingConfig=_message(
            includeThoughts=_flag,
            thinkingBudget=_integer,
            thinkingLevel=_word("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"),
        ),
        enableAffectiveDialog=_flag,
        translationConfig=_any_object,
    ),
    systemInstruction=_CONTENT,
    tools=_TOOLS,
    realtimeInputConfig=_message(
        automaticActivityDetection=_message(
            disabled=_flag,
            startOfSpeechSensitivity=_word("START_SENSITIVITY_HIGH", "START_SENSITIVITY_LOW"),
            endOfSpeechSensitivity=_word("END_SENSITIVITY_HIGH", "END_SENSITIVITY_LOW"),
            prefixPaddingMs=_integer,
            silenceDurationMs=_integer,
        ),
        activityHandling=_word("START_OF_ACTIVITY_INTERRUPTS", "NO_INTERRUPTION"),
        turnCoverage=_word(
            "TURN_INCLUDES_ONLY_ACTIVITY",
            "TURN_INCLUDES_ALL_INPUT",
            "TURN_INCLUDES_AUDIO_ACTIVITY_AND_ALL_VIDEO",
        ),
    ),
    inputAudioTranscription=_TRANSCRIPTION,
    outputAudioTranscription=_TRANSCRIPTION,
    sessionResumption=_message(handle=_text, transparent=_flag),
    contextWindowCompression=_message(triggerTokens=_integer, slidingWindow=_message(targetTokens=_integer)),
    proactivity=_message(proactiveAudio=_flag),
    historyConfig=_message(initialHistoryInClientContent=_flag),
    safetySettings=_many(_any_object),
    labels=_any_object,
    explicitVadSignal=_flag,
    avatarConfig=_any_object,
)
_RESPONSE: Final = _message(
    id=_text,
    name=_text,
    response=_any_object,
    scheduling=_word("SILENT", "WHEN_IDLE", "INTERRUPT"),
    willContinue=_flag,
)
MESSAGE: Final = _message(
    setup=_SETUP,
    clientContent=_message(turns=_many(_CONTENT), turnComplete=_flag),
    realtimeInput=_message(
        audio=_BLOB,
        video=_BLOB,
        mediaChunks=_many(_BLOB),
        text=_text,
        activityStart=_any_object,
        activityEnd=_any_object,
        audioStreamEnd=_flag,
    ),
    toolResponse=_message(functionResponses=_many(_RESPONSE)),
    contextUpdate=_message(systemInstruction=_CONTENT, tools=_message(tools=_TOOLS)),
)
"""Checks any client message whose names are in camel case."""


@dataclass(frozen=True, slots=True)
class Model:
    """How this model behaves where its siblings behave otherwise."""

    id: str
    thinks: str | None
    """Field of `thinkingConfig` that it takes."""
    blocks: bool
    """It waits for the answer to a function call unless told otherwise."""
    may_block: bool = True
    may_not_block: bool = True
    newest: bool = False
    """One of the 3.8 family: strict about roles, cancels a call that the caller talks over, and more."""
    text_by_realtime_only: bool = False
    user_last: bool = False
    """History must end with the caller."""
    tells_status: bool = False


def model_named(path: str) -> Model:
    """Raises `Closing` for one that the server does not have."""
    name = path.rpartition("/")[2]
    if "gemini-" not in name:
        raise Closing(
            1008, f"{path} is not found for API version v1beta, or is not supported for bidiGenerateContent."[:120]
        )
    if "extended-thinking" in name:
        return Model(name, "thinkingLevel", False, may_block=False, newest=True, tells_status=True)
    if "gemini-3.1" in name:
        return Model(name, "thinkingLevel", True, may_not_block=False, text_by_realtime_only=True)
    if "2.5" in name:
        return Model(name, "thinkingBudget", True, user_last=True)
    return Model(name, None, False, newest=True, tells_status=True)


def check_setup(setup: dict[str, Any], model: Model, vertex: bool) -> None:
    """What is well-formed, but not for this model or service."""
    config = setup.get("generationConfig", {})
    thinking = config.get("thinkingConfig", {})
    for field in ("thinkingBudget", "thinkingLevel"):
        if field in thinking and field != model.thinks and not (vertex and model.thinks is None):
            raise invalid()
    if model.tells_status and model.thinks == "thinkingLevel" and "thinkingLevel" not in thinking:
        raise invalid("thinking_level is required for this model.")
    if model.newest and setup.get("proactivity", {}).get("proactiveAudio") is False:
        raise invalid()
    if "TEXT" in config.get("responseModalities", ()):
        raise invalid("Cannot extract voices from a non-audio request.")
    if ("explicitVadSignal" in setup) and not vertex:
        raise invalid(
            "Invalid JSON payload received. Unknown name \"explicitVadSignal\" at 'setup': Cannot find field."
        )
    for tool in setup.get("tools", ()):
        for function in tool.get("functionDeclarations", ()):
            behavior = function.get("behavior")
            if (behavior == "BLOCKING" and not model.may_block) or (
                behavior == "NON_BLOCKING" and not model.may_not_block
            ):
                raise invalid()
            if "parameters" in function and "parametersJsonSchema" in function:
                raise invalid()
