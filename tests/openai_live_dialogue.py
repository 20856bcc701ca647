"""A dialogue with one simulated OpenAI Live session, with a clock of its own and no socket."""

from __future__ import annotations

import base64
import json
import random
from typing import Any, get_args

import msgspec
from openai.types.live import ServerEvent
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tandem.simulators.openai_live_engine import LiveEngine
from tandem.simulators.openai_live_script import OpenAILiveOptions
from tandem.simulators.openai_outlet import UNKNOWN_EVENTS, Action, Close, Cut, Send
from tandem_codecs.format import MULAW_8K

Event = dict[str, Any]
EVENT_TYPES: dict[str, type[BaseModel]] = {
    get_args(each.model_fields["type"].annotation)[0]: each for each in get_args(get_args(ServerEvent)[0])
}
_NESTED: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_SNAPSHOTS = ("response.created", "response.completed", "response.failed")
AUDIO = {"format": {"type": "audio/pcmu", "rate": 8000}}
TOOL = {"type": "function", "name": "weather", "description": "", "parameters": {"type": "object"}, "strict": False}
DELEGATION = {"type": "responses", "responses": {"model": "gpt-5.4-mini", "tools": [TOOL]}}


def validate(event: Event) -> None:
    """Hold an event against the vendor's type for it; kinds that are meant to be unknown pass."""
    if event["type"] in UNKNOWN_EVENTS:
        return
    EVENT_TYPES[event["type"]].model_validate(event)
    if event["type"] == "response.event" and event["event"]["type"] not in _SNAPSHOTS:  # those are cut short
        _NESTED.validate_python(event["event"])


def of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["type"] == kind]


def nested(events: list[Event], kind: str) -> list[Event]:
    """Events of the model behind the voice."""
    return [event["event"] for event in of(events, "response.event") if event["event"]["type"] == kind]


def sound(events: list[Event]) -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in of(events, "session.output_audio.delta"))


def said(events: list[Event]) -> str:
    """Words of the agent."""
    return "".join(event["delta"] for event in of(events, "session.output_transcript.delta"))


def heard(events: list[Event]) -> str:
    """Words of the caller."""
    return "".join(event["delta"] for event in of(events, "session.input_transcript.delta"))


class LiveDialogue:
    """One session with a clock of its own. Each event is held against the vendor's type for it."""

    def __init__(self, faults: dict[str, str] | None = None, *, started: bool = True, **options: Any) -> None:
        self.now = 100.0
        self.closed: Close | None = None
        self.is_cut = False
        self.engine = LiveEngine(
            OpenAILiveOptions(**{"voice": "tone:440", **options}),
            faults=faults or {},
            rng=random.Random(7),
            now=self.now,
            unix_now=1e9,
        )
        assert self.engine.open(self.now) == []
        self.session: Event = {}
        if started:
            self.start()

    def _read(self, actions: list[Action]) -> list[Event]:
        events: list[Event] = []
        for action in actions:
            match action:
                case Send():
                    event: Event = json.loads(action.text)
                    validate(event)
                    if event["type"] not in UNKNOWN_EVENTS:
                        events.append(event)
                case Close():
                    self.closed = action
                case Cut():
                    self.is_cut = True
        return events

    def say(self, kind: str, **fields: Any) -> list[Event]:
        """A client message, and what is answered at once."""
        message = msgspec.json.encode({"type": kind, **fields}).decode()
        return self._read(self.engine.receive(message, self.now))

    def start(self, **session: Any) -> Event:
        (event,) = self.say("session.start", session={"model": "gpt-live-1", "audio": AUDIO, **session})
        assert event["type"] == "session.started", event
        self.session = event["session"]
        return self.session

    def comment(self, content: str, delegation_id: str | None = None) -> list[Event]:
        return self.say("session.commentary.append", content=content, delegation_id=delegation_id)

    def hears(self, audio: bytes) -> list[Event]:
        """The caller's voice, in frames, as it comes; what comes back meanwhile."""
        events: list[Event] = []
        for place in range(0, len(audio), MULAW_8K.frame_bytes):
            frame = audio[place : place + MULAW_8K.frame_bytes]
            events += self.say("session.input_audio.append", audio=base64.b64encode(frame).decode())
            events += self.wait(0.02)
        return events

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass, and hear what comes meanwhile."""
        self.now += seconds
        return self._read(self.engine.wake(self.now))

    def refusal(self, kind: str, **fields: Any) -> Event:
        """The error that answers this message, and nothing but it."""
        (error,) = self.say(kind, event_id="mine", **fields)
        assert error["type"] == "error"
        assert error["error"]["client_event_id"] == "mine"
        refused: Event = error["error"]
        return refused
