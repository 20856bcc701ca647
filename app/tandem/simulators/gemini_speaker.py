"""The turns of a simulated model: one at a time, made, paced, interrupted, and over once they were played."""

from __future__ import annotations

import base64
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tandem.simulators.gemini_memory import Memory
from tandem.simulators.gemini_outlet import Outlet
from tandem.simulators.gemini_schema import Model
from tandem.simulators.gemini_script import GeminiOptions
from tandem.simulators.openai_script import FunctionCall, Reply, asked_words
from tandem.simulators.openai_voice import convert, speak, stock_text
from tandem_codecs.format import PCM16_16K, PCM16_24K, AudioFormat, Encoding

QUOTA: Final = "You exceeded your current quota, please check your plan and billing details."
_EXHAUSTED: Final = "Resource has been exhausted (e.g. check quota)."
_LATE_PIECES: Final = 3
_ODD_BYTE: Final = 1
_TOKENS_A_SECOND: Final = 25


@dataclass(slots=True)
class Turn:
    """One turn of the model."""

    reply: Reply
    over: bool = False
    generated: bool = False
    """Nothing more of it is to come, but the word that it is over."""
    waits_for: set[str] = field(default_factory=set)
    """Calls that have to be answered before it goes on."""
    said: str = ""
    said_ms: float = 0.0
    calls: int = 0


@dataclass(slots=True)
class OpenCall:
    """A function call that is not answered yet."""

    name: str
    turn: Turn | None
    """The turn that waits for it; None: nobody does."""


class Speaker:
    """Speaks. `on_free` is called when a turn is over."""

    def __init__(
        self,
        options: GeminiOptions,
        faults: Mapping[str, str],
        setup: Mapping[str, Any],
        model: Model,
        memory: Memory,
        outlet: Outlet,
        rng: random.Random,
        on_free: Callable[[], None],
    ) -> None:
        self.turn: Turn | None = None
        """The turn under way, up to its `turnComplete`."""
        self.calls: dict[str, OpenCall] = {}
        self.forgotten: set[str] = set()
        """Calls that were taken back; answers to them do no harm."""
        self.plays_until = outlet.now
        self._options = options
        self._faults = faults
        self._model = model
        self._memory = memory
        self._outlet = outlet
        self._rng = rng
        self._on_free = on_free
        self._transcribes = "outputAudioTranscription" in setup
        self._functions: dict[str, bool] = {}
        for tool in setup.get("tools", ()):
            for function in tool.get("functionDeclarations", ()):
                default = "BLOCKING" if model.blocks else "NON_BLOCKING"
                self._functions[function["name"]] = function.get("behavior", default) == "BLOCKING"
        self._format = PCM16_16K if "wrong-format" in faults else PCM16_24K

    def begin(self) -> None:
        """Answer to what stands in the conversation. A turn under way must have been interrupted before."""
        if "no-answer" in self._faults or self._fails():
            return
        turn = self.turn = Turn(Reply())
        self._outlet.record.responses += 1
        self._outlet.new_turn()
        steps = self._steps(turn, *self._planned())
        self._outlet.at(self._outlet.now + self._options.latency, lambda: self._proceed(turn, steps))

    def interrupt(self) -> None:
        """The caller speaks, or something new is to be answered. Ends what is being said, or what is still heard."""
        turn = self.turn
        playing = self._outlet.now < self.plays_until
        self.plays_until = self._outlet.now
        if turn is None:
            if playing:
                self._outlet.content(interrupted=True)
            return
        turn.over = True
        self.turn = None
        self._memory.add("model", turn.said, interrupted=True)
        self._outlet.content(interrupted=True)
        if "late-deltas" in self._faults:
            for _ in range(_LATE_PIECES):
                self._piece(self._format.silence(100))
        self._outlet.emit(serverContent=self._ended(turn, {"turnComplete": True}), usageMetadata=self._usage(turn))
        self._on_free()

    def take_back_calls(self) -> None:
        """The caller speaks while the model waits for functions: the newest models lose interest in the answers."""
        ids = [call_id for call_id, call in self.calls.items() if call.turn is not None]
        if not ids or not self._model.newest:
            return
        for call_id in ids:
            del self.calls[call_id]
            self.forgotten.add(call_id)
        self._outlet.emit(toolCallCancellation={"ids": ids})
        turn = self.turn
        if turn is not None:
            turn.waits_for.clear()
            self._complete(turn)

    def answered(self, call_id: str, output: str) -> bool:
        """An answer came. Whether it goes to no turn under way, so that a new one may be due."""
        call = self.calls.pop(call_id)
        self._memory.add("tool", output)
        turn = call.turn
        if turn is None:
            return True
        turn.waits_for.discard(call_id)
        if not turn.waits_for and not turn.over:
            steps = self._steps(turn, *self._planned())
            self._outlet.at(self._outlet.now + self._options.latency, lambda: self._proceed(turn, steps))
        return False

    # What is said

    def _fails(self) -> bool:
        if self._faults.get("quota") == "response":
            self._outlet.close(1011, QUOTA)
        elif "rate-limited-response" in self._faults:
            self._outlet.close(1011, _EXHAUSTED)
        return self._outlet.is_closed

    def _planned(self) -> tuple[Reply, str, tuple[FunctionCall, ...]]:
        """The next words and calls: what was asked for, what the script has, or the model's own."""
        last = self._memory.last
        exactly = asked_words(last.text) if last is not None and last.role == "user" else None
        if exactly:
            return Reply(), exactly, ()
        reply = self._memory.place.next_reply(self._options)
        calls = tuple(
            FunctionCall(call.name or next(iter(self._functions)), call.arguments)
            for call in reply.calls
            if self._functions and (not call.name or call.name in self._functions)
        )
        if reply.text is not None:
            return reply, reply.text, calls
        if calls:
            return reply, "", calls
        if last is not None and last.role == "tool":
            return reply, f"Here is what I found: {last.text}", ()
        return reply, stock_text(self._memory.place.replies - 1), ()

    def _sound(self, reply: Reply, text: str) -> bytes:
        if not text:
            return b""
        voice = reply.voice or self._options.voice
        seconds = reply.seconds if reply.seconds is not None else self._options.seconds
        if voice == "echo":
            heard = self._memory.last_voice()
            if heard is not None:
                return convert(heard.audio, AudioFormat(Encoding.PCM16, heard.rate), self._format)
            voice = "speech"
        return speak(voice, text, seconds, self._format)

    def _steps(self, turn: Turn, reply: Reply, text: str, calls: tuple[FunctionCall, ...]) -> Iterator[float]:
        turn.reply = reply
        audio = self._sound(reply, text)
        utterances = max(1, reply.items or 1) if self._model.tells_status else 1
        words = text.split(" ") if text else []
        samples = len(audio) // self._format.sample_bytes
        for index in range(utterances):
            part = words[index * len(words) // utterances : (index + 1) * len(words) // utterances]
            start, end = (at * samples // utterances * self._format.sample_bytes for at in (index, index + 1))
            yield from self._speak(turn, part, audio[start:end])
            if index + 1 < utterances:
                self._outlet.content(generationComplete=True)
                yield max(0.0, self.plays_until - self._outlet.now)
                self._outlet.content(turnComplete=True, interactionStatus="IN_PROGRESS")
        if calls:
            self._call(turn, calls)
        if not turn.waits_for:
            self._complete(turn)

    def _speak(self, turn: Turn, words: list[str], audio: bytes) -> Iterator[float]:
        said = 0
        position = 0
        if self._options.words == "before":
            said = self._write(turn, words, 0, len(words))
        for piece in self._cut(audio):
            due = math.ceil(len(words) * min(1.0, (position + len(piece)) / len(audio)))
            said = self._write(turn, words, said, due)
            position += len(piece)
            lasting = len(piece) / self._format.bytes_per_ms
            turn.said_ms += lasting
            self._outlet.record.said_ms += lasting
            self.plays_until = max(self.plays_until, self._outlet.now) + lasting / 1000
            self._piece(piece)
            if math.isfinite(self._pace):
                yield lasting / 1000 / self._pace
        self._write(turn, words, said, len(words))

    @property
    def _pace(self) -> float:
        return next(
            (float(self._faults[name]) for name in ("burst", "slow") if name in self._faults), self._options.pace
        )

    def _write(self, turn: Turn, words: list[str], start: int, end: int) -> int:
        for word in words[start:end]:
            text = f" {word}" if turn.said else word
            turn.said += text
            if self._transcribes:
                self._outlet.content(outputTranscription={"text": text})
        return max(start, end)

    def _piece(self, audio: bytes) -> None:
        encoded = base64.b64encode(audio).decode("ascii")
        self._outlet.audio(encoded, f"audio/pcm;rate={self._format.rate}")

    def _cut(self, audio: bytes) -> Iterator[bytes]:
        odd = self._options.odd_deltas or "odd-deltas" in self._faults
        position = 0
        while position < len(audio):
            size = self._format.size(self._rng.randint(*self._options.delta_ms))
            if odd:
                size |= _ODD_BYTE
            yield audio[position : position + size]
            position += size

    def _call(self, turn: Turn, calls: tuple[FunctionCall, ...]) -> None:
        told = []
        for call in calls:
            call_id = self._outlet.new_id("function-call")
            blocking = self._functions[call.name]
            # A server that gives no ids knows calls by their functions' names.
            known_as = call_id if self._options.call_ids else call.name
            self.calls[known_as] = OpenCall(call.name, turn if blocking else None)
            if blocking:
                turn.waits_for.add(known_as)
            turn.calls += 1
            told.append(
                {
                    **({"id": call_id} if self._options.call_ids else {}),
                    "name": call.name,
                    "args": msgspec.json.decode(call.arguments),
                }
            )
        for _ in range(2 if "duplicate-tool-calls" in self._faults else 1):
            self._outlet.emit(toolCall={"functionCalls": told})

    # Ends

    def _proceed(self, turn: Turn, steps: Iterator[float]) -> None:
        """Go on until the turn pauses, ends, or was interrupted meanwhile."""
        if turn.over:
            return
        for pause in steps:
            if self._outlet.is_closed:
                return
            if pause:
                self._outlet.at(self._outlet.now + pause, lambda: self._proceed(turn, steps))
                return

    def _complete(self, turn: Turn) -> None:
        turn.generated = True
        self._outlet.content(generationComplete=True)
        played = self._options.turn_complete == "played"
        due = max(self._outlet.now, self.plays_until) if played else self._outlet.now
        self._outlet.at(due, lambda: self._finish(turn))

    def _finish(self, turn: Turn) -> None:
        if turn.over:
            return
        turn.over = True
        self.turn = None
        self._memory.add("model", turn.said)
        content = self._ended(turn, {"turnComplete": True})
        if turn.reply.ends != "completed":
            content["turnCompleteReason"] = turn.reply.ends
        self._outlet.emit(serverContent=content, usageMetadata=self._usage(turn))
        self._on_free()

    def _ended(self, turn: Turn, content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "interactionStatus": "IDLE"} if self._model.tells_status else content

    def _usage(self, turn: Turn) -> dict[str, Any]:
        prompt = self._memory.tokens()
        audio = int(turn.said_ms * _TOKENS_A_SECOND / 1000)
        text = 10 * turn.calls
        return {
            "promptTokenCount": prompt,
            "responseTokenCount": audio + text,
            "totalTokenCount": prompt + audio + text,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": audio}],
        }
