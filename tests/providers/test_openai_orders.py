"""Events in any order: whatever a provider sends, what we promise the application and the provider holds."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from openai_play import Play, any_client, call_done, created, done, failure, raw, voice

from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import CancelResponse, Command, PlaybackReport, Purpose, Say, SendDtmf, ToolResult
from tandem_providers.events import (
    AudioChunk,
    Event,
    ToolCall,
    TurnEnded,
    TurnStarted,
)
from tandem_providers.xai import XAIOptions

FRAME = b"\x7e" * MULAW_8K.frame_bytes
CREATE = {"type": "response.create"}


class Conversation(RuleBasedStateMachine):
    """A provider that keeps to the protocol but to no order, lost and repeated events included."""

    def __init__(self, play: Play | None = None) -> None:
        super().__init__()
        self.play = play or Play()
        self.count = 0
        self.open: dict[str, bool] = {}
        self.calls: set[str] = set()
        self.asked: set[str] = set()
        self.active = ""
        self.sent_creates: list[str] = []

    def feed(self, message: bytes) -> None:
        self.check(self.play.protocol.receive(message), self.play.protocol.outgoing())

    def tell(self, command: Command) -> None:
        self.check([], self.play.protocol.send(command))

    def check(self, events: list[Event], messages: list[bytes]) -> None:
        for event in events:
            match event:
                case TurnStarted():
                    assert event.turn_id not in self.open
                    assert not any(self.open.values()), "two turns at once"
                    self.open[event.turn_id] = True
                case TurnEnded():
                    assert self.open[event.turn_id]
                    self.open[event.turn_id] = False
                case AudioChunk():
                    assert self.open[event.turn_id], "audio outside its turn"
                case ToolCall():
                    assert event.call_id not in self.calls
                    self.calls.add(event.call_id)
        for message in messages:
            content = self.play.judge(message)
            if content["type"] == "response.create":
                assert not any(self.open.values()), "asked while a turn was under way"
                assert not self.asked, "asked twice"
                self.asked.add(content["event_id"])

    @rule(echoes=st.booleans())
    def starts(self, echoes: bool) -> None:
        self.count += 1
        self.active = f"resp_{self.count}"
        request_id = next(iter(self.asked), None) if echoes else None
        if request_id is not None:
            self.asked.clear()
        self.feed(created(self.active, request_id))

    @rule(which=st.integers(1, 4), item=st.integers(1, 6))
    def sounds(self, which: int, item: int) -> None:
        self.feed(voice(f"resp_{which}", f"item_{which}_{item}", FRAME))

    @rule(which=st.integers(1, 4), call=st.integers(1, 5), status=st.sampled_from(["completed", "incomplete"]))
    def calls_function(self, which: int, call: int, status: str) -> None:
        self.feed(call_done(f"resp_{which}", f"call_{call}", status=status))

    @rule(call=st.integers(1, 5))
    def answers(self, call: int) -> None:
        self.tell(ToolResult(f"call_{call}", "x"))

    @precondition(lambda self: self.active)
    @rule(status=st.sampled_from(["completed", "cancelled", "failed", "incomplete"]))
    def ends(self, status: str) -> None:
        # Also the request that a server without metadata has answered by this response is settled now.
        if any(self.open.values()) and not self.play.protocol._arbiter._echoes:
            self.asked.clear()
        self.feed(done(self.active, status))

    @precondition(lambda self: self.asked)
    @rule(code=st.sampled_from(["conversation_already_has_active_response", "invalid_value"]))
    def refuses(self, code: str) -> None:
        request_id = self.asked.pop()
        self.feed(failure(code, event_id=request_id))

    @rule(
        command=st.sampled_from([Say(Purpose.GREETING), Say(Purpose.GOODBYE, "Bye"), SendDtmf("1"), CancelResponse()])
    )
    def wants(self, command: Command) -> None:
        self.tell(command)

    @rule(which=st.integers(1, 4), item=st.integers(1, 6), played=st.integers(0, 100))
    def cuts(self, which: int, item: int, played: int) -> None:
        self.tell(PlaybackReport(f"item_{which}_{item}", f"resp_{which}", 0, played, 100))

    @invariant()
    def at_most_one_turn(self) -> None:
        assert sum(self.open.values()) <= 1


class XAIConversation(Conversation):
    """The same with a server that drops responses, and whose calls are complete with their arguments."""

    def __init__(self) -> None:
        super().__init__(Play(kind=XAIOptions, judge=any_client))

    @rule(which=st.integers(1, 4), call=st.integers(1, 5))
    def calls_by_arguments(self, which: int, call: int) -> None:
        fields = {"call_id": f"call_{call}", "name": "f", "arguments": "{}", "response_id": f"resp_{which}"}
        self.feed(raw(type="response.function_call_arguments.done", **fields))

    @rule()
    def caller_speaks(self) -> None:
        self.feed(raw(type="input_audio_buffer.speech_started", item_id="u"))


Conversation.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestConversation = Conversation.TestCase
XAIConversation.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestXAIConversation = XAIConversation.TestCase
