"""Twilio's less usual requests: signed with a shared key, as JSON, by GET, and those to a fallback URL."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest
from servers import AUTH_TOKEN, Tandem, new_sid, tandem, verbs

from tandem.carriers.twilio_webhook import signature
from tandem.settings import SettingsError, load
from tandem.simulators.twilio_twiml import Connect, Hangup, Reject, Say

CALL = "CA" + "a" * 32
KEYS = {"TWILIO_SHARED_KEYS": "SKA:planted-shared-secret, SKB:planted-other-secret"}


async def shared(server: Tandem, secret: str, key: str, algorithm: str = "HMAC_SHA256") -> httpx.Response:
    form = server.form(CALL)
    signed = signature(f"{server.origin}/twilio/voice", list(form.items()), secret, "HMAC_SHA256")
    headers = {"X-Twilio-Signature": signed, "X-Twilio-Webhooks-Signature-Settings": f"key={key},algorithm={algorithm}"}
    return await server.http.post("/twilio/voice", data=form, headers=headers)


async def test_a_shared_key_signs_instead_of_the_token() -> None:
    async with tandem(KEYS) as server:
        assert isinstance(verbs(await shared(server, "planted-other-secret", "SKB"))[0], Connect)
        assert isinstance((await server.voice(new_sid("CA")))[0], Connect), "and the token goes on signing"


@pytest.mark.parametrize(
    ("secret", "key", "algorithm"),
    [
        ("planted-shared-secret", "SKB", "HMAC_SHA256"),
        ("planted-shared-secret", "SKC", "HMAC_SHA256"),
        ("planted-shared-secret", "SKA", "HMAC_MD5"),
        ("planted-shared-secret", "SKA", "HMAC_SHA1"),
        (AUTH_TOKEN, "SKA", "HMAC_SHA256"),
        ("", "", "HMAC_SHA256"),
    ],
)
async def test_a_header_does_not_choose_the_key(secret: str, key: str, algorithm: str) -> None:
    async with tandem(KEYS) as server:
        assert (await shared(server, secret, key, algorithm)).status_code == 403
        assert not server.board.live


async def test_without_shared_keys_nothing_but_the_token_signs() -> None:
    async with tandem() as server:
        assert (await shared(server, "planted-shared-secret", "SKA")).status_code == 403


async def post_json(server: Tandem, body: Any, sent: bytes | None = None) -> httpx.Response:
    """JSON as Twilio signs it: its hash is in the URL. `sent` instead of it."""
    text = json.dumps(body).encode()
    path = f"/twilio/status?bodySHA256={hashlib.sha256(text).hexdigest()}"
    signed = signature(server.origin + path, (), AUTH_TOKEN)
    headers = {"X-Twilio-Signature": signed, "Content-Type": "application/json"}
    return await server.http.post(path, content=text if sent is None else sent, headers=headers)


async def test_a_json_body_is_read_once_its_hash_is_right() -> None:
    async with tandem() as server:
        dialled = await server.dial()
        fields = {"CallSid": dialled.call_sid, "AccountSid": server.account, "CallStatus": "completed", "more": [1]}
        assert (await post_json(server, fields, json.dumps(fields).encode() + b" ")).status_code == 403
        assert server.board.by_call(dialled.call_sid) is not None
        assert (await post_json(server, fields)).status_code == 200
        assert (await server.result(dialled.call_sid))["result"] == "caller_hung_up"


@pytest.mark.parametrize("body", [[1], "text", {"CallSid": 7}, None])
async def test_json_that_says_nothing_is_a_bad_request(body: Any) -> None:
    async with tandem() as server:
        assert (await post_json(server, body)).status_code == 400


async def test_status_callbacks_may_come_by_get() -> None:
    async with tandem() as server:
        dialled = await server.dial()
        answer = await server.get("/twilio/status", server.form(dialled.call_sid, CallStatus="completed"))
        assert answer.status_code == 200
        assert (await server.result(dialled.call_sid))["result"] == "caller_hung_up"


async def test_the_fallback_takes_a_call_that_the_first_request_did_not_bring() -> None:
    async with tandem() as server:
        trouble = {"ErrorCode": "11200", "ErrorUrl": f"{server.origin}/twilio/voice?To=%2B15550001000"}
        path = "/twilio/voice?after=failure"
        answer = await server.post(path, server.form(CALL, **trouble))
        assert isinstance(verbs(answer)[0], Connect)
        assert server.board.by_call(CALL) is not None
        again = await server.post(path, server.form(CALL, **trouble))
        assert isinstance(verbs(again)[0], Connect)
        assert len(server.board.live) == 1, "one call, however often it is asked about"


async def test_a_document_that_was_no_good_is_not_sent_again() -> None:
    async with tandem() as server:
        answer = await server.post("/twilio/voice", server.form(CALL, ErrorCode="12100", ErrorUrl="x"))
        say, hangup = verbs(answer)
        assert isinstance(say, Say)
        assert hangup == Hangup()
        assert not server.board.live


async def test_a_fallback_beyond_capacity_is_busy_like_any_call() -> None:
    async with tandem(MAX_CALLS="1") as server:
        await server.dial()
        assert isinstance(verbs(await server.post("/twilio/voice", server.form(CALL, ErrorCode="11205")))[0], Reject)


@pytest.mark.parametrize("text", ["secret", "SK:", ":secret", "SKA:x,SKB"])
def test_shared_keys_are_pairs(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        load({"TWILIO_SHARED_KEYS": text, "TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "x"}, None)
    assert error.value.problems == ("TWILIO_SHARED_KEYS: write ID:SECRET, and a comma between two of them",)


async def test_the_secrets_of_shared_keys_are_secret() -> None:
    async with tandem(KEYS) as server:
        secrets = server.settings.secret_values()
        assert "planted-shared-secret" in secrets
        assert "planted-other-secret" in secrets
        assert "planted" not in repr(server.settings.twilio)
