"""A dialogue with one simulated OpenAI session, with a clock of its own and no socket."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any

from realtime_client import Event, of, validate

from tandem.simulators.openai_engine import Engine
from tandem.simulators.openai_outlet import UNKNOWN_EVENTS, Action, Close, Send
from tandem.simulators.openai_script import OpenAIOptions
from tandem.simulators.openai_tongue import Tongue


class Dialogue:
    """One session with a clock of its own. Each event is held against the vendor's type for it."""

    def __init__(
        self,
        faults: dict[str, str] | None = None,
        model: str = "gpt-realtime-2.1",
        *,
        tongue: Tongue | None = None,
        judge: Callable[[Event], None] = validate,
        **options: Any,
    ) -> None:
        """`tongue` and `judge`: of another vendor's server, and what its events are held against."""
        self.now = 100.0
        self.judge = judge
        self.closed: Close | None = None
        self.engine = Engine(
            OpenAIOptions(**options),
            model=model,
            faults=faults or {},
            rng=random.Random(7),
            now=self.now,
            unix_now=1e9,
            tongue=tongue,
        )
        self.opening = self._read(self.engine.open(self.now))

    def _read(self, actions: list[Action]) -> list[Event]:
        events: list[Event] = []
        for action in actions:
            match action:
                case Send():
                    event: Event = json.loads(action.text)
                    self.judge(event)
                    if event["type"] not in UNKNOWN_EVENTS:
                        events.append(event)
                case Close():
                    self.closed = action
        return events

    def say(self, kind: str, **fields: Any) -> list[Event]:
        """A client message, and what is answered at once."""
        return self._read(self.engine.receive(json.dumps({"type": kind, **fields}), self.now))

    def set_up(self, **session: Any) -> Event:
        answer = self.say("session.update", session={"type": "realtime", **session})
        assert [event["type"] for event in answer] == ["session.updated"], answer
        updated: Event = answer[0]["session"]
        return updated

    def append(self, audio: bytes) -> list[Event]:
        return self.say("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass, and hear what comes meanwhile."""
        self.now += seconds
        return self._read(self.engine.wake(self.now))

    def refusal(self, kind: str, **fields: Any) -> Event:
        """The error that answers this message, and nothing but it."""
        (error,) = self.say(kind, event_id="mine", **fields)
        assert error["type"] == "error"
        assert error["error"]["event_id"] == "mine"
        refused: Event = error["error"]
        return refused


def done(events: list[Event]) -> Event:
    """The response of the only `response.done`."""
    (event,) = of(events, "response.done")
    response: Event = event["response"]
    return response
