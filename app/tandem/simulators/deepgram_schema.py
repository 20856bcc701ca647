"""The messages that Deepgram's Voice Agent takes from a client, as data."""

from __future__ import annotations

from typing import Any, Final

from tandem.simulators.openai_checks import (
    Check,
    Refused,
    array,
    boolean,
    either,
    integer,
    mapping,
    number,
    one_of,
    record,
    string,
    tagged,
)
from tandem_codecs.format import AudioFormat, Encoding

ENCODINGS: Final = {"mulaw": Encoding.MULAW, "alaw": Encoding.ALAW, "linear16": Encoding.PCM16}
"""Those of the vendor's that a telephone needs."""
PROMPT_LIMIT: Final = 25_000
_FLUX: Final = ("eot_threshold", "eager_eot_threshold", "eot_timeout_ms", "language_hints")
_NOVA: Final = ("language", "smart_format")
_ENDPOINT: Final = record({"url": string, "headers": mapping, "method": string}, ["url"])


def text(longest: int) -> Check:
    """Text that is there, and not longer than so many characters."""

    def check(value: Any, path: str) -> None:
        string(value, path)
        if not value or len(value) > longest:
            raise Refused(f"Invalid '{path}': 1 to {longest} characters.", "invalid_value", path)

    return check


def _listen(value: Any, path: str) -> None:
    fields = {
        "type": one_of("deepgram"),
        "version": one_of("v1", "v2"),
        "model": text(100),
        "language": string,
        "language_hints": array(string),
        "keyterms": array(string),
        "smart_format": boolean,
        "eot_threshold": number(0.5, 1.0),
        "eager_eot_threshold": number(0.3, 0.9),
        "eot_timeout_ms": integer(500, 60_000),
    }
    record(fields, ["type", "model"])(value, path)
    flux = value["model"].startswith("flux")
    if value.get("version", "v1") != ("v2" if flux else "v1"):
        raise Refused(f"Model '{value['model']}' does not belong to this version.", "invalid_value", f"{path}.version")
    for wrong in _NOVA if flux else _FLUX:
        if wrong in value:
            raise Refused(f"'{wrong}' is not supported by this model.", "unsupported", f"{path}.{wrong}")


def _model(*extra: str) -> Check:
    fields: dict[str, Check] = {"type": string, "version": string, "model": text(200), "temperature": number(0, 2)}
    return record({**fields, **dict.fromkeys(extra, string)}, ["type", "model"])


_FUNCTION: Final = record(
    {
        "name": text(64),
        "description": string,
        "parameters": mapping,
        "defer_until_eot": boolean,
        "endpoint": _ENDPOINT,
    },
    ["name"],
)
_THINKER: Final = tagged(
    "type",
    {
        "open_ai": _model("reasoning_mode"),
        "anthropic": _model(),
        "google": _model(),
        "groq": _model("reasoning_mode"),
        "aws_bedrock": record(
            {"type": string, "model": text(200), "temperature": number(0, 2), "credentials": mapping}, ["model"]
        ),
        "deepgram": _model("reasoning_mode"),
    },
)
_THINK: Final = record(
    {
        "provider": _THINKER,
        "endpoint": _ENDPOINT,
        "prompt": string,
        "context_length": either(one_of("max"), integer(1)),
        "functions": array(_FUNCTION),
    },
    ["provider"],
)
_VOICE: Final = tagged(
    "type",
    {
        "deepgram": record(
            {"type": string, "version": one_of("v1", "v2"), "model": text(100), "speed": number(0.5, 1.5)}, ["model"]
        ),
        "eleven_labs": record({"type": string, "model_id": text(100), "language": string}, ["model_id"]),
        "cartesia": record(
            {"type": string, "model_id": text(100), "voice": mapping, "language": string}, ["model_id", "voice"]
        ),
        "open_ai": record({"type": string, "model": text(100), "voice": text(100)}, ["model", "voice"]),
        "aws_polly": record(
            {"type": string, "voice": string, "language": string, "engine": string, "credentials": mapping}, ["voice"]
        ),
    },
)


def _speak(value: Any, path: str) -> None:
    record({"provider": _VOICE, "endpoint": _ENDPOINT}, ["provider"])(value, path)
    if value["provider"]["type"] != "deepgram" and "endpoint" not in value:
        raise Refused("An endpoint is required for this provider.", "missing_required_parameter", f"{path}.endpoint")


_HISTORY: Final = record(
    {"type": one_of("History"), "role": one_of("user", "assistant"), "content": text(100_000)}, ["role", "content"]
)
_AGENT: Final = record(
    {
        "listen": record({"provider": _listen}, ["provider"]),
        "think": either(array(_THINK), _THINK),
        "speak": either(array(_speak), _speak),
        "context": record({"messages": array(_HISTORY)}),
        "greeting": string,
    }
)
_AUDIO: Final = record(
    {
        "input": record({"encoding": one_of(*ENCODINGS), "sample_rate": integer(8000, 48_000)}, ["encoding"]),
        "output": record(
            {
                "encoding": one_of(*ENCODINGS),
                "sample_rate": integer(8000, 48_000),
                "container": one_of("none", "wav", "ogg"),
                "bitrate": integer(1),
            }
        ),
    }
)
_TYPE: Final[dict[str, Check]] = {"type": string}
MESSAGE: Final = tagged(
    "type",
    {
        "Settings": record(
            {
                **_TYPE,
                "tags": array(string),
                "experimental": boolean,
                "mip_opt_out": boolean,
                "flags": record({"history": boolean}),
                "audio": _AUDIO,
                "agent": either(text(200), _AGENT),
            },
            ["audio", "agent"],
        ),
        "FunctionCallResponse": record(
            {**_TYPE, "id": string, "name": text(64), "content": string}, ["name", "content"]
        ),
        "InjectAgentMessage": record(
            {**_TYPE, "message": text(10_000), "behavior": one_of("default", "queue", "interrupt")}, ["message"]
        ),
        "InjectUserMessage": record({**_TYPE, "content": text(100_000)}, ["content"]),
        "UpdatePrompt": record({**_TYPE, "prompt": text(100_000)}, ["prompt"]),
        "UpdateSpeak": record({**_TYPE, "speak": either(array(_speak), _speak)}, ["speak"]),
        "UpdateThink": record({**_TYPE, "think": either(array(_THINK), _THINK)}, ["think"]),
        "UpdateListen": record({**_TYPE, "listen": mapping}, ["listen"]),
        "KeepAlive": record(_TYPE),
        "ForceEndTurn": record(_TYPE),
    },
)
"""Any message of a client."""


def audio_format(side: Any) -> AudioFormat:
    """The format that one side of a `Settings` names; the vendor's default is 24 kHz."""
    return AudioFormat(ENCODINGS[side.get("encoding", "linear16")], side.get("sample_rate", 24_000))
