"""A simulated Azure OpenAI resource: OpenAI's protocol behind another door.

async with AzureSimulator(deployment="phone") as simulator:
    ...  # a client connects to simulator.url, or makes its address from simulator.endpoint
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai import serve as serve_openai
from tandem.simulators.openai_connection import SimulatedSession

PATH: Final = "/openai/v1/realtime"


class AzureSimulator(OpenAISimulator):
    """The resource, as an async context manager; see `OpenAISimulator` for what else it takes.

    `deployment` is the only one that there is; empty: any.
    """

    path = PATH

    def __init__(self, *, deployment: str = "", **fields: Any) -> None:
        super().__init__(**fields)
        self._deployment = deployment

    @property
    def endpoint(self) -> str:
        """The address of the resource, as a client is told it."""
        return self.url.removesuffix(PATH).replace("ws", "http", 1)

    def misdirected(self, path: str, query: Mapping[str, str]) -> str | None:
        """HTTP status with which a request is answered that does not ask for a session of a deployment here."""
        if path != PATH or "call_id" in query:
            return "404"
        if "api-version" in query or not query.get("model"):
            return "400"
        return "404" if self._deployment and query["model"] != self._deployment else None

    def is_welcome(self, session: SimulatedSession) -> bool:
        key = session.headers.get("api-key", "")
        if not key:
            return super().is_welcome(session)  # an Entra token, or the key as OpenAI's own clients send it
        return self.options.key is None or key == self.options.key


serve = partial(serve_openai, simulator_type=AzureSimulator)
"""See `tandem.simulators.openai.serve`."""
