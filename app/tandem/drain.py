"""SIGTERM without cutting a call.

uvicorn closes every WebSocket as soon as it sees the signal, before the application's shutdown runs. So the signal is
ours first: the switchboard drains, and only then does uvicorn's own handler get it. A second signal goes through at
once.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tandem.switchboard import Switchboard
from tandem_providers.tasks import StartTask

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def drain_on_signals(board: Switchboard, seconds: float, start: StartTask) -> Iterator[None]:
    """While this is open, a first SIGTERM or SIGINT drains; uvicorn (or whoever served it before) gets it afterwards.

    Does nothing outside the main thread, where signals are somebody else's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def pass_on(number: int, frame: FrameType | None = None) -> None:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    async def drain(number: int) -> None:
        await board.drain(seconds)
        pass_on(number)

    def begin(number: int) -> None:
        start(drain(number), name="drain")

    def on_signal(number: int, frame: FrameType | None) -> None:
        if board.draining:
            pass_on(number, frame)
        else:
            board.draining = True  # readiness changes with the signal, not with the next turn of the loop
            loop.call_soon_threadsafe(begin, number)

    # Not by the loop's own means: it leaves the default in place for a moment when it lets go of a signal, and one that
    # comes just then would kill the server.
    for number in _SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number in _SIGNALS:
            signal.signal(number, before[number])
