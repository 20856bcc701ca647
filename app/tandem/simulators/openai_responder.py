"""The responses of a session: at most one in the conversation at a time, any number beside it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tandem.simulators.openai_checks import Refused
from tandem.simulators.openai_conversation import Conversation, text_tokens
from tandem.simulators.openai_outlet import Outlet
from tandem.simulators.openai_planning import plan_response
from tandem.simulators.openai_response import Response
from tandem.simulators.openai_schema import check_model
from tandem.simulators.openai_script import OpenAIOptions, Reply, Script, asked_words
from tandem.simulators.openai_session import SessionSettings

_LATE_DELTAS: Final = 3
_FAILURES: Final = {"rate-limited-response": "rate_limit_exceeded", "model-not-found": "model_not_found"}
_TOKENS_A_MINUTE: Final = 40_000
_REQUESTS_A_MINUTE: Final = 5_000


class Responder:
    """Makes, paces and cancels responses."""

    def __init__(
        self,
        options: OpenAIOptions,
        faults: Mapping[str, str],
        settings: SessionSettings,
        conversation: Conversation,
        script: Script,
        outlet: Outlet,
        rng: random.Random,
        on_free: Callable[[], None],
    ) -> None:
        self.active: Response | None = None
        """The response under way in the conversation."""
        self.plays_until = outlet.now
        """When a client that plays all audio as it comes will have played it."""
        self._options = options
        self._faults = faults
        self._settings = settings
        self._conversation = conversation
        self._script = script
        self._outlet = outlet
        self._rng = rng
        self._on_free = on_free
        self._beside: dict[str, Response] = {}
        self._turns = 0

    def create(self, asked: Mapping[str, Any]) -> None:
        """A client's `response.create`; `asked` is its checked `response`.

        Raises:
            Refused: another one is active, or a field is not for this model.
        """
        check_model(asked, self._settings.wire["model"], "response")
        if asked.get("conversation") != "none" and self.active is not None:
            raise Refused(
                f"Conversation already has an active response in progress: {self.active.id}. "
                "Wait until the response is finished before creating a new one.",
                "conversation_already_has_active_response",
            )
        self.begin(asked)

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Start a response; it goes on by the outlet's agenda."""
        if "no-answer" in self._faults:
            return
        response = self._plan(asked)
        self._turns += 1
        self._outlet.record.responses += 1
        if response.conversation is not None:
            self.active = response
        else:
            self._beside[response.id] = response
        self._outlet.new_response()
        self._outlet.emit({"type": "response.created", "response": response.wire})
        if "vanish" in self._faults and self._outlet.record.responses == 1:
            response.is_over = True
            self._over(response)
            return
        self._emit_rate_limits()
        steps = response.steps()
        self._outlet.at(self._outlet.now + self._options.latency, lambda: self._proceed(response, steps))

    def cancel(self, response_id: str | None) -> None:
        """A client's `response.cancel`; without an id it means the conversation's response.

        Raises:
            Refused: no such response is active.
        """
        wanted = self.active
        if response_id is not None and (wanted is None or wanted.id != response_id):
            wanted = self._beside.get(response_id)
        if wanted is None:
            raise Refused("Cancellation failed: no active response found", "response_cancel_not_active")
        self._stop(wanted, "client_cancelled")

    def interrupt(self, *, drops_unheard: bool = False) -> None:
        """The caller speaks: what is being generated ends; `drops_unheard`: without a word, if none of it was heard."""
        response = self.active
        if response is None:
            return
        if drops_unheard and not any(item.produced for item in response.items):
            response.is_over = True
            self._over(response)
        else:
            self._stop(response, "turn_detected")

    def _plan(self, asked: Mapping[str, Any]) -> Response:
        # Asked for certain words, the model says them: the script waits for the next response.
        exactly = asked_words(asked.get("instructions", ""))
        planned = plan_response(
            self._settings,
            self._conversation,
            Reply(exactly) if exactly else self._script.next_reply(),
            asked,
            self._options,
            self._faults,
            self._turns,
        )
        in_conversation = asked.get("conversation") != "none"
        planned.wire["id"] = self._outlet.new_id("resp")
        planned.wire["conversation_id"] = self._conversation.id if in_conversation else None
        text, audio = self._conversation.tokens()
        return Response(
            planned.wire,
            planned.plan,
            planned.delivery,
            self._conversation if in_conversation else None,
            (text + text_tokens(self._settings.wire["instructions"]), audio),
            self._outlet.emit,
            self._outlet.new_id,
            self._rng,
            self._failure() or planned.ends,
        )

    def _failure(self) -> str | None:
        """The code with which every response fails, if a fault says so."""
        if self._faults.get("quota") == "response":
            return "insufficient_quota"
        return next((code for fault, code in _FAILURES.items() if fault in self._faults), None)

    def _emit_rate_limits(self) -> None:
        requests = {"limit": _REQUESTS_A_MINUTE, "remaining": max(0, _REQUESTS_A_MINUTE - self._turns)}
        tokens = {"limit": _TOKENS_A_MINUTE, "remaining": max(0, _TOKENS_A_MINUTE - 250 * self._turns)}
        limits = [
            {"name": "requests", **requests, "reset_seconds": 0.012},
            {"name": "tokens", **tokens, "reset_seconds": 0.375},
        ]
        self._outlet.emit({"type": "rate_limits.updated", "rate_limits": limits})

    def _proceed(self, response: Response, steps: Iterator[float]) -> None:
        """Go on until the response pauses, ends, or was cancelled meanwhile."""
        if response.is_over:
            return
        for pause in steps:
            if self._outlet.is_closed:
                return
            self._count(response)
            if pause:
                self._outlet.at(self._outlet.now + pause, lambda: self._proceed(response, steps))
                return
        self._count(response)
        self._over(response)

    def _count(self, response: Response) -> None:
        """Account for the audio produced since the last time."""
        milliseconds = response.take_said_ms()
        if milliseconds:
            self._settings.spoken = True
            self._outlet.record.said_ms += milliseconds
            self.plays_until = max(self.plays_until, self._outlet.now) + milliseconds / 1000

    def _over(self, response: Response) -> None:
        self._beside.pop(response.id, None)
        if self.active is response:
            self.active = None
            self._on_free()

    def _stop(self, response: Response, reason: str) -> None:
        response.cancel(reason)
        if response is self.active:
            self.plays_until = self._outlet.now
        self._over(response)
        if "late-deltas" in self._faults:
            for _ in range(_LATE_DELTAS):
                response.late_delta()
