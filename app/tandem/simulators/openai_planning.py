"""From a request for a response, the session and the script: what the model will say and do."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tandem.simulators.openai_conversation import Conversation
from tandem.simulators.openai_response import Call, Delivery, Speech, limited
from tandem.simulators.openai_script import OpenAIOptions, Reply, asked_words
from tandem.simulators.openai_session import SessionSettings, format_of
from tandem.simulators.openai_voice import convert, speak, stock_text
from tandem_codecs.format import AudioFormat


@dataclass(frozen=True, slots=True)
class Planned:
    """What a response will be; ids are still missing."""

    wire: dict[str, Any]
    plan: tuple[Speech | Call, ...]
    delivery: Delivery
    ends: str


def plan_response(
    settings: SessionSettings,
    conversation: Conversation,
    reply: Reply,
    asked: Mapping[str, Any],
    options: OpenAIOptions,
    faults: Mapping[str, str],
    turn: int,
) -> Planned:
    """Fields of `asked` (a checked `response` object) go before the session's, the script before the model's words."""
    effective = {**settings.wire, **asked}
    output = {**settings.output, **asked.get("audio", {}).get("output", {})}
    audio_format = format_of(output["format"])
    spoken = effective["output_modalities"] == ["audio"]
    calls = _calls(reply, effective)
    text = reply.text
    if text is None:
        text = "" if calls else _own_words(conversation, asked, turn)
    audio = _sound(reply, text, options, conversation, audio_format) if spoken else b""
    plan: tuple[Speech | Call, ...] = (*_speeches(text, audio, reply.items or options.items, audio_format), *calls)
    ends = reply.ends
    limit = effective["max_output_tokens"]
    if limit != "inf":
        within = limited(plan, limit, audio_format)
        if within is not plan:
            plan, ends = within, "max_output_tokens"
    wire = {
        "object": "realtime.response",
        "id": "",
        "status": "in_progress",
        "status_details": None,
        "output": [],
        "conversation_id": None,
        "output_modalities": list(effective["output_modalities"]),
        "max_output_tokens": limit,
        "audio": {"output": copy.deepcopy({"format": output["format"], "voice": output["voice"]})},
        "usage": None,
        "metadata": asked.get("metadata"),
    }
    return Planned(wire, plan, _delivery(options, faults, audio_format), ends)


def _delivery(options: OpenAIOptions, faults: Mapping[str, str], audio_format: AudioFormat) -> Delivery:
    paces = [float(faults[name]) for name in ("burst", "slow") if name in faults]
    return Delivery(
        audio_format,
        paces[0] if paces else options.pace,
        options.delta_ms,
        odd=options.odd_deltas or "odd-deltas" in faults,
        repeat_calls="duplicate-tool-calls" in faults,
    )


def _calls(reply: Reply, effective: Mapping[str, Any]) -> tuple[Call, ...]:
    """The scripted calls that the session's tools allow; one of our own where a call is required but not scripted."""
    names = [tool["name"] for tool in effective["tools"] if tool["type"] == "function"]
    choice = effective["tool_choice"]
    if choice == "none" or not names:
        return ()
    forced = choice["name"] if isinstance(choice, dict) and choice["type"] == "function" else None
    calls = [Call(call.name or forced or names[0], call.arguments) for call in reply.calls]
    allowed = tuple(call for call in calls if call.name in names)
    if allowed or (choice != "required" and forced is None):
        return allowed
    return (Call(forced or names[0], "{}"),)


def _own_words(conversation: Conversation, asked: Mapping[str, Any], turn: int) -> str:
    """Words asked for by the user, else the result of a function, else something from the shelf."""
    exactly = asked_words(_last_text(conversation, asked))
    if exactly:
        return exactly
    result = conversation.last_output()
    return f"Here is what I found: {result}" if result is not None else stock_text(turn)


def _last_text(conversation: Conversation, asked: Mapping[str, Any]) -> str:
    """What was written to the model last: in the response's own input where it has one."""
    if asked.get("input"):
        return " ".join(part.get("text", "") for part in asked["input"][-1].get("content", []))
    return conversation.last_user_text()


def _sound(
    reply: Reply, text: str, options: OpenAIOptions, conversation: Conversation, audio_format: AudioFormat
) -> bytes:
    voice = reply.voice or options.voice
    seconds = reply.seconds if reply.seconds is not None else options.seconds
    if not text:
        return b""
    if voice == "echo":
        heard = next(
            (item for item in reversed(conversation.items) if item.wire.get("role") == "user" and item.audio), None
        )
        if heard is not None:
            return convert(heard.audio, heard.audio_format, audio_format)
        voice = "speech"
    return speak(voice, text, seconds, audio_format)


def _speeches(text: str, audio: bytes, items: int, audio_format: AudioFormat) -> list[Speech]:
    """The speech in so many messages, words and sound cut alike."""
    if not text:
        return []
    words = text.split(" ")
    count = max(1, min(items, len(words)))
    samples = len(audio) // audio_format.sample_bytes
    speeches = []
    for index in range(count):
        part = words[index * len(words) // count : (index + 1) * len(words) // count]
        start, end = (at * samples // count * audio_format.sample_bytes for at in (index, index + 1))
        speeches.append(Speech(" ".join(part), audio[start:end]))
    return speeches
