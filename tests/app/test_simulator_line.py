"""The carrier's end of a stream, with words of its own that no carrier uses."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sounds import hum

from tandem.simulators.line import (
    Audio,
    Buffer,
    ClearAsked,
    Faults,
    Frame,
    Inject,
    MarkAsked,
    MediaLine,
    Recording,
    Shuffle,
    Told,
    WireError,
)
from tandem.simulators.phone import At, Caller, Turn
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_16K, AudioFormat


class Plain:
    """Says what it is told in one word each."""

    caller_format: AudioFormat = MULAW_8K
    agent_format: AudioFormat = MULAW_8K

    def connected(self) -> list[Frame]:
        return ["hello"]

    def start(self) -> Frame:
        return "start"

    def media(self, audio: bytes, number: int) -> Frame:
        return f"{number}:{len(audio)}"

    def dtmf(self, digit: str) -> Frame:
        return f"key {digit}"

    def played(self, name: str) -> Frame:
        return f"played {name}"

    def cleared(self, names: Sequence[str]) -> list[Frame]:
        return [f"gone {name}" for name in names]

    def complain(self, error: WireError) -> list[Frame]:
        return [f"no: {error}"]

    def stop(self) -> Frame | None:
        return "stop"

    def read(self, frame: Frame) -> Told:
        if isinstance(frame, bytes):
            return Audio(frame)
        if frame == "clear":
            return ClearAsked()
        if frame.startswith("mark "):
            return MarkAsked(frame[5:])
        raise WireError("42", "what?")


def line(faults: Faults | None = None, *turns: Turn, buffer: Buffer | None = None) -> MediaLine:
    return MediaLine(Plain(), Caller(turns, None), Recording(), faults, buffer=buffer)


def test_a_stream_from_end_to_end() -> None:
    sim = line(None, Turn(hum(440, 20), At(0), digits="5"))
    assert sim.opening() == ["hello", "start"]
    assert sim.tick() == ["key 5", "0:160"]
    assert sim.receive(hum(500, 40), 20) == []
    assert sim.receive("mark m", 20) == []
    assert sim.tick() == ["1:160"]
    assert sim.tick() == ["2:160"]
    assert sim.tick() == ["3:160", "played m"]
    assert sim.receive("mark idle", 80) == ["played idle"]
    assert sim.closing() == ["stop"]
    assert (sim.frames_sent, sim.marks_returned, sim.clears) == (4, 2, 0)


def test_what_is_taken_back_returns_its_marks() -> None:
    sim = line()
    sim.receive(hum(500, 100), 0)
    assert sim.receive("mark m", 0) == []
    sim.tick()
    assert sim.receive("clear", 20) == ["gone m"]
    assert (sim.playout.played_ms, sim.playout.cleared_ms, sim.clears) == (20.0, 80.0, 1)


def test_nonsense_is_complained_of_and_kept_for_whoever_looks() -> None:
    sim = line()
    assert sim.receive("nonsense", 0) == ["no: 42 what?"]
    assert sim.errors == ["42 what?"]
    (note,) = sim.conversation.notes()
    assert (note.kind, note.detail) == ("problem", "42 what?")


def test_a_buffer_that_is_full() -> None:
    sim = line(buffer=Buffer(50, WireError("7", "full")))
    assert sim.receive(hum(500, 40), 0) == []
    assert sim.receive(hum(500, 20), 0) == ["no: 7 full"]
    assert sim.playout.waiting_ms == 40


def test_both_voices_are_recorded_on_one_clock() -> None:
    sound = Recording()
    sim = MediaLine(Plain(), Caller([Turn(hum(440, 40), At(0))], None), sound)
    for _ in range(5):
        sim.tick()
    assert bytes(sound.caller[:320]) == hum(440, 40)
    assert len(sound.agent) == len(sound.caller) + MULAW_8K.frame_bytes


@pytest.mark.parametrize("flowing", [ALAW_8K, PCM16_16K])
def test_what_really_flows_may_differ_from_what_is_announced(flowing: AudioFormat) -> None:
    sim = line(Faults(audio=flowing))
    sizes = [int(str(frame).partition(":")[2]) for _ in range(10) for frame in sim.tick()]
    assert sum(sizes) == pytest.approx(flowing.size(200), abs=flowing.size(10))
    sim.receive(flowing.silence(100), 0)
    assert sim.playout.received_ms == pytest.approx(100, abs=10)


def test_the_faults() -> None:
    assert line(Faults(media_before_start=2, starts=2)).opening() == ["hello", "0:160", "1:160", "start", "start"]
    assert line(Faults(starts=0)).opening() == ["hello"]
    assert line(Faults(stops=2)).closing() == ["stop", "stop"]
    sim = line(Faults(media_order=Shuffle(3, (0, 2, 2))))
    assert [str(frame).partition(":")[0] for _ in range(6) for frame in sim.tick()] == ["0", "2", "2", "3", "5", "5"]
    sim = line(Faults(inject=[Inject(40, "late"), Inject(20, b"\x00")]))
    assert [frame for _ in range(3) for frame in sim.tick() if frame in ("late", b"\x00")] == [b"\x00", "late"]
    with pytest.raises(ValueError, match="cycle"):
        Shuffle(2, (2,))
