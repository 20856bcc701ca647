"""Commands of the application, written as client events. What is written waits in `take` to be sent, in order."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tandem_codecs.format import AudioFormat
from tandem_providers.commands import PlaybackReport, ToolResult
from tandem_providers.openai_profile import GA, Profile
from tandem_providers.openai_turns import Turn, Turns
from tandem_providers.provider import HistoryTurn
from tandem_providers.responses import Request, ResponseArbiter

encode: Final = msgspec.json.Encoder().encode


class Writer:
    """Writes one session's messages. Every one has an id of its own, by which an error refers to it."""

    __slots__ = (
        "_arbiter",
        "_ids",
        "_messages",
        "_profile",
        "_turns",
        "cancelling",
        "dialect",
    )

    def __init__(self, profile: Profile, turns: Turns, arbiter: ResponseArbiter) -> None:
        self.dialect = profile.dialect or GA
        """How items and requests are written; may become known later than this is made."""
        self.cancelling: tuple[str, str] = ("", "")
        """The last `response.cancel`: its event id and the response that it named."""
        self._profile = profile
        self._turns = turns
        self._arbiter = arbiter
        self._messages: list[bytes] = []
        self._ids = 0

    def take(self) -> list[bytes]:
        """Everything that was written since the last time."""
        if not self._messages:
            return []
        messages, self._messages = self._messages, []
        return messages

    def write(self, kind: str, **fields: Any) -> str:
        """One message; gives its event id."""
        self._ids += 1
        event_id = f"tandem_{self._ids}"
        self._put(kind, event_id, **fields)
        return event_id

    def _put(self, kind: str, event_id: str, **fields: Any) -> None:
        self._messages.append(encode({"type": kind, "event_id": event_id, **fields}))

    def request(self, request: Request) -> None:
        """A `response.create`, or the item that does without one.

        `response.created` does not say which request it answers, but returns its metadata, where there is such a thing.
        """
        if request.item is not None:
            self._put("conversation.item.create", request.id, item=request.item)
            return
        metadata = {"metadata": {"client_event_id": request.id}} if self._profile.echoes else {}
        response = {**self.dialect.response, **request.body, **metadata}
        self._put("response.create", request.id, **({"response": response} if response else {}))

    def text(self, text: str, role: str) -> str:
        """Text as an item of the conversation; gives the item's id."""
        return self._item({"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]})

    def memory(self, turn: HistoryTurn) -> None:
        """Something that was said before this session, by caller or agent. What the agent said can only be text."""
        if turn.text:
            kind = self.dialect.assistant_text if turn.role == "assistant" else "input_text"
            self._item({"type": "message", "role": turn.role, "content": [{"type": kind, "text": turn.text}]})

    def cancel(self, turn_id: str) -> None:
        """Cancel a response, once; what still arrives of it is late."""
        turn = self._turns.find(turn_id)
        if turn is None or turn.ended or turn.cancelled:
            return
        turn.cancelled = turn.muted = True
        if self._profile.cancels:
            self.cancelling = (self.write("response.cancel", response_id=turn_id), turn_id)

    def cut(self, report: PlaybackReport, output: AudioFormat) -> None:
        """Cut the model's memory of an item to what was heard of it, and stop its response if it is still going on.

        The provider refuses to cut beyond the audio that it made, so our own count of bytes is the limit.
        """
        item = self._turns.items.get(report.item_id)
        if item is None or not item.size or item.cut:
            return
        received_ms = int(output.milliseconds(item.size))
        if item.final and report.played_ms >= received_ms:
            return
        item.cut = True
        self.cancel(item.turn.id)
        if report.played_ms <= 0 and self._profile.deletes:
            self.write("conversation.item.delete", item_id=item.id)
        elif self._profile.truncates:
            self.write(
                "conversation.item.truncate",
                item_id=item.id,
                content_index=report.content_index,
                audio_end_ms=min(max(0, report.played_ms), received_ms),
            )

    def result(self, result: ToolResult) -> None:
        """The answer to a call. It is sent once the turn that made the call is over."""
        turn = self._turns.answered(result.call_id)
        if turn is None:
            return
        turn.held_results.append((result.call_id, result.output))
        if turn.ended:
            self.results(turn)

    def results(self, turn: Turn) -> None:
        """A turn is over: send the answers to its calls that are there, and have them replied to when all are."""
        for call_id, output in turn.held_results:
            item = {"type": "function_call_output", "call_id": call_id, "output": output}
            turn.sent_results.append(self._item(item))
        turn.held_results.clear()
        if not turn.open_calls:
            for item_id in turn.sent_results:
                self._arbiter.reply(item_id)
            turn.sent_results.clear()

    def _item(self, item: dict[str, Any]) -> str:
        item_id = f"tandem_item_{self._ids + 1}"
        self.write("conversation.item.create", item={"id": item_id, **item})
        return item_id
