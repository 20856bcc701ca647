"""Strangers at the door: so many connections at once, of which none shows who it is. A program of its own, so that it
takes no time of the loop that watches.

    python flood.py PORT COUNT

Ends when the server has let go of all of them; says in JSON how many were refused (503), answered otherwise, or got
no word, and how many seconds the last was held.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter

UPGRADE = (
    b"GET /twilio/media/v1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
WORDS = [
    b"",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    b"POST /twilio/voice HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"x" * 30000,
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    UPGRADE,
]
"""What one of them says, in turn: nothing, half a head, half a body, a whole request, a media socket that is none."""


async def stranger(port: int, words: bytes, outcomes: Counter[str]) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began, heard = time.monotonic(), b""
    try:
        writer.write(words)
        while data := await reader.read(65536):
            heard += data
    except ConnectionError:
        pass
    finally:
        writer.close()
    outcomes["refused" if b" 503 " in heard else "answered" if heard else "no word"] += 1
    return time.monotonic() - began


async def main(port: int, count: int) -> None:
    outcomes: Counter[str] = Counter()
    held = await asyncio.gather(*(stranger(port, WORDS[each % len(WORDS)], outcomes) for each in range(count)))
    json.dump({**outcomes, "seconds": max(held)}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
