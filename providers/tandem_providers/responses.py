"""Who may speak next: the one place that decides when a `response.create` is sent.

The provider allows one response at a time. Greeting, tool results, typed text and the caller's own turns all want one,
so each asks here and none sends by itself: there is never a second request while one is unanswered or a response is
active. What waits is coalesced: any number of tool results and texts need a single reply.

Pure. Time is caller audio: `now` counts its milliseconds, which flow as long as a call is up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tandem_providers.commands import Purpose

ANSWER_WITHIN_MS: Final = 10_000.0
"""A request that nothing came of after this long is made once more, then forgotten."""
LONGEST_SPEECH_MS: Final = 30_000.0
"""Replies wait while the caller speaks, but not for a sound that never ends."""
REPLY_DUE_MS: Final = 1_000.0
"""After the caller's turn the provider starts its own reply; one of ours waits that long for it."""
REFUSED_MS: Final = 500.0
"""A request that was refused is made once more, after so long: the reason may have been of that moment."""
_INTO_SILENCE: Final = frozenset({Purpose.STILL_THERE, Purpose.RESUME})
"""What is only said because nobody speaks."""
_TRIES: Final = 2
_REMEMBERED: Final = 16


@dataclass(slots=True)
class Request:
    """One `response.create`, wanted or sent. `purpose` is None for a reply to what stands in the conversation."""

    purpose: Purpose | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    item: Mapping[str, Any] | None = None
    """An item of the conversation that makes the provider speak by itself: it is sent in place of the request."""
    id: str = ""
    """Name of the attempt that was sent; comes back in the response's metadata and in errors."""
    tries: int = 0
    cancelled: bool = False
    replies_to: dict[str, bool] = field(default_factory=dict)
    """Items that want this reply, and whether the provider has taken them in yet."""


class ResponseArbiter:
    """Told of requests and of what the provider does; `take` says what to send now."""

    def __init__(self, *, hears_turns: bool, provider_replies: bool, echoes: bool = True) -> None:
        self.active = ""
        """Id of the response that is being generated; empty when none is."""
        self._hears_turns = hears_turns
        self._provider_replies = provider_replies
        self._asked: Request | None = None
        self._asked_at = 0.0
        self._current = Request()
        """What the active response was made for."""
        self._says: list[Request] = []
        self._reply: Request | None = None
        self._blocked_until = 0.0
        self._hold_until = 0.0
        self._given_up: dict[str, None] = {}
        self._never_echoes = not echoes
        self._echoes = False
        self._adopted: Request | None = None
        self._sent = 0

    @property
    def waiting(self) -> bool:
        """Whether anything wants to be sent."""
        return bool(self._says) or self._reply is not None

    @property
    def deadline(self) -> float | None:
        """When `take` should be called even if nothing happens."""
        if self._asked is not None:
            return self._asked_at + ANSWER_WITHIN_MS
        if self.active or not self.waiting:
            return None
        return self._blocked_until if self._says else max(self._blocked_until, self._hold_until)

    # What is wanted

    def say(self, purpose: Purpose, body: Mapping[str, Any], item: Mapping[str, Any] | None = None) -> None:
        """Speak unprompted; goes before replies. A later one for the same purpose replaces one still waiting.

        Where something is being said or about to be, there is nothing to take up again.
        """
        if purpose is Purpose.RESUME and self._speaks:
            return
        self._says = [request for request in self._says if request.purpose is not purpose]
        if purpose is Purpose.GOODBYE:
            # Nothing is to be said after the farewell, so nothing older may wait for its turn behind it.
            self._says.clear()
            self._reply = None
        self._says.append(Request(purpose, body, item))

    @property
    def _speaks(self) -> bool:
        """A response is under way, or as good as asked for."""
        asked = self._asked is not None and not self._asked.cancelled
        return bool(self.active) or asked or self._reply is not None

    def reply(self, item_id: str) -> None:
        """Reply to the conversation, of which `item_id` is to be part."""
        if self._reply is None:
            self._reply = Request()
        self._reply.replies_to[item_id] = False

    def cancel(self, now: float) -> str:
        """Stop speaking: gives the id of the response to cancel, if one is active. A waiting farewell remains."""
        self._says = [request for request in self._says if request.purpose is Purpose.GOODBYE]
        if self._asked is not None:
            self._asked.cancelled = True
        if not self._hears_turns:
            # Somebody has begun to speak, and only the application knows until when.
            self.speech_started(now)
        return self.active

    def release(self) -> None:
        """Replies need not wait for the caller any longer: the application knows that the turn is over."""
        self._hold_until = 0.0

    # What the provider does

    def speech_started(self, now: float) -> None:
        """The caller speaks; a reply would talk into it, also one that is on its way. A silence is over."""
        self._hold_until = now + LONGEST_SPEECH_MS
        self._says = [request for request in self._says if request.purpose not in _INTO_SILENCE]
        asked = self._asked
        if asked is not None and (asked.purpose in _INTO_SILENCE or (asked.purpose is None and self._provider_replies)):
            asked.cancelled = True

    def speech_stopped(self, now: float) -> None:
        """The provider's own reply is due, and will cover what waits here."""
        self._hold_until = now + (REPLY_DUE_MS if self._provider_replies else 0.0)

    def placed(self, item_id: str) -> None:
        """The provider took this item in: a response that starts from now on knows it."""
        for request in (self._asked, self._reply):
            if request is not None and item_id in request.replies_to:
                request.replies_to[item_id] = True

    def created(self, response_id: str, request_id: str) -> bool:
        """A response started. False: it is not wanted any more, cancel it."""
        self.active = response_id
        self._blocked_until = self._hold_until = 0.0
        asked = self._asked
        self._adopted = None
        if asked is not None and request_id == asked.id:
            self._echoes = True
            self._current, self._asked = asked, None
            return not asked.cancelled
        if asked is not None and not request_id and (self._never_echoes or asked.item is not None):
            # Nothing says whose it is. If it is the provider's own, our request will be refused, and made again.
            self._current, self._asked, self._adopted = asked, None, asked
            return not asked.cancelled
        # Nobody to make good for: a failure of the provider's own reply is repaired by one of ours.
        self._current = Request(tries=1, replies_to={response_id: False})
        if request_id in self._given_up:
            self._current.cancelled = True
            return False
        self._cover()
        return True

    def _cover(self) -> None:
        """The provider replies by itself: items that it took in before this response began are answered by it."""
        for request in (self._asked, self._reply):
            if request is not None:
                request.replies_to = {item: placed for item, placed in request.replies_to.items() if not placed}
        if self._reply is not None and not self._reply.replies_to:
            self._reply = None

    def done(self, response_id: str, *, retry_at: float | None = None, dropped: bool = False) -> None:
        """A response ended. `retry_at`: it failed without a sound; ask for the same once more, from then on.

        `dropped`: its end never came, so it says nothing about what else is under way.
        """
        if self.active and response_id != self.active:
            return
        if self._asked is not None and not self._echoes and not dropped:
            # A server that does not return our metadata: this was what became of our request.
            self._current, self._asked = self._asked, None
        self.active = ""
        self._blocked_until = 0.0
        if retry_at is not None:
            self._blocked_until = retry_at
            self._again(self._current)

    def refused(self, event_id: str, now: float, *, response_active: bool) -> None:
        """An error event that names our request, or nothing at all. What names nothing may mean something else."""
        asked = self._asked
        if asked is None and response_active and self._adopted is not None and event_id in ("", self._adopted.id):
            asked, self._current = self._adopted, Request(tries=1, replies_to={self.active: False})
        if asked is None or (event_id and event_id != asked.id):
            return
        self._asked = self._adopted = None
        if response_active:
            # It is no fault of the request: it waits for the end of a response, known to us or not.
            self._blocked_until = 0.0 if self.active else now + ANSWER_WITHIN_MS
            asked.tries -= 1
            self._again(asked)
        elif event_id:
            self._blocked_until = now + REFUSED_MS
            self._again(asked)

    def idle(self) -> None:
        """The provider says that no response is active."""
        self.active = ""
        self._blocked_until = 0.0

    # What to send

    def take(self, now: float) -> Request | None:
        """The request to send now, if any; it then counts as sent. Call after each event and at `deadline`."""
        # Where metadata does not come back, the active response may well be the answer: its end will tell.
        unsure = bool(self.active) and not self._echoes
        if self._asked is not None and not unsure and now >= self._asked_at + ANSWER_WITHIN_MS:
            self._give_up(self._asked)
        if self.active or self._asked is not None or now < self._blocked_until:
            return None
        if self._says:
            request = self._says.pop(0)
        elif self._reply is not None and now >= self._hold_until:
            request, self._reply = self._reply, None
        else:
            return None
        self._sent += 1
        request.id = f"tandem_say_{self._sent}" if request.purpose else f"tandem_reply_{self._sent}"
        request.tries += 1
        self._asked, self._asked_at = request, now
        return request

    def _give_up(self, asked: Request) -> None:
        self._asked = None
        if len(self._given_up) >= _REMEMBERED:
            del self._given_up[next(iter(self._given_up))]
        self._given_up[asked.id] = None
        self._again(asked)

    def _again(self, request: Request) -> None:
        """Put a request back in its place, unless it was tried often enough or something newer took over."""
        if request.cancelled or request.tries >= _TRIES:
            return
        if request.purpose is not None:
            if all(waiting.purpose is not request.purpose for waiting in self._says):
                self._says.insert(0, request)
        elif request.replies_to:
            if self._reply is not None:
                request.replies_to |= self._reply.replies_to
            self._reply = request
