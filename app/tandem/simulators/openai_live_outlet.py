"""The way out of a simulated OpenAI Live session: its events look a little different from those of the Realtime API."""

from __future__ import annotations

from typing import Any

from tandem.simulators.openai_checks import Refused
from tandem.simulators.openai_outlet import Cut, Outlet


class LiveOutlet(Outlet):
    """Faults that concern a response's audio strike while the model speaks: silence is sent for ever."""

    READY = "session.started"
    AUDIO = "session.output_audio.delta"
    speaking = False

    def error(self, refusal: Refused, event_id: str | None = None) -> None:
        """Send an `error` event; `event_id` is that of the message it answers. What there is not is left out."""
        error = {
            "type": refusal.kind,
            "code": refusal.code or "invalid_request",
            "message": refusal.message,
            "param": refusal.param,
            "client_event_id": event_id,
        }
        self.emit({"type": "error", "error": {name: value for name, value in error.items() if value is not None}})

    def abort(self) -> None:
        """Cut the connection."""
        if not self.is_closed:
            self._out.append(Cut())
            self.is_closed = True

    def _strike(self, event: dict[str, Any]) -> dict[str, Any]:
        return super()._strike(event) if self.speaking else event
