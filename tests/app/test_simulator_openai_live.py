"""The simulated OpenAI Live server, met by the vendor's own client and by a plain one."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.resources.live.live import AsyncLiveConnection
from openai_live_dialogue import AUDIO, DELEGATION, TOOL, LiveDialogue, heard, nested, of, said, sound, validate
from sounds import hum, level_db, loud_ms, silence
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tandem.simulators.openai_live import OpenAILiveSimulator, serve
from tandem.simulators.openai_live_schema import VOICES
from tandem.simulators.openai_live_script import OpenAILiveOptions
from tandem.simulators.openai_script import Reply
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_16K, PCM16_24K, AudioFormat

SPEECH = hum(300, 600)
SAY = 'Say exactly the following now: "Good day to you."'


# --- the vendor's own client ------------------------------------------------------------------------------------------


@asynccontextmanager
async def vendor(simulator: OpenAILiveSimulator, **session: Any) -> AsyncIterator[AsyncLiveConnection]:
    """The vendor's own client, its session started; afterwards everything that was sent to it is checked."""
    asked: Any = {"model": "gpt-live-1", **session}
    async with (
        AsyncOpenAI(api_key="sk-test", websocket_base_url=simulator.base_url) as client,
        client.live.connect() as connection,
    ):
        await connection.session.start(session=asked)
        assert (await connection.recv()).type == "session.started"
        yield connection
    for session_ in simulator.sessions:
        for event in session_.record.events():
            validate(event)


async def until(connection: AsyncLiveConnection, kind: str) -> Any:
    async for event in connection:
        if event.type == kind:
            return event
    raise AssertionError(f"the connection ended before any {kind}")


async def test_the_vendors_client_is_greeted() -> None:
    async with OpenAILiveSimulator(pace=20.0) as simulator, vendor(simulator, audio=AUDIO) as connection:
        await connection.session.commentary.append(content=SAY, delegation_id=None, event_id="mine")
        assert (await until(connection, "session.commentary.appended")).client_event_id == "mine"
        text = ""
        while text != "Good day to you.":
            text += (await until(connection, "session.output_transcript.delta")).delta
        await connection.session.close()
        closed = await until(connection, "session.closed")
        assert closed.reason == "close_requested"
        assert closed.usage.seconds >= 0


async def test_the_vendors_client_answers_a_function_call() -> None:
    script = ["call weather {}", "It is sunny."]
    async with (
        OpenAILiveSimulator(pace=20.0, script=script) as simulator,
        vendor(simulator, audio=AUDIO, delegation=DELEGATION) as connection,
    ):
        await connection.session.input_audio.append(audio=base64.b64encode(SPEECH + silence(600)).decode())
        assert (await until(connection, "session.delegation.created")).delegation.target == "responses"
        call: Any = None
        while call is None or call["type"] != "response.completed":
            event = (await until(connection, "response.event")).event
            if event["type"] == "response.output_item.done":
                item = event["item"]
            call = event
        assert item["name"] == "weather"
        await connection.response.item.create(
            item={"type": "function_call_output", "call_id": item["call_id"], "output": "sunny"}
        )
        await connection.response.create()
        assert (await until(connection, "session.output_transcript.delta")).delta == "It"


async def test_the_vendors_client_mutes_and_instructs() -> None:
    async with OpenAILiveSimulator(pace=20.0) as simulator, vendor(simulator, audio=AUDIO) as connection:
        await connection.session.input_audio.mute()
        await until(connection, "session.input_audio.muted")
        await connection.session.input_audio.unmute()
        await until(connection, "session.input_audio.unmuted")
        await connection.session.instructions.append(content="Be brief.", delegation_id=None)
        await until(connection, "session.instructions.appended")
        await connection.session.thinking.append(content="It is late.", delegation_id=None)
        await until(connection, "session.thinking.appended")
        await connection.session.update(session={"delegation": {"type": "client"}})
        await until(connection, "session.updated")


# --- the door ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "key", "status"), [("?model=gpt-live-1", "sk", 400), ("/attach", "sk", 404), ("", "", 401)]
)
async def test_the_door(changed: str, key: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with OpenAILiveSimulator() as simulator:
        with pytest.raises(InvalidStatus) as refusal:
            async with connect(simulator.url + changed, additional_headers=headers):
                pass
        assert refusal.value.response.status_code == status


async def test_only_one_key_is_good() -> None:
    async with (
        OpenAILiveSimulator(key="sk-good", key_refusal="late") as simulator,
        connect(simulator.url, additional_headers={"Authorization": "Bearer sk-bad"}) as socket,
    ):
        assert "invalid_api_key" in str(await socket.recv())
        await socket.wait_closed()
        assert socket.close_code == 3000


async def test_it_serves_until_cancelled() -> None:
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    reports: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(
            serve("127.0.0.1", 0, on_listening=url.set_result, on_report=reports.append, pace=10.0)
        )
        async with connect(await url, additional_headers={"Authorization": "Bearer sk"}) as socket:
            await socket.send('{"type":"session.start","session":{"model":"gpt-live-1"}}')
            await socket.recv()
        serving.cancel()
    assert reports[0].startswith("session 1: ")


# --- starting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("session.input_audio.append", {"audio": ""}),
        ("session.commentary.append", {"content": "x", "delegation_id": None}),
        ("session.close", {}),
        ("session.start", {"session": {}}),
        ("session.start", {"session": {"model": "gpt-live-1", "instructions": None}}),
        ("session.start", {"session": {"model": "gpt-live-1", "mood": "good"}}),
        ("session.start", {"session": {"model": "gpt-live-1", "audio": {"format": {"type": "audio/pcmu"}}}}),
        ("session.start", {"session": {"model": "gpt-live-1", "instructions": "word " * 20_000}}),
        ("session.start", {"session": {"model": "gpt-realtime-2.1"}}),
        ("nonsense", {}),
    ],
)
def test_what_comes_in_place_of_a_good_start_is_refused_and_the_connection_cut(kind: str, fields: Any) -> None:
    talk = LiveDialogue(started=False)
    assert talk.refusal(kind, **fields)["type"] == "invalid_request_error"
    assert talk.wait(1.9) == []
    assert not talk.is_cut
    talk.wait(0.2)
    assert talk.is_cut


@pytest.mark.parametrize(
    ("format_", "spoken"),
    [
        ({"type": "audio/pcmu", "rate": 8000}, MULAW_8K),
        ({"type": "audio/pcma", "rate": 8000}, ALAW_8K),
        ({"type": "audio/pcm", "rate": 16000}, PCM16_16K),
        ({"type": "audio/pcm", "rate": 24000}, PCM16_24K),
    ],
)
def test_audio_comes_for_ever_and_is_silence_at_first(format_: Any, spoken: AudioFormat) -> None:
    talk = LiveDialogue(started=False)
    talk.start(audio={"format": format_})
    events = talk.wait(10.0)
    deltas = of(events, "session.output_audio.delta")
    assert len(deltas) == 100
    assert sound(events) == spoken.silence(10_000)
    assert "event_id" in of(events, "session.usage.updated")[0]
    assert len(of(talk.wait(60.0), "session.output_audio.delta")) == 600


def test_the_session_as_it_is_told() -> None:
    talk = LiveDialogue(started=False)
    history = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
    session = talk.start(instructions="Be brief.", input=history, store=False)
    assert session["status"] == "active"
    assert session["id"].startswith("live_")
    assert session["expires_at"] == 1e9 + 3600
    assert talk.refusal("session.start", session={"model": "gpt-live-1"})["code"] == "session_already_started"
    assert "marin" in VOICES


def test_a_history_has_its_limits() -> None:
    message = {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    long = {"role": "assistant", "content": [{"type": "output_text", "text": "word " * 9000}]}
    two = {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}
    for history in ([message] * 129, [long], [two]):
        talk = LiveDialogue(started=False)
        refusal = talk.refusal("session.start", session={"model": "gpt-live-1", "input": history})
        assert refusal["param"].startswith("session.input")
    LiveDialogue(started=False).start(input=[message] * 128)


# --- speaking ---------------------------------------------------------------------------------------------------------


def test_a_commentary_is_spoken_in_its_very_words() -> None:
    talk = LiveDialogue(seconds=1.0)
    talk.wait(1.0)
    (appended,) = talk.comment(SAY)
    assert appended["type"] == "session.commentary.appended"
    assert appended["start_ms"] == appended["end_ms"] == 1000
    events = talk.wait(3.0)
    assert said(events) == "Good day to you."
    start, end = loud_ms(sound(events))
    assert start == pytest.approx(300, abs=5)
    assert end == pytest.approx(1300, abs=5)
    assert level_db(sound(events)[MULAW_8K.size(400) : MULAW_8K.size(1200)], 440) > -3
    words = of(events, "session.output_transcript.delta")
    assert words[0]["start_ms"] == 1300
    assert words[-1]["end_ms"] == 2300
    assert all(one["end_ms"] == other["start_ms"] for one, other in itertools.pairwise(words))


def test_one_thing_is_said_after_the_other() -> None:
    talk = LiveDialogue(seconds=0.5, script=["First.", "Second."])
    talk.comment("Greet the caller.")
    talk.comment("Ask something.")
    assert said(talk.wait(3.0)) == "First.Second."
    assert talk.engine.record.responses == 2


def test_instructions_and_thoughts_are_not_spoken() -> None:
    talk = LiveDialogue()
    for kind in ("instructions", "thinking"):
        (appended,) = talk.say(f"session.{kind}.append", content="Be kind.", delegation_id=None)
        assert appended["type"] == f"session.{kind}.appended"
    assert not said(talk.wait(5.0))


def test_an_append_has_its_limits_and_the_session_survives() -> None:
    talk = LiveDialogue()
    refusal = talk.refusal("session.commentary.append", content="word " * 600, delegation_id=None)
    assert (refusal["code"], refusal["param"]) == ("max_tokens_exceeded", "content")
    assert talk.refusal("session.commentary.append", content="x")["code"] == "missing_required_parameter"
    assert talk.refusal("session.commentary.append", content="x", delegation_id="d")["param"] == "delegation_id"
    assert said(talk.comment(SAY) + talk.wait(5.0))


# --- hearing ----------------------------------------------------------------------------------------------------------


def test_the_caller_is_heard_and_answered() -> None:
    talk = LiveDialogue(script=["It is noon."], transcripts=["What time is it?"], seconds=1.0)
    events = talk.hears(silence(1000) + SPEECH + silence(2500))
    assert heard(events) == "What time is it?"
    assert said(events) == "It is noon."
    words = of(events, "session.input_transcript.delta")
    assert words[0]["start_ms"] == pytest.approx(700, abs=60)
    assert words[-1]["end_ms"] == pytest.approx(1600, abs=60)
    assert not [event for event in events if "done" in event["type"] or "turn" in event["type"]]


def test_it_stops_when_the_caller_talks_and_nothing_of_it_comes_later() -> None:
    talk = LiveDialogue(script=["A long story.", "Yes?"], seconds=5.0)
    talk.comment("Tell a story.")
    talk.hears(silence(1000))
    events = talk.hears(SPEECH)
    tail = sound(events)[-MULAW_8K.size(400) :]
    assert tail == MULAW_8K.silence(400)
    assert "story" not in said(talk.hears(silence(3000)))


def test_half_a_sample_is_refused() -> None:
    talk = LiveDialogue(started=False)
    talk.start(audio={"format": {"type": "audio/pcm", "rate": 24000}})
    for audio in ("AAA=", "@@"):
        code = "invalid_value"
        assert talk.refusal("session.input_audio.append", audio=base64.b64encode(b"abc").decode())["code"] == code
        if audio == "@@":
            assert talk.refusal("session.input_audio.append", audio=audio)["code"] == code


def test_a_muted_caller_is_not_heard() -> None:
    talk = LiveDialogue()
    talk.say("session.input_audio.mute")
    assert not heard(talk.hears(SPEECH + silence(1000)))
    talk.say("session.input_audio.unmute")
    assert heard(talk.hears(SPEECH + silence(1000)))


def test_an_echo_says_what_it_heard() -> None:
    talk = LiveDialogue(voice="echo", script=[Reply("Echo.")])
    events = talk.hears(SPEECH + silence(3000))
    start, end = loud_ms(sound(events))
    assert end - start == pytest.approx(600, abs=60)


# --- work handed over -------------------------------------------------------------------------------------------------


def calling(script: list[Any], **options: Any) -> tuple[LiveDialogue, str]:
    """A session whose model has called a function; the call's id."""
    talk = LiveDialogue(started=False, script=script, **options)
    talk.start(delegation=DELEGATION)
    events = talk.comment("Look something up.") + talk.wait(3.0)
    (created,) = of(events, "session.delegation.created")
    assert created["delegation"]["target"] == "responses"
    (item,) = nested(events, "response.output_item.done")
    assert item["item"]["name"] == "weather"
    assert nested(events, "response.completed")
    call_id: str = item["item"]["call_id"]
    return talk, call_id


def result(call_id: str, output: str = "sunny") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def test_a_function_is_called_and_its_result_spoken_about() -> None:
    talk, call_id = calling(["call weather {}", "It is sunny."])
    assert talk.refusal("response.create")["code"] == "function_call_outputs_required"
    assert talk.refusal("response.item.create", item=result("other"))["code"] == "invalid_value"
    assert talk.say("response.item.create", item=result(call_id)) == []
    events = talk.say("response.create") + talk.wait(3.0)
    assert nested(events, "response.completed")
    assert said(events) == "It is sunny."
    assert talk.refusal("response.create")["code"] == "invalid_request"


def test_while_a_result_is_awaited_the_caller_is_not_answered() -> None:
    talk, call_id = calling(["call weather {}", "It is sunny.", "What else?"])
    events = talk.hears(SPEECH + silence(2000))
    assert heard(events)
    assert not said(events)
    talk.say("response.item.create", item=result(call_id))
    assert said(talk.say("response.create") + talk.wait(3.0)) == "It is sunny."


def test_too_much_for_a_session_strands_the_call() -> None:
    talk, call_id = calling(["call weather {}"])
    full = talk.refusal("response.item.create", item=result(call_id, "x" * 32_769))
    assert full["code"] == "response_input_buffer_full"
    assert talk.refusal("response.create")["code"] == "function_call_outputs_required"


def test_words_first_and_then_the_work() -> None:
    talk = LiveDialogue(started=False, script=[Reply("One moment.", Reply().calls)], seconds=0.5)
    talk.start(delegation=DELEGATION)
    assert said(talk.comment("Go.") + talk.wait(2.0)) == "One moment."


def test_without_a_model_behind_it_the_client_does_the_work() -> None:
    talk = LiveDialogue(script=["call weather {}", "I can't look that up."])
    events = talk.comment("Look something up.") + talk.wait(2.0)
    (created,) = of(events, "session.delegation.created")
    assert created["delegation"]["target"] == "client"
    assert talk.refusal("response.create")["code"] == "invalid_request"
    events = talk.comment("Nothing can be looked up.", created["delegation"]["id"]) + talk.wait(5.0)
    assert said(events) == "I can't look that up."


def test_settings_of_the_model_behind_it_can_change_but_not_who_it_is() -> None:
    talk = LiveDialogue(started=False)
    talk.start(delegation=DELEGATION)
    change = {"type": "responses", "responses": {"tools": [{**TOOL, "name": "time"}]}}
    (updated,) = talk.say("session.update", session={"delegation": change})
    assert updated["session"]["delegation"]["responses"]["tools"][0]["name"] == "time"
    refusal = talk.refusal("session.update", session={"delegation": {"type": "client"}})
    assert refusal["code"] == "immutable_field"


# --- accounts and the end ---------------------------------------------------------------------------------------------


def test_the_cost_so_far_is_told_again_and_again() -> None:
    talk = LiveDialogue(usage_seconds=2.0)
    told = [event["usage"]["seconds"] for event in of(talk.wait(9.0), "session.usage.updated")]
    assert told == pytest.approx([2, 4, 6, 8], abs=1)
    assert told == sorted(told)


def test_a_session_is_closed_on_request() -> None:
    talk = LiveDialogue()
    talk.wait(3.0)
    (closed,) = talk.say("session.close")
    assert (closed["type"], closed["reason"], closed["usage"]["seconds"]) == ("session.closed", "close_requested", 3)
    assert talk.closed is not None
    assert talk.closed.code == 1000
    assert talk.wait(5.0) == []


def test_a_session_expires() -> None:
    talk = LiveDialogue(session_seconds=10.0)
    assert of(talk.wait(11.0), "session.closed")[0]["reason"] == "expired"


@pytest.mark.parametrize("message", [b"{}", "", "[]", "7", "{"])
def test_nonsense_is_refused(message: bytes | str) -> None:
    talk = LiveDialogue()
    actions = talk.engine.receive(message, talk.now)
    assert len(actions) == 1
    assert b'"error"' in actions[0].text  # type: ignore[union-attr]  # it is one to be sent


def test_options_that_make_no_sense() -> None:
    wrong: Any
    for wrong in ({"usage_seconds": 0.0}, {"abort_seconds": -1.0}, {"pace": 0.0}, {"latency": -1.0}):
        with pytest.raises(ValueError, match=r"."):
            OpenAILiveOptions(**wrong)
    with pytest.raises(ValueError, match="voice"):
        OpenAILiveSimulator(voice="tone:9000")
