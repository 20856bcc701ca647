"""Dialogues with the Gemini adapter that read as a script: `play >> message or command`, `play << events and messages`.

The vendor's own client library is the judge of both sides: every server message that a test feeds in must be one of its
server messages, and every message of ours one of its client messages, without a field that it does not know.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from google.genai import types
from msgspec import Struct, structs

from tandem_codecs.format import MULAW_8K, PCM16_16K
from tandem_providers.commands import Command
from tandem_providers.config import ProcessConfig
from tandem_providers.events import AudioChunk, Event, ItemAdded, SessionReady, Transcript, TurnEnded, TurnStarted
from tandem_providers.gemini import GeminiOptions, GeminiProtocol
from tandem_providers.provider import FRESH, Opening

Message = dict[str, Any]
NATIVE_25 = "gemini-2.5-flash-native-audio-preview-12-2025"
FLASH_31 = "gemini-3.1-flash-live-preview"
LIVE_38 = "gemini-3.8-live"
EXTENDED_38 = "gemini-3.8-live-extended-thinking"
GENERATIONS = (NATIVE_25, FLASH_31, LIVE_38, EXTENDED_38)
_AUDIO = b'{"realtimeInput":{"audio":'


def server(**fields: Any) -> bytes:
    """A server message as it comes over the wire."""
    types.LiveServerMessage.model_validate(fields)
    return json.dumps(fields).encode()


def raw(**fields: Any) -> bytes:
    """A message that the vendor's library does not know."""
    return json.dumps(fields).encode()


def content(**fields: Any) -> bytes:
    return server(serverContent=fields)


def client(message: bytes) -> Message:
    """A message of ours, read by the vendor's library."""
    made: Message = json.loads(message)
    assert len(made) == 1, "one message, one thing"
    if "setup" in made:
        # The library writes this part of it without a type for the whole.
        setup = dict(made["setup"])
        types.RealtimeInputConfig.model_validate(setup.pop("realtimeInputConfig"))
        types.LiveClientMessage.model_validate({"setup": setup})
    else:
        types.LiveClientMessage.model_validate(made)
    return made


def blob(audio: bytes, mime_type: str = "audio/pcm;rate=24000") -> Message:
    return {"inlineData": {"mimeType": mime_type, "data": base64.b64encode(audio).decode()}}


def voice(audio: bytes, **siblings: Any) -> bytes:
    return content(modelTurn={"role": "model", "parts": [blob(audio)]}, **siblings)


def said(text: str) -> bytes:
    return content(outputTranscription={"text": text})


def heard(text: str, **more: Any) -> bytes:
    return content(inputTranscription={"text": text, **more})


GENERATED = content(generationComplete=True)
COMPLETE = content(turnComplete=True)
INTERRUPTED = content(interrupted=True)


def calls(*functions: Message) -> bytes:
    return server(toolCall={"functionCalls": list(functions)})


def call(call_id: str, name: str = "f", **args: Any) -> Message:
    return {"id": call_id, "name": name, "args": args}


class Play:
    """One session: what goes in is answered by events and messages, which must be read before the next step.

    Names of turns and items are told without what makes them unlike those of other sessions: `turn1`, `item2`.
    """

    def __init__(
        self,
        config: ProcessConfig | None = None,
        *,
        model: str = LIVE_38,
        ready: bool = True,
        opening: Opening = FRESH,
        **options: Any,
    ) -> None:
        self.protocol = GeminiProtocol(
            GeminiOptions(**{"api_key": "planted-key", "model": model, **options}),
            config or ProcessConfig(),
            MULAW_8K,
            "gemini",
            opening,
        )
        self.dialogue: list[str] = []
        self._unread: list[Event | Message] = []
        (message,) = self.protocol.outgoing()
        self.setup = client(message)["setup"]
        if ready:
            event, *rest = self.protocol.receive(server(setupComplete={}))
            assert isinstance(event, SessionReady)
            self._collect(rest, self.protocol.outgoing())

    def __rshift__(self, step: bytes | Command) -> Play:
        assert not self._unread, f"not read yet: {self._unread}"
        self.dialogue.append(f">> {step!r}"[:200])
        if isinstance(step, bytes):
            events = self.protocol.receive(step)
            self._collect(events, self.protocol.outgoing())
        else:
            self._collect([], self.protocol.send(step))
        return self

    def __lshift__(self, expected: Any) -> Play:
        """Events (equal, or of that type) and messages (a mapping of fields that must be so), in order."""
        wanted = expected if isinstance(expected, list) else [expected]
        got = self.take()
        if len(got) != len(wanted) or not all(map(_fits, got, wanted)):
            lines = "\n".join(self.dialogue)
            raise AssertionError(f"{lines}\nexpected instead:\n" + "\n".join(f"<< {w!r}" for w in wanted))
        return self

    def take(self) -> list[Any]:
        """What was answered, for a closer look."""
        got, self._unread = self._unread, []
        self.dialogue += [f"<< {answer!r}"[:300] for answer in got]
        return got

    def silence(self) -> Play:
        return self << []

    def listen(self, milliseconds: float, audio: bytes = PCM16_16K.silence(20)) -> Play:
        """Caller audio in frames; only what is sent besides it counts as an answer."""
        assert not self._unread, f"not read yet: {self._unread}"
        self.dialogue.append(f">> {milliseconds} ms of caller audio")
        for _ in range(int(milliseconds / 20)):
            sent = self.protocol.audio(audio)
            self._collect([], [message for message in sent if not message.startswith(_AUDIO)])
        return self

    def speak(self, *words: str, item: int = 1, turn: int = 1, begins: bool = True) -> Play:
        """The agent says something: a turn begins, with voice and words in it."""
        start = [TurnStarted(f"turn{turn}"), ItemAdded] if begins else [ItemAdded]
        self >> voice(b"vv") << [*start, AudioChunk(b"vv", False, f"item{item}", f"turn{turn}")]
        for word in words:
            self >> said(word) << Transcript(word, False, False, f"item{item}", f"turn{turn}")
        return self

    def finish(self, text: str = "", item: int = 1, turn: int = 1) -> Play:
        """What the agent says is over, as is its turn."""
        self >> GENERATED << AudioChunk(b"", True, f"item{item}", f"turn{turn}")
        words = [Transcript(text, True, False, f"item{item}", f"turn{turn}")] if text else []
        return self >> COMPLETE << [*words, TurnEnded(f"turn{turn}", "completed")]

    def _collect(self, events: list[Event], messages: list[bytes]) -> None:
        self._unread += [plain(event) for event in events]
        self._unread += [client(message) for message in messages]


def plain(event: Event) -> Event:
    """The event with short names."""
    changes: dict[str, Any] = {
        name: value.rpartition(".")[2]
        for name in ("item_id", "turn_id", "after")
        if isinstance(value := getattr(event, name, None), str) and value.startswith("gemini")
    }
    short: Any = event
    made: Event = (structs.replace if isinstance(event, Struct) else replace)(short, **changes)
    return made


def _fits(got: Event | Message, wanted: Any) -> bool:
    if isinstance(wanted, type):
        return isinstance(got, wanted)
    if isinstance(wanted, Mapping):
        return isinstance(got, dict) and _holds(got, wanted)
    return bool(got == wanted)


def _holds(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(got, dict) and all(key in got and _holds(got[key], value) for key, value in wanted.items())
    return bool(got == wanted)
