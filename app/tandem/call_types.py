"""What a call is told besides the far ends' own words, what it answers, and what it is set up with."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from msgspec import Struct

from tandem.carriers.events import CarrierCommand, CarrierEvent
from tandem_codecs.format import AudioFormat
from tandem_providers.commands import Command
from tandem_providers.events import Event, Usage


class EndReason(Enum):
    """Why a call ended: in the log line, in the metric, in the record. One per call."""

    CALLER_HUNG_UP = "caller_hung_up"
    AGENT_HUNG_UP = "agent_hung_up"
    OPERATOR = "operator"
    SILENCE = "silence"
    MAX_DURATION = "max_duration"
    DRAINED = "drained"
    TRANSFERRED = "transferred"
    """Somebody else has the caller now."""
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    NOT_PLACED = "not_placed"
    """The carrier could not, or would not, place the call."""
    MACHINE = "machine"
    """An answering machine took the call, and that was not wanted."""
    PROVIDERS_FAILED = "providers_failed"
    """No provider could be had."""
    PROVIDER_LOST = "provider_lost"
    """It died during the call."""
    CARRIER_LOST = "carrier_lost"
    """The media socket closed without a stop."""
    CARRIER_SILENT = "carrier_silent"
    """No sign of life from the carrier."""
    CARRIER_STALLED = "carrier_stalled"
    """It stopped taking what we send."""
    NO_STREAM = "no_stream"
    """The webhook came, the media socket never did."""
    NO_START = "no_start"
    """The media socket came and said nothing."""
    BAD_STREAM = "bad_stream"
    WRONG_FORMAT = "wrong_format"
    WRONG_CALL = "wrong_call"
    """The stream is not of the call that its token was issued for."""
    INTERNAL_ERROR = "internal_error"


CLOSE_CODES: dict[EndReason, int] = {
    EndReason.BAD_STREAM: 1007,
    EndReason.WRONG_FORMAT: 1003,
    EndReason.WRONG_CALL: 1008,
    EndReason.NO_START: 1008,
    EndReason.INTERNAL_ERROR: 1011,
}
"""WebSocket close codes (RFC 6455, 7.4.1) other than 1000."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Attached:
    """The carrier's media socket is open."""


@dataclass(frozen=True, slots=True)
class CallOver:
    """The carrier says, beside the stream, that the caller is gone, or (a call we placed) never came."""

    unanswered: EndReason = EndReason.CALLER_HUNG_UP
    """Why, if the stream had not begun."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Whoever we called has picked up."""


@dataclass(frozen=True, slots=True)
class MachineFound:
    """It is an answering machine."""

    ready: bool
    """Its greeting is over."""


@dataclass(frozen=True, slots=True)
class SocketLost:
    """It closed, and not by us."""

    code: int


@dataclass(frozen=True, slots=True)
class SocketBlocked:
    """It takes nothing more at the moment, or takes again."""

    blocked: bool


@dataclass(frozen=True, slots=True)
class Depart:
    """The carrier shall have the call for a while: to transfer it, or to send keys where its stream can't."""

    order: Transfer | Keys
    say: str | None = None
    """Said by the agent, and heard, first."""
    seconds: float = 60.0
    """It is back, or moved, by then."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Digits to be played to the far end."""

    digits: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """Whom the caller shall be given to: an E.164 number or a SIP URI."""

    to: str
    caller_id: str = ""
    ring_seconds: int = 30


@dataclass(frozen=True, slots=True)
class Returned:
    """What came of it."""

    moved: bool
    """Somebody else has taken the caller."""
    news: str = ""
    """For the agent, when not."""
    stream_goes_on: bool = False
    """The media stream never ended (the order failed, or the carrier needed no stream for it)."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Words from an operator: said aloud by the agent, or told to it."""

    text: str
    aloud: bool
    respond: bool = True
    waits: bool = False
    """A function that the agent has called takes long: this shall bridge the silence, by a recording if need be."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call politely, for this reason."""

    reason: EndReason


CallEvent = (
    CarrierEvent
    | Event
    | Tick
    | Attached
    | SocketLost
    | SocketBlocked
    | CallOver
    | Answered
    | MachineFound
    | HangUp
    | Depart
    | Returned
    | Tell
)


class Hear(Struct, frozen=True, gc=False):
    """The caller's voice, for the provider."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class ToProvider:
    """Tell the provider."""

    command: Command


@dataclass(frozen=True, slots=True)
class HoldProvider:
    """Stop, or resume, reading from the provider."""

    hold: bool


@dataclass(frozen=True, slots=True)
class GiveToCarrier:
    """Have the carrier do this, over its API."""

    departure: Depart


@dataclass(frozen=True, slots=True)
class End:
    """The call is over: close both ends. Always the last command."""

    reason: EndReason


CallCommand = CarrierCommand | Hear | ToProvider | HoldProvider | GiveToCarrier | End


@dataclass(frozen=True, slots=True)
class CallPrompts:
    """Recorded words of the bridge itself, in the leg's format: for when no provider can speak."""

    one_moment: bytes = b""
    sorry: bytes = b""
    goodbye: bytes = b""


MachinePolicy = Literal["hang_up", "leave_message", "continue"]


@dataclass(frozen=True, slots=True)
class Outbound:
    """What only a call that we place is set up with."""

    ring_seconds: float = 30.0
    listen_first: bool = False
    """Whoever picks up speaks first."""
    machine: MachinePolicy = "continue"
    """What becomes of a call that an answering machine takes."""
    message: str = ""
    """What it is left."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What a call is set up with. Seconds unless said."""

    format: AudioFormat
    lead_ms: float
    prompts: CallPrompts = field(default_factory=CallPrompts)
    greeting: str | None = None
    way_out: str = ""
    """Who takes a caller for whom there is no agent any more: a number or SIP URI; empty for nobody."""
    max_seconds: float = 3600.0
    silence_seconds: float = 60.0
    """0 turns the watch for silent callers off."""
    stream_seconds: float = 10.0
    start_seconds: float = 5.0
    hold_prompt_seconds: float = 1.0
    carrier_gone_seconds: float = 10.0
    leave_seconds: float = 10.0
    outbound: Outbound | None = None


@dataclass(slots=True)
class CallStats:
    """What is worth knowing about a call when it is over."""

    provider: str = ""
    model: str = ""
    provider_error: str = ""
    ready_seconds: float | None = None
    first_audio_seconds: float | None = None
    """From the stream's start to the first agent audio sent."""
    turn_latencies: list[float] = field(default_factory=list)
    """From the provider's notice that the caller stopped, to the first audio of the answer."""
    caller_turns: int = 0
    barge_ins: int = 0
    nudges: int = 0
    dtmf: int = 0
    failed_turns: int = 0
    failovers: int = 0
    bad_frames: dict[str, int] = field(default_factory=dict)
    usage: dict[str, float] = field(default_factory=dict)
    close_code: int | None = None
    machine: bool | None = None
    """Whether an answering machine took the call; None: nobody has said so."""
    speech_stopped_at: float | None = None
    """The caller waits for an answer since then."""

    @property
    def answer_due(self) -> bool:
        """The next audio of the agent is worth a note."""
        return self.speech_stopped_at is not None or self.first_audio_seconds is None

    def note_audio(self, now: float, started_at: float | None) -> None:
        """The agent's audio begins, in a stream that began at `started_at`."""
        if self.first_audio_seconds is None and started_at is not None:
            self.first_audio_seconds = now - started_at
        if self.speech_stopped_at is not None:
            self.turn_latencies.append(now - self.speech_stopped_at)
            self.speech_stopped_at = None

    def add_usage(self, used: Usage) -> None:
        for kind, amount in used.amounts.items():
            key = f"{used.source}.{kind}"
            self.usage[key] = self.usage.get(key, 0.0) + amount

    def count_bad(self, reason: str) -> None:
        self.bad_frames[reason] = self.bad_frames.get(reason, 0) + 1
