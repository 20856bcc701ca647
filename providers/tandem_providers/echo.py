"""The embedded provider: greets, and repeats each turn of the caller. Needs no key, no network, no second service.

It proves a line end to end: carrier, codec, pacing, turn taking, barge-in. Keys test more: 1 says which there are,
2 a tone, 3 clicks, 9 hangs up.

`EchoAgent` is the whole of it, pure: its only clock is the caller's audio, so the same audio gives the same events,
however it is cut. `Echo` lends it the shape of a provider.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal, assert_never

from tandem_codecs.format import MULAW_8K, PCM16_24K, AudioFormat
from tandem_providers.commands import (
    CancelResponse,
    Command,
    CommitTurn,
    PlaybackReport,
    Purpose,
    Say,
    SendDtmf,
    SendText,
    ToolResult,
)
from tandem_providers.config import ProcessConfig
from tandem_providers.detector import SpeechStarted, SpeechStopped, TurnDetector
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import (
    AudioChunk,
    Event,
    HangupRequested,
    ItemAdded,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.options import option
from tandem_providers.prompts import PromptName, prompt
from tandem_providers.provider import FRESH, Capabilities, EventSink, Opening
from tandem_providers.stream import EventStream, process_audio_stream
from tandem_providers.tones import clicks, tone

CAPABILITIES: Final = Capabilities(input_formats=(MULAW_8K,), output_formats=(MULAW_8K,), cancel=True)

PRE_ROLL_MS: Final = 200
"""Repeated from before the place where speech seems to begin: soft first sounds lie below a detector's threshold,
by up to 100 ms at 10 dB of noise. All of it is heard before the first word, so no more than needed."""
LONGEST_TURN_MS: Final = 30_000
"""A turn is repeated at this length, whatever follows: 240 kB a call, and nobody wants to hear more again."""
CHUNK_MS: Final = 200
"""What vendors send at once."""

_SLACK_MS: Final = 700
"""Kept besides the pre-roll while nobody speaks: by the time that we are sure of a start, it lies a little back."""
_AFTER_KEY_MS: Final = 200
"""Quiet wanted after a key before we listen again: some carriers leave the key's own beep in the audio."""
_GAP_MS: Final = 300

_SPOKEN: Final[dict[Purpose, PromptName]] = {
    Purpose.GREETING: "greeting",
    Purpose.STILL_THERE: "still-there",
    Purpose.RESUME: "not-heard",
    Purpose.MESSAGE: "one-moment",
    Purpose.GOODBYE: "goodbye",
}
_REFUSED: Final = {
    "instructions": "it repeats what it hears and follows no instructions",
    "voice": "its prompts are recordings, and the rest is the caller's own voice",
    "temperature": "nothing in it is left to chance",
    "functions": "it understands no words, so it can not call functions",
    "on_function_call": "it understands no words, so it can not call functions",
}


@dataclass(frozen=True, slots=True)
class EchoOptions:
    """What can be set for the embedded provider."""

    prompts: str = option(
        "ECHO_PROMPTS",
        default="",
        help="folder of recordings (NAME.ulaw, texts.toml) that replace the built-in prompts",
    )


class EchoAgent:
    """One session's mind.

    Tell it things with `audio`, `command`, `pause` and `resume`, and after each take what came of it from `events`.

    Raises:
        InvalidConfigError: the prompt folder can not be used.
    """

    def __init__(
        self, *, folder: str = "", detector: TurnDetector | None = None, longest_turn_ms: int = LONGEST_TURN_MS
    ) -> None:
        prompt("greeting", folder)  # a folder that can not be used is found now, not in the middle of a call
        self._folder = folder
        self._detector = detector if detector is not None else TurnDetector()
        self._longest = MULAW_8K.size(longest_turn_ms)
        self._pre_roll = MULAW_8K.size(PRE_ROLL_MS)
        self._kept_while_silent = MULAW_8K.size(PRE_ROLL_MS + _SLACK_MS)
        self._rest = b""
        self._heard = bytearray()
        self._heard_from_ms = 0
        self._outbox: deque[Event] = deque()
        self._paused = False
        self._item = ""
        self._last_item: str | None = None
        self._items = self._turns = 0

    @property
    def pending(self) -> bool:
        """There may be something in `events`."""
        return bool(self._outbox)

    def events(self) -> Iterator[Event]:
        """What has come about, in order; each is given once. While paused, no audio and nothing that comes after it."""
        outbox = self._outbox
        while outbox and not (self._paused and isinstance(outbox[0], AudioChunk)):
            yield outbox.popleft()

    def pause(self) -> None:
        """Hold the audio that has not been taken yet: as far as anybody can tell, it is still being generated."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def audio(self, audio: bytes) -> None:
        """The caller's voice, in pieces of any size."""
        if self._rest:
            audio = self._rest + audio
        size = MULAW_8K.frame_bytes
        end = len(audio) - size
        at = 0
        while at <= end:
            self._listen(audio[at : at + size])
            at += size
        self._rest = audio[at:]

    def command(self, command: Command) -> None:
        """Each command does something, or says in a `ProviderWarning` why it can not."""
        match command:
            case Say(purpose, text):
                self._say(purpose, text)
            case SendDtmf(digit):
                self._press(digit)
            case CommitTurn():
                self._finish(self._detector.cut(0))
            case CancelResponse():
                self._stop_generating("cancelled")
            case SendText():
                self._warn("text_unsupported", "echo can not read: the text was not taken up, and gets no answer")
            case ToolResult(call_id):
                self._warn(
                    "unknown_tool_call", f"echo never called a function, so it has no use for a result of {call_id!r}"
                )
            case PlaybackReport():
                pass  # it remembers nothing that would have to be cut
            case _:
                assert_never(command)

    def _listen(self, frame: bytes) -> None:
        heard = self._heard
        heard += frame
        found = self._detector.frame(frame)
        if found is not None:
            if isinstance(found, SpeechStarted):
                self._begin(found)
            else:
                self._finish(found)
        elif self._detector.speaking:
            if len(heard) >= self._longest:
                self._finish(self._detector.cut())
        elif len(heard) >= 2 * self._kept_while_silent:
            self._forget_before(len(heard) - self._kept_while_silent)

    def _forget_before(self, place: int) -> None:
        if place > 0:
            del self._heard[:place]
            self._heard_from_ms += int(MULAW_8K.milliseconds(place))

    def _begin(self, found: SpeechStarted) -> None:
        """The caller speaks: whatever the agent was about to say is not said any more."""
        self._forget_before(MULAW_8K.size(found.at_ms - self._heard_from_ms) - self._pre_roll)
        self._item = self._new_item()
        self._stop_generating("interrupted", UserSpeechStarted(self._item, found.at_ms))

    def _finish(self, found: SpeechStopped | None) -> None:
        """The caller's turn is over: repeat it."""
        if found is None:
            return
        said = bytes(self._heard)
        # The next turn's pre-roll may reach back into this one's silent end.
        self._forget_before(len(self._heard) - self._pre_roll)
        self._outbox.append(UserSpeechStopped(self._item, found.at_ms))
        seconds = f"{MULAW_8K.milliseconds(len(said)) / 1000:.1f} s"
        self._add_item(self._item, f"(speech of {seconds})", is_input=True)
        self._speak(f"(repeats your {seconds})", said)

    def _say(self, purpose: Purpose, text: str | None) -> None:
        found = prompt(_SPOKEN[purpose], self._folder)
        if text is not None and text != found.text:
            # Saying nothing would be worse than saying it in other words.
            self._warn(
                "text_unsupported", f"echo can not speak a text: it plays its recorded {found.name} prompt instead"
            )
        self._speak(found.text, found.audio)

    def _press(self, digit: str) -> None:
        """A key is a turn of its own, and interrupts whatever either side was saying."""
        stopped = self._detector.cut(_AFTER_KEY_MS)
        self._forget_before(len(self._heard))
        if stopped is not None:
            self._outbox.append(UserSpeechStopped(self._item, stopped.at_ms))
        self._stop_generating("interrupted")
        self._add_item(self._new_item(), f"(pressed {digit})", is_input=True)
        match digit:
            case "2":
                self._play("tone-test", tone())
            case "3":
                self._play("latency-test", clicks())
            case "9":
                self._play("goodbye")
                self._outbox.append(HangupRequested("the caller pressed 9"))
            case _:
                self._play("menu")

    def _play(self, name: PromptName, sound: bytes = b"") -> None:
        """A prompt, and a sound after it."""
        found = prompt(name, self._folder)
        self._speak(found.text, found.audio + MULAW_8K.silence(_GAP_MS) + sound if sound else found.audio)

    def _speak(self, text: str, audio: bytes) -> None:
        """A whole turn of the agent, all at once."""
        self._turns += 1
        turn_id, item_id = f"turn-{self._turns}", self._new_item()
        self._outbox.append(TurnStarted(turn_id))
        self._add_item(item_id, text, is_input=False, turn_id=turn_id)
        step = MULAW_8K.size(CHUNK_MS)
        for at in range(0, len(audio), step):
            final = at + step >= len(audio)
            self._outbox.append(AudioChunk(audio[at : at + step], final, item_id, turn_id))
        self._outbox.append(TurnEnded(turn_id, "completed"))

    def _stop_generating(self, status: Literal["interrupted", "cancelled"], *why: Event) -> None:
        """Drop the audio that is held back. What was taken is not ours to stop: the bridge clears it at the carrier."""
        events = list(self._outbox)
        held = [at for at, event in enumerate(events) if isinstance(event, AudioChunk)] if self._paused else []
        at = held[0] if held else len(events)
        cut = [event for event in events[at:] if not isinstance(event, AudioChunk)]
        self._outbox.clear()
        self._outbox.extend([*events[:at], *why])
        self._outbox.extend(replace(e, status=status) if isinstance(e, TurnEnded) else e for e in cut)

    def _new_item(self) -> str:
        self._items += 1
        return f"item-{self._items}"

    def _add_item(self, item_id: str, text: str, *, is_input: bool, turn_id: str = "") -> None:
        self._outbox.append(ItemAdded(item_id, self._last_item, is_input))
        self._outbox.append(Transcript(text, True, is_input, item_id, turn_id))
        self._last_item = item_id

    def _warn(self, code: str, message: str) -> None:
        self._outbox.append(ProviderWarning(code, message))


class EchoSession:
    """A live session: nothing but the agent, and the order in which its events are told. A `Session`."""

    def __init__(self, provider: str, agent: EchoAgent, on_event: EventSink) -> None:
        self.provider = provider
        self.capabilities = CAPABILITIES
        self.input_format = self.output_format = MULAW_8K
        self._agent = agent
        self._on_event = on_event
        self._telling = False
        self._open = True
        on_event(SessionReady(provider, MULAW_8K, MULAW_8K, model="echo"))

    def send_audio(self, audio: bytes) -> None:
        if self._open:
            self._agent.audio(audio)
            if self._agent.pending:
                self._tell()

    def send(self, command: Command) -> None:
        if self._open:
            self._agent.command(command)
            self._tell()

    def pause(self) -> None:
        self._agent.pause()

    def resume(self) -> None:
        if self._open:
            self._agent.resume()
            self._tell()

    def close(self) -> None:
        """End it. Idempotent."""
        if self._open:
            self._open = False
            self._on_event(SessionClosed())

    def _tell(self) -> None:
        """Told of an event, the other side may at once command something: what comes of that is told after."""
        if self._telling:
            return
        self._telling = True
        try:
            for event in self._agent.events():
                self._on_event(event)
                if not self._open:
                    return
        finally:
            self._telling = False


class Echo:
    """The embedded provider. `prompts` is a folder of recordings that replace the built-in ones. A `Provider`.

    Making one reads that folder; no session does.

    Raises:
        InvalidConfigError: that folder can not be used.
    """

    def __init__(self, *, prompts: str = "", name: str = "echo") -> None:
        self.name = name
        self.capabilities = CAPABILITIES
        self._prompts = prompts
        tone()  # takes some milliseconds to make, which no call should wait for
        self._sessions: set[EchoSession] = set()
        prompt("greeting", prompts)

    def check(self, config: ProcessConfig, *, leg: AudioFormat = PCM16_24K) -> None:
        """Find out whether a session of this kind could be had.

        Raises:
            InvalidConfigError: it asks for something that an echo can not do.
        """
        refuse_what_echo_can_not(config, self.name)

    @asynccontextmanager
    async def connect(
        self, config: ProcessConfig, on_event: EventSink, *, leg: AudioFormat = PCM16_24K, opening: Opening = FRESH
    ) -> AsyncIterator[EchoSession]:
        """See `Provider.connect`. Ready at once. It speaks G.711 mu-law whatever the `leg`.

        Raises:
            InvalidConfigError: the configuration asks for something that an echo can not do; says what and why.
        """
        refuse_what_echo_can_not(config, self.name)
        session = EchoSession(self.name, EchoAgent(folder=self._prompts), on_event)
        self._sessions.add(session)
        try:
            yield session
        finally:
            self._sessions.discard(session)
            session.close()

    def process_audio_stream(
        self, audio_in: AsyncIterable[bytes], config: ProcessConfig
    ) -> AbstractAsyncContextManager[EventStream]:
        """See `Provider.process_audio_stream`. A turn is repeated after half a second of silence in `audio_in`."""
        return process_audio_stream(self, audio_in, config)

    async def close(self) -> None:
        """End all sessions that are up."""
        for session in list(self._sessions):
            session.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def refuse_what_echo_can_not(config: ProcessConfig, name: str) -> None:
    """Raise `InvalidConfigError` for the first option that an echo can not honour."""
    for option_name, why in _REFUSED.items():
        value = getattr(config, option_name)
        if value is not None and value != "" and not (option_name == "functions" and not value):
            raise InvalidConfigError(f"can not honour {option_name!r}: {why}", provider=name)
    for extension in config.extensions:
        raise InvalidConfigError(f"can not honour extension {extension!r}: it has no extensions", provider=name)
