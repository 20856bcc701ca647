"""The provider's end of a call: as much of each protocol as a session of nothing but audio takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from tandem_codecs.format import MULAW_8K, PCM16_16K, PCM16_24K, AudioFormat

from .measure import cut


class Voice(Protocol):
    """One way to speak. Pure, and the same for all calls."""

    hears: AudioFormat
    speaks: AudioFormat
    binary: bool
    """Whether its messages go out as binary frames."""
    opening: Sequence[bytes]
    """What a client says that wants to be spoken to at once."""
    piece: bytes
    """A message of audio, to be filled in with its base64."""

    def environment(self, url: str) -> Mapping[str, str]:
        """What the server has to know to come here."""
        ...

    def heard(self, message: bytes) -> bytes | None:
        """The base64 of a client's audio; None of any other message."""
        ...

    def answer(self, message: bytes) -> tuple[Sequence[bytes], bool]:
        """What is said to a message without audio, and whether an answer in audio begins.

        Raises:
            ValueError: the client asks for something else than is measured.
        """
        ...

    def over(self) -> Sequence[bytes]:
        """All of the answer has been said."""
        ...

    def once_more(self, pieces: Sequence[bytes]) -> Sequence[bytes]:
        """Another answer, of these messages of audio."""
        ...

    def cut_in(self) -> Sequence[bytes]:
        """The caller spoke into it."""
        ...


class OpenAi:
    """OpenAI Realtime, in G.711 or in PCM16."""

    binary: bool = False
    piece: bytes = (
        b'{"type":"response.output_audio.delta","event_id":"event_1","response_id":"resp_1","item_id":"item_1",'
        b'"output_index":0,"content_index":0,"delta":"%b"}'
    )

    def __init__(self, audio_format: AudioFormat) -> None:
        self.hears = self.speaks = audio_format
        pcm = audio_format is PCM16_24K
        self._kind: dict[str, Any] = {"type": "audio/pcm", "rate": 24000} if pcm else {"type": "audio/pcmu"}
        self._asked = "pcm16" if pcm else "auto"
        audio = {"input": {"format": self._kind}, "output": {"format": self._kind}}
        update = {"type": "session.update", "session": {"type": "realtime", "audio": audio}}
        self.opening: Sequence[bytes] = (json.dumps(update).encode(), b'{"type":"response.create"}')

    def environment(self, url: str) -> Mapping[str, str]:
        openai = {"OPENAI_API_KEY": "bench", "OPENAI_REALTIME_URL": url, "OPENAI_AUDIO": self._asked}
        return {"PROVIDERS": "openai", **openai}

    def heard(self, message: bytes) -> bytes | None:
        return cut(message, b'"audio":"')

    def answer(self, message: bytes) -> tuple[Sequence[bytes], bool]:
        asked = json.loads(message)
        if asked["type"] == "session.update":
            kind = asked["session"]["audio"]["output"]["format"]["type"]
            if kind != self._kind["type"]:
                raise ValueError(f"the server asks for {kind}")
            created = _event("session.created", session={"type": "realtime", "id": "sess_1"})
            return [created, _event("session.updated", session={"id": "sess_1", **asked["session"]})], False
        if asked["type"] == "response.create":
            metadata = asked.get("response", {}).get("metadata")
            return [_event("response.created", response={"id": "resp_1", "metadata": metadata})], True
        return [], False

    def over(self) -> Sequence[bytes]:
        response = {"id": "resp_1", "status": "completed"}
        kinds = ("response.output_audio.done", "response.done")
        return [_event(kind, response_id="resp_1", item_id="item_1", response=response) for kind in kinds]

    def once_more(self, pieces: Sequence[bytes]) -> Sequence[bytes]:
        created = _event("response.created", response={"id": "resp_2", "status": "in_progress"})
        return [created, *(p.replace(b"resp_1", b"resp_2").replace(b"item_1", b"item_2") for p in pieces)]

    def cut_in(self) -> Sequence[bytes]:
        return [_event("input_audio_buffer.speech_started", item_id="item_3", audio_start_ms=0)]


def _event(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, "event_id": "event_0", **fields}).encode()


class Gemini:
    """Gemini Live: PCM16 only, at one rate in and at another out."""

    hears: AudioFormat = PCM16_16K
    speaks: AudioFormat = PCM16_24K
    binary: bool = True
    piece: bytes = (
        b'{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":"%b"}}]}}}'
    )
    opening: Sequence[bytes] = (
        b'{"setup":{"model":"models/bench","generationConfig":{"responseModalities":["AUDIO"]}}}',
        b'{"realtimeInput":{"text":"Hello."}}',
    )

    def environment(self, url: str) -> Mapping[str, str]:
        return {"PROVIDERS": "gemini", "GEMINI_API_KEY": "bench", "GEMINI_LIVE_URL": url}

    def heard(self, message: bytes) -> bytes | None:
        return cut(message, b'"data":"')

    def answer(self, message: bytes) -> tuple[Sequence[bytes], bool]:
        asked = json.loads(message)
        if "setup" in asked:
            return [b'{"setupComplete":{}}'], False
        return [], "text" in asked.get("realtimeInput", {}) or asked.get("clientContent", {}).get("turnComplete", False)

    def over(self) -> Sequence[bytes]:
        return [b'{"serverContent":{"generationComplete":true}}', b'{"serverContent":{"turnComplete":true}}']

    def once_more(self, pieces: Sequence[bytes]) -> Sequence[bytes]:
        return pieces

    def cut_in(self) -> Sequence[bytes]:
        return [b'{"serverContent":{"interrupted":true}}', b'{"serverContent":{"turnComplete":true}}']


VOICES: Final[Mapping[str, Voice]] = {
    "passthrough": OpenAi(MULAW_8K),
    "pcm16": OpenAi(PCM16_24K),
    "gemini": Gemini(),
}
"""By the name of the mode."""
