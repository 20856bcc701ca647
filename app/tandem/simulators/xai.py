"""A simulated xAI Grok Voice server: OpenAI's protocol with the vendor's own ways.

Voice and turns stand at the top of a session; what the caller says is told whole each time; a response of which nothing
was heard ends without a word when the caller goes on; words can be forced; conversations can be resumed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai import serve as serve_openai
from tandem.simulators.openai_checks import (
    Check,
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
from tandem.simulators.openai_conversation import Conversation
from tandem.simulators.openai_schema import ITEM, client_events
from tandem.simulators.openai_tongue import Event, OpenAITongue

VOICES: Final = ("eve", "ara", "rex", "sal", "leo", "carina", "zagan", "helix", "orion", "luna", "iris")
BUILT_IN_TOOLS: Final = ("web_search", "x_search", "file_search", "mcp")
_FORMAT: Final = tagged(
    "type",
    {
        "audio/pcm": record({"type": string, "rate": one_of(8000, 16000, 24000)}),
        "audio/pcmu": record({"type": string}),
        "audio/pcma": record({"type": string}),
    },
)
_TURN_DETECTION: Final = record(
    {
        "type": one_of("server_vad"),
        "threshold": number(0.1, 0.9),
        "prefix_padding_ms": integer(0),
        "silence_duration_ms": integer(0),
        "idle_timeout_ms": nullable(integer(0)),
    },
    ("type",),
)
_INPUT: Final = record(
    {
        "format": _FORMAT,
        "transcription": nullable(
            record({"model": one_of("grok-transcribe"), "language_hint": string, "keyterms": array(string)})
        ),
        "transport": one_of("json"),
    }
)
_OUTPUT: Final = record({"format": _FORMAT, "speed": number(0.7, 1.5), "transport": one_of("json")})
_TOOL: Final = tagged(
    "type",
    {
        "function": record(
            {"type": string, "name": string, "description": string, "parameters": mapping}, ("type", "name")
        ),
        **dict.fromkeys(BUILT_IN_TOOLS, mapping),
    },
)
_SESSION: Final = record(
    {
        "instructions": string,
        "voice": one_of(*VOICES),
        "turn_detection": nullable(_TURN_DETECTION),
        "audio": record({"input": _INPUT, "output": _OUTPUT}),
        "tools": array(_TOOL),
        "reasoning": record({"effort": one_of("none", "minimal", "low", "medium", "high", "xhigh")}),
        "resumption": record({"enabled": boolean}),
        "replace": mapping,
    }
)
_RESPONSE: Final = record(
    {
        "modalities": either(one_of(["text"]), one_of(["text", "audio"], ["audio", "text"])),
        "instructions": string,
        "metadata": nullable(mapping),
    }
)
_FORCED: Final = record(
    {
        "type": one_of("force_message"),
        "role": one_of("assistant"),
        "content": array(record({"type": one_of("output_text"), "text": string}, ("type", "text"))),
        "interruptible": boolean,
    },
    ("type", "role", "content"),
)
_OWN: Final = ("resumption", "replace")


def _item(value: Any, path: str) -> None:
    check: Check = _FORCED if isinstance(value, Mapping) and value.get("type") == "force_message" else ITEM
    check(value, path)


_EVENT: Final = client_events(_SESSION, _item, _RESPONSE)


class XAITongue(OpenAITongue):
    """The vendor's ways."""

    drops_unheard = True
    ping_seconds = 5.0
    always_named = True

    def __init__(self) -> None:
        self.may_resume = False
        self._own: Event = {"reasoning": {"effort": "high"}, "resumption": {"enabled": False}, "replace": {}}
        self._heard: dict[str, str] = {}

    def check(self, event: Event) -> None:
        _EVENT(event, "")

    def read(self, event: Event) -> Event:
        match event["type"]:
            case "session.update":
                return {**event, "session": self._session(event["session"])}
            case "response.create" if event.get("response"):
                return {**event, "response": _response(event["response"])}
        return event

    def tell(self, event: Event) -> list[Event]:
        kind = event["type"]
        if "session" in event:
            return [{**event, "session": self._shown(event["session"])}]
        match kind:
            case "conversation.item.input_audio_transcription.delta":
                return [self._updated(event)]
            case "conversation.item.input_audio_transcription.completed":
                return _in_two(event)
            case "response.output_text.delta" | "response.output_text.done":
                return [{**event, "type": kind.replace("output_text", "text")}, event]
            case "response.function_call_arguments.done":
                return [{name: value for name, value in event.items() if name not in ("response_id", "item_id")}]
            case "response.done":
                usage = event["response"]["usage"] or {}
                return [{**event, "response": {**event["response"], "usage": {}}, "usage": usage}]
            case "error" if event["error"]["code"] == "response_cancel_not_active":
                return [{**event, "error": {**event["error"], "code": None}}]
        return [event]

    def _session(self, asked: Mapping[str, Any]) -> Event:
        audio = asked.get("audio", {})
        heard, said = dict(audio.get("input", {})), dict(audio.get("output", {}))
        heard.pop("transport", None)
        said.pop("transport", None)
        if "turn_detection" in asked:
            heard["turn_detection"] = asked["turn_detection"]
        if "voice" in asked:
            said["voice"] = asked["voice"]
        self._own |= {name: asked[name] for name in self._own if name in asked}
        self.may_resume = self._own["resumption"]["enabled"]
        kept = {name: asked[name] for name in ("instructions", "tools") if name in asked}
        return {"type": "realtime", "audio": {"input": heard, "output": said}, **kept}

    def _shown(self, session: Mapping[str, Any]) -> Event:
        heard, said = session["audio"]["input"], session["audio"]["output"]
        kept = ("object", "id", "model", "instructions", "tools", "expires_at")
        return {
            **{name: session[name] for name in kept},
            "voice": said["voice"],
            "turn_detection": heard["turn_detection"],
            "audio": {
                "input": {"format": heard["format"], "transcription": heard["transcription"]},
                "output": {"format": said["format"], "speed": said["speed"]},
            },
            **self._own,
        }

    def _updated(self, event: Event) -> Event:
        """All that was understood so far."""
        text = self._heard[event["item_id"]] = self._heard.get(event["item_id"], "") + event["delta"]
        kept = {name: value for name, value in event.items() if name != "delta"}
        return {**kept, "type": "conversation.item.input_audio_transcription.updated", "transcript": text}


def _in_two(event: Event) -> list[Event]:
    """A transcript that is called complete before it is."""
    beginning, space, _ = event["transcript"].rpartition(" ")
    early = [{**event, "transcript": beginning, "status": "in_progress"}] if space else []
    return [*early, {**event, "status": "completed"}]


def _response(asked: Mapping[str, Any]) -> Event:
    response = {name: value for name, value in asked.items() if name != "modalities"}
    if "modalities" in asked:
        response["output_modalities"] = ["audio"] if "audio" in asked["modalities"] else ["text"]
    return response


class XAISimulator(OpenAISimulator):
    """The server, as an async context manager; see `OpenAISimulator` for what it takes."""

    make_tongue = XAITongue

    def complaint(self, session: SimulatedSession) -> tuple[str, str, str | None] | None:
        """The model may be left out, and whatever else is asked for is let by."""
        return None

    def conversation_of(self, session: SimulatedSession) -> Conversation | None:
        """The conversation that the query names, if a session before allowed for that."""
        wanted = session.query.get("conversation_id")
        if wanted is None or "resume-refused" in session.faults:
            return None
        engines = (each.engine for each in self.sessions if each.engine is not None)
        return next((each.conversation for each in engines if each.conversation.id == wanted and each.resumable), None)


serve = functools.partial(serve_openai, simulator_type=XAISimulator)
"""See `tandem.simulators.openai.serve`."""
