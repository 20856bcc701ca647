"""What an ElevenLabs agent says and does, read into the vocabulary of `events`: turns, voice, words and calls.

The wire knows no turns, only pieces of voice with rising event ids, and the words that go with them. So turns and items
get names here, unlike those of every other session. A turn begins with whatever comes of it first; it ends when the
server says that the response is complete, which not every agent is set up to tell, else when nothing more comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from tandem_codecs.format import MULAW_8K
from tandem_providers import elevenlabs_events as wire
from tandem_providers.events import (
    AudioChunk,
    Event,
    Interrupted,
    ItemAdded,
    ToolCall,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStopped,
)
from tandem_providers.spoken import spoken_part

_CALLS: Final = 1024
_WRITTEN: Final = 32

_Status = Literal["completed", "interrupted", "cancelled", "incomplete", "failed"]


@dataclass(slots=True)
class Turn:
    """One turn of the agent, with the one item in which it speaks."""

    id: str
    item_id: str = ""
    """Empty as long as it has not said anything."""
    size: int = 0
    """Bytes of voice that came, whether passed on or not."""
    text: str = ""
    muted: bool = False
    """The application has stopped it, or does not want it: what comes must not be heard."""
    calls: set[str] = field(default_factory=set)
    whole: bool = False
    """All of its voice has come."""
    settled: bool = False
    """Its words have been told as final."""


class Reader:
    """Follows one conversation. `names` begins every name that is given to a turn or an item."""

    def __init__(self, names: str) -> None:
        self.format = MULAW_8K
        """Of the agent's voice."""
        self.turn: Turn | None = None
        """The turn under way."""
        self.cut_through = -1
        """Voice up to this event id belongs to what was interrupted."""
        self.spoken = False
        """The agent has begun a turn at least once."""
        self.requested = False
        """The agent was asked to speak, and nothing has come of it yet."""
        self.mute_next = False
        """The next turn is not wanted."""
        self._names = names
        self._turns = self._items = 0
        self._caller_item = ""
        self._last = ""
        self._over: Turn | None = None
        """The turn before."""
        self._cut: Turn | None = None
        """An interrupted turn whose words may still be corrected."""
        self._written: list[str] = []
        self._calls: dict[str, str] = {}
        """Calls that wait for an answer."""
        self._known: dict[str, None] = {}

    # The agent

    def voice(self, audio: bytes, event_id: int) -> list[Event]:
        """A piece of the agent's voice, other than one more of the turn under way."""
        if event_id <= self.cut_through or not audio:
            return []
        events: list[Event] = []
        turn = self._speaking(events)
        turn.size += len(audio)
        if not turn.muted:
            events.append(AudioChunk(audio, False, turn.item_id, turn.id))
        return events

    def said(self, text: str) -> list[Event]:
        """All the words of a response. They may come just after its first sound."""
        if not text.strip():
            return []
        events = self.end("completed") if self.turn is not None and self.turn.text else []
        turn = self._speaking(events)
        turn.text = text.strip()
        if not turn.muted:
            events.append(Transcript(turn.text, False, False, turn.item_id, turn.id, replaces=True))
        return events

    def interrupted(self, event_id: int) -> list[Event]:
        """The caller spoke into the agent's words. They may all be here already, and still be being heard."""
        self.cut_through = max(self.cut_through, event_id)
        turn = self.turn
        if turn is None:
            self._cut = self._over
            return [Interrupted()]
        return [Interrupted(turn.id), *self.end("interrupted")]

    def corrected(self, text: str) -> list[Event]:
        """What was heard of the words that were interrupted."""
        turn, self._cut = self._cut, None
        if turn is None or not turn.text:
            return []
        turn.settled = True
        return [Transcript(text.strip(), True, False, turn.item_id, turn.id, as_heard=True)]

    def complete(self) -> list[Event]:
        """The server has sent all of a response."""
        turn = self.turn
        return self.end("completed") if turn is not None and turn.item_id else []

    def drop(self) -> list[Event]:
        """Nothing has come of this turn for too long."""
        return self.end("incomplete", "dropped") if self.turn is not None else []

    def cancel(self) -> None:
        """The application wants to hear no more of the turn under way, or of the one that it has asked for."""
        if self.turn is not None:
            self.turn.muted = True
        elif self.requested:
            self.mute_next = True

    def cancel_request(self) -> None:
        """What was asked for has not come, and will not."""
        self.requested = self.mute_next = False

    def end(self, status: _Status, reason: str = "") -> list[Event]:
        """Settle everything of the turn under way. Words that were interrupted wait a little for their correction."""
        turn, self.turn = self.turn, None
        if turn is None:
            return []
        turn.whole = status == "completed"
        if turn.muted and turn.whole:
            status = "cancelled"
        events: list[Event] = self.settle_words()
        if status == "completed" and turn.item_id:
            events.append(AudioChunk(b"", True, turn.item_id, turn.id))
        self._over = turn
        if status == "interrupted":
            self._cut = turn
        else:
            events += self._final(turn)
        events.append(TurnEnded(turn.id, status, reason, any(call in self._calls for call in turn.calls)))
        return events

    def settle_words(self) -> list[Event]:
        """No correction of what was interrupted has come: its words stand as they were."""
        turn, self._cut = self._cut, None
        return [] if turn is None else self._final(turn)

    def _final(self, turn: Turn) -> list[Event]:
        if turn.settled or not turn.text:
            return []
        turn.settled = True
        # All of it was told before its voice, most of which may never have come.
        text = turn.text if turn.whole else spoken_part(turn.text, self.format.milliseconds(turn.size))
        return [Transcript(text, True, False, turn.item_id, turn.id)]

    @property
    def unsettled(self) -> bool:
        """Words wait for their correction."""
        return self._cut is not None

    def _begin(self, events: list[Event]) -> Turn:
        self._turns += 1
        self.turn = Turn(f"{self._names}.turn{self._turns}", muted=self.mute_next)
        self.spoken = True
        self.requested = self.mute_next = False
        events += [*self.settle_words(), TurnStarted(self.turn.id)]
        return self.turn

    def _speaking(self, events: list[Event]) -> Turn:
        """The turn under way, with an item; begun if there is none."""
        turn = self.turn or self._begin(events)
        if not turn.item_id:
            turn.item_id = self._new_item()
            events.append(self._place(turn.item_id, is_input=False))
        return turn

    # The caller

    def caller_seems_to_say(self, text: str) -> list[Event]:
        """What is understood so far; the next word about it replaces it."""
        if not text.strip():
            return []
        events: list[Event] = []
        if not self._caller_item:
            self._caller_item = self._new_item()
            events.append(self._place(self._caller_item, is_input=True))
        return [*events, Transcript(text.strip(), False, True, self._caller_item, replaces=True)]

    def caller_said(self, text: str) -> list[Event]:
        """Words of the caller, whose turn is over; or those that were written to the agent, if they come back."""
        if text in self._written:
            self._written.remove(text)
            return []
        item_id, self._caller_item = self._caller_item, ""
        if not text.strip() and not item_id:
            return []
        self.mute_next = False  # what comes now answers the caller
        events: list[Event] = []
        if not item_id:
            item_id = self._new_item()
            events.append(self._place(item_id, is_input=True))
        # The end of its turn comes last: whoever waits for an answer does so from here on.
        return [*events, Transcript(text.strip(), True, True, item_id), UserSpeechStopped(item_id)]

    def written(self, text: str) -> None:
        """This was written to the agent as if it came from the caller."""
        self._written = [*self._written, text][-_WRITTEN:]

    # Tools

    @property
    def waits_for_us(self) -> bool:
        """The agent may be waiting for the answer to a call."""
        return bool(self._calls)

    def client_tool(self, call: wire.Called) -> list[Event]:
        """A function to be called by us."""
        if not call.tool_name or call.tool_call_id in self._known:
            return []
        if len(self._known) >= _CALLS:
            forgotten = next(iter(self._known))
            del self._known[forgotten]
            self._calls.pop(forgotten, None)
        self._known[call.tool_call_id] = None
        self._calls[call.tool_call_id] = call.tool_name
        events: list[Event] = []
        turn = self.turn or self._begin(events)
        turn.calls.add(call.tool_call_id)
        return [*events, ToolCall(call.tool_call_id, call.tool_name, _json_text(call.parameters), turn.id)]

    def answered(self, call_id: str) -> bool:
        """Note the answer to a call; False when nobody waits for it."""
        return self._calls.pop(call_id, None) is not None

    def works(self) -> list[Event]:
        """The agent uses tools of its own: it has not fallen silent for good."""
        events: list[Event] = []
        if self.turn is None:
            self._begin(events)
        return events

    def skips(self) -> list[Event]:
        """The agent has decided to say nothing."""
        turn = self.turn
        return self.end("completed", "skipped") if turn is not None and not turn.item_id else []

    # Items

    def _new_item(self) -> str:
        self._items += 1
        return f"{self._names}.item{self._items}"

    def _place(self, item_id: str, *, is_input: bool) -> ItemAdded:
        after, self._last = self._last or None, item_id
        return ItemAdded(item_id, after, is_input)


def _json_text(arguments: Any) -> str:
    """Arguments as JSON text; the wire has them as an object."""
    if isinstance(arguments, str):
        return arguments or "{}"
    return "{}" if arguments is None else msgspec.json.encode(arguments).decode()
