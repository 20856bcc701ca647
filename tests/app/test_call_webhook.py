"""The question before a call: signed, short, and never to a private address by mistake."""

from __future__ import annotations

import hmac
import json
import time
from hashlib import sha256

import pytest

from tandem.call_webhook import LONGEST_ANSWER, CallWebhook, WebhookError
from tandem.simulators.api_server import CUT, HANG, ApiAnswer, ApiRequest, RestServer

SECRET = "planted-webhook-secret"
QUESTION = {"event": "call.incoming", "call_id": "CA1", "to": "+15550001000"}


async def ask(answer: ApiAnswer | str, *, seconds: float = 2.0, allow_private: bool = True) -> dict[str, object]:
    """What comes of it when this is answered."""
    async with RestServer(lambda request: answer) as server:
        webhook = CallWebhook(f"{server.url}/calls?a=b", SECRET, allow_private=allow_private, seconds=seconds)
        try:
            return await webhook.ask(QUESTION)
        finally:
            await webhook.close()


async def test_the_question_is_signed_and_its_answer_an_object() -> None:
    asked: list[ApiRequest] = []

    def answer(request: ApiRequest) -> ApiAnswer:
        asked.append(request)
        return ApiAnswer(200, {"agent": "sales"})

    async with RestServer(answer) as server:
        webhook = CallWebhook(f"{server.url}/calls?a=b", SECRET, allow_private=True)
        assert await webhook.ask(QUESTION) == {"agent": "sales"}
        await webhook.close()
    (request,) = asked
    assert (request.method, request.path, dict(request.query)) == ("POST", "/calls", {"a": "b"})
    assert json.loads(request.body) == QUESTION
    assert request.headers["host"] == server.url.removeprefix("http://")
    stamp = request.headers["x-tandem-timestamp"]
    assert abs(int(stamp) - time.time()) < 5
    assert request.headers["x-tandem-call-id"] == "CA1"
    signed = hmac.new(SECRET.encode(), f"{stamp}.".encode() + request.body, sha256).hexdigest()
    assert request.headers["x-tandem-signature"] == signed


@pytest.mark.parametrize("answer", [ApiAnswer(204), ApiAnswer(200), ApiAnswer(200, {})])
async def test_nothing_to_say_is_an_answer(answer: ApiAnswer) -> None:
    assert await ask(answer) == {}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ApiAnswer(500, {}), "answered 500"),
        (ApiAnswer(404, {}), "answered 404"),
        (ApiAnswer(302, {}, {"Location": "http://169.254.169.254/"}), "answered 302"),
        (ApiAnswer(200, [1]), "no JSON object"),
        (ApiAnswer(200, "x" * LONGEST_ANSWER), "too long"),
        (CUT, "no answer"),
    ],
)
async def test_what_can_not_be_used_is_said_and_not_followed(answer: ApiAnswer | str, words: str) -> None:
    with pytest.raises(WebhookError, match=words):
        await ask(answer)


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(WebhookError, match=r"within 0\.1 s"):
        await ask(HANG, seconds=0.1)
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "100.64.0.1"])
async def test_private_addresses_are_not_asked(host: str) -> None:
    webhook = CallWebhook(f"http://{host}:9/", SECRET)
    with pytest.raises(WebhookError, match="not public"):
        await webhook.ask(QUESTION)
    await webhook.close()


async def test_a_name_that_leads_nowhere_is_said() -> None:
    webhook = CallWebhook("http://nowhere.invalid/", SECRET, allow_private=True)
    with pytest.raises(WebhookError, match="no answer"):
        await webhook.ask(QUESTION)
    await webhook.close()
