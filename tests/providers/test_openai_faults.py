"""Errors, closes and nonsense: what a session survives, what ends it, and that nothing raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_play import Play, any_client, created, done, failure, raw

from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import Purpose, Say, SendText
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SessionClosedError,
)
from tandem_providers.events import (
    ProviderWarning,
    RawEvent,
    SessionClosed,
    TurnEnded,
    TurnStarted,
)
from tandem_providers.openai_compatible import OpenAICompatibleOptions
from tandem_providers.openai_events import NAMES
from tandem_providers.xai import XAIOptions

FRAME = b"\x7e" * MULAW_8K.frame_bytes
CREATE = {"type": "response.create"}


def closed_with(play: Play) -> Any:
    (event,) = play.take()
    assert isinstance(event, SessionClosed)
    return event.error


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("response_cancel_not_active", "Cancellation failed: no active response found"),
        ("input_audio_buffer_commit_empty", "buffer too small"),
        ("unsupported_content_type", "Only model output audio messages can be truncated"),
        ("item_create_duplicate_item_id", "exists"),
        ("item_delete_invalid_item_id", "no such item"),
        (None, "Audio content of 1000ms is already shorter than 1200ms"),
        ("something_new", "never heard of"),
        ("rate_limit_exceeded", "slow down"),
    ],
)
def test_errors_that_the_session_survives(code: str | None, message: str) -> None:
    play = Play()
    play >> failure(code, message=message) << ProviderWarning(code or "invalid_request_error", message)
    play >> Say(Purpose.GREETING) << CREATE


def test_a_greeting_that_is_refused_is_asked_for_once_more() -> None:
    play = Play()
    play >> Say(Purpose.GREETING)
    (request,) = play.take()
    play >> failure("server_error", "server_error", event_id=request["event_id"]) << ProviderWarning
    play.listen(400).silence()
    play.listen(200) << CREATE


@pytest.mark.parametrize(
    ("code", "type_", "kind", "exhausted"),
    [
        ("session_expired", "invalid_request_error", SessionClosedError, None),
        ("insufficient_quota", "insufficient_quota", RateLimitedError, True),
        (None, "insufficient_quota", RateLimitedError, True),
        ("x", "credit_balance_exhausted", RateLimitedError, True),
        ("billing_hard_limit_reached", "invalid_request_error", RateLimitedError, True),
        ("invalid_api_key", "invalid_request_error", AuthenticationFailedError, None),
        ("account_deactivated", "invalid_request_error", AuthenticationFailedError, None),
    ],
)
def test_errors_that_end_the_session(
    code: str | None, type_: str, kind: type[ProviderError], exhausted: bool | None
) -> None:
    play = Play()
    play >> failure(code, type_)
    error = closed_with(play)
    assert type(error) is kind
    assert error.code == (code if code and code != "x" else type_)
    assert getattr(error, "exhausted", None) is exhausted
    (play >> created("resp_1")).silence()
    (play >> Say(Purpose.GREETING)).silence()
    assert play.protocol.audio(FRAME) == []
    assert play.protocol.closed(1000, "") is error


def test_a_failed_response_may_tell_that_the_session_is_of_no_use() -> None:
    play = Play()
    play >> created("resp_1") << TurnStarted
    error = {"type": "invalid_request_error", "code": "model_not_found", "message": "no such model"}
    play >> done("resp_1", "failed", status_details={"type": "failed", "error": error})
    ended, warning, closed = play.take()
    assert ended == TurnEnded("resp_1", "failed", "model_not_found")
    assert isinstance(warning, ProviderWarning)
    assert isinstance(closed, SessionClosed)
    assert isinstance(closed.error, InvalidConfigError)


@pytest.mark.parametrize(
    ("code", "reason", "before", "after"),
    [
        (1000, "", ConnectionFailedError, SessionClosedError),
        (1001, "", ConnectionFailedError, ConnectionFailedError),
        (1005, "", ConnectionFailedError, ConnectionFailedError),
        (1006, "", ConnectionFailedError, ConnectionFailedError),
        (1011, "keepalive", ProviderUnavailableError, ProviderUnavailableError),
        (1013, "", ProviderUnavailableError, ProviderUnavailableError),
        (3000, "invalid_request_error.invalid_api_key", AuthenticationFailedError, AuthenticationFailedError),
        (3000, "", AuthenticationFailedError, AuthenticationFailedError),
        (4000, "invalid_request_error.beta_api_shape_disabled", InvalidConfigError, InvalidConfigError),
        (4000, "invalid_request_error.session_expired", SessionClosedError, SessionClosedError),
        (4000, "insufficient_quota.insufficient_quota", RateLimitedError, RateLimitedError),
    ],
)
def test_closes_by_the_provider(
    code: int, reason: str, before: type[ProviderError], after: type[ProviderError]
) -> None:
    for ready, kind in ((False, before), (True, after)):
        error = Play(ready=ready).protocol.closed(code, reason)
        assert error is not None
        assert type(error) is kind
        assert error.status == code
        assert error.provider == "openai"


# Whatever comes


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"type":7}',
        b"[" * 100_000,
        b'{"type":"error","a":' + b"[" * 99_999,
    ],
)
def test_broken_messages_are_told_and_dropped(message: bytes) -> None:
    play = Play()
    play >> message << ProviderWarning


def test_unknown_events_are_let_by_or_shown_on_request() -> None:
    (Play() >> raw(type="conversation.item.pondered", depth=3)).silence()
    config = ProcessConfig(extensions={"raw_events": True})
    Play(config) >> raw(type="x.y", z=[1]) << RawEvent({"type": "x.y", "z": [1]})


def test_an_error_of_any_shape_is_told() -> None:
    play = Play()
    play >> raw(type="error", error="overheated") << ProviderWarning("error", "overheated")
    play >> raw(type="error", message="odd") << ProviderWarning("error", "")
    play >> raw(type="error", error=None) << ProviderWarning


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    (
        *("response_id", "item_id", "call_id", "delta", "item", "response", "session", "error", "usage", "rate_limits"),
        *(
            "id",
            "type",
            "param",
            "message",
            "conversation",
            "status",
            "output",
            "metadata",
            "name",
            "arguments",
            "transcript",
            "content_index",
            "audio_start_ms",
        ),
    )
)
_TOLD = _JSON | st.sampled_from(("session.audio", "session.tools", "'speed'", "type"))
_EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(NAMES))},
    optional={
        "item": st.dictionaries(_FIELDS, _JSON),
        "response": st.dictionaries(_FIELDS, _JSON),
        "error": st.dictionaries(
            _FIELDS, _JSON | st.sampled_from(("session.audio", "session.tools", "'speed'", "type"))
        ),
    },
).flatmap(lambda event: st.dictionaries(_FIELDS, _JSON).map(lambda fields: {**fields, **event}))


_MEMBERS: dict[str, dict[str, Any]] = {
    "openai": {},
    "xai": {"kind": XAIOptions, "judge": any_client},
    "compatible": {"kind": OpenAICompatibleOptions, "url": "ws://h", "judge": any_client},
}


@pytest.mark.parametrize("member", _MEMBERS)
@settings(max_examples=200, deadline=None)
@given(st.lists(_EVENTS | _JSON | st.binary(max_size=40), max_size=12), st.booleans())
def test_no_message_ever_raises(member: str, messages: list[Any], ready: bool) -> None:
    play = Play(ready=ready and member != "compatible", **_MEMBERS[member])
    if ready and member == "compatible":
        play.protocol.receive(b'{"type":"session.created"}')
        play.protocol.receive(b'{"type":"session.updated"}')
    ends = 0
    for message in messages:
        events = play.protocol.receive(message if isinstance(message, bytes) else json.dumps(message).encode())
        ends += sum(isinstance(event, SessionClosed) for event in events)
        assert ends == 0 or not events or isinstance(events[-1], SessionClosed)
        for sent in play.protocol.outgoing() + play.protocol.send(SendText("x")) + play.protocol.audio(FRAME):
            play.judge(sent)
    assert ends <= 1
