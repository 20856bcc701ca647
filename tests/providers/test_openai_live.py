"""OpenAI Live as a dialogue: what goes over the wire, and what it means."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai_live_play import (
    WIRE_FORMATS,
    Play,
    begun,
    called,
    client,
    closed,
    ended,
    failure,
    heard,
    raw,
    said,
    server,
    session,
    voice,
)

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from tandem_providers.commands import (
    CancelResponse,
    CommitTurn,
    PlaybackReport,
    Purpose,
    Say,
    SendDtmf,
    SendText,
    ToolResult,
)
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
    AudioChunk,
    ItemAdded,
    ProviderWarning,
    RawEvent,
    SessionClosed,
    SessionReady,
    Transcript,
    Usage,
)
from tandem_providers.openai_live import OpenAILiveOptions, OpenAILiveProtocol
from tandem_providers.provider import TakesLeave

COMMENTARY = {"type": "session.commentary.append", "delegation_id": None}
LOUD = b"\x33" * MULAW_8K.size(100)


# --- coming up --------------------------------------------------------------------------------------------------------


def test_the_client_has_the_first_word_and_waits_for_the_session() -> None:
    play = Play(ready=False)
    assert play.start["type"] == "session.start"
    for command in (Say(Purpose.GREETING), SendText("hello"), SendDtmf("1"), ToolResult("c", "{}")):
        (play >> command).silence()
    assert play.protocol.audio(LOUD) == []
    assert play.protocol.farewell() == []
    (play >> voice(LOUD)).silence()
    (
        play
        >> server("session.started", session=session(play.session))
        << SessionReady("openai-live", MULAW_8K, MULAW_8K, "live_1", "gpt-live-1", 1_900_000_000.0)
    )
    (play >> server("session.started", session=session(play.session))).silence()
    assert play.protocol.audio(LOUD)


@pytest.mark.parametrize(
    ("leg", "spoken"),
    [(MULAW_8K, MULAW_8K), (ALAW_8K, ALAW_8K), (PCM16_24K, PCM16_24K), (PCM16_16K, PCM16_16K), (PCM16_8K, PCM16_24K)],
    ids=str,
)
def test_the_leg_is_spoken_where_the_wire_can_in_both_directions(leg: AudioFormat, spoken: AudioFormat) -> None:
    play = Play(leg=leg, ready=False)
    assert play.session["audio"]["format"] == WIRE_FORMATS[str(spoken)]
    (ready,) = (play >> server("session.started", session=session(play.session))).take()
    assert (ready.input_format, ready.output_format) == (spoken, spoken)


def test_another_format_than_asked_for_is_spoken_when_it_is_known() -> None:
    play = Play(ready=False)
    audio = {"format": {"type": "audio/pcma", "rate": 8000}, "output": {"voice": "marin"}}
    (ready,) = (play >> server("session.started", session=session(play.session, audio=audio))).take()
    assert ready.output_format == ALAW_8K
    play = Play(ready=False)
    told = session(play.session, audio={"format": {"type": "audio/opus", "rate": 48000}})
    (end,) = (play >> raw(type="session.started", session=told)).take()
    assert isinstance(end.error, InvalidConfigError)
    assert "audio/opus" in end.error.message


def test_what_is_not_as_asked_for_is_told() -> None:
    play = Play(ready=False, url="wss://api.openai.com/v1/live/sessions", model="gpt-duplex-9")
    audio = {**play.session["audio"], "output": {"voice": {"id": "voice_other"}}}
    (
        play
        >> server("session.started", session=session(play.session, audio=audio))
        << [
            SessionReady,
            ProviderWarning("unknown_model", "model gpt-duplex-9 is not known to speak this protocol"),
            ProviderWarning("voice_changed", "asked for voice marin, got voice_other"),
        ]
    )


def test_news_before_the_session_waits_until_it_is_ready() -> None:
    play = Play(ready=False)
    (play >> server("info", code="data_channel_permissions", message="None.")).silence()
    (play >> raw(type=7)).silence()
    events = (play >> server("session.started", session=session(play.session))).take()
    assert [type(event) for event in events] == [SessionReady, ProviderWarning, ProviderWarning]
    assert events[1] == ProviderWarning("data_channel_permissions", "None.")


# --- sound ------------------------------------------------------------------------------------------------------------


def test_caller_audio_goes_out_as_it_comes() -> None:
    play = Play()
    (message,) = play.protocol.audio(LOUD)
    assert base64.b64decode(client(message)["audio"]) == LOUD
    assert play.protocol.audio(b"") == []
    assert play.protocol.audio(b"\x33")
    large = b"\x33" * 1_000_000
    parts = [base64.b64decode(client(message)["audio"]) for message in play.protocol.audio(large)]
    assert b"".join(parts) == large
    assert max(map(len, parts)) <= 1 << 18


def test_linear_audio_goes_out_in_whole_samples_however_it_is_cut() -> None:
    play = Play(leg=PCM16_24K)
    told = bytes(range(256)) * 40
    sent = b""
    place = 0
    for size in (1, 2, 3, 1, 1, 959, 961, 0, 5000, 1):
        for message in play.protocol.audio(told[place : place + size]):
            piece = base64.b64decode(client(message)["audio"])
            assert piece
            assert len(piece) % 2 == 0
            sent += piece
        place += size
    assert sent == told[: place // 2 * 2]


def test_agent_audio_is_passed_on_as_it_comes() -> None:
    play = Play()
    for piece in (LOUD, LOUD[:1], MULAW_8K.silence(100), b"\x34" * 12_345):
        (chunk,) = (play >> voice(piece)).take()
        assert chunk.audio == piece
    (play >> voice(b"")).silence()


def test_bad_audio_is_dropped_and_counted() -> None:
    play = Play()
    play >> raw(type="session.output_audio.delta", delta="@@@") << ProviderWarning
    play >> raw(type="session.output_audio.delta", delta=None)
    play.silence()
    assert play.protocol.bad_audio == 1
    play >> voice(LOUD) << AudioChunk


# --- speaking unprompted ----------------------------------------------------------------------------------------------


def test_a_greeting_is_a_commentary_with_the_very_words() -> None:
    play = Play()
    (message,) = (play >> Say(Purpose.GREETING, 'Good day, "friend"!')).take()
    assert message["type"] == "session.commentary.append"
    assert message["delegation_id"] is None
    assert message["content"].endswith('"Good day, "friend"!"')
    assert "Speak at once" in message["content"]


@pytest.mark.parametrize("purpose", Purpose)
def test_words_of_its_own_are_asked_for_by_their_occasion(purpose: Purpose) -> None:
    play = Play()
    play >> Say(purpose)
    (message,) = play.take()
    assert message["type"] == "session.commentary.append"
    assert len(message["content"]) > 40


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        (SendText("hi"), ["commentary"]),
        (SendText("hi", role="system"), ["commentary"]),
        (SendText("hi", respond=False), ["thinking"]),
        (SendText("hi", role="system", respond=False), ["instructions"]),
        (SendText("  "), []),
        (SendDtmf("5"), ["instructions", "commentary"]),
        (CommitTurn(), []),
        (CancelResponse(), []),
        (PlaybackReport("nobody", "", 0, 100, 200), []),
        (ToolResult("nobody", "{}"), []),
    ],
    ids=str,
)
def test_each_command_in_the_words_of_this_wire(command: object, kinds: list[str]) -> None:
    play = Play()
    messages = (play >> command).take()  # type: ignore[operator]  # all of them are commands
    assert [message["type"] for message in messages] == [f"session.{kind}.append" for kind in kinds]
    for message in messages:
        assert message["delegation_id"] is None
        assert ("hi" in message["content"]) or ("5" in message["content"])


def test_each_message_has_an_id_of_its_own() -> None:
    play = Play()
    ids = [play.start["event_id"]]
    for command in (Say(Purpose.GREETING), SendDtmf("1"), SendText("x")):
        ids += [message["event_id"] for message in (play >> command).take()]
    assert len(set(ids)) == len(ids) == 5


def test_a_long_text_goes_in_pieces_that_are_short_enough() -> None:
    play = Play()
    text = "Überlänge " * 800
    for command in (SendText(text), SendText(text, role="system", respond=False), Say(Purpose.GREETING, text)):
        messages = (play >> command).take()
        assert len(messages) > 2
        assert all(len(message["content"].encode()) <= 1500 for message in messages)
        assert sum(message["content"].count("Überlänge") for message in messages) == 800


def test_work_that_is_handed_to_nobody_is_answered() -> None:
    play = Play()
    delegation = {"id": "d9", "type": "delegation", "target": "client"}
    (
        play
        >> server("session.delegation.created", offset_ms=10, delegation=delegation)
        << {"type": "session.commentary.append", "delegation_id": "d9"}
    )
    delegation = {"id": "d9", "type": "delegation", "target": "responses", "response_id": "r"}
    (play >> server("session.delegation.created", offset_ms=10, delegation=delegation)).silence()


# --- words ------------------------------------------------------------------------------------------------------------


def test_a_short_conversation() -> None:
    play = Play()
    play.quiet(600)
    (
        play
        >> said("Hello", 600, 900)
        << [ItemAdded("live_1-1", None, False), Transcript("Hello", False, False, "live_1-1")]
    )
    play >> voice(LOUD) << AudioChunk(LOUD, False, "live_1-1")
    play >> said(" there.", 900, 1200) << Transcript(" there.", False, False, "live_1-1")
    (
        play
        >> heard("Hi", 1500, 1700)
        << [
            Transcript("Hello there.", True, False, "live_1-1"),
            ItemAdded("live_1-2", "live_1-1", True),
            Transcript("Hi", False, True, "live_1-2"),
        ]
    )
    quiet = play.quiet(2600)
    assert [event for event in quiet if not isinstance(event, AudioChunk) or event.is_final] == [
        AudioChunk(b"", True, "live_1-1"),
        Transcript("Hi", True, True, "live_1-2"),
    ]
    assert [event.item_id for event in quiet if isinstance(event, AudioChunk)][-1] == "live_1-pause-2"


def test_a_report_of_thrown_away_audio_parts_the_stream() -> None:
    play = Play()
    play >> said("One", 0, 300) << [ItemAdded, Transcript]
    play >> voice(LOUD) << AudioChunk(LOUD, False, "live_1-1")
    (play >> PlaybackReport("live_1-1", "", 0, 50, 100)).silence()
    play >> voice(LOUD) << AudioChunk(LOUD, False, "live_1-2")
    (
        play
        >> said(" two", 100, 500)
        << [
            Transcript("One", True, False, "live_1-1"),
            ItemAdded("live_1-2", "live_1-1", False),
            Transcript(" two", False, False, "live_1-2"),
        ]
    )


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_cumulative_seconds_become_sums() -> None:
    play = Play()
    told = [5.0, 5.0, 12.0, 11.0, 14.5]
    usages = []
    for seconds in told:
        usages += (play >> server("session.usage.updated", usage={"seconds": seconds})).take()
    assert usages == [Usage("session", {"seconds": more}) for more in (5.0, 7.0, 2.5)]
    usages += [event for event in (play >> closed("expired", 20.0)).take() if isinstance(event, Usage)]
    assert sum(usage.amounts["seconds"] for usage in usages) == 20.0


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "type_", "kind"),
    [
        ("credit_balance_exhausted", "insufficient_quota", RateLimitedError),
        ("insufficient_quota", "invalid_request_error", RateLimitedError),
        ("rate_limit_exceeded", "rate_limit_error", RateLimitedError),
        ("invalid_api_key", "invalid_request_error", AuthenticationFailedError),
        ("forbidden", "invalid_request_error", AuthenticationFailedError),
        ("unknown_parameter", "invalid_request_error", InvalidConfigError),
        ("model_not_found", "invalid_request_error", InvalidConfigError),
        ("instructions_too_long", "some_new_type", InvalidConfigError),
        ("internal_error", "server_error", ProviderUnavailableError),
    ],
)
def test_an_error_in_place_of_the_session(code: str, type_: str, kind: type[ProviderError]) -> None:
    play = Play(ready=False)
    (end,) = (play >> failure(code, type_)).take()
    assert isinstance(end, SessionClosed)
    assert type(end.error) is kind
    assert end.error.code == code
    assert end.error.provider == "openai-live"
    assert play.protocol.closed(1006, "") is end.error
    (play >> server("session.started", session=session(play.session))).silence()


def test_a_used_up_balance_is_known_as_such() -> None:
    (end,) = (Play(ready=False) >> failure("credit_balance_exhausted")).take()
    assert end.error.exhausted


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("forbidden", AuthenticationFailedError),
        ("credit_balance_exhausted", RateLimitedError),
        ("response_input_buffer_full", SessionClosedError),
        ("session_expired", SessionClosedError),
    ],
)
def test_errors_that_end_a_session(code: str, kind: type[ProviderError]) -> None:
    play = Play()
    (end,) = (play >> failure(code)).take()
    assert isinstance(end, SessionClosed)
    assert type(end.error) is kind
    (play >> voice(LOUD)).silence()
    (play >> Say(Purpose.GREETING)).silence()
    assert play.protocol.audio(LOUD) == []


@pytest.mark.parametrize("code", ["max_tokens_exceeded", "unknown_parameter", "function_call_outputs_required", "new"])
def test_errors_that_a_session_survives(code: str) -> None:
    play = Play()
    play >> failure(code, param="content") << ProviderWarning(code, "It did not work. (content)")
    play >> voice(LOUD) << AudioChunk


def test_an_error_of_any_shape_is_one() -> None:
    play = Play()
    play >> raw(type="error", error="oh no") << ProviderWarning("error", "oh no")
    play >> raw(type="error") << ProviderWarning("error", "")
    (end,) = (Play(ready=False) >> raw(type="error", error={"code": 7})).take()
    assert isinstance(end.error, ProviderError)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("expired", SessionClosedError),
        ("content", SessionClosedError),
        ("remote_hangup", SessionClosedError),
        ("close_requested", SessionClosedError),
        ("connection_lost", ConnectionFailedError),
    ],
)
def test_the_provider_ends_the_session(reason: str, kind: type[ProviderError]) -> None:
    play = Play()
    play >> heard("Wait", 0, 100) << [ItemAdded, Transcript]
    events = (play >> closed(reason)).take()
    assert events[:-1] == [Usage("session", {"seconds": 1.0}), Transcript("Wait", True, True, "live_1-1")]
    end = events[-1]
    assert isinstance(end, SessionClosed)
    assert type(end.error) is kind
    assert end.error.code == reason
    assert play.protocol.closed(1000, "") is end.error


def test_leaving_is_said_and_its_answer_is_no_failure() -> None:
    play = Play()
    assert isinstance(play.protocol, TakesLeave)
    (message,) = play.protocol.farewell()
    assert client(message)["type"] == "session.close"
    play >> closed("close_requested") << [Usage, SessionClosed(None, reason="close_requested")]
    assert play.protocol.closed(1000, "") is None
    assert play.protocol.farewell() == []


@pytest.mark.parametrize(
    ("ready", "code", "reason", "kind"),
    [
        (False, 3000, "invalid_request_error.invalid_api_key", AuthenticationFailedError),
        (False, 1000, "", ConnectionFailedError),
        (True, 1000, "", SessionClosedError),
        (True, 1006, "", ConnectionFailedError),
        (True, 1011, "", ProviderUnavailableError),
        (True, 1013, "", ProviderUnavailableError),
    ],
)
def test_a_close_without_a_word(ready: bool, code: int, reason: str, kind: type[ProviderError]) -> None:
    assert type(Play(ready=ready).protocol.closed(code, reason)) is kind


def test_what_was_said_until_the_connection_broke_is_final() -> None:
    play = Play()
    play >> heard("But", 0, 100) << [ItemAdded, Transcript]
    assert isinstance(play.protocol.closed(1006, ""), ConnectionFailedError)
    assert play.protocol.occurred() == [Transcript("But", True, True, "live_1-1")]
    assert play.protocol.occurred() == []


# --- whatever comes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"type":null}',
        b'{"type":"session.started","session":7}',
        b'{"type":"session.output_transcript.delta","delta":{}}',
        b'{"type":"response.event","event":"x"}',
        b"[" * 100_000,
    ],
    ids=lambda message: repr(message[:30]),
)
@pytest.mark.parametrize("ready", [False, True])
def test_nonsense_is_a_warning_at_the_most(message: bytes, ready: bool) -> None:
    play = Play(ready=ready)
    events = play.protocol.receive(message)
    assert all(isinstance(event, ProviderWarning) for event in events)
    if ready:
        play >> voice(LOUD) << AudioChunk


def test_whatever_stands_in_a_field_nothing_raises() -> None:
    events = [
        voice(LOUD, start_ms=0, end_ms=100),
        said("Hi", 0, 100),
        heard("Hi", 0, 100),
        begun(),
        called("c1"),
        ended(usage={"input_tokens": 1}),
        failure("c"),
        server("session.usage.updated", usage={"seconds": 1.0}, context_window={"usage_ratio": 0.5}),
        server(
            "session.delegation.created", offset_ms=1, delegation={"id": "d", "type": "delegation", "target": "client"}
        ),
        server("info", code="c", message="m"),
        server("session.started", session=session({"model": "gpt-live-1"})),
        closed("expired"),
    ]
    strange: list[Any] = [None, True, -1, 10**30, 1e300, "", "\ud800", "x" * 5000, [], [[]], {}, {"id": 7, "type": 7}]
    for event in events:
        for value in strange:
            for message in _with(json.loads(event), value):
                for ready in (True, False):
                    play = Play(ready=ready)
                    play.protocol.receive(json.dumps(message).encode())
                    play.protocol.receive(voice(LOUD))
                    play.protocol.outgoing()
                    play.protocol.closed(1006, "")


def _with(event: Any, value: Any) -> Iterator[Any]:
    """The event with each of its fields in turn replaced by this, `type` of the whole left alone."""
    if not isinstance(event, dict):
        return
    for name, inner in event.items():
        if name != "type":
            yield {**event, name: value}
        for changed in _with(inner, value):
            yield {**event, name: changed}


def test_nearly_right_is_read() -> None:
    play = Play()
    events = play.protocol.receive(
        raw(type="session.output_transcript.delta", delta="Hi", start_ms="0", end_ms=None, obfuscation=1)
    )
    assert events[-1] == Transcript("Hi", False, False, "live_1-1")
    assert play.protocol.receive(raw(type="session.usage.updated", usage=None)) == []
    assert play.protocol.receive(raw(type="session.usage.updated", usage={"seconds": "many"})) == []
    assert play.protocol.receive(raw(type="session.delegation.created", delegation=None)) == []


def test_unknown_events_are_passed_over_or_passed_on() -> None:
    appended = server("session.commentary.appended", start_ms=0, end_ms=0)
    assert Play().protocol.receive(appended) == []
    assert Play().protocol.receive(raw(type="session.mood.changed", mood="good")) == []
    curious = Play(ProcessConfig(extensions={"raw_events": True}))
    assert curious.protocol.receive(raw(type="session.mood.changed", mood="good")) == [
        RawEvent({"type": "session.mood.changed", "mood": "good"})
    ]


def test_many_warnings_before_the_session_fill_no_memory() -> None:
    play = Play(ready=False)
    for number in range(1000):
        (play >> raw(type="error_", number=number)).silence()
        (play >> raw(x=number)).silence()
    assert len((play >> server("session.started", session=session(play.session))).take()) <= 17


def test_it_dials_without_a_query() -> None:
    protocol = OpenAILiveProtocol(OpenAILiveOptions(api_key="sk-test"), ProcessConfig(), MULAW_8K, "openai-live")
    dial = protocol.dial()
    assert dial.url == "wss://api.openai.com/v1/live/sessions"
    assert dial.headers == {"Authorization": "Bearer sk-test"}
    (message,) = protocol.outgoing()
    assert json.loads(message)["session"]["model"] == "gpt-live-1"
