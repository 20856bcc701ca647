"""The embedded provider as a script: what the caller does, and what it answers, to the byte."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tandem
from tandem_codecs.format import FRAME_MS, MULAW_8K, PCM16_24K
from tandem_codecs.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from tandem_providers.commands import (
    CancelResponse,
    Command,
    CommitTurn,
    PlaybackReport,
    Purpose,
    Say,
    SendDtmf,
    SendText,
    ToolResult,
)
from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.detector import TurnDetector
from tandem_providers.echo import CHUNK_MS, PRE_ROLL_MS, Echo, EchoAgent, EchoOptions, EchoSession
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import (
    AudioChunk,
    Event,
    ItemAdded,
    ProviderWarning,
    SessionClosed,
    SessionReady,
    Transcript,
    TurnEnded,
    TurnStarted,
    UserSpeechStarted,
    UserSpeechStopped,
)
from tandem_providers.options import option_infos
from tandem_providers.prompts import PromptName, prompt
from tandem_providers.provider import Provider, Session

SPEECH = Path(tandem.__file__).parent / "simulators/speech"
FRAME = MULAW_8K.frame_bytes
SILENCE = MULAW_8K.silence(1000)


def phrase(name: str) -> bytes:
    return (SPEECH / f"{name}.ulaw").read_bytes()


def frames(audio: bytes) -> Iterator[bytes]:
    return (audio[at : at + FRAME] for at in range(0, len(audio), FRAME))


def told(agent: EchoAgent, *commands: Command) -> list[Event]:
    events: list[Event] = []
    for command in commands:
        agent.command(command)
        events += agent.events()
    return events


def spoken_to(agent: EchoAgent, audio: bytes, piece: int = FRAME) -> list[Event]:
    events: list[Event] = []
    for at in range(0, len(audio), piece):
        agent.audio(audio[at : at + piece])
        events += agent.events()
    return events


def shape(events: list[Event]) -> str:
    """The kinds in order, runs of audio as one."""
    names: list[str] = []
    for event in events:
        name = type(event).__name__
        if isinstance(event, Transcript | ItemAdded):
            name += "(caller)" if event.is_input else "(agent)"
        if isinstance(event, TurnEnded):
            name += f"({event.status})"
        if name != "AudioChunk" or names[-1:] != ["AudioChunk"]:
            names.append(name)
    return " ".join(names)


def audio_of(events: list[Event]) -> bytes:
    return b"".join(event.audio for event in events if isinstance(event, AudioChunk))


def only(kind: type[Any], events: list[Event]) -> Any:
    found = [event for event in events if isinstance(event, kind)]
    assert len(found) == 1, found
    return found[0]


AGENT_TURN = "TurnStarted ItemAdded(agent) Transcript(agent) AudioChunk TurnEnded(completed)"
REPEAT = f"UserSpeechStarted UserSpeechStopped ItemAdded(caller) Transcript(caller) {AGENT_TURN}"

# --- what the bridge asks it to say


@pytest.mark.parametrize(
    ("purpose", "name"),
    [(Purpose.GREETING, "greeting"), (Purpose.STILL_THERE, "still-there"), (Purpose.GOODBYE, "goodbye")],
)
def test_says_the_prompt_for_each_purpose(purpose: Purpose, name: PromptName) -> None:
    events = told(EchoAgent(), Say(purpose))
    assert shape(events) == AGENT_TURN
    assert audio_of(events) == prompt(name).audio
    assert only(Transcript, events).text == prompt(name).text
    assert only(Transcript, events).role == "assistant"


def test_audio_comes_in_pieces_like_a_vendors_the_last_one_marked() -> None:
    events = told(EchoAgent(), Say(Purpose.GREETING))
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    assert all(0 < len(chunk.audio) <= MULAW_8K.size(CHUNK_MS) for chunk in chunks)
    assert [chunk.is_final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    item, turn = only(ItemAdded, events).item_id, only(TurnStarted, events).turn_id
    assert {(chunk.item_id, chunk.turn_id) for chunk in chunks} == {(item, turn)}
    assert only(TurnEnded, events).turn_id == turn
    assert (only(Transcript, events).item_id, only(Transcript, events).turn_id) == (item, turn)


def test_text_that_it_can_not_speak_is_warned_of_and_the_prompt_played() -> None:
    events = told(EchoAgent(), Say(Purpose.GREETING, "Welcome to the dentist."))
    assert shape(events) == f"ProviderWarning {AGENT_TURN}"
    assert audio_of(events) == prompt("greeting").audio
    assert shape(told(EchoAgent(), Say(Purpose.GREETING, prompt("greeting").text))) == AGENT_TURN


def test_two_things_to_say_are_said_one_after_the_other() -> None:
    agent = EchoAgent()
    events = told(agent, Say(Purpose.GREETING), Say(Purpose.STILL_THERE))
    assert shape(events) == f"{AGENT_TURN} {AGENT_TURN}"
    first, second = (event for event in events if isinstance(event, ItemAdded))
    assert first.after is None
    assert second.after == first.item_id


# --- repeating


@pytest.mark.parametrize("name", ["hello", "opening-hours", "long", "wait", "goodbye"])
def test_repeats_a_turn_to_the_byte_with_pre_roll_and_nothing_clipped(name: str) -> None:
    said = phrase(name)
    line = SILENCE + said + SILENCE
    events = spoken_to(EchoAgent(), line)
    assert shape(events) == REPEAT
    repeated = audio_of(events)
    assert said in repeated
    begin = line.index(repeated)
    started = only(UserSpeechStarted, events)
    assert begin == MULAW_8K.size(started.at_ms - PRE_ROLL_MS)
    assert begin <= len(SILENCE) - MULAW_8K.size(100)


@pytest.mark.parametrize("snr", [20, 10])
def test_turn_in_noise_is_repeated_whole(snr: int) -> None:
    clean = SILENCE * 2 + phrase("hello") + SILENCE + phrase("opening-hours") + SILENCE
    samples = np.frombuffer(mulaw_to_pcm16(clean), dtype="<i2")
    hiss = np.random.default_rng(7).standard_normal(len(samples)) * 3277 * 10 ** (-snr / 20)  # speech is at -20 dBFS
    line = pcm16_to_mulaw(np.clip(samples + hiss, -32768, 32767).astype("<i2").tobytes())
    events = spoken_to(EchoAgent(), line)
    assert shape(events) == f"{REPEAT} {REPEAT}"
    repeated = audio_of(events)
    for name in ("hello", "opening-hours"):
        begin = clean.index(phrase(name))
        assert line[begin : begin + len(phrase(name))] in repeated


def test_answer_starts_within_600_ms_of_the_end_of_speech() -> None:
    for name in ("hello", "opening-hours", "long", "wait", "goodbye"):
        agent = EchoAgent()
        assert AudioChunk not in map(type, spoken_to(agent, SILENCE + phrase(name)))
        waited = 0
        while AudioChunk not in map(type, spoken_to(agent, MULAW_8K.silence(FRAME_MS))):
            waited += FRAME_MS
        assert waited + FRAME_MS <= 520


def test_the_conversation_is_told_in_order_and_honestly() -> None:
    events = spoken_to(EchoAgent(), SILENCE + phrase("hello") + SILENCE)
    started, stopped = only(UserSpeechStarted, events), only(UserSpeechStopped, events)
    caller, agent = (event for event in events if isinstance(event, ItemAdded))
    assert started.item_id == stopped.item_id == caller.item_id
    assert (caller.after, agent.after) == (None, caller.item_id)
    seconds = f"{MULAW_8K.milliseconds(len(audio_of(events))) / 1000:.1f} s"
    texts = [(event.role, event.text) for event in events if isinstance(event, Transcript)]
    assert texts == [("user", f"(speech of {seconds})"), ("assistant", f"(repeats your {seconds})")]
    assert started.at_ms < stopped.at_ms <= 1000 + MULAW_8K.milliseconds(len(phrase("hello")))


def test_two_turns_are_two_repeats() -> None:
    line = SILENCE + phrase("hello") + SILENCE + phrase("goodbye") + SILENCE
    events = spoken_to(EchoAgent(), line)
    assert shape(events) == f"{REPEAT} {REPEAT}"
    half = next(i for i, event in enumerate(events) if isinstance(event, TurnEnded)) + 1
    assert phrase("hello") in audio_of(events[:half])
    assert phrase("goodbye") in audio_of(events[half:])
    assert phrase("goodbye")[800:] not in audio_of(events[:half])


def test_turn_right_at_the_start_of_the_call_is_repeated_whole() -> None:
    said = phrase("opening-hours")
    assert said in audio_of(spoken_to(EchoAgent(), said + SILENCE))


def test_turn_right_after_the_last_one_is_repeated_whole() -> None:
    """It begins in the very frames in which the detector decides that the first is over."""
    for gap in range(400, 620, 20):
        line = SILENCE + phrase("hello") + MULAW_8K.silence(gap) + phrase("opening-hours") + SILENCE
        repeated = audio_of(spoken_to(EchoAgent(), line))
        assert phrase("hello") in repeated
        assert phrase("opening-hours") in repeated


def test_long_silence_is_not_kept() -> None:
    agent = EchoAgent()
    assert spoken_to(agent, SILENCE * 60) == []
    assert len(agent._heard) <= 3 * len(SILENCE)
    events = spoken_to(agent, phrase("hello") + SILENCE)
    assert phrase("hello") in audio_of(events)
    assert 59_500 <= only(UserSpeechStarted, events).at_ms <= 60_100


def test_endless_turn_is_repeated_at_its_limit_and_the_rest_let_pass() -> None:
    endless = phrase("long")[400:-800] * 3
    agent = EchoAgent(longest_turn_ms=5000)
    events = spoken_to(agent, SILENCE + endless)
    assert shape(events) == REPEAT
    assert MULAW_8K.milliseconds(len(audio_of(events))) == 5000
    after = spoken_to(agent, SILENCE + phrase("hello") + SILENCE)
    assert shape(after) == REPEAT
    assert phrase("hello") in audio_of(after)


def test_caller_who_speaks_over_the_greeting_is_heard_and_repeated() -> None:
    agent = EchoAgent()
    told(agent, Say(Purpose.GREETING))
    events = spoken_to(agent, SILENCE + phrase("wait") + SILENCE)
    assert shape(events) == REPEAT
    assert phrase("wait") in audio_of(events)


def test_commit_ends_a_turn_at_once() -> None:
    agent = EchoAgent()
    assert shape(spoken_to(agent, SILENCE + phrase("hello"))) == "UserSpeechStarted"
    events = told(agent, CommitTurn())
    assert shape([UserSpeechStarted(), *events]) == REPEAT
    assert phrase("hello") in audio_of(events)
    assert told(agent, CommitTurn()) == []
    assert shape(spoken_to(agent, SILENCE + phrase("hello") + SILENCE)) == REPEAT


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 40_000), min_size=1, max_size=20))
def test_any_split_gives_the_same_events(cuts: list[int]) -> None:
    line = SILENCE + phrase("wait") + SILENCE + phrase("hello") + SILENCE
    agent = EchoAgent()
    events: list[Event] = []
    at = turn = 0
    while at < len(line):
        agent.audio(line[at : at + cuts[turn % len(cuts)]])
        events += agent.events()
        at, turn = at + cuts[turn % len(cuts)], turn + 1
    assert events == spoken_to(EchoAgent(), line)


STEPS = st.one_of(
    st.sampled_from(
        [
            *(Say(purpose) for purpose in Purpose),
            *(SendDtmf(key) for key in "129#"),
            CommitTurn(),
            CancelResponse(),
            SendText("hi"),
        ]
    ),
    st.sampled_from(["pause", "resume"]),
    st.tuples(st.sampled_from(["hello", "wait", "goodbye", ""]), st.integers(1, 20_000)),
    st.binary(max_size=3000),
)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEPS, max_size=25))
def test_whatever_happens_the_events_make_sense(steps: list[Command | str | bytes | tuple[str, int]]) -> None:
    agent = EchoAgent()
    events: list[Event] = []
    for step in steps:
        match step:
            case "pause":
                agent.pause()
            case "resume":
                agent.resume()
            case str() | bytes():
                agent.audio(step if isinstance(step, bytes) else b"")
            case (name, size):
                agent.audio((phrase(name) if name else SILENCE)[:size])
            case _:
                agent.command(step)
        events += agent.events()
    agent.resume()
    events += agent.events()
    speaking, turn = False, ""
    items: list[str | None] = [None]
    for event in events:
        match event:
            case UserSpeechStarted() | UserSpeechStopped():
                assert isinstance(event, UserSpeechStarted) is not speaking
                speaking = not speaking
            case TurnStarted(turn_id):
                assert turn == ""
                turn = turn_id
            case TurnEnded(turn_id):
                assert turn_id == turn
                turn = ""
            case AudioChunk(audio, _, item_id, turn_id):
                assert audio
                assert (item_id, turn_id) == (items[-1], turn)
            case ItemAdded(item_id, after):
                assert after == items[-1]
                assert item_id not in items
                items.append(item_id)
            case _:
                pass
    assert turn == ""


# --- keys


@pytest.mark.parametrize("key", ["1", "4", "0", "*", "#", "A"])
def test_any_key_without_a_test_of_its_own_gives_the_menu(key: str) -> None:
    events = told(EchoAgent(), SendDtmf(key))
    assert shape(events) == f"ItemAdded(caller) Transcript(caller) {AGENT_TURN}"
    assert audio_of(events) == prompt("menu").audio


def test_key_2_is_a_clean_tone() -> None:
    audio = audio_of(told(EchoAgent(), SendDtmf("2")))
    assert audio.startswith(prompt("tone-test").audio)
    tone = np.frombuffer(mulaw_to_pcm16(audio[-MULAW_8K.size(3000) :]), dtype="<i2") / 32768
    middle = tone[800:-800]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    hertz = np.fft.rfftfreq(len(middle), 1 / MULAW_8K.rate)
    assert hertz[np.argmax(spectrum)] == pytest.approx(1000, abs=0.5)
    in_tone = spectrum[np.abs(hertz - 1000) < 5].sum()
    assert 10 * np.log10(in_tone / (spectrum.sum() - in_tone)) > 35  # G.711 itself allows no more than some 38
    assert 20 * np.log10(np.max(np.abs(middle))) == pytest.approx(-12, abs=0.2)
    assert abs(tone[0]) < 0.001
    assert abs(tone[-1]) < 0.01


def test_key_3_is_a_train_of_clicks_one_second_apart() -> None:
    audio = audio_of(told(EchoAgent(), SendDtmf("3")))
    assert audio.startswith(prompt("latency-test").audio)
    train = np.abs(np.frombuffer(mulaw_to_pcm16(audio[-MULAW_8K.size(5000) :]), dtype="<i2").astype(np.int32))
    loud = np.flatnonzero(train > 8000)
    begins = loud[np.diff(loud, prepend=-1000) > 100]
    assert len(begins) == 5
    assert set(np.diff(begins)) == {MULAW_8K.rate}
    assert len(loud) < 5 * 40


def test_key_9_says_goodbye_and_hangs_up() -> None:
    agent = EchoAgent()
    events = told(agent, SendDtmf("9"))
    assert shape(events) == f"ItemAdded(caller) Transcript(caller) {AGENT_TURN} HangupRequested"
    assert audio_of(events) == prompt("goodbye").audio
    # The bridge lets a caller stay who speaks after all; so do we.
    assert shape(spoken_to(agent, SILENCE + phrase("wait") + SILENCE)) == REPEAT


def test_key_ends_the_callers_turn_without_repeating_it() -> None:
    agent = EchoAgent()
    assert shape(spoken_to(agent, SILENCE + phrase("hello"))) == "UserSpeechStarted"
    events = told(agent, SendDtmf("1"))
    assert shape(events) == f"UserSpeechStopped ItemAdded(caller) Transcript(caller) {AGENT_TURN}"
    assert spoken_to(agent, SILENCE) == []


def test_beep_of_the_key_in_the_audio_is_not_taken_for_speech() -> None:
    beep = audio_of(told(EchoAgent(), SendDtmf("2")))[-MULAW_8K.size(1000) :][: MULAW_8K.size(160)]
    for lead in range(0, 200, 20):
        agent = EchoAgent()
        spoken_to(agent, SILENCE)
        told(agent, SendDtmf("1"))
        assert spoken_to(agent, MULAW_8K.silence(lead) + beep + SILENCE) == []
        assert shape(spoken_to(agent, phrase("hello") + SILENCE)) == REPEAT


# --- what it can't do, it says


@pytest.mark.parametrize("respond", [True, False])
def test_text_is_warned_of(respond: bool) -> None:
    assert only(ProviderWarning, told(EchoAgent(), SendText("hi", respond=respond))).code == "text_unsupported"


def test_result_of_a_tool_never_called_is_warned_of() -> None:
    assert only(ProviderWarning, told(EchoAgent(), ToolResult("c1", "{}"))).code == "unknown_tool_call"


def test_report_and_cancel_change_nothing_when_all_is_said() -> None:
    agent = EchoAgent()
    told(agent, Say(Purpose.GREETING))
    assert told(agent, PlaybackReport("item-1", "turn-1", 0, 100, 4000), CancelResponse()) == []


# --- a reader that asks it to wait


def held() -> EchoAgent:
    """An agent of whose greeting two pieces have been taken."""
    agent = EchoAgent()
    agent.command(Say(Purpose.GREETING))
    for event in agent.events():
        if isinstance(event, AudioChunk) and len(prompt("greeting").audio) > 2 * len(event.audio):
            agent.pause()
    assert agent.pending
    return agent


def test_paused_agent_holds_its_audio_until_it_is_resumed() -> None:
    agent = EchoAgent()
    agent.pause()
    agent.command(Say(Purpose.GREETING))
    assert shape(list(agent.events())) == "TurnStarted ItemAdded(agent) Transcript(agent)"
    assert list(agent.events()) == []
    agent.resume()
    events = list(agent.events())
    assert shape(events) == "AudioChunk TurnEnded(completed)"
    assert audio_of(events) == prompt("greeting").audio


def test_speech_interrupts_what_is_held() -> None:
    events = spoken_to(held(), SILENCE + phrase("hello"))
    assert shape(events) == "UserSpeechStarted TurnEnded(interrupted)"


def test_key_interrupts_what_is_held() -> None:
    agent = held()
    events = told(agent, SendDtmf("1"))
    assert shape(events).startswith("TurnEnded(interrupted) ItemAdded(caller) Transcript(caller) TurnStarted")
    assert audio_of(events) == b""
    agent.resume()
    assert audio_of(list(agent.events())) == prompt("menu").audio


def test_cancel_ends_what_is_held() -> None:
    assert shape(told(held(), CancelResponse())) == "TurnEnded(cancelled)"


# --- as a provider


async def test_session_from_ready_to_closed() -> None:
    events: list[Event] = []
    provider: Provider = Echo(name="echo@lab")
    async with provider.connect(ProcessConfig(), events.append, leg=MULAW_8K) as session:
        assert events == [SessionReady("echo@lab", MULAW_8K, MULAW_8K, model="echo")]
        assert (session.provider, session.input_format, session.output_format) == ("echo@lab", MULAW_8K, MULAW_8K)
        session.send(Say(Purpose.GREETING))
        for frame in frames(SILENCE + phrase("hello") + SILENCE):
            session.send_audio(frame)
    assert shape(events) == f"SessionReady {AGENT_TURN} {REPEAT} SessionClosed"
    assert events[-1] == SessionClosed()
    session.send(Say(Purpose.GREETING))
    session.send_audio(SILENCE + phrase("hello") + SILENCE)
    session.resume()
    assert events[-1] == SessionClosed()


async def test_session_is_closed_when_its_user_fails() -> None:
    events: list[Event] = []
    with pytest.raises(ZeroDivisionError):
        async with Echo().connect(ProcessConfig(), events.append):
            raise ZeroDivisionError
    assert shape(events) == "SessionReady SessionClosed"


async def test_closing_the_provider_closes_its_sessions_once() -> None:
    events: list[Event] = []
    provider = Echo()
    async with provider.connect(ProcessConfig(), events.append):
        await provider.close()
        assert shape(events) == "SessionReady SessionClosed"
    assert shape(events) == "SessionReady SessionClosed"


async def test_sessions_share_nothing() -> None:
    provider = Echo()
    first: list[Event] = []
    second: list[Event] = []
    line = SILENCE + phrase("hello") + SILENCE
    async with (
        provider.connect(ProcessConfig(), first.append) as a,
        provider.connect(ProcessConfig(), second.append) as b,
    ):
        for frame in frames(line):
            a.send_audio(frame)
            b.send_audio(MULAW_8K.silence(FRAME_MS))
    assert shape(first) == f"SessionReady {REPEAT} SessionClosed"
    assert shape(second) == "SessionReady SessionClosed"


def test_command_given_from_within_an_event_is_obeyed_after_what_was_under_way() -> None:
    events: list[Event] = []
    session: Session

    def barge_in(event: Event) -> None:
        events.append(event)
        if isinstance(event, UserSpeechStarted):
            session.send(PlaybackReport("item-1", "turn-1", 0, 0, 0))
            session.send(CancelResponse())
            session.send(SendText("in between"))

    session = EchoSession("echo", EchoAgent(), barge_in)
    session.send(Say(Purpose.GREETING))
    session.send_audio(SILENCE + phrase("hello") + SILENCE)
    assert shape(events) == f"SessionReady {AGENT_TURN} {REPEAT} ProviderWarning"


def test_pause_from_within_an_event_takes_effect_at_once() -> None:
    events: list[Event] = []
    session: Session

    def full(event: Event) -> None:
        events.append(event)
        if isinstance(event, AudioChunk):
            session.pause()

    session = EchoSession("echo", EchoAgent(), full)
    session.send(Say(Purpose.GREETING))
    assert len(audio_of(events)) == MULAW_8K.size(CHUNK_MS)
    session.resume()
    assert len(audio_of(events)) == 2 * MULAW_8K.size(CHUNK_MS)
    for frame in frames(SILENCE + phrase("wait")):
        session.send_audio(frame)
    assert shape(events[-2:]) == "UserSpeechStarted TurnEnded(interrupted)"


@pytest.mark.parametrize(
    ("config", "option"),
    [
        (ProcessConfig(instructions="Be kind."), "instructions"),
        (ProcessConfig(voice="marin"), "voice"),
        (ProcessConfig(temperature=0.0), "temperature"),
        (ProcessConfig(functions=[FunctionDeclaration("f")]), "functions"),
        (ProcessConfig(on_function_call=lambda _name, _arguments: None), "on_function_call"),
        (ProcessConfig(extensions={"speed": 1.2}), "speed"),
    ],
)
async def test_option_that_it_can_not_honour_is_refused(config: ProcessConfig, option: str) -> None:
    events: list[Event] = []
    with pytest.raises(InvalidConfigError, match=f"echo@lab: can not honour .*'{option}': .+"):
        async with Echo(name="echo@lab").connect(config, events.append):
            pass
    assert events == []
    with pytest.raises(InvalidConfigError, match=option):
        Echo().check(config)


async def test_empty_options_are_no_options() -> None:
    async with Echo().connect(ProcessConfig(functions=[], extensions={}), lambda _: None):
        pass


def test_folder_that_can_not_be_used_is_found_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match="no folder"):
        Echo(prompts=str(tmp_path / "nowhere"))
    assert option_infos(EchoOptions)["prompts"].env == ("ECHO_PROMPTS",)


@pytest.fixture
def echo_with_own_greeting(tmp_path: Path) -> Echo:
    (tmp_path / "greeting.ulaw").write_bytes(b"\x80\x00" * 80)
    return Echo(prompts=str(tmp_path))


async def test_own_prompts_are_played_without_touching_the_disk(echo_with_own_greeting: Echo) -> None:
    provider = echo_with_own_greeting
    events: list[Event] = []
    async with provider.connect(ProcessConfig(), events.append) as session:
        session.send(Say(Purpose.GREETING))
        session.send(Say(Purpose.GOODBYE))
    assert audio_of(events) == b"\x80\x00" * 80 + prompt("goodbye").audio


async def test_simple_way_in_repeats_in_linear_24_khz() -> None:
    said = np.repeat(np.frombuffer(mulaw_to_pcm16(SILENCE + phrase("hello") + SILENCE), dtype="<i2"), 3).tobytes()

    async def microphone() -> AsyncIterator[bytes]:
        for at in range(0, len(said), PCM16_24K.frame_bytes):
            yield said[at : at + PCM16_24K.frame_bytes]

    events: list[Event] = []
    async with Echo().process_audio_stream(microphone(), ProcessConfig()) as stream:
        async for event in stream:
            events.append(event)
            if isinstance(event, TurnEnded):
                break
    assert shape(events) == f"SessionReady {REPEAT}"
    lasts = PCM16_24K.milliseconds(len(audio_of(events)))
    assert lasts >= MULAW_8K.milliseconds(len(phrase("hello"))) + PRE_ROLL_MS


def test_one_core_serves_hundreds_of_calls() -> None:
    """CPU time of this thread for one call, a turn every few seconds; the budget is a tenth of what 200 calls allow."""
    line = list(frames((SILENCE + phrase("opening-hours") + SILENCE * 2) * 4))
    best = float("inf")
    for _ in range(3):
        session = EchoSession("echo", EchoAgent(detector=TurnDetector()), lambda _: None)
        before = time.thread_time()
        for frame in line:
            session.send_audio(frame)
        best = min(best, (time.thread_time() - before) / len(line))
    print(f"\n{best * 1e6:.1f} us of CPU for each 20 ms of a call")  # noqa: T201 - the figure, for whoever asks with -s
    assert best < 50e-6
