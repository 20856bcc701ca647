"""A simulated server of one's own, which speaks OpenAI's protocol as it was before (beta), and not all of it.

Sessions are flat and events have their old names; audio is linear, 16 kHz in and 24 kHz out; nothing is truncated, and
no metadata comes back. The faults `refuse-field` and `unconfirmed` make it know even less.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai import serve as serve_openai
from tandem.simulators.openai_checks import (
    Refused,
    array,
    boolean,
    either,
    integer,
    mapping,
    nullable,
    number,
    one_of,
    record,
    string,
    tagged,
)
from tandem.simulators.openai_connection import SimulatedSession
from tandem.simulators.openai_schema import client_events
from tandem.simulators.openai_tongue import Event, OpenAITongue
from tandem_codecs.format import PCM16_16K, PCM16_24K, AudioFormat

NAMES: Final[Mapping[str, str]] = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}
"""Events by their names today and in this protocol."""
_FORMAT_NAMES: Final = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}
_MODALITIES: Final = either(one_of(["text"]), one_of(["text", "audio"], ["audio", "text"]))
_TURN_DETECTION: Final = record(
    {
        "type": one_of("server_vad"),
        "threshold": number(0, 1),
        "prefix_padding_ms": integer(0),
        "silence_duration_ms": integer(0),
        "create_response": boolean,
        "interrupt_response": boolean,
    },
    ("type",),
)
_TOOL: Final = record(
    {"type": one_of("function"), "name": string, "description": string, "parameters": mapping}, ("type", "name")
)
_SHARED: Final = {
    "modalities": _MODALITIES,
    "instructions": string,
    "voice": string,
    "output_audio_format": one_of("pcm16"),
    "tools": array(_TOOL),
    "tool_choice": one_of("auto", "none", "required"),
    "temperature": number(0, 2),
}
_SESSION: Final = record(
    {
        **_SHARED,
        "input_audio_format": one_of("pcm16"),
        "input_audio_transcription": nullable(record({"model": string, "language": string})),
        "turn_detection": nullable(_TURN_DETECTION),
        "max_response_output_tokens": either(one_of("inf"), integer(1, 4096)),
    }
)
_TEXT: Final = record({"type": one_of("text", "input_text"), "text": string}, ("type", "text"))
_ITEM: Final = tagged(
    "type",
    {
        "message": record(
            {"id": string, "type": string, "role": one_of("user", "system", "assistant"), "content": array(_TEXT)},
            ("role", "content"),
        ),
        "function_call_output": record(
            {"id": string, "type": string, "call_id": string, "output": string}, ("call_id", "output")
        ),
    },
)
_RESPONSE: Final = record({**_SHARED, "max_output_tokens": either(one_of("inf"), integer(1, 4096))})
_EVENT: Final = client_events(_SESSION, _ITEM, _RESPONSE)
_UNKNOWN: Final = ("conversation.item.truncate", "conversation.item.delete", "conversation.item.retrieve")


class BetaTongue(OpenAITongue):
    """The protocol as it was before."""

    def __init__(self, hears: AudioFormat = PCM16_16K, speaks: AudioFormat = PCM16_24K) -> None:
        self._formats = {"input": _linear(hears), "output": _linear(speaks)}

    def check(self, event: Event) -> None:
        if event.get("type") in _UNKNOWN:
            raise Refused(f"Unknown or invalid event: {event['type']}", kind="unknown_or_invalid_event")
        _EVENT(event, "")

    def read(self, event: Event) -> Event:
        match event["type"]:
            case "session.update":
                return {**event, "session": self._session(event["session"])}
            case "response.create" if event.get("response"):
                return {**event, "response": self._response(event["response"])}
            case "conversation.item.create" if "content" in event["item"]:
                names = {"text": "output_text"} if event["item"]["role"] == "assistant" else {"text": "input_text"}
                return {**event, "item": _renamed_parts(event["item"], names)}
        return event

    def tell(self, event: Event) -> list[Event]:
        kind = event["type"]
        if kind in ("conversation.item.done", "conversation.created"):
            return []
        told = {**event, "type": NAMES.get(kind, kind)}
        if "session" in told:
            told["session"] = _flat(told["session"])
        if "item" in told:
            told["item"] = _old_item(told["item"])
        if "response" in told:
            told["response"] = _old_response(told["response"])
        return [told]

    def _session(self, asked: Mapping[str, Any]) -> Event:
        moved = {
            "turn_detection": ("input", "turn_detection"),
            "input_audio_transcription": ("input", "transcription"),
            "voice": ("output", "voice"),
        }
        audio: Event = {side: {"format": audio_format} for side, audio_format in self._formats.items()}
        for name, value in asked.items():
            if name in moved:
                side, inner = moved[name]
                audio[side][inner] = value
        return {"type": "realtime", "audio": audio, **_common(asked)}

    def _response(self, asked: Mapping[str, Any]) -> Event:
        voice = {"audio": {"output": {"voice": asked["voice"]}}} if "voice" in asked else {}
        return _common(asked) | voice


def _linear(audio_format: AudioFormat) -> Event:
    return {"type": "audio/pcm", "rate": audio_format.rate}


def _common(asked: Mapping[str, Any]) -> Event:
    """Settings that sessions and responses share."""
    names = {
        "instructions": "instructions",
        "tools": "tools",
        "tool_choice": "tool_choice",
        "max_response_output_tokens": "max_output_tokens",
        "max_output_tokens": "max_output_tokens",
    }
    common = {names[name]: value for name, value in asked.items() if name in names}
    if "modalities" in asked:
        common["output_modalities"] = ["audio"] if "audio" in asked["modalities"] else ["text"]
    return common


def _renamed_parts(item: Mapping[str, Any], names: Mapping[str, str]) -> Event:
    content = [{**part, "type": names.get(part["type"], part["type"])} for part in item["content"]]
    return {**item, "content": content}


def _old_item(item: Mapping[str, Any]) -> Event:
    old = {"output_text": "text", "output_audio": "audio"}
    return _renamed_parts(item, old) if "content" in item else dict(item)


def _old_response(response: Mapping[str, Any]) -> Event:
    new = ("output_modalities", "audio", "metadata")
    old = {name: value for name, value in response.items() if name not in new}
    return {**old, "modalities": _old_modalities(response), "output": [_old_item(item) for item in old["output"]]}


def _old_modalities(wire: Mapping[str, Any]) -> list[str]:
    return ["text", "audio"] if wire["output_modalities"] == ["audio"] else ["text"]


def _flat(session: Mapping[str, Any]) -> Event:
    heard, said = session["audio"]["input"], session["audio"]["output"]
    kept = ("id", "model", "expires_at", "instructions", "tools", "tool_choice")
    return {
        "object": "realtime.session",
        **{name: session[name] for name in kept},
        "modalities": _old_modalities(session),
        "voice": said["voice"],
        "input_audio_format": _FORMAT_NAMES[heard["format"]["type"]],
        "output_audio_format": _FORMAT_NAMES[said["format"]["type"]],
        "input_audio_transcription": heard["transcription"],
        "turn_detection": heard["turn_detection"],
        "temperature": 0.8,
        "max_response_output_tokens": session["max_output_tokens"],
    }


class OpenAICompatibleSimulator(OpenAISimulator):
    """The server, as an async context manager; see `OpenAISimulator` for what it takes.

    A key is only asked for when there is one; it may come in any of the ways that such servers know.
    """

    make_tongue = BetaTongue

    def is_welcome(self, session: SimulatedSession) -> bool:
        if self.options.key is None:
            return True
        headers = session.headers
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        sent = (bearer, headers.get("x-api-key"), headers.get("api-key"), session.query.get("api_key"))
        return self.options.key in sent

    def complaint(self, session: SimulatedSession) -> tuple[str, str, str | None] | None:
        """Whatever is asked for, there is one model here."""
        return None


serve = functools.partial(serve_openai, simulator_type=OpenAICompatibleSimulator)
"""See `tandem.simulators.openai.serve`."""
