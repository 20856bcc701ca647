"""A session with OpenAI Realtime: set-up, audio both ways, barge-in, and everything that may go wrong on the wire."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from openai_play import Play, client, created, done, failure, raw, server, voice, voice_done

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_24K, AudioFormat
from tandem_providers.commands import CancelResponse
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import (
    AuthenticationFailedError,
    InvalidConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tandem_providers.events import (
    AudioChunk,
    ItemAdded,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    TurnEnded,
    TurnStarted,
)
from tandem_providers.openai import OpenAIOptions, OpenAIProtocol, capabilities
from tandem_providers.provider import HistoryTurn, Opening

FRAME = b"\x7e" * MULAW_8K.frame_bytes
CREATE = {"type": "response.create"}


def protocol(config: ProcessConfig | None = None, *, leg: AudioFormat = MULAW_8K, **options: Any) -> OpenAIProtocol:
    return OpenAIProtocol(
        OpenAIOptions(**{"api_key": "sk-test", **options}), config or ProcessConfig(), leg, "openai@backup"
    )


def closed_with(play: Play) -> Any:
    (event,) = play.take()
    assert isinstance(event, SessionClosed)
    return event.error


# Set-up


def test_set_up_is_sent_at_once_and_ready_waits_for_its_confirmation() -> None:
    session = protocol(ProcessConfig(instructions="Be kind."))
    (message,) = session.outgoing()
    update = client(message)
    assert update["type"] == "session.update"
    assert update["session"]["instructions"] == "Be kind."
    assert session.outgoing() == []
    assert session.audio(FRAME) == []
    assert session.send(CancelResponse()) == []
    created_session = {"type": "realtime", "id": "sess_1", "object": "realtime.session", "expires_at": 1756310470}
    assert session.receive(server("session.created", session=created_session)) == []
    events = session.receive(server("session.updated", session={**update["session"], "model": "gpt-realtime-2.1"}))
    assert events == [SessionReady("openai@backup", MULAW_8K, MULAW_8K, "sess_1", "gpt-realtime-2.1", 1756310470.0)]
    assert session.audio(FRAME) != []


def test_a_server_that_never_says_created_is_ready_all_the_same() -> None:
    session = protocol()
    session.outgoing()
    (event,) = session.receive(server("session.updated", session={"type": "realtime"}))
    assert event == SessionReady("openai@backup", MULAW_8K, MULAW_8K, "", "gpt-realtime-2.1", None)


def test_a_server_elsewhere_that_never_confirms_is_ready_when_it_has_answered_something_else() -> None:
    session = protocol(url="ws://localhost:8765/v1/realtime")
    update, probe = map(client, session.outgoing())
    assert (update["type"], probe["type"]) == ("session.update", "input_audio_buffer.clear")
    assert session.receive(server("session.created", session={"type": "realtime"})) == []
    ready, warning = session.receive(server("input_audio_buffer.cleared"))
    assert isinstance(ready, SessionReady)
    assert isinstance(warning, ProviderWarning)
    confirmed = protocol(url="ws://localhost:8765/v1/realtime")
    confirmed.outgoing()
    (event,) = confirmed.receive(server("session.updated", session={"type": "realtime"}))
    assert isinstance(event, SessionReady)
    assert confirmed.receive(server("input_audio_buffer.cleared")) == []


def test_nothing_comes_before_ready() -> None:
    session = protocol()
    session.outgoing()
    assert session.receive(created("resp_1")) == []
    assert session.receive(voice("resp_1", "item_1", FRAME)) == []
    assert session.receive(b"nonsense") == []
    events = session.receive(server("session.updated", session={"type": "realtime"}))
    assert [type(event) for event in events] == [SessionReady, ProviderWarning]


@pytest.mark.parametrize(
    ("leg", "audio", "wire", "expected"),
    [
        (MULAW_8K, "auto", {"type": "audio/pcmu"}, MULAW_8K),
        (ALAW_8K, "auto", {"type": "audio/pcma"}, ALAW_8K),
        (PCM16_24K, "auto", {"type": "audio/pcm", "rate": 24000}, PCM16_24K),
        (PCM16_8K, "auto", {"type": "audio/pcm", "rate": 24000}, PCM16_24K),
        (MULAW_8K, "pcm16", {"type": "audio/pcm", "rate": 24000}, PCM16_24K),
    ],
)
def test_the_leg_passes_through_when_it_can(
    leg: AudioFormat, audio: str, wire: dict[str, Any], expected: AudioFormat
) -> None:
    session = protocol(leg=leg, audio=audio)
    (message,) = session.outgoing()
    sent = client(message)["session"]["audio"]
    assert sent["input"]["format"] == wire
    assert sent["output"]["format"] == wire
    (ready,) = session.receive(server("session.updated", session={"type": "realtime"}))
    assert isinstance(ready, SessionReady)
    assert (ready.input_format, ready.output_format) == (expected, expected)


@pytest.mark.parametrize(
    ("session", "into", "out_of"),
    [
        ({"audio": {"input": {"format": {"type": "audio/pcma"}}}}, ALAW_8K, MULAW_8K),
        ({"audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}}}}, MULAW_8K, PCM16_24K),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}}}, PCM16_8K, MULAW_8K),
        ({"input_audio_format": "pcm16", "output_audio_format": "g711_alaw"}, PCM16_24K, ALAW_8K),
        ({"audio": None}, MULAW_8K, MULAW_8K),
        ({"audio": {"input": "?", "output": {"format": None}}}, MULAW_8K, MULAW_8K),
    ],
)
def test_what_the_server_confirms_is_what_counts(
    session: dict[str, Any], into: AudioFormat, out_of: AudioFormat
) -> None:
    made = protocol()
    made.outgoing()
    (ready,) = made.receive(raw(type="session.updated", session=session))
    assert isinstance(ready, SessionReady)
    assert (ready.input_format, ready.output_format) == (into, out_of)


@pytest.mark.parametrize(
    "format_",
    [{"type": "audio/opus"}, {"type": "audio/pcm", "rate": 44100}, {"type": "audio/pcmu", "rate": 16000}, 5, {}],
)
def test_a_format_that_we_do_not_speak_ends_it_before_any_noise(format_: Any) -> None:
    play = Play(ready=False)
    play.take()
    session = {"audio": {"output": {"format": format_}}}
    play >> raw(type="session.updated", session=session)
    error = next(event for event in play.take() if isinstance(event, SessionClosed)).error
    assert isinstance(error, InvalidConfigError)
    assert "mulaw/8000" in str(error)


def test_a_voice_or_model_that_is_not_as_asked_is_told() -> None:
    session = protocol(model="my-own-model", voice="cedar")
    session.outgoing()
    updated = server("session.updated", session={"type": "realtime", "audio": {"output": {"voice": "alloy"}}})
    _, *warnings = session.receive(updated)
    assert [warning.code for warning in warnings if isinstance(warning, ProviderWarning)] == [
        "unknown_model",
        "voice_changed",
    ]


@pytest.mark.parametrize(
    ("code", "type_", "kind"),
    [
        ("invalid_api_key", "invalid_request_error", AuthenticationFailedError),
        ("unknown_parameter", "invalid_request_error", InvalidConfigError),
        (None, "invalid_request_error", InvalidConfigError),
        ("insufficient_quota", "insufficient_quota", RateLimitedError),
        (None, "server_error", ProviderUnavailableError),
        ("model_not_found", "invalid_request_error", InvalidConfigError),
    ],
)
def test_an_error_before_ready_ends_the_session(code: str | None, type_: str, kind: type[ProviderError]) -> None:
    play = Play(ready=False)
    play.protocol.outgoing()
    play >> failure(code, type_, param="session.audio")
    error = closed_with(play)
    assert type(error) is kind
    assert error.provider == "openai"
    assert "session.audio" in error.message
    assert play.protocol.closed(4000, "whatever") is error
    (play >> server("session.updated", session={"type": "realtime"})).silence()


def test_a_conversation_that_goes_on_is_remembered_before_anything_is_said() -> None:
    history = (HistoryTurn("user", "I am Ada."), HistoryTurn("assistant", "Hello Ada."), HistoryTurn("user", ""))
    play = Play(ready=False, opening=Opening(history))
    play.protocol.outgoing()
    play >> server("session.updated", session={"type": "realtime"})
    _, *items = play.take()
    assert [(item["item"]["role"], item["item"]["content"]) for item in items] == [
        ("user", [{"type": "input_text", "text": "I am Ada."}]),
        ("assistant", [{"type": "output_text", "text": "Hello Ada."}]),
    ]
    assert capabilities(OpenAIOptions(api_key="k")).seeds


# Audio


@pytest.mark.parametrize("size", [1, 2, 3, 159, 160, 161, 4096, 3_000_001])
def test_every_byte_of_caller_audio_is_sent(size: int) -> None:
    play = Play()
    audio = bytes(i * 7 % 256 for i in range(size))
    messages = [client(message) for message in play.protocol.audio(audio)]
    assert {message["type"] for message in messages} == {"input_audio_buffer.append"}
    assert b"".join(base64.b64decode(message["audio"], validate=True) for message in messages) == audio
    assert all(len(message["audio"]) < 15 * 2**20 for message in messages)
    assert play.protocol.audio(b"") == []


def test_voice_passes_as_it_comes() -> None:
    play = Play()
    play >> created("resp_1") << TurnStarted("resp_1")
    play >> voice("resp_1", "item_1", b"abc") << AudioChunk(b"abc", False, "item_1", "resp_1")
    play >> voice("resp_1", "item_1", b"d") << AudioChunk(b"d", False, "item_1", "resp_1")
    (play >> voice("resp_1", "item_1", b"")).silence()
    play >> voice_done("resp_1", "item_1") << AudioChunk(b"", True, "item_1", "resp_1")
    play >> voice("resp_1", "item_2", b"e") << AudioChunk(b"e", False, "item_2", "resp_1")
    play >> done("resp_1") << [AudioChunk(b"", True, "item_2", "resp_1"), TurnEnded("resp_1", "completed")]
    (play >> voice("resp_1", "item_2", b"late")).silence()


def test_old_names_are_read_too() -> None:
    play = Play()
    (
        play
        >> raw(type="response.audio.delta", response_id="r", item_id="i", delta="QUI=")
        << [
            TurnStarted("r"),
            AudioChunk(b"AB", False, "i", "r"),
        ]
    )
    (
        play
        >> raw(type="response.audio.delta", response_id="r", item_id="i", content_index=None, delta="QUI=")
        << [AudioChunk(b"AB", False, "i", "r")]
    )
    play >> raw(type="response.audio.done", response_id="r", item_id="i") << AudioChunk(b"", True, "i", "r")
    play >> raw(type="conversation.item.created", item={"id": "i", "role": "assistant"}) << ItemAdded("i", None, False)


@pytest.mark.parametrize("delta", ["@@@", "QUI", "QUI=\n", "-_-_", 5, ["QUI="], {}])
def test_bad_audio_is_dropped_and_counted(delta: Any) -> None:
    play = Play()
    play >> created("resp_1") << TurnStarted
    play >> raw(type="response.output_audio.delta", response_id="resp_1", item_id="i", delta=delta) << ProviderWarning
    assert play.protocol.bad_audio == 1
    play >> voice("resp_1", "i", b"fine") << AudioChunk(b"fine", False, "i", "resp_1")
