"""How a call is left: for which reason, not before when, at the latest when, and what must have been heard. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.call_types import EndReason

WORDS_SECONDS = 3.0
"""How long asked-for last words may take to begin."""
_LAST_WORDS_OF_THE_AGENT = frozenset({EndReason.SILENCE, EndReason.AGENT_HUNG_UP, EndReason.MACHINE})
TALK_MAY_GO_ON = frozenset({EndReason.SILENCE, EndReason.AGENT_HUNG_UP})
"""Reasons to leave that the caller can undo by speaking."""


@dataclass(slots=True)
class Leaving:
    """The plan for the end of a call."""

    reason: EndReason
    by: float
    """At the latest."""
    not_before: float = 0.0
    words_by: float = 0.0
    """Last words were asked for and have not begun; they are waited for until then."""

    @property
    def last_words_said(self) -> bool:
        """They are ours, recorded: what the agent begins to say after them is not to be heard."""
        return self.reason not in _LAST_WORDS_OF_THE_AGENT

    @property
    def may_stay(self) -> bool:
        return self.reason in TALK_MAY_GO_ON

    def due(self, now: float, *, heard: bool) -> bool:
        """Whether the line is to be cut now. `heard`: nothing of the agent is playing, waiting or being made."""
        if now >= self.by:
            return True
        return heard and now >= self.not_before and now >= self.words_by
