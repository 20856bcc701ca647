"""Server events of a conversation, read into the vocabulary of `events`: turns, voice, words, calls and costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from tandem_providers import openai_events as wire
from tandem_providers.errors import ProviderError, ProviderUnavailableError, RateLimitedError
from tandem_providers.events import (
    AudioChunk,
    Event,
    ItemAdded,
    ProviderWarning,
    RateLimits,
    SessionClosed,
    ToolCall,
    Transcript,
    TurnEnded,
    TurnStarted,
    Usage,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.openai_errors import classify, is_fatal, presentable
from tandem_providers.openai_profile import Profile
from tandem_providers.openai_turns import NO_ITEM, Drafts, Turn, Turns, remember
from tandem_providers.responses import ResponseArbiter

_ITEMS_KNOWN: Final = 1024
_RESET_MS: Final = 2_000.0
"""How long a request waits that was refused for its rate, when the provider did not say; and at the most."""
_LONGEST_RESET_MS: Final = 15_000.0


class Reader:
    """Follows one conversation. Each method takes an event and answers what it means."""

    __slots__ = (
        "_arbiter",
        "_drafts",
        "_name",
        "_placed",
        "_profile",
        "_reset_ms",
        "_unnamed",
        "current",
        "over",
        "turns",
        "unwanted",
    )

    def __init__(self, name: str, profile: Profile, arbiter: ResponseArbiter) -> None:
        self._name = name
        self._profile = profile
        self._arbiter = arbiter
        self._drafts = Drafts()
        self._placed: dict[str, None] = {}
        self.turns = Turns()
        self.current = NO_ITEM
        """The item whose audio came last."""
        self.unwanted: list[str] = []
        """Responses to cancel: they came although we had given them up. Whoever cancels them empties this."""
        self.over: list[Turn] = []
        """Turns that have ended since this was last emptied."""
        self._reset_ms = _RESET_MS
        self._unnamed = 0

    # Turns

    def _turn(self, response_id: str, request_id: str = "") -> tuple[Turn, list[Event]]:
        """The turn by that id. One whose start we never saw starts now; without an id, the active one is meant."""
        turn_id = response_id or self._arbiter.active
        turn = self.turns.find(turn_id)
        if turn is not None:
            return turn, []
        if not turn_id:
            self._unnamed += 1
            turn_id = f"unnamed_{self._unnamed}"
        # One at a time: if another seems active, its end was lost on the way.
        events = self.drop(self._arbiter.active) if self._arbiter.active else []
        turn = self.turns.begin(turn_id)
        if not self._arbiter.created(turn_id, request_id):
            turn.muted = True
            self.unwanted.append(turn_id)
        events.append(TurnStarted(turn_id))
        return turn, events

    def drop(self, turn_id: str, status: Literal["incomplete", "cancelled"] = "incomplete") -> list[Event]:
        """A response vanished: nothing of it came for too long, or another one began."""
        turn = self.turns.find(turn_id)
        self._arbiter.done(turn_id, dropped=True)
        if turn is None or turn.ended:
            return []
        return self._end(turn, TurnEnded(turn_id, status, "dropped", turn.called))

    def response_created(self, event: wire.ResponseCreated) -> list[Event]:
        metadata = event.response.metadata
        request_id = metadata.get("client_event_id") if isinstance(metadata, dict) else None
        return self._turn(event.response.id or "", request_id if isinstance(request_id, str) else "")[1]

    def response_done(self, event: wire.ResponseDone, now: float) -> list[Event]:
        """A response is over. One that failed before a sound of it was heard is asked for once more."""
        response = event.response
        turn, events = self._turn(response.id or "")
        if turn.ended:
            return events + self._costs(turn, event)
        if response.status == "completed":
            events += self._late_calls(turn, response)
        ended, failure = self._ending(turn, response)
        self._arbiter.done(turn.id, retry_at=None if turn.heard else self._retry_at(failure, now))
        events += self._end(turn, ended)
        events += self._costs(turn, event)
        if failure is not None:
            events.append(ProviderWarning(failure.code or "response_failed", failure.message))
            if is_fatal(failure.code):
                events.append(SessionClosed(failure, reason=failure.code))
        return events

    def _costs(self, turn: Turn, event: wire.ResponseDone) -> list[Event]:
        """What it cost, once, also when the response was given up before its end came."""
        usage = flattened(event.response.usage) or flattened(event.usage)
        if turn.accounted or not usage:
            return []
        turn.accounted = True
        return [Usage("response", usage)]

    def _retry_at(self, failure: ProviderError | None, now: float) -> float | None:
        if isinstance(failure, ProviderUnavailableError):
            return now
        if isinstance(failure, RateLimitedError) and not failure.exhausted:
            return now + self._reset_ms
        return None

    def _ending(self, turn: Turn, response: wire.Response) -> tuple[TurnEnded, ProviderError | None]:
        details = response.status_details or wire.StatusDetails()
        reason = details.reason or ""
        match response.status:
            case "cancelled" if reason == "turn_detected":
                return TurnEnded(turn.id, "interrupted", reason, turn.called), None
            case "cancelled":
                return TurnEnded(turn.id, "cancelled", reason, turn.called), None
            case "incomplete":
                return TurnEnded(turn.id, "incomplete", reason, turn.called), None
            case "failed":
                error = details.error or wire.ErrorBody()
                failure = classify(error.code or "", error.type or "", error.message or "", provider=self._name)
                return TurnEnded(turn.id, "failed", failure.code or reason, turn.called), failure
            case _:
                return TurnEnded(turn.id, "completed", reason, turn.called), None

    def _end(self, turn: Turn, ended: TurnEnded) -> list[Event]:
        """Settle everything of a turn that is still open."""
        events: list[Event] = []
        for item in self.turns.unfinished(turn):
            item.final = True
            if not turn.muted and ended.status == "completed":
                events.append(AudioChunk(b"", True, item.id, turn.id))
        for item_id in self._drafts.of(turn.id):
            text = self._drafts.settle(item_id)
            if text is not None:
                events.append(Transcript(text, True, False, item_id, turn.id))
        turn.ended = True
        turn.drafts.clear()
        self.over.append(turn)
        events.append(ended)
        return events

    # The caller speaks

    def speech_started(self, event: wire.SpeechStarted, now: float, *, interrupts: bool) -> list[Event]:
        """`interrupts`: the server stops its response by itself, so what is under way of it is late."""
        self._arbiter.speech_started(now)
        turn = self.turns.find(self._arbiter.active)
        events: list[Event] = []
        if turn is not None and interrupts:
            turn.muted = True
            if self._profile.drops_responses and not turn.heard and not turn.called:
                events += self.drop(turn.id)
        return [*events, UserSpeechStarted(event.item_id or "", _milliseconds(event.audio_start_ms))]

    def speech_stopped(self, event: wire.SpeechStopped, now: float) -> list[Event]:
        self._arbiter.speech_stopped(now)
        return [UserSpeechStopped(event.item_id or "", _milliseconds(event.audio_end_ms))]

    # Voice

    def audio_delta(self, event: wire.AudioDelta) -> list[Event]:
        """Any delta but the next of the current item, which the protocol takes care of itself."""
        turn, events = self._turn(event.response_id)
        if turn.ended or not event.delta:
            return events
        item = self.turns.item(event.item_id, turn)
        self.current = item
        item.size += len(event.delta)
        turn.heard = True
        if not turn.muted:
            events.append(AudioChunk(event.delta, False, item.id, turn.id, event.content_index))
        return events

    def audio_done(self, event: wire.AudioDone) -> list[Event]:
        item = self.turns.items.get(event.item_id)
        if item is None or item.final:
            return []
        item.final = True
        if item.turn.muted:
            return []
        return [AudioChunk(b"", True, item.id, item.turn.id, event.content_index)]

    # Words

    def output_delta(self, event: wire.OutputTranscriptDelta) -> list[Event]:
        turn, events = self._turn(event.response_id)
        if turn.ended or turn.muted or not event.delta:
            return events
        if self._drafts.add(event.item_id, turn.id, event.delta, type(event)):
            events.append(Transcript(event.delta, False, False, event.item_id, turn.id))
        return events

    def output_done(self, event: wire.OutputTranscriptDone) -> list[Event]:
        """The words of an item, as generated. Told again, or for a response that was given up, they are no news."""
        turn = self.turns.find(event.response_id)
        whole = event.transcript if event.transcript is not None else event.text
        text = self._drafts.settle(event.item_id, whole, in_pieces=True)
        if text is None or (turn is not None and turn.ended and not turn.heard):
            return []
        return [Transcript(text, True, False, event.item_id, event.response_id)]

    def input_delta(self, event: wire.InputTranscriptDelta) -> list[Event]:
        if not event.delta:
            return []
        self._drafts.add(event.item_id, "", event.delta)
        return [Transcript(event.delta, False, True, event.item_id)]

    def input_updated(self, event: wire.InputTranscriptUpdated | wire.InputTranscriptDone) -> list[Event]:
        """The whole so far, which replaces what was told before."""
        if not event.transcript:
            return []
        self._drafts.replace(event.item_id, "", event.transcript)
        return [Transcript(event.transcript, False, True, event.item_id, replaces=True)]

    def input_done(self, event: wire.InputTranscriptDone) -> list[Event]:
        if event.status == "in_progress":
            return self.input_updated(event)
        text = self._drafts.settle(event.item_id, event.transcript)
        events: list[Event] = [] if text is None else [Transcript(text, True, True, event.item_id)]
        usage = flattened(event.usage)
        if usage:
            events.append(Usage("transcription", usage))
        return events

    def input_failed(self, event: wire.InputTranscriptFailed) -> list[Event]:
        """The item is settled with what there is, so that no reader of the transcript waits for it."""
        error = event.error
        message = presentable(error.message or "the caller's words could not be written down")
        text = self._drafts.settle(event.item_id)
        return [
            *([] if text is None else [Transcript(text, True, True, event.item_id)]),
            ProviderWarning(error.code or error.type or "transcription_failed", message),
        ]

    # Items

    def item_added(self, event: wire.ItemAdded) -> list[Event]:
        self._arbiter.placed(event.item.id)
        return self._place(event.item.id, event.previous_item_id, event.item.role == "user")

    def committed(self, event: wire.InputCommitted) -> list[Event]:
        return self._place(event.item_id, event.previous_item_id, True)

    def _place(self, item_id: str, previous: str | None, is_input: bool) -> list[Event]:
        if not item_id or item_id in self._placed:
            return []
        remember(self._placed, item_id, None, _ITEMS_KNOWN)
        return [ItemAdded(item_id, None if previous == "root" else previous, is_input)]

    # Function calls

    def item_done(self, event: wire.OutputItemDone) -> list[Event]:
        """The one sure sign of a call: only here the provider says whether it is complete."""
        item = event.item
        if item.type != "function_call":
            return []
        turn, events = self._turn(event.response_id)
        if item.status not in ("completed", None):
            turn.drafts.pop(item.call_id or "", None)
            return events
        return events + self._call(turn, item.call_id or "", item.name or "", item.arguments)

    def arguments_done(self, event: wire.ArgumentsDone) -> list[Event]:
        """Also sent for calls that were cut off, so it only counts once the response has completed; unless this is a
        server that may say nothing more about it."""
        turn, events = self._turn(event.response_id)
        if self._profile.calls_by_arguments:
            return events if turn.ended else events + self._call(turn, event.call_id, event.name or "", event.arguments)
        if not turn.ended and event.name:
            remember(turn.drafts, event.call_id, (event.name, _json_text(event.arguments)), _ITEMS_KNOWN)
        return events

    def _late_calls(self, turn: Turn, response: wire.Response) -> list[Event]:
        events: list[Event] = []
        for item in response.output or ():
            if item.type == "function_call" and item.status in ("completed", None):
                events += self._call(turn, item.call_id or "", item.name or "", item.arguments)
        for call_id, (name, arguments) in turn.drafts.items():
            events += self._call(turn, call_id, name, arguments)
        return events

    def _call(self, turn: Turn, call_id: str, name: str, arguments: Any) -> list[Event]:
        if not name or not self.turns.call(turn, call_id):
            return []
        return [ToolCall(call_id, name, _json_text(arguments), turn.id)]

    # Accounts

    def rate_limits(self, event: wire.RateLimitsUpdated) -> list[Event]:
        remaining = {
            limit.name: (limit.remaining, limit.reset_seconds or 0.0)
            for limit in event.rate_limits
            if limit.name and limit.remaining is not None
        }
        resets = [reset for left, reset in remaining.values() if left <= 0]
        self._reset_ms = min(max(resets) * 1000, _LONGEST_RESET_MS) if resets else _RESET_MS
        return [RateLimits(remaining)] if remaining else []


def flattened(usage: Any) -> dict[str, float]:
    """Numbers of a nested object by dotted names; everything else is left out."""
    amounts: dict[str, float] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}" if path else str(key))
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and path:
            number = float(value) if abs(value) < 2**63 else math.inf
            if math.isfinite(number):
                amounts[path] = number

    walk(usage, "")
    return amounts


def _json_text(arguments: Any) -> str:
    """Arguments as JSON text, which some servers send as an object."""
    if isinstance(arguments, str):
        return arguments or "{}"
    return "{}" if arguments is None else msgspec.json.encode(arguments).decode()


def _milliseconds(value: float | None) -> int | None:
    return None if value is None else int(value)
