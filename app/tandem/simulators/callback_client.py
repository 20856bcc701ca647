"""The HTTP client with which simulated carriers ask a server's webhooks."""

from __future__ import annotations

from typing import Final

import httpx

REUSED_SECONDS: Final = 2.0
"""So long a connection may rest and be used again. Servers close one that rests for 5 s: who asks in that very moment
is not answered, where a carrier would ask again."""


def callback_client(
    seconds: float, user_agent: str, *, verify: bool = True, trust_env: bool = False
) -> httpx.AsyncClient:
    """An async context manager; each request may take so long."""
    return httpx.AsyncClient(
        timeout=seconds,
        headers={"User-Agent": user_agent},
        verify=verify,
        trust_env=trust_env,
        limits=httpx.Limits(keepalive_expiry=REUSED_SECONDS),
    )
