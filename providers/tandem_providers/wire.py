"""The narrow port to a WebSocket: whole messages by callback, sending without waiting.

A telephone call moves a hundred messages a second, so nothing here costs a task, a queue or an event object for each.
The server's side of a media stream offers the same port (`tandem.media_socket`).
"""

from __future__ import annotations

from typing import Protocol


class FrameReceiver(Protocol):
    """The owner of a socket. Called on the event loop, in order; whatever it raises closes the socket with 1011."""

    def on_message(self, data: bytes, is_text: bool) -> None:
        """One whole message, text as UTF-8 (validated)."""
        ...

    def on_close(self, code: int, reason: str) -> None:
        """The socket is gone; called exactly once, whoever closed it. 1006 when the connection just broke."""
        ...


class FrameSocket(Protocol):
    """An open WebSocket. All methods do nothing once it is closed."""

    @property
    def buffered(self) -> int:
        """Bytes handed over that the kernel has not taken yet."""
        ...

    def send_text(self, data: bytes) -> None:
        """One text message (UTF-8), written at once or buffered."""
        ...

    def send_binary(self, data: bytes) -> None: ...

    def pause_reading(self) -> None:
        """Let the far end's messages wait in the kernel."""
        ...

    def resume_reading(self) -> None: ...

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake; the socket is cut when the far end does not answer within a few seconds."""
        ...

    def abort(self) -> None:
        """Cut the connection."""
        ...

    async def wait_closed(self) -> None:
        """Return once `on_close` has been called. Cancel-safe."""
        ...
