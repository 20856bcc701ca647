"""The media socket's door over real sockets: tokens, and whose stream it is."""

from __future__ import annotations

import time

import pytest
from servers import ACCOUNT, SECRET_KEY, Dialled, Door, Tandem, issued, log_lines, new_sid, tandem, until
from websockets.exceptions import InvalidStatus

from tandem import tokens

OTHER_CALL = "CA" + "b" * 32


async def turned_away(server: Tandem, url: str) -> bool:
    """The upgrade is answered with 403."""
    try:
        async with server.upgrade(url):
            return False
    except InvalidStatus as refusal:
        return refusal.response.status_code == 403


def url(server: Door, token: str) -> str:
    return f"{server.origin.replace('http', 'ws', 1)}/twilio/media/{token}"


async def talks(server: Tandem, dialled: Dialled) -> bool:
    async with dialled.stream(door=server) as stream:
        await stream.start()
        await stream.speaks()
        return True


async def stranger(server: Tandem, token: str, call_sid: str, **start: str) -> tuple[int, str]:
    """A socket with a token that this server did not issue itself; how it was closed after its start."""
    async with server.foreign(call_sid, token).stream() as stream:
        await stream.start(**start)
        return await stream.ends()


async def test_any_text_is_a_secret_key() -> None:
    """It signs, and travels nowhere; even bytes that are no text come out of the environment as something."""
    for key in ("correct horse battery stäple", b"\xff planted-bytes".decode(errors="surrogateescape")):
        async with tandem(SECRET_KEY=key) as server, tandem(SECRET_KEY=key) as other:
            dialled = await server.dial()
            assert await talks(other, dialled), "the other instance has the same key"


# --- R30: tokens ------------------------------------------------------------------------------------------------------


async def test_r30_a_token_is_good_once() -> None:
    async with tandem() as server:
        dialled = await server.dial()
        async with dialled.stream() as stream:
            await stream.start()
            await stream.speaks()
            assert await turned_away(server, dialled.url), "while the call is up"
            assert await server.metric("tokens_refused_total", reason="used") == 1
            await stream.stop()
            await stream.ends()
        await server.empty()
        before = await server.record(dialled.call_sid)
        assert await turned_away(server, dialled.url), "and after its end"
        assert await server.metric("calls_total") == 1
        assert await server.record(dialled.call_sid) == before, "the call's record is not touched by the replay"


async def test_r30_a_token_that_is_not_ours_is_refused_before_the_upgrade() -> None:
    async with tandem() as server:
        dialled = await server.dial()
        session, token = dialled.token[2:34], dialled.token
        forged = [
            token[:-1] + ("0" if token[-1] != "0" else "1"),
            token[:42] + "0" * 64,
            tokens.issue(b"another key", "twilio", session, dialled.call_sid, time.time() + 60),
            tokens.issue(SECRET_KEY.encode(), "telnyx", session, dialled.call_sid, time.time() + 60),
            tokens.issue(SECRET_KEY.encode(), "twilio", session, OTHER_CALL, time.time() + 60),
            tokens.issue(SECRET_KEY.encode(), "twilio", session, "", time.time() + 60),
        ]
        for each in forged:
            assert await turned_away(server, url(server, each)), each
        assert await server.metric("tokens_refused_total", reason="forged") == len(forged)
        for each in ("x", "v1", token + "0", token.upper(), token[:-1], "v2" + token[2:], "%00", "..%2fvoice"):
            assert await turned_away(server, url(server, each)), each
        assert await talks(server, dialled)


async def test_r30_an_expired_token_is_refused_before_the_upgrade() -> None:
    async with tandem() as server:
        dialled = await server.dial()
        for seconds in (-31.0, -3600.0, 86_400.0):
            token = tokens.issue(
                SECRET_KEY.encode(), "twilio", dialled.token[2:34], dialled.call_sid, time.time() + seconds
            )
            assert await turned_away(server, url(server, token))
        assert await server.metric("tokens_refused_total", reason="expired") == 3
        assert len(server.board.live) == 1


async def test_r31_a_token_may_be_half_a_minute_out_of_time() -> None:
    """Two instances whose clocks differ: 30 s are allowed each way."""
    async with tandem() as server:
        token = issued(OTHER_CALL, seconds=-25)
        async with server.foreign(OTHER_CALL, token).stream() as stream:
            await stream.start()
            await stream.speaks()


async def test_r30_a_token_for_another_call_is_refused_at_the_start() -> None:
    """Issued elsewhere, so the call's name comes with the start: before any audio, and before anything is paid for."""
    async with tandem() as server:
        assert await stranger(server, issued(OTHER_CALL), new_sid("CA")) == (1008, "wrong_call")
        for foreign in (issued(OTHER_CALL, key="x" * 20), issued(OTHER_CALL, carrier="telnyx")):
            with pytest.raises(InvalidStatus):  # before the upgrade: none of us made that session
                await stranger(server, foreign, OTHER_CALL)
        assert await stranger(server, issued(OTHER_CALL), OTHER_CALL, accountSid="AC" + "2" * 32) == (
            1008,
            "wrong_call",
        )
        await server.empty()
        assert await server.metric("provider_attempts_total") == 0, "no provider was called for them"


async def test_r30_another_instance_with_the_same_key_takes_the_stream() -> None:
    async with tandem() as first, tandem() as second:
        dialled = await first.dial()
        assert await talks(second, dialled)
        await second.empty()
        assert (await second.record(dialled.call_sid))["result"] == "carrier_lost"
        there = dialled.url.replace(first.origin.partition("://")[2], second.origin.partition("://")[2])
        assert await turned_away(second, there), "a replay"
        assert await second.metric("tokens_refused_total", reason="used") == 1


async def test_r30_another_instance_refuses_what_another_key_signed() -> None:
    async with tandem() as first, tandem(SECRET_KEY="planted-key-of-somebody-else") as second:
        dialled = await first.dial()
        with pytest.raises(InvalidStatus):
            async with dialled.stream(door=second):
                pass
        assert not second.board.live, "it takes up no place, not even for a moment"


async def test_a_foreign_stream_counts_for_admission() -> None:
    async with tandem(MAX_CALLS="1") as server:
        await server.dial()
        assert await turned_away(server, url(server, issued(OTHER_CALL)))
        assert await server.metric("tokens_refused_total", reason="full") == 1


async def test_r13_a_draining_server_takes_no_foreign_stream_but_its_own() -> None:
    async with tandem() as server:
        dialled = await server.dial()
        server.board.draining = True
        assert await turned_away(server, url(server, issued(OTHER_CALL)))
        assert await talks(server, dialled)


async def test_two_foreign_sockets_with_one_token_are_one_call() -> None:
    async with tandem() as server:
        token = issued(OTHER_CALL)
        dialled = server.foreign(OTHER_CALL, token)
        async with dialled.stream() as stream:
            assert await turned_away(server, dialled.url), "before the start"
            await stream.start()
            await stream.speaks()
            assert await turned_away(server, dialled.url), "and after it"


# --- whose stream it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"callSid": OTHER_CALL}, {"accountSid": "AC" + "2" * 32}])
async def test_a_start_that_names_another_call_or_account_is_cut_off(wrong: dict[str, str]) -> None:
    async with tandem() as server, server.stream(wrong) as stream:
        assert await stream.ends() == (1008, "wrong_call")
        assert stream.audio == b"", "the greeting is not for strangers"
        assert (await server.result(stream.call_sid))["result"] == "wrong_call"


async def test_r24_a_socket_that_never_starts_is_closed() -> None:
    async with tandem() as server:
        server.hurry(start_seconds=0.2)
        async with server.stream(start=False) as stream:
            assert await stream.ends() == (1008, "no_start")
            assert (await server.result(stream.call_sid))["result"] == "no_start"


async def test_r24_a_foreign_socket_that_never_starts_is_closed_and_costs_nothing() -> None:
    async with tandem() as server:
        server.hurry(start_seconds=0.2)
        async with server.foreign(OTHER_CALL).stream() as stream:
            assert await stream.ends() == (1008, "no_start")
        assert await server.metric("provider_attempts_total") == 0


async def test_a_webhook_that_no_stream_follows_is_given_up() -> None:
    async with tandem() as server:
        server.hurry(stream_seconds=0.2)
        dialled = await server.dial()
        assert (await server.result(dialled.call_sid))["result"] == "no_stream"
        assert await talks(server, dialled), "a stream that comes all the same is better served than hung up on"


async def test_the_account_of_a_foreign_stream_is_ours() -> None:
    async with tandem() as server:
        token = issued(OTHER_CALL)
        async with server.foreign(OTHER_CALL, token).stream() as stream:
            await stream.start()
            await until(lambda: server.board.by_call(OTHER_CALL) is not None)
            assert server.bridge(OTHER_CALL).identity.account_id == ACCOUNT


async def test_all_lines_about_a_foreign_stream_name_its_call() -> None:
    async with tandem() as server:
        token = issued(OTHER_CALL)
        with log_lines() as lines:
            async with server.foreign(OTHER_CALL, token).stream() as stream:
                await stream.start()
                await stream.speaks()
            await server.empty()
    named = {line["event"]: line.get("call_id") for line in lines}
    assert named == {"stream started": OTHER_CALL, "provider ready": OTHER_CALL, "call ended": OTHER_CALL}
