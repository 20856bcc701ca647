"""Each fault of the simulated OpenAI Live, as a client meets it."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from openai_live_dialogue import AUDIO, DELEGATION, LiveDialogue, heard, nested, of, said, sound
from sounds import hum, loud_ms, silence
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tandem.simulators.faults import FAULTS
from tandem.simulators.openai_live import OpenAILiveSimulator
from tandem.simulators.openai_outlet import UNKNOWN_EVENTS
from tandem_codecs.format import MULAW_8K

HEADERS = {"Authorization": "Bearer sk-test"}
START = json.dumps({"type": "session.start", "session": {"model": "gpt-live-1", "audio": AUDIO}})
SPEECH = hum(300, 600) + silence(3000)


def speaking(*, fault: str, value: str = "") -> LiveDialogue:
    talk = LiveDialogue({fault: value}, seconds=1.0)
    talk.comment("Speak.")
    return talk


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_refuse(status: int) -> None:
    async with OpenAILiveSimulator(faults=[f"refuse={status}*1", "retry-after=7"]) as simulator:
        with pytest.raises(InvalidStatus) as refusal:
            async with connect(simulator.url, additional_headers=HEADERS):
                pass
        assert refusal.value.response.status_code == status
        assert refusal.value.response.headers["Retry-After"] == "7"
        async with connect(simulator.url, additional_headers=HEADERS) as socket:
            await socket.send(START)
            assert "session.started" in str(await socket.recv())


@pytest.mark.parametrize(
    ("fault", "code"), [("close-on-connect=1013", 1013), ("close-after-ready=1012", 1012), ("invalid-key-late", 3000)]
)
async def test_closes(fault: str, code: int) -> None:
    async with OpenAILiveSimulator(faults=[fault]) as simulator:
        async with connect(simulator.url, additional_headers=HEADERS) as socket:
            with suppress(ConnectionClosed):
                await socket.send(START)
            await socket.wait_closed()
        assert socket.close_code == code


async def test_silent() -> None:
    async with (
        OpenAILiveSimulator(faults=["silent"]) as simulator,
        connect(simulator.url, additional_headers=HEADERS) as socket,
    ):
        await socket.send(START)
        await (await socket.ping())  # a pong proves that the message before it was read
        await socket.close()
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_an_error_in_place_of_a_session_ends_in_a_broken_connection() -> None:
    async with (
        OpenAILiveSimulator(faults=["quota=connect"], abort_seconds=0.01) as simulator,
        connect(simulator.url, additional_headers=HEADERS) as socket,
    ):
        await socket.send(START)
        error = json.loads(await socket.recv())["error"]
        assert error["code"] == "credit_balance_exhausted"
        with pytest.raises(ConnectionClosed) as end:
            await socket.recv()
        assert end.value.rcvd is None


def test_silent_after_ready() -> None:
    assert speaking(fault="silent-after-ready").wait(10.0) == []


def test_no_answer() -> None:
    talk = LiveDialogue({"no-answer": ""})
    talk.comment("Speak.")
    events = talk.hears(SPEECH)
    assert heard(events)
    assert not said(events)
    assert sound(events)


def test_close_mid_response() -> None:
    talk = speaking(fault="close-mid-response", value="1011")
    start, end = loud_ms(sound(talk.wait(3.0)))
    assert end - start == pytest.approx(100, abs=5)
    assert talk.closed is not None
    assert talk.closed.code == 1011


def test_cut() -> None:
    talk = speaking(fault="cut")
    talk.wait(3.0)
    assert talk.is_cut


@pytest.mark.parametrize(("fault", "factor"), [("burst", 10.0), ("slow", 0.5)])
def test_paces(fault: str, factor: float) -> None:
    talk = LiveDialogue({fault: str(factor)})
    assert len(sound(talk.wait(10.0))) == pytest.approx(MULAW_8K.size(10_000 * factor), rel=0.02)


def test_odd_deltas() -> None:
    talk = LiveDialogue({"odd-deltas": ""}, started=False)
    talk.start(audio={"format": {"type": "audio/pcm", "rate": 24000}})
    events = talk.wait(2.0)
    assert [len(sound([event])) % 2 for event in of(events, "session.output_audio.delta")[:4]] == [1, 1, 1, 1]
    assert len(sound(events)) == 2 * 48_000


def test_unknown_events() -> None:
    talk = LiveDialogue({"unknown-events": ""})
    talk.wait(1.0)
    strange = [event for event in talk.engine.record.events() if event["type"] in UNKNOWN_EVENTS]
    assert len(strange) >= 10


def test_late_deltas() -> None:
    loud = []
    for faults in ({}, {"late-deltas": ""}):
        talk = LiveDialogue(dict(faults), seconds=5.0)
        talk.comment("Tell a story.")
        talk.hears(silence(1000))
        start, end = loud_ms(sound(talk.hears(SPEECH[: MULAW_8K.size(600)])))
        loud.append(end - start)
    assert loud[1] - loud[0] == pytest.approx(300, abs=110)


def test_duplicate_tool_calls() -> None:
    talk = LiveDialogue({"duplicate-tool-calls": ""}, started=False, script=["call weather {}"])
    talk.start(delegation=DELEGATION)
    one, other = nested(talk.comment("Go.") + talk.wait(2.0), "response.output_item.done")
    assert one["item"] == other["item"]


def test_bad_json() -> None:
    talk = LiveDialogue({"bad-json": ""}, started=False)
    with pytest.raises(json.JSONDecodeError):
        talk.start()


def test_bad_base64() -> None:
    talk = speaking(fault="bad-base64")
    deltas = of(talk.wait(3.0), "session.output_audio.delta")
    assert sum("@" in delta["delta"] for delta in deltas) == 1


def test_session_expired() -> None:
    talk = LiveDialogue({"session-expired": "2"})
    assert talk.session["expires_at"] == 1e9 + 2
    assert of(talk.wait(3.0), "session.closed")[0]["reason"] == "expired"


def test_transcription_failed() -> None:
    events = LiveDialogue({"transcription-failed": ""}).hears(SPEECH)
    assert not heard(events)
    assert said(events)


def test_quota_in_the_middle() -> None:
    talk = LiveDialogue({"quota": "response"})
    assert of(talk.comment("Speak."), "error")[0]["error"]["code"] == "insufficient_quota"


@pytest.mark.parametrize(
    ("fault", "code"),
    [("rate-limited-response", "rate_limit_exceeded"), ("model-not-found", "model_not_found")],
)
def test_responses_that_fail(fault: str, code: str) -> None:
    talk = LiveDialogue({fault: ""}, started=False, script=["call weather {}", "Sorry."])
    talk.start(delegation=DELEGATION)
    events = talk.comment("Go.") + talk.wait(4.0)
    (failed,) = nested(events, "response.failed")
    assert failed["response"]["error"]["code"] == code
    assert said(events) == "Sorry."


def test_wrong_format() -> None:
    for asked, confirmed in (("audio/pcmu", "audio/pcma"), ("audio/pcma", "audio/pcmu")):
        talk = LiveDialogue({"wrong-format": ""}, started=False)
        session = talk.start(audio={"format": {"type": asked, "rate": 8000}})
        assert session["audio"]["format"]["type"] == confirmed


def test_every_fault_there_is_is_taken() -> None:
    OpenAILiveSimulator(
        faults=[name if kind.value is None or kind.default else f"{name}=1" for name, kind in FAULTS.items()]
    )
