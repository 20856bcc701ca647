"""What a provider is, in three narrow ports.

`WireProtocol` is a vendor's protocol without I/O: told messages and commands, it answers events and messages.
`Session` is one that is live. `Provider` opens sessions; `Client` (fallback) is a provider, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from tandem_codecs.format import PCM16_24K, AudioFormat
from tandem_providers.commands import Command
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import ProviderError
from tandem_providers.events import Event

EventSink = Callable[[Event], None]
"""Called synchronously, in order, on the event loop, for every event of a session. Must not raise or block."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter can do, as data. The bridge asks these, never a vendor's name."""

    input_formats: tuple[AudioFormat, ...]
    """In order of preference. The first one equal to the telephone leg's is taken, else the first linear one."""
    output_formats: tuple[AudioFormat, ...]
    turn_model: Literal["turns", "agent", "duplex"] = "turns"
    truncate: bool = False
    """Its memory can be cut to what was heard (`PlaybackReport`)."""
    cancel: bool = False
    text_in: bool = False
    hears_turns: bool = True
    """It has turn detection of its own; else `CommitTurn` is needed."""
    seeds: bool = False
    """It can begin with the memory of an earlier conversation (`Opening.history`)."""
    transcribes: bool = True
    """It tells the words of the caller (`Transcript` with `is_input`)."""
    speaks_while_it_waits: bool = True
    """It can be asked to speak (`Say`) while it waits for the result of a function."""
    max_session_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class HistoryTurn:
    """What was said before, as it was heard: the memory that a session begins with."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Opening:
    """How a session begins when it is not the first of its conversation."""

    history: tuple[HistoryTurn, ...] = ()
    resume: str = ""
    """The last handle of a `ResumeHandle` of the *same* provider instance; wins over `history` where it is accepted."""
    greeting: str = ""
    """First words that a `Say` will ask for: some agents can only be given them before they begin."""


FRESH = Opening()
"""A conversation that begins."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Where and how to open the WebSocket."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


class WireProtocol(Protocol):
    """One session of one vendor's protocol, pure: no I/O, no clock, no task.

    Order: `dial`, then for each message `receive` followed by `outgoing`; `audio` and `send` once a `SessionReady`
    came out of `receive`; `closed` once when the socket is gone.
    """

    capabilities: Capabilities

    def dial(self) -> Dial:
        """Where to connect."""
        ...

    def receive(self, message: bytes) -> list[Event]:
        """One whole message (text or binary). Malformed ones become a `ProviderWarning`; never raises."""
        ...

    def outgoing(self) -> list[bytes]:
        """Messages that `receive` made necessary (set-up, results waiting for their moment), to be sent at once.

        A message that was nothing but a piece of the agent's audio made none necessary: then this may not be asked.
        """
        ...

    def audio(self, audio: bytes) -> list[bytes]:
        """Caller audio in the negotiated input format, as messages."""
        ...

    def send(self, command: Command) -> list[bytes]:
        """A command, as messages; empty when it has to wait or has no meaning here."""
        ...

    def closed(self, code: int, reason: str) -> ProviderError | None:
        """What a closed socket means: None after a close that is no failure."""
        ...


@runtime_checkable
class TakesLeave(Protocol):
    """A `WireProtocol` of a vendor who wants to be told before the socket is closed."""

    def farewell(self) -> list[bytes]:
        """The last messages, once the session is over for its user; answered by what reads as `SessionClosed`."""
        ...


class Binary(bytes):
    """A message of a `WireProtocol` that goes out in a binary frame; all others are text."""

    __slots__ = ()


@runtime_checkable
class SpeaksBinary(Protocol):
    """A `WireProtocol` whose far end says one thing in text frames and another, its voice, in binary ones."""

    def receive_binary(self, message: bytes) -> list[Event]:
        """Like `receive`, which then only gets text."""
        ...


@runtime_checkable
class SpeaksBriefly(Protocol):
    """A `WireProtocol` with a short way for the caller's voice."""

    def voice(self, audio: bytes) -> bytes | None:
        """The one text message that a usual piece of caller audio is, when nothing else is due.

        None: nothing was done, `audio` has to be asked.
        """
        ...


@runtime_checkable
class KeepsTime(Protocol):
    """A `WireProtocol` to which something may occur though no message came: its clock is the audio it is given."""

    def occurred(self) -> list[Event]:
        """Asked after every `audio` and `send`, and once after `closed`; not after a `voice` that did all."""
        ...


@runtime_checkable
class StaysAwake(Protocol):
    """A `WireProtocol` of a vendor who ends sessions in which nothing is sent."""

    idle_seconds: float
    """At least this often something has to be sent."""

    def keep_alive(self) -> list[bytes]:
        """What to send when there is nothing else."""
        ...


Lane = Callable[[bytes, str], bool]
"""The short way of a further piece of the agent's audio, never the last one of its item, with the item's id: True when
it was taken. False: nothing was done, the event sink is to be told."""


@runtime_checkable
class HasLane(Protocol):
    """A `Session` that offers each piece of audio that came alone, but for last ones and those of an item's further
    contents, to its `lane`, while it has one, before all else."""

    lane: Lane | None


class Session(Protocol):
    """A live session. All methods are synchronous and cheap; after the end they do nothing."""

    @property
    def provider(self) -> str:
        """The configured name of the instance."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def input_format(self) -> AudioFormat: ...

    @property
    def output_format(self) -> AudioFormat: ...

    def send_audio(self, audio: bytes) -> None:
        """Caller audio in `input_format`, any length."""
        ...

    def send(self, command: Command) -> None: ...

    def pause(self) -> None:
        """Stop reading from the provider: more than enough audio is waiting to be played."""
        ...

    def resume(self) -> None: ...


class Provider(Protocol):
    """Opens sessions. `name` is the configured instance's name."""

    name: str

    @property
    def capabilities(self) -> Capabilities: ...

    def connect(
        self, config: ProcessConfig, on_event: EventSink, *, leg: AudioFormat = PCM16_24K, opening: Opening = FRESH
    ) -> AbstractAsyncContextManager[Session]:
        """Open a session; entered when it is ready, closed on exit.

        `leg` is what the other side speaks: a provider that speaks it too passes it through.

        Raises (on entering): any `ProviderError`.
        """
        ...

    def process_audio_stream(
        self, audio_in: AsyncIterable[bytes], config: ProcessConfig
    ) -> AbstractAsyncContextManager[AsyncIterable[Event]]:
        """The simple way in: audio from an iterable, events from an iterator."""
        ...

    async def close(self) -> None: ...
