"""Server messages of a conversation, read into the vocabulary of `events`: turns, voice, words and calls."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from tandem_codecs.convert import Converter
from tandem_codecs.format import PCM16_24K, AudioFormat, Encoding
from tandem_providers import gemini_events as wire
from tandem_providers.events import (
    AudioChunk,
    Event,
    Interrupted,
    ItemAdded,
    ProviderWarning,
    ToolCall,
    ToolCallCancelled,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.gemini_session import SessionPlan
from tandem_providers.gemini_turns import Call, Calls, Item, Turn, spoken

_PCM: Final = "audio/pcm"
_USUAL: Final = frozenset({"audio/pcm;rate=24000", _PCM, "", None})
_HARMLESS: Final = frozenset({"", "TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT"})
_FAILED: Final = frozenset({"MALFORMED_FUNCTION_CALL", "RESPONSE_REJECTED", "MAX_REGENERATION_REACHED"})
"""Reasons for the end of a turn that are no fault of what was said in it; all others are about its content."""

_Status = Literal["completed", "interrupted", "cancelled", "incomplete", "failed"]


class Reader:
    """Follows one conversation. `names` begins every name that is given to a turn or an item."""

    def __init__(self, plan: SessionPlan, names: str) -> None:
        self.turn: Turn | None = None
        """The turn under way."""
        self.calls = Calls()
        self.requested = False
        """We have asked the agent to speak, and its turn has not begun."""
        self.mute_next = False
        """The turn that was asked for is not wanted any more."""
        self.late = False
        """The server has stopped a turn: all that comes until it tells the turn's end is late."""
        self._plan = plan
        self._names = names
        self._turns = self._items = self._groups = 0
        self._caller: Item | None = None
        """What the caller is saying, as far as it is written down."""
        self._unanswered: Item | None = None
        """What the caller has said since the last turn of the agent began."""
        self._last = ""
        """The item at the end of the conversation."""
        self._past: tuple[Item, str] | None = None
        """What was said last, for words that come late; gone once something happens."""
        self._converters: dict[str, Converter | None] = {}

    # The agent's voice and words

    def more_voice(self, audio: bytes) -> list[Event] | None:
        """A further piece of what is being said: the short way. None: `voice` has to see about it."""
        turn = self.turn
        if turn is None or turn.generated or turn.muted or self.late or not turn.items:
            return None
        return [AudioChunk(audio, False, turn.items[-1].id, turn.id)]

    def voice(self, blob: wire.Blob) -> list[Event]:
        """A piece of the agent's voice."""
        audio = blob.data
        events: list[Event] = []
        if blob.mime_type not in _USUAL:
            audio, events = self._converted(audio, blob.mime_type or "")
        if self.late or not audio:
            return events
        turn = self.turn
        if turn is None or turn.generated or not turn.items:
            turn = self._open_item(events)
        if not turn.muted:
            events.append(AudioChunk(audio, False, turn.items[-1].id, turn.id))
        return events

    def _converted(self, audio: bytes, mime_type: str) -> tuple[bytes, list[Event]]:
        """Voice at another rate than documented, at ours. What is no voice is dropped and told once."""
        if mime_type in self._converters:
            converter = self._converters[mime_type]
            return (converter.feed(audio) if converter else b""), []
        kind, _, parameters = mime_type.replace(" ", "").partition(";")
        rate = next(
            (value for name, _, value in (p.partition("=") for p in parameters.split(";")) if name == "rate"), ""
        )
        converter = None
        if kind == _PCM and rate.isdecimal() and len(rate) < 7:
            try:
                converter = Converter(AudioFormat(Encoding.PCM16, int(rate)), PCM16_24K)
            except ValueError:
                converter = None
        if len(self._converters) < 8:
            self._converters[mime_type] = converter
        message = f"voice came as {mime_type[:60]!r}" + ("" if converter else " and can't be played")
        return (converter.feed(audio) if converter else b""), [ProviderWarning("audio_format", message)]

    def said(self, words: wire.Words) -> list[Event]:
        """Words of the agent. They may come before the voice or after it."""
        text = spoken(words.text)
        if self.late or not text:
            return []
        events: list[Event] = []
        turn = self.turn
        if turn is None:
            if self._past is not None and not self.requested:
                item, turn_id = self._past
                item.add(text)
                return [Transcript(item.words, True, False, item.id, turn_id)]
            if not text.strip():
                return []
        if turn is None or not turn.items:
            turn = self._open_item(events)
        if turn.muted:
            return events
        item = turn.items[-1]
        item.add(text)
        events.append(Transcript(text, False, False, item.id, turn.id))
        return events

    def _begin(self, events: list[Event]) -> Turn:
        self._turns += 1
        turn = self.turn = Turn(f"{self._names}.turn{self._turns}", prompted=self.requested, muted=self.mute_next)
        turn.asked, self._unanswered = self._unanswered, None
        self.requested = self.mute_next = False
        self._past = None
        events.append(TurnStarted(turn.id))
        return turn

    def _open_item(self, events: list[Event]) -> Turn:
        """The next item of the turn under way, which begins if there is none."""
        turn = self.turn or self._begin(events)
        item = self._new_item()
        turn.items.append(item)
        turn.generated = False
        events.append(self._place(item, is_input=False))
        return turn

    def generation_complete(self) -> list[Event]:
        """All voice of what is being said has been received. Also sent after calls, where it means nothing."""
        turn = self.turn
        if turn is None or turn.generated or not turn.items:
            return []
        turn.generated = True
        return [] if turn.muted else [AudioChunk(b"", True, turn.items[-1].id, turn.id)]

    # The caller's words

    def heard(self, words: wire.Words) -> list[Event]:
        """More words of the caller, to be appended; those that were in the meantime are gone."""
        text = spoken(words.text)
        events: list[Event] = []
        if text and (text.strip() or self._caller is not None):
            item = self._caller_item(events)
            replaces, item.interim = bool(item.interim), ""
            item.add(text)
            shown = item.words if replaces else text
            events.append(Transcript(shown, False, True, item.id, replaces=replaces))
        if words.finished:
            events += self._settle_caller()
        return events

    def heard_in_the_meantime(self, words: wire.Words) -> list[Event]:
        """A first guess at what the caller is saying; the next one replaces it."""
        text = spoken(words.text)
        if not text.strip():
            return []
        events: list[Event] = []
        item = self._caller_item(events)
        item.interim = text
        events.append(Transcript(item.words, False, True, item.id, replaces=True))
        return events

    def _caller_item(self, events: list[Event]) -> Item:
        """Where the caller's words go. Those of a turn that is being answered already take their place before it."""
        if self._caller is not None:
            return self._caller
        item = self._caller = self._new_item()
        self._past = None
        turn = self.turn
        if turn is None or turn.prompted or turn.asked is not None or not turn.items:
            self._unanswered = item
            events.append(self._place(item, is_input=True))
            return item
        turn.asked = item
        events.append(ItemAdded(item.id, None, True))
        before = item.id
        for answer in turn.items:
            events.append(ItemAdded(answer.id, before, False))
            before = answer.id
        return item

    def _settle_caller(self) -> list[Event]:
        item, self._caller = self._caller, None
        return [] if item is None else [Transcript(item.words, True, True, item.id)]

    # Ends

    def interrupted(self) -> list[Event]:
        """The caller spoke into the agent's words, as far as the server knows how much of them has been heard.

        It may come after the end of a turn (the server believes that it is still being heard), or when there was none.
        """
        turn = self.turn
        self._past = None
        if turn is None:
            return [Interrupted()]
        self.late = True
        return [Interrupted(turn.id), *self._end(turn, "interrupted")]

    def turn_complete(self, reason: str, status: str) -> list[Event]:
        """A turn, or one utterance of a model that thinks in between, is over."""
        self.late = False
        turn = self.turn
        if turn is None:
            return self._nothing_said(reason)
        if status == "IN_PROGRESS":
            events = self.generation_complete()
            return events + self._settle_turn(turn)
        if reason in _HARMLESS:
            return self._end(turn, "completed", reason)
        ended: _Status = "failed" if reason in _FAILED else "incomplete"
        return [*self._end(turn, ended, reason), _told(reason)]

    def _nothing_said(self, reason: str) -> list[Event]:
        """A turn of which nothing came. When something went wrong it is told as a turn all the same."""
        if reason in _HARMLESS:
            return self._settle_caller() if not self.requested else []
        events: list[Event] = []
        turn = self._begin(events)
        return [*events, *self._end(turn, "failed" if reason in _FAILED else "incomplete", reason), _told(reason)]

    def drop(self) -> list[Event]:
        """Nothing has come of this turn for too long."""
        return self._end(self.turn, "incomplete", "dropped") if self.turn is not None else []

    def stir(self) -> None:
        """Something was said to the agent: what it says now is no rest of what it said before."""
        self._past = None

    def _end(self, turn: Turn, status: _Status, reason: str = "") -> list[Event]:
        """Settle everything of a turn that is still open."""
        if turn.muted and status in ("completed", "interrupted"):
            status = "cancelled"
        events = self.generation_complete() if status == "completed" else []
        events += self._settle_turn(turn)
        self.turn = None
        if status == "completed" and turn.items and self._plan.writes_input:
            self._past = (turn.items[-1], turn.id)
        awaited = {call_id for call_id in turn.calls if self._speaks_about(call_id)}
        events.append(TurnEnded(turn.id, status, reason, self.calls.still_open(awaited)))
        return events

    def _settle_turn(self, turn: Turn) -> list[Event]:
        events: list[Event] = []
        if self._caller is not None and self._caller is turn.asked:
            events += self._settle_caller()
        events += [
            Transcript(item.words, True, False, item.id, turn.id)
            for item in turn.items
            if item.text and not item.settled
        ]
        for item in turn.items:
            item.settled = True
        return events

    # Function calls

    def tool_call(self, calls: wire.ToolCalls) -> list[Event]:
        """Functions to be called. Those of one message belong together."""
        events: list[Event] = []
        self._groups += 1
        for called in calls.function_calls or ():
            if not called.name:
                continue
            self._items += not called.id
            call_id = called.id or f"{self._names}.call{self._items}"
            waits = self._plan.blocking.get(called.name, False)
            if not self.calls.add(Call(call_id, called.name, bool(called.id), waits, self._groups)):
                continue
            turn = self.turn or self._begin(events)
            turn.calls.add(call_id)
            events.append(ToolCall(call_id, called.name, _json_text(called.args), turn.id))
        return events

    def cancelled(self, ids: list[str]) -> list[Event]:
        """The model does not want these any more."""
        return [ToolCallCancelled(call_id) for call_id in ids if self.calls.drop(call_id) is not None]

    def _speaks_about(self, call_id: str) -> bool:
        """Whether the agent says something once the call is answered."""
        call = self.calls.get(call_id)
        return call is not None and self._plan.scheduling.get(call.name) != "SILENT"

    # What the server hears

    def activity(self, kind: str, at: str | None) -> list[Event]:
        """The caller begins to speak, or stops: told by some services only."""
        offset = wire.seconds(at)
        at_ms = None if offset is None else int(offset * 1000)
        if kind in ("ACTIVITY_START", "VAD_SIGNAL_TYPE_SOS"):
            self._past = None
            return [UserSpeechStarted(at_ms=at_ms)]
        return [UserSpeechStopped(at_ms=at_ms)] if kind in ("ACTIVITY_END", "VAD_SIGNAL_TYPE_EOS") else []

    # Items

    def _new_item(self) -> Item:
        self._items += 1
        return Item(f"{self._names}.item{self._items}")

    def _place(self, item: Item, *, is_input: bool) -> ItemAdded:
        after, self._last = self._last or None, item.id
        return ItemAdded(item.id, after, is_input)


def _told(reason: str) -> ProviderWarning:
    return ProviderWarning(reason.lower()[:64], "the agent's turn ended for this reason")


def _json_text(arguments: Any) -> str:
    return "{}" if arguments is None else msgspec.json.encode(arguments).decode()
