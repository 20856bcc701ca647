"""One call in process, without a network: the bridge, with a test that plays both the carrier and the provider."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fakes import FakeProvider, FakeSession, News
from playbook import plan

from tandem.bridge import TICK_SECONDS, Bridge, Identity
from tandem.carriers.events import Started
from tandem.carriers.table import TWILIO
from tandem.metrics import Metrics
from tandem.ticker import Ticker
from tandem_codecs.format import MULAW_8K
from tandem_providers.client import Client
from tandem_providers.config import ProcessConfig

CALL, STREAM, ACCOUNT = "CA1", "MZ1", "AC1"


class Socket:
    """The carrier's socket, open until somebody closes it. `buffered` is what the test wants it to be."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.buffered = 0
        self._over = asyncio.Event()
        self._news = News()

    @property
    def congested(self) -> bool:
        return self.buffered > 0

    def send_text(self, data: bytes) -> None:
        assert self.closed is None, "nothing is sent after the close"
        self.sent.append(json.loads(data))
        self._news.tell()

    def send_binary(self, data: bytes) -> None:
        raise AssertionError("no carrier of ours takes binary frames")

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self, code: int = 1000, reason: str = "") -> None:
        assert self.closed is None, "closed once"
        self.closed = (code, reason)
        self._over.set()
        self._news.tell()

    def abort(self) -> None:
        self._over.set()

    async def wait_closed(self) -> None:
        await self._over.wait()

    @property
    def audio(self) -> bytes:
        return b"".join(base64.b64decode(got["media"]["payload"]) for got in self.sent if got["event"] == "media")

    @property
    def events(self) -> list[str]:
        return [got["event"] for got in self.sent]

    async def until(self, condition: Callable[[], object]) -> None:
        await self._news.until(condition)

    async def ends(self) -> tuple[int, str]:
        await self.until(lambda: self.closed)
        assert self.closed is not None
        return self.closed


class Line:
    """One call: `bridge` between `socket` and the fake `providers` (or `client`'s); `changes` are its plan's."""

    def __init__(
        self,
        *providers: FakeProvider,
        client: Client | None = None,
        config: ProcessConfig | None = None,
        **changes: Any,
    ) -> None:
        self.socket = Socket()
        self.providers = providers or (FakeProvider(speaks=MULAW_8K),)
        self.client = client or Client(*self.providers)
        self.metrics = Metrics()
        self.bridge = Bridge(
            TWILIO,
            Identity("s" * 32, CALL, ACCOUNT, "+15550002000", "+15550001000"),
            self.client,
            config or ProcessConfig(),
            plan(**changes),
            self.accepts,
            self.metrics,
            Ticker(TICK_SECONDS),
        )
        self.strangers: list[Started] = []
        self._chunk = 0

    def accepts(self, start: Started) -> bool:
        if start.call_id == CALL:
            return True
        self.strangers.append(start)
        return False

    @property
    def session(self) -> FakeSession:
        """The provider's side."""
        return next(provider.session for provider in self.providers if provider.sessions)

    @property
    def result(self) -> str:
        reason = self.bridge.call.end_reason
        return reason.value if reason else ""

    def carrier(self, event: str, **body: Any) -> None:
        """The carrier says something."""
        self.bridge.on_message(json.dumps({"event": event, "streamSid": STREAM, **body}).encode(), True)

    def start(self, **changes: Any) -> None:
        body = {"accountSid": ACCOUNT, "callSid": CALL, "streamSid": STREAM, **changes}
        self.carrier("start", start=body)

    def media(self, audio: bytes) -> None:
        self._chunk += 1
        payload = base64.b64encode(audio).decode()
        self.carrier("media", media={"track": "inbound", "chunk": str(self._chunk), "payload": payload})

    def mark(self, name: str) -> None:
        self.carrier("mark", mark={"name": name})

    def stop(self) -> None:
        self.carrier("stop", stop={})

    def return_marks(self) -> None:
        """As if all that was sent had been heard."""
        for got in [*self.socket.sent]:
            if got["event"] == "mark":
                self.mark(got["mark"]["name"])


@asynccontextmanager
async def line(*providers: FakeProvider, attach: bool = True, **changes: Any) -> AsyncIterator[Line]:
    """A call that its owner runs meanwhile; hung up at the end if it is still up, and then nothing is left of it."""
    one = Line(*providers, **changes)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        owner = tasks.create_task(one.bridge.run())
        attached = tasks.create_task(one.bridge.attach(one.socket)) if attach else None
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            yield one
        finally:
            if one.bridge.call.end_reason is None:
                one.bridge.carrier_ended()
            await owner
            if attached is not None:
                await attached
    assert all(provider.open == 0 for provider in one.providers), "a session was left open"
