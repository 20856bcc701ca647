"""A media stream as a carrier's server runs it: the socket, the clock, and who ends it. The words are the line's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tandem.simulators.line import Faults, Frame, MediaLine
from tandem.simulators.phone import Note
from tandem_codecs.format import FRAME_MS

UPGRADE_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 3.0
STUCK_SECONDS: Final = 10.0
"""How long after the time limit a server may keep us from sending."""

INTENDED: Final = (1000, 1005)
"""Close codes of a server that is done; 1005 is a close frame without one. Any other is a complaint, or a crash."""

EndedBy = Literal["caller", "server", "limit", "fault"]


async def open_stream(address: str, headers: Mapping[str, str], user_agent: str) -> ClientConnection:
    """The media socket.

    Raises:
        OSError, InvalidHandshake, InvalidMessage: there is none; `upgrade_problem` has words for it.
    """
    return await connect(
        address,
        additional_headers=headers,
        user_agent_header=user_agent,
        open_timeout=UPGRADE_SECONDS,
        close_timeout=CLOSE_SECONDS,
        ping_interval=None,
        compression=None,
        max_size=None,
        max_queue=None,  # what is received is either read at once, or (a fault) not at all
        proxy=True if address.startswith("wss") else None,
    )


def upgrade_problem(error: Exception) -> str:
    """Why there is no media socket."""
    if isinstance(error, InvalidStatus):
        return f"the upgrade was answered with HTTP {error.response.status_code}"
    if isinstance(error, TimeoutError):
        return "the stream's connection timed out"
    return f"no stream could be opened: {type(error).__name__}"


class Stuck(Exception):
    """The server takes no more frames."""


@dataclass(slots=True)
class StreamCall:
    """One stream on an open socket, to its end."""

    socket: ClientConnection
    line: MediaLine
    seconds: float
    """The caller hangs up at the latest when the stream is so old."""
    faults: Faults
    on_note: Callable[[Note], None]
    hung_up: asyncio.Event | None = None
    """Set: the server has ended the call by another way than this socket."""

    async def run(self) -> EndedBy:
        """Media both ways until one side ends it; the socket is closed afterwards.

        Raises:
            Stuck: the server does not read; the socket is closed all the same.
        """
        ended_by: EndedBy | None = None
        try:
            ended_by = await self._talk()
        finally:
            gently = ended_by in ("caller", "limit", "server") and not self.faults.never_reads
            await _close(self.socket, gently=gently)
        return ended_by

    async def _talk(self) -> EndedBy:
        try:
            async with asyncio.timeout(self.seconds + STUCK_SECONDS), asyncio.TaskGroup() as tasks:
                if not await _send(self.socket, self.line.opening()):
                    return "server"
                epoch = asyncio.get_running_loop().time()
                if self.faults.never_reads:
                    self.socket.transport.pause_reading()
                    return await self._pace(epoch, None)
                listener = tasks.create_task(self._listen(epoch))
                try:
                    return await self._pace(epoch, listener)
                finally:
                    listener.cancel()
        except TimeoutError:
            raise Stuck from None

    async def _listen(self, epoch: float) -> None:
        clock = asyncio.get_running_loop().time
        try:
            async for message in self.socket:
                await _send(self.socket, self.line.receive(message, (clock() - epoch) * 1000))
        except ConnectionClosed:
            pass

    async def _pace(self, epoch: float, listener: asyncio.Task[None] | None) -> EndedBy:
        """A tick every 20 ms of the absolute clock; late ones are made up for at once, never dropped."""
        line, faults, clock = self.line, self.faults, asyncio.get_running_loop().time
        while True:
            due = epoch + (line.now + FRAME_MS) / 1000
            await asyncio.sleep(max(0.0, due - clock()))
            if listener is not None and listener.done():
                return "server"
            if self.hung_up is not None and self.hung_up.is_set():
                await _send(self.socket, line.closing())
                return "server"
            if not await _send(self.socket, line.tick()):
                return "server"
            for note in line.conversation.notes():
                self.on_note(note)
            if line.caller.hung_up or line.now >= self.seconds * 1000:
                if not await _send(self.socket, line.closing()):
                    return "server"
                return "caller" if line.caller.hung_up else "limit"
            if faults.breaks_at_ms is not None and line.now >= faults.breaks_at_ms:
                return "fault"
            if faults.vanishes_at_ms is not None and line.now >= faults.vanishes_at_ms:
                self.socket.transport.pause_reading()
                await asyncio.sleep(max(0.0, epoch + self.seconds - clock()))
                return "fault"


async def _send(socket: ClientConnection, frames: Sequence[Frame]) -> bool:
    """Send the frames in order; False when the socket is closed."""
    try:
        for frame in frames:
            await socket.send(frame)
    except ConnectionClosed:
        return False
    return True


async def _close(socket: ClientConnection, *, gently: bool) -> None:
    if gently:
        await socket.close()
    else:
        socket.transport.abort()
        await socket.wait_closed()
