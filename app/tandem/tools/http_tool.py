"""A tool that is a URL: asked with POST, signed, and never trusted with more than its answer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tandem.signed import signed_headers
from tandem.tools.schema import Arguments
from tandem.tools.tool import Tool, ToolFailed
from tandem.tools.web import Web
from tandem_providers.config import FunctionDeclaration

if TYPE_CHECKING:
    from tandem.bridge import Bridge


@dataclass(frozen=True, slots=True)
class HttpTool:
    """One entry of the tools file."""

    declaration: FunctionDeclaration
    url: str
    arguments: Arguments
    filler: str = ""
    seconds: float = 10.0
    max_result_bytes: int = 16_384
    secret: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def through(self, web: Web) -> Tool:
        """As something that a call can use."""
        return Tool(self.declaration, lambda arguments, call: self.run(arguments, call, web), self.filler)

    @property
    def secrets(self) -> list[str]:
        """What must not appear in any output."""
        return [self.secret, *self.headers.values()]

    def body(self, arguments: Mapping[str, Any], call: Bridge) -> bytes:
        """What is sent. A number that nobody has told us is left out."""
        identity = call.identity
        told = {
            "call_id": identity.call_id or identity.session,
            "tool": self.declaration.name,
            "arguments": arguments,
            "caller": identity.caller,
            "called": identity.called,
        }
        return msgspec.json.encode({key: value for key, value in told.items() if key == "arguments" or value})

    def key(self, arguments: Mapping[str, Any], call: Bridge) -> str:
        """The same for the same tool and arguments in one call, so that the receiver knows what it was asked before.

        A provider that takes a call over asks again for what it does not know to be done.
        """
        asked = [call.identity.call_id or call.identity.session, self.declaration.name, arguments]
        return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()[:32]

    async def run(self, arguments: Mapping[str, Any], call: Bridge, web: Web) -> str:
        """Ask for it, once.

        Raises:
            ToolFailed: the arguments do not fit, or there is no usable answer.
        """
        if problem := self.arguments.problem(arguments):
            raise ToolFailed("invalid_arguments", f"The arguments do not fit. {problem}")
        body = self.body(arguments, call)
        signed = signed_headers(self.secret, int(time.time()), body, call.identity.call_id or call.identity.session)
        headers = {**self.headers, **signed, "Idempotency-Key": self.key(arguments, call)}
        answer = await web.post(self.url, body, headers, seconds=self.seconds, most=self.max_result_bytes)
        return answer.strip() or '{"status": "done"}'
