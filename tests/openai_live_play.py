"""Dialogues with the OpenAI Live adapter that read as a script: `play >> event or command`, `play << what it answers`.

The vendor's own client library is the judge of both sides: every server event that a test feeds in must be one of its
server events, and every message of ours one of its client events, without a field that it does not know.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from openai.types.live import ClientEvent, ServerEvent
from pydantic import BaseModel, TypeAdapter

from tandem_codecs.format import MULAW_8K, AudioFormat
from tandem_providers.commands import Command
from tandem_providers.config import ProcessConfig
from tandem_providers.events import Event, SessionReady
from tandem_providers.openai_live import OpenAILiveOptions, OpenAILiveProtocol
from tandem_providers.provider import FRESH, Opening

_SERVER: TypeAdapter[Any] = TypeAdapter(ServerEvent)
_CLIENT: TypeAdapter[Any] = TypeAdapter(ClientEvent)
_WITHOUT_ID = ("session.output_audio.delta",)

Message = dict[str, Any]
WIRE_FORMATS: dict[str, dict[str, Any]] = {
    "mulaw/8000": {"type": "audio/pcmu", "rate": 8000},
    "alaw/8000": {"type": "audio/pcma", "rate": 8000},
    "pcm16/24000": {"type": "audio/pcm", "rate": 24000},
    "pcm16/16000": {"type": "audio/pcm", "rate": 16000},
}


def server(type_: str, **fields: Any) -> bytes:
    """A server event as it comes over the wire."""
    told = {"type": type_, **fields} if type_ in _WITHOUT_ID else {"type": type_, "event_id": "event_1", **fields}
    event = _SERVER.validate_python(told)
    assert event.type == type_
    return json.dumps(event.model_dump(mode="json", exclude_unset=True)).encode()


def raw(**fields: Any) -> bytes:
    """A message that the vendor's library does not know."""
    return json.dumps(fields).encode()


def client(message: bytes) -> Message:
    """A message of ours, read by the vendor's library."""
    event = _CLIENT.validate_json(message)
    _nothing_unknown(event, event.type)
    content: Message = json.loads(message)
    assert content["type"] == event.type
    _no_null(content, event.type)
    return content


def _nothing_unknown(value: Any, path: str) -> None:
    if isinstance(value, BaseModel):
        assert not value.model_extra, f"{path} does not have {set(value.model_extra or ())}"
        for name in type(value).model_fields:
            _nothing_unknown(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            _nothing_unknown(inner, f"{path}[]")


def _no_null(value: Any, path: str) -> None:
    """The vendor's schema tells null from absent; only where a key must be there it may be null."""
    if isinstance(value, dict):
        for name, inner in value.items():
            assert inner is not None or name == "delegation_id", f"{path}.{name} is null"
            _no_null(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            _no_null(inner, f"{path}[]")


def session(asked: Mapping[str, Any], **changes: Any) -> Message:
    """A session as the server tells it."""
    return {"id": "live_1", "status": "active", "expires_at": 1_900_000_000, **asked, **changes}


def voice(audio: bytes, **times: int) -> bytes:
    return server("session.output_audio.delta", delta=base64.b64encode(audio).decode(), **times)


def said(text: str, start: int, end: int) -> bytes:
    """Words of the agent."""
    return server("session.output_transcript.delta", delta=text, start_ms=start, end_ms=end)


def heard(text: str, start: int, end: int) -> bytes:
    """Words of the caller."""
    return server("session.input_transcript.delta", delta=text, start_ms=start, end_ms=end)


def nested(type_: str, delegation: str | None = "d1", **fields: Any) -> bytes:
    """An event of the model behind the voice."""
    return server("response.event", delegation_id=delegation, event={"type": type_, "sequence_number": 1, **fields})


def begun(response_id: str = "r1", delegation: str | None = "d1") -> bytes:
    return nested("response.created", delegation, response={"id": response_id, "status": "in_progress", "output": []})


def called(
    call_id: str, name: str = "f", arguments: str = "{}", status: str = "completed", delegation: str | None = "d1"
) -> bytes:
    item = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name, "arguments": arguments}
    return nested("response.output_item.done", delegation, output_index=0, item={**item, "status": status})


def ended(how: str = "completed", delegation: str | None = "d1", **fields: Any) -> bytes:
    return nested(f"response.{how}", delegation, response={"id": "r1", "status": how, "output": [], **fields})


def failure(code: str, type_: str = "invalid_request_error", **fields: Any) -> bytes:
    return server("error", error={"type": type_, "code": code, "message": "It did not work.", **fields})


def closed(reason: str, seconds: float = 1.0) -> bytes:
    told = session({"model": "gpt-live-1"})
    return server("session.closed", reason=reason, session=told, usage={"seconds": seconds})


class Play:
    """One session: what goes in is answered by events and messages, which must be read before the next step."""

    def __init__(
        self,
        config: ProcessConfig | None = None,
        *,
        leg: AudioFormat = MULAW_8K,
        ready: bool = True,
        opening: Opening = FRESH,
        **options: Any,
    ) -> None:
        self.protocol = OpenAILiveProtocol(
            OpenAILiveOptions(**{"api_key": "sk-test", **options}),
            config or ProcessConfig(),
            leg,
            "openai-live",
            opening,
        )
        self.leg = leg
        self.dialogue: list[str] = []
        self._unread: list[Event | Message] = []
        (message,) = self.protocol.outgoing()
        self.start = client(message)
        self.session: Message = self.start["session"]
        if ready:
            (event,) = self.protocol.receive(server("session.started", session=session(self.session)))
            assert isinstance(event, SessionReady)
            assert self.protocol.outgoing() == []

    def __rshift__(self, step: bytes | Command) -> Play:
        assert not self._unread, f"not read yet: {self._unread}"
        self.dialogue.append(f">> {step!r}"[:200])
        if isinstance(step, bytes):
            events = self.protocol.receive(step)
            self._collect(events, self.protocol.outgoing())
        else:
            messages = self.protocol.send(step)
            self._collect(self.protocol.occurred(), messages)
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

    def quiet(self, milliseconds: int) -> list[Event]:
        """So much silence of the agent, in deltas of a tenth of a second; what it brought besides itself."""
        assert not self._unread, f"not read yet: {self._unread}"
        events: list[Event] = []
        for _ in range(milliseconds // 100):
            events += self.protocol.receive(voice(self.leg.silence(100)))
        return events

    def _collect(self, events: list[Event], messages: list[bytes]) -> None:
        self._unread += events
        self._unread += [client(message) for message in messages]


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
