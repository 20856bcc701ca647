"""How a path may be written, and whose paths are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from fastapi.exception_handlers import http_exception_handler
from starlette.exceptions import HTTPException

from tandem.carriers.table import PLIVO, TELNYX, TWILIO

if TYPE_CHECKING:
    from fastapi import Request, Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from tandem.settings import Settings


class OneSlash:
    """ASGI middleware: a request's path with a slash at its end is the one without. A stream's ends with its token.

    A redirection in its place would name a host and a scheme that only the sender's Host header vouches for, and not
    every carrier follows one. Signatures cover the path as it came, which is still in `raw_path`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and len(path) > 1 and path.endswith("/"):
            scope = {**scope, "path": path[:-1]}
        await self._app(scope, receive, send)


def is_hidden(settings: Settings, path: str) -> bool:
    """Whether a path is one of a carrier that has no account here: all that anybody is told is that it is not there.

    The well-known account of a server without keys is none."""
    name = path.split("/")[1] if path.startswith("/") else ""
    if name == TWILIO.name:
        return settings.twilio is None or settings.twilio.demo
    accounts = {TELNYX.name: settings.telnyx, PLIVO.name: settings.plivo}
    return name in accounts and accounts[name] is None


async def wrong_method(request: Request, error: Exception) -> Response:
    """405, and what would be right; where nothing is, 404 as for any other method."""
    refusal = cast(HTTPException, error)
    if is_hidden(request.app.state.settings, request.url.path):
        refusal = HTTPException(404)
    return await http_exception_handler(request, refusal)
