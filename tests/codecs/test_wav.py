"""Speech files in, recordings out. Python's own `wave` writes and reads the other side."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat, Encoding
from tandem_codecs.g711 import pcm16_to_alaw, pcm16_to_mulaw
from tandem_codecs.wav import StereoWriter, read_wav

Levels = npt.NDArray[np.float64]


def tone(rate: int, frequency: float, seconds: float = 0.5, level: float = 0.5) -> Levels:
    return level * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


def packed(levels: Levels, bits: int) -> bytes:
    """Between -1 and 1, as WAV stores that many bits."""
    values = np.rint(levels * (2.0 ** (bits - 1) - 1)).astype(np.int64)
    if bits == 8:
        return (values + 128).astype("u1").tobytes()
    return b"".join(int(value).to_bytes(bits // 8, "little", signed=True) for value in values)


def write(path: Path, data: bytes, *, rate: int = 8000, bits: int = 16, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(data)
    return path


def chunk(name: bytes, body: bytes, claimed: int | None = None) -> bytes:
    return struct.pack("<4sI", name, len(body) if claimed is None else claimed) + body + b"\0" * (len(body) % 2)


def riff(path: Path, *chunks: bytes) -> Path:
    body = b"WAVE" + b"".join(chunks)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def form(tag: int, bits: int, *, channels: int = 1, rate: int = 8000, extra: bytes = b"") -> bytes:
    block = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + extra)


def samples(pcm: bytes) -> npt.NDArray[np.int16]:
    return np.frombuffer(pcm, "<i2")


class TestReading:
    def test_sixteen_bits_at_the_same_rate_are_untouched(self, tmp_path: Path) -> None:
        pcm = np.arange(-32768, 32768, dtype="<i2").tobytes()
        assert read_wav(write(tmp_path / "a.wav", pcm), PCM16_8K) == pcm
        assert read_wav(str(tmp_path / "a.wav"), MULAW_8K) == pcm16_to_mulaw(pcm)
        assert read_wav(tmp_path / "a.wav", ALAW_8K) == pcm16_to_alaw(pcm)

    @pytest.mark.parametrize("bits", [8, 16, 24, 32])
    def test_every_width(self, tmp_path: Path, bits: int) -> None:
        levels = np.array([0, 0.5, -0.5, 1, -1, 0.1])
        heard = samples(read_wav(write(tmp_path / "a.wav", packed(levels, bits), bits=bits), PCM16_8K))
        step = 256 if bits == 8 else 1
        assert np.abs(heard - levels * 32767).max() <= step

    def test_two_channels_become_their_mean(self, tmp_path: Path) -> None:
        both = np.array([[1000, 3000], [-32768, -32768], [32767, 32767], [500, -500]], "<i2")
        path = write(tmp_path / "a.wav", both.tobytes(), channels=2)
        assert samples(read_wav(path, PCM16_8K)).tolist() == [2000, -32768, 32767, 0]

    @pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
    @pytest.mark.parametrize("target", [PCM16_8K, PCM16_16K, PCM16_24K], ids=str)
    def test_any_rate(self, tmp_path: Path, rate: int, target: AudioFormat) -> None:
        path = write(tmp_path / "a.wav", packed(tone(rate, 1000), 16), rate=rate)
        heard = samples(read_wav(path, target))
        assert len(heard) == pytest.approx(target.rate / 2, abs=2)
        middle = heard[target.rate // 10 :][: target.rate // 5].astype(np.float64) / 32768
        bins = np.abs(np.fft.rfft(middle)) * 2 / len(middle)
        assert bins.argmax() == 1000 // 5
        assert bins.max() == pytest.approx(0.5, rel=0.01)

    def test_too_loud_is_clipped_not_wrapped(self, tmp_path: Path) -> None:
        square = np.where(np.arange(4800) // 24 % 2, 32767, -32768).astype("<i2")
        heard = samples(read_wav(write(tmp_path / "a.wav", square.tobytes(), rate=48000), PCM16_16K))
        assert heard.max() == 32767
        assert heard.min() == -32768
        assert np.count_nonzero(np.abs(np.diff(heard.astype(np.int64))) > 40000) <= 2 * len(square) // 24

    def test_g711(self, tmp_path: Path) -> None:
        codes = bytes(range(256))
        assert read_wav(riff(tmp_path / "u.wav", form(7, 8), chunk(b"data", codes)), MULAW_8K) == codes.replace(
            b"\x7f", b"\xff"
        )
        assert read_wav(riff(tmp_path / "a.wav", form(6, 8), chunk(b"data", codes)), ALAW_8K) == codes

    def test_what_editors_and_streams_write(self, tmp_path: Path) -> None:
        pcm = samples(packed(tone(8000, 400), 16)).tobytes()
        extensible = form(0xFFFE, 16, extra=struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14))
        notes = chunk(b"LIST", b"odd")
        path = riff(tmp_path / "a.wav", notes, extensible, notes, chunk(b"data", pcm), notes)
        assert read_wav(path, PCM16_8K) == pcm
        endless = riff(tmp_path / "b.wav", form(1, 16), chunk(b"data", pcm, claimed=0xFFFFFFFF))
        assert read_wav(endless, PCM16_8K) == pcm
        endless.write_bytes(endless.read_bytes()[:-1])
        assert read_wav(endless, PCM16_8K) == pcm[:-2], "cut short within a sample"

    @pytest.mark.parametrize("rate", [8000, 44100])
    def test_an_empty_recording_is_empty(self, tmp_path: Path, rate: int) -> None:
        assert read_wav(write(tmp_path / "a.wav", b"", rate=rate), PCM16_8K) == b""

    @pytest.mark.parametrize(
        ("chunks", "complaint"),
        [
            ([form(3, 32), chunk(b"data", bytes(8))], "floating-point samples of 32 bits"),
            ([form(1, 12), chunk(b"data", bytes(8))], "contradicts itself"),
            ([form(1, 64), chunk(b"data", bytes(8))], "integer samples of 64 bits"),
            ([form(0x55, 16), chunk(b"data", bytes(8))], "type 0x0055"),
            ([form(1, 16, channels=0), chunk(b"data", bytes(8))], "contradicts itself"),
            ([form(1, 16, rate=0), chunk(b"data", bytes(8))], "contradicts itself"),
            ([form(1, 16)], "without samples"),
            ([chunk(b"data", bytes(8)), form(1, 16)], "without a format"),
            ([chunk(b"fmt ", b"short"), chunk(b"data", bytes(8))], "without a format"),
            ([], "without a format"),
        ],
    )
    def test_what_cannot_be_read_says_so(self, tmp_path: Path, chunks: list[bytes], complaint: str) -> None:
        path = riff(tmp_path / "a.wav", *chunks)
        with pytest.raises(ValueError, match=complaint) as refusal:
            read_wav(path, PCM16_8K)
        assert str(path) in str(refusal.value)

    @pytest.mark.parametrize("content", [b"", b"ID3", b"RIFF....AVI ", b"<html>not found</html>"])
    def test_other_files_are_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a WAV file"):
            read_wav(path, PCM16_8K)

    def test_a_missing_file_is_the_systems_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read_wav(tmp_path / "none.wav", PCM16_8K)

    @given(content=st.binary(max_size=80), at=st.integers(0, 60))
    def test_any_bytes_are_read_or_refused(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes, at: int
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "fuzz.wav"
        good = riff(path, form(1, 16), chunk(b"data", bytes(16))).read_bytes()
        path.write_bytes(good[:at] + content + good[at + len(content) :])
        with contextlib.suppress(ValueError):
            read_wav(path, MULAW_8K)


def recorded(path: Path) -> tuple[list[int], list[int]]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        both = samples(file.readframes(file.getnframes())).reshape(-1, 2)
    return both[:, 0].tolist(), both[:, 1].tolist()


def steady(value: int, milliseconds: int) -> bytes:
    return np.full(8 * milliseconds, value, "<i2").tobytes()


class TestRecording:
    def test_two_voices_on_one_clock(self, tmp_path: Path) -> None:
        path = tmp_path / "call.wav"
        with StereoWriter(path, 8000) as recording:
            recording.write("left", 0, steady(1, 2))
            recording.write("right", 1, steady(2, 2))
            recording.write("left", 2, steady(3, 1))
            assert recording.milliseconds == 3
        left, right = recorded(path)
        assert left == [1] * 16 + [3] * 8
        assert right == [0] * 8 + [2] * 16

    def test_gaps_are_silence_even_far_behind_the_other_voice(self, tmp_path: Path) -> None:
        path = tmp_path / "call.wav"
        with StereoWriter(path, 8000) as recording:
            recording.write("right", 10, steady(2, 1))
            recording.write("left", 1, steady(1, 1))
            recording.write("left", 3, steady(1, 1))
        left, right = recorded(path)
        assert left == [0] * 8 + [1] * 8 + [0] * 8 + [1] * 8 + [0] * 56
        assert right == [0] * 80 + [2] * 8

    def test_an_overlap_follows_and_the_next_gap_takes_it_up(self, tmp_path: Path) -> None:
        path = tmp_path / "call.wav"
        with StereoWriter(path, 8000) as recording:
            recording.write("left", 0, steady(1, 2))
            recording.write("left", 1, steady(2, 2))
            recording.write("left", 5, steady(3, 1))
        assert recorded(path)[0] == [1] * 16 + [2] * 16 + [0] * 8 + [3] * 8

    def test_a_burst_is_kept_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "call.wav"
        with StereoWriter(path, 8000) as recording:
            for value in range(1, 6):
                recording.write("right", 0, steady(value, 20))
        assert recorded(path)[1] == [value for value in range(1, 6) for _ in range(160)]

    def test_parts_of_a_millisecond_have_their_place(self, tmp_path: Path) -> None:
        path = tmp_path / "call.wav"
        with StereoWriter(path, 8000) as recording:
            recording.write("left", 0.25, steady(1, 1))
        assert recorded(path)[0] == [0] * 2 + [1] * 8

    def test_it_appears_whole_when_closed_and_not_before(self, tmp_path: Path) -> None:
        path = tmp_path / "call.wav"
        path.write_bytes(b"the last call")
        recording = StereoWriter(path, 8000)
        recording.write("left", 0, steady(1, 20))
        assert path.read_bytes() == b"the last call"
        recording.close()
        assert len(recorded(path)[0]) == 160
        assert [file.name for file in tmp_path.iterdir()] == ["call.wav"]
        recording.close()

    def test_a_failed_call_is_kept_too(self, tmp_path: Path) -> None:
        path = tmp_path / "call.wav"

        def fail_after_a_word() -> None:
            with StereoWriter(path, 8000) as recording:
                recording.write("left", 0, steady(1, 20))
                raise ConnectionError

        with pytest.raises(ConnectionError):
            fail_after_a_word()
        assert recorded(path)[0] == [1] * 160

    def test_nothing_said_is_a_file_with_nothing(self, tmp_path: Path) -> None:
        StereoWriter(tmp_path / "call.wav", 8000).close()
        assert recorded(tmp_path / "call.wav") == ([], [])

    def test_bad_places_are_refused(self, tmp_path: Path) -> None:
        with StereoWriter(tmp_path / "call.wav", 8000) as recording:
            with pytest.raises(ValueError, match="3 bytes"):
                recording.write("left", 0, b"abc")
            with pytest.raises(ValueError, match="-1 ms"):
                recording.write("left", -1, b"ab")
            with pytest.raises(ValueError, match="beyond"):
                recording.write("left", 40 * 3600 * 1000, b"ab")
        with pytest.raises(FileNotFoundError):
            StereoWriter(tmp_path / "no such folder" / "call.wav", 8000)

    def test_memory_does_not_grow_with_the_call(self, tmp_path: Path) -> None:
        with StereoWriter(tmp_path / "call.wav", 8000) as recording:
            recording.write("left", 0, steady(1, 20))
            tracemalloc.start()
            try:
                for start in range(20, 60_000, 20):
                    recording.write("left", start, steady(1, 20))
                    recording.write("right", start, steady(2, 20))
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < 100_000
        assert len(recorded(tmp_path / "call.wav")[0]) == 8 * 60_000

    def test_what_it_writes_can_be_read_back(self, tmp_path: Path) -> None:
        with StereoWriter(tmp_path / "call.wav", 24000) as recording:
            recording.write("left", 0, packed(tone(24000, 300), 16))
            recording.write("right", 0, packed(tone(24000, 300), 16))
        heard = read_wav(tmp_path / "call.wav", AudioFormat(Encoding.PCM16, 24000))
        assert heard == packed(tone(24000, 300), 16)
