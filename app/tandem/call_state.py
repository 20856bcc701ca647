"""The states of a call and the moves between them, as a table. Pure.

The theory. A call has two far ends that come up in any order: the carrier's stream and the provider's session. Both
are needed to talk; the provider may be there first (it is opened while the phone still rings) or may never come. To
leave is a state of its own, because the last words must be *heard* before the line is cut.

    RINGING ──start──> CONNECTING ──ready──> TALKING ──leave──> LEAVING ──end──> ENDED
       │ready              │failed              ^ │failed            │
       v                   └────────────────────┼─┴──────> LEAVING   │stay (the caller spoke after all)
    RINGING_READY ──start───────────────────────┴────────────────────┘
    RINGING_FAILED ──start──> LEAVING (apology)

    DIALLING ──answered──> RINGING         we placed the call; nothing is spent on it as long as nobody answers
    DIALLING ──start──> CONNECTING         (or the stream is there before the carrier says so)

    TALKING ──lost──> RECOVERING ──ready──> TALKING        a provider died, the next one takes the conversation over
    TALKING ──ready──> TALKING             a provider whose time runs out is followed by another between two turns
    TALKING ──depart──> PARKED ──start──> TALKING          the carrier has the call for a while (transfer, keys)

Two rules. A move that is not in the table is a mistake of ours and raises; what a far end can do wrong is checked
before it becomes a move. `END` is legal everywhere, once, and the first reason stands.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """Where a call is; see the module."""

    DIALLING = "dialling"
    RINGING = "ringing"
    RINGING_READY = "ringing-ready"
    RINGING_FAILED = "ringing-failed"
    CONNECTING = "connecting"
    TALKING = "talking"
    RECOVERING = "recovering"
    PARKED = "parked"
    LEAVING = "leaving"
    ENDED = "ended"


class Move(Enum):
    """What takes a call from one state to another."""

    ANSWERED = "answered"
    START = "start"
    READY = "ready"
    FAILED = "failed"
    LOST = "lost"
    DEPART = "depart"
    LEAVE = "leave"
    STAY = "stay"


MOVES: Final[dict[tuple[State, Move], State]] = {
    (State.DIALLING, Move.ANSWERED): State.RINGING,
    (State.DIALLING, Move.START): State.CONNECTING,
    (State.RINGING, Move.READY): State.RINGING_READY,
    (State.RINGING, Move.FAILED): State.RINGING_FAILED,
    (State.RINGING, Move.START): State.CONNECTING,
    (State.RINGING_READY, Move.READY): State.RINGING_READY,
    (State.RINGING_READY, Move.START): State.TALKING,
    (State.RINGING_READY, Move.FAILED): State.RINGING_FAILED,
    (State.RINGING_READY, Move.LOST): State.RINGING,
    (State.RINGING_FAILED, Move.START): State.LEAVING,
    (State.CONNECTING, Move.READY): State.TALKING,
    (State.CONNECTING, Move.FAILED): State.LEAVING,
    (State.CONNECTING, Move.LEAVE): State.LEAVING,
    (State.TALKING, Move.FAILED): State.LEAVING,
    (State.TALKING, Move.LEAVE): State.LEAVING,
    (State.TALKING, Move.LOST): State.RECOVERING,
    (State.TALKING, Move.DEPART): State.PARKED,
    (State.PARKED, Move.START): State.TALKING,
    (State.PARKED, Move.LOST): State.PARKED,
    (State.PARKED, Move.READY): State.PARKED,
    (State.PARKED, Move.FAILED): State.PARKED,
    (State.PARKED, Move.LEAVE): State.LEAVING,
    (State.TALKING, Move.READY): State.TALKING,
    (State.RECOVERING, Move.READY): State.TALKING,
    (State.RECOVERING, Move.FAILED): State.LEAVING,
    (State.RECOVERING, Move.LEAVE): State.LEAVING,
    (State.LEAVING, Move.LEAVE): State.LEAVING,
    (State.LEAVING, Move.DEPART): State.PARKED,
    (State.LEAVING, Move.READY): State.LEAVING,
    (State.LEAVING, Move.FAILED): State.LEAVING,
    (State.LEAVING, Move.LOST): State.LEAVING,
    (State.LEAVING, Move.STAY): State.TALKING,
}
BEFORE_STREAM: Final = frozenset({State.DIALLING, State.RINGING, State.RINGING_READY, State.RINGING_FAILED})


class IllegalMove(Exception):
    """The table has no such move: a mistake in this program."""


def moved(state: State, move: Move) -> State:
    """Where the move leads.

    Raises:
        IllegalMove: nowhere.
    """
    target = MOVES.get((state, move))
    if target is None:
        raise IllegalMove(f"{move.value!r} in state {state.value!r}")
    return target
