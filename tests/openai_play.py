"""Dialogues with the OpenAI adapter that read as a script: `play >> event or command`, `play << events and messages`.

The vendor's own client library is the judge of both sides: every server event that a test feeds in must be one of its
server events, and every message of ours one of its client events, without a field that it does not know.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from openai.types.beta.realtime import RealtimeClientEvent as BetaClientEvent
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

from tandem_codecs.format import MULAW_8K, AudioFormat
from tandem_providers.commands import Command
from tandem_providers.config import ProcessConfig
from tandem_providers.events import Event, SessionReady
from tandem_providers.openai import OpenAIOptions, OpenAIProtocol
from tandem_providers.provider import FRESH, Opening

_SERVER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
_CLIENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
_BETA_CLIENT: TypeAdapter[Any] = TypeAdapter(BetaClientEvent)

Message = dict[str, Any]
Judge = Callable[[bytes], Message]
"""Reads a message of ours, and complains of what the server would not know."""


def server(type_: str, **fields: Any) -> bytes:
    """A server event as it comes over the wire."""
    event = _SERVER.validate_python({"type": type_, "event_id": "event_1", **fields})
    assert event.type == type_
    return json.dumps(event.model_dump(mode="json", exclude_unset=True)).encode()


def raw(**fields: Any) -> bytes:
    """A message that the vendor's library does not know."""
    return json.dumps(fields).encode()


def client(message: bytes) -> Message:
    """A message of ours, read by the vendor's library."""
    return _judged(message, _CLIENT)


def beta_client(message: bytes) -> Message:
    """A message of ours, read by what the vendor's library still knows of the protocol as it was before."""
    return _judged(message, _BETA_CLIENT)


def any_client(message: bytes) -> Message:
    """A message of ours to somebody who has no library."""
    content: Message = json.loads(message)
    return content


def _judged(message: bytes, judge: TypeAdapter[Any]) -> Message:
    event = judge.validate_json(message)
    _nothing_unknown(event, event.type)
    content: Message = json.loads(message)
    assert content["type"] == event.type
    return content


def _nothing_unknown(value: Any, path: str) -> None:
    if isinstance(value, BaseModel):
        assert not value.model_extra, f"{path} does not have {set(value.model_extra or ())}"
        for name in type(value).model_fields:
            _nothing_unknown(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            _nothing_unknown(inner, f"{path}[]")


def created(response_id: str, request_id: str | None = None) -> bytes:
    """`response.created`; with a request's id as the metadata in which it comes back."""
    metadata = {"metadata": {"client_event_id": request_id}} if request_id else {}
    response = {"id": response_id, "object": "realtime.response", "status": "in_progress", "output": [], **metadata}
    return server("response.created", response=response)


def done(response_id: str, status: str = "completed", **fields: Any) -> bytes:
    response = {"id": response_id, "object": "realtime.response", "status": status, "output": [], **fields}
    return server("response.done", response=response)


def voice(response_id: str, item_id: str, audio: bytes) -> bytes:
    return server(
        "response.output_audio.delta",
        response_id=response_id,
        item_id=item_id,
        output_index=0,
        content_index=0,
        delta=base64.b64encode(audio).decode(),
    )


def voice_done(response_id: str, item_id: str) -> bytes:
    return server(
        "response.output_audio.done", response_id=response_id, item_id=item_id, output_index=0, content_index=0
    )


def added(item_id: str, role: str = "user", after: str | None = None) -> bytes:
    kind = {"user": "input_audio", "assistant": "output_audio", "system": "input_text"}[role]
    item = {"id": item_id, "type": "message", "role": role, "content": [{"type": kind}]}
    return server("conversation.item.added", item=item, previous_item_id=after)


def call_done(
    response_id: str, call_id: str, name: str = "f", arguments: str = "{}", status: str = "completed"
) -> bytes:
    item = {
        "id": f"fc_{call_id}",
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }
    return server("response.output_item.done", response_id=response_id, output_index=0, item=item)


def failure(code: str | None = None, type_: str = "invalid_request_error", **fields: Any) -> bytes:
    return server("error", error={"type": type_, "code": code, "message": "It did not work.", **fields})


class Play:
    """One session: what goes in is answered by events and messages, which must be read before the next step."""

    def __init__(
        self,
        config: ProcessConfig | None = None,
        *,
        leg: AudioFormat = MULAW_8K,
        ready: bool = True,
        opening: Opening = FRESH,
        kind: type[Any] = OpenAIOptions,
        judge: Judge = client,
        **options: Any,
    ) -> None:
        """`kind`: the options of another member of the family."""
        given = {"api_key": "sk-test", **options}
        self.protocol = OpenAIProtocol(kind(**given), config or ProcessConfig(), leg, "openai", opening)
        self.judge = judge
        self.leg = leg
        self.dialogue: list[str] = []
        self._unread: list[Event | Message] = []
        if ready:
            (message,) = self.protocol.outgoing()
            self.session = judge(message)["session"]
            assert self.protocol.receive(server("session.created", session={"type": "realtime"})) == []
            (event,) = self.protocol.receive(raw(type="session.updated", session=self.session))
            assert isinstance(event, SessionReady)
            self._collect([], self.protocol.outgoing())

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

    def listen(self, milliseconds: float) -> Play:
        """Caller audio in frames; only what is sent besides it counts as an answer."""
        assert not self._unread, f"not read yet: {self._unread}"
        self.dialogue.append(f">> {milliseconds} ms of caller audio")
        frame = self.leg.silence(20)
        for _ in range(int(milliseconds / 20)):
            sent = self.protocol.audio(frame)
            self._collect([], [message for message in sent if not message.startswith(_APPEND)])
        return self

    def _collect(self, events: list[Event], messages: list[bytes]) -> None:
        self._unread += events
        self._unread += [self.judge(message) for message in messages]


_APPEND = b'{"type":"input_audio_buffer.append"'


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
