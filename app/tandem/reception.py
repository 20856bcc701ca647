"""Who answers a call that comes in: as the file of routes says, unless the webhook says otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError

from tandem import logs
from tandem.agents import Agent
from tandem.call_webhook import CallWebhook, WebhookError
from tandem.metrics import Metrics
from tandem.routing import Routes, Wishes, normal
from tandem.settings import Settings
from tandem.voices import Clients
from tandem_providers.config import ProcessConfig


def open_webhook(settings: Settings) -> CallWebhook | None:
    """The webhook of these settings, if they have one. Blocks."""
    url, secret = settings.call_webhook_url, settings.call_webhook_secret.get_secret_value()
    return CallWebhook(url, secret, allow_private=settings.call_webhook_allow_private) if url else None


REFUSED: Final = None
"""What `Reception.agent_for` answers for a call that nobody shall answer."""

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a call before it is answered. Numbers are people: they do not print."""

    carrier: str
    call_id: str
    number: str = field(repr=False)
    called: str = field(repr=False)


class _Answer(Wishes):
    """What the webhook may say. Every field is optional."""

    refuse: bool = False
    agent: Annotated[str, Field(max_length=80)] = ""
    """The name of an agent of the file; other fields change it."""


class Reception:
    """One per process. `webhook` is asked first, where there is one."""

    def __init__(
        self,
        routes: Routes,
        clients: Clients,
        config: ProcessConfig,
        metrics: Metrics,
        webhook: CallWebhook | None = None,
    ) -> None:
        self.routes = routes
        self._clients = clients
        self._config = config
        self._metrics = metrics
        self._webhook = webhook
        self._asking: dict[str, asyncio.Future[Agent | None]] = {}

    async def agent_for(self, caller: Caller) -> Agent | None:
        """Who answers; None: nobody shall. Waits for nothing where there is no webhook.

        A carrier that asks again meanwhile is answered the same, and the webhook is asked once.
        """
        routed = self.routes.choose(caller.called, caller.number, caller.carrier)
        if self._webhook is None:
            return routed.agent
        asked = self._asking.get(caller.call_id)
        if asked is not None:
            return await asyncio.shield(asked)
        promise = self._asking[caller.call_id] = asyncio.get_running_loop().create_future()
        agent: Agent | None = routed.agent
        try:
            agent = await self._ask(self._webhook, caller, routed.agent)
        finally:
            del self._asking[caller.call_id]
            promise.set_result(agent)
        return agent

    def refuses(self, agent: Agent) -> str:
        """Why no provider could speak for this agent; empty when all its providers can."""
        return self._clients.refuses(agent.providers, agent.config(self._config))

    async def close(self) -> None:
        if self._webhook is not None:
            await self._webhook.close()

    async def _ask(self, webhook: CallWebhook, caller: Caller, routed: Agent) -> Agent | None:
        """The webhook's agent, or (whatever goes wrong) that of the file."""
        question = {
            "event": "call.incoming",
            "call_id": caller.call_id,
            "carrier": caller.carrier,
            "from": normal(caller.number) if caller.number else "",
            "to": normal(caller.called) if caller.called else "",
            "agent": routed.name,
        }
        try:
            answer = self._understood(await webhook.ask(question))
            agent = REFUSED if answer.refuse else self._told(answer, routed)
        except WebhookError as error:
            log.warning("the call's webhook is of no use; the file decides", call_id=caller.call_id, problem=str(error))
            self._metrics.call_webhooks.labels("failed").inc()
            return routed
        self._metrics.call_webhooks.labels("refused" if agent is REFUSED else "answered").inc()
        return agent

    def _understood(self, answer: dict[str, Any]) -> _Answer:
        try:
            return _Answer.model_validate(answer)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise WebhookError(f"{where}: {first['msg']}") from None

    def _told(self, answer: _Answer, routed: Agent) -> Agent:
        base = routed
        if answer.agent:
            named = self.routes.named(answer.agent)
            if named is None:
                raise WebhookError("agent: there is none of that name in the file of routes")
            base = named
        changes = answer.agent_called("webhook")
        if changes == Agent("webhook"):
            return base
        agent = changes.over(base)
        if refusal := self.refuses(agent):
            raise WebhookError(refusal)
        return agent
