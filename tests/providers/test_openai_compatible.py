"""Servers of one's own: as little as possible taken for granted, and what they do not know left out."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Events
from openai_play import Message, Play, any_client, beta_client, client, created, done, failure, raw, voice

from tandem.simulators.openai import OpenAISimulator
from tandem.simulators.openai_compatible import OpenAICompatibleSimulator
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from tandem_providers.commands import CancelResponse, PlaybackReport, Purpose, Say, SendText, ToolResult
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError, ProviderError, ProviderUnavailableError, RateLimitedError
from tandem_providers.events import (
    AudioChunk,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    ToolCall,
    Transcript,
    TurnEnded,
    TurnStarted,
)
from tandem_providers.openai import OpenAIProtocol, capabilities
from tandem_providers.openai_compatible import OpenAICompatibleOptions
from tandem_providers.provider import Dial, HistoryTurn, Opening
from tandem_providers.table import PATIENCE_SECONDS, OpenAICompatible

URL = "ws://127.0.0.1:8765/v1/realtime"
FRAME = bytes(PCM16_24K.frame_bytes)
CREATE = {"type": "response.create"}
PROBE = {"type": "input_audio_buffer.clear"}
CLEARED = raw(type="input_audio_buffer.cleared")
BETA = {"modalities": ["audio", "text"], "voice": "af_heart", "input_audio_format": "pcm16"}


def play(config: ProcessConfig | None = None, judge: Any = any_client, **options: Any) -> Play:
    return Play(
        config,
        leg=PCM16_24K,
        ready=False,
        kind=OpenAICompatibleOptions,
        judge=judge,
        **{"url": URL, "api_key": "", **options},
    )


def standing(config: ProcessConfig | None = None, **options: Any) -> Play:
    """One whose session stands already."""
    talk = play(config, **options)
    talk >> raw(type="session.created", session={"type": "realtime"})
    talk.take()
    talk >> raw(type="session.updated", session={"type": "realtime"}) << SessionReady
    return talk


def asked(talk: Play) -> Message:
    """The session that was asked for, with what has to be answered behind it."""
    update, probe = talk.take()
    assert update["type"] == "session.update"
    assert probe["type"] == PROBE["type"]
    session: Message = update["session"]
    return session


def refusal(config: ProcessConfig | None = None, **options: Any) -> str:
    options = {"url": URL, **options}
    with pytest.raises(InvalidConfigError) as refused:
        OpenAIProtocol(OpenAICompatibleOptions(**options), config or ProcessConfig(), MULAW_8K, "mine").dial()
    return refused.value.message


# Where and how


def dialled(**options: Any) -> Dial:
    return OpenAIProtocol(OpenAICompatibleOptions(**{"url": URL, **options}), ProcessConfig(), MULAW_8K, "mine").dial()


@pytest.mark.parametrize(
    ("style", "url", "headers"),
    [
        ("bearer", URL, {"Authorization": "Bearer k"}),
        ("Bearer", URL, {"Authorization": "Bearer k"}),
        ("x-api-key", URL, {"X-API-Key": "k"}),
        ("api-key", URL, {"api-key": "k"}),
        ("query", f"{URL}?api_key=k", {}),
        ("none", URL, {}),
    ],
)
def test_a_key_is_sent_in_the_servers_style(style: str, url: str, headers: dict[str, str]) -> None:
    dial = dialled(api_key="k", auth_header=style)
    assert (dial.url, dict(dial.headers)) == (url, headers)


def test_model_and_key_are_only_sent_if_there_are_any() -> None:
    assert dialled() == Dial(URL, {})
    assert dialled(model="my model", url=f"{URL}?duplex=0").url == f"{URL}?duplex=0&model=my+model"
    assert dialled(model="x", url=f"{URL}?model=y").url == f"{URL}?model=y"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"url": ""}, "OPENAI_COMPATIBLE_URL"),
        ({"url": "http://h/"}, "OPENAI_COMPATIBLE_URL"),
        ({"auth_header": "basic"}, "OPENAI_COMPATIBLE_AUTH_HEADER"),
        ({"dialect": "alpha"}, "OPENAI_COMPATIBLE_DIALECT"),
        ({"input_rate": "44100"}, "OPENAI_COMPATIBLE_INPUT_RATE"),
        ({"output_rate": 22050}, "OPENAI_COMPATIBLE_OUTPUT_RATE"),
        ({"audio": "opus"}, "OPENAI_COMPATIBLE_AUDIO"),
        ({"turn_detection": "loud"}, "OPENAI_COMPATIBLE_TURN_DETECTION"),
        ({"api_key": "k\x00"}, "Authorization"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], named: str) -> None:
    assert named in refusal(**options)


def test_temperature_has_a_range() -> None:
    assert "temperature" in refusal(ProcessConfig(temperature=2.1))
    talk = play(ProcessConfig(temperature=0.7), dialect="ga")
    talk >> raw(type="session.created", session={})
    assert talk.take()[0]["session"]["temperature"] == 0.7


@pytest.mark.parametrize(
    ("options", "leg", "into", "out_of"),
    [
        ({}, MULAW_8K, PCM16_24K, PCM16_24K),
        ({"input_rate": 16000}, MULAW_8K, PCM16_16K, PCM16_24K),
        ({"input_rate": "8000", "output_rate": "16000"}, PCM16_24K, PCM16_8K, PCM16_16K),
        ({"audio": "g711"}, MULAW_8K, MULAW_8K, MULAW_8K),
        ({"audio": "g711"}, ALAW_8K, ALAW_8K, ALAW_8K),
        ({"audio": "g711", "input_rate": 16000}, PCM16_24K, PCM16_16K, PCM16_24K),
    ],
)
def test_formats_are_what_the_operator_says(
    options: dict[str, Any], leg: AudioFormat, into: AudioFormat, out_of: AudioFormat
) -> None:
    session = OpenAIProtocol(OpenAICompatibleOptions(url=URL, **options), ProcessConfig(), leg, "mine")
    for first in (raw(type="session.created", session={}), raw(type="session.updated", session={})):
        events = session.receive(first)
    (ready,) = events
    assert isinstance(ready, SessionReady)
    assert (ready.input_format, ready.output_format) == (into, out_of)


def test_nothing_is_promised_that_was_not_said() -> None:
    can = capabilities(OpenAICompatibleOptions(url=URL), "mine")
    assert (can.truncate, can.cancel, can.seeds, can.max_session_seconds) == (False, False, True, None)
    more = capabilities(OpenAICompatibleOptions(url=URL, truncate=True, cancel=True), "mine")
    assert (more.truncate, more.cancel) == (True, True)
    assert OpenAICompatible(url=URL)._ready_seconds == PATIENCE_SECONDS


# The dialect


def test_the_first_event_tells_the_dialect() -> None:
    talk = play()
    assert talk.protocol.outgoing() == []
    talk >> raw(type="session.created", session={"object": "realtime.session", **BETA})
    assert asked(talk) == {
        "modalities": ["text", "audio"],
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 500,
            "create_response": True,
            "interrupt_response": True,
        },
    }
    talk = play(judge=client)
    talk >> raw(type="session.created", session={"audio": {"input": {}}})
    assert asked(talk) == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}},
        },
    }


@pytest.mark.parametrize(
    ("first", "is_beta"),
    [
        (raw(type="session.created", session=None), False),
        (raw(type="session.created"), False),
        (raw(type="session.created", session={"type": "realtime", "voice": "x"}), False),
        (raw(type="session.created", session={"turn_detection": None}), True),
        (raw(type="conversation.created", conversation={"id": "c"}), False),
    ],
)
def test_a_first_event_that_says_little(first: bytes, is_beta: bool) -> None:
    talk = play()
    talk >> first
    assert ("modalities" in asked(talk)) is is_beta
    (talk >> raw(type="session.created", session=BETA)).silence()


@pytest.mark.parametrize(("dialect", "is_beta"), [("ga", False), ("beta", True)])
def test_a_dialect_that_is_said_is_not_waited_for(dialect: str, is_beta: bool) -> None:
    update, _ = map(any_client, play(dialect=dialect).protocol.outgoing())
    assert ("modalities" in update["session"]) is is_beta


def test_everything_in_the_old_dialect() -> None:
    history = (HistoryTurn("user", "I am Ada."), HistoryTurn("assistant", "Hello Ada."))
    config = ProcessConfig(
        instructions="Be kind.",
        functions=[FunctionDeclaration("f")],
        temperature=0.7,
        extensions={"max_output_tokens": 99, "noise_reduction": "near_field", "tool_choice": "auto"},
    )
    talk = play(
        config,
        judge=beta_client,
        opening=Opening(history),
        voice="af_heart",
        transcription_model="whisper-1",
        transcription_language="de",
        speed=1.5,
    )
    talk >> raw(type="session.created", session=BETA)
    session = asked(talk)
    assert session["voice"] == "af_heart"
    assert session["speed"] == 1.5
    assert session["temperature"] == 0.7
    assert session["max_response_output_tokens"] == 99
    assert session["input_audio_noise_reduction"] == {"type": "near_field"}
    assert session["input_audio_transcription"] == {"model": "whisper-1", "language": "de"}
    assert session["tools"][0]["name"] == "f"
    talk >> raw(type="session.updated", session=BETA)
    _, first, second, *others = talk.take()
    assert not others
    assert first["item"]["content"] == [{"type": "input_text", "text": "I am Ada."}]
    assert second["item"]["content"] == [{"type": "text", "text": "Hello Ada."}]
    talk >> SendText("hello")
    item, request = talk.take()
    assert item["item"]["content"] == [{"type": "input_text", "text": "hello"}]
    assert request.keys() == {"type", "event_id"}


def test_a_guess_that_was_wrong_is_put_right() -> None:
    talk = play()
    talk >> raw(type="session.created", session={})
    assert "audio" in asked(talk)
    talk >> failure("unknown_parameter", param="session.type", message="Unknown parameter: 'session.type'.")
    assert "modalities" in asked(talk)
    # The answer to what was asked behind the first attempt says nothing about the second one.
    (talk >> CLEARED).silence()
    talk >> CLEARED << [SessionReady, ProviderWarning]


# When it is ready


def test_a_session_that_is_confirmed_is_ready_at_once() -> None:
    talk = play()
    talk >> raw(type="session.created", session={"type": "realtime"})
    asked(talk)
    talk >> raw(type="session.updated", session={"type": "realtime"}) << SessionReady("openai", PCM16_24K, PCM16_24K)
    (talk >> CLEARED).silence()


@pytest.mark.parametrize(
    "answer",
    [
        CLEARED,
        raw(
            type="error",
            error={"type": "unknown_or_invalid_event", "message": "Unknown or invalid event: input_audio_buffer.clear"},
        ),
        raw(
            type="error",
            error={"type": "invalid_request_error", "code": "invalid_json", "message": "Invalid JSON format"},
        ),
        raw(type="error", error={"message": "what?", "event_id": "tandem_2"}),
    ],
)
def test_a_server_that_never_confirms_is_ready_when_it_has_answered_something_else(answer: bytes) -> None:
    talk = play()
    talk >> raw(type="session.created", session={"type": "realtime", "id": "s"})
    asked(talk)
    talk >> answer << [SessionReady("openai", PCM16_24K, PCM16_24K, "s"), ProviderWarning]


def test_a_late_answer_is_no_news() -> None:
    talk = standing()
    error = {"code": "invalid_json", "message": "Invalid JSON format"}
    (talk >> raw(type="error", error=error)).silence()
    talk >> raw(type="error", error=error) << ProviderWarning


def test_a_server_that_says_nothing_at_all_is_not_ready() -> None:
    talk = play()
    talk >> raw(type="session.created", session={"type": "realtime"})
    asked(talk)
    (talk >> raw(type="rate_limits.updated", rate_limits=[])).silence()
    assert talk.protocol.audio(FRAME) == []


# What it does not take


FULL = ProcessConfig(instructions="Be kind.", extensions={"noise_reduction": "near_field"})


def refused(talk: Play, **fields: Any) -> Any:
    """The next session that is asked for after an error."""
    talk >> raw(type="error", error=fields)
    return asked(talk)


def told(talk: Play) -> list[str]:
    """What is said about it as soon as the session stands."""
    talk >> raw(type="session.updated", session={})
    ready, *warnings = talk.take()
    assert isinstance(ready, SessionReady)
    return [warning.message for warning in warnings if warning.code == "setting_refused"]


@pytest.mark.parametrize(
    ("error", "path"),
    [
        ({"param": "session.audio.input.noise_reduction"}, "audio.input.noise_reduction"),
        ({"param": "audio.input.noise_reduction"}, "audio.input.noise_reduction"),
        ({"message": "Unknown field `noise_reduction`."}, "audio.input.noise_reduction"),
        ({"message": "noise_reduction is not supported"}, "audio.input.noise_reduction"),
        ({"message": "Specifying `session.audio.output.voice` is not supported."}, "audio.output.voice"),
        ({"message": "Unknown parameter: 'session.audio.input.format.rate'."}, "audio.input.format.rate"),
        (
            {"param": "session.audio.input.turn_detection.prefix_padding_ms"},
            "audio.input.turn_detection.prefix_padding_ms",
        ),
        ({"message": "'prefix_padding_ms': extra inputs"}, "audio.input.turn_detection.prefix_padding_ms"),
    ],
)
def test_a_field_that_is_refused_is_left_out_and_told(error: dict[str, str], path: str) -> None:
    talk = play(FULL, dialect="ga", voice="x")
    talk >> raw(type="session.created", session={})
    before = talk.take()[0]["session"]
    after = refused(talk, **{"message": "no", **error})
    (message,) = told(talk)
    assert message.startswith(f"goes without {path}: ")
    *steps, leaf = path.split(".")
    for step in steps:
        before, after = before[step], after[step]
    assert leaf in before
    assert leaf not in after
    assert {key for key in before if key != leaf} == after.keys()


def test_fields_are_refused_one_after_the_other() -> None:
    talk = play(FULL, dialect="ga", voice="x")
    talk >> raw(type="session.created", session={})
    talk.take()
    session = refused(talk, param="session.audio.input.noise_reduction")
    (talk >> raw(type="error", error={"param": "session.audio.input.noise_reduction"})).silence()
    session = refused(talk, param="session.audio.output.voice")
    assert session["audio"]["input"].keys() == {"format", "turn_detection"}
    assert session["audio"]["output"].keys() == {"format"}
    assert session["instructions"] == "Be kind."
    assert len(told(talk)) == 2


def test_what_is_missed_after_it_was_left_out_ends_it() -> None:
    talk = play(FULL, dialect="ga")
    talk >> raw(type="session.created", session={})
    talk.take()
    error = {"param": "session.type", "message": "Unknown parameter: 'session.type'."}
    assert "type" not in refused(talk, **error)
    (talk >> CLEARED).silence()
    talk >> raw(type="error", error={"param": "session.type", "message": "Missing: 'session.type'."})
    assert [type(answer) for answer in talk.take()] == [ProviderWarning, SessionClosed]


def test_a_refusal_that_names_nothing_leaves_out_more_and_more() -> None:
    talk = play(FULL, dialect="ga", voice="x")
    talk >> raw(type="session.created", session={})
    talk.take()
    session = refused(talk, code="session_update_error", message="Failed to update session")
    assert session == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "Be kind.",
        "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}, "output": session["audio"]["output"]},
    }
    session = refused(talk, message="Failed to update session")
    assert session["audio"] == {"input": {}, "output": {}}
    talk >> raw(type="error", error={"message": "Failed to update session"})
    *warnings, closed = talk.take()
    assert len(warnings) == 2
    assert isinstance(closed, SessionClosed)
    assert isinstance(closed.error, InvalidConfigError)


@pytest.mark.parametrize(
    ("config", "options", "param"),
    [
        (ProcessConfig(instructions="x"), {}, "session.instructions"),
        (ProcessConfig(functions=[FunctionDeclaration("f")]), {}, "session.tools"),
        (ProcessConfig(functions=[FunctionDeclaration("f")]), {}, "session.tools[0].parameters"),
        (ProcessConfig(temperature=0.5), {}, "session.temperature"),
        (ProcessConfig(), {"audio": "g711"}, "session.audio.input.format"),
        (ProcessConfig(), {"audio": "g711"}, "session.audio.input.format.type"),
    ],
)
def test_what_was_asked_for_by_name_is_not_left_out(config: ProcessConfig, options: dict[str, Any], param: str) -> None:
    talk = Play(
        config,
        leg=MULAW_8K,
        ready=False,
        kind=OpenAICompatibleOptions,
        judge=any_client,
        url=URL,
        dialect="ga",
        **options,
    )
    talk >> raw(type="session.created", session={})
    talk.take()
    talk >> raw(type="error", error={"param": param, "message": f"Unknown: '{param}'"})
    (closed,) = talk.take()
    assert isinstance(closed, SessionClosed)
    assert isinstance(closed.error, InvalidConfigError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "session_limit_reached", "message": "Only one concurrent session"}, RateLimitedError),
        ({"type": "server_error", "message": "model_load_error"}, ProviderUnavailableError),
    ],
)
def test_errors_about_other_things_end_it(error: dict[str, str], kind: type[ProviderError]) -> None:
    talk = play()
    talk >> raw(type="error", error=error)
    (closed,) = talk.take()
    assert isinstance(closed, SessionClosed)
    assert isinstance(closed.error, kind)


# The session


def test_what_was_not_promised_is_not_sent() -> None:
    talk = standing()
    talk >> created("r1") << TurnStarted
    talk >> voice("r1", "i", FRAME) << AudioChunk
    (talk >> CancelResponse()).silence()
    (talk >> voice("r1", "i", FRAME)).silence()
    (talk >> PlaybackReport("i", "r1", 0, 10, 20)).silence()
    talk >> done("r1", "cancelled") << TurnEnded
    more = standing(truncate=True, cancel=True)
    more >> created("r1") << TurnStarted
    more >> voice("r1", "i", FRAME * 2) << AudioChunk
    (
        more
        >> PlaybackReport("i", "r1", 0, 10, 40)
        << [{"type": "response.cancel"}, {"type": "conversation.item.truncate"}]
    )


def test_no_metadata_is_asked_back_and_none_is_missed() -> None:
    talk = standing(ProcessConfig(instructions="Be kind.", functions=[FunctionDeclaration("f")]))
    talk >> Say(Purpose.GREETING)
    (request,) = talk.take()
    assert request["response"].keys() == {"instructions"}
    talk >> created("r1") << TurnStarted
    talk >> voice("r1", "i", FRAME) << AudioChunk
    talk.listen(30_000).silence()
    talk >> done("r1") << [AudioChunk, TurnEnded]
    talk.listen(20_000).silence()


@pytest.mark.parametrize(
    "word", [{"code": "conversation_already_has_active_response"}, {"type": "conversation_already_has_active_response"}]
)
def test_a_request_that_met_the_servers_own_response_is_made_again(word: dict[str, str]) -> None:
    talk = standing()
    talk >> Say(Purpose.GREETING) << CREATE
    talk >> created("own") << TurnStarted("own")
    talk >> raw(type="error", error={"message": "busy", **word}) << ProviderWarning
    talk >> done("own") << [TurnEnded("own", "completed"), CREATE]
    talk >> created("r2") << TurnStarted("r2")
    talk >> done("r2") << TurnEnded("r2", "completed")
    talk.listen(20_000).silence()


def test_words_that_come_in_finished_pieces_add_up() -> None:
    talk = standing()
    talk >> created("r1") << TurnStarted
    words = {"response_id": "r1", "item_id": "i"}
    name = "response.output_audio_transcript.done"
    talk >> raw(type=name, transcript="Hello.", **words) << Transcript("Hello.", True, False, "i", "r1")
    (
        talk
        >> raw(type=name, transcript="How are you?", **words)
        << Transcript("Hello. How are you?", True, False, "i", "r1")
    )


def test_a_call_by_its_arguments_alone_is_answered() -> None:
    talk = standing(ProcessConfig(functions=[FunctionDeclaration("f")]))
    call = {"response_id": "r1", "call_id": "c", "name": "f", "arguments": "{}"}
    (
        talk
        >> raw(type="response.function_call_arguments.done", **call)
        << [TurnStarted("r1"), ToolCall("c", "f", "{}", "r1")]
    )
    talk >> ToolResult("c", "1")
    talk.take()
    talk.listen(1_000) << [{"type": "conversation.item.create"}, CREATE]


# With simulated servers


async def spoken_with(provider: Any, config: ProcessConfig | None = None) -> Events:
    events = Events()
    async with provider.connect(config or ProcessConfig(), events, leg=MULAW_8K) as session:
        session.send(Say(Purpose.GREETING, "Good day."))
        await events.until(TurnEnded)
    return events


async def test_a_server_of_the_old_kind() -> None:
    async with OpenAICompatibleSimulator(key="k") as simulator:
        events = await spoken_with(OpenAICompatible(url=simulator.url, api_key="k", input_rate=16000))
    assert events.of(SessionReady)[0].input_format == PCM16_16K
    assert events.of(SessionReady)[0].output_format == PCM16_24K
    assert not events.of(ProviderWarning)
    assert events.of(Transcript)[-1].text == "Good day."
    assert PCM16_24K.milliseconds(len(events.audio())) > 300


@pytest.mark.parametrize(
    "fault", ["unconfirmed", "refuse-field=turn_detection.prefix_padding_ms", "refuse-field=input_audio_format"]
)
async def test_a_server_that_knows_even_less(fault: str) -> None:
    async with OpenAICompatibleSimulator(faults=[fault]) as simulator:
        events = await spoken_with(OpenAICompatible(url=simulator.url, input_rate=16000))
        session = await simulator.session(1)
    (warning,) = events.of(ProviderWarning)
    assert warning.code == ("session_unconfirmed" if fault == "unconfirmed" else "setting_refused")
    assert events.of(TurnEnded)[0].status == "completed"
    assert not session.record.events("input_audio_buffer.committed")


@pytest.mark.parametrize("faults", [[], ["unconfirmed"]])
async def test_openais_own_protocol_is_compatible_with_itself(faults: list[str]) -> None:
    async with OpenAISimulator(faults=faults) as simulator:
        provider = OpenAICompatible(url=simulator.url, api_key="k", model="any", audio="g711")
        events = await spoken_with(provider, ProcessConfig(instructions="Be kind."))
    assert events.of(SessionReady)[0].input_format == MULAW_8K
    assert [warning.code for warning in events.of(ProviderWarning)] == (["session_unconfirmed"] if faults else [])
    assert MULAW_8K.milliseconds(len(events.audio())) > 300
