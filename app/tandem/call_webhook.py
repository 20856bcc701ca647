"""The question before a call is answered: who shall answer it, and whether at all. Asked of `CALL_WEBHOOK_URL`.

The request is JSON and signed; it goes to a public address only (unless told otherwise). There are no redirects and no
second attempt, for somebody is listening to the phone ring.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec

from tandem import __version__
from tandem.cancelling import politely
from tandem.signed import signed_headers
from tandem.tools.web import Guard, PrivateAddress

SECONDS: Final = 1.5
"""For all of it: the name, the connection, the answer."""
LONGEST_ANSWER: Final = 256 * 1024


class WebhookError(Exception):
    """There is no answer that can be used."""


class CallWebhook:
    """One URL. Make it where a TLS context may be made: that reads files. `close` it."""

    def __init__(self, url: str, secret: str, *, allow_private: bool = False, seconds: float = SECONDS) -> None:
        self._url = url
        self._secret = secret
        self._seconds = seconds
        self._http = httpx.AsyncClient(
            transport=Guard(allow_private=allow_private),
            headers={"User-Agent": f"tandem/{__version__}", "Accept": "application/json"},
            trust_env=False,
            follow_redirects=False,
            timeout=seconds,
        )

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What is answered: a JSON object; an empty one when there is nothing to say (204).

        Raises:
            WebhookError: nothing that can be used, in time.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await politely(self._ask, msgspec.json.encode(question), str(question.get("call_id", "")))
        except (TimeoutError, httpx.TimeoutException):
            raise WebhookError(f"no answer within {self._seconds:g} s") from None
        except PrivateAddress:
            words = "its address is not public (CALL_WEBHOOK_ALLOW_PRIVATE=true allows that)"
            raise WebhookError(words) from None
        except (httpx.HTTPError, OSError) as error:
            raise WebhookError(f"no answer: {type(error).__name__}") from None

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()

    async def _ask(self, body: bytes, call_id: str) -> dict[str, Any]:
        headers = signed_headers(self._secret, int(time.time()), body, call_id)
        headers["Accept-Encoding"] = "identity"  # a packed answer could be far larger than it looks
        answer = bytearray()
        async with self._http.stream("POST", self._url, content=body, headers=headers) as response:
            async for piece in response.aiter_bytes():
                answer += piece
                if len(answer) > LONGEST_ANSWER:
                    raise WebhookError("the answer is too long")
        if response.status_code == 204 or (response.is_success and not answer.strip()):
            return {}
        if response.status_code != 200:
            raise WebhookError(f"answered {response.status_code}")
        try:
            parsed = msgspec.json.decode(bytes(answer))
        except (ValueError, RecursionError):
            raise WebhookError("answered something that is no JSON") from None
        if not isinstance(parsed, dict):
            raise WebhookError("answered no JSON object")
        return parsed
