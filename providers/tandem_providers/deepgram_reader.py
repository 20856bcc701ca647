"""What a Deepgram agent says and does, read into the vocabulary of `events`: turns, voice, words and calls.

The wire names neither turns nor items, so they get names here, unlike those of every other session. A turn begins with
whatever comes of it first, for no message is sure to come, and ends with `AgentAudioDone` or with the caller's voice.
What comes after the latter belongs to the turn that was cut, until something shows that another one has begun.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from tandem_codecs.format import AudioFormat
from tandem_providers import deepgram_events as wire
from tandem_providers.events import (
    AudioChunk,
    Event,
    ItemAdded,
    ToolCall,
    ToolCallCancelled,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.spoken import spoken_part

_CALLS: Final = 1024
_INJECTED: Final = 32

_Status = Literal["completed", "interrupted", "cancelled", "incomplete", "failed"]


@dataclass(slots=True)
class Turn:
    """One turn of the agent, with the one item in which it speaks."""

    id: str
    item_id: str = ""
    """Empty as long as it has not said anything."""
    size: int = 0
    """Bytes of voice that came, whether passed on or not."""
    texts: list[str] = field(default_factory=list)
    muted: bool = False
    """The application has stopped it: what still comes must not be heard."""
    calls: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Call:
    """A function call that was told to the application."""

    name: str
    id: str
    """As the vendor has it; some models give none."""


class Reader:
    """Follows one conversation. `names` begins every name that is given to a turn or an item; `voice_format` is that of
    the agent's voice."""

    def __init__(self, names: str, voice_format: AudioFormat) -> None:
        self.turn: Turn | None = None
        """The turn under way."""
        self.late = False
        """A turn has been cut, and nothing has come yet that is surely not of it."""
        self.caller_speaks = False
        """The caller has begun, and the words of it have not come."""
        self.requested = False
        """The agent was asked to speak, and nothing has come of it yet."""
        self.saying = ""
        """The words that it was asked to say."""
        self._mute_next = False
        self._names = names
        self._format = voice_format
        self._turns = self._items = 0
        self._caller_item = ""
        self._last = ""
        self._injected: list[str] = []
        self._calls: dict[str, Call] = {}
        """Calls that wait for an answer."""
        self._known: dict[str, None] = {}

    # The agent

    def voice(self, audio: bytes) -> list[Event]:
        """A piece of the agent's voice, other than one more of the turn under way."""
        if self.late or not audio:
            return []
        events: list[Event] = []
        turn = self._speaking(events)
        turn.size += len(audio)
        if not turn.muted:
            events.append(AudioChunk(audio, False, turn.item_id, turn.id))
        return events

    def said(self, text: str) -> list[Event]:
        """Words of the agent."""
        if not text.strip():
            return []
        if self.saying and text.strip() == self.saying.strip():
            # Words of ours: another turn for sure.
            events = self._anew()
            self.saying = ""
        elif self.late:
            return []
        else:
            events = []
        turn = self._speaking(events)
        words = text if not turn.texts or text[:1].isspace() or turn.texts[-1][-1:].isspace() else f" {text}"
        turn.texts.append(words)
        if not turn.muted:
            events.append(Transcript(words, False, False, turn.item_id, turn.id))
        return events

    def started_speaking(self) -> list[Event]:
        """A turn's voice begins: another one than the one that was cut."""
        turn = self.turn
        # One that was stopped before its first sound only begins to be spoken now.
        events = self._anew() if turn is None or turn.size else []
        self._speaking(events)
        return events

    def thinking(self) -> list[Event]:
        """The agent works on an answer to what it has heard: it takes the caller to be done."""
        return [*self._anew(), *self._caller_done()]

    def audio_done(self) -> list[Event]:
        """All voice of a turn is here; or that of one which was cut, if there is none under way."""
        self.late = False
        turn = self.turn
        if turn is None or not turn.item_id:
            return []
        return self.end("completed")

    def drop(self) -> list[Event]:
        """Nothing has come of this turn for too long."""
        return self.end("incomplete", "dropped") if self.turn is not None else []

    def cancel(self) -> None:
        """The application wants to hear no more of the turn under way, or of the one that it has asked for."""
        if self.turn is not None:
            self.turn.muted = True
        elif self.requested:
            self._mute_next = True

    def cancel_request(self) -> None:
        """What was asked for has not come, and will not."""
        self.requested = self._mute_next = False
        self.saying = ""

    def end(self, status: _Status, reason: str = "") -> list[Event]:
        """Settle everything of the turn under way."""
        turn, self.turn = self.turn, None
        if turn is None:
            return []
        muted = turn.muted and status == "completed"
        events: list[Event] = []
        if status == "completed" and turn.item_id and not muted:
            events.append(AudioChunk(b"", True, turn.item_id, turn.id))
        if turn.texts:
            text = "".join(turn.texts)
            if status != "completed":
                # All of it was told before its voice, most of which may never have come.
                text = spoken_part(text, self._format.milliseconds(turn.size))
            events.append(Transcript(text, True, False, turn.item_id, turn.id))
        if muted:
            status = "cancelled"
        events.append(TurnEnded(turn.id, status, reason, any(call in self._calls for call in turn.calls)))
        return events

    def _anew(self) -> list[Event]:
        """What comes now is of another turn than what was cut or stopped."""
        self.late = False
        return self.end("cancelled") if self.turn is not None and self.turn.muted and self.turn.item_id else []

    def _begin(self, events: list[Event]) -> Turn:
        events += self._caller_done()
        self._turns += 1
        self.turn = Turn(f"{self._names}.turn{self._turns}", muted=self._mute_next)
        self.requested = self._mute_next = False
        events.append(TurnStarted(self.turn.id))
        return self.turn

    def _speaking(self, events: list[Event]) -> Turn:
        """The turn under way, with an item; begun if there is none."""
        turn = self.turn or self._begin(events)
        if not turn.item_id:
            turn.item_id = self._new_item()
            events.append(self._place(turn.item_id, is_input=False))
        return turn

    # The caller

    def caller_started(self) -> list[Event]:
        """The caller speaks. The server has stopped the agent; what is under way of it is late."""
        self.caller_speaks = True
        self._caller_item = self._caller_item or self._new_item()
        self.late = self.late or self.requested or self.turn is not None
        self.requested = self._mute_next = False
        self.saying = ""
        return [UserSpeechStarted(self._caller_item), *self.end("interrupted")]

    def caller_said(self, text: str) -> list[Event]:
        """Words of the caller; or those that were written to the agent, which come back like this."""
        if text in self._injected:
            self._injected.remove(text)
            return self._anew()
        events = self._anew()
        if not text.strip():
            return events + self._caller_done()
        item_id = self._caller_item = self._caller_item or self._new_item()
        events += [self._place(item_id, is_input=True), Transcript(text, True, True, item_id)]
        # Last: whoever waits for an answer does so from here on.
        events += self._caller_done()
        self._caller_item = ""
        return events

    def injected(self, text: str) -> None:
        """This was written to the agent as if the caller had said it."""
        self._injected = [*self._injected, text][-_INJECTED:]

    def caller_quiet(self) -> list[Event]:
        """Nothing more is heard of the caller, though the server has not said what it heard."""
        return self._caller_done()

    def _caller_done(self) -> list[Event]:
        if not self.caller_speaks:
            return []
        self.caller_speaks = False
        return [UserSpeechStopped(self._caller_item)]

    # Function calls

    @property
    def waits_for_us(self) -> bool:
        """The agent waits for the answer to a call."""
        return bool(self._calls)

    def function_calls(self, functions: list[wire.Function]) -> list[Event]:
        """Functions to be called. Those that the server calls itself are its own affair."""
        events = [*self._anew(), *self._caller_done()]
        for function in functions:
            if not function.client_side or not function.name or function.id in self._known:
                continue
            call_id = function.id or self._new_call()
            self._note_call(call_id, Call(function.name, function.id))
            turn = self.turn or self._begin(events)
            turn.calls.add(call_id)
            events.append(ToolCall(call_id, function.name, _json_text(function.arguments), turn.id))
        return events

    def calls_cancelled(self, functions: list[wire.Function]) -> list[Event]:
        """The model does not want these any more."""
        gone = [each.id for each in functions if self._calls.pop(each.id, None) is not None]
        return [ToolCallCancelled(call_id) for call_id in gone]

    def answered(self, call_id: str) -> Call | None:
        """Note the answer to a call; None when nobody waits for it."""
        return self._calls.pop(call_id, None)

    def _new_call(self) -> str:
        return f"{self._names}.call{len(self._known) + 1}"

    def _note_call(self, call_id: str, call: Call) -> None:
        if len(self._known) >= _CALLS:
            forgotten = next(iter(self._known))
            del self._known[forgotten]
            self._calls.pop(forgotten, None)
        self._known[call_id] = None
        self._calls[call_id] = call

    # Items

    def _new_item(self) -> str:
        self._items += 1
        return f"{self._names}.item{self._items}"

    def _place(self, item_id: str, *, is_input: bool) -> ItemAdded:
        after, self._last = self._last or None, item_id
        return ItemAdded(item_id, after, is_input)


def _json_text(arguments: Any) -> str:
    """Arguments as JSON text, which some servers send as an object."""
    if isinstance(arguments, str):
        return arguments or "{}"
    return "{}" if arguments is None else msgspec.json.encode(arguments).decode()
