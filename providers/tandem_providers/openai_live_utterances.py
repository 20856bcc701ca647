"""Who said what when, in a conversation without turns: the flow of sound and words is parted into utterances.

The provider sends one endless stream of audio, silence included, and words with their place on the session's timeline;
it never says where an utterance ends. So one ends with a pause, or when the other side has spoken in between. The
position in the agent's audio is the clock: it runs for as long as the session does.

Words may come before their sound or after it. A sound that comes first gets the id that its words will have. Silence
belongs to no utterance, not even within one: so the share of an utterance's audio that was heard is that of its words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from tandem_codecs.format import AudioFormat
from tandem_codecs.level import is_loud
from tandem_providers.events import AudioChunk, Event, ItemAdded, Transcript

GAP_MS: Final = 800.0
"""A pause of this length ends an utterance."""
_BREATH_MS: Final = 200.0
"""A pause of this length ends it, too, when the other side has spoken meanwhile."""
_PATIENCE_MS: Final = 700.0
"""How much later than its sound the text of an utterance may come before the utterance is closed."""
_EARLY_MS: Final = 300.0
"""How much earlier than its words say a sound may be heard."""
_REMEMBERED: Final = 64
_MOVED: Final = 8
"""An utterance that turns out to be the first of all takes its place before so many others at the most."""


@dataclass(slots=True)
class Utterance:
    """What one side said in one go; times are milliseconds of the session."""

    id: str
    is_input: bool
    start: float
    end: float
    text: list[str] = field(default_factory=list)
    settled: bool = False
    """Its final transcript was told. Words that come still are told with all before them."""
    cut: bool = False
    """What follows belongs to another."""
    answered: bool = False
    """The other side has spoken since its last word."""

    @property
    def closes_at(self) -> float:
        return self.end + GAP_MS + _PATIENCE_MS

    @property
    def longest_pause(self) -> float:
        """What goes on after no more than this belongs to it."""
        return _BREATH_MS if self.answered else GAP_MS

    def goes_on_at(self, start: float) -> bool:
        """Whether words at that time may belong to it."""
        return not self.cut and start - self.end <= self.longest_pause


class Utterances:
    """Gives each piece of audio and of text the id of its utterance. Silence has an id that no text has."""

    def __init__(self, prefix: str, audio_format: AudioFormat) -> None:
        self.position = 0.0
        """Milliseconds of the agent's audio so far."""
        self._prefix = prefix
        self._format = audio_format
        self._wakes_at = math.inf
        """Before this position nothing begins and nothing ends."""
        self._count = self._pauses = 0
        self._last: dict[bool, Utterance] = {}
        self._places: list[tuple[float, str, bool]] = []
        self._coming: list[Utterance] = []
        """Utterances of the agent whose words came before their sound."""
        self._voice: Utterance | None = None
        """What is being said, or was just now."""
        self._unnamed = ""
        """Id of sound whose words have not come."""
        self._unnamed_since = self._loud_until = 0.0
        self._silence = self._pause()

    # Sound

    def audio(self, audio: bytes, start_ms: float | None) -> list[Event]:
        """The next piece of the agent's audio, cut where an utterance begins."""
        if start_ms is not None:
            self.position = start_ms
        start = self.position
        end = self.position = start + self._format.milliseconds(len(audio))
        if end < self._wakes_at:
            return self._heard(audio, start)
        events: list[Event] = []
        told = 0
        while self._coming and self._coming[0].start < end:
            coming = self._coming[0]
            here = max(told, min(self._format.size(max(0.0, coming.start - start)), len(audio)))
            if here > told:
                events += self._heard(audio[told:here], start + self._format.milliseconds(told))
            told = here
            if coming in self._coming:  # its sound may have begun a little early
                self._coming.remove(coming)
                events += self._speak(coming, coming.start)
        if told < len(audio):
            events += self._heard(audio[told:], start + self._format.milliseconds(told))
        events += self._close_due()
        self._note()
        return events

    def cut(self, item_id: str) -> None:
        """What was sent of this item was thrown away: what follows of the stream is another."""
        if item_id == self._silence:
            self._silence = self._pause()
        elif item_id == self._unnamed:
            self._unnamed = ""
        elif self._voice is not None and item_id == self._voice.id:
            self._voice.cut = True
            self._voice = None
            self._note()

    def _heard(self, audio: bytes, start: float) -> list[Event]:
        if not is_loud(audio, self._format):
            return [AudioChunk(audio, False, self._silence)]
        quiet = start - self._loud_until
        self._loud_until = start + self._format.milliseconds(len(audio))
        voice = self._voice
        if voice is not None and quiet <= voice.longest_pause:
            return [AudioChunk(audio, False, voice.id)]
        if voice is None and self._unnamed and quiet <= GAP_MS:
            return [AudioChunk(audio, False, self._unnamed)]
        if self._coming and self._coming[0].start - start <= _EARLY_MS:
            events = self._speak(self._coming.pop(0), start)
        else:
            events = self._fall_silent()
            self._unnamed, self._unnamed_since = self._next_id(), start
        said = self._voice.id if self._voice is not None else self._unnamed
        return [*events, AudioChunk(audio, False, said)]

    def _speak(self, utterance: Utterance, now: float) -> list[Event]:
        events = self._fall_silent()
        self._voice = utterance
        self._loud_until = max(self._loud_until, now)
        return events

    def _fall_silent(self) -> list[Event]:
        said = self._voice.id if self._voice is not None else self._unnamed
        self._voice, self._unnamed = None, ""
        if not said:
            return []
        self._silence = self._pause()
        return [AudioChunk(b"", True, said)]

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._prefix}-{self._count}"

    def _pause(self) -> str:
        self._pauses += 1
        return f"{self._prefix}-pause-{self._pauses}"

    # Words

    def words(self, is_input: bool, text: str, start_ms: float | None, end_ms: float | None) -> list[Event]:
        """Some words of one side."""
        start = self.position if start_ms is None else start_ms
        end = start if end_ms is None else max(start, end_ms)
        mine, other = self._last.get(is_input), self._last.get(not is_input)
        events: list[Event] = []
        if mine is None or not self._goes_on(mine, start):
            if not text.strip():
                return []
            events += self._settle(mine)
            if other is not None and other.end <= start:
                events += self._settle(other)
            mine, voiced = self._begin(is_input, start, end)
            events += [*self._place(mine), *voiced]
        elif not is_input and mine is not self._voice and start <= self.position < end + GAP_MS:
            events += self._speak(mine, self.position)
        mine.text.append(text)
        mine.end = max(mine.end, end)
        mine.answered = False
        if other is not None:
            other.answered = True
        events.append(
            self._final(mine) if mine.settled else Transcript(text, False, is_input, mine.id)  # late words come whole
        )
        self._note()
        return events

    def _goes_on(self, mine: Utterance, start: float) -> bool:
        """Whether words at that time belong to it. An agent that was interrupted may not have said all its words."""
        if not mine.goes_on_at(start):
            return False
        if mine.is_input:
            return True
        if self._unnamed and start >= self._unnamed_since - _EARLY_MS:
            return False
        stopped = start - self._loud_until > mine.longest_pause
        return not (stopped and mine is self._voice and start <= self.position + _EARLY_MS)

    def settle(self) -> list[Event]:
        """The session is over: so is every utterance."""
        return [event for side in (True, False) for event in self._settle(self._last.get(side))]

    def _begin(self, is_input: bool, start: float, end: float) -> tuple[Utterance, list[Event]]:
        """A new utterance, and what that means for the agent's sound."""
        events: list[Event] = []
        if is_input:
            utterance = Utterance(self._next_id(), is_input, start, end)
        elif self._unnamed and self._unnamed_since - GAP_MS <= start <= self._loud_until + _EARLY_MS:
            utterance = self._voice = Utterance(self._unnamed, is_input, start, end)
            self._unnamed = ""
        elif start > self.position:
            utterance = Utterance(self._next_id(), is_input, start, end)
            self._coming.append(utterance)
        else:
            utterance = Utterance(self._next_id(), is_input, start, end)
            events = self._speak(utterance, self.position)
        self._last[is_input] = utterance
        return utterance, events

    def _settle(self, utterance: Utterance | None) -> list[Event]:
        if utterance is None or utterance.settled:
            return []
        utterance.settled = True
        return [self._final(utterance)]

    def _final(self, utterance: Utterance) -> Transcript:
        return Transcript("".join(utterance.text).strip(), True, utterance.is_input, utterance.id)

    def _place(self, utterance: Utterance) -> list[Event]:
        """Its place in the conversation: words of the caller may come later than those that answer them."""
        places = self._places
        index = len(places)
        while index and places[index - 1][0] > utterance.start:
            index -= 1
        before = places[index - 1][1] if index else None
        behind = places[index:]
        places.insert(index, (utterance.start, utterance.id, utterance.is_input))
        del places[: -_REMEMBERED or None]
        events: list[Event] = [ItemAdded(utterance.id, before, utterance.is_input)]
        if before is None and len(behind) <= _MOVED:
            # There is no word for "before all others", so they move behind it one by one.
            previous = utterance.id
            for _, item_id, is_input in behind:
                events.append(ItemAdded(item_id, previous, is_input))
                previous = item_id
        return events

    # Time

    def _close_due(self) -> list[Event]:
        events: list[Event] = []
        for utterance in self._last.values():
            if self.position >= utterance.closes_at:
                events += self._settle(utterance)
        if self._voice is not None and self.position >= self._quiet_at(self._voice):
            events += self._fall_silent()
        return events

    def _quiet_at(self, voice: Utterance) -> float:
        """When its sound is over, however late its words come."""
        return max(voice.closes_at, self._loud_until + GAP_MS)

    def _note(self) -> None:
        """Find out when something is due next."""
        due = [utterance.closes_at for utterance in self._last.values() if not utterance.settled]
        due += [utterance.start for utterance in self._coming[:1]]
        if self._voice is not None:
            due.append(self._quiet_at(self._voice))
        self._wakes_at = min(due, default=math.inf)
