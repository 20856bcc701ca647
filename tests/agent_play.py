"""Dialogues with the adapters of agents that read as a script: `play >> message, voice or command`, `play << events and
messages`.

Deepgram's own library is the judge of both sides of its protocol, as far as it knows its messages: what is fed in must
be one of its server messages, and what comes out one of its client messages, without a field that it does not know. Of
ElevenLabs' library the same is asked about the beginning of a conversation, which is all that it has types for.
"""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from tandem.simulators.deepgram_schema import MESSAGE as DEEPGRAM_MESSAGE
from tandem.simulators.elevenlabs_schema import AUDIO
from tandem.simulators.elevenlabs_schema import MESSAGE as ELEVENLABS_MESSAGE
from tandem_codecs.format import MULAW_8K, AudioFormat
from tandem_providers.commands import Command
from tandem_providers.config import ProcessConfig
from tandem_providers.deepgram import DeepgramOptions, DeepgramProtocol
from tandem_providers.elevenlabs import ElevenLabsOptions, ElevenLabsProtocol
from tandem_providers.events import Event, SessionReady
from tandem_providers.provider import FRESH, Binary, Opening

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the vendors' libraries import what their own dependencies call outdated
    from deepgram.agent.v1 import types as deepgram_types
    from deepgram.agent.v1.socket_client import V1SocketClientResponse
    from elevenlabs.types import ConversationInitiationClientDataRequestInput

Message = dict[str, Any]
FRAME = MULAW_8K.silence(20)


def _tag(model: type[BaseModel]) -> str:
    field = model.model_fields.get("type")
    return str(field.default) if field is not None else ""


_SERVER: dict[str, type[BaseModel]] = {
    _tag(model): model
    for member in get_args(V1SocketClientResponse)
    for model in (get_args(member) or (member,))
    if isinstance(model, type) and issubclass(model, BaseModel)
}
_CLIENT: dict[str, type[BaseModel]] = {
    "Settings": deepgram_types.AgentV1Settings,
    "FunctionCallResponse": deepgram_types.AgentV1SendFunctionCallResponse,
    "InjectAgentMessage": deepgram_types.AgentV1InjectAgentMessage,
    "InjectUserMessage": deepgram_types.AgentV1InjectUserMessage,
    "UpdatePrompt": deepgram_types.AgentV1UpdatePrompt,
    "KeepAlive": deepgram_types.AgentV1KeepAlive,
    "ForceEndTurn": deepgram_types.AgentV1ForceEndTurn,
}


def told(type_: str, **fields: Any) -> bytes:
    """A message of Deepgram's server."""
    _SERVER[type_].model_validate({"type": type_, **fields})
    return raw(type=type_, **fields)


def event(type_: str, **payload: Any) -> bytes:
    """A message of ElevenLabs' server; its payload stands under a name of its own."""
    key = {
        "user_transcript": "user_transcription_event",
        "tentative_user_transcript": "tentative_user_transcription_event",
        "client_tool_call": "client_tool_call",
        "agent_tool_request": "agent_tool_request",
        "agent_tool_response": "agent_tool_response",
        "mcp_tool_call": "mcp_tool_call",
        "client_error": "client_error",
    }.get(type_, f"{type_}_event")
    return raw(type=type_, **{key: payload})


def voice(event_id: int, audio: bytes = FRAME) -> bytes:
    """A piece of voice as ElevenLabs sends it."""
    return event("audio", audio_base_64=base64.b64encode(audio).decode(), event_id=event_id)


def raw(**fields: Any) -> bytes:
    """Any message, whether anybody knows it or not."""
    return json.dumps(fields).encode()


def known(model: BaseModel, path: str) -> None:
    """The vendor knows every field of this."""
    assert not model.model_extra, f"{path} does not have {set(model.model_extra or ())}"
    for name in type(model).model_fields:
        inner = getattr(model, name)
        for each in inner if isinstance(inner, list) else [inner]:
            if isinstance(each, BaseModel):
                known(each, f"{path}.{name}")


def deepgram_client(message: bytes) -> Message:
    content: Message = json.loads(message)
    known(_CLIENT[content["type"]].model_validate(content), content["type"])
    DEEPGRAM_MESSAGE(content, "")
    return content


def elevenlabs_client(message: bytes) -> Message:
    content: Message = json.loads(message)
    if "user_audio_chunk" in content:
        AUDIO(content, "")
        return content
    ELEVENLABS_MESSAGE(content, "")
    if content["type"] == "conversation_initiation_client_data":
        body = {key: value for key, value in content.items() if key not in ("type", "custom_llm_extra_body")}
        known(ConversationInitiationClientDataRequestInput.model_validate(body), "initiation")
    return content


class Play:
    """One session: what goes in is answered by events and messages, which must be read before the next step."""

    def __init__(self, protocol: DeepgramProtocol | ElevenLabsProtocol, client: Callable[[bytes], Message]) -> None:
        self.protocol = protocol
        self.client = client
        self.dialogue: list[str] = []
        self.heard = 0
        """Bytes of caller audio that went out."""
        self._unread: list[Event | Message] = []

    def begin(self, *answers: bytes) -> Message:
        """The client's first message, and the session ready after these; answers what it asked for."""
        (message,) = self.protocol.outgoing()
        ready = [event for answer in answers for event in self.protocol.receive(answer)]
        assert isinstance(ready[0], SessionReady), ready
        self._collect(ready[1:], self.protocol.outgoing())
        self.ready = ready[0]
        return self.client(message)

    def __rshift__(self, step: bytes | Command) -> Play:
        assert not self._unread, f"not read yet: {self._unread}"
        self.dialogue.append(f">> {step!r}"[:200])
        if isinstance(step, Binary):
            self._collect(self.binary(bytes(step)), self.protocol.outgoing())
        elif isinstance(step, bytes):
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
        if len(got) != len(wanted) or not all(map(fits, got, wanted)):
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

    def listen(self, milliseconds: float, frame: bytes = FRAME) -> Play:
        """Caller audio in frames of 20 ms; only what happens besides it counts as an answer."""
        assert not self._unread, f"not read yet: {self._unread}"
        self.dialogue.append(f">> {milliseconds} ms of caller audio")
        for _ in range(int(milliseconds / 20)):
            messages = self.protocol.audio(frame)
            others = [each for each in messages if not self._is_audio(each)]
            assert len(messages) == len(others) + 1
            self._collect(self.protocol.occurred(), others)
        return self

    def binary(self, message: bytes) -> list[Event]:
        """A binary frame, as the adapter reads it."""
        assert isinstance(self.protocol, DeepgramProtocol)
        return self.protocol.receive_binary(message)

    def _is_audio(self, message: bytes) -> bool:
        is_audio = isinstance(message, Binary) or message.startswith(b'{"user_audio_chunk"')
        if is_audio:
            audio = (
                message if isinstance(message, Binary) else base64.b64decode(json.loads(message)["user_audio_chunk"])
            )
            self.heard += len(audio)
        return is_audio

    def _collect(self, events: list[Event], messages: list[bytes]) -> None:
        self._unread += events
        self._unread += [self.client(message) for message in messages]


def deepgram(
    config: ProcessConfig | None = None,
    *,
    leg: AudioFormat = MULAW_8K,
    opening: Opening = FRESH,
    ready: bool = True,
    **options: Any,
) -> tuple[Play, Message]:
    """A session with Deepgram, ready, and what it asked for (nothing without `ready`)."""
    made = DeepgramOptions(**{"api_key": "key", **options})
    play = Play(DeepgramProtocol(made, config or ProcessConfig(), leg, "deepgram", opening), deepgram_client)
    return play, play.begin(told("Welcome", request_id="r1"), told("SettingsApplied")) if ready else {}


def elevenlabs(
    config: ProcessConfig | None = None,
    *,
    leg: AudioFormat = MULAW_8K,
    opening: Opening = FRESH,
    formats: tuple[str, str] = ("ulaw_8000", "ulaw_8000"),
    ready: bool = True,
    **options: Any,
) -> tuple[Play, Message]:
    """A session with an agent of ElevenLabs, ready, and what it asked for (nothing without `ready`)."""
    made = ElevenLabsOptions(**{"agent_id": "agent", "api_key": "key", **options})
    play = Play(ElevenLabsProtocol(made, config or ProcessConfig(), leg, "elevenlabs", opening), elevenlabs_client)
    return play, play.begin(metadata(*formats)) if ready else {}


def metadata(hears: str = "ulaw_8000", speaks: str = "ulaw_8000") -> bytes:
    return event(
        "conversation_initiation_metadata",
        conversation_id="c1",
        agent_output_audio_format=speaks,
        user_input_audio_format=hears,
    )


def fits(got: Event | Message, wanted: Any) -> bool:
    if isinstance(wanted, type):
        return isinstance(got, wanted)
    if isinstance(wanted, Mapping):
        return isinstance(got, dict) and holds(got, wanted)
    return bool(got == wanted)


def holds(got: Any, wanted: Any) -> bool:
    """Whether all of this is in it; whatever else may be there."""
    if isinstance(wanted, Mapping):
        return isinstance(got, dict) and all(key in got and holds(got[key], value) for key, value in wanted.items())
    return bool(got == wanted)
