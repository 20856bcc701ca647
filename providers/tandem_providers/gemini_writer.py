"""Commands of the application, written as client messages, and the one place that decides when text may be sent.

Text makes the model answer at once, and stops what it is saying. So what the agent is to say unprompted waits for the
end of the turn under way, and one such wish for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tandem_providers.commands import Purpose
from tandem_providers.gemini_microphone import encode
from tandem_providers.gemini_say import NOT_THE_CALLER
from tandem_providers.gemini_session import SessionPlan
from tandem_providers.gemini_turns import Call
from tandem_providers.provider import HistoryTurn

_ROLES: Final = {"user": "user", "assistant": "model"}
_GOES_ON: Final = f"{NOT_THE_CALLER} The line was renewed. Go on with the conversation when the caller speaks."
_NO_RESULT: Final = {"status": "ok", "retryable": False, "message": "Done. There is nothing more to tell."}
"""An empty answer makes some models call the function again and again."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Text that waits to be sent."""

    text: str
    respond: bool
    purpose: Purpose | None = None


class Wishes:
    """What the application wants said or known, in order."""

    def __init__(self) -> None:
        self.waiting: list[Wish] = []
        """Read by others, changed here."""

    @property
    def reply_is_next(self) -> bool:
        """What would be sent next is to be answered, not spoken unprompted."""
        spoken = next((wish for wish in self.waiting if wish.respond), None)
        return spoken is not None and spoken.purpose is None

    def add(self, wish: Wish) -> None:
        """A wish to speak goes before replies and replaces one for the same purpose; a farewell replaces all."""
        if wish.purpose is None:
            self.waiting.append(wish)
            return
        self.waiting = [other for other in self.waiting if other.purpose is not wish.purpose]
        if wish.purpose is Purpose.GOODBYE:
            self.waiting = [other for other in self.waiting if not other.respond]
        spoken = [other for other in self.waiting if other.purpose is not None]
        self.waiting = [*spoken, wish, *(other for other in self.waiting if other.purpose is None)]

    def cancel(self) -> None:
        """The caller speaks: what the agent was to say is not wanted any more, but for the farewell."""
        self.waiting = [wish for wish in self.waiting if not wish.respond or wish.purpose in (None, Purpose.GOODBYE)]

    def take(self) -> tuple[list[str], list[str]]:
        """Everything up to the next one that makes the agent speak: notes, and what it shall answer to.

        Texts to be answered that stand one behind the other need one answer.
        """
        notes = [wish.text for wish in self.waiting if not wish.respond]
        spoken = [wish for wish in self.waiting if wish.respond]
        alone = bool(spoken) and spoken[0].purpose is not None
        now = spoken[:1] if alone else spoken
        self.waiting = spoken[len(now) :]
        return notes, [wish.text for wish in now]


class Writer:
    """Writes one session's messages. What is written waits in `take` to be sent, in order."""

    def __init__(self, plan: SessionPlan) -> None:
        self._plan = plan
        self._instructions = plan.instructions
        self._messages: list[bytes] = []

    def take(self) -> list[bytes]:
        """Everything that was written since the last time."""
        if not self._messages:
            return []
        messages, self._messages = self._messages, []
        return messages

    def add(self, messages: Sequence[bytes]) -> None:
        """Messages that are written already."""
        self._messages += messages

    def set_up(self) -> None:
        self._write("setup", self._plan.setup)

    def seed(self, history: Sequence[HistoryTurn]) -> None:
        """The memory of an earlier conversation."""
        turns = [_turn(_ROLES[turn.role], turn.text) for turn in history if turn.text.strip()]
        announced = "historyConfig" in self._plan.setup
        if not self._plan.generation.history_flag and turns and turns[-1]["role"] != "user":
            turns.append(_turn("user", _GOES_ON))
        if turns or announced:
            self._write("clientContent", {"turns": turns, "turnComplete": announced})

    def ask(self, texts: Sequence[str]) -> None:
        """Text that the agent shall answer now."""
        if self._plan.generation.text == "realtime":
            self._write("realtimeInput", {"text": "\n".join(texts)})
        else:
            self._write("clientContent", {"turns": [_turn("user", text) for text in texts], "turnComplete": True})

    def note(self, text: str) -> None:
        """Text that the agent shall know, and not answer."""
        if self._plan.generation.context_update:
            self._write("contextUpdate", {"systemInstruction": {"parts": [{"text": self._instructed(text)}]}})
        elif self._plan.generation.text == "realtime":
            self._write("realtimeInput", {"text": f"{NOT_THE_CALLER} Keep in mind, and do not answer: {text}"})
        elif self._plan.vertex:
            self._write("clientContent", {"turns": [_turn("system", self._instructed(text))], "turnComplete": False})
        else:
            self._write("clientContent", {"turns": [_turn("user", text)], "turnComplete": False})

    def answer(self, calls: Sequence[Call]) -> None:
        """The answers to these calls."""
        responses = []
        for call in calls:
            response: dict[str, Any] = {"name": call.name, "response": _response(call.output or "")}
            if call.named:
                response["id"] = call.id
            if not call.blocking and call.name in self._plan.scheduling:
                response["scheduling"] = self._plan.scheduling[call.name]
            responses.append(response)
        self._write("toolResponse", {"functionResponses": responses})

    def _instructed(self, text: str) -> str:
        """The instructions with one more; a change replaces all that there were."""
        self._instructions = f"{self._instructions}\n\n{text}".strip()
        return self._instructions

    def _write(self, kind: str, body: Any) -> None:
        self._messages.append(encode({kind: body}))


def _turn(role: str, text: str) -> dict[str, Any]:
    """The role is always written: without one, the newest models close the connection."""
    return {"role": role, "parts": [{"text": text}]}


def _response(output: str) -> dict[str, Any]:
    """An answer as the object that the wire asks for: data under `output`, a failure under `error`."""
    try:
        value = msgspec.json.decode(output)
    except (ValueError, RecursionError):
        value = output
    if value is None or value == "" or value == {} or value == []:
        return {"output": _NO_RESULT}
    if isinstance(value, dict) and "error" in value:
        return {"error": value}
    return {"output": value}
