"""Caller audio on its way to Gemini: at once, held back while the model is deaf, or as turns that we mark ourselves."""

from __future__ import annotations

from typing import Final

import msgspec

from tandem_codecs.format import PCM16_16K
from tandem_codecs.level import is_loud

FORMAT: Final = PCM16_16K
encode: Final = msgspec.json.Encoder().encode
HEAD: Final = b'{"realtimeInput":{"audio":{"data":'
TAIL: Final = f',"mimeType":"audio/pcm;rate={FORMAT.rate}"}}}}}}'.encode()
START: Final = b'{"realtimeInput":{"activityStart":{}}}'
END: Final = b'{"realtimeInput":{"activityEnd":{}}}'

_PIECE: Final = FORMAT.size(100)
"""The longest piece that the vendor recommends."""
_HELD: Final = FORMAT.size(30_000)
_PRE_ROLL_MS: Final = 300
"""Speech begins softly: this much before the first loud sound is part of the turn."""
_UNMARKED: Final = FORMAT.size(10_000)
_SHORTEST: Final = FORMAT.size(100)


class Microphone:
    """One session's caller audio.

    With `hears_turns` the server finds the turns. Else the application tells where they end, and they begin with the
    first loud sound while the agent is silent, or when the application stops the agent.
    """

    def __init__(self, hears_turns: bool) -> None:
        self.passes = hears_turns
        """Audio needs nothing but to be sent."""
        self._hears_turns = hears_turns
        self._held: bytearray | None = None
        self._unmarked = bytearray()
        """What came since the last turn, when it is not known yet whether it belongs to one."""
        self._speaking = False

    def feed(self, audio: bytes, *, agent_speaks: bool) -> list[bytes]:
        """Audio of any length, as what can be sent of it now."""
        if self._held is not None:
            self._held += audio
            return self.release() if len(self._held) >= _HELD else []
        if self._hears_turns or self._speaking:
            return pieces(audio)
        self._unmarked += audio
        del self._unmarked[: max(0, len(self._unmarked) - _UNMARKED)]
        if agent_speaks or not is_loud(audio, FORMAT):
            return []
        return self.begin()

    def begin(self) -> list[bytes]:
        """The caller speaks. Nothing where the server hears that itself."""
        if self._hears_turns or self._speaking:
            return []
        self._speaking = True
        audio = bytes(self._unmarked[-FORMAT.size(_PRE_ROLL_MS) :])
        self._unmarked.clear()
        return [START, *pieces(audio)]

    def commit(self) -> list[bytes]:
        """The caller's turn is over. One too soft to have been noticed is sent as a whole."""
        if self._hears_turns:
            return []
        if self._speaking:
            self._speaking = False
            return [END]
        audio = bytes(self._unmarked)
        self._unmarked.clear()
        return [START, *pieces(audio), END] if len(audio) >= _SHORTEST else []

    def hold(self) -> None:
        """Keep what comes from now on: the model waits for an answer of ours, and would lose its thread over audio."""
        if self._held is None:
            self._held = bytearray()
            self.passes = False

    def release(self) -> list[bytes]:
        """Send on what was kept, in order. Also done when it has become too much: no answer came for very long."""
        if self._held is None:
            return []
        audio, self._held = bytes(self._held), None
        self.passes = self._hears_turns
        return self.feed(audio, agent_speaks=False) if audio else []


def pieces(audio: bytes) -> list[bytes]:
    """Audio as messages."""
    return [HEAD + encode(audio[start : start + _PIECE]) + TAIL for start in range(0, len(audio), _PIECE)]
