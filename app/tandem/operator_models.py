"""What operators send to `/calls` and get from it: the models behind the page at `/docs`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tandem.tolls import is_number, is_sip

LONGEST_RING: Final = 600
LONGEST_TEXT: Final = 4_000
LONGEST_INSTRUCTIONS: Final = 40_000


def _reachable(text: str) -> str:
    if not is_number(text) and not is_sip(text):
        raise ValueError("write an E.164 number (+ and 7 to 15 digits) or a SIP URI (sip:user@host)")
    return text


Destination = Annotated[
    str,
    AfterValidator(_reachable),
    Field(max_length=400, examples=["+15551234567"], description="An E.164 number or a SIP URI."),
]
Words = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
Ring = Annotated[int, Field(ge=5, le=LONGEST_RING, description="How long it may ring, in seconds.")]


class _Strict(BaseModel):
    """A misspelt field must not be a wish that silently goes unheard."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)


class PlaceCall(_Strict):
    """A call to place."""

    to: Destination
    from_: Destination | None = Field(
        None, alias="from", description="Our number that is shown; OUTBOUND_FROM by default.", examples=["+15557654321"]
    )
    carrier: Literal["twilio", "telnyx", "plivo"] | None = Field(
        None, description="Who carries it; by default the first carrier with an account."
    )
    agent: str | None = Field(
        None, max_length=80, description="An agent of ROUTES_FILE, by name; the fields below change it."
    )
    instructions: str | None = Field(None, max_length=LONGEST_INSTRUCTIONS, description="What the agent is told.")
    greeting: str | None = Field(None, max_length=LONGEST_TEXT, description="The agent's first words.")
    voice: str | None = Field(None, max_length=200, description="The agent's voice, as its provider calls it.")
    ring_seconds: Ring = 30
    machine: Literal["hang_up", "leave_message", "continue"] | None = Field(
        None,
        description="What becomes of a call that an answering machine takes. Left out: the carrier does not look for "
        "one. `leave_message` says `message` when the machine's greeting is over, then hangs up.",
    )
    message: str | None = Field(None, min_length=1, max_length=LONGEST_TEXT, description="For an answering machine.")
    listen_first: bool = Field(
        False, description="Whoever picks up speaks first; the agent greets after two seconds of silence."
    )

    @model_validator(mode="after")
    def _message_and_machine(self) -> PlaceCall:
        if (self.machine == "leave_message") != (self.message is not None):
            raise ValueError("`message` and `machine: leave_message` go together")
        return self


class TransferCall(_Strict):
    """Give the caller to somebody else. Nobody is cut off: who does not answer leaves the caller with the agent."""

    to: Destination
    say: Words | None = Field(None, description="Said by the agent, and heard, before.")
    ring_seconds: Ring = 30


class SendKeys(_Strict):
    """Keys for the far end."""

    digits: str = Field(
        pattern=r"^[0-9A-Da-d*#wW]{1,32}$", description="0-9, A-D, * and #; `w` is a pause of half a second."
    )


class SaySomething(_Strict):
    """Words for the agent to say aloud, word by word."""

    text: Words


class InjectText(_Strict):
    """Words for the agent's ear: the caller does not hear them."""

    text: Words
    respond: bool = Field(False, description="The agent says something to it now.")


class CallSummary(BaseModel):
    """What is known of a call. Further fields may come."""

    model_config = ConfigDict(extra="allow")

    call_id: str = Field(description="The carrier's id; until it is known, ours.")
    carrier: str
    direction: Literal["inbound", "outbound"]
    agent: str
    caller: str
    called: str
    state: str = Field(description="dialling, ringing, connecting, talking, recovering, parked, leaving or ended.")
    result: str | None = Field(description="Why it ended; null while it is up.")
    stream_started: bool
    started: str = Field(description="When we learnt of it, in UTC.")
    seconds: float
    provider: str
    model: str
    machine: bool | None = Field(description="An answering machine took it; null: nobody looked.")


class CallRecord(CallSummary):
    """The same with what was said, as the caller heard it."""

    transcript: list[dict[str, Any]]


class Problem(BaseModel):
    """Why a request came to nothing."""

    detail: str
